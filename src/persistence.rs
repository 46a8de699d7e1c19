//! What is known under the lock of saving and loading: snapshots that are being taken, the figures
//! of the snapshot file, and how far a load has come.
//!
//! Invariant: nothing here acts. `snapshot` takes snapshots and loads them; INFO and the gate of
//! commands only look.

pub mod headway;

use crate::clock::Stopwatch;
use crate::keyspace::ageing::Reading;
use crate::keyspace::image::{ImageId, Outline, Piece, Wanted};
use crate::state::State;
use crate::types::walk::Tally;
use headway::Headway;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::Arc;

/// What is fixed at the moment of a snapshot.
#[derive(Clone, Debug)]
pub struct Start {
    /// When it was (Unix ms).
    pub now_ms: i64,
    /// The databases that are not empty.
    pub outlines: Vec<Outline>,
    /// Code of the libraries of functions.
    pub libraries: Vec<Vec<u8>>,
    /// The version of Redis that is spoken.
    pub redis_version: String,
    /// Bytes that the data took.
    pub used_bytes: u64,
    /// How to read the ages of keys; `None` when no policy of eviction asks for them.
    pub ages: Option<Reading>,
    /// The history of writes, and how far it had come.
    pub replication_id: String,
    /// See `replication_id`.
    pub replication_offset: u64,
    /// `rdbcompression`
    pub compress: bool,
    /// `rdbchecksum`
    pub checksum: bool,
    /// Asked from time to time by who writes a long value.
    pub wanted: Wanted,
}

impl Start {
    /// Whether a field of any hash has a deadline.
    pub fn has_field_deadlines(&self) -> bool {
        self.outlines.iter().any(|outline| outline.with_field_deadlines > 0)
    }
}

/// Makes something of a snapshot's pieces: a file, bytes in memory, what a replica receives. It
/// runs without the lock, on the thread that takes the snapshot, which goes on only when it
/// returns.
pub trait Output: Send {
    /// Comes first.
    fn begin(&mut self, start: &Start) -> io::Result<()>;

    /// The next pieces.
    fn take(&mut self, pieces: &[Piece]) -> io::Result<()>;

    /// There are no more pieces: makes what was written last.
    fn finish(&mut self) -> io::Result<()>;

    /// It failed, or nobody wants it any more: removes what is there of it.
    fn discard(&mut self);

    /// Bytes made so far.
    fn written_bytes(&self) -> u64;

    /// Whether it waits for others, who may take what they are given as slowly as they like.
    fn waits_for_peers(&self) -> bool {
        false
    }

    /// What the log calls it while it goes on; `None` where the log says nothing of it.
    fn purpose(&self) -> Option<&'static str>;
}

/// How a snapshot ended.
#[derive(Debug)]
pub enum Outcome {
    /// It is complete.
    Done,
    /// It could not be written.
    Failed(io::Error),
    /// Somebody cancelled it.
    Cancelled,
}

/// Called under the lock when an output is over.
pub type Over = Box<dyn FnOnce(&mut State, Outcome) + Send>;

/// One output of a snapshot, and who is told when it is over.
pub struct Job {
    /// Makes something of it.
    pub output: Box<dyn Output>,
    /// Whether somebody wants it still.
    pub wanted: Wanted,
    /// Is told.
    pub over: Over,
}

/// Which of those who make one file this is: saves, and copies of a primary's data. A save that was
/// cancelled may still be at its end when the next one has its file in place; it must not put an
/// older one there.
#[derive(Clone, Debug, Default)]
pub struct Order {
    number: u64,
    /// The newest that is in place.
    placed: Arc<Mutex<u64>>,
}

impl Order {
    /// The next begins.
    pub fn begin_next(&mut self) -> Order {
        self.number += 1;
        self.clone()
    }

    /// Lets `place` put this one's file in place, unless that of a newer one is there.
    pub fn place(&self, place: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut placed = self.placed.lock();
        if *placed > self.number {
            return Err(io::ErrorKind::Interrupted.into());
        }
        place()?;
        *placed = self.number;
        Ok(())
    }
}

/// A snapshot that is being taken.
pub struct Running {
    /// Its image.
    pub image: ImageId,
    /// Jobs that its thread has not fetched: it does so with its first slice.
    pub waiting: Vec<(Job, Start)>,
    /// Keys of all databases.
    pub keys: usize,
    /// Counts the bytes that writers save for it.
    pub tally: Tally,
    /// Keys handed out.
    pub keys_done: usize,
    /// Bytes that have been made of them.
    pub written_bytes: u64,
    /// Since its beginning.
    pub headway: Headway,
}

/// What BGSAVE, SAVE and save points have done.
#[derive(Clone, Debug)]
pub struct FileFigures {
    /// The BGSAVE that is under way, and when it began.
    pub background: Option<(Wanted, Stopwatch)>,
    /// A BGSAVE must begin as soon as nothing is in its way.
    pub is_scheduled: bool,
    /// `dirty` at the last save that succeeded.
    pub saved_dirty: u64,
    /// `dirty` when the BGSAVE that is under way began.
    pub background_dirty: u64,
    /// When the data was saved last (Unix s).
    pub last_save_s: i64,
    /// When a BGSAVE was tried last (Unix s).
    pub last_try_s: i64,
    /// The last one succeeded.
    pub last_was_ok: bool,
    /// How long the last one took (s); -1 when there was none.
    pub last_took_s: i64,
    /// Saves that clients and save points began.
    pub saves: u64,
    /// The last that was given a place under the file's name: a save, or a copy of a primary's.
    pub order: Order,
    /// Bytes of pre-images that the last BGSAVE needed.
    pub last_copied_bytes: u64,
    /// The unfinished file of the save before the end, which has the lock all the time. Who wants
    /// the server to end at once looks here without it.
    pub final_save: Arc<Mutex<Option<PathBuf>>>,
    /// Keys of the last load.
    pub loaded_keys: u64,
    /// Keys of the last load whose time had come.
    pub loaded_expired: u64,
}

impl Default for FileFigures {
    fn default() -> Self {
        FileFigures {
            background: None,
            is_scheduled: false,
            saved_dirty: 0,
            background_dirty: 0,
            last_save_s: 0,
            last_try_s: 0,
            last_was_ok: true,
            last_took_s: -1,
            saves: 0,
            order: Order::default(),
            last_copied_bytes: 0,
            final_save: Arc::default(),
            loaded_keys: 0,
            loaded_expired: 0,
        }
    }
}

/// A load that is under way.
#[derive(Clone, Debug)]
pub struct Loading {
    /// When it began (Unix ms).
    pub began_ms: i64,
    /// Since then.
    pub headway: Headway,
    /// Bytes of what is loaded; 0 when nobody knows.
    pub total_bytes: u64,
    /// Bytes read so far.
    pub loaded_bytes: u64,
    /// Bytes of the files before the one that is being read.
    pub before_bytes: u64,
    /// Bytes in use when the data was saved, if it says.
    pub saved_used_bytes: u64,
    /// Keys so far.
    pub keys: u64,
    /// The old data is served meanwhile.
    pub is_async: bool,
}

impl Loading {
    /// A load of so many bytes begins.
    pub fn begin(now_ms: i64, total_bytes: u64, is_async: bool) -> Loading {
        Loading {
            began_ms: now_ms,
            headway: Headway::default(),
            total_bytes,
            loaded_bytes: 0,
            before_bytes: 0,
            saved_used_bytes: 0,
            keys: 0,
            is_async,
        }
    }

    /// A line for the log, if it is time for one.
    pub fn line(&mut self) -> Option<String> {
        // Of a stream nobody knows how long it is.
        let percent = (self.total_bytes > 0).then(|| self.percent().min(100.0));
        self.headway.line("Loading", percent, self.keys, self.loaded_bytes)
    }

    /// How far it has come.
    pub fn percent(&self) -> f64 {
        self.loaded_bytes as f64 * 100.0 / self.total_bytes.max(1) as f64
    }
}

/// The room.
#[derive(Default)]
pub struct Persistence {
    /// `rdb-key-save-delay` in microseconds, below 0 one for so many keys, as snapshots that are
    /// under way see it: a change holds at once.
    pub key_delay_us: Arc<AtomicI64>,
    /// Snapshots that are being taken.
    pub running: Vec<Running>,
    /// The snapshot file.
    pub file: FileFigures,
    /// Bytes of pre-images that the last snapshot needed.
    pub copied_bytes: u64,
    /// Files are used without being asked for: loaded at the start, saved at save points and at
    /// the end.
    pub keeps_files: bool,
    /// Data is being loaded: most commands have to wait.
    pub loading: Option<Loading>,
    /// The data of the start is not all there: nobody may write, copy or save what there is, even
    /// between the files that are loaded. So `loading` stays.
    pub is_starting: bool,
}

impl Persistence {
    /// The snapshot that takes this image.
    pub fn find(&mut self, image: ImageId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.image == image)
    }
}

impl std::fmt::Debug for Persistence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Persistence with {} snapshots under way", self.running.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use std::io;

    #[test]
    fn no_save_takes_the_place_of_a_newer_one() {
        let (mut order, mut placed) = (Order::default(), Vec::new());
        let [first, second, third] = std::array::from_fn(|_| order.begin_next());
        for (number, save) in [(2, &second), (1, &first), (3, &third)] {
            let went = save.place(|| {
                placed.push(number);
                Ok(())
            });
            assert_eq!(went.is_ok(), number != 1);
        }
        assert!(third.place(|| Err(io::ErrorKind::Other.into())).is_err());
        assert_eq!(placed, [2, 3]);
    }
}
