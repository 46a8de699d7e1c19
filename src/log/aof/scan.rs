//! The whole records of a file of commands.
//!
//! A file is a sequence of requests as clients send them, and of annotations: lines that begin
//! with `#`, of which `#TS:seconds` says when what follows was written.
//!
//! Invariant: nothing is believed before it is there: a length that is announced makes nobody
//! allocate, and a record counts only when its last byte has arrived.

use smallvec::SmallVec;
use std::ops::Range;

/// The longest line that announces a length; annotations may be as long as in Redis.
const LINE_BYTES_MAX: usize = 1024;

/// Where the words of a command stand.
pub type Words = SmallVec<[Range<usize>; 8]>;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command of this many bytes, the words of which have been told.
    Command(usize),
    /// An annotation of this many bytes, its line end included.
    Note(usize),
    /// Not all of it has arrived.
    Torn,
    /// Nothing that belongs there; with what should stand at this place, and what does.
    Broken(Fault),
}

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes from the beginning of the record.
    pub at: usize,
    /// What should stand there.
    pub expected: Expected,
}

/// What should stand somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The `*` or `$` of an announced length.
    Prefix(u8),
    /// A length that makes sense.
    Length,
    /// The end of a word.
    LineEnd,
}

/// Looks at the first record.
pub fn next(input: &[u8], words: &mut Words) -> Step {
    words.clear();
    match input.first() {
        None => return Step::Torn,
        Some(b'#') => return note(input),
        Some(b'*') => {}
        Some(_) => return broken(0, Expected::Prefix(b'*')),
    }
    let (count, mut at) = match number(input, 0) {
        Line::Whole(count, end) if count > 0 => (count, end),
        Line::Whole(..) | Line::Nonsense => return broken(0, Expected::Length),
        Line::Torn => return Step::Torn,
    };
    for _ in 0..count {
        match input.get(at) {
            None => return Step::Torn,
            Some(b'$') => {}
            Some(_) => return broken(at, Expected::Prefix(b'$')),
        }
        let (len, start) = match number(input, at) {
            Line::Whole(len, end) => (len, end),
            Line::Nonsense => return broken(at, Expected::Length),
            Line::Torn => return Step::Torn,
        };
        let Some(end) = start.checked_add(len).filter(|end| *end < usize::MAX - 2) else {
            return broken(at, Expected::Length);
        };
        match input.get(end..end + 2) {
            None => return Step::Torn,
            Some(b"\r\n") => {}
            Some(_) => return broken(end, Expected::LineEnd),
        }
        words.push(start..end);
        at = end + 2;
    }
    Step::Command(at)
}

/// The second that an annotation tells.
pub fn timestamp(note: &[u8]) -> Option<i64> {
    let digits = note.strip_prefix(b"#TS:")?;
    let digits = digits.strip_suffix(b"\r\n").or(digits.strip_suffix(b"\n")).unwrap_or(digits);
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn broken(at: usize, expected: Expected) -> Step {
    Step::Broken(Fault { at, expected })
}

fn note(input: &[u8]) -> Step {
    let line = &input[..input.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', line) {
        Some(end) => Step::Note(end + 1),
        None if line.len() == LINE_BYTES_MAX => broken(0, Expected::LineEnd),
        None => Step::Torn,
    }
}

enum Line {
    /// The number, and where the line ends.
    Whole(usize, usize),
    Torn,
    Nonsense,
}

/// The number after the byte at `at`, up to the end of its line.
#[inline]
fn number(input: &[u8], at: usize) -> Line {
    let mut number = 0usize;
    let mut end = at + 1;
    loop {
        match input.get(end) {
            Some(digit @ b'0'..=b'9') => {
                let more = number.checked_mul(10);
                let more = more.and_then(|more| more.checked_add(usize::from(digit - b'0')));
                let Some(more) = more else { return Line::Nonsense };
                number = more;
            }
            Some(b'\r') if end > at + 1 => break,
            Some(_) => return Line::Nonsense,
            None => return Line::Torn,
        }
        end += 1;
    }
    match input.get(end + 1) {
        Some(b'\n') => Line::Whole(number, end + 2),
        Some(_) => Line::Nonsense,
        None => Line::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nv1\r\n";

    fn step(input: &[u8]) -> Step {
        next(input, &mut Words::new())
    }

    #[test]
    fn a_record_counts_when_its_last_byte_is_there() {
        let mut words = Words::new();
        assert_eq!(next(SET, &mut words), Step::Command(SET.len()));
        let words: Vec<&[u8]> = words.iter().map(|word| &SET[word.clone()]).collect();
        assert_eq!(words, [&b"SET"[..], b"k", b"v1"]);
        for cut in 0..SET.len() {
            assert_eq!(step(&SET[..cut]), Step::Torn, "{cut}");
        }
        assert_eq!(step(b"#TS:1628217470\r\n*1"), Step::Note(16));
        assert_eq!(timestamp(b"#TS:1628217470\r\n"), Some(1628217470));
        assert_eq!(timestamp(b"#other\r\n"), None);
    }

    #[test]
    fn nonsense_is_told_with_its_place() {
        let at = |input: &[u8]| match step(input) {
            Step::Broken(fault) => (fault.at, fault.expected),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(b"SET k v\r\n"), (0, Expected::Prefix(b'*')));
        assert_eq!(at(b"*0\r\n"), (0, Expected::Length));
        assert_eq!(at(b"*-1\r\n"), (0, Expected::Length));
        assert_eq!(at(b"*99999999999999999999\r\n"), (0, Expected::Length));
        assert_eq!(at(b"*1\r\n*1\r\n"), (4, Expected::Prefix(b'$')));
        assert_eq!(at(b"*1\r\n$x\r\n"), (4, Expected::Length));
        assert_eq!(at(b"*1\r\n$18446744073709551615\r\nab\r\n"), (4, Expected::Length));
        assert_eq!(at(b"*1\r\n$2\r\nabcde"), (10, Expected::LineEnd));
        assert_eq!(step(b"*1\r\n$99999999999\r\nab\r\n"), Step::Torn);
    }

    #[test]
    fn flipped_bytes_never_panic() {
        for at in 0..SET.len() {
            for bit in 0..8 {
                let mut flipped = SET.to_vec();
                flipped[at] ^= 1 << bit;
                let _ = step(&flipped);
            }
        }
    }
}
