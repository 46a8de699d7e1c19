//! Rewrites: a base of the data as it is now, and an increment for what is written from now on.
//!
//! A thread makes the new increment and puts it into the manifest on disk, still empty, behind the
//! one that is being written. Then, under the lock and between two units, the log goes on in it and
//! a snapshot begins, so that the snapshot and the increments before say the same. When the
//! snapshot is on disk as a base, a further manifest names it and what came after it; the rest has
//! become history and is removed.
//!
//! While the file is only being turned on, nothing on disk says the data yet: then the increment
//! has a temporary name until there is a base, and what an earlier time left in the manifest is
//! history as soon as there is.
//!
//! Invariant: at every moment the manifest on disk names files that together say the data up to
//! the last record written, or, while it is being turned on, what they said before.

use super::commands::CommandsOutput;
use super::{begin_tail, end_tail, Refused};
use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::{Disk, DiskFile, Open, Pace};
use crate::keyspace::image::Wanted;
use crate::log::aof::{Manifest, Mode, Names, Rewriting, Tail};
use crate::persistence::{Job, Order, Outcome, Output};
use crate::server_log::Logger;
use crate::snapshot;
use crate::snapshot::rdb_output::{RdbOutput, Sink};
use crate::snapshot::sinks::FileSink;
use crate::state::{Access, State};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Failures in a row after which rewrites that begin by themselves become rare.
const FAILURES_MAX: u64 = 3;
/// The longest pause between such rewrites.
const PAUSE_MINUTES_MAX: i64 = 60;

/// Begins a rewrite, unless one is under way. It goes on by itself.
pub fn begin(state: &mut State) -> Result<(), Refused> {
    let Some(outside) = state.outside.clone() else { return Err(Refused) };
    let rewrites = &mut state.aof.rewrites;
    rewrites.begun += 1;
    rewrites.is_scheduled = false;
    let number = rewrites.begun;
    let watch = Stopwatch::start();
    let wanted = Wanted::default();
    rewrites.running = Some(Rewriting { watch, wanted: wanted.clone(), number });
    follow(state);
    let plan = Plan::of(state, number, wanted);
    let begun = outside.assist("redouble-rewrite", Box::new(move |access| plan.run(access)));
    if let Err(error) = begun {
        let text = error_text(&error);
        let line = format!("Can't rewrite append only file in background: thread: {text}");
        state.logger.warning(line);
        failed(state);
        return Err(Refused);
    }
    Ok(())
}

/// A rewrite that is under way is not wanted any more. It counts as over at once; what its thread
/// still does concerns nobody: it puts nothing in place any more, unless it is about to do so now,
/// and then the next one waits for it.
pub fn cancel(state: &mut State) {
    let Some(running) = state.aof.rewrites.running.take() else { return };
    let pid = std::process::id();
    state.logger.notice(format!("Killing running AOF rewrite child: {pid}"));
    running.wanted.cancel();
    follow(state);
}

/// Time goes by: a rewrite begins that is scheduled, or that growth asks for.
pub fn tick(state: &mut State) {
    follow(state);
    let aof = &state.aof;
    let is_busy = aof.rewrites.running.is_some()
        || state.persistence.file.background.is_some()
        || state.persistence.loading.is_some();
    if is_busy || state.inside_unit {
        return;
    }
    if !state.role.is_replica() {
        // One that was promoted in the middle of a full copy has it turned off.
        super::resume(state);
    }
    let aof = &state.aof;
    if aof.rewrites.is_scheduled {
        if !is_limited(state) {
            let _ = begin(state);
        }
        return;
    }
    let directives = &state.config.settings().append_only;
    let percentage = directives.rewrite_percentage;
    let bytes = aof.tail.files_bytes();
    if aof.mode != Mode::On || percentage == 0 || bytes <= directives.rewrite_min_bytes {
        return;
    }
    let growth = u128::from(bytes) * 100 / u128::from(aof.base_bytes.max(1));
    let growth = growth.saturating_sub(100);
    if growth >= u128::from(percentage) && !is_limited(state) {
        state.logger.notice(format!("Starting automatic rewriting of AOF on {growth}% growth"));
        let _ = begin(state);
    }
}

/// Lets the tail know whether a snapshot is under way.
fn follow(state: &mut State) {
    let runs = state.aof.rewrites.running.is_some() || state.persistence.file.background.is_some();
    let tail = &state.aof.tail;
    tail.snapshot_runs.store(runs, Ordering::Relaxed);
    let suspends = runs && state.config.settings().append_only.no_sync_on_rewrite;
    tail.sync_suspended.store(suspends, Ordering::Relaxed);
}

/// After several failures the next tries wait: a minute, then twice as long each time.
fn is_limited(state: &mut State) -> bool {
    let now_ms = state.clock.now_ms();
    let rewrites = &mut state.aof.rewrites;
    if rewrites.failed_in_a_row < FAILURES_MAX {
        (rewrites.not_before_ms, rewrites.pause_minutes) = (None, 0);
        return false;
    }
    if let Some(not_before_ms) = rewrites.not_before_ms {
        if now_ms >= not_before_ms {
            rewrites.not_before_ms = None;
        }
        return now_ms < not_before_ms;
    }
    let minutes = (rewrites.pause_minutes * 2).clamp(1, PAUSE_MINUTES_MAX);
    rewrites.pause_minutes = minutes;
    rewrites.not_before_ms = Some(now_ms + minutes * 60_000);
    state.logger.warning(format!(
        "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in \
         {minutes} minutes"
    ));
    true
}

fn failed(state: &mut State) {
    let rewrites = &mut state.aof.rewrites;
    rewrites.failed_in_a_row += 1;
    rewrites.last_was_ok = false;
    over(state);
}

/// A rewrite has ended, well or not.
fn over(state: &mut State) {
    let rewrites = &mut state.aof.rewrites;
    if let Some(running) = rewrites.running.take() {
        rewrites.last_took_s = (running.watch.elapsed_ns() / 1_000_000_000) as i64;
    }
    follow(state);
    if state.aof.mode == Mode::AwaitsRewrite {
        end_tail(state);
        let names = state.config.settings().aof_names();
        let name = names.temporary_increment();
        state.logger.notice(format!("Removing the temp incr aof file {name} in the background"));
        // The next rewrite makes one of the same name, perhaps before this one is removed.
        let aside = names.path(&format!("{name}-{}", state.aof.rewrites.begun));
        if state.disk.rename(&names.path(&name), &aside).is_ok() {
            remove_later(state, aside);
        }
        state.aof.rewrites.is_scheduled = true;
    }
}

/// Removes a file on another thread.
fn remove_later(state: &State, path: PathBuf) {
    let disk = state.disk.clone();
    let Some(outside) = &state.outside else { return };
    let _ = outside.assist(
        "redouble-unlink",
        Box::new(move |_| {
            let _ = disk.remove(&path);
        }),
    );
}

/// What a rewrite is going to do, as far as it is known when it begins.
struct Plan {
    number: u64,
    wanted: Wanted,
    mode: Mode,
    names: Names,
    manifest: Manifest,
    as_snapshot: bool,
    syncs_often: bool,
    stamps: bool,
    keeps_history: bool,
    pen: Arc<Mutex<()>>,
    /// Hears how long renaming took.
    tail: Arc<Tail>,
    disk: Arc<dyn Disk>,
    logger: Arc<Logger>,
}

impl Plan {
    fn of(state: &State, number: u64, wanted: Wanted) -> Plan {
        let directives = &state.config.settings().append_only;
        Plan {
            number,
            wanted,
            mode: state.aof.mode,
            names: state.config.settings().aof_names(),
            manifest: state.aof.manifest.clone(),
            as_snapshot: directives.base_is_snapshot,
            syncs_often: directives.rewrite_syncs_often,
            stamps: directives.stamps,
            keeps_history: directives.keeps_history,
            pen: state.aof.manifest_pen.clone(),
            tail: state.aof.tail.clone(),
            disk: state.disk.clone(),
            logger: state.logger.clone(),
        }
    }

    fn run(mut self, access: &dyn Access) {
        let pen = self.pen.clone();
        let _pen = pen.lock();
        let increment = match self.make_increment() {
            Ok(increment) => increment,
            Err(line) => {
                self.logger.warning(line);
                access.with(&mut failed);
                return;
            }
        };
        let mut parts = Some((self, increment));
        access.with(&mut |state| {
            if let Some((plan, increment)) = parts.take() {
                plan.start(state, increment);
            }
        });
    }

    /// Makes the file that records go to from the snapshot on; its name, and the file. None while
    /// there is no log on disk.
    fn make_increment(&mut self) -> Result<Option<(String, DiskFile)>, String> {
        let dir = self.names.dir();
        let dirname = &self.names.dirname;
        self.disk.make_dir(&dir).map_err(|error| {
            let text = error_text(&error);
            format!("Can't open or create append-only dir {dirname}: {text}")
        })?;
        if self.mode != Mode::On {
            // What an earlier time left goes on being numbered, and becomes history.
            let on_disk = Manifest::load(&*self.disk, &self.names)
                .map_err(|_| "The AOF manifest file on disk makes no sense".to_string())?;
            let before = std::mem::replace(&mut self.manifest, on_disk);
            self.manifest.count_on_from(&before);
        }
        let name = match self.mode {
            Mode::Off => return Ok(None),
            Mode::AwaitsRewrite => self.names.temporary_increment(),
            Mode::On => self.manifest.add_increment(&self.names),
        };
        let path = self.names.path(&name);
        // What a crash has left must not be appended to, nor may what one that was cancelled has
        // still to write come in between: a file of that name is another one.
        let removed = match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let opened = removed.and_then(|()| self.disk.open(&path, Open::Append));
        let file = opened.map_err(|error| {
            format!("Can't open the append-only file {name}: {}", error_text(&error))
        })?;
        if self.mode == Mode::On {
            self.manifest.store(&*self.disk, &self.names).map_err(|error| {
                let (name, text) = (self.names.manifest(), error_text(&error));
                format!("Can't write the AOF manifest file {name}: {text}")
            })?;
        }
        Ok(Some((name, file)))
    }

    /// The moment of the snapshot: under the lock, between two units.
    fn start(self, state: &mut State, increment: Option<(String, DiskFile)>) {
        let running = state.aof.rewrites.running.as_ref().map(|running| running.number);
        if state.aof.mode != self.mode || running != Some(self.number) {
            // It was turned on or off meanwhile, which has cancelled this one.
            return;
        }
        let has_increment = increment.is_some();
        if let Some((name, file)) = increment {
            let line = format!("Creating AOF incr file {name} on background rewrite");
            state.logger.notice(line);
            if self.mode == Mode::On {
                state.aof.manifest = self.manifest.clone();
                state.aof.tail.switch_to(file, 0);
            } else if let Err(error) = begin_tail(state, file, 0) {
                let text = error_text(&error);
                state.logger.warning(format!("No thread for the append-only file: {text}"));
                return failed(state);
            }
            state.log.select_anew();
        }
        let pid = std::process::id();
        let line = format!("Background append only file rewriting started by pid {pid}");
        state.logger.notice(line);
        let result = Arc::new(Mutex::new(None));
        let (number, wanted) = (self.number, self.wanted.clone());
        let output = self.output(has_increment, result.clone());
        let over = Box::new(move |state: &mut State, outcome| {
            let running = state.aof.rewrites.running.as_ref().map(|running| running.number);
            if running == Some(number) {
                ended(state, outcome, &result);
            }
        });
        if let Err(error) = snapshot::begin(state, Job { output, wanted, over }) {
            let text = error_text(&error);
            let line = format!("Can't rewrite append only file in background: thread: {text}");
            state.logger.warning(line);
            failed(state);
        }
    }

    fn output(
        mut self,
        has_increment: bool,
        result: Arc<Mutex<Option<Manifest>>>,
    ) -> Box<dyn Output> {
        let name = self.manifest.add_base(&self.names, self.as_snapshot);
        let temporary = format!("temp-rewriteaof-bg-{}-{}.aof", std::process::id(), self.number);
        let (as_snapshot, stamps) = (self.as_snapshot, self.stamps);
        let sink = BaseSink {
            path: self.names.path(&name),
            temporary: self.names.root.join(temporary),
            name,
            has_increment,
            pace: Pace::new(self.syncs_often),
            plan: self,
            file: None,
            result,
        };
        match as_snapshot {
            true => {
                let aux = vec![("aof-base", "1".to_string())];
                Box::new(RdbOutput::new(sink, aux))
            }
            false => Box::new(CommandsOutput::new(sink, stamps)),
        }
    }
}

/// The new base; when it is whole, the manifest names it.
struct BaseSink {
    path: PathBuf,
    temporary: PathBuf,
    name: String,
    /// Its manifest has the new base, and still what that replaces.
    plan: Plan,
    has_increment: bool,
    pace: Pace,
    file: Option<DiskFile>,
    /// The manifest that is on disk afterwards.
    result: Arc<Mutex<Option<Manifest>>>,
}

impl BaseSink {
    fn warn(&self, what: &str, error: &io::Error) {
        self.plan.logger.warning(format!("{what}: {}", error_text(error)));
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let watch = Stopwatch::start();
        let went = self.plan.disk.rename(from, to);
        self.plan.tail.moment("aof-rename", watch.elapsed_ns());
        went
    }

    fn moved(&self, kind: &str, from: &str, to: &str, went: io::Result<()>) -> io::Result<()> {
        match &went {
            Ok(()) => self.plan.logger.notice(format!(
                "Successfully renamed the temporary AOF {kind} file {from} into {to}"
            )),
            Err(error) => self.warn(
                &format!("Error trying to rename the temporary AOF {kind} file {from} into {to}"),
                error,
            ),
        }
        went
    }

    /// The base is whole under its temporary name: makes it count.
    fn place(&mut self) -> io::Result<()> {
        let pen = self.plan.pen.clone();
        let _pen = pen.lock();
        // Who has cancelled it may have begun another, which has this pen in turn: from then on
        // the names and the manifest are that one's.
        self.plan.wanted.stop_if_cancelled()?;
        let temporary = self.temporary.file_name().unwrap_or_default().to_string_lossy();
        let went = self.rename(&self.temporary, &self.path);
        self.moved("base", &temporary, &self.name, went)?;
        let Plan { names, manifest, mode, .. } = &mut self.plan;
        if *mode == Mode::AwaitsRewrite {
            manifest.retire_increments(0);
            let (from, to) = (names.temporary_increment(), manifest.add_increment(names));
            let went = self.rename(&self.plan.names.path(&from), &self.plan.names.path(&to));
            self.moved("incr", &from, &to, went)?;
        } else {
            manifest.retire_increments(usize::from(self.has_increment));
        }
        let Plan { names, manifest, disk, logger, keeps_history, .. } = &mut self.plan;
        if let Err(error) = manifest.store(&**disk, names) {
            let what = format!("Can't write the AOF manifest file {}", names.manifest());
            self.warn(&what, &error);
            return Err(error);
        }
        if !*keeps_history {
            forget_history(&**disk, logger, names, manifest);
        }
        *self.result.lock() = Some(manifest.clone());
        Ok(())
    }
}

impl Sink for BaseSink {
    fn open(&mut self) -> io::Result<()> {
        let opened = self.plan.disk.open(&self.temporary, Open::Create);
        let opened = opened.inspect_err(|error| {
            self.warn("Opening the temp file for AOF rewrite in rewriteAppendOnlyFile()", error)
        });
        self.file = Some(opened?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let went = self.pace.write(file, bytes);
        went.inspect_err(|error| self.warn("Write error writing append only file on disk", error))
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_data().inspect_err(|error| {
            self.warn("Write error writing append only file on disk", error)
        })?;
        let temporary = self.temporary.file_name().unwrap_or_default().to_string_lossy();
        let logger = &self.plan.logger;
        logger.notice(format!("Successfully created the temporary AOF base file {temporary}"));
        self.place()
    }

    fn discard(&mut self) {
        self.file = None;
        let _ = self.plan.disk.remove(&self.temporary);
    }

    fn purpose(&self) -> Option<&'static str> {
        Some("Rewriting the append-only file")
    }
}

/// Writes a base of the data as it is, while others wait: there is none, or next to none. False
/// when it failed: the log says why.
pub(super) fn base_at_once(
    state: &mut State,
    names: &Names,
    name: &str,
    as_snapshot: bool,
) -> bool {
    let directives = &state.config.settings().append_only;
    let stamps = directives.stamps;
    let sink = FileSink {
        disk: state.disk.clone(),
        path: names.path(name),
        temporary: names.root.join(format!("temp-rewriteaof-{}.aof", std::process::id())),
        order: Order::default(),
        pace: Pace::new(directives.rewrite_syncs_often),
        logger: state.logger.clone(),
        file: None,
        removal_ns: Arc::default(),
    };
    let output: Box<dyn Output> = match as_snapshot {
        true => Box::new(RdbOutput::new(sink, vec![("aof-base", "1".to_string())])),
        false => Box::new(CommandsOutput::new(sink, stamps)),
    };
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    let over = Box::new(move |_: &mut State, outcome| {
        told.store(matches!(outcome, Outcome::Done), Ordering::Relaxed);
    });
    snapshot::take_now(state, Job { output, wanted: Wanted::default(), over });
    done.load(Ordering::Relaxed)
}

/// The snapshot is over.
fn ended(state: &mut State, outcome: Outcome, result: &Mutex<Option<Manifest>>) {
    state.aof.rewrites.last_copied_bytes = state.persistence.copied_bytes;
    let manifest = result.lock().take();
    let manifest = match (outcome, manifest) {
        (Outcome::Done, Some(manifest)) => manifest,
        _ => {
            state.logger.warning("Background AOF rewrite terminated with error");
            return failed(state);
        }
    };
    state.logger.notice("Background AOF rewrite terminated with success");
    state.aof.manifest = manifest;
    if state.aof.mode == Mode::AwaitsRewrite {
        state.aof.mode = Mode::On;
        crate::settle::listen(state);
    }
    let names = state.config.settings().aof_names();
    let base = state.aof.manifest.base.as_ref().map(|base| names.path(&base.name));
    let watch = Stopwatch::start();
    let base_bytes = base.and_then(|path| state.disk.size_of(&path).ok().flatten()).unwrap_or(0);
    state.aof.tail.moment("aof-fstat", watch.elapsed_ns());
    if state.aof.mode != Mode::Off {
        state.aof.base_bytes = state.aof.tail.count_from(base_bytes);
    }
    let rewrites = &mut state.aof.rewrites;
    rewrites.last_was_ok = true;
    rewrites.failed_in_a_row = 0;
    state.logger.notice("Background AOF rewrite finished successfully");
    over(state);
}

/// Removes what is history, from the disk and from the manifest. What cannot be removed stays in
/// the manifest, and is tried again after the next rewrite.
pub(super) fn forget_history(
    disk: &dyn Disk,
    logger: &Logger,
    names: &Names,
    manifest: &mut Manifest,
) {
    if manifest.history.is_empty() {
        return;
    }
    let before = manifest.clone();
    manifest.history.retain(|part| {
        logger.notice(format!("Removing the history file {} in the background", part.name));
        match disk.remove(&names.path(&part.name)) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    });
    if manifest.store(disk, names).is_err() {
        *manifest = before;
    }
}
