//! The snapshot file: SAVE, BGSAVE, save points, the last save before the end.
//!
//! A background save that was cancelled ends by itself, soon; who saves at once does not wait for
//! it, and writes under another name meanwhile.
//!
//! Invariant: a file has its name only when it is whole and on disk, and takes the place of none
//! that is newer.

use super::rdb_output::RdbOutput;
use super::sinks::FileSink;
use super::{begin, take_now};
use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::Pace;
use crate::error::Error;
use crate::keyspace::image::Wanted;
use crate::persistence::{Job, Order, Outcome, Over};
use crate::replicas;
use crate::settle;
use crate::state::{Shutdown, State};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::Arc;

/// After a failure the next try waits so long.
const RETRY_S: i64 = 5;

/// How the names of unfinished files begin. One that was cancelled may be there for a while yet.
const AT_ONCE: &str = "temp";
const BACKGROUND: &str = "temp-bg";

/// Why a save did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// A BGSAVE is under way.
    Saving,
}

/// The file that `dir` and `dbfilename` name.
pub fn path(state: &State) -> PathBuf {
    let settings = state.config.settings();
    settings.dir.join(&settings.dbfilename)
}

/// The name of the file until it is whole.
fn temporary(state: &State, prefix: &str) -> PathBuf {
    state.config.settings().dir.join(format!("{prefix}-{}.rdb", std::process::id()))
}

/// Removes what a background save that will not come to its end has written.
pub fn remove_temporary(state: &State) {
    let _ = state.disk.remove(&temporary(state, BACKGROUND));
}

fn sink(state: &mut State, prefix: &str) -> FileSink {
    FileSink {
        disk: state.disk.clone(),
        path: path(state),
        temporary: temporary(state, prefix),
        order: state.persistence.file.order.begin_next(),
        pace: Pace::new(state.config.settings().rdb_save_incremental_fsync),
        logger: state.logger.clone(),
        file: None,
        removal_ns: Arc::default(),
    }
}

fn job(state: &mut State, prefix: &str, over: Over) -> Job {
    let sink = sink(state, prefix);
    let removal_ns = sink.removal_ns.clone();
    let over: Over = Box::new(move |state, outcome| {
        let took_ns = removal_ns.load(Ordering::Relaxed);
        if took_ns > 0 {
            settle::slow_moment(state, "rdb-unlink-temp-file", took_ns);
        }
        over(state, outcome);
    });
    let mut aux = replicas::point(state);
    aux.push(("aof-base", "0".to_string()));
    Job { output: Box::new(RdbOutput::new(sink, aux)), wanted: Wanted::default(), over }
}

/// Saves at once; others wait. False when it failed: the log says why.
pub fn now(state: &mut State) -> Result<bool, Busy> {
    if state.persistence.file.background.is_some() {
        return Err(Busy::Saving);
    }
    state.persistence.file.saves += 1;
    Ok(write_now(state))
}

/// Saves before the data is loaded again. Unlike SAVE it does not count as one.
pub fn reloadable(state: &mut State) -> bool {
    stop_background(state);
    write_now(state)
}

fn write_now(state: &mut State) -> bool {
    let (sender, receiver) = channel();
    let over: Over = Box::new(move |state, outcome| {
        // Redis: a failure here does not make writes be refused, as that of a BGSAVE does.
        if let Outcome::Done = outcome {
            state.logger.notice("DB saved on disk");
            let dirty = state.db.effects.dirty;
            saved(state, dirty);
            state.persistence.file.last_was_ok = true;
            let _ = sender.send(());
        }
    });
    let job = job(state, AT_ONCE, over);
    take_now(state, job);
    receiver.try_recv().is_ok()
}

fn saved(state: &mut State, dirty: u64) {
    let now_s = state.clock.now_ms().div_euclid(1000);
    let file = &mut state.persistence.file;
    file.saved_dirty = dirty;
    file.last_save_s = now_s;
}

/// Begins to save in the background.
pub fn in_background(state: &mut State) -> Result<io::Result<()>, Busy> {
    if state.persistence.file.background.is_some() {
        return Err(Busy::Saving);
    }
    let file = &mut state.persistence.file;
    file.saves += 1;
    file.background_dirty = state.db.effects.dirty;
    file.last_try_s = state.clock.now_ms().div_euclid(1000);
    let job = job(state, BACKGROUND, Box::new(background_over));
    let watch = Stopwatch::start();
    state.logger.notice(format!("Background saving started by pid {}", std::process::id()));
    state.persistence.file.background = Some((job.wanted.clone(), watch));
    let begun = begin(state, job);
    if let Err(error) = &begun {
        state.persistence.file.background = None;
        state.persistence.file.last_was_ok = false;
        let text = error_text(error);
        state.logger.warning(format!("Can't save in background: thread: {text}"));
    }
    Ok(begun)
}

fn background_over(state: &mut State, outcome: Outcome) {
    let copied_bytes = state.persistence.copied_bytes;
    let file = &mut state.persistence.file;
    let took = file.background.take().map(|(_, watch)| watch.elapsed_ns() / 1_000_000_000);
    file.last_took_s = took.unwrap_or_default() as i64;
    file.last_copied_bytes = copied_bytes;
    match outcome {
        Outcome::Done => {
            let dirty = file.background_dirty;
            file.last_was_ok = true;
            saved(state, dirty);
            state.logger.notice("DB saved on disk");
            state.logger.notice("Background saving terminated with success");
        }
        Outcome::Failed(_) => {
            file.last_was_ok = false;
            state.logger.warning("Background saving error");
        }
        // Redis: who ends it on purpose makes no error of it.
        Outcome::Cancelled => state.logger.warning("Background saving cancelled"),
    }
}

/// Ends a BGSAVE that is under way, and one that is scheduled; false when there was none.
pub fn stop_background(state: &mut State) -> bool {
    let was_scheduled = std::mem::take(&mut state.persistence.file.is_scheduled);
    let Some((wanted, _)) = &state.persistence.file.background else { return was_scheduled };
    wanted.cancel();
    true
}

/// The file comes from elsewhere: a save that is under way is not wanted any more, and takes its
/// place no more than that of a newer save, even if it is at its end already.
pub fn supersede(state: &mut State) -> Order {
    stop_background(state);
    state.persistence.file.order.begin_next()
}

/// Time goes by: a scheduled BGSAVE begins, or one that a save point asks for.
pub fn tick(state: &mut State) {
    let file = &state.persistence.file;
    if file.background.is_some() || state.persistence.loading.is_some() {
        return;
    }
    let now_s = state.clock.now_ms().div_euclid(1000);
    let may_try = file.last_was_ok || now_s - file.last_try_s > RETRY_S;
    if !may_try {
        return;
    }
    if file.is_scheduled {
        state.persistence.file.is_scheduled = false;
        let _ = in_background(state);
        return;
    }
    let dirty = state.db.effects.dirty.saturating_sub(file.saved_dirty);
    let since_s = now_s - file.last_save_s;
    if !state.persistence.keeps_files {
        return;
    }
    let points = &state.config.settings().save;
    let due = points
        .iter()
        .find(|point| dirty >= point.changes && since_s > point.seconds as i64)
        .copied();
    if let Some(point) = due {
        state
            .logger
            .notice(format!("{} changes in {} seconds. Saving...", point.changes, point.seconds));
        let _ = in_background(state);
    }
}

/// Whether a save may become due as time passes.
pub fn awaits_time(state: &State) -> bool {
    let room = &state.persistence;
    let points = !state.config.settings().save.is_empty();
    room.file.is_scheduled
        || room.keeps_files && points && state.db.effects.dirty > room.file.saved_dirty
}

/// FLUSHALL: a BGSAVE of the old data is worth nothing any more, and with save points the empty
/// data is saved at once, as Redis does.
pub fn after_flush(state: &mut State) {
    if state.persistence.loading.is_some() {
        // It is played again, and half of the data must not take the place of the file.
        return;
    }
    stop_background(state);
    if !state.config.settings().save.is_empty() && state.persistence.keeps_files {
        write_now(state);
    }
}

/// What has to be saved before the end. False when it failed, and `force` does not say that it
/// does not matter.
pub fn before_end(state: &mut State, asked: Shutdown) -> bool {
    let is_loading = state.persistence.loading.is_some();
    if state.persistence.file.background.is_some() {
        state.logger.warning("There is a child saving an .rdb. Killing it!");
        stop_background(state);
    }
    let points = !state.config.settings().save.is_empty() && state.persistence.keeps_files;
    // Half of the data must not take the place of the file that it is being loaded from.
    let saves = !is_loading && (asked.save || points && !asked.nosave);
    if !saves {
        return true;
    }
    let (supervisor, logger) = (state.facts.supervisor, state.logger.clone());
    logger.notice("Saving the final RDB snapshot before exiting.");
    supervisor.status("Saving the final RDB snapshot", &logger);
    let unfinished = state.persistence.file.final_save.clone();
    *unfinished.lock() = Some(temporary(state, AT_ONCE));
    let is_saved = write_now(state);
    *unfinished.lock() = None;
    if is_saved {
        return true;
    }
    if asked.force {
        logger.warning("Error trying to save the DB. Exit anyway.");
        return true;
    }
    let why = "Error trying to save the DB, can't exit.";
    logger.warning(why);
    supervisor.status(why, &logger);
    false
}

/// Refuses writes when the last save failed.
pub fn check_writes(state: &State) -> Result<(), Error> {
    let settings = state.config.settings();
    let refuses = settings.stop_writes_on_bgsave_error
        && !settings.save.is_empty()
        && !state.persistence.file.last_was_ok;
    match refuses {
        true => Err(Error::NotSaved),
        false => Ok(()),
    }
}
