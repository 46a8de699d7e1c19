//! Replies back to values: for scripts, the embedded server and tests.
//!
//! Invariant: reading is total. Bytes that are no reply give an error, never a panic, and no length
//! that they state is trusted.

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

/// Aggregates within one another.
const DEPTH_MAX: usize = 128;

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its end has not come.
    Incomplete,
    /// It is nested too deeply for a value, and was skipped.
    TooDeep,
    /// It is no reply: nothing that follows can be read either.
    Damaged,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Incomplete => f.write_str("the reply is incomplete"),
            Unread::TooDeep => write!(f, "the reply is nested more than {DEPTH_MAX} levels deep"),
            Unread::Damaged => f.write_str("the reply is damaged"),
        }
    }
}

impl std::error::Error for Unread {}

/// Reads the reply that `bytes` begin with; returns it and its length in bytes.
pub fn read(bytes: &[u8]) -> Result<(Value, usize), Unread> {
    let mut at = 0;
    let value = Parser::default().next(bytes, &mut at)?;
    Ok((value, at))
}

/// An aggregate of which elements are to come.
#[derive(Debug)]
struct Open {
    kind: u8,
    left: usize,
    items: Vec<Value>,
}

impl Open {
    fn close(self) -> Value {
        match self.kind {
            b'*' => Value::Array(self.items),
            b'~' => Value::Set(self.items),
            b'>' => Value::Push(self.items),
            _ => {
                let mut items = self.items.into_iter();
                let pair = || Some((items.next()?, items.next()?));
                Value::Map(std::iter::from_fn(pair).collect())
            }
        }
    }
}

/// Reads replies as they come, no element twice.
#[derive(Debug, Default)]
pub struct Parser {
    open: Vec<Open>,
    is_too_deep: bool,
    /// Bytes of the present line in which its end was not found.
    searched: usize,
}

impl Parser {
    /// Goes on at `at`, which moves behind all that has been taken in: what is before it need not
    /// be there the next time. What has come only in part is wanted once more, with more behind it.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Value, Unread> {
        loop {
            let Some(mut value) = self.element(bytes, at)? else { continue };
            loop {
                let Some(parent) = self.open.last_mut() else {
                    let is_too_deep = std::mem::take(&mut self.is_too_deep);
                    return if is_too_deep { Err(Unread::TooDeep) } else { Ok(value) };
                };
                parent.left -= 1;
                if !self.is_too_deep {
                    parent.items.push(value);
                }
                if parent.left > 0 {
                    break;
                }
                let Some(whole) = self.open.pop() else { break };
                value = whole.close();
            }
        }
    }

    /// The line at `at`, and where the next one begins.
    fn line<'a>(&mut self, bytes: &'a [u8], at: usize) -> Result<(&'a [u8], usize), Unread> {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = memchr(b'\r', rest.get(self.searched..).unwrap_or_default()) else {
            self.searched = rest.len();
            return Err(Unread::Incomplete);
        };
        let end = self.searched + end;
        self.searched = end;
        match rest.get(end + 1) {
            None => Err(Unread::Incomplete),
            Some(b'\n') => {
                self.searched = 0;
                Ok((&rest[..end], at + end + 2))
            }
            Some(_) => Err(Unread::Damaged),
        }
    }

    /// The next element; `None` where it opens an aggregate.
    fn element(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Value>, Unread> {
        let (line, next) = self.line(bytes, *at)?;
        let (&kind, head) = line.split_first().ok_or(Unread::Damaged)?;
        let text = || Text::from(head);
        let number = || parse_i64(head).ok_or(Unread::Damaged);
        let value = match kind {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Int(number()?),
            b',' => Value::Double(parse_f64(head).unwrap_or(f64::NAN)),
            b'#' => Value::Boolean(head == b"t"),
            b'(' => Value::BigNumber(text()),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => match usize::try_from(number()?) {
                Err(_) => Value::Null,
                Ok(len) => {
                    let end = next.checked_add(len).ok_or(Unread::Damaged)?;
                    let body = bytes.get(next..end).ok_or(Unread::Incomplete)?;
                    bytes.get(end..).and_then(|rest| rest.get(..2)).ok_or(Unread::Incomplete)?;
                    *at = end + 2;
                    return blob(kind, body).map(Some);
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(number()?) {
                Err(_) => Value::Null,
                Ok(len) => {
                    let pairs = matches!(kind, b'%' | b'|');
                    let left = len.checked_mul(1 + usize::from(pairs)).ok_or(Unread::Damaged)?;
                    let open = Open { kind, left, items: Vec::new() };
                    *at = next;
                    if left == 0 {
                        return Ok(Some(open.close()));
                    }
                    self.is_too_deep |= self.open.len() >= DEPTH_MAX;
                    self.open.push(open);
                    return Ok(None);
                }
            },
            _ => return Err(Unread::Damaged),
        };
        *at = next;
        Ok(Some(value))
    }
}

/// What a length and so many bytes are.
fn blob(kind: u8, body: &[u8]) -> Result<Value, Unread> {
    Ok(match kind {
        b'$' => Value::Bulk(body.to_vec()),
        b'!' => Value::Error(Text::from(body)),
        _ => {
            let (format, text) = body.split_at_checked(4).ok_or(Unread::Damaged)?;
            Value::Verbatim(Text::from(&format[..3]), text.to_vec())
        }
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

    fn nested(levels: usize) -> Vec<u8> {
        [b"*1\r\n".repeat(levels), b":1\r\n".to_vec()].concat()
    }

    #[test]
    fn what_is_not_whole_is_told_from_what_never_will_be() {
        for whole in [&b"+OK\r\n"[..], b"$5\r\nhe\r\no\r\n", b"%1\r\n+a\r\n*2\r\n:1\r\n$-1\r\n"] {
            for len in 0..whole.len() {
                assert_eq!(read(&whole[..len]), Err(Unread::Incomplete), "{len} bytes");
            }
            assert_eq!(read(whole).unwrap().1, whole.len());
        }
        for bytes in [&b"\r\n"[..], b"+a\rb", b"?1\r\n", b"$x\r\n", b"=2\r\nab\r\n", b"*x\r\n"] {
            assert_eq!(read(bytes), Err(Unread::Damaged));
        }
        let huge = [&b"*9223372036854775807\r\n"[..], b"%9223372036854775807\r\n"];
        assert_eq!(huge.map(|bytes| read(bytes).unwrap_err()), [Unread::Incomplete; 2]);
        assert_eq!(read(b"$9223372036854775807\r\n"), Err(Unread::Incomplete));
    }

    #[test]
    fn a_reply_that_is_too_deep_is_skipped_as_a_whole() {
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        let mut bytes = [&b"*3\r\n:0\r\n"[..], &nested(100_000), b"$1\r\na\r\n"].concat();
        assert_eq!(read(&bytes), Err(Unread::TooDeep));
        assert_eq!(read(&bytes[..bytes.len() - 1]), Err(Unread::Incomplete));
        bytes.extend_from_slice(b"+next\r\n");
        let (mut parser, mut at) = (Parser::default(), 0);
        assert_eq!(parser.next(&bytes, &mut at), Err(Unread::TooDeep));
        assert_eq!(parser.next(&bytes, &mut at).unwrap(), "next");
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn no_element_is_read_twice() {
        let mut bytes = b"*1000\r\n".to_vec();
        (0..1000).for_each(|_| bytes.extend_from_slice(b"*2\r\n$3\r\nabc\r\n+a long line\r\n"));
        let (mut parser, mut arrived, mut at) = (Parser::default(), Vec::new(), 0);
        for (number, piece) in bytes.chunks(5).enumerate() {
            arrived.extend_from_slice(piece);
            let read = parser.next(&arrived, &mut at);
            match read {
                Ok(_) => assert_eq!(number + 1, bytes.len().div_ceil(5)),
                Err(why) => assert_eq!(why, Unread::Incomplete),
            }
            arrived.drain(..std::mem::take(&mut at));
            assert!(arrived.len() < b"+a long line\r\n".len(), "what was read is wanted again");
        }
        assert!(arrived.is_empty());
    }
}
