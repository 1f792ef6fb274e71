//! `ReplId`: the name of a history, 40 hexadecimal digits.

use std::fmt;

use base::rng::Rng;

/// The name of a history of writes, or of a server's run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplId([u8; ReplId::LEN]);

impl ReplId {
    /// How many digits there are.
    pub const LEN: usize = 40;

    /// What INFO shows where there is no id.
    pub const NONE: &'static str = "0000000000000000000000000000000000000000";

    /// Returns a new name.
    pub fn random(rng: &mut Rng) -> ReplId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; ReplId::LEN];
        for part in text.chunks_mut(8) {
            let mut bits = rng.next_u64();
            for digit in part {
                *digit = DIGITS[(bits & 15) as usize];
                bits >>= 4;
            }
        }
        ReplId(text)
    }

    /// Returns the id that 40 digits are; those who compare ids ignore their case, so it is lowered.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let digits: [u8; ReplId::LEN] = text.try_into().ok()?;
        digits
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then(|| ReplId(digits.map(|digit| digit.to_ascii_lowercase())))
    }

    /// Returns the digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are text")
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forty_digits_in_either_case() {
        let id = ReplId::random(&mut Rng::seeded(1));
        assert_eq!(ReplId::parse(id.as_bytes()), Some(id));
        assert_eq!(ReplId::parse(id.as_str().to_uppercase().as_bytes()), Some(id));
        assert_ne!(id, ReplId::random(&mut Rng::seeded(2)));
        for wrong in ["", "?", &id.as_str()[1..], &format!("{id}0"), &format!("x{}", &id.as_str()[1..])] {
            assert_eq!(ReplId::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
