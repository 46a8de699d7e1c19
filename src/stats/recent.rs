//! The last commands by number, readable without the lock: a crash report needs them when the
//! lock may be held by the very thread that crashed.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many are remembered.
pub const RECENT: usize = 16;

/// A ring of numbers. Written under the lock, so that plain loads and stores are enough.
#[derive(Debug, Default)]
pub struct Recent {
    /// Each number plus one; 0 is none.
    ring: [AtomicU32; RECENT],
    next: AtomicU32,
}

impl Recent {
    /// Remembers that a command begins.
    #[inline]
    pub fn note(&self, id: usize) {
        let at = self.next.load(Ordering::Relaxed);
        if let Some(place) = self.ring.get(at as usize % RECENT) {
            place.store(id as u32 + 1, Ordering::Relaxed);
        }
        self.next.store(at.wrapping_add(1), Ordering::Relaxed);
    }

    /// The command that began as the last but `back`.
    pub fn back(&self, back: usize) -> Option<usize> {
        let at = self.next.load(Ordering::Relaxed).wrapping_sub(1 + back as u32);
        let number = self.ring.get(at as usize % RECENT)?.load(Ordering::Relaxed);
        (number as usize).checked_sub(1)
    }
}
