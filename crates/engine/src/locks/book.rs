//! What has happened to locks: the last events of each key, and how much it is contended for.
//!
//! In memory only, and of the keys that were used last: neither history nor figures grow with the number of locks.

use std::collections::{BTreeMap, VecDeque};

use crate::latency::Histogram;

/// What happened to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Granted,
    Released,
    /// LOCK.FORCE took it from its holder.
    Forced,
    /// The lease ended.
    Expired,
    /// The key went by some other command.
    Deleted,
    /// Too few replicas, or no disk, had the grant in time.
    GivenBack,
    /// A client waited in vain.
    TimedOut,
    /// A command with an old token was refused.
    Fenced,
}

impl What {
    /// Returns the event's name.
    pub fn name(self) -> &'static str {
        match self {
            What::Granted => "granted",
            What::Released => "released",
            What::Forced => "forced",
            What::Expired => "expired",
            What::Deleted => "deleted",
            What::GivenBack => "given-back",
            What::TimedOut => "timed-out",
            What::Fenced => "fenced",
        }
    }
}

/// One event in the life of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at_ms: i64,
    pub what: What,
    pub owner: Box<[u8]>,
    /// 0 for who never had one.
    pub token: u64,
}

/// How much a lock, or all of them, were used.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub acquires: u64,
    pub renewals: u64,
    pub releases: u64,
    /// Asked for while another held it, without waiting.
    pub busy: u64,
    pub waits: u64,
    pub timeouts: u64,
    /// Leases that ended by themselves.
    pub expired: u64,
    /// Taken from the holder: by LOCK.FORCE or another command.
    pub forced: u64,
    /// Commands that were refused for their token.
    pub fenced: u64,
    /// Milliseconds from a grant to its end, and from a request that waited to its grant.
    pub hold: Histogram,
    pub hold_max: u64,
    pub wait: Histogram,
    pub wait_max: u64,
}

impl Figures {
    /// Counts how long a lock was held.
    pub fn held(&mut self, ms: u64) {
        self.hold.record(ms);
        self.hold_max = self.hold_max.max(ms);
    }

    /// Counts how long a grant was waited for.
    pub fn waited(&mut self, ms: u64) {
        self.wait.record(ms);
        self.wait_max = self.wait_max.max(ms);
    }
}

/// The events and figures of one key.
#[derive(Debug, Default)]
pub struct Page {
    /// The newest in front.
    pub events: VecDeque<Event>,
    pub figures: Figures,
    /// When it was used last, on the book's own count.
    used: u64,
}

/// The pages of the keys that were used last, and the figures of all.
#[derive(Debug, Default)]
pub struct Book {
    pages: BTreeMap<(usize, Box<[u8]>), Page>,
    /// By when they were used.
    order: BTreeMap<u64, (usize, Box<[u8]>)>,
    uses: u64,
    pub all: Figures,
}

/// Keys that have a page.
const PAGES: usize = 1024;
/// Events on a page.
const EVENTS: usize = 64;

impl Book {
    /// Changes the figures of a key, and those of all.
    pub fn count(&mut self, db: usize, key: &[u8], change: impl Fn(&mut Figures)) {
        change(&mut self.all);
        change(&mut self.page(db, key).figures);
    }

    /// Notes an event.
    pub fn note(&mut self, db: usize, key: &[u8], event: Event) {
        let events = &mut self.page(db, key).events;
        events.truncate(EVENTS - 1);
        events.push_front(event);
    }

    /// Returns the page of a key, if it was used lately.
    pub fn find(&self, db: usize, key: &[u8]) -> Option<&Page> {
        self.pages.get(&(db, key.into()))
    }

    fn page(&mut self, db: usize, key: &[u8]) -> &mut Page {
        let place = (db, Box::from(key));
        self.uses += 1;
        let fresh = !self.pages.contains_key(&place);
        if fresh
            && self.pages.len() >= PAGES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.pages.remove(&oldest);
        }
        let page = self.pages.entry(place.clone()).or_default();
        if !fresh {
            self.order.remove(&page.used);
        }
        page.used = self.uses;
        self.order.insert(self.uses, place);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64) -> Event {
        Event { at_ms, what: What::Granted, owner: Box::default(), token: 1 }
    }

    #[test]
    fn a_book_holds_no_more_than_it_may() {
        let mut book = Book::default();
        for n in 0..PAGES + 100 {
            book.note(0, b"often", event(n as i64));
            book.note(n % 3, format!("k{n}").as_bytes(), event(1));
        }
        assert_eq!((book.pages.len(), book.order.len()), (PAGES, PAGES));
        assert!(book.find(0, b"k0").is_none());
        let page = book.find(0, b"often").expect("used lately");
        assert_eq!(page.events.len(), EVENTS);
        assert_eq!(page.events[0].at_ms, (PAGES + 99) as i64);
    }

    #[test]
    fn figures_are_a_keys_and_everybodys() {
        let mut book = Book::default();
        book.count(0, b"a", |figures| figures.held(10));
        book.count(0, b"b", |figures| figures.held(5));
        assert_eq!(book.all.hold.total, 2);
        assert_eq!(book.find(0, b"b").map(|page| page.figures.hold_max), Some(5));
        assert_eq!(book.all.hold_max, 10);
    }
}
