//! A byte string or a boxed value behind one 8-byte pointer: how a collection that starts small
//! and packed lies in its key's entry without a block of its own for the choice.
//!
//! Invariant: with the lowest bit clear the pointer is a block as `Thin`'s, at an even address:
//! a varint and as many bytes as it announces; with the bit set it is a `Box<T>` with that bit
//! added. `T` is aligned to 2 or more, so the bit is free.

use super::{read_varint, varint_bytes, write_varint};
use crate::types::alloc::class;
use std::alloc::{alloc, dealloc, handle_alloc_error, realloc, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An owned byte string, or a `Box<T>`.
pub struct ThinOr<T>(NonNull<u8>, PhantomData<Box<T>>);

/// What a [`ThinOr`] holds.
pub enum Either<'a, T> {
    /// The byte string.
    Bytes(&'a [u8]),
    /// The boxed value.
    Boxed(&'a T),
}

/// What a [`ThinOr`] holds, to be changed.
pub enum EitherMut<'a, T> {
    /// The byte string; its length changes by [`ThinOr::splice`].
    Bytes(&'a mut [u8]),
    /// The boxed value.
    Boxed(&'a mut T),
}

// SAFETY: it owns its bytes or its box.
unsafe impl<T: Send> Send for ThinOr<T> {}
unsafe impl<T: Sync> Sync for ThinOr<T> {}

fn layout(length: usize) -> Layout {
    // As in `Thin`; blocks of two bytes or more keep the lowest bit of their address free.
    Layout::from_size_align(varint_bytes(length) + length, 2).unwrap_or(Layout::new::<u16>())
}

impl<T> ThinOr<T> {
    const BOX_BIT_IS_FREE: () = assert!(align_of::<T>() >= 2);

    /// A copy of `bytes` on the heap.
    pub fn bytes(bytes: &[u8]) -> Self {
        let layout = layout(bytes.len());
        // SAFETY: the size is not zero; the block has room for the varint and the bytes.
        unsafe {
            let Some(block) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let at = write_varint(block.as_ptr(), bytes.len());
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            ThinOr(block, PhantomData)
        }
    }

    /// The boxed value.
    pub fn boxed(value: Box<T>) -> Self {
        let () = Self::BOX_BIT_IS_FREE;
        let raw = Box::into_raw(value).cast::<u8>().map_addr(|address| address | 1);
        // SAFETY: a box is never null.
        ThinOr(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }

    #[inline]
    fn as_box(&self) -> Option<*mut T> {
        let raw = self.0.as_ptr();
        (raw.addr() & 1 == 1).then(|| raw.map_addr(|address| address & !1).cast::<T>())
    }

    /// What is held.
    #[inline]
    pub fn held(&self) -> Either<'_, T> {
        // SAFETY: the invariant; the borrow keeps either alive.
        unsafe {
            match self.as_box() {
                Some(value) => Either::Boxed(&*value),
                None => {
                    let (length, at) = read_varint(self.0.as_ptr());
                    Either::Bytes(std::slice::from_raw_parts(at, length))
                }
            }
        }
    }

    /// What is held, to be changed.
    #[inline]
    pub fn held_mut(&mut self) -> EitherMut<'_, T> {
        // SAFETY: as in `held`; the borrow is exclusive.
        unsafe {
            match self.as_box() {
                Some(value) => EitherMut::Boxed(&mut *value),
                None => {
                    let (length, at) = read_varint(self.0.as_ptr());
                    EitherMut::Bytes(std::slice::from_raw_parts_mut(at.cast_mut(), length))
                }
            }
        }
    }

    /// Puts `new` bytes that mean nothing yet in the place of the `old` ones at `at`, and returns
    /// them to be written; the rest keeps its order. `None`, and nothing happens, when a box is
    /// held or the range is not inside.
    pub fn splice(&mut self, at: usize, old: usize, new: usize) -> Option<&mut [u8]> {
        let Either::Bytes(bytes) = self.held() else { return None };
        let length = bytes.len();
        let behind = length.checked_sub(at.checked_add(old)?)?;
        let after = length - old + new;
        let (head, head_after) = (varint_bytes(length), varint_bytes(after));
        let (from, to) = (layout(length), layout(after));
        // SAFETY: the block was allocated with `from` and gets the size of `to`; both moves stay
        // inside the larger of the two, and everything is copied before a shrink cuts it off.
        unsafe {
            let mut block = self.0.as_ptr();
            if to.size() > from.size() {
                block = grown(block, from, to.size());
                self.0 = NonNull::new_unchecked(block);
            }
            let (tail, tail_after) = (head + at + old, head_after + at + new);
            if tail_after >= tail {
                std::ptr::copy(block.add(tail), block.add(tail_after), behind);
                std::ptr::copy(block.add(head), block.add(head_after), at);
            } else {
                std::ptr::copy(block.add(head), block.add(head_after), at);
                std::ptr::copy(block.add(tail), block.add(tail_after), behind);
            }
            write_varint(block, after);
            if to.size() < from.size() {
                block = grown(block, from, to.size());
                self.0 = NonNull::new_unchecked(block);
            }
            let gap = block.add(head_after + at);
            gap.write_bytes(0, new);
            Some(std::slice::from_raw_parts_mut(gap, new))
        }
    }

    /// Heap memory of the block or box itself, not what the boxed value owns.
    pub fn heap_bytes(&self) -> usize {
        match self.held() {
            Either::Bytes(bytes) => class(layout(bytes.len()).size()),
            Either::Boxed(_) => class(size_of::<T>()),
        }
    }
}

/// The block with another size.
///
/// # Safety
/// `block` was allocated with `from`; `bytes` is not zero.
unsafe fn grown(block: *mut u8, from: Layout, bytes: usize) -> *mut u8 {
    let moved = realloc(block, from, bytes);
    if moved.is_null() {
        handle_alloc_error(from);
    }
    moved
}

impl<T> Drop for ThinOr<T> {
    fn drop(&mut self) {
        // SAFETY: the invariant; nobody sees `self` afterwards.
        unsafe {
            match (self.as_box(), self.held()) {
                (Some(value), _) => drop(Box::from_raw(value)),
                (None, Either::Bytes(bytes)) => dealloc(self.0.as_ptr(), layout(bytes.len())),
                (None, Either::Boxed(_)) => {}
            }
        }
    }
}

impl<T: Clone> Clone for ThinOr<T> {
    fn clone(&self) -> Self {
        match self.held() {
            Either::Bytes(bytes) => ThinOr::bytes(bytes),
            Either::Boxed(value) => ThinOr::boxed(Box::new(value.clone())),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for ThinOr<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held() {
            Either::Bytes(bytes) => write!(out, "{}", bytes.escape_ascii()),
            Either::Boxed(value) => value.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    fn bytes_of(either: &ThinOr<Vec<u8>>) -> &[u8] {
        match either.held() {
            Either::Bytes(bytes) => bytes,
            Either::Boxed(_) => panic!("bytes were put in"),
        }
    }

    #[test]
    fn splices_follow_a_vec() {
        let mut rng = SmallRng::seed_from_u64(41);
        for most in [10usize, 200, 40_000] {
            let (mut ours, mut model) = (ThinOr::<Vec<u8>>::bytes(&[]), Vec::new());
            for _ in 0..2_000 {
                let at = rng.random_range(0..=model.len());
                let old = rng.random_range(0..=model.len() - at).min(most / 3);
                let new =
                    rng.random_range(0..=most / 2).min(most.saturating_sub(model.len() - old));
                let fresh: Vec<u8> = (0..new).map(|_| rng.random()).collect();
                ours.splice(at, old, new).expect("inside").copy_from_slice(&fresh);
                model.splice(at..at + old, fresh);
                assert_eq!(bytes_of(&ours), model);
            }
            assert_eq!(bytes_of(&ours.clone()), model);
            assert!(ours.splice(model.len(), 1, 0).is_none());
        }
    }

    #[test]
    fn boxes_come_back_and_are_dropped() {
        let mut ours = ThinOr::bytes(b"small");
        assert_eq!(size_of::<Option<ThinOr<Vec<u8>>>>(), 8);
        assert_eq!(ours.heap_bytes(), 8);
        ours = ThinOr::boxed(Box::new(vec![1u8, 2, 3]));
        assert!(ours.splice(0, 0, 1).is_none());
        if let EitherMut::Boxed(value) = ours.held_mut() {
            value.push(4);
        }
        let copy = ours.clone();
        drop(ours);
        assert!(matches!(copy.held(), Either::Boxed(value) if value[..] == [1, 2, 3, 4]));
    }
}
