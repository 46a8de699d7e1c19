//! The append-only file: the log on disk.
//!
//! A directory holds a base (the dataset as of one moment) and increments (the log since then); a
//! [`manifest`] says which files count and in which order. [`tail`] is where records are appended,
//! and knows when a reply may leave; [`scan`] finds the whole records of a file. Loading, rewriting
//! and checking a file are further up, where commands and snapshots are known.
//!
//! Invariant: what the files say, loaded in the order of the manifest, is the dataset as of the
//! last record that is whole.

pub mod manifest;
mod policy;
pub mod scan;
pub mod tail;

pub use manifest::{Manifest, Names};
pub use policy::Policy;
pub use tail::Tail;

use crate::clock::Stopwatch;
use crate::keyspace::image::Wanted;
use parking_lot::Mutex;
use std::sync::Arc;

/// Whether the log goes to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does not.
    #[default]
    Off,
    /// It has been turned on, and counts from the end of the first rewrite on.
    AwaitsRewrite,
    /// It does.
    On,
}

/// A rewrite that is under way.
#[derive(Clone, Debug)]
pub struct Rewriting {
    /// Since it began.
    pub watch: Stopwatch,
    /// Whether it is to come to its end.
    pub wanted: Wanted,
    /// Counts the rewrites: what one of them left behind does not concern the next.
    pub number: u64,
}

/// What rewrites have done.
#[derive(Clone, Debug)]
pub struct Rewrites {
    /// The one that is under way.
    pub running: Option<Rewriting>,
    /// One must begin as soon as nothing is in its way.
    pub is_scheduled: bool,
    /// How many have begun.
    pub begun: u64,
    /// The last one succeeded.
    pub last_was_ok: bool,
    /// How long it took (s); -1 when there was none.
    pub last_took_s: i64,
    /// Failures since one succeeded.
    pub failed_in_a_row: u64,
    /// Bytes of pre-images that the last one needed.
    pub last_copied_bytes: u64,
    /// After failures none begins by itself before this (Unix ms).
    pub not_before_ms: Option<i64>,
    /// How long the last such pause was (minutes).
    pub pause_minutes: i64,
}

impl Default for Rewrites {
    fn default() -> Self {
        Rewrites {
            running: None,
            is_scheduled: false,
            begun: 0,
            last_was_ok: true,
            last_took_s: -1,
            failed_in_a_row: 0,
            last_copied_bytes: 0,
            not_before_ms: None,
            pause_minutes: 0,
        }
    }
}

/// What is known of the append-only file under the lock.
#[derive(Debug)]
pub struct Aof {
    /// Whether it is kept.
    pub mode: Mode,
    /// Where records go.
    pub tail: Arc<Tail>,
    /// The files.
    pub manifest: Manifest,
    /// Bytes of all files after the last rewrite, or of the base that was loaded.
    pub base_bytes: u64,
    /// Rewrites.
    pub rewrites: Rewrites,
    /// Held by the thread that is changing the manifest on disk.
    pub manifest_pen: Arc<Mutex<()>>,
}

impl Default for Aof {
    fn default() -> Self {
        Aof {
            mode: Mode::Off,
            tail: Arc::default(),
            manifest: Manifest::default(),
            base_bytes: 0,
            rewrites: Rewrites::default(),
            manifest_pen: Arc::default(),
        }
    }
}
