//! What a connection has in buffers, as CLIENT LIST and CLIENT INFO tell it.
//!
//! A connection owns no buffer while it is idle: its worker lends it one for a batch. So figures
//! about the request at hand hold while a batch runs, and the size of its reply buffer is what the
//! worker's has to give it: as much as its replies have needed of late.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

/// What a client has sent of requests that are not complete, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// Not yet understood.
    pub raw_bytes: usize,
    /// Room for more of it.
    pub free_bytes: usize,
    /// Arguments that are complete.
    pub argv_bytes: usize,
    /// Still to come of an argument whose length was announced, beyond that room.
    pub announced_bytes: usize,
}

impl Incomplete {
    /// What it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.raw_bytes + self.free_bytes + self.argv_bytes
    }

    /// What it takes, and will take when all that was announced has come, in bytes.
    pub fn promised_bytes(&self) -> usize {
        self.memory_bytes() + self.announced_bytes
    }
}

/// What a session tells of a request that is not complete. A byte that comes alone costs little
/// more than the system call that reads it, so nobody waits for the lock to tell it: each figure is
/// true by itself, and those who look under the lock see the last ones soon.
#[derive(Debug, Default)]
pub struct Arriving {
    raw_bytes: AtomicUsize,
    free_bytes: AtomicUsize,
    argv_bytes: AtomicUsize,
    announced_bytes: AtomicUsize,
    heard_ms: AtomicI64,
}

impl Arriving {
    /// More of it has come (Unix ms).
    pub fn note(&self, what: Incomplete, now_ms: i64) {
        self.heard_ms.store(now_ms, Relaxed);
        self.set(what);
    }

    /// It is complete.
    pub fn clear(&self) {
        self.set(Incomplete::default());
    }

    /// When a part of a request came last (Unix ms).
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms.load(Relaxed)
    }

    /// What has come of it.
    pub fn incomplete(&self) -> Incomplete {
        Incomplete {
            raw_bytes: self.raw_bytes.load(Relaxed),
            free_bytes: self.free_bytes.load(Relaxed),
            argv_bytes: self.argv_bytes.load(Relaxed),
            announced_bytes: self.announced_bytes.load(Relaxed),
        }
    }

    /// What has come of it now.
    pub fn set(&self, what: Incomplete) {
        self.raw_bytes.store(what.raw_bytes, Relaxed);
        self.free_bytes.store(what.free_bytes, Relaxed);
        self.argv_bytes.store(what.argv_bytes, Relaxed);
        self.announced_bytes.store(what.announced_bytes, Relaxed);
    }
}

/// What the batch that runs now has in the worker's buffers, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtHand {
    /// Its requests, as they came.
    pub input_bytes: usize,
    /// Room behind them.
    pub free_bytes: usize,
    /// The arguments of the command that looks.
    pub argv_bytes: usize,
    /// Replies to the requests before it.
    pub reply_bytes: usize,
}

/// DEBUG REPLYBUFFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resizing {
    /// Sizes follow what is needed.
    pub on: bool,
    /// How long a peak is remembered; for ever without.
    pub peak_ms: Option<i64>,
}

impl Resizing {
    /// How long a peak is remembered unless something else is said.
    pub const PEAK_MS: i64 = 5000;
}

impl Default for Resizing {
    fn default() -> Self {
        Resizing { on: true, peak_ms: Some(Resizing::PEAK_MS) }
    }
}

/// How much of a buffer for replies a connection needs. Redis: between 1 and 16 KiB, by the peak
/// of some seconds; it begins with the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyBuffer {
    size_bytes: u32,
    peak_bytes: u32,
    peak_since_ms: i64,
}

impl Default for ReplyBuffer {
    fn default() -> Self {
        let most = ReplyBuffer::BYTES_MAX;
        ReplyBuffer { size_bytes: most, peak_bytes: most, peak_since_ms: 0 }
    }
}

impl ReplyBuffer {
    const BYTES_MIN: u32 = 1024;
    const BYTES_MAX: u32 = 16 * 1024;

    /// Its size.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes as usize
    }

    /// The most that was in it of late; it holds `bytes` now.
    pub fn peak_bytes(&self, bytes: usize) -> usize {
        (self.peak_bytes as usize).max(bytes.min(self.size_bytes()))
    }

    /// A batch wrote so many bytes of replies.
    #[inline]
    pub fn wrote(&mut self, bytes: usize) {
        self.peak_bytes = self.peak_bytes.max((bytes.min(self.size_bytes())) as u32);
    }

    /// Lets the size follow the peak; ten times a second does.
    pub fn adapt(&mut self, now_ms: i64, resizing: Resizing) {
        if !resizing.on {
            return;
        }
        let (half, twice) = (self.size_bytes / 2, self.size_bytes * 2);
        if half >= Self::BYTES_MIN && self.peak_bytes < half {
            self.size_bytes = Self::BYTES_MIN.max(self.peak_bytes + 1);
        } else if twice < 2 * Self::BYTES_MAX && self.peak_bytes == self.size_bytes {
            self.size_bytes = Self::BYTES_MAX.min(twice);
        }
        if resizing.peak_ms.is_some_and(|kept_ms| now_ms - self.peak_since_ms > kept_ms) {
            self.peak_bytes = 0;
            self.peak_since_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_what_replies_need() {
        let mut buffer = ReplyBuffer::default();
        let mut now_ms = 1_000_000;
        let mut round = |buffer: &mut ReplyBuffer, resizing| {
            now_ms += 100;
            buffer.adapt(now_ms, resizing);
            buffer.size_bytes()
        };
        let usual = Resizing::default();
        assert_eq!(round(&mut buffer, usual), 16 * 1024);
        assert_eq!(round(&mut buffer, usual), 1024, "nothing was ever needed");
        buffer.wrote(100);
        assert_eq!((round(&mut buffer, usual), buffer.peak_bytes(0)), (1024, 100));
        let kept = Resizing { peak_ms: None, ..usual };
        for size in [2048, 4096, 8192, 16 * 1024, 16 * 1024] {
            buffer.wrote(40_000);
            assert_eq!(round(&mut buffer, kept), size);
        }
        let off = Resizing { on: false, peak_ms: Some(0) };
        buffer.wrote(1);
        assert_eq!(round(&mut buffer, off), 16 * 1024);
        assert_eq!(round(&mut buffer, Resizing { on: true, peak_ms: Some(0) }), 16 * 1024);
        assert_eq!(round(&mut buffer, usual), 1024);
    }
}
