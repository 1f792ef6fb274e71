//! The checked batch: what one flush adds to a log, behind a line that proves it.
//!
//! ```text
//! #RC1:<offset>:<length>:<unsynced>:<crc>\r\n  <length> bytes: annotations and commands, whole units
//!      │        │        │          └ CRC-64, 16 hexadecimal digits, of the text from <offset> to the colon before
//!      │        │        │            this, and of the bytes behind the line
//!      │        │        └ how many bytes before this line were not known to be on the disk when it was written
//!      │        └ of what follows, at least 7 digits
//!      └ of the line within its file
//! ```
//!
//! redis-server takes the line for an annotation and skips it; it reads at most 128 bytes of one, and no such line is
//! longer than 90. With <unsynced> a reader tells a torn tail from damage: what a later batch knew to be on the disk was
//! there whole once, while bytes that were never synced may be missing after a power cut, also before others that are there.

use base::crc64::crc64;

/// How the line of a batch begins.
pub const MAGIC: &[u8; 5] = b"#RC1:";

/// Units are put together in one batch up to this many bytes.
pub const BATCH_MAX: usize = 1 << 20;

/// No line is longer.
pub const LINE_MAX: usize = MAGIC.len() + 3 * (DIGITS_MAX + 1) + CRC_DIGITS + 2;

const DIGITS_MAX: usize = 20;
const LENGTH_DIGITS: usize = 7;
const CRC_DIGITS: usize = 16;

/// Batches one after the other, as they are appended to a file.
#[derive(Debug)]
pub struct Batches {
    bytes: Vec<u8>,
    /// Where in the file the first of the bytes goes.
    offset: u64,
    open: Option<Open>,
    claimed: u64,
}

/// The batch that still takes units, as places in `bytes`.
#[derive(Clone, Copy, Debug)]
struct Open {
    text: usize,
    length: usize,
    body: usize,
}

impl Batches {
    /// Returns no batches, the first of which will lie at `offset` of its file.
    pub fn new(offset: u64) -> Batches {
        Batches { bytes: Vec::new(), offset, open: None, claimed: 0 }
    }

    /// Returns where in the file the next byte goes.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Returns up to where some batch said that the file was on the disk.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Returns how many bytes wait to be taken.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds whole units, given in parts; the file was on the disk up to `synced`.
    pub fn push(&mut self, synced: u64, parts: &[&[u8]]) {
        let added = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.overflows(added) {
            self.seal();
        }
        if self.open.is_none() {
            self.begin(synced, added);
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }

    /// Returns whether units of so many bytes do not go into the open batch any more.
    pub(crate) fn overflows(&self, added: usize) -> bool {
        self.open.is_some_and(|open| self.bytes.len() - open.body + added > BATCH_MAX)
    }

    /// Ends the open batch, so that what is pushed next begins another.
    pub fn seal(&mut self) {
        let Some(Open { text, length, body }) = self.open.take() else { return };
        let digits = self.bytes[length..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut rest = self.bytes.len() - body;
        for at in (length..length + digits).rev() {
            self.bytes[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        debug_assert_eq!(rest, 0, "a batch outgrew the digits of its length");
        let crc = body - 2 - CRC_DIGITS;
        let sum = crc64(crc64(0, &self.bytes[text..crc]), &self.bytes[body..]);
        for (at, digit) in self.bytes[crc..crc + CRC_DIGITS].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(sum >> (60 - 4 * at) & 15) as usize];
        }
    }

    /// Returns the bytes to append to the file.
    pub fn take(&mut self) -> Vec<u8> {
        self.seal();
        self.offset = self.end();
        let room = self.bytes.len().min(BATCH_MAX / 8);
        std::mem::replace(&mut self.bytes, Vec::with_capacity(room))
    }

    /// Writes the line of a batch that is to hold `first` bytes or more, with its length and checksum open.
    fn begin(&mut self, synced: u64, first: usize) {
        let (offset, digits) =
            (self.end(), LENGTH_DIGITS.max(first.checked_ilog10().unwrap_or(0) as usize + 1));
        self.claimed = self.claimed.max(synced.min(offset));
        let text = self.bytes.len() + MAGIC.len();
        self.bytes.extend_from_slice(MAGIC);
        self.bytes.extend_from_slice(offset.to_string().as_bytes());
        self.bytes.push(b':');
        let length = self.bytes.len();
        self.bytes.resize(length + digits, b'0');
        self.bytes.extend_from_slice(format!(":{}:", offset.saturating_sub(synced)).as_bytes());
        self.bytes.extend_from_slice(&[b'0'; CRC_DIGITS]);
        self.bytes.extend_from_slice(b"\r\n");
        self.open = Some(Open { text, length, body: self.bytes.len() });
    }
}

/// What the line of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) unsynced: u64,
    pub(crate) crc: u64,
    /// The length of the line.
    pub(crate) size: usize,
    /// The checksum of the line's own part.
    pub(crate) sum: u64,
}

/// What stands where the line of a batch is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Header(Header),
    /// The start of one, as far as can be told.
    Incomplete,
    Malformed,
}

impl Header {
    /// Returns what the line at the start of `bytes` says.
    pub(crate) fn parse(bytes: &[u8]) -> Line {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return if MAGIC.starts_with(bytes) { Line::Incomplete } else { Line::Malformed };
        };
        let mut rest = rest;
        let mut number = || {
            let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
            let value = rest[..digits]
                .iter()
                .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            match (value, rest.get(digits)) {
                (Some(value), Some(b':')) if digits > 0 => {
                    rest = &rest[digits + 1..];
                    Ok((value, digits))
                }
                (Some(_), None) => Err(Line::Incomplete),
                _ => Err(Line::Malformed),
            }
        };
        let mut numbers = || Ok([number()?, number()?, number()?]);
        let [(offset, _), (length, digits), (unsynced, _)] = match numbers() {
            Ok(numbers) => numbers,
            Err(line) => return line,
        };
        let sum = crc64(0, &bytes[MAGIC.len()..bytes.len() - rest.len()]);
        let mut crc = 0;
        for at in 0..CRC_DIGITS {
            match rest.get(at) {
                Some(digit @ b'0'..=b'9') => crc = crc << 4 | u64::from(digit - b'0'),
                Some(digit @ b'a'..=b'f') => crc = crc << 4 | u64::from(digit - b'a' + 10),
                Some(_) => return Line::Malformed,
                None => return Line::Incomplete,
            }
        }
        match &rest[CRC_DIGITS..] {
            [b'\r', b'\n', ..] if digits >= LENGTH_DIGITS && unsynced <= offset => {}
            [] | [b'\r'] => return Line::Incomplete,
            _ => return Line::Malformed,
        }
        let size = bytes.len() - rest.len() + CRC_DIGITS + 2;
        Line::Header(Header { offset, length, unsynced, crc, size, sum })
    }

    /// Returns up to where the file was known to be on the disk when the line was written.
    pub(crate) fn synced(&self) -> u64 {
        self.offset.saturating_sub(self.unsynced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Header {
        match Header::parse(bytes) {
            Line::Header(header) => header,
            other => panic!("{other:?}: {}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn a_batch_is_a_line_and_its_bytes() {
        let mut batches = Batches::new(12);
        batches.push(10, &[b"*1\r\n$4\r\n", b"PING\r\n"]);
        batches.push(12, &[b"*1\r\n$4\r\nPING\r\n"]);
        let bytes = batches.take();
        let parsed = header(&bytes);
        assert_eq!((parsed.offset, parsed.length, parsed.unsynced, parsed.synced()), (12, 28, 2, 10));
        assert_eq!(&bytes[..17], b"#RC1:12:0000028:2");
        assert_eq!(bytes.len(), parsed.size + 28);
        assert_eq!(crc64(parsed.sum, &bytes[parsed.size..]), parsed.crc);
        assert_eq!((batches.end(), batches.is_empty()), (12 + bytes.len() as u64, true));
    }

    #[test]
    fn large_units_get_a_batch_of_their_own() {
        let large = vec![b'x'; 12_345_678];
        let mut batches = Batches::new(0);
        batches.push(0, &[b"small"]);
        batches.push(0, &[&large]);
        batches.push(0, &[b"small"]);
        let bytes = batches.take();
        let (mut at, mut lengths) = (0, Vec::new());
        while at < bytes.len() {
            let parsed = header(&bytes[at..]);
            let body = &bytes[at + parsed.size..][..parsed.length as usize];
            assert_eq!((parsed.offset, crc64(parsed.sum, body)), (at as u64, parsed.crc));
            lengths.push(parsed.length);
            at += parsed.size + body.len();
        }
        assert_eq!(lengths, [5, 12_345_678, 5]);
    }

    #[test]
    fn a_batch_may_be_empty_and_a_line_is_short() {
        let mut batches = Batches::new(u64::MAX - 1000);
        batches.push(0, &[]);
        let bytes = batches.take();
        assert_eq!(header(&bytes).length, 0);
        assert!(bytes.len() <= LINE_MAX && LINE_MAX < 120);
    }

    #[test]
    fn a_line_cut_anywhere_is_incomplete_and_another_malformed() {
        let mut batches = Batches::new(1_000);
        batches.push(0, &[]);
        let line = batches.take();
        for cut in 0..line.len() {
            assert_eq!(Header::parse(&line[..cut]), Line::Incomplete, "{cut}");
        }
        for text in
            ["#TS:1\r\n", "#RC1::1:1:", "#RC1:1:1:1:0", "#RC1:99999999999999999999999", "#RC1:5:0000000:6:"]
        {
            let text = format!("{text}0123456789abcdef\r\n");
            assert_eq!(Header::parse(text.as_bytes()), Line::Malformed, "{text}");
        }
    }
}
