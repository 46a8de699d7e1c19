//! What follows outside of the configuration when directives change.

use crate::append_only;
use crate::config::{SetError, Settings};
use crate::settle;
use crate::state::State;

/// Makes the rooms follow directives that have changed. On failure the caller puts the old
/// configuration back and calls [`all`].
pub(super) fn changed(state: &mut State, names: &[&'static str]) -> Result<(), SetError> {
    let refused = |argument: &str, reason: String| {
        Err(SetError::Refused { argument: argument.as_bytes().to_vec(), reason })
    };
    let has = |name: &str| names.contains(&name);
    let settings = state.config.settings().clone();
    if has("maxclients") && !state.facts.embedded {
        let spare = 32;
        let granted = crate::process::raise_open_files(settings.maxclients as u64 + spare);
        if granted < settings.maxclients as u64 + spare {
            let reason = format!(
                "The operating system is not able to handle the specified number of clients, try \
                 with {}",
                granted.saturating_sub(spare)
            );
            return refused("maxclients", reason);
        }
    }
    if has("port") || has("bind") {
        let listened = match &state.outside {
            Some(outside) => outside.clone().listen(&settings),
            None => Ok(settings.port),
        };
        match listened {
            Ok(port) => state.facts.tcp_port = port,
            Err(error) => {
                state.logger.warning(error);
                return if has("port") {
                    refused("port", "Unable to listen on this port. Check server logs.".to_string())
                } else {
                    refused("bind", "Failed to bind to specified addresses.".to_string())
                };
            }
        }
    }
    if (has("oom-score-adj") || has("oom-score-adj-values")) && !state.facts.embedded {
        if let Err(error) = crate::following::score(state) {
            state.logger.warning(format!("Unable to write oom_score_adj: {error}"));
            let name = if has("oom-score-adj") { "oom-score-adj" } else { "oom-score-adj-values" };
            let reason = "Failed to set current oom_score_adj. Check server logs.";
            return refused(name, reason.to_string());
        }
    }
    listeners(state, &has, &settings)?;
    tls(state, names, &settings)?;
    if has("save") {
        // Who sets save points wants files, inside another program too.
        state.persistence.keeps_files = true;
    }
    if has("appendonly") {
        match settings.append_only.on {
            false => append_only::turn_off(state),
            true => {
                if append_only::turn_on(state).is_err() {
                    let reason = "Unable to turn on AOF. Check server logs.";
                    return refused("appendonly", reason.to_string());
                }
            }
        }
    }
    if has("aof-disable-auto-gc") && !settings.append_only.keeps_history {
        append_only::forget_history(state);
    }
    if has("slowlog-max-len") {
        state.stats.slowlog.shorten(settings.slowlog_max_len);
    }
    if has("latency-tracking") && !settings.latency_tracking {
        for command in &mut state.stats.commands {
            command.times = None;
        }
    }
    if has("requirepass") {
        let user = state.acl.default_with_password(&settings.requirepass);
        settle::users::put(state, user);
    }
    all(state);
    if has("maxmemory") && settings.maxmemory > 0 {
        let used = crate::memory::used_bytes(state);
        if used > settings.maxmemory {
            state.logger.warning(format!(
                "WARNING: the new maxmemory value set via CONFIG SET ({}) is smaller than the \
                 current memory usage ({used}).",
                settings.maxmemory
            ));
        }
    }
    Ok(())
}

/// The metrics' port, and the unix socket's group.
fn listeners(
    state: &mut State,
    has: &impl Fn(&str) -> bool,
    settings: &Settings,
) -> Result<(), SetError> {
    let refused = |argument: &str, reason: &str| {
        Err(SetError::Refused { argument: argument.as_bytes().to_vec(), reason: reason.into() })
    };
    if let (true, Some(outside)) =
        (has("metrics-port") || (has("bind") && settings.metrics_port > 0), &state.outside)
    {
        if let Err(error) = outside.listen_metrics(settings) {
            state.logger.warning(error);
            let name = if has("metrics-port") { "metrics-port" } else { "bind" };
            return refused(name, "Unable to listen on this port. Check server logs.");
        }
    }
    if let (true, Some(path), Some(group)) =
        (has("unixsocketgroup"), &settings.unixsocket, &settings.unixsocketgroup)
    {
        if let Err(error) = crate::process::give_to_group(path, group) {
            state.logger.warning(format!("Failed to change the unix socket's group: {error}"));
            return refused("unixsocketgroup", "Unable to change the group. Check server logs.");
        }
    }
    Ok(())
}

/// Certificates are read again when one of their directives changes, and when TLS begins; then
/// the port follows.
fn tls(state: &mut State, names: &[&'static str], settings: &Settings) -> Result<(), SetError> {
    let refused = |argument: &str, reason: &str| {
        Err(SetError::Refused { argument: argument.as_bytes().to_vec(), reason: reason.into() })
    };
    let Some(outside) = state.outside.clone() else { return Ok(()) };
    let changed = names.iter().find(|name| name.starts_with("tls-") && **name != HANDSHAKE);
    if let (Some(name), true) = (changed, settings.tls.is_used() || state.facts.tls_port > 0) {
        if let Err(error) = outside.certify(settings) {
            state.logger.warning(error);
            return refused(name, "Unable to update TLS configuration. Check server logs.");
        }
    }
    let moved = names.contains(&"tls-port");
    if moved || (names.contains(&"bind") && settings.tls.port > 0) {
        if let Err(error) = outside.listen_tls(settings) {
            state.logger.warning(error);
            return if moved {
                refused("tls-port", "Unable to listen on this port. Check server logs.")
            } else {
                refused("bind", "Failed to bind to specified addresses.")
            };
        }
        state.facts.tls_port = settings.tls.port;
    }
    Ok(())
}

/// Read anew for each connection, without certificates.
const HANDSHAKE: &str = "tls-handshake-timeout";

/// Makes the rooms follow the configuration as a whole.
pub(super) fn all(state: &mut State) {
    settle::configured(state);
}
