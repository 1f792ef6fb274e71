//! Work that no request asks for: timeouts, expiry, rehashing, rates.

use std::time::Duration;

use base::time::{Instant, Now};

use crate::dispatch::Engine;
use crate::effect::Effect;
use crate::session::{Closing, Session, SessionId};
use crate::{Host, session};

/// When the next of each kind of periodic work is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    cycle: Instant,
    rates: Instant,
    clients: Instant,
    /// Memory is short, and the last eviction ran out of time.
    pub(crate) evict: bool,
}

/// Share of a cycle that active expiry may use, in percent, and what each step of `active-expire-effort` adds.
const EXPIRE_SHARE: u64 = 25;
const EXPIRE_SHARE_STEP: u64 = 2;

/// Buckets moved between two looks at the clock while tables are rehashed in the background.
const REHASH_BATCH: usize = 100;

/// Microseconds of a cycle spent on rehashing tables that nobody writes to.
const REHASH_US: u64 = 1000;

impl Engine {
    /// Returns when [`Engine::periodic`] wants to be called next.
    pub fn next_periodic(&self) -> Option<Instant> {
        if self.schedule.evict {
            return Some(Instant::default());
        }
        let mut next = self.schedule.cycle.min(self.schedule.rates).min(self.schedule.clients);
        if let Some(at) = self.server.waiting.next_deadline() {
            next = next.min(at);
        }
        if let Some(at) = self.server.pause.until {
            next = next.min(at);
        }
        if let Some(at) = self.server.locks_due() {
            next = next.min(at);
        }
        Some(next)
    }

    /// Does the periodic work that is due.
    pub fn periodic(&mut self, now: Now, host: &dyn Host) {
        self.tend_locks(now, host);
        if self.server.startup_memory == 0 {
            self.server.startup_memory = host.memory_used();
        }
        if self.server.pause.until.is_some_and(|at| at <= now.instant) {
            self.server.pause.end();
            self.server.effects.push(Effect::Resume);
        }
        // A replica, or a server whose writes are paused, hides expired keys and leaves their deletion for later.
        self.keyspace.keep_expired = self.server.keeps_expired();
        if std::mem::take(&mut self.schedule.evict) {
            self.make_room(host, now.unix_ms());
        }
        if self.schedule.cycle <= now.instant {
            let period = Duration::from_micros(1_000_000 / u64::from(self.server.config.hz.max(1)));
            self.schedule.cycle = now.instant + period;
            self.cycle(now, host, period);
        }
        if self.schedule.rates <= now.instant {
            self.schedule.rates = now.instant + Duration::from_millis(100);
            self.sample_rates(now, host);
            self.save_if_due(now);
        }
        if self.schedule.clients <= now.instant {
            self.schedule.clients = now.instant + Duration::from_secs(1);
            self.tend_clients(now);
        }
        self.server.limit_swollen(now.instant);
        self.server.evict_clients();
    }

    fn cycle(&mut self, now: Now, host: &dyn Host, period: Duration) {
        // Events of the cycle are nobody's reply: a session of no consequence stands in for the one that executes.
        let mut nobody = Session::new(SessionId(u32::MAX), 0, now.instant);
        let loading = self.server.persistence.loading().is_some();
        if self.server.active_expiry && !self.keyspace.keep_expired && !loading {
            let effort = u64::from(self.server.config.active_expire_effort.max(1) - 1);
            let share = EXPIRE_SHARE + EXPIRE_SHARE_STEP * effort;
            self.expire(now, host, &mut nobody, period.as_micros() as u64 * share / 100, effort);
        }
        if self.server.follows() && self.server.active_expiry && !loading {
            self.expire_own_keys(now);
        }
        if self.server.config.activerehashing {
            let start = host.ticks();
            while self.keyspace.rehash(REHASH_BATCH) && host.ticks() - start < REHASH_US {}
        }
        if self.server.config.maxmemory != 0 && !loading {
            self.make_room(host, now.unix_ms());
        }
        self.keyspace.retire();
        self.commit_apart(&mut nobody);
        if !self.server.waiting.is_empty() {
            self.serve_waiting(now, host, &mut nobody);
        }
    }

    /// Deletes expired keys for at most `budget_us`, database by database, as long as many of those looked at are due.
    fn expire(&mut self, now: Now, host: &dyn Host, nobody: &mut Session, budget_us: u64, effort: u64) {
        let start = host.ticks();
        // As in Redis: a database is left when no more than this percentage of its looked-at keys was expired.
        let acceptable = 10u64.saturating_sub(effort);
        let buckets = 16 + 4 * effort as usize;
        for _ in 0..self.keyspace.dbs.len() {
            let db = self.expire_db % self.keyspace.dbs.len();
            let mut looked = 0;
            loop {
                let step = self.keyspace.expire_step(db, now.unix_ms(), buckets);
                looked += step.checked;
                self.commit_apart(nobody);
                if host.ticks() - start > budget_us {
                    self.server.stats.expired_time_cap_reached += 1;
                    self.server.stats.expire_cycle_us += host.ticks() - start;
                    return;
                }
                let stale = (step.expired * 100).checked_div(step.checked).unwrap_or(0) as u64;
                let seen = &mut self.server.stats.expired_stale_percent;
                *seen = *seen * 0.95 + stale as f64 * 0.05;
                if step.wrapped || (looked >= 20 && stale <= acceptable) {
                    break;
                }
            }
            self.expire_db = db + 1;
        }
        let spent = host.ticks() - start;
        self.server.stats.expire_cycle_us += spent;
        self.server.spike("expire-cycle", spent, now.unix_secs());
    }

    fn sample_rates(&mut self, now: Now, host: &dyn Host) {
        let stats = &mut self.server.stats;
        stats.ops.sample(stats.commands, now.instant);
        stats.rate_in.sample(stats.bytes_in, now.instant);
        stats.rate_out.sample(stats.bytes_out, now.instant);
        stats.rate_replication_in.sample(stats.replication_in, now.instant);
        stats.rate_replication_out.sample(stats.replication_out, now.instant);
        stats.peak_memory = stats.peak_memory.max(host.memory_used());
    }

    /// Closes clients that idle too long or whose output stays above its soft limit; returns spare buffers.
    fn tend_clients(&mut self, now: Now) {
        let timeout = u64::from(self.server.config.timeout);
        let mut over = Vec::new();
        for session in self.server.sessions.iter_mut() {
            let idle = now.instant.saturating_since(session.last_active).as_secs();
            let exempt = session.blocked.is_some()
                || session.class() == session::Class::PubSub
                || session.monitor
                || session.replicates();
            if timeout > 0 && idle > timeout && !exempt {
                session.close(Closing::Now);
                over.push(session.id);
            }
            if session.out.is_empty() && session.out.capacity() > 0 && idle >= 2 {
                session.out = Vec::new();
            }
            if session.soft_limit_since.is_some() {
                over.push(session.id);
            }
        }
        for id in over {
            if let Some(mut session) = self.server.sessions.take(id) {
                self.server.limit_output(&mut session, now.instant);
                self.server.sessions.put(session);
            }
        }
    }
}
