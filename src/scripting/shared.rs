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

use super::functions::Registered;
use super::host::Host;
use super::random::Lrand48;

/// Most bytes that one Lua state may hold. Genuine servers have no such limit and die instead.
pub const MEMORY_LIMIT_BYTES: usize = 1 << 30;

/// Stock functions that a guard stands in front of.
#[derive(Clone, Copy)]
pub enum Stock {
    Next,
    Insert,
    Foreach,
    RawGet,
    RawSet,
    GetMetatable,
    SetMetatable,
    Find,
    Match,
    Gmatch,
    Gsub,
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
    /// Whether the running script was told to stop.
    pub killed: Cell<bool>,
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
            killed: Cell::new(false),
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

    /// Whether garbage may soon stand in the way of the next script.
    pub fn is_crowded(&self) -> bool {
        self.used_bytes.get() > self.limit_bytes.get() / 2
    }

    /// Most bytes that script code may take, and that one value packed by a library may have.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes.get()
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

/// Lua's allocator: counts bytes, and refuses more than the limit to script code.
pub(super) unsafe extern "C" fn allocate(
    data: *mut c_void,
    block: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
) -> *mut c_void {
    const ALIGN: usize = 16;
    // SAFETY: `data` is the engine's Shared; Lua passes the size that it was given for `block`.
    unsafe {
        let shared = &*(data as *const Shared);
        let used = shared.used_bytes.get();
        let old_bytes = if block.is_null() { 0 } else { old_bytes };
        let after = used - old_bytes + new_bytes;
        if new_bytes == 0 {
            if old_bytes != 0 {
                dealloc(block as *mut u8, Layout::from_size_align_unchecked(old_bytes, ALIGN));
            }
            shared.used_bytes.set(after);
            return std::ptr::null_mut();
        }
        if new_bytes > old_bytes && after > shared.limit_bytes.get() && !shared.native.get() {
            return std::ptr::null_mut();
        }
        let Ok(layout) = Layout::from_size_align(new_bytes, ALIGN) else {
            return std::ptr::null_mut();
        };
        let fresh = if old_bytes == 0 {
            alloc(layout)
        } else {
            let old = Layout::from_size_align_unchecked(old_bytes, ALIGN);
            realloc(block as *mut u8, old, new_bytes)
        };
        if fresh.is_null() {
            if shared.native.get() || new_bytes <= old_bytes {
                std::alloc::handle_alloc_error(layout);
            }
            return std::ptr::null_mut();
        }
        shared.used_bytes.set(after);
        fresh as *mut c_void
    }
}
