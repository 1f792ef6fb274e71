//! `bench`: our server measured beside the reference server, each line against its goal.
//!
//! Both servers run in turn (theirs, ours, theirs, ours …), pinned to one processor, while whatever drives them is
//! pinned to another. A line gives the median of its rounds and the median of the ratios pair by pair, so that a
//! machine that slows down half way does not decide a comparison.

mod idle;
mod load;
mod lock;
mod machine;
mod memory;
mod pauses;
mod persistence;
mod replication;
mod report;
mod server;
mod speed;

use std::io;
use std::process::Command;

use report::Section;
use server::pinned_to_server_cpu;

/// What is measured, how often and at what size.
#[derive(Debug)]
struct Contest {
    theirs: Vec<String>,
    ours: Vec<String>,
    rounds: usize,
    scale: f64,
    only: Vec<String>,
    write: bool,
}

type Measure = fn(&Contest) -> Section;

const SECTIONS: &[Measure] = &[
    speed::section,
    memory::section,
    pauses::section,
    idle::section,
    persistence::section,
    replication::section,
    lock::section,
];

/// The names by which `--only` selects whole sections.
const SECTION_NAMES: [&str; 7] = ["speed", "memory", "pauses", "idle", "persistence", "replication", "lock"];

/// Measures what the options select and prints it; true when every goal is met.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let mut contest = Contest::parse(words)?;
    if contest.ours.is_empty() {
        contest.ours = build()?;
    }
    machine::stay_on_client_cpu().map_err(|e| format!("taskset: {e}"))?;
    machine::warn_if_busy();

    let mut sections: Vec<Section> = SECTIONS.iter().map(|measure| measure(&contest)).collect();
    sections.retain(|section| !section.is_empty());
    if sections.is_empty() {
        return Err("--only selects nothing".into());
    }
    if contest.write {
        report::write(&sections, &contest)?;
    } else {
        sections.iter().for_each(|section| println!("{section}"));
    }
    Ok(sections.iter().all(Section::all_met))
}

/// Builds our server as it is released and returns its command.
fn build() -> Result<Vec<String>, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "-p", "redstart"]).current_dir(crate::arguments::root());
    match cargo.status() {
        Ok(status) if status.success() => {
            let binary = crate::arguments::root().join("target/release/redstart");
            Ok(vec![binary.display().to_string(), "server".to_string()])
        }
        Ok(status) => Err(format!("cargo build ended with {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

impl Contest {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Contest, String> {
        let mut contest = Contest {
            theirs: vec!["redis-server".to_string()],
            ours: Vec::new(),
            rounds: 3,
            scale: 1.0,
            only: Vec::new(),
            write: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            let split = |text: String| text.split_whitespace().map(str::to_string).collect();
            match word.as_str() {
                "--reference" => contest.theirs = split(value()?),
                "--ours" => contest.ours = split(value()?),
                "--rounds" => contest.rounds = number(&value()?)?,
                "--scale" => contest.scale = number(&value()?)?,
                "--only" => contest.only = split(value()?.to_lowercase().replace(',', " ")),
                "--write" => contest.write = true,
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if contest.rounds == 0 || contest.scale.is_nan() || contest.scale <= 0.0 {
            return Err("--rounds and --scale must be above 0".into());
        }
        if contest.write && contest.scale != 1.0 {
            return Err("only measurements at full scale are written down".into());
        }
        Ok(contest)
    }

    /// Returns whether a line is to be measured: all are, unless words select some by section or by part of the name.
    fn selects(&self, section: &str, line: &str) -> bool {
        let name = line.to_lowercase();
        let selects = |word: &String| {
            if SECTION_NAMES.contains(&word.as_str()) { word == section } else { name.contains(word) }
        };
        self.only.is_empty() || self.only.iter().any(selects)
    }

    /// Returns a size at the scale asked for.
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }

    /// Measures both servers in turn, as often as there are rounds; what is returned are pairs (theirs, ours).
    fn pairs<T>(
        &self,
        name: &str,
        measure: impl Fn(&[String]) -> io::Result<T>,
    ) -> Result<Vec<(T, T)>, String> {
        eprintln!("… {name}");
        let measure = |side: &str, command: &[String]| {
            measure(&pinned_to_server_cpu(command)).map_err(|error| format!("{side}: {error}"))
        };
        (0..self.rounds)
            .map(|_| Ok((measure("theirs", &self.theirs)?, measure("ours", &self.ours)?)))
            .collect()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
