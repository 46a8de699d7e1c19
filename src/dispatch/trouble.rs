//! Loading, and disks that have failed: what they let nobody do, and what a replica does about its
//! primary's commands, which nobody may refuse.

use super::{any, Dispatcher};
use crate::command::row::flag;
use crate::command::Spec;
use crate::ending;
use crate::error::{Error, Result};
use crate::log::aof::Mode;
use crate::snapshot;

/// How often is told that commands of the primary run although the disk fails.
const TOLD_MS: i64 = 10_000;

impl Dispatcher<'_> {
    /// Refuses what waits until the data is loaded, and writes that a snapshot file cannot keep.
    #[inline]
    pub(super) fn gate_by_state(&self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        let room = &self.state.persistence;
        if room.file.last_was_ok && room.loading.is_none() {
            return Ok(());
        }
        self.refuse_by_state(spec, argv)
    }

    #[cold]
    fn refuse_by_state(&self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        let any = |test: &dyn Fn(&Spec) -> bool| {
            any(self.state, self.me, (spec, argv), |spec, _| test(spec))
        };
        // Redis: PING tells that something is wrong, too.
        if spec.name == "ping" || any(&|spec| spec.has(flag::WRITE)) {
            snapshot::save::check_writes(self.state)?;
        }
        let Some(loading) = &self.state.persistence.loading else { return Ok(()) };
        let refused = match loading.is_async {
            false => any(&|spec| !spec.has(flag::LOADING)),
            true => spec.has(flag::NO_ASYNC_LOADING),
        };
        match refused {
            true => Err(Error::Loading),
            false => Ok(()),
        }
    }

    /// Refuses writes that the log cannot take to disk.
    pub(super) fn refuse_unlogged(&self, spec: &Spec) -> Result<()> {
        if self.state.aof.mode == Mode::Off {
            return Ok(());
        }
        match self.state.aof.tail.failure() {
            // Redis: PING tells a client about it too.
            Some(text) if spec.has(flag::WRITE) || spec.name == "ping" => {
                Err(Error::of(format!("MISCONF Errors writing to the AOF file: {text}")))
            }
            _ => Ok(()),
        }
    }

    /// A command of the primary, or of the append-only file that is loaded, runs whatever the disk
    /// does. A replica that would not have the write after a restart ends instead, unless it is
    /// told to go on with `replica-ignore-disk-write-errors`.
    #[inline]
    pub(super) fn obey_despite_disk(&mut self, spec: &Spec) {
        if self.state.aof.mode != Mode::Off || !self.state.persistence.file.last_was_ok {
            self.judge_disk(spec);
        }
    }

    #[cold]
    fn judge_disk(&mut self, spec: &Spec) {
        let (is_ping, state) = (spec.name == "ping", &mut *self.state);
        // What a file being loaded says is on the disk.
        let obeys = state.clients.at(self.me).is_primary && (is_ping || spec.has(flag::WRITE));
        let fails = obeys
            && (snapshot::save::check_writes(state).is_err()
                || (state.aof.mode != Mode::Off && state.aof.tail.failure().is_some()));
        if !fails {
            return;
        }
        if !is_ping && !state.config.settings().replica_ignore_disk_write_errors {
            ending::fail(state, "Replica was unable to write command to disk.");
            return;
        }
        let now_ms = state.clock.steady_ms();
        let Some(upstream) = &mut state.role.upstream else { return };
        if upstream.told_of_disk_ms.is_none_or(|told_ms| now_ms > told_ms + TOLD_MS) {
            upstream.told_of_disk_ms = Some(now_ms);
            state.logger.warning(
                "Replica is applying a command even though it is unable to write to disk.",
            );
        }
    }
}
