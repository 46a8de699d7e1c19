//! `cjson`: JSON for Lua values, with lua-cjson's rules: which tables are arrays, how numbers look,
//! what is refused and in which words.

use std::cell::Cell;

use crate::scripting::fault::Fault;
use crate::scripting::raw::{Kind, Lua, Results};
use crate::scripting::sandbox::{bytes_argument, integer_argument, is_given, truncate};
use crate::scripting::shared::Shared;
use crate::types::number;

/// Options of one instance of the library. Kept in Lua's memory, so plain data only.
#[derive(Clone)]
#[repr(C)]
pub struct Settings {
    sparse_convert: Cell<i32>,
    sparse_ratio: Cell<i32>,
    sparse_safe: Cell<i32>,
    encode_max_depth: Cell<i32>,
    decode_max_depth: Cell<i32>,
    encode_invalid_numbers: Cell<i32>,
    decode_invalid_numbers: Cell<i32>,
    encode_keep_buffer: Cell<i32>,
    encode_number_precision: Cell<i32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sparse_convert: Cell::new(0),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_max_depth: Cell::new(1000),
            decode_max_depth: Cell::new(1000),
            encode_invalid_numbers: Cell::new(0),
            decode_invalid_numbers: Cell::new(1),
            encode_keep_buffer: Cell::new(1),
            encode_number_precision: Cell::new(14),
        }
    }
}

/// Pushes the library's table with options of its own.
pub fn push_table(lua: Lua, shared: &Shared) {
    lua.new_table(0, 14);
    lua.push_settings(Settings::default());
    add(lua, shared, b"encode", encode);
    add(lua, shared, b"decode", decode);
    add(lua, shared, b"encode_sparse_array", encode_sparse_array);
    add(lua, shared, b"encode_max_depth", encode_max_depth);
    add(lua, shared, b"decode_max_depth", decode_max_depth);
    add(lua, shared, b"encode_number_precision", encode_number_precision);
    add(lua, shared, b"encode_keep_buffer", encode_keep_buffer);
    add(lua, shared, b"encode_invalid_numbers", encode_invalid_numbers);
    add(lua, shared, b"decode_invalid_numbers", decode_invalid_numbers);
    add(lua, shared, b"new", |lua| {
        push_table(lua, lua.shared());
        Ok(1)
    });
    lua.pop(1);
    lua.push_null();
    lua.set_field(-2, b"null");
    lua.push_bytes(b"cjson");
    lua.set_field(-2, b"_NAME");
    lua.push_bytes(b"2.1.0");
    lua.set_field(-2, b"_VERSION");
}

/// Adds a function that finds the settings on top of the stack as its own.
fn add<F>(lua: Lua, shared: &Shared, name: &[u8], function: F)
where
    F: Fn(Lua) -> Results + Copy + 'static,
{
    lua.copy(-1);
    lua.push_native_with(shared, function);
    lua.set_field(-3, name);
}

// ---- options

fn arguments(lua: Lua, most: i32) -> Result<&'static Settings, Fault> {
    if lua.top() > most {
        return Err(Fault::argument(most + 1, "found too many arguments"));
    }
    lua.set_top(most);
    Ok(lua.settings())
}

fn integer_option(
    lua: Lua,
    index: i32,
    setting: &Cell<i32>,
    least: i32,
    most: i32,
) -> Result<(), Fault> {
    if is_given(lua, index) {
        let value = integer_argument(lua, index)?;
        if !(least..=most).contains(&value) {
            let text = format!("expected integer between {least} and {most}");
            return Err(Fault::argument(1, text));
        }
        setting.set(value);
    }
    lua.push_number(f64::from(setting.get()));
    Ok(())
}

fn word_option(lua: Lua, index: i32, setting: &Cell<i32>, words: &[&str]) -> Result<(), Fault> {
    if is_given(lua, index) {
        if lua.kind(index) == Kind::Boolean {
            setting.set(i32::from(lua.boolean(index)));
        } else {
            let given = bytes_argument(lua, index)?;
            let given = given.split(|&byte| byte == 0).next().unwrap_or_default();
            match words.iter().position(|word| word.as_bytes() == given) {
                Some(position) => setting.set(position as i32),
                None => {
                    let text = [b"invalid option '", given, b"'"].concat();
                    return Err(Fault::argument(index, text));
                }
            }
        }
    }
    match setting.get() {
        value @ (0 | 1) => lua.push_boolean(value == 1),
        value => lua.push_bytes(words.get(value as usize).unwrap_or(&"").as_bytes()),
    }
    Ok(())
}

const SWITCH: [&str; 2] = ["off", "on"];

fn encode_sparse_array(lua: Lua) -> Results {
    let settings = arguments(lua, 3)?;
    word_option(lua, 1, &settings.sparse_convert, &SWITCH)?;
    integer_option(lua, 2, &settings.sparse_ratio, 0, i32::MAX)?;
    integer_option(lua, 3, &settings.sparse_safe, 0, i32::MAX)?;
    Ok(3)
}

fn encode_max_depth(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    integer_option(lua, 1, &settings.encode_max_depth, 1, i32::MAX)?;
    Ok(1)
}

fn decode_max_depth(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    integer_option(lua, 1, &settings.decode_max_depth, 1, i32::MAX)?;
    Ok(1)
}

fn encode_number_precision(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    integer_option(lua, 1, &settings.encode_number_precision, 1, 14)?;
    Ok(1)
}

/// Redis: whether one buffer is kept between calls; here it always is, and only the answer shows.
fn encode_keep_buffer(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    word_option(lua, 1, &settings.encode_keep_buffer, &SWITCH)?;
    Ok(1)
}

fn encode_invalid_numbers(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    word_option(lua, 1, &settings.encode_invalid_numbers, &["off", "on", "null"])?;
    Ok(1)
}

fn decode_invalid_numbers(lua: Lua) -> Results {
    let settings = arguments(lua, 1)?;
    word_option(lua, 1, &settings.decode_invalid_numbers, &SWITCH)?;
    Ok(1)
}

// ---- encoding

fn encode(lua: Lua) -> Results {
    if lua.top() != 1 {
        return Err(Fault::argument(1, "expected 1 argument"));
    }
    let mut out = lua.shared().scratch.take();
    out.clear();
    let written = append_value(lua, lua.settings(), 0, &mut out);
    if written.is_ok() {
        lua.push_bytes(&out);
    }
    lua.shared().keep_scratch(out);
    written.map(|()| 1)
}

fn refuse(lua: Lua, index: i32, reason: &str) -> Fault {
    Fault::here(format!("Cannot serialise {}: {reason}", lua.kind(index).name()))
}

/// Writes the value on top of the stack and leaves it there.
fn append_value(lua: Lua, settings: &Settings, depth: i32, out: &mut Vec<u8>) -> Result<(), Fault> {
    match lua.kind(-1) {
        Kind::String => append_string(lua.bytes(-1).unwrap_or_default(), out),
        Kind::Number => append_number(lua, settings, -1, out)?,
        Kind::Boolean if lua.boolean(-1) => out.extend_from_slice(b"true"),
        Kind::Boolean => out.extend_from_slice(b"false"),
        Kind::Table => append_table(lua, settings, depth + 1, out)?,
        Kind::Nil => out.extend_from_slice(b"null"),
        Kind::LightUserdata if lua.is_null(-1) => out.extend_from_slice(b"null"),
        _ => return Err(refuse(lua, -1, "type not supported")),
    }
    lua.shared().unfolds(out.len())
}

fn append_table(lua: Lua, settings: &Settings, depth: i32, out: &mut Vec<u8>) -> Result<(), Fault> {
    let is_deep = depth > settings.encode_max_depth.get();
    if is_deep || !lua.has_room(3) || !lua.shared().has_stack() {
        return Err(Fault::here(format!("Cannot serialise, excessive nesting ({depth})")));
    }
    let len = array_length(lua, settings)?;
    if len > 0 {
        out.push(b'[');
        for position in 1..=len {
            if position > 1 {
                out.push(b',');
            }
            lua.raw_get_at(-1, position);
            append_value(lua, settings, depth, out)?;
            lua.pop(1);
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    lua.push_nil();
    let mut first = true;
    while lua.next(-2) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match lua.kind(-2) {
            Kind::Number => {
                out.push(b'"');
                append_number(lua, settings, -2, out)?;
                out.extend_from_slice(b"\":");
            }
            Kind::String => {
                append_string(lua.bytes(-2).unwrap_or_default(), out);
                out.push(b':');
            }
            _ => return Err(refuse(lua, -2, "table key must be a number or string")),
        }
        append_value(lua, settings, depth, out)?;
        lua.pop(1);
    }
    out.push(b'}');
    Ok(())
}

/// Elements of the table on top if its keys are positive integers; -1 for an object.
fn array_length(lua: Lua, settings: &Settings) -> Result<i32, Fault> {
    let (mut largest, mut items) = (0i32, 0i32);
    lua.push_nil();
    while lua.next(-2) {
        let key = lua.number(-2);
        if lua.kind(-2) != Kind::Number || key < 1.0 || key.floor() != key {
            lua.pop(2);
            return Ok(-1);
        }
        if key > f64::from(largest) {
            // Redis: what does not fit an int becomes the smallest one.
            largest = if key <= f64::from(i32::MAX) { key as i32 } else { i32::MIN };
        }
        items = items.wrapping_add(1);
        lua.pop(1);
    }
    let ratio = settings.sparse_ratio.get();
    if ratio > 0 && largest > items.wrapping_mul(ratio) && largest > settings.sparse_safe.get() {
        if settings.sparse_convert.get() == 0 {
            return Err(refuse(lua, -1, "excessively sparse array"));
        }
        return Ok(-1);
    }
    Ok(largest)
}

fn append_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' | b'/' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0x00..=0x1f | 0x7f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&text[start..at]);
        start = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

fn append_number(
    lua: Lua,
    settings: &Settings,
    index: i32,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    /// Below this, %.14g prints an integer in full.
    const PLAIN: f64 = 1e14;
    let value = lua.number(index);
    if !value.is_finite() {
        match settings.encode_invalid_numbers.get() {
            0 => return Err(refuse(lua, index, "must not be NaN or Inf")),
            1 if value.is_nan() => out.extend_from_slice(b"nan"),
            1 => Lua::write_number(value, settings.encode_number_precision.get(), out),
            _ => out.extend_from_slice(b"null"),
        }
        return Ok(());
    }
    let precision = settings.encode_number_precision.get();
    let is_plain = precision == 14 && value.abs() < PLAIN && value.fract() == 0.0;
    if is_plain && (value != 0.0 || value.is_sign_positive()) {
        number::format_i64(truncate(value), out);
    } else {
        Lua::write_number(value, precision, out);
    }
    Ok(())
}

// ---- decoding

/// One token; strings leave their text in the parser.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(text) => text,
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last token began, or where it went wrong.
    index: usize,
    /// The text of the last string.
    string: Vec<u8>,
    depth: i32,
    settings: &'a Settings,
}

fn decode(lua: Lua) -> Results {
    if lua.top() != 1 {
        return Err(Fault::argument(1, "expected 1 argument"));
    }
    let text = bytes_argument(lua, 1)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Fault::here("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut string = lua.shared().scratch.take();
    string.clear();
    let mut parser = Parser { text, at: 0, index: 0, string, depth: 0, settings: lua.settings() };
    let parsed = parser.document(lua);
    lua.shared().keep_scratch(parser.string);
    parsed.map(|()| 1)
}

impl Parser<'_> {
    fn document(&mut self, lua: Lua) -> Result<(), Fault> {
        let token = self.next();
        self.value(lua, token)?;
        match self.next() {
            Token::End => Ok(()),
            other => Err(self.unexpected("the end", other)),
        }
    }

    /// The byte at a position; the text ends in a 0.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn rest_is(&self, word: &[u8]) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word))
    }

    fn error(&mut self, text: &'static str) -> Token {
        self.index = self.at;
        Token::Error(text)
    }

    fn unexpected(&self, wanted: &str, found: Token) -> Fault {
        let at = self.index + 1;
        Fault::here(format!("Expected {wanted} but found {} at character {at}", found.name()))
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.index = self.at;
        let single = match self.byte(self.at) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                let strict = self.settings.decode_invalid_numbers.get() == 0;
                if strict && self.is_odd_number() {
                    return self.error("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return self.error("invalid token"),
        };
        self.at += 1;
        single
    }

    fn word(&mut self) -> Token {
        for (word, token) in [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ] {
            if self.rest_is(word) {
                self.at += word.len();
                return token;
            }
        }
        if self.settings.decode_invalid_numbers.get() != 0 && self.is_odd_number() {
            return self.number();
        }
        self.error("invalid token")
    }

    /// Whether what stands here is a number to C but not to JSON.
    fn is_odd_number(&self) -> bool {
        let mut at = self.at;
        if self.byte(at) == b'+' {
            return true;
        }
        if self.byte(at) == b'-' {
            at += 1;
        }
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            first if (first as i8) <= b'9' as i8 => false,
            _ => self.text.get(at..at + 3).is_some_and(|word| {
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }),
        }
    }

    fn number(&mut self) -> Token {
        let (value, len) = Lua::read_number(self.text, self.at);
        if len == 0 {
            return self.error("invalid number");
        }
        self.at += len;
        Token::Number(value)
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        self.string.clear();
        loop {
            match self.byte(self.at) {
                b'"' => break,
                0 => return self.error("unexpected end of string"),
                b'\\' => {
                    let plain = match self.byte(self.at + 1) {
                        escaped @ (b'"' | b'\\' | b'/') => escaped,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b'u' => {
                            if !self.unicode() {
                                return self.error("invalid unicode escape code");
                            }
                            continue;
                        }
                        _ => return self.error("invalid escape code"),
                    };
                    self.string.push(plain);
                    self.at += 2;
                }
                byte => {
                    self.string.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::String
    }

    /// Four hexadecimal digits at a position.
    fn hex(&self, at: usize) -> Option<u32> {
        (0..4).try_fold(0, |value, offset| {
            let digit = (self.byte(at + offset) as char).to_digit(16)?;
            Some(value * 16 + digit)
        })
    }

    /// Reads `\uXXXX`, or two of them that make one character.
    fn unicode(&mut self) -> bool {
        let Some(mut code) = self.hex(self.at + 2) else { return false };
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            if code & 0x400 != 0
                || self.byte(self.at + 6) != b'\\'
                || self.byte(self.at + 7) != b'u'
            {
                return false;
            }
            match self.hex(self.at + 8) {
                Some(low) if low & 0xfc00 == 0xdc00 => {
                    code = (((code & 0x3ff) << 10) | (low & 0x3ff)) + 0x1_0000;
                }
                _ => return false,
            }
            len = 12;
        }
        let Some(character) = char::from_u32(code) else { return false };
        self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        true
    }

    fn value(&mut self, lua: Lua, token: Token) -> Result<(), Fault> {
        match token {
            Token::String => lua.push_bytes(&self.string),
            Token::Number(value) => lua.push_number(value),
            Token::Boolean(value) => lua.push_boolean(value),
            Token::Null => lua.push_null(),
            Token::ObjectBegin => self.object(lua)?,
            Token::ArrayBegin => self.array(lua)?,
            other => return Err(self.unexpected("value", other)),
        }
        Ok(())
    }

    fn descend(&mut self, lua: Lua, slots: i32) -> Result<(), Fault> {
        self.depth += 1;
        let is_deep = self.depth > self.settings.decode_max_depth.get();
        if !is_deep && lua.has_room(slots) && lua.shared().has_stack() {
            return Ok(());
        }
        Err(Fault::here(format!(
            "Found too many nested data structures ({}) at character {}",
            self.depth, self.at
        )))
    }

    fn object(&mut self, lua: Lua) -> Result<(), Fault> {
        self.descend(lua, 3)?;
        lua.new_table(0, 0);
        let mut token = self.next();
        if token != Token::ObjectEnd {
            loop {
                if token != Token::String {
                    return Err(self.unexpected("object key string", token));
                }
                lua.push_bytes(&self.string);
                match self.next() {
                    Token::Colon => {}
                    other => return Err(self.unexpected("colon", other)),
                }
                let value = self.next();
                self.value(lua, value)?;
                lua.raw_set(-3);
                match self.next() {
                    Token::ObjectEnd => break,
                    Token::Comma => token = self.next(),
                    other => return Err(self.unexpected("comma or object end", other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, lua: Lua) -> Result<(), Fault> {
        self.descend(lua, 2)?;
        lua.new_table(0, 0);
        let mut token = self.next();
        if token != Token::ArrayEnd {
            for position in 1.. {
                self.value(lua, token)?;
                lua.raw_set_at(-2, position);
                match self.next() {
                    Token::ArrayEnd => break,
                    Token::Comma => token = self.next(),
                    other => return Err(self.unexpected("comma or array end", other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}
