//! Loading a snapshot: one thread decodes, another puts what it has made into the keyspace, a
//! batch under the lock at a time, so that others are answered meanwhile.
//!
//! Invariant: what has been decoded and not yet put in is bounded by `AHEAD` batches.

use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::Open;
use crate::error::shown;
use crate::keyspace::ageing::Age;
use crate::keyspace::entry::Entry;
use crate::persistence::Loading;
use crate::rdb::read::{Item, Loaded, Reader, Rules};
use crate::rdb::{Fault, Reason};
use crate::state::{Access, State};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::time::Duration;

/// Keys of a batch, and bytes after which it is full.
const BATCH_KEYS: usize = 512;
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that may wait.
const AHEAD: usize = 8;

/// What to do with what is loaded.
#[derive(Clone, Copy)]
pub struct How {
    /// A key that is there already is replaced; otherwise it is an error.
    pub replaces: bool,
    /// Keys whose time has come are loaded too: commands that follow will deal with them.
    pub keeps_expired: bool,
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
            LoadError::Ending => write!(f, "the server is ending"),
        }
    }
}

impl std::error::Error for LoadError {}

/// What the decoding thread hands over.
enum Parcel {
    Keys { db: usize, keys: Vec<Loaded>, empty: u64, offset: u64 },
    Library(Vec<u8>),
    Aux(Vec<u8>, Vec<u8>),
    Over(Result<(), LoadError>),
}

/// Loads everything that `input` has. Most commands are refused meanwhile if the caller has set
/// `persistence.loading`, where it sees how far the load has come.
pub fn load(
    access: &dyn Access,
    input: impl Read + Send,
    rules: Rules,
    how: How,
) -> Result<Report, LoadError> {
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let decoder = std::thread::Builder::new().name("redouble-decode".into());
        let spawned = decoder.spawn_scoped(scope, move || decode(input, rules, &sender));
        if spawned.is_err() {
            return Err(LoadError::Ending);
        }
        put_in(access, &receiver, how, &mut report)
    })?;
    Ok(report)
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
        Err(error) => return Err(LoadError::Unreadable(error)),
    };
    let watch = Stopwatch::start();
    let loaded = load(access, file, rules, how);
    access.with(&mut |state| end(state, loaded.as_ref().ok()));
    match &loaded {
        Ok(_) => {
            let seconds = watch.elapsed_ns() as f64 / 1e9;
            logger.notice(format!("DB loaded from disk: {seconds:.3} seconds"));
        }
        Err(error) => {
            if let LoadError::Fault(Fault { reason: Reason::Checksum { .. }, .. }) = error {
                logger.warning("RDB CRC error");
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
    state.persistence.loading = Some(Loading {
        began_ms: state.clock.now_ms(),
        watch: Stopwatch::start(),
        total_bytes,
        loaded_bytes: 0,
        saved_used_bytes: 0,
        keys: 0,
        is_async: false,
    });
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
    let Some(report) = report else { return };
    state.persistence.file.loaded_keys = report.keys;
    state.persistence.file.loaded_expired = report.expired;
    tell(state, report);
}

/// What the log says of a load.
fn tell(state: &State, report: &Report) {
    for (name, value) in &report.aux {
        let text = shown(value);
        let number: i64 = text.parse().unwrap_or_default();
        match name.as_slice() {
            b"redis-ver" => {
                state.logger.notice(format!("Loading RDB produced by version {text}"));
            }
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
    state.logger.notice(format!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
        report.keys, report.expired, report.empty
    ));
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

fn decode(input: impl Read, rules: Rules, sender: &SyncSender<Parcel>) {
    read_all(input, rules, |parcel| sender.send(parcel).is_ok());
}

/// Reads the whole input into parcels, the last of which is `Over`, until `send` says that nobody
/// wants more.
fn read_all(input: impl Read, rules: Rules, mut send: impl FnMut(Parcel) -> bool) {
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
                Item::EmptyKey(_) => {
                    batch.empty += 1;
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
}

#[derive(Default)]
struct Batch {
    db: usize,
    keys: Vec<Loaded>,
    bytes: usize,
    empty: u64,
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

/// `key-load-delay`: then keys go in one by one.
fn split(access: &dyn Access, parcel: Parcel) -> Vec<Parcel> {
    let mut is_slow = false;
    access.with(&mut |state| is_slow = state.config.settings().key_load_delay_us > 0);
    match parcel {
        Parcel::Keys { db, keys, empty, offset } if is_slow && keys.len() > 1 => {
            let one = |loaded| Parcel::Keys { db, keys: vec![loaded], empty: 0, offset };
            let mut parcels: Vec<Parcel> = keys.into_iter().map(one).collect();
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
            report.empty += empty;
            for Loaded { entry, age } in keys {
                put_key(state, db, entry, age, how, report)?;
            }
            if let Some(loading) = &mut state.persistence.loading {
                loading.loaded_bytes = offset;
                loading.keys = report.keys;
            }
            Ok(())
        }
        Parcel::Library(code) => {
            (how.load_library)(state, &code, how.replaces).map_err(LoadError::Library)
        }
        Parcel::Aux(name, value) => {
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
