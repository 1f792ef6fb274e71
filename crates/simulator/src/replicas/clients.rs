//! Those who write and read: counters, each with one writer, and random traffic beside them.
//!
//! A counter's writer sends numbers that grow, so that anybody can tell which of two states is the later one.

use std::collections::VecDeque;

use base::rng::Rng;
use node::{LinkId, Peer};
use testkit::{Reply, words};

use super::World;
use super::judge::COUNTERS;
use super::lockers::Asked;
use super::member::End;

/// How many counters there are.
pub(super) const WRITERS: usize = 3;

/// Somebody with a connection to one server.
#[derive(Debug)]
pub(super) struct Client {
    kind: Kind,
    pub(super) member: usize,
    /// While it is connected.
    pub(super) id: Option<LinkId>,
    pending: VecDeque<Expected>,
    said: Vec<u8>,
    /// The last number that was sent.
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Writer(usize),
    Reader,
    Traffic,
    Locker(usize),
}

/// What a reply tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Anything,
    /// That a counter was set.
    Written(usize, u64),
    /// What a counter is at.
    Counter(usize),
    /// What became of what a locker asked.
    Lock(usize, Asked),
}

/// A client that waits for so many replies asks for nothing more.
const PENDING_MAX: usize = 12;

pub(super) fn clients() -> Vec<Client> {
    let writers = (0..WRITERS).map(Kind::Writer);
    let kinds = writers.chain([Kind::Reader, Kind::Reader, Kind::Traffic, Kind::Traffic]);
    kinds.map(Client::new).collect()
}

/// Returns the connection of somebody who takes locks.
pub(super) fn locker(number: usize) -> Client {
    Client::new(Kind::Locker(number))
}

impl Client {
    fn new(kind: Kind) -> Client {
        Client { kind, member: 0, id: None, pending: VecDeque::new(), said: Vec::new(), last: 0 }
    }

    /// Notes what the next reply will be about.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.pending.push_back(expected);
    }
}

impl World {
    /// Lets some client do something.
    pub(super) fn client_acts(&mut self) -> Result<(), String> {
        let others = self.clients.len() - self.lockers.len();
        let index = self.rng.below(others as u64) as usize;
        let kind = self.clients[index].kind;
        let moves = match kind {
            Kind::Reader => self.rng.below(2) == 0,
            _ => self.clients[index].member != self.root && self.rng.below(3) == 0,
        };
        if moves {
            self.hang_up(index)?;
        }
        if self.clients[index].id.is_none() && !self.call(index, kind)? {
            return Ok(());
        }
        if self.clients[index].pending.len() >= PENDING_MAX {
            return self.hang_up(index);
        }
        match kind {
            Kind::Writer(counter) => {
                let mut bytes = Vec::new();
                for _ in 0..1 + self.rng.below(3) {
                    self.push_write(index, counter, &mut bytes);
                }
                self.ask(index, &bytes)
            }
            Kind::Reader => {
                let counter = self.rng.below(WRITERS as u64) as usize;
                self.clients[index].pending.push_back(Expected::Counter(counter));
                self.ask(index, &words::encode(&[b"GET".to_vec(), key(counter)]))
            }
            Kind::Locker(_) => Ok(()),
            Kind::Traffic => {
                let mut batch = self.traffic.batch(&mut self.rng);
                for request in &mut batch {
                    // The counters stay.
                    if request.words[0] == b"FLUSHALL" {
                        request.words[0] = b"FLUSHDB".to_vec();
                    }
                    self.clients[index].pending.push_back(Expected::Anything);
                }
                let bytes: Vec<u8> = batch.iter().flat_map(|request| words::encode(&request.words)).collect();
                self.ask(index, &bytes)
            }
        }
    }

    /// Adds a write of the counter's next number, and perhaps what waits for it.
    fn push_write(&mut self, index: usize, counter: usize, bytes: &mut Vec<u8>) {
        let style = self.rng.below(8);
        let client = &mut self.clients[index];
        client.last += 1;
        let number = client.last;
        let set = vec![b"SET".to_vec(), key(counter), number.to_string().into_bytes()];
        let mut say = |words: &[Vec<u8>], expected| {
            bytes.extend(words::encode(words));
            client.pending.push_back(expected);
        };
        match style {
            0 => {
                say(&[b"MULTI".to_vec()], Expected::Anything);
                say(&set, Expected::Anything);
                say(&[b"INCR".to_vec(), b"beside".to_vec()], Expected::Anything);
                say(&[b"EXEC".to_vec()], Expected::Written(counter, number));
            }
            1 => {
                say(&set, Expected::Written(counter, number));
                let wait = ["WAIT", "1", "200"].map(|word| word.as_bytes().to_vec());
                say(&wait, Expected::Anything);
            }
            _ => say(&set, Expected::Written(counter, number)),
        }
    }

    /// Sets a counter once more, when all is quiet; returns whether it was acknowledged.
    pub(super) fn write_once(&mut self) -> Result<(), String> {
        self.hang_up(0)?;
        if self.call(0, Kind::Writer(0))? {
            self.clients[0].last += 1;
            let number = self.clients[0].last;
            let set = [b"SET".to_vec(), key(0), number.to_string().into_bytes()];
            self.clients[0].pending.push_back(Expected::Written(0, number));
            self.last_word = None;
            return self.ask(0, &words::encode(&set));
        }
        Ok(())
    }

    /// Connects a client; returns whether there is somebody to connect to.
    pub(super) fn call(&mut self, index: usize, kind: Kind) -> Result<bool, String> {
        let member = match kind {
            Kind::Reader => self.rng.below(self.members.len() as u64) as usize,
            _ => self.root,
        };
        let now = self.now_at(member);
        let Some(life) = &mut self.members[member].life else { return Ok(false) };
        let peer = Peer {
            addr: format!("10.1.0.{index}:40000"),
            local_addr: "10.0.0.100:6379".into(),
            fd: 8,
            unix_socket: false,
        };
        let id = life.node.open(now, peer);
        life.ends.insert(id.0, End::Client(index));
        let client = &mut self.clients[index];
        (client.member, client.id) = (member, Some(id));
        let db = match kind {
            Kind::Traffic => return Ok(true),
            _ => COUNTERS.to_string().into_bytes(),
        };
        client.pending.push_back(Expected::Anything);
        self.ask(index, &words::encode(&[b"SELECT".to_vec(), db]))?;
        Ok(self.clients[index].id.is_some())
    }

    pub(super) fn hang_up(&mut self, index: usize) -> Result<(), String> {
        let member = self.clients[index].member;
        if let Some(id) = self.clients[index].id.take()
            && let Some(life) = &mut self.members[member].life
        {
            life.node.close(id);
            life.ends.remove(&id.0);
            self.settle(member)?;
        }
        self.lost_client(index);
        Ok(())
    }

    /// Forgets what a client waits for, whose connection has ended.
    pub(super) fn lost_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.id = None;
        client.pending.clear();
        client.said.clear();
    }

    pub(super) fn ask(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let member = self.clients[index].member;
        let now = self.now_at(member);
        if let Some(life) = &mut self.members[member].life
            && let Some(id) = self.clients[index].id
        {
            self.tally.requests += 1;
            life.node.handle_input(now, &life.host, id, bytes);
            self.settle(member)?;
        }
        Ok(())
    }

    /// Takes what a client was told.
    pub(super) fn told(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        self.clients[index].said.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((reply, length)) = Reply::parse(&self.clients[index].said[at..])? {
            at += length;
            let client = &mut self.clients[index];
            let (member, reader) = (client.member, client.kind == Kind::Reader);
            let Some(expected) = client.pending.pop_front() else {
                return Err(format!("client {index} is told {} and has asked nothing", reply.head()));
            };
            if index == 0 {
                self.last_word = Some(reply.clone());
            }
            match expected {
                Expected::Written(counter, number) if !reply.is_error() => {
                    // A transaction that was not executed has written nothing, and there may be an error in one that was.
                    let done = match &reply {
                        Reply::Branch(_, parts) => !parts.is_empty() && !parts.iter().any(Reply::is_error),
                        Reply::Leaf(..) => reply.text() == Some(b"OK"),
                    };
                    if done && self.plan.synchronous > 0 && !self.plan.locks_only {
                        self.tally.acknowledged += 1;
                        self.judge.acknowledge(counter, number);
                    }
                }
                Expected::Counter(counter) if !reply.is_error() && reader => {
                    let found = reply.text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                    self.read_counter(member, counter, found.unwrap_or(0))?;
                }
                Expected::Lock(locker, asked) => self.lock_told(locker, asked, &reply)?,
                _ => {}
            }
        }
        self.clients[index].said.drain(..at);
        Ok(())
    }
}

fn key(counter: usize) -> Vec<u8> {
    format!("c{counter}").into_bytes()
}

/// Draws which part of what has arrived is handed over first.
pub(super) fn part(rng: &mut Rng, len: usize) -> usize {
    match rng.below(4) {
        0 if len > 1 => 1 + rng.below(len as u64 - 1) as usize,
        _ => len,
    }
}
