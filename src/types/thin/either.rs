//! A byte string or a boxed value behind one 8-byte pointer: how a collection that starts small
//! and packed lies in its key's entry without a block of its own for the choice.
//!
//! Copies of a long byte string share its block until one of them is changed.
//!
//! Invariant: with the lowest bit clear the pointer is a block as `Thin`'s, at an even address:
//! a varint and as many bytes as it announces; with the bit set it is a `Box<T>` with that bit
//! added. `T` is aligned to 2 or more, so the bit is free.

use super::block::{self, allocate, COUNTED_FROM};
use super::{read_varint, varint_bytes, write_varint};
use crate::types::alloc::class;
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
    /// The byte string, which changes by [`ThinOr::splice`].
    Bytes(&'a [u8]),
    /// The boxed value.
    Boxed(&'a mut T),
}

// SAFETY: it owns its bytes or its box.
unsafe impl<T: Send> Send for ThinOr<T> {}
unsafe impl<T: Sync> Sync for ThinOr<T> {}

/// Bytes of the block of a byte string.
fn block_bytes(length: usize) -> usize {
    varint_bytes(length) + length
}

impl<T> ThinOr<T> {
    const BOX_BIT_IS_FREE: () = assert!(align_of::<T>() >= 2);

    /// A copy of `bytes` on the heap.
    pub fn bytes(bytes: &[u8]) -> Self {
        let block = allocate(block_bytes(bytes.len()));
        // SAFETY: the block has room for the varint and the bytes, and is ours alone.
        unsafe {
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
                    EitherMut::Bytes(std::slice::from_raw_parts(at, length))
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
        let (from, to) = (block_bytes(length), block_bytes(after));
        // SAFETY: the block was allocated with `from`, is ours alone from here on, and gets the
        // size of `to`; both moves stay inside the larger of the two, and everything is moved
        // before a shrink cuts it off.
        unsafe {
            self.0 = block::own(self.0, from);
            if to > from {
                self.0 = block::resize(self.0, from, to);
            }
            let block = self.0.as_ptr();
            let (tail, tail_after) = (head + at + old, head_after + at + new);
            if tail_after >= tail {
                std::ptr::copy(block.add(tail), block.add(tail_after), behind);
                std::ptr::copy(block.add(head), block.add(head_after), at);
            } else {
                std::ptr::copy(block.add(head), block.add(head_after), at);
                std::ptr::copy(block.add(tail), block.add(tail_after), behind);
            }
            write_varint(block, after);
            if to < from {
                self.0 = block::resize(self.0, from, to);
            }
            let gap = self.0.as_ptr().add(head_after + at);
            gap.write_bytes(0, new);
            Some(std::slice::from_raw_parts_mut(gap, new))
        }
    }

    /// Heap memory of the block or box itself, not what the boxed value owns.
    pub fn heap_bytes(&self) -> usize {
        match self.held() {
            Either::Bytes(bytes) => block::heap_bytes(block_bytes(bytes.len())),
            Either::Boxed(_) => class(size_of::<T>()),
        }
    }

    /// The same of a copy, which shares a long block.
    pub fn copy_bytes(&self) -> usize {
        match self.held() {
            Either::Bytes(bytes) if block_bytes(bytes.len()) >= COUNTED_FROM => 0,
            _ => self.heap_bytes(),
        }
    }
}

impl<T> Drop for ThinOr<T> {
    fn drop(&mut self) {
        // SAFETY: the invariant; nobody sees `self` afterwards.
        unsafe {
            match (self.as_box(), self.held()) {
                (Some(value), _) => drop(Box::from_raw(value)),
                (None, Either::Bytes(bytes)) => {
                    let bytes = block_bytes(bytes.len());
                    block::release(self.0, bytes);
                }
                (None, Either::Boxed(_)) => {}
            }
        }
    }
}

impl<T: Clone> Clone for ThinOr<T> {
    fn clone(&self) -> Self {
        match self.held() {
            // SAFETY: the block was allocated with as many bytes, and `self` owns it.
            Either::Bytes(bytes) => match unsafe { block::share(self.0, block_bytes(bytes.len())) }
            {
                true => ThinOr(self.0, PhantomData),
                false => ThinOr::bytes(bytes),
            },
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
    use crate::types::shared::take_copied_bytes;
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
    fn a_long_one_is_copied_when_one_of_its_owners_changes_it() {
        for len in [5, COUNTED_FROM - 1, COUNTED_FROM - 2, COUNTED_FROM, 5 * COUNTED_FROM] {
            for (at, old, new) in [(0, 1, 1), (1, 0, 3), (2, 3, 0), (0, len, 0)] {
                let mut one = ThinOr::<Vec<u8>>::bytes(&vec![7; len]);
                let other = one.clone();
                let is_long = block_bytes(len) >= COUNTED_FROM;
                assert_eq!(bytes_of(&one).as_ptr() == bytes_of(&other).as_ptr(), is_long);
                assert_eq!(one.copy_bytes() == 0, is_long);
                take_copied_bytes();
                let full = one.heap_bytes();
                one.splice(at, old, new).expect("inside").fill(8);
                assert_eq!(take_copied_bytes(), if is_long { full } else { 0 });
                assert_eq!(bytes_of(&other), vec![7; len]);
                let mut model = vec![7; len];
                model.splice(at..at + old, vec![8; new]);
                assert_eq!(bytes_of(&one), model);
                let third = one.clone();
                drop((one, other));
                assert_eq!(bytes_of(&third), model);
            }
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
