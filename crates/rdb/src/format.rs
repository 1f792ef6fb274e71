//! The numbers of the format.

/// The version that is written unless another is asked for: every Redis since 7.0 and every Valkey reads it.
pub const VERSION: u16 = 10;

/// The newest of Redis' versions whose common part is read; Valkey counts from [`VALKEY_FIRST`] on.
pub const VERSION_MAX: u16 = 12;

pub(crate) const VALKEY_FIRST: u16 = 80;
pub(crate) const VALKEY_LAST: u16 = 81;

/// The first version in which a set may be a listpack.
pub(crate) const SET_LISTPACK_SINCE: u16 = 11;

/// The first version that ends with a checksum.
pub(crate) const CHECKSUM_SINCE: u16 = 5;

/// Length of the magic word with its version.
pub(crate) const HEADER: usize = 9;

/// Returns whether files of this version are read.
pub(crate) fn is_readable(version: u16) -> bool {
    matches!(version, 1..=VERSION_MAX | VALKEY_FIRST..=VALKEY_LAST)
}

/// What begins a value.
pub(crate) mod kind {
    pub(crate) const STRING: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const ZSET: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const ZSET_2: u8 = 5;
    pub(crate) const HASH_ZIPMAP: u8 = 9;
    pub(crate) const LIST_ZIPLIST: u8 = 10;
    pub(crate) const SET_INTSET: u8 = 11;
    pub(crate) const ZSET_ZIPLIST: u8 = 12;
    pub(crate) const HASH_ZIPLIST: u8 = 13;
    pub(crate) const LIST_QUICKLIST: u8 = 14;
    pub(crate) const HASH_LISTPACK: u8 = 16;
    pub(crate) const ZSET_LISTPACK: u8 = 17;
    pub(crate) const LIST_QUICKLIST_2: u8 = 18;
    pub(crate) const SET_LISTPACK: u8 = 20;
}

/// What begins anything else.
pub(crate) mod opcode {
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION2: u8 = 245;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQ: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const RESIZEDB: u8 = 251;
    pub(crate) const EXPIRETIME_MS: u8 = 252;
    pub(crate) const EXPIRETIME: u8 = 253;
    pub(crate) const SELECTDB: u8 = 254;
    pub(crate) const EOF: u8 = 255;

    /// The opcodes below these are types.
    pub(crate) const FIRST: u8 = 240;
}

/// How a string is encoded whose length says that it is.
pub(crate) mod encoding {
    pub(crate) const INT8: u8 = 0;
    pub(crate) const INT16: u8 = 1;
    pub(crate) const INT32: u8 = 2;
    pub(crate) const LZF: u8 = 3;
}

/// What a node of a quicklist holds, since type 18 says so.
pub(crate) mod container {
    pub(crate) const PLAIN: u64 = 1;
    pub(crate) const PACKED: u64 = 2;
}

/// Returns the name of a type or opcode, for those who look for what is not supported.
pub fn type_name(number: u8) -> &'static str {
    match number {
        kind::STRING => "string",
        kind::LIST => "list",
        kind::SET => "set",
        kind::ZSET => "sorted set, scores as text",
        kind::HASH => "hash",
        kind::ZSET_2 => "sorted set",
        6 | 7 => "module value",
        kind::HASH_ZIPMAP => "hash as zipmap",
        kind::LIST_ZIPLIST => "list as ziplist",
        kind::SET_INTSET => "set as intset",
        kind::ZSET_ZIPLIST => "sorted set as ziplist",
        kind::HASH_ZIPLIST => "hash as ziplist",
        kind::LIST_QUICKLIST => "list as ziplists",
        15 | 19 | 21 | 26 | 27 => "stream",
        kind::HASH_LISTPACK => "hash as listpack",
        kind::ZSET_LISTPACK => "sorted set as listpack",
        kind::LIST_QUICKLIST_2 => "list as listpacks",
        kind::SET_LISTPACK => "set as listpack",
        22..=25 => "hash with expiring fields",
        242 => "cluster update",
        243 => "slot import",
        opcode::SLOT_INFO => "slot info",
        opcode::FUNCTION2 => "function library",
        246 => "function of a release candidate",
        opcode::MODULE_AUX => "module data",
        opcode::IDLE => "idle time",
        opcode::FREQ => "access frequency",
        opcode::AUX => "auxiliary field",
        opcode::RESIZEDB => "table sizes",
        opcode::EXPIRETIME_MS => "expiry in milliseconds",
        opcode::EXPIRETIME => "expiry in seconds",
        opcode::SELECTDB => "database number",
        opcode::EOF => "end",
        _ => "unknown",
    }
}
