//! Packed byte blobs with Redis's own byte formats, so that files and DUMP payloads can carry
//! them as they are: the listpack and the integer set.
//!
//! Invariant: whatever bytes come from outside pass `from_bytes` first, which accepts only blobs
//! on which every later read stays inside; from then on nothing here can fail.
//!
//! Both write their true size into their own header, so the block around them (`blob`) may be
//! larger: its length is the capacity, always a whole allocator class, and a value is 16 bytes.

mod blob;
pub mod entry;
pub mod intset;
pub mod listpack;

pub use entry::{Item, Needle};
pub use intset::Intset;
pub use listpack::Listpack;
