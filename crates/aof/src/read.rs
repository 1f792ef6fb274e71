//! Reading a log: bytes of one file in, the requests they are out, and a verdict on how the file ends.
//!
//! A file is either *checked*, when it begins with the line of a batch (see `record`), or *plain*, as redis-server writes
//! it. In a checked file every byte lies in a batch, and nothing of a batch is handed on before its checksum agreed. A
//! plain file is believed as far as it can be decoded. In both, what stands between MULTI and EXEC is handed on whole or
//! not at all.
//!
//! Behind a whole batch a checked file may go on as a plain one: redis-server appends to the last file that it finds. What
//! stands there begins with `*` or `#TS:`, which no single flipped bit makes of the line of a batch.
//!
//! Behind a whole batch there may also be filler (see [`base::prepared`]), up to the end of the file or up to what another
//! server appended there. Filler is no data: the file is complete, and ends where the filler begins.
//!
//! # Where a file is cut, and where it is refused
//!
//! When a batch is damaged or incomplete, the lines of later batches say whether it had ever been on the disk (the field
//! <unsynced>). If so the damage came later, bytes that somebody relies on are lost, and the file is refused. If not it is
//! what a power cut leaves behind: a torn tail, cut at the start of that batch. Bytes that are no part of a batch and do
//! not look like the torn start of one are refused, since somebody else wrote them. What was never written is zeros, or
//! filler in whose place it was to come.
//!
//! Not owned here: the files, their order (only the last one that is not empty may have a torn tail), the snapshot that a
//! base may begin with, and what the requests mean.

use base::prepared::{filler_at, may_end_at};
use memchr::memmem;
use resp::{Batch, Decoder, Limits, Request};

use crate::mark::{HistoryName, Mark, POSITION};
use crate::record::{Header, LINE_MAX, Line, MAGIC};

/// Who takes what a log holds.
pub trait Replay {
    /// Why a request cannot be replayed; reading ends with it.
    type Error;

    /// Hears of requests that come next, to look ahead; the bytes are those the batch was scanned from.
    fn ahead(&mut self, _batch: &Batch, _bytes: &[u8]) {}

    /// Takes one request, which begins at `offset` of the file.
    fn request(&mut self, request: Request<'_>, offset: u64) -> Result<(), Self::Error>;

    /// Takes the time at which what follows was written, in Unix seconds; `offset` is where the file can be cut before it.
    fn timestamp(&mut self, _unix_secs: i64, _offset: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Hears where in a history of replication the log stands, with all that was taken before and nothing else.
    fn mark(&mut self, _mark: Mark) {}
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte was read.
    Complete,
    /// The end is missing or was never synced: without the bytes from `offset` on, the file is whole.
    TornTail { offset: u64, why: String },
    /// What stands at `offset` is damaged or foreign.
    Corrupt { offset: u64, why: String },
}

/// Returns whether a file begins with a snapshot; nothing while it is too short to tell.
pub fn starts_with_snapshot(bytes: &[u8]) -> Option<bool> {
    let marks: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
    match marks.iter().any(|mark| bytes.starts_with(mark)) {
        true => Some(true),
        false if marks.iter().any(|mark| mark.starts_with(bytes)) => None,
        false => Some(false),
    }
}

/// Reads one file.
#[derive(Debug)]
pub struct Reader {
    /// Where the bytes that were not taken yet begin.
    offset: u64,
    form: Form,
    units: Units,
    batches: u64,
    checked: bool,
    /// Where plain bytes begin to follow a batch.
    appended: Option<u64>,
}

#[derive(Debug)]
enum Form {
    /// Nothing has been read.
    Front,
    Checked(Option<Arriving>),
    Plain,
    Filler(Filler),
    Failed(Failure),
}

/// Filler behind a batch.
#[derive(Clone, Copy, Debug)]
struct Filler {
    from: u64,
    /// Whether there are no zeros in it, as where it was written without ever being synced.
    whole: bool,
}

/// A batch whose line has been read, while its bytes come in.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    header: Header,
    summed: usize,
    sum: u64,
}

/// The first thing that was wrong.
#[derive(Clone, Debug)]
struct Failure {
    at: u64,
    why: String,
    /// Whether the bytes may never have been on the disk, as far as is known.
    torn: bool,
    /// Whether the file begins with zeros, so that nothing tells whose it is.
    unknown: bool,
    /// Whether lines of batches were found behind it.
    batches: bool,
    /// Whether there is nothing but zeros from it on.
    blank: bool,
}

/// How the annotation begins that tells the time.
const TIME: &[u8; 4] = b"#TS:";

/// What an annotation may be long; redis-server reads no longer lines.
const ANNOTATION_MAX: usize = 128;

/// Requests decoded at a time.
const AHEAD: usize = 32;

/// What is in a log was accepted once.
const LIMITS: Limits = Limits {
    max_bulk: u32::MAX as usize,
    max_args: i32::MAX as usize,
    inline_max: 64 * 1024,
    authenticated: true,
};

impl Reader {
    /// Returns a reader of a file's bytes from `offset` on: 0, or where a snapshot at its front ends.
    pub fn new(offset: u64) -> Reader {
        Reader {
            offset,
            form: Form::Front,
            units: Units::default(),
            batches: 0,
            checked: false,
            appended: None,
        }
    }

    /// Returns where the bytes that were not taken yet begin.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns how many batches were found whole.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Returns whether the file consists of checked batches and nothing else, so that others may follow.
    pub fn is_checked(&self) -> bool {
        self.checked && self.appended.is_none()
    }

    /// Returns where plain bytes begin behind checked batches, which another server appended.
    pub fn appended_at(&self) -> Option<u64> {
        self.appended
    }

    /// Returns where the data ends, as far as it was read: filler behind it is none.
    pub fn data_end(&self) -> u64 {
        match &self.form {
            Form::Filler(filler) => filler.from,
            _ => self.offset,
        }
    }

    /// Replays what is whole at the front of `bytes`, and returns how many of them that took.
    ///
    /// The rest is to be given again, with more behind it; with nothing behind it, it goes to [`Reader::finish`].
    pub fn read<R: Replay>(&mut self, bytes: &[u8], replay: &mut R) -> Result<usize, R::Error> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let before = std::mem::discriminant(&self.form);
            let count = match &self.form {
                Form::Front => self.front(rest),
                Form::Checked(arriving) => {
                    let arriving = *arriving;
                    self.batch(rest, arriving, replay)?
                }
                Form::Plain => {
                    let (count, found) = self.units.replay(rest, self.offset, None, replay)?;
                    if self.checked && self.units.ahead == 0 && rest[count..].starts_with(MAGIC) {
                        self.form = Form::Checked(None);
                    } else if let Some(why) = found {
                        self.fail(self.offset + count as u64, why, false);
                    }
                    count
                }
                Form::Filler(filler) => {
                    let filler = *filler;
                    self.filler(rest, filler)
                }
                Form::Failed(failure) => {
                    let mut failure = failure.clone();
                    let count = failure.weigh(rest, self.offset);
                    self.form = Form::Failed(failure);
                    count
                }
            };
            taken += count;
            self.offset += count as u64;
            if count == 0 && std::mem::discriminant(&self.form) == before {
                return Ok(taken);
            }
        }
    }

    /// Returns the verdict on the file, which ends behind `rest`, the bytes that were not taken.
    pub fn finish(&mut self, rest: &[u8]) -> Verdict {
        let at = self.data_end();
        let unfinished = match &self.form {
            Form::Failed(_) => None,
            // What is not filler at its end is the start of what another server appended.
            Form::Filler(filler) => match filler.length(rest, self.offset) == rest.len() {
                true => return Verdict::Complete,
                false => Some("the file ends inside a command"),
            },
            _ if rest.is_empty() => return Verdict::Complete,
            Form::Front => Some("the file ends inside its first line"),
            Form::Checked(None) if TIME.starts_with(rest) => Some("the file ends inside a command"),
            Form::Checked(None) if !looks_torn(rest, self.offset) => {
                self.fail(self.offset, FOREIGN.into(), false);
                None
            }
            Form::Checked(_) => Some("the file ends inside a batch"),
            Form::Plain if self.units.ahead > 0 => Some("the file ends between MULTI and EXEC"),
            Form::Plain => Some("the file ends inside a command"),
        };
        if let Some(why) = unfinished {
            self.fail(at, why.into(), true);
        }
        let Form::Failed(failure) = &mut self.form else { unreachable!("set above") };
        if self.checked || failure.unknown {
            failure.weigh(rest, self.offset);
        }
        let (offset, why) = (failure.at, failure.why.clone());
        // A file that begins with zeros is ours when nothing else is in it, or when batches are.
        match failure.torn && (!failure.unknown || failure.batches || failure.blank) {
            true => Verdict::TornTail { offset, why },
            false => Verdict::Corrupt { offset, why },
        }
    }

    fn fail(&mut self, at: u64, why: String, torn: bool) {
        self.form = Form::Failed(Failure { at, why, torn, unknown: false, batches: false, blank: true });
    }

    /// Finds out what kind of file it is.
    fn front(&mut self, bytes: &[u8]) -> usize {
        if bytes.starts_with(MAGIC) {
            self.checked = true;
            self.form = Form::Checked(None);
        } else if bytes.len() < MAGIC.len() && looks_never_written(bytes) {
            // It may become either.
        } else if looks_never_written(bytes) {
            self.fail(self.offset, "the file begins with bytes that were never written".into(), true);
            if let Form::Failed(failure) = &mut self.form {
                failure.unknown = true;
            }
        } else {
            self.form = Form::Plain;
        }
        0
    }

    /// Replays the batch at the front of `bytes` once all of it is there, and returns how long it is.
    fn batch<R: Replay>(
        &mut self,
        bytes: &[u8],
        arriving: Option<Arriving>,
        replay: &mut R,
    ) -> Result<usize, R::Error> {
        let at = self.offset;
        let mut arriving = match arriving {
            Some(arriving) => arriving,
            None if bytes.is_empty() => return Ok(0),
            None if bytes.len() > 1 && starts_with_filler(bytes, at) => {
                self.form = Form::Filler(Filler { from: at, whole: true });
                return Ok(0);
            }
            None => match Header::parse(bytes) {
                Line::Header(header) if header.offset == at => {
                    Arriving { header, summed: 0, sum: header.sum }
                }
                Line::Header(header) => {
                    let why = format!("the line of a batch at offset {at} says offset {}", header.offset);
                    self.fail(at, why, true);
                    return Ok(0);
                }
                Line::Malformed if looks_plain(bytes) => {
                    self.appended.get_or_insert(at);
                    self.form = Form::Plain;
                    return Ok(0);
                }
                Line::Incomplete if bytes.len() < LINE_MAX => return Ok(0),
                Line::Malformed if bytes.len() < MAGIC.len() => return Ok(0),
                Line::Incomplete | Line::Malformed => {
                    match looks_torn(bytes, at) {
                        true => self.fail(at, "the line of a batch is damaged".into(), true),
                        false => self.fail(at, FOREIGN.into(), false),
                    }
                    return Ok(0);
                }
            },
        };
        let header = arriving.header;
        let there = &bytes[header.size..];
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let body = &there[..there.len().min(length)];
        arriving.sum = base::crc64::crc64(arriving.sum, &body[arriving.summed..]);
        arriving.summed = body.len();
        if body.len() < length {
            self.form = Form::Checked(Some(arriving));
            return Ok(0);
        }
        if arriving.sum != header.crc {
            self.fail(at, "the checksum of a batch does not agree with its bytes".into(), true);
            return Ok(0);
        }
        let start = at + header.size as u64;
        let (count, found) = self.units.replay(body, start, Some(at), replay)?;
        let unfinished = (count < length).then(|| "a batch does not end with a whole command".to_owned());
        if let Some(why) = found.or(unfinished) {
            self.fail(start + count as u64, why, false);
            return Ok(0);
        }
        self.batches += 1;
        self.form = Form::Checked(None);
        Ok(header.size + length)
    }

    /// Skips filler, and returns how much of it needs not be seen again; finds out what stands behind it.
    fn filler(&mut self, bytes: &[u8], mut filler: Filler) -> usize {
        let length = filler.length(bytes, self.offset);
        // The first byte of an annotation could be one of filler, too.
        let known = length.saturating_sub(1);
        filler.whole &= !bytes[..known].contains(&0);
        self.form = Form::Filler(filler);
        if length == bytes.len() {
            return known;
        }
        let end = self.offset + length as u64;
        let ends_here = bytes[..length].last() != Some(&0) && may_end_at(end);
        let start = match ends_here {
            true => Some(length),
            false => (length > 0 && may_end_at(end - 1)).then_some(known),
        };
        if let Some(start) = start.filter(|_| filler.whole) {
            if looks_plain(&bytes[start..]) {
                self.appended.get_or_insert(self.offset + start as u64);
                self.form = Form::Plain;
                return start;
            }
            if TIME.starts_with(&bytes[start..]) {
                return start;
            }
        }
        self.fail(filler.from, "bytes of a batch were never written".into(), true);
        known
    }
}

/// Returns whether bytes that are no line may be one of which parts, or whose place in the file, were never written.
///
/// They stand at `offset`; zeros may be in their place, or filler.
fn looks_torn(bytes: &[u8], offset: u64) -> bool {
    let mut bytes = bytes.iter().zip(MAGIC).zip(offset..);
    bytes.all(|((byte, expected), at)| *byte == 0 || byte == expected || *byte == filler_at(at))
}

/// Returns whether bytes that are no line may be one that was never written where nothing was before.
fn looks_never_written(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(byte, expected)| *byte == 0 || byte == expected)
}

/// Returns whether bytes at `offset`, behind a batch, begin as filler does; no line of a batch does.
fn starts_with_filler(bytes: &[u8], offset: u64) -> bool {
    let first = bytes.first().is_some_and(|byte| *byte == b'#' || *byte == filler_at(offset));
    first && bytes.get(1).is_some_and(|byte| *byte == filler_at(offset + 1))
}

/// Returns whether bytes behind a batch are what another server appended.
fn looks_plain(bytes: &[u8]) -> bool {
    bytes.starts_with(b"*") || bytes.starts_with(TIME)
}

impl Filler {
    /// Returns how many of the bytes at `offset` are filler, or zeros where it was never written.
    fn length(&self, bytes: &[u8], offset: u64) -> usize {
        let is_filler = |(byte, at): (&u8, u64)| {
            // Where the data ended there is no end of a line.
            *byte == filler_at(at) || *byte == 0 || (at == self.from && *byte == b'#')
        };
        bytes.iter().zip(offset..).take_while(|(byte, at)| is_filler((byte, *at))).count()
    }
}

impl Failure {
    /// Looks behind the failure for the line of a batch that knew what failed to be on the disk.
    ///
    /// `bytes` lie at `offset` of the file; returns how many of them need not be seen again.
    fn weigh(&mut self, bytes: &[u8], offset: u64) -> usize {
        if !self.torn {
            return bytes.len();
        }
        self.blank &= bytes.iter().all(|byte| *byte == 0);
        // The damaged line itself proves nothing.
        let mut from = usize::from(offset == self.at && !bytes.is_empty());
        let magic = memmem::Finder::new(MAGIC);
        while let Some(at) = magic.find(&bytes[from..]) {
            let at = from + at;
            let window = &bytes[at..bytes.len().min(at + LINE_MAX)];
            match Header::parse(window) {
                Line::Header(header) if header.offset == offset + at as u64 => {
                    self.batches = true;
                    self.torn = header.synced() <= self.at;
                    if !self.torn {
                        return bytes.len();
                    }
                }
                Line::Incomplete if window.len() < LINE_MAX => return at,
                _ => {}
            }
            from = at + 1;
        }
        from.max(bytes.len().saturating_sub(MAGIC.len() - 1))
    }
}

/// Requests and annotations, as they follow each other in a batch or in a plain file.
#[derive(Debug, Default)]
struct Units {
    batch: Batch,
    decoder: Decoder,
    /// Bytes of a transaction, from its MULTI on, in which whole requests but no EXEC were found.
    ahead: usize,
    /// The history of replication that the file named last.
    named: Option<HistoryName>,
}

/// One step through units.
enum Step {
    /// This many bytes were an annotation.
    Time(usize, i64),
    /// So were these, and they told a place in a history.
    Mark(usize, Mark),
    Requests,
    Incomplete,
    Wrong(String),
}

impl Units {
    /// Replays the whole units at the front of `bytes`, which lie at `offset` of the file.
    ///
    /// Returns how many bytes they took, and what was wrong behind them. `cut` is where a file of batches can be cut.
    fn replay<R: Replay>(
        &mut self,
        bytes: &[u8],
        offset: u64,
        cut: Option<u64>,
        replay: &mut R,
    ) -> Result<(usize, Option<String>), R::Error> {
        let mut pos = 0;
        while pos < bytes.len() {
            if self.ahead > 0 {
                let end = match self.transaction(&bytes[pos..]) {
                    Ok(Some(end)) => pos + end,
                    Ok(None) => return Ok((pos, None)),
                    Err(why) => return Ok((pos, Some(why))),
                };
                self.ahead = 0;
                while pos < end {
                    pos = self.next(bytes, pos, end, offset, cut, replay)?;
                }
                continue;
            }
            match step(&bytes[pos..], self.named) {
                Step::Incomplete => return Ok((pos, None)),
                Step::Wrong(why) => return Ok((pos, Some(why))),
                Step::Time(length, time) => {
                    replay.timestamp(time, cut.unwrap_or(offset + pos as u64))?;
                    pos += length;
                    continue;
                }
                Step::Mark(length, mark) => {
                    self.named = Some(mark.id);
                    replay.mark(mark);
                    pos += length;
                    continue;
                }
                Step::Requests => {}
            }
            self.batch.clear();
            if self.decoder.is_at_start() {
                self.batch.scan(bytes, pos, AHEAD);
            }
            if !self.batch.is_empty() {
                replay.ahead(&self.batch, bytes);
                for index in 0..self.batch.len() {
                    let (request, end) = self.batch.request(index, bytes);
                    match kind(&request) {
                        Kind::Multi => {
                            self.ahead = end - pos;
                            break;
                        }
                        Kind::Plain => replay.request(request, offset + pos as u64)?,
                        Kind::Exec => return Ok((pos, Some("EXEC without MULTI".into()))),
                        Kind::Empty => return Ok((pos, Some(BAD_FORMAT.into()))),
                    }
                    pos = end;
                }
                continue;
            }
            match self.decoder.decode(&bytes[pos..], &LIMITS) {
                Ok(None) => return Ok((pos, None)),
                Err(error) => return Ok((pos, Some(format!("{BAD_FORMAT}: {error}")))),
                Ok(Some(request)) => match kind(&request) {
                    Kind::Multi => self.ahead = request.consumed(),
                    Kind::Plain => {
                        replay.request(request, offset + pos as u64)?;
                        pos += request.consumed();
                    }
                    Kind::Exec => return Ok((pos, Some("EXEC without MULTI".into()))),
                    Kind::Empty => return Ok((pos, Some(BAD_FORMAT.into()))),
                },
            }
        }
        Ok((pos, None))
    }

    /// Returns where the transaction at the start of `bytes` ends, once its EXEC is there.
    fn transaction(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        while self.ahead < bytes.len() {
            match step(&bytes[self.ahead..], self.named) {
                Step::Incomplete => return Ok(None),
                Step::Wrong(why) => return Err(why),
                // A mark speaks of whole units.
                Step::Mark(..) => return Err("a mark between MULTI and EXEC".into()),
                Step::Time(length, _) => {
                    self.ahead += length;
                    continue;
                }
                Step::Requests => {}
            }
            self.batch.clear();
            if self.decoder.is_at_start() {
                self.batch.scan(bytes, self.ahead, AHEAD);
            }
            let (mut kinds, mut ends) = ([Kind::Plain; AHEAD], [0; AHEAD]);
            let count = match self.batch.len() {
                0 => match self.decoder.decode(&bytes[self.ahead..], &LIMITS) {
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(format!("{BAD_FORMAT}: {error}")),
                    Ok(Some(request)) => {
                        (kinds[0], ends[0]) = (kind(&request), self.ahead + request.consumed());
                        1
                    }
                },
                count => {
                    for index in 0..count {
                        let (request, end) = self.batch.request(index, bytes);
                        (kinds[index], ends[index]) = (kind(&request), end);
                    }
                    count
                }
            };
            for (kind, end) in kinds.into_iter().zip(ends).take(count) {
                match kind {
                    Kind::Plain => self.ahead = end,
                    Kind::Exec => return Ok(Some(end)),
                    Kind::Multi => return Err("MULTI within MULTI".into()),
                    Kind::Empty => return Err(BAD_FORMAT.into()),
                }
            }
        }
        Ok(None)
    }

    /// Replays what is at `pos` of a transaction that ends at `end`, all of which was found to be whole.
    fn next<R: Replay>(
        &mut self,
        bytes: &[u8],
        pos: usize,
        end: usize,
        offset: u64,
        cut: Option<u64>,
        replay: &mut R,
    ) -> Result<usize, R::Error> {
        let at = offset + pos as u64;
        if let Step::Time(length, time) = step(&bytes[pos..end], self.named) {
            replay.timestamp(time, cut.unwrap_or(at))?;
            return Ok(pos + length);
        }
        self.batch.clear();
        self.batch.scan(&bytes[..end], pos, AHEAD);
        if self.batch.is_empty() {
            let request = self.decoder.decode(&bytes[pos..end], &LIMITS).ok().flatten();
            let request = request.expect("it was decoded before");
            replay.request(request, at)?;
            return Ok(pos + request.consumed());
        }
        replay.ahead(&self.batch, bytes);
        let mut pos = pos;
        for index in 0..self.batch.len() {
            let (request, end) = self.batch.request(index, bytes);
            replay.request(request, offset + pos as u64)?;
            pos = end;
        }
        Ok(pos)
    }
}

const BAD_FORMAT: &str = "Bad file format";

const FOREIGN: &str = "what stands here is no checked batch, but the file consists of such";

/// Returns what the first of `bytes` begins, in a file that has named a history of replication before or not.
fn step(bytes: &[u8], named: Option<HistoryName>) -> Step {
    match bytes.first() {
        Some(b'*') => Step::Requests,
        Some(b'#') => annotation(bytes, named),
        Some(_) => Step::Wrong(BAD_FORMAT.into()),
        None => Step::Incomplete,
    }
}

/// Returns the time, or the place in a history, that the annotation at the front of `bytes` gives.
fn annotation(bytes: &[u8], named: Option<HistoryName>) -> Step {
    let window = &bytes[..bytes.len().min(ANNOTATION_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return match window.len() {
            ANNOTATION_MAX => Step::Wrong("an annotation has no end".into()),
            _ => Step::Incomplete,
        };
    };
    let line = window[..end].strip_suffix(b"\r").unwrap_or(&window[..end]);
    if line.starts_with(MAGIC) {
        return Step::Wrong("a checked batch where none belongs".into());
    }
    if line.starts_with(POSITION) {
        return match Mark::parse(line, named) {
            Some(mark) => Step::Mark(end + 1, mark),
            None => Step::Wrong(format!("no place in a history: '{}'", line.escape_ascii())),
        };
    }
    match line.strip_prefix(TIME).and_then(base::number::parse_i64) {
        Some(time) => Step::Time(end + 1, time),
        None => Step::Wrong(format!("unknown annotation '{}'", line.escape_ascii())),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Multi,
    Exec,
    /// No arguments at all.
    Empty,
}

#[inline]
fn kind(request: &Request<'_>) -> Kind {
    match request.len() {
        0 => Kind::Empty,
        1 if request.arg(0).eq_ignore_ascii_case(b"MULTI") => Kind::Multi,
        1 if request.arg(0).eq_ignore_ascii_case(b"EXEC") => Kind::Exec,
        _ => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use base::prepared::{Plan, Space};

    use super::*;
    use crate::record::Batches;

    /// Remembers everything.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Taken {
        requests: Vec<Vec<Vec<u8>>>,
        times: Vec<(i64, u64)>,
        offsets: Vec<u64>,
        /// Each with the number of requests before it.
        marks: Vec<(usize, Mark)>,
    }

    impl Replay for Taken {
        type Error = std::convert::Infallible;

        fn request(&mut self, request: Request<'_>, offset: u64) -> Result<(), Self::Error> {
            self.requests.push(request.iter().map(<[u8]>::to_vec).collect());
            self.offsets.push(offset);
            Ok(())
        }

        fn timestamp(&mut self, unix_secs: i64, offset: u64) -> Result<(), Self::Error> {
            self.times.push((unix_secs, offset));
            Ok(())
        }

        fn mark(&mut self, mark: Mark) {
            self.marks.push((self.requests.len(), mark));
        }
    }

    /// Reads a file that arrives in pieces of `step` bytes.
    fn read(bytes: &[u8], step: usize) -> (Taken, Verdict, Reader) {
        let (mut reader, mut taken) = (Reader::new(0), Taken::default());
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end = (end + step).min(bytes.len());
            let Ok(count) = reader.read(&bytes[start..end], &mut taken);
            start += count;
            assert_eq!(reader.offset(), start as u64);
        }
        let verdict = reader.finish(&bytes[start..]);
        (taken, verdict, reader)
    }

    fn whole(bytes: &[u8]) -> (Taken, Verdict) {
        let (taken, verdict, _) = read(bytes, bytes.len().max(1));
        (taken, verdict)
    }

    fn command(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        bytes
    }

    #[test]
    fn marks_are_handed_on_where_they_stand() {
        let mark = |offset, id| Mark { offset, database: 3, id: [id; 40] };
        let (first, second, third) = (mark(10, b'a'), mark(20, b'a'), mark(30, b'b'));
        let mut batches = Batches::new(0);
        batches.push(0, &[&command(&["SET", "k", "1"]), &first.line(None)]);
        batches.seal();
        batches.push(0, &[&second.line(Some(&first.id))]);
        batches.seal();
        batches.push(0, &[&command(&["SET", "k", "2"]), &third.line(Some(&first.id))]);
        let bytes = batches.take();
        for step in [1, 7, bytes.len()] {
            let (taken, verdict, _) = read(&bytes, step);
            assert_eq!(taken.marks, [(1, first), (1, second), (2, third)]);
            assert_eq!((taken.requests.len(), verdict), (2, Verdict::Complete));
        }
        // What of a batch is missing says nothing.
        assert_eq!(whole(&bytes[..bytes.len() - 1]).0.marks, [(1, first), (1, second)]);
        // Plain files may have some, too.
        let plain = [command(&["SET", "k", "1"]), first.line(None), second.line(Some(&first.id))].concat();
        assert_eq!(whole(&plain).0.marks, [(1, first), (1, second)]);
        let nameless = [command(&["SET", "k", "1"]), second.line(Some(&first.id))].concat();
        assert!(matches!(whole(&nameless).1, Verdict::Corrupt { .. }));
        let within = [command(&["MULTI"]), first.line(None), command(&["EXEC"])].concat();
        assert!(matches!(whole(&within).1, Verdict::Corrupt { .. }));
    }

    fn torn(offset: usize) -> impl Fn(&Verdict) -> bool {
        move |verdict| matches!(verdict, Verdict::TornTail { offset: at, .. } if *at == offset as u64)
    }

    fn corrupt(offset: usize) -> impl Fn(&Verdict) -> bool {
        move |verdict| matches!(verdict, Verdict::Corrupt { offset: at, .. } if *at == offset as u64)
    }

    #[test]
    fn a_plain_file_is_read_as_redis_reads_it() {
        let long = "x".repeat(5_000);
        let bytes = [
            command(&["SET", "k", "v"]),
            b"#TS:1628217470\r\n".to_vec(),
            command(&["set", "k", &long]),
            command(&["MULTI"]),
            command(&["INCR", "a"]),
            b"#TS:1628217471\r\n".to_vec(),
            command(&["SET", "l", &long]),
            command(&["exec"]),
        ]
        .concat();
        for step in [1, 2, 7, 100, bytes.len()] {
            let (taken, verdict, reader) = read(&bytes, step);
            assert_eq!(verdict, Verdict::Complete);
            assert!(!reader.is_checked());
            assert_eq!(taken.requests.len(), 6);
            assert_eq!(
                taken.times.iter().map(|(time, _)| *time).collect::<Vec<_>>(),
                [1628217470, 1628217471]
            );
        }
        let transaction = bytes.windows(5).position(|w| w == b"MULTI").unwrap() - 8;
        for cut in transaction + 1..bytes.len() {
            let (taken, verdict) = whole(&bytes[..cut]);
            assert_eq!(taken.requests.len(), 2, "{cut}");
            assert!(torn(transaction)(&verdict), "{cut}: {verdict:?}");
        }
    }

    #[test]
    fn plain_files_are_cut_behind_the_last_whole_command() {
        let bytes = [command(&["SET", "k", "v"]), command(&["SET", "k", "w"])].concat();
        for cut in 28..bytes.len() {
            let (taken, verdict) = whole(&bytes[..cut]);
            assert_eq!(taken.requests.len(), 1);
            assert!(torn(27)(&verdict), "{cut}: {verdict:?}");
        }
        for (rest, at) in [
            (&b"PING\r\n"[..], 27),
            (b"*0\r\n", 27),
            (b"*-1\r\n", 27),
            (b"*1\r\n:1\r\n", 27),
            (b"#XY:1\r\n", 27),
            (b"#TS:x\r\n", 27),
            (b"#RC1:27:0000000:0:0000000000000000\r\n", 27),
            (b"*1\r\n$4\r\nEXEC\r\n", 27),
            (b"\0\0\0\0", 27),
            (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", 27),
        ] {
            let bytes = [command(&["SET", "k", "v"]), rest.to_vec()].concat();
            let (taken, verdict) = whole(&bytes);
            assert_eq!(taken.requests.len(), 1);
            assert!(corrupt(at)(&verdict), "{}: {verdict:?}", rest.escape_ascii());
        }
    }

    #[test]
    fn snapshots_are_recognised() {
        assert_eq!(starts_with_snapshot(b"REDIS0010"), Some(true));
        assert_eq!(starts_with_snapshot(b"VALKEY080"), Some(true));
        assert_eq!(starts_with_snapshot(b"VAL"), None);
        assert_eq!(starts_with_snapshot(b""), None);
        assert_eq!(starts_with_snapshot(b"*3\r\n"), Some(false));
    }

    /// Returns a log of `count` batches, each synced before the next, and where they begin.
    fn log(count: usize, synced: impl Fn(u64) -> u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts, mut batches) = (Vec::new(), Vec::new(), Batches::new(0));
        for index in 0..count {
            starts.push(bytes.len());
            let stamp = format!("#TS:{}\r\n", 1000 + index);
            let (key, value) = (format!("k{index}"), "v".repeat(index * 7));
            let transaction = [command(&["MULTI"]), command(&["INCR", &key]), command(&["EXEC"])].concat();
            batches.push(
                synced(batches.end()),
                &[stamp.as_bytes(), &command(&["SET", &key, &value]), &transaction],
            );
            bytes.extend(batches.take());
        }
        (bytes, starts)
    }

    #[test]
    fn every_truncation_of_a_checked_log_is_cut_at_a_batch() {
        let (bytes, starts) = log(12, |end| end);
        let (all, verdict) = whole(&bytes);
        assert_eq!((all.requests.len(), verdict), (48, Verdict::Complete));
        for cut in 0..bytes.len() {
            let (taken, verdict) = whole(&bytes[..cut]);
            let batch = starts.iter().rposition(|start| *start <= cut).unwrap();
            assert_eq!(taken.requests, all.requests[..batch * 4]);
            match starts.contains(&cut) {
                true => assert_eq!(verdict, Verdict::Complete),
                false => assert!(torn(starts[batch])(&verdict), "{cut}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_checked_log_is_found() {
        let (mut bytes, starts) = log(8, |end| end);
        let (all, _) = whole(&bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (taken, verdict) = whole(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let batch = starts.iter().rposition(|start| *start <= bit / 8).unwrap();
            assert_eq!(taken.requests, all.requests[..batch * 4], "bit {bit}");
            match batch {
                7 => assert_ne!(verdict, Verdict::Complete, "bit {bit}"),
                _ => assert!(corrupt(starts[batch])(&verdict), "bit {bit}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn bytes_that_were_never_synced_may_be_missing_before_others() {
        // Batches 0 to 3 were on the disk when 4 to 7 were written; then the power went.
        let (bytes, starts) = log(8, |_| 0);
        let limit = starts[4] as u64;
        let (bytes2, starts2) = log(8, |end| if end >= limit { limit } else { 0 });
        assert_eq!(bytes[..starts[4]], bytes2[..starts2[4]]);
        for hole in 0..8 {
            let mut bytes = bytes2.clone();
            let end = starts2.get(hole + 1).copied().unwrap_or(bytes.len());
            bytes[starts2[hole]..end].fill(0);
            let (taken, verdict) = whole(&bytes);
            assert_eq!(taken.requests.len(), hole * 4);
            match hole {
                0..4 => assert!(corrupt(starts2[hole])(&verdict), "{hole}: {verdict:?}"),
                _ => assert!(torn(starts2[hole])(&verdict), "{hole}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn a_line_across_two_sectors_may_lack_the_bytes_in_the_first() {
        for missing in 1..MAGIC.len() {
            let (mut bytes, starts) = log(3, |_| 0);
            bytes[starts[1]..starts[1] + missing].fill(0);
            assert!(torn(starts[1])(&whole(&bytes).1), "{missing} bytes");
        }
    }

    #[test]
    fn a_file_that_begins_with_zeros_is_cut_only_if_it_is_ours() {
        assert!(torn(0)(&whole(&[0; 3]).1));
        assert!(torn(0)(&whole(&[0; 3000]).1));
        assert!(torn(0)(&whole(b"#RC").1));
        for step in [1, 8] {
            assert!(torn(0)(&read(b"#RC1\0]'\0#RC1:8:0000000:8:0123456789abcdef\r\n", step).1));
        }
        assert!(corrupt(0)(&whole(&[&[0; 3000][..], &command(&["PING"])].concat()).1));
        let (mut bytes, starts) = log(3, |_| 0);
        bytes[..starts[1]].fill(0);
        assert!(torn(0)(&whole(&bytes).1));
    }

    /// Returns what redis-server appends to a log.
    fn appended() -> Vec<u8> {
        [
            command(&["SELECT", "0"]),
            command(&["SET", "k", "v"]),
            b"#TS:1628217470\r\n".to_vec(),
            command(&["MULTI"]),
            command(&["INCR", "a"]),
            command(&["EXEC"]),
        ]
        .concat()
    }

    #[test]
    fn what_another_server_appended_to_a_checked_log_is_read() {
        let (log, _) = log(3, |end| end);
        for front in [&b""[..], b"#TS:1628217469\r\n"] {
            let bytes = [&log[..], front, &appended()].concat();
            for step in [1, 3, 50, bytes.len()] {
                let (taken, verdict, reader) = read(&bytes, step);
                assert_eq!(
                    (taken.requests.len(), verdict, reader.batches()),
                    (12 + 5, Verdict::Complete, 3),
                    "{step}"
                );
                assert!(!reader.is_checked());
            }
        }
        // Bytes that are neither.
        for rest in
            [&b"PING\r\n"[..], b"+OK\r\n", b"$1\r\na\r\n", b"#TT:5\r\n", b"#XY:5\r\n", b"*0\r\n", b"#TS:\r\n"]
        {
            let bytes = [&log[..], rest, &appended()].concat();
            assert!(corrupt(log.len())(&whole(&bytes).1), "{}", rest.escape_ascii());
        }
        let end = log.len() + appended().len();
        for rest in [&b"PING\r\n"[..], b"\0\0\0\0", b"#XY:5\r\n", b"*1\r\n$4\r\nEXEC\r\n"] {
            let bytes = [&log[..], &appended(), rest].concat();
            assert!(corrupt(end)(&whole(&bytes).1), "{}", rest.escape_ascii());
        }
    }

    #[test]
    fn every_truncation_of_what_was_appended_is_cut_behind_a_command() {
        let (log, _) = log(3, |end| end);
        let bytes = [&log[..], &appended()].concat();
        let (all, _) = whole(&bytes);
        let transaction = bytes.windows(5).rposition(|window| window == b"MULTI").unwrap() - 8;
        let mut ends: Vec<_> = all.offsets[12..14].iter().map(|offset| *offset as usize).collect();
        ends.extend([transaction - b"#TS:1628217470\r\n".len(), transaction, bytes.len()]);
        for cut in log.len()..bytes.len() {
            let (taken, verdict) = whole(&bytes[..cut]);
            let end = ends.iter().copied().rfind(|end| *end <= cut).unwrap();
            assert_eq!(
                taken.requests,
                all.requests[..12 + ends.iter().rposition(|e| *e <= cut).unwrap().min(2)]
            );
            match end == cut {
                true => assert_eq!(verdict, Verdict::Complete),
                false => assert!(torn(end)(&verdict), "{cut}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_batch_is_found_whatever_was_appended() {
        let (log, starts) = log(4, |end| end);
        let plain = appended();
        let mut batches = Batches::new((log.len() + plain.len()) as u64);
        batches.push(batches.end(), &[&command(&["SET", "last", "1"])]);
        let last = batches.take();
        for behind in [&b""[..], &last] {
            let mut bytes = [&log[..], &plain, behind].concat();
            let (all, verdict) = whole(&bytes);
            assert_eq!(
                (all.requests.len(), verdict),
                (16 + 5 + usize::from(!behind.is_empty()), Verdict::Complete)
            );
            let second = log.len() + plain.len();
            for bit in (0..log.len() * 8).chain(second * 8..bytes.len() * 8) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let (taken, verdict) = whole(&bytes);
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(verdict, Verdict::Complete, "bit {bit}");
                let whole = match bit / 8 < log.len() {
                    true => 4 * starts.iter().rposition(|start| *start <= bit / 8).unwrap(),
                    false => 16 + 5,
                };
                assert_eq!(taken.requests, all.requests[..whole], "bit {bit}");
            }
        }
    }

    #[test]
    fn a_batch_holds_whole_units() {
        for body in [&b"*1\r\n$4\r\nPI"[..], b"*1\r\n$5\r\nMULTI\r\n", b"PING\r\n"] {
            let mut batches = Batches::new(0);
            batches.push(0, &[body]);
            let bytes = batches.take();
            let (taken, verdict) = whole(&bytes);
            assert!(taken.requests.is_empty());
            assert!(corrupt(bytes.len() - body.len())(&verdict), "{verdict:?}");
        }
    }

    #[test]
    fn timestamps_say_where_to_cut() {
        let (bytes, starts) = log(3, |end| end);
        let expected: Vec<_> = starts.iter().enumerate().map(|(i, s)| (1000 + i as i64, *s as u64)).collect();
        assert_eq!(whole(&bytes).0.times, expected);
    }

    /// Returns a log with filler behind its batches, as a disk leaves it, and where its data ends.
    fn filled(count: usize, pad: usize) -> (Vec<u8>, usize) {
        let mut batches = Batches::new(0);
        for index in 0..count {
            batches.seal();
            let value = "v".repeat(if index == 0 { pad } else { index * 7 });
            let start = batches.end();
            batches.push(start, &[&command(&["SET", &format!("k{index}"), &value])]);
        }
        let mut bytes = batches.take();
        let end = bytes.len();
        let mut space = Space::new(end as u64);
        let Plan::Fill(part) = space.plan(5000) else { panic!("there is filler to write") };
        bytes.extend(space.filler(part));
        (bytes, end)
    }

    #[test]
    fn filler_behind_a_batch_is_no_data() {
        for pad in 0..70 {
            let (bytes, end) = filled(3, pad);
            for step in [1, 2, 5, 64, bytes.len()] {
                let (taken, verdict, reader) = read(&bytes, step);
                assert_eq!((taken.requests.len(), verdict), (3, Verdict::Complete), "{pad}");
                assert_eq!((reader.data_end(), reader.is_checked()), (end as u64, true));
            }
            // An extension that was never synced may lack its end, and any of its sectors.
            for cut in [end + 2, end + 60, end + 65, end + 1000, bytes.len() - 1] {
                assert_eq!(whole(&bytes[..cut]).1, Verdict::Complete, "{pad} {cut}");
            }
            for hole in (end / 512 + 1)..bytes.len() / 512 {
                let mut bytes = bytes.clone();
                bytes[hole * 512..][..512].fill(0);
                assert_eq!(whole(&bytes).1, Verdict::Complete, "{pad} {hole}");
            }
        }
        // In front of all batches it is somebody else's.
        let (bytes, end) = filled(1, 0);
        assert!(corrupt(0)(&whole(&bytes[end..]).1));
    }

    #[test]
    fn every_flipped_bit_of_filler_is_found() {
        let (mut bytes, end) = filled(2, 9);
        for bit in end * 8..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (taken, verdict, _) = read(&bytes, 1 + bit % 90);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(taken.requests.len(), 2);
            match bit / 8 < end + 2 {
                true => assert_ne!(verdict, Verdict::Complete, "bit {bit}"),
                false => assert!(torn(end)(&verdict), "bit {bit}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn batches_over_filler_are_torn_in_every_sector() {
        for pad in (0..520).step_by(13) {
            let (filled, end) = filled(2, pad);
            let mut batches = Batches::new(end as u64);
            for index in 0..4 {
                batches.seal();
                batches.push(end as u64, &[&command(&["SET", "k", &"w".repeat(index * 300)])]);
            }
            let (mut new, data) = (filled.clone(), batches.take());
            new[end..end + data.len()].copy_from_slice(&data);
            let sectors: Vec<usize> = (end / 512..=(end + data.len() - 1) / 512).collect();
            for pattern in 0..1 << sectors.len() {
                let mut bytes = new.clone();
                for (bit, sector) in sectors.iter().enumerate().filter(|(bit, _)| pattern >> bit & 1 == 1) {
                    let part = sector * 512..sector * 512 + 512;
                    // The last may lie in an extension that was never synced.
                    match bit + 1 == sectors.len() && pad % 2 == 1 && sector * 512 > end {
                        true => bytes[part].fill(0),
                        false => bytes[part.clone()].copy_from_slice(&filled[part]),
                    }
                }
                let (taken, verdict, reader) = read(&bytes, 700);
                let at = match verdict {
                    Verdict::Complete => reader.data_end(),
                    Verdict::TornTail { offset, .. } => offset,
                    verdict => panic!("{pad} {pattern:b}: {verdict:?}"),
                };
                assert!(at >= end as u64 && taken.requests.len() >= 2);
                assert_eq!(whole(&bytes[..at as usize]).0, taken);
                if pattern == 0 {
                    assert_eq!(taken.requests.len(), 6);
                }
                // A later batch that knew it says that it is damage.
                let mut later = Batches::new((end + data.len()) as u64);
                later.push(later.end(), &[]);
                let later = later.take();
                let next = end + data.len();
                if next % 512 + later.len() < 512 && pattern >> (sectors.len() - 1) & 1 == 0 {
                    bytes[next..next + later.len()].copy_from_slice(&later);
                    match pattern {
                        0 => assert_eq!(whole(&bytes).1, Verdict::Complete),
                        _ => assert!(corrupt(at as usize)(&whole(&bytes).1), "{pad} {pattern:b}"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_another_server_appended_behind_filler_is_read() {
        let (log, end) = filled(3, 0);
        for front in [&b""[..], b"#TS:1628217469\r\n"] {
            let bytes = [&log[..], front, &appended()].concat();
            for step in [1, 3, 50, bytes.len()] {
                let (taken, verdict, reader) = read(&bytes, step);
                assert_eq!((taken.requests.len(), verdict), (3 + 5, Verdict::Complete), "{step}");
                assert_eq!((reader.appended_at(), reader.is_checked()), (Some(log.len() as u64), false));
            }
            // Elsewhere it is what a hole has left.
            let elsewhere = log.len() - 64;
            let bytes = [&log[..elsewhere], front, &appended()].concat();
            assert!(torn(end)(&whole(&bytes).1));
            let mut zeros = [&log[..], front, &appended()].concat();
            zeros[log.len() - 64..log.len()].fill(0);
            assert!(torn(end)(&whole(&zeros).1));
        }
        for cut in 1..5 {
            let bytes = [&log[..], &b"#TS:16"[..cut]].concat();
            for step in [1, bytes.len()] {
                let verdict = read(&bytes, step).1;
                match cut {
                    1 => assert_eq!(verdict, Verdict::Complete),
                    4 => assert!(torn(log.len())(&verdict), "{verdict:?}"),
                    _ => assert!(torn(end)(&verdict), "{verdict:?}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn logs_mean_the_same_in_any_pieces(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8),
            step in 1usize..5000,
            checked: bool,
            flip in any::<prop::sample::Index>(),
            damage: bool,
        ) {
            let (mut bytes, mut batches) = (Vec::new(), Batches::new(0));
            for value in &values {
                let mut unit = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n".to_vec();
                unit.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                unit.extend_from_slice(value);
                unit.extend_from_slice(b"\r\n");
                match checked {
                    true => {
                        batches.push(batches.end(), &[&unit]);
                        bytes.extend(batches.take());
                    }
                    false => bytes.extend(unit),
                }
            }
            if damage && !bytes.is_empty() {
                let at = flip.index(bytes.len());
                bytes[at] ^= 1;
            }
            let (taken, verdict) = whole(&bytes);
            if !damage {
                let found: Vec<_> = taken.requests.iter().map(|request| request[2].clone()).collect();
                prop_assert_eq!(found, values);
            }
            let (again, second, _) = read(&bytes, step);
            prop_assert_eq!(taken, again);
            prop_assert_eq!(verdict, second);
        }

        #[test]
        fn any_bytes_end_in_a_verdict(
            bytes in prop::collection::vec(prop::sample::select(b"####RC1::TS**$$\r\r\n\n0112359MULTIEXEC\0\xff".to_vec()), 0..120),
            step in 1usize..9,
        ) {
            let (taken, verdict) = whole(&bytes);
            let (again, second, _) = read(&bytes, step);
            prop_assert_eq!(taken, again);
            prop_assert_eq!(verdict, second);
        }
    }
}
