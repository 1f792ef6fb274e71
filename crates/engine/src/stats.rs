//! Counters that INFO prints, and their rates.

use std::collections::BTreeMap;

use base::time::Instant;

/// What is counted per command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub microseconds: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Counts by power-of-two latency (index i: below 2^i microseconds), kept while `latency-tracking` is on.
    pub latency: Option<Box<crate::latency::Histogram>>,
}

/// A rate over the last second and a half, sampled every 100 ms (Redis' trackInstantaneousMetric).
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: [f64; 16],
    next: usize,
    last: u64,
    last_at: Option<Instant>,
}

impl Rate {
    /// Takes a sample of the growing `total`.
    pub fn sample(&mut self, total: u64, now: Instant) {
        if let Some(at) = self.last_at {
            let seconds = now.saturating_since(at).as_secs_f64();
            if seconds > 0.0 {
                self.samples[self.next] = total.saturating_sub(self.last) as f64 / seconds;
                self.next = (self.next + 1) % self.samples.len();
            }
        }
        self.last = total;
        self.last_at = Some(now);
    }

    /// Returns the mean rate per second.
    pub fn per_second(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }
}

/// The server's counters since start or CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections: u64,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The part of `bytes_in` that came from our master, and that of `bytes_out` that went to replicas.
    pub replication_in: u64,
    pub replication_out: u64,
    pub errors: u64,
    /// Errors by code word.
    pub errors_by_code: BTreeMap<Box<str>, u64>,
    /// Wrong passwords.
    pub denied_logins: u64,
    pub evicted_clients: u64,
    pub output_limit_disconnections: u64,
    pub query_limit_disconnections: u64,
    pub eviction_exceeded_us: u64,
    pub expired_time_cap_reached: u64,
    pub expired_stale_percent: f64,
    pub active_defrag_hits: u64,
    pub peak_memory: usize,
    pub expire_cycle_us: u64,
    pub ops: Rate,
    pub rate_in: Rate,
    pub rate_out: Rate,
    pub rate_replication_in: Rate,
    pub rate_replication_out: Rate,
    pub per_command: Vec<CommandStats>,
    pub forgotten: Forgotten,
}

/// What the driver has counted, as of the last CONFIG RESETSTAT: it never forgets by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub connections_rejected: u64,
    pub lazyfreed: u64,
    pub reads: u64,
    pub writes: u64,
    pub syncs: replication::primary::Stats,
}

impl Stats {
    /// Lets all counters begin anew; `report` says where the driver's stand.
    pub fn reset(&mut self, report: &crate::host::Report, syncs: replication::primary::Stats) {
        *self = Stats {
            peak_memory: self.peak_memory,
            forgotten: Forgotten {
                connections_rejected: report.connections_rejected,
                lazyfreed: report.lazyfreed,
                reads: report.io_reads,
                writes: report.io_writes,
                syncs,
            },
            per_command: vec![CommandStats::default(); self.per_command.len()],
            ..Stats::default()
        };
    }

    /// Counts an error reply (text without the leading `-`) under its code word.
    #[cold]
    pub fn error(&mut self, message: &str) {
        self.errors += 1;
        let code = message.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.errors_by_code.get_mut(code) {
            *count += 1;
        } else if self.errors_by_code.len() < 128 {
            // The codes are ours, not the client's; the bound keeps a surprise small.
            self.errors_by_code.insert(code.into(), 1);
        }
    }
}
