//! Entry ids: a pair of milliseconds and sequence, ordered as one 128-bit number, and the words
//! that clients write for them.

/// The id of a stream entry: `<ms>-<seq>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds; by default the time of the XADD.
    pub ms: u64,
    /// Distinguishes entries of one millisecond.
    pub seq: u64,
}

/// What XADD was told about the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdWish {
    /// `*`: the time, or the successor of the last id when the clock is not ahead of it.
    #[default]
    Auto,
    /// `<ms>-*`: the next free sequence within that millisecond.
    Ms(u64),
    /// `<ms>-<seq>` or `<ms>`, which means `<ms>-0`.
    Exact(StreamId),
}

impl StreamId {
    /// `0-0`, smaller than the id of any entry.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The largest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The id of these two halves.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The successor; `None` after the largest id.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The predecessor; `None` before `0-0`.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Whether this is `0-0`, which stands for "none".
    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }

    /// The 16 big-endian bytes by which Redis's files and radix tree know the id.
    pub fn to_be_bytes(self) -> [u8; 16] {
        let wide = (u128::from(self.ms) << 64) | u128::from(self.seq);
        wide.to_be_bytes()
    }

    /// The inverse of [`StreamId::to_be_bytes`].
    pub fn from_be_bytes(bytes: [u8; 16]) -> StreamId {
        let wide = u128::from_be_bytes(bytes);
        StreamId { ms: (wide >> 64) as u64, seq: wide as u64 }
    }

    /// Hands the text `<ms>-<seq>` to `use_text` without allocating.
    pub fn with_text<R>(self, use_text: impl FnOnce(&[u8]) -> R) -> R {
        let mut text = [0u8; 41];
        let mut digits = itoa::Buffer::new();
        let ms = digits.format(self.ms).as_bytes();
        let cut = ms.len();
        text[..cut].copy_from_slice(ms);
        text[cut] = b'-';
        let seq = digits.format(self.seq).as_bytes();
        let end = cut + 1 + seq.len();
        text[cut + 1..end].copy_from_slice(seq);
        use_text(&text[..end])
    }

    /// The text `<ms>-<seq>` as an owned string.
    pub fn to_text(self) -> Vec<u8> {
        self.with_text(<[u8]>::to_vec)
    }

    /// An id where `-` and `+` are not allowed; a missing sequence is `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match parse_wish(text, missing_seq)? {
            (id, true) => Some(id),
            (_, false) => None,
        }
    }

    /// An id, or `-` for the smallest and `+` for the largest.
    pub fn parse_bound(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match text_before_nul(text) {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            _ => StreamId::parse(text, missing_seq),
        }
    }
}

impl IdWish {
    /// What XADD's id argument says; `None` when it is not an id.
    pub fn parse(text: &[u8]) -> Option<IdWish> {
        if text == b"*" {
            return Some(IdWish::Auto);
        }
        Some(match parse_wish(text, 0)? {
            (id, true) => IdWish::Exact(id),
            (id, false) => IdWish::Ms(id.ms),
        })
    }
}

/// Redis: ids are C strings of less than 128 bytes, so what follows a NUL is not looked at.
fn text_before_nul(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// The id, and whether its sequence was given (it is not in `<ms>-*`).
fn parse_wish(text: &[u8], missing_seq: u64) -> Option<(StreamId, bool)> {
    if text.len() > 127 {
        return None;
    }
    let text = text_before_nul(text);
    let Some(dash) = memchr::memchr(b'-', text) else {
        return Some((StreamId::new(parse_u64(text)?, missing_seq), true));
    };
    let ms = parse_u64(&text[..dash])?;
    match &text[dash + 1..] {
        b"*" => Some((StreamId::new(ms, 0), false)),
        seq => Some((StreamId::new(ms, parse_u64(seq)?), true)),
    }
}

/// Redis: a canonical negative number is refused, and everything else that is not a canonical
/// integer goes through C's `strtoull`, which takes white space and a sign in front, leading
/// zeros, and wraps "-03" around.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(plain) = parse_plain(text) {
        return Some(plain);
    }
    if is_canonical_negative(text) {
        return None;
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let (negative, digits) = match text[start..].split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, &text[start..]),
    };
    let value = parse_plain(digits)?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// What `string2ll` takes as a number below zero.
fn is_canonical_negative(text: &[u8]) -> bool {
    match text.strip_prefix(b"-") {
        Some(digits) if digits.first() != Some(&b'0') => {
            parse_plain(digits).is_some_and(|value| value <= 1 << 63)
        }
        _ => false,
    }
}

/// One or more digits that fit into 64 bits.
fn parse_plain(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::{IdWish, StreamId};

    #[test]
    fn neighbours_cross_the_millisecond() {
        let edge = StreamId::new(5, u64::MAX);
        assert_eq!(edge.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).prev(), Some(edge));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.prev(), None);
        assert_eq!(StreamId::from_be_bytes(edge.to_be_bytes()), edge);
    }

    #[test]
    fn text_forms() {
        let id = |ms, seq| Some(StreamId::new(ms, seq));
        assert_eq!(StreamId::MAX.to_text(), b"18446744073709551615-18446744073709551615");
        assert_eq!(StreamId::parse(b"5-3", 9), id(5, 3));
        assert_eq!(StreamId::parse(b"5", 9), id(5, 9));
        assert_eq!(StreamId::parse(b"5-*", 0), None);
        assert_eq!(StreamId::parse(b"-", 0), None);
        assert_eq!(StreamId::parse(b"", 0), None);
        assert_eq!(StreamId::parse(b"5-", 0), None);
        assert_eq!(StreamId::parse(b"18446744073709551616-0", 0), None);
        assert_eq!(StreamId::parse_bound(b"+", 0), Some(StreamId::MAX));
        assert_eq!(StreamId::parse_bound(b"-", 0), Some(StreamId::MIN));
        assert_eq!(IdWish::parse(b"*"), Some(IdWish::Auto));
        assert_eq!(IdWish::parse(b"7-*"), Some(IdWish::Ms(7)));
        assert_eq!(IdWish::parse(b"7"), Some(IdWish::Exact(StreamId::new(7, 0))));
    }

    #[test]
    fn odd_numbers_as_strtoull_reads_them() {
        let id = |ms, seq| Some(StreamId::new(ms, seq));
        assert_eq!(StreamId::parse(b"05-003", 0), id(5, 3));
        assert_eq!(StreamId::parse(b"+5-1", 0), id(5, 1));
        assert_eq!(StreamId::parse(b" 5-1", 0), id(5, 1));
        assert_eq!(StreamId::parse(b"5-1\0x", 0), id(5, 1));
        assert_eq!(StreamId::parse(b"5--3", 0), None);
        assert_eq!(StreamId::parse(b"5--03", 0), id(5, u64::MAX - 2));
        assert_eq!(StreamId::parse(&[b'1'; 128], 0), None);
    }
}
