//! What a model says a reply must be, where it need not know every byte of it.

use std::collections::BTreeSet;

use testkit::Reply;
use testkit::reply::{Branch, Leaf};

/// An expected reply, for both protocols.
#[derive(Clone, PartialEq)]
pub enum Answer {
    Simple(&'static str),
    Error(String),
    Int(i64),
    /// An integer within bounds, both included.
    Between(i64, i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Double(f64),
    Array(Vec<Answer>),
    /// An array in any order.
    Unordered(Vec<Answer>),
    /// A set in RESP3, an array in RESP2, in any order.
    Set(Vec<Answer>),
    /// A map in RESP3, an array of alternating keys and values in RESP2, in any order.
    Map(Vec<(Answer, Answer)>),
    /// A push in RESP3, an array in RESP2.
    Push(Vec<Answer>),
    /// Members with scores: pairs in RESP3, one flat array in RESP2.
    Scored(Vec<(Vec<u8>, f64)>),
    AnyOf(Vec<Answer>),
    /// Anything but an error.
    Anything,
}

impl Answer {
    /// Returns the reply to a command that has nothing to say.
    pub fn ok() -> Answer {
        Answer::Simple("OK")
    }

    /// Returns a bulk string, or null for nothing.
    pub fn text(text: Option<&[u8]>) -> Answer {
        text.map_or(Answer::Null, |text| Answer::Bulk(text.to_vec()))
    }

    /// Returns an array of bulk strings.
    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a Vec<u8>>) -> Answer {
        Answer::Array(texts.into_iter().map(|text| Answer::Bulk(text.clone())).collect())
    }

    /// Returns whether `reply` is what is expected of a link that speaks RESP3 or RESP2.
    pub fn agrees(&self, reply: &Reply, resp3: bool) -> bool {
        match self {
            Answer::Simple(text) => is_leaf(reply, Leaf::Simple, text.as_bytes()),
            Answer::Error(text) => is_leaf(reply, Leaf::Error, text.as_bytes()),
            Answer::Int(n) => is_leaf(reply, Leaf::Int, n.to_string().as_bytes()),
            Answer::Between(low, high) => match reply {
                Reply::Leaf(Leaf::Int, _) => number(reply).is_some_and(|n| {
                    let n = n as i64;
                    *low <= n && n <= *high
                }),
                _ => false,
            },
            Answer::Bulk(text) => is_leaf(reply, Leaf::Bulk, text),
            Answer::Null => is_leaf(reply, if resp3 { Leaf::Null } else { Leaf::NullBulk }, b""),
            Answer::NullArray => is_leaf(reply, if resp3 { Leaf::Null } else { Leaf::NullArray }, b""),
            Answer::Double(n) => {
                let leaf = if resp3 { Leaf::Double } else { Leaf::Bulk };
                matches!(reply, Reply::Leaf(actual, _) if *actual == leaf) && number(reply) == Some(*n)
            }
            Answer::Array(answers) => branch(reply, Branch::Array).is_some_and(|replies| {
                replies.len() == answers.len()
                    && answers.iter().zip(replies).all(|(answer, reply)| answer.agrees(reply, resp3))
            }),
            Answer::Push(answers) => branch(reply, if resp3 { Branch::Push } else { Branch::Array })
                .is_some_and(|replies| {
                    replies.len() == answers.len()
                        && answers.iter().zip(replies).all(|(answer, reply)| answer.agrees(reply, resp3))
                }),
            Answer::Unordered(answers) => branch(reply, Branch::Array)
                .is_some_and(|replies| in_any_order(answers, &as_groups(replies, 1), resp3)),
            Answer::Set(answers) => branch(reply, if resp3 { Branch::Set } else { Branch::Array })
                .is_some_and(|replies| in_any_order(answers, &as_groups(replies, 1), resp3)),
            Answer::Map(pairs) => {
                branch(reply, if resp3 { Branch::Map } else { Branch::Array }).is_some_and(|replies| {
                    let flat: Vec<Answer> =
                        pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
                    replies.len().is_multiple_of(2) && in_any_order(&flat, &as_groups(replies, 2), resp3)
                })
            }
            Answer::Scored(pairs) => scored(pairs, resp3).agrees(reply, resp3),
            Answer::AnyOf(answers) => answers.iter().any(|answer| answer.agrees(reply, resp3)),
            Answer::Anything => !reply.is_error(),
        }
    }
}

/// Returns the elements if `reply` is an aggregate of that kind.
fn branch(reply: &Reply, wanted: Branch) -> Option<&[Reply]> {
    match reply {
        Reply::Branch(actual, elements) if *actual == wanted => Some(elements),
        _ => None,
    }
}

fn is_leaf(reply: &Reply, leaf: Leaf, text: &[u8]) -> bool {
    matches!(reply, Reply::Leaf(actual, bytes) if *actual == leaf && bytes == text)
}

/// Returns the number that a reply's text is.
pub fn number(reply: &Reply) -> Option<f64> {
    std::str::from_utf8(reply.text()?).ok()?.parse().ok()
}

fn as_groups(replies: &[Reply], size: usize) -> Vec<&[Reply]> {
    replies.chunks(size).collect()
}

fn in_any_order(answers: &[Answer], groups: &[&[Reply]], resp3: bool) -> bool {
    let size = groups.first().map_or(1, |group| group.len());
    if answers.len() != groups.len() * size {
        return false;
    }
    let mut taken = BTreeSet::new();
    answers.chunks(size).all(|wanted| {
        let found = groups.iter().enumerate().position(|(i, group)| {
            !taken.contains(&i)
                && wanted.iter().zip(*group).all(|(answer, reply)| answer.agrees(reply, resp3))
        });
        found.is_some_and(|i| taken.insert(i))
    })
}

fn scored(pairs: &[(Vec<u8>, f64)], resp3: bool) -> Answer {
    let pairs = pairs.iter().map(|(member, score)| [Answer::Bulk(member.clone()), Answer::Double(*score)]);
    Answer::Array(match resp3 {
        true => pairs.map(|pair| Answer::Array(pair.to_vec())).collect(),
        false => pairs.flatten().collect(),
    })
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |f: &mut std::fmt::Formatter<'_>, name: &str, answers: &[Answer]| {
            f.write_str(name)?;
            f.debug_list().entries(answers).finish()
        };
        match self {
            Answer::Simple(text) => write!(f, "+{text}"),
            Answer::Error(text) => write!(f, "-{text}"),
            Answer::Int(n) => write!(f, ":{n}"),
            Answer::Between(low, high) => write!(f, ":{low}..{high}"),
            Answer::Bulk(text) => f.write_str(&testkit::words::quote(text)),
            Answer::Null => f.write_str("null"),
            Answer::NullArray => f.write_str("null array"),
            Answer::Double(n) => write!(f, ",{n}"),
            Answer::Array(answers) => list(f, "array", answers),
            Answer::Unordered(answers) => list(f, "unordered", answers),
            Answer::Set(answers) => list(f, "set", answers),
            Answer::Push(answers) => list(f, "push", answers),
            Answer::AnyOf(answers) => list(f, "any of ", answers),
            Answer::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Answer::Scored(pairs) => {
                let pairs = pairs.iter().map(|(member, score)| (testkit::words::quote(member), score));
                f.debug_map().entries(pairs).finish()
            }
            Answer::Anything => f.write_str("anything but an error"),
        }
    }
}
