//! Keyed hashing of short byte strings: SipHash-1-3 under a secret the caller drew.
//!
//! Owns the function and its seed. Where the secret comes from, and what is looked up with the hash, is left to others.

/// The secret a table hashes its keys with, so that no client can aim at one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed(pub [u64; 2]);

impl HashSeed {
    /// Returns the SipHash-1-3 of `bytes` under this seed.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        sip::<1, 3>(self.0, bytes)
    }
}

/// SipHash with `C` rounds per eight bytes and `D` rounds at the end.
#[inline(always)]
fn sip<const C: usize, const D: usize>(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = State {
        v0: key[0] ^ 0x736f_6d65_7073_6575,
        v1: key[1] ^ 0x646f_7261_6e64_6f6d,
        v2: key[0] ^ 0x6c79_6765_6e65_7261,
        v3: key[1] ^ 0x7465_6462_7974_6573,
    };
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb::<C>(u64::from_le_bytes(*word));
    }
    state.absorb::<C>(last_word(bytes));
    state.v2 ^= 0xff;
    state.rounds::<D>();
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

/// Returns the bytes after the last whole word, little-endian, with the length in the top byte.
#[inline(always)]
fn last_word(bytes: &[u8]) -> u64 {
    let rest = bytes.len() % 8;
    let tail = if let Some(word) = bytes.last_chunk::<8>() {
        // The word that ends with the text overlaps the one before it; the shift drops what was already absorbed
        // (in two halves, because all 64 bits go when nothing is left over).
        let unused = 8 * (8 - rest) as u32;
        u64::from_le_bytes(*word) >> (unused / 2) >> (unused / 2)
    } else if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        u64::from(low) | u64::from(high) << (8 * (rest - 4))
    } else if let [first, .., last] = bytes {
        let middle = u64::from(bytes[rest / 2]) << (8 * (rest / 2));
        u64::from(*first) | middle | u64::from(*last) << (8 * (rest - 1))
    } else {
        bytes.first().map_or(0, |&byte| u64::from(byte))
    };
    tail | (bytes.len() as u64) << 56
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn absorb<const ROUNDS: usize>(&mut self, word: u64) {
        self.v3 ^= word;
        self.rounds::<ROUNDS>();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn rounds<const ROUNDS: usize>(&mut self) {
        for _ in 0..ROUNDS {
            self.v0 = self.v0.wrapping_add(self.v1);
            self.v2 = self.v2.wrapping_add(self.v3);
            self.v1 = self.v1.rotate_left(13) ^ self.v0;
            self.v3 = self.v3.rotate_left(16) ^ self.v2;
            self.v0 = self.v0.rotate_left(32);
            self.v2 = self.v2.wrapping_add(self.v1);
            self.v0 = self.v0.wrapping_add(self.v3);
            self.v1 = self.v1.rotate_left(17) ^ self.v2;
            self.v3 = self.v3.rotate_left(21) ^ self.v0;
            self.v2 = self.v2.rotate_left(32);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::*;

    #[test]
    fn agrees_with_the_standard_library_on_every_short_length() {
        let text: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(37).wrapping_add(11)).collect();
        for len in 0..=text.len() {
            let mut hasher = DefaultHasher::new(); // SipHash-1-3 under a key of zeros.
            hasher.write(&text[..len]);
            assert_eq!(HashSeed([0, 0]).hash(&text[..len]), hasher.finish(), "length {len}");
        }
    }

    #[test]
    fn agrees_with_the_published_vector_of_siphash_2_4() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let text: Vec<u8> = (0..15).collect();
        assert_eq!(sip::<2, 4>(key, &text), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn seeds_give_unrelated_hashes() {
        assert_ne!(HashSeed([1, 2]).hash(b"key"), HashSeed([2, 1]).hash(b"key"));
    }
}
