//! The bytes of a full copy on their way in. Its end is a length that is known ahead, or a mark of
//! 40 bytes that the primary has chosen at random.
//!
//! Invariant: nothing behind the end of the copy is given away, and nothing is reserved for a
//! length that was only announced.

use super::wire::{Broken, Wire};
use super::Access;
use crate::role::Transfer;
use std::io::{self, ErrorKind, Read};

/// Bytes of the mark.
const MARK_BYTES: usize = 40;
/// After so many bytes INFO hears how far the copy is.
const NOTE_BYTES: u64 = 1 << 20;

/// How a copy ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After so many further bytes.
    Length(u64),
    /// With these bytes.
    Mark(Vec<u8>),
}

impl End {
    /// Reads the line before the copy.
    pub(super) fn read(wire: &mut Wire) -> Result<End, Broken> {
        let line = wire.line()?;
        if let Some(text) = line.strip_prefix('-') {
            let text = format!("MASTER aborted replication with an error: {text}");
            return Err(Broken::Nonsense(text));
        }
        End::parse(&line).ok_or_else(|| {
            Broken::Nonsense(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you \
                 sure the host and port are right?",
                line.escape_debug()
            ))
        })
    }

    fn parse(line: &str) -> Option<End> {
        let text = line.strip_prefix('$')?;
        if let Some(mark) = text.strip_prefix("EOF:") {
            return (mark.len() == MARK_BYTES).then(|| End::Mark(mark.as_bytes().to_vec()));
        }
        text.parse().ok().map(End::Length)
    }
}

/// Reads a copy from a link.
pub(super) struct Payload<'a> {
    wire: &'a mut Wire,
    access: &'a Access,
    end: End,
    /// Bytes given away.
    read: u64,
    noted: u64,
    is_done: bool,
    /// Why there is no more, when the copy has not ended.
    pub(super) broken: Option<Broken>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(wire: &'a mut Wire, access: &'a Access, end: End) -> Payload<'a> {
        let is_done = end == End::Length(0);
        Payload { wire, access, end, read: 0, noted: 0, is_done, broken: None }
    }

    /// How many bytes are still to come, if that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self.end {
            End::Length(left) => Some(left),
            End::Mark(_) => None,
        }
    }

    /// Tells INFO how far the copy is.
    pub(super) fn note(&mut self) {
        self.noted = self.read;
        let total_bytes = match self.end {
            End::Length(left) => Some(self.read + left),
            End::Mark(_) => None,
        };
        let read_bytes = self.read;
        self.access.with(|state| {
            let heard_ms = state.clock.steady_ms();
            if let Some(upstream) = &mut state.role.upstream {
                upstream.heard_ms = heard_ms;
                upstream.transfer = Transfer { total_bytes, read_bytes };
            }
        });
    }

    /// Bytes that surely belong to the copy.
    fn ready(&mut self) -> usize {
        let unused = self.wire.unused();
        match &self.end {
            End::Length(left) => (unused.len() as u64).min(*left) as usize,
            End::Mark(mark) => {
                // The primary waits after the mark, so the mark is what came last.
                if unused.ends_with(mark) {
                    let ready = unused.len() - MARK_BYTES;
                    self.is_done = ready == 0;
                    return ready;
                }
                unused.len().saturating_sub(MARK_BYTES)
            }
        }
    }

    /// Throws the rest away: true when its end came.
    pub(super) fn finish(&mut self) -> bool {
        let mut rest = [0; 4096];
        while !self.is_done && self.read(&mut rest).is_ok_and(|bytes| bytes > 0) {}
        if self.is_done {
            if let End::Mark(mark) = &self.end {
                self.wire.used(mark.len());
            }
        }
        self.is_done
    }
}

impl Read for Payload<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_done || out.is_empty() {
                return Ok(0);
            }
            let ready = self.ready();
            if ready > 0 {
                let bytes = ready.min(out.len());
                out[..bytes].copy_from_slice(&self.wire.unused()[..bytes]);
                self.wire.used(bytes);
                self.read += bytes as u64;
                if let End::Length(left) = &mut self.end {
                    *left -= bytes as u64;
                    self.is_done = *left == 0;
                }
                if self.read - self.noted >= NOTE_BYTES {
                    self.note();
                }
                return Ok(bytes);
            }
            if self.is_done {
                return Ok(0);
            }
            if let Err(broken) = self.wire.fill() {
                self.broken = Some(broken);
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_a_copy() {
        assert_eq!(End::parse("$12"), Some(End::Length(12)));
        let mark = "x".repeat(40);
        assert_eq!(End::parse(&format!("$EOF:{mark}")), Some(End::Mark(mark.into_bytes())));
        for bad in ["", "$", "$-1", "$EOF:short", "+OK", "$99999999999999999999999"] {
            assert_eq!(End::parse(bad), None, "{bad}");
        }
    }
}
