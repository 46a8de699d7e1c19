//! How a server ends that was asked to: its replicas catch up, its files are written, and then
//! nothing runs any more.
//!
//! SHUTDOWN and signals begin here. While a replica lacks something, clients' writes are held back
//! and the server waits, for `shutdown-timeout` at most; then the replicas that still lack
//! something are named in the log. When a file cannot be written the end is called off, and
//! everybody who asked for it is told.
//!
//! A server that holds something else than it should can also *fail*: nobody is waited for, and
//! nothing is saved.
//!
//! Invariant: [`State::ending`] is there exactly while replicas are waited for; `is_over` is set
//! only when everything that had to be saved is saved, or when nothing may be.

use crate::client::ClientId;
use crate::error::Error;
use crate::log::aof::Mode;
use crate::replicas;
use crate::settle;
use crate::snapshot::save;
use crate::state::{Ending, Shutdown, State};

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Replicas have something to catch up.
    Waits,
    /// Everything is saved.
    Over,
    /// Something could not be saved: the server goes on.
    CalledOff,
}

/// Somebody asks for the end.
pub fn begin(state: &mut State, asked: Shutdown, asker: Option<ClientId>) -> Progress {
    if let Some(ending) = &mut state.ending {
        ending.askers.extend(asker);
        return Progress::Waits;
    }
    state.logger.notice("User requested shutdown...");
    state.facts.supervisor.stopping(&state.logger);
    let timeout_s = state.config.settings().shutdown_timeout_s;
    if asked.now || timeout_s == 0 || replicas::lagging(state).is_empty() {
        return finish(state, asked);
    }
    let until_ms = state.clock.steady_ms() + timeout_s as i64 * 1000;
    state.ending = Some(Ending { asked, until_ms, askers: asker.into_iter().collect() });
    state.db.keeps_expired = true;
    state.role.wants_acks = true;
    replicas::ask_for_acks(state);
    state.logger.notice("Waiting for replicas before shutting down.");
    Progress::Waits
}

/// Looks whether the replicas have caught up, or time is over.
pub fn look(state: &mut State) {
    let Some(ending) = &state.ending else { return };
    let (asked, until_ms) = (ending.asked, ending.until_ms);
    if state.clock.steady_ms() < until_ms && !replicas::lagging(state).is_empty() {
        return;
    }
    if finish(state, asked) == Progress::Over {
        if let Some(outside) = &state.outside {
            outside.stop();
        }
    }
}

/// Milliseconds until the server ends whatever its replicas do.
pub fn left_ms(state: &State) -> Option<i64> {
    let ending = state.ending.as_ref()?;
    Some((ending.until_ms - state.clock.steady_ms()).max(0))
}

/// SHUTDOWN ABORT; false when nobody had asked for the end.
pub fn abort(state: &mut State) -> bool {
    if state.is_over || (state.ending.is_none() && state.shutdown.is_none()) {
        return false;
    }
    cancel(state);
    state.logger.notice("Shutdown manually aborted.");
    true
}

/// The server goes on.
fn cancel(state: &mut State) {
    state.shutdown = None;
    let Some(ending) = state.ending.take() else { return };
    for id in ending.askers {
        settle::unblock_with(state, id, |out, _| {
            let _ = out.error(&Error::ShutdownFailed);
        });
    }
    settle::release_held_back(state);
}

fn finish(state: &mut State, asked: Shutdown) -> Progress {
    report_replicas(state);
    if !writes_first_log(state, asked) || !save::before_end(state, asked) {
        state
            .logger
            .warning("Errors trying to shut down the server. Check the logs for more information.");
        cancel(state);
        return Progress::CalledOff;
    }
    state.shutdown = Some(asked);
    state.is_over = true;
    Progress::Over
}

/// An append-only file that has just been turned on holds nothing before its first rewrite. False
/// when that is under way, and a reason to stay.
fn writes_first_log(state: &State, asked: Shutdown) -> bool {
    if state.aof.mode != Mode::AwaitsRewrite || state.aof.rewrites.running.is_none() {
        return true;
    }
    if asked.force {
        state.logger.warning("Writing initial AOF. Exit anyway.");
        return true;
    }
    let why = "Writing initial AOF, can't exit.";
    state.logger.warning(why);
    state.facts.supervisor.status(why, &state.logger);
    false
}

/// The server cannot go on: it ends at once, and saves nothing. Redis calls it a panic.
pub fn fail(state: &mut State, why: &str) {
    if std::mem::replace(&mut state.has_failed, true) {
        return;
    }
    let lines = "------------------------------------------------";
    state.logger.warning(lines);
    state.logger.warning("!!! Software Failure. Press left mouse button to continue");
    state.logger.warning(format!("Guru Meditation: {why}"));
    state.logger.warning(lines);
    state.shutdown = Some(Shutdown { nosave: true, now: true, force: true, save: false });
    state.is_over = true;
    if let Some(outside) = &state.outside {
        outside.stop();
    }
}

fn report_replicas(state: &State) {
    let all = state.role.replicas.len();
    let lagging = replicas::lagging(state);
    for one in &lagging {
        state.logger.warning(format!(
            "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
            one.name, one.behind_bytes, one.lag_s, one.stage
        ));
    }
    if all > 0 {
        let in_sync = all - lagging.len();
        state.logger.notice(format!("{in_sync} of {all} replicas are in sync when shutting down."));
    }
}
