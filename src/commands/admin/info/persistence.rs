//! INFO persistence: what has been saved, what is being saved or loaded, how far it has come.

use super::Report;
use crate::persistence::{Persistence, Running};
use crate::state::State;

pub(super) fn persistence(report: &mut Report, state: &mut State) {
    let room = &state.persistence;
    let changes = state.db.effects.dirty.saturating_sub(room.file.saved_dirty);
    let now = |loading: bool| u64::from(room.loading.as_ref().is_some_and(|_| loading));
    let is_async = room.loading.as_ref().is_some_and(|loading| loading.is_async);
    let saved_bytes: u64 = room.running.iter().map(|running| running.tally.bytes()).sum();
    report.title("Persistence");
    report.numbers(&[
        ("loading", now(!is_async)),
        ("async_loading", now(is_async)),
        // What writers had to save for those who are reading.
        ("current_cow_peak", saved_bytes),
        ("current_cow_size", saved_bytes),
        ("current_cow_size_age", 0),
    ]);
    let (done, total) = keys(room);
    // Redis: a copy for replicas is a BGSAVE like any other.
    let copying = state.role.copying.as_ref().map(|copying| copying.watch);
    let saves = room.file.background.is_some() || copying.is_some();
    report.ratio("current_fork_perc", done as f64 * 100.0 / total.max(1) as f64);
    report.numbers(&[("current_save_keys_processed", done), ("current_save_keys_total", total)]);
    let speed = |running: &Running| running.headway.megabytes_per_s(running.written_bytes);
    report.ratio("current_save_mb_per_sec", room.running.first().map_or(0.0, speed));
    report.numbers(&[
        ("rdb_changes_since_last_save", changes),
        ("rdb_bgsave_in_progress", u64::from(saves)),
    ]);
    report.field("rdb_last_save_time", room.file.last_save_s);
    report.field("rdb_last_bgsave_status", if room.file.last_was_ok { "ok" } else { "err" });
    report.field("rdb_last_bgsave_time_sec", room.file.last_took_s);
    let watch = room.file.background.as_ref().map(|(_, watch)| *watch).or(copying);
    let current_s = watch.map(|watch| watch.elapsed_ns() / 1_000_000_000);
    report.field("rdb_current_bgsave_time_sec", current_s.map_or(-1, |seconds| seconds as i64));
    report.numbers(&[
        ("rdb_saves", room.file.saves),
        ("rdb_last_cow_size", room.file.last_copied_bytes),
        ("rdb_last_load_keys_expired", room.file.loaded_expired),
        ("rdb_last_load_keys_loaded", room.file.loaded_keys),
    ]);
    super::append_only::figures(report, state);
    report.numbers(&[("module_fork_in_progress", 0), ("module_fork_last_cow_size", 0)]);
    super::append_only::sizes(report, state);
    loading(report, &state.persistence);
}

/// Keys that the snapshot under way has handed out, and all of them.
fn keys(room: &Persistence) -> (u64, u64) {
    let running = room.running.first();
    running.map_or((0, 0), |one| (one.keys_done as u64, one.keys as u64))
}

/// Only while something is loaded.
fn loading(report: &mut Report, room: &Persistence) {
    let Some(loading) = &room.loading else { return };
    let elapsed_ns = loading.headway.elapsed_ns();
    report.field("loading_start_time", loading.began_ms.div_euclid(1000));
    report.numbers(&[
        ("loading_total_bytes", loading.total_bytes),
        ("loading_rdb_used_mem", loading.saved_used_bytes),
        ("loading_loaded_bytes", loading.loaded_bytes),
    ]);
    report.ratio("loading_loaded_perc", loading.percent());
    report.field("loading_loaded_keys", loading.keys);
    report.ratio("loading_mb_per_sec", loading.headway.megabytes_per_s(loading.loaded_bytes));
    let left = loading.total_bytes.saturating_sub(loading.loaded_bytes) as f64;
    let each_ns = elapsed_ns as f64 / loading.loaded_bytes.max(1) as f64;
    report.field("loading_eta_seconds", (left * each_ns / 1e9) as u64);
}
