//! CONFIG: reading and changing directives, and writing them back to the file.

use super::apply;
use crate::command::{client, container, Args, Call, Row};
use crate::commands::help;
use crate::config::{error_text, Access, SetError};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::state::State;
use std::io::Write;
use std::path::Path;

/// The rows of CONFIG.
pub const ROWS: &[Row] = &[
    container("CONFIG")
        .since("2.0.0")
        .about("Directives of the server.")
        .cost("Depends on the subcommand."),
    client("CONFIG|GET parameter [parameter ...]", config_get)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("2.0.0")
        .cost("O(N) where N is the number of directives")
        .about("Replies with directives that match patterns."),
    client("CONFIG|SET parameter value [parameter value ...]", config_set)
        .admin()
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.0.0")
        .cost("O(N) where N is the number of directives")
        .about("Changes directives, all of them or none."),
    client("CONFIG|RESETSTAT", resetstat)
        .admin()
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.0.0")
        .cost("O(1)")
        .about("Sets counters of INFO back to 0."),
    client("CONFIG|REWRITE", rewrite)
        .admin()
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.8.0")
        .cost("O(1)")
        .about("Writes the present directives to the configuration file."),
    client("CONFIG|HELP", config_help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
];

fn config_get(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let found = call.state.config.get(args.rest());
    let mut items = out.map(found.len());
    for (name, value) in found {
        items.bulk(&name);
        items.bulk(&value);
    }
    Ok(items.end())
}

fn config_set(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let words = args.rest();
    if !words.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let loading = call.state.persistence.loading.is_some();
    let access = Access { loading, local: call.client().is_local() };
    let state = &mut *call.state;
    let before = state.config.clone();
    let outcome = match state.config.set(&pairs, access) {
        Ok(changed) => apply::changed(state, &changed, before),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(out.ok()),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &SetError) -> Error {
    match error.text() {
        Some(text) => Error::of_bytes([b"ERR ", &*text].concat()),
        None => Error::of("LOADING Redis is loading the dataset in memory"),
    }
}

fn resetstat(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    reset_statistics(call.state);
    Ok(out.ok())
}

/// Sets counters back to 0. Slow log, latency events and the peak of memory stay.
pub fn reset_statistics(state: &mut State) {
    state.stats.reset();
    state.db.reset_statistics();
    state.scripting.scripts.reset_statistics();
    state.role.counters = Default::default();
}

fn rewrite(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    rewrite_file(call.state, false)?;
    Ok(out.ok())
}

/// Writes the present directives to the configuration file; `all` of them, or those that differ.
pub(super) fn rewrite_file(state: &State, all: bool) -> Result<()> {
    let file = &state.facts.config_file;
    if file.is_empty() {
        return Err(Error::of("ERR The server is running without a config file"));
    }
    let path = Path::new(file);
    let written = match std::fs::read(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        existing => {
            let users = users_to_write(state);
            let text = state.config.rewrite(&existing.unwrap_or_default(), Some(&users), all);
            replace_file(path, &text)
        }
    };
    match written {
        Ok(()) => state.logger.notice("CONFIG REWRITE executed with success."),
        Err(error) => {
            let why = error_text(&error);
            state.logger.warning(format!("CONFIG REWRITE failed: {why}"));
            return Err(Error::of(format!("ERR Rewriting config file: {why}")));
        }
    }
    Ok(())
}

/// The `user` lines, without `user`; none where users have a file of their own.
fn users_to_write(state: &State) -> Vec<String> {
    if !state.config.settings().aclfile.is_empty() {
        return Vec::new();
    }
    state.acl.users().map(|user| user.config_words()).collect()
}

/// Puts `text` in the place of a file in one step: readers see the old or the new one, whole.
pub(in crate::commands) fn replace_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        match path.parent() {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

fn config_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            (
                "GET <pattern>",
                &["Return parameters matching the glob-like <pattern> and their values."],
            ),
            ("SET <directive> <value>", &["Set the configuration <directive> to <value>."]),
            ("RESETSTAT", &["Reset statistics reported by the INFO command."]),
            ("REWRITE", &["Rewrite the configuration file."]),
        ],
    ))
}
