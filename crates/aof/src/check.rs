//! What there is to say of a log file on disk: for `redstart check aof`, and for whoever wants to repair one.
//!
//! A check reads the file as loading does and changes nothing: it names the offsets at which the file can be cut.

use std::collections::BTreeMap;
use std::convert::Infallible;

use resp::Request;

use crate::mark::Mark;
use crate::read::{Reader, Replay, Verdict};

/// Checks one file, whose bytes come in pieces.
#[derive(Debug)]
pub struct Check {
    reader: Reader,
    found: Found,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its length.
    pub bytes: u64,
    /// Whether it consists of checked batches.
    pub checked: bool,
    /// Where plain bytes begin behind its batches, which another server appended.
    pub appended_at: Option<u64>,
    /// Batches whose checksum agrees.
    pub batches: u64,
    /// How many requests there are of each command, by its name in lower case.
    pub commands: BTreeMap<String, u64>,
    /// How many lines of the protocol they take, counting each argument for two.
    pub lines: u64,
    /// The first and the last annotated time, in Unix seconds.
    pub times: Option<(i64, i64)>,
    /// Where in a history of replication the log stands behind the last request, if it says so there.
    pub mark: Option<Mark>,
    /// Where filler begins that takes up the rest of the file, if there is any: its data ends there.
    pub filler_at: Option<u64>,
    /// How the file ends.
    pub verdict: Verdict,
    /// Where to cut the file so that nothing later than the time asked for is left, if anything is.
    pub cut_for_time: Option<u64>,
}

#[derive(Debug, Default)]
struct Found {
    commands: BTreeMap<String, u64>,
    lines: u64,
    times: Option<(i64, i64)>,
    mark: Option<Mark>,
    until: Option<i64>,
    cut_for_time: Option<u64>,
}

/// Names of commands beyond this many are counted together: a damaged plain file may hold anything.
const NAMES_MAX: usize = 1000;
/// No command has a longer name.
const NAME_MAX: usize = 64;

impl Check {
    /// Returns a check of the bytes from `offset` on, asking also where what is later than `until` begins.
    pub fn new(offset: u64, until: Option<i64>) -> Check {
        Check { reader: Reader::new(offset), found: Found { until, ..Found::default() } }
    }

    /// Reads what is whole at the front of `bytes` and returns how many that were; the rest is to be given again.
    pub fn read(&mut self, bytes: &[u8]) -> usize {
        let Ok(taken) = self.reader.read(bytes, &mut self.found);
        taken
    }

    /// Returns what was found in the file, which ends behind `rest`, the bytes that were not taken.
    pub fn finish(mut self, rest: &[u8]) -> Report {
        let bytes = self.reader.offset() + rest.len() as u64;
        let verdict = self.reader.finish(rest);
        let data_end = self.reader.data_end();
        let filled = verdict == Verdict::Complete && data_end < bytes;
        Report {
            bytes,
            filler_at: filled.then_some(data_end),
            checked: self.reader.is_checked(),
            appended_at: self.reader.appended_at(),
            batches: self.reader.batches(),
            commands: self.found.commands,
            lines: self.found.lines,
            times: self.found.times,
            mark: self.found.mark,
            verdict,
            cut_for_time: self.found.cut_for_time,
        }
    }
}

impl Report {
    /// Returns where to cut the file so that it is whole; nothing when it is.
    pub fn cut_to_fix(&self) -> Option<u64> {
        match self.verdict {
            Verdict::Complete => None,
            Verdict::TornTail { offset, .. } | Verdict::Corrupt { offset, .. } => Some(offset),
        }
    }

    /// Returns how many requests there are.
    pub fn requests(&self) -> u64 {
        self.commands.values().sum()
    }
}

impl Replay for Found {
    type Error = Infallible;

    fn request(&mut self, request: Request<'_>, _: u64) -> Result<(), Infallible> {
        let name = request.arg(0);
        self.mark = None;
        self.lines += 1 + 2 * request.len() as u64;
        let mut buf = [0; NAME_MAX];
        let name = match buf.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                std::str::from_utf8(lower).unwrap_or("(other)")
            }
            None => "(other)",
        };
        let full = self.commands.len() >= NAMES_MAX;
        match self.commands.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                let name = if full { "(other)" } else { name };
                *self.commands.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }

    fn timestamp(&mut self, unix_secs: i64, offset: u64) -> Result<(), Infallible> {
        let (first, _) = *self.times.get_or_insert((unix_secs, unix_secs));
        self.times = Some((first, unix_secs));
        if self.cut_for_time.is_none() && self.until.is_some_and(|until| unix_secs > until) {
            self.cut_for_time = Some(offset);
        }
        Ok(())
    }

    fn mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Batches;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

    #[test]
    fn it_counts_and_says_where_to_cut() {
        let mut batches = Batches::new(0);
        let mut starts = Vec::new();
        for time in [100, 200, 300] {
            batches.seal();
            starts.push(batches.end());
            batches.push(
                batches.end(),
                &[format!("#TS:{time}\r\n").as_bytes(), SET, b"*2\r\n$3\r\ndel\r\n$1\r\nk\r\n"],
            );
        }
        let bytes = batches.take();
        let report = |until, bytes: &[u8]| {
            let mut check = Check::new(0, until);
            let taken = check.read(bytes);
            check.finish(&bytes[taken..])
        };
        let whole = report(Some(150), &bytes);
        assert_eq!((whole.bytes, whole.batches, whole.requests()), (bytes.len() as u64, 3, 6));
        assert_eq!(whole.commands, BTreeMap::from([("set".to_owned(), 3), ("del".to_owned(), 3)]));
        assert_eq!(
            (whole.times, whole.cut_for_time, whole.cut_to_fix()),
            (Some((100, 300)), Some(starts[1]), None)
        );
        assert_eq!(report(Some(300), &bytes).cut_for_time, None);
        let torn = report(None, &bytes[..bytes.len() - 1]);
        assert_eq!((torn.checked, torn.batches, torn.cut_to_fix()), (true, 2, Some(starts[2])));
    }

    #[test]
    fn a_mark_counts_while_nothing_follows() {
        let mark = Mark { offset: 7, database: 0, id: [b'0'; 40] };
        let found = |bytes: &[u8]| {
            let mut check = Check::new(0, None);
            let taken = check.read(bytes);
            check.finish(&bytes[taken..]).mark
        };
        assert_eq!(found(&[SET, &mark.line(None)].concat()), Some(mark));
        assert_eq!(found(&[SET, &mark.line(None), SET].concat()), None);
    }

    #[test]
    fn plain_files_are_cut_at_the_annotation() {
        let bytes = [SET, b"#TS:5\r\n", SET, b"#TS:7\r\n", SET].concat();
        let mut check = Check::new(0, Some(5));
        assert_eq!(check.read(&bytes), bytes.len());
        let report = check.finish(b"");
        assert_eq!((report.checked, report.cut_for_time), (false, Some(2 * SET.len() as u64 + 7)));
    }
}
