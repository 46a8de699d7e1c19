//! The append-only file as the server drives it: opened when the data is there, turned on and off,
//! closed at the end.
//!
//! [`rewrite`] replaces the files by shorter ones, `commands` writes a base of commands.
//!
//! Invariant: the log goes to a file only while that file is in the manifest on disk, or, before
//! the first rewrite has ended, to one that no manifest names.

mod commands;
pub mod rewrite;

use crate::config::error_text;
use crate::disk::{DiskFile, Open};
use crate::keyspace::effects::Reach;
use crate::log::aof::{Manifest, Mode};
use crate::role::OnDisk;
use crate::settle;
use crate::state::State;
use std::io;

/// The files cannot be opened, or a rewrite cannot begin: the log says why.
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
    if manifest.is_empty() {
        manifest.pass_over(&names, |name| {
            let is_there = disk.size_of(&names.path(name)).is_ok_and(|size| size.is_some());
            if is_there {
                let line = format!("The AOF file {name} is in no manifest: it is left as it is");
                state.logger.warning(line);
            }
            is_there
        });
        let as_snapshot = state.config.settings().append_only.base_is_snapshot;
        let name = manifest.add_base(&names, as_snapshot);
        if !rewrite::base_at_once(state, &names, &name, as_snapshot) {
            return Err(Refused);
        }
        state.logger.notice(format!("Creating AOF base file {name} on server start"));
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
    state.aof.tail.count(files_bytes);
    if !state.config.settings().append_only.keeps_history {
        rewrite::forget_history(&*disk, &state.logger, &names, &mut manifest);
    }
    state.aof.manifest = manifest;
    match begin_tail(state, file, bytes) {
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
fn begin_tail(state: &mut State, file: DiskFile, bytes: u64) -> io::Result<()> {
    let Some(outside) = state.outside.clone() else { return Ok(()) };
    let tail = state.aof.tail.clone();
    tail.start(file, bytes, state.clock.clone(), outside.tail_owner())?;
    state.log.attach(tail.reader());
    settle::listen(state);
    Ok(())
}

/// The log goes to no file any more. What has been appended is still written and synced; only the
/// replies to it wait for that.
fn end_tail(state: &mut State) {
    detach(state);
    state.aof.tail.leave();
}

fn detach(state: &mut State) {
    // What comes next is told of by its own marks, and may be of another history.
    state.role.on_disk = OnDisk::default();
    state.log.detach(Reach::FILE);
    settle::listen(state);
}

/// CONFIG SET appendonly yes: from the end of a rewrite on the log counts. Refused where no file
/// can be made: nobody must take for durable what goes nowhere.
pub fn turn_on(state: &mut State) -> Result<(), Refused> {
    if state.aof.mode != Mode::Off {
        return Ok(());
    }
    try_folder(state)?;
    state.aof.mode = Mode::AwaitsRewrite;
    let logger = state.logger.clone();
    if state.aof.rewrites.running.is_some() {
        logger.notice(
            "AOF was enabled but there is already an AOF rewriting in background. Stopping \
             background AOF and starting a rewrite now.",
        );
        rewrite::cancel(state);
        if rewrite::begin(state).is_err() {
            state.aof.rewrites.is_scheduled = true;
        }
    } else if state.persistence.file.background.is_some() {
        logger.notice(
            "AOF was enabled but there is already another background operation. An AOF background \
             was scheduled to start when possible.",
        );
        state.aof.rewrites.is_scheduled = true;
    } else if state.inside_unit {
        logger.notice(
            "AOF was enabled during a transaction. An AOF background was scheduled to start when \
             possible.",
        );
        state.aof.rewrites.is_scheduled = true;
    } else if rewrite::begin(state).is_err() {
        state.aof.rewrites.is_scheduled = true;
    }
    Ok(())
}

/// BGREWRITEAOF: a rewrite begins now. Refused where no file can be made: who asks for it learns
/// it at once.
pub fn rewrite_as_asked(state: &mut State) -> Result<(), Refused> {
    try_folder(state).inspect_err(|_| state.aof.rewrites.last_was_ok = false)?;
    rewrite::begin(state)
}

/// The data is other data than the file says: what a primary has sent. The file ends here, and
/// what it says is replaced by a rewrite.
pub fn begin_anew(state: &mut State) {
    turn_off(state);
    resume(state);
}

/// Turns the file on again that was turned off while the data came or went.
fn resume(state: &mut State) {
    if state.aof.mode == Mode::Off
        && state.config.settings().append_only.on
        && turn_on(state).is_err()
    {
        // Tried again until it can be done.
        state.aof.mode = Mode::AwaitsRewrite;
        state.aof.rewrites.is_scheduled = true;
    }
}

/// Makes a file where the append-only files shall be, and removes it.
fn try_folder(state: &State) -> Result<(), Refused> {
    let names = state.config.settings().aof_names();
    if let Err(error) = state.disk.make_dir(&names.dir()) {
        let (dirname, text) = (&names.dirname, error_text(&error));
        return refuse(state, format!("Can't open or create append-only dir {dirname}: {text}"));
    }
    let name = names.trial();
    match state.disk.open(&names.path(&name), Open::Create) {
        Ok(file) => drop(file),
        Err(error) => {
            let text = error_text(&error);
            return refuse(state, format!("Can't open the append-only file {name}: {text}"));
        }
    }
    let _ = state.disk.remove(&names.path(&name));
    Ok(())
}

/// CONFIG SET aof-disable-auto-gc no: what was kept is removed. A rewrite that is under way has a
/// manifest of its own, and the next one removes what it leaves.
pub fn forget_history(state: &mut State) {
    let pen = state.aof.manifest_pen.clone();
    let Some(_pen) = pen.try_lock() else { return };
    if state.aof.mode == Mode::On && state.aof.rewrites.running.is_none() {
        let names = state.config.settings().aof_names();
        let (disk, manifest) = (state.disk.clone(), &mut state.aof.manifest);
        rewrite::forget_history(&*disk, &state.logger, &names, manifest);
    }
}

/// CONFIG SET appendonly no: the files stay as they are.
pub fn turn_off(state: &mut State) {
    if state.aof.mode == Mode::Off {
        return;
    }
    rewrite::cancel(state);
    end_tail(state);
    state.aof.rewrites.is_scheduled = false;
    state.aof.mode = Mode::Off;
}

/// The server ends: waits until the log is on disk, as far as the disk lets it.
pub fn close(state: &mut State) {
    if state.aof.mode != Mode::Off {
        state.logger.notice("Calling fsync() on the AOF file.");
        detach(state);
        state.aof.mode = Mode::Off;
    }
    state.aof.tail.stop();
}
