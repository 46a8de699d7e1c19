//! The heap blocks behind the pointers of `thin`, and the owners of long ones.
//!
//! To copy a long block takes as long as many commands do, so it is not copied before somebody
//! changes what is in it: its owners are counted, and a snapshot, a copy of a collection or a reply
//! becomes one of them. The count stands in front of the block, where who reads its bytes does not
//! look; short blocks have none. Beside it stands the hash of the name in the block, once somebody
//! has told it: walks ask for the hash of whatever they pass.
//!
//! Invariant: a block of [`COUNTED_FROM`] bytes or more begins `HEAD` bytes behind the start of
//! its allocation, where a [`Head`] lies, whose count is the number of its owners. The bytes of
//! a block of several owners are not changed, and those of a name never.

use crate::types::alloc::class;
use crate::types::shared::count_copied_bytes;
use std::alloc::{alloc, dealloc, handle_alloc_error, realloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU64, AtomicUsize, Ordering};

/// Bytes from which the owners of a block are counted. Tests have many such blocks.
pub(super) const COUNTED_FROM: usize = if cfg!(test) { 64 } else { 16 * 1024 };

struct Head {
    owners: AtomicUsize,
    /// 0 until somebody tells it.
    hash: AtomicU64,
}

const HEAD: usize = size_of::<Head>();

/// The layout of an allocation, and where in it the block begins.
fn layout(bytes: usize) -> (Layout, usize) {
    let head = if bytes >= COUNTED_FROM { HEAD } else { 0 };
    let align = if bytes >= COUNTED_FROM { align_of::<Head>() } else { 2 };
    // Slices are at most isize::MAX long, and no two of them together with the bytes before them
    // reach beyond that on a 64-bit machine.
    let layout = Layout::from_size_align(head + bytes.max(1), align);
    (layout.unwrap_or(Layout::new::<Head>()), head)
}

/// A block of so many bytes, with one owner.
pub(super) fn allocate(bytes: usize) -> NonNull<u8> {
    let (layout, head) = layout(bytes);
    // SAFETY: the size is not zero; a head fits before the block, and is aligned.
    unsafe {
        let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
        if head > 0 {
            let (owners, hash) = (AtomicUsize::new(1), AtomicU64::new(0));
            start.cast::<Head>().write(Head { owners, hash });
        }
        start.add(head)
    }
}

/// Bytes that the allocation of a block takes.
pub(super) fn heap_bytes(bytes: usize) -> usize {
    class(layout(bytes).0.size())
}

/// The head of a block of so many bytes, if it has one.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes`, and has an owner for as long as the head
/// is looked at.
#[inline]
unsafe fn head<'a>(block: NonNull<u8>, bytes: usize) -> Option<&'a Head> {
    (bytes >= COUNTED_FROM).then(|| block.sub(HEAD).cast::<Head>().as_ref())
}

/// Makes the caller one more owner of the block; false when it must copy it.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes`, and has an owner.
#[inline]
pub(super) unsafe fn share(block: NonNull<u8>, bytes: usize) -> bool {
    let head = head(block, bytes);
    // As in `Arc`: who makes an owner has one before his eyes. Owners are pointers in memory:
    // there is no room for so many that the count overflows.
    head.map(|head| head.owners.fetch_add(1, Ordering::Relaxed)).is_some()
}

/// Ends an ownership; the last one frees the block.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes`; the caller is an owner, and is none
/// afterwards.
#[inline]
pub(super) unsafe fn release(block: NonNull<u8>, bytes: usize) {
    if let Some(head) = head(block, bytes) {
        // As in `Arc`: what the other owners read, they have read before the block is freed.
        if head.owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
    }
    let (layout, head) = layout(bytes);
    dealloc(block.as_ptr().sub(head), layout);
}

/// The block for its only owner: it or, when there are others, a copy in its place.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes`; the caller is an owner, and afterwards
/// owns the block that comes back instead.
#[inline]
pub(super) unsafe fn own(block: NonNull<u8>, bytes: usize) -> NonNull<u8> {
    // As in `Arc::get_mut`: what the other owners read, they have read before it is changed.
    if head(block, bytes).is_none_or(|head| head.owners.load(Ordering::Acquire) == 1) {
        return block;
    }
    let copy = allocate(bytes);
    count_copied_bytes(heap_bytes(bytes));
    copy.copy_from_nonoverlapping(block, bytes);
    release(block, bytes);
    copy
}

/// A block of another size with the same bytes, as far as there is room.
///
/// # Safety
/// `block` came from [`allocate`] with `from` bytes; the caller is its only owner, and afterwards
/// owns the block that comes back instead.
pub(super) unsafe fn resize(block: NonNull<u8>, from: usize, to: usize) -> NonNull<u8> {
    let ((before, head), (after, head_after)) = (layout(from), layout(to));
    if head != head_after {
        let moved = allocate(to);
        moved.copy_from_nonoverlapping(block, from.min(to));
        release(block, from);
        return moved;
    }
    match NonNull::new(realloc(block.as_ptr().sub(head), before, after.size())) {
        Some(start) => start.add(head),
        None => handle_alloc_error(after),
    }
}

/// What `hash` makes of the name in a block, or has made of it before.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes`, and has an owner.
#[inline]
pub(super) unsafe fn hash(block: NonNull<u8>, bytes: usize, hash: impl FnOnce() -> u64) -> u64 {
    let Some(head) = head(block, bytes) else { return hash() };
    match head.hash.load(Ordering::Relaxed) {
        0 => {
            let hash = hash();
            head.hash.store(hash, Ordering::Relaxed);
            hash
        }
        known => known,
    }
}
