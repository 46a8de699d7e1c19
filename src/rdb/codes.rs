//! The numbers of the format: types of values, opcodes between them, forms of strings.

/// A string.
pub const STRING: u8 = 0;
/// A list of strings.
pub const LIST: u8 = 1;
/// Members one by one.
pub const SET: u8 = 2;
/// Members, each with its score as text.
pub const ZSET: u8 = 3;
/// Fields and values one by one.
pub const HASH: u8 = 4;
/// Members, each with its score as a double.
pub const ZSET_2: u8 = 5;
/// A module's value, of release candidates of Redis 4.0.
pub const MODULE_PRE_GA: u8 = 6;
/// A module's value, marked so that it can be skipped.
pub const MODULE_2: u8 = 7;
/// A hash as a zipmap (before Redis 2.6).
pub const HASH_ZIPMAP: u8 = 9;
/// A list as one ziplist (before Redis 3.2).
pub const LIST_ZIPLIST: u8 = 10;
/// Sorted integers.
pub const SET_INTSET: u8 = 11;
/// A sorted set as a ziplist (before Redis 7.0).
pub const ZSET_ZIPLIST: u8 = 12;
/// A hash as a ziplist (before Redis 7.0).
pub const HASH_ZIPLIST: u8 = 13;
/// A list of ziplists (before Redis 7.0).
pub const LIST_QUICKLIST: u8 = 14;
/// A stream as Redis 5.0 wrote it.
pub const STREAM: u8 = 15;
/// Fields and values in a listpack.
pub const HASH_LISTPACK: u8 = 16;
/// Members and scores in a listpack.
pub const ZSET_LISTPACK: u8 = 17;
/// A list of listpacks and of large elements.
pub const LIST_QUICKLIST_2: u8 = 18;
/// A stream with its figures, as Redis 7.0 writes it.
pub const STREAM_2: u8 = 19;
/// Members in a listpack (Redis 7.2).
pub const SET_LISTPACK: u8 = 20;
/// A stream with the consumers' times of success (Redis 7.2).
pub const STREAM_3: u8 = 21;
/// Fields with deadlines, of release candidates of Redis 7.4; in Valkey's files something else.
pub const HASH_METADATA_PRE_GA: u8 = 22;
/// The same in Valkey 9: fields and values with absolute deadlines.
pub const HASH_2: u8 = 22;
/// A listpack with deadlines, of release candidates of Redis 7.4.
pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
/// Fields with deadlines, which are relative to the soonest one (Redis 7.4).
pub const HASH_METADATA: u8 = 24;
/// Fields, values and deadlines in a listpack (Redis 7.4).
pub const HASH_LISTPACK_EX: u8 = 25;

/// How many keys a slot of a cluster has.
pub const OP_SLOT_INFO: u8 = 244;
/// A library's code.
pub const OP_FUNCTION: u8 = 245;
/// A library as release candidates of Redis 7.0 wrote it.
pub const OP_FUNCTION_PRE_GA: u8 = 246;
/// A module's own data.
pub const OP_MODULE_AUX: u8 = 247;
/// Seconds since the next key was used.
pub const OP_IDLE: u8 = 248;
/// How often the next key was used.
pub const OP_FREQ: u8 = 249;
/// A name and a value about the file.
pub const OP_AUX: u8 = 250;
/// How many keys follow.
pub const OP_RESIZE_DB: u8 = 251;
/// The next key's deadline in milliseconds.
pub const OP_EXPIRE_MS: u8 = 252;
/// The next key's deadline in seconds.
pub const OP_EXPIRE_S: u8 = 253;
/// The database of the keys that follow.
pub const OP_SELECT_DB: u8 = 254;
/// The end.
pub const OP_EOF: u8 = 255;

/// A string that is an integer of 8 bits.
pub const INT_8: u8 = 0;
/// A string that is an integer of 16 bits.
pub const INT_16: u8 = 1;
/// A string that is an integer of 32 bits.
pub const INT_32: u8 = 2;
/// A string packed by LZF.
pub const LZF: u8 = 3;

/// A node of a list that is one large element.
pub const NODE_PLAIN: u64 = 1;
/// A node of a list that is a listpack.
pub const NODE_PACKED: u64 = 2;

/// Marks inside a module's value: its end, and what comes next.
pub mod module {
    /// Nothing more.
    pub const END: u64 = 0;
    /// A signed integer.
    pub const SINT: u64 = 1;
    /// An unsigned integer.
    pub const UINT: u64 = 2;
    /// A float.
    pub const FLOAT: u64 = 3;
    /// A double.
    pub const DOUBLE: u64 = 4;
    /// A string.
    pub const STRING: u64 = 5;
}
