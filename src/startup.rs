//! What happens between the moment when a server's threads can share its state and the one when
//! it is ready: its data is loaded.

use crate::append_only;
use crate::clock::Stopwatch;
use crate::listeners::StartError;
use crate::replay::{Loaded, Replay};
use crate::shared::{Assistant, Shared};
use std::sync::Arc;

/// Loads the append-only file, if it is on, and lets the log go there.
pub(crate) fn load(shared: &Arc<Shared>) -> Result<(), StartError> {
    let access = Assistant(Arc::downgrade(shared));
    let replay = {
        let state = shared.lock();
        if !state.config.settings().append_only.on {
            return Ok(());
        }
        Replay::new(&access, &state)
    };
    let watch = Stopwatch::start();
    let refused = |_| StartError::Data("the append-only file cannot be loaded".to_string());
    let manifest = replay.manifest().map_err(refused)?;
    if !manifest.is_empty() && replay.load(&manifest).map_err(refused)? != Loaded::Empty {
        let seconds = watch.elapsed_ns() as f64 / 1e9;
        shared.logger.notice(format!("DB loaded from append only file: {seconds:.3} seconds"));
    }
    append_only::open(&mut shared.lock(), manifest)
        .map_err(|_| StartError::Data("the append-only file cannot be opened".to_string()))
}
