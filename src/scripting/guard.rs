//! Guards: C functions that stand in front of stock Lua functions, and the hook.
//!
//! Stock Lua has no read-only tables. A protected table is an empty stand-in whose metatable leads
//! to the real one, so the stock functions that bypass metatables (`rawset`, `next`, ...) must know
//! stand-ins. A guard looks at the first argument, then calls the stock function in its own frame:
//! plain tables pay a few nanoseconds.
//!
//! Functions here may be left by `longjmp` in the middle: they own nothing that needs dropping.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

use mlua::ffi;

use super::host::Verdict;
use super::raw::Lua;
use super::shared::{Shared, Stock};

/// A script looks at the host once every so many instructions.
const HOOK_INSTRUCTIONS: c_int = 100_000;

/// Most quantifiers in a pattern: the matcher recurses on each, on the thread's own stack.
const PATTERN_QUANTIFIERS: usize = 1000;

/// Registry slot of the pointer to `Shared`, for code without upvalues.
const SHARED_SLOT: c_int = -1;

pub(super) const READONLY: &[u8] = b"Attempt to modify a readonly table";

unsafe fn shared_of<'a>(state: *mut ffi::lua_State) -> &'a Shared {
    // SAFETY: every guard is pushed by `push_guard` with the Shared as its upvalue.
    unsafe { &*(ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)) as *const Shared) }
}

/// Whether the value at `index` is a stand-in for a protected table.
unsafe fn is_proxy(state: *mut ffi::lua_State, shared: &Shared, index: c_int) -> bool {
    // SAFETY: callers pass a live state; the pushed metatable is popped again.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE
            || ffi::lua_getmetatable(state, index) == 0
        {
            return false;
        }
        let identity = ffi::lua_topointer(state, -1) as usize;
        ffi::lua_settop(state, -2);
        shared.proxies.borrow().contains(&identity)
    }
}

/// Puts the real table in the place of a stand-in.
unsafe fn resolve(state: *mut ffi::lua_State, index: c_int) {
    // SAFETY: `index` holds a stand-in, whose metatable has a table as `__index`.
    unsafe {
        ffi::lua_getmetatable(state, index);
        ffi::lua_pushlstring_(state, c"__index".as_ptr(), 7);
        ffi::lua_rawget_(state, -2);
        ffi::lua_replace(state, index);
        ffi::lua_settop(state, -2);
    }
}

unsafe fn refuse(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: lua_error does not come back; nothing here is dropped.
    unsafe {
        ffi::lua_pushlstring_(state, READONLY.as_ptr() as *const c_char, READONLY.len());
        ffi::lua_error(state)
    }
}

unsafe fn stock(state: *mut ffi::lua_State, shared: &Shared, which: Stock) -> c_int {
    match shared.stock(which) {
        // SAFETY: a stock function of the same state, called in the guard's own frame.
        Some(function) => unsafe { function(state) },
        None => 0,
    }
}

/// A guard that reads through stand-ins.
macro_rules! reads_through {
    ($name:ident, $stock:expr) => {
        pub(super) unsafe extern "C-unwind" fn $name(state: *mut ffi::lua_State) -> c_int {
            // SAFETY: see the module.
            unsafe {
                let shared = shared_of(state);
                if is_proxy(state, shared, 1) {
                    resolve(state, 1);
                }
                stock(state, shared, $stock)
            }
        }
    };
}

/// A guard that refuses to change stand-ins.
macro_rules! refuses_writes {
    ($name:ident, $stock:expr) => {
        pub(super) unsafe extern "C-unwind" fn $name(state: *mut ffi::lua_State) -> c_int {
            // SAFETY: see the module.
            unsafe {
                let shared = shared_of(state);
                if is_proxy(state, shared, 1) {
                    return refuse(state);
                }
                stock(state, shared, $stock)
            }
        }
    };
}

/// A guard that refuses patterns which would exhaust the thread's stack.
macro_rules! bounds_pattern {
    ($name:ident, $stock:expr) => {
        pub(super) unsafe extern "C-unwind" fn $name(state: *mut ffi::lua_State) -> c_int {
            // SAFETY: see the module.
            unsafe {
                if !pattern_is_bounded(state) {
                    return ffi::luaL_error(state, c"pattern too complex".as_ptr());
                }
                stock(state, shared_of(state), $stock)
            }
        }
    };
}

reads_through!(next, Stock::Next);
reads_through!(foreach, Stock::Foreach);
reads_through!(rawget, Stock::RawGet);
refuses_writes!(rawset, Stock::RawSet);
refuses_writes!(insert, Stock::Insert);
refuses_writes!(setmetatable, Stock::SetMetatable);
bounds_pattern!(find, Stock::Find);
bounds_pattern!(pattern_match, Stock::Match);
bounds_pattern!(gmatch, Stock::Gmatch);
bounds_pattern!(gsub, Stock::Gsub);

unsafe fn pattern_is_bounded(state: *mut ffi::lua_State) -> bool {
    // SAFETY: a string in slot 2 stays there while it is read.
    unsafe {
        if ffi::lua_type(state, 2) != ffi::LUA_TSTRING
            || ffi::lua_objlen(state, 2) <= PATTERN_QUANTIFIERS
        {
            return true;
        }
        let mut len = 0usize;
        let at = ffi::lua_tolstring(state, 2, &mut len) as *const u8;
        let pattern = std::slice::from_raw_parts(at, len);
        pattern.iter().filter(|byte| b"?*+-".contains(byte)).count() <= PATTERN_QUANTIFIERS
    }
}

/// `getmetatable`: hides the metatables of stand-ins, and shows strings' as a stand-in.
pub(super) unsafe extern "C-unwind" fn getmetatable(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module. Upvalue 2 is the stand-in for the strings' metatable, upvalue 3
    // the one for the globals' (or nil).
    unsafe {
        let shared = shared_of(state);
        if ffi::lua_type(state, 1) == ffi::LUA_TSTRING {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
            return 1;
        }
        if is_proxy(state, shared, 1) {
            let globals = ffi::lua_rawequal(state, 1, ffi::LUA_GLOBALSINDEX) != 0;
            if globals {
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(3));
            } else {
                ffi::lua_pushnil(state);
            }
            return 1;
        }
        stock(state, shared, Stock::GetMetatable)
    }
}

/// `collectgarbage`: notes that settings may have changed.
pub(super) unsafe extern "C-unwind" fn collectgarbage(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let shared = shared_of(state);
        shared.collector_touched.set(true);
        stock(state, shared, Stock::CollectGarbage)
    }
}

/// `pcall` as Redis has it: an error table with a text as `err` is handed over as that text.
pub(super) unsafe extern "C-unwind" fn pcall(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let args = ffi::lua_gettop(state) - 1;
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        if ffi::lua_pcall(state, args, ffi::LUA_MULTRET, 0) != 0 {
            ffi::lua_remove(state, 1);
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                ffi::lua_pushlstring_(state, c"err".as_ptr(), 3);
                ffi::lua_rawget_(state, -2);
                if ffi::lua_isstring(state, -1) != 0 {
                    ffi::lua_replace(state, -2);
                }
            }
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, 1);
        }
        ffi::lua_gettop(state)
    }
}

/// `load`: as stock, but a binary chunk is read as text.
pub(super) unsafe extern "C-unwind" fn load(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module; `first` outlives lua_load and holds nothing to drop.
    unsafe {
        let name = if ffi::lua_type(state, 2) <= ffi::LUA_TNIL {
            c"=(load)".as_ptr()
        } else {
            ffi::luaL_checklstring(state, 2, std::ptr::null_mut())
        };
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 3);
        let mut first = true;
        let status = ffi::lua_load(state, read_piece, &mut first as *mut bool as *mut c_void, name);
        if status == 0 {
            return 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_insert(state, -2);
        2
    }
}

unsafe extern "C-unwind" fn read_piece(
    state: *mut ffi::lua_State,
    data: *mut c_void,
    size: *mut usize,
) -> *const c_char {
    // SAFETY: `data` is `load`'s flag; slot 1 holds the reader, slot 3 keeps the piece alive.
    unsafe {
        ffi::luaL_checkstack(state, 2, c"too many nested functions".as_ptr());
        ffi::lua_pushvalue(state, 1);
        ffi::lua_call(state, 0, 1);
        if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
            *size = 0;
            return std::ptr::null();
        }
        if ffi::lua_isstring(state, -1) == 0 {
            ffi::luaL_error(state, c"reader function must return a string".as_ptr());
        }
        let first = &mut *(data as *mut bool);
        if std::mem::take(first) {
            let at = ffi::lua_tolstring(state, -1, std::ptr::null_mut());
            if *at == 0x1b {
                ffi::lua_pushlstring_(state, c" ".as_ptr(), 1);
                ffi::lua_insert(state, -2);
                ffi::lua_concat(state, 2);
            }
        }
        ffi::lua_replace(state, 3);
        ffi::lua_tolstring(state, 3, size)
    }
}

/// `loadstring`: as stock, but a binary chunk is read as text.
pub(super) unsafe extern "C-unwind" fn loadstring(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module; the code stays in slot 1.
    unsafe {
        let mut len = 0usize;
        let at = ffi::luaL_checklstring(state, 1, &mut len);
        let name = if ffi::lua_type(state, 2) <= ffi::LUA_TNIL {
            at
        } else {
            ffi::luaL_checklstring(state, 2, std::ptr::null_mut())
        };
        let code = std::slice::from_raw_parts(at as *const u8, len);
        let name = std::ffi::CStr::from_ptr(name);
        if Lua::from_ptr(state).compile(code, name) {
            return 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_insert(state, -2);
        2
    }
}

/// Pushes a guard with `Shared` as upvalue 1 and the `extra` values on top as the next ones.
pub(super) fn push_guard(lua: Lua, shared: &Shared, guard: ffi::lua_CFunction, extra: c_int) {
    // SAFETY: live state with `extra` values on top; `shared` outlives the state.
    unsafe {
        let state = lua.ptr();
        ffi::lua_pushlightuserdata(state, shared as *const Shared as *mut c_void);
        ffi::lua_insert(state, -1 - extra);
        ffi::lua_pushcclosure(state, guard, 1 + extra);
    }
}

/// Keeps the stock function on top of the stack for the guards, and pops it.
pub(super) fn keep_stock(lua: Lua, shared: &Shared, which: Stock) {
    // SAFETY: live state.
    unsafe {
        shared.set_stock(which, ffi::lua_tocfunction(lua.ptr(), -1));
        ffi::lua_settop(lua.ptr(), -2);
    }
}

/// Makes a fresh state with base, table, string, math, os and coroutine libraries, all stock.
pub(super) fn open_state(shared: &Shared) -> Option<Lua> {
    // SAFETY: the allocator's data is the boxed Shared, which outlives the state; the libraries
    // are opened in a protected call.
    unsafe {
        let data = shared as *const Shared as *mut c_void;
        let state = ffi::lua_newstate(super::shared::allocate, data);
        if state.is_null() {
            return None;
        }
        ffi::lua_pushlightuserdata(state, data);
        ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, SHARED_SLOT);
        if ffi::lua_cpcall(state, open_libraries, std::ptr::null_mut()) != 0 {
            ffi::lua_close(state);
            return None;
        }
        shared.main.set(state);
        install_hook(Lua::from_ptr(state));
        Some(Lua::from_ptr(state))
    }
}

unsafe extern "C-unwind" fn open_libraries(state: *mut ffi::lua_State) -> c_int {
    let libraries: [(&std::ffi::CStr, ffi::lua_CFunction); 5] = [
        (c"", ffi::luaopen_base),
        (c"table", ffi::luaopen_table),
        (c"string", ffi::luaopen_string),
        (c"math", ffi::luaopen_math),
        (c"os", ffi::luaopen_os),
    ];
    for (name, open) in libraries {
        // SAFETY: live state inside a protected call.
        unsafe {
            ffi::lua_pushcclosure(state, open, 0);
            ffi::lua_pushstring_(state, name.as_ptr());
            ffi::lua_call(state, 1, 0);
        }
    }
    0
}

/// Ends the state.
pub(super) fn close_state(lua: Lua) {
    // SAFETY: called once, by the engine's drop.
    unsafe { ffi::lua_close(lua.ptr()) }
}

/// Asks for the host every [`HOOK_INSTRUCTIONS`].
pub(super) fn install_hook(lua: Lua) {
    // SAFETY: live state.
    unsafe {
        ffi::lua_sethook(lua.ptr(), Some(on_count), ffi::LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
    }
}

unsafe extern "C-unwind" fn on_count(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: the registry slot holds the Shared; nothing here is dropped when lua_error jumps.
    unsafe {
        if ffi::lua_checkstack(state, 4) == 0 {
            return;
        }
        ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, SHARED_SLOT);
        let shared = &*(ffi::lua_touserdata(state, -1) as *const Shared);
        ffi::lua_settop(state, -2);
        let outer = shared.native.replace(true);
        let verdict = if shared.killed.get() {
            Verdict::Kill
        } else {
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                shared.host().map_or(Verdict::Continue, |host| host.on_hook())
            }));
            asked.unwrap_or(Verdict::Kill)
        };
        match verdict {
            Verdict::Continue => {
                shared.native.set(outer);
                return;
            }
            Verdict::Kill => {
                shared.killed.set(true);
                // From now on every line asks again, so that no pcall in the script outlives it.
                ffi::lua_sethook(state, Some(on_count), ffi::LUA_MASKLINE, 0);
                ffi::lua_sethook(shared.main.get(), Some(on_count), ffi::LUA_MASKLINE, 0);
                super::fault::push_error_table(
                    Lua::from_ptr(state),
                    b"Script killed by user with SCRIPT KILL...",
                );
            }
            Verdict::Stop(text) => {
                super::fault::push_error_table(Lua::from_ptr(state), text.as_bytes());
            }
        }
        shared.native.set(outer);
        ffi::lua_error(state);
    }
}

/// `pairs`: upvalue 2 is the guarded `next`.
pub(super) unsafe extern "C-unwind" fn pairs(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}
