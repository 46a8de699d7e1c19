//! COMMAND: what commands there are, derived from their rows.

mod docs;
mod info;
mod shape;

use crate::command::categories::categories;
use crate::command::permission::{self, Keys};
use crate::command::{client, flag, Args, Call, Row, Spec};
use crate::commands::{find_renamed, help, is_left, named_now, table};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::types::glob::glob_match;

/// The rows of COMMAND.
pub const ROWS: &[Row] = &[
    client("COMMAND", command)
        .arity(-1)
        .loading()
        .stale()
        .varies_in_order()
        .since("2.8.13")
        .cost("O(N) where N is the number of commands")
        .about("Describes all commands."),
    client("COMMAND|COUNT", count)
        .loading()
        .stale()
        .since("2.8.13")
        .cost("O(1)")
        .about("Counts the commands."),
    client("COMMAND|DOCS [command-name [command-name ...]]", docs::docs)
        .loading()
        .stale()
        .varies_in_order()
        .since("7.0.0")
        .cost("O(N) where N is the number of commands asked for")
        .about("Documents commands."),
    client("COMMAND|GETKEYS command [arg [arg ...]]", getkeys)
        .loading()
        .stale()
        .since("2.8.13")
        .cost("O(N) where N is the number of words")
        .about("Finds the keys in a command."),
    client("COMMAND|GETKEYSANDFLAGS command [arg [arg ...]]", getkeysandflags)
        .loading()
        .stale()
        .since("7.0.0")
        .cost("O(N) where N is the number of words")
        .about("Finds the keys in a command, and what it does to them."),
    client("COMMAND|HELP", command_help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    client("COMMAND|INFO [command-name [command-name ...]]", command_info)
        .loading()
        .stale()
        .varies_in_order()
        .since("2.8.13")
        .cost("O(N) where N is the number of commands asked for")
        .about("Describes commands."),
    client(
        "COMMAND|LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        list,
    )
    .loading()
    .stale()
    .varies_in_order()
    .since("7.0.0")
    .cost("O(N) where N is the number of commands")
    .about("Lists the names of commands."),
];

fn command(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let specs: Vec<&Spec> = top_level(call).collect();
    let mut items = out.array(specs.len());
    for spec in specs {
        info::describe(&mut items, spec);
    }
    Ok(items.end())
}

/// The commands that there are on this server, without subcommands.
fn top_level<'a>(call: &'a Call<'_>) -> impl Iterator<Item = &'static Spec> + 'a {
    let renames = &call.state.renames;
    table().top_level().filter(|spec| renames.is_empty() || is_left(renames, spec))
}

fn count(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(top_level(call).count() as i64))
}

fn command_info(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.is_done() {
        return command(call, args, out);
    }
    let mut items = out.array(args.left());
    for name in args.rest() {
        match named_now(&call.state.renames, name) {
            Some(spec) => info::describe(&mut items, spec),
            None => items.null(),
        }
    }
    Ok(items.end())
}

fn list(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let renames = &call.state.renames;
    let specs = table().specs.iter();
    let specs = specs.filter(|spec| renames.is_empty() || is_left(renames, spec));
    let names: Vec<&str> = if args.is_done() {
        specs.map(|spec| spec.name.as_str()).collect()
    } else {
        if args.left() != 3 || !args.accept("FILTERBY") {
            return Err(Error::Syntax);
        }
        let kind = args.option();
        let value = args.bytes();
        let fits: Box<dyn Fn(&&Spec) -> bool> = match kind.as_deref() {
            Some("MODULE") => Box::new(|_| false),
            Some("ACLCAT") => Box::new(|spec| {
                categories(spec).any(|name| value.eq_ignore_ascii_case(name.as_bytes()))
            }),
            Some("PATTERN") => Box::new(|spec| glob_match(value, spec.name.as_bytes(), true)),
            _ => return Err(Error::Syntax),
        };
        specs.filter(|spec| fits(spec)).map(|spec| spec.name.as_str()).collect()
    };
    let mut items = out.array(names.len());
    for name in names {
        items.text(name);
    }
    Ok(items.end())
}

/// A command, and its keys: where each stands and what is done to it.
type Found = (&'static Spec, Keys);

/// The command that `words` spell and its keys; none where it needs none.
fn keys_of(call: &Call<'_>, words: &[&[u8]]) -> Result<Found> {
    let found = find_renamed(&call.state.renames, words);
    let spec = found.map_err(|_| Error::of("ERR Invalid command specified"))?;
    if spec.access.iter().all(|access| access.contains(&"not_key")) {
        return Err(Error::of("ERR The command has no key arguments"));
    }
    if !spec.accepts(words.len()) {
        return Err(Error::of("ERR Invalid number of arguments specified for command"));
    }
    match permission::keys(spec, words).unwrap_or_default() {
        found if !found.is_empty() || spec.has(flag::NO_MANDATORY_KEYS) => Ok((spec, found)),
        _ => Err(Error::of("ERR Invalid arguments specified for command")),
    }
}

fn getkeys(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let words = args.rest();
    let (_, found) = keys_of(call, words)?;
    let mut items = out.array(found.len());
    for (at, _) in found {
        items.bulk(words[at]);
    }
    Ok(items.end())
}

fn getkeysandflags(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let words = args.rest();
    let (_, found) = keys_of(call, words)?;
    let mut items = out.array(found.len());
    for (at, access) in found {
        items.array(2);
        items.bulk(words[at]);
        info::write_words(&mut items, access);
    }
    Ok(items.end())
}

fn command_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            ("(no subcommand)", &["Return details about all Redis commands."]),
            ("COUNT", &["Return the total number of commands in this Redis server."]),
            ("LIST", &["Return a list of all commands in this Redis server."]),
            (
                "INFO [<command-name> ...]",
                &[
                    "Return details about multiple Redis commands.",
                    "If no command names are given, documentation details for all",
                    "commands are returned.",
                ],
            ),
            (
                "DOCS [<command-name> ...]",
                &[
                    "Return documentation details about multiple Redis commands.",
                    "If no command names are given, documentation details for all",
                    "commands are returned.",
                ],
            ),
            ("GETKEYS <full-command>", &["Return the keys from a full Redis command."]),
            (
                "GETKEYSANDFLAGS <full-command>",
                &["Return the keys and the access flags from a full Redis command."],
            ),
        ],
    ))
}
