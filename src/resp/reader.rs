//! Replies back to values: for scripts, the embedded server and tests.
//!
//! Invariant: reading is total. Bytes that are no reply give `None`, never a panic.

use crate::types::number::{parse_f64, parse_i64};
use memchr::memchr;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(String),
    /// `-text`, code word included.
    Error(String),
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
    Verbatim(String, Vec<u8>),
    /// `(`
    BigNumber(String),
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
    let text = || String::from_utf8_lossy(head).into_owned();
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
                b'!' => Value::Error(String::from_utf8_lossy(body).into_owned()),
                _ => Value::Verbatim(
                    String::from_utf8_lossy(body.get(..3)?).into_owned(),
                    body.get(4..)?.to_vec(),
                ),
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
