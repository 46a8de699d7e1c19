//! The door to the data.
//!
//! Invariant: WRONGTYPE, lazy expiry, ageing, removal of emptied collections, sizes and the record
//! of effects live behind [`db::Db`] and nowhere else.

pub mod ageing;
pub mod db;
pub mod edit;
pub mod effects;
pub mod entry;
pub mod evict;
pub mod expire;
pub mod fields;
pub mod fresh;
pub mod graveyard;
pub mod image;
pub mod records;
pub mod space;
pub mod value;
