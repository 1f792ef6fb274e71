//! One server: a node, its disk, the child that writes its snapshots, and the files that it loads.

use std::collections::BTreeMap;
use std::time::Duration;

use base::rng::Rng;
use base::time::{Instant, Now};
use config::Config;
use engine::table::Table;
use node::{Node, Snapshot, Written};

use crate::disk::VirtualDisk;
use crate::host::Bytes;
use crate::log_files::MANIFEST;
use crate::{VirtualHost, log_files};

/// A server, which may be down.
pub(super) struct Member {
    pub(super) disk: VirtualDisk,
    pub(super) life: Option<Life>,
    /// When it comes back.
    pub(super) restart_at: Option<Instant>,
    /// Whom it is to follow.
    pub(super) parent: Option<usize>,
    /// Nobody reaches it but clients.
    pub(super) isolated: bool,
    /// By how much its wall clock is wrong, in microseconds.
    pub(super) skew: i64,
}

/// A server while it is up.
pub(super) struct Life {
    pub(super) node: Node,
    pub(super) host: VirtualHost,
    pub(super) child: Option<Child>,
    /// A child that has ended, and has left pieces of its snapshot in the pipe; another may be at work meanwhile.
    draining: Option<Child>,
    pub(super) loader: Option<Loader>,
    /// Who is at the other end of each of its links.
    pub(super) ends: BTreeMap<u32, End>,
    /// When it was called last, and how often at that moment.
    pub(super) tended: Instant,
    pub(super) turns: u32,
}

/// Who is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client(usize),
    /// The master, over this wire.
    Master(u64),
    /// A replica, over this wire.
    Replica(u64),
}

/// A child that writes a snapshot.
pub(super) struct Child {
    kind: Snapshot,
    path: String,
    rename_to: Option<String>,
    bytes: Vec<u8>,
    /// How much of it was handed out.
    at: usize,
    pub(super) due: Instant,
    /// The next piece was asked for.
    wants: bool,
    pub(super) fails: bool,
}

/// So much may lie in the pipe of a child that has ended.
const PIPE: usize = 4_096;

impl Child {
    /// Forks: the data is that of this moment. The error says why that cannot be.
    pub(super) fn fork(
        life: &mut Life,
        now: Now,
        kind: Snapshot,
        path: String,
        rename_to: Option<String>,
        due: Instant,
    ) -> Result<(), String> {
        if life.child.is_some() {
            return Err("the server forks, and its last child is at work still".into());
        }
        let mut bytes = Bytes::default();
        life.node
            .write_snapshot(now, 1 << 20, kind, &mut bytes, &mut |_| {})
            .map_err(|error| error.reason)?;
        life.node.forked(Duration::ZERO);
        life.child =
            Some(Child { kind, path, rename_to, bytes: bytes.0, at: 0, due, wants: false, fails: false });
        Ok(())
    }

    fn in_pieces(&self) -> bool {
        matches!(self.kind, Snapshot::Replicas { diskless: true, .. })
    }

    /// Returns when something is to be heard of it, while it is at work.
    fn next_due(&self) -> Option<Instant> {
        let idle = self.in_pieces() && !self.wants && self.bytes.len() - self.at > PIPE;
        (!idle || self.fails).then_some(self.due)
    }

    /// Takes the next piece of its snapshot; an empty one when there is none left.
    fn piece(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.wants = false;
        let left = &self.bytes[self.at..];
        let piece = left[..left.len().min(1 + rng.below(PIPE as u64) as usize)].to_vec();
        self.at += piece.len();
        piece
    }
}

/// Files on their way into a node.
pub(super) struct Loader {
    reading: Option<(Vec<u8>, usize)>,
    rest: Vec<u8>,
    pub(super) due: Instant,
    piece: usize,
}

impl Life {
    /// Asks for the next piece of the snapshot.
    pub(super) fn want_piece(&mut self) {
        if let Some(child) = self.draining.as_mut().or(self.child.as_mut()) {
            child.wants = true;
        }
    }

    /// Throws away what is left of a snapshot in pieces.
    pub(super) fn drop_pieces(&mut self) {
        self.draining = None;
    }

    /// Returns when something is to be heard of a child, or of what one has left.
    pub(super) fn child_due(&self) -> Option<Instant> {
        let child = self.child.as_ref().and_then(Child::next_due);
        child.into_iter().chain(self.piece_due()).min()
    }

    /// Returns when the next piece comes that a child has left.
    fn piece_due(&self) -> Option<Instant> {
        self.draining.as_ref().filter(|child| child.wants).map(|child| child.due)
    }

    /// Takes what is due of children; `pause` is how long it then takes for more.
    pub(super) fn hear_children(&mut self, now: Now, disk: &mut VirtualDisk, rng: &mut Rng, pause: Duration) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.instant);
        if is_due(self.piece_due())
            && let Some(child) = &mut self.draining
        {
            child.due = now.instant + pause;
            let piece = child.piece(rng);
            if piece.is_empty() {
                self.draining = None;
            }
            self.node.snapshot_piece(now, piece);
        }
        if is_due(self.child.as_ref().and_then(Child::next_due)) {
            self.hear_child(now, disk, rng, pause);
        }
    }

    /// Takes what the child that is at work has to say.
    fn hear_child(&mut self, now: Now, disk: &mut VirtualDisk, rng: &mut Rng, pause: Duration) {
        let Some(mut child) = self.child.take() else { return };
        child.due = now.instant + pause;
        let written = Written { bytes: child.bytes.len() as u64, copied: 0 };
        if child.fails {
            if !child.in_pieces() {
                disk.abandon(&child.path, &child.bytes[..child.bytes.len() / 2]);
            }
            return self.node.snapshot_done(now, Err("the child was killed".into()));
        }
        if !child.in_pieces() {
            let result = disk.save(&child.path, child.rename_to.as_deref(), &child.bytes);
            let result = result.map(|()| written).map_err(|error| error.to_string());
            return self.node.snapshot_done(now, result);
        }
        let left = child.bytes.len() - child.at;
        if left <= PIPE && (left == 0 || rng.below(2) == 0) {
            self.draining = Some(child);
            return self.node.snapshot_done(now, Ok(written));
        }
        let piece = child.wants.then(|| child.piece(rng));
        self.child = Some(child);
        if let Some(piece) = piece {
            self.node.snapshot_piece(now, piece);
        }
    }

    /// Begins to load what the node asks for, if it does.
    pub(super) fn begin_loading(&mut self, now: Instant, piece: usize) {
        self.loader =
            self.node.file_to_load().map(|_| Loader { reading: None, rest: Vec::new(), due: now, piece });
    }

    /// Loads a little; the error says why the server cannot go on.
    pub(super) fn load(&mut self, now: Now, disk: &VirtualDisk) -> Result<(), String> {
        let Some(mut loader) = self.loader.take() else { return Ok(()) };
        match loader.step(&mut self.node, now, &self.host, disk) {
            Ok(true) => self.loader = Some(loader),
            Ok(false) => {}
            Err(reason) if self.node.loading_failed(now, &self.host, reason.clone()) => {}
            Err(reason) => return Err(reason),
        }
        Ok(())
    }
}

impl Loader {
    /// Loads a little; returns whether there is more.
    fn step(
        &mut self,
        node: &mut Node,
        now: Now,
        host: &VirtualHost,
        disk: &VirtualDisk,
    ) -> Result<bool, String> {
        let Some((bytes, at)) = &mut self.reading else {
            let Some(file) = node.file_to_load() else {
                node.end_loading(now, host);
                return Ok(false);
            };
            match disk.read(&file.path) {
                Some(bytes) => self.reading = Some((bytes.to_vec(), 0)),
                None => node.file_missing()?,
            }
            return Ok(true);
        };
        if *at < bytes.len() {
            let end = bytes.len().min(*at + self.piece);
            self.rest.extend_from_slice(&bytes[*at..end]);
            *at = end;
            let taken = node.load(now, host, &self.rest)?;
            self.rest.drain(..taken);
        } else {
            self.reading = None;
            node.file_ended(host, &std::mem::take(&mut self.rest))?;
        }
        Ok(true)
    }
}

impl Member {
    /// Starts the server, and loads what is on its disk; the error says why it does not start.
    pub(super) fn start(&mut self, config: Config, seed: u64, now: Now) -> Result<(), String> {
        log_files::tidy(&mut self.disk, now.instant);
        let host = VirtualHost::default();
        log_files::show(&host, &self.disk);
        let mut node = Node::new(config, Table::standard(), seed, now);
        let disk = &self.disk;
        node.begin_loading(now, disk.read(MANIFEST), false, &mut |path| {
            disk.read(path).map(|bytes| bytes.len() as u64)
        })?;
        let mut life = Life {
            node,
            host,
            child: None,
            draining: None,
            loader: None,
            ends: BTreeMap::new(),
            tended: Instant::ZERO,
            turns: 0,
        };
        life.loader = Some(Loader {
            reading: None,
            rest: Vec::new(),
            due: now.instant,
            piece: 1 + seed as usize % 5_000,
        });
        while life.loader.is_some() {
            life.load(now, &self.disk)?;
        }
        self.life = Some(life);
        Ok(())
    }

    pub(super) fn node(&self) -> Option<&Node> {
        self.life.as_ref().map(|life| &life.node)
    }

    /// Returns when the server has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let Some(life) = &self.life else { return self.restart_at };
        let loader = life.loader.as_ref().map(|loader| loader.due);
        [life.node.poll_timeout(), self.disk.poll_timeout(), life.child_due(), loader]
            .into_iter()
            .flatten()
            .min()
    }
}
