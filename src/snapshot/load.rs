//! Loading a snapshot: one thread decodes, another puts what it has made into the keyspace, a
//! batch under the lock at a time, so that others are answered meanwhile.
//!
//! Invariant: what has been decoded and not yet put in is bounded by `AHEAD` batches.

use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::Open;
use crate::error::{shown, Error};
use crate::keyspace::ageing::Age;
use crate::keyspace::entry::Entry;
use crate::persistence::Loading;
use crate::rdb::read::{Item, Loaded, Reader, Rules};
use crate::rdb::{Fault, Reason};
use crate::state::{Access, State};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{sync_channel, Receiver};
use std::time::Duration;

/// Keys of a batch, and bytes after which it is full.
const BATCH_KEYS: usize = 512;
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that may wait.
const AHEAD: usize = 8;
/// Keys without a value that the log names.
const EMPTY_NAMED: u64 = 10;

/// What to do with what is loaded.
#[derive(Clone, Copy)]
pub struct How {
    /// A key that is there already is replaced; otherwise it is an error.
    pub replaces: bool,
    /// Keys whose time has come are loaded too: commands that follow will deal with them.
    pub keeps_expired: bool,
    /// Is told of a key whose time has come, which is left out: its database and name.
    pub left_out: fn(&mut State, usize, &[u8]),
    /// Makes a library of functions of its code; `true` where one of its name is replaced.
    pub load_library: fn(&mut State, &[u8], bool) -> Result<(), String>,
}

/// What came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Keys that were put in.
    pub keys: u64,
    /// Keys whose time had come.
    pub expired: u64,
    /// Keys without a value.
    pub empty: u64,
    /// Names and values about the file.
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a load failed.
#[derive(Debug)]
pub enum LoadError {
    /// The bytes are not a snapshot.
    Fault(Fault),
    /// The file cannot be opened.
    Unreadable(io::Error),
    /// A key is there twice.
    Twice(Vec<u8>, usize),
    /// It names a database that this server does not have.
    NoDatabase(u64),
    /// A library of functions was refused.
    Library(String),
    /// A slow script keeps the data.
    Busy(Error),
    /// The server is ending.
    Ending,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Fault(fault) => write!(f, "{fault}"),
            LoadError::Unreadable(error) => write!(f, "{}", error_text(error)),
            LoadError::Twice(key, db) => {
                write!(f, "RDB has duplicated key '{}' in DB {db}", shown(key))
            }
            LoadError::NoDatabase(number) => write!(
                f,
                "Data file was created with a server configured to handle more than {number} \
                 databases"
            ),
            LoadError::Library(text) => {
                write!(f, "Failed creating the library: {text}")
            }
            LoadError::Busy(error) => write!(f, "{}", shown(error.text())),
            LoadError::Ending => write!(f, "the server is ending"),
        }
    }
}

impl std::error::Error for LoadError {}

/// What the decoding thread hands over.
enum Parcel {
    Keys { db: usize, keys: Vec<Loaded>, empty: Empty, offset: u64 },
    Library(Vec<u8>),
    Aux(Vec<u8>, Vec<u8>),
    Over(Result<(), LoadError>),
}

/// Keys without a value: how many, and the names of the first.
#[derive(Default)]
struct Empty {
    count: u64,
    names: Vec<Vec<u8>>,
}

/// Input of which a snapshot has been read, and what was read behind its end.
pub type Rest<R> = (R, Vec<u8>);

/// Loads the snapshot that `input` begins with. Most commands are refused meanwhile if the caller
/// has set `persistence.loading`, where it sees how far the load has come.
pub fn load<R: Read + Send>(
    access: &dyn Access,
    input: R,
    rules: Rules,
    how: How,
) -> Result<(Report, Rest<R>), LoadError> {
    let mut report = Report::default();
    let rest = std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let decoder = std::thread::Builder::new().name("redouble-decode".into());
        let decode = move || read_all(input, rules, |parcel| sender.send(parcel).is_ok());
        let decoder = decoder.spawn_scoped(scope, decode).map_err(LoadError::Unreadable)?;
        put_in(access, &receiver, how, &mut report)?;
        decoder.join().ok().flatten().ok_or(LoadError::Ending)
    })?;
    Ok((report, rest))
}

/// Loads a file, if it is there, and lets INFO and the log follow. Most commands are refused
/// meanwhile.
pub fn load_file(access: &dyn Access, path: &Path, how: How) -> Result<Option<Report>, LoadError> {
    let (mut opened, mut around) = (None, None);
    access.with(&mut |state| {
        opened = Some(state.disk.open(path, Open::Read));
        around = Some((rules(state), state.logger.clone()));
        if let Some(Ok(file)) = &opened {
            begin(state, file.size().unwrap_or_default());
        }
    });
    let (Some(opened), Some((rules, logger))) = (opened, around) else {
        return Err(LoadError::Ending);
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            logger.warning(format!(
                "Fatal error: can't open the RDB file {} for reading: {}",
                path.display(),
                error_text(&error)
            ));
            return Err(LoadError::Unreadable(error));
        }
    };
    logger.notice(format!("Loading the data of {}", path.display()));
    let watch = Stopwatch::start();
    let loaded = load(access, file, rules, how).map(|(report, _)| report);
    access.with(&mut |state| end(state, loaded.as_ref().ok()));
    match &loaded {
        Ok(_) => {
            let seconds = watch.elapsed_ns() as f64 / 1e9;
            logger.notice(format!("DB loaded from disk: {seconds:.3} seconds"));
        }
        Err(error) => {
            if let LoadError::Fault(fault) = error {
                if matches!(fault.reason, Reason::Checksum { .. }) {
                    logger.warning("RDB CRC error");
                }
                let (offset, reason) = (fault.offset, &fault.reason);
                logger
                    .warning(format!("Internal error in RDB reading offset {offset} -> {reason}"));
            }
            let path = path.display();
            logger.warning(format!("The data in {path} could not be loaded: {error}"));
        }
    }
    loaded.map(Some)
}

/// How this server reads snapshots.
pub fn rules(state: &State) -> Rules {
    let settings = state.config.settings();
    Rules { limits: state.db.limits.clone(), checksum: settings.rdbchecksum }
}

/// A load of so many bytes begins: most commands are refused until its end.
pub fn begin(state: &mut State, total_bytes: u64) {
    let loading = Loading::begin(state.clock.now_ms(), total_bytes, false);
    state.persistence.loading = Some(loading);
}

/// Before anybody can reach a server that has data to load.
pub fn start_begins(state: &mut State) {
    state.persistence.is_starting = true;
    begin(state, 0);
}

/// Everything that the server starts with is there.
pub fn start_is_over(state: &mut State) {
    state.persistence.is_starting = false;
    state.persistence.loading = None;
}

/// It is over.
pub fn end(state: &mut State, report: Option<&Report>) {
    if !state.persistence.is_starting {
        state.persistence.loading = None;
    }
    if let Some(report) = report {
        count(state, report);
    }
}

/// What has come in, for INFO and the log.
pub fn count(state: &mut State, report: &Report) {
    state.persistence.file.loaded_keys = report.keys;
    state.persistence.file.loaded_expired = report.expired;
    state.logger.notice(format!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
        report.keys, report.expired, report.empty
    ));
}

/// What the log says of a field about the file.
fn tell(state: &State, name: &[u8], value: &[u8]) {
    let text = shown(value);
    let number: i64 = text.parse().unwrap_or_default();
    match name {
        b"redis-ver" => state.logger.notice(format!("Loading RDB produced by version {text}")),
        b"ctime" => {
            let age_s = (state.clock.now_ms() / 1000 - number).max(0);
            state.logger.notice(format!("RDB age {age_s} seconds"));
        }
        b"used-mem" => {
            let megabytes = number as f64 / (1024.0 * 1024.0);
            state.logger.notice(format!("RDB memory usage when created {megabytes:.2} Mb"));
        }
        b"aof-base" if number == 1 => state.logger.notice("RDB is base AOF"),
        _ => {}
    }
}

/// The same as [`load`] under a lock that its caller has.
pub fn load_now(
    state: &mut State,
    input: impl Read,
    rules: Rules,
    how: How,
) -> Result<Report, LoadError> {
    let mut report = Report::default();
    let mut failed = None;
    read_all(input, rules, |parcel| {
        if let Err(error) = take_in(state, parcel, how, &mut report) {
            failed = Some(error);
        }
        failed.is_none()
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// A snapshot that has been read as a whole.
pub struct Whole(Vec<Parcel>);

impl Whole {
    /// Reads everything before anything is put in anywhere: for a server of so many databases.
    pub fn read(input: impl Read, rules: Rules, databases: usize) -> Result<Whole, LoadError> {
        let (mut parcels, mut over) = (Vec::new(), Ok(()));
        read_all(input, rules, |parcel| {
            match parcel {
                Parcel::Over(outcome) => over = outcome,
                parcel => parcels.push(parcel),
            }
            true
        });
        over?;
        let fits = |parcel: &Parcel| !matches!(parcel, Parcel::Keys { db, .. } if *db >= databases);
        match parcels.iter().all(fits) {
            true => Ok(Whole(parcels)),
            false => Err(LoadError::NoDatabase(databases as u64)),
        }
    }

    /// Puts it into the keyspace.
    pub fn put_in(self, state: &mut State, how: How) -> Result<Report, LoadError> {
        let mut report = Report::default();
        for parcel in self.0 {
            take_in(state, parcel, how, &mut report)?;
        }
        Ok(report)
    }
}

/// Reads a snapshot into parcels, the last of which is `Over`, until `send` says that nobody wants
/// more. Gives what is left of the input when all has been read.
fn read_all<R: Read>(
    input: R,
    rules: Rules,
    mut send: impl FnMut(Parcel) -> bool,
) -> Option<Rest<R>> {
    let mut rest = None;
    let over = (|| {
        let mut reader = Reader::open(input, rules).map_err(LoadError::Fault)?;
        let mut batch = Batch::default();
        loop {
            let item = match reader.next_item() {
                Ok(item) => item,
                Err(fault) => {
                    send(batch.take(reader.offset()));
                    return Err(LoadError::Fault(fault));
                }
            };
            let parcel = match item {
                Item::Key(loaded) => {
                    if !batch.add(loaded) {
                        continue;
                    }
                    None
                }
                Item::EmptyKey(name) => {
                    batch.empty.count += 1;
                    if batch.empty.count <= EMPTY_NAMED {
                        batch.empty.names.push(name);
                    }
                    continue;
                }
                Item::SelectDb(number) => {
                    let went = send(batch.take(reader.offset()));
                    batch.db =
                        usize::try_from(number).map_err(|_| LoadError::NoDatabase(number))?;
                    if !went {
                        return Ok(());
                    }
                    continue;
                }
                Item::Function(code) => Some(Parcel::Library(code)),
                Item::Aux(name, value) => Some(Parcel::Aux(name, value)),
                Item::ResizeDb(..) | Item::SlotInfo(..) | Item::ModuleAux(_) => continue,
                Item::End => {
                    send(batch.take(reader.offset()));
                    rest = Some(reader.into_rest());
                    return Ok(());
                }
            };
            let parcel = parcel.unwrap_or_else(|| batch.take(reader.offset()));
            if !send(parcel) {
                return Ok(());
            }
        }
    })();
    send(Parcel::Over(over));
    rest
}

#[derive(Default)]
struct Batch {
    db: usize,
    keys: Vec<Loaded>,
    bytes: usize,
    empty: Empty,
}

impl Batch {
    /// Whether it is full.
    fn add(&mut self, loaded: Loaded) -> bool {
        self.bytes += loaded.entry.heap_bytes();
        self.keys.push(loaded);
        self.keys.len() >= BATCH_KEYS || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self, offset: u64) -> Parcel {
        self.bytes = 0;
        let room = Vec::with_capacity(self.keys.len());
        let keys = std::mem::replace(&mut self.keys, room);
        Parcel::Keys { db: self.db, keys, empty: std::mem::take(&mut self.empty), offset }
    }
}

fn put_in(
    access: &dyn Access,
    receiver: &Receiver<Parcel>,
    how: How,
    report: &mut Report,
) -> Result<(), LoadError> {
    for parcel in receiver {
        if let Parcel::Over(outcome) = parcel {
            return outcome;
        }
        let mut parcels = split(access, parcel).into_iter();
        let mut delay_us = 0;
        for parcel in parcels.by_ref() {
            let mut parcel = Some(parcel);
            let mut went = Ok(());
            let is_there = access.with(&mut |state| {
                delay_us = state.config.settings().key_load_delay_us;
                if let Some(parcel) = parcel.take() {
                    went = take_in(state, parcel, how, report);
                }
                tell_headway(state);
            });
            if !is_there {
                return Err(LoadError::Ending);
            }
            went?;
            if delay_us > 0 {
                std::thread::sleep(Duration::from_micros(delay_us.unsigned_abs()));
            }
        }
    }
    Err(LoadError::Ending)
}

/// A line for the log now and then, of how far the load has come.
pub fn tell_headway(state: &mut State) {
    let line = state.persistence.loading.as_mut().and_then(Loading::line);
    if let Some(line) = line {
        state.logger.notice(line);
    }
}

/// `key-load-delay`: then keys go in one by one, each with its share of the way.
fn split(access: &dyn Access, parcel: Parcel) -> Vec<Parcel> {
    let (mut is_slow, mut from) = (false, 0);
    access.with(&mut |state| {
        is_slow = state.config.settings().key_load_delay_us > 0;
        let loading = state.persistence.loading.as_ref();
        from =
            loading.map_or(0, |loading| loading.loaded_bytes.saturating_sub(loading.before_bytes));
    });
    match parcel {
        Parcel::Keys { db, keys, empty, offset } if is_slow && keys.len() > 1 => {
            let step = offset.saturating_sub(from) / keys.len() as u64;
            let one = |(at, loaded)| {
                let offset = from + step * at as u64;
                Parcel::Keys { db, keys: vec![loaded], empty: Empty::default(), offset }
            };
            let mut parcels: Vec<Parcel> = keys.into_iter().enumerate().map(one).collect();
            parcels.push(Parcel::Keys { db, keys: Vec::new(), empty, offset });
            parcels
        }
        parcel => vec![parcel],
    }
}

fn take_in(
    state: &mut State,
    parcel: Parcel,
    how: How,
    report: &mut Report,
) -> Result<(), LoadError> {
    match parcel {
        Parcel::Keys { db, keys, empty, offset } => {
            if db >= state.db.databases() {
                return Err(LoadError::NoDatabase(state.db.databases() as u64));
            }
            tell_empty(state, report.empty, &empty);
            report.empty += empty.count;
            for Loaded { entry, age } in keys {
                put_key(state, db, entry, age, how, report)?;
            }
            if let Some(loading) = &mut state.persistence.loading {
                loading.loaded_bytes = loading.before_bytes + offset;
                loading.keys = report.keys;
            }
            Ok(())
        }
        Parcel::Library(code) => {
            (how.load_library)(state, &code, how.replaces).map_err(LoadError::Library)
        }
        Parcel::Aux(name, value) => {
            if state.persistence.loading.is_some() {
                tell(state, &name, &value);
            }
            if let (b"used-mem", Some(loading)) = (&name[..], &mut state.persistence.loading) {
                let text = String::from_utf8_lossy(&value);
                loading.saved_used_bytes = text.parse().unwrap_or_default();
            }
            report.aux.push((name, value));
            Ok(())
        }
        Parcel::Over(outcome) => outcome,
    }
}

/// The names of the first keys without a value, of which there were `before` already.
fn tell_empty(state: &State, before: u64, empty: &Empty) {
    let room = EMPTY_NAMED.saturating_sub(before) as usize;
    for name in empty.names.iter().take(room) {
        state.logger.notice(format!("rdbLoadRio skipping empty key: {}", shown(name)));
    }
}

fn put_key(
    state: &mut State,
    db: usize,
    entry: Entry,
    age: Age,
    how: How,
    report: &mut Report,
) -> Result<(), LoadError> {
    let now_ms = state.db.now_ms();
    if !how.keeps_expired && entry.deadline_ms().is_some_and(|at| at < now_ms) {
        report.expired += 1;
        (how.left_out)(state, db, entry.key());
        return Ok(());
    }
    let key = match how.replaces {
        true => Vec::new(),
        false => entry.key().to_vec(),
    };
    if !state.db.within(db, |here| here.load(entry, age, how.replaces)) {
        return Err(LoadError::Twice(key, db));
    }
    report.keys += 1;
    Ok(())
}
