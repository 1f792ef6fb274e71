//! What a seed is about: how many servers follow whom, how they are configured, and what may go wrong.

use std::time::Duration;

use base::rng::Rng;
use config::Config;

use super::lockers::LEASE_MAX;

/// Everything about a seed that does not change while it runs.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Whom each server follows at first; the first is the master.
    pub(super) parents: Vec<Option<usize>>,
    /// `synchronous-replicas`.
    pub(super) synchronous: usize,
    parameters: Vec<(&'static str, String)>,
    /// Parameters of each server.
    own: Vec<Vec<(&'static str, String)>>,
    /// The longest way of bytes.
    pub(super) latency: Duration,
    /// Bytes that a socket holds.
    pub(super) socket: usize,
    /// The longest time that a child takes.
    pub(super) child_time: u64,
    /// How long clients and troubles go on.
    pub(super) length: Duration,
    /// The longest pause between two things that clients do, and between two troubles.
    pub(super) client_pause: u64,
    pub(super) trouble_pause: u64,
    pub(super) expiry: bool,
    /// The lease of locks.
    pub(super) lease: Duration,
    /// Nothing but locks waits for replicas.
    pub(super) locks_only: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Plan {
        let count = 3 + rng.below(3) as usize;
        let shape = rng.below(3);
        let parents = (0..count).map(|index| match (index, shape) {
            (0, _) => None,
            // A fan, a chain, and a chain whose last has a fan.
            (_, 0) => Some(0),
            (_, 1) => Some(index - 1),
            _ => Some(usize::from(index > 1)),
        });
        let parents: Vec<_> = parents.collect();
        let direct = parents.iter().filter(|parent| **parent == Some(0)).count();
        let synchronous = if rng.below(2) == 0 { 0 } else { (1 + rng.below(2) as usize).min(direct) };
        // A promise that is kept on the disk needs a log everywhere.
        let fsynced = synchronous > 0 && rng.below(3) == 0;
        let mut pick = |choices: &[&str]| choices[rng.below(choices.len() as u64) as usize].to_owned();
        let backlog = pick(&["1", "600", "5000", "20000", "1048576"]);
        let commit = if fsynced { "fsynced" } else { "received" };
        let parameters = vec![
            ("databases", "4".to_owned()),
            ("stop-writes-on-bgsave-error", "no".to_owned()),
            ("hz", pick(&["1", "1", "1", "10"])),
            ("save", pick(&["", "", "2 1"])),
            ("repl-timeout", pick(&["3", "5", "10"])),
            ("repl-ping-replica-period", pick(&["1", "2"])),
            ("repl-backlog-size", backlog),
            ("repl-backlog-ttl", pick(&["3600", "3600", "2"])),
            ("repl-diskless-sync-delay", pick(&["0", "0", "5"])),
            (
                "client-output-buffer-limit",
                pick(&["slave 0 0 0", "slave 256mb 64mb 60", "slave 20000 10000 1", "slave 3000 0 0"]),
            ),
            ("synchronous-replicas", synchronous.to_string()),
            (
                "replica-ignore-disk-write-errors",
                if synchronous > 0 { "yes".into() } else { pick(&["yes", "no"]) },
            ),
            ("synchronous-commit", commit.to_owned()),
            ("synchronous-timeout", pick(&["2500", "5000", "10000"])),
            ("synchronous-lease", pick(&["1500", "3000"])),
            ("min-replicas-to-write", pick(&["0", "0", "0", "1"])),
            ("min-replicas-max-lag", pick(&["2", "10"])),
            ("auto-aof-rewrite-percentage", pick(&["0", "50"])),
            ("auto-aof-rewrite-min-size", pick(&["1000", "10000"])),
            ("aof-use-rdb-preamble", pick(&["yes", "no"])),
        ];
        let mut own = Vec::new();
        for _ in 0..count {
            let log = if fsynced { "yes".to_owned() } else { pick(&["yes", "no", "no"]) };
            own.push(vec![
                ("appendonly", log),
                ("appendfsync", pick(&["always", "everysec", "everysec"])),
                ("repl-diskless-sync", pick(&["yes", "no"])),
                ("repl-diskless-load", pick(&["disabled", "on-empty-db", "swapdb"])),
                ("rdb-del-sync-files", pick(&["no", "yes"])),
            ]);
        }
        let latency = [100, 2_000, 30_000, 200_000][rng.below(4) as usize];
        Plan {
            parents,
            synchronous,
            parameters,
            own,
            latency: Duration::from_micros(latency),
            socket: [300, 4_000, 60_000][rng.below(3) as usize],
            child_time: [1_000, 100_000, 2_000_000][rng.below(3) as usize],
            length: Duration::from_millis(2_000 + rng.below(10_000)),
            client_pause: [5_000, 40_000, 200_000][rng.below(3) as usize],
            trouble_pause: [300_000, 1_500_000, 5_000_000][rng.below(3) as usize],
            expiry: rng.below(2) == 0,
            lease: Duration::ZERO,
            locks_only: false,
        }
    }

    /// Draws what concerns locks.
    pub(super) fn draw_locks(&mut self, rng: &mut Rng) {
        // Servers whose wall clocks differ would not agree on what is expired.
        self.expiry = false;
        self.lease = [Duration::from_millis(1_000), LEASE_MAX][rng.below(2) as usize];
        self.locks_only = self.synchronous > 0 && rng.below(2) == 0;
        if self.locks_only {
            self.parameters.retain(|(name, _)| *name != "synchronous-replicas");
        }
    }

    pub(super) fn count(&self) -> usize {
        self.parents.len()
    }

    /// Returns how a server is configured that follows `master` from its start on.
    pub(super) fn config(&self, number: usize, master: Option<usize>) -> Config {
        let mut config = Config::default();
        let port = port(number).to_string();
        let mut set = |name: &str, words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            config
                .set_at_start(name.as_bytes(), &words)
                .unwrap_or_else(|error| panic!("{name} {words:?} is refused: {error}"));
        };
        set("port", &[&port]);
        for (name, value) in self.parameters.iter().chain(&self.own[number]) {
            match *name {
                "client-output-buffer-limit" | "save" if !value.is_empty() => {
                    set(name, &value.split(' ').collect::<Vec<_>>());
                }
                _ => set(name, &[value]),
            }
        }
        if let Some(master) = master {
            set("replicaof", &[&host(master), &self::port(master).to_string()]);
        }
        config
    }
}

/// Returns a server's name.
pub(super) fn host(number: usize) -> String {
    format!("10.0.0.{number}")
}

/// Returns a server's port.
pub(super) fn port(number: usize) -> u16 {
    7_000 + number as u16
}

/// Returns the server with a port.
pub(super) fn number_of(port: u16) -> usize {
    usize::from(port.saturating_sub(7_000))
}
