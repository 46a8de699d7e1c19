//! How a session writes: what the peer takes at once from the worker's buffer, the rest from a
//! chain of its own.
//!
//! Invariant: one call writes a bounded number of bytes.

use super::{held, Session};
use crate::client::Kick;
use crate::resp::replies::Replies;
use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// What one turn writes at most.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Replies of up to this many bytes wait for the session's next turn.
const OWED_BYTES_MAX: usize = 64 * 1024;

impl Session {
    /// Replies wait for this session's turn, not for the peer.
    pub(super) fn owes(&self) -> bool {
        !self.output.is_empty() && !self.behind && self.held.is_none()
    }

    /// Sends what has not left, as far as the peer takes it and this turn may.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, kick: &Kick) -> io::Result<()> {
        if self.output.is_empty() {
            if !self.shared.tail.is_open(self.mark) {
                // The client hears nothing, and nobody else may ask for what it has written.
                self.shared.tail.write_soon();
            }
            return Ok(());
        }
        if !self.may_leave(cx) {
            return Ok(());
        }
        self.flush_now(cx)?;
        if self.behind {
            self.check_output_limit();
        } else if self.output.is_empty() && std::mem::take(&mut self.counted) {
            // The peer has taken what it had not read: it counts no longer.
            match self.shared.lock_unless_busy() {
                Some(mut state) => state.clients.at(self.me).has_taken_all(),
                // Said when the script that runs has ended.
                None => kick.ring(),
            }
        }
        Ok(())
    }

    /// Whether the log is as durable as the replies promise. If it is not, it is made so now, for
    /// this session and all that wait behind it, or this task is woken when it is.
    fn may_leave(&mut self, cx: &mut Context<'_>) -> bool {
        let tail = &self.shared.tail;
        let open = match self.held {
            Some(held) if held == self.mark => tail.is_open(self.mark),
            _ => held::is_open(tail, self.mark, cx),
        };
        self.held = (!open).then_some(self.mark);
        open
    }

    pub(super) fn flush_now(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let written = self.output.poll_write(&self.socket, cx, WRITE_BYTES_MAX);
        self.let_go_output();
        self.behind = written.is_pending();
        match written {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    /// Sends replies. Those to several requests leave at this session's next turn, after all
    /// sessions that have input now: replies that leave in a row find their reader awake, and
    /// waking it costs more than writing. A single reply, or a long one, leaves now as far as the
    /// peer takes it.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, requests: usize, out: &mut Replies) {
        let is_held = self.held.is_some() || !self.shared.tail.is_open(self.mark);
        if out.has_loans() {
            return self.send_loans(cx, is_held, out);
        }
        let owed = is_held || (requests > 1 && out.len() <= OWED_BYTES_MAX);
        let most = if owed || !self.output.is_empty() { 0 } else { out.len().min(WRITE_BYTES_MAX) };
        let mut sent = 0;
        while sent < most {
            match self.socket.poll_write(cx, &out[sent..most]) {
                Poll::Ready(Ok(len)) => sent += len,
                Poll::Ready(Err(_)) => {
                    self.closing = true;
                    return out.clear();
                }
                Poll::Pending => {
                    self.behind = true;
                    break;
                }
            }
        }
        self.output.take(out, sent);
        if self.behind && !self.output.is_empty() {
            self.check_output_limit();
        }
    }

    /// The same for replies a part of which is lent.
    #[cold]
    fn send_loans(&mut self, cx: &mut Context<'_>, is_held: bool, out: &mut Replies) {
        let leaves_now = !is_held && self.output.is_empty();
        self.output.take_lent(out);
        if leaves_now && self.flush_now(cx).is_err() {
            self.closing = true;
            return self.output.clear();
        }
        if self.behind && !self.output.is_empty() {
            self.check_output_limit();
        }
    }

    /// `client-output-buffer-limit`, for what the peer has not taken.
    fn check_output_limit(&mut self) {
        self.counted = true;
        let Some(mut guard) = self.shared.lock_unless_busy() else { return };
        let state = &mut *guard;
        let now_ms = state.db.now_ms();
        let settings = state.config.settings();
        let client = state.clients.at(self.me);
        client.unwritten_bytes = self.output.bytes();
        client.check_output_limit(settings, now_ms);
        let cut = client.cut.is_some();
        drop(guard);
        if cut {
            self.drop_replies();
        }
    }

    /// The client was cut off: what it has not taken does not leave any more.
    pub(super) fn drop_replies(&mut self) {
        self.output.clear();
        self.let_go_output();
        self.closing = true;
    }

    fn let_go_output(&mut self) {
        let bytes = self.output.freed_bytes();
        self.let_go(bytes);
    }

    /// Notes that buffers were freed, so that they go back to the system.
    pub(super) fn let_go(&self, bytes: usize) {
        if bytes > 0 {
            self.shared.let_go_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}
