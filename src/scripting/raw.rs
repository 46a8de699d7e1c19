//! The unsafe corner: a thin, copyable handle on a `lua_State`.
//!
//! Everything else in `scripting` talks to Lua through [`Lua`] and holds no `unsafe` of its own.
//! The rules that make this sound:
//! - A `Lua` is only handed out by the engine while the state is alive, and never stored.
//! - Lua reports errors by `longjmp`. No method here raises one on its own account: the allocator
//!   does not refuse memory while native code runs (`Shared::native`), table access is raw, and
//!   errors travel as `Fault` values that the trampoline raises last, when nothing is left to drop.
//! - A string borrowed from the stack lives as long as its slot: callers keep the slot while they
//!   read. Lua never moves strings.
//! - Panics are stopped at the trampoline and become Lua errors.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

use mlua::ffi;

use super::fault::Fault;
use super::libs::cjson::Settings;
use super::shared::Shared;

/// What a Lua value is, as `lua_type` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Kind {
    /// The word that Lua's own messages use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "no value",
            Kind::Nil => "nil",
            Kind::Boolean => "boolean",
            Kind::LightUserdata | Kind::Userdata => "userdata",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Thread => "thread",
        }
    }
}

/// Where a running function stands in its source.
pub struct Place {
    /// Chunk name as given at load, `@user_script` for scripts.
    pub source: Vec<u8>,
    /// Chunk name shortened for messages, `user_script`.
    pub short_source: Vec<u8>,
    /// Current line, -1 where there is none (native functions).
    pub line: i32,
    /// Whether the function is native.
    pub native: bool,
}

/// A handle on a Lua state (the main one or a coroutine). See the module's rules.
#[derive(Clone, Copy)]
pub struct Lua(*mut ffi::lua_State);

/// The value of a native function: how many results lie on the stack, or what went wrong.
pub type Results = Result<i32, Fault>;

const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;

impl Lua {
    /// Wraps a live state.
    pub(super) fn from_ptr(state: *mut ffi::lua_State) -> Self {
        Lua(state)
    }

    pub(super) fn ptr(self) -> *mut ffi::lua_State {
        self.0
    }

    /// The engine's shared data: upvalue 1 of every native function.
    pub fn shared<'a>(self) -> &'a Shared {
        // SAFETY: only called from functions that `push_native` made, whose first upvalue is the
        // engine's boxed `Shared`; it outlives the state.
        unsafe {
            let at = ffi::lua_touserdata(self.0, ffi::lua_upvalueindex(1));
            &*(at as *const Shared)
        }
    }

    // ---- the stack

    pub fn top(self) -> i32 {
        // SAFETY: live state.
        unsafe { ffi::lua_gettop(self.0) }
    }

    pub fn set_top(self, index: i32) {
        // SAFETY: live state; callers pass an index inside the stack.
        unsafe { ffi::lua_settop(self.0, index) }
    }

    pub fn pop(self, count: i32) {
        self.set_top(-count - 1);
    }

    /// Makes room for `count` more slots; false when Lua's limit is reached.
    pub fn has_room(self, count: i32) -> bool {
        // SAFETY: live state; memory is not refused in native code.
        unsafe { ffi::lua_checkstack(self.0, count) != 0 }
    }

    pub fn copy(self, index: i32) {
        // SAFETY: live state, index inside the stack or a pseudo index.
        unsafe { ffi::lua_pushvalue(self.0, index) }
    }

    pub fn insert(self, index: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_insert(self.0, index) }
    }

    pub fn replace(self, index: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_replace(self.0, index) }
    }

    // ---- looking at values

    pub fn kind(self, index: i32) -> Kind {
        // SAFETY: live state; any index is acceptable to lua_type.
        match unsafe { ffi::lua_type(self.0, index) } {
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            ffi::LUA_TUSERDATA => Kind::Userdata,
            ffi::LUA_TTHREAD => Kind::Thread,
            _ => Kind::None,
        }
    }

    /// Whether the value is a number or a string that reads as one.
    pub fn is_numeric(self, index: i32) -> bool {
        // SAFETY: live state.
        unsafe { ffi::lua_isnumber(self.0, index) != 0 }
    }

    /// Whether the value is a string or a number.
    pub fn is_stringlike(self, index: i32) -> bool {
        matches!(self.kind(index), Kind::String | Kind::Number)
    }

    /// The number, converting strings; 0 for everything else.
    pub fn number(self, index: i32) -> f64 {
        // SAFETY: live state.
        unsafe { ffi::lua_tonumber(self.0, index) }
    }

    pub fn boolean(self, index: i32) -> bool {
        // SAFETY: live state.
        unsafe { ffi::lua_toboolean(self.0, index) != 0 }
    }

    /// The bytes of a string; a number in that slot becomes its string, as Lua does it. None for
    /// other kinds. Valid while the slot keeps the value. A byte 0 follows them in memory.
    pub fn bytes<'a>(self, index: i32) -> Option<&'a [u8]> {
        let mut len = 0usize;
        // SAFETY: live state; the returned pointer covers `len` bytes owned by the Lua string.
        unsafe {
            let at = ffi::lua_tolstring(self.0, index, &mut len);
            if at.is_null() {
                None
            } else {
                Some(std::slice::from_raw_parts(at as *const u8, len))
            }
        }
    }

    /// Length of a table by Lua's border rule, or of a string.
    pub fn length(self, index: i32) -> usize {
        // SAFETY: live state.
        unsafe { ffi::lua_objlen(self.0, index) }
    }

    /// An address that identifies a table, function or thread.
    pub fn identity(self, index: i32) -> usize {
        // SAFETY: live state.
        unsafe { ffi::lua_topointer(self.0, index) as usize }
    }

    /// Whether the value is the null light userdata that stands for JSON's null.
    pub fn is_null(self, index: i32) -> bool {
        // SAFETY: live state.
        self.kind(index) == Kind::LightUserdata
            && unsafe { ffi::lua_touserdata(self.0, index).is_null() }
    }

    // ---- pushing values

    pub fn push_nil(self) {
        // SAFETY: live state with room: natives have 20 slots, deeper code asks `has_room`.
        unsafe { ffi::lua_pushnil(self.0) }
    }

    pub fn push_number(self, number: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.0, number) }
    }

    pub fn push_boolean(self, value: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.0, value as c_int) }
    }

    pub fn push_bytes(self, bytes: &[u8]) {
        // SAFETY: as above; Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.0, bytes.as_ptr() as *const c_char, bytes.len()) }
    }

    /// Pushes the null light userdata (JSON's null).
    pub fn push_null(self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushlightuserdata(self.0, std::ptr::null_mut()) }
    }

    pub fn new_table(self, array_slots: i32, hash_slots: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_createtable(self.0, array_slots, hash_slots) }
    }

    /// Pushes a native function bound to `shared`. `F` is a plain function (no captures), so the
    /// trampoline can call it without being told which one.
    pub fn push_native<F>(self, shared: &Shared, function: F)
    where
        F: Fn(Lua) -> Results + Copy + 'static,
    {
        const { assert!(std::mem::size_of::<F>() == 0, "native functions capture nothing") };
        let _ = function;
        // SAFETY: live state; `shared` outlives it.
        unsafe {
            ffi::lua_pushlightuserdata(self.0, shared as *const Shared as *mut c_void);
            ffi::lua_pushcclosure(self.0, trampoline::<F>, 1);
        }
    }

    /// Pops a value and pushes a native function that has it as upvalue 2.
    pub fn push_native_with<F>(self, shared: &Shared, function: F)
    where
        F: Fn(Lua) -> Results + Copy + 'static,
    {
        const { assert!(std::mem::size_of::<F>() == 0, "native functions capture nothing") };
        let _ = function;
        // SAFETY: as `push_native`; the popped value becomes the second upvalue.
        unsafe {
            ffi::lua_pushlightuserdata(self.0, shared as *const Shared as *mut c_void);
            ffi::lua_insert(self.0, -2);
            ffi::lua_pushcclosure(self.0, trampoline::<F>, 2);
        }
    }

    /// Pushes JSON options as a userdata of Lua's own.
    pub fn push_settings(self, settings: Settings) {
        // SAFETY: Lua's block has the size asked for and an alignment of at least 8; Settings is
        // plain data without a destructor.
        unsafe {
            let at = ffi::lua_newuserdata(self.0, std::mem::size_of::<Settings>());
            (at as *mut Settings).write(settings);
        }
    }

    /// The options in upvalue 2 of the running function.
    pub fn settings(self) -> &'static Settings {
        // SAFETY: only called by functions that `cjson` made with `push_settings`' value as
        // upvalue 2. The running function keeps the block alive; nobody keeps the reference.
        unsafe { &*(ffi::lua_touserdata(self.0, ffi::lua_upvalueindex(2)) as *const Settings) }
    }

    // ---- tables, always raw

    /// Replaces the key on top by the table's value.
    pub fn raw_get(self, table: i32) {
        // SAFETY: `table` is the index of a table.
        unsafe { ffi::lua_rawget_(self.0, table) }
    }

    /// Pops value and key, stores them in the table.
    pub fn raw_set(self, table: i32) {
        // SAFETY: as above; callers never pass nil or NaN as the key.
        unsafe { ffi::lua_rawset(self.0, table) }
    }

    pub fn raw_get_at(self, table: i32, position: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawgeti_(self.0, table, position) }
    }

    pub fn raw_set_at(self, table: i32, position: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawseti_(self.0, table, position) }
    }

    /// Pushes the raw field `name` of a table.
    pub fn field(self, table: i32, name: &[u8]) {
        let table = self.absolute(table);
        self.push_bytes(name);
        self.raw_get(table);
    }

    /// Pops a value and stores it raw as field `name`.
    pub fn set_field(self, table: i32, name: &[u8]) {
        let table = self.absolute(table);
        self.push_bytes(name);
        self.insert(-2);
        self.raw_set(table);
    }

    /// Pops a key and pushes the next key and value; false, pushing nothing, at the end.
    pub fn next(self, table: i32) -> bool {
        // SAFETY: `table` is a table and the key came from it.
        unsafe { ffi::lua_next(self.0, table) != 0 }
    }

    /// Pushes the metatable if there is one.
    pub fn metatable(self, index: i32) -> bool {
        // SAFETY: live state.
        unsafe { ffi::lua_getmetatable(self.0, index) != 0 }
    }

    /// Pops a table and makes it the metatable of the value.
    pub fn set_metatable(self, index: i32) {
        // SAFETY: live state, a table on top.
        unsafe {
            ffi::lua_setmetatable(self.0, index);
        }
    }

    /// Pops a table and makes it the globals of functions loaded from now on.
    pub fn set_globals(self) {
        // SAFETY: live state, a table on top.
        unsafe { ffi::lua_replace(self.0, ffi::LUA_GLOBALSINDEX) }
    }

    pub fn push_globals(self) {
        self.copy(ffi::LUA_GLOBALSINDEX);
    }

    fn absolute(self, index: i32) -> i32 {
        if index < 0 && index > REGISTRY {
            self.top() + index + 1
        } else {
            index
        }
    }

    // ---- references

    /// Pops a value and keeps it; the number finds it again.
    pub fn keep(self) -> i32 {
        // SAFETY: live state, a value on top.
        unsafe { ffi::luaL_ref(self.0, REGISTRY) }
    }

    pub fn push_kept(self, reference: i32) {
        self.raw_get_at(REGISTRY, reference);
    }

    pub fn release(self, reference: i32) {
        // SAFETY: live state.
        unsafe { ffi::luaL_unref(self.0, REGISTRY, reference) }
    }

    // ---- running

    /// Compiles source text and pushes the function, or pushes the message and says false.
    /// Binary chunks are read as text, so they fail as text.
    pub fn compile(self, code: &[u8], chunk_name: &CStr) -> bool {
        let mut pieces = Pieces::new(code);
        // SAFETY: `pieces` outlives the call; lua_load catches every error itself.
        let status = unsafe {
            ffi::lua_load(
                self.0,
                next_piece,
                &mut pieces as *mut Pieces as *mut c_void,
                chunk_name.as_ptr(),
            )
        };
        status == 0
    }

    /// Calls the function below `args` values in protected mode, with the handler at `handler`
    /// (0: none). True: `results` values on the stack; false: one error value.
    pub fn protected_call(self, args: i32, results: i32, handler: i32) -> bool {
        // SAFETY: the stack holds the function and its arguments.
        unsafe { ffi::lua_pcall(self.0, args, results, handler) == 0 }
    }

    /// Gives the collector its first settings back, whatever a script made of them.
    pub fn reset_collector(self) {
        // SAFETY: live state.
        unsafe {
            ffi::lua_gc(self.0, ffi::LUA_GCSETPAUSE, 200);
            ffi::lua_gc(self.0, ffi::LUA_GCSETSTEPMUL, 200);
            ffi::lua_gc(self.0, ffi::LUA_GCRESTART, 0);
        }
    }

    /// A full collection.
    pub fn collect(self) {
        // SAFETY: live state.
        unsafe {
            ffi::lua_gc(self.0, ffi::LUA_GCCOLLECT, 0);
        }
    }

    /// Where the function `level` calls up stands (0: the running one).
    pub fn place(self, level: i32) -> Option<Place> {
        // SAFETY: lua_getstack fills `info` when it says 1; getinfo then completes it.
        unsafe {
            let mut info: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, level, &mut info) == 0 {
                return None;
            }
            if ffi::lua_getinfo(self.0, c"Sl".as_ptr(), &mut info) == 0 {
                return None;
            }
            Some(Place {
                source: text_of(info.source),
                short_source: CStr::from_ptr(info.short_src.as_ptr()).to_bytes().to_vec(),
                line: info.currentline,
                native: text_of(info.what) == b"C",
            })
        }
    }

    /// How the caller called the running function: its name, and whether as a method.
    pub fn called_as(self) -> Option<(Vec<u8>, bool)> {
        // SAFETY: as `place`.
        unsafe {
            let mut info: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, 0, &mut info) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.0, c"n".as_ptr(), &mut info);
            let name = if info.name.is_null() { b"?".to_vec() } else { text_of(info.name) };
            Some((name, text_of(info.namewhat) == b"method"))
        }
    }

    /// Reads a number the way `strtod` does, from a Lua string's bytes at `from`. Gives the number
    /// and how many bytes it took (0: none). `text` must come from `bytes`, which a 0 follows.
    pub fn read_number(text: &[u8], from: usize) -> (f64, usize) {
        let Some(rest) = text.get(from..) else { return (0.0, 0) };
        // SAFETY: Lua strings end in a 0 byte, so strtod stops inside or at it.
        unsafe {
            let at = rest.as_ptr() as *const c_char;
            let mut end: *mut c_char = std::ptr::null_mut();
            let number = libc::strtod(at, &mut end);
            (number, end as usize - at as usize)
        }
    }

    /// Appends `number` in C's `%.<precision>g`.
    pub fn write_number(number: f64, precision: i32, out: &mut Vec<u8>) {
        let mut text = [0u8; 64];
        // SAFETY: the buffer's size is passed; %.14g needs at most 24 bytes.
        let len = unsafe {
            libc::snprintf(
                text.as_mut_ptr() as *mut c_char,
                text.len(),
                c"%.*g".as_ptr(),
                precision as c_int,
                number,
            )
        };
        let len = usize::try_from(len).unwrap_or(0).min(text.len());
        out.extend_from_slice(&text[..len]);
    }
}

fn text_of(at: *const c_char) -> Vec<u8> {
    if at.is_null() {
        return Vec::new();
    }
    // SAFETY: Lua's debug strings end in 0.
    unsafe { CStr::from_ptr(at).to_bytes().to_vec() }
}

/// The C face of the native function `F`: keeps panics in, raises its fault last.
unsafe extern "C-unwind" fn trampoline<F>(state: *mut ffi::lua_State) -> c_int
where
    F: Fn(Lua) -> Results + Copy + 'static,
{
    let lua = Lua(state);
    let shared = lua.shared();
    let outer = shared.native.replace(true);
    let raised = {
        // SAFETY: F has no size (checked in push_native), so any aligned address reads as it.
        let function: F = unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() };
        match catch_unwind(AssertUnwindSafe(|| function(lua))) {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(fault)) => {
                fault.push(lua);
                Err(())
            }
            Err(panic) => {
                drop(panic);
                lua.push_bytes(b"internal error");
                Err(())
            }
        }
    };
    shared.native.set(outer);
    match raised {
        Ok(results) => {
            // SAFETY: live state.
            unsafe { super::guard::toiled(state, shared, 0) };
            results
        }
        // SAFETY: the message is on top, and nothing in this frame waits to be dropped.
        Err(()) => unsafe { ffi::lua_error(state) },
    }
}

/// Source text for `lua_load`, handed over in at most two pieces.
struct Pieces {
    lead: bool,
    at: *const u8,
    len: usize,
}

impl Pieces {
    fn new(code: &[u8]) -> Self {
        // A blank first keeps Lua from taking the text for bytecode.
        Pieces { lead: code.first() == Some(&0x1b), at: code.as_ptr(), len: code.len() }
    }
}

unsafe extern "C-unwind" fn next_piece(
    _: *mut ffi::lua_State,
    data: *mut c_void,
    size: *mut usize,
) -> *const c_char {
    // SAFETY: `data` is the `Pieces` of the running `compile`.
    unsafe {
        let pieces = &mut *(data as *mut Pieces);
        if pieces.lead {
            pieces.lead = false;
            *size = 1;
            return c" ".as_ptr();
        }
        *size = pieces.len;
        pieces.len = 0;
        if *size == 0 {
            return std::ptr::null();
        }
        pieces.at as *const c_char
    }
}
