//! The reader: the numbers, lengths and strings at the front of some bytes, of which more may follow.

use base::number::IntText;

use crate::error::{ErrorKind, Stop};
use crate::format::encoding;
use crate::lzf;

/// What parsing a part came to.
pub(crate) type Parsed<T> = Result<T, Stop>;

/// A place in some bytes, and how far they are done with.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the item that is being read begins.
    item: usize,
}

/// A length, or how the string that stands in its place is encoded.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A string that is an integer, or its bytes.
pub(crate) enum Text<'s> {
    Int(i64),
    Bytes(&'s [u8]),
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, item: 0 }
    }

    /// Returns where the next part begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns where the item under way begins; what lies before is done with.
    pub(crate) fn done(&self) -> usize {
        self.item
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Says that what was read so far need not be read again.
    #[inline]
    pub(crate) fn commit(&mut self) {
        self.item = self.at;
    }

    /// Reads so many bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(ErrorKind::Length)?;
        match self.bytes.get(self.at..end) {
            Some(taken) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(Stop::More(end)),
        }
    }

    /// Reads as many bytes as an array has.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        match self.bytes[self.at..].first_chunk() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(Stop::More(self.at.saturating_add(N))),
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Parsed<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    fn length(&mut self) -> Parsed<Length> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            3 => Length::Encoded(first & 0x3f),
            _ => match first {
                0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                _ => return Err(ErrorKind::Length.into()),
            },
        })
    }

    /// Reads a number that is written as a length.
    #[inline]
    pub(crate) fn len(&mut self) -> Parsed<u64> {
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(ErrorKind::Length.into()),
        }
    }

    /// Reads a string; one that must be made first is made in `scratch`.
    #[inline]
    pub(crate) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Parsed<&'s [u8]>
    where
        'a: 's,
    {
        match self.length()? {
            Length::Plain(len) => self.take(size(len)?),
            Length::Encoded(encoding::LZF) => self.decompressed(scratch),
            Length::Encoded(encoding) => {
                let value = self.int(encoding)?;
                scratch.clear();
                scratch.extend_from_slice(IntText::new(value).as_bytes());
                Ok(scratch)
            }
        }
    }

    /// Reads a string, but leaves one that is an integer as it is.
    #[inline]
    pub(crate) fn text<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Parsed<Text<'s>>
    where
        'a: 's,
    {
        match self.length()? {
            Length::Plain(len) => self.take(size(len)?).map(Text::Bytes),
            Length::Encoded(encoding::LZF) => self.decompressed(scratch).map(Text::Bytes),
            Length::Encoded(encoding) => self.int(encoding).map(Text::Int),
        }
    }

    #[inline]
    fn int(&mut self, encoding: u8) -> Parsed<i64> {
        Ok(match encoding {
            encoding::INT8 => i64::from(i8::from_le_bytes(self.array()?)),
            encoding::INT16 => i64::from(i16::from_le_bytes(self.array()?)),
            encoding::INT32 => i64::from(i32::from_le_bytes(self.array()?)),
            _ => return Err(ErrorKind::Length.into()),
        })
    }

    fn decompressed<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Parsed<&'s [u8]> {
        let (packed_len, len) = (size(self.len()?)?, size(self.len()?)?);
        let packed = self.take(packed_len)?;
        scratch.clear();
        if !lzf::decompress(packed, len, scratch) {
            return Err(ErrorKind::Compression.into());
        }
        Ok(scratch)
    }

    /// Reads a score as the first versions wrote it: the length of its text, or one of three numbers.
    pub(crate) fn text_score(&mut self) -> Parsed<Option<f64>> {
        Ok(match self.byte()? {
            253 => None,
            254 => Some(f64::INFINITY),
            255 => Some(f64::NEG_INFINITY),
            len => base::number::parse_f64(self.take(usize::from(len))?),
        })
    }
}

fn size(len: u64) -> Parsed<usize> {
    // No string is longer than half of the memory that there can be.
    usize::try_from(len).ok().filter(|len| *len <= isize::MAX as usize).ok_or(ErrorKind::Length.into())
}
