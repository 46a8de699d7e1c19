//! The binary's allocator: mimalloc, asked in the way that gives each block its own size class.
//!
//! Its aligned entry points ask for up to seven bytes more whenever no free block is at hand, so
//! that a block of 94 bytes lies in a class of 112 instead of 96, and one of 96 bytes does too.
//! All its blocks lie at multiples of 16, those below 16 bytes at multiples of 8, so the plain
//! entry points serve nearly everything, and sooner.
//!
//! Very long blocks do not come from it (`maps`).
//!
//! Invariant: blocks take what `types::alloc::class` says, or less.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod maps;
#[cfg(not(target_os = "linux"))]
pub mod maps {
    //! No block is mapped.
    use std::alloc::Layout;

    pub(super) fn is_mapped(_: Layout) -> bool {
        false
    }
    pub(super) fn alloc(_: Layout) -> *mut u8 {
        std::ptr::null_mut()
    }
    pub(super) unsafe fn realloc(_: *mut u8, _: Layout, _: Layout) -> *mut u8 {
        std::ptr::null_mut()
    }
    pub(super) unsafe fn dealloc(_: *mut u8, _: Layout) {}
    /// There is nothing to do.
    pub fn give_back_aside() {}
}

use libmimalloc_sys as mi;
use std::alloc::{GlobalAlloc, Layout};

/// The allocator of this process.
pub struct Allocator;

/// Whether every block of this size lies where `layout` wants it.
#[inline(always)]
fn lies_well(layout: Layout) -> bool {
    layout.align() <= 8 || layout.align() == 16 && layout.size() >= 16
}

// SAFETY: mimalloc's functions keep the contract of `GlobalAlloc`; a block from any of them may be
// resized and freed by the others. `lies_well` says when a plain block is aligned enough: mimalloc
// aligns to 16 bytes (`MI_MAX_ALIGN_SIZE`), blocks below that to 8.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if maps::is_mapped(layout) {
            return maps::alloc(layout);
        }
        match lies_well(layout) {
            true => mi::mi_malloc(layout.size()).cast(),
            false => mi::mi_malloc_aligned(layout.size(), layout.align()).cast(),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if maps::is_mapped(layout) {
            return maps::alloc(layout);
        }
        match lies_well(layout) {
            true => mi::mi_zalloc(layout.size()).cast(),
            false => mi::mi_zalloc_aligned(layout.size(), layout.align()).cast(),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if maps::is_mapped(layout) {
            return maps::dealloc(block, layout);
        }
        mi::mi_free(block.cast());
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // The caller answers for it that the layout is one.
        let to = Layout::from_size_align_unchecked(bytes, layout.align());
        match (maps::is_mapped(layout), maps::is_mapped(to)) {
            (true, true) => maps::realloc(block, layout, to),
            (false, false) if lies_well(to) => mi::mi_realloc(block.cast(), bytes).cast(),
            (false, false) => mi::mi_realloc_aligned(block.cast(), bytes, to.align()).cast(),
            _ => moved(block, layout, to),
        }
    }
}

/// The block among those of the other kind.
///
/// # Safety
/// As for `realloc`.
#[cold]
unsafe fn moved(block: *mut u8, from: Layout, to: Layout) -> *mut u8 {
    let place = Allocator.alloc(to);
    if !place.is_null() {
        place.copy_from_nonoverlapping(block, from.size().min(to.size()));
        Allocator.dealloc(block, from);
    }
    place
}

/// Gives freed memory back to the system: what lies around for all threads, and in the heap of
/// this one.
pub fn give_back() {
    // SAFETY: may be called from any thread at any time.
    unsafe { mi::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many blocks of each size, so that pages run full and new ones begin.
    #[test]
    fn blocks_are_aligned_and_keep_their_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 64] {
            for bytes in [1, 7, 8, 9, 15, 16, 17, 24, 40, 88, 94, 96, 112, 500, 5000] {
                let layout = Layout::from_size_align(bytes, align).unwrap();
                let wider = Layout::from_size_align(bytes * 2, align).unwrap();
                let blocks: Vec<*mut u8> = (0..2000)
                    .map(|number| unsafe {
                        let block = Allocator.alloc(layout);
                        assert_eq!(block as usize % align, 0, "{bytes} bytes, align {align}");
                        block.write_bytes(number as u8, bytes);
                        block
                    })
                    .collect();
                for (number, block) in blocks.into_iter().enumerate() {
                    unsafe {
                        let block = Allocator.realloc(block, layout, bytes * 2);
                        assert_eq!(block as usize % align, 0);
                        let kept = std::slice::from_raw_parts(block, bytes);
                        assert!(kept.iter().all(|&byte| byte == number as u8));
                        Allocator.dealloc(block, wider);
                    }
                }
            }
        }
    }

    #[test]
    fn zeroed_blocks_are_zero() {
        for bytes in [1, 8, 94, 4096] {
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            unsafe {
                let block = Allocator.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(block, bytes).iter().all(|&byte| byte == 0));
                Allocator.dealloc(block, layout);
            }
        }
    }

    /// From mimalloc's blocks to mapped ones and back, growing and shrinking.
    #[test]
    fn long_blocks_keep_their_bytes_and_go_back() {
        maps::give_back_aside();
        let layout = |bytes: usize| Layout::from_size_align(bytes, 8).unwrap();
        let sizes = [100, 3 << 20, 8 << 20, (8 << 20) + 1, 25 << 20, 90 << 20, 9 << 20, 70_000, 50];
        let mark = |at: usize| (at / 999) as u8;
        for _ in 0..8 {
            let mut held = layout(sizes[0]);
            unsafe {
                let mut block = Allocator.alloc(held);
                (0..held.size()).for_each(|at| block.add(at).write(mark(at)));
                for bytes in sizes.into_iter().skip(1) {
                    let kept = held.size().min(bytes);
                    block = Allocator.realloc(block, held, bytes);
                    held = layout(bytes);
                    let there = std::slice::from_raw_parts(block, kept);
                    assert!(there
                        .iter()
                        .enumerate()
                        .step_by(333)
                        .all(|(at, one)| *one == mark(at)));
                    (kept.next_multiple_of(333)..bytes)
                        .step_by(333)
                        .for_each(|at| block.add(at).write(mark(at)));
                }
                Allocator.dealloc(block, held);
                let zeroed = layout(12 << 20);
                let block = Allocator.alloc_zeroed(zeroed);
                let there = std::slice::from_raw_parts(block, zeroed.size());
                assert!(there.iter().step_by(777).all(|one| *one == 0));
                Allocator.dealloc(block, zeroed);
            }
        }
    }
}
