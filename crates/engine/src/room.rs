//! Making room: evicting keys when memory exceeds `maxmemory`.

use base::time::Instant;

use crate::dispatch::Engine;
use crate::session::{Session, SessionId};
use crate::{Host, Server, commands};

impl Engine {
    /// Evicts keys until memory is below `maxmemory`, or as many as the time for it allows.
    ///
    /// Returns false when nothing is left to evict and memory is still short.
    pub(crate) fn make_room(&mut self, host: &dyn Host, now_ms: i64) -> bool {
        let limit = self.server.config.maxmemory as usize;
        if self.server.counted_memory(host) <= limit
            || self.server.persistence.loading().is_some()
            || self.server.pause.writes()
            || (self.server.follows() && self.server.config.replica_ignore_maxmemory)
        {
            return true;
        }
        let Some((scope, order)) = commands::config::eviction(&self.server.config) else { return false };
        let samples = self.server.config.maxmemory_samples as usize;
        let lazy = self.server.config.lazyfree_lazy_eviction;
        let budget_us = eviction_us(self.server.config.maxmemory_eviction_tenacity);
        let start = host.ticks();
        // Nobody executes here that a notification could be addressed to: a session of no consequence stands in.
        let mut nobody = Session::new(SessionId(u32::MAX), 0, Instant::default());
        let (mut evicted, mut deferred) = (0u32, 0usize);
        let fits = loop {
            let Some(victim) = self.keyspace.evict_one(scope, order, samples, now_ms, lazy) else {
                break false;
            };
            deferred += victim.deferred;
            self.commit_apart(&mut nobody);
            evicted += 1;
            if self.server.counted_memory(host).saturating_sub(deferred) <= limit {
                break true;
            }
            if evicted.is_multiple_of(EVICTIONS_PER_LOOK) && host.ticks().saturating_sub(start) > budget_us {
                // The rest is evicted between commands, which need not wait for it.
                self.schedule.evict = true;
                break true;
            }
        };
        let spent = host.ticks().saturating_sub(start);
        self.server.spike("eviction-cycle", spent, now_ms / 1000);
        fits
    }
}

/// Keys evicted between two looks at the clock.
const EVICTIONS_PER_LOOK: u32 = 16;

/// Returns the microseconds that evictions may take at once, from `maxmemory-eviction-tenacity`.
fn eviction_us(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => 50 * u64::from(tenacity),
        11..=99 => (500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

impl Server {
    /// Returns the memory that `maxmemory` limits: not what the log holds until the disk takes it, nor what is kept for
    /// replicas beyond the backlog, since evicting keys would only add to that.
    pub(crate) fn counted_memory(&self, host: &dyn Host) -> usize {
        let owed = self.replication.primary.owed_memory() + self.persistence.log.buffered;
        host.memory_used().saturating_sub(owed as usize)
    }
}
