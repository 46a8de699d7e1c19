//! Loading the append-only file: its commands run again, by the dispatcher, as a client of its own.
//!
//! Time stands still meanwhile, before every deadline: what has expired since then did so by a
//! record of its own, and what was given a longer life must not die before it is. The lock is kept
//! for a slice of commands at a time, so that others are answered that the data is being loaded.
//!
//! Invariant: a file is loaded up to its last whole record, a transaction counting as one; what
//! stands behind that is cut off or stops the start, as configured, and is never skipped over.

mod snapshot_part;

use crate::client::ClientId;
use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::{Disk, DiskFile, Open};
use crate::dispatch::{Dispatcher, KnownNames, Prepared};
use crate::error::shown;
use crate::keyspace::db::Counters;
use crate::log::aof::manifest::{LoadError, Manifest, Names, Part};
use crate::log::aof::scan::{self, Step, Words};
use crate::resp::decode::Argv;
use crate::resp::replies::Replies;
use crate::server_log::Logger;
use crate::settle;
use crate::snapshot::load::tell_headway;
use crate::state::{Access, State};
use crate::stats::Stats;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is read at once.
const READ_BYTES: usize = 1 << 20;
/// Commands of one stay under the lock.
const SLICE_COMMANDS: usize = 1024;
/// Commands whose keys are fetched from memory together.
const PREFETCH: usize = 16;

/// How a file was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// All of it.
    Whole,
    /// Its torn end was cut off.
    CutOff,
    /// There is nothing in it.
    Empty,
}

/// The start must not go on: the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What the directives say about loading.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `aof-load-truncated`
    pub cuts_torn_ends: bool,
    /// `aof-load-corrupt-tail-max-size`
    pub cut_bytes_max: u64,
    /// `key-load-delay` in microseconds; below 0 one for so many keys.
    pub delay_us: i64,
}

/// Loads the files of a manifest.
pub struct Replay<'a> {
    access: &'a dyn Access,
    disk: Arc<dyn Disk>,
    names: Names,
    rules: Rules,
    log: Arc<Logger>,
}

impl<'a> Replay<'a> {
    /// Looks at the configuration; nothing is read yet.
    pub fn new(access: &'a dyn Access, state: &State) -> Replay<'a> {
        let settings = state.config.settings();
        Replay {
            access,
            disk: state.disk.clone(),
            names: settings.aof_names(),
            rules: Rules {
                cuts_torn_ends: settings.append_only.load_truncated,
                cut_bytes_max: settings.append_only.corrupt_tail_max_bytes,
                delay_us: settings.key_load_delay_us,
            },
            log: state.logger.clone(),
        }
    }

    /// Reads the manifest; moves the single file of an older version to where it belongs.
    pub fn manifest(&self) -> Result<Manifest, Refused> {
        let mut manifest = match Manifest::load(&*self.disk, &self.names) {
            Ok(manifest) => manifest,
            Err(LoadError::Format(error)) => {
                error.lines().into_iter().for_each(|line| self.log.warning(line));
                return Err(Refused);
            }
            Err(LoadError::Io(path, error)) => {
                self.log.warning(format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    path.display(),
                    error_text(&error)
                ));
                return Err(Refused);
            }
        };
        if self.is_old_style(&manifest) {
            self.upgrade(&mut manifest)?;
        }
        Ok(manifest)
    }

    /// Whether a single file of an older version is the data, or is about to become the base.
    fn is_old_style(&self, manifest: &Manifest) -> bool {
        let is_there = |path: &Path| self.disk.size_of(path).is_ok_and(|size| size.is_some());
        if !is_there(&self.names.old_file()) {
            return false;
        }
        let is_named = manifest.base.as_ref().is_some_and(|base| base.name == self.names.filename);
        let was_cut_short = is_named
            && manifest.increments.is_empty()
            && !is_there(&self.names.path(&self.names.filename));
        manifest.is_empty() || was_cut_short
    }

    /// Makes the old file the base: first in the manifest, then by moving it, so that a crash in
    /// between leaves what the next start recognizes.
    fn upgrade(&self, manifest: &mut Manifest) -> Result<(), Refused> {
        let refused = |what: String| {
            self.log.warning(what);
            Err(Refused)
        };
        let Names { dirname, filename, .. } = &self.names;
        if let Err(error) = self.disk.make_dir(&self.names.dir()) {
            let text = error_text(&error);
            return refused(format!("Can't open or create append-only dir {dirname}: {text}"));
        }
        manifest.adopt_old_file(&self.names);
        if let Err(error) = manifest.store(&*self.disk, &self.names) {
            let (name, text) = (self.names.manifest(), error_text(&error));
            return refused(format!("Can't write the AOF manifest file {name}: {text}"));
        }
        let moved = self
            .disk
            .rename(&self.names.old_file(), &self.names.path(filename))
            .and_then(|()| self.disk.sync_dir(&self.names.dir()));
        if let Err(error) = moved {
            let text = error_text(&error);
            return refused(format!(
                "Error trying to move the old AOF file {filename} into dir {dirname}: {text}"
            ));
        }
        self.log.notice(format!(
            "Successfully migrated an old-style AOF file ({filename}) into the AOF directory \
             ({dirname})."
        ));
        Ok(())
    }

    /// The bytes of all files; files that are missing refuse the start.
    pub fn total_bytes(&self, manifest: &Manifest) -> Result<u64, Refused> {
        let mut total = 0;
        for part in manifest.parts() {
            total += self.size_of(part)?;
        }
        Ok(total)
    }

    fn size_of(&self, part: &Part) -> Result<u64, Refused> {
        let error = match self.disk.size_of(&self.names.path(&part.name)) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => "No such file or directory".to_string(),
            Err(error) => error_text(&error),
        };
        let name = &part.name;
        self.log.warning(format!("Unable to obtain the AOF file {name} length. stat: {error}"));
        Err(Refused)
    }

    /// Loads all files of the manifest.
    pub fn load(&self, manifest: &Manifest) -> Result<Loaded, Refused> {
        if self.total_bytes(manifest)? == 0 {
            return Ok(Loaded::Empty);
        }
        let (mut loaded, mut before_bytes) = (Loaded::Whole, 0);
        let parts: Vec<&Part> = manifest.parts().collect();
        for (at, part) in parts.iter().enumerate() {
            let watch = Stopwatch::start();
            let is_base = manifest.base.as_ref() == Some(part);
            // What follows an end that is torn must not be there: it came later.
            let mut is_last = true;
            for later in &parts[at + 1..] {
                is_last &= self.size_of(later)? == 0;
            }
            let result = match self.load_part(&part.name, is_base, before_bytes) {
                Ok(loaded) => loaded,
                Err(stop) => self.cut(&part.name, stop, is_last)?,
            };
            before_bytes += self.size_of(part)?;
            if result != Loaded::Empty {
                self.log.notice(format!(
                    "DB loaded from {} file {}: {:.3} seconds",
                    if is_base { "base" } else { "incr" },
                    part.name,
                    watch.elapsed_ns() as f64 / 1e9
                ));
            }
            if result == Loaded::CutOff {
                loaded = result;
            }
        }
        Ok(loaded)
    }

    fn load_part(&self, name: &str, is_base: bool, before_bytes: u64) -> Result<Loaded, Stop> {
        let path = self.names.path(name);
        let file = match self.disk.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) => {
                let text = error_text(&error);
                self.log.warning(format!(
                    "Fatal error: can't open the append log file {name} for reading: {text}"
                ));
                return Err(Stop { valid_bytes: 0, size: 0, why: Why::Told });
            }
        };
        let mut run = Run::begin(self, name, file, before_bytes);
        let result = run.load(is_base);
        run.end();
        result
    }

    /// Cuts off the end that cannot be loaded, if the configuration lets it and nothing follows:
    /// what was cut off before others would be missed by nobody at the next start.
    fn cut(&self, name: &str, stop: Stop, is_last: bool) -> Result<Loaded, Refused> {
        let Stop { valid_bytes, size, why } = stop;
        let directive = match why {
            Why::Told => return Err(Refused),
            Why::Torn if self.rules.cuts_torn_ends => {
                self.log.warning(format!(
                    "!!! Warning: short read while loading the AOF file {name}!!!"
                ));
                "aof-load-truncated"
            }
            Why::Torn => {
                self.log.warning(format!(
                    "Unexpected end of file reading the append only file {name} at offset \
                     {valid_bytes}. You can: 1) Make a backup of your AOF file, then use \
                     ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
                     'aof-load-truncated' configuration option to yes and restart the server."
                ));
                return Err(Refused);
            }
            Why::Broken(_) if size - valid_bytes <= self.rules.cut_bytes_max => {
                self.log.warning(format!("!!! Warning: corrupt AOF file tail in {name}!!!"));
                "aof-load-corrupt-tail-max-size"
            }
            Why::Broken(at) => {
                self.log.warning(format!(
                    "Bad file format reading the append only file {name} at offset {at}: make a \
                     backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>"
                ));
                return Err(Refused);
            }
        };
        if !is_last {
            self.log.warning("Fatal error: the truncated file is not the last file");
            return Err(Refused);
        }
        self.log.warning(format!("!!! Truncating the AOF {name} at offset {valid_bytes} !!!"));
        let path = self.names.path(name);
        let cut = self.disk.open(&path, Open::Repair).and_then(|file| {
            file.truncate(valid_bytes)?;
            file.sync_data()
        });
        if let Err(error) = cut {
            let text = error_text(&error);
            self.log.warning(format!("Error truncating the AOF file {name}: {text}"));
            return Err(Refused);
        }
        self.log.warning(format!("AOF {name} loaded anyway because {directive} is enabled"));
        Ok(Loaded::CutOff)
    }
}

/// Why loading a file stopped before its end.
struct Stop {
    /// Everything before is whole.
    valid_bytes: u64,
    /// Bytes of the file.
    size: u64,
    why: Why,
}

enum Why {
    /// The end is missing.
    Torn,
    /// At this offset stands what does not belong there.
    Broken(u64),
    /// The log has said it.
    Told,
}

/// One file that is being loaded.
struct Run<'a> {
    replay: &'a Replay<'a>,
    name: &'a str,
    file: DiskFile,
    size: u64,
    client: Option<ClientId>,
    /// What has been read and not run.
    buffer: Vec<u8>,
    start: usize,
    /// Offset in the file of `buffer[start]`.
    offset: u64,
    /// Everything before is loaded, and no transaction is open there.
    valid_bytes: u64,
    commands: u64,
    /// Bytes of the files that were loaded before.
    before_bytes: u64,
}

/// How far loading has come.
fn progress(state: &mut State, bytes: u64) {
    let keys: usize = (0..state.db.databases()).map(|db| state.db.space(db).len()).sum();
    if let Some(loading) = &mut state.persistence.loading {
        (loading.loaded_bytes, loading.keys) = (bytes, keys as u64);
    }
    tell_headway(state);
}

/// How a slice ended.
enum Slice {
    /// More is in the buffer.
    Full,
    /// More must be read.
    Hungry,
    Broken(u64),
    Told,
    /// The server ends.
    Gone,
}

impl<'a> Run<'a> {
    fn begin(replay: &'a Replay<'a>, name: &'a str, file: DiskFile, before_bytes: u64) -> Run<'a> {
        let size = file.size().unwrap_or(0);
        let mut client = None;
        replay.access.with(&mut |state| client = Some(settle::connect_internal(state)));
        let buffer = Vec::new();
        Run {
            replay,
            name,
            file,
            size,
            client,
            buffer,
            start: 0,
            offset: 0,
            valid_bytes: 0,
            commands: 0,
            before_bytes,
        }
    }

    fn end(&mut self) {
        if let Some(client) = self.client.take() {
            self.replay.access.with(&mut |state| settle::disconnect(state, client));
        }
    }

    fn stop(&self, why: Why) -> Stop {
        Stop { valid_bytes: self.valid_bytes, size: self.size.max(self.offset), why }
    }

    fn load(&mut self, is_base: bool) -> Result<Loaded, Stop> {
        let mut wanted = READ_BYTES;
        let mut is_first = true;
        loop {
            let got = self.read(wanted).map_err(|()| self.stop(Why::Told))?;
            if std::mem::take(&mut is_first) && self.is_snapshot() {
                // Redis: only the single file of an older version has commands behind it.
                let is_base = is_base && self.name != self.replay.names.filename;
                self.load_snapshot(is_base).map_err(|_| self.stop(Why::Told))?;
            } else if got == 0 {
                break;
            }
            let before = self.start;
            loop {
                match self.slice() {
                    Slice::Full => {}
                    Slice::Hungry => break,
                    Slice::Broken(at) => return Err(self.stop(Why::Broken(at))),
                    Slice::Told | Slice::Gone => return Err(self.stop(Why::Told)),
                }
            }
            // A record that is longer than what was read: more at once, so that it is looked at
            // only a few times.
            wanted =
                if self.start == before { self.buffer.len().max(READ_BYTES) } else { READ_BYTES };
        }
        if self.offset == 0 && self.buffer.is_empty() {
            return Ok(Loaded::Empty);
        }
        if self.valid_bytes < self.offset {
            let name = self.name;
            self.replay
                .log
                .warning(format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}"));
            return Err(self.stop(Why::Torn));
        }
        if self.start < self.buffer.len() {
            return Err(self.stop(Why::Torn));
        }
        Ok(Loaded::Whole)
    }

    /// Reads more behind what is left; the number of bytes, 0 at the end.
    fn read(&mut self, wanted: usize) -> Result<usize, ()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        let more = (&mut self.file).take(wanted as u64).read_to_end(&mut self.buffer);
        if let Err(error) = more {
            let (name, text) = (self.name, error_text(&error));
            self.replay.log.warning(format!(
                "Unrecoverable error reading the append only file {name}: {text}"
            ));
            return Err(());
        }
        Ok(self.buffer.len() - before)
    }

    /// Runs commands for a while under the lock.
    fn slice(&mut self) -> Slice {
        let mut result = Slice::Gone;
        let access = self.replay.access;
        let commands_before = self.commands;
        access.with(&mut |state| result = self.slice_of(state));
        let (delay_us, ran) = (self.replay.rules.delay_us, self.commands - commands_before);
        let pause_us = match delay_us {
            0 => 0,
            1.. => delay_us as u64 * ran,
            _ => ran / delay_us.unsigned_abs(),
        };
        if pause_us > 0 {
            std::thread::sleep(Duration::from_micros(pause_us));
        }
        result
    }

    fn slice_of(&mut self, state: &mut State) -> Slice {
        let Some(me) = self.client else { return Slice::Gone };
        let before = Before::take(state);
        let result = self.run(state, me);
        before.put_back(state);
        progress(state, self.before_bytes + self.offset);
        result
    }

    fn run(&mut self, state: &mut State, me: ClientId) -> Slice {
        let (mut out, mut names) = (Replies::default(), KnownNames::default());
        let mut group: [(Words, usize); PREFETCH] = Default::default();
        let mut ran = 0;
        // Who is told to load slowly lets others look between a few commands.
        let most = if self.replay.rules.delay_us > 0 { 1 } else { SLICE_COMMANDS };
        while ran < most {
            let (found, step) = self.parse(&mut group);
            let input = &self.buffer[self.start..];
            let mut dispatcher = Dispatcher::new(state, me).knowing(&mut names);
            let mut ahead = [Prepared::default(); PREFETCH];
            for (prepared, (words, _)) in ahead.iter_mut().zip(&group[..found]) {
                *prepared =
                    dispatcher.prepare(|at| words.get(at).and_then(|word| input.get(word.clone())));
            }
            ahead[..found].iter().for_each(|prepared| dispatcher.prefetch(prepared));
            dispatcher.prefetch_members(&mut ahead[..found]);
            let mut end = 0;
            for (prepared, (words, until)) in ahead.iter().zip(&group[..found]) {
                let argv: Argv<'_> =
                    words.iter().filter_map(|word| input.get(word.clone())).collect();
                if !prepared.is_known() {
                    let (name, word) = (self.name, shown(argv[0]));
                    self.replay.log.warning(format!(
                        "Unknown command '{word}' reading the append only file {name}"
                    ));
                    return Slice::Told;
                }
                dispatcher.request(&argv, prepared, &mut out);
                if dispatcher.state().has_failed {
                    return Slice::Told;
                }
                out.clear();
                end = *until;
                if dispatcher.state().clients.at(me).multi.is_none() {
                    self.valid_bytes = self.offset + end as u64;
                }
            }
            ran += found;
            self.commands += found as u64;
            self.start += end;
            self.offset += end as u64;
            match step {
                Step::Command(_) => {}
                Step::Note(len) => {
                    self.start += len;
                    self.offset += len as u64;
                    if state.clients.at(me).multi.is_none() {
                        self.valid_bytes = self.offset;
                    }
                }
                Step::Torn => return Slice::Hungry,
                Step::Broken(fault) => return Slice::Broken(self.offset + fault.at as u64),
            }
        }
        Slice::Full
    }

    /// Finds the next commands; how many they are, and what follows them.
    fn parse(&self, group: &mut [(Words, usize); PREFETCH]) -> (usize, Step) {
        let input = &self.buffer[self.start..];
        let mut at = 0;
        for (found, (words, until)) in group.iter_mut().enumerate() {
            let step = scan::next(&input[at..], words);
            let Step::Command(len) = step else { return (found, step) };
            words.iter_mut().for_each(|word| *word = word.start + at..word.end + at);
            at += len;
            *until = at;
        }
        (PREFETCH, Step::Command(0))
    }
}

/// Counts of what runs, which loading must leave as they are.
struct Before {
    stats: Stats,
    counters: Counters,
    dirty: u64,
}

impl Before {
    /// Time stands still from now on, and nobody counts or hears what runs.
    fn take(state: &mut State) -> Before {
        let commands = state.stats.commands.len();
        state.db.stop_time();
        state.db.effects.replays = true;
        settle::listen(state);
        Before {
            stats: std::mem::replace(&mut state.stats, Stats::new(commands)),
            counters: state.db.counters.clone(),
            dirty: state.db.effects.dirty,
        }
    }

    fn put_back(self, state: &mut State) {
        let unexpected = state.stats.unexpected_errors;
        state.stats = self.stats;
        state.stats.unexpected_errors += unexpected;
        state.db.counters = self.counters;
        state.db.effects.dirty = self.dirty;
        state.db.effects.replays = false;
        settle::listen(state);
        let now_ms = state.clock.now_ms();
        state.db.resume_time(now_ms);
    }
}
