//! What came of playing scenario files.

use std::collections::BTreeMap;
use std::fmt;

/// One place where a target did not do what is written.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The scenario file.
    pub file: String,
    /// The line of the written reply, or of the request when it has none.
    pub line: usize,
    /// The scenario's title.
    pub scenario: String,
    /// The request last sent.
    pub request: String,
    /// What is written.
    pub expected: Vec<String>,
    /// What happened.
    pub actual: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.file, self.line, self.scenario)?;
        writeln!(f, "    {}", self.request)?;
        for (sign, line) in line_difference(&self.expected, &self.actual) {
            writeln!(f, "  {sign} {line}")?;
        }
        Ok(())
    }
}

/// Counts, and every difference found.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Scenarios played.
    pub scenarios: usize,
    /// Scenarios that do not apply to the target.
    pub skipped: usize,
    /// Those of them that wait for something that Redstart still lacks, by what that is.
    pub lacking: BTreeMap<String, usize>,
    /// Replies, messages and effects compared.
    pub compared: usize,
    /// What differed.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Adds another report to this one.
    pub fn absorb(&mut self, other: Report) {
        self.scenarios += other.scenarios;
        self.skipped += other.skipped;
        for (lack, count) in other.lacking {
            *self.lacking.entry(lack).or_default() += count;
        }
        self.compared += other.compared;
        self.differences.extend(other.differences);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} scenarios ({} skipped", self.scenarios, self.skipped)?;
        for (lack, count) in &self.lacking {
            write!(f, ", {count} of them for lack of {lack}")?;
        }
        write!(f, "), {} replies compared, {} differences", self.compared, self.differences.len())
    }
}

/// Returns both texts merged: ' ' for common lines, '-' for expected ones only, '+' for actual ones only.
fn line_difference<'a>(expected: &'a [String], actual: &'a [String]) -> Vec<(char, &'a str)> {
    let start = expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
    let (old, new) = (&expected[start..], &actual[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let common = |lines: &'a [String]| lines.iter().map(|line| (' ', line.as_str()));
    common(&expected[..start])
        .chain(old[..old.len() - end].iter().map(|line| ('-', line.as_str())))
        .chain(new[..new.len() - end].iter().map(|line| ('+', line.as_str())))
        .chain(common(&old[old.len() - end..]))
        .collect()
}
