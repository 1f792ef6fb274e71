//! What was measured, as Markdown: sections of lines, each with its goal.

use std::fmt::{self, Display};
use std::fs;

use crate::arguments::root;

use super::{Contest, machine};

/// What a line is to reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// Ours divided by theirs, at most.
    RatioAtMost(f64),
    /// Ours divided by theirs, at least.
    RatioAtLeast(f64),
    /// Ours at most, in the line's unit.
    AtMost(f64),
    /// Nothing: the line is there to be seen.
    None,
}

/// One measured thing: the medians of both servers and of their ratios.
#[derive(Debug)]
pub(super) struct Line {
    name: String,
    goal: Goal,
    result: Result<Medians, String>,
}

#[derive(Clone, Copy, Debug)]
struct Medians {
    theirs: f64,
    ours: f64,
    ratio: f64,
}

impl Line {
    /// Returns the line for pairs (theirs, ours), or for the reason why there are none.
    pub(super) fn new(name: &str, goal: Goal, pairs: Result<Vec<(f64, f64)>, String>) -> Line {
        let result = pairs.map(|pairs| Medians {
            theirs: median(pairs.iter().map(|pair| pair.0)),
            ours: median(pairs.iter().map(|pair| pair.1)),
            ratio: median(pairs.iter().map(|(theirs, ours)| ours / theirs)),
        });
        Line { name: name.to_string(), goal, result }
    }

    /// Returns whether the goal is met; `None` without a goal.
    fn met(&self) -> Option<bool> {
        match (&self.result, self.goal) {
            (_, Goal::None) => None,
            (Err(_), _) => Some(false),
            (Ok(medians), Goal::RatioAtMost(goal)) => Some(medians.ratio <= goal),
            (Ok(medians), Goal::RatioAtLeast(goal)) => Some(medians.ratio >= goal),
            (Ok(medians), Goal::AtMost(goal)) => Some(medians.ours <= goal),
        }
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = match self.goal {
            Goal::RatioAtMost(goal) => format!("ratio ≤ {goal:.2}"),
            Goal::RatioAtLeast(goal) => format!("ratio ≥ {goal:.2}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
            Goal::None => "–".to_string(),
        };
        let met = match self.met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        match &self.result {
            Ok(Medians { theirs, ours, ratio }) => {
                let (theirs, ours) = (figure(*theirs), figure(*ours));
                write!(f, "| {} | {theirs} | {ours} | {ratio:.2} | {goal} | {met} |", self.name)
            }
            Err(reason) => write!(f, "| {} | failed: {reason} | | | {goal} | {met} |", self.name),
        }
    }
}

/// A table of lines in one unit.
#[derive(Debug)]
pub(super) struct Table {
    title: &'static str,
    /// Whose figures are compared.
    sides: [&'static str; 2],
    lines: Vec<Line>,
}

impl Table {
    /// Returns a table that compares both servers.
    pub(super) fn new(title: &'static str, lines: Vec<Line>) -> Table {
        Table { title, sides: ["redis-server", "redstart"], lines }
    }

    /// Compares something else; ratios are the second one's figure divided by the first one's.
    pub(super) fn between(self, first: &'static str, second: &'static str) -> Table {
        Table { sides: [first, second], ..self }
    }
}

/// What belongs together, with a word on how it is measured.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) method: &'static str,
    pub(super) tables: Vec<Table>,
}

impl Section {
    /// Returns whether nothing of it was measured.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.lines.is_empty())
    }

    /// Returns whether every goal is met.
    pub(super) fn all_met(&self) -> bool {
        self.tables.iter().flat_map(|table| &table.lines).all(|line| line.met() != Some(false))
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}", self.title, self.method)?;
        for table in self.tables.iter().filter(|table| !table.lines.is_empty()) {
            let [first, second] = table.sides;
            writeln!(f, "\n| {} | {first} | {second} | ratio | goal | met |", table.title)?;
            writeln!(f, "|---|---:|---:|---:|---:|---|")?;
            for line in &table.lines {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Writes the sections into docs/benchmarks.md; sections that were not measured now stay as they are.
pub(super) fn write(sections: &[Section], contest: &Contest) -> Result<(), String> {
    let path = root().join("docs/benchmarks.md");
    let written = fs::read_to_string(&path).unwrap_or_default();
    let when = format!(
        "Measured on {} at commit {}, {} rounds: {} | {}.",
        machine::first_line("date", &["-u", "+%F"]),
        machine::first_line("git", &["rev-parse", "--short", "HEAD"]),
        contest.rounds,
        version(&contest.theirs),
        version(&contest.ours)
    );
    let mut document = preamble();
    for title in ["Speed", "Memory", "Pauses", "Idle", "Persistence", "Replication", "Lock"] {
        let now = sections.iter().find(|section| section.title == title);
        let text = match now {
            Some(section) => Some(format!("{section}\n{when}")),
            None => section_of(&written, title).map(str::to_string),
        };
        if let Some(text) = text {
            document.push_str(&format!("\n{}\n", text.trim_end()));
        }
    }
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, document))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn preamble() -> String {
    format!(
        "# Benchmarks

Redstart beside redis-server, measured in turn on one machine. What misses its goal says so.
Ratios are ours divided by theirs, pair by pair; figures are medians over the rounds.

| machine | |
|---|---|
{}

To reproduce: `cargo xtask bench` prints these tables (`--only speed`, `--rounds 5`, `--scale 0.05` for a quick look,
`--reference CMD` for another reference server), `cargo xtask bench --write` writes them here. It needs Linux with two
processors, `redis-server`, `redis-benchmark`, `taskset` and `renice`, an open-file limit of 20,000 and 4 GiB of free
memory; nothing else should be running. Servers run on processor 0, clients on processor 1; the section on persistence needs `strace`, in
all others persistence is off.
",
        machine::description()
    )
}

/// Returns a section of a document, from its heading to the next.
fn section_of<'a>(document: &'a str, title: &str) -> Option<&'a str> {
    let start = document.find(&format!("\n## {title}\n"))? + 1;
    let length = document[start..].find("\n## ").unwrap_or(document.len() - start);
    Some(&document[start..start + length])
}

fn version(command: &[String]) -> String {
    let words: Vec<&str> = command.iter().skip(1).map(String::as_str).chain(["--version"]).collect();
    command.first().map_or_else(String::new, |program| machine::first_line(program, &words))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Returns a figure with about three digits that matter.
fn figure(value: f64) -> String {
    match value.abs() {
        none if none.is_nan() => "–".to_string(),
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_taken_pair_by_pair() {
        let line = Line::new("x", Goal::RatioAtMost(0.6), Ok(vec![(1.0, 0.5), (10.0, 1.0), (4.0, 4.0)]));
        assert_eq!(line.to_string(), "| x | 4.00 | 1.00 | 0.50 | ratio ≤ 0.60 | yes |");
        assert_eq!(median([1.0, 2.0].into_iter()), 1.5);
    }

    #[test]
    fn a_goal_is_missed_by_failing() {
        let line = Line::new("x", Goal::AtMost(8.0), Err("ours: gone".into()));
        assert_eq!(line.met(), Some(false));
        assert_eq!(line.to_string(), "| x | failed: ours: gone | | | ≤ 8 | **no** |");
        assert_eq!(Line::new("x", Goal::None, Ok(vec![(1.0, 2.0)])).met(), None);
    }

    #[test]
    fn sections_are_found_in_a_document() {
        let document = "# Benchmarks\n\n## Speed\n\nfast\n\n## Idle\n\nsmall\n";
        assert_eq!(section_of(document, "Speed"), Some("## Speed\n\nfast\n"));
        assert_eq!(section_of(document, "Idle"), Some("## Idle\n\nsmall\n"));
        assert_eq!(section_of(document, "Memory"), None);
    }
}
