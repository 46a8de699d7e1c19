//! Where a load goes: [`Here`], into the keyspace that everybody sees, under the lock; or
//! [`Aside`], into databases of its own, for a copy that takes the place of the data when it is
//! whole. What is told of a load, in INFO and in the log, is the same.

use super::decode::{Empty, Keys, Parcel, EMPTY_NAMED};
use super::{tell_headway, How, LoadError, Report};
use crate::error::shown;
use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::rdb::read::Loaded;
use crate::state::{Access, State};

/// Keys whose places are asked for at once.
const FETCHED: usize = 16;

/// Takes in what is loaded.
pub trait Home {
    /// The way to the state.
    fn access(&self) -> &dyn Access;

    /// Puts a parcel where it belongs, and counts it.
    fn take_in(&mut self, parcel: Parcel, report: &mut Report) -> Result<(), LoadError>;
}

/// The keyspace.
pub struct Here<'a> {
    /// The way to it.
    pub access: &'a dyn Access,
    /// What to do with what is loaded.
    pub how: How,
}

impl Home for Here<'_> {
    fn access(&self) -> &dyn Access {
        self.access
    }

    fn take_in(&mut self, parcel: Parcel, report: &mut Report) -> Result<(), LoadError> {
        within(self.access, |state| {
            let went = take_in(state, parcel, self.how, report);
            tell_headway(state);
            went
        })?
    }
}

/// Databases that nobody sees. All keys go there, those whose time has come too.
pub struct Aside<'a> {
    /// The way to the state, which hears how far the load is.
    pub access: &'a dyn Access,
    /// The databases.
    pub db: Db,
    /// Codes of libraries.
    pub libraries: Vec<Vec<u8>>,
}

impl Home for Aside<'_> {
    fn access(&self) -> &dyn Access {
        self.access
    }

    fn take_in(&mut self, parcel: Parcel, report: &mut Report) -> Result<(), LoadError> {
        match parcel {
            Parcel::Keys(Keys { db, keys, empty, announced, offset }) => {
                check(&self.db, db)?;
                self.db.make_room(db, usize::try_from(announced).unwrap_or(usize::MAX));
                let mut keys = keys.into_iter();
                while fetch_next(&self.db, db, keys.as_slice()) {
                    for loaded in keys.by_ref().take(FETCHED) {
                        let put = self.db.within(db, |here| here.load(loaded, false));
                        put.map_err(|entry| twice(&entry, db))?;
                        report.keys += 1;
                    }
                }
                within(self.access, |state| {
                    note_keys(state, &empty, offset, report);
                    tell_headway(state);
                })
            }
            Parcel::Library(code) => {
                self.libraries.push(code);
                Ok(())
            }
            Parcel::Aux(name, value) => {
                within(self.access, |state| note_aux(state, name, value, report))
            }
            Parcel::Over(outcome) => outcome,
        }
    }
}

/// Does something under the lock, unless the load is no longer wanted.
pub(super) fn within<R>(
    access: &dyn Access,
    work: impl FnOnce(&mut State) -> R,
) -> Result<R, LoadError> {
    let (mut work, mut result) = (Some(work), None);
    access.with(&mut |state| result = work.take().map(|work| work(state)));
    result.ok_or(LoadError::Ending)
}

/// Puts a parcel into the keyspace.
pub(super) fn take_in(
    state: &mut State,
    parcel: Parcel,
    how: How,
    report: &mut Report,
) -> Result<(), LoadError> {
    match parcel {
        Parcel::Keys(Keys { db, keys, empty, offset, .. }) => {
            check(&state.db, db)?;
            let mut keys = keys.into_iter();
            while fetch_next(&state.db, db, keys.as_slice()) {
                for loaded in keys.by_ref().take(FETCHED) {
                    put_key(state, db, loaded, how, report)?;
                }
            }
            note_keys(state, &empty, offset, report);
            Ok(())
        }
        Parcel::Library(code) => {
            (how.load_library)(state, &code, how.replaces).map_err(LoadError::Library)
        }
        Parcel::Aux(name, value) => {
            note_aux(state, name, value, report);
            Ok(())
        }
        Parcel::Over(outcome) => outcome,
    }
}

/// Asks the processor for the places of the next keys, and for the way to those of some further
/// ones; false when there are none. Keys come in an order that means nothing here, so each would
/// wait for memory alone.
fn fetch_next(db: &Db, index: usize, keys: &[Loaded]) -> bool {
    for loaded in keys.iter().take(FETCHED) {
        db.prefetch_loaded(index, loaded);
    }
    for loaded in keys.iter().skip(FETCHED).take(FETCHED) {
        db.prefetch_way(index, loaded);
    }
    !keys.is_empty()
}

fn put_key(
    state: &mut State,
    db: usize,
    loaded: Loaded,
    how: How,
    report: &mut Report,
) -> Result<(), LoadError> {
    let now_ms = state.db.now_ms();
    let entry = &loaded.entry;
    if !how.keeps_expired && entry.deadline_ms().is_some_and(|at| at < now_ms) {
        report.expired += 1;
        (how.left_out)(state, db, entry.key());
        return Ok(());
    }
    let put = state.db.within(db, |here| here.load(loaded, how.replaces));
    put.map_err(|entry| twice(&entry, db))?;
    report.keys += 1;
    Ok(())
}

fn check(db: &Db, index: usize) -> Result<(), LoadError> {
    match index < db.databases() {
        true => Ok(()),
        false => Err(LoadError::NoDatabase(db.databases() as u64)),
    }
}

fn twice(entry: &Entry, db: usize) -> LoadError {
    LoadError::Twice(entry.key().to_vec(), db)
}

/// How far the load is, and which keys had no value.
fn note_keys(state: &mut State, empty: &Empty, offset: u64, report: &mut Report) {
    let room = EMPTY_NAMED.saturating_sub(report.empty) as usize;
    for name in empty.names.iter().take(room) {
        state.logger.notice(format!("rdbLoadRio skipping empty key: {}", shown(name)));
    }
    report.empty += empty.count;
    if let Some(loading) = &mut state.persistence.loading {
        loading.loaded_bytes = loading.before_bytes + offset;
        loading.keys = report.keys;
    }
}

/// What the file says about itself.
fn note_aux(state: &mut State, name: Vec<u8>, value: Vec<u8>, report: &mut Report) {
    if state.persistence.loading.is_some() {
        tell(state, &name, &value);
    }
    if let (b"used-mem", Some(loading)) = (&name[..], &mut state.persistence.loading) {
        let text = String::from_utf8_lossy(&value);
        loading.saved_used_bytes = text.parse().unwrap_or_default();
    }
    report.aux.push((name, value));
}

/// What the log says of a field about the file.
fn tell(state: &State, name: &[u8], value: &[u8]) {
    let text = shown(value);
    let number: i64 = text.parse().unwrap_or_default();
    match name {
        b"redis-ver" => state.logger.notice(format!("Loading RDB produced by version {text}")),
        b"ctime" => {
            let age_s = (state.clock.now_ms() / 1000).saturating_sub(number).max(0);
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
