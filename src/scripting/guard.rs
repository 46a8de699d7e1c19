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

mod strings;
mod tables;

pub(super) use strings::{find, gmatch, gsub, pattern_match};
pub(super) use tables::{insert, remove, sort, unpack};

use super::raw::Lua;
use super::shared::{Shared, Stock};

/// A script looks at the host once every so many instructions.
const HOOK_INSTRUCTIONS: c_int = 10_000;

/// Registry slot of the pointer to `Shared`, for code without upvalues.
const SHARED_SLOT: c_int = -1;

/// A function in Lua's own terms.
pub(super) type Function = ffi::lua_CFunction;

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

reads_through!(next, Stock::Next);
reads_through!(foreach, Stock::Foreach);
reads_through!(rawget, Stock::RawGet);
refuses_writes!(rawset, Stock::RawSet);
refuses_writes!(setmetatable, Stock::SetMetatable);
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
        let is_named = ffi::lua_type(state, 2) > ffi::LUA_TNIL;
        if is_named {
            ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
        }
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 3);
        if !is_named {
            // Kept in a slot: the parser holds the name before it is part of any function, and
            // the reader may collect garbage.
            ffi::lua_pushlstring_(state, c"=(load)".as_ptr(), 7);
            ffi::lua_replace(state, 2);
        }
        let name = ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
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
    // SAFETY: the registry slot holds the Shared; nothing here is dropped when `stop` jumps.
    unsafe {
        if ffi::lua_checkstack(state, 4) == 0 {
            return;
        }
        ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, SHARED_SLOT);
        let shared = &*(ffi::lua_touserdata(state, -1) as *const Shared);
        ffi::lua_settop(state, -2);
        match shared.ask() {
            Some(text) => stop(state, shared, text),
            None => {
                if ffi::lua_gethookcount(state) != HOOK_INSTRUCTIONS {
                    install_hook(Lua::from_ptr(state));
                }
            }
        }
    }
}

/// Raises the error that ends the script.
unsafe fn stop(state: *mut ffi::lua_State, shared: &Shared, text: &'static str) -> ! {
    stop_lines(Lua::from_ptr(state), text);
    let outer = shared.native.replace(true);
    super::fault::push_error_table(Lua::from_ptr(state), text.as_bytes());
    shared.native.set(outer);
    // SAFETY: the error is on top and nothing waits to be dropped.
    unsafe { ffi::lua_error(state) }
}

/// From now on every line asks again, so that no `pcall` in the script outlives its end.
pub(super) fn stop_lines(lua: Lua, text: &'static str) {
    // SAFETY: live state, and the registry slot holds the Shared.
    unsafe {
        let state = lua.ptr();
        ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, SHARED_SLOT);
        let shared = &*(ffi::lua_touserdata(state, -1) as *const Shared);
        ffi::lua_settop(state, -2);
        shared.stopped.set(Some(text));
        ffi::lua_sethook(state, Some(on_count), ffi::LUA_MASKLINE, 0);
        ffi::lua_sethook(shared.main.get(), Some(on_count), ffi::LUA_MASKLINE, 0);
    }
}

/// Native code went over so many bytes: after much of that, the next instruction asks the host.
pub(super) fn note_toil(shared: &Shared, bytes: usize) {
    shared.toil_bytes.set(shared.toil_bytes.get().saturating_add(bytes));
    let main = shared.main.get();
    if shared.is_toilsome() && !main.is_null() {
        // SAFETY: the main state lives as long as the engine.
        unsafe { ask_soon(main, shared) };
    }
}

/// Makes the next instruction of this state ask the host. Setting a hook only writes a few fields
/// of the state, so it may be done at any time, as from a signal's handler.
unsafe fn ask_soon(state: *mut ffi::lua_State, shared: &Shared) {
    if shared.stopped.get().is_none() {
        // SAFETY: live state.
        unsafe { ffi::lua_sethook(state, Some(on_count), ffi::LUA_MASKCOUNT, 1) };
    }
}

/// The end of a native function: `bytes` of work are done.
pub(super) unsafe fn toiled(state: *mut ffi::lua_State, shared: &Shared, bytes: usize) {
    shared.toil_bytes.set(shared.toil_bytes.get().saturating_add(bytes));
    if shared.is_toilsome() {
        // SAFETY: live state.
        unsafe { ask_soon(state, shared) };
    }
}

/// `xpcall`: as stock, but the handler of a script that was stopped does not run: it would do so
/// inside the hook, where nothing can stop it.
pub(super) unsafe extern "C-unwind" fn xpcall(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module. The handler's closure takes the place of the handler.
    unsafe {
        let shared = shared_of(state);
        if ffi::lua_type(state, 2) == ffi::LUA_TFUNCTION {
            ffi::lua_pushlightuserdata(state, shared as *const Shared as *mut c_void);
            ffi::lua_pushvalue(state, 2);
            ffi::lua_pushcclosure(state, on_error, 2);
            ffi::lua_replace(state, 2);
        }
        stock(state, shared, Stock::Xpcall)
    }
}

unsafe extern "C-unwind" fn on_error(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: `xpcall` made this closure; upvalue 2 is the script's handler.
    unsafe {
        ffi::lua_settop(state, 1);
        if shared_of(state).stopped.get().is_none() {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, 1, 1);
        }
        1
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
