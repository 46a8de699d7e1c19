//! Bytes to requests: multibulk and inline, incremental.
//!
//! Invariant: no byte is looked at twice, however the stream is cut: a request that is not yet
//! complete keeps the spans of the arguments it has, relative to its first byte. Every split of a
//! stream gives the same requests. Nothing is reserved on the word of a length that was announced.

use crate::types::number::parse_i64;
use memchr::memchr;

/// The peer opens a TLS handshake; waiting for the end of that line would be waiting for ever.
pub const TLS_GREETING: &str = "Protocol error: TLS on a port that speaks without it";
/// The longest line of an inline request, and of a length, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// What a client that has not authenticated may send.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16384;

/// Where an argument lies: from and to, in bytes.
pub type Span = (usize, usize);

/// The arguments of one request; those of most requests need no allocation.
pub type Argv<'a> = smallvec::SmallVec<[&'a [u8]; 16]>;

/// What bounds a request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `proto-max-bulk-len`, in bytes.
    pub bulk_bytes_max: usize,
    /// Whether the client still has to authenticate.
    pub unauthenticated: bool,
}

/// One complete request of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its arguments in [`Batch::spans`].
    pub first: usize,
    /// One past its last argument.
    pub last: usize,
    /// Where the request ends in the input.
    pub end: usize,
    /// Whether the spans lie in [`Batch::unquoted`] instead of in the input.
    pub inline: bool,
}

/// Complete requests and the places of their arguments.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order of arrival.
    pub requests: Vec<Request>,
    /// Arguments of all requests.
    pub spans: Vec<Span>,
    /// Arguments of inline requests, quotes resolved.
    pub unquoted: Vec<u8>,
}

impl Batch {
    /// Forgets all requests and keeps the memory.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        self.unquoted.clear();
    }

    /// One argument of a request, if it has that many.
    #[inline]
    pub fn word<'a>(&'a self, request: &Request, input: &'a [u8], at: usize) -> Option<&'a [u8]> {
        let source = if request.inline { &self.unquoted[..] } else { input };
        self.spans[request.first..request.last].get(at).map(|&(a, b)| &source[a..b])
    }

    /// The arguments of a request, in `argv`.
    #[inline]
    pub fn argv<'a>(&'a self, request: &Request, input: &'a [u8], argv: &mut Argv<'a>) {
        let source = if request.inline { &self.unquoted[..] } else { input };
        argv.clear();
        // Most requests are short: words one by one cost less than preparing for many.
        for &(from, to) in &self.spans[request.first..request.last] {
            argv.push(&source[from..to]);
        }
    }
}

/// Why a stream cannot be read any further. The texts are Redis's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub String);

impl ProtocolError {
    fn of<T>(text: impl Into<String>) -> Result<T, ProtocolError> {
        Err(ProtocolError(text.into()))
    }
}

/// What is known of a request that is not yet complete. Offsets count from its first byte.
#[derive(Debug, Default)]
pub struct Decoder {
    spans: Vec<Span>,
    /// Arguments still to come; 0 while no request has begun.
    missing: usize,
    /// Length of the argument whose bytes come next.
    bulk_bytes: Option<usize>,
    /// Bytes understood so far.
    parsed: usize,
    /// Bytes already searched for a line break, from `parsed`.
    searched: usize,
    /// Bytes of the arguments that are complete.
    argv_bytes: usize,
}

/// From this many arguments on those of an incomplete request are handed over instead of copied.
const SPANS_COPIED_MAX: usize = 64;

impl Decoder {
    /// Bytes of the incomplete request that are understood: lengths and complete arguments.
    pub fn understood_bytes(&self) -> usize {
        self.parsed
    }

    /// Bytes that are still to come of the argument whose length is known, when `arrived` bytes of
    /// the request are here.
    pub fn missing_bytes(&self, arrived: usize) -> Option<usize> {
        let bulk_bytes = self.bulk_bytes?;
        Some((self.parsed + bulk_bytes + 2).saturating_sub(arrived))
    }

    /// Bytes of its complete arguments.
    pub fn argv_bytes(&self) -> usize {
        self.argv_bytes
    }

    /// Reads complete requests from `input`, whose first byte is the first byte of the request
    /// that is not yet complete, until the input ends or the batch holds `requests_max`. Returns
    /// where the first incomplete request begins. After an error the stream is of no more use, but
    /// the requests before it are in the batch.
    pub fn decode(
        &mut self,
        input: &[u8],
        bounds: Bounds,
        requests_max: usize,
        batch: &mut Batch,
    ) -> Result<usize, ProtocolError> {
        let mut start = 0;
        while batch.requests.len() < requests_max && start < input.len() {
            let first = batch.spans.len();
            if start == 0 && first == 0 && self.spans.len() > SPANS_COPIED_MAX {
                batch.spans = std::mem::take(&mut self.spans);
            }
            if !self.spans.is_empty() {
                batch.spans.extend(self.spans.drain(..).map(|(a, b)| (a + start, b + start)));
            }
            let outcome = if self.missing == 0 && input[start] != b'*' {
                self.inline(&input[start..], batch)
            } else {
                self.multibulk(input, start, bounds, batch)
            };
            let complete = match outcome {
                Ok(complete) => complete,
                Err(error) => {
                    batch.spans.truncate(first);
                    return Err(error);
                }
            };
            if !complete {
                if start == 0 && first == 0 && batch.spans.len() > SPANS_COPIED_MAX {
                    self.spans = std::mem::take(&mut batch.spans);
                }
                self.spans.extend(batch.spans.drain(first..).map(|(a, b)| (a - start, b - start)));
                return Ok(start);
            }
            let inline = input[start] != b'*';
            start += std::mem::take(&mut self.parsed);
            self.searched = 0;
            self.argv_bytes = 0;
            if batch.spans.len() > first {
                let last = batch.spans.len();
                batch.requests.push(Request { first, last, end: start, inline });
            }
        }
        Ok(start)
    }

    /// Finds the line that begins at `parsed`; `Ok(None)` when its end has not arrived.
    fn line<'a>(
        &mut self,
        rest: &'a [u8],
        too_long: &str,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let Some(at) = memchr(b'\r', &rest[self.searched..]).map(|at| at + self.searched) else {
            self.searched = rest.len();
            if rest.len() > LINE_BYTES_MAX {
                return ProtocolError::of(format!("Protocol error: {too_long}"));
            }
            return Ok(None);
        };
        if at + 1 >= rest.len() {
            self.searched = at;
            return Ok(None);
        }
        self.searched = 0;
        self.parsed += at + 2;
        Ok(Some(&rest[..at]))
    }

    fn multibulk(
        &mut self,
        input: &[u8],
        start: usize,
        bounds: Bounds,
        batch: &mut Batch,
    ) -> Result<bool, ProtocolError> {
        let request = &input[start..];
        if self.missing > 0 {
            // The request has begun.
        } else if let [b'*', digit @ b'1'..=b'9', b'\r', _, ..] = &request[self.parsed..] {
            // Most requests have a few words.
            self.parsed += 4;
            self.searched = 0;
            self.missing = (digit - b'0') as usize;
        } else {
            let Some(line) = self.line(&request[self.parsed..], "too big mbulk count string")?
            else {
                return Ok(false);
            };
            match decimal(&line[1..]) {
                None => return ProtocolError::of("Protocol error: invalid multibulk length"),
                Some(len) if len > i32::MAX as i64 => {
                    return ProtocolError::of("Protocol error: invalid multibulk length")
                }
                Some(len) if len > UNAUTHENTICATED_ARGS_MAX && bounds.unauthenticated => {
                    return ProtocolError::of("Protocol error: unauthenticated multibulk length")
                }
                Some(len) if len <= 0 => return Ok(true),
                Some(len) => self.missing = len as usize,
            }
        }
        while self.missing > 0 {
            let bulk_bytes = match self.bulk_bytes {
                Some(bulk_bytes) => bulk_bytes,
                None => match self.bulk_header(request, bounds)? {
                    Some(bulk_bytes) => bulk_bytes,
                    None => return Ok(false),
                },
            };
            if request.len() - self.parsed < bulk_bytes + 2 {
                self.bulk_bytes = Some(bulk_bytes);
                return Ok(false);
            }
            let from = start + self.parsed;
            batch.spans.push((from, from + bulk_bytes));
            self.argv_bytes += bulk_bytes;
            self.bulk_bytes = None;
            self.parsed += bulk_bytes + 2;
            self.missing -= 1;
        }
        Ok(true)
    }

    #[inline]
    fn bulk_header(
        &mut self,
        request: &[u8],
        bounds: Bounds,
    ) -> Result<Option<usize>, ProtocolError> {
        let rest = &request[self.parsed..];
        // Most lengths have one or two digits.
        if let [b'$', digit @ b'0'..=b'9', b'\r', _, ..] = rest {
            self.parsed += 4;
            self.searched = 0;
            return Ok(Some((digit - b'0') as usize));
        }
        if let [b'$', ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', _, ..] = rest {
            self.parsed += 5;
            self.searched = 0;
            return Ok(Some((ten - b'0') as usize * 10 + (one - b'0') as usize));
        }
        let Some(line) = self.line(rest, "too big bulk count string")? else {
            return Ok(None);
        };
        if line.first() != Some(&b'$') {
            let got = rest[0] as char;
            return ProtocolError::of(format!("Protocol error: expected '$', got '{got}'"));
        }
        match decimal(&line[1..]) {
            Some(len) if len > UNAUTHENTICATED_BULK_BYTES_MAX && bounds.unauthenticated => {
                ProtocolError::of("Protocol error: unauthenticated bulk length")
            }
            Some(len) if len >= 0 && len as usize <= bounds.bulk_bytes_max => {
                Ok(Some(len as usize))
            }
            _ => ProtocolError::of("Protocol error: invalid bulk length"),
        }
    }

    fn inline(&mut self, request: &[u8], batch: &mut Batch) -> Result<bool, ProtocolError> {
        if let [0x16, 0x03, 0x00..=0x04, ..] = request {
            return ProtocolError::of(TLS_GREETING);
        }
        let Some(at) = memchr(b'\n', &request[self.searched..]).map(|at| at + self.searched) else {
            self.searched = request.len();
            if request.len() > LINE_BYTES_MAX {
                return ProtocolError::of("Protocol error: too big inline request");
            }
            return Ok(false);
        };
        self.parsed = at + 1;
        let line = request[..at].strip_suffix(b"\r").unwrap_or(&request[..at]);
        let Some(words) = split_quoted(line) else {
            return ProtocolError::of("Protocol error: unbalanced quotes in request");
        };
        for word in words {
            let from = batch.unquoted.len();
            batch.unquoted.extend_from_slice(&word);
            batch.spans.push((from, batch.unquoted.len()));
        }
        Ok(true)
    }
}

/// A length: a canonical decimal, as everywhere in the protocol.
fn decimal(digits: &[u8]) -> Option<i64> {
    parse_i64(digits)
}

/// Splits a line at white space, with the quotes and escapes of inline requests and configuration
/// lines: `"\xff\n"` and `'it\'s'`. `None` when quotes do not balance.
pub fn split_quoted(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest {
            if !is_space(*first) {
                break;
            }
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = quoted_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c)
}

fn quoted_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                rest = quoted_part(tail, *quote, &mut word)?;
                // A closing quote ends the word.
                return match rest.first() {
                    Some(&next) if !is_space(next) => None,
                    _ => Some((word, rest)),
                };
            }
            [0, ..] => return Some((word, &[])),
            [byte, tail @ ..] => {
                if is_space(*byte) {
                    return Some((word, rest));
                }
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn quoted_part<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] if *byte == quote => return Some(tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Bounds = Bounds { bulk_bytes_max: 512 << 20, unauthenticated: false };

    /// Feeds `stream` in pieces of `piece` bytes, as a session does.
    fn requests(stream: &[u8], piece: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut decoder, mut batch, mut kept, mut all) =
            (Decoder::default(), Batch::default(), Vec::new(), Vec::new());
        for chunk in stream.chunks(piece) {
            kept.extend_from_slice(chunk);
            batch.clear();
            let used = decoder.decode(&kept, FREE, usize::MAX, &mut batch)?;
            let mut argv = Argv::new();
            for request in &batch.requests {
                batch.argv(request, &kept, &mut argv);
                all.push(argv.iter().map(|arg| arg.to_vec()).collect());
            }
            drop(argv);
            kept.drain(..used);
        }
        Ok(all)
    }

    #[test]
    fn every_split_gives_the_same_requests() {
        let stream = b"*2\r\n$3\r\nGET\r\n$12\r\nkey\r\nwith\x00it\r\nPING\r\n\r\n*0\r\n*-1\r\n\
            set \"a\\x41\\n\" 'b c'\n*3\r\n$0\r\n\r\n$1\r\nx\r\n$2\r\nyz\r\n";
        let whole = requests(stream, stream.len()).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[2], [b"set".to_vec(), b"aA\n".to_vec(), b"b c".to_vec()]);
        for piece in 1..stream.len() {
            assert_eq!(requests(stream, piece).unwrap(), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn errors_are_redis_texts() {
        for (stream, text) in [
            (&b"*a\r\n"[..], "Protocol error: invalid multibulk length"),
            (b"*3000000000\r\n", "Protocol error: invalid multibulk length"),
            (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
            (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            (b"\x16\x03\x01\x02\x00\x01", TLS_GREETING),
            (b"*1\r\n$2000000000\r\n", "Protocol error: invalid bulk length"),
            (b"get \"a\n", "Protocol error: unbalanced quotes in request"),
        ] {
            assert_eq!(requests(stream, 4096).unwrap_err().0, text);
        }
    }
}
