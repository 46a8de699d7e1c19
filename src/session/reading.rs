//! How a session reads: into the worker's buffer while little is kept, behind what is kept when a
//! large argument arrives.
//!
//! Invariant: one call reads once, and a bounded number of bytes.

use super::{Scratch, Session, READ_BYTES};
use crate::client::{Cut, Incomplete};
use std::io;
use std::task::{ready, Context, Poll};

/// Up to here a part of a request is within every limit, by itself: nobody looks.
const SMALL_BYTES: usize = 4096;
/// What one read takes at most of a large argument.
const LARGE_READ_BYTES: usize = 256 * 1024;
/// A waiting client's requests are read up to here, so that its going away is noticed.
const WAITING_READ_BYTES_MAX: usize = 1 << 20;
/// A worker's buffer of replies that has outgrown this is not kept.
const OUT_BYTES_MAX: usize = 1 << 20;

/// Where bytes arrived.
pub(super) enum Arrived {
    /// In the worker's buffer, behind room for what is kept.
    Apart(usize),
    /// Behind what is kept.
    Kept,
    /// Nowhere: the peer has closed the connection.
    End,
}

impl Arrived {
    /// As much as one read takes: there may be more.
    pub(super) fn is_full(&self) -> bool {
        !matches!(self, Arrived::Apart(len) if *len < READ_BYTES)
    }

    /// A read that could have taken more requests if there had been room.
    pub(super) fn fills_a_read(&self) -> bool {
        matches!(self, Arrived::Apart(READ_BYTES))
    }
}

impl Session {
    /// Reads once.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        let kept_bytes = self.kept.len();
        if self.waiting && kept_bytes > WAITING_READ_BYTES_MAX {
            // Who waits is read on later; who is deaf would keep its place for ever.
            return if self.deaf { Poll::Ready(Ok(Arrived::End)) } else { Poll::Pending };
        }
        let missing = self.decoder.missing_bytes(kept_bytes).unwrap_or(0);
        if kept_bytes <= READ_BYTES && missing <= READ_BYTES {
            let mut scratch = self.scratch.borrow_mut();
            if scratch.input.is_empty() {
                scratch.input = vec![0; 2 * READ_BYTES];
            }
            let buf = &mut scratch.input[kept_bytes..kept_bytes + READ_BYTES];
            return Poll::Ready(Ok(match ready!(self.socket.poll_read(cx, buf))? {
                0 => Arrived::End,
                len => Arrived::Apart(len),
            }));
        }
        // Not beyond the end of the argument, so that large values leave no room unused.
        let missing = if missing > 0 { missing } else { READ_BYTES };
        let buffer = self.kept.buffer(missing, 4 * READ_BYTES);
        let room = (buffer.capacity() - buffer.len()).min(LARGE_READ_BYTES);
        Poll::Ready(Ok(match ready!(self.socket.poll_append(cx, buffer, room))? {
            0 => Arrived::End,
            _ => Arrived::Kept,
        }))
    }

    /// Leaves for a later turn what has arrived.
    pub(super) fn keep(&mut self, arrived: &Arrived) {
        if let Arrived::Apart(len) = arrived {
            let from = self.kept.len();
            self.kept.append(&self.scratch.borrow().input[from..from + len]);
        }
        self.more = true;
        self.note_kept();
    }

    /// Takes a turn with what is kept and what has arrived, and sends the replies.
    pub(super) fn work(&mut self, cx: &mut Context<'_>, arrived: &Arrived) {
        if matches!(arrived, Arrived::Kept) && self.kept.len() > READ_BYTES {
            // Redis: the limit counts what was read, before any of it is understood.
            self.note_kept();
            if self.closing {
                return;
            }
        }
        let scratch = self.scratch.clone();
        let Scratch { input, out, batch, names } = &mut *scratch.borrow_mut();
        let mut kept = std::mem::take(&mut self.kept);
        let (kept_bytes, capacity) = (kept.len(), kept.capacity());
        let turn = match arrived {
            Arrived::Apart(len) => {
                input[..kept_bytes].copy_from_slice(kept.bytes());
                self.room_bytes = input.len();
                let input = &input[..kept_bytes + len];
                let turn = self.turn(input, out, batch, names);
                match turn.consumed {
                    0 => kept.append(&input[kept_bytes..]),
                    consumed => kept.replace(&input[consumed..]),
                }
                turn
            }
            _ => {
                self.room_bytes = capacity;
                let turn = self.turn(kept.bytes(), out, batch, names);
                kept.consume(turn.consumed);
                turn
            }
        };
        self.let_go(capacity.saturating_sub(kept.capacity()));
        self.kept = kept;
        self.more = turn.more && !self.kept.is_empty();
        self.send(cx, turn.requests, out);
        if out.capacity() > OUT_BYTES_MAX {
            self.let_go(out.capacity());
            **out = Vec::new();
        }
        if !self.kept.is_empty() && !self.closing {
            self.note_kept();
        }
    }

    /// Tells what is kept of requests. What is small waits for no lock: whoever sends byte by byte
    /// makes as many reads.
    fn note_kept(&mut self) {
        let missing = self.decoder.missing_bytes(self.kept.len());
        let free_bytes = self.kept.free_bytes();
        let kept = Incomplete {
            raw_bytes: self.kept.len().saturating_sub(self.decoder.understood_bytes()),
            free_bytes,
            argv_bytes: self.decoder.argv_bytes(),
            announced_bytes: missing.map_or(0, |missing| missing.saturating_sub(free_bytes)),
        };
        if let Some(kick) = self.socket.kick.get() {
            kick.arriving.note(kept, self.shared.clock.now_ms());
            self.noted = true;
        }
        if kept.promised_bytes() > SMALL_BYTES {
            self.check_query_limit(kept);
        }
    }

    /// `client-query-buffer-limit`, and `maxmemory-clients` for what has arrived of a request.
    fn check_query_limit(&mut self, kept: Incomplete) {
        let Some(mut guard) = self.shared.lock_unless_busy() else { return };
        let state = &mut *guard;
        let settings = state.config.settings();
        let limit = settings.client_query_buffer_limit;
        let client = state.clients.at(self.me);
        let queued_bytes = client.multi.as_ref().map_or(0, |multi| multi.bytes);
        if limit > 0 && kept.raw_bytes + queued_bytes > limit {
            client.cut_off(Cut::Query);
        }
        client.check_memory_limit(settings);
        self.closing |= client.cut.is_some();
    }
}
