//! What each command does, one file a family.

use crate::command::{Family, Table};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use std::collections::HashMap;
use std::sync::LazyLock;

mod admin;
mod bitmaps;
mod client;
mod client_help;
mod client_info;
mod clock;
mod connection;
mod field_deadlines;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lcs;
mod lists;
mod pubsub;
mod scan;
pub mod scripting;
mod set_algebra;
mod sets;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

pub use client_info::line as client_line;

/// All families, in the order of the README's list.
pub const FAMILIES: &[&Family] = &[
    &strings::FAMILY,
    &keys::FAMILY,
    &lists::FAMILY,
    &hashes::FAMILY,
    &hyperloglog::FAMILY,
    &bitmaps::FAMILY,
    &sets::FAMILY,
    &sort::FAMILY,
    &sorted_sets::FAMILY,
    &geo::FAMILY,
    &streams::FAMILY,
    &transactions::FAMILY,
    &scripting::FAMILY,
    &connection::FAMILY,
    &clock::FAMILY,
    &pubsub::FAMILY,
    &admin::FAMILIES[0],
    &admin::FAMILIES[1],
    &admin::FAMILIES[2],
    &admin::FAMILIES[3],
    &admin::FAMILIES[4],
    &admin::FAMILIES[5],
    &admin::FAMILIES[6],
    &admin::FAMILIES[7],
    &admin::FAMILIES[8],
];

/// The table of all commands; read once in a process, it never changes.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(FAMILIES));
    &TABLE
}

/// Names that `rename-command` lines give to commands, or take away.
pub fn renames(lines: &[(Vec<u8>, Vec<u8>)]) -> HashMap<Vec<u8>, Option<usize>> {
    let mut names: HashMap<Vec<u8>, Option<usize>> = HashMap::new();
    for (old, new) in lines {
        let old = old.to_ascii_lowercase();
        let id = match names.get(&old) {
            Some(id) => *id,
            None => table().named(&old).map(|spec| spec.id),
        };
        names.insert(old, None);
        if !new.is_empty() {
            names.insert(new.to_ascii_lowercase(), id);
        }
    }
    names
}

/// Whether a command has this name.
pub fn is_command(name: &[u8]) -> bool {
    !name.contains(&b'|') && table().named(name).is_some()
}

/// A HELP reply: usage lines with their explanations indented below them.
fn help(out: Out<'_>, container: &str, lines: &[(&str, &[&str])]) -> Done {
    let mut items = out.array_of_unknown_len();
    items.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, explanations) in lines {
        items.simple(usage);
        for explanation in *explanations {
            items.simple(&format!("    {explanation}"));
        }
    }
    items.simple("HELP");
    items.simple("    Print this help.");
    items.end()
}

/// A cursor of the SCAN family.
fn scan_cursor(word: &[u8]) -> Result<u64> {
    crate::types::number::parse_u64(word).ok_or(Error::InvalidCursor)
}
