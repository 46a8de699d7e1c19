//! What is printed from tables stands in files too, and is equal: `UPDATE=1` rewrites the files.
//! And no command is without a session.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use redouble::config::Config;

use crate::session::parse::{self, What};
use crate::sessions;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The file holds exactly this text, or is made to under `UPDATE=1`.
fn holds(name: &str, text: &str) {
    if fs::read_to_string(path(name)).is_ok_and(|found| found == text) {
        return;
    }
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        return fs::write(path(name), text).expect("the file can be written");
    }
    panic!(
        "{name} is not what the tables print; UPDATE=1 cargo test --test it printed rewrites it"
    );
}

#[test]
fn the_example_configuration_is_the_table_of_directives() {
    holds("redis.conf.example", &Config::example());
}

/// Names of commands by group, subcommands behind their container.
fn command_list() -> String {
    let table = redouble::commands::table();
    let mut groups: Vec<(&str, BTreeSet<String>)> = Vec::new();
    for spec in &table.specs {
        let name = spec.name.to_uppercase().replace('|', " ");
        match groups.iter_mut().find(|(group, _)| *group == spec.group) {
            Some((_, names)) => drop(names.insert(name)),
            None => groups.push((spec.group, BTreeSet::from([name]))),
        }
    }
    groups.sort();
    let mut text = String::new();
    for (group, names) in groups {
        let _ = writeln!(text, "**{group}** ({})", names.len());
        let mut line = String::new();
        for name in names {
            if line.len() + name.len() > 96 {
                let _ = writeln!(text, "{line}");
                line.clear();
            }
            let comma = if line.is_empty() { "" } else { " · " };
            line.push_str(comma);
            line.push_str(&name);
        }
        let _ = writeln!(text, "{line}\n");
    }
    text
}

const LIST_BEGINS: &str = "<!-- commands: printed from the command table -->\n";
const LIST_ENDS: &str = "<!-- end of commands -->";

#[test]
fn the_readme_lists_the_commands_of_the_table() {
    let Ok(readme) = fs::read_to_string(path("README.md")) else {
        return println!("skipped: there is no README.md");
    };
    let (before, rest) = readme.split_once(LIST_BEGINS).expect("README.md marks its list");
    let (_, after) = rest.split_once(LIST_ENDS).expect("README.md marks the end of its list");
    let text = format!("{before}{LIST_BEGINS}\n{}{LIST_ENDS}{after}", command_list());
    holds("README.md", &text);
}

#[test]
fn every_command_has_a_session() {
    let mut played = BTreeSet::new();
    for file in sessions::files("") {
        let session = parse::session(&fs::read_to_string(&file).expect("readable"));
        let session = session.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        for item in session.blocks.iter().flat_map(|block| &block.items) {
            let What::Send(send) = &item.what else { continue };
            let upper = |at: usize| {
                send.words.get(at).map(|word| String::from_utf8_lossy(word).to_uppercase())
            };
            if let Some(name) = upper(0) {
                played.extend(upper(1).map(|second| format!("{name} {second}")));
                played.insert(name);
            }
        }
    }
    let specs = redouble::commands::table().specs.iter();
    let leaves = specs.filter(|spec| spec.subcommands.is_empty());
    let names = leaves.map(|spec| spec.name.to_uppercase().replace('|', " "));
    let missing: Vec<String> = names.filter(|name| !played.contains(name)).collect();
    assert!(missing.is_empty(), "no session plays: {}", missing.join(", "));
}
