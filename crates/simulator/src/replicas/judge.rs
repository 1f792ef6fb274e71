//! What must hold at every moment: one history has one content, nobody is ahead of it, and what was promised is there.

use std::collections::BTreeMap;

use keyspace::{Keyspace, Text};
use node::Node;
use replication::ReplId;

use crate::crashes::shadow::Shadow;

/// The database of the counters.
pub(super) const COUNTERS: usize = 3;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The data at a place in a history.
    states: BTreeMap<(ReplId, u64), Seen>,
    /// Whether the data itself is kept, to tell where it differs.
    keeps_data: bool,
    /// How far each history was written by its masters.
    written: BTreeMap<ReplId, u64>,
    /// The highest number of each counter that was acknowledged in the synchronous mode.
    pub(super) acknowledged: Vec<u64>,
    /// What was read last of each counter of each server, and in which history.
    read: BTreeMap<(usize, usize), (u64, ReplId)>,
    pub(super) compared: u64,
    pub(super) reads: u64,
}

/// The data of a server, as it was seen last at a place.
#[derive(Debug)]
struct Seen {
    server: usize,
    digest: u64,
    data: Option<Shadow>,
}

/// Returns where a server is in its history, if it can say.
pub(super) fn place(node: &Node) -> Option<(ReplId, u64)> {
    let server = &node.engine.server;
    let replication = &server.replication;
    if server.persistence.loading().is_some() {
        return None;
    }
    match &replication.replica {
        Some(replica) => replica.position().map(|position| (position.id, position.offset)),
        None if replication.primary.listens() => {
            Some((replication.primary.history().id, replication.primary.offset()))
        }
        None => None,
    }
}

/// Returns whether a server receives its master's stream.
pub(super) fn is_up(node: &Node) -> bool {
    node.engine.server.master_is_up()
}

impl Judge {
    /// Returns a judge of so many counters; `keeps_data` lets it tell where data differs.
    pub(super) fn new(counters: usize, keeps_data: bool) -> Judge {
        Judge { acknowledged: vec![0; counters], keeps_data, ..Judge::default() }
    }

    /// Looks at a server after it has done something; `closely` compares its data wherever it is.
    pub(super) fn look(&mut self, number: usize, node: &Node, closely: bool) -> Result<(), String> {
        let Some((id, offset)) = place(node) else { return Ok(()) };
        let replication = &node.engine.server.replication;
        let written = self.written.entry(id).or_default();
        match &replication.replica {
            None => *written = (*written).max(offset),
            Some(_) if offset > *written => {
                return Err(format!(
                    "server {number} is at {offset} of {id}, of which {written} were written"
                ));
            }
            Some(_) => {
                if is_up(node)
                    && (replication.primary.history().id, replication.primary.offset()) != (id, offset)
                {
                    return Err(format!(
                        "server {number} is at {offset} of {id}, and gives on {} of {}",
                        replication.primary.offset(),
                        replication.primary.history().id
                    ));
                }
            }
        }
        // Some places are looked at by all.
        if !closely && offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 != 0 {
            return Ok(());
        }
        let keyspace = &node.engine.keyspace;
        self.compare(number, (id, offset), keyspace)?;
        match replication.primary.history().second {
            Some(second) if second.offset == offset && replication.primary.history().id == id => {
                self.compare(number, (second.id, offset), keyspace)
            }
            _ => Ok(()),
        }
    }

    fn compare(&mut self, server: usize, place: (ReplId, u64), keyspace: &Keyspace) -> Result<(), String> {
        self.compared += 1;
        let data = self.keeps_data.then(|| Shadow::of(keyspace));
        let seen = Seen { server, digest: Shadow::digest_of(keyspace), data };
        let (digest, (id, offset)) = (seen.digest, place);
        let Some(before) = self.states.insert(place, seen).filter(|before| before.digest != digest) else {
            return Ok(());
        };
        let mut problem = format!("server {server} has other data than others had at {offset} of {id}");
        if let (Some(old), Some(Seen { data: Some(new), .. })) = (&before.data, self.states.get(&place)) {
            problem += &format!("; server {} and it differ in {}", before.server, old.difference(new));
        }
        Err(problem)
    }

    /// Notes a number that was acknowledged.
    pub(super) fn acknowledge(&mut self, counter: usize, number: u64) {
        let known = &mut self.acknowledged[counter];
        *known = (*known).max(number);
    }

    /// Checks that a server has all that was acknowledged.
    pub(super) fn promises(&self, number: usize, node: &Node) -> Result<(), String> {
        let held = counters(&node.engine.keyspace);
        for (counter, acknowledged) in self.acknowledged.iter().enumerate() {
            let held = held.get(&counter).copied().unwrap_or(0);
            if held < *acknowledged {
                return Err(format!(
                    "server {number} has {held} in counter {counter}, and {acknowledged} was acknowledged"
                ));
            }
        }
        Ok(())
    }

    /// Notes that a server may go back.
    pub(super) fn may_go_back(&mut self, number: usize) {
        self.read.retain(|(server, _), _| *server != number);
    }

    /// Judges what was read of a counter.
    pub(super) fn read(
        &mut self,
        number: usize,
        node: &Node,
        counter: usize,
        found: u64,
    ) -> Result<(), String> {
        // In another history a server may be farther back.
        let Some((history, _)) = place(node) else { return Ok(()) };
        self.reads += 1;
        match self.read.insert((number, counter), (found, history)) {
            Some((before, same)) if same == history && found < before => Err(format!(
                "server {number} has {found} in counter {counter}, and was read with {before} in it"
            )),
            _ => Ok(()),
        }
    }
}

/// Returns what each counter is at.
fn counters(keyspace: &Keyspace) -> BTreeMap<usize, u64> {
    let entries = keyspace.dbs[COUNTERS].table.iter();
    let counter = |entry: &keyspace::Entry| {
        let number = std::str::from_utf8(entry.key().strip_prefix(b"c")?).ok()?.parse().ok()?;
        let text = Text::of(entry).ok()?.to_vec();
        Some((number, std::str::from_utf8(&text).ok()?.parse().ok()?))
    };
    entries.filter_map(counter).collect()
}
