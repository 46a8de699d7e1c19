//! DEBUG RELOAD: saves the data and loads it again, so that tests see what files keep.

use crate::command::Args;
use crate::commands::load_library;
use crate::disk::Open;
use crate::error::{Error, Result};
use crate::snapshot::load::{self, How, LoadError};
use crate::snapshot::save;
use crate::state::State;

pub(super) fn reload(state: &mut State, args: &mut Args<'_>) -> Result<()> {
    let (mut saves, mut flushes, mut replaces) = (true, true, false);
    while let Some(option) = args.option() {
        match &*option {
            "NOSAVE" => saves = false,
            "NOFLUSH" => flushes = false,
            "MERGE" => replaces = true,
            _ => {
                return Err(Error::of(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ))
            }
        }
    }
    if saves && !save::reloadable(state) {
        return Err(Error::of("ERR"));
    }
    if flushes {
        let happened = state.db.effects.happened.len();
        let dirty = state.db.effects.dirty;
        state.db.flush(None, true);
        state.scripting.flush_libraries();
        // Nothing has changed for those who watch or wait, and nothing is to be replayed.
        state.db.effects.happened.truncate(happened);
        state.db.effects.dirty = dirty;
    }
    let keeps_expired = state.role.is_replica();
    let how = How { replaces, keeps_expired, left_out: |_, _, _| {}, load_library };
    if let Err(error) = from_file(state, how) {
        state.logger.warning(format!("{}: {error}", save::path(state).display()));
        let text = "ERR Error trying to load the RDB dump, check server logs.";
        return Err(Error::of(text));
    }
    state.logger.warning("DB reloaded by DEBUG RELOAD");
    Ok(())
}

fn from_file(state: &mut State, how: How) -> std::result::Result<(), LoadError> {
    let file = state.disk.open(&save::path(state), Open::Read).map_err(LoadError::Unreadable)?;
    let rules = load::rules(state);
    load::begin(state, file.size().unwrap_or_default());
    let loaded = load::load_now(state, file, rules, how);
    load::end(state, loaded.as_ref().ok());
    loaded.map(drop)
}
