//! Strings as rows of bits: reading, counting, searching and combining them.
//!
//! ```text
//! byte     |       0       |       1       | …
//! offset    0 1 2 3 4 5 6 7 8 9 …              the highest bit of a byte comes first
//! ```
//!
//! Bits beyond the end of a string are 0 when read. Integers of any width at any offset are in [`field`]; making
//! a string long enough to write to is left to the caller.

pub mod field;

use crate::buf::Buf;

/// How [`combine`] makes one string of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits that are set in all strings.
    And,
    /// Bits that are set in any string.
    Or,
    /// Bits that are set in an odd number of strings.
    Xor,
    /// Bits that are not set in the only string.
    Not,
}

/// Combined results are built in pieces of this size, so that they stay in the cache until all sources are in.
const PIECE: usize = 16 << 10;

/// Returns the bit at `offset`.
#[inline]
pub fn get_bit(bytes: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at)).is_some_and(|byte| byte & mask(offset) != 0)
}

/// Sets the bit at `offset`, which must lie in `bytes`, and returns what it was.
#[inline]
pub fn set_bit(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let byte = &mut bytes[(offset / 8) as usize];
    let was = *byte & mask(offset) != 0;
    match on {
        true => *byte |= mask(offset),
        false => *byte &= !mask(offset),
    }
    was
}

/// Returns how many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= 64 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor was just asked for these features.
        return unsafe { count_ones_avx2(bytes) };
    }
    count_ones_portable(bytes)
}

/// Returns how many of the bits from `first` up to and including `last` are set.
pub fn count_ones_between(bytes: &[u8], first: u64, last: u64) -> u64 {
    let Some((first, last)) = clip(bytes, first, last) else { return 0 };
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    // The two ends may share a byte; what is outside of either is outside.
    let before = bytes[from] & !from_mask(first);
    let after = bytes[to] & !to_mask(last);
    count_ones(&bytes[from..=to]) - u64::from(before.count_ones() + after.count_ones())
}

/// Returns the offset of the first bit that is `on`, from `first` up to and including `last`.
///
/// Only bits within `bytes` are looked at; what follows from the zeros beyond is for the caller to say.
pub fn find_bit(bytes: &[u8], on: bool, first: u64, last: u64) -> Option<u64> {
    let (first, last) = clip(bytes, first, last)?;
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    // The bits searched for, as ones.
    let sought = |at: usize| if on { bytes[at] } else { !bytes[at] };
    let found = |at: usize, byte: u8| Some(at as u64 * 8 + u64::from(byte.leading_zeros()));

    let head = sought(from) & from_mask(first) & if from == to { to_mask(last) } else { 0xff };
    if head != 0 {
        return found(from, head);
    }
    if from == to {
        return None;
    }
    let middle = from + 1 + skip_bytes(&bytes[from + 1..to], if on { 0 } else { 0xff });
    let byte = sought(middle) & if middle == to { to_mask(last) } else { 0xff };
    if byte == 0 { None } else { found(middle, byte) }
}

/// Returns the combination of `sources`, as long as the longest of them; shorter ones go on with zeros.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Buf {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut out = Buf::new();
    out.zero_extend(len);
    for (number, piece) in out.as_mut_slice().chunks_mut(PIECE).enumerate() {
        let from = number * PIECE;
        let to = from + piece.len();
        let mut parts = sources.iter().map(|source| &source[from.min(source.len())..to.min(source.len())]);
        let Some(first) = parts.next() else { break };
        piece[..first.len()].copy_from_slice(first);
        match operation {
            Operation::Not => piece.iter_mut().for_each(|byte| *byte = !*byte),
            Operation::And => parts.for_each(|part| {
                let (shared, beyond) = piece.split_at_mut(part.len());
                shared.iter_mut().zip(part).for_each(|(byte, other)| *byte &= other);
                beyond.fill(0);
            }),
            Operation::Or => {
                parts.for_each(|part| piece.iter_mut().zip(part).for_each(|(byte, other)| *byte |= other));
            }
            Operation::Xor => {
                parts.for_each(|part| piece.iter_mut().zip(part).for_each(|(byte, other)| *byte ^= other));
            }
        }
    }
    out
}

#[inline]
fn mask(offset: u64) -> u8 {
    0x80 >> (offset & 7)
}

/// Returns the mask of the bits of a byte from that of `offset` on.
#[inline]
fn from_mask(offset: u64) -> u8 {
    0xff >> (offset & 7)
}

/// Returns the mask of the bits of a byte up to and including that of `offset`.
#[inline]
fn to_mask(offset: u64) -> u8 {
    0xff << (7 - (offset & 7))
}

/// Returns the part of a range that lies within `bytes`, unless it is empty.
fn clip(bytes: &[u8], first: u64, last: u64) -> Option<(u64, u64)> {
    let last = last.min((bytes.len() as u64 * 8).checked_sub(1)?);
    (first <= last).then_some((first, last))
}

/// Returns how many bytes at the beginning are `byte`.
fn skip_bytes(bytes: &[u8], byte: u8) -> usize {
    let word = u64::from_ne_bytes([byte; 8]);
    let words = bytes.as_chunks::<8>().0;
    let quads = words.as_chunks::<4>().0;
    let whole_quads = quads
        .iter()
        .take_while(|quad| quad.iter().fold(0, |differs, w| differs | (u64::from_ne_bytes(*w) ^ word)) == 0)
        .count();
    let skipped = whole_quads * 32;
    skipped + bytes[skipped..].iter().take_while(|&&other| other == byte).count()
}

#[inline(always)]
fn count_ones_portable(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum::<u64>()
        + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The same, which the compiler turns into vector instructions given the permission.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn count_ones_avx2(bytes: &[u8]) -> u64 {
    count_ones_portable(bytes)
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    fn bits(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8).map(|offset| get_bit(bytes, offset)).collect()
    }

    fn random_bytes(rng: &mut Rng) -> Vec<u8> {
        let len = rng.below(if rng.clone().below(4) == 0 { 300 } else { 12 });
        let kind = rng.below(3);
        (0..len)
            .map(|_| match kind {
                0 => rng.next_u64() as u8,
                kind if rng.below(60) == 0 => kind as u8,
                1 => 0,
                _ => 0xff,
            })
            .collect()
    }

    #[test]
    fn the_highest_bit_comes_first() {
        let mut bytes = [0, 0];
        assert!(!set_bit(&mut bytes, 0, true) && !set_bit(&mut bytes, 9, true));
        assert_eq!(bytes, [0x80, 0x40]);
        assert!(set_bit(&mut bytes, 9, false));
        assert!(
            get_bit(&bytes, 0) && !get_bit(&bytes, 9) && !get_bit(&bytes, 16) && !get_bit(&bytes, u64::MAX)
        );
    }

    #[test]
    fn counting_and_searching_agree_with_single_bits() {
        let mut rng = Rng::seeded(9);
        for _ in 0..6000 {
            let bytes = random_bytes(&mut rng);
            let bits = bits(&bytes);
            assert_eq!(count_ones(&bytes), bits.iter().filter(|&&bit| bit).count() as u64);
            let first = rng.below(bits.len() as u64 + 4);
            let last = match rng.below(3) {
                0 => first + rng.below(20),
                1 => u64::MAX,
                _ => rng.below(bits.len() as u64 + 4),
            };
            let range = || (first..=last.min(bits.len() as u64)).filter(|&at| at < bits.len() as u64);
            let ones = range().filter(|&at| bits[at as usize]).count() as u64;
            assert_eq!(count_ones_between(&bytes, first, last), ones, "{bytes:?} {first} {last}");
            for on in [false, true] {
                let expected = range().find(|&at| bits[at as usize] == on);
                assert_eq!(find_bit(&bytes, on, first, last), expected, "{bytes:?} {on} {first} {last}");
            }
        }
    }

    #[test]
    fn strings_combine_as_if_padded_with_zeros() {
        let mut rng = Rng::seeded(10);
        for round in 0..300 {
            let mut sources: Vec<Vec<u8>> = (0..1 + rng.below(4)).map(|_| random_bytes(&mut rng)).collect();
            if round % 30 == 0 {
                sources.push((0..PIECE + 100).map(|_| rng.next_u64() as u8).collect());
            }
            let views: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let len = views.iter().map(|view| view.len()).max().unwrap();
            let by_byte = |combine: fn(u8, u8) -> u8| -> Vec<u8> {
                let byte = |view: &[u8], at: usize| view.get(at).copied().unwrap_or(0);
                (0..len).map(|at| views.iter().map(|view| byte(view, at)).reduce(combine).unwrap()).collect()
            };
            assert_eq!(combine(Operation::And, &views).as_slice(), by_byte(|a, b| a & b));
            assert_eq!(combine(Operation::Or, &views).as_slice(), by_byte(|a, b| a | b));
            assert_eq!(combine(Operation::Xor, &views).as_slice(), by_byte(|a, b| a ^ b));
            let inverse: Vec<u8> = views[0].iter().map(|byte| !byte).collect();
            assert_eq!(combine(Operation::Not, &views[..1]).as_slice(), inverse);
        }
        assert!(combine(Operation::Or, &[]).is_empty());
        assert!(combine(Operation::Not, &[b""]).is_empty());
    }
}
