//! Writing values: each as the type that stands for its encoding.

use keyspace::{Entry, Hash, List, Set, Text, Value, ZSet};
use structures::quicklist::NodeRef;
use structures::{Item, Payload};

use crate::format::{SET_LISTPACK_SINCE, container, kind};
use crate::write::Writer;

/// Returns the number of the type that an entry's value is written as.
pub(crate) fn type_of(entry: &Entry, version: u16) -> u8 {
    let Payload::Word(word) = entry.payload() else { return kind::STRING };
    match &*word {
        Value::Int(_) | Value::Text(_) => kind::STRING,
        Value::List(_) => kind::LIST_QUICKLIST_2,
        Value::Set(Set::Ints(_)) => kind::SET_INTSET,
        Value::Set(Set::Packed(_)) if version >= SET_LISTPACK_SINCE => kind::SET_LISTPACK,
        Value::Set(_) => kind::SET,
        Value::Hash(Hash::Packed(_)) => kind::HASH_LISTPACK,
        Value::Hash(Hash::Table(_)) => kind::HASH,
        Value::ZSet(ZSet::Packed(_)) => kind::ZSET_LISTPACK,
        Value::ZSet(ZSet::Ranked(_)) => kind::ZSET_2,
    }
}

/// Writes an entry's value, which its type goes before.
#[inline]
pub(crate) fn write_value(out: &mut Writer<'_>, entry: &Entry, version: u16) {
    match Text::of(entry) {
        Ok(Text::Bytes(bytes)) => out.string(bytes),
        Ok(Text::Int(value)) => out.int(value),
        Err(_) => write_collection(out, entry, version),
    }
}

fn write_collection(out: &mut Writer<'_>, entry: &Entry, version: u16) {
    let Payload::Word(word) = entry.payload() else { return };
    match &*word {
        Value::Int(_) | Value::Text(_) => {}
        Value::List(List::Packed(pack)) => {
            out.len(1);
            out.len(container::PACKED);
            out.string(pack.as_bytes());
        }
        Value::List(List::Quick(quick)) => {
            out.len(quick.node_count() as u64);
            for node in quick.nodes() {
                match node {
                    NodeRef::Packed(pack) => {
                        out.len(container::PACKED);
                        out.string(pack.as_bytes());
                    }
                    NodeRef::Plain(text) => {
                        out.len(container::PLAIN);
                        out.string(text);
                    }
                }
                out.spill();
            }
        }
        Value::Set(Set::Ints(ints)) => out.string(ints.as_bytes()),
        Value::Set(Set::Packed(pack)) if version >= SET_LISTPACK_SINCE => out.string(pack.as_bytes()),
        Value::Set(set) => {
            out.len(set.len() as u64);
            for member in set.iter() {
                write_item(out, member);
            }
        }
        Value::Hash(Hash::Packed(pack)) => out.string(pack.as_bytes()),
        Value::Hash(Hash::Table(table)) => {
            out.len(table.len() as u64);
            for pair in table.iter() {
                out.string(pair.field());
                out.string(pair.value());
                out.spill();
            }
        }
        Value::ZSet(ZSet::Packed(pack)) => out.string(pack.as_bytes()),
        Value::ZSet(ZSet::Ranked(ranked)) => {
            out.len(ranked.len() as u64);
            // From the highest score to the lowest, as Redis likes to read them.
            for (member, score) in ranked.iter().rev() {
                out.string(member);
                out.eight(score.to_le_bytes());
                out.spill();
            }
        }
    }
}

fn write_item(out: &mut Writer<'_>, item: Item<'_>) {
    match item {
        Item::Int(value) => out.int(value),
        Item::Bytes(bytes) => out.string(bytes),
    }
    out.spill();
}
