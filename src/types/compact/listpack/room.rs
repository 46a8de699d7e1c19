//! The room around the blob: a block may be larger than its blob, with room behind it and, once
//! elements have been pushed to or taken from its front, before it. Such a change then moves six
//! bytes of header instead of all elements.
//!
//! A gap before the blob is told by the highest bit of the block's first word, which no blob's
//! size reaches; the other bits are the gap's length.
//!
//! Invariant: a gap is empty or at least as long as the word that tells of it.

use super::{first_word, Listpack, HEADER_BYTES};
use crate::types::alloc::class;
use crate::types::compact::entry::Encoded;

/// Marks the first word of a block that begins with a gap.
const HAS_GAP: u32 = 1 << 31;
const GAP_WORD_BYTES: usize = 4;
/// Blobs below this size are moved as they are: that is as fast as knowing better.
const GAP_FROM_BYTES: usize = 256;

impl Listpack {
    /// Puts an element before all others.
    #[inline]
    pub fn push_front(&mut self, text: &[u8]) {
        let entry = Encoded::new(text);
        let (bytes, total) = (entry.bytes(), self.byte_len());
        if total < GAP_FROM_BYTES {
            return self.splice(HEADER_BYTES, 0, entry);
        }
        let mut gap = self.gap();
        if gap < bytes + GAP_WORD_BYTES {
            gap = self.make_gap(total, bytes);
            if gap < bytes + GAP_WORD_BYTES {
                return self.splice(HEADER_BYTES, 0, entry);
            }
        }
        let count = self.header_count().saturating_add(1);
        gap -= bytes;
        self.set_gap(gap);
        let blob = &mut self.0[gap..];
        blob[..4].copy_from_slice(&((total + bytes) as u32).to_le_bytes());
        blob[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        entry.write(&mut blob[HEADER_BYTES..HEADER_BYTES + bytes]);
    }

    /// Makes room for `bytes` in all, for those who will push more than once.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) {
        self.grow(bytes);
    }

    /// Gives back the room that nothing fills.
    pub fn shrink_to_fit(&mut self) {
        let bytes = class(self.byte_len());
        if bytes < self.0.len() {
            self.move_to(0);
            self.0.resize(bytes);
        }
    }

    /// Bytes of the block before the blob.
    #[inline]
    pub(super) fn gap(&self) -> usize {
        match first_word(&self.0) {
            word if word & HAS_GAP != 0 => (word & !HAS_GAP) as usize,
            _ => 0,
        }
    }

    /// The blob and the room behind it.
    #[inline]
    pub(super) fn blob(&self) -> &[u8] {
        &self.0[self.gap()..]
    }

    #[inline]
    pub(super) fn blob_mut(&mut self) -> &mut [u8] {
        let gap = self.gap();
        &mut self.0[gap..]
    }

    /// Moves the blob so that `gap` bytes are before it: none, or at least a gap's word.
    fn move_to(&mut self, gap: usize) {
        let (old, bytes) = (self.gap(), self.byte_len());
        if old == gap {
            return;
        }
        self.0.copy_within(old..old + bytes, gap);
        if gap > 0 {
            self.set_gap(gap);
        }
    }

    /// Says that the blob begins behind `gap` bytes, at least a gap's word.
    #[inline]
    fn set_gap(&mut self, gap: usize) {
        self.0[..GAP_WORD_BYTES].copy_from_slice(&(HAS_GAP | gap as u32).to_le_bytes());
    }

    /// Makes room for `bytes` before the blob of `total` bytes, and for more like them where the
    /// block has it; an eighth of what is spare stays behind the blob. Returns the gap, which is
    /// too short when there is nothing to spare.
    #[cold]
    fn make_gap(&mut self, total: usize, bytes: usize) -> usize {
        self.0.grow(total + bytes);
        let spare = self.0.len() - total - bytes;
        let gap = bytes + spare - spare / 8;
        if gap < bytes + GAP_WORD_BYTES {
            self.move_to(0);
            return 0;
        }
        self.move_to(gap);
        gap
    }

    /// Makes room for a blob of `bytes`.
    #[inline]
    pub(super) fn grow(&mut self, bytes: usize) {
        let gap = self.gap();
        if bytes + gap <= self.0.len() {
            return;
        }
        if gap > 0 {
            // An eighth of what is spare stays in front.
            let eighth = self.0.len().saturating_sub(bytes) / 8;
            self.move_to(if eighth >= GAP_FROM_BYTES { eighth } else { 0 });
        }
        if bytes > self.0.len() {
            self.0.grow(bytes);
        }
    }

    /// Gives memory back if the block is far too large.
    #[inline]
    pub(super) fn shrink(&mut self) {
        let bytes = self.byte_len();
        if bytes <= self.0.len() / 2 && class(bytes) < self.0.len() {
            self.move_to(0);
            self.0.shrink(bytes);
        }
    }

    /// Takes `bytes` behind the header out by moving the header up; false when that cannot be.
    #[inline]
    pub(super) fn cut_front(&mut self, bytes: usize) -> bool {
        let gap = self.gap() + bytes;
        if self.byte_len() < GAP_FROM_BYTES || gap < GAP_WORD_BYTES {
            return false;
        }
        let count = [self.blob()[4], self.blob()[5]];
        self.set_gap(gap);
        self.blob_mut()[4..HEADER_BYTES].copy_from_slice(&count);
        true
    }
}
