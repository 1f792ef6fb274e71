//! Reading a snapshot as its bytes arrive.
//!
//! The loader takes whatever is there and hands out whole items; what is left over it wants again, with more behind it.
//! Large collections are built as their elements arrive, so that only single strings need to be there whole.

use base::crc64::crc64;
use keyspace::db::Aging;
use keyspace::evict::{age_of_frequency, age_of_idle, initial_age};
use keyspace::load::text_entry;
use keyspace::{Entry, Value};
use structures::record::KEY_MAX;

use crate::build::{Building, Scratch};
use crate::error::{ErrorKind, LoadError, Stop};
use crate::format::{self, CHECKSUM_SINCE, HEADER, kind, opcode};
pub use crate::packed::Context;
use crate::packed::value_of;
use crate::read::{Cursor, Parsed, Text};

/// Bytes of input for which one entry's place in a table is set aside before it is there.
///
/// A place takes ten to twenty bytes, so what is claimed takes hardly more than what was sent.
const BYTES_PER_PLACE: u64 = 8;

/// Database numbers from here on are a mistake.
const DATABASES_MAX: u64 = 1 << 31;

/// How a snapshot is read.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    pub verify_checksum: bool,
    /// How access to keys is remembered, and the time that idle times are counted from.
    pub aging: Aging,
    pub now_ms: i64,
    /// Bytes of the whole input, where they are known: tables are then made large enough at once, and what claims to
    /// be longer than the input is refused at once.
    pub input_len: Option<u64>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions { verify_checksum: true, aging: Aging::Lru, now_ms: 0, input_len: None }
    }
}

/// One part of a snapshot.
pub enum Item<'a> {
    /// A field that the snapshot says about itself.
    Aux(&'a [u8], &'a [u8]),
    /// The keys that follow are of this database.
    Select(usize),
    /// So many keys follow, and so many of them have an expiry; never more than the input has room for.
    Resize { keys: usize, stamped: usize },
    /// A key with its value, expiry and age.
    Entry(Entry),
    /// The source of a function library.
    Function(&'a [u8]),
    /// The checksum, which was right or not to be verified; 0 if whoever wrote the snapshot did not take it.
    Checksum(u64),
    /// The snapshot is complete.
    End,
}

/// Where in a snapshot the loader is.
enum State {
    Magic,
    /// Between items.
    Items,
    /// Within a collection.
    Value {
        key: Box<[u8]>,
        building: Box<Building>,
    },
    Checksum,
    Done,
}

/// Reads one snapshot.
pub struct Loader {
    context: Context,
    options: LoadOptions,
    state: State,
    version: u16,
    /// Bytes that were taken so far.
    offset: u64,
    needs: usize,
    crc: u64,
    stamp: Option<i64>,
    age: Option<u32>,
    scratch: Scratch,
    empty: u64,
}

impl Loader {
    /// Returns a loader at the beginning of a snapshot.
    pub fn new(context: Context, options: LoadOptions) -> Loader {
        Loader {
            context,
            options,
            state: State::Magic,
            version: 0,
            offset: 0,
            needs: HEADER,
            crc: 0,
            stamp: None,
            age: None,
            scratch: Scratch::default(),
            empty: 0,
        }
    }

    /// Returns whether the snapshot is complete; what follows it is no part of it.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns how many bytes were taken so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns how many bytes the next call needs at least to take any.
    ///
    /// This may be a mere claim of the input, unless its length is known: read on until they are there, but do not set
    /// memory aside for them.
    pub fn needs(&self) -> usize {
        self.needs
    }

    /// Returns the snapshot's version, 0 before it is known.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Returns how many keys were left out since their values had no elements, as Redis leaves them out.
    pub fn empty_keys(&self) -> u64 {
        self.empty
    }

    /// Returns the error of a snapshot whose input ends here, if it may not end here.
    pub fn end_of_input(&self) -> Result<(), LoadError> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(LoadError { offset: self.offset, what: ErrorKind::Truncated }),
        }
    }

    /// Hands out the items at the front of `bytes` and returns how many bytes they took.
    ///
    /// The rest is to be given again with more behind it, [`Loader::needs`] bytes at least. After an error, be it one
    /// of `item`, the loader is of no more use.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        item: &mut impl FnMut(Item<'_>) -> Result<(), LoadError>,
    ) -> Result<usize, LoadError> {
        let mut from = Cursor::new(bytes);
        let mut summed = 0;
        let stop = loop {
            if self.is_done() {
                self.needs = 0;
                break None;
            }
            if let State::Checksum = self.state {
                self.crc = crc64(self.crc, &bytes[summed..from.done()]);
                summed = from.done();
            }
            match self.step(&mut from, item) {
                Ok(()) => from.commit(),
                Err(stop) => break Some(stop),
            }
        };
        let taken = from.done();
        self.offset += taken as u64;
        match stop {
            None => {}
            Some(Fault::Stop(Stop::More(reach))) => {
                self.needs = reach.saturating_sub(taken).max(bytes.len() - taken + 1);
                let end = self.offset.saturating_add(self.needs as u64);
                if self.options.input_len.is_some_and(|len| end > len) {
                    return Err(LoadError { offset: self.offset, what: ErrorKind::Truncated });
                }
            }
            Some(Fault::Stop(Stop::Bad(what))) => return Err(LoadError { offset: self.offset, what }),
            Some(Fault::Refused(error)) => return Err(LoadError { offset: self.offset, ..error }),
        }
        if !self.is_done() && self.version >= CHECKSUM_SINCE && self.options.verify_checksum {
            self.crc = crc64(self.crc, &bytes[summed..taken]);
        }
        Ok(taken)
    }

    /// Reads what comes next: an item, or as many elements of a collection as there are.
    fn step(
        &mut self,
        from: &mut Cursor<'_>,
        item: &mut impl FnMut(Item<'_>) -> Result<(), LoadError>,
    ) -> Result<(), Fault> {
        match &mut self.state {
            State::Items => self.next_item(from, item),
            State::Value { building, .. } => {
                building.read(from, &mut self.scratch, &self.context)?;
                let State::Value { key, building } = std::mem::replace(&mut self.state, State::Items) else {
                    unreachable!("matched above")
                };
                let value = building.finish(&self.context).map_err(Stop::Bad)?;
                self.emit(value.map(|value| Entry::with_word(&key, value, self.stamp)), item)
            }
            State::Magic => {
                self.version = version_of(from.array()?)?;
                self.state = State::Items;
                Ok(())
            }
            State::Checksum => {
                let found = u64::from_le_bytes(from.array()?);
                let computed = self.crc;
                if self.options.verify_checksum && found != 0 && found != computed {
                    return Err(Stop::Bad(ErrorKind::Checksum { found, computed }).into());
                }
                self.state = State::Done;
                item(Item::Checksum(found))?;
                item(Item::End)?;
                Ok(())
            }
            State::Done => Ok(()),
        }
    }

    fn next_item(
        &mut self,
        from: &mut Cursor<'_>,
        item: &mut impl FnMut(Item<'_>) -> Result<(), LoadError>,
    ) -> Result<(), Fault> {
        let number = from.byte()?;
        match number {
            ..opcode::FIRST => return self.entry(number, from, item),
            opcode::EXPIRETIME_MS => self.stamp = Some(i64::from_le_bytes(from.array()?)),
            opcode::EXPIRETIME => {
                self.stamp = Some(i64::from(i32::from_le_bytes(from.array()?)) * 1000);
            }
            opcode::IDLE => {
                let seconds = from.len()?;
                self.age = age_of_idle(self.options.aging, seconds, self.options.now_ms);
            }
            opcode::FREQ => {
                self.age = age_of_frequency(self.options.aging, from.byte()?, self.options.now_ms);
            }
            opcode::SELECTDB => {
                let db = from.len()?;
                match usize::try_from(db) {
                    Ok(number) if db < DATABASES_MAX => item(Item::Select(number))?,
                    _ => return Err(Stop::Bad(ErrorKind::Database(db)).into()),
                }
            }
            opcode::RESIZEDB => {
                let (keys, stamped) = (from.len()?, from.len()?);
                let room = self.room(from);
                let within = |count: u64| usize::try_from(count).map_or(room, |count| count.min(room));
                item(Item::Resize { keys: within(keys), stamped: within(stamped) })?;
            }
            opcode::AUX => {
                let name = from.string(&mut self.scratch.first)?;
                item(Item::Aux(name, from.string(&mut self.scratch.second)?))?;
            }
            opcode::FUNCTION2 => item(Item::Function(from.string(&mut self.scratch.first)?))?,
            opcode::SLOT_INFO => {
                // The slot and its sizes: only a hint.
                for _ in 0..3 {
                    from.len()?;
                }
            }
            opcode::EOF if self.version < CHECKSUM_SINCE => {
                self.state = State::Done;
                item(Item::End)?;
            }
            opcode::EOF => self.state = State::Checksum,
            _ => return Err(Stop::Bad(ErrorKind::Unsupported(number)).into()),
        }
        Ok(())
    }

    /// Reads a key and its value, or begins one that is built element by element.
    #[inline]
    fn entry(
        &mut self,
        number: u8,
        from: &mut Cursor<'_>,
        item: &mut impl FnMut(Item<'_>) -> Result<(), LoadError>,
    ) -> Result<(), Fault> {
        check_type(number)?;
        let key = from.string(&mut self.scratch.first)?;
        if key.len() > KEY_MAX {
            return Err(Stop::Bad(ErrorKind::Length).into());
        }
        let entry = match number {
            kind::STRING => {
                let text = from.text(&mut self.scratch.second)?;
                Some(string_entry(key, text, self.stamp))
            }
            kind::LIST..=kind::ZSET_2 | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                let (count, key) = (from.len()?, key.into());
                let building = Building::begin(number, count, self.room(from), &self.context);
                self.state = State::Value { key, building: Box::new(building) };
                return Ok(());
            }
            _ => {
                let bytes = from.string(&mut self.scratch.second)?;
                let value = value_of(number, bytes, &self.context).map_err(Stop::Bad)?;
                value.map(|value| Entry::with_word(key, value, self.stamp))
            }
        };
        self.emit(entry, item)
    }

    /// Hands out an entry, or counts one that is empty.
    #[inline]
    fn emit(
        &mut self,
        entry: Option<Entry>,
        item: &mut impl FnMut(Item<'_>) -> Result<(), LoadError>,
    ) -> Result<(), Fault> {
        let age = self.age.take();
        self.stamp = None;
        match entry {
            Some(mut entry) => {
                let initial = || initial_age(self.options.aging, self.options.now_ms);
                entry.set_age(age.unwrap_or_else(initial));
                item(Item::Entry(entry))?;
            }
            None => self.empty += 1,
        }
        Ok(())
    }

    /// Returns how many entries to expect at most, by the bytes that there are or are said to be.
    fn room(&self, from: &Cursor<'_>) -> usize {
        let here = self.offset + from.at() as u64;
        let left = self.options.input_len.map_or(from.left() as u64, |len| len.saturating_sub(here));
        (left / BYTES_PER_PLACE) as usize
    }
}

/// Reads a value of the type `number` whole, for an entry of `key`; nothing if it has no elements.
pub(crate) fn read_value(
    number: u8,
    key: &[u8],
    stamp: Option<i64>,
    from: &mut Cursor<'_>,
    context: &Context,
) -> Parsed<Option<Entry>> {
    check_type(number)?;
    let mut scratch = Scratch::default();
    let value = match number {
        kind::STRING => {
            let text = from.text(&mut scratch.first)?;
            return Ok(Some(string_entry(key, text, stamp)));
        }
        kind::LIST..=kind::ZSET_2 | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
            let count = from.len()?;
            let room = from.left() / BYTES_PER_PLACE as usize;
            let mut building = Building::begin(number, count, room, context);
            building.read(from, &mut scratch, context)?;
            building.finish(context)?
        }
        _ => value_of(number, from.string(&mut scratch.first)?, context)?,
    };
    Ok(value.map(|value| Entry::with_word(key, value, stamp)))
}

/// Refuses the types that we have no values for.
#[inline]
fn check_type(number: u8) -> Result<(), Stop> {
    match number {
        kind::STRING..=kind::ZSET_2
        | kind::HASH_ZIPMAP..=kind::LIST_QUICKLIST
        | kind::HASH_LISTPACK..=kind::LIST_QUICKLIST_2
        | kind::SET_LISTPACK => Ok(()),
        _ => Err(ErrorKind::Unsupported(number).into()),
    }
}

#[inline]
fn string_entry(key: &[u8], text: Text<'_>, stamp: Option<i64>) -> Entry {
    match text {
        Text::Int(value) => Entry::with_word(key, Value::Int(value), stamp),
        Text::Bytes(bytes) => text_entry(key, bytes, stamp),
    }
}

/// Returns the version that the first bytes of a snapshot tell.
fn version_of(header: [u8; HEADER]) -> Result<u16, Stop> {
    let digits = header.strip_prefix(b"REDIS").or(header.strip_prefix(b"VALKEY")).ok_or(ErrorKind::Magic)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ErrorKind::Version(None).into());
    }
    let version = digits.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0'));
    let valkey = header[0] == b'V';
    if !format::is_readable(version) || valkey != (version >= format::VALKEY_FIRST) {
        return Err(ErrorKind::Version(Some(version)).into());
    }
    Ok(version)
}

/// Why a step was the last for now, or for good.
enum Fault {
    Stop(Stop),
    Refused(LoadError),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Fault {
        Fault::Stop(stop)
    }
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Fault {
        Fault::Refused(error)
    }
}

impl LoadError {
    /// Returns the refusal of an item, for those who take them; the loader adds the place.
    pub fn refused(reason: impl Into<String>) -> LoadError {
        LoadError { offset: 0, what: ErrorKind::Refused(reason.into()) }
    }
}
