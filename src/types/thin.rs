//! Byte strings behind one 8-byte pointer: what large sets, hashes and sorted sets store.
//!
//! A `Box<[u8]>` is 16 bytes in every slot of a table; here the length stands at the head of the
//! heap block (1 byte below 128, LEB128 above), so that a slot is 8 bytes and the block of a
//! 15-byte member is 16. Invariant: the pointer is the start of a live block that begins with the
//! varint(s) and holds exactly the bytes they announce; blocks are never changed after `new`.
//! A long block can have several owners (`block`): its clones are counts, not copies.
//!
//! This module is one of the few with `unsafe`: its tests run under valgrind as well.
#![allow(unsafe_code)]

mod block;
mod either;

pub use either::{Either, EitherMut, ThinOr};

use super::limits::HashKey;
use block::{allocate, COUNTED_FROM};
use bytes::Bytes;
use std::fmt;
use std::ptr::NonNull;

/// An owned byte string behind one pointer; `Option<Thin>` is 8 bytes.
pub struct Thin(NonNull<u8>);

/// A copy of a [`Thin`]'s pointer that does not own the bytes.
///
/// Contract: whoever keeps one drops it before its `Thin`, or never looks at it afterwards. The
/// sorted set holds them in its tree, beside the member table that owns the bytes.
#[derive(Clone, Copy)]
pub struct ThinRef(NonNull<u8>);

/// Two byte strings in one block behind one pointer: a hash field and its value; and a stamp, if
/// it was made with one: the field's deadline. The lowest bit of the first varint tells.
pub struct ThinPair(NonNull<u8>);

// SAFETY: all three point at bytes that nobody changes after construction; `Thin` and `ThinPair`
// own theirs, and the holder of a `ThinRef` answers for its lifetime (see its contract).
unsafe impl Send for Thin {}
unsafe impl Sync for Thin {}
unsafe impl Send for ThinRef {}
unsafe impl Sync for ThinRef {}
unsafe impl Send for ThinPair {}
unsafe impl Sync for ThinPair {}

/// Bytes of the LEB128 form of `length`.
const fn varint_bytes(length: usize) -> usize {
    let bits = (usize::BITS - (length | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// Writes `length` at `at`, returns the place after it.
///
/// # Safety
/// `at` must have room for `varint_bytes(length)` bytes.
unsafe fn write_varint(mut at: *mut u8, mut length: usize) -> *mut u8 {
    while length >= 0x80 {
        at.write(length as u8 | 0x80);
        at = at.add(1);
        length >>= 7;
    }
    at.write(length as u8);
    at.add(1)
}

/// Reads the length at `at`, returns it and the place after it.
///
/// # Safety
/// `at` must stand at a complete varint.
#[inline]
unsafe fn read_varint(at: *const u8) -> (usize, *const u8) {
    let first = at.read();
    if first < 0x80 {
        return (first as usize, at.add(1));
    }
    let (mut length, mut shift, mut at) = ((first & 0x7f) as usize, 7, at.add(1));
    loop {
        let byte = at.read();
        length |= ((byte & 0x7f) as usize) << shift;
        at = at.add(1);
        if byte < 0x80 {
            return (length, at);
        }
        shift += 7;
    }
}

impl Thin {
    /// A copy of `bytes` on the heap.
    pub fn new(bytes: &[u8]) -> Thin {
        let block = allocate(varint_bytes(bytes.len()) + bytes.len());
        // SAFETY: the block has room for the varint and the bytes, and is ours alone.
        unsafe {
            let at = write_varint(block.as_ptr(), bytes.len());
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Thin(block)
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the module's invariant; the borrow keeps the block alive.
        unsafe {
            let (length, at) = read_varint(self.0.as_ptr());
            std::slice::from_raw_parts(at, length)
        }
    }

    /// Heap memory of the block.
    pub fn heap_bytes(&self) -> usize {
        block::heap_bytes(self.block_bytes())
    }

    /// A copy of the pointer that does not own; see [`ThinRef`] for the contract.
    #[inline]
    pub fn alias(&self) -> ThinRef {
        ThinRef(self.0)
    }

    /// The hash of the bytes; a long block remembers it, so `key` is always the same for one.
    #[inline]
    pub fn hash(&self, key: &HashKey) -> u64 {
        self.alias().hash(key)
    }

    /// The same with the hash at hand already.
    #[inline]
    pub fn hashed(bytes: &[u8], hash: u64) -> Thin {
        let thin = Thin::new(bytes);
        // SAFETY: the block was made of as many bytes, and `thin` owns it.
        unsafe { block::hash(thin.0, thin.block_bytes(), || hash) };
        thin
    }

    #[inline]
    fn block_bytes(&self) -> usize {
        self.alias().block_bytes()
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        // SAFETY: allocated with as many bytes in `new`; nobody sees `self` afterwards.
        unsafe { block::release(self.0, self.block_bytes()) }
    }
}

impl Clone for Thin {
    fn clone(&self) -> Thin {
        self.alias().owned()
    }
}

impl AsRef<[u8]> for Thin {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Thin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.as_bytes().escape_ascii())
    }
}

/// The block of the empty string, which nobody owns.
static NOTHING: u8 = 0;

impl ThinRef {
    /// The empty string: fills places where no member is.
    // SAFETY: the address of a static is not null.
    pub const EMPTY: ThinRef =
        ThinRef(unsafe { NonNull::new_unchecked((&raw const NOTHING).cast_mut()) });

    /// The bytes, as long as the owning [`Thin`] lives: the contract of the type.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the holder keeps the `Thin` alive while this reference is in use.
        unsafe {
            let (length, at) = read_varint(self.0.as_ptr());
            std::slice::from_raw_parts(at, length)
        }
    }

    /// One owner more of the bytes, or of a copy of them: the contract of the type.
    pub fn owned(self) -> Thin {
        // SAFETY: the holder keeps the owner alive meanwhile.
        match unsafe { block::share(self.0, self.block_bytes()) } {
            true => Thin(self.0),
            false => Thin::new(self.as_bytes()),
        }
    }

    /// The bytes of a long block, to one owner more of it; `None` for a short one.
    pub fn lend(self) -> Option<Bytes> {
        (self.block_bytes() >= COUNTED_FROM).then(|| Bytes::from_owner(self.owned()))
    }

    /// As [`Thin::hash`].
    #[inline]
    pub fn hash(&self, key: &HashKey) -> u64 {
        // SAFETY: the holder keeps the owner alive meanwhile.
        unsafe { block::hash(self.0, self.block_bytes(), || key.hash(self.as_bytes())) }
    }

    #[inline]
    fn block_bytes(&self) -> usize {
        let length = self.as_bytes().len();
        varint_bytes(length) + length
    }

    /// Whether both stand for the very same block.
    #[inline]
    pub fn same_block(&self, other: &ThinRef) -> bool {
        self.0 == other.0
    }
}

impl ThinPair {
    /// Copies of both on the heap, in one block.
    pub fn new(first: &[u8], second: &[u8]) -> ThinPair {
        ThinPair::stamped(first, second, None)
    }

    /// The same, with a number beside them.
    pub fn stamped(first: &[u8], second: &[u8], stamp: Option<i64>) -> ThinPair {
        let block = allocate(Self::bytes_for(first.len(), second.len(), stamp.is_some()));
        // SAFETY: the block has room for both varints, the stamp and both strings, and is ours
        // alone.
        unsafe {
            let mark = first.len() << 1 | usize::from(stamp.is_some());
            let mut at = write_varint(write_varint(block.as_ptr(), mark), second.len());
            if let Some(stamp) = stamp {
                at.cast::<[u8; 8]>().write(stamp.to_le_bytes());
                at = at.add(8);
            }
            at.copy_from_nonoverlapping(first.as_ptr(), first.len());
            at.add(first.len()).copy_from_nonoverlapping(second.as_ptr(), second.len());
        }
        ThinPair(block)
    }

    /// The first string.
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.both().0
    }

    /// The second string.
    #[inline]
    pub fn second(&self) -> &[u8] {
        self.both().1
    }

    /// Both strings.
    #[inline]
    pub fn both(&self) -> (&[u8], &[u8]) {
        let (at, first, second) = self.place();
        // SAFETY: the module's invariant; the borrow keeps the block alive.
        unsafe {
            (
                std::slice::from_raw_parts(at, first),
                std::slice::from_raw_parts(at.add(first), second),
            )
        }
    }

    /// Where the strings lie, one behind the other, and how long they are.
    #[inline]
    fn place(&self) -> (*const u8, usize, usize) {
        // SAFETY: the module's invariant.
        unsafe {
            let (mark, at) = read_varint(self.0.as_ptr());
            let (second, at) = read_varint(at);
            (at.add((mark & 1) * 8), mark >> 1, second)
        }
    }

    /// The number beside them.
    #[inline]
    pub fn stamp(&self) -> Option<i64> {
        // SAFETY: the module's invariant; a set mark says that 8 bytes follow both varints.
        unsafe {
            let (mark, at) = read_varint(self.0.as_ptr());
            if mark & 1 == 0 {
                return None;
            }
            let (_, at) = read_varint(at);
            Some(i64::from_le_bytes(at.cast::<[u8; 8]>().read()))
        }
    }

    /// Heap memory of the block.
    pub fn heap_bytes(&self) -> usize {
        block::heap_bytes(self.block_bytes())
    }

    /// The hash of the first string; a long block remembers it, so `key` is always the same.
    #[inline]
    pub fn hash(&self, key: &HashKey) -> u64 {
        // SAFETY: the block was made of as many bytes, and `self` owns it.
        unsafe { block::hash(self.0, self.block_bytes(), || key.hash(self.first())) }
    }

    /// Both strings of a long block one behind the other, to one owner more of it; `None` for a
    /// short one.
    pub fn lend(&self) -> Option<Bytes> {
        (self.block_bytes() >= COUNTED_FROM).then(|| Bytes::from_owner(self.clone()))
    }

    #[inline]
    fn block_bytes(&self) -> usize {
        let (_, first, second) = self.place();
        Self::bytes_for(first, second, self.stamp().is_some())
    }

    const fn bytes_for(first: usize, second: usize, stamped: bool) -> usize {
        let stamp = if stamped { 8 } else { 0 };
        varint_bytes(first << 1) + varint_bytes(second) + stamp + first + second
    }
}

impl Drop for ThinPair {
    fn drop(&mut self) {
        // SAFETY: allocated with as many bytes in `stamped`; nobody sees `self` afterwards.
        unsafe { block::release(self.0, self.block_bytes()) }
    }
}

impl Clone for ThinPair {
    fn clone(&self) -> ThinPair {
        // SAFETY: the block was made of as many bytes, and `self` owns it.
        if unsafe { block::share(self.0, self.block_bytes()) } {
            return ThinPair(self.0);
        }
        let (first, second) = self.both();
        ThinPair::stamped(first, second, self.stamp())
    }
}

impl AsRef<[u8]> for ThinPair {
    /// Both strings one behind the other.
    fn as_ref(&self) -> &[u8] {
        let (at, first, second) = self.place();
        // SAFETY: as in `both`.
        unsafe { std::slice::from_raw_parts(at, first + second) }
    }
}

impl fmt::Debug for ThinPair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} => {}", self.first().escape_ascii(), self.second().escape_ascii())
    }
}

/// Asks the processor to load the cache line at `place`, which may be anywhere; does nothing where
/// it cannot.
#[inline(always)]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing that the program could see, and never faults.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl Thin {
    /// Asks the processor to load the head of the block.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }
}

impl ThinRef {
    /// Asks the processor to load the head of the block.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }
}

impl ThinPair {
    /// Asks the processor to load the head of the block.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 10] = [0, 1, 14, 15, 127, 128, 129, 16_383, 16_384, 2_100_000];

    fn bytes(length: usize, salt: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 + salt) as u8).collect()
    }

    #[test]
    fn strings_of_every_header_length_come_back() {
        for length in LENGTHS {
            let source = bytes(length, 7);
            let thin = Thin::new(&source);
            assert_eq!(thin.as_bytes(), source);
            let copy = thin.clone();
            let alias = copy.alias();
            assert_eq!(alias.as_bytes(), source);
            assert!(alias.same_block(&copy.alias()));
            drop(thin);
            assert_eq!(copy.as_bytes(), source);
        }
    }

    #[test]
    fn pairs_of_every_header_length_come_back() {
        for first in LENGTHS {
            for second in LENGTHS.into_iter().filter(|second| first.min(*second) < 16_000) {
                let (left, right) = (bytes(first, 1), bytes(second, 2));
                for stamp in [None, Some(-1), Some(i64::MAX)] {
                    let pair = ThinPair::stamped(&left, &right, stamp).clone();
                    assert_eq!(pair.both(), (&left[..], &right[..]));
                    assert_eq!((pair.first(), pair.second()), (&left[..], &right[..]));
                    assert_eq!(pair.stamp(), stamp);
                }
            }
        }
    }

    #[test]
    fn a_long_block_has_several_owners() {
        let (key, long) = (HashKey(1, 2), bytes(COUNTED_FROM, 3));
        let thin = Thin::hashed(&long, 99);
        let (lent, alias) = (thin.alias().lend().expect("a long one"), thin.alias());
        let (copy, other) = (thin.clone(), alias.owned());
        assert!(copy.alias().same_block(&alias) && other.alias().same_block(&alias));
        assert_eq!((copy.hash(&key), other.alias().hash(&key)), (99, 99), "it was told");
        drop((thin, copy));
        assert_eq!((&lent[..], other.as_bytes()), (&long[..], &long[..]));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (lent, own) = (lent.clone(), other.clone());
                std::thread::spawn(move || (lent[7], own.as_bytes()[7]))
            })
            .collect();
        drop((lent, other));
        for reader in readers {
            assert_eq!(reader.join().expect("no panic in the thread"), (long[7], long[7]));
        }
        let pair = ThinPair::stamped(b"field", &long, Some(5));
        let (copy, lent) = (pair.clone(), pair.lend().expect("a long one"));
        assert_eq!(pair.first().as_ptr(), copy.first().as_ptr());
        drop(pair);
        assert_eq!((copy.stamp(), copy.both()), (Some(5), (&b"field"[..], &long[..])));
        drop(copy);
        assert_eq!(&lent[..5], b"field");
        assert_eq!(&lent[5..], long);
        let (thin, pair) = (Thin::new(b"short"), ThinPair::new(b"", b"short"));
        assert!(thin.alias().lend().is_none() && pair.lend().is_none());
        assert!(!thin.clone().alias().same_block(&thin.alias()));
        assert_eq!(Thin::hashed(b"short", 99).hash(&key), key.hash(b"short"));
        assert_eq!(pair.hash(&key), key.hash(b""));
    }

    #[test]
    fn sizes_count_the_header_and_the_class() {
        assert_eq!(size_of::<Option<Thin>>(), 8);
        assert_eq!(size_of::<Option<ThinPair>>(), 8);
        assert_eq!(size_of::<Option<ThinRef>>(), 8);
        assert_eq!(Thin::new(&[0; 15]).heap_bytes(), 16);
        assert_eq!(Thin::new(&[0; 16]).heap_bytes(), 32);
        assert_eq!(Thin::new(&[0; COUNTED_FROM - 2]).heap_bytes(), 64);
        assert_eq!(Thin::new(&[0; COUNTED_FROM - 1]).heap_bytes(), 80, "a head before it");
        assert_eq!(Thin::new(&[0; 128]).heap_bytes(), 160);
        assert_eq!(ThinPair::new(&[0; 6], &[0; 8]).heap_bytes(), 16);
    }

    #[test]
    fn blocks_travel_between_threads() {
        let thin = Thin::new(b"traveller");
        let pair = ThinPair::new(b"field", b"value");
        let back = std::thread::spawn(move || (thin.clone(), pair.clone())).join();
        let (thin, pair) = back.expect("no panic in the thread");
        assert_eq!((thin.as_bytes(), pair.second()), (&b"traveller"[..], &b"value"[..]));
    }
}
