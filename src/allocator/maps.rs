//! Blocks so long that each has pages of its own from the system, which moves pages to another
//! address without a look at what is in them: a string of 300 megabytes that grows is not copied,
//! and nobody waits for that. To give so many pages back takes as long as to fill them, so a
//! thread of its own does it, in small steps: the process's map is locked in each of them.
//!
//! Invariant: a block begins where its mapping does, and the mapping has [`mapped_bytes`].

use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Blocks of so many bytes are mapped: to copy fewer takes no longer than some commands do.
const MAPPED_FROM: usize = 8 << 20;
/// Mappings are made of so many bytes: the system moves pages by whole tables of them.
const TABLE_BYTES: usize = 2 << 20;
/// No mapping begins at a finer grain.
const PAGE_BYTES: usize = 4096;
/// Bytes that wait to be given back at most.
const WAITING_BYTES_MAX: usize = 1 << 30;
/// Bytes that are given back in one step.
const STEP_BYTES: usize = 1 << 20;

/// Whether such a block is mapped.
#[inline(always)]
pub(super) fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_FROM && layout.align() <= PAGE_BYTES
}

/// Bytes of the mapping of a block; layouts are far from the largest number.
fn mapped_bytes(layout: Layout) -> usize {
    layout.size().next_multiple_of(TABLE_BYTES)
}

fn block_at(start: *mut libc::c_void) -> *mut u8 {
    match start {
        libc::MAP_FAILED => null_mut(),
        start => start.cast(),
    }
}

/// A block of zeros; null when there is no room.
pub(super) fn alloc(layout: Layout) -> *mut u8 {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
    let kind = kind | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where nothing else is.
    block_at(unsafe { libc::mmap(null_mut(), mapped_bytes(layout), access, kind, -1, 0) })
}

/// The block with another size, elsewhere perhaps when it grows; null, and it is as it was, when
/// there is no room.
///
/// # Safety
/// `block` was mapped for `from`, and is used no more unless null comes back.
pub(super) unsafe fn realloc(block: *mut u8, from: Layout, to: Layout) -> *mut u8 {
    let (before, after) = (mapped_bytes(from), mapped_bytes(to));
    if before >= after {
        give_back(block.add(after).cast(), before - after);
        return block;
    }
    block_at(libc::mremap(block.cast(), before, after, libc::MREMAP_MAYMOVE))
}

/// Gives a block back, soon.
///
/// # Safety
/// `block` was mapped for `layout`, and is used no more.
pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    give_back(block.cast(), mapped_bytes(layout));
}

/// Gives whole tables of pages back, soon; none, perhaps.
///
/// # Safety
/// So many bytes are mapped there, and are used no more.
unsafe fn give_back(block: *mut Freed, bytes: usize) {
    if bytes == 0 {
        return;
    }
    let mut waiting = waiting();
    if !waiting.is_awaited || waiting.bytes + bytes > WAITING_BYTES_MAX {
        drop(waiting);
        return unmap(block, bytes);
    }
    block.write(Freed { next: waiting.first, bytes });
    waiting.first = block;
    waiting.bytes += bytes;
    drop(waiting);
    COMES.notify_one();
}

/// What stands at the beginning of a block that waits to be given back.
struct Freed {
    next: *mut Freed,
    bytes: usize,
}

struct Waiting {
    first: *mut Freed,
    bytes: usize,
    /// There is a thread that gives them back.
    is_awaited: bool,
}

// SAFETY: the blocks in the row are nobody's but the row's.
unsafe impl Send for Waiting {}

static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { first: null_mut(), bytes: 0, is_awaited: false });
static COMES: Condvar = Condvar::new();

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that gives blocks back; without it, whoever frees one does.
pub fn give_back_aside() {
    let work = || loop {
        let mut row = waiting();
        while row.first.is_null() {
            row = COMES.wait(row).unwrap_or_else(PoisonError::into_inner);
        }
        let block = row.first;
        // SAFETY: blocks in the row are mapped, and `give_back` wrote their beginnings.
        unsafe {
            let Freed { next, bytes } = block.read();
            row.first = next;
            drop(row);
            unmap(block, bytes);
            waiting().bytes -= bytes;
        }
    };
    let started = std::thread::Builder::new().name("redouble-unmap".to_string()).spawn(work);
    waiting().is_awaited = started.is_ok();
}

/// # Safety
/// So many bytes are mapped there, and are used no more.
unsafe fn unmap(block: *mut Freed, bytes: usize) {
    for at in (0..bytes).step_by(STEP_BYTES) {
        let step = block.byte_add(at).cast();
        libc::madvise(step, STEP_BYTES.min(bytes - at), libc::MADV_DONTNEED);
    }
    libc::munmap(block.cast(), bytes);
}
