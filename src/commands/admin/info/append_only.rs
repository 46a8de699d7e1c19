//! INFO persistence: the append-only file.

use super::Report;
use crate::log::aof::Mode;
use crate::state::State;
use std::sync::atomic::Ordering;

fn status(ok: bool) -> &'static str {
    if ok {
        "ok"
    } else {
        "err"
    }
}

/// What is shown whether it is on or not.
pub(super) fn figures(report: &mut Report, state: &State) {
    let (aof, rewrites) = (&state.aof, &state.aof.rewrites);
    let running_s =
        rewrites.running.as_ref().map(|running| running.watch.elapsed_ns() / 1_000_000_000);
    report.numbers(&[
        ("aof_enabled", u64::from(aof.mode != Mode::Off)),
        ("aof_rewrite_in_progress", u64::from(running_s.is_some())),
        ("aof_rewrite_scheduled", u64::from(rewrites.is_scheduled)),
    ]);
    report.field("aof_last_rewrite_time_sec", rewrites.last_took_s);
    report.field("aof_current_rewrite_time_sec", running_s.map_or(-1, |seconds| seconds as i64));
    report.field("aof_last_bgrewrite_status", status(rewrites.last_was_ok));
    report.numbers(&[
        ("aof_rewrites", rewrites.begun),
        ("aof_rewrites_consecutive_failures", rewrites.failed_in_a_row),
    ]);
    report.field("aof_last_write_status", status(aof.tail.last_write_was_ok()));
    report.numbers(&[("aof_last_cow_size", rewrites.last_copied_bytes)]);
}

/// What is shown while it is on.
pub(super) fn sizes(report: &mut Report, state: &State) {
    let (aof, tail) = (&state.aof, &state.aof.tail);
    if aof.mode == Mode::Off {
        return;
    }
    report.numbers(&[
        ("aof_current_size", tail.files_bytes()),
        ("aof_base_size", aof.base_bytes),
        ("aof_pending_rewrite", u64::from(aof.rewrites.is_scheduled)),
        ("aof_buffer_length", tail.pending_bytes() as u64),
        ("aof_pending_bio_fsync", u64::from(tail.is_syncing())),
        ("aof_delayed_fsync", tail.delayed_syncs.load(Ordering::Relaxed)),
    ]);
}
