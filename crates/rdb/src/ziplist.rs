//! Ziplists, which older versions wrote where there are listpacks now.
//!
//! ```text
//! | total bytes (4) | offset of the last element (4) | elements (2) | element … | 0xff |
//!
//! element   | length of the one before, 1 byte or 0xfe and 4 | head | text or integer |
//! head      00llllll                    text of up to 63 bytes
//!           01llllll llllllll           text of up to 16383, high byte first
//!           10000000 and 4 bytes        longer text, high byte first
//!           11000000, 11010000, 11100000, 11110000, 11111110
//!                                       integer of 2, 4, 8, 3 or 1 bytes, low byte first
//!           1111xxxx, x from 1 to 13    the integer x - 1
//! ```

use structures::{Item, Listpack};

const HEADER: usize = 10;
const END: u8 = 0xff;
/// The element count from which on the header no longer tells it.
const UNCOUNTED: u16 = u16::MAX;

/// Returns the listpack of a ziplist's elements, or nothing if any part of it is malformed.
pub(crate) fn to_listpack(bytes: &[u8]) -> Option<Listpack> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let word = |at: usize| header[at..].first_chunk().map(|word| u32::from_le_bytes(*word) as usize);
    let (total, last) = (word(0)?, word(4)?);
    let count = u16::from_le_bytes([header[8], header[9]]);
    let (end, mut rest) = body.split_last()?;
    if *end != END || total != bytes.len() {
        return None;
    }
    let mut pack = Listpack::with_capacity(bytes.len());
    let (mut before, mut elements) = (0, 0usize);
    while !rest.is_empty() {
        let (item, size) = element(rest, before)?;
        if !pack.has_room_for(size + 16) {
            return None;
        }
        pack.push_back(item);
        rest = &rest[size..];
        before = size;
        elements += 1;
    }
    // Without elements the offset is that of the end mark.
    let last_at = bytes.len() - 1 - before;
    if last != last_at || (count != UNCOUNTED && usize::from(count) != elements) {
        return None;
    }
    pack.shrink_to_fit();
    Some(pack)
}

/// Returns the first element and its size, the one before it having `before` bytes.
fn element(bytes: &[u8], before: usize) -> Option<(Item<'_>, usize)> {
    let (told, body) = match bytes {
        [0xfe, a, b, c, d, body @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, body),
        [0xfe | 0xff, ..] | [] => return None,
        [len, body @ ..] => (usize::from(*len), body),
    };
    if told != before {
        return None;
    }
    let (item, rest) = match *body {
        [head @ 0..0x40, ref tail @ ..] => text(tail, usize::from(head))?,
        [head @ 0x40..0x80, low, ref tail @ ..] => {
            text(tail, usize::from(head & 0x3f) << 8 | usize::from(low))?
        }
        [0x80, a, b, c, d, ref tail @ ..] => text(tail, u32::from_be_bytes([a, b, c, d]) as usize)?,
        [0xc0, a, b, ref tail @ ..] => (Item::Int(i64::from(i16::from_le_bytes([a, b]))), tail),
        [0xd0, a, b, c, d, ref tail @ ..] => (Item::Int(i64::from(i32::from_le_bytes([a, b, c, d]))), tail),
        [0xe0, a, b, c, d, e, f, g, h, ref tail @ ..] => {
            (Item::Int(i64::from_le_bytes([a, b, c, d, e, f, g, h])), tail)
        }
        [0xf0, a, b, c, ref tail @ ..] => (Item::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)), tail),
        [0xfe, a, ref tail @ ..] => (Item::Int(i64::from(a as i8)), tail),
        [head @ 0xf1..=0xfd, ref tail @ ..] => (Item::Int(i64::from(head) - 0xf1), tail),
        _ => return None,
    };
    Some((item, bytes.len() - rest.len()))
}

fn text(bytes: &[u8], len: usize) -> Option<(Item<'_>, &[u8])> {
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((Item::Bytes(text), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the ziplist of some texts and integers.
    pub(crate) fn ziplist(items: &[Item<'_>]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let (mut before, mut last) = (0usize, HEADER);
        for item in items {
            last = bytes.len();
            if before < 254 {
                bytes.push(before as u8);
            } else {
                bytes.push(0xfe);
                bytes.extend((before as u32).to_le_bytes());
            }
            match *item {
                Item::Int(n @ 0..=12) => bytes.push(0xf1 + n as u8),
                Item::Int(n) if i8::try_from(n).is_ok() => bytes.extend([0xfe, n as u8]),
                Item::Int(n) if i16::try_from(n).is_ok() => {
                    bytes.push(0xc0);
                    bytes.extend((n as i16).to_le_bytes());
                }
                Item::Int(n) if (-(1 << 23)..1 << 23).contains(&n) => {
                    bytes.push(0xf0);
                    bytes.extend(&(n as i32).to_le_bytes()[..3]);
                }
                Item::Int(n) if i32::try_from(n).is_ok() => {
                    bytes.push(0xd0);
                    bytes.extend((n as i32).to_le_bytes());
                }
                Item::Int(n) => {
                    bytes.push(0xe0);
                    bytes.extend(n.to_le_bytes());
                }
                Item::Bytes(text) => {
                    match text.len() {
                        len @ 0..64 => bytes.push(len as u8),
                        len @ 64..16384 => bytes.extend((len as u16 | 0x4000).to_be_bytes()),
                        len => {
                            bytes.push(0x80);
                            bytes.extend((len as u32).to_be_bytes());
                        }
                    }
                    bytes.extend(text);
                }
            }
            before = bytes.len() - last;
        }
        if items.is_empty() {
            last = bytes.len();
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        bytes[8..10].copy_from_slice(&(items.len() as u16).to_le_bytes());
        bytes
    }

    #[test]
    fn every_element_becomes_one_of_the_listpack() {
        let long = vec![b'x'; 20_000];
        let items = [
            Item::Int(0),
            Item::Int(12),
            Item::Int(13),
            Item::Int(-1),
            Item::Int(-300),
            Item::Int(70_000),
            Item::Int(-70_000),
            Item::Int(1 << 30),
            Item::Int(i64::MIN),
            Item::Bytes(b""),
            Item::Bytes(b"text"),
            Item::Bytes(&long[..300]),
            Item::Bytes(&long),
            Item::Bytes(b"after a long one"),
        ];
        for count in 0..=items.len() {
            let bytes = ziplist(&items[..count]);
            let pack = to_listpack(&bytes).expect("well-formed");
            assert!(pack.iter().eq(items[..count].iter().copied()));
        }
        let bytes = ziplist(&items[..11]);
        for cut in 0..bytes.len() {
            assert!(to_listpack(&bytes[..cut]).is_none());
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = to_listpack(&bytes);
        }
    }
}
