//! Errors that no person sees: a command of the primary, of the append-only file or of a replica
//! fails. Those of the first two did not fail where they were written, so the two sides do not hold
//! the same data any more; `propagation-error-behavior` says whether that is the end.

use super::Dispatcher;
use crate::command::Spec;
use crate::config::PropagationErrors;
use crate::ending;
use crate::error::shown;
use crate::settle::quoted;
use crate::state::State;

/// How much of an error is told.
const ERROR_BYTES_MAX: usize = 4096;
/// How much is told of what came before it.
const STREAM_BYTES_MAX: u64 = 256;

impl Dispatcher<'_> {
    /// The client's last command, or one of its transaction, has answered with an error.
    pub(super) fn tell_peer_of_last(&mut self, reply: &[u8]) {
        let last = self.state.clients.at(self.me).last_command;
        let spec = last.and_then(|id| self.table.specs.get(id));
        self.tell_peer(spec, reply.trim_ascii_end());
    }

    /// Tells of an error if its receiver is one of those that no person looks at.
    pub(super) fn tell_peer(&mut self, spec: Option<&Spec>, error: &[u8]) {
        let client = self.state.clients.at(self.me);
        let (is_primary, is_internal) = (client.is_primary, client.is_internal);
        if is_internal || client.is_replica() {
            self.tell_discord(is_primary, is_internal && !is_primary, spec, error);
        }
    }

    #[cold]
    fn tell_discord(&mut self, to_primary: bool, to_file: bool, spec: Option<&Spec>, error: &[u8]) {
        let (from, to) = match (to_primary, to_file) {
            (true, _) => ("replica", "master"),
            (_, true) => ("server", "AOF-loading-client"),
            _ => ("master", "replica"),
        };
        let state = &mut *self.state;
        let command = spec.map_or("<unknown>", |spec| &spec.name);
        let error = shown(&error[..error.len().min(ERROR_BYTES_MAX)]);
        state.logger.warning(format!(
            "== CRITICAL == This {from} is sending an error to its {to}: '{error}' after \
             processing the command '{command}'"
        ));
        if to_primary {
            tell_of_stream(state);
        }
        state.stats.unexpected_errors += 1;
        let settings = state.config.settings();
        let ends = match settings.propagation_errors {
            PropagationErrors::Ignore => false,
            // A writable replica holds other data than its primary by its own doing.
            PropagationErrors::Panic if to_file => true,
            PropagationErrors::Panic | PropagationErrors::PanicOnReplicas => {
                to_primary && settings.replica_read_only
            }
        };
        if ends {
            let text = format!(
                "This {from} panicked sending an error to its {to} after processing the command \
                 '{command}'"
            );
            ending::fail(state, &text);
        }
    }
}

/// What the primary said last, for whoever looks for the reason: the newest bytes of the backlog.
fn tell_of_stream(state: &mut State) {
    let Some(ring) = state.log.ring.as_mut().filter(|ring| !ring.is_empty()) else { return };
    if state.config.settings().hide_user_data_from_log {
        state.logger.notice(
            "hide-user-data-from-log is on, skip logging backlog content to avoid spilling PII.",
        );
        return;
    }
    let newest_bytes = ring.len().min(STREAM_BYTES_MAX);
    let mut pieces = Vec::new();
    ring.read(ring.end() - newest_bytes, newest_bytes as usize, &mut pieces);
    let newest = quoted(&pieces.concat());
    state.logger.notice(format!("Latest backlog is: '{newest}'"));
}
