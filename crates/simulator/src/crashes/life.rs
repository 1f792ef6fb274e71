//! One node from its start to its end, and everything that it has to do with meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base::disk::{Step, Task, TaskId};
use base::time::{Instant, Now};
use config::{AppendFsync, Config};
use engine::table::Table;
use node::{Closing, Effect, LinkId, Node, Snapshot, Written};
use testkit::{Reply, words};

use super::shadow::Shadow;
use super::traffic::{Meaning, Request, number_in, other};
use super::{PREPARED_SPACES, World};
use crate::disk::{Fault, Speed, VirtualDisk};
use crate::host::Bytes;
use crate::log_files::MANIFEST;
use crate::{Clock, VirtualHost, log_files, network};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    PowerCut,
    Kill,
    Shutdown,
}

/// A running node.
pub(super) struct Life {
    pub(super) node: Node,
    host: VirtualHost,
    child: Option<Child>,
    clients: Vec<Client>,
    /// The unit of each write that has a number.
    numbered: BTreeMap<u64, usize>,
    /// No task failed, and no child.
    pub(super) healthy: bool,
    /// The disk was quick all the time.
    pub(super) prompt: bool,
    /// The log was on and promised something all the time.
    pub(super) log_was_on: bool,
    /// So many units were loaded.
    loaded: usize,
    /// The first task that opens a file.
    opening: Option<TaskId>,
    /// A manifest was there at the start.
    had_log: bool,
    /// So many effects are still carried out before the end, if it comes in between.
    effects_left: Option<u64>,
    /// A client has asked for the end.
    asked_to_stop: bool,
    stopped: bool,
    /// Children fail once in so many.
    child_failures: u64,
    child_time: u64,
    /// When something was done last, and how often at that moment.
    tended: Instant,
    turns: u32,
}

/// A child that writes a snapshot.
struct Child {
    kind: Snapshot,
    path: String,
    rename_to: Option<String>,
    bytes: Vec<u8>,
    due: Instant,
    fails: bool,
    /// How many units the snapshot holds.
    units: usize,
}

struct Client {
    id: LinkId,
    db: usize,
    pending: VecDeque<Pending>,
    said: Vec<u8>,
    /// The last unit that is known to be of this client.
    written: usize,
    /// The last reply.
    last: Option<Reply>,
}

/// A reply that is awaited, and the unit that it tells of.
struct Pending {
    meaning: Meaning,
    unit: usize,
}

impl Life {
    /// Starts a node and loads what the disk has.
    pub(super) fn load(config: Config, seed: u64, clock: &Clock, disk: &VirtualDisk) -> Result<Life, String> {
        let (now, host) = (clock.now(), VirtualHost::default());
        let mut node = Node::new(config, Table::standard(), seed, now);
        log_files::show(&host, disk);
        let manifest = disk.read(MANIFEST);
        let had_log = manifest.is_some();
        let refused = |reason: String| format!("loading is refused: {reason}");
        node.begin_loading(now, manifest, false, &mut |path| disk.read(path).map(|bytes| bytes.len() as u64))
            .map_err(refused)?;
        let piece = 200 + (seed % 20_000) as usize;
        while let Some(file) = node.file_to_load() {
            match disk.read(&file.path) {
                Some(bytes) => load_file(&mut node, now, &host, bytes, piece).map_err(refused)?,
                None => node.file_missing().map_err(refused)?,
            }
        }
        node.end_loading(now, &host);
        // Only now: what is replayed is no write.
        node.observe();
        Ok(Life {
            node,
            loaded: 0,
            opening: None,
            host,
            child: None,
            clients: Vec::new(),
            numbered: BTreeMap::new(),
            healthy: true,
            prompt: true,
            log_was_on: true,
            had_log,
            effects_left: None,
            asked_to_stop: false,
            stopped: false,
            child_failures: 0,
            child_time: 0,
            tended: Instant::ZERO,
            turns: 0,
        })
    }

    /// Serves until the end comes.
    pub(super) fn run(&mut self, world: &mut World) -> Result<End, String> {
        self.set_out(world);
        let start = world.clock.now().instant;
        let longest = [20_000, 200_000, 3_000_000][world.rng.below(3) as usize];
        let mut end = start + Duration::from_micros(world.rng.below(longest));
        let pause = [1_000, 10_000, 100_000][world.rng.below(3) as usize];
        let kind = match world.rng.below(10) {
            0..6 => End::PowerCut,
            6..9 => End::Kill,
            _ => End::Shutdown,
        };
        world.note(|| format!("---- {:?}, {kind:?} at {}", world.setup, end.micros()));
        self.collect(world)?;
        let mut action = start;
        loop {
            let due = self.next_due(world).into_iter().chain([action, end]).min().unwrap_or(end);
            world.clock.advance_to(due);
            let now = world.clock.now().instant;
            if self.stopped {
                return Ok(End::Shutdown);
            }
            if now >= end && !self.asked_to_stop {
                match kind {
                    End::Shutdown => {
                        self.asked_to_stop = true;
                        self.ask(world, 0, vec![other(&["SHUTDOWN", "NOSAVE"])])?;
                        // A stop that takes too long is ended by other means.
                        end = now + Duration::from_secs(20);
                        continue;
                    }
                    _ if world.rng.below(3) == 0 => {
                        // The end comes while what was just executed is carried out.
                        self.effects_left = Some(world.rng.below(6));
                        let batch = world.traffic.batch(&mut world.rng);
                        self.ask(world, 0, batch)?;
                        return Ok(kind);
                    }
                    _ => return Ok(kind),
                }
            }
            if now >= end {
                return Ok(End::Kill);
            }
            self.tend(world)?;
            if now >= action {
                if !self.asked_to_stop {
                    self.act(world)?;
                }
                action = now + Duration::from_micros(1 + world.rng.below(pause));
            }
        }
    }

    /// Draws what this life is like, and lets clients connect.
    fn set_out(&mut self, world: &mut World) {
        self.loaded = world.ledger.len();
        let rng = &mut world.rng;
        let (sync, stall) = [(0, 0), (3, 0), (5, 100), (60, 30), (1_500, 0)][rng.below(5) as usize];
        let sync = Duration::from_millis(sync);
        world.disk.set_speed(Speed { write: Duration::from_micros(100), sync, stall });
        self.prompt = sync <= Duration::from_millis(3);
        self.child_failures = if world.failing { [0, 2, 8][rng.below(3) as usize] } else { 0 };
        self.child_time = [1_000, 100_000, 3_000_000][rng.below(3) as usize];
        for index in 0..1 + rng.below(4) {
            self.connect(world.clock.now(), index as usize);
        }
    }

    fn connect(&mut self, now: Now, index: usize) {
        let id = self.node.open(now, network::peer(index));
        self.clients.push(Client {
            id,
            db: 0,
            pending: VecDeque::new(),
            said: Vec::new(),
            written: 0,
            last: None,
        });
    }

    fn next_due(&self, world: &World) -> Option<Instant> {
        let child = self.child.as_ref().map(|child| child.due);
        [self.node.poll_timeout(), world.disk.poll_timeout(), child].into_iter().flatten().min()
    }

    /// Does what is due.
    fn tend(&mut self, world: &mut World) -> Result<(), String> {
        let now = world.clock.now();
        self.turns = if self.tended == now.instant { self.turns + 1 } else { 0 };
        self.tended = now.instant;
        if self.turns > TURNS_MAX {
            return Err(format!("the node has something to do at {} again and again", now.instant.micros()));
        }
        if let Some(child) = self.child.take_if(|child| child.due <= now.instant) {
            self.end_child(world, child);
        }
        if self.node.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.node.handle_timeout(now, &self.host);
        }
        self.collect(world)
    }

    fn end_child(&mut self, world: &mut World, child: Child) {
        let result = if child.fails {
            world.disk.abandon(&child.path, &child.bytes[..child.bytes.len() / 2]);
            Err("the child failed".to_owned())
        } else {
            world
                .disk
                .save(&child.path, child.rename_to.as_deref(), &child.bytes)
                .map(|()| Written { bytes: child.bytes.len() as u64, copied: 0 })
                .map_err(|error| error.to_string())
        };
        world.note(|| format!("child for {}: {result:?}", child.path));
        self.healthy &= result.is_ok();
        if result.is_ok() && child.kind == Snapshot::Save && !world.setup.appendonly {
            world.ledger.promise(child.units);
        }
        self.node.snapshot_done(world.clock.now(), result);
    }

    /// Returns whether not all was carried out that the node asked for.
    pub(super) fn is_cut_short(&self) -> bool {
        self.effects_left.is_some()
    }

    /// Leaves behind what a child has written that ends with its parent.
    pub(super) fn leave_child(&mut self, world: &mut World) {
        let Some(child) = self.child.take() else { return };
        if world.rng.below(3) == 0 && !child.fails {
            // It was done, and nobody heard of it.
            let _ = world.disk.save(&child.path, child.rename_to.as_deref(), &child.bytes);
        } else {
            let part = world.rng.below(child.bytes.len() as u64 + 1) as usize;
            world.disk.abandon(&child.path, &child.bytes[..part]);
        }
    }

    /// Lets somebody do something.
    fn act(&mut self, world: &mut World) -> Result<(), String> {
        let client = world.rng.below(self.clients.len() as u64) as usize;
        match world.rng.below(100) {
            0..3 if world.failing => self.break_disk(world),
            3 if world.failing => self.recover(world)?,
            // Without a log it would leave one behind that nobody goes on with.
            4 if world.setup.appendonly => self.ask(world, client, vec![other(&["BGREWRITEAOF"])])?,
            // A snapshot that is loaded because there is no log lacks what has expired.
            5 if self.had_log || !world.traffic.expiry => {
                self.ask(world, client, vec![other(&["BGSAVE", "SCHEDULE"])])?;
            }
            6 => {
                let policy = world.draw_fsync();
                if policy == "no" {
                    world.ledger.forgive();
                }
                let request = other(&["CONFIG", "SET", "appendfsync", policy]);
                self.ask(world, client, vec![Request { meaning: Meaning::Policy, ..request }])?;
            }
            7 if world.rng.below(3) == 0 && world.setup.appendonly => {
                let on = if self.node.engine.server.config.appendonly { "no" } else { "yes" };
                world.ledger.forgive();
                self.log_was_on = false;
                self.ask(world, client, vec![other(&["CONFIG", "SET", "appendonly", on])])?;
            }
            8 if world.rng.below(2) == 0 => {
                let space = PREPARED_SPACES[world.rng.below(4) as usize];
                self.ask(world, client, vec![other(&["CONFIG", "SET", "aof-prepared-space", space])])?;
            }
            8 => {
                let on = ["yes", "no"][world.rng.below(2) as usize];
                let name = ["aof-use-rdb-preamble", "aof-timestamp-enabled"][world.rng.below(2) as usize];
                self.ask(world, client, vec![other(&["CONFIG", "SET", name, on])])?;
            }
            9 if self.clients.len() < 8 => {
                let old = self.clients.swap_remove(client);
                self.node.close(old.id);
                self.connect(world.clock.now(), client);
                self.collect(world)?;
            }
            _ => {
                let batch = world.traffic.batch(&mut world.rng);
                self.ask(world, client, batch)?;
            }
        }
        Ok(())
    }

    /// Makes the disk fail in some way.
    fn break_disk(&mut self, world: &mut World) {
        let rng = &mut world.rng;
        let step = [
            Step::Open,
            Step::Write,
            Step::Write,
            Step::Sync,
            Step::Sync,
            Step::Rename,
            Step::Remove,
            Step::Cut,
            Step::MakeDir,
        ][rng.below(9) as usize];
        let fault = Fault {
            step,
            one_in: 1 + rng.below(4),
            times: [1, 1, 3, 10, 1_000_000][rng.below(5) as usize],
            path: ["", "", "manifest", "incr", "base", "temp"][rng.below(6) as usize].into(),
            full: step != Step::Sync && rng.below(3) == 0,
        };
        let room = (rng.below(6) == 0).then(|| rng.below(5_000));
        world.note(|| format!("fault: {fault:?}, room {room:?}"));
        self.healthy = false;
        self.prompt = false;
        world.tally.faults += 1;
        world.disk.inject(fault);
        if let Some(room) = room {
            world.disk.set_room(room);
        }
    }

    /// Heals the disk, and waits until writes are taken again.
    fn recover(&mut self, world: &mut World) -> Result<(), String> {
        if self.healthy || self.stopped {
            return Ok(());
        }
        world.note(|| "healed".into());
        world.disk.heal();
        world.disk.set_room(u64::MAX);
        world.disk.set_speed(Speed { sync: Duration::from_millis(3), stall: 0, ..Speed::default() });
        self.child_failures = 0;
        let start = world.clock.now().instant;
        let mut next = start;
        self.connect(world.clock.now(), 9);
        let client = self.clients.len() - 1;
        let mut refused = None;
        loop {
            let due = self.next_due(world).into_iter().chain([next]).min().unwrap_or(next);
            world.clock.advance_to(due);
            self.tend(world)?;
            let now = world.clock.now().instant;
            if self.clients[client].pending.is_empty() {
                match self.clients[client].last.take() {
                    Some(reply) if !reply.is_error() => break,
                    Some(reply) => refused = Some(reply.head()),
                    None => {}
                }
            }
            if now.saturating_since(start) > HEALED_WITHIN {
                let why = refused.unwrap_or_else(|| "the reply does not come".into());
                return Err(format!(
                    "{HEALED_WITHIN:?} after the disk has healed no write is possible: {why}"
                ));
            }
            if now >= next {
                if self.clients[client].pending.is_empty() {
                    let words = vec![b"INCR".to_vec(), b"n9".to_vec()];
                    self.ask(world, client, vec![Request { words, meaning: Meaning::Write(None) }])?;
                }
                next = now + Duration::from_secs(1);
            }
        }
        world.tally.recoveries += 1;
        let gone = self.clients.swap_remove(client);
        self.node.close(gone.id);
        self.collect(world)
    }

    /// Gives the node what a client sends.
    fn ask(&mut self, world: &mut World, index: usize, batch: Vec<Request>) -> Result<(), String> {
        if self.stopped {
            return Ok(());
        }
        world.clock.advance(Duration::from_micros(10));
        let mut bytes = Vec::new();
        for request in &batch {
            world.note(|| {
                let words: Vec<_> =
                    request.words.iter().map(|word| words::quote(&word[..word.len().min(40)])).collect();
                format!("client {}: {}", self.clients[index].id.0, words.join(" "))
            });
            bytes.extend(words::encode(&request.words));
        }
        let client = &self.clients[index];
        // What a client sends behind a request that waits is executed later.
        let at_once = client.pending.is_empty();
        let before = world.ledger.len();
        let early: Vec<usize> = batch
            .iter()
            .scan(client.db, |db, request| {
                *db = request.selects().unwrap_or(*db);
                Some(match &request.meaning {
                    Meaning::Read(key) => world.ledger.last_touch(*db, key),
                    Meaning::WaitLog => client.written,
                    _ => 0,
                })
            })
            .collect();
        if batch.iter().any(|request| request.words[0] == b"CONFIG") {
            log_files::show(&self.host, &world.disk);
        }
        self.node.handle_input(world.clock.now(), &self.host, self.clients[index].id, &bytes);
        self.observe(world)?;
        let client = &mut self.clients[index];
        let alone = at_once && (batch.len() == 1 || batch[0].words[0] == b"MULTI");
        for (request, early) in batch.into_iter().zip(early) {
            client.db = request.selects().unwrap_or(client.db);
            let unit = match &request.meaning {
                Meaning::Read(key) if alone => world.ledger.last_touch(client.db, key),
                // Later units may be of others who went on in the same turn; any may be of a key that has expired.
                Meaning::Write(None) if alone && !world.traffic.expiry && world.ledger.len() > before => {
                    before + 1
                }
                _ => early,
            };
            client.pending.push_back(Pending { meaning: request.meaning, unit });
        }
        self.collect(world)
    }

    /// Hands what was executed to the ledger.
    fn observe(&mut self, world: &mut World) -> Result<(), String> {
        let now = world.clock.now().instant;
        for (db, words) in self.node.take_propagated() {
            if let Some(number) = number_in(&words) {
                // SPOP names what was written before.
                self.numbered.entry(number).or_insert(world.ledger.len() + 1);
            }
            world.ledger.execute(now, db, &words)?;
        }
        Ok(())
    }

    /// Carries out what the node asks for, tells it what became of that, and takes the replies that may leave.
    fn collect(&mut self, world: &mut World) -> Result<(), String> {
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            while let Some(effect) = self.node.poll_effect() {
                if let Some(left) = &mut self.effects_left {
                    if *left == 0 {
                        return self.observe(world);
                    }
                    *left -= 1;
                }
                goes_on = true;
                self.carry_out(world, effect)?;
            }
            let now = world.clock.now();
            for (id, result) in world.disk.take_done(now.instant) {
                goes_on = true;
                if self.opening == Some(id) && result.is_ok() {
                    world.ledger.opened();
                }
                if let Err(error) = &result {
                    self.healthy = false;
                    world.note(|| format!("task {}: {error}", id.0));
                } else {
                    world.note(|| format!("task {} is done", id.0));
                }
                self.node.task_done(now, &self.host, id, result);
            }
        }
        self.observe(world)?;
        if self.effects_left.is_none() { self.hear(world) } else { Ok(()) }
    }

    fn carry_out(&mut self, world: &mut World, effect: Effect) -> Result<(), String> {
        let now = world.clock.now();
        match effect {
            Effect::Disk(id, task) => {
                world.note(|| {
                    let text: String = format!("{task:?}").chars().take(100).collect();
                    format!("task {}: {text}", id.0)
                });
                if self.opening.is_none() && matches!(task, Task::Open { .. } | Task::Create { .. }) {
                    self.opening = Some(id);
                }
                world.disk.submit(now.instant, id, task);
            }
            Effect::Fork { kind, path, rename_to } => {
                self.observe(world)?;
                let mut bytes = Bytes::default();
                self.node
                    .write_snapshot(now, 1 << 20, kind, &mut bytes, &mut |_| {})
                    .map_err(|error| error.reason)?;
                self.node.forked(Duration::ZERO);
                let fails = self.child_failures > 0 && world.rng.below(self.child_failures) == 0;
                let due = now.instant + Duration::from_micros(world.rng.below(self.child_time));
                let units = world.ledger.len();
                world.note(|| format!("fork: {kind:?} to {path} of {units} units"));
                self.child = Some(Child { kind, path, rename_to, bytes: bytes.0, due, fails, units });
            }
            Effect::KillChild => {
                if let Some(child) = self.child.take() {
                    world.disk.abandon(&child.path, &child.bytes[..child.bytes.len() / 3]);
                }
            }
            Effect::Shutdown => self.stopped = true,
            Effect::Crash(text) => return Err(format!("the node wants to crash: {text}")),
            Effect::Log(_, line) => world.note(|| format!("log: {line}")),
            _ => {}
        }
        Ok(())
    }

    /// Takes the replies that may leave.
    fn hear(&mut self, world: &mut World) -> Result<(), String> {
        // Until the last policy is confirmed nobody knows under which one a reply was let go.
        let mut awaited = self.clients.iter().flat_map(|client| &client.pending);
        let switching = awaited.any(|pending| pending.meaning == Meaning::Policy);
        while let Some(id) = self.node.poll_output() {
            let closing = self.node.closing(id);
            let output = self.node.output(id);
            let count = output.len();
            world.transcript.add(world.clock.now().instant.micros(), id.0, output);
            if let Some(index) = self.clients.iter().position(|client| client.id == id) {
                self.clients[index].said.extend_from_slice(output);
                self.node.sent(id, count);
                self.judge(world, index, switching)?;
            }
            if closing != Closing::No && !self.asked_to_stop {
                return Err(format!("the node closes the connection of client {}", id.0));
            }
        }
        Ok(())
    }

    /// Notes what the replies tell that a client has received, perhaps while the policy changes.
    fn judge(&mut self, world: &mut World, index: usize, switching: bool) -> Result<(), String> {
        let server = &self.node.engine.server;
        let promises = server.persistence.log.enabled && !server.persistence.log.starting;
        self.log_was_on &= promises;
        let steady = promises && !world.setup.no_fsync_on_rewrite && !switching;
        let client = &mut self.clients[index];
        let mut at = 0;
        while let Some((reply, length)) = Reply::parse(&client.said[at..])? {
            at += length;
            let Some(awaited) = client.pending.pop_front() else {
                return Err(format!("a reply that nobody awaits: {}", reply.head()));
            };
            world.note(|| format!("    -> client {}: {}", client.id.0, reply.head()));
            let wrote = matches!(awaited.meaning, Meaning::Write(_));
            let unit = match awaited.meaning {
                _ if reply.is_error() => 0,
                Meaning::Write(Some(number)) => match self.numbered.get(&number) {
                    Some(unit) => *unit,
                    None => return Err(format!("write {number} was answered, and is not in the stream")),
                },
                Meaning::Write(None) => awaited.unit,
                // What was loaded is synced while the log is opened, and read at once.
                Meaning::Read(_)
                    if server.config.appendfsync == AppendFsync::Always && awaited.unit > self.loaded =>
                {
                    awaited.unit
                }
                Meaning::WaitLog => {
                    if let Some(Reply::Leaf(_, count)) = reply.elements().first()
                        && count != b"0"
                    {
                        world.note(|| format!("    promised: unit {}", awaited.unit));
                        world.ledger.promise(awaited.unit);
                    }
                    0
                }
                _ => 0,
            };
            if wrote {
                client.written = client.written.max(unit);
            }
            if unit > 0 {
                match server.config.appendfsync {
                    AppendFsync::Always if steady => {
                        world.note(|| format!("    promised: unit {unit}"));
                        world.ledger.promise(unit);
                    }
                    AppendFsync::EverySecond if steady => world.ledger.risk(unit),
                    _ => world.ledger.told(unit),
                }
            }
            client.last = Some(reply);
        }
        client.said.drain(..at);
        Ok(())
    }

    /// Checks that the keyspace is what the recorded stream makes.
    pub(super) fn look_over(&mut self, world: &mut World) -> Result<(), String> {
        self.observe(world)?;
        world.ledger.agrees(&Shadow::of(&self.node.engine.keyspace))
    }
}

/// A node that is called so often without time passing is in a loop.
const TURNS_MAX: u32 = 1_000;

/// Writes are possible again so long after the disk has healed.
const HEALED_WITHIN: Duration = Duration::from_secs(150);

/// Hands a file to a node, piece by piece.
fn load_file(
    node: &mut Node,
    now: Now,
    host: &VirtualHost,
    bytes: &[u8],
    piece: usize,
) -> Result<(), String> {
    let mut rest = Vec::new();
    for chunk in bytes.chunks(piece) {
        rest.extend_from_slice(chunk);
        let taken = node.load(now, host, &rest)?;
        rest.drain(..taken);
    }
    node.file_ended(host, &rest).map(drop)
}
