//! The argument cursor that a handler reads from.

use crate::error::{Error, Result};
use crate::types::number::{parse_f64, parse_i64, Extended};

/// Arguments of one command, its name first, and how far the handler has read.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    argv: &'a [&'a [u8]],
    next: usize,
    name: &'a str,
}

/// A word in upper case, to be matched with literals; words that are too long to be any option
/// read as empty.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    text: [u8; 32],
    len: usize,
}

impl Word {
    /// The word in upper case.
    pub fn of(bytes: &[u8]) -> Word {
        let mut word = Word { text: [0; 32], len: 0 };
        if bytes.len() <= 32 && bytes.is_ascii() {
            word.len = bytes.len();
            word.text[..bytes.len()].copy_from_slice(bytes);
            word.text.make_ascii_uppercase();
        }
        word
    }
}

impl std::ops::Deref for Word {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl<'a> Args<'a> {
    /// A cursor behind the command's name (and its subcommand's, when `skip` is 2). `name` is the
    /// full name in lower case.
    #[inline]
    pub fn new(argv: &'a [&'a [u8]], skip: usize, name: &'a str) -> Self {
        Args { argv, next: skip, name }
    }

    /// The command's full name in lower case: `set`, `client|kill`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// All words, the name first.
    pub fn all(&self) -> &'a [&'a [u8]] {
        self.argv
    }

    /// Words not yet read.
    pub fn rest(&self) -> &'a [&'a [u8]] {
        self.argv.get(self.next..).unwrap_or_default()
    }

    /// How many words are not yet read.
    pub fn left(&self) -> usize {
        self.argv.len().saturating_sub(self.next)
    }

    /// Whether every word has been read.
    pub fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// The next word. Dispatch has checked the arity, so a required one is there; past the end it
    /// is empty.
    #[inline]
    pub fn bytes(&mut self) -> &'a [u8] {
        let arg = self.argv.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        arg
    }

    /// The next word, a key.
    #[inline]
    pub fn key(&mut self) -> &'a [u8] {
        self.bytes()
    }

    /// The next word, or a syntax error at the end.
    pub fn required(&mut self) -> Result<&'a [u8]> {
        if self.is_done() {
            return Err(Error::Syntax);
        }
        Ok(self.bytes())
    }

    /// The next word without reading it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.next).copied()
    }

    /// Skips words.
    pub fn skip(&mut self, words: usize) {
        self.next += words;
    }

    /// The next word as an option, in upper case; `None` at the end.
    #[inline]
    pub fn option(&mut self) -> Option<Word> {
        self.peek()?;
        Some(Word::of(self.bytes()))
    }

    /// Reads the next word if it is `word`, in any case.
    pub fn accept(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.next += found as usize;
        found
    }

    /// The next word as an integer.
    #[inline]
    pub fn int(&mut self) -> Result<i64> {
        parse_i64(self.required()?).ok_or(Error::NotInteger)
    }

    /// The next word as a float.
    pub fn float(&mut self) -> Result<f64> {
        parse_f64(self.required()?).filter(|number| !number.is_nan()).ok_or(Error::NotFloat)
    }

    /// The next word as a timeout of a blocking command, in seconds with a fraction; gives the Unix
    /// time in milliseconds at which it ends, `None` for 0.
    pub fn timeout(&mut self, now_ms: i64) -> Result<Option<i64>> {
        let text = self.required()?;
        // Redis reads a long double, so what is too large for a double still has a sign.
        let huge = || {
            let infinite = if text.starts_with(b"-") { f64::NEG_INFINITY } else { f64::INFINITY };
            Extended::parse(text).map(|_| infinite)
        };
        let seconds = parse_f64(text).or_else(huge).filter(|seconds| !seconds.is_nan());
        let seconds = seconds.ok_or(Error::TimeoutNotFloat)?;
        if seconds < 0.0 {
            return Err(Error::TimeoutNegative);
        }
        let timeout_ms = (seconds * 1000.0).ceil();
        if timeout_ms >= i64::MAX as f64 {
            return Err(Error::TimeoutOutOfRange);
        }
        match timeout_ms as i64 {
            0 => Ok(None),
            timeout_ms => now_ms.checked_add(timeout_ms).map(Some).ok_or(Error::TimeoutOutOfRange),
        }
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<()> {
        if self.is_done() {
            Ok(())
        } else {
            Err(Error::Syntax)
        }
    }
}
