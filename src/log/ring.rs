//! The backlog: the newest bytes of the stream for replicas, in shared pieces.
//!
//! A record is copied into the ring once, however many replicas there are. A replica's connection
//! keeps nothing but a position; what it sends are [`Bytes`] that point into the ring's own chunks,
//! so the ring may drop a piece while it is still on its way to somebody. Whoever reads makes a
//! piece of what is there; where that has left a chunk in many little ones, they become one when it
//! is full, by another copy.
//!
//! Positions count the bytes of the stream from its beginning: position `n` lies behind `n` bytes.
//! Redis names bytes instead, from 1 on: the byte behind position `n` has the offset `n + 1`.
//!
//! Invariant: the pieces and the tail lie without a gap between `start` and `end`.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What is allocated at once.
pub const CHUNK_BYTES: usize = 64 << 10;

/// A full chunk in more pieces than this becomes one: each takes some forty bytes.
const PIECES_MAX: usize = 64;

/// A window on the stream.
#[derive(Debug)]
pub struct Ring {
    /// Pieces that no longer change, with the position of their first byte.
    pieces: VecDeque<(u64, Bytes)>,
    /// What was appended since the last piece.
    tail: BytesMut,
    /// How many of the pieces, at most, lie in the chunk of the tail.
    tail_pieces: usize,
    start: u64,
    end: u64,
}

impl Ring {
    /// An empty window at a position.
    pub fn new(at: u64) -> Ring {
        Ring { pieces: VecDeque::new(), tail: BytesMut::new(), tail_pieces: 0, start: at, end: at }
    }

    /// The position of the first byte inside.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes inside.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether a reader may go on at this position.
    pub fn reaches(&self, position: u64) -> bool {
        (self.start..=self.end).contains(&position)
    }

    /// Appends bytes.
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.tail.capacity() == self.tail.len() {
                self.close_chunk();
                self.tail = BytesMut::with_capacity(CHUNK_BYTES);
            }
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.tail.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Makes a piece of what was appended; further bytes go into the rest of the same chunk.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.tail.split().freeze();
            let end = self.pieces.back().map_or(self.start, |(at, last)| at + last.len() as u64);
            self.pieces.push_back((end, piece));
            self.tail_pieces += 1;
        }
    }

    /// The chunk is full.
    fn close_chunk(&mut self) {
        self.close_tail();
        let pieces = std::mem::take(&mut self.tail_pieces).min(self.pieces.len());
        let first = self.pieces.len() - pieces;
        let Some((at, _)) = self.pieces.get(first).filter(|_| pieces > PIECES_MAX) else { return };
        let (at, mut whole) = (*at, Vec::with_capacity(CHUNK_BYTES));
        self.pieces.drain(first..).for_each(|(_, piece)| whole.extend_from_slice(&piece));
        self.pieces.push_back((at, whole.into()));
    }

    /// Puts the pieces from a position on into `into`, about `most_bytes` of them; false when they
    /// are gone already.
    pub fn read(&mut self, from: u64, most_bytes: usize, into: &mut Vec<Bytes>) -> bool {
        if !self.reaches(from) {
            return false;
        }
        self.close_tail();
        let first = self.pieces.partition_point(|(at, piece)| at + piece.len() as u64 <= from);
        let mut taken = 0;
        for (at, piece) in self.pieces.range(first..) {
            if taken >= most_bytes {
                break;
            }
            let skipped = from.saturating_sub(*at) as usize;
            let wanted = (piece.len() - skipped).min(most_bytes - taken);
            into.push(piece.slice(skipped..skipped + wanted));
            taken += wanted;
        }
        true
    }

    /// Drops what lies before a position.
    pub fn drop_before(&mut self, position: u64) {
        let position = position.min(self.end);
        if position <= self.start {
            return;
        }
        if position > self.end - self.tail.len() as u64 {
            self.close_tail();
        }
        while let Some((at, piece)) = self.pieces.front_mut() {
            let gone = (position - *at).min(piece.len() as u64);
            if (gone as usize) < piece.len() {
                bytes::Buf::advance(piece, gone as usize);
                *at += gone;
                break;
            }
            self.pieces.pop_front();
            if self.pieces.front().is_none_or(|(at, _)| *at >= position) {
                break;
            }
        }
        self.start = position;
    }

    /// Moves the window: each byte is so much further on in the stream than was thought.
    pub fn shift(&mut self, by: u64) {
        self.start += by;
        self.end += by;
        self.pieces.iter_mut().for_each(|(at, _)| *at += by);
    }

    /// Bytes that the ring takes, about.
    pub fn memory_bytes(&self) -> usize {
        let room = self.tail.capacity() - self.tail.len();
        self.len() as usize + room + self.pieces.capacity() * size_of::<(u64, Bytes)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Byte number `n` of the stream.
    fn byte(n: u64) -> u8 {
        (n.wrapping_mul(2_654_435_761) >> 7) as u8
    }

    #[test]
    fn readers_at_any_position_see_the_stream() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut ring = Ring::new(100);
        let mut readers = [100u64; 3];
        for _ in 0..3000 {
            let len = rng.random_range(0..600u64).pow(2) / 300;
            let from = ring.end();
            ring.append(&(from..from + len).map(byte).collect::<Vec<_>>());
            assert_eq!(ring.end(), from + len);
            let who = rng.random_range(0..8);
            if let Some(at) = readers.get_mut(who) {
                let (mut pieces, most) = (Vec::new(), rng.random_range(1..100_000));
                assert!(ring.read(*at, most, &mut pieces));
                let got: Vec<u8> = pieces.concat();
                assert!(
                    got.len() <= most
                        && (got.len() == most || *at + got.len() as u64 == ring.end())
                );
                assert!(got.iter().zip(*at..).all(|(got, n)| *got == byte(n)));
                *at += got.len() as u64;
            }
            let slowest = readers.into_iter().min().unwrap_or(0);
            ring.drop_before(slowest.min(ring.end().saturating_sub(5000)));
            assert!(ring.reaches(slowest) && ring.len() == ring.end() - ring.start());
        }
        assert!(ring.end() > 500_000 && ring.start() > 100);
    }

    #[test]
    fn little_pieces_become_one() {
        let (mut ring, mut at, record) = (Ring::new(0), 0, [7; 30]);
        for _ in 0..100_000 {
            ring.append(&record);
            let mut pieces = Vec::new();
            assert!(ring.read(at, usize::MAX, &mut pieces));
            at += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            assert_eq!(at, ring.end());
            ring.drop_before(at.saturating_sub(1_000_000));
        }
        let in_a_chunk = CHUNK_BYTES / record.len() + 2;
        assert!(ring.pieces.len() <= 1_000_000 / CHUNK_BYTES + 2 + in_a_chunk);
        let pieces_bytes = ring.pieces.capacity() * size_of::<(u64, Bytes)>();
        assert!(pieces_bytes < 200_000 && ring.memory_bytes() >= 1_000_000 + pieces_bytes);
        // Who is in the middle of a chunk that has become one goes on from there.
        let mut pieces = Vec::new();
        assert!(ring.read(at - 777_777, usize::MAX, &mut pieces));
        assert_eq!(pieces.concat().len(), 777_777);
    }

    #[test]
    fn what_is_dropped_cannot_be_read() {
        let mut ring = Ring::new(0);
        ring.append(&[1; 1000]);
        ring.drop_before(10);
        assert_eq!((ring.start(), ring.len()), (10, 990));
        let mut pieces = Vec::new();
        assert!(!ring.read(9, 10, &mut pieces) && !ring.read(1001, 10, &mut pieces));
        assert!(ring.read(1000, 10, &mut pieces) && pieces.is_empty());
        ring.drop_before(5000);
        assert!(ring.is_empty() && ring.start() == 1000);
        ring.append(b"x");
        assert!(ring.read(1000, 10, &mut pieces));
        assert_eq!(pieces.concat(), b"x");
        ring.shift(500);
        assert!(!ring.read(1000, 10, &mut pieces) && (ring.start(), ring.end()) == (1500, 1501));
        ring.append(b"y");
        pieces.clear();
        assert!(ring.read(1500, 10, &mut pieces));
        assert_eq!(pieces.concat(), b"xy");
    }
}
