//! Active expiry: finding keys past their time before anyone asks for them.

use crate::{Entry, Keyspace};

/// What one step of the expiry cycle saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Keys with an expiry that were looked at.
    pub checked: usize,
    /// Keys that were past it and are gone now.
    pub expired: usize,
    /// The cycle has been through the whole database.
    pub wrapped: bool,
}

impl Keyspace {
    /// Deletes a key whose time is over by some other clock than its stamp's; returns whether it was there.
    pub fn expire_key(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(entry) = self.dbs[db].table.remove(key) else { return false };
        self.recorder.expire(db, key, entry);
        true
    }

    /// Looks at up to `buckets` buckets that hold keys with an expiry in database `db`, and deletes the expired keys.
    pub fn expire_step(&mut self, db: usize, now_ms: i64, buckets: usize) -> Step {
        let this = &mut self.dbs[db];
        if this.table.marked_len() == 0 {
            (this.avg_ttl, this.expiry_cursor) = (0, 0);
            return Step { wrapped: true, ..Step::default() };
        }
        let mut step = Step::default();
        let mut due: Vec<Box<[u8]>> = Vec::new();
        let (mut ttl_sum, mut ttl_count) = (0i64, 0i64);
        this.expiry_cursor = this.table.scan_marked(this.expiry_cursor, buckets, |entry: &Entry| {
            let Some(at) = entry.stamp() else { return };
            step.checked += 1;
            if at <= now_ms {
                due.push(entry.key().into());
            } else {
                ttl_sum = ttl_sum.saturating_add(at - now_ms);
                ttl_count += 1;
            }
        });
        step.wrapped = this.expiry_cursor == 0;
        if ttl_count > 0 {
            let mean = ttl_sum / ttl_count;
            // A moving average, as the sample is small.
            this.avg_ttl = if this.avg_ttl == 0 { mean } else { this.avg_ttl / 50 * 49 + mean / 50 };
        }
        step.expired = due.len();
        for key in due {
            if let Some(entry) = this.table.remove(&key) {
                self.recorder.expire(db, &key, entry);
            }
        }
        step
    }
}
