//! A node as a target of the executable specification: no socket, and a clock that passes when it is waited.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use base::time::Instant;
use config::Config;
use engine::table::Table;
use node::{Closing, Effect, LinkId, Node, Peer};
use testkit::{Arrival, Dialect, Link, Place, Target};

use crate::{Clock, VirtualHost};

/// How much virtual time one request takes.
const REQUEST_TIME: Duration = Duration::from_micros(10);

/// A node that is played against in this process.
pub struct InProcess {
    node: Node,
    host: VirtualHost,
    clock: Clock,
    seed: u64,
    last_link: u64,
    links: BTreeMap<Link, Connection>,
    effects: Vec<testkit::Effect>,
}

#[derive(Default)]
struct Connection {
    /// `None` once the node has closed it.
    id: Option<LinkId>,
    output: Vec<u8>,
}

impl InProcess {
    /// Returns a fresh node, configured as `ServerProcess` configures a server for scenarios.
    pub fn new(seed: u64) -> InProcess {
        let clock = Clock::default();
        InProcess {
            node: start(seed, &clock),
            host: VirtualHost::default(),
            clock,
            seed,
            last_link: 0,
            links: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Carries out what the node asks for.
    fn drain(&mut self) {
        let mut ended = false;
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Stall(time) => self.clock.advance(time),
                Effect::Shutdown | Effect::Crash(_) => ended = true,
                Effect::Close { session, .. } => self.close(session),
                Effect::Fork { kind, path, rename_to } => {
                    let path = rename_to.unwrap_or(path);
                    self.host.fork(&mut self.node, self.clock.now(), kind, &path);
                }
                Effect::Disk(..) => unreachable!("a scenario's server has no log"),
                // Freed by being dropped; lines of the log have no reader here; the node keeps the others for itself.
                _ => {}
            }
        }
        for (_, words) in self.node.take_propagated() {
            // Scenarios leave out what holds the commands of one request together.
            if !matches!(&words[..], [word] if matches!(&**word, b"MULTI" | b"EXEC")) {
                self.effects.push(testkit::Effect { kind: "propagate".into(), words });
            }
        }
        while let Some(id) = self.node.poll_output() {
            let closing = self.node.closing(id);
            if let Some(connection) = self.links.values_mut().find(|c| c.id == Some(id))
                && closing != Closing::Now
            {
                let output = self.node.output(id);
                let count = output.len();
                connection.output.extend_from_slice(output);
                self.node.sent(id, count);
            }
            if closing != Closing::No {
                self.close(id);
            }
        }
        if ended {
            self.links.values_mut().for_each(|connection| connection.id = None);
            self.node = start(self.seed, &self.clock);
        }
    }

    fn close(&mut self, id: LinkId) {
        for connection in self.links.values_mut().filter(|c| c.id == Some(id)) {
            connection.id = None;
        }
        self.node.close(id);
    }

    /// Lets time pass up to `end`, or until `link` has received something.
    fn pass_until(&mut self, end: Instant, link: Option<Link>) {
        let arrived = |links: &BTreeMap<Link, Connection>| {
            link.and_then(|link| links.get(&link)).is_some_and(|c| !c.output.is_empty() || c.id.is_none())
        };
        while !arrived(&self.links) {
            match self.node.poll_timeout() {
                Some(at) if at <= end => {
                    self.clock.advance_to(at);
                    self.node.handle_timeout(self.clock.now(), &self.host);
                    self.drain();
                }
                _ => {
                    self.clock.advance_to(end);
                    return;
                }
            }
        }
    }

    fn connection(&mut self, link: Link) -> io::Result<&mut Connection> {
        self.links.get_mut(&link).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Target for InProcess {
    fn dialect(&self) -> Dialect {
        Dialect::Redstart
    }

    fn place(&self) -> Place {
        Place::InProcess
    }

    fn connect(&mut self) -> io::Result<Link> {
        self.last_link += 1;
        let link = Link(self.last_link);
        let peer = Peer {
            addr: format!("127.0.0.1:{}", 30_000 + self.last_link % 30_000),
            local_addr: "127.0.0.1:6379".into(),
            fd: 8 + self.links.len() as i32,
            unix_socket: false,
        };
        let id = self.node.open(self.clock.now(), peer);
        self.links.insert(link, Connection { id: Some(id), output: Vec::new() });
        Ok(link)
    }

    fn send(&mut self, link: Link, bytes: &[u8]) -> io::Result<()> {
        self.clock.advance(REQUEST_TIME);
        let id = self.connection(link)?.id.ok_or(io::ErrorKind::BrokenPipe)?;
        self.node.handle_input(self.clock.now(), &self.host, id, bytes);
        self.drain();
        Ok(())
    }

    fn receive(&mut self, link: Link, into: &mut Vec<u8>, wait: Duration) -> io::Result<Arrival> {
        let end = self.clock.now().instant + wait;
        self.pass_until(end, Some(link));
        let connection = self.connection(link)?;
        Ok(match (connection.output.is_empty(), connection.id) {
            (false, _) => {
                into.append(&mut connection.output);
                Arrival::Bytes
            }
            (true, None) => Arrival::Closed,
            (true, Some(_)) => Arrival::Nothing,
        })
    }

    fn disconnect(&mut self, link: Link) {
        if let Some(Connection { id: Some(id), .. }) = self.links.remove(&link) {
            self.node.close(id);
            self.drain();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.clock.now().instant + time;
        self.pass_until(end, None);
    }

    fn take_effects(&mut self) -> Option<Vec<testkit::Effect>> {
        Some(std::mem::take(&mut self.effects))
    }
}

fn start(seed: u64, clock: &Clock) -> Node {
    let mut config = Config::default();
    for (name, value) in [("save", ""), ("bind", "127.0.0.1"), ("enable-debug-command", "yes")] {
        config
            .set_at_start(name.as_bytes(), &[value.as_bytes()])
            .unwrap_or_else(|error| panic!("{name} {value:?} is refused: {error}"));
    }
    let mut node = Node::new(config, Table::standard(), seed, clock.now());
    node.observe();
    node
}
