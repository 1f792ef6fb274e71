//! [`Field`]: an integer of 1 to 64 bits at any bit offset of a string.
//!
//! ```text
//! offset 5, 6 bits:   |. . . . . x x x|x x x . . . . .|     the highest bit first
//! ```

/// A kind of integer: its width, and whether it has a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    signed: bool,
    bits: u8,
}

/// What becomes of a number that a field cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Its low bits are kept.
    #[default]
    Wrap,
    /// The nearest number that fits takes its place.
    Saturate,
    /// There is no result.
    Fail,
}

impl Field {
    /// Returns the integer type of so many bits: 1 to 64 with a sign, 1 to 63 without.
    pub fn new(signed: bool, bits: u8) -> Option<Field> {
        let most = if signed { 64 } else { 63 };
        (1..=most).contains(&bits).then_some(Field { signed, bits })
    }

    /// Returns the number of bits.
    #[inline]
    pub fn bits(self) -> u64 {
        u64::from(self.bits)
    }

    /// Tells whether the type has negative numbers.
    #[inline]
    pub fn is_signed(self) -> bool {
        self.signed
    }

    /// Returns the number at bit `offset`; bits beyond the end are 0.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let at = usize::try_from(offset / 8).unwrap_or(usize::MAX).min(bytes.len());
        let present = &bytes[at..bytes.len().min(at.saturating_add(9))];
        let mut window = [0; 16];
        window[..present.len()].copy_from_slice(present);
        // The field's bits come to stand at the top.
        let aligned = u128::from_be_bytes(window) << (offset & 7);
        match self.signed {
            true => (aligned as i128 >> (128 - u32::from(self.bits))) as i64,
            false => (aligned >> (128 - u32::from(self.bits))) as i64,
        }
    }

    /// Writes the low bits of `value` at bit `offset`; all of the field must lie in `bytes`.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let (at, shift) = ((offset / 8) as usize, (offset & 7) as u32);
        let touched = (shift + u32::from(self.bits)).div_ceil(8) as usize;
        let place = &mut bytes[at..at + touched];
        let mut window = [0; 16];
        window[..touched].copy_from_slice(place);
        let top = 128 - u32::from(self.bits);
        let mask = u128::MAX << top >> shift;
        let value = (value as u128) << top >> shift;
        let merged = u128::from_be_bytes(window) & !mask | value;
        place.copy_from_slice(&merged.to_be_bytes()[..touched]);
    }

    /// Returns `value` as the field can hold it; for an unsigned one its 64 bits count as unsigned, too.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        match self.signed {
            true => self.settle(i128::from(value), overflow),
            false => self.settle(i128::from(value as u64), overflow),
        }
    }

    /// Returns `value`, which the field holds, plus `increment`.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        self.settle(i128::from(value) + i128::from(increment), overflow)
    }

    fn settle(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = match self.signed {
            true => (-1i128 << (self.bits - 1), (1i128 << (self.bits - 1)) - 1),
            false => (0, (1i128 << self.bits) - 1),
        };
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
            Overflow::Wrap => {
                let unused = 128 - u32::from(self.bits);
                Some(match self.signed {
                    true => (value << unused >> unused) as i64,
                    false => ((value as u128) << unused >> unused) as i64,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;
    use crate::bitmap::get_bit;

    fn field(signed: bool, bits: u8) -> Field {
        Field::new(signed, bits).unwrap()
    }

    #[test]
    fn widths_are_those_of_redis() {
        assert_eq!(Field::new(false, 64), None);
        assert_eq!(Field::new(true, 65), None);
        assert_eq!(Field::new(true, 0), None);
        assert_eq!((field(true, 64).bits(), field(false, 63).is_signed()), (64, false));
    }

    #[test]
    fn fields_are_read_and_written_bit_by_bit() {
        let mut rng = Rng::seeded(4);
        for _ in 0..20_000 {
            let signed = rng.below(2) == 0;
            let field = field(signed, 1 + rng.below(if signed { 64 } else { 63 }) as u8);
            let mut bytes: Vec<u8> = (0..9 + rng.below(6)).map(|_| rng.next_u64() as u8).collect();
            let before = bytes.clone();
            let offset = rng.below(bytes.len() as u64 * 8 - field.bits() + 1);
            let value = rng.next_u64() as i64;
            field.set(&mut bytes, offset, value);
            for at in 0..bytes.len() as u64 * 8 {
                let expected = match at.checked_sub(offset) {
                    Some(place) if place < field.bits() => value >> (field.bits() - 1 - place) & 1 == 1,
                    _ => get_bit(&before, at),
                };
                assert_eq!(get_bit(&bytes, at), expected);
            }
            let wrapped = field.fit(value, Overflow::Wrap);
            assert_eq!(Some(field.get(&bytes, offset)), wrapped);
        }
    }

    #[test]
    fn bits_beyond_the_end_are_zero() {
        assert_eq!(field(true, 16).get(&[0xff], 0), -256);
        assert_eq!(field(false, 16).get(&[0xff], 4), 0xf000);
        assert_eq!(field(true, 64).get(&[], 3), 0);
        assert_eq!(field(false, 63).get(&[1], u64::MAX - 100), 0);
    }

    #[test]
    fn overflow_wraps_saturates_or_fails() {
        use Overflow::{Fail, Saturate, Wrap};
        let (i8_, u8_, i64_, u63) = (field(true, 8), field(false, 8), field(true, 64), field(false, 63));
        let cases = [
            (i8_, 127, 1, -128, 127),
            (i8_, -128, -1, 127, -128),
            (i8_, 100, 300, -112, 127),
            (u8_, 255, 2, 1, 255),
            (u8_, 1, -2, 255, 0),
            (i64_, i64::MAX, 1, i64::MIN, i64::MAX),
            (i64_, i64::MIN, i64::MIN, 0, i64::MIN),
            (u63, i64::MAX, 1, 0, i64::MAX),
            (u63, 0, -1, i64::MAX, 0),
        ];
        for (field, value, increment, wrapped, saturated) in cases {
            assert_eq!(field.add(value, increment, Wrap), Some(wrapped), "{field:?} {value} {increment}");
            assert_eq!(
                field.add(value, increment, Saturate),
                Some(saturated),
                "{field:?} {value} {increment}"
            );
            assert_eq!(field.add(value, increment, Fail), None);
        }
        assert_eq!(i8_.add(-100, 50, Fail), Some(-50));
        // A negative number is, to an unsigned field, a very large one.
        assert_eq!(
            (u8_.fit(-1, Wrap), u8_.fit(-1, Saturate), u8_.fit(-1, Fail)),
            (Some(255), Some(255), None)
        );
        assert_eq!((i8_.fit(-129, Wrap), i8_.fit(-129, Saturate)), (Some(127), Some(-128)));
    }
}
