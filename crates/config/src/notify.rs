//! Which keyspace events are published: the letters of notify-keyspace-events as a set of bits.

use std::ops::BitOr;

/// A set of event classes and of the two kinds of channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(u32);

impl NotifyFlags {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Self = Self(1);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Self = Self(1 << 1);
    /// `g`: commands that work on keys of any type.
    pub const GENERIC: Self = Self(1 << 2);
    /// `$`: string commands.
    pub const STRING: Self = Self(1 << 3);
    /// `l`: list commands.
    pub const LIST: Self = Self(1 << 4);
    /// `s`: set commands.
    pub const SET: Self = Self(1 << 5);
    /// `h`: hash commands.
    pub const HASH: Self = Self(1 << 6);
    /// `z`: sorted set commands.
    pub const ZSET: Self = Self(1 << 7);
    /// `x`: keys that expired.
    pub const EXPIRED: Self = Self(1 << 8);
    /// `e`: keys that were evicted.
    pub const EVICTED: Self = Self(1 << 9);
    /// `t`: stream commands.
    pub const STREAM: Self = Self(1 << 10);
    /// `m`: reads that found no key; not part of `A`.
    pub const KEY_MISS: Self = Self(1 << 11);
    /// `d`: events of module types.
    pub const MODULE: Self = Self(1 << 13);
    /// `n`: keys that are new; not part of `A`.
    pub const NEW: Self = Self(1 << 14);
    /// `A`: all classes but `m` and `n`.
    pub const ALL: Self = Self(0x27fc);

    /// The letters in the order in which CONFIG GET prints them; `A` stands for the first ten.
    const LETTERS: [(u8, Self); 14] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Returns the set that the letters name, or None when one of them names nothing.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(Self::default(), |flags, &letter| {
            if letter == b'A' {
                return Some(flags | Self::ALL);
            }
            let (_, flag) = Self::LETTERS.iter().find(|(known, _)| *known == letter)?;
            Some(flags | *flag)
        })
    }

    /// Returns the letters of the set as CONFIG GET prints them: beside `A` the letter `n` is left out, as in Redis.
    pub fn letters(self) -> String {
        let mut text = String::new();
        let mut hidden = Self::default();
        if self.contains(Self::ALL) {
            text.push('A');
            hidden = Self::ALL | Self::NEW;
        }
        let shown = Self::LETTERS.iter().filter(|(_, flag)| self.contains(*flag) && !hidden.contains(*flag));
        text.extend(shown.map(|(letter, _)| char::from(*letter)));
        text
    }

    /// Says whether every flag of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Says whether any flag of `other` is in the set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Says whether nothing is published at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the set as bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for NotifyFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_print_in_the_order_of_redis() {
        for (written, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KEAm", "AKEm"),
            ("KEAgm$n", "AKEm"),
            ("nEx", "xnE"),
            ("KEglm$shzxetd", "AKEm"),
            ("Kg$", "g$K"),
        ] {
            assert_eq!(NotifyFlags::parse(written.as_bytes()).unwrap().letters(), printed, "{written}");
        }
        assert_eq!(NotifyFlags::parse(b"K E"), None);
        assert_eq!(NotifyFlags::parse(b"b"), None);
    }

    #[test]
    fn all_leaves_out_misses_and_new_keys() {
        assert!(NotifyFlags::ALL.contains(NotifyFlags::MODULE | NotifyFlags::STREAM));
        assert!(
            !NotifyFlags::ALL.intersects(NotifyFlags::KEY_MISS | NotifyFlags::NEW | NotifyFlags::KEYSPACE)
        );
    }
}
