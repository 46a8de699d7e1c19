//! What several copies of a value share until one of them changes it.
//!
//! Large lists and streams are built of shared parts, so that a copy of one costs no more than a
//! count of owners for every few thousand elements: a snapshot takes its copy of ten million
//! elements in a moment and reads it without the lock. Whoever changes a part that is shared
//! copies that part first, and nothing else; a part that is not shared, which is the rule, costs a
//! look at its count. Parts are bounded, and so is every such copy, but for packed values, which
//! are one part each, as long as the configuration lets them grow. Each thread counts the bytes
//! that it has copied so ([`take_copied_bytes`]): that is what sharing has cost in memory.
//!
//! Invariant: a copied part takes as much memory as the part that it was copied from, room to grow
//! included, so that the running sizes of its owner stay true.

use super::alloc::class;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use triomphe::Arc;

thread_local! {
    static COPIED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of the parts that this thread has copied since it was last asked, because they had other
/// owners.
pub fn take_copied_bytes() -> usize {
    COPIED_BYTES.take()
}

/// Counts bytes that were copied because they had other owners.
pub(super) fn count_copied_bytes(bytes: usize) {
    COPIED_BYTES.set(COPIED_BYTES.get() + bytes);
}

/// What may be shared.
pub trait Sharable: Clone {
    /// Memory that a copy takes for itself, below the part.
    fn copy_bytes(&self) -> usize;
}

/// One of the owners of a `T`.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Counted<T>>);

/// A part whose copies are counted.
#[derive(Debug, Default)]
struct Counted<T>(T);

/// A vector that keeps its room when it is copied.
#[derive(Debug)]
pub struct Roomy<T>(Vec<T>);

impl<T: Sharable> Clone for Counted<T> {
    #[cold]
    fn clone(&self) -> Counted<T> {
        count_copied_bytes(Shared::<T>::OWN_BYTES + self.0.copy_bytes());
        Counted(self.0.clone())
    }
}

impl Sharable for Box<[u8]> {
    fn copy_bytes(&self) -> usize {
        class(self.len())
    }
}

impl<T: Clone> Sharable for Roomy<T> {
    fn copy_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl<T: Sharable> Shared<T> {
    /// Memory of the part itself, without what it owns.
    pub const OWN_BYTES: usize = class(size_of::<usize>() + size_of::<T>());

    /// The only owner of `value`.
    #[inline]
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(Counted(value)))
    }

    /// The value, to be changed: a copy of it, when there are other owners.
    #[inline]
    pub fn open(&mut self) -> &mut T {
        &mut Arc::make_mut(&mut self.0).0
    }

    /// The value: a copy of it, when there are other owners.
    pub fn into_value(self) -> T {
        Arc::unwrap_or_clone(self.0).0
    }
}

impl<T> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0 .0
    }
}

impl<T> Roomy<T> {
    /// An empty vector with room for `items`.
    pub fn with_room(items: usize) -> Roomy<T> {
        Roomy(Vec::with_capacity(items))
    }

    /// Memory of its items, without what they own.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        class(self.0.capacity() * size_of::<T>())
    }
}

impl<T> Default for Roomy<T> {
    fn default() -> Self {
        Roomy(Vec::new())
    }
}

impl<T> From<Vec<T>> for Roomy<T> {
    fn from(items: Vec<T>) -> Self {
        Roomy(items)
    }
}

impl<T: Clone> Clone for Roomy<T> {
    #[cold]
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(self.0.capacity());
        items.extend_from_slice(&self.0);
        Roomy(items)
    }
}

impl<T> Deref for Roomy<T> {
    type Target = Vec<T>;

    #[inline]
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Roomy<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{take_copied_bytes, Roomy, Shared};

    #[test]
    fn a_change_is_seen_by_its_owner_alone() {
        take_copied_bytes();
        let mut one = Shared::new(Roomy::with_room(40));
        one.open().extend_from_slice(b"abc");
        let address = one.as_ptr();
        one.open().push(b'd');
        assert_eq!(one.as_ptr(), address, "an only owner changes the value where it lies");
        let other = one.clone();
        assert_eq!(other.as_ptr(), address, "a copy is the same value");
        assert_eq!(take_copied_bytes(), 0, "nothing has been copied so far");
        one.open().clear();
        one.open().clear();
        let part_bytes = Shared::<Roomy<u8>>::OWN_BYTES + other.heap_bytes();
        assert_eq!(take_copied_bytes(), part_bytes, "one copy, and it is told once");
        assert_eq!((one.len(), &other[..]), (0, &b"abcd"[..]));
        assert_eq!(one.heap_bytes(), other.heap_bytes(), "a copy has the same room");
        assert_eq!((other.as_ptr(), &other.into_value()[..]), (address, &b"abcd"[..]));
        assert_eq!(take_copied_bytes(), 0, "a last owner copies nothing");
    }
}
