//! Replication: a few nodes that follow each other over links that are slow, cut and stalled, with disks, children, crashes,
//! and an operator who promotes, re-points and fails over.
//!
//! ```text
//! clients ─► master ═══ wire ═══► replica ═══ wire ═══► replica           every server: node, virtual disk, child, loader
//!              ║                     ▲
//!              ╚═══ wire ═══► replica└── readers, who must not see a counter go back
//! ```
//!
//! What must hold (see [`judge`]):
//!
//! - the data at one place of one history is the same on every server that was there;
//! - no server is at a place that no master has written;
//! - what was acknowledged in the synchronous mode is on every server that is promoted;
//! - a counter that is read of one server does not go back, unless something happened after which it may;
//! - when troubles end, all servers have the same soon, and the master takes writes.

mod clients;
mod judge;
mod lockers;
mod member;
mod operator;
mod plan;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use base::rng::Rng;
use base::time::{Instant, Now};
use node::{Closing, Effect, LinkId, Peer};
use testkit::Reply;

use crate::checkers::transcript::Transcript;
use crate::crashes::shadow::Shadow;
use crate::crashes::traffic::Traffic;
use crate::disk::{Speed, VirtualDisk};
use crate::{Clock, seeds};
use clients::Client;
use judge::Judge;
pub use lockers::LockTally;
use lockers::{Locker, Newest};
use member::{Child, End, Member};
use operator::Order;
use plan::Plan;
use wire::{Side, Way, Wire};

/// What is put wrong on purpose, so that it is seen that the judge finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    #[default]
    None,
    /// A link swallows one command of a stream that goes on after a break.
    SkipsACommand,
    /// A replica acknowledges what has not arrived.
    AcknowledgesEarly,
    /// A holder counts its lease twice.
    HoldsTooLong,
    /// Locks are judged as if their grants had waited for replicas.
    DoesNotWait,
}

/// What a seed is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// Data, and reads of it.
    #[default]
    Data,
    /// Locks besides.
    Locks,
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Two runs of one seed agree in this.
    pub digest: u64,
    pub seeds: u64,
    pub requests: u64,
    /// Writes that were acknowledged in the synchronous mode.
    pub acknowledged: u64,
    /// States that were compared with those of others, and reads of counters.
    pub compared: u64,
    pub reads: u64,
    pub full: u64,
    pub partial: u64,
    pub cuts: u64,
    pub stalls: u64,
    pub crashes: u64,
    pub promotions: u64,
    pub failovers: u64,
    /// Children that were killed, and disks that were broken.
    pub children: u64,
    pub faults: u64,
    /// Masters that had lost their data, and were refused.
    pub refused: u64,
    pub locks: LockTally,
}

impl Tally {
    /// Adds another seed's figures.
    pub fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.compared += other.compared;
        self.reads += other.reads;
        self.full += other.full;
        self.partial += other.partial;
        self.cuts += other.cuts;
        self.stalls += other.stalls;
        self.crashes += other.crashes;
        self.promotions += other.promotions;
        self.failovers += other.failovers;
        self.children += other.children;
        self.faults += other.faults;
        self.refused += other.refused;
        self.locks.add(&other.locks);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} requests, {} acknowledged by replicas, {} states compared, {} reads; {} full and {} partial syncs, \
             {} cuts, {} stalls, {} crashes, {} promotions, {} failovers, {} children killed, {} disk faults, \
             {} masters without data",
            self.seeds,
            self.requests,
            self.acknowledged,
            self.compared,
            self.reads,
            self.full,
            self.partial,
            self.cuts,
            self.stalls,
            self.crashes,
            self.promotions,
            self.failovers,
            self.children,
            self.faults,
            self.refused,
        )?;
        let locks = &self.locks;
        if *locks == LockTally::default() {
            return Ok(());
        }
        write!(
            f,
            "; locks: {} grants, {} busy, {} renewals, {} releases, {} guarded writes and fences accepted, {} refused, \
             {} holders overslept, {} clock jumps",
            locks.grants,
            locks.busy,
            locks.renewed,
            locks.released,
            locks.accepted,
            locks.fenced,
            locks.late,
            locks.jumps,
        )
    }
}

/// Runs a seed to its end; the error is what was found, with what had happened before where `verbose` asks for it.
pub fn run(seed: u64, subject: Subject, mutant: Mutant, verbose: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, subject, mutant, verbose);
    world
        .live()
        .map_err(|problem| format!("seed {seed}, at {}: {problem}", world.clock.now().instant.micros()))?;
    Ok(world.close())
}

/// Runs seeds on all cores, and returns what they came to and what was found, the seed first.
pub fn run_all(seeds: Range<u64>, subject: Subject, verbose: bool) -> (Tally, Vec<String>) {
    seeds::run_all(
        seeds,
        verbose,
        |seed| run(seed, subject, Mutant::None, verbose),
        |sum: &mut Tally, found| sum.add(&found),
    )
}

/// All servers have the same so long after the last trouble.
const QUIET_WITHIN: Duration = Duration::from_secs(200);

/// What is called so often without time passing is in a loop.
const TURNS_MAX: u32 = 5_000;

struct World {
    verbose: bool,
    mutant: Mutant,
    rng: Rng,
    clock: Clock,
    plan: Plan,
    members: Vec<Member>,
    wires: BTreeMap<u64, Wire>,
    last_wire: u64,
    clients: Vec<Client>,
    lockers: Vec<Locker>,
    newest: Vec<Newest>,
    /// How often the master has changed.
    offices: u64,
    traffic: Traffic,
    judge: Judge,
    transcript: Transcript,
    tally: Tally,
    /// The server that clients write to.
    root: usize,
    orders: Vec<Order>,
    /// Who is to take over, during a failover.
    failover: Option<usize>,
    /// Copies that were lost since all had the same.
    copies_lost: usize,
    /// A replica was promoted since then.
    promoted: bool,
    broken_until: Vec<Option<Instant>>,
    /// What the first client was told last.
    last_word: Option<Reply>,
    /// When something was done last, and how often at that moment.
    tended: Instant,
    turns: u32,
}

impl World {
    fn new(seed: u64, subject: Subject, mutant: Mutant, verbose: bool) -> World {
        let mut rng = Rng::seeded(seed);
        let mut plan = Plan::draw(&mut rng);
        let mut clients = clients::clients();
        let mut lockers = Vec::new();
        if subject == Subject::Locks {
            plan.draw_locks(&mut rng);
            lockers = lockers::lockers(clients.len());
            clients.extend((0..lockers.len()).map(clients::locker));
        }
        let members = (0..plan.count()).map(|number| Member {
            disk: VirtualDisk::new(rng.next_u64(), Speed::default()),
            life: None,
            restart_at: None,
            parent: plan.parents[number],
            isolated: false,
            skew: if subject == Subject::Locks { lockers::LATER } else { 0 },
        });
        let members: Vec<_> = members.collect();
        World {
            verbose,
            mutant,
            clock: Clock::default(),
            wires: BTreeMap::new(),
            last_wire: 0,
            clients,
            lockers,
            newest: lockers::newest(),
            offices: 0,
            traffic: Traffic::new(&mut rng, plan.expiry),
            judge: Judge::new(clients::WRITERS, verbose),
            transcript: Transcript::default(),
            tally: Tally { seeds: 1, ..Tally::default() },
            root: 0,
            orders: Vec::new(),
            failover: None,
            copies_lost: 0,
            promoted: false,
            broken_until: vec![None; members.len()],
            last_word: None,
            tended: Instant::ZERO,
            turns: 0,
            members,
            plan,
            rng,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        self.note(|| format!("{:?}", self.plan));
        for member in 0..self.members.len() {
            self.start(member)?;
        }
        let start = self.clock.now().instant;
        let end = start + self.plan.length;
        let (mut client_at, mut trouble_at) = (start, start + Duration::from_millis(500));
        while self.clock.now().instant < end {
            let others = self.next_due().into_iter().chain(self.lockers_due());
            let due = others.chain([client_at, trouble_at, end]).min().unwrap_or(end);
            self.clock.advance_to(due);
            self.tend()?;
            self.lockers_act()?;
            let now = self.clock.now().instant;
            if now >= client_at {
                self.client_acts()?;
                client_at = now + Duration::from_micros(1 + self.rng.below(self.plan.client_pause));
            }
            if now >= trouble_at {
                self.make_trouble()?;
                trouble_at = now + Duration::from_micros(1 + self.rng.below(self.plan.trouble_pause));
            }
        }
        self.note(|| "---- all troubles end".into());
        self.end_troubles()?;
        self.become_quiet()?;
        // What has no backlog yet has no place in a history either: nobody ever followed it.
        self.note(|| "---- one more write".into());
        let direct = self.members.iter().filter(|member| member.parent == Some(self.root)).count();
        self.pass(Duration::from_secs(4))?;
        self.write_once()?;
        self.pass(Duration::from_secs(4))?;
        self.become_quiet()?;
        let answered = self.last_word.as_ref().is_some_and(|reply| !reply.is_error());
        if !answered && direct >= self.plan.synchronous.max(1) {
            let word = self.last_word.as_ref().map_or("nothing".into(), Reply::head);
            return Err(format!("all is quiet, and a write is answered {word}"));
        }
        if let Some(node) = self.members[self.root].node() {
            self.judge.promises(self.root, node)?;
        }
        if !self.lockers.is_empty() && direct >= self.plan.synchronous {
            self.pass(lockers::LEASE_MAX + Duration::from_secs(1))?;
            self.locks_are_free()?;
        }
        Ok(())
    }

    /// Waits until all servers have the same.
    fn become_quiet(&mut self) -> Result<(), String> {
        let start = self.clock.now().instant;
        let mut look_at = start;
        loop {
            let due = self.next_due().into_iter().chain([look_at]).min().unwrap_or(look_at);
            self.clock.advance_to(due);
            self.tend()?;
            let now = self.clock.now().instant;
            if now < look_at {
                continue;
            }
            // Along a slow chain there is but a moment between two pings in which all have the same.
            look_at = now + Duration::from_millis(93);
            if self.put_right()? && self.is_quiet() {
                break;
            }
            if now.saturating_since(start) > QUIET_WITHIN {
                return Err(format!("{QUIET_WITHIN:?} after the last trouble: {}", self.show()));
            }
        }
        for member in 0..self.members.len() {
            self.look(member, true)?;
        }
        Ok(())
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.clock.now().instant + time;
        while self.clock.now().instant < end {
            let due = self.next_due().into_iter().chain([end]).min().unwrap_or(end);
            self.clock.advance_to(due);
            self.tend()?;
        }
        Ok(())
    }

    fn close(mut self) -> Tally {
        for member in &self.members {
            if let Some(node) = member.node() {
                let digest = Shadow::digest_of(&node.engine.keyspace);
                self.transcript.add(digest, 0, b"");
            }
        }
        for member in 0..self.members.len() {
            self.count(member);
        }
        (self.tally.compared, self.tally.reads) = (self.judge.compared, self.judge.reads);
        self.tally.digest = self.transcript.digest();
        self.tally
    }

    /// Counts what a server did for its replicas.
    fn count(&mut self, member: usize) {
        let now = self.clock.now().instant;
        if let Some(node) = self.members[member].node() {
            let stats = node.engine.server.replication.primary.figures(now).stats;
            self.tally.full += stats.full;
            self.tally.partial += stats.partial;
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let members = self.members.iter().filter_map(Member::next_due);
        let wires = self.wires.values().filter_map(|wire| {
            let reads = |way: Way| {
                let side = wire.reader(way)?;
                let node = self.members[side.member].node()?;
                (node.wants_input(side.id)).then(|| wire.due(way)).flatten()
            };
            [wire.opens, reads(Way::ToMaster), reads(Way::ToReplica)].into_iter().flatten().min()
        });
        let orders = self.orders.iter().map(|order| order.due);
        let healed = self.broken_until.iter().flatten().copied();
        members.chain(wires).chain(orders).chain(healed).min()
    }

    /// Does what is due.
    fn tend(&mut self) -> Result<(), String> {
        let now = self.clock.now().instant;
        self.turns = if self.tended == now { self.turns + 1 } else { 0 };
        self.tended = now;
        if self.turns > TURNS_MAX {
            return Err(format!("something is to be done again and again: {}", self.show()));
        }
        self.give_orders()?;
        self.heal_disks(false);
        for member in 0..self.members.len() {
            self.tend_member(member)?;
        }
        let keys: Vec<u64> = self.wires.keys().copied().collect();
        for key in keys {
            self.tend_wire(key)?;
        }
        Ok(())
    }

    /// Returns what a server's clocks say.
    fn now_at(&self, member: usize) -> Now {
        let mut now = self.clock.now();
        now.unix_us += self.members[member].skew;
        now
    }

    fn tend_member(&mut self, number: usize) -> Result<(), String> {
        let now = self.now_at(number);
        let member = &mut self.members[number];
        let Some(life) = &mut member.life else {
            if member.restart_at.is_some_and(|at| at <= now.instant) {
                return self.start(number);
            }
            return Ok(());
        };
        let mut done = false;
        if life.child_due().is_some_and(|due| due <= now.instant) {
            let pause = Duration::from_micros(1 + self.rng.below(self.plan.child_time / 8 + 1));
            life.hear_children(now, &mut member.disk, &mut self.rng, pause);
            done = true;
        }
        if let Some(loader) = &mut life.loader
            && loader.due <= now.instant
        {
            loader.due = now.instant + Duration::from_micros(1 + self.rng.below(20_000));
            let loaded = life.load(now, &member.disk);
            loaded.map_err(|reason| format!("server {number} cannot go on: {reason}"))?;
            self.look(number, true)?;
            return self.settle(number);
        }
        if life.node.poll_timeout().is_some_and(|at| at <= now.instant) {
            life.turns = if life.tended == now.instant { life.turns + 1 } else { 0 };
            life.tended = now.instant;
            if life.turns > TURNS_MAX {
                return Err(format!("server {number} has something to do again and again"));
            }
            life.node.handle_timeout(now, &life.host);
            done = true;
        }
        if done || member.disk.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.settle(number)?;
        }
        Ok(())
    }

    /// Starts a server over what its disk has.
    fn start(&mut self, number: usize) -> Result<(), String> {
        let now = self.now_at(number);
        let seed = self.rng.next_u64();
        let member = &mut self.members[number];
        member.restart_at = None;
        let master = if number == self.root { None } else { member.parent };
        let config = self.plan.config(number, master);
        if member.start(config.clone(), seed, now).is_err() {
            // What a power cut leaves of a log is the business of the simulated crashes: an operator begins anew.
            member.disk = VirtualDisk::new(seed, Speed::default());
            member.start(config, seed, now)?;
        }
        self.judge.may_go_back(number);
        self.note(|| format!("server {number} starts"));
        self.look(number, true)?;
        self.settle(number)
    }

    /// Ends a server on the spot.
    fn crash(&mut self, number: usize) -> Result<(), String> {
        self.count(number);
        self.tally.crashes += 1;
        let now = self.clock.now().instant;
        let power = self.rng.below(2) == 0;
        self.note(|| format!("server {number} crashes{}", if power { ", its power is cut" } else { "" }));
        let member = &mut self.members[number];
        let Some(life) = member.life.take() else { return Ok(()) };
        if number == self.root {
            self.change_office();
        }
        let member = &mut self.members[number];
        match power {
            true => member.disk.crash(&mut self.rng),
            false => member.disk.kill(&mut self.rng),
        }
        let down = [10_000, 1_000_000, 8_000_000][self.rng.below(3) as usize];
        member.restart_at = Some(now + Duration::from_micros(1 + self.rng.below(down)));
        for end in life.ends.values() {
            match end {
                End::Client(index) => self.lost_client(*index),
                End::Master(key) | End::Replica(key) => {
                    if let Some(wire) = self.wires.get_mut(key) {
                        match end {
                            End::Master(_) => wire.replica.open = false,
                            _ => {
                                if let Some(side) = &mut wire.master {
                                    side.open = false;
                                }
                            }
                        }
                        let silence = if power { 60_000_000 } else { 0 };
                        let at = now + Duration::from_micros(silence);
                        let pipe = match end {
                            End::Master(_) => &mut wire.to_master,
                            _ => &mut wire.to_replica,
                        };
                        let kept = self.rng.below(pipe.len() as u64 + 1) as usize;
                        pipe.cut(kept, at);
                    }
                }
            }
        }
        self.wires.retain(|_, wire| !wire.is_gone());
        Ok(())
    }

    /// Opens a link, or delivers what is due on it.
    fn tend_wire(&mut self, key: u64) -> Result<(), String> {
        let now = self.clock.now().instant;
        let Some(wire) = self.wires.get(&key) else { return Ok(()) };
        if let Some(at) = wire.opens {
            return if at <= now { self.open_wire(key) } else { Ok(()) };
        }
        for way in [Way::ToMaster, Way::ToReplica] {
            loop {
                let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
                let Some(side) = wire.reader(way) else {
                    // Nobody hears it; the writer finds that out.
                    let front = wire.pipe(way).len();
                    if front > 0 {
                        wire.pipe(way).cut(0, now);
                    }
                    break;
                };
                let due = wire.due(way).is_some_and(|due| due <= now);
                let skewed = self.now_at(side.member);
                let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
                let Some(life) = &mut self.members[side.member].life else { break };
                if !due || !life.node.wants_input(side.id) {
                    break;
                }
                if wire.pipe(way).is_over() {
                    self.hang_up_on(side, "the connection was closed")?;
                    break;
                }
                let most = clients::part(&mut self.rng, wire.pipe(way).front());
                let mut bytes = wire.pipe(way).take(most);
                let blocked = std::mem::take(&mut wire.pipe(way).blocked);
                let writer = wire.writer(way).filter(|_| blocked);
                if self.mutant == Mutant::SkipsACommand && way == Way::ToReplica {
                    rob(wire, &mut bytes);
                }
                self.transcript.add(skewed.instant.micros(), key as u32, &bytes);
                life.node.handle_input(skewed, &life.host, side.id, &bytes);
                self.settle(side.member)?;
                if let Some(writer) = writer {
                    self.send(writer.member, writer.id)?;
                    self.settle(writer.member)?;
                }
            }
        }
        Ok(())
    }

    /// Ends one end of a link because the other has.
    fn hang_up_on(&mut self, side: Side, why: &str) -> Result<(), String> {
        let now = self.now_at(side.member);
        let Some(life) = &mut self.members[side.member].life else { return Ok(()) };
        let end = life.ends.remove(&side.id.0);
        if life.node.is_master(side.id) {
            life.node.disconnected(now, &life.host, side.id, why);
        } else {
            life.node.close(side.id);
        }
        let at = now.instant;
        match end {
            Some(End::Master(key)) => {
                if let Some(wire) = self.wires.get_mut(&key) {
                    wire.replica.open = false;
                    wire.to_master.ended.get_or_insert(at);
                }
            }
            Some(End::Replica(key)) => {
                if let Some(wire) = self.wires.get_mut(&key) {
                    if let Some(master) = &mut wire.master {
                        master.open = false;
                    }
                    wire.file = None;
                    wire.to_replica.ended.get_or_insert(at);
                }
            }
            Some(End::Client(index)) => self.lost_client(index),
            None => {}
        }
        self.wires.retain(|_, wire| !wire.is_gone());
        self.settle(side.member)
    }

    fn open_wire(&mut self, key: u64) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
        wire.opens = None;
        let (side, target) = (wire.replica, wire.target);
        if !side.open {
            self.wires.remove(&key);
            return Ok(());
        }
        let isolated = self.members[side.member].isolated;
        let refuses = self.members.get(target).is_none_or(|member| member.isolated || member.life.is_none());
        if isolated || refuses {
            return self.hang_up_on(side, "Connection refused");
        }
        let theirs = self.now_at(target);
        if let Some(life) = &mut self.members[target].life {
            let peer = Peer {
                addr: format!("{}:{}", plan::host(side.member), 30_000 + key % 30_000),
                local_addr: format!("{}:{}", plan::host(target), plan::port(target)),
                fd: 9,
                unix_socket: false,
            };
            let id = life.node.open(theirs, peer);
            life.ends.insert(id.0, End::Replica(key));
            if let Some(wire) = self.wires.get_mut(&key) {
                wire.master = Some(Side { member: target, id, open: true });
            }
        }
        let now = self.now_at(side.member);
        if let Some(life) = &mut self.members[side.member].life {
            life.node.connected(now, &life.host, side.id);
        }
        self.settle(side.member)
    }

    /// Carries out what a server asks for, tells it what became of that, and sends what it has to send.
    fn settle(&mut self, number: usize) -> Result<(), String> {
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            let now = self.now_at(number);
            let Member { life: Some(life), disk, .. } = &mut self.members[number] else { return Ok(()) };
            if let Some(effect) = life.node.poll_effect() {
                goes_on = true;
                self.carry_out(number, effect)?;
                continue;
            }
            for (id, result) in disk.take_done(now.instant) {
                goes_on = true;
                life.node.task_done(now, &life.host, id, result);
            }
            if let Some(id) = life.node.poll_output() {
                goes_on = true;
                self.send(number, id)?;
            }
        }
        self.look(number, false)
    }

    fn look(&mut self, number: usize, closely: bool) -> Result<(), String> {
        match self.members[number].node() {
            Some(node) => self.judge.look(number, node, closely),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, number: usize, effect: Effect) -> Result<(), String> {
        let now = self.now_at(number);
        let Member { life: Some(life), disk, .. } = &mut self.members[number] else { return Ok(()) };
        match effect {
            Effect::Disk(id, task) => disk.submit(now.instant, id, task),
            Effect::Fork { kind, path, rename_to } => {
                let due = now.instant + Duration::from_micros(self.rng.below(self.plan.child_time));
                if self.verbose {
                    println!("{:>12} server {number} forks: {kind:?}", now.instant.micros());
                }
                Child::fork(life, now, kind, path, rename_to, due)?;
            }
            Effect::KillChild => life.child = None,
            Effect::NextPiece(_) => life.want_piece(),
            Effect::DropPieces => life.drop_pieces(),
            Effect::Load => {
                let piece = 1 + self.rng.below(3_000) as usize;
                life.begin_loading(now.instant, piece);
            }
            Effect::SendFile { session, path } => {
                let bytes = disk.read(&path).map(<[u8]>::to_vec);
                if let Some(End::Replica(key)) = life.ends.get(&session.0)
                    && let Some(wire) = self.wires.get_mut(key)
                {
                    match bytes {
                        Some(bytes) => {
                            wire.file = Some((bytes, 0));
                            self.send(number, session)?;
                        }
                        None => return Err(format!("server {number} sends {path}, which is not there")),
                    }
                }
            }
            Effect::Connect { session, port, .. } => {
                self.last_wire += 1;
                let key = self.last_wire;
                life.ends.insert(session.0, End::Master(key));
                let latency = Duration::from_micros(self.rng.below(self.plan.latency.as_micros() as u64 + 1));
                let side = Side { member: number, id: session, open: true };
                let opens = now.instant + latency;
                let wire = Wire::new(side, plan::number_of(port), opens, latency, self.plan.socket);
                self.wires.insert(key, wire);
            }
            Effect::Close { session, flush } => {
                let wish = if flush { Closing::AfterReply } else { Closing::Now };
                let sessions = &mut life.node.engine.server.sessions;
                if let Some(session) = sessions.get_mut(session) {
                    session.close(wish);
                }
                sessions.queue_id(session);
            }
            Effect::Shutdown => return Err(format!("server {number} wants to stop")),
            // What a replica does that cannot write its log, unless it is told otherwise.
            Effect::Crash(why) if why.starts_with("Replica was unable to write") => {
                return self.crash(number);
            }
            Effect::Crash(why) => return Err(format!("server {number} wants to crash: {why}")),
            Effect::Log(_, line) if self.verbose => {
                println!("{:>12} server {number}: {line}", now.instant.micros());
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what a link has to be sent, as far as there is room.
    fn send(&mut self, number: usize, id: LinkId) -> Result<(), String> {
        let now = self.now_at(number);
        loop {
            let Some(life) = &mut self.members[number].life else { return Ok(()) };
            let Some(end) = life.ends.get(&id.0).copied() else {
                if life.node.closing(id) == Closing::Now {
                    life.node.close(id);
                }
                return Ok(());
            };
            let closing = life.node.closing(id);
            let side = Side { member: number, id, open: true };
            if closing == Closing::Now {
                return self.hang_up_on(side, "the connection was closed");
            }
            let output = life.node.output(id);
            let (key, way) = match end {
                End::Client(index) => {
                    let output = output.to_vec();
                    if output.is_empty() {
                        return match closing {
                            Closing::AfterReply => self.hang_up_on(side, "the connection was closed"),
                            _ => Ok(()),
                        };
                    }
                    self.transcript.add(now.instant.micros(), 0, &output);
                    life.node.sent(id, output.len());
                    self.told(index, &output)?;
                    continue;
                }
                End::Master(key) => (key, Way::ToMaster),
                End::Replica(key) => (key, Way::ToReplica),
            };
            let Some(wire) = self.wires.get_mut(&key) else { return Ok(()) };
            if wire.opens.is_some() {
                return Ok(());
            }
            let room = wire.pipe(way).room();
            let due = now.instant + wire.latency;
            // What is written to a link that is cut is lost.
            let lost = wire.pipe(way).ended.is_some();
            if !output.is_empty() {
                if room == 0 {
                    wire.pipe(way).blocked = true;
                    return Ok(());
                }
                let count = room.min(output.len());
                let mut bytes = output[..count].to_vec();
                life.node.sent(id, count);
                if way == Way::ToReplica && bytes.starts_with(b"+CONTINUE") {
                    wire.continued = true;
                }
                if self.mutant == Mutant::AcknowledgesEarly && way == Way::ToMaster {
                    self.promise_early(key, &mut bytes);
                }
                if let Some(wire) = self.wires.get_mut(&key).filter(|_| !lost) {
                    wire.pipe(way).push(due, bytes);
                }
            } else if let Some((file, at)) = &mut wire.file {
                let count = room.min(file.len() - *at);
                if count == 0 && *at < file.len() {
                    wire.to_replica.blocked = true;
                    return Ok(());
                }
                let part = file[*at..*at + count].to_vec();
                *at += count;
                let whole = *at == file.len();
                if whole {
                    wire.file = None;
                }
                if !lost {
                    wire.to_replica.push(due, part);
                }
                life.node.file_sent(now, id, count, whole);
            } else {
                return match closing {
                    Closing::AfterReply => self.hang_up_on(side, "the connection was closed"),
                    _ => Ok(()),
                };
            }
        }
    }

    /// Changes an acknowledgement into one of all that is on its way: what a replica must not say.
    fn promise_early(&self, key: u64, bytes: &mut Vec<u8>) {
        let Some(wire) = self.wires.get(&key) else { return };
        let Some(life) = self.members.get(wire.target).and_then(|member| member.life.as_ref()) else {
            return;
        };
        const ACK: &[u8] = b"$8\r\nREPLCONF\r\n$3\r\nACK\r\n$";
        let Some(at) = bytes.windows(ACK.len()).position(|window| window == ACK) else { return };
        let primary = &life.node.engine.server.replication.primary;
        let rest = &bytes[at + ACK.len()..];
        let lines: Vec<&[u8]> = rest.splitn(3, |byte| *byte == b'\n').collect();
        let [_, _, behind] = lines[..] else { return };
        let offset = primary.offset().to_string();
        let mut changed = bytes[..at + ACK.len()].to_vec();
        changed.extend(format!("{}\r\n{offset}\r\n", offset.len()).into_bytes());
        changed.extend_from_slice(behind);
        *bytes = changed;
    }

    /// Judges what was read of a counter.
    fn read_counter(&mut self, member: usize, counter: usize, found: u64) -> Result<(), String> {
        match self.members[member].node() {
            Some(node) if node.engine.server.follows() => self.judge.read(member, node, counter, found),
            _ => Ok(()),
        }
    }

    /// Returns where everybody is.
    fn show(&self) -> String {
        let now = self.clock.now().instant;
        let show = |(number, member): (usize, &Member)| {
            let Some(node) = member.node() else { return format!("{number}: down") };
            let server = &node.engine.server;
            let link = server.replication.replica.as_ref().map(|replica| replica.figures(now));
            let link = link.map(|figures| (figures.port, figures.state, figures.refused));
            format!("{number}: {:?} {link:?}", judge::place(node))
        };
        let members: Vec<_> = self.members.iter().enumerate().map(show).collect();
        format!("master {}; {}", self.root, members.join("; "))
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>12} {}", self.clock.now().instant.micros(), line());
        }
    }
}

/// Takes a command out of a stream that goes on after a break, once.
fn rob(wire: &mut Wire, bytes: &mut Vec<u8>) {
    if wire.robbed || !wire.continued || bytes.starts_with(b"+") {
        return;
    }
    const NAME: &[u8] = b"*3\r\n$3\r\nSET\r\n";
    let Some(at) = bytes.windows(NAME.len()).position(|window| window == NAME) else { return };
    let command = &bytes[at + NAME.len()..];
    let lines: Vec<&[u8]> = command.splitn(5, |byte| *byte == b'\n').collect();
    // Only a short one, which is there as a whole.
    let [a, b, c, d, _] = lines[..] else { return };
    let len = NAME.len() + a.len() + b.len() + c.len() + d.len() + 4;
    if a.starts_with(b"$") && c.starts_with(b"$") {
        bytes.drain(at..at + len);
        wire.robbed = true;
    }
}
