//! A parameter's value between its text and the typed field that holds it.

use crate::limits::{ClientMemory, OutputLimits};
use crate::notify::NotifyFlags;

/// What a text means once its [`Kind`](crate::Kind) has read it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// yes or no
    Bool(bool),
    /// A number within the bounds of its kind; memory and permissions too.
    Number(i128),
    /// The index of a word in its list.
    Choice(usize),
    /// Bit `n` for word `n + 1` of a list whose first word means none.
    Flags(u32),
    /// Any bytes.
    Text(Vec<u8>),
    /// Several words.
    Words(Vec<String>),
    /// client-output-buffer-limit
    OutputLimits(OutputLimits),
    /// maxmemory-clients
    ClientMemory(ClientMemory),
    /// notify-keyspace-events
    Notify(NotifyFlags),
    /// latency-tracking-info-percentiles
    Percentiles(Vec<f64>),
    /// oom-score-adj-values
    Scores([i32; 3]),
    /// save: pairs of seconds and changes
    SavePoints(Vec<(i64, i64)>),
    /// replicaof: a host and a port
    Replicaof(Option<(Vec<u8>, u16)>),
}

/// A type of field that a row's value can be kept in.
pub(crate) trait Setting {
    /// Returns the field as a value.
    fn to_value(&self) -> Value;
    /// Takes a value of the shape that [`Setting::to_value`] returns.
    fn assign(&mut self, value: Value);
}

impl Value {
    pub(crate) fn into_choice(self) -> usize {
        match self {
            Self::Choice(index) => index,
            other => other.does_not_fit("a choice"),
        }
    }

    pub(crate) fn into_flags(self) -> u32 {
        match self {
            Self::Flags(bits) => bits,
            other => other.does_not_fit("flags"),
        }
    }

    /// A row's kind and its field disagree: a mistake in the table that building any `Config` brings to light.
    fn does_not_fit(self, field: &str) -> ! {
        panic!("a row of PARAMS puts {self:?} into {field}")
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn to_value(&self) -> Value {
                Value::Number(*self as i128)
            }

            fn assign(&mut self, value: Value) {
                *self = match value {
                    Value::Number(number) => <$type>::try_from(number)
                        .unwrap_or_else(|_| Value::Number(number).does_not_fit(stringify!($type))),
                    other => other.does_not_fit(stringify!($type)),
                };
            }
        }
    )*};
}

numbers!(u16, u32, i32, u64, i64, usize);

macro_rules! plain {
    ($($type:ty = $variant:ident),* $(,)?) => {$(
        impl Setting for $type {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn assign(&mut self, value: Value) {
                *self = match value {
                    Value::$variant(inner) => inner,
                    other => other.does_not_fit(stringify!($type)),
                };
            }
        }
    )*};
}

plain! {
    bool = Bool,
    Vec<u8> = Text,
    Vec<String> = Words,
    OutputLimits = OutputLimits,
    ClientMemory = ClientMemory,
    NotifyFlags = Notify,
    Vec<f64> = Percentiles,
    [i32; 3] = Scores,
    Vec<(i64, i64)> = SavePoints,
    Option<(Vec<u8>, u16)> = Replicaof,
}

/// Reads a whole text as C's `strtoll` does: blanks and a sign may lead, nothing at all is 0, too much is the most.
pub(crate) fn parse_c_integer(text: &[u8], radix: u32) -> Option<i64> {
    let blanks = text.iter().take_while(|&&byte| crate::words::is_space(byte)).count();
    let (negative, digits) = match &text[blanks..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return text.is_empty().then_some(0);
    }
    let mut sum = 0i64;
    for &byte in digits {
        let digit = i64::from(char::from(byte).to_digit(radix)?);
        let digit = if negative { -digit } else { digit };
        sum = sum.saturating_mul(i64::from(radix)).saturating_add(digit);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_integers_are_read_leniently_but_wholly() {
        for (text, number) in
            [("", 0), ("12", 12), (" +12", 12), ("-3", -3), ("99999999999999999999", i64::MAX), ("-0", 0)]
        {
            assert_eq!(parse_c_integer(text.as_bytes(), 10), Some(number), "{text:?}");
        }
        for text in ["1 ", "x", "1x", "-", "+", " ", "--1"] {
            assert_eq!(parse_c_integer(text.as_bytes(), 10), None, "{text:?}");
        }
        assert_eq!(parse_c_integer(b"777", 8), Some(0o777));
        assert_eq!(parse_c_integer(b"8", 8), None);
    }
}
