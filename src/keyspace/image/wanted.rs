//! Whether what is made of an image is still wanted.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Whether somebody still wants what is made for him; clones are the same wish.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// It is not wanted any more. What is made of it ends soon, and says that it was cancelled.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error, when it was cancelled: nothing more need be made of it.
    pub fn stop_if_cancelled(&self) -> io::Result<()> {
        match self.is_cancelled() {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}
