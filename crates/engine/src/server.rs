//! What all commands share beside the keyspace.

use std::collections::BTreeMap;

use base::rng::Rng;
use base::time::Now;
use config::{Config, NotifyFlags};
use keyspace::Listening;

use crate::blocking::Waiting;
use crate::effect::Effect;
use crate::hold::Holds;
use crate::latency::Latency;
use crate::locks::Locks;
use crate::pause::Pause;
use crate::persistence::Persistence;
use crate::propagate::Propagation;
use crate::pubsub::PubSub;
use crate::replication::Replication;
use crate::session::{SessionId, Sessions};
use crate::slowlog::SlowLog;
use crate::stats::Stats;
use crate::table::Table;

/// Everything of an engine but its keyspace and the session that executes.
pub struct Server {
    pub config: Config,
    pub table: &'static Table,
    pub stats: Stats,
    pub sessions: Sessions,
    pub pubsub: PubSub,
    pub waiting: Waiting,
    /// What is known of locks beside their keys.
    pub locks: Locks,
    /// Sessions that WATCH a key, by database and key.
    pub watched: BTreeMap<(usize, Box<[u8]>), Vec<SessionId>>,
    pub monitors: Vec<SessionId>,
    pub effects: Vec<Effect>,
    pub pause: Pause,
    pub slowlog: SlowLog,
    pub latency: Latency,
    pub rng: Rng,
    pub started: Now,
    /// 40 hexadecimal digits that name this run of the server.
    pub run_id: String,
    /// What was allocated before there was any data.
    pub startup_memory: usize,
    /// Microseconds for which the command that executes asked to stall the server (DEBUG SLEEP); they count as its own.
    pub(crate) stalled_us: u64,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expiry: bool,
    /// Somebody reads the stream of writes; see [`crate::Engine::listen_propagation`].
    pub listen_propagation: bool,
    /// Replies that wait for what they tell of to be safe.
    pub holds: Holds,
    /// What is known of the files that hold the data.
    pub persistence: Persistence,
    /// Both ends of replication.
    pub replication: Replication,
    /// What is to be propagated of the unit that executes.
    pub(crate) propagation: Propagation,
    /// When the log last told of a browser.
    pub(crate) browser_logged: Option<base::time::Instant>,
}

impl Server {
    /// Returns the events that somebody listens to, for the keyspace's recorder.
    pub fn listening(&self) -> Listening {
        let mut listening = Listening::default();
        let notify = self.config.notify_keyspace_events;
        let publishes = notify.intersects(NotifyFlags::KEYSPACE) || notify.intersects(NotifyFlags::KEYEVENT);
        let rare = notify.contains(NotifyFlags::NEW) || notify.contains(NotifyFlags::KEY_MISS);
        listening.set(Listening::NOTIFY, publishes);
        listening.set(Listening::RARE, publishes && rare);
        listening.set(Listening::WATCH, !self.watched.is_empty());
        listening.set(Listening::PROPAGATE, self.listen_propagation);
        listening.set(Listening::BLOCKED, !self.waiting.is_empty());
        listening
    }

    /// Returns the offset after everything that was propagated.
    pub fn stream_offset(&self) -> u64 {
        self.propagation.stream.offset()
    }

    /// Returns whether clients must authenticate.
    pub fn requires_password(&self) -> bool {
        !self.config.requirepass.is_empty()
    }

    /// Writes a line to the log.
    pub fn log(&mut self, level: crate::effect::LogLevel, line: String) {
        self.effects.push(Effect::Log(level, line));
    }
}

/// Returns 40 random hexadecimal digits.
pub(crate) fn hex_id(rng: &mut Rng) -> String {
    (0..40).map(|_| char::from(b"0123456789abcdef"[rng.below(16) as usize])).collect()
}
