//! Writing RDB: a plain encoder that fills a buffer and knows neither files nor the keyspace's
//! lock, so that a helper thread can run it.
//!
//! The order of a file: [`Writer::header`], [`Writer::aux`] fields, [`Writer::function`]s, then
//! for each database [`Writer::select`] and its keys, at last [`Writer::finish`]. A key whose
//! entry is at hand is written by [`Writer::entry`] or [`Writer::drained_entry`]. A large value
//! can come in pieces (`pieces`): the head with the number of its parts, then the parts. Whoever
//! writes them fetches what is [`Writer::pending`] from time to time with [`Writer::take`]; the
//! checksum goes on over it.

mod long_text;
mod parts;
mod pieces;
mod values;

pub use pieces::{GroupHead, Head, StreamFigures};
pub use values::Drain;

use super::codes::{self, OP_EOF};
use super::crc::Checksum;
use super::lzf::Packer;
use super::Version;
use crate::types::number::parse_i64;
use long_text::LongText;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The version that the header states and that no value goes beyond.
    pub version: Version,
    /// `rdbcompression`: strings are packed where that makes them shorter.
    pub compress: bool,
    /// `rdbchecksum`: without, the file ends in a checksum of 0, which nobody checks.
    pub checksum: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { version: Version::OLDEST, compress: true, checksum: true }
    }
}

/// Encodes a file or a payload. See the module's text.
pub struct Writer {
    out: Vec<u8>,
    style: Style,
    packer: Option<Packer>,
    /// What the packer makes.
    scratch: Vec<u8>,
    /// The string that is being written in parts.
    long_text: Option<LongText>,
    /// The soonest deadline in the hash that is being written, if its fields have any.
    soonest_ms: Option<i64>,
    checksum: Checksum,
    taken_bytes: u64,
}

impl Writer {
    /// A writer with nothing written yet.
    pub fn new(style: Style) -> Writer {
        Writer {
            out: Vec::new(),
            style,
            packer: style.compress.then(Packer::default),
            scratch: Vec::new(),
            long_text: None,
            soonest_ms: None,
            checksum: Checksum::default(),
            taken_bytes: 0,
        }
    }

    /// How it writes.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// What waits to be taken.
    pub fn pending(&self) -> &[u8] {
        &self.out
    }

    /// Bytes written so far, taken or not.
    pub fn written_bytes(&self) -> u64 {
        self.taken_bytes + self.out.len() as u64
    }

    /// Takes what is pending, leaving an empty buffer with room for as much.
    pub fn take(&mut self) -> Vec<u8> {
        let room = Vec::with_capacity(self.out.capacity());
        self.take_for(room)
    }

    /// Takes what is pending and goes on in `room`, a buffer that is no longer needed.
    pub fn take_for(&mut self, mut room: Vec<u8>) -> Vec<u8> {
        room.clear();
        let taken = std::mem::replace(&mut self.out, room);
        if self.style.checksum {
            self.checksum.update(&taken);
        }
        self.taken_bytes += taken.len() as u64;
        taken
    }

    /// The magic word and the version: what a file begins with.
    pub fn header(&mut self) {
        self.out.extend_from_slice(b"REDIS");
        self.out.extend_from_slice(format!("{:04}", self.style.version.number()).as_bytes());
    }

    /// A name and a value about the file.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.byte(codes::OP_AUX);
        self.string(name);
        self.string(value);
    }

    /// A library's code.
    pub fn function(&mut self, code: &[u8]) {
        self.byte(codes::OP_FUNCTION);
        self.string(code);
    }

    /// The keys that follow belong to the database `index`, which has so many keys, so many of
    /// them with a deadline.
    pub fn select(&mut self, index: usize, keys: usize, with_deadline: usize) {
        self.byte(codes::OP_SELECT_DB);
        self.length(index as u64);
        self.byte(codes::OP_RESIZE_DB);
        self.length(keys as u64);
        self.length(with_deadline as u64);
    }

    /// The end: the mark and the checksum. Gives what is pending.
    pub fn finish(mut self) -> Vec<u8> {
        self.byte(OP_EOF);
        let mut last = self.take_for(Vec::new());
        let checksum = if self.style.checksum { self.checksum.value() } else { 0 };
        last.extend_from_slice(&checksum.to_le_bytes());
        last
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A length, a count or another number that is not negative.
    #[inline]
    pub(super) fn length(&mut self, length: u64) {
        match length {
            0..=0x3f => self.out.push(length as u8),
            0x40..=0x3fff => {
                self.out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8])
            }
            0x4000..=0xffff_ffff => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(length as u32).to_be_bytes());
            }
            _ => {
                self.out.push(0x81);
                self.out.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// A string: as an integer where it spells a small one, packed where that is shorter.
    #[inline]
    pub(super) fn string(&mut self, text: &[u8]) {
        const NUMBER_BYTES_MAX: usize = 11;
        if text.len() <= NUMBER_BYTES_MAX {
            if let Some(number) = parse_i64(text) {
                return self.integer(number);
            }
        }
        self.blob(text);
    }

    /// An integer that stands for its text.
    #[inline]
    pub(super) fn integer(&mut self, number: i64) {
        let special = |kind: u8| 0xc0 | kind;
        if let Ok(number) = i8::try_from(number) {
            self.out.extend_from_slice(&[special(codes::INT_8), number as u8]);
        } else if let Ok(number) = i16::try_from(number) {
            self.out.push(special(codes::INT_16));
            self.out.extend_from_slice(&number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.out.push(special(codes::INT_32));
            self.out.extend_from_slice(&number.to_le_bytes());
        } else {
            let mut text = itoa::Buffer::new();
            self.blob(text.format(number).as_bytes());
        }
    }

    /// A string that is no integer.
    #[inline]
    pub(super) fn blob(&mut self, text: &[u8]) {
        const PACKED_FROM: usize = 21;
        if text.len() >= PACKED_FROM && self.packed(text) {
            return;
        }
        self.length(text.len() as u64);
        self.out.extend_from_slice(text);
    }

    /// Redis: what does not become four bytes shorter stays as it is.
    const SAVED_BYTES_MIN: usize = 4;

    /// Writes a string packed, if that saves anything.
    fn packed(&mut self, text: &[u8]) -> bool {
        let Some(packer) = &mut self.packer else { return false };
        self.scratch.clear();
        if !packer.pack(text, text.len() - Self::SAVED_BYTES_MIN, &mut self.scratch) {
            return false;
        }
        self.byte(0xc0 | codes::LZF);
        self.length(self.scratch.len() as u64);
        self.length(text.len() as u64);
        self.out.extend_from_slice(&self.scratch);
        true
    }
}
