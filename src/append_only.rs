//! The append-only file as the server drives it: opened when the data is there, turned on and off,
//! closed at the end.
//!
//! Invariant: the log goes to a file only while that file is in the manifest on disk, or, before
//! the first rewrite has ended, to one that no manifest names.

use crate::config::error_text;
use crate::disk::{DiskFile, Open};
use crate::keyspace::effects::Reach;
use crate::log::aof::{Manifest, Mode};
use crate::settle;
use crate::state::State;
use std::io;
use std::sync::atomic::Ordering;

/// The files cannot be opened: the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Opens the last increment of a manifest whose data has been loaded, or a new one, and lets the
/// log go there.
pub fn open(state: &mut State, mut manifest: Manifest) -> Result<(), Refused> {
    let names = state.config.settings().aof_names();
    let disk = state.disk.clone();
    if let Err(error) = disk.make_dir(&names.dir()) {
        let (dirname, text) = (&names.dirname, error_text(&error));
        let line = format!("Can't open or create append-only dir {dirname}: {text}");
        return refuse(state, line);
    }
    let is_new = manifest.increments.is_empty();
    let name = match manifest.increments.last() {
        Some(last) => last.name.clone(),
        None => manifest.add_increment(&names),
    };
    let opened = disk.open(&names.path(&name), Open::Append);
    let opened = opened.and_then(|file| file.size().map(|bytes| (file, bytes)));
    let (file, bytes) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = error_text(&error);
            return refuse(state, format!("Can't open the append-only file {name}: {text}"));
        }
    };
    if is_new {
        if let Err(error) = manifest.store(&*disk, &names) {
            let (name, text) = (names.manifest(), error_text(&error));
            return refuse(state, format!("Can't write the AOF manifest file {name}: {text}"));
        }
    }
    let verb = if is_new { "Creating" } else { "Opening" };
    state.logger.notice(format!("{verb} AOF incr file {name} on server start"));
    let size = |name: &str| disk.size_of(&names.path(name)).ok().flatten().unwrap_or(0);
    state.aof.base_bytes = manifest.base.as_ref().map_or(0, |base| size(&base.name));
    let files_bytes = manifest.parts().map(|part| size(&part.name)).sum();
    state.aof.tail.files_bytes.store(files_bytes, Ordering::Relaxed);
    state.aof.manifest = manifest;
    match begin(state, file, bytes) {
        Ok(()) => {
            state.aof.mode = Mode::On;
            Ok(())
        }
        Err(error) => {
            let text = error_text(&error);
            refuse(state, format!("No thread for the append-only file: {text}"))
        }
    }
}

fn refuse(state: &State, line: String) -> Result<(), Refused> {
    state.logger.warning(line);
    Err(Refused)
}

/// Lets the log go to a file.
fn begin(state: &mut State, file: DiskFile, bytes: u64) -> io::Result<()> {
    let Some(outside) = state.outside.clone() else { return Ok(()) };
    let tail = state.aof.tail.clone();
    tail.start(file, bytes, state.clock.clone(), outside.tail_owner())?;
    state.log.attach(tail.reader());
    settle::listen(state);
    Ok(())
}

/// Ends: what has been appended is written and synced.
pub fn close(state: &mut State) {
    if state.aof.mode == Mode::Off {
        return;
    }
    state.log.detach(Reach::FILE);
    settle::listen(state);
    state.logger.notice("Calling fsync() on the AOF file.");
    state.aof.tail.stop();
    state.aof.mode = Mode::Off;
}
