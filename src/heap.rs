//! The heap of a program that servers live in: what they leave there goes back to the system.
//!
//! The C library of Linux divides the memory of many threads among a few arenas, and an arena gives
//! back only what lies free at its end. Of a thousand servers that have ended it keeps nine tenths
//! for ever, in small pieces between what the program has. A walk through the arenas gives back
//! the pages inside as well; one for every so many servers costs little beside starting them.
//!
//! Invariant: nothing here is needed for a server to work. The count is the program's, not a
//! server's: the heap is, too.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

/// Servers that end between two walks.
const ENDS: usize = 64;

static ENDED: AtomicUsize = AtomicUsize::new(0);

/// A server inside this program has ended.
pub(crate) fn server_has_ended() {
    if (ENDED.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(ENDS) {
        give_back();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: may be called from any thread at any time. With another allocator it finds nothing.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let blocks: Vec<Vec<u8>> = (0..2000usize).map(|at| vec![at as u8; 10 * at]).collect();
        let (kept, freed): (Vec<_>, Vec<_>) =
            blocks.into_iter().enumerate().partition(|(at, _)| at % 3 == 0);
        drop(freed);
        super::give_back();
        assert!(kept.iter().all(|(at, block)| block.iter().all(|byte| *byte == *at as u8)));
    }
}
