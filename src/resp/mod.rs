//! The wire: bytes to requests, replies to bytes, and replies back to values.

pub mod decode;
pub mod out;
pub mod reader;
pub mod replies;
