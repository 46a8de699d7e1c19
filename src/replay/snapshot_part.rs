//! The snapshot that an append-only file may begin with: as a base of its own, or, in files of
//! older versions, in front of the commands.

use super::Run;
use crate::commands::load_library;
use crate::snapshot::load::homes::Here;
use crate::snapshot::load::{self, How, LoadError};
use std::io::{Cursor, Read};

/// Loading cannot go on; the log has said why, or the server ends.
pub(super) struct Stopped;

/// Keys whose time has come are loaded: the commands that follow deal with them.
const HOW: How = How { replaces: false, keeps_expired: true, left_out: |_, _, _| {}, load_library };

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
        let (access, before_bytes) = (self.replay.access, self.before_bytes);
        let mut rules = None;
        access.with(&mut |state| {
            rules = Some(load::rules(state));
            if let Some(loading) = &mut state.persistence.loading {
                loading.before_bytes = before_bytes;
            }
        });
        let Some(rules) = rules else { return Err(Stopped) };
        let begun = Cursor::new(std::mem::take(&mut self.buffer));
        let read_bytes = begun.get_ref().len() as u64;
        let input = Counted { input: begun.chain(self.file.clone()), bytes: 0 };
        let (report, (input, unused)) =
            match load::load(&mut Here { access, how: HOW }, input, rules) {
                Ok(loaded) => loaded,
                Err(LoadError::Ending) => return Err(Stopped),
                Err(error) => return self.refuse_snapshot(is_base, &error.to_string()),
            };
        access.with(&mut |state| load::count(state, &report));
        let offset = input.bytes - unused.len() as u64;
        let mut rest = unused;
        // What the cursor still has stands before what the file has.
        if input.bytes < read_bytes {
            let (mut begun, _) = input.input.into_inner();
            if begun.read_to_end(&mut rest).is_err() {
                return Err(Stopped);
            }
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
}

/// An input that knows how much has been read of it.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let got = self.input.read(into)?;
        self.bytes += got as u64;
        Ok(got)
    }
}
