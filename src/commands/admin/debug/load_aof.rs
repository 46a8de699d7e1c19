//! DEBUG LOADAOF: empties the data and loads it from the append-only file, so that tests see what
//! the file keeps.

use crate::error::{Error, Result};
use crate::state::State;

pub(super) fn load_aof(state: &mut State) -> Result<()> {
    let Some(outside) = state.outside.clone() else { return Err(Error::of("ERR")) };
    state.aof.tail.write_out();
    let (happened, dirty) = (state.db.effects.happened.len(), state.db.effects.dirty);
    state.db.flush(None, true);
    state.scripting.flush_libraries();
    // Nothing has changed for those who watch or wait, and nothing is to be replayed.
    state.db.effects.happened.truncate(happened);
    state.db.effects.dirty = dirty;
    if !outside.load_append_only(state) {
        let text = "ERR Error trying to load the AOF files, check server logs.";
        return Err(Error::of(text));
    }
    state.logger.warning("Append Only File loaded by DEBUG LOADAOF");
    Ok(())
}
