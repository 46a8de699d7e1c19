//! Values that know no commands: pure data structures, without protocol, clock or keyspace.
//!
//! Invariant: a type keeps its own running size, so that `heap_bytes` is O(1), and its encodings
//! are private to it.

pub mod ahead;
pub mod alloc;
pub mod bits;
pub mod compact;
pub mod equal;
pub mod geohash;
pub mod glob;
pub mod hash;
pub mod hyperloglog;
pub mod limits;
pub mod list;
pub mod number;
#[cfg(test)]
pub(crate) mod oracle;
pub mod progress;
pub mod set;
pub mod shared;
pub mod sorted_set;
pub mod stream;
pub mod table;
pub mod text;
pub mod thin;
pub mod walk;
