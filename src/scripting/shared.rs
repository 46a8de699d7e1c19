//! What one Lua engine shares with the native functions that run inside it.
//!
//! Native functions reach it through their first upvalue. Everything is a cell, because natives
//! may nest (a script calls a native, which calls the host). No borrow of a cell is ever held
//! across a call into Lua that can run script code.
#![allow(unsafe_code)]

use std::alloc::{alloc, dealloc, realloc, Layout};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::NonNull;

use mlua::ffi;

use super::fault::Fault;
use super::functions::Registered;
use super::host::{Host, Verdict};
use super::random::Lrand48;

/// What ends a script that somebody told to stop.
pub const KILLED: &str = "Script killed by user with SCRIPT KILL...";

/// Most bytes that one Lua state may hold. Genuine servers have no such limit and die instead.
pub const MEMORY_LIMIT_BYTES: usize = 1 << 30;

/// Stock functions that a guard stands in front of.
#[derive(Clone, Copy)]
pub enum Stock {
    Next,
    Insert,
    Remove,
    Sort,
    Unpack,
    Xpcall,
    Foreach,
    RawGet,
    RawSet,
    GetMetatable,
    SetMetatable,
    CollectGarbage,
}

const STOCK_COUNT: usize = Stock::CollectGarbage as usize + 1;

/// See the module.
pub struct Shared {
    /// Whether native code runs: then the allocator refuses nothing.
    pub native: Cell<bool>,
    /// Bytes that the Lua state holds.
    used_bytes: Cell<usize>,
    limit_bytes: Cell<usize>,
    host: Cell<Option<NonNull<dyn Host>>>,
    /// Protocol of the replies that `redis.call` converts, 2 or 3.
    pub protocol: Cell<u8>,
    /// Why the running script was told to stop.
    pub stopped: Cell<Option<&'static str>>,
    /// Bytes that native code has gone over since the host was asked last.
    pub toil_bytes: Cell<usize>,
    /// Whether the running script touched the garbage collector's settings.
    pub collector_touched: Cell<bool>,
    /// Reused buffer for replies of the host.
    pub reply: RefCell<Vec<u8>>,
    /// Reused buffer for the text that the libraries build.
    pub scratch: RefCell<Vec<u8>>,
    arguments: RefCell<Vec<&'static [u8]>>,
    numbers: RefCell<Vec<u8>>,
    pub random: Cell<Lrand48>,
    /// Functions registered by the library that is being loaded; None outside FUNCTION LOAD.
    pub loading: RefCell<Option<Vec<Registered>>>,
    /// Metatables that mark a read-only table's stand-in.
    pub proxies: RefCell<Vec<usize>>,
    stock: [Cell<Option<ffi::lua_CFunction>>; STOCK_COUNT],
    stack_base: Cell<usize>,
    spare: Spare,
    pub(super) main: Cell<*mut ffi::lua_State>,
}

impl Shared {
    pub fn new() -> Box<Self> {
        Box::new(Shared {
            native: Cell::new(true),
            used_bytes: Cell::new(0),
            limit_bytes: Cell::new(MEMORY_LIMIT_BYTES),
            host: Cell::new(None),
            protocol: Cell::new(2),
            stopped: Cell::new(None),
            toil_bytes: Cell::new(0),
            collector_touched: Cell::new(false),
            reply: RefCell::new(Vec::new()),
            scratch: RefCell::new(Vec::new()),
            arguments: RefCell::new(Vec::new()),
            numbers: RefCell::new(Vec::new()),
            random: Cell::new(Lrand48::default()),
            loading: RefCell::new(None),
            proxies: RefCell::new(Vec::new()),
            stock: std::array::from_fn(|_| Cell::new(None)),
            stack_base: Cell::new(0),
            spare: Spare::default(),
            main: Cell::new(std::ptr::null_mut()),
        })
    }

    /// Bytes that the Lua state holds.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Notes where the thread's stack stands when a run begins.
    pub fn mark_stack(&self) {
        self.stack_base.set(stack_address());
    }

    /// Whether the thread's stack allows one more level of nesting in native code.
    pub fn has_stack(&self) -> bool {
        self.stack_base.get().abs_diff(stack_address()) < NESTING_BYTES
    }

    /// Whether native code has worked so long that the host should be asked.
    pub fn is_toilsome(&self) -> bool {
        self.toil_bytes.get() > TOIL_BYTES
    }

    /// Native code is about to go over so many bytes: asks the host now and then.
    #[inline]
    pub fn toil(&self, bytes: usize) -> Result<(), Fault> {
        self.toil_bytes.set(self.toil_bytes.get().saturating_add(bytes));
        if !self.is_toilsome() {
            return Ok(());
        }
        match self.ask() {
            None => Ok(()),
            Some(text) => Err(Fault::Stopped(text)),
        }
    }

    /// One more value was written, `written_bytes` in all: shared tables may unfold without end.
    #[inline]
    pub fn unfolds(&self, written_bytes: usize) -> Result<(), Fault> {
        if written_bytes > self.limit_bytes.get() / 2 {
            return Err(Fault::Plain(b"not enough memory".to_vec()));
        }
        self.toil(VALUE_BYTES)
    }

    /// One more value of the result was written, `written_bytes` in all.
    #[inline]
    pub fn results(&self, written_bytes: usize) -> Result<(), Fault> {
        if written_bytes > self.limit_bytes.get() {
            return Err(Fault::Plain(b"not enough memory".to_vec()));
        }
        self.toil(VALUE_BYTES)
    }

    /// Asks the host whether the script may go on; why not, otherwise.
    pub fn ask(&self) -> Option<&'static str> {
        self.toil_bytes.set(0);
        if let Some(text) = self.stopped.get() {
            return Some(text);
        }
        let outer = self.native.replace(true);
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.host().map_or(Verdict::Continue, |host| host.on_hook())
        }));
        self.native.set(outer);
        match asked.unwrap_or(Verdict::Kill) {
            Verdict::Continue => None,
            Verdict::Kill => Some(KILLED),
            Verdict::Stop(text) => Some(text),
        }
    }

    /// Whether garbage may soon stand in the way of the next script.
    pub fn is_crowded(&self) -> bool {
        self.used_bytes.get() > self.limit_bytes.get() / 2
    }

    /// Sets the most bytes that script code may take.
    pub fn set_limit(&self, bytes: usize) {
        self.limit_bytes.set(bytes);
    }

    pub(super) fn set_stock(&self, which: Stock, function: Option<ffi::lua_CFunction>) {
        self.stock[which as usize].set(function);
    }

    pub(super) fn stock(&self, which: Stock) -> Option<ffi::lua_CFunction> {
        self.stock[which as usize].get()
    }

    /// Lends the host to natives while `run` runs.
    pub fn with_host<R>(&self, host: &mut dyn Host, run: impl FnOnce() -> R) -> R {
        // SAFETY: only the lifetime changes; the pointer is taken back before this returns, and
        // nothing below unwinds (the trampoline stops panics).
        let lent: NonNull<dyn Host> =
            unsafe { std::mem::transmute::<NonNull<dyn Host + '_>, _>(NonNull::from(host)) };
        let before = self.host.replace(Some(lent));
        let value = run();
        self.host.set(before);
        value
    }

    /// The host of the running script; None outside a run.
    pub fn host<'a>(&self) -> Option<&'a mut dyn Host> {
        // SAFETY: set only while `with_host` runs, which holds the exclusive borrow; natives use
        // it one at a time and keep no reference.
        self.host.get().map(|mut host| unsafe { host.as_mut() })
    }

    /// Puts the scratch buffer back, unless it grew large.
    pub fn keep_scratch(&self, scratch: Vec<u8>) {
        const KEPT_BYTES: usize = 1 << 20;
        if scratch.capacity() <= KEPT_BYTES {
            self.scratch.replace(scratch);
        }
    }

    /// Collects arguments of a command in a reused vector and hands them to `run`.
    ///
    /// `fill` gives argument `index`, either borrowed from Lua's stack or as a number's text
    /// appended to the buffer; None stops with None.
    pub fn with_arguments<R>(
        &self,
        count: usize,
        mut fill: impl FnMut(usize, &mut Vec<u8>) -> Option<Argument>,
        run: impl FnOnce(&[&[u8]]) -> R,
    ) -> Option<R> {
        let mut arguments = self.arguments.take();
        let mut numbers = self.numbers.take();
        arguments.clear();
        numbers.clear();
        // The buffer must not move while slices into it exist.
        numbers.reserve(count.saturating_mul(NUMBER_BYTES));
        let mut complete = true;
        for index in 0..count {
            let start = numbers.len();
            match fill(index, &mut numbers) {
                Some(Argument::Borrowed(bytes)) => arguments.push(bytes),
                Some(Argument::Number) => {
                    let text: &[u8] = &numbers[start..];
                    // SAFETY: the buffer has room for all numbers, so it does not move, and the
                    // vector of slices is cleared before the buffer is used again.
                    arguments.push(unsafe { std::mem::transmute::<&[u8], &'static [u8]>(text) });
                }
                None => {
                    complete = false;
                    break;
                }
            }
        }
        let value = complete.then(|| run(&arguments));
        arguments.clear();
        self.arguments.replace(arguments);
        self.numbers.replace(numbers);
        value
    }
}

/// What writing one value counts for.
const VALUE_BYTES: usize = 32;

/// Native code asks the host once it has gone over so many bytes: some 10 ms of work.
const TOIL_BYTES: usize = 16 << 20;

/// Most bytes of the thread's stack that nested data may use; threads have 2 MB.
const NESTING_BYTES: usize = 3 << 19;

#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::hint::black_box(&here as *const u8) as usize
}

/// Longest text of a number among a command's arguments.
pub const NUMBER_BYTES: usize = 40;

/// One argument of a command.
pub enum Argument {
    /// Bytes of a string on Lua's stack (the slot keeps it for the whole call).
    Borrowed(&'static [u8]),
    /// The text was appended to the buffer, at most [`NUMBER_BYTES`] of it.
    Number,
}

/// Every block of Lua's memory starts at a multiple of this.
const ALIGN: usize = 16;

/// Small blocks that Lua gave back and will soon want again: the table of a status reply, say,
/// costs two of them. A list for each size, bounded, so that a script's garbage does not stay here.
///
/// Invariant: a block in the list of a class is free, has the class's size and is in no other list;
/// its first word leads to the next one.
struct Spare {
    first: [Cell<*mut Free>; CLASSES],
    count: [Cell<u8>; CLASSES],
}

struct Free {
    next: *mut Free,
}

/// Sizes of spare blocks: multiples of [`ALIGN`] up to `CLASSES * ALIGN` bytes.
const CLASSES: usize = 8;
/// Most spare blocks of one size.
const SPARE_BLOCKS: u8 = 64;

impl Default for Spare {
    fn default() -> Self {
        Spare {
            first: std::array::from_fn(|_| Cell::new(std::ptr::null_mut())),
            count: std::array::from_fn(|_| Cell::new(0)),
        }
    }
}

/// The class of blocks of `bytes`, which are not 0; None for large ones.
#[inline]
fn class_of(bytes: usize) -> Option<usize> {
    Some((bytes - 1) / ALIGN).filter(|&class| class < CLASSES)
}

/// How a block of `bytes`, which are not 0, is laid out: small ones fill their class.
#[inline]
fn layout_of(bytes: usize) -> Option<Layout> {
    let bytes = class_of(bytes).map_or(bytes, |class| (class + 1) * ALIGN);
    Layout::from_size_align(bytes, ALIGN).ok()
}

impl Spare {
    #[inline]
    fn take(&self, class: usize) -> Option<*mut u8> {
        let block = self.first[class].get();
        if block.is_null() {
            return None;
        }
        // SAFETY: by the invariant the block is free and starts with the next one's address.
        self.first[class].set(unsafe { (*block).next });
        self.count[class].set(self.count[class].get() - 1);
        Some(block.cast())
    }

    /// Keeps a block of this class; false when there are enough.
    ///
    /// # Safety
    /// The block must come from `layout_of` a size of this class, and nobody may use it any more.
    #[inline]
    unsafe fn keep(&self, class: usize, block: *mut u8) -> bool {
        let count = self.count[class].get();
        if count == SPARE_BLOCKS {
            return false;
        }
        let block: *mut Free = block.cast();
        // SAFETY: the block is free, large enough and aligned for one address.
        unsafe { block.write(Free { next: self.first[class].get() }) };
        self.first[class].set(block);
        self.count[class].set(count + 1);
        true
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        for class in 0..CLASSES {
            while let Some(block) = self.take(class) {
                // SAFETY: blocks of a class have its layout.
                unsafe {
                    let layout = Layout::from_size_align_unchecked((class + 1) * ALIGN, ALIGN);
                    dealloc(block, layout);
                }
            }
        }
    }
}

/// Lua's allocator: counts bytes, and refuses more than the limit to script code.
pub(super) unsafe extern "C" fn allocate(
    data: *mut c_void,
    block: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
) -> *mut c_void {
    // SAFETY: `data` is the engine's Shared; Lua passes the size that it was given for `block`.
    unsafe {
        let shared = &*(data as *const Shared);
        let used = shared.used_bytes.get();
        let old_bytes = if block.is_null() { 0 } else { old_bytes };
        let after = used - old_bytes + new_bytes;
        if new_bytes == 0 {
            shared.used_bytes.set(after);
            free(shared, block.cast(), old_bytes);
            return std::ptr::null_mut();
        }
        let grows = new_bytes > old_bytes;
        if grows && after > shared.limit_bytes.get() && !shared.native.get() {
            return std::ptr::null_mut();
        }
        let fresh = resize(shared, block.cast(), old_bytes, new_bytes);
        if fresh.is_null() {
            if shared.native.get() || !grows {
                std::alloc::handle_alloc_error(layout_of(new_bytes).unwrap_or(Layout::new::<u8>()));
            }
            return std::ptr::null_mut();
        }
        shared.used_bytes.set(after);
        if grows {
            super::guard::note_toil(shared, new_bytes);
        }
        fresh.cast()
    }
}

/// Gives back a block that Lua knows as one of `bytes`.
unsafe fn free(shared: &Shared, block: *mut u8, bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: the caller's block was laid out for `bytes`.
    unsafe {
        if !class_of(bytes).is_some_and(|class| shared.spare.keep(class, block)) {
            if let Some(layout) = layout_of(bytes) {
                dealloc(block, layout);
            }
        }
    }
}

/// A block of `new_bytes`, which are not 0, with what `block` held; null when there is no memory.
unsafe fn resize(shared: &Shared, block: *mut u8, old_bytes: usize, new_bytes: usize) -> *mut u8 {
    let Some(layout) = layout_of(new_bytes) else { return std::ptr::null_mut() };
    // SAFETY: the caller's block was laid out for `old_bytes`.
    unsafe {
        if old_bytes == 0 {
            let spare = class_of(new_bytes).and_then(|class| shared.spare.take(class));
            return spare.unwrap_or_else(|| alloc(layout));
        }
        let Some(old) = layout_of(old_bytes) else { return std::ptr::null_mut() };
        if old.size() == layout.size() {
            return block;
        }
        realloc(block, old, layout.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Blocks as Lua holds them, each filled with its own byte.
    #[test]
    fn blocks_keep_their_bytes_while_others_come_and_go() {
        let shared = Shared::new();
        let data = &*shared as *const Shared as *mut c_void;
        let mut random = SmallRng::seed_from_u64(1);
        let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
        for round in 0..20_000u32 {
            let mark = round as u8;
            let bytes = random.random_range(1..[20, 140, 3000][round as usize % 3]);
            // SAFETY: blocks are used within their size, and given back with it.
            unsafe {
                match random.random_range(0..3) {
                    0 if !held.is_empty() => {
                        let (block, len, wanted) =
                            held.swap_remove(random.random_range(0..held.len()));
                        let content = std::slice::from_raw_parts(block, len);
                        assert!(content.iter().all(|&byte| byte == wanted));
                        assert!(allocate(data, block.cast(), len, 0).is_null());
                    }
                    1 if !held.is_empty() => {
                        let at = random.random_range(0..held.len());
                        let (block, len, wanted) = held[at];
                        let block: *mut u8 = allocate(data, block.cast(), len, bytes).cast();
                        let content = std::slice::from_raw_parts(block, len.min(bytes));
                        assert!(content.iter().all(|&byte| byte == wanted));
                        block.write_bytes(mark, bytes);
                        held[at] = (block, bytes, mark);
                    }
                    _ => {
                        let block: *mut u8 = allocate(data, std::ptr::null_mut(), 0, bytes).cast();
                        assert_eq!(block as usize % ALIGN, 0);
                        block.write_bytes(mark, bytes);
                        held.push((block, bytes, mark));
                    }
                }
            }
            let sum: usize = held.iter().map(|block| block.1).sum();
            assert_eq!(shared.used_bytes(), sum);
        }
        assert!(shared.spare.count.iter().all(|count| count.get() <= SPARE_BLOCKS));
        for (block, len, _) in held {
            // SAFETY: as above.
            unsafe { allocate(data, block.cast(), len, 0) };
        }
        assert_eq!(shared.used_bytes(), 0);
    }

    #[test]
    fn script_code_is_refused_what_exceeds_the_limit() {
        let shared = Shared::new();
        let data = &*shared as *const Shared as *mut c_void;
        shared.set_limit(1000);
        shared.native.set(false);
        // SAFETY: as above.
        unsafe {
            let small = allocate(data, std::ptr::null_mut(), 0, 900);
            assert!(!small.is_null());
            assert!(allocate(data, std::ptr::null_mut(), 0, 200).is_null());
            assert!(allocate(data, small, 900, 1100).is_null());
            assert_eq!(shared.used_bytes(), 900);
            shared.native.set(true);
            let native = allocate(data, std::ptr::null_mut(), 0, 200);
            assert!(!native.is_null());
            allocate(data, native, 200, 0);
            allocate(data, small, 900, 0);
        }
    }
}
