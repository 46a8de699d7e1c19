//! RDB: the format of snapshots, of full synchronization and, value by value, of DUMP.
//!
//! A file is nine bytes of magic word and version, then items that each begin with a byte: below
//! 240 the type of a value, which its key and the value follow; above an opcode that says
//! something about what comes, or about the whole. The last is the mark of the end and, from
//! version 5 on, a checksum of everything before it. Lengths take one to nine bytes, the first of
//! which says how many; strings are a length and bytes, or an integer, or packed by LZF.
//!
//! * [`mod@write`]: an encoder over a buffer; no I/O, no locks, values whole or in pieces.
//! * [`read`]: a reader over `std::io::Read`, item by item; keys come as entries that
//!   [`Db::load`](crate::keyspace::db::Db::load) takes. Versions 1 to 12 and Valkey's 80.
//! * [`payload`]: a value, or libraries, for DUMP and RESTORE.
//! * [`check`]: what `--check-rdb` prints.
//! * [`fault`]: why bytes could not be read, and at which of them.
//! * [`lzf`], [`crc`]: the compression of strings and the checksum.
//!
//! # Which version is written
//!
//! The lowest that holds the data, so that the oldest server can read it: version 10 (Redis 7.0,
//! the first that packs collections in listpacks), unless the fields of a hash have deadlines,
//! which only version 12 (Redis 7.4) knows. The header comes first, so who begins a file says
//! which it is ([`Version::for_data`]; the keyspace counts the hashes that matter). What only a
//! version between them could say in another form is said in the older one: small sets member by
//! member instead of in a listpack, which costs nothing when they are read, since each reader
//! chooses the encoding by its own limits; and streams without the time of each consumer's last
//! success, which a reader then takes to be the time when it was last seen.
//!
//! Invariant: whatever bytes are read, the outcome is what they say or a fault; no length in them
//! is believed before the bytes have come.

pub mod check;
mod codes;
pub mod crc;
pub mod fault;
pub mod lzf;
#[cfg(test)]
mod of_old;
pub mod payload;
pub mod read;
mod source;
#[cfg(test)]
mod tests;
pub mod write;

pub use fault::{Fault, Reason};

/// A version of the format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Redis 7.0.
    V10,
    /// Redis 7.2 and Valkey 7.2 to 8.1.
    V11,
    /// Redis 7.4 and 8.0.
    V12,
}

impl Version {
    /// The oldest that is written.
    pub const OLDEST: Version = Version::V10;

    /// The lowest version that holds the data.
    pub fn for_data(fields_have_deadlines: bool) -> Version {
        if fields_have_deadlines {
            Version::V12
        } else {
            Version::OLDEST
        }
    }

    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Version::V10 => 10,
            Version::V11 => 11,
            Version::V12 => 12,
        }
    }
}
