//! The snapshot that an append-only file may begin with: as a base of its own, or, in files of
//! older versions, in front of the commands.

use super::Run;
use crate::commands::load_library;
use crate::rdb::read::{Item, Loaded, Reader};
use crate::snapshot::load::rules;
use crate::state::State;
use std::io::{Cursor, Read};

/// Keys that go into the keyspace in one stay under the lock.
const BATCH_KEYS: usize = 512;

/// Loading cannot go on; the log has said why, or the server ends.
pub(super) struct Stopped;

impl Run<'_> {
    /// Whether what has been read is the beginning of a snapshot.
    pub(super) fn is_snapshot(&self) -> bool {
        self.buffer.starts_with(b"REDIS") || self.buffer.starts_with(b"VALKEY")
    }

    /// Loads the snapshot, and leaves what follows it in the buffer.
    pub(super) fn load_snapshot(&mut self, is_base: bool) -> Result<(), Stopped> {
        let log = self.replay.log.clone();
        log.notice(match is_base {
            true => "Reading RDB base file on AOF loading...",
            false => "Reading RDB preamble from AOF file...",
        });
        let mut how = None;
        self.replay.access.with(&mut |state| how = Some(rules(state)));
        let Some(how) = how else { return Err(Stopped) };
        let begun = Cursor::new(std::mem::take(&mut self.buffer));
        let input = begun.chain(self.file.clone());
        let mut reader = match Reader::open(input, how) {
            Ok(reader) => reader,
            Err(fault) => return self.refuse_snapshot(is_base, &fault.to_string()),
        };
        let mut batch = Batch::default();
        loop {
            let item = match reader.next_item() {
                Ok(item) => item,
                Err(fault) => return self.refuse_snapshot(is_base, &fault.to_string()),
            };
            let offset = reader.offset();
            let went = match item {
                Item::Key(loaded) => {
                    batch.keys.push(loaded);
                    batch.keys.len() < BATCH_KEYS || self.put_in(&mut batch, offset)?
                }
                Item::SelectDb(db) => {
                    let went = self.put_in(&mut batch, offset)?;
                    batch.db = usize::try_from(db).unwrap_or(usize::MAX);
                    went
                }
                Item::Function(code) => self.library(&code)?,
                Item::End => break,
                _ => true,
            };
            if !went {
                let text = format!("database {} or a key in it does not fit", batch.db);
                return self.refuse_snapshot(is_base, &text);
            }
        }
        let offset = reader.offset();
        if !self.put_in(&mut batch, offset)? {
            return self.refuse_snapshot(is_base, "a key does not fit");
        }
        let (input, mut rest) = reader.into_rest();
        // What the cursor still has stands before what the file has.
        let (mut begun, _) = input.into_inner();
        if begun.read_to_end(&mut rest).is_err() {
            return Err(Stopped);
        }
        (self.buffer, self.start, self.offset, self.valid_bytes) = (rest, 0, offset, offset);
        if !is_base {
            log.notice("Reading the remaining AOF tail...");
        }
        Ok(())
    }

    fn refuse_snapshot(&self, is_base: bool, why: &str) -> Result<(), Stopped> {
        let name = self.name;
        self.replay.log.warning(match is_base {
            true => format!("Error reading the RDB base file {name}, AOF loading aborted: {why}"),
            false => format!(
                "Error reading the RDB preamble of the AOF file {name}, AOF loading aborted: {why}"
            ),
        });
        Err(Stopped)
    }

    /// False when a key is there twice, or its database is not there.
    fn put_in(&mut self, batch: &mut Batch, offset: u64) -> Result<bool, Stopped> {
        let (keys, db) = (std::mem::take(&mut batch.keys), batch.db);
        let mut keys = Some(keys);
        let mut fits = false;
        let is_there = self.replay.access.with(&mut |state| {
            fits = keys.take().is_some_and(|keys| put_in(state, db, keys));
            super::progress(state, self.before_bytes + offset);
        });
        if is_there {
            Ok(fits)
        } else {
            Err(Stopped)
        }
    }

    fn library(&mut self, code: &[u8]) -> Result<bool, Stopped> {
        let mut loaded = Ok(());
        self.replay.access.with(&mut |state| loaded = load_library(state, code, false));
        match loaded {
            Ok(()) => Ok(true),
            Err(text) => {
                self.replay.log.warning(format!("Failed creating the library: {text}"));
                Err(Stopped)
            }
        }
    }
}

#[derive(Default)]
struct Batch {
    db: usize,
    keys: Vec<Loaded>,
}

fn put_in(state: &mut State, db: usize, keys: Vec<Loaded>) -> bool {
    if keys.is_empty() {
        return true;
    }
    db < state.db.databases()
        && state.db.within(db, |here| {
            keys.into_iter().all(|Loaded { entry, age }| here.load(entry, age, false))
        })
}
