//! The segments of a table. They lie in chunks, so that a slab of any size grows without moving
//! what is there: one block for all would be copied whole, again and again.
//!
//! Invariant: `first` is full if there are `others`; of these all but the last are full, none is
//! empty, and each has room for a whole chunk.

use crate::types::alloc::class;
use std::iter::{Chain, Flatten};
use std::ops::{Index, IndexMut};

const CHUNK: usize = 128;

/// A list that is only changed at its end.
#[derive(Clone, Debug)]
pub(super) struct Slab<S> {
    first: Vec<S>,
    others: Vec<Vec<S>>,
}

/// All of a slab from the first on.
pub(super) type Iter<'a, S> = Chain<std::slice::Iter<'a, S>, Flatten<std::slice::Iter<'a, Vec<S>>>>;

impl<S> Slab<S> {
    pub(super) const fn new() -> Self {
        Slab { first: Vec::new(), others: Vec::new() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let behind = |last: &Vec<S>| (self.others.len() - 1) * CHUNK + last.len();
        self.first.len() + self.others.last().map_or(0, behind)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    #[inline(always)]
    pub(super) fn get(&self, number: usize) -> Option<&S> {
        match number.checked_sub(CHUNK) {
            None => self.first.get(number),
            Some(behind) => self.others.get(behind / CHUNK)?.get(behind % CHUNK),
        }
    }

    #[inline(always)]
    pub(super) fn at_mut(&mut self, number: usize) -> Option<&mut S> {
        match number.checked_sub(CHUNK) {
            None => self.first.get_mut(number),
            Some(behind) => self.others.get_mut(behind / CHUNK)?.get_mut(behind % CHUNK),
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, S> {
        self.first.iter().chain(self.others.iter().flatten())
    }

    pub(super) fn push(&mut self, segment: S) {
        let len = self.first.len();
        if len < CHUNK {
            if len == self.first.capacity() {
                // Segments are large: a quarter more is room enough.
                self.first.reserve_exact(len.div_ceil(4).clamp(1, CHUNK - len));
            }
            return self.first.push(segment);
        }
        if self.others.last().is_none_or(|last| last.len() == CHUNK) {
            self.others.push(Vec::with_capacity(CHUNK));
        }
        if let Some(last) = self.others.last_mut() {
            last.push(segment);
        }
    }

    /// Takes one out; the last one gets its number.
    pub(super) fn swap_remove(&mut self, number: usize) {
        let moved = match self.others.last_mut() {
            None => self.first.pop(),
            Some(last) => last.pop(),
        };
        if self.others.last().is_some_and(Vec::is_empty) {
            self.others.pop();
        }
        if let (Some(moved), Some(place)) = (moved, self.at_mut(number)) {
            *place = moved;
        }
    }

    /// Gives back most of the room that nothing fills.
    pub(super) fn tighten(&mut self) {
        if self.first.len() * 4 <= self.first.capacity() {
            self.first.shrink_to(self.first.len() * 2);
        }
        if self.others.len() * 4 <= self.others.capacity() {
            self.others.shrink_to(self.others.len() * 2);
        }
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        class(self.first.capacity() * size_of::<S>())
            + class(self.others.capacity() * size_of::<Vec<S>>())
            + self.others.len() * class(CHUNK * size_of::<S>())
    }
}

impl<S> Index<usize> for Slab<S> {
    type Output = S;

    #[inline(always)]
    fn index(&self, number: usize) -> &S {
        self.get(number).expect("within the slab")
    }
}

impl<S> IndexMut<usize> for Slab<S> {
    #[inline(always)]
    fn index_mut(&mut self, number: usize) -> &mut S {
        self.at_mut(number).expect("within the slab")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_vector() {
        let (mut slab, mut model) = (Slab::new(), Vec::new());
        for number in 0..3 * CHUNK as u64 + 5 {
            slab.push(number);
            model.push(number);
            assert_eq!(slab.len(), model.len());
        }
        let full = slab.heap_bytes();
        while let Some(number) = model.len().checked_sub(1) {
            assert!(slab.iter().eq(&model));
            assert_eq!((slab.get(number), slab.get(number + 1)), (model.get(number), None));
            let gone = number * 7 / 11;
            slab.swap_remove(gone);
            model.swap_remove(gone);
            slab.tighten();
        }
        assert!(slab.is_empty() && slab.heap_bytes() < full / 50);
    }
}
