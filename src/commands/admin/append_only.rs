//! BGREWRITEAOF.

use crate::append_only;
use crate::command::{client, Args, Call, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};

/// The row.
pub const ROWS: &[Row] = &[client("BGREWRITEAOF", bgrewriteaof)
    .admin()
    .noscript()
    .flags(crate::command::flag::NO_ASYNC_LOADING)
    .since("1.0.0")
    .cost("O(1)")
    .about("Replaces the append-only file by a shorter one while others go on.")];

fn bgrewriteaof(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let state = &mut *call.state;
    if state.aof.rewrites.running.is_some() {
        let text = "ERR Background append only file rewriting already in progress";
        return Err(Error::of(text));
    }
    if state.inside_unit || state.persistence.file.background.is_some() {
        state.aof.rewrites.is_scheduled = true;
        // Who asks for it need not wait until the pause after failures is over.
        state.aof.rewrites.failed_in_a_row = 0;
        return Ok(out.simple("Background append only file rewriting scheduled"));
    }
    match append_only::rewrite_as_asked(state) {
        Ok(()) => Ok(out.simple("Background append only file rewriting started")),
        Err(_) => Err(Error::of(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more \
             information.",
        )),
    }
}
