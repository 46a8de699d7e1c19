//! Redouble: a Redis-compatible in-memory server. One engine, two shapes: the binary `redouble`,
//! and this crate, the same real server inside a Rust process.
//!
//! ```
//! use redouble::resp::reader::Value;
//! use redouble::Server;
//! use std::time::Duration;
//!
//! let server = Server::start()?;
//! assert!(server.url().starts_with("redis://127.0.0.1:"));
//! server.command(&["SET", "token", "t", "EX", "60"]);
//! server.clock().freeze();
//! server.clock().advance(Duration::from_secs(61));
//! assert_eq!(server.command(&["GET", "token"]), Value::Null);
//! # Ok::<(), redouble::StartError>(())
//! ```
//!
//! # The map of the house, in reading order
//!
//! The way of a GET: [`session`] reads bytes, [`resp::decode`] makes a request of them,
//! [`dispatch`] finds its row in the table of [`command`]s and runs the handler in [`commands`],
//! which asks the door, [`keyspace::db`], and writes its reply through [`resp::out`]. What a write
//! leaves behind is recorded in [`keyspace::effects`] and spread by [`settle`]: to watches and
//! waiters ([`blocking`]), subscribers ([`pubsub`]), caches ([`tracking`]) and the [`log`].
//! [`cron`] is time's work, [`memory`] that of `maxmemory`. [`state`] is everything under the one
//! lock, [`shared`] what lies around it; [`server`] starts the threads, [`listeners`] opens the
//! sockets, `direct` reads and writes them, [`tls`] is what is spoken behind some of them,
//! [`config`] is one table of directives; [`cli`], [`process`], [`server_log`], [`supervision`],
//! [`crash`], [`system_check`] and [`memory_test`] serve the binary, `heap` the program that
//! servers live in. [`types`] are the data structures, [`acl`] the users and their rights,
//! [`scripting`] the Lua host, [`stats`] the counters, [`clock`] the one clock, and [`error`] holds
//! every text of a refusal; [`disk`] is where files are, [`rdb`] what is in them.
//!
//! # Glossary
//!
//! * *session*: the I/O of one connection. *client*: its plain state, without the socket.
//! * *request*: the words of one command on the wire. *reply*: what goes back.
//! * *row*: one line of the command table, with its handler.
//! * *door*: [`keyspace::db::Db`], the only way to the data. *entry*: a key with its value.
//! * *edit*: an open collection; closing it settles sizes and effects at the door.
//! * *effect*: something that a command did. *event*: a keyspace event that clients hear.
//! * *settle*: to carry effects to everyone they concern, after the command.
//! * *unit*: what nobody comes between: a command, a transaction or a script.
//! * *replica*: who copies this server. *upstream*: whom this server copies. *link*: the connection
//!   to it. *history*: a stream of writes with a name, the replication id.
//! * *log*: the one ordered stream of writes. *record*: one command in it, in its deterministic
//!   form.

pub mod acl;
pub mod append_only;
pub mod blocking;
pub mod busy;
pub mod check_aof;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod commands;
pub mod config;
pub mod connection;
pub mod crash;
mod crew;
pub mod cron;
mod direct;
pub mod disk;
pub mod dispatch;
pub mod ending;
pub mod error;
pub mod following;
mod heap;
pub mod keyspace;
pub mod listeners;
pub mod log;
pub mod memory;
pub mod memory_test;
mod metrics;
pub mod peers;
pub mod persistence;
pub mod process;
pub mod pubsub;
pub mod rdb;
pub mod replay;
pub mod replicas;
pub mod replication;
pub mod resp;
pub mod role;
pub mod scripting;
pub mod server;
pub mod server_log;
pub mod session;
pub mod settle;
pub mod shared;
pub mod snapshot;
mod startup;
pub mod state;
pub mod stats;
pub mod supervision;
pub mod system_check;
pub mod tls;
pub mod tracking;
pub mod types;
pub mod welcome;
mod worker;

pub use clock::Clock;
pub use connection::Connection;
pub use listeners::StartError;
pub use server::{Builder, Server};

/// Handles go from thread to thread: what does not hold here does not compile.
const _: fn() = || {
    fn shared_between_threads<T: Send + Sync + Clone>() {}
    shared_between_threads::<Server>();
};
