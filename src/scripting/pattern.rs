//! Lua's patterns: one attempt to match at one place of a subject.
//!
//! The stock matcher can neither be stopped nor kept from exhausting the thread's stack. This one
//! counts its steps and asks whether to go on; what it accepts and refuses is the same.
//! Invariant: nothing here allocates, panics or calls Lua, so that Lua's own error jumps may leave
//! the frames of its callers.

use std::ffi::CStr;

/// Most captures in a pattern.
pub const CAPTURES_MAX: usize = 32;

/// Between two questions whether to go on: single characters looked at.
const STEPS: u32 = 1 << 20;

const ESCAPE: u8 = b'%';

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The pattern is wrong.
    Wrong(&'static CStr),
    /// The script was told to stop.
    Stopped,
}

/// What one capture holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    Open,
    Position,
    Bytes(usize),
}

/// A capture as Lua sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capture<'a> {
    /// A part of the subject.
    Bytes(&'a [u8]),
    /// A place in the subject, from 1.
    Position(usize),
}

/// Whether a pattern has nothing but plain characters. As in C, a byte 0 hides what follows it.
pub fn is_plain(pattern: &[u8]) -> bool {
    !until_zero(pattern).iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// A pattern ends at its first byte 0.
pub fn until_zero(pattern: &[u8]) -> &[u8] {
    memchr::memchr(0, pattern).map_or(pattern, |end| &pattern[..end])
}

/// See the module. `go_on` is asked now and then and says false when the script has to stop;
/// `has_stack` is asked before each level of recursion.
pub struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [(usize, Extent); CAPTURES_MAX],
    level: usize,
    steps: u32,
    go_on: &'a dyn Fn() -> bool,
    has_stack: &'a dyn Fn() -> bool,
}

type Match = Result<Option<usize>, Fault>;

impl<'a> Matcher<'a> {
    /// Of a pattern without its anchor and without a byte 0.
    pub fn new(
        subject: &'a [u8],
        pattern: &'a [u8],
        go_on: &'a dyn Fn() -> bool,
        has_stack: &'a dyn Fn() -> bool,
    ) -> Self {
        let captures = [(0, Extent::Open); CAPTURES_MAX];
        Matcher { subject, pattern, captures, level: 0, steps: 0, go_on, has_stack }
    }

    /// Where a match that begins at `at` ends.
    pub fn at(&mut self, at: usize) -> Match {
        self.level = 0;
        self.run(at, 0)
    }

    /// How many values the last match gives: its captures, or the whole.
    pub fn count(&self) -> usize {
        self.level.max(1)
    }

    /// Number of captures of the last match.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Capture `index` of the last match, which went from `start` to `end`.
    pub fn capture(&self, index: usize, start: usize, end: usize) -> Result<Capture<'a>, Fault> {
        let part =
            |from: usize, to: usize| Capture::Bytes(self.subject.get(from..to).unwrap_or_default());
        if index >= self.level {
            return match index {
                0 => Ok(part(start, end)),
                _ => Err(Fault::Wrong(c"invalid capture index")),
            };
        }
        match self.captures[index] {
            (_, Extent::Open) => Err(Fault::Wrong(c"unfinished capture")),
            (from, Extent::Position) => Ok(Capture::Position(from + 1)),
            (from, Extent::Bytes(len)) => Ok(part(from, from + len)),
        }
    }

    /// The subject's byte; 0 at its end.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.subject.get(at).copied().unwrap_or(0)
    }

    /// The pattern's byte; 0 at its end.
    #[inline]
    fn sign(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    #[inline]
    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        if self.steps < STEPS {
            return Ok(());
        }
        self.steps = 0;
        if (self.go_on)() {
            Ok(())
        } else {
            Err(Fault::Stopped)
        }
    }

    fn run(&mut self, mut at: usize, mut sign: usize) -> Match {
        if !(self.has_stack)() {
            return Err(Fault::Wrong(c"pattern too complex"));
        }
        loop {
            self.step()?;
            match (self.sign(sign), self.sign(sign + 1)) {
                (0, _) => return Ok(Some(at)),
                (b'(', b')') => return self.open(at, sign + 2, Extent::Position),
                (b'(', _) => return self.open(at, sign + 1, Extent::Open),
                (b')', _) => return self.close(at, sign + 1),
                (b'$', 0) => return Ok((at == self.subject.len()).then_some(at)),
                (ESCAPE, b'b') => {
                    let Some(end) = self.balance(at, sign + 2)? else { return Ok(None) };
                    at = end;
                    sign += 4;
                    continue;
                }
                (ESCAPE, b'f') => {
                    let Some(next) = self.frontier(at, sign + 2)? else { return Ok(None) };
                    sign = next;
                    continue;
                }
                (ESCAPE, digit @ b'0'..=b'9') => {
                    let Some(end) = self.again(at, digit)? else { return Ok(None) };
                    at = end;
                    sign += 2;
                    continue;
                }
                _ => {}
            }
            let end = self.class_end(sign)?;
            let fits = at < self.subject.len() && self.fits(self.byte(at), sign, end);
            match self.sign(end) {
                b'?' => {
                    if fits {
                        if let Some(found) = self.run(at + 1, end + 1)? {
                            return Ok(Some(found));
                        }
                    }
                    sign = end + 1;
                }
                b'*' => return self.most(at, sign, end),
                b'+' if fits => return self.most(at + 1, sign, end),
                b'-' => return self.least(at, sign, end),
                b'+' => return Ok(None),
                _ if !fits => return Ok(None),
                _ => {
                    at += 1;
                    sign = end;
                }
            }
        }
    }

    /// The place behind one character class of the pattern.
    fn class_end(&self, sign: usize) -> Result<usize, Fault> {
        match self.sign(sign) {
            ESCAPE if self.sign(sign + 1) == 0 => {
                Err(Fault::Wrong(c"malformed pattern (ends with '%')"))
            }
            ESCAPE => Ok(sign + 2),
            b'[' => {
                let mut at = sign + 1;
                if self.sign(at) == b'^' {
                    at += 1;
                }
                loop {
                    let byte = self.sign(at);
                    if byte == 0 {
                        return Err(Fault::Wrong(c"malformed pattern (missing ']')"));
                    }
                    at += 1;
                    if byte == ESCAPE && self.sign(at) != 0 {
                        at += 1;
                    }
                    if self.sign(at) == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(sign + 1),
        }
    }

    /// Whether a byte is in the class that goes from `sign` to `end`.
    #[inline]
    fn fits(&self, byte: u8, sign: usize, end: usize) -> bool {
        match self.sign(sign) {
            b'.' => true,
            ESCAPE => is_in_class(byte, self.sign(sign + 1)),
            b'[' => self.is_in_set(byte, sign, end - 1),
            plain => plain == byte,
        }
    }

    /// Whether a byte is in the set between the brackets at `open` and `close`.
    fn is_in_set(&self, byte: u8, open: usize, close: usize) -> bool {
        let mut at = open + 1;
        let wanted = self.sign(at) != b'^';
        if wanted {
            at -= 1;
        }
        loop {
            at += 1;
            if at >= close {
                return !wanted;
            }
            let sign = self.sign(at);
            if sign == ESCAPE {
                at += 1;
                if is_in_class(byte, self.sign(at)) {
                    return wanted;
                }
            } else if self.sign(at + 1) == b'-' && at + 2 < close {
                at += 2;
                if (sign..=self.sign(at)).contains(&byte) {
                    return wanted;
                }
            } else if sign == byte {
                return wanted;
            }
        }
    }

    fn most(&mut self, at: usize, sign: usize, end: usize) -> Match {
        let mut last = at;
        while last < self.subject.len() && self.fits(self.byte(last), sign, end) {
            self.step()?;
            last += 1;
        }
        loop {
            let found = self.run(last, end + 1)?;
            if found.is_some() || last == at {
                return Ok(found);
            }
            last -= 1;
        }
    }

    fn least(&mut self, mut at: usize, sign: usize, end: usize) -> Match {
        loop {
            let found = self.run(at, end + 1)?;
            if found.is_some() {
                return Ok(found);
            }
            if at >= self.subject.len() || !self.fits(self.byte(at), sign, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, sign: usize, extent: Extent) -> Match {
        let Some(capture) = self.captures.get_mut(self.level) else {
            return Err(Fault::Wrong(c"too many captures"));
        };
        *capture = (at, extent);
        self.level += 1;
        let found = self.run(at, sign)?;
        if found.is_none() {
            self.level -= 1;
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, sign: usize) -> Match {
        let open = self.captures[..self.level]
            .iter()
            .rposition(|capture| capture.1 == Extent::Open)
            .ok_or(Fault::Wrong(c"invalid pattern capture"))?;
        self.captures[open].1 = Extent::Bytes(at - self.captures[open].0);
        let found = self.run(at, sign)?;
        if found.is_none() {
            self.captures[open].1 = Extent::Open;
        }
        Ok(found)
    }

    /// `%bxy`: behind the character that balances the one here.
    fn balance(&mut self, at: usize, sign: usize) -> Match {
        let (opens, closes) = (self.sign(sign), self.sign(sign + 1));
        if opens == 0 || closes == 0 {
            return Err(Fault::Wrong(c"unbalanced pattern"));
        }
        if at >= self.subject.len() || self.byte(at) != opens {
            return Ok(None);
        }
        let mut depth = 1usize;
        for here in at + 1..self.subject.len() {
            self.step()?;
            let byte = self.byte(here);
            if byte == closes {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(here + 1));
                }
            } else if byte == opens {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: the pattern's place behind it, if the set begins here.
    fn frontier(&mut self, at: usize, sign: usize) -> Match {
        if self.sign(sign) != b'[' {
            return Err(Fault::Wrong(c"missing '[' after '%f' in pattern"));
        }
        let end = self.class_end(sign)?;
        let before = at.checked_sub(1).map_or(0, |at| self.byte(at));
        let begins =
            !self.is_in_set(before, sign, end - 1) && self.is_in_set(self.byte(at), sign, end - 1);
        Ok(begins.then_some(end))
    }

    /// `%1`: behind what that capture holds, if it comes again here.
    fn again(&mut self, at: usize, digit: u8) -> Match {
        let capture = (digit as usize).checked_sub(b'1' as usize);
        let captures = &self.captures[..self.level];
        match capture.and_then(|index| captures.get(index)) {
            None | Some((_, Extent::Open)) => Err(Fault::Wrong(c"invalid capture index")),
            Some((_, Extent::Position)) => Ok(None),
            Some(&(from, Extent::Bytes(len))) => {
                let is_same = self.subject.get(at..at + len) == self.subject.get(from..from + len);
                Ok(is_same.then_some(at + len))
            }
        }
    }
}

/// Whether a byte is in the class of this letter; another sign stands for itself.
fn is_in_class(byte: u8, letter: u8) -> bool {
    let is_in = match letter.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return letter == byte,
    };
    is_in == letter.is_ascii_lowercase()
}
