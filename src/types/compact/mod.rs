//! Packed byte blobs with Redis's own byte formats, so that files and DUMP payloads can carry
//! them as they are: the listpack and the integer set.
//!
//! Invariant: whatever bytes come from outside pass `from_bytes` first, which accepts only blobs
//! on which every later read stays inside; from then on nothing here can fail.
//!
//! Both blobs write their true size into their own header, so the box around them may be larger:
//! its length is the capacity, always a whole allocator class, and a value is 16 bytes.

pub mod entry;
pub mod intset;
pub mod listpack;

pub use entry::{Item, Needle};
pub use intset::Intset;
pub use listpack::Listpack;

use super::alloc::class;

/// Enlarges `block` so that it holds at least `bytes`, to a whole allocator class.
fn grow(block: &mut Box<[u8]>, bytes: usize) {
    if bytes > block.len() {
        resize(block, class(bytes));
    }
}

/// Gives memory back once `bytes` fill at most half of `block`. The gap between the two rules
/// keeps a push and a pop at a boundary from reallocating each time.
fn shrink(block: &mut Box<[u8]>, bytes: usize) {
    if bytes <= block.len() / 2 && class(bytes) < block.len() {
        resize(block, class(bytes));
    }
}

fn resize(block: &mut Box<[u8]>, capacity: usize) {
    let mut bytes = std::mem::take(block).into_vec();
    if capacity > bytes.len() {
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.resize(capacity, 0);
    *block = bytes.into_boxed_slice();
}

/// `bytes` in a block of a whole allocator class.
fn boxed(mut bytes: Vec<u8>) -> Box<[u8]> {
    let capacity = class(bytes.len());
    bytes.reserve_exact(capacity - bytes.len());
    bytes.resize(capacity, 0);
    bytes.into_boxed_slice()
}
