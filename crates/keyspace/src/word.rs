//! How a [`Value`] travels through a record: a tag that fits its header and one machine word.
//!
//! The only `unsafe` of this crate. Each variant's payload is an owned pointer or an integer; `split` gives the
//! ownership to the word, `join` takes it back, and the record upholds that each word is joined at most once.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use structures::{Blob, Buf, Dict, Intset, Listpack, Pair, Payload, Quicklist, RankedSet, Word};

use crate::{Entry, Hash, List, Set, Value, ZSet};

const INT: u8 = 1;
const TEXT: u8 = 2;
const LIST_PACKED: u8 = 3;
const LIST_QUICK: u8 = 4;
const SET_INTS: u8 = 5;
const SET_PACKED: u8 = 6;
const SET_TABLE: u8 = 7;
const HASH_PACKED: u8 = 8;
const HASH_TABLE: u8 = 9;
const ZSET_PACKED: u8 = 10;
const ZSET_RANKED: u8 = 11;

fn thin(pointer: NonNull<u8>) -> u64 {
    pointer.as_ptr() as u64
}

fn boxed<T>(value: Box<T>) -> u64 {
    Box::into_raw(value) as u64
}

// SAFETY: `join` with the pair that `split` returned rebuilds the same value: every tag maps to exactly one variant.
unsafe impl Word for Value {
    fn split(self) -> (u8, u64) {
        match self {
            Value::Int(n) => (INT, n as u64),
            Value::Text(buf) => (TEXT, thin(buf.into_raw())),
            Value::List(List::Packed(p)) => (LIST_PACKED, thin(p.into_raw())),
            Value::List(List::Quick(q)) => (LIST_QUICK, boxed(q)),
            Value::Set(Set::Ints(i)) => (SET_INTS, thin(i.into_raw())),
            Value::Set(Set::Packed(p)) => (SET_PACKED, thin(p.into_raw())),
            Value::Set(Set::Table(t)) => (SET_TABLE, boxed(t)),
            Value::Hash(Hash::Packed(p)) => (HASH_PACKED, thin(p.into_raw())),
            Value::Hash(Hash::Table(t)) => (HASH_TABLE, boxed(t)),
            Value::ZSet(ZSet::Packed(p)) => (ZSET_PACKED, thin(p.into_raw())),
            Value::ZSet(ZSet::Ranked(r)) => (ZSET_RANKED, boxed(r)),
        }
    }

    unsafe fn join(tag: u8, word: u64) -> Value {
        // SAFETY: the caller passes a pair from `split` and gives up its ownership of it; see above.
        unsafe {
            match tag {
                INT => Value::Int(word as i64),
                TEXT => Value::Text(Buf::from_raw(NonNull::new_unchecked(word as *mut u8))),
                LIST_PACKED => {
                    Value::List(List::Packed(Listpack::from_raw(NonNull::new_unchecked(word as *mut u8))))
                }
                LIST_QUICK => Value::List(List::Quick(Box::from_raw(word as *mut Quicklist))),
                SET_INTS => Value::Set(Set::Ints(Intset::from_raw(NonNull::new_unchecked(word as *mut u8)))),
                SET_PACKED => {
                    Value::Set(Set::Packed(Listpack::from_raw(NonNull::new_unchecked(word as *mut u8))))
                }
                SET_TABLE => Value::Set(Set::Table(Box::from_raw(word as *mut Dict<Blob>))),
                HASH_PACKED => {
                    Value::Hash(Hash::Packed(Listpack::from_raw(NonNull::new_unchecked(word as *mut u8))))
                }
                HASH_TABLE => Value::Hash(Hash::Table(Box::from_raw(word as *mut Dict<Pair>))),
                ZSET_PACKED => {
                    Value::ZSet(ZSet::Packed(Listpack::from_raw(NonNull::new_unchecked(word as *mut u8))))
                }
                ZSET_RANKED => Value::ZSet(ZSet::Ranked(Box::from_raw(word as *mut RankedSet))),
                _ => unreachable!("a record holds only tags that split() gave it"),
            }
        }
    }
}

/// Returns the bytes of a string that has a buffer of its own, borrowed from its entry.
pub(crate) fn text_bytes(entry: &Entry) -> Option<&[u8]> {
    let Payload::Word(word) = entry.payload() else { return None };
    let Value::Text(buf) = &*word else { return None };
    let bytes = buf.as_slice();
    // SAFETY: the bytes are on the heap, owned by the entry's word; the entry is borrowed as long as the result, and
    // whoever would free or change them needs it mutably.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) })
}
