//! HyperLogLog in the byte format that Redis keeps in strings.
//!
//! Owns the format: hashing, both encodings, estimates, merging, and refusing bytes that are something else.
//! Leaves keys and replies to others; every function works on the bytes of one string.
//!
//! ```text
//!  0        4          5         8                      16
//! ┌────────┬──────────┬─────────┬──────────────────────┬───────────────────────┐
//! │ "HYLL" │ encoding │ unused  │ cached estimate, LE; │ registers, dense (0)  │
//! │        │  0 or 1  │ 3 bytes │ top bit set: stale   │ or sparse (1)         │
//! └────────┴──────────┴─────────┴──────────────────────┴───────────────────────┘
//!
//! dense    16384 registers of 6 bits, the first in the low bits of the first byte: 12288 bytes
//!
//! sparse   00llllll            l + 1 registers are 0
//!          01llllll llllllll   l + 1 registers are 0, l being big-endian
//!          1vvvvvll            l + 1 registers are v + 1
//! ```

mod sparse;

use std::fmt;
use std::fmt::Write as _;

use base::rng::Rng;

use crate::buf::Buf;

/// Registers in a sketch; 14 bits of a hash choose one.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

const REGISTER_BITS: u32 = 14;
/// Hash bits that are left to count zeros in.
const PATTERN_BITS: u32 = 64 - REGISTER_BITS;
const HEADER_SIZE: usize = 16;
const DENSE_SIZE: usize = HEADER_SIZE + REGISTERS * 6 / 8;
const HASH_SEED: u64 = 0xadc8_3b19;
/// The largest value that six bits hold.
const REGISTER_MAX: usize = 63;

/// A byte string of any length, as whoever stores the sketch keeps it.
pub trait Buffer {
    /// Returns the bytes.
    fn bytes(&self) -> &[u8];
    /// Returns the bytes to be written to.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes the string `len` bytes long, adding zeros or cutting off at its end.
    fn resize(&mut self, len: usize);
}

impl Buffer for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn resize(&mut self, len: usize) {
        Vec::resize(self, len, 0);
    }
}

impl Buffer for Buf {
    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }

    fn resize(&mut self, len: usize) {
        self.truncate(len);
        self.zero_extend(len);
    }
}

/// Why bytes are not a sketch; its text is the error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The string is something else.
    NotHyperLogLog,
    /// The header is right, but the registers make no sense.
    Corrupted,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::NotHyperLogLog => "WRONGTYPE Key is not a valid HyperLogLog string value.",
            Invalid::Corrupted => "INVALIDOBJ Corrupted HLL object detected",
        })
    }
}

impl std::error::Error for Invalid {}

/// How the registers are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

impl Encoding {
    /// Returns the name that PFDEBUG ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// Returns an empty sketch.
pub fn create() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_SIZE];
    bytes[..4].copy_from_slice(b"HYLL");
    bytes[4] = 1;
    bytes.extend_from_slice(&sparse::EMPTY);
    bytes
}

/// Returns the encoding of a sketch, or why the bytes are none.
///
/// Looks at the header and the size only; sparse registers are checked by whoever walks them.
pub fn encoding(bytes: &[u8]) -> Result<Encoding, Invalid> {
    if bytes.len() < HEADER_SIZE || !bytes.starts_with(b"HYLL") {
        return Err(Invalid::NotHyperLogLog);
    }
    match bytes[4] {
        0 if bytes.len() == DENSE_SIZE => Ok(Encoding::Dense),
        1 => Ok(Encoding::Sparse),
        _ => Err(Invalid::NotHyperLogLog),
    }
}

/// Adds an element; returns whether a register changed, and if so marks the cached estimate as stale.
///
/// A sparse sketch becomes a dense one rather than exceed `sparse_max` bytes.
pub fn add(sketch: &mut impl Buffer, element: &[u8], sparse_max: usize) -> Result<bool, Invalid> {
    let (register, value) = locate(element);
    set(sketch, register, value, sparse_max)
}

/// Returns the estimated number of elements, whatever the cache says.
pub fn count(bytes: &[u8]) -> Result<u64, Invalid> {
    let mut histogram = [0; REGISTER_MAX + 1];
    match encoding(bytes)? {
        Encoding::Dense => count_dense(&bytes[HEADER_SIZE..], &mut histogram),
        Encoding::Sparse => {
            sparse::walk(&bytes[HEADER_SIZE..], |_, run| {
                histogram[usize::from(run.value)] += run.length as u32
            })?;
        }
    }
    Ok(estimate(&histogram))
}

/// Returns the cached estimate unless it is stale.
pub fn cached_count(bytes: &[u8]) -> Result<Option<u64>, Invalid> {
    encoding(bytes)?;
    let cached = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
    Ok((cached >> 63 == 0).then_some(cached))
}

/// Stores an estimate in the cache of a sketch.
pub fn cache_count(bytes: &mut [u8], count: u64) -> Result<(), Invalid> {
    encoding(bytes)?;
    bytes[8..16].copy_from_slice(&count.to_le_bytes());
    Ok(())
}

/// Marks the cached estimate as stale.
pub fn invalidate_cache(bytes: &mut [u8]) -> Result<(), Invalid> {
    encoding(bytes)?;
    bytes[15] |= 0x80;
    Ok(())
}

/// Makes a sketch dense; returns whether it was not.
pub fn to_dense(sketch: &mut impl Buffer) -> Result<bool, Invalid> {
    if encoding(sketch.bytes())? == Encoding::Dense {
        return Ok(false);
    }
    let mut registers = vec![0; DENSE_SIZE - HEADER_SIZE];
    sparse::walk(&sketch.bytes()[HEADER_SIZE..], |first, run| {
        if run.value > 0 {
            (first..first + run.length).for_each(|register| dense_set(&mut registers, register, run.value));
        }
    })?;
    sketch.resize(DENSE_SIZE);
    let bytes = sketch.bytes_mut();
    bytes[4] = 0;
    bytes[HEADER_SIZE..].copy_from_slice(&registers);
    Ok(true)
}

/// Returns the runs of a sparse sketch as PFDEBUG DECODE replies them, or nothing for a dense one.
pub fn decode(bytes: &[u8]) -> Result<Option<String>, Invalid> {
    if encoding(bytes)? == Encoding::Dense {
        return Ok(None);
    }
    let mut text = String::new();
    sparse::walk(&bytes[HEADER_SIZE..], |_, run| {
        let gap = if text.is_empty() { "" } else { " " };
        let written = match (run.value, run.width) {
            (0, 1) => write!(text, "{gap}z:{}", run.length),
            (0, _) => write!(text, "{gap}Z:{}", run.length),
            (value, _) => write!(text, "{gap}v:{value},{}", run.length),
        };
        written.expect("a String takes all text");
    })?;
    Ok(Some(text))
}

/// The registers of one sketch or the union of several, a byte each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Registers {
        Registers::new()
    }
}

impl Registers {
    /// Returns the registers of an empty sketch.
    pub fn new() -> Registers {
        Registers(Box::new([0; REGISTERS]))
    }

    /// Returns the values.
    pub fn as_slice(&self) -> &[u8] {
        &self.0[..]
    }

    /// Raises every register to its value in a sketch; returns how that one is encoded.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<Encoding, Invalid> {
        let encoding = encoding(bytes)?;
        let registers = &bytes[HEADER_SIZE..];
        match encoding {
            Encoding::Dense => {
                for (ours, theirs) in self.0.chunks_exact_mut(8).zip(registers.chunks_exact(6)) {
                    let word = dense_word(theirs);
                    for (index, value) in ours.iter_mut().enumerate() {
                        *value = (*value).max((word >> (6 * index)) as u8 & 63);
                    }
                }
            }
            Encoding::Sparse => sparse::walk(registers, |first, run| {
                if run.value > 0 {
                    let ours = &mut self.0[first..first + run.length];
                    ours.iter_mut().for_each(|value| *value = (*value).max(run.value));
                }
            })?,
        }
        Ok(encoding)
    }

    /// Returns the estimated number of elements.
    pub fn count(&self) -> u64 {
        let mut histogram = [0; REGISTER_MAX + 1];
        self.0.iter().for_each(|value| histogram[usize::from(*value)] += 1);
        estimate(&histogram)
    }

    /// Raises the registers of a sketch to these and marks its cached estimate as stale.
    pub fn store(&self, sketch: &mut impl Buffer, sparse_max: usize) -> Result<(), Invalid> {
        for (register, &value) in self.0.iter().enumerate() {
            if value > 0 {
                set(sketch, register, value, sparse_max)?;
            }
        }
        invalidate_cache(sketch.bytes_mut())
    }
}

/// Checks that registers keep what they are given and that estimates are near the truth, as PFSELFTEST does.
///
/// Takes a second or so. The error is the text of the reply.
pub fn self_test(seed: u64, sparse_max: usize) -> Result<(), String> {
    let mut rng = Rng::seeded(seed);
    let mut dense = create();
    to_dense(&mut dense).expect("an empty sketch is valid");
    let mut expected = vec![0; REGISTERS];
    for _ in 0..1000 {
        for (register, value) in expected.iter_mut().enumerate() {
            *value = rng.next_u64() as u8 & 63;
            dense_set(&mut dense[HEADER_SIZE..], register, *value);
        }
        for (register, &value) in expected.iter().enumerate() {
            let found = dense_get(&dense[HEADER_SIZE..], register);
            if found != value {
                return Err(format!("TESTFAILED Register {register} should be {value} but is {found}"));
            }
        }
    }

    dense[HEADER_SIZE..].fill(0);
    let mut sparse = create();
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let salt = rng.next_u64();
    let mut checkpoint = 1;
    for added in 1..=10_000_000u64 {
        let element = (added ^ salt).to_le_bytes();
        let failed = |_| "TESTFAILED a sketch of our own is invalid".to_owned();
        add(&mut dense, &element, sparse_max).map_err(failed)?;
        add(&mut sparse, &element, sparse_max).map_err(failed)?;
        if added != checkpoint {
            continue;
        }
        if added < sparse_max as u64 / 2 && encoding(&sparse) != Ok(Encoding::Sparse) {
            return Err("TESTFAILED sparse encoding not used".to_owned());
        }
        let counted = count(&dense).map_err(failed)?;
        if count(&sparse) != Ok(counted) {
            return Err("TESTFAILED dense/sparse disagree".to_owned());
        }
        // Ten elements collide now and then, which is a large error for so few.
        let tolerated = if added == 10 { 1 } else { (standard_error * 6.0 * added as f64).ceil() as u64 };
        let error = added.abs_diff(counted);
        if error > tolerated {
            return Err(format!("TESTFAILED Too big error. card:{added} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

/// Raises one register; returns whether it was lower.
fn set(sketch: &mut impl Buffer, register: usize, value: u8, sparse_max: usize) -> Result<bool, Invalid> {
    let raised = match encoding(sketch.bytes())? {
        Encoding::Dense => dense_raise(&mut sketch.bytes_mut()[HEADER_SIZE..], register, value),
        Encoding::Sparse => match sparse::raise(sketch, register, value, sparse_max)? {
            sparse::Raised::Done(raised) => raised,
            sparse::Raised::TooLarge => {
                to_dense(sketch)?;
                dense_raise(&mut sketch.bytes_mut()[HEADER_SIZE..], register, value)
            }
        },
    };
    if raised {
        sketch.bytes_mut()[15] |= 0x80;
    }
    Ok(raised)
}

/// Returns the register an element belongs to and the value it asks for: the place of the first 1 bit.
#[inline]
fn locate(element: &[u8]) -> (usize, u8) {
    let hash = murmur_hash_64a(element, HASH_SEED);
    let register = hash as usize & (REGISTERS - 1);
    let pattern = hash >> REGISTER_BITS | 1 << PATTERN_BITS;
    (register, pattern.trailing_zeros() as u8 + 1)
}

/// Returns the MurmurHash64A of `bytes`, words read as little-endian.
fn murmur_hash_64a(bytes: &[u8], seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

/// Returns where a dense register lies: the start of its group of four in three bytes, and the shift within.
#[inline]
fn dense_place(register: usize) -> (usize, u32) {
    (register / 4 * 3, register as u32 % 4 * 6)
}

#[inline]
fn dense_get(registers: &[u8], register: usize) -> u8 {
    let (start, shift) = dense_place(register);
    let group = u32::from_le_bytes([registers[start], registers[start + 1], registers[start + 2], 0]);
    (group >> shift) as u8 & 63
}

#[inline]
fn dense_set(registers: &mut [u8], register: usize, value: u8) {
    let (start, shift) = dense_place(register);
    let group = &mut registers[start..start + 3];
    let word = u32::from_le_bytes([group[0], group[1], group[2], 0]);
    let word = word & !(63 << shift) | u32::from(value) << shift;
    group.copy_from_slice(&word.to_le_bytes()[..3]);
}

#[inline]
fn dense_raise(registers: &mut [u8], register: usize, value: u8) -> bool {
    let raised = value > dense_get(registers, register);
    if raised {
        dense_set(registers, register, value);
    }
    raised
}

/// Returns eight dense registers of six bytes as one word.
#[inline]
fn dense_word(group: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..6].copy_from_slice(group);
    u64::from_le_bytes(word)
}

fn count_dense(registers: &[u8], histogram: &mut [u32; REGISTER_MAX + 1]) {
    // Two halves, so that equal neighbours do not wait for each other's sum.
    let mut odd = [0; REGISTER_MAX + 1];
    for group in registers.chunks_exact(6) {
        let word = dense_word(group);
        for pair in 0..4 {
            histogram[(word >> (12 * pair)) as usize & 63] += 1;
            odd[(word >> (12 * pair + 6)) as usize & 63] += 1;
        }
    }
    histogram.iter_mut().zip(odd).for_each(|(sum, odd)| *sum += odd);
}

/// Returns the estimate for a histogram of register values, after Ertl, arXiv:1702.01284, algorithm 6.
fn estimate(histogram: &[u32; REGISTER_MAX + 1]) -> u64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let saturated = PATTERN_BITS as usize + 1;
    let mut z = m * tau((m - f64::from(histogram[saturated])) / m);
    for value in (1..saturated).rev() {
        z = (z + f64::from(histogram[value])) * 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

/// Ertl's σ, which corrects for registers still at zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's τ, which corrects for registers that cannot grow further.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests;
