//! What follows outside of the configuration when directives change.

use crate::append_only;
use crate::config::{Config, SetError, Settings};
use crate::settle;
use crate::state::State;

/// One thing outside of the configuration that may refuse to follow the names that have changed.
type Step = fn(&mut State, Names<'_>, &Settings) -> Result<(), SetError>;

/// Directives that have changed.
type Names<'a> = &'a [&'static str];

fn has(names: Names<'_>, name: &str) -> bool {
    names.contains(&name)
}

/// In the order in which they are taken. Those that came before a refusal are taken back.
const STEPS: [Step; 8] =
    [open_files, tcp, oom_score, metrics, socket_group, certificates, tls, append_only];

/// Files that are open besides those of clients.
const SPARE_FILES: u64 = 32;

/// Read anew for each connection, without certificates.
const HANDSHAKE: &str = "tls-handshake-timeout";

fn refused(argument: &str, reason: &str) -> Result<(), SetError> {
    Err(SetError::Refused { argument: argument.as_bytes().to_vec(), reason: reason.to_string() })
}

/// Makes the rooms follow directives that have changed. On failure everything is as `before`.
pub(super) fn changed(state: &mut State, names: Names<'_>, before: Config) -> Result<(), SetError> {
    let settings = state.config.settings().clone();
    let port_before = state.facts.tcp_port;
    for (at, step) in STEPS.iter().enumerate() {
        let Err(refusal) = step(state, names, &settings) else { continue };
        state.config = before;
        // An embedded server may have got a port that no directive names.
        let old = Settings { port: port_before, ..state.config.settings().clone() };
        for taken in &STEPS[..at] {
            let _ = taken(state, names, &old);
        }
        settle::configured(state);
        if let SetError::Refused { argument, .. } = &refusal {
            state.logger.warning(format!(
                "Failed applying new configuration. Possibly related to new {} setting. Restoring \
                 previous settings.",
                String::from_utf8_lossy(argument)
            ));
        }
        return Err(refusal);
    }
    follow(state, names, &settings);
    Ok(())
}

/// What follows without fail.
fn follow(state: &mut State, names: Names<'_>, settings: &Settings) {
    if has(names, "save") {
        // Who sets save points wants files, inside another program too.
        state.persistence.keeps_files = true;
    }
    if has(names, "aof-disable-auto-gc") && !settings.append_only.keeps_history {
        append_only::forget_history(state);
    }
    if has(names, "slowlog-max-len") {
        state.stats.slowlog.shorten(settings.slowlog_max_len);
    }
    if has(names, "latency-tracking") && !settings.latency_tracking {
        for command in &mut state.stats.commands {
            command.times = None;
        }
    }
    if has(names, "requirepass") {
        let user = state.acl.default_with_password(&settings.requirepass);
        settle::users::put(state, user);
    }
    settle::configured(state);
    if has(names, "maxmemory") && settings.maxmemory > 0 {
        let used = crate::memory::used_bytes(state);
        if used > settings.maxmemory {
            state.logger.warning(format!(
                "WARNING: the new maxmemory value set via CONFIG SET ({}) is smaller than the \
                 current memory usage ({used}).",
                settings.maxmemory
            ));
        }
    }
}

fn open_files(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    if !has(names, "maxclients") || state.facts.embedded {
        return Ok(());
    }
    let wanted = settings.maxclients as u64 + SPARE_FILES;
    let granted = crate::process::raise_open_files(wanted);
    if granted >= wanted {
        return Ok(());
    }
    let reason = format!(
        "The operating system is not able to handle the specified number of clients, try with {}",
        granted.saturating_sub(SPARE_FILES)
    );
    refused("maxclients", &reason)
}

fn tcp(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    if !has(names, "port") && !has(names, "bind") {
        return Ok(());
    }
    let listened = match &state.outside {
        Some(outside) => outside.clone().listen(settings),
        None => Ok(settings.port),
    };
    match listened {
        Ok(port) => state.facts.tcp_port = port,
        Err(error) => {
            state.logger.warning(format!("Warning: {error}"));
            return match has(names, "port") {
                true => refused("port", "Unable to listen on this port. Check server logs."),
                false => refused("bind", "Failed to bind to specified addresses."),
            };
        }
    }
    Ok(())
}

fn oom_score(state: &mut State, names: Names<'_>, _: &Settings) -> Result<(), SetError> {
    if !has(names, "oom-score-adj") && !has(names, "oom-score-adj-values") {
        return Ok(());
    }
    let Err(error) = crate::following::score(state) else { return Ok(()) };
    let why = crate::config::error_text(&error);
    state.logger.warning(format!("Unable to write oom_score_adj: {why}"));
    let name = if has(names, "oom-score-adj") { "oom-score-adj" } else { "oom-score-adj-values" };
    refused(name, "Failed to set current oom_score_adj. Check server logs.")
}

fn metrics(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    let moves = has(names, "metrics-port") || (has(names, "bind") && settings.metrics_port > 0);
    let Some(outside) = state.outside.as_ref().filter(|_| moves) else { return Ok(()) };
    let Err(error) = outside.listen_metrics(settings) else { return Ok(()) };
    state.logger.warning(error);
    let name = if has(names, "metrics-port") { "metrics-port" } else { "bind" };
    refused(name, "Unable to listen on this port. Check server logs.")
}

fn socket_group(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    let (true, Some(path), Some(group)) =
        (has(names, "unixsocketgroup"), &settings.unixsocket, &settings.unixsocketgroup)
    else {
        return Ok(());
    };
    let Err(error) = crate::process::give_to_group(path, group) else { return Ok(()) };
    state.logger.warning(format!("Failed to change the unix socket's group: {error}"));
    refused("unixsocketgroup", "Unable to change the group. Check server logs.")
}

fn append_only(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    if !has(names, "appendonly") {
        return Ok(());
    }
    if !settings.append_only.on {
        append_only::turn_off(state);
    } else if append_only::turn_on(state).is_err() {
        return refused("appendonly", "Unable to turn on AOF. Check server logs.");
    }
    Ok(())
}

/// Certificates are read again when one of their directives changes, and when TLS begins.
fn certificates(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    let changed = names.iter().find(|name| name.starts_with("tls-") && **name != HANDSHAKE);
    let is_used = settings.tls.is_used() || state.facts.tls_port > 0;
    let Some(name) = changed.filter(|_| is_used) else { return Ok(()) };
    let Some(outside) = &state.outside else { return Ok(()) };
    let Err(error) = outside.certify(settings) else {
        crate::tls::doubt(settings).inspect(|line| state.logger.warning(line));
        return Ok(());
    };
    state.logger.warning(error);
    refused(name, "Unable to update TLS configuration. Check server logs.")
}

fn tls(state: &mut State, names: Names<'_>, settings: &Settings) -> Result<(), SetError> {
    let moves = has(names, "tls-port") || (has(names, "bind") && settings.tls.port > 0);
    let Some(outside) = state.outside.as_ref().filter(|_| moves) else { return Ok(()) };
    if let Err(error) = outside.listen_tls(settings) {
        state.logger.warning(error);
        return match has(names, "tls-port") {
            true => refused("tls-port", "Unable to listen on this port. Check server logs."),
            false => refused("bind", "Failed to bind to specified addresses."),
        };
    }
    state.facts.tls_port = settings.tls.port;
    Ok(())
}
