//! What becomes of a full copy: it is loaded into databases that nobody sees, on the link's own
//! thread and without the lock, and then takes the place of the old data in one go.
//!
//! With `repl-diskless-load swapdb` the old data stays if the copy is bad, and is served meanwhile
//! if it is an earlier point of the same history; a server that keeps no files does so in any case.
//! Otherwise it is dropped before, since there may be no room for both, and clients are told that
//! the server is loading. A copy goes through a file first where the configuration says so; it
//! takes the place of the snapshot file before the old data goes, so that a restart finds it and
//! goes on from there.
//!
//! Invariant: clients see the old data, none at all, or all of the new; and this server has a
//! history to go on with only while it has data of that history.

use super::payload::Payload;
use super::wire::Broken;
use super::Access;
use crate::append_only;
use crate::commands::replace_libraries;
use crate::config::{error_text, DisklessLoad};
use crate::disk::{dir_of, Disk, DiskFile, Open, Pace};
use crate::following;
use crate::keyspace::db::Db;
use crate::persistence::Loading;
use crate::rdb::read::Rules;
use crate::replicas;
use crate::server_log::Logger;
use crate::settle;
use crate::snapshot::load::homes::Aside;
use crate::snapshot::load::{self, LoadError, Report};
use crate::snapshot::save;
use crate::state::State;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// How to load.
struct How {
    mode: Way,
    rules: Rules,
    databases: usize,
    seed: u64,
    ageing: crate::keyspace::ageing::Ageing,
    now_ms: i64,
    disk: Arc<dyn Disk>,
    /// Where a copy is received to.
    path: PathBuf,
    /// What it is called when it is whole.
    kept_as: PathBuf,
    /// It is needed for loading alone: `rdb-del-sync-files`.
    is_passing: bool,
    syncs_often: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a file.
    File,
    /// From the link, with the old data dropped.
    Direct,
    /// From the link, beside the old data, which is shown meanwhile if it is of the same history.
    Swap { is_async: bool },
}

/// What a copy holds.
struct Loaded {
    db: Db,
    libraries: Vec<Vec<u8>>,
    report: Report,
}

impl Loaded {
    /// The database that the primary's stream goes on in.
    fn selected(&self) -> usize {
        let said = self.report.aux.iter().find(|(name, _)| name == b"repl-stream-db");
        said.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
    }
}

/// Whether the copy continues the history that the data here is a point of.
fn continues(state: &State, point: Option<(&str, u64)>) -> bool {
    point.is_some_and(|(id, _)| id == state.role.id)
}

/// Loads a copy and makes it the data of this server, at `point` of the primary's history.
pub(super) fn load(
    access: &Access,
    payload: &mut Payload<'_>,
    logger: &Logger,
    point: Option<(&str, u64)>,
) -> Result<(), Broken> {
    let how = access.with(|state| how(state, point)).ok_or(Broken::Unwanted)?;
    let to = if how.mode == Way::File { "to disk" } else { "to parser" };
    logger.notice(match payload.length() {
        Some(bytes) => {
            format!("MASTER <-> REPLICA sync: receiving {bytes} bytes from master {to}")
        }
        None => {
            format!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {to}")
        }
    });
    let loaded = match how.mode {
        Way::File => {
            let received = receive(payload, &how).and_then(|()| keep(access, &how));
            let loaded = received.and_then(|file| {
                begin(access, &how, logger)?;
                let loaded = read(access, file, &how);
                if how.is_passing {
                    logger.notice(
                        "Removing the RDB file obtained from the master. This replica has \
                         persistence disabled",
                    );
                    let _ = how.disk.remove(&how.kept_as);
                }
                loaded
            });
            let _ = how.disk.remove(&how.path);
            loaded
        }
        Way::Direct | Way::Swap { .. } => begin(access, &how, logger)
            .and_then(|()| read(access, &mut *payload, &how))
            .and_then(|loaded| match payload.finish() {
                true => Ok(loaded),
                false => Err(Broken::Nonsense("the end of the copy did not come".to_string())),
            }),
    };
    let finished = loaded.and_then(|loaded| {
        let adopted = access.with(|state| adopt(state, loaded, point, &how));
        adopted.ok_or(Broken::Unwanted)?
    });
    match &finished {
        Ok(()) => {
            logger.notice("MASTER <-> REPLICA sync: Finished with success");
            if let Some(supervisor) = access.with(|state| state.facts.supervisor) {
                supervisor.in_step("Finished with success", logger);
            }
        }
        Err(broken) => give_up(access, &how, logger, broken),
    }
    finished
}

fn how(state: &mut State, point: Option<(&str, u64)>) -> How {
    let settings = state.config.settings();
    let is_empty = (0..state.db.databases()).all(|index| state.db.space(index).is_empty());
    let mode = match settings.repl_diskless_load {
        DisklessLoad::SwapDb => Way::Swap { is_async: continues(state, point) },
        DisklessLoad::OnEmptyDb if is_empty => Way::Direct,
        // As with a file: the old data stays until the copy is whole.
        _ if !state.persistence.keeps_files => Way::Swap { is_async: continues(state, point) },
        _ => Way::File,
    };
    // Several servers of a process may share a folder and a second.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now_s = state.clock.now_ms() / 1000;
    let name = format!("temp-{now_s}.{}.{number}.rdb", std::process::id());
    How {
        mode,
        rules: load::rules(state),
        databases: state.db.databases(),
        ageing: state.db.ageing.clone(),
        now_ms: state.db.now_ms(),
        disk: state.disk.clone(),
        path: settings.dir.join(name),
        kept_as: save::path(state),
        is_passing: settings.rdb_del_sync_files
            && settings.save.is_empty()
            && !settings.append_only.on,
        syncs_often: settings.rdb_save_incremental_fsync,
        seed: rand::RngCore::next_u64(&mut state.db.rng),
    }
}

/// Writes the copy to a file.
fn receive(payload: &mut Payload<'_>, how: &How) -> Result<(), Broken> {
    let failed = |error: std::io::Error| {
        Broken::Nonsense(format!(
            "Write error or short write writing to the DB dump file needed for MASTER <-> \
             REPLICA synchronization: {}",
            error_text(&error)
        ))
    };
    let mut file = how.disk.open(&how.path, Open::Create).map_err(failed)?;
    let (mut block, mut pace) = (vec![0; 256 << 10], Pace::new(how.syncs_often));
    loop {
        let bytes = payload.read(&mut block).map_err(|_| Broken::Closed)?;
        if bytes == 0 {
            break;
        }
        pace.write(&mut file, &block[..bytes]).map_err(failed)?;
    }
    match payload.finish() {
        true => Ok(()),
        false => Err(Broken::Closed),
    }
}

/// Puts the file where a restart looks for it; gives the file, whatever has the name by now.
fn keep(access: &Access, how: &How) -> Result<DiskFile, Broken> {
    let kept_as = &how.kept_as;
    let failed = |what: &str, error: std::io::Error| {
        let text = error_text(&error);
        Broken::Nonsense(format!(
            "Failed trying to {what} in MASTER <-> REPLICA synchronization: {text}"
        ))
    };
    let opened = how.disk.open(&how.path, Open::Read);
    let synced = opened.and_then(|file| file.sync_data().map(|()| file));
    let file = synced.map_err(|error| failed("sync the temp DB to disk", error))?;
    let order = access.with(save::supersede).ok_or(Broken::Unwanted)?;
    let name = kept_as.file_name().unwrap_or_default().to_string_lossy();
    let moved = order.place(|| how.disk.rename(&how.path, kept_as));
    moved.map_err(|error| failed(&format!("rename the temp DB into {name}"), error))?;
    let dir = dir_of(kept_as);
    let synced = how.disk.sync_dir(&dir);
    synced.map_err(|error| failed(&format!("sync DB directory {}", dir.display()), error))?;
    Ok(file)
}

/// The old data goes, or is served until the new is there.
fn begin(access: &Access, how: &How, logger: &Logger) -> Result<(), Broken> {
    let is_async = how.mode == Way::Swap { is_async: true };
    let begun = access.with(|state| {
        if !matches!(how.mode, Way::Swap { .. }) {
            // Who copies this server must begin anew, and nobody can go on from here.
            replicas::disconnect_all(state);
            logger.notice("MASTER <-> REPLICA sync: Flushing old data");
            following::forget_history(state);
            append_only::turn_off(state);
            // One that has begun since the copy was whole is of the old data.
            save::stop_background(state);
            empty(state);
        }
        let loading = Loading::begin(state.db.now_ms(), 0, is_async);
        state.persistence.loading = Some(loading);
        logger.notice(if is_async {
            "MASTER <-> REPLICA sync: Loading DB in memory (async)"
        } else {
            "MASTER <-> REPLICA sync: Loading DB in memory"
        });
    });
    begun.ok_or(Broken::Unwanted)
}

fn empty(state: &mut State) {
    state.db.flush(None, true);
    state.scripting.flush_libraries();
    settle::command_over(state);
    state.db.effects.records.clear();
}

/// Reads a copy into databases of its own.
fn read(access: &Access, input: impl Read + Send, how: &How) -> Result<Loaded, Broken> {
    let mut db = Db::new(how.databases, how.rules.limits.clone(), how.seed);
    db.set_now_ms(how.now_ms);
    db.ageing = how.ageing.clone();
    let mut aside = Aside { access, db, libraries: Vec::new() };
    let (report, _) = load::load(&mut aside, input, how.rules.clone()).map_err(|error| {
        let offset = match &error {
            LoadError::Ending => return Broken::Unwanted,
            LoadError::Fault(fault) => format!(" offset {}", fault.offset),
            _ => String::new(),
        };
        Broken::Nonsense(format!("Internal error in RDB reading{offset}: {error}"))
    })?;
    Ok(Loaded { db: aside.db, libraries: aside.libraries, report })
}

/// The copy becomes the data.
fn adopt(
    state: &mut State,
    loaded: Loaded,
    point: Option<(&str, u64)>,
    how: &How,
) -> Result<(), Broken> {
    replace_libraries(state, &loaded.libraries)
        .map_err(|text| Broken::Nonsense(format!("Failed creating the library: {text}")))?;
    let selected = loaded.selected();
    state.db.adopt(loaded.db);
    settle::command_over(state);
    state.db.effects.records.clear();
    append_only::begin_anew(state);
    state.persistence.loading = None;
    load::count(state, &loaded.report);
    if matches!(how.mode, Way::Swap { .. }) {
        replicas::disconnect_all(state);
    }
    match point {
        Some((id, offset)) => following::adopt(state, id, offset, selected),
        None => following::forget_history(state),
    }
    Ok(())
}

/// The copy is lost. What was there before is there still, or nothing is.
fn give_up(access: &Access, how: &How, logger: &Logger, broken: &Broken) {
    if matches!(broken, Broken::Nonsense(_)) {
        logger.warning(format!("{broken}"));
    }
    let from = if how.mode == Way::File { "disk" } else { "socket, check server logs" };
    logger.warning(format!("Failed trying to load the MASTER synchronization DB from {from}."));
    access.with(|state| {
        let was_loading = state.persistence.loading.take().is_some();
        if was_loading && matches!(how.mode, Way::Swap { .. }) {
            logger.notice("MASTER <-> REPLICA sync: the old data stays");
        }
    });
}
