//! Replies as text, in the manner of redis-cli, but so that different replies never look alike.
//!
//! `1)` array, `1#` map, `1~` set, `1>` push, `1|` attribute; `(nil)` is RESP2's null bulk,
//! `(nil array)` its null array, `(null)` RESP3's null.

use crate::wire::Reply;
use crate::words::quote;

/// The lines that stand for a reply.
pub fn lines(reply: &Reply) -> Vec<String> {
    let one = match reply {
        Reply::Status(text) if is_plain(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Status(text) => format!("(status) {}", quote(text)),
        Reply::Error(text) => format!("(error) {}", visible(text)),
        Reply::Int(n) => format!("(integer) {n}"),
        Reply::Bulk(bytes) => quote(bytes),
        Reply::NilBulk => "(nil)".into(),
        Reply::NilArray => "(nil array)".into(),
        Reply::Null => "(null)".into(),
        Reply::Double(text) => format!("(double) {}", visible(text)),
        Reply::Big(text) => format!("(big number) {}", visible(text)),
        Reply::Bool(claim) => format!("({claim})"),
        Reply::Verbatim(text) => format!("(verbatim) {}", quote(text)),
        Reply::Closed => "(closed)".into(),
        Reply::Array(items) => return list(items, ')', "(empty array)"),
        Reply::Set(items) => return list(items, '~', "(empty set)"),
        Reply::Push(items) => return list(items, '>', "(empty push)"),
        Reply::Map(pairs) => return map(pairs, '#', "(empty map)"),
        Reply::Attribute(pairs) => return map(pairs, '|', "(empty attribute)"),
    };
    vec![one]
}

/// Plain enough not to be taken for a line of another kind.
fn is_plain(text: &[u8]) -> bool {
    let ok = |b: &u8| b.is_ascii_alphanumeric() || b" _-.,:/+'!=[]".contains(b);
    text.first().is_some_and(u8::is_ascii_alphanumeric) && text.iter().all(ok)
}

fn visible(text: &[u8]) -> String {
    let quoted = quote(text);
    if text.iter().all(|b| (b' '..=b'~').contains(b)) && !text.ends_with(b" ") {
        return String::from_utf8_lossy(text).into_owned();
    }
    quoted
}

fn list(items: &[Reply], sign: char, empty: &str) -> Vec<String> {
    let width = items.len().to_string().len();
    numbered(items.iter().map(lines), sign, width, empty)
}

fn map(pairs: &[(Reply, Reply)], sign: char, empty: &str) -> Vec<String> {
    let width = pairs.len().to_string().len();
    let blocks = pairs.iter().map(|(key, value)| {
        let (mut block, value) = (lines(key), lines(value));
        let last = block.last_mut().expect("a reply has a line");
        last.push_str(" =>");
        if let [only] = &value[..] {
            last.push(' ');
            last.push_str(only);
        } else {
            block.extend(value.iter().map(|line| format!("   {line}")));
        }
        block
    });
    numbered(blocks, sign, width, empty)
}

fn numbered(
    blocks: impl Iterator<Item = Vec<String>>,
    sign: char,
    width: usize,
    empty: &str,
) -> Vec<String> {
    let mut out = Vec::new();
    for (at, block) in blocks.enumerate() {
        for (row, line) in block.iter().enumerate() {
            out.push(match row {
                0 => format!("{:>width$}{sign} {line}", at + 1),
                _ => format!("{:width$}  {line}", ""),
            });
        }
    }
    if out.is_empty() {
        out.push(empty.into());
    }
    out
}

#[test]
fn nested_replies_line_up() {
    let reply = Reply::Array(vec![
        Reply::Bulk(b"q".to_vec()),
        Reply::Map(vec![
            (Reply::Status(b"k".to_vec()), Reply::Set(vec![Reply::Int(1), Reply::Null])),
            (Reply::Bulk(b"n".to_vec()), Reply::NilArray),
        ]),
        Reply::Array(vec![]),
    ]);
    let expected = [
        "1) \"q\"",
        "2) 1# k =>",
        "         1~ (integer) 1",
        "         2~ (null)",
        "   2# \"n\" => (nil array)",
        "3) (empty array)",
    ];
    assert_eq!(lines(&reply), expected);
}
