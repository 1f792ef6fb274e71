//! `cargo xtask replicate`: every type is written for minutes, with redis-server in every position, and everything breaks.
//!
//! All topologies run at the same time, each with writers, links and faults of its own. Every half minute, and at the end,
//! the writers pause until all servers of a topology are at the same offset, and their digests must be equal.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use testkit::writers::{self, Writers};
use testkit::{Proxy, Random};

use super::station::Station;
use super::{Options, theirs, wait_for};
use crate::durability::Scratch;

/// Servers are compared this often.
const COMPARE_EVERY: Duration = Duration::from_secs(25);

/// How long servers may take to agree once nobody writes.
const PATIENCE: Duration = Duration::from_secs(90);

/// What befell a topology, and how it came out.
#[derive(Clone, Debug, Default)]
struct Outcome {
    name: String,
    written: u64,
    cuts: u64,
    pauses: u64,
    kills: u64,
    restarts: u64,
    /// Resyncs that each master granted, hop by hop.
    partial: Vec<u64>,
    full: Vec<u64>,
    compared: u64,
    failure: Option<String>,
}

/// Plays all topologies; true when all servers agreed whenever they were compared.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 0)?;
    let (ours, theirs) = (options.ours.clone(), theirs()?);
    println!("replicate --seed {} --minutes {}", options.seed, options.minutes);
    let (o, t) = (("redstart", &ours), ("redis", &theirs));
    let topologies = [vec![t, o], vec![o, t], vec![o, o], vec![t, o, t], vec![o, t, o]];
    let scratch = Scratch::new("replicate")?;
    let mut threads = Vec::new();
    for (number, topology) in topologies.iter().enumerate() {
        let names: Vec<&str> = topology.iter().map(|(name, _)| *name).collect();
        let name = names.join(">");
        if !options.only.is_empty() && !options.only.contains(&name) {
            continue;
        }
        let directory = scratch.0.join(number.to_string());
        let stations: Result<Vec<Station>, String> = topology
            .iter()
            .enumerate()
            .map(|(at, (kind, command))| Station::new(&format!("{at}-{kind}"), command, &directory))
            .collect();
        let hops = topology.len() - 1;
        let mut play = Play {
            stations: stations?,
            links: Vec::new(),
            outcome: Outcome { name, partial: vec![0; hops], full: vec![0; hops], ..Outcome::default() },
            random: Random(options.seed + number as u64),
        };
        let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
        threads.push(std::thread::spawn(move || {
            if let Err(error) = play.run(until) {
                let words: Vec<String> = play.stations.iter().map(Station::last_words).collect();
                play.outcome.failure = Some(format!("{error}\n{}", words.join("\n")));
            }
            play.outcome
        }));
    }
    let mut outcomes = Vec::new();
    for thread in threads {
        outcomes.push(thread.join().map_err(|_| "a topology panicked")?);
    }
    println!("\n{}", table(&outcomes));
    for outcome in &outcomes {
        if let Some(failure) = &outcome.failure {
            println!("BROKEN: {}: {failure}", outcome.name);
        }
    }
    Ok(outcomes.iter().all(|outcome| outcome.failure.is_none()))
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:28} {:>9} {:>6} {:>7} {:>7} {:>9} {:>12} {:>10} {:>9}  {}\n",
        "master>replica",
        "requests",
        "cuts",
        "pauses",
        "kill -9",
        "restarts",
        "partial",
        "full",
        "compared",
        "digests"
    );
    for outcome in outcomes {
        let hops = |counts: &[u64]| counts.iter().map(u64::to_string).collect::<Vec<_>>().join("+");
        let _ = writeln!(
            text,
            "{:28} {:>9} {:>6} {:>7} {:>7} {:>9} {:>12} {:>10} {:>9}  {}",
            outcome.name,
            outcome.written,
            outcome.cuts,
            outcome.pauses,
            outcome.kills,
            outcome.restarts,
            hops(&outcome.partial),
            hops(&outcome.full),
            outcome.compared,
            if outcome.failure.is_none() { "equal" } else { "DIFFERENT" }
        );
    }
    text
}

struct Play {
    stations: Vec<Station>,
    /// The way to each station but the last, for the one below it.
    links: Vec<Proxy>,
    outcome: Outcome,
    random: Random,
}

impl Play {
    fn run(&mut self, until: Instant) -> Result<(), String> {
        for at in 0..self.stations.len() {
            self.start(at)?;
            let link = Proxy::start(self.stations[at].address()).map_err(|error| error.to_string())?;
            self.links.push(link);
        }
        let head = self.stations[0].address();
        writers::load(head, self.random.number())?;
        for below in 1..self.stations.len() {
            self.follow(below)?;
        }
        while Instant::now() < until {
            let writers = Writers::start(head, self.random.number(), 3, Duration::from_micros(700));
            let compare_at = until.min(Instant::now() + COMPARE_EVERY);
            while Instant::now() < compare_at {
                std::thread::sleep(Duration::from_millis(self.random.of(200..1500)));
                self.fault()?;
            }
            self.outcome.written += writers.finish()?;
            self.compare()?;
        }
        for at in 0..self.stations.len() {
            self.count(at);
        }
        Ok(())
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let mut options = vec!["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"];
        options.extend(["--repl-diskless-sync", self.random.pick(&["yes", "no"])]);
        options.extend(["--repl-diskless-load", self.random.pick(&["disabled", "on-empty-db", "swapdb"])]);
        // The head comes back with its data; those below may have to ask for all of it.
        if at == 0 {
            options.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
        }
        self.stations[at].start(&options)
    }

    fn follow(&self, below: usize) -> Result<(), String> {
        let station = &self.stations[below];
        station.follow(self.links[below - 1].address())?;
        station.wait_for_link()
    }

    /// Adds what a master has granted to the counts; its own begin anew when it does.
    fn count(&mut self, at: usize) {
        if at + 1 < self.stations.len() {
            let count = |field: &str| self.stations[at].count(field).unwrap_or(0);
            let (partial, full) = (count("sync_partial_ok"), count("sync_full"));
            self.outcome.partial[at] += partial;
            self.outcome.full[at] += full;
        }
    }

    fn fault(&mut self) -> Result<(), String> {
        let below = self.random.of(1..self.stations.len() as u64) as usize;
        let link = &self.links[below - 1];
        match self.random.of(0..40) {
            0..8 => link.cut(),
            8..12 => link.cut_after(self.random.of(1..5000) as usize),
            12..18 => _ = self.stations[below - 1].ask(&["CLIENT", "KILL", "TYPE", "replica"])?,
            18..24 => _ = self.stations[below].ask(&["CLIENT", "KILL", "TYPE", "master"])?,
            24..28 => {
                link.hold(true);
                std::thread::sleep(Duration::from_millis(self.random.of(100..1500)));
                link.hold(false);
                self.outcome.pauses += 1;
                return Ok(());
            }
            28..32 => {
                self.stations[below].stop(true)?;
                std::thread::sleep(Duration::from_millis(self.random.of(100..1500)));
                self.outcome.pauses += 1;
                return self.stations[below].stop(false);
            }
            32..36 => {
                self.count(below);
                self.stations[below].kill();
                std::thread::sleep(Duration::from_millis(self.random.of(10..800)));
                self.outcome.kills += 1;
                self.start(below)?;
                return self.follow(below);
            }
            36..39 => {
                self.count(below);
                self.stations[below].shut_down()?;
                std::thread::sleep(Duration::from_millis(self.random.of(10..800)));
                self.outcome.restarts += 1;
                let address = self.links[below - 1].address();
                let (host, port) = (address.ip().to_string(), address.port().to_string());
                // From its start, so that it asks to go on where its files end.
                self.stations[below].start(&[
                    "--repl-diskless-sync-delay",
                    "0",
                    "--repl-backlog-size",
                    "64mb",
                    "--replicaof",
                    &host,
                    &port,
                ])?;
                return self.stations[below].wait_for_link();
            }
            _ => {
                self.count(0);
                self.stations[0].kill();
                std::thread::sleep(Duration::from_millis(self.random.of(10..500)));
                self.outcome.kills += 1;
                self.start(0)?;
                return self.stations[1].wait_for_link();
            }
        }
        self.outcome.cuts += 1;
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        wait_for("all are equal", PATIENCE, || {
            let mut found = Vec::new();
            for (at, station) in self.stations.iter().enumerate() {
                if at > 0 {
                    station.check_link()?;
                }
                found.push(station.digest()?);
            }
            match found.iter().all(|one| *one == found[0]) {
                true => Ok(()),
                false => Err(format!("digests and offsets: {found:?}")),
            }
        })?;
        self.outcome.compared += 1;
        eprintln!("… {}: equal at {} requests", self.outcome.name, self.outcome.written);
        Ok(())
    }
}
