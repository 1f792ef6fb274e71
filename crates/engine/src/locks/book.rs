//! What has happened to locks: the last events of each key, and how much it is contended for.
//!
//! In memory only, and of the keys that were used last: neither history nor figures grow with the number of locks.

use std::collections::VecDeque;

use base::hash::HashSeed;

use super::places::{NOWHERE, Places};
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
#[derive(Debug)]
pub struct Page {
    db: usize,
    key: Box<[u8]>,
    /// The newest in front.
    pub events: VecDeque<Event>,
    pub figures: Figures,
    /// The pages that were used right after this one, and right before it.
    newer: u32,
    older: u32,
}

/// The pages of the keys that were used last, and the figures of all.
///
/// ```text
///            newer ──►            ◄── older
/// oldest  [page] ⇄ [page] ⇄ … ⇄ [page]  newest       the oldest one makes room where another key comes
/// ```
#[derive(Debug)]
pub struct Book {
    seed: HashSeed,
    places: Places,
    pages: Vec<Page>,
    newest: u32,
    oldest: u32,
    pub all: Figures,
}

/// Keys that have a page.
const PAGES: usize = 1024;
/// Events on a page.
const EVENTS: usize = 64;
/// The longest key that has a page: as many as there may be are no burden.
const KEY_MAX: usize = 4096;

impl Book {
    /// Returns an empty book.
    pub fn new(seed: HashSeed) -> Book {
        let (places, pages, all) = Default::default();
        Book { seed, places, pages, newest: NOWHERE, oldest: NOWHERE, all }
    }

    /// Changes the figures of a key, and those of all.
    pub fn count(&mut self, db: usize, key: &[u8], change: impl Fn(&mut Figures)) {
        change(&mut self.all);
        if let Some(page) = self.page(db, key) {
            change(&mut page.figures);
        }
    }

    /// Notes an event, and changes the figures of its key and those of all.
    pub fn note(&mut self, db: usize, key: &[u8], event: Event, change: impl Fn(&mut Figures)) {
        change(&mut self.all);
        if let Some(page) = self.page(db, key) {
            change(&mut page.figures);
            page.events.truncate(EVENTS - 1);
            page.events.push_front(event);
        }
    }

    /// Returns the page of a key, if it was used lately.
    pub fn find(&self, db: usize, key: &[u8]) -> Option<&Page> {
        Some(&self.pages[self.place(db, key, self.seed.hash(key))? as usize])
    }

    /// Returns the page of a key, which is the newest now; none for a key that is too long.
    fn page(&mut self, db: usize, key: &[u8]) -> Option<&mut Page> {
        if key.len() > KEY_MAX {
            return None;
        }
        let hash = self.seed.hash(key);
        let place = match self.place(db, key, hash) {
            Some(place) if place == self.newest => return Some(&mut self.pages[place as usize]),
            Some(place) => {
                self.unlink(place);
                place
            }
            None => self.add(db, key, hash),
        };
        self.link(place);
        Some(&mut self.pages[place as usize])
    }

    #[inline]
    fn place(&self, db: usize, key: &[u8], hash: u64) -> Option<u32> {
        self.places.find(hash, |place| {
            let page = &self.pages[place as usize];
            page.db == db && *page.key == *key
        })
    }

    /// Begins a page, where there is room or in place of the oldest; it is still to be linked.
    fn add(&mut self, db: usize, key: &[u8], hash: u64) -> u32 {
        let (events, figures) = Default::default();
        let page = Page { db, key: key.into(), events, figures, newer: NOWHERE, older: NOWHERE };
        let place = if self.pages.len() < PAGES {
            self.pages.push(page);
            self.pages.len() as u32 - 1
        } else {
            let oldest = self.oldest;
            self.unlink(oldest);
            self.places.remove(self.seed.hash(&self.pages[oldest as usize].key), oldest);
            self.pages[oldest as usize] = page;
            oldest
        };
        let (seed, pages) = (self.seed, &self.pages);
        self.places.insert(hash, place, |place| seed.hash(&pages[place as usize].key));
        place
    }

    /// Takes a page out of the order of use.
    fn unlink(&mut self, place: u32) {
        let Page { newer, older, .. } = self.pages[place as usize];
        match self.pages.get_mut(newer as usize) {
            Some(page) => page.older = older,
            None => self.newest = older,
        }
        match self.pages.get_mut(older as usize) {
            Some(page) => page.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Puts a page at the newest end of the order of use.
    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let page = &mut self.pages[place as usize];
        (page.newer, page.older) = (NOWHERE, before);
        match self.pages.get_mut(before as usize) {
            Some(page) => page.newer = place,
            None => self.oldest = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    fn event(at_ms: i64) -> Event {
        Event { at_ms, what: What::Granted, owner: Box::default(), token: 1 }
    }

    fn book() -> Book {
        Book::new(HashSeed([1, 2]))
    }

    #[test]
    fn a_book_holds_no_more_than_it_may() {
        let mut book = book();
        for n in 0..PAGES + 100 {
            book.note(0, b"often", event(n as i64), |_| {});
            book.note(n % 3, format!("k{n}").as_bytes(), event(1), |_| {});
        }
        assert_eq!((book.pages.len(), book.places.len()), (PAGES, PAGES));
        assert!(book.find(0, b"k0").is_none());
        let page = book.find(0, b"often").expect("used lately");
        assert_eq!(page.events.len(), EVENTS);
        assert_eq!(page.events[0].at_ms, (PAGES + 99) as i64);
        book.note(0, &[b'x'; KEY_MAX + 1], event(1), |figures| figures.releases += 1);
        assert_eq!(book.all.releases, 1);
        assert!(book.find(0, &[b'x'; KEY_MAX + 1]).is_none());
    }

    #[test]
    fn the_keys_that_were_used_last_have_a_page() {
        let (mut book, mut rng) = (book(), Rng::seeded(9));
        let mut used: Vec<(usize, u64)> = Vec::new();
        for _ in 0..20_000 {
            let place = (rng.below(2) as usize, rng.below(900));
            book.count(place.0, &place.1.to_be_bytes(), |_| {});
            used.retain(|other| *other != place);
            used.push(place);
            used.drain(..used.len().saturating_sub(PAGES));
        }
        let found = |(db, key): &(usize, u64)| book.find(*db, &key.to_be_bytes()).is_some();
        let all = (0..2).flat_map(|db| (0..900).map(move |key| (db, key)));
        assert!(used.iter().all(found));
        assert_eq!(all.filter(found).count(), PAGES);
    }

    #[test]
    fn figures_are_a_keys_and_everybodys() {
        let mut book = book();
        book.count(0, b"a", |figures| figures.held(10));
        book.count(0, b"b", |figures| figures.held(5));
        assert_eq!(book.all.hold.total, 2);
        assert_eq!(book.find(0, b"b").map(|page| page.figures.hold_max), Some(5));
        assert_eq!(book.all.hold_max, 10);
    }
}
