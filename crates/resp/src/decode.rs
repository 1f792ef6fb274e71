//! Requests, decoded in place from the bytes of a link as they arrive.
//!
//! A request is an array of bulk strings, or one line of words (see `inline`):
//!
//! ```text
//! *2\r\n $3\r\nGET\r\n $3\r\nkey\r\n        GET key\r\n
//! ```
//!
//! The decoder copies no argument and allocates nothing for a length that is merely claimed. It owns its progress
//! through one request, not the bytes: the caller keeps those, and drops what a request consumed. As in Redis, the
//! line feed of a length line and the line end after an argument are skipped, not compared.

use base::number::parse_i64;
use memchr::memchr;

pub use crate::error::ProtocolError;
use crate::inline;
pub use crate::request::Request;

/// Decodes one link's requests.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Whether the array header has been read.
    within_array: bool,
    /// Arguments of the array that are still to come.
    remaining: usize,
    /// The next unread byte.
    pos: usize,
    /// The length of the argument at `pos`, once its length line has been read.
    argument_len: Option<usize>,
    /// Bytes up to here hold no line end that is not behind `pos`.
    scanned: usize,
    /// Where the arguments read so far lie, in the caller's buffer or in `words`.
    ranges: Vec<(u32, u32)>,
    /// The unquoted words of an inline request.
    words: Vec<u8>,
}

/// What a link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument, in bytes (`proto-max-bulk-len`).
    pub max_bulk: usize,
    /// The most arguments.
    pub max_args: usize,
    /// The longest line without an end.
    pub inline_max: usize,
    /// Whether the sender may run commands already; before that a few short arguments are enough for anyone.
    pub authenticated: bool,
}

/// Before authentication, no request has more arguments than this.
const UNAUTHENTICATED_ARGS_MAX: usize = 10;
/// Before authentication, no argument is longer than this.
const UNAUTHENTICATED_BULK_MAX: usize = 16384;
/// Offsets into a request are 32 bits wide.
const REQUEST_MAX: usize = u32::MAX as usize;
/// The decoder's own memory above this is given back once the request that needed it is done.
const KEPT_MAX: usize = 16 * 1024;

impl Decoder {
    /// Returns a decoder at the start of a request.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Returns the request at the start of `buf`, or nothing while it is incomplete.
    ///
    /// Until a request is returned, `buf` must go on starting at the same byte and may only grow; afterwards it must
    /// start behind the `consumed` bytes. An error is final: nothing tells where the next request would start.
    #[inline]
    pub fn decode<'a>(
        &'a mut self,
        buf: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<Request<'a>>, ProtocolError> {
        let complete = match (self.within_array, buf.first()) {
            (true, _) => self.arguments(buf, limits)?,
            (false, Some(b'*')) => self.header(buf, limits)? && self.arguments(buf, limits)?,
            (false, Some(_)) => return self.line(buf, limits),
            (false, None) => false,
        };
        if !complete {
            return match buf.len() {
                0..=REQUEST_MAX => Ok(None),
                _ => Err(ProtocolError::TooBigRequest),
            };
        }
        let consumed = self.restart();
        Ok(Some(Request::consuming(consumed, buf, &self.ranges)))
    }

    /// Returns how long the buffer must be to hold the argument whose arrival has begun, or 0 between arguments.
    ///
    /// A claim, not a fact: whoever makes that much room at once believes the sender.
    pub fn wanted(&self) -> usize {
        self.argument_len.map_or(0, |len| self.pos + len + 2)
    }

    /// Returns whether no part of a request has been read.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        !self.within_array && self.pos == 0 && self.scanned == 0
    }

    /// Reads the array header, and returns whether all of it was there.
    #[inline]
    fn header(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        self.forget();
        let count = match short_length(b'*', buf) {
            Some((count, start)) => {
                self.pos = start;
                count
            }
            None => match self.length_line(b'*', buf, limits)? {
                Some(count) => usize::try_from(count.max(0)).unwrap_or(usize::MAX),
                None => return Ok(false),
            },
        };
        if count > limits.max_args {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.within_array = true;
        self.remaining = count;
        Ok(true)
    }

    /// Reads what there is of the arguments, and returns whether all of them were there.
    #[inline]
    fn arguments(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let buf = &buf[..buf.len().min(REQUEST_MAX)];
        while self.remaining > 0 {
            // Whole short arguments, one after the other, are nearly all there is.
            if self.argument_len.is_none() {
                let mut pos = self.pos;
                while self.remaining > 0
                    && let Some((len, start)) = short_length(b'$', &buf[pos..])
                    && buf.len() - pos >= start + len + 2
                    && len <= limits.max_bulk
                {
                    let (start, end) = (pos + start, pos + start + len);
                    self.ranges.push((start as u32, end as u32));
                    self.remaining -= 1;
                    pos = end + 2;
                }
                self.pos = pos;
            }
            if self.remaining > 0 && !self.long_argument(buf, limits)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads one argument of any length, and returns whether all of it was there.
    #[cold]
    fn long_argument(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let len = match self.argument_len {
            Some(len) => len,
            None => {
                let Some(len) = self.length_line(b'$', buf, limits)? else { return Ok(false) };
                let len = usize::try_from(len).map_err(|_| ProtocolError::InvalidBulkLength)?;
                if len > limits.max_bulk {
                    return Err(ProtocolError::InvalidBulkLength);
                }
                if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
                    return Err(ProtocolError::UnauthenticatedBulkLength);
                }
                if len.saturating_add(self.pos + 2) > REQUEST_MAX {
                    return Err(ProtocolError::TooBigRequest);
                }
                self.argument_len = Some(len);
                len
            }
        };
        let end = self.pos + len;
        if buf.len() < end + 2 {
            return Ok(false);
        }
        self.ranges.push((self.pos as u32, end as u32));
        self.remaining -= 1;
        self.argument_len = None;
        self.pos = end + 2;
        Ok(true)
    }

    /// Reads the line `<kind><integer>\r\n` at `pos` if all of it is there, and returns the integer.
    #[cold]
    fn length_line(&mut self, kind: u8, buf: &[u8], limits: &Limits) -> Result<Option<i64>, ProtocolError> {
        let from = self.scanned.max(self.pos).min(buf.len());
        let Some(line_len) = memchr(b'\r', &buf[from..]).map(|at| from + at - self.pos) else {
            self.scanned = buf.len();
            return match (buf.len() - self.pos > limits.inline_max, kind) {
                (false, _) => Ok(None),
                (true, b'*') => Err(ProtocolError::TooBigMultibulkCount),
                (true, _) => Err(ProtocolError::TooBigBulkCount),
            };
        };
        let line = &buf[self.pos..];
        if line.len() < line_len + 2 {
            self.scanned = self.pos + line_len;
            return Ok(None);
        }
        if line[0] != kind {
            return Err(ProtocolError::ExpectedBulk(line[0]));
        }
        // The line may be no more than its end, which then stands where the kind should.
        let length = parse_i64(&line[1..line_len]).ok_or(match kind {
            b'*' => ProtocolError::InvalidMultibulkLength,
            _ => ProtocolError::InvalidBulkLength,
        })?;
        self.pos += line_len + 2;
        Ok(Some(length))
    }

    /// Returns the inline request at the start of `buf`, or nothing while its line has no end.
    #[cold]
    fn line<'a>(&'a mut self, buf: &'a [u8], limits: &Limits) -> Result<Option<Request<'a>>, ProtocolError> {
        let Some(line_len) = memchr(b'\n', &buf[self.scanned..]).map(|at| self.scanned + at) else {
            self.scanned = buf.len();
            return match buf.len() > limits.inline_max {
                false => Ok(None),
                true => Err(ProtocolError::TooBigInline),
            };
        };
        if line_len >= REQUEST_MAX {
            return Err(ProtocolError::TooBigInline);
        }
        self.forget();
        let line = &buf[..line_len];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !inline::split_into(line, &mut self.words, &mut self.ranges) {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.pos = line_len + 1;
        let consumed = self.restart();
        Ok(Some(Request::consuming(consumed, &self.words, &self.ranges)))
    }

    /// Forgets the arguments of the request before.
    #[inline]
    fn forget(&mut self) {
        self.ranges.clear();
        self.words.clear();
        if self.ranges.capacity() > KEPT_MAX / size_of::<(u32, u32)>() || self.words.capacity() > KEPT_MAX {
            (self.ranges, self.words) = Default::default();
        }
    }

    /// Prepares for the next request, and returns how many bytes this one took.
    #[inline]
    fn restart(&mut self) -> usize {
        self.within_array = false;
        self.scanned = 0;
        std::mem::take(&mut self.pos)
    }
}

/// Reads `<kind><one to three digits>\r\n` at the start of `buf`; returns the length and where the line ends.
///
/// Any other text, even if it is valid, is left to the slow path.
#[inline(always)]
pub(crate) fn short_length(kind: u8, buf: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    match *buf {
        [k, a, b'\r', _, ..] if k == kind && digit(a) <= 9 => Some((digit(a), 4)),
        [k, a, b, b'\r', _, ..] if k == kind && digit(a).wrapping_sub(1) < 9 && digit(b) <= 9 => {
            Some((digit(a) * 10 + digit(b), 5))
        }
        [k, a, b, c, b'\r', _, ..]
            if k == kind && digit(a).wrapping_sub(1) < 9 && digit(b) <= 9 && digit(c) <= 9 =>
        {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 6))
        }
        _ => None,
    }
}

impl Default for Limits {
    /// Returns what an authenticated client may send under the default configuration.
    fn default() -> Limits {
        Limits {
            max_bulk: 512 * 1024 * 1024,
            max_args: i32::MAX as usize,
            inline_max: 64 * 1024,
            authenticated: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::{Protocol, Writer};

    /// What a link made of some bytes: its requests, and the error that ended it.
    type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

    /// Decodes `bytes` arriving in pieces of the given lengths, cycled.
    fn decode_in_pieces(bytes: &[u8], limits: &Limits, pieces: &[usize]) -> Outcome {
        let mut decoder = Decoder::new();
        let (mut start, mut end, mut requests) = (0, 0, Vec::new());
        for piece in pieces.iter().cycle() {
            end = bytes.len().min(end + piece);
            loop {
                match decoder.decode(&bytes[start..end], limits) {
                    Ok(None) => break,
                    Ok(Some(request)) => {
                        requests.push(request.iter().map(<[u8]>::to_vec).collect());
                        start += request.consumed();
                    }
                    Err(error) => return (requests, Some(error)),
                }
            }
            assert!(decoder.wanted() == 0 || start + decoder.wanted() > end, "the decoder has what it wants");
            if end == bytes.len() {
                break;
            }
        }
        (requests, None)
    }

    fn decode_all(bytes: &[u8]) -> Outcome {
        decode_in_pieces(bytes, &Limits::default(), &[usize::MAX / 2])
    }

    fn error(bytes: &[u8]) -> Option<String> {
        decode_all(bytes).1.map(|error| error.to_string())
    }

    fn encode(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Protocol::Resp2);
        for request in requests {
            writer.array(request.len());
            request.iter().for_each(|arg| writer.bulk(arg));
        }
        bytes
    }

    #[test]
    fn arrays_and_lines_may_follow_each_other() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING\r\n\r\n*0\r\n*-1\r\n\n*1\r\n$0\r\n\r\nset 'a b' \"\\x00\"\n";
        let (requests, error) = decode_all(bytes);
        let expected: [&[&[u8]]; 8] =
            [&[b"GET", b"key"], &[b"PING"], &[], &[], &[], &[], &[b""], &[b"set", b"a b", b"\0"]];
        assert_eq!(requests, expected);
        assert_eq!(error, None);
    }

    #[test]
    fn line_ends_are_skipped_and_not_compared() {
        assert_eq!(decode_all(b"*1\rX$2\rYab12").0, [[b"ab"]]);
    }

    /// Returns the reply to `bytes`, if it is an error.
    fn reply(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(error) = decode_all(bytes).1 {
            error.write(&mut Writer::new(&mut out, Protocol::Resp2));
        }
        out
    }

    /// Every row was answered so by Redis, before it closed the connection.
    #[test]
    fn malformed_requests_are_answered_as_redis_answers_them() {
        let table: [(&[u8], &[u8]); 27] = [
            (b"*a\r\n", b"invalid multibulk length"),
            (b"*a\n\r\n", b"invalid multibulk length"),
            (b"*\r\n", b"invalid multibulk length"),
            (b"*01\r\n", b"invalid multibulk length"),
            (b"*-0\r\n", b"invalid multibulk length"),
            (b"*+1\r\n", b"invalid multibulk length"),
            (b"*1.0\r\n", b"invalid multibulk length"),
            (b"*1\n$4\r\nPING\r\n", b"invalid multibulk length"),
            (b"*2147483648\r\n", b"invalid multibulk length"),
            (b"*2147483647\r\n$a\r\n", b"invalid bulk length"),
            (b"*1\r\n$a\r\n", b"invalid bulk length"),
            (b"*1\r\n$\r\n", b"invalid bulk length"),
            (b"*1\r\n$-1\r\n", b"invalid bulk length"),
            (b"*1\r\n$01\r\n", b"invalid bulk length"),
            (b"*1\r\n$4\nPING\r\n", b"invalid bulk length"),
            (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
            (b"*1\r\n$9223372036854775808\r\n", b"invalid bulk length"),
            (b"*1\r\n:1\r\n", b"expected '$', got ':'"),
            (b"*2\r\n$1\r\na\r\n*1\r\n", b"expected '$', got '*'"),
            (b"*1\r\n\r\n", b"expected '$', got ' '"),
            (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
            (b"*1\r\n\x01\r\n", b"expected '$', got '\x01'"),
            (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
            (b"SET k \"v\r\n", b"unbalanced quotes in request"),
            (b"SET k 'v\r\n", b"unbalanced quotes in request"),
            (b"SET k \"v\"x\r\n", b"unbalanced quotes in request"),
            (b"PING\r\n*1\r\n$1\r\na\r\n*x\r\n", b"invalid multibulk length"),
        ];
        for (bytes, text) in table {
            let expected = [b"-ERR Protocol error: ", text, b"\r\n"].concat();
            assert_eq!(reply(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_its_end_may_yet_be_anything() {
        for bytes in [&b"*1\r\n:1"[..], b"*1\r\n:1\r", b"*a", b"*a\r", b"SET k \"v"] {
            assert_eq!(decode_all(bytes), (vec![], None), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn lines_without_end_are_errors() {
        let endless = |start: &str, len: usize| [start.as_bytes(), &vec![b'1'; len - start.len()]].concat();
        let max = Limits::default().inline_max;
        assert_eq!(error(&endless("*", max)), None);
        assert_eq!(error(&endless("*", max + 1)).as_deref(), Some("too big mbulk count string"));
        assert_eq!(error(&[b"*1\r\n", &endless("$", max)[..]].concat()), None);
        assert_eq!(
            error(&[b"*1\r\n", &endless("$", max + 1)[..]].concat()).as_deref(),
            Some("too big bulk count string")
        );
        assert_eq!(error(&endless("PING ", max)), None);
        assert_eq!(error(&endless("PING ", max + 1)).as_deref(), Some("too big inline request"));
    }

    #[test]
    fn strangers_may_say_little() {
        let limits = Limits { authenticated: false, ..Limits::default() };
        let error = |bytes: &[u8]| decode_in_pieces(bytes, &limits, &[1 << 20]).1;
        assert_eq!(error(b"*10\r\n"), None);
        assert_eq!(error(b"*11\r\n"), Some(ProtocolError::UnauthenticatedMultibulkLength));
        assert_eq!(error(b"*1\r\n$16384\r\n"), None);
        assert_eq!(error(b"*1\r\n$16385\r\n"), Some(ProtocolError::UnauthenticatedBulkLength));
        assert_eq!(error(b"*1\r\n$536870913\r\n"), Some(ProtocolError::InvalidBulkLength));
    }

    #[test]
    fn claims_allocate_nothing() {
        let mut decoder = Decoder::new();
        let bytes = b"*2147483647\r\n$536870912\r\n";
        assert!(decoder.decode(bytes, &Limits::default()).unwrap().is_none());
        assert_eq!(decoder.ranges.capacity(), 0);
        assert_eq!(decoder.wanted(), bytes.len() + 536870912 + 2);
    }

    #[test]
    fn more_than_offsets_can_address_is_an_error() {
        let limits = Limits { max_bulk: usize::MAX, ..Limits::default() };
        let error = |bytes: &[u8]| decode_in_pieces(bytes, &limits, &[1 << 20]).1;
        assert_eq!(error(b"*1\r\n$4294967276\r\n"), None);
        assert_eq!(error(b"*1\r\n$4294967277\r\n"), Some(ProtocolError::TooBigRequest));
        assert_eq!(error(b"*1\r\n$9223372036854775807\r\n"), Some(ProtocolError::TooBigRequest));
    }

    #[test]
    fn memory_of_a_huge_request_is_given_back() {
        let huge = vec![vec![b"x".to_vec(); 10_000]];
        let bytes = encode(&huge);
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&bytes, &Limits::default()).unwrap().unwrap().len(), 10_000);
        assert_eq!(
            decoder.decode(b"*1\r\n$4\r\nPING\r\n", &Limits::default()).unwrap().unwrap().arg(0),
            b"PING"
        );
        assert!(decoder.ranges.capacity() < 10_000);
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire_in_any_pieces(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 1..12), 0..6),
            pieces in prop::collection::vec(1usize..100, 1..8),
        ) {
            let bytes = encode(&requests);
            let limits = Limits::default();
            prop_assert_eq!(decode_in_pieces(&bytes, &limits, &pieces), (requests.clone(), None));
            prop_assert_eq!(decode_in_pieces(&bytes, &limits, &[1]), (requests, None));
        }

        #[test]
        fn any_bytes_mean_the_same_in_any_pieces(
            bytes in prop::collection::vec(
                prop::sample::select(b"***$$$\r\r\n\n0112359- \"'\\xaG\0\xff".to_vec()), 0..80),
            pieces in prop::collection::vec(1usize..9, 1..8),
            authenticated: bool,
        ) {
            // The pieces do not matter unless a line exceeds its limit, which is noticed when it has done so.
            let limits = Limits { authenticated, ..Limits::default() };
            let whole = decode_in_pieces(&bytes, &limits, &[bytes.len().max(1)]);
            prop_assert_eq!(decode_in_pieces(&bytes, &limits, &pieces), whole);
        }
    }
}
