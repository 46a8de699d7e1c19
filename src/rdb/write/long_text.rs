//! Strings part by part: whole values that come so, and long elements of big values, of which
//! there is no second copy in memory then.
//!
//! The length of a packed string stands before its bytes, and nobody knows it before the last
//! part has come. So what the parts became waits in memory, as long as that is worth it: a string
//! that cannot be packed, or that takes too much even so, is written as it is.

use super::{Drain, Head, Writer};
use crate::rdb::codes;
use crate::rdb::lzf::{self, most_packed};

/// Bytes that wait at most.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes after which it must show that packing is worth it.
const TRIAL_BYTES: usize = 1 << 20;
/// Strings from this length on are not packed: genuine servers have 32 bits for it.
const PACKED_LENGTH_MAX: usize = 1 << 31;

/// Elements from this length on are written in parts, of so many bytes each.
const LONG_FROM: usize = 1 << 20;
const PART_BYTES: usize = 64 << 10;

/// The string that is being written.
pub(super) struct LongText {
    length: usize,
    came: usize,
    /// None when it is written as it is. Each part was packed alone: the parts of a packed text
    /// are a packed text.
    waiting: Option<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Packed parts with the length that each of them had.
    parts: Vec<(Box<[u8]>, usize)>,
    bytes: usize,
}

impl Writer {
    pub(super) fn begin_text(&mut self, head: &Head<'_>, length: usize) {
        self.open(codes::STRING, head);
        self.begin_long(length);
    }

    /// A string: one that is long goes out as it is written.
    pub(super) fn drained_string<E>(&mut self, text: &[u8], drain: Drain<'_, E>) -> Result<(), E> {
        if text.len() < LONG_FROM {
            self.string(text);
            return Ok(());
        }
        self.begin_long(text.len());
        for part in text.chunks(PART_BYTES) {
            self.text_part(part, drain)?;
            drain(self)?;
        }
        self.end_text(drain)
    }

    fn begin_long(&mut self, length: usize) {
        let packs = self.packer.is_some() && length < PACKED_LENGTH_MAX;
        let waiting = packs.then(Waiting::default);
        if waiting.is_none() {
            self.length(length as u64);
        }
        self.long_text = Some(LongText { length, came: 0, waiting });
    }

    pub(super) fn text_part<E>(&mut self, part: &[u8], drain: Drain<'_, E>) -> Result<(), E> {
        let Some(text) = &mut self.long_text else { return Ok(()) };
        text.came += part.len();
        let (Some(waiting), Some(packer)) = (&mut text.waiting, &mut self.packer) else {
            self.raw(part);
            return Ok(());
        };
        self.scratch.clear();
        packer.pack(part, most_packed(part.len()), &mut self.scratch);
        waiting.bytes += self.scratch.len();
        waiting.parts.push((self.scratch.as_slice().into(), part.len()));
        let is_vain = text.came >= TRIAL_BYTES && waiting.bytes > text.came / 8 * 7;
        if is_vain || waiting.bytes > WAITING_BYTES_MAX {
            let (waiting, length) = (text.waiting.take(), text.length);
            return self.unpacked(waiting.unwrap_or_default(), length, drain);
        }
        Ok(())
    }

    pub(super) fn end_text<E>(&mut self, drain: Drain<'_, E>) -> Result<(), E> {
        let Some(LongText { length, waiting, .. }) = self.long_text.take() else { return Ok(()) };
        let Some(waiting) = waiting else { return Ok(()) };
        if waiting.bytes + Self::SAVED_BYTES_MIN > length {
            return self.unpacked(waiting, length, drain);
        }
        self.byte(0xc0 | codes::LZF);
        self.length(waiting.bytes as u64);
        self.length(length as u64);
        for (packed, _) in &waiting.parts {
            self.raw(packed);
            drain(self)?;
        }
        Ok(())
    }

    /// It is not worth it: what has waited is written as it came.
    fn unpacked<E>(
        &mut self,
        waiting: Waiting,
        length: usize,
        drain: Drain<'_, E>,
    ) -> Result<(), E> {
        self.length(length as u64);
        let mut part = Vec::new();
        for (packed, length) in &waiting.parts {
            let back = lzf::unpack(packed, *length, &mut part);
            debug_assert!(back.is_some(), "it was packed here");
            self.raw(&part);
            drain(self)?;
        }
        Ok(())
    }
}
