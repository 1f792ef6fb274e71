//! Zipmaps, as which the first versions wrote small hashes.
//!
//! ```text
//! | pairs (1) | field length | field | value length | unused (1) | value | unused bytes | … | 0xff |
//!
//! length    up to 253 in one byte; 254 and four bytes, low byte first
//! ```

use structures::Listpack;

const END: u8 = 0xff;
/// The number of pairs from which on the first byte no longer tells it.
const UNCOUNTED: u8 = 254;

/// Returns the listpack of a zipmap's fields and values, or nothing if any part of it is malformed.
pub(crate) fn to_listpack(bytes: &[u8]) -> Option<Listpack> {
    let (count, body) = bytes.split_first()?;
    let (end, mut rest) = body.split_last()?;
    if *end != END {
        return None;
    }
    let mut pack = Listpack::with_capacity(bytes.len());
    let mut pairs = 0usize;
    while !rest.is_empty() {
        let (len, tail) = length(rest)?;
        let (field, tail) = tail.split_at_checked(len)?;
        let (len, tail) = length(tail)?;
        let (unused, tail) = tail.split_first()?;
        let (value, tail) = tail.split_at_checked(len)?;
        rest = tail.get(usize::from(*unused)..)?;
        if !pack.has_room_for(field.len() + value.len() + 32) {
            return None;
        }
        pack.push_back(field);
        pack.push_back(value);
        pairs += 1;
    }
    pack.shrink_to_fit();
    (*count >= UNCOUNTED || usize::from(*count) == pairs).then_some(pack)
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [254, a, b, c, d, rest @ ..] => Some((u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest)),
        [255, ..] | [] | [254, ..] => None,
        [len, rest @ ..] => Some((usize::from(*len), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_elements_and_unused_bytes_go() {
        let bytes = b"\x02\x03foo\x03\x02bar??\x01a\x00\x00\xff";
        let pack = to_listpack(bytes).expect("well-formed");
        let texts: Vec<_> = pack.iter().map(|item| item.to_vec()).collect();
        assert_eq!(texts, [&b"foo"[..], b"bar", b"a", b""]);
        for cut in 0..bytes.len() {
            assert!(to_listpack(&bytes[..cut]).is_none());
        }
        assert!(to_listpack(b"\x01\xfe\xff\xff\xff\xffa\xff").is_none());
        assert!(to_listpack(b"\x01\x01a\x01\x00b\x01b\x01\x00b\xff").is_none());
        assert_eq!(to_listpack(b"\x00\xff").map(|pack| pack.len()), Some(0));
    }
}
