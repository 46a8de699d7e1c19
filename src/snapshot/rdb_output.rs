//! Snapshots as RDB, into any sink of bytes.
//!
//! Keys come in the order of the walk; those whose old value was saved before a change come when
//! they are changed, also from databases whose turn has not come. A file may name a database
//! several times, so nothing has to be kept back for that.

use crate::keyspace::ageing::{Age, Reading};
use crate::keyspace::image::Piece;
use crate::persistence::{Output, Start};
use crate::rdb::write::{Drain, Head, Style, Writer};
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

    /// See [`Output::waits_for_peers`].
    fn waits_for_peers(&self) -> bool {
        false
    }

    /// See [`Output::purpose`].
    fn purpose(&self) -> Option<&'static str> {
        None
    }
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
    /// Elements of the big value that is being written that have not come.
    missing: usize,
}

impl<S: Sink> RdbOutput<S> {
    /// An output that will write into `sink`, with `aux` fields of its own.
    pub fn new(sink: S, aux: Vec<(&'static str, String)>) -> RdbOutput<S> {
        RdbOutput { sink, writer: None, aux, start: None, db: None, missing: 0 }
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

    fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Whole { db, .. } => self.select(*db),
            Piece::Begin(heading) => {
                self.select(heading.db);
                self.missing = heading.prelude.elements();
            }
            Piece::Part(part) => self.missing = self.missing.wrapping_sub(part.elements()),
            // The number stands before them: a reader would take what follows for the rest.
            Piece::End if self.missing != 0 => {
                return Err(io::Error::other("a value has not as many elements as it should"));
            }
            Piece::End | Piece::Past(_) => {}
        }
        let (Some(writer), Some(start)) = (&mut self.writer, &self.start) else { return Ok(()) };
        let head = |key, deadline_ms, ageing| {
            let age = match start.ages {
                None => Age::Untold,
                Some(reading @ Reading::Idle) => {
                    Age::Idle(u64::from(reading.of(ageing, start.now_ms)))
                }
                Some(reading) => Age::Freq(reading.of(ageing, start.now_ms) as u8),
            };
            Head { key: Some(key), deadline_ms, age }
        };
        let sink = &mut self.sink;
        let drain: Drain<'_, io::Error> = &mut |writer| {
            start.wanted.stop_if_cancelled()?;
            flush(writer, sink, CHUNK_BYTES)
        };
        match piece {
            Piece::Whole { entry, .. } => {
                let head = head(entry.key(), entry.deadline_ms(), entry.ageing());
                writer.drained_entry(&head, entry, drain)?;
            }
            Piece::Begin(big) => {
                writer.begin(&head(&big.key, big.deadline_ms, big.ageing), &big.prelude);
            }
            Piece::Part(part) => writer.part(part, drain)?,
            Piece::End => writer.end(drain)?,
            Piece::Past(_) => {}
        }
        flush(writer, &mut self.sink, CHUNK_BYTES)
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
            self.piece(piece)?;
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

    fn waits_for_peers(&self) -> bool {
        self.sink.waits_for_peers()
    }

    fn purpose(&self) -> Option<&'static str> {
        self.sink.purpose()
    }
}

/// Gives what is pending to the sink, if it is so much.
fn flush(writer: &mut Writer, sink: &mut impl Sink, from_bytes: usize) -> io::Result<()> {
    if writer.pending().len() >= from_bytes {
        sink.write(&writer.take())?;
    }
    Ok(())
}
