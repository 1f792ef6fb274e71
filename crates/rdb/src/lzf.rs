//! LZF, the compression of long strings in snapshots.
//!
//! ```text
//! 000lllll  l+1 bytes                          so many bytes as they are
//! LLLooooo  oooooooo                           L+2 bytes from o+1 bytes back, L from 1 to 6
//! 111ooooo  llllllll  oooooooo                 l+9 bytes from o+1 bytes back
//! ```
//!
//! Matches are found through one slot for each hash of three bytes. Which three bytes share a slot, and which of them
//! are entered, decides what the output is byte for byte; all of that is as in liblzf (with `VERY_FAST`, as Redis builds
//! it), so that equal values have equal dumps on both servers.

/// Bits of a hash.
const HASH_BITS: u32 = 16;
/// Most bytes in one run of literals.
const LITERALS_MAX: usize = 32;
/// Most bytes that a reference goes back.
const OFFSET_MAX: usize = 1 << 13;
/// Most bytes that a reference copies.
const MATCH_MAX: usize = (1 << 8) + (1 << 3);

/// How many times as long as its input an output can be at most: three bytes stand for [`MATCH_MAX`].
const EXPANSION_MAX: usize = MATCH_MAX / 3;

/// A compressor, which keeps its table from one input to the next so that it need not be cleared each time.
pub struct Compressor {
    /// Where three bytes of each hash were seen last: `base` plus one plus the place, less than that if elsewhere.
    seen: Box<[u32]>,
    /// What the places of this input are counted from.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor::new()
    }
}

/// Returns the slot of the three bytes that end `rolled`.
#[inline(always)]
fn slot(rolled: u32) -> usize {
    ((rolled >> (24 - HASH_BITS)).wrapping_sub(rolled.wrapping_mul(5)) & ((1 << HASH_BITS) - 1)) as usize
}

impl Compressor {
    /// Returns a compressor; its table takes 256 KB.
    pub fn new() -> Compressor {
        Compressor { seen: vec![0; 1 << HASH_BITS].into(), base: 0 }
    }

    /// Replaces what `out` holds by `input` compressed to at most `limit` bytes; returns whether it fits.
    pub fn compress(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Ok(len) = u32::try_from(input.len()) else { return false };
        if input.is_empty() || limit == 0 {
            return false;
        }
        let base = match self.base.checked_add(len).and_then(|end| end.checked_add(1)) {
            Some(end) => std::mem::replace(&mut self.base, end),
            None => {
                self.seen.fill(0);
                self.base = len.saturating_add(1);
                0
            }
        };
        if self.base == u32::MAX {
            return false; // Four gigabytes: no string is that long.
        }
        out.reserve(limit);
        let fits = self.run(input, base, limit, out);
        if !fits {
            out.clear();
        }
        fits
    }

    fn run(&mut self, input: &[u8], base: u32, limit: usize, out: &mut Vec<u8>) -> bool {
        let Ok(seen) = <&mut [u32; 1 << HASH_BITS]>::try_from(&mut *self.seen) else { return false };
        let end = input.len();
        let (mut at, mut literals) = (0, 0usize);
        // Every run of literals begins with a byte for their number.
        out.push(0);
        let mut rolled = u32::from(input[0]) << 8 | u32::from(*input.get(1).unwrap_or(&0));
        while at + 2 < end {
            rolled = rolled << 8 | u32::from(input[at + 2]);
            let place = &mut seen[slot(rolled)];
            let before = *place;
            *place = base + at as u32 + 1;
            // Slots of earlier inputs are at most `base`; so is, as in liblzf, the first byte of this one no match.
            let found = (before > base + 1).then(|| (before - base - 1) as usize);
            let Some(from) =
                found.filter(|from| at - from <= OFFSET_MAX && input[*from..from + 3] == input[at..at + 3])
            else {
                if out.len() >= limit {
                    return false;
                }
                out.push(input[at]);
                at += 1;
                literals += 1;
                if literals == LITERALS_MAX {
                    end_literals(out, literals);
                    literals = 0;
                    out.push(0);
                }
                continue;
            };
            let room = out.len() - usize::from(literals == 0) + 4;
            if room >= limit {
                return false;
            }
            let offset = at - from - 1;
            let len = match_len(input, from, at, (end - at - 2).min(MATCH_MAX));
            end_literals(out, literals);
            literals = 0;
            let code = len - 2;
            if code < 7 {
                out.push((code as u8) << 5 | (offset >> 8) as u8);
            } else {
                out.extend_from_slice(&[7 << 5 | (offset >> 8) as u8, (code - 7) as u8]);
            }
            out.extend_from_slice(&[offset as u8, 0]);
            at += len;
            if at + 2 >= end {
                break;
            }
            // Only the last two places of a match are entered.
            rolled = u32::from(input[at - 2]) << 8 | u32::from(input[at - 1]);
            rolled = rolled << 8 | u32::from(input[at]);
            seen[slot(rolled)] = base + (at - 2) as u32 + 1;
            rolled = rolled << 8 | u32::from(input[at + 1]);
            seen[slot(rolled)] = base + (at - 1) as u32 + 1;
        }
        if out.len() + 3 > limit {
            return false;
        }
        for byte in &input[at..] {
            out.push(*byte);
            literals += 1;
            if literals == LITERALS_MAX {
                end_literals(out, literals);
                literals = 0;
                out.push(0);
            }
        }
        end_literals(out, literals);
        true
    }
}

/// Writes the number of literals before them, or takes the byte for it back if there are none.
#[inline(always)]
fn end_literals(out: &mut Vec<u8>, literals: usize) {
    if literals == 0 {
        out.pop();
    } else {
        let at = out.len() - literals - 1;
        out[at] = (literals - 1) as u8;
    }
}

/// Returns how many bytes two places have in common, 3 being known, where `left` and two more are left.
///
/// The last two are not meant to count, but liblzf overlooks that where it has compared sixteen bytes at once, and
/// where there are just the three.
#[inline(always)]
fn match_len(input: &[u8], from: usize, at: usize, left: usize) -> usize {
    let most = if left > 16 { left.max(19) } else { left.max(3) };
    let (one, other) = (&input[from..from + most], &input[at..at + most]);
    3 + one[3..].iter().zip(&other[3..]).take_while(|(a, b)| a == b).count()
}

/// Appends to `out` what `input` decompresses to, which must be `len` bytes; returns whether it is.
///
/// Takes no more memory than `input` can fill.
pub fn decompress(input: &[u8], len: usize, out: &mut Vec<u8>) -> bool {
    if len / EXPANSION_MAX > input.len() {
        return false;
    }
    let start = out.len();
    out.reserve(len);
    let mut rest = input;
    while let [control, tail @ ..] = rest {
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let Some((literals, tail)) = tail.split_at_checked(control + 1) else { return false };
            out.extend_from_slice(literals);
            rest = tail;
        } else {
            let (count, tail) = match (control >> 5, tail) {
                (7, [more, tail @ ..]) => (usize::from(*more) + 9, tail),
                (7, []) => return false,
                (short, tail) => (short + 2, tail),
            };
            let [low, tail @ ..] = tail else { return false };
            rest = tail;
            let back = ((control & 0x1f) << 8 | usize::from(*low)) + 1;
            let Some(from) = out.len().checked_sub(back).filter(|from| *from >= start) else { return false };
            if back >= count {
                out.extend_from_within(from..from + count);
            } else {
                // The copy reads what it has just written.
                let mut left = count;
                while left > 0 {
                    let step = left.min(out.len() - from);
                    out.extend_from_within(from..from + step);
                    left -= step;
                }
            }
        }
        if out.len() - start > len {
            return false;
        }
    }
    out.len() - start == len
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let (mut rng, mut compressor) = (Rng::seeded(1), Compressor::new());
        let (mut packed, mut count) = (Vec::new(), 0);
        for round in 0..3000u64 {
            let len = 1 + rng.below([30, 300, 3000, 30_000][round as usize % 4]) as usize;
            let letters = 1 + rng.below(if round % 3 == 0 { 256 } else { 4 });
            let mut input: Vec<u8> = (0..len).map(|_| rng.below(letters) as u8).collect();
            if round % 5 == 0 {
                input = format!("field:{round}").into_bytes().repeat(1 + len / 12);
            }
            if !compressor.compress(&input, input.len().saturating_sub(4), &mut packed) {
                continue;
            }
            count += 1;
            assert!(packed.len() + 4 <= input.len());
            let mut back = b"before".to_vec();
            assert!(decompress(&packed, input.len(), &mut back));
            assert_eq!(&back[6..], input);
            // A longer or shorter claim is no good, nor is half of the input.
            assert!(!decompress(&packed, input.len() + 1, &mut Vec::new()));
            assert!(!decompress(&packed, input.len() - 1, &mut Vec::new()));
            assert!(!decompress(&packed[..packed.len() / 2], input.len(), &mut Vec::new()));
            let at = rng.below(packed.len() as u64) as usize;
            packed[at] ^= 1 << rng.below(8);
            decompress(&packed, input.len(), &mut Vec::new());
        }
        assert!(count > 1000, "{count}");
    }

    #[test]
    fn the_table_outlives_four_gigabytes() {
        let (mut compressor, mut out) = (Compressor::new(), Vec::new());
        compressor.base = u32::MAX - 200;
        for _ in 0..5 {
            assert!(compressor.compress(&[b'x'; 100], 96, &mut out));
            assert_eq!(out.len(), 9);
        }
        assert!(compressor.base < 1000);
    }

    #[test]
    fn a_claim_takes_no_memory() {
        let mut out = Vec::new();
        assert!(!decompress(b"\x00a", usize::MAX, &mut out));
        assert!(out.capacity() < 1000);
    }
}
