//! `struct`: packs numbers and strings into bytes by a format, and back.
//!
//! Formats: `b B h H l L T i[n] I[n] f d x c[n] s`, `<` `>` for the byte order, `![n]` for the
//! alignment, blanks are skipped. Sizes are those of a 64-bit Linux machine.

use crate::scripting::api::add;
use crate::scripting::fault::Fault;
use crate::scripting::raw::{Lua, Results};
use crate::scripting::sandbox::{
    bytes_argument, is_given, long_argument, number_argument, truncate, truncate_unsigned,
};
use crate::scripting::shared::Shared;

const MAX_INTEGER_BYTES: u64 = 32;
const MAX_ALIGNMENT: u64 = 8;

/// Pushes the library's table.
pub fn push_table(lua: Lua, shared: &Shared) {
    lua.new_table(0, 3);
    add(lua, shared, b"pack", pack);
    add(lua, shared, b"unpack", unpack);
    add(lua, shared, b"size", size);
}

/// A format that is being read.
struct Format<'a> {
    rest: &'a [u8],
    big_endian: bool,
    alignment: u64,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        Format { rest: &text[..end], big_endian: false, alignment: 1 }
    }

    fn next(&mut self) -> Option<u8> {
        let (&option, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(option)
    }

    fn number(&mut self, default: u64) -> Result<u64, Fault> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut value = 0u64;
        while let Some(&digit) = self.rest.first().filter(|byte| byte.is_ascii_digit()) {
            value = value * 10 + u64::from(digit - b'0');
            if value > i32::MAX as u64 {
                return Err(Fault::here("integral size overflow"));
            }
            self.rest = &self.rest[1..];
        }
        Ok(value)
    }

    /// Bytes that the option takes; 0 for those without a fixed size.
    fn size_of(&mut self, option: u8) -> Result<u64, Fault> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let bytes = self.number(4)?;
                if bytes > MAX_INTEGER_BYTES {
                    return Err(Fault::here(format!(
                        "integral size {bytes} is larger than limit of {MAX_INTEGER_BYTES}"
                    )));
                }
                bytes
            }
            _ => 0,
        })
    }

    /// Bytes of padding before an element of `bytes` bytes at `position`.
    fn padding(&self, position: u64, option: u8, bytes: u64) -> u64 {
        if bytes == 0 || option == b'c' {
            return 0;
        }
        let bytes = bytes.min(self.alignment);
        bytes.wrapping_sub(position & bytes.wrapping_sub(1)) & bytes.wrapping_sub(1)
    }

    /// Options that change how the rest is read.
    fn control(&mut self, option: u8) -> Result<(), Fault> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.number(MAX_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Fault::here(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            other => {
                let mut text = b"invalid format option '".to_vec();
                text.push(other);
                text.push(b'\'');
                return Err(Fault::argument(1, text));
            }
        }
        Ok(())
    }
}

fn put_integer(value: f64, bytes: u64, big_endian: bool, out: &mut Vec<u8>) {
    const TOP: f64 = 9_223_372_036_854_775_808.0;
    let mut rest = if value < TOP || value.is_nan() {
        truncate(value) as u64
    } else if value < 2.0 * TOP {
        value as u64
    } else {
        0
    };
    let start = out.len();
    for _ in 0..bytes {
        out.push(rest as u8);
        rest >>= 8;
    }
    if big_endian {
        out[start..].reverse();
    }
}

fn put(bytes: &mut [u8], big_endian: bool, out: &mut Vec<u8>) {
    if big_endian {
        bytes.reverse();
    }
    out.extend_from_slice(bytes);
}

fn pack(lua: Lua) -> Results {
    let mut format = Format::new(bytes_argument(lua, 1)?);
    let mut out = Vec::new();
    let mut argument = 2;
    let mut total = 0u64;
    // Redis: a nil stands between the arguments and the result, so a missing one is nil.
    lua.push_nil();
    while let Some(option) = format.next() {
        let mut bytes = format.size_of(option)?;
        let padding = format.padding(total, option, bytes);
        total += padding;
        out.resize(out.len() + padding as usize, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = number_argument(lua, argument)?;
                argument += 1;
                put_integer(value, bytes, format.big_endian, &mut out);
            }
            b'x' => out.push(0),
            b'f' => {
                let value = number_argument(lua, argument)? as f32;
                argument += 1;
                put(&mut value.to_le_bytes(), format.big_endian, &mut out);
            }
            b'd' => {
                let value = number_argument(lua, argument)?;
                argument += 1;
                put(&mut value.to_le_bytes(), format.big_endian, &mut out);
            }
            b'c' | b's' => {
                let text = bytes_argument(lua, argument)?;
                argument += 1;
                if bytes == 0 {
                    bytes = text.len() as u64;
                }
                let Some(part) = text.get(..bytes as usize) else {
                    return Err(Fault::argument(argument, "string too short"));
                };
                out.extend_from_slice(part);
                if option == b's' {
                    out.push(0);
                    bytes += 1;
                }
            }
            other => format.control(other)?,
        }
        total += bytes;
    }
    lua.push_bytes(&out);
    Ok(1)
}

fn integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let mut value = 0u64;
    let mut take = |byte: &u8| value = (value << 8) | u64::from(*byte);
    if big_endian {
        bytes.iter().for_each(&mut take);
    } else {
        bytes.iter().rev().for_each(&mut take);
    }
    if !signed {
        return value as f64;
    }
    let shift = (bytes.len() as u32).wrapping_mul(8).wrapping_sub(1);
    let mask = u64::MAX.wrapping_shl(shift);
    if value & mask != 0 {
        value |= mask;
    }
    value as i64 as f64
}

/// The bytes of an element, if the data has them.
fn element(data: &[u8], position: u64, bytes: u64) -> Result<&[u8], Fault> {
    let start = usize::try_from(position).ok();
    let end = position.checked_add(bytes).and_then(|end| usize::try_from(end).ok());
    start
        .zip(end)
        .and_then(|(start, end)| data.get(start..end))
        .ok_or_else(|| Fault::argument(2, "data string too short"))
}

fn unpack(lua: Lua) -> Results {
    let mut format = Format::new(bytes_argument(lua, 1)?);
    let data = bytes_argument(lua, 2)?;
    let mut position = if is_given(lua, 3) { long_argument(lua, 3)? as u64 } else { 1 };
    if position == 0 {
        return Err(Fault::argument(3, "offset must be 1 or greater"));
    }
    position -= 1;
    let mut results = 0;
    while let Some(option) = format.next() {
        let mut bytes = format.size_of(option)?;
        position = position.wrapping_add(format.padding(position, option, bytes));
        let part = element(data, position, bytes)?;
        if !lua.has_room(2) {
            return Err(Fault::here("stack overflow (too many results)"));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                lua.push_number(integer(part, format.big_endian, option.is_ascii_lowercase()));
                results += 1;
            }
            b'x' => {}
            b'f' | b'd' => {
                let mut raw = [0u8; 8];
                raw[..part.len()].copy_from_slice(part);
                if format.big_endian {
                    raw[..part.len()].reverse();
                }
                let bits = u64::from_le_bytes(raw);
                lua.push_number(match option {
                    b'f' => f64::from(f32::from_bits(bits as u32)),
                    _ => f64::from_bits(bits),
                });
                results += 1;
            }
            b'c' => {
                let mut part = part;
                if bytes == 0 {
                    if results == 0 || !lua.is_numeric(-1) {
                        return Err(Fault::here("format 'c0' needs a previous size"));
                    }
                    bytes = truncate_unsigned(lua.number(-1));
                    lua.pop(1);
                    results -= 1;
                    part = element(data, position, bytes)?;
                }
                lua.push_bytes(part);
                results += 1;
            }
            b's' => {
                let rest = data.get(position as usize..).unwrap_or_default();
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(Fault::here("unfinished string in data"));
                };
                lua.push_bytes(&rest[..end]);
                bytes = end as u64 + 1;
                results += 1;
            }
            other => format.control(other)?,
        }
        position = position.wrapping_add(bytes);
    }
    lua.push_number(position.wrapping_add(1) as i64 as f64);
    Ok(results + 1)
}

fn size(lua: Lua) -> Results {
    let mut format = Format::new(bytes_argument(lua, 1)?);
    let mut position = 0u64;
    while let Some(option) = format.next() {
        let bytes = format.size_of(option)?;
        position += format.padding(position, option, bytes);
        if option == b's' {
            return Err(Fault::argument(1, "option 's' has no fixed size"));
        }
        if option == b'c' && bytes == 0 {
            return Err(Fault::argument(1, "option 'c0' has no fixed size"));
        }
        if !option.is_ascii_alphanumeric() {
            format.control(option)?;
        }
        position += bytes;
    }
    lua.push_number(position as f64);
    Ok(1)
}
