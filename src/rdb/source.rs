//! The bytes of a file or payload on their way in: buffered, summed, and cut into the numbers and
//! strings of the format.
//!
//! Invariant: no announced length is believed. What fits into the block is waited for there, and
//! what does not grows with the bytes that have really come.

use super::codes;
use super::crc::Checksum;
use super::fault::{Fault, Reason};
use super::lzf;
use std::io::{ErrorKind, Read};

type Result<T> = std::result::Result<T, Fault>;

/// Bytes that are read at once, and of the longest string that is looked at where it lies.
const BLOCK_BYTES: usize = 256 << 10;
/// What a long string grows by at first; later by what it has.
const GROWTH_BYTES: usize = 1 << 20;

/// Buffered bytes. See the module's text.
pub(super) struct Source<R> {
    input: R,
    block: Vec<u8>,
    /// Not yet used: `block[start..end]`.
    start: usize,
    end: usize,
    /// Where in the file the block begins.
    offset: u64,
    /// The sum of everything before `block[summed]`; none when nobody asks.
    checksum: Option<Checksum>,
    summed: usize,
    /// What was unpacked last, or was too long for the block.
    scratch: Vec<u8>,
}

/// A length, or the form of a string that is not plain.
enum Length {
    Plain(u64),
    Special(u8),
}

/// How the string that comes next is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Int(i64),
    Plain(u64),
    Packed { packed: u64, length: u64 },
}

/// A string that was read.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl Text<'_> {
    #[inline]
    pub(super) fn with_bytes<T>(self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Text::Int(number) => read(itoa::Buffer::new().format(number).as_bytes()),
            Text::Bytes(bytes) => read(bytes),
        }
    }
}

impl Source<std::io::Empty> {
    /// Bytes that are all there; nobody asks for their sum.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let mut source = Source::new(std::io::empty(), false);
        source.block = bytes.to_vec();
        source.end = bytes.len();
        source
    }
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R, summed: bool) -> Self {
        Source {
            input,
            block: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            checksum: summed.then(Checksum::default),
            summed: 0,
            scratch: Vec::new(),
        }
    }

    /// How many bytes have been used.
    pub(super) fn offset(&self) -> u64 {
        self.offset + self.start as u64
    }

    /// The input, and what was read of it but not used.
    pub(super) fn into_rest(mut self) -> (R, Vec<u8>) {
        self.block.truncate(self.end);
        self.block.drain(..self.start);
        (self.input, self.block)
    }

    /// The sum of everything used so far, if it is kept.
    pub(super) fn checksum(&mut self) -> Option<u64> {
        self.sum_up();
        self.checksum.as_ref().map(Checksum::value)
    }

    pub(super) fn stop_summing(&mut self) {
        self.checksum = None;
    }

    pub(super) fn fault(&self, reason: Reason) -> Fault {
        Fault { offset: self.offset(), reason }
    }

    pub(super) fn damaged<T>(&self, text: &'static str) -> Result<T> {
        Err(self.fault(Reason::Damaged(text.into())))
    }

    fn sum_up(&mut self) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&self.block[self.summed..self.start]);
        }
        self.summed = self.start;
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&mut self) -> Result<bool> {
        match self.wait_for(1) {
            Ok(()) => Ok(false),
            Err(Fault { reason: Reason::Ended, .. }) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// Waits until so many bytes, at most a block, lie in the block.
    #[inline]
    fn wait_for(&mut self, bytes: usize) -> Result<()> {
        if self.end - self.start >= bytes {
            return Ok(());
        }
        self.fill(bytes)
    }

    #[cold]
    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.block.len() - self.start < bytes {
            self.sum_up();
            self.block.copy_within(self.start..self.end, 0);
            self.offset += self.start as u64;
            self.end -= self.start;
            (self.start, self.summed) = (0, 0);
            if self.block.len() < bytes.max(BLOCK_BYTES) {
                self.block.resize(bytes.max(BLOCK_BYTES), 0);
            }
        }
        while self.end - self.start < bytes {
            match self.input.read(&mut self.block[self.end..]) {
                Ok(0) => return Err(self.fault(Reason::Ended)),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(Reason::Io(error))),
            }
        }
        Ok(())
    }

    /// Uses the next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.wait_for(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.block[self.start..self.start + N]);
        self.start += N;
        Ok(array)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A time in milliseconds.
    pub(super) fn time(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    #[inline]
    fn length_or_special(&mut self) -> Result<Length> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match first >> 6 {
            0 => Length::Plain(low),
            1 => Length::Plain(low << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Special(first & 0x3f),
            _ => return self.damaged("unknown length encoding"),
        })
    }

    /// A length, a count or another number that is not negative.
    #[inline]
    pub(super) fn length(&mut self) -> Result<u64> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => self.damaged("a string where a length was expected"),
        }
    }

    /// So many bytes, without a length before them.
    pub(super) fn plain(&mut self, length: u64) -> Result<&[u8]> {
        self.slice(length)
    }

    /// How the next string is written.
    #[inline]
    pub(super) fn form(&mut self) -> Result<Form> {
        Ok(match self.length_or_special()? {
            Length::Plain(length) => Form::Plain(length),
            Length::Special(codes::INT_8) => Form::Int(self.byte()? as i8 as i64),
            Length::Special(codes::INT_16) => {
                Form::Int(i64::from(i16::from_le_bytes(self.array()?)))
            }
            Length::Special(codes::INT_32) => {
                Form::Int(i64::from(i32::from_le_bytes(self.array()?)))
            }
            Length::Special(codes::LZF) => {
                Form::Packed { packed: self.length()?, length: self.length()? }
            }
            Length::Special(_) => return self.damaged("unknown string encoding"),
        })
    }

    /// The next string, borrowed.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Text<'_>> {
        let form = self.form()?;
        self.body(form)
    }

    /// The string of this form, which comes next, borrowed.
    #[inline]
    pub(super) fn body(&mut self, form: Form) -> Result<Text<'_>> {
        match form {
            Form::Int(number) => Ok(Text::Int(number)),
            Form::Plain(length) => self.slice(length).map(Text::Bytes),
            Form::Packed { packed, length } => {
                self.unpack(packed, length)?;
                Ok(Text::Bytes(&self.scratch))
            }
        }
    }

    /// The next string in memory of its own.
    pub(super) fn owned(&mut self) -> Result<Vec<u8>> {
        let form = self.form()?;
        self.body_owned(form)
    }

    /// The string of this form, which comes next, in memory of its own.
    pub(super) fn body_owned(&mut self, form: Form) -> Result<Vec<u8>> {
        match form {
            Form::Int(number) => Ok(itoa::Buffer::new().format(number).as_bytes().to_vec()),
            Form::Plain(length) if length <= BLOCK_BYTES as u64 => {
                self.slice(length).map(<[u8]>::to_vec)
            }
            Form::Plain(length) => {
                let mut text = Vec::new();
                self.read_long(length, &mut text)?;
                Ok(text)
            }
            Form::Packed { packed, length } => {
                self.unpack(packed, length)?;
                Ok(std::mem::take(&mut self.scratch))
            }
        }
    }

    /// So many bytes, in the block or, when there are too many, in the scratch.
    #[inline]
    fn slice(&mut self, length: u64) -> Result<&[u8]> {
        if length > BLOCK_BYTES as u64 {
            let mut text = std::mem::take(&mut self.scratch);
            self.read_long(length, &mut text)?;
            self.scratch = text;
            return Ok(&self.scratch);
        }
        let length = length as usize;
        self.wait_for(length)?;
        let start = self.start;
        self.start += length;
        Ok(&self.block[start..start + length])
    }

    /// So many bytes into `text`, which grows as they come.
    fn read_long(&mut self, length: u64, text: &mut Vec<u8>) -> Result<()> {
        text.clear();
        let Ok(length) = usize::try_from(length) else {
            return self.damaged("a string longer than memory");
        };
        let there = length.min(self.end - self.start);
        text.extend_from_slice(&self.block[self.start..self.start + there]);
        self.start += there;
        self.sum_up();
        while text.len() < length {
            let filled = text.len();
            text.resize(length.min(filled + filled.max(GROWTH_BYTES)), 0);
            let result = self.input.read_exact(&mut text[filled..]);
            if let Err(error) = result {
                let reason = match error.kind() {
                    ErrorKind::UnexpectedEof => Reason::Ended,
                    _ => Reason::Io(error),
                };
                return Err(self.fault(reason));
            }
            if let Some(checksum) = &mut self.checksum {
                checksum.update(&text[filled..]);
            }
            self.offset += (text.len() - filled) as u64;
        }
        Ok(())
    }

    /// Unpacks the next `packed` bytes into the scratch.
    fn unpack(&mut self, packed: u64, length: u64) -> Result<()> {
        let mut out = std::mem::take(&mut self.scratch);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let unpacked = if packed > BLOCK_BYTES as u64 {
            let mut text = Vec::new();
            self.read_long(packed, &mut text)?;
            lzf::unpack(&text, length, &mut out)
        } else {
            lzf::unpack(self.slice(packed)?, length, &mut out)
        };
        self.scratch = out;
        match unpacked {
            Some(()) => Ok(()),
            None => self.damaged("invalid LZF compressed string"),
        }
    }
}
