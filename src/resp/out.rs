//! Writes replies, in RESP2 or RESP3.
//!
//! Invariant: an [`Out`] is consumed by exactly one method that returns [`Done`], so a handler
//! that replies twice or never does not compile. Aggregates stream into the buffer: their writer
//! counts down (in debug builds) so that a header never lies about its length.
//!
//! A reply may be bounded: once the buffer is longer than its bound, the items of aggregates are
//! counted and not written, because the client is going to be cut off and gets none of it. So an
//! endless reply takes no more memory than the bound and one item.

use crate::error::Error;
use crate::resp::replies::Replies;
use crate::types::number::format_f64;
use bytes::Bytes;

/// From this length on a reply makes room for all that it will be.
const FORESEEN_FROM_BYTES: usize = 256 << 10;
/// As much room as a reply makes at once, until it is itself a good part of that.
const ROOM_BYTES_MAX: usize = 64 << 20;

/// Proof that a reply was written. Only this module makes one.
#[derive(Debug)]
pub struct Done(());

/// The right to write one reply.
#[derive(Debug)]
pub struct Out<'a> {
    buf: &'a mut Replies,
    resp3: bool,
    bound: Bound,
}

/// How long a buffer of replies may become. In steps of 1 KiB, so that an [`Out`] fits into two
/// registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(u32);

impl Bound {
    /// As long as it takes.
    pub const NONE: Bound = Bound(u32::MAX);

    /// So many bytes, rounded up; 0 is no bound.
    #[inline]
    pub fn of_bytes(bytes: u64) -> Bound {
        match bytes.div_ceil(1024) {
            0 => Bound::NONE,
            kib => Bound(u32::try_from(kib).unwrap_or(u32::MAX)),
        }
    }

    /// The bound in bytes.
    #[inline]
    pub fn bytes(self) -> usize {
        match self {
            Bound::NONE => usize::MAX,
            Bound(kib) => kib as usize * 1024,
        }
    }
}

impl<'a> Out<'a> {
    /// A writer at the end of `buf`.
    #[inline]
    pub fn new(buf: &'a mut Replies, resp3: bool) -> Self {
        Out::bounded(buf, resp3, Bound::NONE)
    }

    /// A writer at the end of `buf`, which must not become much longer than `bound`.
    #[inline]
    pub fn bounded(buf: &'a mut Replies, resp3: bool, bound: Bound) -> Self {
        Out { buf, resp3, bound }
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Bytes of replies that stand before this one and leave with it.
    pub fn bytes_before(&self) -> usize {
        self.buf.total_bytes()
    }

    /// The same writer in another protocol: HELLO answers in the one it has switched to.
    pub fn in_protocol(mut self, resp3: bool) -> Self {
        self.resp3 = resp3;
        self
    }

    /// `+OK`
    #[inline]
    pub fn ok(self) -> Done {
        self.raw(b"+OK\r\n")
    }

    /// `+text`; the text has no line breaks.
    pub fn simple(self, text: &str) -> Done {
        self.one(|items| items.simple(text))
    }

    /// `-text`, line breaks made harmless.
    pub fn error(self, error: &Error) -> Done {
        self.one(|items| items.error(error))
    }

    /// `:number`
    #[inline]
    pub fn int(self, number: i64) -> Done {
        push_number(self.buf, b':', number);
        Done(())
    }

    /// `:1` or `:0`, which is how commands of RESP2 times answer yes and no.
    pub fn yes_no(self, yes: bool) -> Done {
        self.int(yes as i64)
    }

    /// `$length bytes`
    #[inline]
    pub fn bulk(self, bytes: &[u8]) -> Done {
        push_bulk(self.buf, bytes);
        Done(())
    }

    /// The same of bytes that `lend` gives: they are not copied when they are many.
    #[inline]
    pub fn bulk_or_lent(self, bytes: &[u8], lend: impl FnOnce() -> Bytes) -> Done {
        push_bulk_or_lent(self.buf, bytes, lend);
        Done(())
    }

    /// The same of bytes that nobody else needs.
    pub fn bulk_given(self, bytes: Vec<u8>) -> Done {
        match self.buf.would_lend(bytes.len()) {
            false => self.bulk(&bytes),
            true => {
                let bytes = Bytes::from(bytes);
                self.bulk_or_lent(&bytes, || bytes.clone())
            }
        }
    }

    /// A number as a bulk string.
    pub fn bulk_int(self, number: i64) -> Done {
        self.bulk(itoa::Buffer::new().format(number).as_bytes())
    }

    /// The bytes, or null.
    #[inline]
    pub fn bulk_or_null(self, bytes: Option<&[u8]>) -> Done {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// `$-1`, in RESP3 `_`
    pub fn null(self) -> Done {
        self.one(|items| items.null())
    }

    /// `*-1`, in RESP3 `_`
    pub fn null_array(self) -> Done {
        self.one(|items| items.null_array())
    }

    /// A double; in RESP2 a bulk string.
    pub fn double(self, number: f64) -> Done {
        self.one(|items| items.double(number))
    }

    /// `#t` or `#f`; in RESP2 `:1` or `:0`.
    pub fn boolean(self, yes: bool) -> Done {
        self.one(|items| items.boolean(yes))
    }

    /// A text with a format of three letters (`txt`); in RESP2 a bulk string.
    pub fn verbatim(self, format: &str, text: &[u8]) -> Done {
        self.one(|items| items.verbatim(format, text))
    }

    /// An array of `len` items, which the writer that comes back must write.
    pub fn array(self, len: usize) -> Items<'a> {
        let mut items = self.items();
        items.array(len);
        items
    }

    /// A map of `len` pairs; in RESP2 an array of twice as many.
    pub fn map(self, len: usize) -> Items<'a> {
        let mut items = self.items();
        items.map(len);
        items
    }

    /// A set of `len` items; in RESP2 an array.
    pub fn set(self, len: usize) -> Items<'a> {
        let mut items = self.items();
        items.set(len);
        items
    }

    /// An array whose length is known only at its end; costs one move of what was written.
    pub fn array_of_unknown_len(self) -> Items<'a> {
        self.late(b'*')
    }

    /// A set whose length is known only at its end.
    pub fn set_of_unknown_len(self) -> Items<'a> {
        let kind = if self.resp3 { b'~' } else { b'*' };
        self.late(kind)
    }

    /// A writer for several replies in a row (SUBSCRIBE answers once for every channel), or none
    /// at all (CLIENT REPLY OFF).
    pub fn several(self) -> Items<'a> {
        let mut items = self.items();
        items.free = true;
        items
    }

    /// A reply that is already encoded.
    #[inline]
    pub fn raw(self, encoded: &[u8]) -> Done {
        self.buf.extend_from_slice(encoded);
        Done(())
    }

    fn late(self, kind: u8) -> Items<'a> {
        let mut items = self.items();
        items.late = Some((items.buf.len(), kind, 0));
        items.open = 0;
        items
    }

    /// A reply that `write` appends already encoded.
    pub fn encoded(self, write: impl FnOnce(&mut Vec<u8>)) -> Done {
        write(self.buf);
        Done(())
    }

    fn items(self) -> Items<'a> {
        let (bound, start) = (self.bound.bytes(), self.buf.len());
        let mark = bound.min(start.saturating_add(FORESEEN_FROM_BYTES));
        let (open, announced, free, late) = (1, 0, false, None);
        Items { buf: self.buf, resp3: self.resp3, bound, mark, start, open, announced, free, late }
    }

    fn one(self, write: impl FnOnce(&mut Items<'a>)) -> Done {
        let mut items = self.items();
        write(&mut items);
        items.end()
    }
}

/// Writes the items of an aggregate. Nested aggregates announce themselves with `array`, `map` or
/// `set` and are followed by their items.
#[derive(Debug)]
pub struct Items<'a> {
    buf: &'a mut Replies,
    resp3: bool,
    /// Items are written while `buf` is not longer than this.
    bound: usize,
    /// When `buf` is longer than this, something is due: room is made for all that is announced,
    /// or the bound is reached.
    mark: usize,
    /// Where the reply begins in `buf`.
    start: usize,
    /// Items announced and not yet written.
    open: i64,
    /// Items announced altogether.
    announced: usize,
    /// Several replies in a row: nothing is counted.
    free: bool,
    /// Where the header goes, its kind, and the items so far, when the length was not known.
    late: Option<(usize, u8, usize)>,
}

impl Items<'_> {
    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Nothing more comes.
    pub fn end(mut self) -> Done {
        if let Some((at, kind, len)) = self.late.take() {
            let mut header = Vec::with_capacity(16);
            push_number(&mut header, kind, len as i64);
            self.buf.insert(at, header);
        } else {
            let whole = self.free || self.open == 0 || self.is_full();
            debug_assert!(whole, "{} items missing", self.open);
        }
        Done(())
    }

    /// The reply has outgrown its bound and will not be sent: what would go on for long may stop.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.buf.len() > self.bound
    }

    /// Items written so far, when the length was not announced.
    pub fn late_len(&self) -> usize {
        self.late.map_or(0, |(_, _, len)| len)
    }

    /// Counts an item that opens an aggregate of `opens`; false when it is not to be written.
    #[inline]
    fn count(&mut self, opens: usize) -> bool {
        match &mut self.late {
            Some((_, _, len)) if self.open == 0 => {
                *len += 1;
                self.open = opens as i64;
            }
            _ => {
                self.open += opens as i64 - 1;
                self.announced += opens;
            }
        }
        self.buf.len() <= self.mark || self.may_grow()
    }

    /// A long reply makes room for the items that are announced, if they are like those that are
    /// written: a buffer that grows step by step is copied again and again. False when the reply
    /// has outgrown its bound.
    #[cold]
    #[inline(never)]
    fn may_grow(&mut self) -> bool {
        let len = self.buf.len();
        let open = self.open.max(0) as usize;
        self.mark = self.bound;
        if self.late.is_none() && len <= self.bound && open > 0 {
            let done = (self.announced + 1).saturating_sub(open).max(1);
            let item_bytes = (len - self.start) as f64 / done as f64;
            let rest = (item_bytes * open as f64 * 1.02) as usize;
            // Not at one go for a reply that never ends.
            let room = rest.min(self.bound - len).min(ROOM_BYTES_MAX.max(3 * len));
            self.buf.reserve_exact(room);
            self.mark = self.bound.min(len + room);
        }
        !self.is_full()
    }

    /// `+text`
    pub fn simple(&mut self, text: &str) {
        if !self.count(0) {
            return;
        }
        self.buf.push(b'+');
        self.buf.extend_from_slice(text.as_bytes());
        self.buf.extend_from_slice(b"\r\n");
    }

    /// `-text`
    pub fn error(&mut self, error: &Error) {
        if !self.count(0) {
            return;
        }
        push_error(self.buf, error.text());
    }

    /// `:number`
    #[inline]
    pub fn int(&mut self, number: i64) {
        if !self.count(0) {
            return;
        }
        push_number(self.buf, b':', number);
    }

    /// `$length bytes`
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if !self.count(0) {
            return;
        }
        push_bulk(self.buf, bytes);
    }

    /// The same of bytes that `lend` gives: they are not copied when they are many.
    #[inline]
    pub fn bulk_or_lent(&mut self, bytes: &[u8], lend: impl FnOnce() -> Bytes) {
        if !self.count(0) {
            return;
        }
        push_bulk_or_lent(self.buf, bytes, lend);
    }

    /// A text as a bulk string.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// A number as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The bytes, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Null, in RESP2 a null bulk string.
    pub fn null(&mut self) {
        if !self.count(0) {
            return;
        }
        self.buf.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Null, in RESP2 a null array.
    pub fn null_array(&mut self) {
        if !self.count(0) {
            return;
        }
        self.buf.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A double; in RESP2 a bulk string.
    pub fn double(&mut self, number: f64) {
        if !self.count(0) {
            return;
        }
        let mut text = Vec::with_capacity(24);
        format_f64(number, &mut text);
        if self.resp3 {
            self.buf.push(b',');
            self.buf.extend_from_slice(&text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            push_bulk(self.buf, &text);
        }
    }

    /// `#t`; in RESP2 an integer.
    pub fn boolean(&mut self, yes: bool) {
        if !self.count(0) {
            return;
        }
        self.buf.extend_from_slice(match (self.resp3, yes) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        });
    }

    /// A text with a format; in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.count(0) {
            return;
        }
        if self.resp3 {
            push_number(self.buf, b'=', text.len() as i64 + 4);
            self.buf.extend_from_slice(format.as_bytes());
            self.buf.push(b':');
            self.buf.extend_from_slice(text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            push_bulk(self.buf, text);
        }
    }

    /// Announces an array of `len` items.
    pub fn array(&mut self, len: usize) {
        if !self.count(len) {
            return;
        }
        push_number(self.buf, b'*', len as i64);
    }

    /// Announces a map of `len` pairs.
    pub fn map(&mut self, len: usize) {
        if !self.count(len * 2) {
            return;
        }
        if self.resp3 {
            push_number(self.buf, b'%', len as i64);
        } else {
            push_number(self.buf, b'*', len as i64 * 2);
        }
    }

    /// Announces a set of `len` items.
    pub fn set(&mut self, len: usize) {
        if !self.count(len) {
            return;
        }
        push_number(self.buf, if self.resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// Announces a push of `len` items; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        if !self.count(len) {
            return;
        }
        push_number(self.buf, if self.resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// An array of as many items as `write` says that it wrote; costs one move of them.
    pub fn late_array(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        self.late_items(b'*', 1, write);
    }

    /// A map of as many pairs as `write` says that it wrote.
    pub fn late_map(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        match self.resp3 {
            true => self.late_items(b'%', 1, write),
            false => self.late_items(b'*', 2, write),
        }
    }

    fn late_items(&mut self, kind: u8, each: usize, write: impl FnOnce(&mut Self) -> usize) {
        self.count(0);
        let outside = (self.open, std::mem::replace(&mut self.free, true), self.late.take());
        let at = self.buf.len();
        let len = write(self) * each;
        (self.open, self.free, self.late) = outside;
        let mut header = Vec::with_capacity(16);
        push_number(&mut header, kind, len as i64);
        self.buf.insert(at, header);
    }

    /// One item that is already encoded.
    pub fn raw(&mut self, encoded: &[u8]) {
        if !self.count(0) {
            return;
        }
        self.buf.extend_from_slice(encoded);
    }
}

/// Appends `kind`, the number and a line break.
#[inline]
pub fn push_number(buf: &mut Vec<u8>, kind: u8, number: i64) {
    buf.push(kind);
    buf.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    buf.extend_from_slice(b"\r\n");
}

/// Appends a bulk string whose bytes may be lent.
#[inline(never)]
fn push_bulk_or_lent(buf: &mut Replies, bytes: &[u8], lend: impl FnOnce() -> Bytes) {
    if !buf.would_lend(bytes.len()) {
        return push_bulk(buf, bytes);
    }
    push_number(buf, b'$', bytes.len() as i64);
    buf.lend(lend());
    buf.extend_from_slice(b"\r\n");
}

/// Appends a bulk string.
#[inline]
pub fn push_bulk(buf: &mut Vec<u8>, bytes: &[u8]) {
    buf.reserve(bytes.len() + 16);
    let digit = |number: usize| b'0' + number as u8;
    match bytes.len() {
        len @ 0..=9 => buf.extend_from_slice(&[b'$', digit(len), b'\r', b'\n']),
        len @ 10..=99 => {
            buf.extend_from_slice(&[b'$', digit(len / 10), digit(len % 10), b'\r', b'\n']);
        }
        len => push_number(buf, b'$', len as i64),
    }
    buf.extend_from_slice(bytes);
    buf.extend_from_slice(b"\r\n");
}

/// Appends an error line, line breaks inside made spaces.
pub fn push_error(buf: &mut Vec<u8>, text: &[u8]) {
    buf.push(b'-');
    buf.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    buf.extend_from_slice(b"\r\n");
}

/// Appends a request: an array of bulk strings.
pub fn push_request<B: AsRef<[u8]>>(buf: &mut Vec<u8>, argv: &[B]) {
    push_number(buf, b'*', argv.len() as i64);
    for arg in argv {
        push_bulk(buf, arg.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Out};
    use crate::resp::replies::Replies;

    #[test]
    fn a_long_reply_makes_room_for_itself_once_and_an_endless_one_in_steps() {
        let mut buf = Replies::default();
        let mut items = Out::new(&mut buf, false).array(100_000);
        (0..100_000).for_each(|_| items.bulk(&[b'x'; 100]));
        let _ = items.end();
        assert_eq!(buf.len(), 9 + 100_000 * 108);
        assert!(buf.capacity() < buf.len() * 11 / 10, "{} for {}", buf.capacity(), buf.len());
        let mut buf = Replies::default();
        let mut items = Out::new(&mut buf, false).several();
        items.array(1 << 40);
        (0..100_000).for_each(|_| items.bulk(&[b'x'; 100]));
        let _ = items.end();
        assert!(buf.capacity() < 200 << 20);
    }

    #[test]
    fn headers_of_any_length_are_right() {
        for len in [0, 1, 9, 10, 11, 99, 100, 101, 1000, 12_345] {
            let mut buf = Replies::default();
            super::push_bulk(&mut buf, &vec![b'x'; len]);
            let expected = format!("${len}\r\n{}\r\n", "x".repeat(len));
            assert_eq!(*buf, expected.as_bytes());
        }
    }

    #[test]
    fn what_outgrows_its_bound_stops_growing() {
        let mut buf = Replies::default();
        let mut items = Out::bounded(&mut buf, false, Bound::of_bytes(1500)).array(1 << 40);
        let mut written = 0;
        while !items.is_full() {
            items.bulk(&[b'x'; 100]);
            written += 1;
        }
        assert_eq!(written, 19);
        items.late_array(|items| {
            items.bulk(&[b'x'; 4096]);
            1
        });
        items.end();
        assert_eq!(buf.len(), 16 + 19 * 108 + "*1\r\n".len());
    }

    #[test]
    fn late_lengths_count_the_outermost_items() {
        let mut buf = Replies::from(b"before".to_vec());
        let mut items = Out::new(&mut buf, false).array_of_unknown_len();
        items.array(2);
        items.int(1);
        items.array(0);
        items.int(2);
        items.late_array(|items| {
            items.array(1);
            items.late_map(|items| {
                items.int(3);
                items.int(4);
                1
            });
            1
        });
        assert_eq!(items.late_len(), 3);
        items.end();
        assert_eq!(*buf, b"before*3\r\n*2\r\n:1\r\n*0\r\n:2\r\n*1\r\n*1\r\n*2\r\n:3\r\n:4\r\n");
    }
}
