//! Replies that have not left yet: a chain of chunks.
//!
//! Invariant: a byte is copied at most once on its way through here: what is long enough moves in
//! as the buffer that it was written to, what is short fills up the chunk before it. A chain never
//! grows by moving what it holds, and gives each chunk back as soon as it has left.

use super::stream::Socket;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::task::{ready, Context, Poll};

/// Short replies are gathered in chunks of up to this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Empty chunks that a worker keeps for replies to come.
const SPARE_CHUNKS_MAX: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn spared() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes a chunk that is needed no more; gives the bytes that went to the allocator.
fn dispose(mut chunk: Vec<u8>) -> usize {
    if chunk.capacity() > CHUNK_BYTES {
        return chunk.capacity();
    }
    chunk.clear();
    SPARE.with_borrow_mut(|chunks| {
        if chunks.len() < SPARE_CHUNKS_MAX {
            chunks.push(chunk);
            return 0;
        }
        chunk.capacity()
    })
}

/// A chain of replies.
#[derive(Debug, Default)]
pub(super) struct Output {
    first: Vec<u8>,
    /// Bytes of `first` that have left.
    gone: usize,
    rest: VecDeque<Vec<u8>>,
    /// Bytes that have not left.
    bytes: usize,
    /// Bytes that went back to the allocator.
    freed_bytes: usize,
}

impl Output {
    /// Bytes inside.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything has left.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes what stands in `replies` from `from` on, and leaves it an empty buffer.
    pub(super) fn take(&mut self, replies: &mut Vec<u8>, from: usize) {
        let added = &replies[from..];
        if added.is_empty() {
            return replies.clear();
        }
        self.bytes += added.len();
        let alone = self.bytes == added.len();
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        if !alone && last.capacity() - last.len() >= added.len() {
            last.extend_from_slice(added);
            return replies.clear();
        }
        let wasted = replies.capacity() - added.len();
        let (chunk, gone) = if wasted <= added.len() && (alone || from == 0) {
            let mut chunk = std::mem::replace(replies, spared());
            if wasted > CHUNK_BYTES {
                chunk.shrink_to_fit();
            }
            (chunk, from)
        } else {
            let room = (2 * last.capacity()).min(CHUNK_BYTES).max(added.len());
            let mut chunk = if alone { spared() } else { Vec::new() };
            chunk.reserve_exact(room);
            chunk.extend_from_slice(added);
            replies.clear();
            (chunk, 0)
        };
        if alone {
            (self.first, self.gone) = (chunk, gone);
        } else {
            self.rest.push_back(chunk);
        }
    }

    /// Writes until all has left, or `most` bytes have.
    pub(super) fn poll_write(
        &mut self,
        socket: &Socket,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let mut left = most;
        while self.bytes > 0 && left > 0 {
            let chunk = &self.first[self.gone..];
            let part = &chunk[..chunk.len().min(left)];
            let len = ready!(socket.poll_write(cx, part))?;
            self.gone += len;
            self.bytes -= len;
            left -= len;
            if self.gone == self.first.len() {
                let next = self.rest.pop_front().unwrap_or_default();
                self.freed_bytes += dispose(std::mem::replace(&mut self.first, next));
                self.gone = 0;
            }
        }
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Throws everything away.
    pub(super) fn clear(&mut self) {
        let Output { first, rest, freed_bytes, .. } = std::mem::take(self);
        self.freed_bytes =
            freed_bytes + std::iter::once(first).chain(rest).map(dispose).sum::<usize>();
    }

    /// Bytes that went back to the allocator since the last call.
    pub(super) fn freed_bytes(&mut self) -> usize {
        std::mem::take(&mut self.freed_bytes)
    }
}
