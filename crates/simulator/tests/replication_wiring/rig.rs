//! A few nodes without I/O, and all that lies between them, carried out by hand and in pieces of a chosen size.
//!
//! Nothing happens but in [`Rig::settle`], which ends when nobody has anything to do at this moment, and in [`Rig::pass`], which
//! lets time pass. Member `n` listens on port `n + 1`.

use std::collections::VecDeque;
use std::time::Duration;

use config::Config;
use engine::table::Table;
use node::{Closing, Effect, Host, Input, LinkId, Node, Peer, Snapshot, Written};
use simulator::disk::{Speed, VirtualDisk};
use simulator::host::Bytes;
use simulator::log_files::MANIFEST;
use simulator::{Clock, VirtualHost, log_files};
use testkit::words;

/// Links to this port are neither opened nor refused.
pub(crate) const NOWHERE: &str = "127.0.0.1 9";
/// Behind this port the test itself is the master.
pub(crate) const ROGUE: &str = "127.0.0.1 100";

pub(crate) struct Rig {
    clock: Clock,
    pub(crate) members: Vec<Member>,
    pub(crate) wires: Vec<Wire>,
    /// So many bytes arrive in one read.
    pub(crate) read: usize,
    /// So many bytes can be sent on a link that is opened from now on.
    pub(crate) room: usize,
}

/// A server, its disk, and the child that writes its snapshots.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) host: VirtualHost,
    pub(crate) disk: VirtualDisk,
    /// Who asks when nothing else is said.
    pub(crate) client: LinkId,
    /// What the server has logged.
    pub(crate) log: Vec<String>,
    child: Option<Child>,
    /// Children end only when that is allowed.
    pub(crate) children_wait: bool,
    pieces: Option<Pieces>,
    /// How long the pieces are, one after the other and from the front again.
    pub(crate) piece_sizes: Vec<usize>,
    loads: bool,
    /// It has asked to be stopped.
    pub(crate) stopped: bool,
}

struct Child {
    kind: Snapshot,
    path: String,
    rename_to: Option<String>,
    bytes: Vec<u8>,
}

/// What lies in the pipe of a child that hands its snapshot over in pieces.
struct Pieces {
    id: node::SnapshotId,
    left: VecDeque<u8>,
    wanted: bool,
    count: usize,
}

/// A replica's link to its master.
pub(crate) struct Wire {
    pub(crate) replica: (usize, LinkId),
    /// Nobody where the test is the master.
    pub(crate) master: Option<(usize, LinkId)>,
    to_replica: VecDeque<u8>,
    to_master: Vec<u8>,
    file: Option<Vec<u8>>,
    /// So many bytes can still be sent to the replica.
    pub(crate) room: usize,
    /// So many bytes still arrive there before the link breaks.
    pub(crate) breaks_after: Option<usize>,
}

impl Member {
    fn start(rig: &Rig, index: usize, disk: VirtualDisk, parameters: &[(&str, &str)]) -> Member {
        let (host, now) = (VirtualHost::default(), rig.clock.now());
        let port = (index + 1).to_string();
        let usual = [
            ("port", port.as_str()),
            ("save", ""),
            ("repl-diskless-sync-delay", "0"),
            ("enable-debug-command", "yes"),
        ];
        let mut config = Config::default();
        for (name, value) in usual.iter().chain(parameters) {
            let words: Vec<&[u8]> = value.split(' ').map(str::as_bytes).collect();
            config.set_at_start(name.as_bytes(), &words).expect("a parameter");
        }
        log_files::show(&host, &disk);
        // Each life has names and chances of its own.
        let seed = 1 + index as u64 + now.unix_us as u64;
        let mut node = Node::new(config, Table::standard(), seed, now);
        node.begin_loading(now, disk.read(MANIFEST), false, &mut |path| {
            disk.read(path).map(|bytes| bytes.len() as u64)
        })
        .expect("a manifest");
        let client = node.open(now, Peer::default());
        let mut member = Member {
            node,
            host,
            disk,
            client,
            log: Vec::new(),
            child: None,
            children_wait: false,
            pieces: None,
            piece_sizes: vec![4_096],
            loads: true,
            stopped: false,
        };
        member.load(rig.clock);
        member
    }

    /// Loads the files that the node asks for.
    fn load(&mut self, clock: Clock) {
        let now = clock.now();
        if !std::mem::take(&mut self.loads) || self.node.file_to_load().is_none() {
            return;
        }
        while let Some(file) = self.node.file_to_load() {
            let Some(bytes) = self.disk.read(&file.path).map(<[u8]>::to_vec) else {
                self.node.file_missing().expect("a file");
                continue;
            };
            let loaded = self.node.load(now, &self.host, &bytes);
            let loaded = loaded.and_then(|taken| self.node.file_ended(&self.host, &bytes[taken..]));
            if let Err(reason) = loaded {
                assert!(self.node.loading_failed(now, &self.host, reason.clone()), "{reason}");
                return;
            }
        }
        self.node.end_loading(now, &self.host);
    }

    fn fork(&mut self, clock: Clock, kind: Snapshot, path: String, rename_to: Option<String>) {
        let mut bytes = Bytes::default();
        self.node.write_snapshot(clock.now(), 0, kind, &mut bytes, &mut |_| {}).expect("memory");
        self.node.forked(Duration::ZERO);
        if let Snapshot::Replicas { id, diskless: true, .. } = kind {
            self.pieces = Some(Pieces { id, left: bytes.0.clone().into(), wanted: false, count: 0 });
        }
        self.child = Some(Child { kind, path, rename_to, bytes: bytes.0 });
    }

    /// Hears of a child that has ended, and of the next piece; returns whether there was anything.
    fn hear_children(&mut self, clock: Clock) -> bool {
        if let Some(child) = self.child.take_if(|_| !self.children_wait) {
            if !matches!(child.kind, Snapshot::Replicas { diskless: true, .. }) {
                self.disk.save(&child.path, child.rename_to.as_deref(), &child.bytes).expect("a good disk");
            }
            let written = Written { bytes: child.bytes.len() as u64, copied: 0 };
            self.node.snapshot_done(clock.now(), Ok(written));
            return true;
        }
        let Some(pieces) = self.pieces.as_mut().filter(|pieces| pieces.wanted) else { return false };
        pieces.wanted = false;
        let size = self.piece_sizes[pieces.count % self.piece_sizes.len()].min(pieces.left.len());
        pieces.count += 1;
        let piece = pieces.left.drain(..size).collect();
        self.node.snapshot_piece(clock.now(), piece);
        true
    }

    fn tend(&mut self, clock: Clock) -> bool {
        let now = clock.now();
        self.load(clock);
        self.disk.settle();
        let done = self.disk.take_done(now.instant);
        let mut any = !done.is_empty();
        done.into_iter().for_each(|(id, result)| self.node.task_done(now, &self.host, id, result));
        any |= self.hear_children(clock);
        if self.node.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.node.handle_timeout(now, &self.host);
            any = true;
        }
        // As the server does: what there is to send is looked at before it is asked whether the link is to be closed.
        while let Some(link) = self.node.poll_output() {
            let _ = self.node.output(link).len();
            let _ = self.node.closing(link);
        }
        any
    }

    /// Returns whether something that was logged contains `text`.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    /// Returns how many full syncs there were.
    pub(crate) fn full_syncs(&self, rig: &Rig) -> u64 {
        self.node.engine.server.replication.primary.figures(rig.clock.now().instant).stats.full
    }

    /// Returns how far the stream is here.
    pub(crate) fn offset(&self) -> u64 {
        self.node.engine.server.replication.primary.offset()
    }

    /// Returns whether the master's stream flows.
    pub(crate) fn is_up(&self) -> bool {
        self.node.engine.server.master_is_up()
    }

    /// Returns how many keys each of the first databases has.
    pub(crate) fn keys(&self, db: usize) -> usize {
        self.node.engine.keyspace.dbs[db].len()
    }
}

impl Rig {
    /// Starts a server for each list of parameters.
    pub(crate) fn new(members: &[&[(&str, &str)]]) -> Rig {
        let mut rig = Rig {
            clock: Clock::default(),
            members: Vec::new(),
            wires: Vec::new(),
            read: usize::MAX,
            room: usize::MAX,
        };
        for (index, parameters) in members.iter().enumerate() {
            let disk = VirtualDisk::new(1 + index as u64, Speed::default());
            let member = Member::start(&rig, index, disk, parameters);
            rig.members.push(member);
        }
        rig.settle();
        rig
    }

    /// Kills a server, and starts it with what is on its disk, or with nothing unless `keeps`.
    pub(crate) fn restart(&mut self, index: usize, keeps: bool, parameters: &[(&str, &str)]) {
        let empty = VirtualDisk::new(9, Speed::default());
        let mut disk = std::mem::replace(&mut self.members[index].disk, empty);
        // What was saved by the server itself lies with the host.
        let _ = self.members[index].host.read_file("dump.rdb", &mut |bytes| {
            disk.place("dump.rdb", bytes);
            Ok(bytes.len())
        });
        let at_disk = |wire: &Wire| wire.replica.0 == index || wire.master.is_some_and(|(at, _)| at == index);
        while let Some(at) = self.wires.iter().position(at_disk) {
            self.cut(at);
        }
        self.clock.advance(Duration::from_millis(1));
        let new = if keeps { disk } else { VirtualDisk::new(9, Speed::default()) };
        self.members[index] = Member::start(self, index, new, parameters);
        self.settle();
    }

    /// Says lines to a server over a link, all in one read; nothing else happens.
    pub(crate) fn say(&mut self, index: usize, link: LinkId, lines: &str) {
        let bytes = encode(lines);
        let member = &mut self.members[index];
        // CONFIG SET looks where the log is.
        log_files::show(&member.host, &member.disk);
        member.node.handle_input(self.clock.now(), &member.host, link, &bytes);
    }

    /// Hands a server what arrived on several of its links within one turn.
    pub(crate) fn say_at_once(&mut self, index: usize, parts: &[(LinkId, Vec<u8>)]) {
        let (mut buffer, mut inputs) = (Vec::new(), Vec::new());
        for (link, bytes) in parts {
            let start = buffer.len();
            buffer.extend(bytes);
            inputs.push(Input { link: *link, start, end: buffer.len() });
        }
        let member = &mut self.members[index];
        member.node.handle_inputs(self.clock.now(), &member.host, &buffer, &inputs);
    }

    /// Says lines to a server, lets everything happen that follows at this moment, and returns what was answered.
    pub(crate) fn ask(&mut self, index: usize, lines: &str) -> String {
        self.say(index, self.members[index].client, lines);
        self.settle();
        self.said(index, self.members[index].client)
    }

    /// Takes what a server has said on a link.
    pub(crate) fn said(&mut self, index: usize, link: LinkId) -> String {
        let bytes = self.take(index, link, usize::MAX);
        String::from_utf8_lossy(&bytes).replace("\r\n", " ").trim_end().to_owned()
    }

    /// Takes the first bytes that a server has for a link.
    pub(crate) fn take(&mut self, index: usize, link: LinkId, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let node = &mut self.members[index].node;
        while bytes.len() < most && !node.output(link).is_empty() {
            let output = node.output(link);
            let count = output.len().min(most - bytes.len());
            bytes.extend_from_slice(&output[..count]);
            node.sent(link, count);
        }
        bytes
    }

    /// Opens a link to a server.
    pub(crate) fn open(&mut self, index: usize) -> LinkId {
        self.members[index].node.open(self.clock.now(), Peer::default())
    }

    /// Lets time pass, and everything happen that is due.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.sleep(100);
            self.settle();
        }
    }

    /// Lets time pass in which nobody does anything.
    pub(crate) fn sleep(&mut self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// Lets everything happen that can at this moment.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("there is no end to what happens at one moment");
    }

    fn step(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            while let Some(effect) = self.members[index].node.poll_effect() {
                self.carry_out(index, effect);
                any = true;
            }
            any |= self.members[index].tend(self.clock);
        }
        let mut at = 0;
        while at < self.wires.len() {
            let before = self.wires.len();
            any |= self.carry(at);
            at += usize::from(self.wires.len() == before);
        }
        any
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let now = self.clock.now();
        let member = &mut self.members[index];
        match effect {
            Effect::Disk(id, task) => member.disk.submit(now.instant, id, task),
            Effect::Fork { kind, path, rename_to } => member.fork(self.clock, kind, path, rename_to),
            Effect::KillChild => member.child = None,
            Effect::NextPiece(id) => {
                if let Some(pieces) = member.pieces.as_mut().filter(|pieces| pieces.id == id) {
                    pieces.wanted = true;
                }
            }
            Effect::DropPieces => member.pieces = None,
            Effect::Load => member.loads = true,
            Effect::Shutdown => member.stopped = true,
            Effect::Log(_, line) => member.log.push(line),
            Effect::SendFile { session, path } => {
                let bytes = member.disk.read(&path).expect("the snapshot's file").to_vec();
                let wire = self.wires.iter_mut().find(|wire| wire.master == Some((index, session)));
                wire.expect("a replica's link").file = Some(bytes);
            }
            Effect::Connect { session, port, .. } => self.connect(index, session, port),
            _ => {}
        }
    }

    fn connect(&mut self, index: usize, session: LinkId, port: u16) {
        let now = self.clock.now();
        let master = match usize::from(port) {
            100 => None,
            port if (1..=self.members.len()).contains(&port) => {
                Some((port - 1, self.members[port - 1].node.open(now, Peer::default())))
            }
            _ => return,
        };
        self.wires.push(Wire {
            replica: (index, session),
            master,
            to_replica: VecDeque::new(),
            to_master: Vec::new(),
            file: None,
            room: self.room,
            breaks_after: None,
        });
        let member = &mut self.members[index];
        member.node.connected(now, &member.host, session);
    }

    /// Moves what is on its way over a link; returns whether there was anything.
    fn carry(&mut self, at: usize) -> bool {
        let now = self.clock.now();
        let mut any = false;
        let (replica, link) = self.wires[at].replica;
        if let Some((master, id)) = self.wires[at].master {
            let wire = &mut self.wires[at];
            let node = &mut self.members[master].node;
            while wire.room > 0 && !node.output(id).is_empty() {
                let output = node.output(id);
                let count = output.len().min(wire.room);
                wire.to_replica.extend(&output[..count]);
                wire.room -= if wire.room == usize::MAX { 0 } else { count };
                node.sent(id, count);
                any = true;
            }
            if wire.room > 0
                && let Some(file) = wire.file.take()
            {
                node.file_sent(now, id, file.len(), true);
                wire.to_replica.extend(file);
                any = true;
            }
            if node.closing(id) != Closing::No {
                self.cut(at);
                return true;
            }
        }
        let bytes = self.take(replica, link, usize::MAX);
        let wire = &mut self.wires[at];
        any |= !bytes.is_empty();
        wire.to_master.extend(bytes);
        if let Some((master, id)) = wire.master
            && !wire.to_master.is_empty()
        {
            let bytes = std::mem::take(&mut wire.to_master);
            let member = &mut self.members[master];
            member.node.handle_input(now, &member.host, id, &bytes);
        }
        let wire = &mut self.wires[at];
        let member = &mut self.members[replica];
        if !wire.to_replica.is_empty() && member.node.wants_input(link) {
            let mut count = wire.to_replica.len().min(self.read);
            if let Some(left) = &mut wire.breaks_after {
                count = count.min(*left);
                *left -= count;
            }
            let bytes: Vec<u8> = wire.to_replica.drain(..count).collect();
            if !bytes.is_empty() {
                member.node.handle_input(now, &member.host, link, &bytes);
                any = true;
            }
        }
        if self.wires[at].breaks_after == Some(0) || member.node.closing(link) != Closing::No {
            self.cut(at);
            return true;
        }
        any
    }

    /// Breaks a link; both ends hear of it, and what was on its way is lost.
    pub(crate) fn cut(&mut self, at: usize) {
        let wire = self.wires.remove(at);
        let (replica, link) = wire.replica;
        let member = &mut self.members[replica];
        if member.node.is_master(link) {
            member.node.disconnected(self.clock.now(), &member.host, link, "the link was cut");
        } else {
            member.node.close(link);
        }
        if let Some((master, id)) = wire.master {
            self.members[master].node.close(id);
        }
    }

    /// Returns a server's link to its master.
    pub(crate) fn wire_of(&mut self, replica: usize) -> &mut Wire {
        self.wires.iter_mut().find(|wire| wire.replica.0 == replica).expect("a link to a master")
    }

    /// Answers what a server asks of the test as its master, up to its PSYNC; returns that.
    pub(crate) fn greet(&mut self, replica: usize) -> String {
        loop {
            self.settle();
            let said = String::from_utf8(std::mem::take(&mut self.wire_of(replica).to_master)).expect("text");
            assert!(!said.is_empty(), "the replica says nothing");
            let mut answers = String::new();
            for request in said.split('*').skip(1) {
                let words: Vec<&str> = request.lines().skip(2).step_by(2).collect();
                match words[0] {
                    "PING" => answers.push_str("+PONG\r\n"),
                    "PSYNC" => return words.join(" "),
                    _ => answers.push_str("+OK\r\n"),
                }
            }
            self.dictate(replica, answers.as_bytes());
        }
    }

    /// Says to a server, as its master, all in one read.
    pub(crate) fn dictate(&mut self, replica: usize, bytes: &[u8]) {
        self.wire_of(replica).to_replica.extend(bytes);
        self.settle();
    }

    /// Returns a snapshot of a server's data.
    pub(crate) fn snapshot(&self, index: usize) -> Vec<u8> {
        let mut bytes = Bytes::default();
        let node = &self.members[index].node;
        node.write_snapshot(self.clock.now(), 0, Snapshot::Save, &mut bytes, &mut |_| {}).expect("memory");
        bytes.0
    }

    /// Checks that all servers have the same data, and are as far in the stream.
    pub(crate) fn check_equal(&mut self) {
        let digests: Vec<String> =
            (0..self.members.len()).map(|index| self.ask(index, "DEBUG DIGEST")).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
        let offsets: Vec<u64> = self.members.iter().map(Member::offset).collect();
        assert!(offsets.iter().all(|offset| *offset == offsets[0]), "{offsets:?}");
    }
}

/// Returns requests, one a line, as clients send them.
pub(crate) fn encode(lines: &str) -> Vec<u8> {
    lines.lines().flat_map(|line| words::encode(&words::split(line).expect("a request"))).collect()
}
