//! Values that come as one run of bytes: what they must be beyond well-formed, and the encoding they get.
//!
//! A listpack or intset within the limits stays as it is; a larger one becomes what Redis would make of it.

use std::collections::BTreeSet;

use base::hash::HashSeed;
use base::number::parse_f64;
use keyspace::{Hash, Limits, List, Set, Value, ZSet};
use structures::{Blob, Dict, Fill, Intset, Item, Listpack, Pair, Quicklist, ranked};

use crate::error::ErrorKind;
use crate::format::kind;
use crate::{ziplist, zipmap};

/// What values are built with: the limits of encodings, and the seed of tables, which is the keyspace's.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub limits: Limits,
    pub seed: HashSeed,
}

/// Most elements that are compared each with each.
const PAIRWISE_MAX: usize = 8;

/// Entries that go into a table at a time.
pub(crate) const BATCH: usize = 32;

/// Returns the value that `bytes` are of a type that is one run of bytes; nothing if it has no elements.
pub(crate) fn value_of(number: u8, bytes: &[u8], context: &Context) -> Result<Option<Value>, ErrorKind> {
    let pack = match number {
        kind::SET_INTSET => {
            let ints = Intset::from_bytes(bytes).ok_or(ErrorKind::Malformed(number))?;
            return Ok((!ints.is_empty()).then(|| Value::Set(ints_of(ints, context))));
        }
        kind::HASH_ZIPMAP => zipmap::to_listpack(bytes),
        kind::LIST_ZIPLIST | kind::ZSET_ZIPLIST | kind::HASH_ZIPLIST => ziplist::to_listpack(bytes),
        _ => Listpack::from_bytes(bytes),
    };
    let pack = pack.ok_or(ErrorKind::Malformed(number))?;
    if pack.is_empty() {
        return Ok(None);
    }
    Ok(Some(match number {
        kind::LIST_ZIPLIST => Value::List(list_of(pack, context.limits.list_size)),
        kind::SET_LISTPACK => Value::Set(set_of(pack, number, context)?),
        kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => Value::ZSet(zset_of(pack, number, context)?),
        _ => Value::Hash(hash_of(pack, number, context)?),
    }))
}

/// Returns the fill that a limit on lists stands for.
pub(crate) fn fill_of(list_size: i32) -> Fill {
    Fill::new(i64::from(list_size))
}

fn list_of(pack: Listpack, list_size: i32) -> List {
    let fill = fill_of(list_size);
    if fill.allows(pack.byte_len(), pack.len()) {
        return List::Packed(pack);
    }
    List::Quick(Box::new(Quicklist::from_listpack(pack, fill)))
}

fn ints_of(ints: Intset, context: &Context) -> Set {
    if ints.len() <= context.limits.set_ints {
        return Set::Ints(ints);
    }
    let mut table = Dict::new(context.seed);
    table.reserve(ints.len());
    for value in ints.iter() {
        table.insert(Blob::new(Item::Int(value).text().as_bytes()));
    }
    Set::Table(Box::new(table))
}

fn set_of(pack: Listpack, number: u8, context: &Context) -> Result<Set, ErrorKind> {
    let count = pack.len();
    if count > context.limits.set_entries {
        let mut table = Dict::new(context.seed);
        table.reserve(count);
        let mut members = pack.iter().map(|item| Blob::new(item.text().as_bytes()));
        return fill(&mut table, &mut members, number).map(|()| Set::Table(Box::new(table)));
    }
    check_distinct(pack.iter(), count, number, context.seed)?;
    Ok(Set::Packed(pack))
}

/// Puts entries into a table, several at a time; none may be there twice.
fn fill<E: structures::Entry>(
    table: &mut Dict<E>,
    entries: &mut impl Iterator<Item = E>,
    number: u8,
) -> Result<(), ErrorKind> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.extend(entries.by_ref().take(BATCH));
        if batch.is_empty() {
            return Ok(());
        }
        table.insert_all(&mut batch).map_err(|_| ErrorKind::Repeated(number))?;
    }
}

fn hash_of(pack: Listpack, number: u8, context: &Context) -> Result<Hash, ErrorKind> {
    let elements = pack.len();
    if !elements.is_multiple_of(2) {
        return Err(ErrorKind::Malformed(number));
    }
    let Context { limits, seed } = context;
    // A zipmap was limited by other numbers than those of today; other values are trusted to fit.
    let fits = number != kind::HASH_ZIPMAP || pack.iter().all(|item| item.text_len() <= limits.hash_value);
    if !fits || elements / 2 > limits.hash_entries {
        return Ok(Hash::Table(Box::new(table_of_pairs(&pack, 0, number, *seed)?)));
    }
    check_distinct(pack.pairs().map(|(field, _)| field), elements / 2, number, *seed)?;
    Ok(Hash::Packed(pack))
}

/// Returns the table of a listpack's fields and values, with room for so many more.
pub(crate) fn table_of_pairs(
    pack: &Listpack,
    room: usize,
    number: u8,
    seed: HashSeed,
) -> Result<Dict<Pair>, ErrorKind> {
    let mut table = Dict::new(seed);
    table.reserve(pack.len() / 2 + room);
    let pair =
        |(field, value): (Item<'_>, Item<'_>)| Pair::new(field.text().as_bytes(), value.text().as_bytes());
    fill(&mut table, &mut pack.pairs().map(pair), number)?;
    Ok(table)
}

fn zset_of(pack: Listpack, number: u8, context: &Context) -> Result<ZSet, ErrorKind> {
    let elements = pack.len();
    if !elements.is_multiple_of(2) {
        return Err(ErrorKind::Malformed(number));
    }
    let large = elements / 2 > context.limits.zset_entries;
    let mut builder = large.then(|| ranked::Builder::new(context.seed, elements / 2));
    let mut before: Option<(f64, Item<'_>)> = None;
    for (member, score) in pack.pairs() {
        let score = match score {
            Item::Int(score) => Some(score as f64),
            Item::Bytes(text) => parse_f64(text).filter(|score| !score.is_nan()),
        };
        let score = score.ok_or(ErrorKind::Malformed(number))?;
        let ascends = before.is_none_or(|(last, other)| {
            last < score || (last == score && other.text().as_bytes() < member.text().as_bytes())
        });
        if !ascends {
            return Err(ErrorKind::Malformed(number));
        }
        before = Some((score, member));
        if let Some(builder) = &mut builder {
            builder.push(member.text().as_bytes(), score);
        }
    }
    match builder {
        Some(builder) => {
            let ranked = builder.finish().ok_or(ErrorKind::Repeated(number))?;
            Ok(ZSet::Ranked(Box::new(ranked)))
        }
        None => {
            check_distinct(pack.pairs().map(|(member, _)| member), elements / 2, number, context.seed)?;
            Ok(ZSet::Packed(pack))
        }
    }
}

/// Refuses elements of which two have the same text.
pub(crate) fn check_distinct<'a>(
    items: impl Iterator<Item = Item<'a>> + Clone,
    count: usize,
    number: u8,
    seed: HashSeed,
) -> Result<(), ErrorKind> {
    // A text that spells an integer reads as one, however it is stored.
    let plain = |item: Item<'a>| item.to_int().map_or(item, Item::Int);
    let distinct = if count <= PAIRWISE_MAX {
        let mut seen = [Item::Int(0); PAIRWISE_MAX];
        items.take(PAIRWISE_MAX).enumerate().all(|(index, item)| {
            seen[index] = plain(item);
            !seen[..index].contains(&seen[index])
        })
    } else {
        let mut hashes: Vec<u64> = items.clone().map(|item| seed.hash(item.text().as_bytes())).collect();
        hashes.sort_unstable();
        // Different texts of the same hash are all but impossible; asking costs nothing.
        hashes.windows(2).all(|pair| pair[0] != pair[1]) || {
            let mut seen = BTreeSet::new();
            items.into_iter().all(|item| seen.insert(item.to_vec()))
        }
    };
    if distinct { Ok(()) } else { Err(ErrorKind::Repeated(number)) }
}
