//! Collections that come element by element: begun when their length is known, and settled after the last one.
//!
//! What has been read of them need not be kept in memory as bytes, so that a snapshot can be read in pieces much
//! smaller than its largest value. Encodings are those that Redis would choose.

use keyspace::list::End;
use keyspace::{Hash, List, Set, Value, ZSet};
use structures::{Blob, Buf, Dict, Listpack, Pair, Quicklist, ranked};

use crate::error::ErrorKind;
use crate::format::{container, kind};
use crate::packed::{BATCH, Context, check_distinct, fill_of, table_of_pairs};
use crate::read::{Cursor, Parsed};
use crate::ziplist;

/// A collection of which some elements are there.
pub(crate) struct Building {
    /// The type as which it is written.
    number: u8,
    /// Elements still to come.
    left: u64,
    what: What,
}

enum What {
    List(List),
    Nodes(Quicklist),
    Set(Set),
    /// A set that is to be a table, with members that are not in it yet.
    SetTable(Dict<Blob>, Vec<Blob>),
    Hash(Listpack),
    HashTable(Dict<Pair>, Vec<Pair>),
    ZSet(ranked::Builder),
}

/// Strings that had to be made while reading.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) first: Vec<u8>,
    pub(crate) second: Vec<u8>,
}

impl Building {
    /// Begins a collection of `count` elements, of which at most `room` can be expected to be there in truth.
    pub(crate) fn begin(number: u8, count: u64, room: usize, context: &Context) -> Building {
        let limits = &context.limits;
        let expected = usize::try_from(count).map_or(room, |count| count.min(room));
        let more_than = |limit: usize| usize::try_from(count).map_or(true, |count| count > limit);
        let what = match number {
            kind::LIST => What::List(List::new()),
            kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                What::Nodes(Quicklist::new(fill_of(limits.list_size)))
            }
            kind::SET if more_than(limits.set_ints.max(limits.set_entries)) => {
                What::SetTable(table(expected, context), Vec::with_capacity(BATCH))
            }
            kind::SET => What::Set(Set::new()),
            kind::HASH if more_than(limits.hash_entries) => {
                What::HashTable(table(expected, context), Vec::with_capacity(BATCH))
            }
            kind::HASH => What::Hash(Listpack::new()),
            _ => What::ZSet(ranked::Builder::new(context.seed, expected)),
        };
        Building { number, left: count, what }
    }

    /// Reads elements until none is left, committing after each; stops where the input does.
    pub(crate) fn read(
        &mut self,
        from: &mut Cursor<'_>,
        scratch: &mut Scratch,
        context: &Context,
    ) -> Parsed<()> {
        while self.left > 0 {
            self.element(from, scratch, context)?;
            from.commit();
            self.left -= 1;
        }
        Ok(())
    }

    #[inline]
    fn element(&mut self, from: &mut Cursor<'_>, scratch: &mut Scratch, context: &Context) -> Parsed<()> {
        let (limits, seed, number) = (&context.limits, context.seed, self.number);
        let repeated = ErrorKind::Repeated(number);
        match &mut self.what {
            What::List(list) => {
                let text = from.string(&mut scratch.first)?;
                list.reserve(fill_of(limits.list_size), text.len(), 1);
                list.push(End::Right, text);
            }
            What::Nodes(quick) => {
                let held = match number {
                    kind::LIST_QUICKLIST => container::PACKED,
                    _ => from.len()?,
                };
                let bytes = from.string(&mut scratch.first)?;
                match (held, number) {
                    (container::PLAIN, _) => quick.push_plain(Buf::from(bytes)),
                    (container::PACKED, kind::LIST_QUICKLIST) => {
                        quick.push_pack(ziplist::to_listpack(bytes).ok_or(ErrorKind::Malformed(number))?);
                    }
                    (container::PACKED, _) => {
                        quick.push_pack(Listpack::from_bytes(bytes).ok_or(ErrorKind::Malformed(number))?);
                    }
                    _ => return Err(ErrorKind::Malformed(number).into()),
                }
            }
            What::Set(set) => {
                let member = from.string(&mut scratch.first)?;
                if !set.add(member, limits, seed) {
                    return Err(repeated.into());
                }
            }
            What::SetTable(table, fresh) => {
                fresh.push(Blob::new(from.string(&mut scratch.first)?));
                if fresh.len() == BATCH {
                    table.insert_all(fresh).map_err(|_| repeated)?;
                }
            }
            What::Hash(pack) => {
                let (field, value) = (from.string(&mut scratch.first)?, from.string(&mut scratch.second)?);
                let fits = field.len() <= limits.hash_value
                    && value.len() <= limits.hash_value
                    && pack.has_room_for(field.len() + value.len());
                if fits {
                    pack.push_back(field);
                    pack.push_back(value);
                } else {
                    let room = from.left().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    let table = table_of_pairs(pack, room, number, seed)?;
                    self.what = What::HashTable(table, vec![Pair::new(field, value)]);
                }
            }
            What::HashTable(table, fresh) => {
                let (field, value) = (from.string(&mut scratch.first)?, from.string(&mut scratch.second)?);
                fresh.push(Pair::new(field, value));
                if fresh.len() >= BATCH {
                    table.insert_all(fresh).map_err(|_| repeated)?;
                }
            }
            What::ZSet(builder) => {
                let member = from.string(&mut scratch.first)?;
                let score = match number {
                    kind::ZSET => from.text_score()?,
                    _ => Some(f64::from_le_bytes(from.array()?)),
                };
                let score = score.filter(|score| !score.is_nan());
                builder.push(member, score.ok_or(ErrorKind::Malformed(number))?);
            }
        }
        Ok(())
    }

    /// Returns the value, in the encoding that fits it; nothing if it has no elements.
    pub(crate) fn finish(self, context: &Context) -> Result<Option<Value>, ErrorKind> {
        let Building { number, what, .. } = self;
        let repeated = ErrorKind::Repeated(number);
        let limits = &context.limits;
        let value = match what {
            What::List(List::Packed(pack)) => Value::List(List::Packed(pack)),
            What::List(List::Quick(quick)) => Value::List(settled(*quick)),
            What::Nodes(quick) => Value::List(settled(quick)),
            What::Set(set) => Value::Set(set),
            What::SetTable(mut table, mut fresh) => {
                table.insert_all(&mut fresh).map_err(|_| repeated)?;
                table.take_retired();
                Value::Set(Set::Table(Box::new(table)))
            }
            What::Hash(mut pack) => {
                let fields = pack.len() / 2;
                check_distinct(pack.pairs().map(|(field, _)| field), fields, number, context.seed)?;
                pack.shrink_to_fit();
                Value::Hash(Hash::Packed(pack))
            }
            What::HashTable(mut table, mut fresh) => {
                table.insert_all(&mut fresh).map_err(|_| repeated)?;
                table.take_retired();
                Value::Hash(Hash::Table(Box::new(table)))
            }
            What::ZSet(builder) => {
                let mut ranked = builder.finish().ok_or(repeated)?;
                ranked.take_retired();
                Value::ZSet(ZSet::settled(ranked, limits))
            }
        };
        let empty = match &value {
            Value::List(list) => list.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::ZSet(zset) => zset.is_empty(),
            Value::Int(_) | Value::Text(_) => false,
        };
        Ok((!empty).then_some(value))
    }
}

fn table<E: structures::Entry>(expected: usize, context: &Context) -> Dict<E> {
    let mut table = Dict::new(context.seed);
    table.reserve(expected);
    table
}

/// Returns a list as a listpack if one node within the limit holds it all.
fn settled(quick: Quicklist) -> List {
    let (bytes, count) = quick.fill().limits();
    let fits = quick.as_listpack().is_some_and(|pack| pack.byte_len() <= bytes && quick.len() <= count);
    if !fits && !quick.is_empty() {
        return List::Quick(Box::new(quick));
    }
    match quick.into_listpack() {
        Ok(mut pack) => {
            pack.shrink_to_fit();
            List::Packed(pack)
        }
        Err(quick) => List::Quick(Box::new(quick)),
    }
}
