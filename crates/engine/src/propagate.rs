//! What the log and the replicas are told: what each command came to, as commands that come to the same anywhere.
//!
//! Decides what goes into the [`Stream`], and where its units end: several commands that belong together lie between
//! MULTI and EXEC. Leaves reading the stream to the node.

use keyspace::{Class, Keyspace};
use resp::decode::Request;

use crate::server::Server;
use crate::stream::Stream;
use crate::table::{self, Row};

/// A command with its arguments.
type Argv = Vec<Box<[u8]>>;

/// What is to be propagated of the unit that executes; empty while nobody listens.
#[derive(Debug, Default)]
pub(crate) struct Propagation {
    /// What the running handler says its request comes to.
    outcome: Option<Vec<Argv>>,
    /// How many of the recorded changes were looked through for deletions.
    seen: usize,
    pub(crate) stream: Stream,
}

impl Propagation {
    /// Notes what the running handler's request comes to; several commands add up.
    pub(crate) fn add_outcome(&mut self, words: &[&[u8]]) {
        let argv = words.iter().copied().map(Box::from).collect();
        self.outcome.get_or_insert_default().push(argv);
    }

    /// Notes that the running handler's request comes to nothing, whatever it changed.
    pub(crate) fn no_outcome(&mut self) {
        self.outcome.get_or_insert_default();
    }
}

impl Server {
    /// Notes what a command came to that has just run in database `db`.
    #[inline]
    pub(crate) fn note_outcome(
        &mut self,
        space: &Keyspace,
        db: usize,
        row: &Row,
        request: Request<'_>,
        changed: bool,
    ) {
        if space.recorder.changes.len() != self.propagation.seen {
            self.note_deletions(space);
        }
        let offset = self.propagation.stream.offset();
        let passing = row.flags.has(table::PUBSUB);
        let propagation = &mut self.propagation;
        match propagation.outcome.take() {
            Some(outcome) => {
                for argv in outcome {
                    let words: Vec<&[u8]> = argv.iter().map(|word| &**word).collect();
                    propagation.stream.push(db, &words, passing);
                }
            }
            None if changed && row.flags.has(table::WRITE | table::MAY_REPLICATE) => {
                propagation.stream.push_request(db, request, passing);
            }
            None => {}
        }
        if self.holds.holds_reads() && self.propagation.stream.offset() != offset {
            self.note_write(&space.seed, db, row, request);
        }
    }

    /// Notes that a command failed: what it deleted on its way for being expired is deleted all the same.
    #[cold]
    pub(crate) fn note_failure(&mut self, space: &Keyspace) {
        self.propagation.outcome = None;
        self.note_deletions(space);
    }

    /// Notes the keys that expired or were evicted since it was called last.
    #[cold]
    fn note_deletions(&mut self, space: &Keyspace) {
        let changes = &space.recorder.changes;
        for change in &changes[self.propagation.seen.min(changes.len())..] {
            let lazy = match change.class {
                Class::Expired => self.config.lazyfree_lazy_expire,
                Class::Evicted => self.config.lazyfree_lazy_eviction,
                _ => continue,
            };
            let command: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.propagation.stream.push(change.db, &[command, &change.key], false);
            self.note_write_of(&space.seed, change.db, &change.key);
        }
        self.propagation.seen = changes.len();
    }

    /// Ends the unit: as a transaction if it has several commands that belong together.
    #[inline]
    pub(crate) fn end_propagated_unit(&mut self, space: &Keyspace, together: bool) {
        if space.recorder.changes.len() != self.propagation.seen {
            self.note_deletions(space);
        }
        self.propagation.seen = 0;
        self.propagation.stream.end_unit(together);
    }
}
