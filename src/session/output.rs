//! Replies that have not left yet: a chain of chunks.
//!
//! Invariant: a byte is copied at most once on its way through here: what is long enough moves in
//! as the buffer that it was written to, what is short fills up the chunk before it, and what is
//! lent stays where it is. A chain never grows by moving what it holds, and gives each chunk back
//! as soon as it has left. What is lent counts as if it had been copied, as it does in Redis.

use super::stream::Socket;
use crate::resp::replies::Replies;
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{ready, Context, Poll};

/// Short replies are gathered in chunks of up to this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are written by one call.
const SLICES_MAX: usize = 16;
/// Empty chunks that a worker keeps for replies to come.
const SPARE_CHUNKS_MAX: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn spared() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// A part of what has not left.
#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    /// Bytes of the data, which has them as long as it wants.
    Lent(Bytes),
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk::Own(Vec::new())
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Lent(bytes) => bytes,
        }
    }
}

/// Takes a chunk that is needed no more; gives the bytes that went to the allocator.
fn dispose(chunk: Chunk) -> usize {
    let Chunk::Own(mut chunk) = chunk else { return 0 };
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
    first: Chunk,
    /// Bytes of `first` that have left.
    gone: usize,
    rest: VecDeque<Chunk>,
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

    /// Takes what stands in `replies`, of which nothing is lent, from `from` on, and leaves it an
    /// empty buffer.
    pub(super) fn take(&mut self, replies: &mut Vec<u8>, from: usize) {
        let added = &replies[from..];
        if added.is_empty() {
            return replies.clear();
        }
        if self.fill_up(added) {
            return replies.clear();
        }
        let alone = self.is_empty();
        let wasted = replies.capacity() - added.len();
        let (chunk, gone) = if wasted <= added.len() && (alone || from == 0) {
            let mut chunk = std::mem::replace(replies, spared());
            if wasted > CHUNK_BYTES {
                chunk.shrink_to_fit();
            }
            (chunk, from)
        } else {
            let last = match self.rest.back().unwrap_or(&self.first) {
                Chunk::Own(last) => last.capacity(),
                Chunk::Lent(_) => 0,
            };
            let room = (2 * last).min(CHUNK_BYTES).max(added.len());
            let mut chunk = if alone { spared() } else { Vec::new() };
            chunk.reserve_exact(room);
            chunk.extend_from_slice(added);
            replies.clear();
            (chunk, 0)
        };
        self.add(Chunk::Own(chunk), gone);
    }

    /// Takes all of `replies`, a part of which is lent, and leaves it an empty buffer.
    pub(super) fn take_lent(&mut self, replies: &mut Replies) {
        let mut from = 0;
        for loan in replies.take_loans() {
            self.copy(replies.get(from..loan.at).unwrap_or_default());
            self.add(Chunk::Lent(loan.bytes), 0);
            from = loan.at;
        }
        self.copy(replies.get(from..).unwrap_or_default());
        replies.clear();
    }

    fn copy(&mut self, added: &[u8]) {
        if !added.is_empty() && !self.fill_up(added) {
            self.add(Chunk::Own(added.to_vec()), 0);
        }
    }

    /// Adds to the last chunk, if it is to be written yet and has room.
    fn fill_up(&mut self, added: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let Chunk::Own(last) = self.rest.back_mut().unwrap_or(&mut self.first) else {
            return false;
        };
        let fits = last.capacity() - last.len() >= added.len();
        if fits {
            last.extend_from_slice(added);
            self.bytes += added.len();
        }
        fits
    }

    /// Adds a chunk, of which so many bytes have left already.
    fn add(&mut self, chunk: Chunk, gone: usize) {
        let bytes = chunk.bytes().len() - gone;
        if self.is_empty() {
            (self.first, self.gone) = (chunk, gone);
        } else {
            self.rest.push_back(chunk);
        }
        self.bytes += bytes;
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
            let len = ready!(self.poll_write_once(socket, cx, left))?;
            left -= len;
            self.forget(len);
        }
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_once(
        &self,
        socket: &Socket,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let first = self.first.bytes().get(self.gone..).unwrap_or_default();
        if self.rest.is_empty() || first.len() >= most {
            return socket.poll_write(cx, first.get(..most).unwrap_or(first));
        }
        let mut left = most;
        let rest = self.rest.iter().map(Chunk::bytes);
        let parts = std::iter::once(first).chain(rest).take(SLICES_MAX).map_while(|part| {
            let part = part.get(..left).unwrap_or(part);
            left -= part.len();
            (!part.is_empty()).then(|| IoSlice::new(part))
        });
        let slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = parts.collect();
        socket.poll_write_slices(cx, &slices)
    }

    /// So many bytes more have left.
    fn forget(&mut self, mut len: usize) {
        self.bytes -= len;
        loop {
            let here = self.first.bytes().len() - self.gone;
            if len < here {
                self.gone += len;
                return;
            }
            len -= here;
            let next = self.rest.pop_front().unwrap_or_default();
            self.freed_bytes += dispose(std::mem::replace(&mut self.first, next));
            self.gone = 0;
            if len == 0 {
                return;
            }
        }
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
