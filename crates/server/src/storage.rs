//! The files beside the loop: tasks for the disk, the child that writes a snapshot, and what is loaded at the start.

use std::path::Path;
use std::sync::Arc;

use mio::net::UnixStream;
use mio::{Registry, Token, Waker};
use node::{Node, Snapshot as Kind, SnapshotId, Written};

use crate::file_sink::Target;
use crate::host::Machine;
use crate::log;
use crate::snapshot::{self, Job, Progress, Snapshot, State};
use crate::text::reason;

/// The token of the disk's waker, and of the child's pipe.
pub(crate) const DISK_TOKEN: Token = Token((1 << 40) - 3);
pub(crate) const CHILD_TOKEN: Token = Token((1 << 40) - 4);

/// What the loop has to do with files.
pub(crate) struct Storage {
    child: Option<Snapshot>,
    /// What a snapshot in pieces comes through; its child may have ended before the last was taken.
    pieces: Option<Pieces>,
    /// Children that were told to end and may not have: nobody wants to hear of them.
    unwanted: Vec<Snapshot>,
    waker: Arc<Waker>,
}

/// A snapshot that comes in pieces.
struct Pieces {
    id: SnapshotId,
    stream: UnixStream,
    /// The node has asked for the next.
    wanted: bool,
}

impl Storage {
    /// Returns the files' side of a loop.
    pub(crate) fn new(waker: Arc<Waker>) -> Storage {
        Storage { child: None, pieces: None, unwanted: Vec::new(), waker }
    }

    /// Returns what wakes the loop for the files.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Tells the node what became of tasks; returns whether there was anything to tell.
    pub(crate) fn report(&mut self, node: &mut Node, machine: &Machine) -> bool {
        let done = machine.disk.borrow_mut().take_done();
        let any = !done.is_empty();
        for (id, result) in done {
            node.task_done(machine.clock.now(), machine, id, result);
        }
        any
    }

    /// Forks a child that writes a snapshot of this moment.
    pub(crate) fn fork(
        &mut self,
        registry: &Registry,
        node: &mut Node,
        machine: &Machine,
        kind: Kind,
        path: &str,
        rename_to: Option<&str>,
    ) {
        let now = machine.clock.now();
        let used = machine.memory.used();
        let config = &node.engine.server.config;
        let (name, what, incremental_sync) = match kind {
            Kind::Save => ("redis-rdb-bgsave", "Background saving", config.rdb_save_incremental_fsync),
            Kind::Replicas { diskless: true, .. } => {
                ("redis-rdb-to-slaves", "Background RDB transfer", false)
            }
            Kind::Replicas { .. } => {
                ("redis-rdb-bgsave", "Background saving for replicas", config.rdb_save_incremental_fsync)
            }
            Kind::LogBase { .. } => (
                "redis-aof-rewrite",
                "Background append only file rewriting",
                config.aof_rewrite_incremental_fsync,
            ),
        };
        let config_file =
            machine.config_file.as_ref().map_or(String::new(), |path| path.display().to_string());
        let job = Job {
            target: Target {
                temporary: Path::new(path),
                rename_to: rename_to.map(Path::new),
                incremental_sync,
            },
            in_pieces: matches!(kind, Kind::Replicas { diskless: true, .. }),
            name,
            config,
            config_file: &config_file,
            oom_score: machine.oom_score,
            key_delay: config.rdb_key_save_delay,
        };
        self.kill_child();
        let started = Snapshot::start(registry, CHILD_TOKEN, job, |sink, progress| {
            node.write_snapshot(now, used, kind, sink, progress)
        });
        match started {
            Ok(mut child) => {
                if let Kind::Replicas { id, .. } = kind
                    && let Some(stream) = child.take_pieces()
                {
                    self.pieces = Some(Pieces { id, stream, wanted: false });
                }
                log::notice(&format!("{what} started by pid {}", child.pid()));
                node.forked(child.fork_time());
                self.child = Some(child);
            }
            Err(error) => {
                let why = format!("Can't fork: {}", reason(&error));
                log::warning(&format!("{what}: {why}"));
                node.snapshot_done(now, Err(why));
            }
        }
    }

    /// Hands the node the next piece of a snapshot, as soon as there is one.
    pub(crate) fn next_piece(&mut self, node: &mut Node, machine: &Machine, id: SnapshotId) {
        if let Some(pieces) = self.pieces.as_mut().filter(|pieces| pieces.id == id) {
            pieces.wanted = true;
            self.hand_in_piece(node, machine);
        }
    }

    fn hand_in_piece(&mut self, node: &mut Node, machine: &Machine) {
        let Some(pieces) = self.pieces.as_mut().filter(|pieces| pieces.wanted) else { return };
        if let Some(piece) = snapshot::take_piece(&mut pieces.stream) {
            pieces.wanted = false;
            if piece.is_empty() {
                self.pieces = None;
            }
            node.snapshot_piece(machine.clock.now(), piece);
        }
    }

    /// Forgets pieces that nobody wants any more.
    pub(crate) fn drop_pieces(&mut self) {
        self.pieces = None;
    }

    /// Ends the child; nobody waits for what it would have said.
    pub(crate) fn kill_child(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill();
            self.unwanted.push(child);
        }
    }

    /// Returns whether a child is about to end, and is to be heard again soon.
    pub(crate) fn has_leaving(&self) -> bool {
        self.child.iter().chain(&self.unwanted).any(Snapshot::is_leaving)
    }

    /// Hears what the child has to say.
    pub(crate) fn hear_child(&mut self, node: &mut Node, machine: &Machine) {
        self.unwanted.retain_mut(|child| matches!(child.poll(), State::Running(_)));
        self.hand_in_piece(node, machine);
        let Some(child) = &mut self.child else { return };
        let now = machine.clock.now();
        match child.poll() {
            State::Running(Progress { keys, copied, copied_peak, syncing, .. }) => {
                node.snapshot_progress(now, keys, copied, copied_peak);
                if syncing {
                    node.snapshot_syncing(now);
                }
            }
            State::Done(result) => {
                self.child = None;
                let result = result.map_err(|failure| failure.to_string()).map(|progress| {
                    let megabytes = |bytes: u64| bytes >> 20;
                    log::notice(&format!(
                        "Fork CoW: current {} MB, peak {} MB",
                        megabytes(progress.copied),
                        megabytes(progress.copied_peak)
                    ));
                    Written { bytes: progress.bytes, copied: progress.copied_peak }
                });
                node.snapshot_done(now, result);
            }
        }
    }
}
