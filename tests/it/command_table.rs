//! What COMMAND INFO derives from the synopses is what the genuine server has in its table: arity,
//! flags, key positions, categories, tips; and GETKEYS finds the same keys in random commands.
//!
//! Differences stand in `command_gaps.txt`, each with its reason.

use crate::differential::number;
use crate::generate::Generator;
use crate::play::Player;
use crate::server::{Genuine, Ours};
use crate::session::run::Server;
use crate::show;
use crate::wire::Reply;

/// `name | field | reason`
fn gaps() -> Vec<(String, String)> {
    let lines = include_str!("command_gaps.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let gaps = lines.map(|line| {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        assert!(fields.len() == 3 && !fields[2].is_empty(), "no reason: {line}");
        (fields[0].to_string(), fields[1].to_string())
    });
    gaps.collect()
}

const FIELDS: [(&str, usize); 7] = [
    ("arity", 1),
    ("flags", 2),
    ("first key", 3),
    ("last key", 4),
    ("step", 5),
    ("categories", 6),
    ("tips", 7),
];

/// The fields of a command's row, sets in order.
fn row(player: &mut Player, name: &str) -> Option<Vec<(&'static str, String)>> {
    let Ok(Reply::Array(rows)) = player.call(&["COMMAND", "INFO", name]) else { return None };
    let Some(Reply::Array(row)) = rows.into_iter().next() else { return None };
    let fields = FIELDS.iter().map(|(field, at)| {
        let mut lines = match row.get(*at) {
            Some(Reply::Array(items) | Reply::Set(items)) => {
                items.iter().flat_map(show::lines).collect()
            }
            Some(other) => show::lines(other),
            None => Vec::new(),
        };
        lines.sort();
        let text = lines.join(" ").replace("(status) ", "").replace('"', "");
        (*field, text.replace("(integer) ", ""))
    });
    Some(fields.collect())
}

#[test]
fn derived_rows_are_those_of_the_genuine_server() {
    let Some(command_line) = Genuine::command_line() else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    let genuine = Genuine::start(&command_line, &[]).expect("it starts");
    let ours = Ours::start(&[]).expect("it starts");
    let (mut a, mut b) = (Player::new(ours.addr()).unwrap(), Player::new(genuine.addr()).unwrap());
    let (gaps, mut differences, mut compared) = (gaps(), Vec::new(), 0);
    for spec in &redouble::commands::table().specs {
        let Some(theirs) = row(&mut b, &spec.name) else { continue };
        let ours = row(&mut a, &spec.name).unwrap_or_default();
        compared += 1;
        for (at, (field, expected)) in theirs.iter().enumerate() {
            let seen = ours.get(at).map_or("", |(_, seen)| seen);
            let is_known =
                |(name, of): &(String, String)| of == field && (*name == spec.name || name == "*");
            // Flags and categories that a later version added or dropped are not held against us.
            let older =
                genuine.version() < Some(704) && ["flags", "categories", "tips"].contains(field);
            if seen != expected && !older && !gaps.iter().any(is_known) {
                let name = &spec.name;
                differences.push(format!("{name} | {field} | ours {seen}, genuine {expected}"));
            }
        }
    }
    println!("{compared} commands compared");
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn keys_are_found_where_the_genuine_server_finds_them() {
    let Some(command_line) = Genuine::command_line() else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    let genuine = Genuine::start(&command_line, &[]).expect("it starts");
    let ours = Ours::start(&[]).expect("it starts");
    let (mut a, mut b) = (Player::new(ours.addr()).unwrap(), Player::new(genuine.addr()).unwrap());
    let known = b.commands().expect("it lists its commands");
    let mut synopses = Ours::synopses();
    synopses.retain(|synopsis| known.contains(&synopsis.name[0]));
    // 7.0 spells the errors otherwise.
    let spelled = |reply: Reply| match reply {
        Reply::Error(_) if genuine.version() < Some(704) => vec!["error".to_string()],
        reply => show::lines(&reply),
    };
    let mut generator = Generator::new(&synopses, number("SEED", 1) as u64);
    let (gaps, mut differences) = (gaps(), std::collections::BTreeMap::new());
    for _ in 0..number("GETKEYS", 4000) {
        let mut words = vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
        words.extend(generator.command());
        let (seen, expected) = (spelled(a.call(&words).unwrap()), spelled(b.call(&words).unwrap()));
        let name = String::from_utf8_lossy(&words[2]).to_lowercase();
        if seen != expected && !gaps.iter().any(|(of, field)| *of == name && field == "getkeys") {
            let line: Vec<_> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
            let (line, seen, expected) = (line.join(" "), seen.join(" "), expected.join(" "));
            differences
                .entry(name)
                .or_insert(format!("{line}\n  ours {seen}\n  genuine {expected}"));
        }
    }
    let differences: Vec<String> = differences.into_values().collect();
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
}

/// The arguments of a COMMAND DOCS reply, one line each: what clients build their hints from.
fn list_arguments(reply: &Reply, depth: usize, lines: &mut Vec<String>) {
    const FACTS: [&str; 5] = ["name", "type", "token", "flags", "key_spec_index"];
    let Reply::Array(arguments) = reply else { return };
    for argument in arguments {
        let Reply::Array(pairs) = argument else { continue };
        let of = |wanted: &str| {
            let mut pairs = pairs.chunks_exact(2);
            pairs.find(|pair| pair[0] == Reply::Bulk(wanted.into())).map(|pair| &pair[1])
        };
        let facts = FACTS.iter().filter_map(|fact| {
            let mut said = show::lines(of(fact)?);
            said.sort();
            Some(format!("{fact} {}", said.join(" ")))
        });
        lines.push(format!("{:>1$}{2}", "", depth * 2, facts.collect::<Vec<_>>().join(", ")));
        if let Some(inside) = of("arguments") {
            list_arguments(inside, depth + 1, lines);
        }
    }
}

#[test]
fn arguments_are_documented_as_the_genuine_server_documents_them() {
    let Some(command_line) = Genuine::command_line() else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    let genuine = Genuine::start(&command_line, &[]).expect("it starts");
    if genuine.version() < Some(800) {
        return println!("skipped: older servers name their arguments otherwise");
    }
    let ours = Ours::start(&[]).expect("it starts");
    let (mut a, mut b) = (Player::new(ours.addr()).unwrap(), Player::new(genuine.addr()).unwrap());
    let documented = |player: &mut Player, name: &str| {
        let reply = player.call(&["COMMAND", "DOCS", name]).expect("a reply");
        let Reply::Array(found) = reply else { return None };
        let Some(Reply::Array(facts)) = found.get(1) else { return None };
        let mut lines = Vec::new();
        let mut pairs = facts.chunks_exact(2);
        if let Some(pair) = pairs.find(|pair| pair[0] == Reply::Bulk("arguments".into())) {
            list_arguments(&pair[1], 0, &mut lines);
        }
        Some(lines)
    };
    let (gaps, mut differences) = (gaps(), Vec::new());
    for spec in &redouble::commands::table().specs {
        let Some(expected) = documented(&mut b, &spec.name) else { continue };
        let seen = documented(&mut a, &spec.name).unwrap_or_default();
        let is_known = |(name, of): &(String, String)| of == "arguments" && *name == spec.name;
        if seen != expected && !gaps.iter().any(is_known) {
            let (seen, expected) = (seen.join("\n    "), expected.join("\n    "));
            differences
                .push(format!("{}\n  ours\n    {seen}\n  genuine\n    {expected}", spec.name));
        }
    }
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
}
