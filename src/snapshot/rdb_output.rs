//! Snapshots as RDB, into any sink of bytes.
//!
//! Keys come in the order of the walk; those whose old value was saved before a change come when
//! they are changed, also from databases whose turn has not come. A file may name a database
//! several times, so nothing has to be kept back for that.

use crate::keyspace::ageing::{Age, Reading};
use crate::keyspace::entry::Entry;
use crate::keyspace::image::Piece;
use crate::persistence::{Output, Start};
use crate::rdb::write::{Head, Style, Writer};
use crate::rdb::Version;
use std::io;

/// Bytes that are gathered before they are written.
const CHUNK_BYTES: usize = 128 * 1024;

/// Where the bytes go.
pub trait Sink: Send {
    /// Comes first.
    fn open(&mut self) -> io::Result<()>;

    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// There are no more bytes: makes what was written last.
    fn finish(&mut self) -> io::Result<()>;

    /// It failed, or nobody wants it any more: removes what is there of it.
    fn discard(&mut self);
}

/// Writes a snapshot as RDB. See the module's text.
pub struct RdbOutput<S> {
    sink: S,
    writer: Option<Writer>,
    /// Names and values about the file, besides those that every file has.
    aux: Vec<(&'static str, String)>,
    start: Option<Start>,
    /// The database that was named last.
    db: Option<usize>,
}

impl<S: Sink> RdbOutput<S> {
    /// An output that will write into `sink`, with `aux` fields of its own.
    pub fn new(sink: S, aux: Vec<(&'static str, String)>) -> RdbOutput<S> {
        RdbOutput { sink, writer: None, aux, start: None, db: None }
    }

    fn select(&mut self, db: usize) {
        let (Some(writer), Some(start)) = (&mut self.writer, &self.start) else { return };
        if self.db != Some(db) {
            self.db = Some(db);
            let outline = start.outlines.iter().find(|outline| outline.db == db);
            let (keys, dated) =
                outline.map_or((0, 0), |outline| (outline.keys, outline.with_deadline));
            writer.select(db, keys, dated);
        }
    }

    fn flush(&mut self, from_bytes: usize) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.pending().len() >= from_bytes {
            let bytes = writer.take();
            self.sink.write(&bytes)?;
        }
        Ok(())
    }
}

impl<S: Sink> Output for RdbOutput<S> {
    fn begin(&mut self, start: &Start) -> io::Result<()> {
        self.sink.open()?;
        let version = Version::for_data(start.has_field_deadlines());
        let (compress, checksum) = (start.compress, start.checksum);
        let mut writer = Writer::new(Style { version, compress, checksum });
        writer.header();
        let mut aux = |name: &str, value: &str| writer.aux(name.as_bytes(), value.as_bytes());
        aux("redis-ver", &start.redis_version);
        aux("redis-bits", &usize::BITS.to_string());
        aux("ctime", &start.now_ms.div_euclid(1000).to_string());
        aux("used-mem", &start.used_bytes.to_string());
        for (name, value) in &self.aux {
            aux(name, value);
        }
        start.libraries.iter().for_each(|code| writer.function(code));
        self.writer = Some(writer);
        self.start = Some(start.clone());
        Ok(())
    }

    fn take(&mut self, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            let Piece::Whole { db, entry } = piece;
            self.select(*db);
            if let (Some(writer), Some(start)) = (&mut self.writer, &self.start) {
                writer.entry(&head(entry, start), entry);
            }
            self.flush(CHUNK_BYTES)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let last = writer.finish();
            self.sink.write(&last)?;
        }
        self.sink.finish()
    }

    fn discard(&mut self) {
        self.sink.discard();
    }

    fn written_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::written_bytes)
    }
}

fn head<'a>(entry: &'a Entry, start: &Start) -> Head<'a> {
    let read = |reading: Reading| reading.of(entry.ageing(), start.now_ms);
    let age = match start.ages {
        None => Age::Untold,
        Some(reading @ Reading::Idle) => Age::Idle(u64::from(read(reading))),
        Some(reading) => Age::Freq(read(reading) as u8),
    };
    Head { key: Some(entry.key()), deadline_ms: entry.deadline_ms(), age }
}
