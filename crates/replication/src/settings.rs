//! How both ends are configured.

use std::time::Duration;

use crate::ReplId;
use crate::backlog::Limit;

/// How a master serves its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimarySettings {
    /// `repl-backlog-size`.
    pub backlog_size: u64,
    /// For how long a master without replicas keeps its backlog (`repl-backlog-ttl`); zero for ever.
    pub backlog_ttl: Duration,
    /// Whether snapshots go to replicas without a file (`repl-diskless-sync`).
    pub diskless: bool,
    /// For how long such a snapshot waits for more replicas (`repl-diskless-sync-delay`).
    pub diskless_delay: Duration,
    /// With so many waiting it begins at once (`repl-diskless-sync-max-replicas`); 0 for any number.
    pub diskless_max_replicas: usize,
    /// `repl-ping-replica-period`.
    pub ping_period: Duration,
    /// `repl-timeout`.
    pub timeout: Duration,
    /// `client-output-buffer-limit replica`.
    pub limit: Limit,
    /// A replica that was silent for longer is not a good one (`min-replicas-max-lag`).
    pub max_lag: Duration,
}

impl Default for PrimarySettings {
    fn default() -> PrimarySettings {
        PrimarySettings {
            backlog_size: 1 << 20,
            backlog_ttl: Duration::from_secs(3600),
            diskless: true,
            diskless_delay: Duration::from_secs(5),
            diskless_max_replicas: 0,
            ping_period: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            limit: Limit { hard: 256 << 20, soft: 64 << 20, soft_for: Duration::from_secs(60) },
            max_lag: Duration::from_secs(10),
        }
    }
}

/// How a replica follows its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// `repl-timeout`.
    pub timeout: Duration,
    /// `masteruser` and `masterauth`.
    pub auth: Option<Credentials>,
    /// The port under which clients reach us (`replica-announce-port`, or the one we listen on).
    pub port: u16,
    /// `replica-announce-ip`.
    pub address: Option<String>,
    /// A snapshot that is longer, or claims to be, is refused.
    pub snapshot_max: u64,
    /// Whether data that we hold may be replaced by nothing, or by an older state of the same history.
    pub accept_empty: bool,
    /// The name of this run of the server, by which loops are found.
    pub run_id: ReplId,
}

/// What a master wants to hear before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: Option<Vec<u8>>,
    pub password: Vec<u8>,
}

impl ReplicaSettings {
    /// Returns the defaults of a server that listens on `port`.
    pub fn new(run_id: ReplId, port: u16) -> ReplicaSettings {
        ReplicaSettings {
            timeout: Duration::from_secs(60),
            auth: None,
            port,
            address: None,
            snapshot_max: 1 << 44,
            accept_empty: false,
            run_id,
        }
    }
}
