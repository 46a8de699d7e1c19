//! How long a test waits for what must come.
//!
//! A machine may be as busy as it likes: what takes long is not wrong. A wait ends when what it
//! waits for comes; this bound is only there so that a server that hangs ends a test at all.

use std::time::Duration;

/// Longer than any machine is busy, shorter than anybody waits for a test.
pub const PATIENCE: Duration = Duration::from_secs(600);
