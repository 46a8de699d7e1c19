//! Guards of functions on tables whose work grows with their arguments.

use std::ffi::c_int;

use mlua::ffi;

use super::{is_proxy, refuse, shared_of, stock, toiled};
use crate::scripting::shared::Stock;

/// Farthest place in front of a table's end where `insert` makes room.
const INSERT_FAR: i64 = 1 << 24;

/// `table.insert`: refuses stand-ins, and places so far off that moving up to them has no end.
pub(in crate::scripting) unsafe extern "C-unwind" fn insert(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see `guard`.
    unsafe {
        let shared = shared_of(state);
        if is_proxy(state, shared, 1) {
            return refuse(state);
        }
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE && ffi::lua_gettop(state) == 3 {
            // As C takes it: an int.
            let place = i64::from(ffi::luaL_checkinteger(state, 2) as i32);
            let moved = ffi::lua_objlen(state, 1) as i64 + 1 - place;
            if place < 1 && moved > INSERT_FAR {
                return ffi::luaL_argerror(state, 2, c"position out of bounds".as_ptr());
            }
            toiled(state, shared, usize::try_from(moved).unwrap_or(0).saturating_mul(16));
        }
        stock(state, shared, Stock::Insert)
    }
}

/// `table.remove`.
pub(in crate::scripting) unsafe extern "C-unwind" fn remove(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see `guard`.
    unsafe {
        let shared = shared_of(state);
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE && ffi::lua_gettop(state) == 2 {
            toiled(state, shared, ffi::lua_objlen(state, 1).saturating_mul(16));
        }
        stock(state, shared, Stock::Remove)
    }
}

/// `table.sort`.
pub(in crate::scripting) unsafe extern "C-unwind" fn sort(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see `guard`.
    unsafe {
        let shared = shared_of(state);
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE {
            toiled(state, shared, ffi::lua_objlen(state, 1).saturating_mul(256));
        }
        stock(state, shared, Stock::Sort)
    }
}

/// `unpack`: as stock, which takes a range of 2^32 for an empty one.
pub(in crate::scripting) unsafe extern "C-unwind" fn unpack(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: see `guard`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let first = i64::from(ffi::luaL_optinteger(state, 2, 1) as i32);
        let last = if ffi::lua_type(state, 3) <= ffi::LUA_TNIL {
            ffi::lua_objlen(state, 1) as i64
        } else {
            i64::from(ffi::luaL_checkinteger(state, 3) as i32)
        };
        if last - first >= i64::from(c_int::MAX) {
            return ffi::luaL_error(state, c"too many results to unpack".as_ptr());
        }
        stock(state, shared_of(state), Stock::Unpack)
    }
}
