//! Counting what commands cost, and noting those that cost much.

use base::time::Now;
use resp::decode::Request;

use crate::cx::Mode;
use crate::session::{Origin, Session};
use crate::table::{self, Row};
use crate::{Server, monitor, redact};

impl Server {
    /// Counts a command that ran, and tells those who look on.
    #[inline]
    pub(crate) fn account(
        &mut self,
        now: Now,
        session: &mut Session,
        row: &Row,
        request: Request<'_>,
        spent: u64,
        failed: bool,
        mode: Mode,
    ) {
        // What a log says again was counted when it was said first.
        if session.origin == Origin::Log {
            return;
        }
        // A command that waits is counted when its wait ends.
        if session.blocked.is_none() {
            let spent = spent + std::mem::take(&mut self.stalled_us);
            self.stats.commands += 1;
            session.commands += 1;
            let stats = &mut self.stats.per_command[row.id];
            stats.calls += 1;
            stats.microseconds += spent;
            stats.failed += u64::from(failed);
            if self.config.latency_tracking {
                stats.latency.get_or_insert_default().record(spent);
            }
            if spent >= self.slow_threshold() {
                self.slow(now, session, row, request, spent);
            }
        }
        if !self.monitors.is_empty()
            && mode != Mode::Retry
            && !row.flags.has(table::SKIP_MONITOR | table::ADMIN)
        {
            monitor::feed(self, session, now, row, request);
        }
    }

    /// Returns the microseconds from which a command is slow; `u64::MAX` when nothing is logged.
    #[inline]
    pub(crate) fn slow_threshold(&self) -> u64 {
        let slow = self.config.slowlog_log_slower_than;
        let slow = if slow < 0 { u64::MAX } else { slow as u64 };
        match self.config.latency_monitor_threshold {
            0 => slow,
            ms => slow.min(ms * 1000),
        }
    }

    /// Logs a command that took long.
    #[cold]
    fn slow(&mut self, now: Now, session: &Session, row: &Row, request: Request<'_>, spent: u64) {
        let slow = self.config.slowlog_log_slower_than;
        if slow >= 0 && spent >= slow as u64 && !row.flags.has(table::SKIP_SLOWLOG) {
            let max = self.config.slowlog_max_len as usize;
            self.slowlog.add(
                &redact::shown(row, request),
                spent,
                now.unix_secs(),
                &session.addr,
                &session.name,
                max,
            );
        }
        let event = if row.flags.has(table::FAST) { "fast-command" } else { "command" };
        self.spike(event, spent, now.unix_secs());
    }

    /// Notes an event for the latency monitor, if it took as long as is watched for.
    pub(crate) fn spike(&mut self, event: &'static str, microseconds: u64, unix_secs: i64) {
        let threshold = self.config.latency_monitor_threshold;
        if threshold > 0 && microseconds / 1000 >= threshold {
            self.latency.add(event, (microseconds / 1000) as u32, unix_secs);
        }
    }
}
