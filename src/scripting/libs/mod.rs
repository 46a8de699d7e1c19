//! The libraries that scripts find beside Lua's own, written again with the same results.

pub mod bit;
pub mod cjson;
pub mod cmsgpack;
pub mod structs;
