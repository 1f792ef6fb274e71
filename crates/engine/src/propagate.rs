//! What the log and the replicas are told: what each command came to, as commands that come to the same anywhere.
//!
//! Collects while a command or transaction runs and hands over whole units: more than one command between MULTI and
//! EXEC. Leaves SELECT, encoding and writing to those who listen.

use keyspace::{Change, Class, Recorder};
use resp::decode::Request;

use crate::effect::Effect;
use crate::server::Server;
use crate::table::{self, Row};

/// A command with its arguments.
pub type Argv = Vec<Box<[u8]>>;

/// What is to be propagated of the unit that executes; empty while nobody listens.
#[derive(Debug, Default)]
pub(crate) struct Propagation {
    /// What the running handler says its request comes to.
    outcome: Option<Vec<Argv>>,
    /// The commands of this unit, each with its database.
    pending: Vec<(usize, Argv)>,
    /// How many of the recorded changes were looked through for deletions.
    seen: usize,
}

/// Returns a command as something to keep.
fn argv<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Argv {
    words.into_iter().map(Box::from).collect()
}

impl Propagation {
    /// Notes what the running handler's request comes to; several commands add up.
    pub(crate) fn add_outcome(&mut self, words: &[&[u8]]) {
        self.outcome.get_or_insert_default().push(argv(words.iter().copied()));
    }

    /// Notes that the running handler's request comes to nothing, whatever it changed.
    pub(crate) fn no_outcome(&mut self) {
        self.outcome.get_or_insert_default();
    }
}

impl Server {
    /// Notes what a command came to that has just run in database `db`.
    #[cold]
    pub(crate) fn note_outcome(
        &mut self,
        recorder: &Recorder,
        db: usize,
        row: &Row,
        request: Request<'_>,
        changed: bool,
    ) {
        self.note_deletions(&recorder.changes);
        let propagation = &mut self.propagation;
        match propagation.outcome.take() {
            Some(outcome) => propagation.pending.extend(outcome.into_iter().map(|argv| (db, argv))),
            None if changed && row.flags.has(table::WRITE | table::MAY_REPLICATE) => {
                propagation.pending.push((db, argv((0..request.len()).map(|i| request.arg(i)))));
            }
            None => {}
        }
    }

    /// Notes that a command failed: what it deleted on its way for being expired is deleted all the same.
    #[cold]
    pub(crate) fn note_failure(&mut self, recorder: &Recorder) {
        self.propagation.outcome = None;
        self.note_deletions(&recorder.changes);
    }

    /// Notes the keys that expired or were evicted since it was called last.
    fn note_deletions(&mut self, changes: &[Change]) {
        for change in &changes[self.propagation.seen.min(changes.len())..] {
            let lazy = match change.class {
                Class::Expired => self.config.lazyfree_lazy_expire,
                Class::Evicted => self.config.lazyfree_lazy_eviction,
                _ => continue,
            };
            let command: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.propagation.pending.push((change.db, argv([command, &*change.key])));
        }
        self.propagation.seen = changes.len();
    }

    /// Hands the unit over: as a transaction if it has several commands that belong together.
    #[cold]
    pub(crate) fn propagate_unit(&mut self, recorder: &Recorder, together: bool) {
        self.note_deletions(&recorder.changes);
        self.propagation.seen = 0;
        let pending = &mut self.propagation.pending;
        let (Some(first), Some(last)) = (pending.first(), pending.last()) else { return };
        // In the databases of their neighbours, so that none has to be selected for them.
        let (begin, end) = (first.0, last.0);
        let transaction = together && pending.len() > 1;
        if transaction {
            self.effects.push(Effect::Propagate { db: begin, argv: argv([&b"MULTI"[..]]) });
        }
        self.effects.extend(pending.drain(..).map(|(db, argv)| Effect::Propagate { db, argv }));
        if transaction {
            self.effects.push(Effect::Propagate { db: end, argv: argv([&b"EXEC"[..]]) });
        }
    }
}
