//! Commands that save the data to the snapshot file, and the end of the server, which does so last.

use crate::client::Awaited;
use crate::command::{client, client_wait, flag, Args, Call, Row, Wait, Waiting};
use crate::ending::{self, Progress};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::snapshot::save::{self, Busy};
use crate::state::Shutdown;

/// The rows.
pub const ROWS: &[Row] = &[
    client("BGSAVE [SCHEDULE]", bgsave)
        .admin()
        .noscript()
        .flags(flag::NO_ASYNC_LOADING)
        .since("1.0.0")
        .cost("O(1)")
        .about("Saves all data to the snapshot file while others go on."),
    client("LASTSAVE", lastsave)
        .fast()
        .loading()
        .stale()
        .flags(flag::ADMIN_CATEGORY)
        .varies()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the time of the last snapshot."),
    client("SAVE", save)
        .admin()
        .noscript()
        .no_multi()
        .flags(flag::NO_ASYNC_LOADING)
        .since("1.0.0")
        .cost("O(N) where N is the number of keys of all databases")
        .about("Saves all data to the snapshot file; everybody waits."),
    client_wait("SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", shutdown)
        .admin()
        .noscript()
        .loading()
        .stale()
        .no_multi()
        .flags(flag::ALLOW_BUSY)
        .without(flag::BLOCKING)
        .since("1.0.0")
        .cost("O(N) with saving, where N is the number of keys of all databases")
        .about("Ends the server."),
];

fn save(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    match save::now(call.state) {
        Ok(true) => Ok(out.ok()),
        // Redis: the log says why.
        Ok(false) => Err(Error::of("ERR")),
        Err(Busy::Saving) => Err(Error::SaveInProgress),
    }
}

fn bgsave(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    args.accept("SCHEDULE");
    if !args.is_done() {
        return Err(Error::Syntax);
    }
    if call.state.persistence.file.background.is_some() {
        return Err(Error::SaveInProgress);
    }
    // The moment of a snapshot lies between units.
    if call.state.inside_unit {
        call.state.persistence.file.is_scheduled = true;
        return Ok(out.simple("Background saving scheduled"));
    }
    match save::in_background(call.state) {
        Ok(Ok(())) => Ok(out.simple("Background saving started")),
        Ok(Err(_)) => Err(Error::of("ERR")),
        Err(Busy::Saving) => Err(Error::SaveInProgress),
    }
}

fn lastsave(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(call.state.persistence.file.last_save_s))
}

fn shutdown(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let mut asked = Shutdown::default();
    let mut abort = false;
    while let Some(option) = args.option() {
        match &*option {
            "NOSAVE" => asked.nosave = true,
            "SAVE" => asked.save = true,
            "NOW" => asked.now = true,
            "FORCE" => asked.force = true,
            "ABORT" => abort = true,
            _ => return Err(Error::Syntax),
        }
    }
    if (abort && asked != Shutdown::default()) || (asked.nosave && asked.save) {
        return Err(Error::Syntax);
    }
    if abort {
        return match ending::abort(call.state) {
            true => Ok(Wait::Done(out.ok())),
            false => Err(Error::of("ERR No shutdown in progress.")),
        };
    }
    let running = call.state.scripting.running.clone();
    if running.is_slow() && !asked.nosave {
        return Err(running.busy());
    }
    // A script that ends half-way is to be nowhere, and what it has written is here: either the
    // server ends with it, now, or both go on.
    asked.now |= running.is_slow();
    match ending::begin(call.state, asked, Some(call.me)) {
        Progress::Over if running.is_slow() => running.end(),
        Progress::Over => {}
        Progress::CalledOff => return Err(Error::ShutdownFailed),
        Progress::Waits => {
            return Ok(Wait::For(Waiting {
                keys: Vec::new(),
                until_ms: None,
                on_timeout: |out| out.error(&Error::ShutdownFailed),
                argv: None,
                wakes_on_loss: false,
                awaits: Some(Awaited::End),
            }))
        }
    }
    if let Some(outside) = &call.state.outside {
        outside.stop();
    }
    // Nothing is answered: the connection ends with the process, after its listeners; where
    // there is none of its own, at once.
    call.client().close_now = call.state.facts.embedded;
    Ok(Wait::Done(out.several().end()))
}
