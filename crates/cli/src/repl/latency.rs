//! How long the server takes to answer PING, sampled a hundred times a second; and how long this system lets a program
//! wait that does nothing but compute.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::interrupt;
use super::json::Strings;
use super::options::Output;
use super::reply::{LinkError, Reply};
use super::session::{Link, Session, Stop};

/// The time between two samples.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a row of the history is, unless told otherwise.
const HISTORY_INTERVAL: Duration = Duration::from_secs(15);

/// How long samples are taken where the one result is for a program.
const RESULT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a row of the spectrum is, unless told otherwise.
const SPECTRUM_INTERVAL: Duration = Duration::from_secs(1);

/// What samples amount to, in milliseconds.
#[derive(Default)]
struct Summary {
    min: u128,
    max: u128,
    total: u128,
    count: u128,
}

impl Summary {
    fn add(&mut self, latency: Duration) {
        let latency = latency.as_millis();
        self.min = if self.count == 0 { latency } else { self.min.min(latency) };
        self.max = self.max.max(latency);
        self.total += latency;
        self.count += 1;
    }

    fn print(&self, output: Output) -> io::Result<()> {
        let Summary { min, max, count, .. } = self;
        let average = self.total as f64 / self.count as f64;
        let mut out = io::stdout();
        match output {
            Output::Formatted => write!(out, "min: {min}, max: {max}, avg: {average:.2} ({count} samples)")?,
            Output::Csv => writeln!(out, "{min},{max},{average:.2},{count}")?,
            Output::Raw => writeln!(out, "{min} {max} {average:.2} {count}")?,
            Output::Json(Strings::Unicode | Strings::Quoted) => {
                writeln!(
                    out,
                    "{{\"min\": {min}, \"max\": {max}, \"avg\": {average:.2}, \"count\": {count}}}"
                )?;
            }
        }
        out.flush()
    }
}

/// Samples until ended, or for programs until there is a result.
pub(crate) fn run(session: &mut Session, history: bool) -> Result<u8, Stop> {
    let output = session.options.output;
    let interval = session.options.interval;
    let row = if interval.is_zero() { HISTORY_INTERVAL } else { interval };
    let result_after = if interval.is_zero() { RESULT_INTERVAL } else { interval };
    let mut row_start = Instant::now();
    let mut summary = Summary::default();
    loop {
        summary.add(sample(session)?);
        if output == Output::Formatted {
            write!(io::stdout(), "\x1b[0G\x1b[2K")?;
            summary.print(output)?;
        } else if history {
            summary.print(output)?;
        } else if row_start.elapsed() > result_after {
            summary.print(output)?;
            return Ok(0);
        }
        if history && row_start.elapsed() > row {
            writeln!(io::stdout(), " -- {:.2} seconds range", row_start.elapsed().as_secs_f64())?;
            row_start = Instant::now();
            summary = Summary::default();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns how long one PING took.
fn sample(session: &mut Session) -> Result<Duration, Stop> {
    let start = Instant::now();
    call(session, &["PING"])?;
    Ok(start.elapsed())
}

/// Sends a request; a connection that is lost is made again, as often as needed.
pub(crate) fn call(session: &mut Session, request: &[&str]) -> Result<Reply, Stop> {
    let mut tries = 0;
    loop {
        if let Some(client) = session.client.as_mut() {
            match client.call(request) {
                Ok(reply) => {
                    if tries > 0 {
                        write!(io::stdout(), "\r\x1b[0K")?;
                    }
                    return Ok(reply);
                }
                Err(error @ LinkError::Protocol(_)) => {
                    complain!("Error: {error}");
                    return Err(Stop::Code(1));
                }
                Err(_) => session.client = None,
            }
        }
        tries += 1;
        write!(io::stdout(), "\r\x1b[0KReconnecting... {tries}\r")?;
        io::stdout().flush()?;
        if session.connect(true) == Link::Lost {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// The bounds of the spectrum's classes in microseconds, and their signs; what takes longer than all is in the last.
const CLASSES: [(u128, char); 31] = [
    (10, '.'),
    (125, '-'),
    (250, '*'),
    (500, '#'),
    (1000, '1'),
    (2000, '2'),
    (3000, '3'),
    (4000, '4'),
    (5000, '5'),
    (6000, '6'),
    (7000, '7'),
    (8000, '8'),
    (9000, '9'),
    (10_000, 'A'),
    (20_000, 'B'),
    (30_000, 'C'),
    (40_000, 'D'),
    (50_000, 'E'),
    (100_000, 'F'),
    (200_000, 'G'),
    (300_000, 'H'),
    (400_000, 'I'),
    (500_000, 'J'),
    (1_000_000, 'K'),
    (2_000_000, 'L'),
    (4_000_000, 'M'),
    (8_000_000, 'N'),
    (16_000_000, 'O'),
    (30_000_000, 'P'),
    (60_000_000, 'Q'),
    (u128::MAX, '?'),
];

/// How many rows stand under one legend.
const ROWS_PER_LEGEND: usize = 20;

/// Shows how samples are spread, a row of colours for each interval.
pub(crate) fn spectrum(session: &mut Session, colors: bool) -> Result<u8, Stop> {
    let interval = session.options.interval;
    let interval = if interval.is_zero() { SPECTRUM_INTERVAL } else { interval };
    let palette = palette(colors);
    let mut rows = 0;
    let mut counts = [0u64; CLASSES.len()];
    let mut row_start = Instant::now();
    loop {
        let latency = sample(session)?.as_micros();
        let class = CLASSES.iter().position(|(max, _)| latency <= *max).unwrap_or(CLASSES.len() - 1);
        counts[class] += 1;
        if row_start.elapsed() > interval {
            if rows % ROWS_PER_LEGEND == 0 {
                print_legend(&palette)?;
            }
            rows += 1;
            print_row(&counts, &palette)?;
            counts = [0; CLASSES.len()];
            row_start = Instant::now();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns the terminal's numbers of colours from none to all.
fn palette(colors: bool) -> Vec<u8> {
    match colors {
        // From black over blue, green and yellow to red.
        true => vec![
            0, 17, 18, 19, 20, 26, 32, 38, 44, 43, 42, 41, 40, 76, 112, 148, 184, 220, 214, 208, 202, 196,
        ],
        // The greys of the palette, from dark to light.
        false => vec![0].into_iter().chain(233..=255).collect(),
    }
}

fn print_legend(palette: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    let bar: String = palette.iter().map(|color| format!("\x1b[48;5;{color}m ")).collect();
    writeln!(
        out,
        "---------------------------------------------
. - * #          .01 .125 .25 .5 milliseconds
1,2,3,...,9      from 1 to 9     milliseconds
A,B,C,D,E        10,20,30,40,50  milliseconds
F,G,H,I,J        .1,.2,.3,.4,.5       seconds
K,L,M,N,O,P,Q,?  1,2,4,8,16,30,60,>60 seconds
From 0 to 100%: {bar}\x1b[0m
---------------------------------------------"
    )
}

/// Prints a row; colours say which part of the samples a class has.
fn print_row(counts: &[u64], palette: &[u8]) -> io::Result<()> {
    let total: u64 = counts.iter().sum::<u64>().max(1);
    let mut row = String::from("\x1b[38;5;0m");
    for (count, (_, sign)) in counts.iter().zip(CLASSES) {
        let last = palette.len() - 1;
        let index = (*count as f64 / total as f64 * last as f64).ceil() as usize;
        row += &format!("\x1b[48;5;{}m{sign}", palette[index.min(last)]);
    }
    writeln!(io::stdout(), "{row}\x1b[0m")
}

/// Computes for some seconds and says for how long the system kept it from doing so.
pub(crate) fn intrinsic(seconds: i64) -> Result<u8, Stop> {
    interrupt::install();
    interrupt::raise_flag();
    let run_time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let start = Instant::now();
    let (mut runs, mut worst) = (0u64, 0);
    loop {
        let before = Instant::now();
        std::hint::black_box(compute());
        let latency = before.elapsed().as_micros();
        runs += 1;
        if latency > worst {
            worst = latency;
            writeln!(io::stdout(), "Max latency so far: {worst} microseconds.")?;
        }
        if interrupt::raised() || start.elapsed() > run_time {
            break;
        }
    }
    let average = run_time.as_micros() as f64 / runs as f64;
    let nanoseconds = average * 1e3;
    let ratio = worst as f64 / average;
    writeln!(
        io::stdout(),
        "\n{runs} total runs (avg latency: {average:.4} microseconds / {nanoseconds:.2} nanoseconds per run).\n\
         Worst run took {ratio:.0}x longer than the average latency."
    )?;
    Ok(0)
}

/// Does some work of always the same size.
fn compute() -> u32 {
    let mut state = [0u8; 256];
    (0..=255u8).for_each(|i| state[usize::from(i)] = i);
    let (mut i, mut j, mut sum) = (0u8, 0u8, 0u32);
    for _ in 0..1000 {
        i = i.wrapping_add(1);
        j = j.wrapping_add(state[usize::from(i)]);
        state.swap(usize::from(i), usize::from(j));
        let place = state[usize::from(i)].wrapping_add(state[usize::from(j)]);
        sum = sum.wrapping_add(u32::from(state[usize::from(place)]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_extremes_and_the_mean() {
        let mut summary = Summary::default();
        for ms in [5, 2, 9] {
            summary.add(Duration::from_millis(ms));
        }
        assert_eq!((summary.min, summary.max, summary.total, summary.count), (2, 9, 16, 3));
    }

    #[test]
    fn classes_grow() {
        assert!(CLASSES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
