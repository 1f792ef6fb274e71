//! A second node that is told only what the first one propagates: in the end both must hold the same.

use std::collections::VecDeque;

use base::time::Now;
use engine::table::Table;
use node::{LinkId, Node, Peer};
use testkit::{Reply, words};

use super::model::{Words, show};
use crate::VirtualHost;

/// How many of the last commands a failure shows.
const SHOWN: usize = 8;

/// A node that follows another.
pub struct Replica {
    node: Node,
    host: VirtualHost,
    link: LinkId,
    db: usize,
    last: VecDeque<String>,
}

impl Replica {
    /// Returns an empty node with the configuration that the first one starts with.
    pub fn new(config: config::Config, now: Now) -> Replica {
        let mut node = Node::new(config, Table::standard(), 1, now);
        let link = node.open(now, Peer::default());
        Replica { node, host: VirtualHost::default(), link, db: 0, last: VecDeque::new() }
    }

    /// Executes a propagated command; the error says why one was refused, or had no reply.
    pub fn apply(&mut self, now: Now, db: usize, command: Words) -> Result<(), String> {
        if db != self.db {
            self.ask(now, &[b"SELECT".to_vec(), db.to_string().into_bytes()])?;
            self.db = db;
        }
        self.last.push_back(format!("in database {db}: {}", words::quote(&command.join(&b' '))));
        if self.last.len() > SHOWN {
            self.last.pop_front();
        }
        let reply = self.ask(now, &command)?;
        if reply.is_error() || reply.elements().iter().any(Reply::is_error) {
            let last: Vec<String> = self.last.iter().cloned().collect();
            return Err(format!("a replica answers {} to\n  {}", show(&reply), last.join("\n  ")));
        }
        Ok(())
    }

    /// Lets the replica do what is due.
    pub fn pass(&mut self, now: Now) {
        if self.node.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.node.handle_timeout(now, &self.host);
            while self.node.poll_effect().is_some() {}
        }
    }

    /// Returns one reply to a request.
    pub fn ask(&mut self, now: Now, request: &[Vec<u8>]) -> Result<Reply, String> {
        self.node.handle_input(now, &self.host, self.link, &words::encode(request));
        while self.node.poll_effect().is_some() {}
        let output = self.node.output(self.link).to_vec();
        self.node.sent(self.link, output.len());
        match Reply::parse(&output)? {
            Some((reply, length)) if length == output.len() => Ok(reply),
            _ => Err(format!(
                "a replica answers {} to {}",
                words::quote(&output),
                words::quote(&request.join(&b' '))
            )),
        }
    }
}
