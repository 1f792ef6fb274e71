//! One element of a listpack: how its bytes are read and written.
//!
//! ```text
//! | head | text … | length of the two, reversed |
//!
//! 0xxxxxxx                             integer 0..=127
//! 10llllll text                        text of up to 63 bytes
//! 110xxxxx xxxxxxxx                    13-bit integer, two's complement, high bits first
//! 1110llll llllllll text               text of up to 4095 bytes, high bits first
//! 11110000 llllllll ×4 text            text of up to 2^32-1 bytes, low byte first
//! 11110001 xxxxxxxx ×2                 16-bit integer, low byte first
//! 11110010 xxxxxxxx ×3                 24-bit integer
//! 11110011 xxxxxxxx ×4                 32-bit integer
//! 11110100 xxxxxxxx ×8                 64-bit integer
//! 11111111                             the end of the listpack
//! ```
//!
//! The reversed length holds seven bits per byte. It is read backwards from its last byte, each byte but the
//! one read last having its high bit set; so an element can be stepped over from either side.

use base::number::{IntText, parse_i64};

/// The byte that ends a listpack.
pub(super) const END: u8 = 0xff;

const TEXT_6: u8 = 0x80;
const INT_13: u8 = 0xc0;
const TEXT_12: u8 = 0xe0;
const TEXT_32: u8 = 0xf0;
const INT_16: u8 = 0xf1;
const INT_24: u8 = 0xf2;
const INT_32: u8 = 0xf3;
const INT_64: u8 = 0xf4;

/// An element: an integer, or any other text.
///
/// Text that is the canonical spelling of an integer is stored as that integer and reads back as [`Item::Int`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An integer, standing for its decimal text.
    Int(i64),
    /// A text.
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// Tells whether the element's text is `text`, without formatting it.
    #[inline]
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Item::Int(value) => text.len() <= IntText::MAX_LEN && parse_i64(text) == Some(value),
            Item::Bytes(bytes) => bytes == text,
        }
    }

    /// Returns the integer that the element is or spells.
    #[inline]
    pub fn to_int(self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(value),
            Item::Bytes(bytes) => parse_i64(bytes),
        }
    }

    /// Returns the element's text, formatted on the stack if it is an integer.
    #[inline]
    pub fn text(self) -> ItemText<'a> {
        match self {
            Item::Int(value) => ItemText::Int(IntText::new(value)),
            Item::Bytes(bytes) => ItemText::Bytes(bytes),
        }
    }

    /// Returns the length of the element's text.
    pub fn text_len(self) -> usize {
        self.text().as_bytes().len()
    }

    /// Appends the element's text to `out`.
    #[inline]
    pub fn push_text(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
    }

    /// Returns the element's text as an owned string.
    pub fn to_vec(self) -> Vec<u8> {
        self.text().as_bytes().to_vec()
    }

    /// Returns the bytes that the element takes in a listpack.
    pub fn stored_size(self) -> usize {
        Encoded::new(self).size()
    }
}

impl<'a> From<&'a [u8]> for Item<'a> {
    fn from(bytes: &'a [u8]) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Item<'a> {
    fn from(bytes: &'a [u8; N]) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Item<'a> {
    fn from(bytes: &'a Vec<u8>) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl From<i64> for Item<'_> {
    fn from(value: i64) -> Self {
        Item::Int(value)
    }
}

/// The text of an [`Item`]: borrowed, or an integer's digits on the stack.
#[derive(Clone, Copy)]
pub enum ItemText<'a> {
    /// The digits of an integer.
    Int(IntText),
    /// Text that lies in the listpack.
    Bytes(&'a [u8]),
}

impl ItemText<'_> {
    /// Returns the bytes of the text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            ItemText::Int(text) => text.as_bytes(),
            ItemText::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for ItemText<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// An element in its stored form, ready to be copied into place.
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    back_len: u8,
    back: [u8; 5],
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(item: Item<'a>) -> Encoded<'a> {
        let value = match item {
            Item::Int(value) => Some(value),
            Item::Bytes(text) => parse_i64(text),
        };
        match (value, item) {
            (Some(value), _) => Encoded::int(value),
            (None, Item::Bytes(text)) => Encoded::text(text),
            (None, Item::Int(_)) => unreachable!("an integer has a value"),
        }
    }

    /// Returns the bytes that the element takes.
    #[inline]
    pub(super) fn size(&self) -> usize {
        usize::from(self.head_len) + self.text.len() + usize::from(self.back_len)
    }

    /// Returns the stored form in three parts.
    #[inline]
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..usize::from(self.head_len)], self.text, &self.back[..usize::from(self.back_len)]]
    }

    fn int(value: i64) -> Encoded<'a> {
        let mut head = [0; 9];
        let mut tagged = |tag: u8, width: usize| {
            head[0] = tag;
            head[1..=width].copy_from_slice(&value.to_le_bytes()[..width]);
            width + 1
        };
        let len = match value {
            0..=127 => {
                head[0] = value as u8;
                1
            }
            -4096..=4095 => {
                head[0] = INT_13 | ((value >> 8) & 0x1f) as u8;
                head[1] = value as u8;
                2
            }
            -0x8000..=0x7fff => tagged(INT_16, 2),
            -0x80_0000..=0x7f_ffff => tagged(INT_24, 3),
            -0x8000_0000..=0x7fff_ffff => tagged(INT_32, 4),
            _ => tagged(INT_64, 8),
        };
        Encoded { head, head_len: len as u8, back_len: 1, back: [len as u8, 0, 0, 0, 0], text: &[] }
    }

    #[inline]
    fn text(text: &'a [u8]) -> Encoded<'a> {
        let len = text.len();
        let mut head = [0; 9];
        let head_len = match len {
            0..=63 => {
                head[0] = TEXT_6 | len as u8;
                let back = [len as u8 + 1, 0, 0, 0, 0];
                return Encoded { head, head_len: 1, back_len: 1, back, text };
            }
            64..=4095 => {
                head[0] = TEXT_12 | (len >> 8) as u8;
                head[1] = len as u8;
                2
            }
            _ => {
                let len = u32::try_from(len).expect("a listpack element's length is told in four bytes");
                head[0] = TEXT_32;
                head[1..5].copy_from_slice(&len.to_le_bytes());
                5
            }
        };
        let (back, back_len) = back_length(len + head_len);
        Encoded { head, head_len: head_len as u8, back_len, back, text }
    }
}

/// Returns the element at `at` and the offset after it, or nothing at the end of the listpack.
#[inline]
pub(super) fn read(bytes: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    let head = *bytes.get(at)?;
    Some(match head {
        0..TEXT_6 => (Item::Int(i64::from(head)), at + 2),
        TEXT_6..INT_13 => {
            let end = at + 1 + usize::from(head & 0x3f);
            (Item::Bytes(bytes.get(at + 1..end)?), end + 1)
        }
        INT_13..TEXT_12 => {
            let value = i64::from(head & 0x1f) << 8 | i64::from(*bytes.get(at + 1)?);
            // The thirteenth bit is the sign.
            (Item::Int(value << 51 >> 51), at + 3)
        }
        TEXT_12..TEXT_32 => {
            let len = usize::from(head & 0x0f) << 8 | usize::from(*bytes.get(at + 1)?);
            let end = at + 2 + len;
            (Item::Bytes(bytes.get(at + 2..end)?), end + back_length_size(2 + len))
        }
        TEXT_32 => {
            let len = u32::from_le_bytes(bytes.get(at + 1..at + 5)?.try_into().ok()?) as usize;
            let end = at + 5 + len;
            (Item::Bytes(bytes.get(at + 5..end)?), end + back_length_size(5 + len))
        }
        INT_16..=INT_64 => {
            let width = int_width(head);
            let mut low = [0; 8];
            low[..width].copy_from_slice(bytes.get(at + 1..at + 1 + width)?);
            let unused = 64 - 8 * width as u32;
            (Item::Int(i64::from_le_bytes(low) << unused >> unused), at + width + 2)
        }
        _ => return None,
    })
}

/// Returns the offset after the element at `at`, or nothing at the end of the listpack.
#[inline]
pub(super) fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let head = *bytes.get(at)?;
    Some(match head {
        0..TEXT_6 => at + 2,
        TEXT_6..INT_13 => at + 2 + usize::from(head & 0x3f),
        INT_13..TEXT_12 => at + 3,
        TEXT_12..TEXT_32 => {
            let size = 2 + (usize::from(head & 0x0f) << 8 | usize::from(*bytes.get(at + 1)?));
            at + size + back_length_size(size)
        }
        TEXT_32 => {
            let size = 5 + u32::from_le_bytes(bytes.get(at + 1..at + 5)?.try_into().ok()?) as usize;
            at + size + back_length_size(size)
        }
        INT_16..=INT_64 => at + int_width(head) + 2,
        _ => return None,
    })
}

/// Returns the offset of the element that ends before `at`, or nothing if no element does.
#[inline]
pub(super) fn skip_back(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut size, mut shift) = (0, 0);
    for back in bytes.get(..at)?.iter().rev().take(5) {
        size |= usize::from(back & 0x7f) << shift;
        shift += 7;
        if back & 0x80 == 0 {
            return at.checked_sub(size + back_length_size(size));
        }
    }
    None
}

/// Tells whether the element at `at` is whole and ends with its own length, and returns the offset after it.
pub(super) fn validate(bytes: &[u8], at: usize) -> Option<usize> {
    let (_, end) = read(bytes, at)?;
    // `end` is `size + back_length_size(size)` further on; the size follows from which lengths are possible.
    let span = end - at;
    let size = (1..=5).map(|back_len| span - back_len).find(|&size| size + back_length_size(size) == span)?;
    let (back, back_len) = back_length(size);
    (bytes.get(at + size..end)? == &back[..usize::from(back_len)]).then_some(end)
}

#[inline]
fn int_width(head: u8) -> usize {
    match head {
        INT_64 => 8,
        _ => usize::from(head - INT_16) + 2,
    }
}

/// Returns how many bytes the reversed length of an element of `size` bytes takes.
#[inline]
fn back_length_size(size: usize) -> usize {
    // The limits from the second on are one short of the bits at hand; that is the format.
    match size {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    }
}

fn back_length(size: usize) -> ([u8; 5], u8) {
    let len = back_length_size(size);
    let mut back = [0; 5];
    for (place, byte) in back[..len].iter_mut().enumerate() {
        let continues = if place == 0 { 0 } else { 0x80 };
        *byte = (size >> (7 * (len - 1 - place)) & 0x7f) as u8 | continues;
    }
    (back, len as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reversed_length_changes_width_where_redis_changes_it() {
        let cases: [(usize, &[u8]); 8] = [
            (127, &[0x7f]),
            (128, &[0x01, 0x80]),
            (16382, &[0x7f, 0xfe]),
            (16383, &[0x00, 0xff, 0xff]),
            (2097150, &[0x7f, 0xff, 0xfe]),
            (2097151, &[0x00, 0xff, 0xff, 0xff]),
            (268435454, &[0x7f, 0xff, 0xff, 0xfe]),
            (268435455, &[0x00, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (size, expected) in cases {
            let (back, len) = back_length(size);
            assert_eq!(&back[..usize::from(len)], expected, "{size}");
        }
    }

    #[test]
    fn an_integer_is_its_canonical_spelling_and_nothing_else() {
        assert!(Item::Int(-12).is(b"-12"));
        assert!(!Item::Int(12).is(b"012"));
        assert!(!Item::Int(12).is(b"12 "));
        assert!(Item::Bytes(b"012").is(b"012"));
        assert_eq!(Item::Bytes(b"42").to_int(), Some(42));
        assert_eq!(Item::Bytes(b"x").to_int(), None);
        assert_eq!((Item::Int(-100).text_len(), Item::Int(-100).to_vec()), (4, b"-100".to_vec()));
    }
}
