//! `find`, `match`, `gmatch` and `gsub` on the matcher that can be stopped.
//!
//! As everywhere in `guard`, frames own nothing that needs dropping: Lua's errors jump over them.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};

use mlua::ffi;

use super::{shared_of, stop};
use crate::scripting::pattern::{self, Capture, Fault, Matcher};
use crate::scripting::shared::Shared;

/// The bytes of a string argument; its slot keeps them.
unsafe fn text<'a>(state: *mut ffi::lua_State, slot: c_int) -> &'a [u8] {
    let mut len = 0usize;
    // SAFETY: live state; Lua's string covers `len` bytes.
    unsafe {
        let at = ffi::luaL_checklstring(state, slot, &mut len);
        std::slice::from_raw_parts(at as *const u8, len)
    }
}

unsafe fn push_bytes(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: live state with room; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr() as *const c_char, bytes.len()) };
}

/// The value of a match, or the error that it ended with.
unsafe fn settled<T>(state: *mut ffi::lua_State, shared: &Shared, result: Result<T, Fault>) -> T {
    match result {
        Ok(value) => value,
        // SAFETY: errors jump over frames that own nothing; the texts end in 0.
        Err(Fault::Wrong(text)) => unsafe {
            ffi::luaL_error(state, c"%s".as_ptr(), text.as_ptr());
            unreachable!("luaL_error does not come back")
        },
        Err(Fault::Stopped) => unsafe {
            stop(state, shared, shared.stopped.get().unwrap_or("Script killed"))
        },
    }
}

/// Tries to match at one place.
unsafe fn attempt(
    state: *mut ffi::lua_State,
    shared: &Shared,
    matcher: &mut Matcher<'_>,
    at: usize,
) -> Option<usize> {
    let tried = catch_unwind(AssertUnwindSafe(|| matcher.at(at)))
        .unwrap_or(Err(Fault::Wrong(c"internal error")));
    // SAFETY: as the caller's.
    unsafe { settled(state, shared, tried) }
}

/// Asks the host; remembers its answer if the script has to stop.
fn goes_on(shared: &Shared) -> bool {
    let answer = shared.ask();
    shared.stopped.set(answer);
    answer.is_none()
}

unsafe fn push_capture(
    state: *mut ffi::lua_State,
    shared: &Shared,
    matcher: &Matcher<'_>,
    index: usize,
    (start, end): (usize, usize),
) {
    // SAFETY: live state with room.
    unsafe {
        match settled(state, shared, matcher.capture(index, start, end)) {
            Capture::Bytes(bytes) => push_bytes(state, bytes),
            Capture::Position(place) => ffi::lua_pushinteger(state, place as ffi::lua_Integer),
        }
    }
}

/// Pushes the captures of a match, `count` of them; gives how many.
unsafe fn push_captures(
    state: *mut ffi::lua_State,
    shared: &Shared,
    matcher: &Matcher<'_>,
    count: usize,
    part: (usize, usize),
) -> c_int {
    // SAFETY: live state; room is asked for.
    unsafe {
        ffi::luaL_checkstack(state, count as c_int, c"too many captures".as_ptr());
        for index in 0..count {
            push_capture(state, shared, matcher, index, part);
        }
        count as c_int
    }
}

/// A pattern without its anchor, and whether it had one.
fn anchored(pattern: &[u8]) -> (&[u8], bool) {
    let pattern = pattern::until_zero(pattern);
    pattern.strip_prefix(b"^").map_or((pattern, false), |rest| (rest, true))
}

/// `string.find`.
pub(in crate::scripting) unsafe extern "C-unwind" fn find(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module.
    unsafe { search(state, true) }
}

/// `string.match`.
pub(in crate::scripting) unsafe extern "C-unwind" fn pattern_match(
    state: *mut ffi::lua_State,
) -> c_int {
    // SAFETY: see the module.
    unsafe { search(state, false) }
}

unsafe fn search(state: *mut ffi::lua_State, finds: bool) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let shared = shared_of(state);
        let (subject, whole) = (text(state, 1), text(state, 2));
        let from = ffi::luaL_optinteger(state, 3, 1) as i64;
        let len = subject.len() as i64;
        let from = if from < 0 { (from + len + 1).max(0) } else { from };
        let start = (from - 1).clamp(0, len) as usize;
        if finds && (ffi::lua_toboolean(state, 4) != 0 || pattern::is_plain(whole)) {
            super::toiled(state, shared, subject.len() - start);
            let Some(at) = memchr::memmem::find(&subject[start..], whole) else {
                ffi::lua_pushnil(state);
                return 1;
            };
            ffi::lua_pushinteger(state, (start + at + 1) as ffi::lua_Integer);
            ffi::lua_pushinteger(state, (start + at + whole.len()) as ffi::lua_Integer);
            return 2;
        }
        let (pattern, is_anchored) = anchored(whole);
        let (go_on, has_stack) = (|| goes_on(shared), || shared.has_stack());
        let mut matcher = Matcher::new(subject, pattern, &go_on, &has_stack);
        for at in start..=subject.len() {
            if let Some(end) = attempt(state, shared, &mut matcher, at) {
                if finds {
                    ffi::lua_pushinteger(state, at as ffi::lua_Integer + 1);
                    ffi::lua_pushinteger(state, end as ffi::lua_Integer);
                    let count = matcher.level();
                    return 2 + push_captures(state, shared, &matcher, count, (at, end));
                }
                return push_captures(state, shared, &matcher, matcher.count(), (at, end));
            }
            if is_anchored {
                break;
            }
        }
        ffi::lua_pushnil(state);
        1
    }
}

/// `string.gmatch`: an iterator over subject, pattern and the place to go on from.
pub(in crate::scripting) unsafe extern "C-unwind" fn gmatch(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let shared = shared_of(state);
        text(state, 1);
        text(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_pushlightuserdata(state, shared as *const Shared as *mut c_void);
        ffi::lua_insert(state, 1);
        ffi::lua_pushinteger(state, 0);
        ffi::lua_pushcclosure(state, next_match, 4);
        1
    }
}

unsafe extern "C-unwind" fn next_match(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: `gmatch` made this closure: upvalues 2 to 4 are its strings and the place.
    unsafe {
        let shared = shared_of(state);
        let subject = text(state, ffi::lua_upvalueindex(2));
        let pattern = pattern::until_zero(text(state, ffi::lua_upvalueindex(3)));
        let from = ffi::lua_tointeger_(state, ffi::lua_upvalueindex(4)) as usize;
        let (go_on, has_stack) = (|| goes_on(shared), || shared.has_stack());
        let mut matcher = Matcher::new(subject, pattern, &go_on, &has_stack);
        for at in from..=subject.len() {
            if let Some(end) = attempt(state, shared, &mut matcher, at) {
                let next = if end == at { end + 1 } else { end };
                ffi::lua_pushinteger(state, next as ffi::lua_Integer);
                ffi::lua_replace(state, ffi::lua_upvalueindex(4));
                return push_captures(state, shared, &matcher, matcher.count(), (at, end));
            }
        }
        0
    }
}

/// `string.gsub`.
pub(in crate::scripting) unsafe extern "C-unwind" fn gsub(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see the module. The buffer is Lua's own: it needs no dropping.
    unsafe {
        let shared = shared_of(state);
        let (subject, whole) = (text(state, 1), text(state, 2));
        let kind = ffi::lua_type(state, 3);
        let all = subject.len() as ffi::lua_Integer + 1;
        let most = ffi::luaL_optinteger(state, 4, all) as c_int;
        let kinds = [ffi::LUA_TNUMBER, ffi::LUA_TSTRING, ffi::LUA_TFUNCTION, ffi::LUA_TTABLE];
        if !kinds.contains(&kind) {
            return ffi::luaL_argerror(state, 3, c"string/function/table expected".as_ptr());
        }
        let (pattern, is_anchored) = anchored(whole);
        let (go_on, has_stack) = (|| goes_on(shared), || shared.has_stack());
        let mut matcher = Matcher::new(subject, pattern, &go_on, &has_stack);
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        let buffer = buffer.as_mut_ptr();
        ffi::luaL_buffinit(state, buffer);
        let (mut at, mut count) = (0, 0);
        while count < most {
            let end = attempt(state, shared, &mut matcher, at);
            if let Some(end) = end {
                count += 1;
                add_replacement(state, shared, &matcher, buffer, (at, end));
            }
            match end {
                Some(end) if end > at => at = end,
                _ => {
                    let Some(&byte) = subject.get(at) else { break };
                    ffi::luaL_addchar(buffer, byte as c_char);
                    at += 1;
                }
            }
            if is_anchored {
                break;
            }
        }
        add_bytes(buffer, subject.get(at..).unwrap_or_default());
        ffi::luaL_pushresult(buffer);
        ffi::lua_pushinteger(state, count as ffi::lua_Integer);
        2
    }
}

unsafe fn add_bytes(buffer: *mut ffi::luaL_Buffer, bytes: &[u8]) {
    // SAFETY: a live buffer; Lua copies the bytes.
    unsafe { ffi::luaL_addlstring(buffer, bytes.as_ptr() as *const c_char, bytes.len()) };
}

/// Adds what stands for the match `part` of the subject.
unsafe fn add_replacement(
    state: *mut ffi::lua_State,
    shared: &Shared,
    matcher: &Matcher<'_>,
    buffer: *mut ffi::luaL_Buffer,
    part: (usize, usize),
) {
    // SAFETY: see the module. The buffer keeps its pieces below what is pushed here.
    unsafe {
        match ffi::lua_type(state, 3) {
            ffi::LUA_TFUNCTION => {
                ffi::lua_pushvalue(state, 3);
                let count = push_captures(state, shared, matcher, matcher.count(), part);
                ffi::lua_call(state, count, 1);
            }
            ffi::LUA_TTABLE => {
                push_capture(state, shared, matcher, 0, part);
                ffi::lua_gettable_(state, 3);
            }
            _ => return add_template(state, shared, matcher, buffer, part),
        }
        if ffi::lua_toboolean(state, -1) == 0 {
            ffi::lua_settop(state, -2);
            // The match itself stays.
            let subject = text(state, 1);
            push_bytes(state, subject.get(part.0..part.1).unwrap_or_default());
        } else if ffi::lua_isstring(state, -1) == 0 {
            let kind = ffi::luaL_typename(state, -1);
            ffi::luaL_error(state, c"invalid replacement value (a %s)".as_ptr(), kind);
        }
        ffi::luaL_addvalue(buffer);
    }
}

/// Adds the replacement string with `%0` to `%9` filled in.
unsafe fn add_template(
    state: *mut ffi::lua_State,
    shared: &Shared,
    matcher: &Matcher<'_>,
    buffer: *mut ffi::luaL_Buffer,
    part: (usize, usize),
) {
    // SAFETY: see the module.
    unsafe {
        let mut rest = text(state, 3);
        while let Some(escape) = memchr::memchr(b'%', rest) {
            add_bytes(buffer, &rest[..escape]);
            // Redis: behind an escape at the end C finds the string's closing 0.
            let sign = rest.get(escape + 1).copied().unwrap_or(0);
            rest = rest.get(escape + 2..).unwrap_or_default();
            match sign {
                b'0' => {
                    let subject = text(state, 1);
                    add_bytes(buffer, subject.get(part.0..part.1).unwrap_or_default());
                }
                b'1'..=b'9' => {
                    push_capture(state, shared, matcher, usize::from(sign - b'1'), part);
                    ffi::luaL_addvalue(buffer);
                }
                other => ffi::luaL_addchar(buffer, other as c_char),
            }
        }
        add_bytes(buffer, rest);
    }
}
