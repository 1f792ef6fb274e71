//! Plays a scenario's actions: its clients, an administrator's connection, and fresh state around it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::reply::{Branch, Reply};
use crate::scenario::{Action, Scenario};
use crate::target::{Arrival, Link, Target};
use crate::words;

/// How long a reply to the administrator may take.
const ADMIN_WAIT: Duration = Duration::from_secs(10);

/// The clients of one scenario at a time, on one target.
pub struct Player<'t> {
    target: &'t mut dyn Target,
    clients: BTreeMap<String, Client>,
    admin: Option<Client>,
    saved: Vec<(Vec<u8>, Vec<u8>)>,
    acl_touched: bool,
    kept: BTreeMap<String, Vec<u8>>,
}

struct Client {
    link: Link,
    received: Vec<u8>,
    closed: bool,
}

/// What a client received next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    Reply(Reply),
    Nothing,
    Closed,
    /// Bytes that are no reply.
    Garbage(String),
}

impl Next {
    /// Returns it as lines for a report.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Next::Reply(reply) => reply.lines(),
            Next::Nothing => vec!["...".into()],
            Next::Closed => vec!["closed".into()],
            Next::Garbage(text) => vec![format!("not a reply: {text}")],
        }
    }
}

impl<'t> Player<'t> {
    /// Returns a player with no clients yet.
    pub fn new(target: &'t mut dyn Target) -> Player<'t> {
        Player {
            target,
            clients: BTreeMap::new(),
            admin: None,
            saved: Vec::new(),
            acl_touched: false,
            kept: BTreeMap::new(),
        }
    }

    /// Returns the target that is played against.
    pub fn target(&mut self) -> &mut dyn Target {
        self.target
    }

    /// Empties the server and prepares what the scenario asks for.
    pub fn begin(&mut self, scenario: &Scenario) -> io::Result<()> {
        for request in
            [&["CLIENT", "UNPAUSE"][..], &["FLUSHALL"], &["FUNCTION", "FLUSH"], &["SCRIPT", "FLUSH"]]
        {
            // Servers that lack one of these have nothing of it to empty either.
            self.ask(&to_words(request))?;
        }
        for (name, value) in &scenario.config {
            self.save_config(name.as_bytes())?;
            let reply = self.ask(&to_words(&["CONFIG", "SET", name, value]))?;
            if reply.is_error() {
                return Err(io::Error::other(format!("CONFIG SET {name}: {}", reply.head())));
            }
        }
        if scenario.resp3 {
            self.send_bytes("", &words::encode(&to_words(&["HELLO", "3"])))?;
            match self.next("", ADMIN_WAIT)? {
                Next::Reply(Reply::Branch(Branch::Map, _)) => {}
                other => return Err(io::Error::other(format!("HELLO 3: {}", other.lines().join(" ")))),
            }
        }
        Ok(())
    }

    /// Disconnects the clients and puts back the parameters and users that the scenario changed.
    pub fn end(&mut self) -> io::Result<()> {
        for client in std::mem::take(&mut self.clients).into_values() {
            self.target.disconnect(client.link);
        }
        self.kept.clear();
        for (name, value) in std::mem::take(&mut self.saved).into_iter().rev() {
            self.ask(&[b"CONFIG".to_vec(), b"SET".to_vec(), name, value])?;
        }
        if std::mem::take(&mut self.acl_touched) {
            self.restore_users()?;
        }
        Ok(())
    }

    /// Does what a step says, for requests, raw bytes and passing time.
    pub fn act(&mut self, action: &Action) -> io::Result<()> {
        match action {
            Action::Request { client, words } => {
                let words: Vec<Vec<u8>> = words.iter().map(|word| self.substitute(word)).collect();
                self.remember(&words)?;
                self.send_bytes(client, &words::encode(&words))
            }
            Action::Raw { client, bytes } => self.send_bytes(client, bytes),
            Action::Pass(time) => {
                self.target.pass(*time);
                Ok(())
            }
            Action::Receive { .. } | Action::Effect(_) => Ok(()),
        }
    }

    /// Keeps a reply's text under a name for `${name}` in later requests.
    pub fn keep(&mut self, name: &str, reply: &Reply) {
        self.kept.insert(name.to_string(), reply.text().unwrap_or_default().to_vec());
    }

    /// Returns what a client receives next, waiting up to `wait` for it.
    pub fn next(&mut self, client: &str, wait: Duration) -> io::Result<Next> {
        self.connect(client)?;
        match self.clients.get_mut(client) {
            Some(client) => next(self.target, client, wait),
            None => Ok(Next::Nothing),
        }
    }

    /// Returns when everything that was sent has been executed and answered as far as it can be.
    ///
    /// A server may accept a connection in one turn of its loop, read from it in the next, and write that turn's
    /// replies in any order: only after a third answer is everything before the first one surely written.
    pub fn settle(&mut self) -> io::Result<()> {
        (0..3).try_for_each(|_| self.ask(&to_words(&["PING"])).map(drop))
    }

    /// Takes whatever has arrived at any client and was not asked for.
    pub fn leftovers(&mut self) -> io::Result<Vec<(String, Next)>> {
        self.settle()?;
        let mut leftovers = Vec::new();
        for (name, client) in &mut self.clients {
            if client.closed {
                continue;
            }
            loop {
                let next = next(self.target, client, Duration::ZERO)?;
                let last = !matches!(next, Next::Reply(_));
                if next != Next::Nothing {
                    leftovers.push((name.clone(), next));
                }
                if last {
                    break;
                }
            }
        }
        Ok(leftovers)
    }

    fn connect(&mut self, client: &str) -> io::Result<()> {
        if !self.clients.contains_key(client) {
            let link = self.target.connect()?;
            self.clients.insert(client.to_string(), Client { link, received: Vec::new(), closed: false });
        }
        Ok(())
    }

    fn send_bytes(&mut self, client: &str, bytes: &[u8]) -> io::Result<()> {
        self.connect(client)?;
        let client = &self.clients[client];
        match self.target.send(client.link, bytes) {
            // The server may have closed the connection already; what it sent before that is still to be read.
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Sends a request on the administrator's connection, reconnecting when a scenario had it killed.
    fn ask(&mut self, request: &[Vec<u8>]) -> io::Result<Reply> {
        for _ in 0..2 {
            if self.admin.is_none() {
                let link = self.target.connect()?;
                self.admin = Some(Client { link, received: Vec::new(), closed: false });
            }
            if let Some(admin) = &mut self.admin
                && self.target.send(admin.link, &words::encode(request)).is_ok()
                && let Ok(Next::Reply(reply)) = next(self.target, admin, ADMIN_WAIT)
            {
                return Ok(reply);
            }
            if let Some(admin) = self.admin.take() {
                self.target.disconnect(admin.link);
            }
        }
        Err(io::Error::other("the server does not answer"))
    }

    fn remember(&mut self, words: &[Vec<u8>]) -> io::Result<()> {
        let is =
            |index: usize, name: &[u8]| words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(name));
        if is(0, b"CONFIG") && is(1, b"SET") {
            for name in words[2..].iter().step_by(2) {
                self.save_config(name)?;
            }
        }
        self.acl_touched |= is(0, b"ACL");
        Ok(())
    }

    fn save_config(&mut self, name: &[u8]) -> io::Result<()> {
        if let [name, value] = self.ask(&[b"CONFIG".to_vec(), b"GET".to_vec(), name.to_vec()])?.elements()
            && let (Some(name), Some(value)) = (name.text(), value.text())
        {
            self.saved.push((name.to_vec(), value.to_vec()));
        }
        Ok(())
    }

    fn restore_users(&mut self) -> io::Result<()> {
        for user in self.ask(&to_words(&["ACL", "USERS"]))?.elements() {
            if let Some(name) = user.text().filter(|name| *name != b"default") {
                self.ask(&[b"ACL".to_vec(), b"DELUSER".to_vec(), name.to_vec()])?;
            }
        }
        let everything = ["ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all"];
        self.ask(&to_words(&everything))?;
        self.ask(&to_words(&["ACL", "LOG", "RESET"])).map(drop)
    }

    fn substitute(&self, word: &[u8]) -> Vec<u8> {
        let mut word = word.to_vec();
        for (name, value) in &self.kept {
            let pattern = format!("${{{name}}}").into_bytes();
            while let Some(at) = word.windows(pattern.len()).position(|window| window == pattern) {
                word.splice(at..at + pattern.len(), value.iter().copied());
            }
        }
        word
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        for client in std::mem::take(&mut self.clients).into_values().chain(self.admin.take()) {
            self.target.disconnect(client.link);
        }
    }
}

fn next(target: &mut dyn Target, client: &mut Client, wait: Duration) -> io::Result<Next> {
    loop {
        match Reply::parse(&client.received) {
            Ok(Some((reply, length))) => {
                client.received.drain(..length);
                return Ok(Next::Reply(reply));
            }
            Ok(None) if client.closed => return Ok(Next::Closed),
            Ok(None) => {}
            Err(error) => {
                let rest = std::mem::take(&mut client.received);
                return Ok(Next::Garbage(format!("{error}: {}", words::quote(&rest))));
            }
        }
        match target.receive(client.link, &mut client.received, wait)? {
            Arrival::Bytes => {}
            Arrival::Nothing => return Ok(Next::Nothing),
            Arrival::Closed => client.closed = true,
        }
    }
}

fn to_words(request: &[&str]) -> Vec<Vec<u8>> {
    request.iter().map(|word| word.as_bytes().to_vec()).collect()
}
