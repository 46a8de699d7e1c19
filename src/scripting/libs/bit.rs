//! `bit`: BitOp's functions on 32-bit integers.

use crate::scripting::api::add;
use crate::scripting::fault::Fault;
use crate::scripting::raw::{Kind, Lua, Results};
use crate::scripting::shared::Shared;

/// Pushes the library's table.
pub fn push_table(lua: Lua, shared: &Shared) {
    lua.new_table(0, 12);
    add(lua, shared, b"tobit", |lua| answer(lua, argument(lua, 1)?));
    add(lua, shared, b"bnot", |lua| answer(lua, !argument(lua, 1)?));
    add(lua, shared, b"band", |lua| fold(lua, |a, b| a & b));
    add(lua, shared, b"bor", |lua| fold(lua, |a, b| a | b));
    add(lua, shared, b"bxor", |lua| fold(lua, |a, b| a ^ b));
    add(lua, shared, b"lshift", |lua| shift(lua, |bits, by| bits << by));
    add(lua, shared, b"rshift", |lua| shift(lua, |bits, by| bits >> by));
    add(lua, shared, b"arshift", |lua| shift(lua, |bits, by| ((bits as i32) >> by) as u32));
    add(lua, shared, b"rol", |lua| shift(lua, u32::rotate_left));
    add(lua, shared, b"ror", |lua| shift(lua, u32::rotate_right));
    add(lua, shared, b"bswap", |lua| answer(lua, argument(lua, 1)?.swap_bytes()));
    add(lua, shared, b"tohex", tohex);
}

/// The low 32 bits of a number, rounded to an integer first.
fn argument(lua: Lua, number: i32) -> Result<u32, Fault> {
    // Adding 2^52 + 2^51 leaves the rounded integer in the low bits of the double.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let bits = (lua.number(number) + MAGIC).to_bits() as u32;
    if bits == 0 && !lua.is_numeric(number) {
        return Err(Fault::kind(lua, number, "number"));
    }
    Ok(bits)
}

fn answer(lua: Lua, bits: u32) -> Results {
    lua.push_number(f64::from(bits as i32));
    Ok(1)
}

fn fold(lua: Lua, combine: fn(u32, u32) -> u32) -> Results {
    let mut bits = argument(lua, 1)?;
    for number in (2..=lua.top()).rev() {
        bits = combine(bits, argument(lua, number)?);
    }
    answer(lua, bits)
}

fn shift(lua: Lua, combine: fn(u32, u32) -> u32) -> Results {
    let bits = argument(lua, 1)?;
    let by = argument(lua, 2)? & 31;
    answer(lua, combine(bits, by))
}

fn tohex(lua: Lua) -> Results {
    let mut bits = argument(lua, 1)?;
    let mut count = match lua.kind(2) {
        Kind::None => 8,
        _ => argument(lua, 2)? as i32,
    };
    let mut digits = b"0123456789abcdef";
    if count < 0 {
        digits = b"0123456789ABCDEF";
        // The smallest number has no positive twin.
        count = count.saturating_neg();
    }
    let count = count.clamp(0, 8) as usize;
    let mut text = [0u8; 8];
    for place in text[..count].iter_mut().rev() {
        *place = digits[(bits & 15) as usize];
        bits >>= 4;
    }
    lua.push_bytes(&text[..count]);
    Ok(1)
}
