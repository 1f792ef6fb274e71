//! An engine with one client, a clock that stands still and a host that measures what it is told to.

use std::cell::Cell;
use std::time::Duration;

use base::time::{Instant, Now};
use config::Config;
use engine::host::{Refused, Report, RewriteError};
use engine::session::OwnedRequest;
use engine::table::Table;
use engine::{Effect, Engine, Host, SessionId};
use rdb::{Sink, SinkError};
use resp::decode::Request;

/// Measurements as a test sets them.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) memory: Cell<usize>,
    /// By how much memory shrinks with each look at it.
    pub(crate) relief: Cell<usize>,
    ticks: Cell<u64>,
    /// Microseconds that pass with each look at the clock.
    pub(crate) pace: Cell<u64>,
}

impl Host for Meters {
    fn ticks(&self) -> u64 {
        self.ticks.set(self.ticks.get() + self.pace.get());
        self.ticks.get()
    }

    fn memory_used(&self) -> usize {
        let used = self.memory.get();
        self.memory.set(used.saturating_sub(self.relief.get()));
        used
    }

    fn report(&self) -> Report {
        Report::default()
    }

    fn reconfigure(&self, _: &mut Config, _: &[&'static str]) -> Result<(), Refused> {
        Ok(())
    }

    fn rewrite_config(&self, _: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Result<(), RewriteError> {
        Err(RewriteError::NoFile)
    }

    fn write_file(
        &self,
        _: &str,
        write: &mut dyn FnMut(&mut dyn Sink) -> Result<u64, SinkError>,
    ) -> Result<(), String> {
        struct Nowhere;
        impl Sink for Nowhere {
            fn write(&mut self, _: &[u8]) -> Result<(), SinkError> {
                Ok(())
            }
        }
        write(&mut Nowhere).map(|_| ()).map_err(|error| error.reason)
    }

    fn read_file(&self, path: &str, _: &mut dyn FnMut(&[u8]) -> Result<usize, String>) -> Result<(), String> {
        Err(format!("{path}: no such file"))
    }

    fn purge(&self) {}

    fn allocator_stats(&self) -> String {
        String::new()
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) meters: Meters,
    pub(crate) now: Now,
    client: SessionId,
    /// The database that a reader of the stream works in.
    stream_db: usize,
}

impl World {
    /// Returns a server with these parameters.
    pub(crate) fn new(parameters: &[(&str, &str)]) -> World {
        let mut config = Config::default();
        for (name, value) in parameters {
            let words: Vec<&[u8]> = value.split(' ').map(str::as_bytes).collect();
            config.set_at_start(name.as_bytes(), &words).unwrap();
        }
        let now = Now { instant: Instant::from_micros(1_000_000), unix_us: 1_700_000_000_000_000 };
        let mut engine = Engine::new(config, Table::standard(), 1, now);
        let client = engine.open(now.instant);
        let mut world = World { engine, meters: Meters::default(), now, client, stream_db: 0 };
        // The periodic work of the first moment is done.
        world.tick();
        world
    }

    /// Lets time pass without anything happening in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        self.now.unix_us += time.as_micros() as i64;
    }

    /// Does the periodic work that is due.
    pub(crate) fn tick(&mut self) {
        self.engine.periodic(self.now, &self.meters);
    }

    /// Executes a command for the client and returns the reply as bytes.
    pub(crate) fn call_words(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.call_as(self.client, words)
    }

    /// Executes a command for another client.
    pub(crate) fn call_as(&mut self, client: SessionId, words: &[&[u8]]) -> Vec<u8> {
        let (bytes, mut ranges) = (words.concat(), Vec::new());
        let mut end = 0;
        for word in words {
            ranges.push((end, end + word.len() as u32));
            end += word.len() as u32;
        }
        let request = OwnedRequest::new(Request::new(&bytes, &ranges));
        let mut session = self.engine.server.sessions.take(client).expect("an open session");
        self.engine.execute(self.now, &self.meters, &mut session, request.request());
        let reply = std::mem::take(&mut session.out);
        self.engine.server.sessions.put(session);
        reply
    }

    /// Executes a command written as words with spaces between them and returns the reply as text.
    pub(crate) fn call(&mut self, command: &str) -> String {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.call_words(&words)).into_owned()
    }

    /// Opens another client.
    pub(crate) fn open(&mut self) -> SessionId {
        self.engine.open(self.now.instant)
    }

    /// Returns what was sent to a client that is not executing, and forgets it.
    pub(crate) fn received(&mut self, client: SessionId) -> String {
        let session = self.engine.server.sessions.get_mut(client).expect("an open session");
        String::from_utf8_lossy(&std::mem::take(&mut session.out)).into_owned()
    }

    /// Selects the client's database.
    pub(crate) fn select(&mut self, db: usize) {
        self.engine.server.sessions.get_mut(self.client).expect("an open session").db = db;
    }

    /// Takes the effects since it was called last.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.engine.server.effects)
    }

    /// Takes what was propagated since it was called last: `database command …`.
    pub(crate) fn propagated(&mut self) -> Vec<String> {
        self.effects();
        let commands = self.engine.stream().take(|taken| taken.commands(&mut self.stream_db));
        commands
            .into_iter()
            .map(|(db, words)| {
                let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
                format!("{db} {}", words.join(" "))
            })
            .collect()
    }

    /// Returns the number of keys in a database.
    pub(crate) fn len(&self, db: usize) -> usize {
        self.engine.keyspace.dbs[db].len()
    }
}
