//! The stream of writes: what each command came to, encoded once for the log and the replicas.
//!
//! ```text
//!  …│*2 $6 SELECT $1 3│*1 $5 MULTI│*3 $3 SET …│*2 $4 INCR …│*1 $4 EXEC│*3 $3 SET …│
//!   ▲                 └ one unit: whole or not at all ──────────────┘            ▲
//!   taken up to here                                             offset: counts every byte ever written
//! ```
//!
//! Collects units and their offsets. Leaves it to whoever takes the bytes where they go.

use std::ops::Range;

use base::number::{IntText, parse_i64};
use resp::decode::{Decoder, Limits, Request};
use resp::encode;

/// Encoded commands since they were taken last.
#[derive(Debug, Default)]
pub struct Stream {
    bytes: Vec<u8>,
    /// The offset after the last of `bytes`.
    offset: u64,
    /// The database that the reader of the stream works in; `None` when it has to be told before the next command.
    selected: Option<usize>,
    /// Parts of `bytes` that concern replicas alone, as they change no data (PUBLISH).
    passing: Vec<Range<usize>>,
    /// The database that was selected when the bytes were taken last.
    taken_in: usize,
    /// Where the first command of the unit under way begins, and how many it has.
    unit_start: usize,
    unit_commands: usize,
}

/// What a reader of the stream is handed.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// Whole units, encoded as requests.
    pub bytes: &'a [u8],
    /// Parts of `bytes` that change no data.
    pub passing: &'a [Range<usize>],
    /// The offset after `bytes`.
    pub offset: u64,
    /// The database in which they begin, should they not select one.
    pub database: usize,
}

impl Taken<'_> {
    /// Returns the commands, each with its database; `db` is the one that the reader works in, and is kept up to date.
    pub fn commands(&self, db: &mut usize) -> Vec<(usize, Vec<Vec<u8>>)> {
        let (mut decoder, limits) = (Decoder::new(), Limits::default());
        let (mut commands, mut at) = (Vec::new(), 0);
        while let Ok(Some(request)) = decoder.decode(&self.bytes[at..], &limits) {
            at += request.consumed();
            match (request.arg(0), request.get(1).and_then(parse_i64)) {
                (b"SELECT", Some(selected)) => *db = selected as usize,
                _ => commands.push((*db, request.iter().map(<[u8]>::to_vec).collect())),
            }
        }
        commands
    }
}

impl Stream {
    /// Returns the offset after everything that was written.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on from an offset: that of the data which was loaded.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Makes the next command name its database again: a new reader begins there.
    pub fn forget_database(&mut self) {
        self.selected = None;
    }

    /// Returns the database that the stream's reader works in.
    pub fn database(&self) -> usize {
        self.selected.unwrap_or(self.taken_in)
    }

    /// Adds a command that is for replicas alone, and means the same in every database.
    pub fn push_for_replicas(&mut self, words: &[&[u8]]) {
        let start = self.bytes.len();
        encode::request(&mut self.bytes, words);
        self.end(start, true);
    }

    /// Returns whether there is nothing to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Shows what was written since it was taken last.
    pub fn peek<R>(&self, read: impl FnOnce(Taken<'_>) -> R) -> R {
        let database = self.taken_in;
        read(Taken { bytes: &self.bytes, passing: &self.passing, offset: self.offset, database })
    }

    /// Hands over what was written since the last time.
    pub fn take<R>(&mut self, read: impl FnOnce(Taken<'_>) -> R) -> R {
        let database = self.taken_in;
        self.taken_in = self.selected.unwrap_or(database);
        let result =
            read(Taken { bytes: &self.bytes, passing: &self.passing, offset: self.offset, database });
        self.bytes.clear();
        self.passing.clear();
        // A burst of large values must not keep its room for ever.
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        result
    }

    /// Adds a request to the unit, as it was sent.
    #[inline]
    pub(crate) fn push_request(&mut self, db: usize, request: Request<'_>, passing: bool) {
        self.begin(db);
        let start = self.bytes.len();
        match request.encoded() {
            Some(encoded) => self.bytes.extend_from_slice(encoded),
            None => encode::request(&mut self.bytes, request.iter()),
        }
        self.end(start, passing);
    }

    /// Adds a command to the unit.
    pub(crate) fn push(&mut self, db: usize, words: &[&[u8]], passing: bool) {
        self.begin(db);
        let start = self.bytes.len();
        encode::request(&mut self.bytes, words);
        self.end(start, passing);
    }

    /// Ends the unit: as a transaction if it has several commands that belong together.
    #[inline]
    pub(crate) fn end_unit(&mut self, together: bool) {
        if std::mem::take(&mut self.unit_commands) > 1 && together {
            self.wrap_unit();
        }
    }

    #[cold]
    fn wrap_unit(&mut self) {
        self.bytes.splice(self.unit_start..self.unit_start, MULTI.iter().copied());
        for range in self.passing.iter_mut().rev().take_while(|range| range.start >= self.unit_start) {
            *range = range.start + MULTI.len()..range.end + MULTI.len();
        }
        self.bytes.extend_from_slice(EXEC);
        self.offset += (MULTI.len() + EXEC.len()) as u64;
    }

    #[inline]
    fn begin(&mut self, db: usize) {
        if self.selected != Some(db) {
            self.select(db);
        }
        if self.unit_commands == 0 {
            self.unit_start = self.bytes.len();
        }
        self.unit_commands += 1;
    }

    #[cold]
    fn select(&mut self, db: usize) {
        let start = self.bytes.len();
        encode::request(&mut self.bytes, [b"SELECT", IntText::new(db as i64).as_bytes()]);
        self.offset += (self.bytes.len() - start) as u64;
        self.selected = Some(db);
    }

    #[inline]
    fn end(&mut self, start: usize, passing: bool) {
        self.offset += (self.bytes.len() - start) as u64;
        if passing {
            self.passing.push(start..self.bytes.len());
        }
    }
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Room for encoded commands that is kept when they were taken.
const KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stream: &mut Stream) -> (String, Vec<Range<usize>>, u64) {
        stream.take(|taken| {
            let text = String::from_utf8_lossy(taken.bytes).replace("\r\n", " ");
            (text, taken.passing.to_vec(), taken.offset)
        })
    }

    #[test]
    fn a_command_alone_is_no_transaction() {
        let mut stream = Stream::default();
        stream.push(3, &[b"SET", b"a", b"1"], false);
        stream.end_unit(true);
        let (said, passing, offset) = text(&mut stream);
        assert_eq!(said, "*2 $6 SELECT $1 3 *3 $3 SET $1 a $1 1 ");
        assert!(passing.is_empty());
        assert_eq!(offset, 23 + 27);
        stream.push(3, &[b"DEL", b"a"], false);
        stream.end_unit(true);
        assert_eq!(text(&mut stream).0, "*2 $3 DEL $1 a ");
    }

    #[test]
    fn commands_that_belong_together_are_wrapped_behind_the_selection() {
        let mut stream = Stream::default();
        stream.push(0, &[b"DEL", b"a"], false);
        stream.push(0, &[b"PUBLISH", b"c", b"m"], true);
        stream.end_unit(true);
        let (said, passing, offset) = text(&mut stream);
        assert_eq!(said, "*2 $6 SELECT $1 0 *1 $5 MULTI *2 $3 DEL $1 a *3 $7 PUBLISH $1 c $1 m *1 $4 EXEC ");
        assert_eq!(offset, said.replace(' ', "\r\n").len() as u64);
        assert_eq!(passing.first(), Some(&(23 + 15 + 20..23 + 15 + 20 + 31)));
    }

    #[test]
    fn commands_of_different_causes_stay_apart() {
        let mut stream = Stream::default();
        stream.push(0, &[b"DEL", b"a"], false);
        stream.push(1, &[b"DEL", b"b"], false);
        stream.end_unit(false);
        assert_eq!(text(&mut stream).0, "*2 $6 SELECT $1 0 *2 $3 DEL $1 a *2 $6 SELECT $1 1 *2 $3 DEL $1 b ");
        stream.forget_database();
        stream.push(1, &[b"DEL", b"b"], false);
        stream.end_unit(false);
        assert_eq!(text(&mut stream).0, "*2 $6 SELECT $1 1 *2 $3 DEL $1 b ");
    }
}
