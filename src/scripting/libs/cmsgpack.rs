//! `cmsgpack`: MessagePack for Lua values.

use crate::scripting::api::add;
use crate::scripting::fault::Fault;
use crate::scripting::raw::{Kind, Lua, Results};
use crate::scripting::sandbox::{bytes_argument, is_given, long_argument, truncate};
use crate::scripting::shared::Shared;

/// Tables nested deeper are packed as nil.
const MAX_NESTING: usize = 16;

/// Pushes the library's table.
pub fn push_table(lua: Lua, shared: &Shared) {
    lua.new_table(0, 8);
    add(lua, shared, b"pack", pack);
    add(lua, shared, b"unpack", |lua| {
        bytes_argument(lua, 1)?;
        unpack(lua, 0, 0)
    });
    add(lua, shared, b"unpack_one", unpack_one);
    add(lua, shared, b"unpack_limit", unpack_limit);
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        lua.push_bytes(value.as_bytes());
        lua.set_field(-2, name.as_bytes());
    }
}

fn pack(lua: Lua) -> Results {
    let count = lua.top();
    if count == 0 {
        return Err(Fault::argument(0, "MessagePack pack needs input."));
    }
    if !lua.has_room(count) {
        return Err(Fault::argument(0, "Too many arguments for MessagePack pack."));
    }
    let mut out = lua.shared().scratch.take();
    out.clear();
    let mut packed = Ok(());
    for number in 1..=count {
        lua.copy(number);
        packed = encode(lua, 0, &mut out);
        if packed.is_err() {
            break;
        }
    }
    if packed.is_ok() {
        lua.push_bytes(&out);
    }
    lua.shared().keep_scratch(out);
    packed.map(|()| 1)
}

fn stack_overflow(place: &str) -> Fault {
    Fault::here(format!("stack overflow ({place})"))
}

fn too_many() -> Fault {
    stack_overflow("too many return values at once; use unpack_one or unpack_limit instead.")
}

/// Packs the value on top and pops it.
fn encode(lua: Lua, level: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    lua.shared().unfolds(out.len())?;
    match lua.kind(-1) {
        Kind::String => encode_bytes(lua.bytes(-1).unwrap_or_default(), out),
        Kind::Boolean => out.push(if lua.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => encode_number(lua.number(-1), out),
        Kind::Table if level < MAX_NESTING => encode_table(lua, level, out)?,
        _ => out.push(0xc0),
    }
    lua.pop(1);
    Ok(())
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn encode_number(value: f64, out: &mut Vec<u8>) {
    let integer = truncate(value);
    if integer as f64 == value {
        encode_integer(integer, out);
    } else if f64::from(value as f32) == value {
        out.push(0xca);
        out.extend_from_slice(&(value as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn encode_integer(value: i64, out: &mut Vec<u8>) {
    match value {
        -32..=127 => out.push(value as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
        -128..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -2_147_483_648..=-32769 => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn encode_header(count: usize, small: u8, wide: u8, out: &mut Vec<u8>) {
    match count {
        0..=15 => out.push(small | count as u8),
        16..=0xffff => {
            out.push(wide);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(wide + 1);
            out.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
}

fn encode_table(lua: Lua, level: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    if !lua.has_room(4) {
        return Err(stack_overflow("in function mp_encode_lua_table_as_map"));
    }
    match shape(lua) {
        Shape::Array => {
            let len = lua.length(-1);
            encode_header(len, 0x90, 0xdc, out);
            for position in 1..=len {
                lua.raw_get_at(-1, position as i32);
                encode(lua, level + 1, out)?;
            }
        }
        Shape::Map(len) => {
            encode_header(len, 0x80, 0xde, out);
            lua.push_nil();
            while lua.next(-2) {
                lua.copy(-2);
                encode(lua, level + 1, out)?;
                encode(lua, level + 1, out)?;
            }
        }
    }
    Ok(())
}

enum Shape {
    Array,
    /// With this many pairs.
    Map(usize),
}

/// A table is an array when its keys are exactly 1 to n.
fn shape(lua: Lua) -> Shape {
    let (mut count, mut largest, mut is_array) = (0usize, 0f64, true);
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        count += 1;
        if !is_array {
            continue;
        }
        let key = lua.number(-1);
        if lua.kind(-1) == Kind::Number && key > 0.0 && f64::from(key as i32) == key {
            largest = largest.max(key);
        } else {
            is_array = false;
        }
    }
    if is_array && largest as usize == count {
        Shape::Array
    } else {
        Shape::Map(count)
    }
}

/// Packed bytes that are being read.
struct Cursor<'a> {
    rest: &'a [u8],
}

fn missing() -> Fault {
    Fault::here("Missing bytes in input.")
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        if self.rest.len() < len {
            return Err(missing());
        }
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(taken)
    }

    /// A big-endian unsigned number of `len` bytes.
    fn unsigned(&mut self, len: usize) -> Result<u64, Fault> {
        Ok(self.take(len)?.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
    }

    /// Pushes the next value.
    fn decode(&mut self, lua: Lua) -> Result<(), Fault> {
        let Some(&mark) = self.rest.first() else { return Err(missing()) };
        if !lua.has_room(1) {
            return Err(too_many());
        }
        self.take(1)?;
        match mark {
            0x00..=0x7f => lua.push_number(f64::from(mark)),
            0x80..=0x8f => self.decode_map(lua, u64::from(mark & 15))?,
            0x90..=0x9f => self.decode_array(lua, u64::from(mark & 15))?,
            0xa0..=0xbf => lua.push_bytes(self.take(usize::from(mark & 31))?),
            0xc0 => lua.push_nil(),
            0xc2 => lua.push_boolean(false),
            0xc3 => lua.push_boolean(true),
            0xca => lua.push_number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => lua.push_number(f64::from_bits(self.unsigned(8)?)),
            0xcc => lua.push_number(self.unsigned(1)? as f64),
            0xcd => lua.push_number(self.unsigned(2)? as f64),
            0xce => lua.push_number(self.unsigned(4)? as f64),
            // Redis: large ones turn negative, as its Lua integers are signed.
            0xcf | 0xd3 => lua.push_number(self.unsigned(8)? as i64 as f64),
            0xd0 => lua.push_number(f64::from(self.unsigned(1)? as i8)),
            0xd1 => lua.push_number(f64::from(self.unsigned(2)? as i16)),
            0xd2 => lua.push_number(f64::from(self.unsigned(4)? as i32)),
            0xd9..=0xdb => {
                let len = self.unsigned(1 << (mark - 0xd9))?;
                lua.push_bytes(self.take(len as usize)?);
            }
            0xdc | 0xdd => {
                let len = self.unsigned(if mark == 0xdc { 2 } else { 4 })?;
                self.decode_array(lua, len)?;
            }
            0xde | 0xdf => {
                let len = self.unsigned(if mark == 0xde { 2 } else { 4 })?;
                self.decode_map(lua, len)?;
            }
            0xe0..=0xff => lua.push_number(f64::from(mark as i8)),
            _ => return Err(Fault::here("Bad data format in input.")),
        }
        Ok(())
    }

    fn decode_array(&mut self, lua: Lua, len: u64) -> Result<(), Fault> {
        lua.new_table(0, 0);
        if !lua.has_room(2) || !lua.shared().has_stack() {
            return Err(stack_overflow("in function mp_decode_to_lua_array"));
        }
        for position in 1..=len {
            self.decode(lua)?;
            lua.raw_set_at(-2, position as i32);
        }
        Ok(())
    }

    fn decode_map(&mut self, lua: Lua, len: u64) -> Result<(), Fault> {
        lua.new_table(0, 0);
        if !lua.shared().has_stack() {
            return Err(too_many());
        }
        for _ in 0..len {
            self.decode(lua)?;
            self.decode(lua)?;
            match lua.kind(-2) {
                Kind::Nil => return Err(Fault::Plain(b"table index is nil".to_vec())),
                Kind::Number if lua.number(-2).is_nan() => {
                    return Err(Fault::Plain(b"table index is NaN".to_vec()));
                }
                _ => lua.raw_set(-3),
            }
        }
        Ok(())
    }
}

fn unpack_one(lua: Lua) -> Results {
    let offset = if is_given(lua, 2) { long_argument(lua, 2)? } else { 0 };
    unpack(lua, 1, offset)
}

fn unpack_limit(lua: Lua) -> Results {
    let limit = long_argument(lua, 2)?;
    let offset = if is_given(lua, 3) { long_argument(lua, 3)? } else { 0 };
    unpack(lua, limit, offset)
}

fn unpack(lua: Lua, limit: i64, offset: i64) -> Results {
    let everything = limit == 0 && offset == 0;
    lua.set_top(1);
    let input = bytes_argument(lua, 1)?;
    if offset < 0 || limit < 0 {
        // Redis: the length stands where the limit should.
        return Err(Fault::here(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            input.len() as i32
        )));
    }
    let Some(rest) = input.get(offset as usize..) else {
        return Err(Fault::here(format!(
            "Start offset {} greater than input length {}.",
            offset as i32,
            input.len() as i32
        )));
    };
    let limit = if everything { i64::from(i32::MAX) } else { limit };
    let mut cursor = Cursor { rest };
    let mut count = 0;
    while !cursor.rest.is_empty() && i64::from(count) < limit {
        cursor.decode(lua)?;
        count += 1;
    }
    if !everything {
        if !lua.has_room(1) {
            return Err(stack_overflow("in function mp_unpack_full"));
        }
        let next = match cursor.rest.len() {
            0 => -1.0,
            left => (input.len() - left) as f64,
        };
        lua.push_number(next);
        lua.insert(2);
        count += 1;
    }
    Ok(count)
}
