//! What a session has read and not yet consumed.
//!
//! Invariant: what is kept takes little more room than it has bytes, and its room grows with what
//! has arrived, never on the word of a length that was announced.

use crate::types::alloc::class;

/// Bytes that wait: part of a request, or requests whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Bytes at its beginning that are consumed.
    start: usize,
}

/// Room for the rest of a large argument grows by this factor: a new block is mapped, not filled,
/// so it costs what has arrived; and the fewer the blocks, the less is copied.
const GROWTH: usize = 4;

impl Kept {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room that is not in use, in bytes.
    pub(super) fn free_bytes(&self) -> usize {
        self.bytes.capacity() - self.len()
    }

    /// What it takes altogether, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, more: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < more.len() {
            self.compact();
            // What the allocator hands out while it is small: a thousand peers may each have sent
            // half a request. From there on by a share, so that appending stays linear whatever
            // the allocator does.
            let least = self.len() + more.len().max(self.len() / 8);
            self.bytes.reserve_exact(class(least) - self.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// Makes room for a part of the `missing` bytes of an argument, and gives the buffer.
    pub(super) fn buffer(&mut self, missing: usize, least: usize) -> &mut Vec<u8> {
        if self.bytes.capacity() - self.bytes.len() < missing.min(least) {
            self.compact();
            let more = (GROWTH - 1) * self.len();
            self.bytes.reserve_exact(missing.min(more.max(least)));
        }
        &mut self.bytes
    }

    /// Forgets the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start * 2 > self.bytes.len() {
            self.compact();
            self.bytes.shrink_to(self.bytes.len() + self.bytes.len() / 8);
        }
    }

    /// Holds `rest` instead.
    pub(super) fn replace(&mut self, rest: &[u8]) {
        self.start = 0;
        self.bytes.clear();
        if rest.is_empty() || self.bytes.capacity() > 2 * rest.len() {
            self.bytes = Vec::new();
        }
        self.append(rest);
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }
}
