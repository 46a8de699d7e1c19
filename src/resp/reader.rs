//! Replies back to values: for scripts, the embedded server and tests.
//!
//! Invariant: reading is total. Bytes that are no reply give `None`, never a panic.

use crate::types::number::{parse_f64, parse_i64};
use memchr::memchr;
use std::fmt;

mod text;

pub use text::Text;

/// A reply.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(Text),
    /// `-text`, code word included.
    Error(Text),
    /// `:number`
    Int(i64),
    /// `$bytes`
    Bulk(Vec<u8>),
    /// Any null.
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `=`: the format and the text.
    Verbatim(Text, Vec<u8>),
    /// `(`
    BigNumber(Text),
}

/// Bytes are shown as text, what is no text escaped.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => f.debug_tuple("Simple").field(text).finish(),
            Value::Error(text) => f.debug_tuple("Error").field(text).finish(),
            Value::Int(number) => f.debug_tuple("Int").field(number).finish(),
            Value::Bulk(bytes) => f.debug_tuple("Bulk").field(&text::Shown(bytes)).finish(),
            Value::Null => f.write_str("Null"),
            Value::Array(items) => f.debug_tuple("Array").field(items).finish(),
            Value::Map(pairs) => f.debug_tuple("Map").field(pairs).finish(),
            Value::Set(items) => f.debug_tuple("Set").field(items).finish(),
            Value::Push(items) => f.debug_tuple("Push").field(items).finish(),
            Value::Double(number) => f.debug_tuple("Double").field(number).finish(),
            Value::Boolean(yes) => f.debug_tuple("Boolean").field(yes).finish(),
            Value::Verbatim(format, bytes) => {
                f.debug_tuple("Verbatim").field(format).field(&text::Shown(bytes)).finish()
            }
            Value::BigNumber(digits) => f.debug_tuple("BigNumber").field(digits).finish(),
        }
    }
}

/// A text equals a reply that says just this, of whatever kind; an error is none.
impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        match self {
            Value::Simple(text) => *text == *other,
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes == other.as_bytes(),
            _ => false,
        }
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        matches!(self, Value::Int(number) if number == other)
    }
}

/// A list equals an array, a set or a push of items that equal its own, in this order.
impl<T, const N: usize> PartialEq<[T; N]> for Value
where
    Value: PartialEq<T>,
{
    fn eq(&self, other: &[T; N]) -> bool {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => {
                items.len() == N && items.iter().zip(other).all(|(item, other)| item == other)
            }
            _ => false,
        }
    }
}

const DEPTH_MAX: usize = 128;

/// Reads one reply; returns it and its length in bytes, or `None` when it is incomplete or damaged.
pub fn read(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut at = 0;
    let value = read_at(bytes, &mut at, 0)?;
    Some((value, at))
}

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = memchr(b'\r', rest)?;
    if rest.get(end + 1) != Some(&b'\n') {
        return None;
    }
    *at += end + 2;
    Some(&rest[..end])
}

fn read_at(bytes: &[u8], at: &mut usize, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    let kind = *bytes.get(*at)?;
    *at += 1;
    let head = line(bytes, at)?;
    let text = || Text::from(head);
    Some(match kind {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Int(parse_i64(head)?),
        b',' => Value::Double(parse_f64(head).unwrap_or(f64::NAN)),
        b'#' => Value::Boolean(head == b"t"),
        b'(' => Value::BigNumber(text()),
        b'_' => Value::Null,
        b'$' | b'=' | b'!' => {
            let Ok(len) = usize::try_from(parse_i64(head)?) else {
                return Some(Value::Null);
            };
            let body = bytes.get(*at..at.checked_add(len)?)?;
            bytes.get(*at + len..*at + len + 2)?;
            *at += len + 2;
            match kind {
                b'$' => Value::Bulk(body.to_vec()),
                b'!' => Value::Error(Text::from(body)),
                _ => Value::Verbatim(Text::from(body.get(..3)?), body.get(4..)?.to_vec()),
            }
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let Ok(len) = usize::try_from(parse_i64(head)?) else {
                return Some(Value::Null);
            };
            let mut items = Vec::new();
            for _ in 0..if matches!(kind, b'%' | b'|') { len.checked_mul(2)? } else { len } {
                items.push(read_at(bytes, at, depth + 1)?);
            }
            match kind {
                b'*' => Value::Array(items),
                b'~' => Value::Set(items),
                b'>' => Value::Push(items),
                _ => {
                    let mut pairs = Vec::with_capacity(len);
                    let mut items = items.into_iter();
                    while let (Some(key), Some(value)) = (items.next(), items.next()) {
                        pairs.push((key, value));
                    }
                    Value::Map(pairs)
                }
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_read_well() {
        let reply = |bytes: &[u8]| read(bytes).unwrap().0;
        assert_eq!(reply(b"+OK\r\n"), "OK");
        assert_eq!(reply(b"$2\r\nhi\r\n"), "hi");
        assert_eq!(reply(b":7\r\n"), 7);
        assert_eq!(reply(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"), ["a", "b"]);
        assert_ne!(reply(b"-OK\r\n"), "OK");
        assert_ne!(reply(b"*1\r\n$1\r\na\r\n"), ["a", "b"]);
        let shown = format!("{:?}", reply(b"*2\r\n$3\r\na\"\n\r\n$2\r\n\xff\x00\r\n"));
        assert_eq!(shown, r#"Array([Bulk("a\"\n"), Bulk(b"\xff\x00")])"#);
        let Value::Error(text) = reply(b"-ERR \xff\xfe\r\n") else { panic!("an error") };
        assert_eq!(text.as_bytes(), b"ERR \xff\xfe");
        assert_eq!(format!("{:?}", reply(b"-ERR \xff\r\n")), r#"Error(b"ERR \xff")"#);
        assert_eq!(reply(b"+OK\r\n"), Value::Simple("OK".into()));
        assert_eq!(format!("{:?}", reply(b"=6\r\ntxt:hi\r\n")), r#"Verbatim("txt", "hi")"#);
    }
}
