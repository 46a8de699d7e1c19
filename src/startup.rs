//! What happens between the moment when a server's threads can share its state and the one when
//! it is ready: its data is loaded.

use crate::append_only;
use crate::clock::Stopwatch;
use crate::commands::load_library;
use crate::following;
use crate::listeners::StartError;
use crate::replay::{Loaded, Replay};
use crate::shared::{Assistant, Shared};
use crate::snapshot::load::{self, How, LoadError};
use crate::snapshot::save;
use std::sync::Arc;

/// Loads what the files have, if there are any: the append-only file where it is on, otherwise the
/// snapshot file.
pub(crate) fn load(shared: &Arc<Shared>) -> Result<(), StartError> {
    let (appends, keeps_files, keeps_expired, path) = {
        let state = shared.lock();
        let settings = state.config.settings();
        let (appends, is_replica) = (settings.append_only.on, settings.replicaof.is_some());
        // A replica goes on where it was: its primary may have cleared a deadline that has passed
        // meanwhile, and says so.
        (appends, state.persistence.keeps_files, is_replica, save::path(&state))
    };
    if appends {
        return load_append_only(shared);
    }
    if !keeps_files {
        return Ok(());
    }
    let access = Assistant::of(shared);
    let how = How { replaces: false, keeps_expired, left_out: following::left_out, load_library };
    following::load_begins(&mut shared.lock());
    match load::load_file(&access, &path, how) {
        Ok(report) => {
            let aux = report.map(|report| report.aux).unwrap_or_default();
            following::loaded(&mut shared.lock(), &aux);
            Ok(())
        }
        Err(error) => {
            if matches!(error, LoadError::Fault(_)) {
                let line = "Terminating server after rdb file reading failure.";
                shared.logger.warning(line);
            }
            Err(StartError::Data(format!("{}: {error}", path.display())))
        }
    }
}

/// Loads the append-only file and lets the log go there.
fn load_append_only(shared: &Arc<Shared>) -> Result<(), StartError> {
    let access = Assistant::of(shared);
    let replay = Replay::new(&access, &shared.lock());
    let watch = Stopwatch::start();
    let refused = |_| StartError::Data("the append-only file cannot be loaded".to_string());
    let manifest = replay.manifest().map_err(refused)?;
    if !manifest.is_empty() {
        let total_bytes = replay.total_bytes(&manifest).map_err(refused)?;
        load::begin(&mut shared.lock(), total_bytes);
        let loaded = replay.load(&manifest);
        load::end(&mut shared.lock(), None);
        if loaded.map_err(refused)? != Loaded::Empty {
            let seconds = watch.elapsed_ns() as f64 / 1e9;
            shared.logger.notice(format!("DB loaded from append only file: {seconds:.3} seconds"));
        }
    }
    append_only::open(&mut shared.lock(), manifest)
        .map_err(|_| StartError::Data("the append-only file cannot be opened".to_string()))
}
