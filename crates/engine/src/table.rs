//! The command table: one row a command, declared beside its handler.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::syntax::Syntax;
use crate::{Args, Cx, Reply, Result};

/// A command's code: parse, find, act, say what changed, reply.
pub type Handler = fn(&mut Cx<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result<()>;

/// Properties of a command, after the flag names that COMMAND INFO prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Returns whether any of `other`'s flags is set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::Not for Flags {
    type Output = Flags;
    fn not(self) -> Flags {
        Flags(!self.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

macro_rules! flags {
    ($type:ident: $($name:ident = $bit:expr, $text:expr;)*) => {
        $(pub const $name: $type = $type(1 << $bit);)*
        impl $type {
            /// Returns the set flags' names in table order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                const ALL: &[($type, &str)] = &[$(($name, $text)),*];
                ALL.iter().filter(move |(flag, _)| self.0 & flag.0 != 0).map(|(_, text)| *text)
            }
        }
    };
}

flags! { Flags:
    WRITE = 0, "write";
    READONLY = 1, "readonly";
    DENYOOM = 2, "denyoom";
    ADMIN = 3, "admin";
    PUBSUB = 4, "pubsub";
    NOSCRIPT = 5, "noscript";
    BLOCKING = 6, "blocking";
    LOADING = 7, "loading";
    STALE = 8, "stale";
    SKIP_MONITOR = 9, "skip_monitor";
    SKIP_SLOWLOG = 10, "skip_slowlog";
    ASKING = 11, "asking";
    FAST = 12, "fast";
    NO_AUTH = 13, "no_auth";
    MAY_REPLICATE = 14, "may_replicate";
    NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
    NO_ASYNC_LOADING = 16, "no_async_loading";
    NO_MULTI = 17, "no_multi";
    MOVABLE_KEYS = 18, "movablekeys";
    ALLOW_BUSY = 19, "allow_busy";
    PROTECTED = 20, "protected";
}

/// ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(pub u32);

impl std::ops::BitOr for Categories {
    type Output = Categories;
    fn bitor(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }
}

/// ACL categories by name; those that follow from flags need not be declared.
pub mod acl {
    use super::Categories;
    flags! { Categories:
        KEYSPACE = 0, "keyspace";
        READ = 1, "read";
        WRITE = 2, "write";
        SET = 3, "set";
        SORTEDSET = 4, "sortedset";
        LIST = 5, "list";
        HASH = 6, "hash";
        STRING = 7, "string";
        BITMAP = 8, "bitmap";
        HYPERLOGLOG = 9, "hyperloglog";
        GEO = 10, "geo";
        STREAM = 11, "stream";
        PUBSUB = 12, "pubsub";
        ADMIN = 13, "admin";
        FAST = 14, "fast";
        SLOW = 15, "slow";
        BLOCKING = 16, "blocking";
        DANGEROUS = 17, "dangerous";
        CONNECTION = 18, "connection";
        TRANSACTION = 19, "transaction";
        SCRIPTING = 20, "scripting";
    }
}

/// What a command does with the keys that a [`KeySpec`] finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFlags(pub u16);

impl KeyFlags {
    /// Returns whether any of `other`'s flags is set.
    #[inline]
    pub const fn has(self, other: KeyFlags) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for KeyFlags {
    type Output = KeyFlags;
    fn bitor(self, other: KeyFlags) -> KeyFlags {
        KeyFlags(self.0 | other.0)
    }
}

/// Key flags by name.
pub mod key {
    use super::KeyFlags;
    flags! { KeyFlags:
        RO = 0, "RO";
        RW = 1, "RW";
        OW = 2, "OW";
        RM = 3, "RM";
        ACCESS = 4, "access";
        UPDATE = 5, "update";
        INSERT = 6, "insert";
        DELETE = 7, "delete";
        NOT_KEY = 8, "not_key";
        INCOMPLETE = 9, "incomplete";
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

/// Where a run of keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument (the name is 0).
    Index(i32),
    /// After this word, sought from the given argument on (backwards if negative).
    Keyword(&'static str, i32),
    Unknown,
}

/// How the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// To `last` (relative; negative from the end), every `step`; `limit` divides the rest.
    Range {
        last: i32,
        step: i32,
        limit: i32,
    },
    /// The count stands `at` after the begin, the first key `first` after it.
    Count {
        at: i32,
        first: i32,
        step: i32,
    },
    Unknown,
}

/// One way in which a command names keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub flags: KeyFlags,
}

/// One key at argument `index`.
pub const fn at(index: i32, flags: KeyFlags) -> KeySpec {
    KeySpec { begin: Begin::Index(index), find: Find::Range { last: 0, step: 1, limit: 0 }, flags }
}

/// Keys from argument `index` to `last` (relative to the first, or negative from the end), every `step`.
pub const fn range(index: i32, last: i32, step: i32, limit: i32, flags: KeyFlags) -> KeySpec {
    KeySpec { begin: Begin::Index(index), find: Find::Range { last, step, limit }, flags }
}

/// As many keys as the number at argument `index + at` says.
pub const fn counted(index: i32, at: i32, first: i32, step: i32, flags: KeyFlags) -> KeySpec {
    KeySpec { begin: Begin::Index(index), find: Find::Count { at, first, step }, flags }
}

/// Any other combination.
pub const fn spec(begin: Begin, find: Find, flags: KeyFlags) -> KeySpec {
    KeySpec { begin, find, flags }
}

/// The groups of commands, by which COMMAND DOCS sorts them.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub group: &'static str,
    pub commands: &'static [Command],
}

/// One row: everything that is known about a command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Upper-case name; a subcommand's is without its container's.
    pub name: &'static str,
    pub handler: Option<Handler>,
    pub summary: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    /// The arguments, in the notation of [`crate::syntax`].
    pub syntax: &'static str,
    /// Overrides the arity that the syntax gives; 0 = none.
    pub arity: i32,
    pub flags: Flags,
    pub acl: Categories,
    pub keys: &'static [KeySpec],
    pub tips: &'static [&'static str],
    pub subcommands: &'static [Command],
    /// Finds the keys where the key specs cannot (SORT, the numkeys families are covered by specs).
    pub find_keys: Option<FindKeys>,
}

/// Appends the argument positions of a request's keys, each with what is done to it.
pub type FindKeys = fn(resp::decode::Request<'_>, &mut Vec<(usize, KeyFlags)>);

/// Starts the row of a command.
pub const fn command(name: &'static str, handler: Handler) -> Command {
    Command { handler: Some(handler), ..container(name, &[]) }
}

/// Starts the row of a command that only has subcommands.
pub const fn container(name: &'static str, subcommands: &'static [Command]) -> Command {
    Command {
        name,
        handler: None,
        summary: "",
        since: "",
        complexity: "",
        syntax: "",
        arity: 0,
        flags: Flags(0),
        acl: Categories(0),
        keys: &[],
        tips: &[],
        subcommands,
        find_keys: None,
    }
}

impl Command {
    /// One sentence that says what the command does.
    pub const fn summary(self, summary: &'static str) -> Command {
        Command { summary, ..self }
    }
    /// The Redis version that brought it.
    pub const fn since(self, since: &'static str) -> Command {
        Command { since, ..self }
    }
    pub const fn complexity(self, complexity: &'static str) -> Command {
        Command { complexity, ..self }
    }
    pub const fn syntax(self, syntax: &'static str) -> Command {
        Command { syntax, ..self }
    }
    pub const fn arity(self, arity: i32) -> Command {
        Command { arity, ..self }
    }
    /// Flags are or-ed by hand, as trait operators are not const.
    pub const fn flags(self, flags: &[Flags]) -> Command {
        let (mut bits, mut i) = (0, 0);
        while i < flags.len() {
            bits |= flags[i].0;
            i += 1;
        }
        Command { flags: Flags(bits), ..self }
    }
    pub const fn acl(self, categories: &[Categories]) -> Command {
        let (mut bits, mut i) = (0, 0);
        while i < categories.len() {
            bits |= categories[i].0;
            i += 1;
        }
        Command { acl: Categories(bits), ..self }
    }
    pub const fn keys(self, keys: &'static [KeySpec]) -> Command {
        Command { keys, ..self }
    }
    pub const fn tips(self, tips: &'static [&'static str]) -> Command {
        Command { tips, ..self }
    }
    pub const fn find_keys(self, find: FindKeys) -> Command {
        Command { find_keys: Some(find), ..self }
    }
    /// The code of a container called without a subcommand (COMMAND is the only one).
    pub const fn handler(self, handler: Handler) -> Command {
        Command { handler: Some(handler), ..self }
    }
}

/// Or-s key flags in const context.
pub const fn does(flags: &[KeyFlags]) -> KeyFlags {
    let (mut bits, mut i) = (0, 0);
    while i < flags.len() {
        bits |= flags[i].0;
        i += 1;
    }
    KeyFlags(bits)
}

/// A row at run time: with everything that follows from it.
#[derive(Debug)]
pub struct Row {
    pub command: &'static Command,
    /// Place in the table; statistics are kept by it.
    pub id: usize,
    /// Lower-case full name: `get`, `client|list`.
    pub name: String,
    pub group: &'static str,
    pub arity: i32,
    pub flags: Flags,
    pub acl: Categories,
    pub syntax: Syntax,
    /// The keys as far as one range tells, for clients that know no key specs; zeros where none does.
    pub first_key: i32,
    pub last_key: i32,
    pub key_step: i32,
    /// Ids of the subcommands, in declared order.
    pub subcommands: Vec<usize>,
    pub parent: Option<usize>,
}

impl Row {
    /// Returns whether this is one of the top-level commands declared under these names, whatever it is called now.
    pub fn is_any(&self, names: &[&str]) -> bool {
        self.parent.is_none() && names.contains(&self.command.name)
    }

    /// Returns whether the command takes this number of words, its name included.
    #[inline]
    pub fn takes(&self, words: usize) -> bool {
        (self.arity <= 0 || words == self.arity as usize) && words >= self.arity.unsigned_abs() as usize
    }
}

/// The keys of a command as one range, which is how they were told before there were key specs.
struct KeyRange {
    first: i32,
    last: i32,
    step: i32,
    /// There are keys that the range does not tell.
    movable: bool,
}

impl KeyRange {
    /// Joins the specs that are ranges at fixed places and follow each other.
    fn of(specs: &[KeySpec]) -> KeyRange {
        let mut range = KeyRange { first: 0, last: 0, step: 0, movable: false };
        for spec in specs {
            let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                range.movable = true;
                continue;
            };
            let follows = range.first == 0 || range.last == first - 1;
            if specs.len() > 1 && (step != 1 || !follows) {
                range.movable = true;
                continue;
            }
            range.movable |= spec.flags.has(key::INCOMPLETE);
            range.first = if range.first == 0 { first } else { range.first.min(first) };
            range.last = if last < 0 { last } else { last + first };
            range.step = step;
        }
        range
    }
}

/// All commands of this build, looked up by name.
#[derive(Debug)]
pub struct Table {
    pub rows: Vec<Row>,
    /// Open addressing over the hash of the lower-case name.
    slots: Vec<Slot>,
    subcommands: BTreeMap<(usize, Vec<u8>), usize>,
}

/// The command that was found last; the next one often is the same, written alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    word: u64,
    len: usize,
    id: usize,
}

impl Recent {
    /// Nothing was found yet: no name is that long.
    pub(crate) const NOTHING: Recent = Recent { word: 0, len: usize::MAX, id: 0 };
}

/// Where a name stands: its head, its length and its row.
#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u64,
    len: u16,
    id: u16,
}

/// Twice as many as there are commands, and then some.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;
const VACANT: Slot = Slot { head: 0, len: 0, id: EMPTY };

impl Table {
    /// Returns the table of this build, with no command renamed; shared by all engines of the process.
    pub fn standard() -> &'static Table {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(crate::commands::FAMILIES));
        &TABLE
    }

    /// Builds the table from the families' rows; panics on a row that contradicts itself.
    pub fn new(families: &[Family]) -> Table {
        let mut table = Table { rows: Vec::new(), slots: vec![VACANT; SLOTS], subcommands: BTreeMap::new() };
        for family in families {
            for command in family.commands {
                let id = table.add(command, family.group, None);
                table.index(id);
                for sub in command.subcommands {
                    let sub_id = table.add(sub, family.group, Some(id));
                    table.rows[id].subcommands.push(sub_id);
                    table.subcommands.insert((id, sub.name.to_ascii_lowercase().into_bytes()), sub_id);
                }
            }
        }
        table
    }

    fn add(&mut self, command: &'static Command, group: &'static str, parent: Option<usize>) -> usize {
        let id = self.rows.len();
        let name = match parent {
            Some(parent) => format!("{}|{}", self.rows[parent].name, command.name.to_ascii_lowercase()),
            None => command.name.to_ascii_lowercase(),
        };
        let syntax = Syntax::parse(command.syntax)
            .unwrap_or_else(|error| panic!("the syntax of {name} does not parse: {error}"));
        let arity = match command.arity {
            // A container takes a subcommand at least.
            0 if !command.subcommands.is_empty() => -2 + i32::from(command.handler.is_some()),
            0 => syntax.arity(1 + i32::from(parent.is_some())),
            arity => arity,
        };
        let keys = KeyRange::of(command.keys);
        let flags = if keys.movable { command.flags | MOVABLE_KEYS } else { command.flags };
        self.rows.push(Row {
            command,
            id,
            name,
            group,
            arity,
            flags,
            acl: implied(command),
            syntax,
            first_key: keys.first,
            last_key: keys.last,
            key_step: keys.step,
            subcommands: Vec::new(),
            parent,
        });
        id
    }

    fn index(&mut self, id: usize) {
        let name = self.rows[id].name.as_bytes();
        let head = head(name);
        let mut at = hash(head, name);
        while self.slots[at % SLOTS].id != EMPTY {
            let other = &self.rows[usize::from(self.slots[at % SLOTS].id)].name;
            assert_ne!(other.as_bytes(), name, "a name stands once");
            at += 1;
        }
        self.slots[at % SLOTS] = Slot { head, len: name.len() as u16, id: id as u16 };
    }

    /// Returns the row of a top-level command, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let head = head(name);
        let mut at = hash(head, name);
        loop {
            let slot = self.slots[at % SLOTS];
            if slot.id == EMPTY {
                return None;
            }
            // What fits the head is compared with it.
            if slot.head == head && usize::from(slot.len) == name.len() {
                let row = &self.rows[usize::from(slot.id)];
                if name.len() <= HEAD || row.name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some(row);
                }
            }
            at += 1;
        }
    }

    /// Returns what [`Table::find`] does; `recent` is of the same table.
    #[inline]
    pub(crate) fn find_again(&self, name: &[u8], recent: &mut Recent) -> Option<&Row> {
        let word = word(name);
        if word == recent.word && name.len() == recent.len {
            return self.rows.get(recent.id);
        }
        let row = self.find(name)?;
        if (1..=HEAD).contains(&name.len()) {
            *recent = Recent { word, len: name.len(), id: row.id };
        }
        Some(row)
    }

    /// Returns the row of a container's subcommand, in any case.
    pub fn find_sub(&self, container: usize, name: &[u8]) -> Option<&Row> {
        let id = self.subcommands.get(&(container, name.to_ascii_lowercase()))?;
        Some(&self.rows[*id])
    }

    /// Returns the row with a full name such as `get` or `client|list`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Row> {
        match name.iter().position(|b| *b == b'|') {
            Some(bar) => self.find(&name[..bar]).and_then(|row| self.find_sub(row.id, &name[bar + 1..])),
            None => self.find(name),
        }
    }

    /// Renames a top-level command, or removes it when `to` is empty (`rename-command`). Returns whether it was there and the new name free.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let Some(id) = self.find(from).map(|row| row.id) else { return false };
        if !to.is_empty() && self.find(to).is_some() {
            return false;
        }
        let name = String::from_utf8_lossy(&to.to_ascii_lowercase()).into_owned();
        self.rows[id].name = name;
        let ids: Vec<u16> = self.slots.iter().map(|slot| slot.id).filter(|id| *id != EMPTY).collect();
        self.slots.fill(VACANT);
        for id in ids {
            if !self.rows[usize::from(id)].name.is_empty() {
                self.index(usize::from(id));
            }
        }
        true
    }

    /// Returns the top-level rows that clients can call.
    pub fn top(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.parent.is_none() && !row.name.is_empty())
    }
}

/// Adds the categories that follow from flags, as Redis' setImplicitACLCategories does.
fn implied(command: &Command) -> Categories {
    let mut acl = command.acl;
    let flags = command.flags;
    if flags.has(WRITE) {
        acl = acl | acl::WRITE;
    }
    // Commands that only read data; the scripting ones read what the script reads.
    if flags.has(READONLY) && acl.0 & acl::SCRIPTING.0 == 0 {
        acl = acl | acl::READ;
    }
    if flags.has(ADMIN) {
        acl = acl | acl::ADMIN | acl::DANGEROUS;
    }
    if flags.has(PUBSUB) {
        acl = acl | acl::PUBSUB;
    }
    if flags.has(FAST) {
        acl = acl | acl::FAST;
    }
    if flags.has(BLOCKING) {
        acl = acl | acl::BLOCKING;
    }
    if acl.0 & acl::FAST.0 == 0 {
        acl = acl | acl::SLOW;
    }
    acl
}

/// Bytes of a name that are compared as one number.
const HEAD: usize = 8;

/// Returns the first bytes of a name as a number, in lower case.
#[inline]
fn head(name: &[u8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = word(name);
    // The top bit of each byte says whether it is a letter from A to Z; a quarter of it is what makes one small.
    let low = word & (ONES * 0x7f);
    let letters =
        (low + ONES * (0x80 - b'A' as u64)) & !(low + ONES * (0x7f - b'Z' as u64)) & !word & (ONES * 0x80);
    word | letters >> 2
}

/// Returns the first bytes of a name as a number.
#[inline]
fn word(name: &[u8]) -> u64 {
    if let Some(head) = name.first_chunk::<HEAD>() {
        u64::from_le_bytes(*head)
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u64::from(first) | u64::from(last) << (8 * (name.len() - 4))
    } else {
        match *name {
            [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
            [a, b] => u64::from(a) | u64::from(b) << 8,
            [a] => u64::from(a),
            _ => 0,
        }
    }
}

/// Returns where to look for a name with this head first.
#[inline]
fn hash(head: u64, name: &[u8]) -> usize {
    // Long names differ at their ends as well.
    let tail = name
        .get(HEAD..)
        .map_or(0, |tail| tail.iter().fold(name.len() as u64, |sum, byte| sum + u64::from(byte | 0x20)));
    (((head ^ tail << 7).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_last_is_not_taken_for_another() {
        let table = Table::standard();
        let mut recent = Recent::NOTHING;
        for name in ["", "get", "GET", "get", "get\0", "gets", "", "lpush", "lpushx", "lpush", "subscribe"] {
            for _ in 0..2 {
                let found = table.find_again(name.as_bytes(), &mut recent).map(|row| row.id);
                assert_eq!(found, table.find(name.as_bytes()).map(|row| row.id), "{name:?}");
            }
        }
        assert!(table.find_again(b"subscribX", &mut recent).is_none());
    }

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else_is() {
        let table = Table::standard();
        for row in table.top() {
            for name in [row.name.clone(), row.name.to_uppercase()] {
                assert_eq!(table.find(name.as_bytes()).map(|found| found.id), Some(row.id));
                // A byte that differs from a letter's in the bit for its case, or from another character's, is no match.
                for at in 0..name.len() {
                    for bit in [0x20, 0x80, 0x01] {
                        let mut other = name.clone().into_bytes();
                        other[at] ^= bit;
                        let same = other.eq_ignore_ascii_case(name.as_bytes());
                        let found = table.find(&other).is_some_and(|found| found.id == row.id);
                        assert_eq!(found, same, "{other:?}");
                    }
                }
            }
        }
        assert!(table.find(b"").is_none());
    }
}
