//! Latencies: of commands (histograms) and of events (the latency monitor).

use std::collections::BTreeMap;

/// A log-linear histogram of microseconds: 16 steps to each power of two, so at most 6% off.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    pub total: u64,
}

const STEPS: u64 = 16;

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

    /// Returns cumulative counts by duration in microseconds, each as soon as it grows.
    ///
    /// The bounds are powers of two of 1024 nanoseconds, which is how Redis prints them.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let bound = |step: u32| (1024u64 << step) / 1000;
        let mut rows = Vec::new();
        let (mut seen, mut listed, mut step) = (0, 0, 0);
        for (index, count) in self.counts.iter().enumerate() {
            while highest(index) > bound(step) {
                if seen > listed {
                    rows.push((bound(step), seen));
                    listed = seen;
                }
                step += 1;
            }
            seen += u64::from(*count);
        }
        if seen > listed {
            rows.push((bound(step), seen));
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What LATENCY DOCTOR says of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Milliseconds.
    pub mean: u64,
    /// Mean distance from the mean, in milliseconds.
    pub deviation: u64,
    /// Seconds between two spikes.
    pub period: f64,
}

/// Rows of LATENCY GRAPH.
const GRAPH_ROWS: u32 = 4;

impl Series {
    /// Returns mean, deviation and period of the spikes.
    pub fn figures(&self, unix_secs: i64) -> Figures {
        let count = self.samples.len().max(1) as u64;
        let sum: u64 = self.samples.iter().map(|sample| u64::from(sample.milliseconds)).sum();
        let mean = sum / count;
        let distance: u64 =
            self.samples.iter().map(|sample| u64::from(sample.milliseconds).abs_diff(mean)).sum();
        let since = self.samples.first().map_or(0, |first| unix_secs - first.unix_secs).max(1);
        Figures { mean, deviation: distance / count, period: since as f64 / count as f64 }
    }

    /// Draws the spikes: a column each, the newest on the right, with its age written downwards below.
    ///
    /// ```text
    /// command - high 500 ms, low 10 ms (all time high 500 ms)
    /// --------------------------------------------------------------------------------
    ///   #
    ///  _#
    /// _##
    /// ###
    ///
    /// 963
    /// sss
    /// ```
    pub fn graph(&self, event: &str, unix_secs: i64) -> String {
        let height = |sample: &Sample| sample.milliseconds;
        let high = self.samples.iter().map(height).max().unwrap_or(0);
        let low = self.samples.iter().map(height).min().unwrap_or(0);
        let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", self.max);
        text += &"-".repeat(80);
        text.push('\n');
        // Each row has three levels: empty, an underscore, and full.
        let levels = GRAPH_ROWS * 2;
        let span = u64::from(high - low).max(1);
        let level = |sample: &Sample| {
            1 + (u64::from(sample.milliseconds - low) * u64::from(levels - 1) / span) as u32
        };
        for row in (0..GRAPH_ROWS).rev() {
            let line: String = self
                .samples
                .iter()
                .map(|sample| match level(sample).saturating_sub(row * 2) {
                    0 => ' ',
                    1 => '_',
                    _ => '#',
                })
                .collect();
            text += line.trim_end();
            text.push('\n');
        }
        text.push('\n');
        let ages: Vec<String> = self.samples.iter().map(|sample| age(unix_secs - sample.unix_secs)).collect();
        for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
            let line: String = ages
                .iter()
                .map(|age| age.as_bytes().get(row).map_or(' ', |byte| char::from(*byte)))
                .collect();
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Returns an age in its largest unit.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

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

    #[test]
    fn cumulative_counts_are_listed_where_they_grow() {
        let mut histogram = Histogram::default();
        for us in [0, 1, 3, 3, 900] {
            histogram.record(us);
        }
        assert_eq!(histogram.cumulative(), [(1, 2), (4, 4), (1048, 5)]);
        assert_eq!((histogram.percentile(50.0), histogram.percentile(100.0)), (3, 927));
    }

    #[test]
    fn a_graph_has_a_column_for_each_spike() {
        let mut latency = Latency::default();
        for (at, ms) in [(100, 10), (110, 400), (111, 200)] {
            latency.add("command", ms, at);
        }
        let graph = latency.events["command"].graph("command", 115);
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(lines[0], "command - high 400 ms, low 10 ms (all time high 400 ms)");
        assert_eq!(&lines[2..], [" #", " #", " ##", "_##", "", "154", "5ss", "s"]);
        let figures = latency.events["command"].figures(115);
        assert_eq!((figures.mean, figures.deviation, figures.period), (203, 131, 5.0));
    }
}
