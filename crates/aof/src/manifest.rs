//! The manifest: which files make up the log, in Redis 7's format, and how the set changes.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b       the dataset at the time of the last rewrite
//! file appendonly.aof.3.incr.aof seq 3 type h       replaced by that base, to be removed
//! file appendonly.aof.4.incr.aof seq 4 type i       every write since, in this order
//! file appendonly.aof.5.incr.aof seq 5 type i
//! ```
//!
//! Owned here are the text and the transitions, which leave the manifest that they start from alone: the new one counts
//! when it is on the disk. Which files are there, and how long, is the caller's to find out.

use std::fmt;

use base::number::parse_i64;
use resp::inline::split_args;

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What the dataset was when the log was last rewritten.
    pub base: Option<LogFile>,
    /// Files that later ones replaced, which are still to be removed.
    pub history: Vec<LogFile>,
    /// What was written since, by ascending sequence; the last one is appended to.
    pub increments: Vec<LogFile>,
}

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name within the log's directory.
    pub name: String,
    /// Its number among the files of its kind.
    pub seq: u64,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// What stands there.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Redis refuses longer lines.
const LINE_MAX: usize = 1024;

const MALFORMED: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Returns the manifest that `text` describes.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let fail = |line, text: &[u8], why| ManifestError { line, text: show(text), why };
        if text.is_empty() {
            return Err(fail(0, b"", "Found an empty AOF manifest"));
        }
        let mut manifest = Manifest::default();
        for (index, raw) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if raw.starts_with(b"#") {
                continue;
            }
            let line = raw.trim_ascii();
            let fail = |why| fail(index + 1, line, why);
            if raw.len() > LINE_MAX || !raw.ends_with(b"\n") {
                return Err(fail("The AOF manifest file contains too long line"));
            }
            let (kind, file) = file_of(line).map_err(fail)?;
            match kind {
                b'b' if manifest.base.is_some() => {
                    return Err(fail("Found duplicate base file information"));
                }
                b'b' => manifest.base = Some(file),
                b'h' => manifest.history.push(file),
                b'i' if manifest.increments.last().is_some_and(|last| file.seq <= last.seq) => {
                    return Err(fail("Found a non-monotonic sequence number"));
                }
                b'i' => manifest.increments.push(file),
                _ => return Err(fail("Unknown AOF file type")),
            }
        }
        Ok(manifest)
    }

    /// Returns the text of the manifest: base, history, increments.
    pub fn print(&self) -> Vec<u8> {
        let mut text = String::new();
        let mut line = |file: &LogFile, kind: char| {
            text += &format!("file {} seq {} type {kind}\n", quoted(&file.name), file.seq);
        };
        self.base.iter().for_each(|file| line(file, 'b'));
        self.history.iter().for_each(|file| line(file, 'h'));
        self.increments.iter().for_each(|file| line(file, 'i'));
        text.into_bytes()
    }

    /// Returns the name of the manifest of the log called `name`.
    pub fn file_name(name: &str) -> String {
        format!("{name}.manifest")
    }

    /// Returns the manifest of a log that is one file of before Redis 7, once it lies in the log's directory.
    pub fn upgraded(name: &str) -> Manifest {
        let base = LogFile { name: name.to_owned(), seq: 1 };
        Manifest { base: Some(base), ..Manifest::default() }
    }

    /// Returns the files to load, in order.
    pub fn files(&self) -> impl Iterator<Item = &LogFile> {
        self.base.iter().chain(&self.increments)
    }

    /// Returns the next file to append to, with a number above `taken`.
    pub fn next_increment(&self, name: &str, taken: u64) -> LogFile {
        let seq = self.next_seq(self.increments.last(), ".incr.").max(taken.saturating_add(1));
        LogFile { name: format!("{name}.{seq}.incr.aof"), seq }
    }

    /// Returns the base that the next rewrite makes, a snapshot or commands, with a number above `taken`.
    pub fn next_base(&self, name: &str, snapshot: bool, taken: u64) -> LogFile {
        let seq = self.next_seq(self.base.as_ref(), ".base.").max(taken.saturating_add(1));
        let extension = if snapshot { "rdb" } else { "aof" };
        LogFile { name: format!("{name}.{seq}.base.{extension}"), seq }
    }

    /// Returns a number above that of the last file, and of those replaced that may still be there under such a name.
    fn next_seq(&self, last: Option<&LogFile>, kind: &str) -> u64 {
        let replaced = self.history.iter().filter(|file| file.name.contains(kind));
        replaced.chain(last).map(|file| file.seq).max().unwrap_or(0).saturating_add(1)
    }

    /// Returns the manifest once `increment` is what is appended to.
    pub fn with_increment(&self, increment: LogFile) -> Manifest {
        let mut next = self.clone();
        next.increments.push(increment);
        next
    }

    /// Returns the manifest once `base` holds all that came before `increment`; without one, all there was.
    ///
    /// All other files become history, the latest first, as Redis lists them.
    pub fn with_base(&self, base: LogFile, increment: Option<LogFile>) -> Manifest {
        let replaced = |file: &&LogFile| increment.as_ref().is_none_or(|kept| kept.name != file.name);
        let mut history: Vec<_> = self.increments.iter().filter(replaced).rev().cloned().collect();
        history.extend(self.base.clone());
        history.extend(self.history.iter().cloned());
        Manifest { base: Some(base), history, increments: increment.into_iter().collect() }
    }

    /// Returns the manifest once the files that others replaced are gone.
    pub fn without_history(&self) -> Manifest {
        Manifest { history: Vec::new(), ..self.clone() }
    }
}

/// A file that has a name as a log gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) file: LogFile,
    /// Whether it is a base rather than an increment.
    pub(crate) base: bool,
}

impl Numbered {
    /// Returns the file that `found` would be in a log called `name`, if it is a name of that kind.
    pub(crate) fn parse(name: &str, found: &str) -> Option<Numbered> {
        let (seq, kind) = found.strip_prefix(name)?.strip_prefix('.')?.split_once('.')?;
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let base = match kind {
            "base.rdb" | "base.aof" => true,
            "incr.aof" => false,
            _ => return None,
        };
        let seq = seq.parse().ok().filter(|_| digits)?;
        Some(Numbered { file: LogFile { name: found.to_owned(), seq }, base })
    }
}

/// Returns the kind of the file that a line is about, and the file.
fn file_of(line: &[u8]) -> Result<(u8, LogFile), &'static str> {
    let words = split_args(line).ok_or(MALFORMED)?;
    // Words may follow that later versions know, in pairs.
    if words.len() < 6 || !words.len().is_multiple_of(2) {
        return Err(MALFORMED);
    }
    let (mut name, mut seq, mut kind) = (None, None, None);
    for pair in words.chunks_exact(2) {
        if pair[0].eq_ignore_ascii_case(b"file") {
            if pair[1].contains(&b'/') || pair[1].contains(&b'\\') {
                return Err("File can't be a path, just a filename");
            }
            name = Some(String::from_utf8(pair[1].clone()).map_err(|_| MALFORMED)?);
        } else if pair[0].eq_ignore_ascii_case(b"seq") {
            let number = parse_i64(&pair[1]).filter(|seq| *seq > 0).ok_or(MALFORMED)?;
            seq = u64::try_from(number).ok();
        } else if pair[0].eq_ignore_ascii_case(b"type") {
            kind = pair[1].first().copied();
        }
    }
    match (name, seq, kind) {
        (Some(name), Some(seq), Some(kind)) if !name.is_empty() => Ok((kind, LogFile { name, seq })),
        _ => Err(MALFORMED),
    }
}

/// Returns a name as it stands in a manifest: between quotes when a blank or an unprintable byte is in it.
fn quoted(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\'');
    if !name.is_empty() && name.as_bytes().iter().all(plain) {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\n' => text += "\\n",
            b'\r' => text += "\\r",
            b'\t' => text += "\\t",
            0x07 => text += "\\a",
            0x08 => text += "\\b",
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text.push('"');
    text
}

/// Returns the start of a line, for people.
fn show(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(LINE_MAX)]).into_owned()
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.why),
            line => write!(f, "{}, at line {line}: '{}'", self.why, self.text),
        }
    }
}

impl std::error::Error for ManifestError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, seq: u64) -> LogFile {
        LogFile { name: name.into(), seq }
    }

    #[test]
    fn it_reads_and_writes_what_redis_does() {
        let text = b"file appendonly.aof.2.base.rdb seq 2 type b\n\
            file appendonly.aof.1.incr.aof seq 1 type h\n\
            file appendonly.aof.2.incr.aof seq 2 type i\n\
            file appendonly.aof.3.incr.aof seq 3 type i\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.base, Some(file("appendonly.aof.2.base.rdb", 2)));
        assert_eq!(manifest.history, [file("appendonly.aof.1.incr.aof", 1)]);
        assert_eq!(manifest.increments.len(), 2);
        assert_eq!(manifest.print(), text);
    }

    #[test]
    fn comments_and_words_of_later_versions_are_skipped() {
        let text = b"# of a peer\nFILE a SEQ 1 startoffset 0 type i endoffset 5\n#\n";
        assert_eq!(Manifest::parse(text).unwrap().increments, [file("a", 1)]);
        assert_eq!(Manifest::parse(b"#\n").unwrap(), Manifest::default());
    }

    #[test]
    fn names_are_quoted_as_redis_quotes_them() {
        for (name, shown) in [
            ("a.aof", "a.aof"),
            ("a b", "\"a b\""),
            ("a\"\n\r\t\u{7}\u{8}\u{1}é", "\"a\\\"\\n\\r\\t\\a\\b\\x01\\xc3\\xa9\""),
            ("it's", "\"it's\""),
        ] {
            assert_eq!(quoted(name), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1020));
        let table: &[(&str, &str)] = &[
            ("", "Found an empty AOF manifest"),
            ("\n", "Invalid AOF manifest file format, at line 1: ''"),
            (
                "file a seq 1 type b",
                "The AOF manifest file contains too long line, at line 1: 'file a seq 1 type b'",
            ),
            ("file a seq 1\n", "Invalid AOF manifest file format, at line 1: 'file a seq 1'"),
            (
                "file a seq 1 type b x\n",
                "Invalid AOF manifest file format, at line 1: 'file a seq 1 type b x'",
            ),
            (
                "#\nfile a seq 0 type b\n",
                "Invalid AOF manifest file format, at line 2: 'file a seq 0 type b'",
            ),
            (
                "file \"\" seq 1 type b\n",
                "Invalid AOF manifest file format, at line 1: 'file \"\" seq 1 type b'",
            ),
            (
                "file \"a seq 1 type b\n",
                "Invalid AOF manifest file format, at line 1: 'file \"a seq 1 type b'",
            ),
            (
                "file a/b seq 1 type b\n",
                "File can't be a path, just a filename, at line 1: 'file a/b seq 1 type b'",
            ),
            ("file a seq 1 type x\n", "Unknown AOF file type, at line 1: 'file a seq 1 type x'"),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "Found duplicate base file information, at line 2: 'file b seq 2 type b'",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "Found a non-monotonic sequence number, at line 2: 'file b seq 2 type i'",
            ),
        ];
        for (text, error) in table {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().to_string(), *error);
        }
        assert_eq!(
            Manifest::parse(long.as_bytes()).unwrap_err().why,
            "The AOF manifest file contains too long line"
        );
    }

    #[test]
    fn a_rewrite_replaces_all_but_the_file_that_is_appended_to() {
        let name = "appendonly.aof";
        let empty = Manifest::default();
        let mut manifest =
            empty.with_base(empty.next_base(name, true, 0), Some(empty.next_increment(name, 0)));
        assert_eq!(
            manifest.print(),
            b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        );
        manifest = manifest.with_increment(manifest.next_increment(name, 0));
        let last = manifest.increments.last().cloned();
        manifest = manifest.with_base(manifest.next_base(name, false, 0), last);
        assert_eq!(
            String::from_utf8(manifest.print()).unwrap(),
            "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
             file appendonly.aof.1.base.rdb seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n"
        );
        assert_eq!(manifest.without_history().files().count(), 2);
    }

    #[test]
    fn a_replaced_file_that_is_still_there_keeps_its_number() {
        let name = "a";
        let manifest = Manifest { increments: vec![file("a.7.incr.aof", 7)], ..Manifest::default() };
        let off = manifest.with_base(manifest.next_base(name, true, 0), None);
        assert_eq!(off.next_increment(name, 0).seq, 8);
        assert_eq!(off.without_history().next_increment(name, 0).seq, 1);
        assert_eq!(off.next_increment(name, 11).seq, 12);
    }

    #[test]
    fn names_tell_number_and_kind() {
        let parse = |found| Numbered::parse("a", found).map(|found| (found.file.seq, found.base));
        assert_eq!(parse("a.2.incr.aof"), Some((2, false)));
        assert_eq!(parse("a.9.base.rdb"), Some((9, true)));
        for other in ["a", "a.manifest", "a.x.base.rdb", "a.+1.incr.aof", "b.1.incr.aof", "a.1.incr.rdb"] {
            assert_eq!(parse(other), None);
        }
    }

    proptest! {
        #[test]
        fn any_name_survives(name in "[^/\\\\]{1,40}", seq in 1..i64::MAX as u64) {
            let manifest = Manifest::default().with_increment(LogFile { name, seq });
            prop_assert_eq!(Manifest::parse(&manifest.print()).unwrap(), manifest);
        }
    }
}
