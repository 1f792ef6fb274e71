//! The writer: numbers, lengths and strings as bytes, gathered into large pieces, checksummed on their way out.

use base::crc64::crc64;
use base::number::{IntText, parse_i64};

use crate::error::SinkError;
use crate::format::encoding;
use crate::lzf::Compressor;

/// Where a snapshot goes.
pub trait Sink {
    /// Takes the next bytes; after an error it is not called again.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;
}

/// Bytes gathered before they go to the sink.
const PIECE: usize = 64 << 10;

/// Strings up to this length are not worth compressing.
const COMPRESS_ABOVE: usize = 20;

/// Bytes that compressing a string must save.
const SAVING_MIN: usize = 4;

/// Longest text that may be an integer of four bytes.
const INT_TEXT_MAX: usize = 11;

/// Gathers the bytes of a snapshot or of one value.
pub(crate) struct Writer<'a> {
    buffer: Vec<u8>,
    /// Where full pieces go; a single value stays in the buffer.
    sink: Option<&'a mut dyn Sink>,
    /// Bytes that went to the sink.
    sent: u64,
    crc: u64,
    checksum: bool,
    compressor: Option<Compressor>,
    packed: Vec<u8>,
    compress: bool,
    /// The sink's first error; what is written after it goes nowhere.
    error: Option<SinkError>,
}

impl<'a> Writer<'a> {
    /// Returns a writer to `sink`, or one that keeps everything.
    pub(crate) fn new(sink: Option<&'a mut dyn Sink>, compress: bool, checksum: bool) -> Writer<'a> {
        let room = if sink.is_some() { PIECE + 4096 } else { 64 };
        Writer {
            buffer: Vec::with_capacity(room),
            sink,
            sent: 0,
            crc: 0,
            checksum,
            compressor: None,
            packed: Vec::new(),
            compress,
            error: None,
        }
    }

    /// Returns what was written, when it was kept.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    /// Returns the bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent + self.buffer.len() as u64
    }

    /// Writes the checksum of everything before it (0 if none is wanted) and sends all that is left.
    pub(crate) fn finish(&mut self) -> Result<(), SinkError> {
        if self.checksum {
            self.crc = crc64(self.crc, &self.buffer);
        }
        let crc = self.crc;
        // It does not count in itself.
        self.checksum = false;
        self.put(&crc.to_le_bytes());
        self.send();
        self.check()
    }

    /// Returns the error of the sink, if there was one.
    pub(crate) fn check(&mut self) -> Result<(), SinkError> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Sends what was gathered, if it is enough to be worth it; called between elements.
    #[inline]
    pub(crate) fn spill(&mut self) {
        if self.buffer.len() >= PIECE && self.sink.is_some() {
            self.send();
        }
    }

    fn send(&mut self) {
        if self.checksum {
            self.crc = crc64(self.crc, &self.buffer);
        }
        if let (Some(sink), None) = (&mut self.sink, &self.error) {
            self.error = sink.write(&self.buffer).err();
        }
        self.sent += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Writes bytes as they are.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > PIECE && self.sink.is_some() {
            return self.put_large(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.spill();
    }

    /// Writes bytes past the buffer, so that a large value is not copied.
    #[cold]
    fn put_large(&mut self, bytes: &[u8]) {
        self.send();
        for piece in bytes.chunks(PIECE) {
            if self.checksum {
                self.crc = crc64(self.crc, piece);
            }
        }
        if let (Some(sink), None) = (&mut self.sink, &self.error) {
            self.error = sink.write(bytes).err();
        }
        self.sent += bytes.len() as u64;
    }

    /// Writes one byte: a type or an opcode.
    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    /// Writes a length.
    ///
    /// ```text
    /// 00llllll                     up to 63
    /// 01llllll llllllll            up to 16383, high byte first
    /// 10000000 four bytes          up to 2^32-1, high byte first
    /// 10000001 eight bytes         more
    /// ```
    #[inline]
    pub(crate) fn len(&mut self, len: u64) {
        match len {
            0..0x40 => self.buffer.push(len as u8),
            0x40..0x4000 => self.buffer.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes()),
            _ => self.long_len(len),
        }
    }

    #[cold]
    fn long_len(&mut self, len: u64) {
        match u32::try_from(len) {
            Ok(len) => {
                self.buffer.push(0x80);
                self.buffer.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                self.buffer.push(0x81);
                self.buffer.extend_from_slice(&len.to_be_bytes());
            }
        }
    }

    /// Writes eight bytes, low byte first: a moment or a score.
    #[inline]
    pub(crate) fn eight(&mut self, bytes: [u8; 8]) {
        self.buffer.extend_from_slice(&bytes);
    }

    /// Writes a string: as an integer if it spells one, compressed if that saves enough, else as it is.
    #[inline]
    pub(crate) fn string(&mut self, text: &[u8]) {
        if text.len() <= INT_TEXT_MAX
            && matches!(text, [b'-' | b'0'..=b'9', ..])
            && let Some(value) = parse_i64(text)
            && self.small_int(value)
        {
            return;
        }
        if self.compress && text.len() > COMPRESS_ABOVE && self.compressed(text) {
            return;
        }
        self.len(text.len() as u64);
        self.put(text);
    }

    /// Writes the string that spells `value`.
    #[inline]
    pub(crate) fn int(&mut self, value: i64) {
        if !self.small_int(value) {
            let text = IntText::new(value);
            self.len(text.as_bytes().len() as u64);
            self.buffer.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes `value` if it takes four bytes or fewer.
    #[inline]
    fn small_int(&mut self, value: i64) -> bool {
        let [a, b, c, d, ..] = value.to_le_bytes();
        let head = |encoding: u8| 0xc0 | encoding;
        match value {
            -0x80..=0x7f => self.buffer.extend_from_slice(&[head(encoding::INT8), a]),
            -0x8000..=0x7fff => self.buffer.extend_from_slice(&[head(encoding::INT16), a, b]),
            -0x8000_0000..=0x7fff_ffff => {
                self.buffer.extend_from_slice(&[head(encoding::INT32), a, b, c, d]);
            }
            _ => return false,
        }
        true
    }

    fn compressed(&mut self, text: &[u8]) -> bool {
        let compressor = self.compressor.get_or_insert_default();
        let mut packed = std::mem::take(&mut self.packed);
        let smaller = compressor.compress(text, text.len() - SAVING_MIN, &mut packed);
        if smaller {
            self.buffer.push(0xc0 | encoding::LZF);
            self.len(packed.len() as u64);
            self.len(text.len() as u64);
            self.put(&packed);
        }
        self.packed = packed;
        smaller
    }
}
