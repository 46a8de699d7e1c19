//! Redouble: one engine, two shapes.
pub mod cli;
pub mod config;
pub mod process;
pub mod scripting;
pub mod server_log;
pub mod types;
