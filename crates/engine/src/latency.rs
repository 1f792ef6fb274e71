//! Latencies: of commands (histograms) and of events (the latency monitor).

use std::collections::BTreeMap;

/// A log-linear histogram of microseconds: 16 steps to each power of two, so at most 6% off.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u32>,
    pub total: u64,
}

const STEPS: u64 = 16;

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Vec::new(), total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, microseconds: u64) {
        let index = index(microseconds);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.total += 1;
    }

    /// Returns the microseconds that `percentile` (0-100) of the durations do not exceed.
    pub fn percentile(&self, percentile: f64) -> u64 {
        let wanted = ((percentile / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return highest(index);
            }
        }
        0
    }

    /// Returns the cumulative counts at powers of two, from the first that counts anything to the one that counts all.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut rows = Vec::new();
        let (mut seen, mut bound) = (0, 1u64);
        for (index, count) in self.counts.iter().enumerate() {
            while highest(index) > bound {
                if seen > 0 {
                    rows.push((bound, seen));
                }
                bound *= 2;
            }
            seen += u64::from(*count);
        }
        if seen > 0 {
            rows.push((bound, seen));
        }
        rows.dedup_by(|next, kept| next.1 == kept.1 && next.1 != self.total);
        rows
    }
}

#[inline]
fn index(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let shift = us.ilog2() - STEPS.ilog2();
    ((u64::from(shift) + 1) * STEPS + (us >> shift) - STEPS) as usize
}

/// Returns the largest duration that falls into a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << shift) - 1
}

/// One spike of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub unix_secs: i64,
    pub milliseconds: u32,
}

/// The spikes of one event, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub samples: Vec<Sample>,
    pub max: u32,
}

/// Samples kept of an event.
const SERIES: usize = 160;

/// The latency monitor.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    pub events: BTreeMap<&'static str, Series>,
}

impl Latency {
    /// Notes that `event` took `milliseconds`; spikes within one second count once, at their worst.
    pub fn add(&mut self, event: &'static str, milliseconds: u32, unix_secs: i64) {
        let series = self.events.entry(event).or_default();
        series.max = series.max.max(milliseconds);
        match series.samples.last_mut() {
            Some(last) if last.unix_secs == unix_secs => {
                last.milliseconds = last.milliseconds.max(milliseconds)
            }
            _ => {
                if series.samples.len() == SERIES {
                    series.samples.remove(0);
                }
                series.samples.push(Sample { unix_secs, milliseconds });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_within_six_percent() {
        let mut last = 0;
        for us in 0..100_000u64 {
            let i = index(us);
            assert!(i == last || i == last + 1, "no bucket is skipped at {us}");
            assert!(highest(i) >= us && (highest(i) - us) * 16 <= us.max(16));
            last = i;
        }
    }
}
