//! Tells people: carries out what the outbox wishes, with the store and the channels, away from the task's thread.
//!
//! ```text
//!  report --> saved (server or disk) --> [ worker ] -- sync: what is open in the store ----> outbox
//!                                            |                                                |
//!                                            +-- a thread per delivery <--- Deliver ----------+
//!                                                claim, look again, send                      |
//!                                                     |                                       |
//!                                                     +--> Ended --> Settle --> one MULTI <---+
//! ```
//!
//! Nothing of this need outlive the process: whoever next calls [`Notifier::deliver_due`] finds in the store what was
//! left undone. A claim that its owner did not live to give back ends by itself.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::{Channel, Failure};
use crate::message::Message;
use crate::outbox::{Delivery, Group, Input, Outbox, Outcome, Output, Settlement};
use crate::record::FailureRecord;
use crate::route::{Config, Target};
use crate::store::{Claim, Saved, Store, StoreError};
use crate::time::UnixMs;
use crate::ulid::Ulid;

/// How often a worker looks into the store for what other processes left.
const POLL: Duration = Duration::from_secs(5);

/// How often a pass that waits for channels looks for what was reported.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer a claim lasts than a delivery may take.
const CLAIM_MARGIN: Duration = Duration::from_secs(5);

/// How many open records a pass reads anew, though it knows them.
const FEW: usize = 100;

/// What a pass over the outbox came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    /// How many messages arrived.
    pub delivered: usize,
    /// How many did not.
    pub failed: usize,
    /// How many records still wait to be told to somebody.
    pub waiting: usize,
    /// How many open records nobody is responsible for.
    pub unrouted: usize,
    /// Whether the server could be reached; if not, only what is on disk was delivered.
    pub server: bool,
}

/// Saves failure records and tells the people responsible.
#[derive(Debug)]
pub struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    store: Store,
    /// What claims are marked with.
    name: String,
    /// Held for a whole pass: there is one at a time.
    desk: Mutex<Desk>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What passes hand on to the next one.
#[derive(Debug)]
struct Desk {
    outbox: Outbox,
    /// What the store could not take when it happened.
    unsaved: Vec<Settlement>,
    /// The records of this process that had been reported when the store was last asked: of later ones, the outbox
    /// cannot know.
    seen: BTreeSet<Ulid>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    stopped: bool,
    /// Something was reported since the last pass began.
    reported: bool,
    /// Records of this process that somebody waits to see told.
    pending: BTreeSet<Ulid>,
}

/// What a thread that delivers needs to know.
struct Letter {
    record: FailureRecord,
    target: Target,
    repeated: usize,
    since: UnixMs,
}

/// Returns how long a delivery may take in all; mail has several steps.
fn limit(channel: &Channel) -> Duration {
    channel.timeout * 2
}

impl Notifier {
    /// Returns a notifier. It does nothing by itself until something is reported, or it is started.
    pub fn new(config: Config, store: Store) -> Notifier {
        let spacings = config.channels().map(|(name, channel)| (name.to_owned(), channel.spacing));
        let outbox = Outbox::new(config.window(), spacings.collect());
        let name = format!("{}:{}", std::process::id(), Ulid::generate());
        let desk = Mutex::new(Desk { outbox, unsaved: Vec::new(), seen: BTreeSet::new() });
        let (state, changed) = (Mutex::default(), Condvar::new());
        Notifier { shared: Arc::new(Shared { config, store, name, desk, state, changed }) }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Saves a record and has the people responsible told in the background.
    ///
    /// When this returns the record survives the process. It waits for the store at most, never for a channel.
    pub fn report(&self, mut record: FailureRecord) -> Result<Saved, StoreError> {
        let config = &self.shared.config;
        if !record.people.iter().any(|name| config.person(name).is_some()) {
            record.people = config.people_for(&record.key, record.kind).to_vec();
        }
        let saved = self.shared.store.save(&record)?;
        let mut state = self.shared.state();
        state.reported = true;
        state.pending.insert(record.id);
        drop(state);
        self.start();
        self.shared.changed.notify_all();
        Ok(saved)
    }

    /// Starts delivering in the background: what is open now, and what becomes so, until this is dropped.
    pub fn start(&self) {
        let mut state = self.shared.state();
        if !std::mem::replace(&mut state.started, true) {
            let shared = Arc::clone(&self.shared);
            let worker = thread::Builder::new().name("notifier".into()).spawn(move || shared.work());
            // Without a thread the record still is saved, and told by whoever next runs.
            state.started = worker.is_ok();
        }
    }

    /// Delivers what is due and returns when all that has ended. What must wait, waits for the next call.
    pub fn deliver_due(&self) -> Pass {
        self.shared.pass()
    }

    /// Waits until everything reported here was told, or need not be told within `limit`. Returns whether it was.
    ///
    /// For the end of a process: what is not told by then is told by whoever next runs.
    pub fn settle(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.state();
        while !state.pending.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited =
                self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
        }
        true
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // The worker ends after what it is at; a receiver that hangs must not keep the task's process.
        self.shared.state().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers, pass after pass, until stopped.
    fn work(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.stopped {
                return;
            }
            state.reported = false;
            drop(state);
            self.pass();
            let next = self.desk().outbox.poll_timeout();
            let wait = next.map_or(POLL, |next| next.since(UnixMs::now()).min(POLL));
            // At least a moment, so that a store that answers nonsense does not make this spin.
            let wait = wait.max(Duration::from_millis(20));
            let state = self.state();
            if !state.reported && !state.stopped {
                drop(self.changed.wait_timeout_while(state, wait, |state| !state.reported && !state.stopped));
            }
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(self: &Arc<Self>) -> Pass {
        let mut desk = self.desk();
        let mut pass = Pass { server: self.sync(&mut desk).is_ok(), ..Pass::default() };
        // While there is no server, one process at a time tells of what is on disk.
        let claim = if pass.server { Ok(None) } else { self.store.journal().claim_delivery() };
        if pass.server || matches!(claim, Ok(Some(_))) {
            if !pass.server {
                self.sync_from_disk(&mut desk);
            }
            self.deliver(&mut desk, &mut pass);
        }
        let waiting = desk.outbox.ids().filter(|id| desk.outbox.due(*id).is_some());
        pass.waiting = waiting.count();
        pass.unrouted = desk.outbox.unrouted();
        self.tell_those_who_wait(&desk);
        pass
    }

    /// Brings the outbox up to what the server says is open.
    fn sync(&self, desk: &mut Desk) -> Result<(), StoreError> {
        desk.seen = self.state().pending.clone();
        match self.store.replay() {
            // A disk that fails must not keep people from being told of what the server has.
            Ok(_) | Err(StoreError::Disk(_)) => {}
            Err(error) => return Err(error),
        }
        while let Some(settlement) = desk.unsaved.last() {
            self.store.settle(settlement, self.config.window())?;
            desk.unsaved.pop();
        }
        let open: BTreeSet<Ulid> = self.store.open_ids()?.into_iter().collect();
        let now = UnixMs::now();
        let gone: Vec<Ulid> = desk.outbox.ids().filter(|id| !open.contains(id)).collect();
        for id in gone {
            desk.outbox.handle_input(now, Input::Gone(id));
        }
        // A few are looked at anew each time: somebody may have acknowledged one, or asked for it anew.
        let few = open.len() <= FEW;
        let look_at: Vec<Ulid> = open.into_iter().filter(|id| few || !desk.outbox.knows(*id)).collect();
        for record in self.store.load(&look_at)?.into_iter().flatten() {
            self.open(&mut desk.outbox, now, &record);
        }
        Ok(())
    }

    /// Fills the outbox with what is on disk, and with nothing else: of the rest, nobody can say what became of it.
    fn sync_from_disk(&self, desk: &mut Desk) {
        let records = self.store.on_disk().unwrap_or_default();
        let now = UnixMs::now();
        let gone: Vec<Ulid> =
            desk.outbox.ids().filter(|id| !records.iter().any(|record| record.id == *id)).collect();
        for id in gone {
            desk.outbox.handle_input(now, Input::Gone(id));
        }
        for record in &records {
            self.open(&mut desk.outbox, now, record);
        }
    }

    fn open(&self, outbox: &mut Outbox, now: UnixMs, record: &FailureRecord) {
        if record.acknowledged.is_none() {
            outbox.handle_input(now, Input::Opened(record, self.config.targets(record)));
        }
    }

    /// Sends what is due, each channel for itself, until nothing is due any more.
    fn deliver(self: &Arc<Self>, desk: &mut Desk, pass: &mut Pass) {
        let (sender, ended) = channel();
        thread::scope(|scope| {
            let mut in_flight = 0;
            loop {
                let reported = std::mem::take(&mut self.state().reported);
                if reported && pass.server {
                    // While one channel is slow, what is reported now goes out over the others. Should the server have
                    // gone away meanwhile, the next pass finds out.
                    let _ = self.sync(desk);
                }
                desk.outbox.handle_timeout(UnixMs::now());
                while let Some(output) = desk.outbox.poll_output() {
                    match output {
                        Output::Settle(settlement) => self.settle(desk, settlement, pass.server),
                        Output::Deliver(delivery) => {
                            in_flight += 1;
                            let (sender, server) = (sender.clone(), pass.server);
                            scope.spawn(move || self.attempt(&delivery, server, &sender));
                        }
                    }
                }
                if in_flight == 0 {
                    return;
                }
                // Meanwhile another channel may be free again, or something be reported.
                let next = desk.outbox.poll_timeout();
                let wait = next.map_or(LOOK, |next| next.since(UnixMs::now()).min(LOOK));
                match ended.recv_timeout(wait.max(Duration::from_millis(1))) {
                    Ok((group, outcome)) => {
                        in_flight -= 1;
                        match outcome {
                            Outcome::Delivered(_) => pass.delivered += 1,
                            Outcome::Failed { .. } => pass.failed += 1,
                            _ => {}
                        }
                        let spread = crate::random::permille();
                        desk.outbox.handle_input(UnixMs::now(), Input::Ended(group, outcome, spread));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => unreachable!("this thread has a sender itself"),
                }
            }
        });
    }

    fn settle(&self, desk: &mut Desk, settlement: Settlement, server: bool) {
        if !server {
            for (id, attempt) in &settlement.attempts {
                // Should the disk fail too, somebody is told twice.
                let _ = self.store.journal().append_attempt(*id, attempt);
            }
        } else if self.store.settle(&settlement, self.config.window()).is_err() {
            desk.unsaved.push(settlement);
        }
    }

    /// Tries one delivery and says how it ended.
    fn attempt(self: &Arc<Self>, delivery: &Delivery, server: bool, sender: &Sender<(Group, Outcome)>) {
        let outcome = if server {
            // A store that fails here is asked again in the next pass.
            self.attempt_with_server(delivery).unwrap_or(Outcome::Elsewhere)
        } else {
            let records = self.store.on_disk().unwrap_or_default();
            self.send(delivery, records)
        };
        // The receiver lives as long as the scope that this runs in.
        let _ = sender.send((delivery.group.clone(), outcome));
    }

    fn attempt_with_server(self: &Arc<Self>, delivery: &Delivery) -> Result<Outcome, StoreError> {
        let Delivery { group, ids, urgent } = delivery;
        let Some(channel) = self.config.channel(&group.target.channel) else { return Ok(Outcome::Stale) };
        let lasts = limit(channel) + CLAIM_MARGIN;
        if let Claim::Others(_) = self.store.claim(group, &self.name, lasts)? {
            return Ok(Outcome::Elsewhere);
        }
        // Only now nobody else tells of it, so only now it is certain what was told.
        if !urgent && let Some(at) = self.store.told(group)? {
            self.store.disclaim(group)?;
            return Ok(Outcome::Told(at));
        }
        let records: Vec<FailureRecord> = self.store.load(ids)?.into_iter().flatten().collect();
        if let Claim::Others(wait) =
            self.store.take_turn(&group.target.channel, &self.name, channel.spacing)?
        {
            self.store.disclaim(group)?;
            return Ok(Outcome::Paced(wait));
        }
        Ok(self.send(delivery, records))
    }

    /// Sends a delivery's records, as far as they still are to be told.
    fn send(self: &Arc<Self>, delivery: &Delivery, records: Vec<FailureRecord>) -> Outcome {
        let target = &delivery.group.target;
        let open: Vec<&FailureRecord> = records
            .iter()
            .filter(|record| delivery.ids.contains(&record.id) && record.acknowledged.is_none())
            .filter(|record| !record.is_delivered(&target.person, &target.channel))
            .collect();
        let (Some(way), Some(first), Some(lead)) =
            (self.config.channel(&target.channel), open.first(), open.last())
        else {
            // All of it was told or acknowledged by others.
            return Outcome::Stale;
        };
        let letter = Letter {
            record: lead.redacted(),
            target: target.clone(),
            repeated: open.len() - 1,
            since: first.at_ms,
        };
        // A channel bounds each of its steps; a receiver that draws out each of many is left behind here.
        let (sender, ended) = channel();
        let shared = Arc::clone(self);
        let limit = limit(way);
        let started = thread::Builder::new().name("notifier".into()).spawn(move || {
            // Nobody may be listening any more.
            let _ = sender.send(shared.hand_over(&letter));
        });
        let outcome = match started {
            Ok(_) => ended.recv_timeout(limit).unwrap_or_else(|_| Err(Failure::new("took too long"))),
            Err(error) => Err(Failure::new(error.to_string())),
        };
        match outcome {
            Ok(()) => Outcome::Delivered(open.iter().map(|record| record.id).collect()),
            Err(failure) => Outcome::Failed { what: failure.what, hold: failure.hold },
        }
    }

    fn hand_over(&self, letter: &Letter) -> Result<(), Failure> {
        let Letter { record, target, repeated, since } = letter;
        let (Some(way), Some(person)) =
            (self.config.channel(&target.channel), self.config.person(&target.person))
        else {
            return Err(Failure::new("the configuration has no such person or channel"));
        };
        let message =
            Message { record, person_id: &target.person, person, repeated: *repeated, since: *since };
        way.deliver(&message, UnixMs::now())
    }

    /// Lets those go on who wait for what was told, or will not be told soon.
    fn tell_those_who_wait(&self, desk: &Desk) {
        let far = UnixMs::now().after(Duration::from_secs(60));
        let mut state = self.state();
        state
            .pending
            .retain(|id| !desk.seen.contains(id) || desk.outbox.due(*id).is_some_and(|due| due < far));
        drop(state);
        self.changed.notify_all();
    }
}
