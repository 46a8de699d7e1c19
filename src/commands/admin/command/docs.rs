//! COMMAND DOCS: summary, group and arguments, the latter from the synopsis.

use crate::command::synopsis::Node;
use crate::command::{Args, Call, Spec};
use crate::commands::table;
use crate::error::Result;
use crate::resp::out::{Done, Items, Out};

/// COMMAND DOCS [command-name ...]
pub(super) fn docs(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let specs: Vec<&Spec> = if args.is_done() {
        table().top_level().collect()
    } else {
        args.rest().iter().filter_map(|name| table().named(name)).collect()
    };
    let mut items = out.map(specs.len());
    for spec in specs {
        document(&mut items, spec);
    }
    Ok(items.end())
}

fn document(items: &mut Items<'_>, spec: &Spec) {
    let row = &spec.row;
    let facts = [("summary", row.about), ("since", row.since), ("group", spec.group)];
    let mut facts: Vec<(&str, &str)> = facts.into();
    if !row.cost.is_empty() {
        facts.push(("complexity", row.cost));
    }
    let arguments = arguments(&spec.args);
    let containing = !spec.subcommands.is_empty();
    items.text(&spec.name);
    items.map(facts.len() + usize::from(!arguments.is_empty()) + usize::from(containing));
    for (name, text) in facts {
        items.text(name);
        items.text(text);
    }
    if !arguments.is_empty() {
        items.text("arguments");
        write_all(items, &arguments, &mut 0);
    }
    if containing {
        let mut subcommands: Vec<usize> = spec.subcommands.values().copied().collect();
        subcommands.sort_unstable();
        items.text("subcommands");
        items.map(subcommands.len());
        for id in subcommands {
            document(items, &table().specs[id]);
        }
    }
}

/// An argument as clients that give hints know it.
#[derive(Debug, Default, PartialEq)]
struct Argument {
    name: String,
    kind: &'static str,
    /// The literal word before it.
    token: Option<String>,
    optional: bool,
    multiple: bool,
    /// Of a choice or a block.
    inside: Vec<Argument>,
}

/// The arguments of a sequence: a literal word belongs to the place behind it.
fn arguments(nodes: &[Node]) -> Vec<Argument> {
    let mut found: Vec<Argument> = Vec::new();
    let mut rest = nodes;
    while let Some((node, after)) = rest.split_first() {
        rest = after;
        match node {
            Node::Hole(name) => found.push(place(name)),
            Node::Word(word) => {
                let follows = match rest.first() {
                    Some(Node::Hole(name)) => Some(place(name)),
                    Some(Node::Group { choices, optional: false, repeats }) => {
                        Some(group(choices, false, *repeats))
                    }
                    _ => None,
                };
                found.push(match follows {
                    Some(argument) => {
                        rest = &rest[1..];
                        Argument { token: Some(word.clone()), ..argument }
                    }
                    None => literal(word),
                });
            }
            Node::Group { choices, optional, repeats } => {
                found.push(group(choices, *optional, *repeats));
            }
        }
    }
    found
}

fn literal(word: &str) -> Argument {
    Argument {
        name: word.to_ascii_lowercase(),
        kind: "pure-token",
        token: Some(word.to_string()),
        ..Argument::default()
    }
}

fn place(name: &str) -> Argument {
    Argument { name: name.to_string(), kind: kind(name), ..Argument::default() }
}

fn group(choices: &[Vec<Node>], optional: bool, multiple: bool) -> Argument {
    let several = |nodes: &[Node]| match arguments(nodes) {
        mut one if one.len() == 1 => one.swap_remove(0),
        inside => Argument { name: joined(&inside), kind: "block", inside, ..Argument::default() },
    };
    let argument = match choices {
        [only] => several(only),
        _ => {
            let inside: Vec<Argument> = choices.iter().map(|nodes| several(nodes)).collect();
            Argument { name: joined(&inside), kind: "oneof", inside, ..Argument::default() }
        }
    };
    let optional = optional || argument.optional;
    Argument { optional, multiple: multiple || argument.multiple, ..argument }
}

fn joined(inside: &[Argument]) -> String {
    let names: Vec<&str> = inside.iter().map(|argument| argument.name.as_str()).collect();
    names.join("-")
}

/// The type of a place, told by its name.
fn kind(name: &str) -> &'static str {
    const INTEGERS: &[&str] = &[
        "seconds",
        "milliseconds",
        "count",
        "numkeys",
        "offset",
        "start",
        "end",
        "stop",
        "index",
        "increment",
        "decrement",
        "cursor",
        "limit",
        "db",
        "index1",
        "index2",
        "rank",
        "bit",
        "num-matches",
        "len",
        "min-match-len",
        "port",
        "destination-db",
        "numfields",
        "length",
        "client-id",
        "timeout",
        "protover",
        "numslaves",
        "numreplicas",
        "numlocal",
        "sec",
        "ms",
    ];
    const DOUBLES: &[&str] =
        &["score", "longitude", "latitude", "radius", "width", "height", "weight"];
    if crate::command::spec::is_key(name) {
        "key"
    } else if INTEGERS.contains(&name) {
        "integer"
    } else if DOUBLES.contains(&name) {
        "double"
    } else if name.starts_with("unix-time") || name.ends_with("-timestamp") {
        "unix-time"
    } else if name.ends_with("pattern") {
        "pattern"
    } else {
        "string"
    }
}

/// Writes arguments; `keys` counts those that are keys.
fn write_all(items: &mut Items<'_>, arguments: &[Argument], keys: &mut i64) {
    items.array(arguments.len());
    for argument in arguments {
        let is_key = argument.kind == "key";
        let has_display = argument.inside.is_empty();
        let flags: Vec<&str> = [(argument.optional, "optional"), (argument.multiple, "multiple")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
        let extras = [
            has_display,
            is_key,
            argument.token.is_some(),
            !flags.is_empty(),
            !argument.inside.is_empty(),
        ];
        items.map(2 + extras.iter().filter(|extra| **extra).count());
        items.text("name");
        items.text(&argument.name);
        items.text("type");
        items.text(argument.kind);
        if has_display {
            items.text("display_text");
            items.text(&argument.name);
        }
        if is_key {
            items.text("key_spec_index");
            items.int(*keys);
            *keys += 1;
        }
        if let Some(token) = &argument.token {
            items.text("token");
            items.text(token);
        }
        if !flags.is_empty() {
            items.text("flags");
            items.set(flags.len());
            for flag in flags {
                items.simple(flag);
            }
        }
        if !argument.inside.is_empty() {
            items.text("arguments");
            write_all(items, &argument.inside, keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::synopsis;

    #[test]
    fn words_belong_to_the_place_behind_them() {
        let (_, nodes) = synopsis::parse("SET key value [NX | XX] [EX seconds | KEEPTTL]");
        let found = arguments(&nodes);
        let shapes: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|argument| (argument.name.as_str(), argument.kind, argument.optional))
            .collect();
        assert_eq!(
            shapes,
            [
                ("key", "key", false),
                ("value", "string", false),
                ("nx-xx", "oneof", true),
                ("seconds-keepttl", "oneof", true),
            ]
        );
        let expiry = &found[3].inside;
        assert_eq!((expiry[0].kind, expiry[0].token.as_deref()), ("integer", Some("EX")));
        assert_eq!(expiry[1].kind, "pure-token");
    }

    #[test]
    fn repeats_are_multiple() {
        let (_, nodes) = synopsis::parse("MSET key value [key value ...]");
        let found = arguments(&nodes);
        assert_eq!((found.len(), found[0].kind, found[0].multiple), (1, "block", true));
        assert_eq!(found[0].inside.len(), 2);
    }
}
