//! The block of bytes that a packed value lies in.
//!
//! A long block is shared between a value and its copies until one of them is changed
//! ([`crate::types::shared`]): a snapshot of a packed value takes a count of owners, however far
//! the configuration lets packed values grow. Whoever changes a shared block copies it first, and
//! that copy is as long as the value; nearly every change of a long packed value looks through it
//! or moves it anyway. Short blocks are copied, which is quicker than to count owners of them.
//!
//! Invariant: a block's length is a whole allocator class; one of [`LONG_FROM`] bytes or more is
//! `Long`, any other `Short`.

use crate::types::alloc::class;
use crate::types::shared::Shared;
use std::ops::{Deref, DerefMut};

/// Bytes from which a block is shared: to copy one takes about a tenth of a millisecond. Tests
/// have many such blocks.
const LONG_FROM: usize = if cfg!(test) { 320 } else { 64 * 1024 };

/// An owned block of bytes; a long one may have other owners.
#[derive(Clone)]
pub(super) enum Blob {
    Short(Box<[u8]>),
    Long(Shared<Box<[u8]>>),
}

const _: () = assert!(size_of::<Blob>() == size_of::<Box<[u8]>>());

impl Blob {
    /// `bytes` in a block of a whole allocator class.
    pub(super) fn new(bytes: Vec<u8>) -> Blob {
        let capacity = class(bytes.len());
        Blob::of(bytes, capacity)
    }

    fn of(mut bytes: Vec<u8>, capacity: usize) -> Blob {
        bytes.reserve_exact(capacity.saturating_sub(bytes.len()));
        bytes.resize(capacity, 0);
        match bytes.into_boxed_slice() {
            block if block.len() < LONG_FROM => Blob::Short(block),
            block => Blob::Long(Shared::new(block)),
        }
    }

    /// Heap memory.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Blob::Short(block) => class(block.len()),
            Blob::Long(block) => Shared::<Box<[u8]>>::OWN_BYTES + class(block.len()),
        }
    }

    /// Heap memory that a copy takes for itself.
    pub(super) fn copy_bytes(&self) -> usize {
        match self {
            Blob::Short(block) => class(block.len()),
            Blob::Long(_) => 0,
        }
    }

    /// Enlarges the block so that it holds at least `bytes`, to a whole allocator class.
    #[inline]
    pub(super) fn grow(&mut self, bytes: usize) {
        if bytes > self.len() {
            self.resize(class(bytes));
        }
    }

    /// Gives memory back once `bytes` fill at most half of the block. The gap between the two
    /// rules keeps a push and a pop at a boundary from reallocating each time.
    #[inline]
    pub(super) fn shrink(&mut self, bytes: usize) {
        if bytes <= self.len() / 2 && class(bytes) < self.len() {
            self.resize(class(bytes));
        }
    }

    /// Gives the block another length, that of an allocator class.
    pub(super) fn resize(&mut self, capacity: usize) {
        let block = match std::mem::replace(self, Blob::Short(Box::default())) {
            Blob::Short(block) => block,
            Blob::Long(block) => block.into_value(),
        };
        *self = Blob::of(block.into_vec(), capacity);
    }
}

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Blob::Short(block) => block,
            Blob::Long(block) => block,
        }
    }
}

/// To be changed: a copy, when there are other owners.
impl DerefMut for Blob {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Blob::Short(block) => block,
            Blob::Long(block) => block.open(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::shared::take_copied_bytes;

    #[test]
    fn a_long_block_is_copied_when_an_owner_changes_it() {
        for len in [1, 100, LONG_FROM - 1, LONG_FROM, 3 * LONG_FROM] {
            let mut one = Blob::new(vec![7; len]);
            let other = one.clone();
            let is_long = one.len() >= LONG_FROM;
            assert_eq!(one.as_ptr() == other.as_ptr(), is_long, "{len}");
            assert_eq!(one.copy_bytes() == 0, is_long);
            take_copied_bytes();
            one[0] = 8;
            assert_eq!(take_copied_bytes(), if is_long { one.heap_bytes() } else { 0 });
            let address = one.as_ptr();
            one[len - 1] = 9;
            assert_eq!((take_copied_bytes(), one.as_ptr()), (0, address), "it is its own by now");
            assert!(other[..len].iter().all(|&byte| byte == 7));
            assert_eq!((one[len - 1], other.len()), (9, one.len()));
        }
    }

    #[test]
    fn a_block_becomes_long_and_short_again() {
        let mut blob = Blob::new(vec![1, 2, 3]);
        for bytes in [LONG_FROM - 1, LONG_FROM, 9 * LONG_FROM, LONG_FROM, 100, 3] {
            let other = blob.clone();
            blob.resize(class(bytes));
            assert_eq!(blob.len(), class(bytes));
            assert_eq!(matches!(blob, Blob::Long(_)), blob.len() >= LONG_FROM);
            assert_eq!((&blob[..3], &other[..3]), (&[1, 2, 3][..], &[1, 2, 3][..]));
        }
    }
}
