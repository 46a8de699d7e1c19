//! Redouble: one engine, two shapes.

pub mod blocking;
pub mod busy;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod commands;
pub mod config;
pub mod cron;
pub mod dispatch;
pub mod error;
pub mod keyspace;
pub mod listeners;
pub mod log;
pub mod memory;
pub mod process;
pub mod pubsub;
pub mod resp;
pub mod scripting;
pub mod server;
pub mod server_log;
pub mod session;
pub mod settle;
pub mod state;
pub mod stats;
pub mod tracking;
pub mod types;

pub use listeners::StartError;
pub use server::{Builder, Server};
