//! What the process' memory is used for, as INFO memory and MEMORY STATS tell it.

use keyspace::Keyspace;

use crate::host::Report;
use crate::{Host, Server, Session};

/// One database's part in the overhead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DbOverhead {
    pub(crate) index: usize,
    /// Bytes of its table, without the entries.
    pub(crate) table: usize,
}

/// How much one figure exceeds another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) ratio: f64,
    pub(crate) bytes: i64,
}

impl Share {
    fn of(more: usize, less: usize) -> Share {
        Share { ratio: more as f64 / less.max(1) as f64, bytes: more as i64 - less as i64 }
    }
}

/// Where memory goes that is not data.
#[derive(Clone, Debug)]
pub(crate) struct Overhead {
    pub(crate) used: usize,
    pub(crate) peak: usize,
    /// What the server used before it held any data.
    pub(crate) startup: usize,
    pub(crate) clients: usize,
    /// What is kept for replicas beyond the backlog, with what their links take.
    pub(crate) replicas: usize,
    pub(crate) backlog: usize,
    pub(crate) dbs: Vec<DbOverhead>,
    pub(crate) keys: usize,
    /// Startup, clients, replicas and tables together.
    pub(crate) total: usize,
    pub(crate) report: Report,
}

impl Overhead {
    /// Takes all figures; `session` is the one that executes.
    pub(crate) fn measure(
        server: &mut Server,
        session: &Session,
        keyspace: &Keyspace,
        host: &dyn Host,
    ) -> Overhead {
        let used = host.memory_used();
        server.stats.peak_memory = server.stats.peak_memory.max(used);
        let of = |replicas: bool| {
            let all = server.sessions.iter().chain([session]).filter(|session| session.replica == replicas);
            all.map(Session::memory).sum::<usize>()
        };
        let clients = of(false);
        let owed = server.replication.primary.owed_memory() as usize;
        let backlog = server.replication.primary.buffer_memory() as usize - owed;
        let replicas = of(true) + owed;
        let dbs: Vec<DbOverhead> = (keyspace.dbs.iter().enumerate())
            .filter(|(_, db)| !db.is_empty())
            .map(|(index, db)| DbOverhead { index, table: db.table.bytes() })
            .collect();
        let startup = server.startup_memory.min(used);
        let total = startup + clients + replicas + backlog + dbs.iter().map(|db| db.table).sum::<usize>();
        Overhead {
            used,
            peak: server.stats.peak_memory,
            startup,
            clients,
            replicas,
            backlog,
            dbs,
            keys: keyspace.len(),
            total: total.min(used),
            report: complete(host.report(), used),
        }
    }

    /// Returns the bytes that are data.
    pub(crate) fn dataset(&self) -> usize {
        self.used - self.total
    }

    /// Returns the data's share of what was allocated since the start, in percent.
    pub(crate) fn dataset_percent(&self) -> f64 {
        self.dataset() as f64 * 100.0 / self.used.saturating_sub(self.startup).max(1) as f64
    }

    /// Returns what is used now as a share of the peak, in percent.
    pub(crate) fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak.max(1) as f64
    }

    /// Returns the mean of the bytes allocated since the start over all keys.
    pub(crate) fn bytes_per_key(&self) -> usize {
        self.used.saturating_sub(self.startup).checked_div(self.keys).unwrap_or(0)
    }

    /// Returns how much lies unused between allocations.
    pub(crate) fn fragmentation(&self) -> Share {
        let allocated = self.report.allocated.max(1);
        let bytes = self.report.fragmentation_bytes;
        Share { ratio: 1.0 + bytes as f64 / allocated as f64, bytes: bytes as i64 }
    }

    /// Returns how much the allocator keeps resident beyond its active pages.
    pub(crate) fn kept(&self) -> Share {
        Share::of(self.report.resident, self.report.active)
    }

    /// Returns how much is resident beyond what the allocator keeps.
    pub(crate) fn beyond_allocator(&self) -> Share {
        Share::of(self.report.rss, self.report.resident)
    }

    /// Returns how much is resident beyond what is used.
    pub(crate) fn resident(&self) -> Share {
        Share::of(self.report.rss, self.used)
    }
}

/// Fills in what an allocator that keeps no figures does not tell: that nothing is lost in it.
fn complete(report: Report, used: usize) -> Report {
    if report.allocated != 0 {
        return report;
    }
    Report { allocated: used, active: used, resident: report.rss.max(used), ..report }
}
