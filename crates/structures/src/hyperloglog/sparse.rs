//! The sparse encoding: runs of equal registers.
//!
//! Raising a register splits the run it lies in and joins what has become equal nearby. Which runs get joined is
//! part of the format in so far as two servers fed alike should hold the same bytes, so it follows Redis.

use super::{Buffer, HEADER_SIZE, Invalid, REGISTERS};

/// The registers of an empty sketch: one long run of zeros.
pub(super) const EMPTY: [u8; 2] = [0x7f, 0xff];

/// The largest value a run can have; higher ones need the dense encoding.
const VALUE_MAX: u8 = 32;
/// The longest run of a value.
const VALUE_RUN_MAX: usize = 4;
/// The longest run of zeros in one byte.
const ZERO_RUN_MAX: usize = 64;

/// A run as it is written down.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) length: usize,
    /// Bytes it takes.
    pub(super) width: usize,
}

impl Run {
    /// Reads the run at the start of `bytes`.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        Some(if first & 0x80 != 0 {
            Run { value: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1, width: 1 }
        } else if first & 0x40 == 0 {
            Run { value: 0, length: usize::from(first) + 1, width: 1 }
        } else {
            let low = *bytes.get(1)?;
            Run { value: 0, length: (usize::from(first & 0x3f) << 8 | usize::from(low)) + 1, width: 2 }
        })
    }
}

/// Shows each run and its first register to `f`, as long as they fit; fails unless they add up to all registers.
pub(super) fn walk(mut bytes: &[u8], mut f: impl FnMut(usize, Run)) -> Result<(), Invalid> {
    let mut first = 0;
    while !bytes.is_empty() {
        let run = Run::read(bytes).ok_or(Invalid::Corrupted)?;
        if first + run.length > REGISTERS {
            return Err(Invalid::Corrupted);
        }
        f(first, run);
        first += run.length;
        bytes = &bytes[run.width..];
    }
    if first == REGISTERS { Ok(()) } else { Err(Invalid::Corrupted) }
}

/// What came of raising a register.
pub(super) enum Raised {
    /// It is at least as high as asked for, and was raised to be if true.
    Done(bool),
    /// It takes the dense encoding to hold the value or the runs.
    TooLarge,
}

/// Raises a register of a sketch that has a valid header.
pub(super) fn raise(
    sketch: &mut impl Buffer,
    register: usize,
    value: u8,
    size_max: usize,
) -> Result<Raised, Invalid> {
    if value > VALUE_MAX {
        return Ok(Raised::TooLarge);
    }
    let bytes = sketch.bytes();
    let (mut before, mut at, mut first) = (HEADER_SIZE, HEADER_SIZE, 0);
    let run = loop {
        let run = Run::read(&bytes[at..]).ok_or(Invalid::Corrupted)?;
        if register < first + run.length {
            break run;
        }
        before = at;
        at += run.width;
        first += run.length;
    };
    if run.value >= value {
        return Ok(Raised::Done(false));
    }

    // The run becomes up to three: what lies before the register, the register, and what lies after.
    let mut parts = Parts::default();
    parts.push(run.value, register - first);
    parts.push(value, 1);
    parts.push(run.value, first + run.length - register - 1);
    let parts = parts.as_slice();

    let end = bytes.len();
    let new_end = end - run.width + parts.len();
    if new_end > end && new_end > size_max {
        return Ok(Raised::TooLarge);
    }
    if new_end > end {
        sketch.resize(new_end);
    }
    let bytes = sketch.bytes_mut();
    bytes.copy_within(at + run.width..end, at + parts.len());
    bytes[at..at + parts.len()].copy_from_slice(parts);
    let joined_end = join_values(&mut bytes[..new_end], before);
    if joined_end < sketch.bytes().len() {
        sketch.resize(joined_end);
    }
    Ok(Raised::Done(true))
}

/// Joins equal neighbouring values around a change, starting from the run at `at`; returns where the bytes then end.
fn join_values(bytes: &mut [u8], mut at: usize) -> usize {
    let mut end = bytes.len();
    // Five runs are the one before, the three a run was split into, and the one after.
    let mut steps = 5;
    while at < end && steps > 0 {
        steps -= 1;
        let here = bytes[at];
        if here & 0x80 == 0 {
            at += if here & 0x40 == 0 { 1 } else { 2 };
            continue;
        }
        if at + 1 < end && bytes[at + 1] & 0xfc == here & 0xfc {
            let length = usize::from(here & 3) + usize::from(bytes[at + 1] & 3) + 2;
            if length <= VALUE_RUN_MAX {
                bytes.copy_within(at + 1..end, at);
                bytes[at] = here & 0xfc | (length - 1) as u8;
                end -= 1;
                // The joined run may fit the next one too.
                continue;
            }
        }
        at += 1;
    }
    end
}

/// The runs that replace one run, written down.
#[derive(Default)]
struct Parts {
    bytes: [u8; 5],
    used: usize,
}

impl Parts {
    fn push(&mut self, value: u8, length: usize) {
        match (value, length) {
            (_, 0) => {}
            (0, ..=ZERO_RUN_MAX) => self.push_byte((length - 1) as u8),
            (0, _) => {
                self.push_byte(0x40 | ((length - 1) >> 8) as u8);
                self.push_byte((length - 1) as u8);
            }
            _ => self.push_byte(0x80 | (value - 1) << 2 | (length - 1) as u8),
        }
    }

    fn push_byte(&mut self, byte: u8) {
        self.bytes[self.used] = byte;
        self.used += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}
