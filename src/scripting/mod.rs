//! The Lua host: scripts, libraries of functions, and what they may see and call.
//!
//! Reading order: `host` (what it needs from the server), `engine` (one Lua state), `sandbox`
//! (its globals), `api` (the `redis` table), `convert` (values between Redis and Lua), `libs`
//! (cjson, cmsgpack, struct, bit), `scripts` (the cache of EVAL), `functions` (FUNCTION's
//! libraries), `pattern` (the matcher of `string.find` and its like). The unsafe corner is `raw`,
//! `guard` and `shared`; each says why it is sound. No command lives
//! here, and nothing here knows keys or clients.

mod api;
mod convert;
mod engine;
mod fault;
mod flags;
mod functions;
mod guard;
mod host;
mod libs;
mod pattern;
mod random;
mod raw;
mod room;
mod running;
mod sandbox;
mod scripts;
mod shared;

#[cfg(test)]
mod tests;

pub use convert::Outcome;
pub use engine::{Call, Engine, Function, Passing};
pub use flags::{shebang, Flags, FLAGS};
pub use functions::{Libraries, Library, Registered};
pub use host::{Host, LogLevel, Verdict};
pub use room::{Scripting, Shelf};
pub use running::{Letter, Reply, Running, Slow, Unkillable};
pub use sandbox::{Purpose, Version};
pub use scripts::{Digest, Script, Scripts};
pub use shared::KILLED;
