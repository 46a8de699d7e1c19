//! What a command is: one row and one function.
//!
//! Invariant: arity, key positions, flags, documentation and the fuzzer's inputs are derived from
//! the row's synopsis and from the type of its function; nothing says them twice.

pub mod access;
pub mod args;
pub mod categories;
pub mod permission;
pub mod row;
pub mod spec;
pub mod synopsis;

pub use args::Args;
pub use row::{
    client, client_wait, container, flag, nested, read, wait, write, Call, Caller, Family, Row,
    Run, Wait, Waiting,
};
pub use spec::{Spec, Table};
