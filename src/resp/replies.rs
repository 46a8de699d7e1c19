//! Replies on their way to whoever asked, and what they borrow from the data.
//!
//! Most replies are copied into one buffer. A long string is not: the buffer has its header and
//! its end, and between them stands a loan: the very bytes that the data has, which leave from
//! where they lie. So what a slow reader has not taken yet is there once, however often it was
//! asked for. Whoever changes such a string meanwhile changes a copy.
//!
//! Invariant: loans are in the order of their places, and no place lies behind the end of the
//! buffer. Replies lend only when their owner has said that it can send what is lent.

use bytes::Bytes;
use std::ops::{Deref, DerefMut};

/// Strings from this length on are lent. Below, a copy is as cheap as the accounts of a loan.
const LENT_BYTES_MIN: usize = 16 << 10;

/// Bytes that belong between two of a buffer's.
#[derive(Debug)]
pub struct Loan {
    /// How many of the buffer's bytes come before it.
    pub at: usize,
    /// What is lent.
    pub bytes: Bytes,
}

/// A buffer of replies.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    loans: Vec<Loan>,
    lent_bytes: usize,
    lends: bool,
}

impl Replies {
    /// For an owner that can send what is lent.
    pub fn lending() -> Replies {
        Replies { lends: true, ..Replies::default() }
    }

    /// Lets `write` append to a plain buffer.
    #[inline]
    pub fn within<R>(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Replies) -> R) -> R {
        let mut replies = Replies { bytes: std::mem::take(bytes), ..Replies::default() };
        let result = write(&mut replies);
        *bytes = replies.bytes;
        result
    }

    /// Bytes altogether, what is lent among them.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len() + self.lent_bytes
    }

    /// Whether a part of them is lent.
    #[inline]
    pub fn has_loans(&self) -> bool {
        !self.loans.is_empty()
    }

    /// Takes the loans away.
    pub fn take_loans(&mut self) -> Vec<Loan> {
        self.lent_bytes = 0;
        std::mem::take(&mut self.loans)
    }

    /// Whether so many bytes are lent rather than copied.
    #[inline]
    pub fn would_lend(&self, bytes: usize) -> bool {
        self.lends && bytes >= LENT_BYTES_MIN
    }

    /// Lends bytes at the end.
    pub fn lend(&mut self, bytes: Bytes) {
        self.lent_bytes += bytes.len();
        self.loans.push(Loan { at: self.bytes.len(), bytes });
    }

    /// Forgets what comes after the buffer's first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        while self.loans.last().is_some_and(|loan| loan.at > len) {
            self.lent_bytes -= self.loans.pop().map_or(0, |loan| loan.bytes.len());
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.take_loans();
    }

    /// Puts bytes between those that are there.
    pub fn insert(&mut self, at: usize, bytes: Vec<u8>) {
        self.loans.iter_mut().filter(|loan| loan.at > at).for_each(|loan| loan.at += bytes.len());
        self.bytes.splice(at..at, bytes);
    }
}

impl From<Vec<u8>> for Replies {
    fn from(bytes: Vec<u8>) -> Replies {
        Replies { bytes, ..Replies::default() }
    }
}

/// What is not lent.
impl Deref for Replies {
    type Target = Vec<u8>;

    #[inline]
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Replies {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::out::Out;

    /// As a reader gets them.
    fn whole(mut replies: Replies) -> Vec<u8> {
        let mut all = Vec::new();
        let mut from = 0;
        for loan in replies.take_loans() {
            all.extend_from_slice(&replies[from..loan.at]);
            all.extend_from_slice(&loan.bytes);
            from = loan.at;
        }
        all.extend_from_slice(&replies[from..]);
        all
    }

    fn write(replies: &mut Replies, text: &Bytes) {
        Out::new(replies, false).bulk_or_lent(text, || text.clone());
        let mut items = Out::new(replies, false).array_of_unknown_len();
        items.bulk(b"short");
        items.bulk_or_lent(text, || text.clone());
        items.bulk_or_lent(&text[..9], || text.slice(..9));
        items.end();
        Out::new(replies, false).ok();
    }

    #[test]
    fn what_is_lent_reads_as_what_is_copied() {
        for len in [10, LENT_BYTES_MIN - 1, LENT_BYTES_MIN, 3 * LENT_BYTES_MIN] {
            let text = Bytes::from((0..len).map(|at| at as u8).collect::<Vec<u8>>());
            let (mut lent, mut copied) = (Replies::lending(), Replies::default());
            write(&mut lent, &text);
            write(&mut copied, &text);
            assert!(!copied.has_loans());
            assert_eq!(lent.has_loans(), len >= LENT_BYTES_MIN);
            assert_eq!(lent.total_bytes(), copied.len());
            assert_eq!(whole(lent), whole(copied));
        }
    }

    #[test]
    fn what_is_cut_off_is_lent_no_more() {
        let text = Bytes::from(vec![7; LENT_BYTES_MIN]);
        let mut replies = Replies::lending();
        write(&mut replies, &text);
        let (mark, total_bytes) = (replies.len(), replies.total_bytes());
        write(&mut replies, &text);
        replies.truncate(mark);
        assert_eq!(replies.total_bytes(), total_bytes);
        replies.clear();
        assert_eq!((replies.total_bytes(), replies.has_loans()), (0, false));
    }
}
