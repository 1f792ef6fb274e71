//! Decides who is told of what, when, over which channel. Pure: time and chance come in, wishes go out.
//!
//! What is open for a person, channel, key and kind is one *group*, and a group is told in one message: the newest
//! record, and how many more there are.
//!
//! ```text
//!                Opened                handle_timeout              Ended(Delivered)
//!   (nothing) ----------> waiting ----------------------> in flight ----------------> told, closed
//!                            ^                                |
//!                            |  Failed: back-off              |
//!                            |  Told: until the window ends   |
//!                            +-- Elsewhere: a moment ---------+
//! ```
//!
//! A channel carries one message at a time, and the next one only when its spacing has passed. What is decided here holds
//! within one process; that two processes do not both deliver, the driver arranges by claims in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::record::{Attempt, AttemptResult, FailureKind, FailureRecord};
use crate::route::Target;
use crate::store::attempt_field;
use crate::time::UnixMs;
use crate::ulid::Ulid;

/// How long after a first failure the second attempt comes; each further one doubles it.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest back-off before its spread of up to a half: with it and a timeout, a receiver that is back is used
/// within a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long to leave alone what another process is delivering.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// The longest that anything waits that is not the window; what waits longer waits because the clock was set back.
const WAIT_MAX: Duration = Duration::from_secs(660);

/// How many failed attempts a record keeps; the oldest make room.
const FAILED_KEPT: usize = 32;

/// What is told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Whom, over which channel.
    pub target: Target,
    /// Of what.
    pub kind: FailureKind,
    /// Of which key.
    pub key: String,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it tells of.
    pub group: Group,
    /// The records, oldest first; the last one leads.
    pub ids: Vec<Ulid>,
    /// Whether it goes out though the person was told within the window, because somebody asked for it.
    pub urgent: bool,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived, and told of these records.
    Delivered(Vec<Ulid>),
    /// It did not arrive.
    Failed {
        /// Why.
        what: String,
        /// How long the channel wants nothing more, if it said so.
        hold: Option<Duration>,
    },
    /// Another process is telling of this just now.
    Elsewhere,
    /// Another process used the channel, which carries nothing more for this long.
    Paced(Duration),
    /// The person was told of this key and kind then, by whoever it was.
    Told(UnixMs),
    /// There was nothing left to tell: others had told it, or somebody had acknowledged it.
    Stale,
}

/// What happens to the outbox.
#[derive(Debug)]
pub enum Input<'a> {
    /// This record is open, and goes to these; also when it was known, with what is known now.
    Opened(&'a FailureRecord, Vec<Target>),
    /// This record is no longer open.
    Gone(Ulid),
    /// A delivery ended; with thousandths of chance for the next attempt.
    Ended(Group, Outcome, u32),
}

/// What the outbox wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this message, and say how it ended.
    Deliver(Delivery),
    /// Save this, all at once.
    Settle(Settlement),
}

/// What a delivery changes in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settlement {
    /// Attempts to add.
    pub attempts: Vec<(Ulid, Attempt)>,
    /// Fields of old attempts to remove.
    pub forget: Vec<(Ulid, String)>,
    /// Records that everybody was told of.
    pub close: Vec<Ulid>,
    /// Whose claim ends, and when they were told if they were.
    pub group: Option<(Group, Option<UnixMs>)>,
}

#[derive(Debug)]
struct Entry {
    waiting: BTreeSet<Target>,
    key: String,
    kind: FailureKind,
    /// When it was last asked for anew; by another host's clock, which may be ahead of ours.
    since: UnixMs,
    failed: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Waiting {
    ids: BTreeSet<Ulid>,
    due: UnixMs,
    failures: u32,
    urgent: bool,
    in_flight: Option<Vec<Ulid>>,
}

#[derive(Debug, Default)]
struct Pace {
    free: UnixMs,
    busy: bool,
    /// How often it failed in a row, whatever it carried.
    failures: u32,
}

/// The records that somebody still has to be told of, and when to tell.
#[derive(Debug)]
pub struct Outbox {
    window: Duration,
    spacings: BTreeMap<String, Duration>,
    entries: BTreeMap<Ulid, Entry>,
    groups: BTreeMap<Group, Waiting>,
    paces: BTreeMap<String, Pace>,
    told: BTreeMap<Group, UnixMs>,
    outputs: VecDeque<Output>,
}

impl Outbox {
    /// Returns an empty outbox; `spacings` says how long each channel waits between two messages.
    pub fn new(window: Duration, spacings: BTreeMap<String, Duration>) -> Outbox {
        Outbox {
            window,
            spacings,
            entries: BTreeMap::new(),
            groups: BTreeMap::new(),
            paces: BTreeMap::new(),
            told: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes note of what happened.
    pub fn handle_input(&mut self, now: UnixMs, input: Input<'_>) {
        match input {
            Input::Opened(record, targets) => self.open(now, record, targets),
            Input::Gone(id) => self.remove(id),
            Input::Ended(group, outcome, spread) => self.end(now, group, outcome, spread),
        }
    }

    /// Starts what is due.
    pub fn handle_timeout(&mut self, now: UnixMs) {
        self.mistrust_the_clock(now);
        self.told.retain(|_, at| now.since(*at) < self.window);
        let mut first: BTreeMap<String, (UnixMs, Group)> = BTreeMap::new();
        for (group, waiting) in &self.groups {
            let free =
                self.paces.get(&group.target.channel).is_none_or(|pace| !pace.busy && pace.free <= now);
            if !free || waiting.in_flight.is_some() || waiting.due > now {
                continue;
            }
            let earlier = first.get(&group.target.channel).is_none_or(|(due, _)| waiting.due < *due);
            if earlier {
                first.insert(group.target.channel.clone(), (waiting.due, group.clone()));
            }
        }
        for (channel, (_, group)) in first {
            let spacing = self.spacings.get(&channel).copied().unwrap_or_default();
            let pace = self.paces.entry(channel).or_default();
            (pace.free, pace.busy) = (now.after(spacing), true);
            let waiting = self.groups.get_mut(&group).expect("it was found there");
            let ids: Vec<Ulid> = waiting.ids.iter().copied().collect();
            waiting.in_flight = Some(ids.clone());
            self.outputs.push_back(Output::Deliver(Delivery { group, ids, urgent: waiting.urgent }));
        }
    }

    /// Returns what is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`Outbox::handle_timeout`]; nothing while all that waits waits for a delivery's end.
    pub fn poll_timeout(&self) -> Option<UnixMs> {
        let due = |(group, waiting): (&Group, &Waiting)| {
            let pace = self.paces.get(&group.target.channel);
            let idle = waiting.in_flight.is_none() && pace.is_none_or(|pace| !pace.busy);
            idle.then(|| waiting.due.max(pace.map_or(UnixMs(0), |pace| pace.free)))
        };
        self.groups.iter().filter_map(due).min()
    }

    /// Returns the records it knows.
    pub fn ids(&self) -> impl Iterator<Item = Ulid> {
        self.entries.keys().copied()
    }

    /// Returns whether it knows a record.
    pub fn knows(&self, id: Ulid) -> bool {
        self.entries.contains_key(&id)
    }

    /// Returns when somebody will next be told of a record; nothing when nobody waits for that.
    pub fn due(&self, id: Ulid) -> Option<UnixMs> {
        let entry = self.entries.get(&id)?;
        let due = |target: &Target| self.groups.get(&entry.group(target)).map(|waiting| waiting.due);
        entry.waiting.iter().filter_map(due).min()
    }

    /// Returns how many records nobody is responsible for.
    pub fn unrouted(&self) -> usize {
        self.entries.values().filter(|entry| entry.waiting.is_empty()).count()
    }

    fn open(&mut self, now: UnixMs, record: &FailureRecord, targets: Vec<Target>) {
        let routed = !targets.is_empty();
        self.learn_what_was_told(record);
        let waiting: BTreeSet<Target> = targets
            .into_iter()
            .filter(|target| !record.is_delivered(&target.person, &target.channel))
            .collect();
        self.leave_groups(record.id, &waiting);
        let failed = record.attempts.iter().filter(|attempt| !attempt.result.is_delivered());
        let entry = Entry {
            waiting: waiting.clone(),
            key: record.key.clone(),
            kind: record.kind,
            since: record.renotified_ms.unwrap_or_default(),
            failed: failed.map(attempt_field).collect(),
        };
        if routed && waiting.is_empty() {
            // Whoever delivered it was ended before it could close it.
            self.entries.remove(&record.id);
            let close = Settlement { close: vec![record.id], ..Settlement::default() };
            self.outputs.push_back(Output::Settle(close));
            return;
        }
        for target in waiting {
            let group = entry.group(&target);
            let told = self.told.get(&group).copied();
            let is_new = !self.groups.contains_key(&group);
            let state = self.groups.entry(group).or_default();
            // Asked for anew, and not merely met anew: only then the window does not count.
            let urgent = record.renotified_ms.is_some() && state.ids.insert(record.id);
            state.ids.insert(record.id);
            if urgent {
                (state.urgent, state.due) = (true, now);
            } else if is_new {
                state.due = told.map_or(now, |at| at.after(self.window).max(now));
            }
        }
        self.entries.insert(record.id, entry);
    }

    /// Notes when people were told of a record, for the window counts from then whoever told them.
    fn learn_what_was_told(&mut self, record: &FailureRecord) {
        for attempt in record.attempts.iter().filter(|attempt| attempt.result.is_delivered()) {
            let target = Target { person: attempt.person.clone(), channel: attempt.channel.clone() };
            let group = Group { target, kind: record.kind, key: record.key.clone() };
            let told = self.told.entry(group).or_default();
            *told = attempt.at_ms.max(*told);
        }
    }

    fn remove(&mut self, id: Ulid) {
        self.leave_groups(id, &BTreeSet::new());
        self.entries.remove(&id);
    }

    /// Takes a record out of all groups but those of the targets that still wait.
    fn leave_groups(&mut self, id: Ulid, staying: &BTreeSet<Target>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let left: Vec<Target> = entry.waiting.difference(staying).cloned().collect();
        for target in left {
            entry.waiting.remove(&target);
            let group = entry.group(&target);
            if let Some(waiting) = self.groups.get_mut(&group) {
                waiting.ids.remove(&id);
                // One in flight is removed when its delivery ends.
                if waiting.ids.is_empty() && waiting.in_flight.is_none() {
                    self.groups.remove(&group);
                }
            }
        }
    }

    fn end(&mut self, now: UnixMs, group: Group, outcome: Outcome, spread: u32) {
        let spacing = self.spacings.get(&group.target.channel).copied().unwrap_or_default();
        let pace = self.paces.entry(group.target.channel.clone()).or_default();
        pace.busy = false;
        match &outcome {
            // The receiver counts from when it took the last one.
            Outcome::Delivered(_) => (pace.free, pace.failures) = (now.after(spacing), 0),
            Outcome::Failed { hold, .. } => {
                // A receiver that is down is down for all: one message at a time finds out whether it is back.
                pace.failures = pace.failures.saturating_add(1);
                let wait = backoff(pace.failures, spread).max(spacing).max(hold.unwrap_or_default());
                pace.free = now.after(wait);
            }
            Outcome::Paced(wait) => pace.free = now.after((*wait).min(WAIT_MAX)),
            // Nothing was sent.
            Outcome::Elsewhere | Outcome::Told(_) | Outcome::Stale => pace.free = now,
        }
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        let Some(sent) = waiting.in_flight.take() else { return };
        let settlement = match outcome {
            Outcome::Delivered(ids) => {
                waiting.failures = 0;
                waiting.urgent = false;
                waiting.due = now.after(self.window);
                self.told.insert(group.clone(), now);
                self.delivered(now, &group, &sent, &ids)
            }
            Outcome::Failed { what, .. } => {
                waiting.failures = waiting.failures.saturating_add(1);
                waiting.due = now.after(backoff(waiting.failures, spread));
                self.failed(now, &group, sent.last().copied(), what)
            }
            Outcome::Elsewhere => {
                waiting.due = now.after(ELSEWHERE);
                Settlement::default()
            }
            Outcome::Told(at) => {
                self.told.insert(group.clone(), at.min(now));
                waiting.due = at.min(now).after(self.window);
                Settlement::default()
            }
            Outcome::Paced(_) => Settlement::default(),
            Outcome::Stale => self.delivered(now, &group, &sent, &[]),
        };
        if self.groups.get(&group).is_some_and(|waiting| waiting.ids.is_empty()) {
            self.groups.remove(&group);
        }
        if settlement != Settlement::default() {
            self.outputs.push_back(Output::Settle(settlement));
        }
    }

    /// Ends the waiting of all that was to be told; `told` are those that were, the others had been told by others.
    fn delivered(&mut self, now: UnixMs, group: &Group, sent: &[Ulid], told: &[Ulid]) -> Settlement {
        let lead = told.last().copied();
        let group_told = lead.map(|_| now);
        let mut settlement = Settlement { group: Some((group.clone(), group_told)), ..Settlement::default() };
        for id in sent {
            if told.contains(id) {
                let result = match lead {
                    Some(lead) if lead != *id => AttemptResult::DeliveredWith(lead),
                    _ => AttemptResult::Delivered,
                };
                let since = self.entries.get(id).map_or(now, |entry| entry.since);
                settlement.attempts.push((*id, attempt(now.max(since), group, result)));
            }
            if let Some(waiting) = self.groups.get_mut(group) {
                waiting.ids.remove(id);
            }
            if let Some(entry) = self.entries.get_mut(id) {
                entry.waiting.remove(&group.target);
                if entry.waiting.is_empty() {
                    self.entries.remove(id);
                    settlement.close.push(*id);
                }
            }
        }
        settlement
    }

    fn failed(&mut self, now: UnixMs, group: &Group, lead: Option<Ulid>, what: String) -> Settlement {
        let mut settlement = Settlement { group: Some((group.clone(), None)), ..Settlement::default() };
        if let Some(lead) = lead {
            let attempt = attempt(now, group, AttemptResult::Failed(what));
            if let Some(entry) = self.entries.get_mut(&lead) {
                entry.failed.push_back(attempt_field(&attempt));
                while entry.failed.len() > FAILED_KEPT {
                    let oldest = entry.failed.pop_front().expect("there are some");
                    settlement.forget.push((lead, oldest));
                }
            }
            settlement.attempts.push((lead, attempt));
        }
        settlement
    }

    /// Lets nothing wait for a point in time that only a clock set back has moved so far away.
    fn mistrust_the_clock(&mut self, now: UnixMs) {
        let latest = now.after(self.window.max(WAIT_MAX));
        for waiting in self.groups.values_mut().filter(|waiting| waiting.due > latest) {
            waiting.due = now;
        }
        for pace in self.paces.values_mut().filter(|pace| pace.free > latest) {
            pace.free = now;
        }
        self.told.retain(|_, at| *at <= latest);
    }
}

impl Entry {
    fn group(&self, target: &Target) -> Group {
        Group { target: target.clone(), kind: self.kind, key: self.key.clone() }
    }
}

fn attempt(at_ms: UnixMs, group: &Group, result: AttemptResult) -> Attempt {
    let Target { person, channel } = group.target.clone();
    Attempt { at_ms, person, channel, result }
}

/// Returns how long to wait after this many failures; `spread` thousandths of a half of it are added.
fn backoff(failures: u32, spread: u32) -> Duration {
    let doubled = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let base = doubled.min(BACKOFF_MAX);
    base + base * spread.min(1000) / 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn outbox(spacing: Duration) -> Outbox {
        Outbox::new(WINDOW, BTreeMap::from([("slack".to_owned(), spacing), ("mail".to_owned(), spacing)]))
    }

    fn target(channel: &str) -> Target {
        Target { person: "ada".into(), channel: channel.into() }
    }

    fn record(at: u64, key: &str) -> FailureRecord {
        let mut record = FailureRecord::new(FailureKind::Busy, key);
        record.at_ms = UnixMs(at);
        record.id = Ulid::new(UnixMs(at), [7; 10]);
        record
    }

    fn open(outbox: &mut Outbox, now: u64, record: &FailureRecord) {
        outbox.handle_input(UnixMs(now), Input::Opened(record, vec![target("slack")]));
    }

    fn due(outbox: &mut Outbox, now: u64) -> Vec<Delivery> {
        outbox.handle_timeout(UnixMs(now));
        let mut found = Vec::new();
        while let Some(output) = outbox.poll_output() {
            if let Output::Deliver(delivery) = output {
                found.push(delivery);
            }
        }
        found
    }

    fn end(outbox: &mut Outbox, now: u64, delivery: &Delivery, outcome: Outcome) -> Option<Settlement> {
        outbox.handle_input(UnixMs(now), Input::Ended(delivery.group.clone(), outcome, 1000));
        match outbox.poll_output()? {
            Output::Settle(settlement) => Some(settlement),
            Output::Deliver(_) => panic!("nothing is due"),
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed { what: "answered 500".into(), hold: None }
    }

    #[test]
    fn a_record_is_told_to_everyone_and_then_closed() {
        let mut outbox = outbox(Duration::ZERO);
        let one = record(1000, "k");
        outbox.handle_input(UnixMs(1000), Input::Opened(&one, vec![target("slack"), target("mail")]));
        let both = due(&mut outbox, 1000);
        assert_eq!(both.len(), 2, "channels do not wait for each other");
        let first = end(&mut outbox, 1010, &both[0], Outcome::Delivered(vec![one.id])).unwrap();
        assert!(first.close.is_empty() && first.attempts[0].1.result == AttemptResult::Delivered);
        let second = end(&mut outbox, 1020, &both[1], Outcome::Delivered(vec![one.id])).unwrap();
        assert_eq!(second.close, [one.id]);
        assert!(!outbox.knows(one.id) && outbox.poll_timeout().is_none());
    }

    #[test]
    fn what_fails_is_tried_again_ever_later_but_within_a_minute() {
        let mut outbox = outbox(Duration::ZERO);
        let one = record(0, "k");
        open(&mut outbox, 0, &one);
        let (mut now, mut waits, mut forgotten) = (0, Vec::new(), 0);
        for _ in 0..40 {
            let delivery = due(&mut outbox, now).remove(0);
            let settlement = end(&mut outbox, now, &delivery, failed()).unwrap();
            assert_eq!(settlement.attempts.len(), 1);
            forgotten += settlement.forget.len();
            let next = outbox.poll_timeout().unwrap().0;
            assert!(due(&mut outbox, next - 1).is_empty());
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits[..7], [1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000]);
        assert_eq!(forgotten, 40 - FAILED_KEPT);
        let delivery = due(&mut outbox, now).remove(0);
        assert_eq!(
            end(&mut outbox, now, &delivery, Outcome::Delivered(vec![one.id])).unwrap().close,
            [one.id]
        );
    }

    #[test]
    fn repetitions_within_the_window_are_told_in_the_next_message() {
        let mut outbox = outbox(Duration::ZERO);
        let records: Vec<_> = (0..5).map(|n| record(n * 1000, "k")).collect();
        open(&mut outbox, 0, &records[0]);
        let first = due(&mut outbox, 0).remove(0);
        end(&mut outbox, 0, &first, Outcome::Delivered(first.ids.clone()));
        for one in &records[1..] {
            open(&mut outbox, one.at_ms.0, one);
        }
        assert_eq!(outbox.poll_timeout(), Some(UnixMs(600_000)));
        assert!(due(&mut outbox, 599_999).is_empty());
        let digest = due(&mut outbox, 600_000).remove(0);
        assert_eq!(digest.ids, records[1..].iter().map(|one| one.id).collect::<Vec<_>>());
        let settlement = end(&mut outbox, 600_010, &digest, Outcome::Delivered(digest.ids.clone())).unwrap();
        assert_eq!(settlement.close.len(), 4);
        let with = AttemptResult::DeliveredWith(records[4].id);
        assert_eq!(settlement.attempts[0].1.result, with);
        assert_eq!(settlement.attempts[3].1.result, AttemptResult::Delivered);
    }

    #[test]
    fn other_keys_and_kinds_are_told_at_once() {
        let mut outbox = outbox(Duration::ZERO);
        let (one, two) = (record(0, "k"), record(1, "other"));
        let mut three = record(2, "k");
        three.kind = FailureKind::Lost;
        let mut told = 0;
        for one in [one, two, three] {
            open(&mut outbox, 5, &one);
            let delivery = due(&mut outbox, 5).remove(0);
            end(&mut outbox, 5, &delivery, Outcome::Delivered(delivery.ids.clone()));
            told += 1;
        }
        assert_eq!(told, 3);
    }

    #[test]
    fn asking_anew_does_not_wait_for_the_window() {
        let mut outbox = outbox(Duration::ZERO);
        let mut one = record(0, "k");
        open(&mut outbox, 0, &one);
        let delivery = due(&mut outbox, 0).remove(0);
        let settlement = end(&mut outbox, 0, &delivery, Outcome::Delivered(delivery.ids.clone())).unwrap();
        one.attempts.extend(settlement.attempts.into_iter().map(|(_, attempt)| attempt));
        one.renotified_ms = Some(UnixMs(1000));
        open(&mut outbox, 1000, &one);
        assert!(due(&mut outbox, 1000).remove(0).urgent);
    }

    #[test]
    fn no_channel_carries_more_than_it_may() {
        for (spacing_ms, most_a_minute) in [(1000, 60), (3000, 20), (600, 100)] {
            let mut outbox = outbox(Duration::from_millis(spacing_ms));
            for n in 0..300 {
                open(&mut outbox, 0, &record(n, &format!("k{n}")));
            }
            let (mut now, mut sent) = (0, Vec::new());
            while sent.len() < 300 {
                for delivery in due(&mut outbox, now) {
                    sent.push(now);
                    // Every third one fails, which counts with the vendor all the same.
                    let fails = sent.len() % 3 == 0 && sent.len() < 100;
                    let outcome = if fails { failed() } else { Outcome::Delivered(delivery.ids.clone()) };
                    end(&mut outbox, now, &delivery, outcome);
                }
                now = outbox.poll_timeout().map_or(now, |next| next.0.max(now));
            }
            for start in &sent {
                let within = sent.iter().filter(|at| (*start..*start + 60_000).contains(*at)).count();
                assert!(within <= most_a_minute, "{within} in a minute with {spacing_ms} ms between");
            }
        }
    }

    #[test]
    fn a_vendor_that_wants_silence_gets_it() {
        let mut outbox = outbox(Duration::ZERO);
        open(&mut outbox, 0, &record(0, "a"));
        open(&mut outbox, 0, &record(1, "b"));
        let delivery = due(&mut outbox, 0).remove(0);
        let hold = Some(Duration::from_secs(600));
        end(&mut outbox, 0, &delivery, Outcome::Failed { what: "too many".into(), hold });
        assert_eq!(outbox.poll_timeout(), Some(UnixMs(600_000)));
        assert!(due(&mut outbox, 599_999).is_empty());
        assert_eq!(due(&mut outbox, 600_000).len(), 1);
    }

    #[test]
    fn a_channel_that_is_down_is_probed_and_not_tried_with_everything() {
        let mut outbox = outbox(Duration::ZERO);
        for n in 0..100 {
            open(&mut outbox, 0, &record(n, &format!("k{n}")));
        }
        let (mut now, mut tried) = (0, 0);
        while now < 300_000 {
            for delivery in due(&mut outbox, now) {
                tried += 1;
                end(&mut outbox, now, &delivery, failed());
            }
            now = outbox.poll_timeout().unwrap().0;
        }
        assert!(tried < 15, "tried {tried} times in five minutes");
        let back = now;
        let mut told = 0;
        while told < 100 {
            for delivery in due(&mut outbox, now) {
                told += 1;
                end(&mut outbox, now, &delivery, Outcome::Delivered(delivery.ids.clone()));
            }
            now = outbox.poll_timeout().map_or(now, |next| next.0.max(now));
        }
        assert!(now - back <= 45_000, "{} ms until all were told", now - back);
    }

    #[test]
    fn the_window_counts_from_what_a_record_says_of_itself() {
        let mut outbox = outbox(Duration::ZERO);
        let mut one = record(0, "k");
        let group = Group { target: target("slack"), kind: one.kind, key: "k".into() };
        one.attempts.push(attempt(UnixMs(5), &group, AttemptResult::Delivered));
        open(&mut outbox, 10, &one);
        open(&mut outbox, 10, &record(9, "k"));
        assert_eq!(outbox.poll_timeout(), Some(UnixMs(600_005)));
    }

    #[test]
    fn what_another_process_delivers_is_left_to_it() {
        let mut outbox = outbox(Duration::ZERO);
        let one = record(0, "k");
        open(&mut outbox, 0, &one);
        let delivery = due(&mut outbox, 0).remove(0);
        assert_eq!(end(&mut outbox, 0, &delivery, Outcome::Elsewhere), None);
        assert!(due(&mut outbox, 1999).is_empty());
        let delivery = due(&mut outbox, 2000).remove(0);
        assert_eq!(end(&mut outbox, 2000, &delivery, Outcome::Told(UnixMs(100))), None);
        assert_eq!(outbox.poll_timeout(), Some(UnixMs(600_100)));
        outbox.handle_input(UnixMs(3000), Input::Gone(one.id));
        assert!(outbox.poll_timeout().is_none() && outbox.due(one.id).is_none());
    }

    #[test]
    fn a_record_that_goes_while_its_delivery_is_under_way_leaves_nothing_behind() {
        let mut outbox = outbox(Duration::ZERO);
        let one = record(0, "k");
        open(&mut outbox, 0, &one);
        let delivery = due(&mut outbox, 0).remove(0);
        outbox.handle_input(UnixMs(1), Input::Gone(one.id));
        end(&mut outbox, 2, &delivery, failed());
        assert!(outbox.poll_timeout().is_none() && outbox.groups.is_empty());
    }

    #[test]
    fn what_everybody_was_told_of_is_closed_by_whoever_finds_it() {
        let mut outbox = outbox(Duration::ZERO);
        let mut one = record(0, "k");
        one.attempts.push(attempt(
            UnixMs(5),
            &Group { target: target("slack"), kind: one.kind, key: "k".into() },
            AttemptResult::Delivered,
        ));
        open(&mut outbox, 10, &one);
        let closed = Settlement { close: vec![one.id], ..Settlement::default() };
        assert_eq!(outbox.poll_output(), Some(Output::Settle(closed)));
        assert!(due(&mut outbox, 10).is_empty());
    }

    #[test]
    fn a_record_that_nobody_is_responsible_for_stays_open() {
        let mut outbox = outbox(Duration::ZERO);
        outbox.handle_input(UnixMs(0), Input::Opened(&record(0, "k"), Vec::new()));
        assert_eq!((outbox.unrouted(), outbox.poll_output(), outbox.poll_timeout()), (1, None, None));
    }

    #[test]
    fn a_clock_set_back_delays_nothing_by_more_than_the_window() {
        let mut outbox = outbox(Duration::ZERO);
        let day = 86_400_000;
        open(&mut outbox, day, &record(day, "k"));
        let delivery = due(&mut outbox, day).remove(0);
        end(&mut outbox, day, &delivery, failed());
        assert_eq!(due(&mut outbox, 1000).len(), 1);
    }
}
