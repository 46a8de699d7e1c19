//! Redouble: one engine, two shapes.
pub mod config;
pub mod scripting;
pub mod types;
