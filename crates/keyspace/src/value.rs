//! What a key can hold.

use structures::Buf;
use structures::dict::Retired;

use crate::{Class, Hash, List, Set, ZSet};

/// A value in one of its encodings; every variant owns one thin pointer or an integer.
///
/// Short strings are not here: a record keeps them inline as bytes (see [`crate::Text`]).
#[derive(Clone)]
pub enum Value {
    /// A string that reads as an integer.
    Int(i64),
    /// A string too long for its record, or one that was grown in place.
    Text(Buf),
    List(List),
    Set(Set),
    Hash(Hash),
    ZSet(ZSet),
}

/// Bytes of a long string that take as long to free as a small allocation, roughly.
const TEXT_PER_EFFORT: usize = 64 << 10;

/// The type names that `TYPE` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    List,
    Set,
    Hash,
    ZSet,
}

impl Type {
    /// Returns the name that clients see.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::Hash => "hash",
            Type::ZSet => "zset",
        }
    }

    /// Returns the type with this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Type> {
        [Type::String, Type::List, Type::Set, Type::Hash, Type::ZSet]
            .into_iter()
            .find(|t| t.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Returns the class of the events that writes to such a value raise.
    pub fn class(self) -> Class {
        match self {
            Type::String => Class::String,
            Type::List => Class::List,
            Type::Set => Class::Set,
            Type::Hash => Class::Hash,
            Type::ZSet => Class::ZSet,
        }
    }
}

impl Value {
    /// Returns the value's type.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Int(_) | Value::Text(_) => Type::String,
            Value::List(_) => Type::List,
            Value::Set(_) => Type::Set,
            Value::Hash(_) => Type::Hash,
            Value::ZSet(_) => Type::ZSet,
        }
    }

    /// Returns the encoding's name, as `OBJECT ENCODING` prints it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Text(_) => "raw",
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::ZSet(zset) => zset.encoding(),
        }
    }

    /// Returns roughly how many allocations freeing the value takes (Redis' lazyfreeGetFreeEffort).
    pub fn effort(&self) -> usize {
        match self {
            Value::Int(_) => 1,
            // Giving pages back takes its time, too.
            Value::Text(buf) => 1 + buf.heap_size() / TEXT_PER_EFFORT,
            Value::List(list) => list.effort(),
            Value::Set(set) => set.effort(),
            Value::Hash(hash) => hash.effort(),
            Value::ZSet(zset) => zset.effort(),
        }
    }

    /// Takes the memory of a table that the value has outgrown, to be freed elsewhere.
    #[inline]
    pub(crate) fn take_retired(&mut self) -> Option<Retired> {
        match self {
            Value::Set(Set::Table(table)) => table.take_retired(),
            Value::Hash(Hash::Table(table)) => table.take_retired(),
            Value::ZSet(ZSet::Ranked(ranked)) => ranked.take_retired(),
            _ => None,
        }
    }

    /// Returns the bytes held outside the record, estimating large collections from `samples` elements (0 = all).
    pub fn heap_size(&self, samples: usize) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Text(buf) => buf.heap_size(),
            Value::List(list) => list.heap_size(),
            Value::Set(set) => set.heap_size(samples),
            Value::Hash(hash) => hash.heap_size(samples),
            Value::ZSet(zset) => zset.heap_size(),
        }
    }
}

/// A collection type that a key can hold: how it is found inside a [`Value`] and made anew.
pub trait Kind: Sized {
    const TYPE: Type;
    /// Returns an empty collection in its smallest encoding.
    fn empty() -> Self;
    fn is_empty(&self) -> bool;
    fn wrap(self) -> Value;
    fn unwrap(value: Value) -> Option<Self>;
    fn of(value: &Value) -> Option<&Self>;
}

macro_rules! kind {
    ($type:ident) => {
        impl Default for $type {
            fn default() -> Self {
                $type::new()
            }
        }
        impl Kind for $type {
            const TYPE: Type = Type::$type;
            fn empty() -> Self {
                $type::new()
            }
            fn is_empty(&self) -> bool {
                self.len() == 0
            }
            fn wrap(self) -> Value {
                Value::$type(self)
            }
            fn unwrap(value: Value) -> Option<Self> {
                match value {
                    Value::$type(inner) => Some(inner),
                    _ => None,
                }
            }
            fn of(value: &Value) -> Option<&Self> {
                match value {
                    Value::$type(inner) => Some(inner),
                    _ => None,
                }
            }
        }
    };
}

kind!(List);
kind!(Set);
kind!(Hash);
kind!(ZSet);

/// Returns the bytes of a table and its entries, the latter extrapolated from `samples` of them (0 = all).
pub(crate) fn table_size<E: structures::Entry>(
    table: &structures::Dict<E>,
    samples: usize,
    size: impl Fn(&E) -> usize,
) -> usize {
    let limit = if samples == 0 { usize::MAX } else { samples };
    let (mut seen, mut bytes) = (0, 0);
    for entry in table.iter().take(limit) {
        seen += 1;
        bytes += size(entry);
    }
    table.bytes() + (bytes * table.len()).checked_div(seen).unwrap_or(0)
}
