//! Loading a snapshot: one thread decodes, another puts what it has made into its home, a batch at
//! a time. The home is the keyspace, which takes each batch under the lock, so that others are
//! answered meanwhile; or databases that nobody sees yet, which take it without (see [`homes`]).
//!
//! Invariant: what has been decoded and not yet put in is bounded by `AHEAD` batches.

mod decode;
pub mod homes;

use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::Open;
use crate::error::{shown, Error};
use crate::persistence::Loading;
use crate::rdb::read::Rules;
use crate::rdb::{Fault, Reason};
use crate::state::{Access, State};
use decode::{read_all, Parcel};
use homes::{Here, Home};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{sync_channel, Receiver};
use std::time::Duration;

/// Batches that may wait.
const AHEAD: usize = 8;

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

/// Input of which a snapshot has been read, and what was read behind its end.
pub type Rest<R> = (R, Vec<u8>);

/// Loads the snapshot that `input` begins with. Most commands are refused meanwhile if the caller
/// has set `persistence.loading`, where it sees how far the load has come.
pub fn load<R: Read + Send>(
    home: &mut dyn Home,
    input: R,
    rules: Rules,
) -> Result<(Report, Rest<R>), LoadError> {
    let mut report = Report::default();
    let rest = std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let decoder = std::thread::Builder::new().name("redouble-decode".into());
        let decode = move || read_all(input, rules, |parcel| sender.send(parcel).is_ok());
        let decoder = decoder.spawn_scoped(scope, decode).map_err(LoadError::Unreadable)?;
        put_in(home, &receiver, &mut report)?;
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
    let loaded = load(&mut Here { access, how }, file, rules).map(|(report, _)| report);
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

/// The same as [`load`] into the keyspace, under a lock that its caller has.
pub fn load_now(
    state: &mut State,
    input: impl Read,
    rules: Rules,
    how: How,
) -> Result<Report, LoadError> {
    let mut report = Report::default();
    let mut failed = None;
    read_all(input, rules, |parcel| {
        if let Err(error) = homes::take_in(state, parcel, how, &mut report) {
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
        let fits = |parcel: &Parcel| !matches!(parcel, Parcel::Keys(keys) if keys.db >= databases);
        match parcels.iter().all(fits) {
            true => Ok(Whole(parcels)),
            false => Err(LoadError::NoDatabase(databases as u64)),
        }
    }

    /// Takes out the codes of libraries.
    pub fn take_libraries(&mut self) -> Vec<Vec<u8>> {
        let mut codes = Vec::new();
        self.0.retain_mut(|parcel| match parcel {
            Parcel::Library(code) => {
                codes.push(std::mem::take(code));
                false
            }
            _ => true,
        });
        codes
    }

    /// Puts it into the keyspace.
    pub fn put_in(self, state: &mut State, how: How) -> Result<Report, LoadError> {
        let mut report = Report::default();
        for parcel in self.0 {
            homes::take_in(state, parcel, how, &mut report)?;
        }
        Ok(report)
    }
}

/// Puts what comes into its home until it is over.
fn put_in(
    home: &mut dyn Home,
    receiver: &Receiver<Parcel>,
    report: &mut Report,
) -> Result<(), LoadError> {
    let mut from = 0;
    for parcel in receiver {
        let keys = match parcel {
            Parcel::Over(outcome) => return outcome,
            Parcel::Keys(keys) => keys,
            parcel => {
                home.take_in(parcel, report)?;
                continue;
            }
        };
        let end = keys.offset;
        if key_delay(home)?.is_zero() {
            home.take_in(Parcel::Keys(keys), report)?;
        } else {
            for one in keys.one_by_one(from) {
                home.take_in(Parcel::Keys(one), report)?;
                std::thread::sleep(key_delay(home)?);
            }
        }
        from = end;
    }
    Err(LoadError::Ending)
}

/// `key-load-delay`.
fn key_delay(home: &dyn Home) -> Result<Duration, LoadError> {
    let delay_us = |state: &mut State| state.config.settings().key_load_delay_us;
    let delay_us = homes::within(home.access(), delay_us)?;
    Ok(Duration::from_micros(u64::try_from(delay_us).unwrap_or_default()))
}

/// A line for the log now and then, of how far the load has come.
pub fn tell_headway(state: &mut State) {
    let line = state.persistence.loading.as_mut().and_then(Loading::line);
    if let Some(line) = line {
        state.logger.notice(line);
    }
}
