//! The one who breaks things, and who puts them together again: crashes, cuts, promotions, and orders to follow others.
//!
//! In the synchronous mode he keeps to its rules, as otherwise nothing was promised: no more copies are lost at a time than
//! there are replicas waited for, a master is never left in office beside the one that takes its place, and the most
//! advanced replica is promoted.

use std::time::Duration;

use base::disk::Step;
use base::time::Instant;
use node::{Node, Peer};
use replication::replica::Refusal;
use testkit::words;

use super::World;
use super::judge::{is_up, place};
use super::member::Member;
use super::plan::{host, number_of, port};
use crate::disk::{Fault, Speed};
use crate::log_files;

/// When a server is to be told whom it follows.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) due: Instant,
    pub(super) member: usize,
    /// It may be reached again after that.
    frees: bool,
}

impl World {
    /// Lets some trouble happen.
    pub(super) fn make_trouble(&mut self) -> Result<(), String> {
        let kind = self.rng.below(30);
        let member = self.rng.below(self.members.len() as u64) as usize;
        self.watch_failover();
        if !self.lockers.is_empty() && self.plan.synchronous > 0 && self.rng.below(5) == 0 {
            self.jump_clock(member);
            return Ok(());
        }
        match kind {
            0..6 => self.cut_some(),
            6..9 => self.stall_some(),
            9..12 => self.kill_child(member),
            12 => self.fill_disk(member),
            13 | 14 => self.break_disk(member),
            15..19 if member != self.root => return self.crash_replica(member),
            19..23 => return self.crash_master(),
            23 | 24 => return self.hand_over_by_hand(),
            25 | 26 => return self.fail_over(),
            27 => return self.point_elsewhere(member),
            28 => {
                let name = ["repl-diskless-sync", "repl-diskless-load"][self.rng.below(2) as usize];
                let value = match name {
                    "repl-diskless-sync" => ["yes", "no"][self.rng.below(2) as usize],
                    _ => ["disabled", "on-empty-db", "swapdb"][self.rng.below(3) as usize],
                };
                return self.order(member, &["CONFIG", "SET", name, value]);
            }
            29 => {
                let what = ["BGSAVE", "BGREWRITEAOF"][self.rng.below(2) as usize];
                return self.order(member, &[what]);
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what has become of a failover.
    pub(super) fn watch_failover(&mut self) {
        let Some(target) = self.failover else { return };
        let under_way = |node: &Node| node.engine.server.replication.failover_in_progress();
        let Some(node) = self.members[self.root].node() else {
            self.failover = None;
            return;
        };
        if under_way(node) {
            return;
        }
        self.failover = None;
        if node.engine.server.follows() {
            self.note(|| format!("failed over to {target}"));
            self.tally.failovers += 1;
            self.promoted = true;
            self.copies_lost += 1;
            self.install(target, true);
        }
    }

    /// Makes others follow a new master, each in its time.
    fn install(&mut self, new: usize, at_once: bool) {
        let old = std::mem::replace(&mut self.root, new);
        self.change_office();
        self.members[new].parent = None;
        for member in 0..self.members.len() {
            let parent = self.members[member].parent;
            if member == new
                || (parent != Some(old) && member != old && parent.is_some() && parent != Some(new))
            {
                continue;
            }
            self.members[member].parent = Some(new);
            let pause = if at_once { 0 } else { self.rng.below(2_000_000) };
            self.orders.push(Order {
                due: self.clock.now().instant + Duration::from_micros(pause),
                member,
                frees: member == old,
            });
        }
        // Whoever followed one that now follows him is left in a loop otherwise.
        for member in 0..self.members.len() {
            let (mut at, mut steps) = (member, 0);
            while let Some(parent) = self.members[at].parent
                && steps <= self.members.len()
            {
                (at, steps) = (parent, steps + 1);
            }
            if at != new {
                self.members[member].parent = Some(new);
                let due = self.clock.now().instant;
                self.orders.push(Order { due, member, frees: false });
            }
        }
    }

    /// Carries out what is to be told by now.
    pub(super) fn give_orders(&mut self) -> Result<(), String> {
        let now = self.clock.now().instant;
        while let Some(index) = self.orders.iter().position(|order| order.due <= now) {
            let order = self.orders.remove(index);
            if order.frees {
                self.members[order.member].isolated = false;
            }
            // Who is down is told by its configuration when it starts.
            if let Some(parent) = self.members[order.member].parent {
                self.follow(order.member, parent, false)?;
            }
        }
        Ok(())
    }

    /// Lets a server follow another.
    fn follow(&mut self, member: usize, master: usize, accept_empty: bool) -> Result<(), String> {
        let (host, port) = (host(master), port(master).to_string());
        let mut words = vec!["REPLICAOF", &host, &port];
        if accept_empty {
            words.push("ACCEPT-EMPTY");
        }
        self.order(member, &words)
    }

    /// Tells a server something, and hears no answer.
    pub(super) fn order(&mut self, member: usize, words: &[&str]) -> Result<(), String> {
        let now = self.now_at(member);
        let Member { life: Some(life), disk, .. } = &mut self.members[member] else { return Ok(()) };
        if self.verbose {
            println!("{:>12} server {member} is told {}", now.instant.micros(), words.join(" "));
        }
        if life.node.engine.server.persistence.loading().is_some() {
            self.judge.may_go_back(member);
        }
        // CONFIG SET looks where the log is.
        log_files::show(&life.host, disk);
        let peer = Peer { addr: "10.2.0.1:40000".into(), fd: 7, ..Peer::default() };
        let id = life.node.open(now, peer);
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        life.node.handle_input(now, &life.host, id, &words::encode(&words));
        if self.verbose {
            println!("{:>12}     {}", "", words::quote(life.node.output(id)));
        }
        life.node.close(id);
        self.settle(member)
    }

    fn some_wire(&mut self) -> Option<u64> {
        let count = self.wires.len() as u64;
        (count > 0).then(|| self.rng.below(count)).and_then(|at| self.wires.keys().nth(at as usize).copied())
    }

    fn cut_some(&mut self) {
        if let Some(key) = self.some_wire() {
            self.cut(key);
        }
    }

    /// Cuts a link at any byte; the ends hear of it now, later or by their own clocks.
    pub(super) fn cut(&mut self, key: u64) {
        let now = self.clock.now().instant;
        let Some(wire) = self.wires.get_mut(&key) else { return };
        self.tally.cuts += 1;
        for pipe in [&mut wire.to_master, &mut wire.to_replica] {
            let kept = self.rng.below(pipe.len() as u64 + 1) as usize;
            let silence = [0, 100_000, 60_000_000][self.rng.below(3) as usize];
            pipe.cut(kept, now + Duration::from_micros(silence));
        }
        if self.verbose {
            println!("{:>12} wire {key} is cut", now.micros());
        }
    }

    fn stall_some(&mut self) {
        if let Some(key) = self.some_wire() {
            let pause = self.rng.below(6_000_000);
            let until = self.clock.now().instant + Duration::from_micros(pause);
            if let Some(wire) = self.wires.get_mut(&key) {
                wire.stalled_until = until;
            }
            self.tally.stalls += 1;
            self.note(|| format!("wire {key} stalls until {}", until.micros()));
        }
    }

    fn kill_child(&mut self, member: usize) {
        let now = self.clock.now().instant;
        if let Some(life) = &mut self.members[member].life
            && let Some(child) = &mut life.child
        {
            (child.fails, child.due) = (true, now);
            self.tally.children += 1;
        }
    }

    fn fill_disk(&mut self, member: usize) {
        let room = self.rng.below(3_000);
        self.members[member].disk.set_room(room);
        self.broken_until[member] = Some(self.clock.now().instant + Duration::from_secs(1 + room % 5));
        self.tally.faults += 1;
    }

    fn break_disk(&mut self, member: usize) {
        let step = [Step::Open, Step::Write, Step::Rename, Step::Remove][self.rng.below(4) as usize];
        let path = ["", "temp-sync", "temp-replicas", "temp"][self.rng.below(4) as usize].into();
        let fault = Fault { step, one_in: 1, times: 1 + self.rng.below(2), path, full: false };
        self.note(|| format!("disk of {member}: {fault:?}"));
        self.members[member].disk.inject(fault);
        self.broken_until[member] = Some(self.clock.now().instant + Duration::from_secs(2));
        self.tally.faults += 1;
    }

    /// Heals disks whose time has come, or all.
    pub(super) fn heal_disks(&mut self, all: bool) {
        let now = self.clock.now().instant;
        for member in 0..self.members.len() {
            if all || self.broken_until[member].is_some_and(|until| until <= now) {
                self.broken_until[member] = None;
                self.members[member].disk.heal();
                self.members[member].disk.set_room(u64::MAX);
            }
        }
    }

    /// Returns whether one more copy may be lost.
    fn may_lose(&mut self) -> bool {
        if self.plan.synchronous == 0 {
            return true;
        }
        if self.is_quiet() {
            (self.copies_lost, self.promoted) = (0, false);
        }
        self.copies_lost < self.plan.synchronous && self.failover.is_none()
    }

    fn crash_replica(&mut self, member: usize) -> Result<(), String> {
        // One that is waited for may go as long as another has what was promised; the master has it as well.
        if self.members[member].life.is_none() || (self.plan.synchronous > 0 && !self.may_lose()) {
            return Ok(());
        }
        self.copies_lost += 1;
        self.crash(member)
    }

    /// Returns whether the master may be lost: not before all have caught up with one that was promoted, as nobody could tell
    /// which replica has most of two histories.
    fn may_lose_master(&mut self) -> bool {
        self.may_lose() && (self.plan.synchronous == 0 || !self.promoted)
    }

    fn crash_master(&mut self) -> Result<(), String> {
        let root = self.root;
        if self.members[root].life.is_none() || !self.may_lose_master() {
            return Ok(());
        }
        if self.plan.synchronous > 0 || self.rng.below(2) == 0 {
            let Some(new) = self.most_advanced() else { return Ok(()) };
            self.crash(root)?;
            self.copies_lost += 1;
            return self.promote(new);
        }
        self.copies_lost += 1;
        self.failover = None;
        self.crash(root)
    }

    /// Promotes a replica while the old master is there still.
    fn hand_over_by_hand(&mut self) -> Result<(), String> {
        let root = self.root;
        if !self.may_lose_master() || self.failover.is_some() {
            return Ok(());
        }
        // First nobody follows the old master any more.
        let Some(new) = self.most_advanced() else { return Ok(()) };
        self.members[root].isolated = true;
        let keys: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| wire.target == root).map(|(key, _)| *key).collect();
        let now = self.clock.now().instant;
        for key in keys {
            if let Some(wire) = self.wires.get_mut(&key) {
                wire.to_master.cut(0, now);
                wire.to_replica.cut(0, now);
            }
        }
        self.copies_lost += 1;
        self.promote(new)
    }

    fn promote(&mut self, new: usize) -> Result<(), String> {
        self.note(|| format!("server {new} is promoted"));
        self.tally.promotions += 1;
        self.promoted = true;
        self.failover = None;
        self.order(new, &["REPLICAOF", "NO", "ONE"])?;
        self.look(new, true)?;
        if let Some(node) = self.members[new].node() {
            self.judge.promises(new, node)?;
        }
        self.install(new, false);
        Ok(())
    }

    /// Returns the replica that has most of the master's history; nobody if that cannot be told at the moment.
    fn most_advanced(&self) -> Option<usize> {
        let node = self.members[self.root].node()?;
        let history = *node.engine.server.replication.primary.history();
        let mut best = None;
        for (number, member) in self.members.iter().enumerate().filter(|(number, _)| *number != self.root) {
            let Some(node) = member.node() else { continue };
            // What it will have is not known before it is loaded.
            let server = &node.engine.server;
            if server.persistence.loading().is_some() || node.file_to_load().is_some() {
                return None;
            }
            let Some((id, offset)) = place(node) else { continue };
            let second = history.second.filter(|second| second.id == id && offset <= second.offset);
            if (id == history.id || second.is_some()) && best.is_none_or(|(found, _)| found < offset) {
                best = Some((offset, number));
            }
        }
        best.map(|(_, number)| number)
    }

    fn fail_over(&mut self) -> Result<(), String> {
        if self.failover.is_some() || !self.may_lose_master() {
            return Ok(());
        }
        let Some(node) = self.members[self.root].node() else { return Ok(()) };
        let now = self.clock.now().instant;
        let replicas = node.engine.server.replication.primary.figures(now).replicas;
        if replicas.is_empty() {
            return Ok(());
        }
        let target = number_of(replicas[self.rng.below(replicas.len() as u64) as usize].port);
        let mut words = vec!["FAILOVER".to_owned(), "TO".into(), host(target), port(target).to_string()];
        words.extend(["TIMEOUT".into(), (100 + self.rng.below(3_000)).to_string()]);
        if self.plan.synchronous == 0 && self.rng.below(4) == 0 {
            words.push("FORCE".into());
        }
        self.order(self.root, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let begun = |node: &Node| node.engine.server.replication.failover_in_progress();
        self.failover = self.members[self.root].node().is_some_and(begun).then_some(target);
        Ok(())
    }

    /// Lets a server follow another than it should, perhaps in a circle.
    fn point_elsewhere(&mut self, member: usize) -> Result<(), String> {
        let target = self.rng.below(self.members.len() as u64) as usize;
        if target == member || member == self.root || self.failover.is_some() {
            return Ok(());
        }
        self.members[member].parent = Some(target);
        self.follow(member, target, false)?;
        // Not for long: a circle has nobody to follow.
        let due = self.clock.now().instant + Duration::from_secs(1 + self.rng.below(5));
        self.members[member].parent = Some(self.root);
        self.orders.push(Order { due, member, frees: false });
        Ok(())
    }

    /// Ends all troubles.
    pub(super) fn end_troubles(&mut self) -> Result<(), String> {
        let now = self.clock.now().instant;
        self.heal_disks(true);
        for member in &mut self.members {
            member.isolated = false;
            member.disk.set_speed(Speed { stall: 0, ..Speed::default() });
            if member.life.is_none() {
                member.restart_at = Some(now);
            }
        }
        for wire in self.wires.values_mut() {
            wire.stalled_until = now;
            // Whoever was not told that a link is cut hears it now.
            for pipe in [&mut wire.to_master, &mut wire.to_replica] {
                pipe.ended = pipe.ended.map(|at| at.min(now));
            }
        }
        for order in &mut self.orders {
            order.due = now;
        }
        Ok(())
    }

    /// Puts right what is not as it should be; returns whether everything was.
    pub(super) fn put_right(&mut self) -> Result<bool, String> {
        self.watch_failover();
        self.give_orders()?;
        let now = self.clock.now().instant;
        if self.failover.is_some() {
            return Ok(false);
        }
        let mut right = true;
        for member in 0..self.members.len() {
            let Some(node) = self.members[member].node() else {
                right = false;
                continue;
            };
            let server = &node.engine.server;
            let follows = server.master().map(|(_, port)| number_of(port));
            let wanted = if member == self.root { None } else { self.members[member].parent };
            let refused =
                server.replication.replica.as_ref().and_then(|replica| replica.figures(now).refused);
            if follows != wanted {
                right = false;
                match wanted {
                    Some(master) => self.follow(member, master, false)?,
                    None => self.order(member, &["REPLICAOF", "NO", "ONE"])?,
                }
            } else if let Some(refused) = refused
                && let Some(parent) = wanted
            {
                right = false;
                // A loop that was there is looked for again by itself.
                if refused != Refusal::Loop {
                    self.tally.refused += 1;
                    self.follow(member, parent, true)?;
                }
            }
        }
        Ok(right)
    }

    /// Returns whether every server has what the master has.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(root) = self.members[self.root].node() else { return false };
        if root.engine.server.follows() {
            return false;
        }
        let wanted = place(root);
        wanted.is_some()
            && self.members.iter().enumerate().all(|(number, member)| {
                number == self.root || member.node().is_some_and(|node| is_up(node) && place(node) == wanted)
            })
    }
}
