//! COMMAND DOCS: summary, group and arguments, the latter from the synopsis.

use super::shape::{self, Argument};
use super::top_level;
use crate::command::{Args, Call, Spec};
use crate::commands::{named_now, table};
use crate::error::Result;
use crate::resp::out::{Done, Items, Out};

/// COMMAND DOCS [command-name ...]
pub(super) fn docs(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let specs: Vec<&Spec> = if args.is_done() {
        top_level(call).collect()
    } else {
        args.rest().iter().filter_map(|name| named_now(&call.state.renames, name)).collect()
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
    let arguments = shape::of(&spec.name, &spec.args);
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

/// Writes arguments; `keys` counts those that are keys.
fn write_all(items: &mut Items<'_>, arguments: &[Argument], keys: &mut i64) {
    items.array(arguments.len());
    for argument in arguments {
        if argument.kind == "key" {
            *keys += 1;
        }
        let counted = (argument.kind == "key").then_some(*keys - 1);
        let key_spec = argument.key_spec.or(counted);
        let has_display = argument.inside.is_empty();
        let flags = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.repeats_token, "multiple_token"),
        ];
        let flags: Vec<&str> =
            flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        let extras = [
            has_display,
            key_spec.is_some(),
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
            let is_word = argument.kind == "pure-token";
            items.text(if is_word { &argument.name } else { &argument.display });
        }
        if let Some(number) = key_spec {
            items.text("key_spec_index");
            items.int(number);
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
