//! Style is a test: sizes, bans with their replacement, layers.
//!
//! A size above its limit must be listed with its number, and the number may only shrink.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 100;
const COLUMNS_MAX: usize = 100;

/// Files and functions (`path::function`) that are longer, each with its length.
const LONGER: &[(&str, usize)] = &[];

/// What must not stand in a source file, what to use instead, and the paths where it may.
const BANS: &[(&str, &str, &[&str])] = &[
    ("SystemTime::now", "the injected clock (src/clock.rs)", &["src/clock.rs", "tests/"]),
    ("Instant::now", "the injected clock (src/clock.rs)", &["src/clock.rs", "tests/"]),
    ("thread_rng(", "the seeded randomness of src/clock.rs", &["src/clock.rs"]),
    ("rand::rng(", "the seeded randomness of src/clock.rs", &["src/clock.rs"]),
    ("rand::random", "the seeded randomness of src/clock.rs", &["src/clock.rs"]),
    ("println!(", "tracing", &["src/main.rs", "tests/"]),
    ("dbg!(", "a test", &[]),
    ("todo!(", "the real thing, or nothing", &[]),
    ("unimplemented!(", "the real thing, or nothing", &[]),
    ("TODO", "an issue", &[]),
    ("FIXME", "an issue", &[]),
    // `get_mut` is what the standard library calls it.
    ("fn get_", "the noun alone", &["src/types/table/buckets.rs", "src/types/table/slab.rs"]),
    ("fn do_", "the verb alone", &[]),
    ("fn handle_", "the name of what is done", &[]),
    ("_inner<", "a name that says what the part does", &[]),
    ("Manager", "the name of what it manages", &[]),
    ("Helper", "the name of what it does", &[]),
];

/// Rooms by level: a room may name those of its own level and below.
const LAYERS: &[&[&str]] = &[
    &["error", "clock", "direct", "disk", "heap"],
    &["types", "resp"],
    &[
        "acl",
        "keyspace",
        "client",
        "pubsub",
        "blocking",
        "tracking",
        "config",
        "stats",
        "log",
        "role",
        "scripting",
    ],
    &["process", "tls", "crash", "memory_test", "system_check", "peers"],
    &["server_log", "cli"],
    &["supervision"],
    &["state", "persistence"],
    &["command"],
    &["settle", "memory", "replicas", "following"],
    &["rdb", "snapshot"],
    &["append_only", "check_aof", "ending"],
    &["commands"],
    &["dispatch"],
    &["cron", "replay"],
    &[
        "busy",
        "crew",
        "session",
        "server",
        "connection",
        "shared",
        "worker",
        "listeners",
        "startup",
        "welcome",
        "metrics",
        "replication",
    ],
    &["allocator", "lib", "loading_bar", "main", "signals"],
];

/// Rooms that must not know of sockets and tasks.
const WITHOUT_TOKIO: &[&str] = &["types", "keyspace", "command", "commands"];

struct Source {
    path: String,
    text: String,
    /// Under `tests/`, `benches/`, or a module of `src/` that is only there for tests.
    for_tests: bool,
}

impl Source {
    /// Lines that are not comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The room that a file belongs to: `src/types/set/mod.rs` and `src/types.rs` to `types`.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split('/').next().map(|name| name.trim_end_matches(".rs"))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches"].map(|dir| root.join(dir)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let path = path.strip_prefix(root).expect("under the root").display().to_string();
                let for_tests = !path.starts_with("src/");
                sources.push(Source { path, text, for_tests });
            }
        }
    }
    let test_modules: Vec<_> = sources.iter().flat_map(|s| test_modules(&s.text)).collect();
    for source in &mut sources {
        let is = |name: &String| {
            source.path.ends_with(&format!("/{name}.rs"))
                || source.path.contains(&format!("/{name}/"))
        };
        source.for_tests |= test_modules.iter().any(is);
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 10, "the source files were not found");
    sources
}

/// Names of the modules that a file declares under `#[cfg(test)]`.
fn test_modules(text: &str) -> Vec<String> {
    let pairs = text.lines().zip(text.lines().skip(1));
    let declared = pairs.filter(|(first, _)| *first == "#[cfg(test)]").filter_map(|(_, line)| {
        let (_, name) = line.split_once("mod ")?;
        name.strip_suffix(';').map(String::from)
    });
    declared.collect()
}

fn report(faults: Vec<String>) {
    let mut text = String::new();
    for fault in &faults {
        let _ = write!(text, "\n  {fault}");
    }
    assert!(faults.is_empty(), "{} faults{text}", faults.len());
}

#[test]
fn files_and_functions_stay_short() {
    let mut lengths = BTreeMap::new();
    for source in sources() {
        lengths.insert(source.path.clone(), (source.text.lines().count(), FILE_LINES_MAX));
        for (name, length) in functions(&source.text) {
            lengths.insert(format!("{}::{name}", source.path), (length, FUNCTION_LINES_MAX));
        }
    }
    let mut faults = Vec::new();
    for (name, (length, limit)) in &lengths {
        let listed = LONGER.iter().find(|(listed, _)| listed == name).map(|(_, number)| *number);
        match listed {
            None if length > limit => faults.push(format!("{name}: {length} lines of {limit}")),
            Some(number) if *length > number => {
                faults.push(format!("{name}: grew from {number} lines to {length}"))
            }
            Some(number) if *length < number => {
                faults.push(format!("{name}: {length} lines now; lower its number {number}"))
            }
            _ => {}
        }
    }
    let gone = LONGER.iter().filter(|(name, _)| !lengths.contains_key(*name));
    faults.extend(gone.map(|(name, _)| format!("{name}: listed as longer, but not there")));
    report(faults);
}

/// Name and length of each function; rustfmt puts the closing brace under the first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some(name) = function_name(code) else { continue };
        let closing = format!("{indent}}}");
        let end = lines[at..].iter().position(|line| {
            *line == closing || (line.starts_with(indent) && line.ends_with(';') && code == *line)
        });
        if let Some(end) = end.filter(|_| !code.ends_with('}') && !code.ends_with(';')) {
            functions.push((name.to_string(), end + 1));
        }
    }
    functions
}

fn function_name(code: &str) -> Option<&str> {
    let mut rest = code;
    for word in
        ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "extern \"C\" "]
    {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn lines_fit_and_files_say_what_they_are_for() {
    let mut faults = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            faults.push(format!("{}: does not open with //!", source.path));
        }
        for (at, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                faults.push(format!("{}:{}: {columns} columns", source.path, at + 1));
            }
        }
    }
    report(faults);
}

#[test]
fn banned_words_have_a_replacement() {
    let mut faults = Vec::new();
    for source in sources() {
        if source.path == "tests/it/tidy.rs" {
            continue;
        }
        for (word, instead, allowed) in BANS {
            let may = |path: &&str| {
                source.path.starts_with(path) || (*path == "tests/" && source.for_tests)
            };
            if allowed.iter().any(may) {
                continue;
            }
            let comments_too = ["TODO", "FIXME"].contains(word);
            for (at, line) in source.text.lines().enumerate() {
                let comment = line.trim_start().starts_with("//");
                if line.contains(word) && (comments_too || !comment) {
                    let path = &source.path;
                    faults.push(format!("{path}:{}: `{word}`: use {instead}", at + 1));
                }
            }
        }
    }
    report(faults);
}

#[test]
fn rooms_only_name_rooms_below_them() {
    let level = |room: &str| LAYERS.iter().position(|rooms| rooms.contains(&room));
    let mut faults = Vec::new();
    for source in sources() {
        let Some(room) = source.room().filter(|_| !source.for_tests) else { continue };
        let Some(own) = level(room) else {
            faults.push(format!("{}: the room {room} has no layer", source.path));
            continue;
        };
        for (at, line) in source.code() {
            if line.trim() == "#[cfg(test)]" || line.trim() == "mod tests {" {
                break;
            }
            for other in named_rooms(line) {
                if level(other).is_some_and(|other| other > own) {
                    faults.push(format!("{}:{at}: {room} names {other}", source.path));
                }
            }
            if WITHOUT_TOKIO.contains(&room) && line.contains("tokio") {
                faults.push(format!("{}:{at}: {room} names tokio", source.path));
            }
        }
    }
    report(faults);
}

/// The rooms behind each `crate::`, those of `crate::{a::b, c}` too.
fn named_rooms(line: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let group = rest.strip_prefix('{').map(|group| group.split(", ").collect());
        for path in group.unwrap_or_else(|| vec![rest]) {
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
            rooms.push(&path[..end]);
        }
    }
    rooms
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text =
        "impl A {\n    pub(crate) fn long(\n        a: u8,\n    ) {\n        b();\n    }\n}\n\
        fn one() {}\n";
    assert_eq!(functions(text), [("long".to_string(), 5)]);
    assert_eq!(named_rooms("use crate::{error::Error, types};"), ["error", "types"]);
    assert_eq!(named_rooms("let a: crate::state::State;"), ["state"]);
}
