//! What each command does, one file a family.

use crate::acl::Vocabulary;
use crate::command::categories::categories;
use crate::command::{Args, Family, Spec, Table};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::types::number::{parse_i64, parse_u64};
use std::collections::HashMap;
use std::sync::LazyLock;

pub mod acl;
mod admin;
mod bitmaps;
mod client;
mod client_help;
mod client_info;
mod clock;
mod cluster;
mod connection;
mod dump;
mod field_deadlines;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lcs;
mod lists;
mod migrate;
mod pubsub;
mod replication;
mod scan;
pub mod scripting;
mod set_algebra;
mod sets;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

pub use admin::answer_flushed;
pub use client_info::line as client_line;
pub use scripting::{load_library, replace_libraries};

/// The figures of INFO for Prometheus. Called under the lock.
pub fn metrics_text(state: &mut crate::state::State) -> String {
    admin::metrics_text(state)
}

/// All families, in the order of the README's list.
pub const FAMILIES: &[&Family] = &[
    &strings::FAMILY,
    &keys::FAMILY,
    &dump::FAMILY,
    &migrate::FAMILY,
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
    &acl::FAMILY,
    &clock::FAMILY,
    &pubsub::FAMILY,
    &cluster::FAMILY,
    &admin::FAMILIES[0],
    &admin::FAMILIES[1],
    &admin::FAMILIES[2],
    &admin::FAMILIES[3],
    &admin::FAMILIES[4],
    &admin::FAMILIES[5],
    &admin::FAMILIES[6],
    &admin::FAMILIES[7],
    &admin::FAMILIES[8],
    &admin::FAMILIES[9],
    &replication::FAMILY,
    &replication::WAITING,
    &admin::FAMILIES[10],
];

/// The table of all commands; read once in a process, it never changes.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(FAMILIES));
    &TABLE
}

/// The names that rules of access control may use.
pub fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
        let specs = table().specs.iter();
        Vocabulary::new(specs.map(|spec| (spec.name.clone(), categories(spec).collect())))
    });
    &VOCABULARY
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

/// The command of a request under the names that `rename-command` left, as [`Table::find`].
#[inline]
pub fn find_renamed(
    renames: &HashMap<Vec<u8>, Option<usize>>,
    argv: &[&[u8]],
) -> std::result::Result<&'static Spec, Option<&'static Spec>> {
    if renames.is_empty() {
        return table().find(argv);
    }
    let name = argv.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    match renames.get(&name) {
        None => table().find(argv),
        Some(None) => Err(None),
        Some(Some(id)) => {
            let own = table().specs.get(*id).map_or(&[][..], |spec| spec.name.as_bytes());
            let mut argv = argv.to_vec();
            argv[0] = own;
            table().find(&argv)
        }
    }
}

/// The command, or subcommand as `client|kill`, of this name under the names that `rename-command`
/// left, as [`Table::named`].
pub fn named_now(renames: &HashMap<Vec<u8>, Option<usize>>, name: &[u8]) -> Option<&'static Spec> {
    let (container, sub) =
        name.split_at(name.iter().position(|b| *b == b'|').unwrap_or(name.len()));
    match renames.get(&container.to_ascii_lowercase()) {
        None => table().named(name),
        Some(id) => {
            let own = table().specs.get((*id)?)?.name.as_bytes();
            table().named(&[own, sub].concat())
        }
    }
}

/// Whether `rename-command` left the command under any name.
pub fn is_left(renames: &HashMap<Vec<u8>, Option<usize>>, spec: &Spec) -> bool {
    let top = spec.container.and_then(|id| table().specs.get(id)).unwrap_or(spec);
    !renames.contains_key(top.name.as_bytes()) || renames.values().any(|id| *id == Some(top.id))
}

/// Whether a command has this name.
pub fn is_command(name: &[u8]) -> bool {
    !name.contains(&b'|') && table().named(name).is_some()
}

/// A HELP reply: usage lines with their explanations indented below them, for the command under
/// the name that it was called by.
fn help(args: &Args<'_>, out: Out<'_>, lines: &[(&str, &[&str])]) -> Done {
    let mut items = out.array_of_unknown_len();
    let name = args.all()[0].to_ascii_uppercase();
    let name = String::from_utf8_lossy(&name);
    items.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
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
///
/// Redis reads it as C's strtoul does: spaces, a sign and zeros may come first.
fn scan_cursor(word: &[u8]) -> Result<u64> {
    if let Some(cursor) = parse_u64(word) {
        return Ok(cursor);
    }
    let is_plain = parse_i64(word).is_some();
    let digits = word.trim_ascii_start();
    let (is_negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let number = match &digits[zeros..] {
        [] if zeros > 0 => Some(0),
        significant => parse_u64(significant),
    };
    let number = number.filter(|_| !is_plain).ok_or(Error::InvalidCursor)?;
    Ok(if is_negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::scan_cursor;

    /// What Redis 8.0 takes for a cursor.
    #[test]
    fn cursors_are_read_as_c_reads_them() {
        let cases: [(&[u8], u64); 8] = [
            (b"0", 0),
            (b"18446744073709551615", u64::MAX),
            (b" 1", 1),
            (b"+1", 1),
            (b"-0", 0),
            (b"01", 1),
            (b"\t007", 7),
            (b" -1", u64::MAX),
        ];
        for (word, expected) in cases {
            assert_eq!(scan_cursor(word).ok(), Some(expected), "{}", word.escape_ascii());
        }
        for word in ["", " ", "-", "+", "-1", "1 ", "0x1", "x", "18446744073709551616", "1.0"] {
            assert!(scan_cursor(word.as_bytes()).is_err(), "{word}");
        }
    }
}
