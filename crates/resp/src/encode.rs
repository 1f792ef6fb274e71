//! Replies, appended to a link's output buffer in the protocol the link speaks.
//!
//! A handler says what it means (a map, a double, nothing) once, and RESP2 clients get the nearest thing:
//!
//! ```text
//! reply      RESP2                   RESP3
//! null       $-1 or *-1              _
//! map        *2n                     %n
//! set, push  *n                      ~n, >n
//! double     $len text               ,text
//! boolean    :1 or :0                #t or #f
//! verbatim   $len text               =len txt:text
//! big number $len digits             (digits
//! ```

use base::number::{IntText, push_f64, push_i64};

/// The protocol version of a link, as chosen with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Appends replies to `out`.
#[derive(Debug)]
pub struct Writer<'a> {
    pub out: &'a mut Vec<u8>,
    pub protocol: Protocol,
}

/// Where an aggregate starts whose length is not known yet; see `Writer::defer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an aggregate without its header is not a reply"]
pub struct Mark(usize);

impl<'a> Writer<'a> {
    /// Returns a writer that appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Writer<'a> {
        Writer { out, protocol }
    }

    /// Writes `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// Writes `+PONG`.
    #[inline]
    pub fn pong(&mut self) {
        self.out.extend_from_slice(b"+PONG\r\n");
    }

    /// Writes a status; line ends within it become spaces.
    #[inline]
    pub fn simple(&mut self, status: impl AsRef<[u8]>) {
        self.line(b'+', status.as_ref());
    }

    /// Writes an error, code and all; line ends within it become spaces.
    #[inline]
    pub fn error(&mut self, line: impl AsRef<[u8]>) {
        self.line(b'-', line.as_ref());
    }

    /// Writes an integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// Writes a byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + HEADER_MAX + 2);
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes an integer as a byte string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(IntText::new(value).as_bytes());
    }

    /// Writes that there is no value.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.extend_from_slice(b"$-1\r\n"),
            Protocol::Resp3 => self.out.extend_from_slice(b"_\r\n"),
        }
    }

    /// Writes that there is no array.
    #[inline]
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.extend_from_slice(b"*-1\r\n"),
            Protocol::Resp3 => self.out.extend_from_slice(b"_\r\n"),
        }
    }

    /// Starts an array of the next `len` replies.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    /// Starts a map of the next `pairs` pairs of replies.
    #[inline]
    pub fn map(&mut self, pairs: usize) {
        let (kind, len) = self.map_header(pairs);
        self.length(kind, len);
    }

    /// Starts a set of the next `len` replies.
    #[inline]
    pub fn set(&mut self, len: usize) {
        self.length(self.kind(b'~'), len);
    }

    /// Starts a message that answers no request, of the next `len` replies.
    #[inline]
    pub fn push(&mut self, len: usize) {
        self.length(self.kind(b'>'), len);
    }

    /// Starts `pairs` pairs of replies that say something about the reply after them; RESP3 only.
    pub fn attribute(&mut self, pairs: usize) {
        debug_assert_eq!(self.protocol, Protocol::Resp3, "RESP2 has no attributes");
        self.length(b'|', pairs);
    }

    /// Writes a floating-point number.
    pub fn double(&mut self, value: f64) {
        match self.protocol {
            Protocol::Resp2 => {
                let mark = self.defer();
                push_f64(self.out, value);
                let len = self.out.len() - mark.0;
                self.insert_header(mark, b'$', len);
            }
            Protocol::Resp3 => {
                self.out.push(b',');
                push_f64(self.out, value);
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes a floating-point number that is text already, such as that of a long double.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// Writes a truth value.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.protocol, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        });
    }

    /// Writes text to be shown as it is; `format` is three bytes, "txt" or "mkd".
    pub fn verbatim(&mut self, format: impl AsRef<[u8]>, text: &[u8]) {
        let format = format.as_ref();
        debug_assert_eq!(format.len(), 3, "the format of verbatim text has three bytes");
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.length(b'=', text.len() + 4);
        self.out.extend_from_slice(format);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes an integer of any size, given in decimal.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    /// Appends replies that are encoded already, for this protocol.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Marks the start of an aggregate whose length will be known only once its elements are written.
    ///
    /// Marks nest: the one made last is finished first.
    #[inline]
    pub fn defer(&mut self) -> Mark {
        Mark(self.out.len())
    }

    /// Makes an array of the `len` replies written since `mark`.
    pub fn finish_array(&mut self, mark: Mark, len: usize) {
        self.insert_header(mark, b'*', len);
    }

    /// Makes a map of the `pairs` pairs of replies written since `mark`.
    pub fn finish_map(&mut self, mark: Mark, pairs: usize) {
        let (kind, len) = self.map_header(pairs);
        self.insert_header(mark, kind, len);
    }

    /// Makes a set of the `len` replies written since `mark`.
    pub fn finish_set(&mut self, mark: Mark, len: usize) {
        self.insert_header(mark, self.kind(b'~'), len);
    }

    /// Takes back everything written since `mark`.
    pub fn discard(&mut self, mark: Mark) {
        self.out.truncate(mark.0);
    }

    /// Returns the kind of a RESP3 aggregate, which RESP2 knows only as an array.
    #[inline]
    fn kind(&self, resp3: u8) -> u8 {
        match self.protocol {
            Protocol::Resp2 => b'*',
            Protocol::Resp3 => resp3,
        }
    }

    /// Returns the kind and length of a map.
    #[inline]
    fn map_header(&self, pairs: usize) -> (u8, usize) {
        match self.protocol {
            Protocol::Resp2 => (b'*', pairs * 2),
            Protocol::Resp3 => (b'%', pairs),
        }
    }

    /// Puts a header in front of what was written since `mark`.
    fn insert_header(&mut self, mark: Mark, kind: u8, len: usize) {
        let before = self.out.len();
        self.length(kind, len);
        let header_len = self.out.len() - before;
        self.out[mark.0..].rotate_right(header_len);
    }

    /// Writes `<kind><len>\r\n`. Short lengths, nearly all, are single stores of known size.
    #[inline(always)]
    fn length(&mut self, kind: u8, len: usize) {
        let digit = |value: usize| b'0' + (value % 10) as u8;
        match len {
            0..10 => self.out.extend_from_slice(&[kind, digit(len), b'\r', b'\n']),
            10..100 => self.out.extend_from_slice(&[kind, digit(len / 10), digit(len), b'\r', b'\n']),
            100..1000 => {
                self.out.extend_from_slice(&[
                    kind,
                    digit(len / 100),
                    digit(len / 10),
                    digit(len),
                    b'\r',
                    b'\n',
                ]);
            }
            _ => self.header(kind, len as i64),
        }
    }

    /// Writes `<kind><value>\r\n`.
    #[inline]
    fn header(&mut self, kind: u8, value: i64) {
        if let 0..10 = value {
            return self.out.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']);
        }
        self.out.reserve(HEADER_MAX);
        self.out.push(kind);
        push_i64(self.out, value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes `<kind><text>\r\n`. No reply line may have a line end inside, so those at its end are cut off and
    /// others become spaces.
    fn line(&mut self, kind: u8, text: &[u8]) {
        let end = text.iter().rposition(|byte| !is_line_end(*byte)).map_or(0, |last| last + 1);
        self.out.reserve(end + 3);
        self.out.push(kind);
        let start = self.out.len();
        self.out.extend_from_slice(&text[..end]);
        for byte in &mut self.out[start..] {
            if is_line_end(*byte) {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Appends a request in the form in which clients and masters send it, and logs keep it.
#[inline]
pub fn request<W: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    words: impl IntoIterator<Item = W, IntoIter: ExactSizeIterator>,
) {
    let words = words.into_iter();
    let mut writer = Writer::new(out, Protocol::Resp2);
    writer.array(words.len());
    for word in words {
        writer.bulk(word.as_ref());
    }
}

/// The length of the longest `<kind><integer>\r\n`.
const HEADER_MAX: usize = IntText::MAX_LEN + 3;

#[inline]
fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what `write` writes in each protocol.
    fn both(write: impl Fn(&mut Writer<'_>)) -> (String, String) {
        let in_protocol = |protocol| {
            let mut out = Vec::new();
            write(&mut Writer::new(&mut out, protocol));
            String::from_utf8(out).unwrap().replace("\r\n", "|")
        };
        (in_protocol(Protocol::Resp2), in_protocol(Protocol::Resp3))
    }

    fn assert_both(write: impl Fn(&mut Writer<'_>), resp2: &str, resp3: &str) {
        assert_eq!(both(write), (resp2.to_owned(), resp3.to_owned()));
    }

    #[test]
    fn each_reply_has_a_form_in_both_protocols() {
        assert_both(|w| w.ok(), "+OK|", "+OK|");
        assert_both(|w| w.simple("PONG"), "+PONG|", "+PONG|");
        assert_both(|w| w.pong(), "+PONG|", "+PONG|");
        assert_both(|w| w.error("ERR no"), "-ERR no|", "-ERR no|");
        assert_both(|w| w.bulk(b"key"), "$3|key|", "$3|key|");
        assert_both(|w| w.bulk_int(-12), "$3|-12|", "$3|-12|");
        assert_both(|w| w.null(), "$-1|", "_|");
        assert_both(|w| w.null_array(), "*-1|", "_|");
        assert_both(|w| w.array(3), "*3|", "*3|");
        assert_both(|w| w.map(3), "*6|", "%3|");
        assert_both(|w| w.set(12), "*12|", "~12|");
        assert_both(|w| w.push(2), "*2|", ">2|");
        assert_both(|w| w.double(1.5), "$3|1.5|", ",1.5|");
        assert_both(|w| w.double(f64::NEG_INFINITY), "$4|-inf|", ",-inf|");
        assert_both(|w| w.boolean(true), ":1|", "#t|");
        assert_both(|w| w.boolean(false), ":0|", "#f|");
        assert_both(|w| w.verbatim("txt", b"a\r\nb"), "$4|a|b|", "=8|txt:a|b|");
        assert_both(
            |w| w.big_number(b"12345678901234567890"),
            "$20|12345678901234567890|",
            "(12345678901234567890|",
        );
    }

    #[test]
    fn lengths_and_integers_have_every_width() {
        for width in 0..=18 {
            let value = 10i64.pow(width);
            for value in [value - 1, value, value + 1, -value] {
                assert_both(|w| w.int(value), &format!(":{value}|"), &format!(":{value}|"));
            }
        }
        for len in [0, 1, 9, 10, 99, 100, 999, 1000, 12345] {
            let bytes = "x".repeat(len);
            assert_both(
                |w| w.bulk(bytes.as_bytes()),
                &format!("${len}|{bytes}|"),
                &format!("${len}|{bytes}|"),
            );
            assert_both(|w| w.array(len), &format!("*{len}|"), &format!("*{len}|"));
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(both(|w| w.error("ERR a\r\nb\n\r\n")).0, "-ERR a  b|");
        assert_eq!(both(|w| w.simple("\r\n")).0, "+|");
    }

    #[test]
    fn aggregates_may_learn_their_length_last() {
        let write = |w: &mut Writer<'_>| {
            w.int(0);
            let outer = w.defer();
            let inner = w.defer();
            w.bulk(b"k");
            w.int(1);
            w.finish_map(inner, 1);
            let empty = w.defer();
            w.finish_set(empty, 0);
            let wrong = w.defer();
            w.ok();
            w.discard(wrong);
            w.finish_array(outer, 2);
        };
        assert_both(write, ":0|*2|*2|$1|k|:1|*0|", ":0|*2|%1|$1|k|:1|~0|");
    }
}
