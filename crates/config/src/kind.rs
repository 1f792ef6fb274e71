//! What a parameter's text looks like: reading it, printing it for CONFIG GET, writing it for CONFIG REWRITE.

use std::borrow::Cow;

use crate::limits::{ClientMemory, OutputLimits};
use crate::memory::{format_memory, parse_memory};
use crate::notify::NotifyFlags;
use crate::value::{Value, parse_c_integer};
use crate::words::quote;

/// The syntax of a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// yes or no
    Bool,
    /// A whole number.
    Int {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number of bytes, with a unit or without.
    Memory {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number of bytes or a percentage.
    ClientMemory,
    /// File permissions in octal, at most 777.
    Permissions,
    /// One word out of a list.
    Choice(&'static [&'static str]),
    /// Any words out of a list whose first means none of them.
    Flags(&'static [&'static str]),
    /// Any text without a NUL.
    Text,
    /// Any text without a NUL; the empty one is as good as none, and not written by CONFIG REWRITE.
    OptionalText,
    /// Any bytes; none at all is as good as unset.
    Secret,
    /// The path of the working directory.
    Directory,
    /// Up to 16 addresses.
    Addresses,
    /// Groups of `class hard soft seconds`.
    OutputLimits,
    /// The letters of notify-keyspace-events.
    Notify,
    /// Numbers from 0 to 100.
    Percentiles,
    /// Three numbers from -2000 to 2000.
    Scores,
    /// Pairs of seconds and changes.
    SavePoints,
    /// A host and a port, or `no one`.
    Replicaof,
}

/// Why a value was refused.
pub(crate) type Reason = Cow<'static, str>;

const MAX_ADDRESSES: usize = 16;

impl Kind {
    /// Says whether the value consists of several words, each an argument of its own in a file.
    pub const fn is_multi(self) -> bool {
        matches!(
            self,
            Self::Flags(_)
                | Self::Addresses
                | Self::OutputLimits
                | Self::Percentiles
                | Self::Scores
                | Self::SavePoints
                | Self::Replicaof
        )
    }

    /// Returns what the words mean for a parameter whose value is `present` so far.
    pub(crate) fn parse(self, words: &[&[u8]], present: &Value) -> Result<Value, Reason> {
        if self.is_multi() {
            return self.parse_words(words, present);
        }
        let &[word] = words else { return Err("wrong number of arguments".into()) };
        Ok(match self {
            Self::Bool => match word.to_ascii_lowercase().as_slice() {
                b"yes" => Value::Bool(true),
                b"no" => Value::Bool(false),
                _ => return Err("argument must be 'yes' or 'no'".into()),
            },
            Self::Int { min, max } => {
                let number =
                    base::number::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
                within(number.into(), min.into(), max.into())?
            }
            Self::Memory { min, max } => {
                let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
                within(bytes.into(), min.into(), max.into())?
            }
            Self::ClientMemory => Value::ClientMemory(client_memory(word)?),
            Self::Permissions => {
                let bits =
                    parse_c_integer(word, 8).ok_or("argument couldn't be parsed as an octal number")?;
                match bits {
                    0..=0o777 => Value::Number(bits.into()),
                    _ => return Err("argument must be between 0 and 777 inclusive".into()),
                }
            }
            Self::Choice(list) => Value::Choice(choice(list, word)?),
            Self::Notify => Value::Notify(
                NotifyFlags::parse(word).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?,
            ),
            Self::Secret => Value::Text(word.to_vec()),
            _ => Value::Text(word.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()),
        })
    }

    fn parse_words(self, words: &[&[u8]], present: &Value) -> Result<Value, Reason> {
        let none = words.is_empty() || words == [b""];
        Ok(match self {
            Self::Flags(list) if words.is_empty() => return Err(must_be_one_of(list)),
            Self::Flags(list) => Value::Flags(words.iter().try_fold(0, |bits, word| {
                let index = choice(list, word)?;
                Ok::<u32, Reason>(if index == 0 { bits } else { bits | 1 << (index - 1) })
            })?),
            Self::Addresses if words.len() > MAX_ADDRESSES => {
                return Err("Too many bind addresses specified.".into());
            }
            Self::Addresses if none => Value::Words(Vec::new()),
            Self::Addresses => {
                Value::Words(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
            }
            Self::OutputLimits => {
                let present = match present {
                    Value::OutputLimits(limits) => *limits,
                    _ => OutputLimits::default(),
                };
                Value::OutputLimits(present.with_words(words)?)
            }
            Self::Percentiles if none => Value::Percentiles(Vec::new()),
            Self::Percentiles => {
                Value::Percentiles(words.iter().map(|word| percentile(word)).collect::<Result<_, _>>()?)
            }
            Self::Scores => {
                let words: [&[u8]; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
                let mut scores = [0; 3];
                for (score, word) in scores.iter_mut().zip(words) {
                    *score = parse_c_integer(word, 10)
                        .and_then(|number| i32::try_from(number).ok())
                        .filter(|number| (-2000..=2000).contains(number))
                        .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
                }
                Value::Scores(scores)
            }
            Self::SavePoints if none => Value::SavePoints(Vec::new()),
            Self::SavePoints => Value::SavePoints(save_points(words).ok_or("Invalid save parameters")?),
            Self::Replicaof => {
                let &[host, port] = words else { return Err("wrong number of arguments".into()) };
                if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
                    Value::Replicaof(None)
                } else {
                    let port = parse_c_integer(port, 10).and_then(|port| u16::try_from(port).ok());
                    Value::Replicaof(Some((host.to_vec(), port.ok_or("Invalid master port")?)))
                }
            }
            _ => return Err("wrong number of arguments".into()),
        })
    }

    /// Returns the value as CONFIG GET prints it.
    pub(crate) fn print(self, value: &Value) -> Vec<u8> {
        match (self, value) {
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Bool(yes)) => if *yes { "yes" } else { "no" }.into(),
            (Self::Permissions, Value::Number(bits)) => format!("{bits:o}").into(),
            (_, Value::Number(number)) => number.to_string().into(),
            (Self::Choice(list), Value::Choice(index)) => list[*index].into(),
            (Self::Flags(list), Value::Flags(bits)) => flag_words(list, *bits).into(),
            (_, Value::Words(words)) => words.join(" ").into(),
            (_, Value::OutputLimits(limits)) => limits.text().into(),
            (_, Value::ClientMemory(ClientMemory::Bytes(bytes))) => bytes.to_string().into(),
            (_, Value::ClientMemory(ClientMemory::Percent(percent))) => format!("{percent}%").into(),
            (_, Value::Notify(flags)) => flags.letters().into(),
            (_, Value::Percentiles(list)) => {
                list.iter().map(|number| decimal(*number)).collect::<Vec<_>>().join(" ").into()
            }
            (_, Value::Scores(scores)) => scores.map(|score| score.to_string()).join(" ").into(),
            (_, Value::SavePoints(points)) => {
                let points: Vec<_> =
                    points.iter().map(|(secs, changes)| format!("{secs} {changes}")).collect();
                points.join(" ").into()
            }
            (_, Value::Replicaof(Some((host, port)))) => {
                [host.as_slice(), b" ", port.to_string().as_bytes()].concat()
            }
            (_, Value::Replicaof(None) | Value::Choice(_) | Value::Flags(_)) => Vec::new(),
        }
    }

    /// Returns the lines that CONFIG REWRITE writes, each with whether it is needed where the file has no such line yet.
    ///
    /// No line at all means that the parameter's lines are to be removed.
    pub(crate) fn rewritten(self, name: &str, value: &Value, default: &Value) -> Vec<(String, bool)> {
        let changed = value != default;
        let line = |text: String, forced: bool| vec![(format!("{name} {text}"), forced)];
        match (self, value) {
            (Self::OptionalText | Self::Secret | Self::Directory, Value::Text(text)) => {
                if text.is_empty() {
                    Vec::new()
                } else {
                    line(quote(text), true)
                }
            }
            (_, Value::Text(text)) => line(quote(text), changed),
            (Self::Memory { .. }, Value::Number(bytes)) => {
                line(format_memory(u64::try_from(*bytes).unwrap_or_default()), changed)
            }
            (_, Value::ClientMemory(ClientMemory::Bytes(bytes))) => line(format_memory(*bytes), changed),
            (_, Value::Notify(flags)) => line(quote(flags.letters().as_bytes()), changed),
            (_, Value::Words(_)) if !changed => Vec::new(),
            (_, Value::Words(words)) if words.is_empty() => line("\"\"".to_owned(), true),
            (_, Value::Words(words)) => line(words.join(" "), true),
            (_, Value::Percentiles(list)) if list.is_empty() => line("\"\"".to_owned(), true),
            (_, Value::Percentiles(_)) => line(self.text(value), true),
            (_, Value::SavePoints(points)) if points.is_empty() => line("\"\"".to_owned(), true),
            (_, Value::SavePoints(points)) => {
                points.iter().map(|(secs, changes)| (format!("{name} {secs} {changes}"), true)).collect()
            }
            (_, Value::Replicaof(None)) => Vec::new(),
            (_, Value::OutputLimits(limits)) => {
                let defaults = match default {
                    Value::OutputLimits(defaults) => *defaults,
                    _ => OutputLimits::default(),
                };
                let pairs = limits.classes().into_iter().zip(defaults.classes());
                pairs
                    .map(|((class, limit), (_, default))| {
                        (format!("{name} {class} {}", limit.rewritten()), limit != default)
                    })
                    .collect()
            }
            _ => line(self.text(value), changed || matches!(value, Value::Replicaof(_))),
        }
    }

    fn text(self, value: &Value) -> String {
        String::from_utf8_lossy(&self.print(value)).into_owned()
    }
}

fn within(number: i128, min: i128, max: i128) -> Result<Value, Reason> {
    if (min..=max).contains(&number) {
        Ok(Value::Number(number))
    } else {
        Err(format!("argument must be between {min} and {max} inclusive").into())
    }
}

fn client_memory(word: &[u8]) -> Result<ClientMemory, Reason> {
    const TOO_MUCH: &str = "percentage argument must be less or equal to 100";
    if let Some(bytes) = parse_memory(word) {
        // Redis keeps both in one signed number, so that an amount beyond its positive half is a strange percentage.
        return if bytes > i64::MAX as u64 { Err(TOO_MUCH.into()) } else { Ok(ClientMemory::Bytes(bytes)) };
    }
    let percent = word.strip_suffix(b"%").and_then(base::number::parse_i64).filter(|percent| *percent >= 0);
    match percent {
        None => Err("argument must be a memory or percent value".into()),
        Some(0) => Ok(ClientMemory::Bytes(0)),
        Some(percent @ 1..=100) => Ok(ClientMemory::Percent(percent as u8)),
        Some(_) => Err(TOO_MUCH.into()),
    }
}

fn choice(list: &[&str], word: &[u8]) -> Result<usize, Reason> {
    list.iter()
        .position(|known| known.as_bytes().eq_ignore_ascii_case(word))
        .ok_or_else(|| must_be_one_of(list))
}

fn must_be_one_of(list: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", list.join(", ")).into()
}

fn flag_words(list: &[&str], bits: u32) -> String {
    if bits == 0 {
        return list[0].to_owned();
    }
    let set = list[1..].iter().enumerate().filter(|(index, _)| bits & 1 << index != 0);
    set.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn percentile(word: &[u8]) -> Result<f64, Reason> {
    let number =
        base::number::parse_f64(word).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into())
    }
}

/// Returns the number with at most six decimals and no trailing zeros.
fn decimal(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn save_points(words: &[&[u8]]) -> Option<Vec<(i64, i64)>> {
    if !words.len().is_multiple_of(2) {
        return None;
    }
    let pairs = words.chunks_exact(2).map(|pair| {
        let (secs, changes) = (parse_c_integer(pair[0], 10)?, parse_c_integer(pair[1], 10)?);
        (secs >= 1 && changes >= 0).then_some((secs, changes))
    });
    pairs.collect()
}
