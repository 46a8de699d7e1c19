//! Values between Redis and Lua: replies become Lua values, results become replies.

use super::fault::{push_error_table, Fault};
use super::raw::{Kind, Lua};
use super::sandbox::truncate;
use super::shared::Shared;
use crate::types::number;

/// Pushes the value of one reply (RESP2 or RESP3), which must be whole.
pub fn push_reply(lua: Lua, reply: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader { rest: reply };
    reader.push(lua)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The line up to the next CRLF.
    fn line(&mut self) -> Result<&'a [u8], Fault> {
        match memchr::memchr(b'\r', self.rest) {
            Some(end) if self.rest.get(end + 1) == Some(&b'\n') => {
                let line = &self.rest[..end];
                self.rest = &self.rest[end + 2..];
                Ok(line)
            }
            _ => Err(broken()),
        }
    }

    fn bulk(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        if self.rest.len() < len + 2 {
            return Err(broken());
        }
        let bytes = &self.rest[..len];
        self.rest = &self.rest[len + 2..];
        Ok(bytes)
    }

    fn push(&mut self, lua: Lua) -> Result<(), Fault> {
        let line = self.line()?;
        let Some((&mark, text)) = line.split_first() else { return Err(broken()) };
        match mark {
            b':' => lua.push_number(number::parse_i64(text).ok_or_else(broken)? as f64),
            b'$' => match length(text)? {
                None => lua.push_boolean(false),
                Some(len) => lua.push_bytes(self.bulk(len)?),
            },
            b'+' => push_single(lua, b"ok", text),
            b'-' => {
                let mut full = Vec::with_capacity(line.len());
                full.extend_from_slice(line);
                push_error_table(lua, &full);
                lua.push_boolean(true);
                lua.set_field(-2, b"ignore_error_stats_update");
            }
            b'*' => match length(text)? {
                None => lua.push_boolean(false),
                Some(len) => self.push_array(lua, len)?,
            },
            b'_' => lua.push_nil(),
            b'#' => lua.push_boolean(text == b"t"),
            b',' => {
                lua.new_table(0, 1);
                lua.push_number(double(text));
                lua.set_field(-2, b"double");
            }
            b'(' => push_single(lua, b"big_number", text),
            b'%' => self.push_keyed(lua, b"map", length(text)?.ok_or_else(broken)?)?,
            b'~' => self.push_keyed(lua, b"set", length(text)?.ok_or_else(broken)?)?,
            b'=' => {
                let len = length(text)?.ok_or_else(broken)?;
                push_verbatim(lua, self.bulk(len)?)?;
            }
            b'|' => self.skip_attribute(lua, length(text)?.ok_or_else(broken)?)?,
            _ => return Err(broken()),
        }
        Ok(())
    }

    /// Asked once per table: its scalars need no more than a fresh frame has.
    fn enter(lua: Lua) -> Result<(), Fault> {
        if lua.has_room(8) && lua.shared().has_stack() {
            Ok(())
        } else {
            Err(Fault::reply("reached lua stack limit"))
        }
    }

    fn push_array(&mut self, lua: Lua, len: usize) -> Result<(), Fault> {
        Self::enter(lua)?;
        lua.new_table(i32::try_from(len).unwrap_or(0), 0);
        for position in 1..=len {
            self.push(lua)?;
            lua.raw_set_at(-2, position as i32);
        }
        Ok(())
    }

    /// A map or a set: a table under `name` whose keys are the elements.
    fn push_keyed(&mut self, lua: Lua, name: &[u8], len: usize) -> Result<(), Fault> {
        Self::enter(lua)?;
        lua.new_table(0, 1);
        lua.new_table(0, i32::try_from(len).unwrap_or(0));
        for _ in 0..len {
            self.push(lua)?;
            if lua.kind(-1) == Kind::Nil {
                return Err(broken());
            }
            match name {
                b"map" => self.push(lua)?,
                _ => lua.push_boolean(true),
            }
            lua.raw_set(-3);
        }
        lua.set_field(-2, name);
        Ok(())
    }

    fn skip_attribute(&mut self, lua: Lua, len: usize) -> Result<(), Fault> {
        Self::enter(lua)?;
        for _ in 0..len * 2 {
            self.push(lua)?;
            lua.pop(1);
        }
        self.push(lua)
    }
}

fn broken() -> Fault {
    Fault::reply("the command's reply could not be read")
}

/// A length of a bulk or an aggregate; None for -1.
fn length(text: &[u8]) -> Result<Option<usize>, Fault> {
    let number = number::parse_i64(text).ok_or_else(broken)?;
    match number {
        -1 => Ok(None),
        len => Ok(Some(usize::try_from(len).map_err(|_| broken())?)),
    }
}

fn double(text: &[u8]) -> f64 {
    number::parse_f64(text).unwrap_or(f64::NAN)
}

fn push_single(lua: Lua, name: &[u8], text: &[u8]) {
    lua.new_table(0, 1);
    lua.push_bytes(name);
    lua.push_bytes(text);
    lua.raw_set(-3);
}

fn push_verbatim(lua: Lua, bytes: &[u8]) -> Result<(), Fault> {
    let (Some(format), Some(text)) = (bytes.get(..3), bytes.get(4..)) else {
        return Err(broken());
    };
    lua.new_table(0, 1);
    lua.new_table(0, 2);
    lua.push_bytes(text);
    lua.set_field(-2, b"string");
    lua.push_bytes(format);
    lua.set_field(-2, b"format");
    lua.set_field(-2, b"verbatim_string");
    Ok(())
}

/// Where results are written: the client's protocol and the one that the script chose.
#[derive(Clone, Copy, Debug)]
pub struct Protocols {
    /// Protocol of the client, 2 or 3.
    pub client: u8,
    /// Protocol of the script (`redis.setresp`), 2 or 3.
    pub script: u8,
}

/// What a result said about errors.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The reply is an error.
    pub failed: bool,
    /// The error was counted already, when the command that met it ran.
    pub counted: bool,
}

/// One table that is being written.
enum Open {
    /// Elements by position until the first nil.
    Array { header: usize, guessed: usize, written: usize },
    /// Key and value pairs; `value_waits` when a key was just written.
    Map { header: usize, written: usize, value_waits: bool },
    /// Keys only.
    Set { header: usize, written: usize },
}

/// Pops the value on top of the stack and appends it as a reply.
///
/// Tables nest as deep as Lua's stack allows, so this walks them with a stack of its own instead
/// of recursing on the thread's. On a fault something is written already.
pub fn write_result(
    lua: Lua,
    shared: &Shared,
    protocols: Protocols,
    out: &mut Vec<u8>,
) -> Result<Outcome, Fault> {
    let start = out.len();
    let mut open: Vec<Open> = Vec::new();
    let outcome = write_value(lua, protocols, out, &mut open);
    while let Some(last) = open.last_mut() {
        // Shared tables may unfold without end.
        shared.results(out.len() - start)?;
        match last {
            Open::Array { header, guessed, written } => {
                lua.raw_get_at(-1, *written as i32 + 1);
                if lua.kind(-1) == Kind::Nil {
                    let (header, guessed, written) = (*header, *guessed, *written);
                    open.pop();
                    lua.pop(2);
                    if guessed != written {
                        let end = header + header_text(b'*', guessed).len();
                        out.splice(header..end, header_text(b'*', written));
                    }
                    continue;
                }
                *written += 1;
            }
            Open::Map { header, written, value_waits } => {
                if *value_waits {
                    // Stack: table, map, key, value.
                    *value_waits = false;
                } else if lua.next(-2) {
                    *written += 1;
                    *value_waits = true;
                    lua.copy(-2);
                } else {
                    let (header, written) = (*header, *written);
                    open.pop();
                    lua.pop(2);
                    let text = match protocols.client {
                        2 => header_text(b'*', written * 2),
                        _ => header_text(b'%', written),
                    };
                    out.splice(header..header, text);
                    continue;
                }
            }
            Open::Set { header, written } => {
                if lua.next(-2) {
                    *written += 1;
                    lua.pop(1);
                    lua.copy(-1);
                } else {
                    let (header, written) = (*header, *written);
                    open.pop();
                    lua.pop(2);
                    let mark = if protocols.client == 2 { b'*' } else { b'~' };
                    out.splice(header..header, header_text(mark, written));
                    continue;
                }
            }
        }
        write_value(lua, protocols, out, &mut open);
    }
    Ok(outcome)
}

fn header_text(mark: u8, count: usize) -> Vec<u8> {
    let mut text = vec![mark];
    number::format_i64(count as i64, &mut text);
    text.extend_from_slice(b"\r\n");
    text
}

/// Writes the scalar on top and pops it, or opens the table on top.
fn write_value(lua: Lua, protocols: Protocols, out: &mut Vec<u8>, open: &mut Vec<Open>) -> Outcome {
    if !lua.has_room(4) {
        out.extend_from_slice(b"-ERR reached lua stack limit\r\n");
        lua.pop(1);
        return Outcome { failed: true, counted: false };
    }
    match lua.kind(-1) {
        Kind::String => write_bulk(out, lua.bytes(-1).unwrap_or_default()),
        Kind::Boolean => {
            let value = lua.boolean(-1);
            let text: &[u8] = match (protocols.script, protocols.client, value) {
                (3, 3, true) => b"#t\r\n",
                (3, 3, false) => b"#f\r\n",
                (3, _, false) => b":0\r\n",
                (_, _, true) => b":1\r\n",
                (_, client, false) => null(client),
            };
            out.extend_from_slice(text);
        }
        Kind::Number => {
            out.push(b':');
            number::format_i64(truncate(lua.number(-1)), out);
            out.extend_from_slice(b"\r\n");
        }
        Kind::Table => return write_table(lua, protocols, out, open),
        _ => out.extend_from_slice(null(protocols.client)),
    }
    lua.pop(1);
    Outcome::default()
}

fn null(client: u8) -> &'static [u8] {
    if client == 2 {
        b"$-1\r\n"
    } else {
        b"_\r\n"
    }
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    number::format_i64(bytes.len() as i64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The part of a string before its first 0 byte, as C sees it.
fn c_text(bytes: &[u8]) -> &[u8] {
    memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
}

/// Appends `text` on one line.
fn write_line(out: &mut Vec<u8>, mark: u8, text: &[u8]) {
    out.push(mark);
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// Appends an error reply, without line breaks at its ends.
pub fn write_error(out: &mut Vec<u8>, text: &[u8]) {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_break(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_break(byte)).map_or(start, |last| last + 1);
    write_line(out, b'-', &text[start..end]);
}

fn write_table(lua: Lua, protocols: Protocols, out: &mut Vec<u8>, open: &mut Vec<Open>) -> Outcome {
    if let Some(outcome) = write_marked(lua, protocols, out, open) {
        return outcome;
    }
    let guessed = lua.length(-1);
    open.push(Open::Array { header: out.len(), guessed, written: 0 });
    out.extend_from_slice(&header_text(b'*', guessed));
    Outcome::default()
}

/// Writes a table that says by a field what it is; None, leaving it on the stack, for others.
fn write_marked(
    lua: Lua,
    protocols: Protocols,
    out: &mut Vec<u8>,
    open: &mut Vec<Open>,
) -> Option<Outcome> {
    let done = |outcome| {
        lua.pop(2);
        Some(outcome)
    };
    lua.field(-1, b"err");
    if lua.kind(-1) == Kind::String {
        write_error(out, c_text(lua.bytes(-1).unwrap_or_default()));
        lua.pop(1);
        lua.field(-1, b"ignore_error_stats_update");
        let counted = lua.kind(-1) == Kind::Boolean && lua.boolean(-1);
        return done(Outcome { failed: true, counted });
    }
    lua.pop(1);
    lua.field(-1, b"ok");
    if lua.kind(-1) == Kind::String {
        write_line(out, b'+', c_text(lua.bytes(-1).unwrap_or_default()));
        return done(Outcome::default());
    }
    lua.pop(1);
    lua.field(-1, b"double");
    if lua.kind(-1) == Kind::Number {
        write_double(protocols.client, lua.number(-1), out);
        return done(Outcome::default());
    }
    lua.pop(1);
    lua.field(-1, b"big_number");
    if lua.kind(-1) == Kind::String {
        let bytes = lua.bytes(-1).unwrap_or_default();
        if protocols.client == 2 {
            let clean = |&byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
            write_bulk(out, &bytes.iter().map(clean).collect::<Vec<u8>>());
        } else {
            write_line(out, b'(', bytes);
        }
        return done(Outcome::default());
    }
    lua.pop(1);
    if write_verbatim(lua, protocols, out) {
        lua.pop(1);
        return Some(Outcome::default());
    }
    lua.field(-1, b"map");
    if lua.kind(-1) == Kind::Table {
        open.push(Open::Map { header: out.len(), written: 0, value_waits: false });
        lua.push_nil();
        return Some(Outcome::default());
    }
    lua.pop(1);
    lua.field(-1, b"set");
    if lua.kind(-1) == Kind::Table {
        open.push(Open::Set { header: out.len(), written: 0 });
        lua.push_nil();
        return Some(Outcome::default());
    }
    lua.pop(1);
    None
}

/// Writes `{verbatim_string = {format =, string =}}`; false when the table is not one.
fn write_verbatim(lua: Lua, protocols: Protocols, out: &mut Vec<u8>) -> bool {
    lua.field(-1, b"verbatim_string");
    let mut written = false;
    if lua.kind(-1) == Kind::Table {
        lua.field(-1, b"format");
        lua.field(-2, b"string");
        if lua.kind(-2) == Kind::String && lua.kind(-1) == Kind::String {
            let format = c_text(lua.bytes(-2).unwrap_or_default());
            let text = lua.bytes(-1).unwrap_or_default();
            if protocols.client == 2 {
                write_bulk(out, text);
            } else {
                out.push(b'=');
                number::format_i64(text.len() as i64 + 4, out);
                out.extend_from_slice(b"\r\n");
                let padded = format.iter().copied().chain(std::iter::repeat(b' '));
                out.extend(padded.take(3));
                out.push(b':');
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            written = true;
        }
        lua.pop(2);
    }
    lua.pop(1);
    written
}

fn write_double(client: u8, value: f64, out: &mut Vec<u8>) {
    let mut text = Vec::with_capacity(32);
    number::format_f64(value, &mut text);
    if client == 2 {
        write_bulk(out, &text);
    } else {
        out.push(b',');
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\r\n");
    }
}
