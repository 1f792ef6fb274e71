//! What a master knows of one replica: who it is, what it is being sent, and how far it says it is.

use std::time::Duration;

use base::time::Instant;

use crate::LinkId;
use crate::greeting::Greeting;
use crate::primary::SnapshotId;

/// One replica.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) greeting: Greeting,
    /// The address that its link comes from.
    pub(crate) peer: String,
    /// The order in which replicas came.
    pub(crate) number: u64,
    /// It said SYNC: it knows no offsets, and acknowledges nothing.
    pub(crate) old: bool,
    pub(crate) state: State,
    /// Up to here it has applied the stream.
    pub(crate) acked: u64,
    /// Up to here its log is on its disk, if it says so.
    pub(crate) synced: Option<u64>,
    pub(crate) acked_at: Instant,
    /// The driver was told that there are bytes for it, and has not taken the last of them.
    pub(crate) told: bool,
}

/// What a replica is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: the snapshot that it needs has not begun.
    Waiting { since: Instant },
    /// Nothing: the file that it needs is being written.
    Preparing,
    /// Pieces of a snapshot; `piece` is since when it has had one that it has not taken.
    Receiving { piece: Option<Instant> },
    /// A file.
    Sending { snapshot: SnapshotId, since: Instant },
    /// Nothing: it has the snapshot, and has not said so.
    Loading,
    /// The stream.
    Online,
}

/// How a replica shows itself in INFO (`slaveN`) and ROLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFigures {
    pub link: LinkId,
    pub address: String,
    pub port: u16,
    /// `wait_bgsave`, `send_bulk` or `online`.
    pub state: &'static str,
    pub acked: u64,
    pub synced: Option<u64>,
    /// Whole seconds since its last acknowledgement, as in Redis; 0 while it is not online.
    pub lag: u64,
    /// Bytes of the stream that it has not been sent.
    pub pending: u64,
    pub version: Option<String>,
}

impl Feed {
    /// Returns whether it has the data, and only lacks some of the stream.
    pub(crate) fn is_online(&self) -> bool {
        matches!(self.state, State::Loading | State::Online)
    }

    /// Returns whether it counts as one that would take over what we know.
    pub(crate) fn is_good(&self, now: Instant, max_lag: Duration) -> bool {
        self.is_online() && self.lag(now) <= max_lag.as_secs()
    }

    pub(crate) fn lag(&self, now: Instant) -> u64 {
        now.saturating_since(self.acked_at).as_secs()
    }

    /// Returns its name for the log, `address:port`.
    pub(crate) fn name(&self) -> String {
        match self.greeting.port {
            0 => format!("{}:<unknown-replica-port>", self.address()),
            port => format!("{}:{port}", self.address()),
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.greeting.address.as_deref().unwrap_or(&self.peer)
    }

    pub(crate) fn figures(&self, link: LinkId, now: Instant, pending: u64) -> ReplicaFigures {
        let (state, lag) = match self.state {
            State::Waiting { .. } | State::Preparing | State::Receiving { .. } => ("wait_bgsave", 0),
            State::Sending { .. } => ("send_bulk", 0),
            State::Loading | State::Online => ("online", self.lag(now)),
        };
        ReplicaFigures {
            link,
            address: self.address().into(),
            port: self.greeting.port,
            state,
            acked: self.acked,
            synced: self.synced,
            lag,
            pending,
            version: self.greeting.version.clone(),
        }
    }
}
