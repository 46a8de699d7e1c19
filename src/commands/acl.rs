//! ACL: users, what they may do, and what they were refused.

use crate::acl::log::{Origin, Refusal};
use crate::acl::{Reason, Selector, CATEGORIES, DEFAULT};
use crate::client::ClientId;
use crate::clock::secret_bytes;
use crate::command::categories::categories;
use crate::command::{client, container, flag, permission, Args, Call, Family, Row};
use crate::commands::admin::replace_file;
use crate::commands::{find_renamed, table};
use crate::config::error_text;
use crate::error::{Error, Result};
use crate::resp::out::{Done, Items, Out};
use crate::settle;
use crate::state::State;
use crate::types::number::parse_i64;

/// The family.
pub const FAMILY: Family = Family { group: "server", rows: ROWS };

const SUBCOMMAND: u32 = flag::NOSCRIPT | flag::LOADING | flag::STALE | flag::SENTINEL;

const ROWS: &[Row] = &[
    container("ACL")
        .flags(flag::SENTINEL)
        .since("6.0.0")
        .cost("Depends on the subcommand")
        .about("Users and what they may do."),
    client("ACL|CAT [category]", cat)
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(1)")
        .about("Lists categories of commands, or the commands of one."),
    client("ACL|DELUSER username [username ...]", deluser)
        .admin()
        .flags(SUBCOMMAND)
        .route("all_nodes", "all_succeeded")
        .since("6.0.0")
        .cost("O(N) where N is the number of connections")
        .about("Removes users and ends their connections."),
    client("ACL|DRYRUN username command [arg [arg ...]]", dryrun)
        .admin()
        .flags(SUBCOMMAND)
        .since("7.0.0")
        .cost("O(1)")
        .about("Says whether a user may run a command, without running it."),
    client("ACL|GENPASS [bits]", genpass)
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(1)")
        .about("Makes up a password."),
    client("ACL|GETUSER username", getuser)
        .admin()
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(N) where N is the number of rules of the user")
        .about("Describes a user."),
    client("ACL|HELP", acl_help)
        .flags(flag::LOADING | flag::STALE | flag::SENTINEL)
        .since("6.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    client("ACL|LIST", list)
        .admin()
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(N) where N is the number of users")
        .about("Describes all users, as a file of users does."),
    client("ACL|LOAD", load)
        .admin()
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(N) where N is the number of users")
        .about("Reads the file of users again."),
    client("ACL|LOG [count | RESET]", log)
        .admin()
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(N) where N is the number of entries")
        .about("Lists what was refused, or forgets it."),
    client("ACL|SAVE", save)
        .admin()
        .flags(SUBCOMMAND)
        .route("all_nodes", "all_succeeded")
        .since("6.0.0")
        .cost("O(N) where N is the number of users")
        .about("Writes all users to their file."),
    client("ACL|SETUSER username [rule [rule ...]]", setuser)
        .admin()
        .flags(SUBCOMMAND)
        .route("all_nodes", "all_succeeded")
        .since("6.0.0")
        .cost("O(N) where N is the number of rules")
        .about("Changes a user, or makes one."),
    client("ACL|USERS", users)
        .admin()
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(N) where N is the number of users")
        .about("Lists the names of all users."),
    client("ACL|WHOAMI", whoami)
        .flags(SUBCOMMAND)
        .since("6.0.0")
        .cost("O(1)")
        .about("Replies with the user of the connection."),
];

/// Most bits of a password that GENPASS makes up.
const GENPASS_BITS_MAX: i64 = 4096;

/// Notes that a client was refused something that it asked for with `argv`.
pub fn note_refusal(
    state: &mut State,
    me: ClientId,
    reason: Reason,
    (origin, argv): (Origin, &[&[u8]]),
    object: &[u8],
    user: &[u8],
) {
    // The request of a script's client is not known here.
    if origin != Origin::Script {
        state.clients.at(me).at_hand.argv_bytes = super::client::request_bytes(state, argv);
    }
    let entries_max = state.config.settings().acllog_max_len;
    let refusal = Refusal {
        reason,
        origin,
        object: object.to_vec(),
        user: user.to_vec(),
        client: super::client_line(state, me),
        at_ms: state.db.now_ms(),
    };
    state.acl.log.add(entries_max, refusal);
}

fn too_many(sub: &[u8]) -> Error {
    let text = "ERR unknown subcommand or wrong number of arguments for '{}'. Try ACL HELP.";
    Error::showing(text, &[sub])
}

fn cat(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(too_many(args.all()[1]));
    }
    let Some(wanted) = args.peek() else {
        let mut items = out.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| items.text(name));
        return Ok(items.end());
    };
    if !CATEGORIES.iter().any(|name| wanted.eq_ignore_ascii_case(name.as_bytes())) {
        let wanted = &wanted[..wanted.len().min(128)];
        return Err(Error::showing("ERR Unknown category '{}'", &[wanted]));
    }
    let mut items = out.array_of_unknown_len();
    for spec in &table().specs {
        if categories(spec).any(|name| wanted.eq_ignore_ascii_case(name.as_bytes())) {
            items.text(&spec.name);
        }
    }
    Ok(items.end())
}

fn deluser(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.rest().contains(&DEFAULT) {
        return Err(Error::of("ERR The 'default' user cannot be removed"));
    }
    let removed = args.rest().iter().filter(|name| settle::users::remove(call.state, name)).count();
    Ok(out.int(removed as i64))
}

fn dryrun(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = args.bytes();
    let Some(user) = call.state.acl.user(name) else {
        return Err(Error::showing("ERR User '{}' not found", &[name]));
    };
    let words = args.rest();
    let Ok(spec) = find_renamed(&call.state.renames, words) else {
        return Err(Error::showing("ERR Command '{}' not found", &[words[0]]));
    };
    if !spec.accepts(words.len()) {
        return Err(Error::wrong_arity(&spec.name));
    }
    match permission::judge(user, spec, words) {
        Ok(()) => Ok(out.ok()),
        Err(denial) => Ok(out.bulk(&denial.text(name, &spec.name, words, true))),
    }
}

fn genpass(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(too_many(args.all()[1]));
    }
    let bits = if args.is_done() { 256 } else { args.int()? };
    if bits <= 0 || bits > GENPASS_BITS_MAX {
        return Err(Error::of(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a \
             positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let bytes = secret_bytes(digits.div_ceil(2));
    let bytes = bytes.ok_or_else(|| Error::of("ERR The system gives no random bytes"))?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    Ok(out.bulk(text.as_bytes()))
}

fn getuser(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(user) = call.state.acl.user(args.bytes()) else { return Ok(out.null()) };
    let mut items = out.map(6);
    items.text("flags");
    let flags = user.flags();
    items.set(flags.len());
    flags.iter().for_each(|flag| items.text(flag));
    items.text("passwords");
    items.array(user.passwords().len());
    user.passwords().iter().for_each(|digest| items.text(digest.text()));
    describe(&mut items, &user.root);
    items.text("selectors");
    items.array(user.selectors.len());
    for selector in &user.selectors {
        items.map(3);
        describe(&mut items, selector);
    }
    Ok(items.end())
}

fn describe(items: &mut Items<'_>, selector: &Selector) {
    items.text("commands");
    items.bulk(&selector.describe_commands());
    items.text("keys");
    items.bulk(&selector.describe_keys());
    items.text("channels");
    items.bulk(&selector.describe_channels());
}

fn acl_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(super::help(args, out, HELP))
}

fn list(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let users = call.state.acl.users();
    let mut items = out.array(users.len());
    users.for_each(|user| items.bulk(&user.line()));
    Ok(items.end())
}

fn users(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let users = call.state.acl.users();
    let mut items = out.array(users.len());
    users.for_each(|user| items.bulk(&user.name));
    Ok(items.end())
}

fn has_file(state: &State) -> Result<()> {
    if !state.config.settings().aclfile.is_empty() {
        return Ok(());
    }
    Err(Error::of(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
         users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
         Redis configuration file set) in order to store users in the Redis configuration.",
    ))
}

fn load(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    has_file(call.state)?;
    let users = crate::acl::start::from_file(&call.state.config, &call.state.acl.rules);
    let users = users.map_err(|why| Error::showing("ERR {}", &[&why]))?;
    for user in users.values() {
        let deprecations = call.state.acl.rules.deprecations(&user.line());
        deprecations.into_iter().for_each(|line| call.state.logger.warning(line));
    }
    settle::users::put_all(call.state, users);
    Ok(out.ok())
}

fn save(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    has_file(call.state)?;
    let path = call.state.config.path(&call.state.config.settings().aclfile);
    let text = crate::acl::file::print(call.state.acl.users());
    if let Err(error) = replace_file(&path, &text) {
        let why = error_text(&error);
        call.state.logger.warning(format!("Writing ACL file for ACL SAVE: {why}"));
        return Err(Error::of(
            "ERR There was an error trying to save the ACLs. Please check the server logs for \
             more information",
        ));
    }
    Ok(out.ok())
}

fn log(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(too_many(args.all()[1]));
    }
    let count = match args.peek() {
        None => 10,
        Some(word) if word.eq_ignore_ascii_case(b"reset") => {
            call.state.acl.log.clear();
            return Ok(out.ok());
        }
        Some(word) => parse_i64(word).ok_or(Error::NotInteger)?,
    };
    let now_ms = call.state.db.now_ms();
    let entries = call.state.acl.log.entries();
    let count = usize::try_from(count).unwrap_or(0).min(entries.len());
    let mut items = out.array(count);
    for entry in entries.take(count) {
        let last = &entry.last;
        items.map(10);
        items.text("count");
        items.int(entry.count as i64);
        items.text("reason");
        items.text(last.reason.name());
        items.text("context");
        items.text(last.origin.name());
        items.text("object");
        items.bulk(&last.object);
        items.text("username");
        items.bulk(&last.user);
        items.text("age-seconds");
        items.double((now_ms - last.at_ms) as f64 / 1000.0);
        items.text("client-info");
        items.bulk(&last.client);
        items.text("entry-id");
        items.int(entry.number as i64);
        items.text("timestamp-created");
        items.int(entry.since_ms);
        items.text("timestamp-last-updated");
        items.int(last.at_ms);
    }
    Ok(items.end())
}

fn setuser(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = args.bytes();
    if crate::acl::rules::has_blanks(name) {
        return Err(Error::of("ERR Usernames can't contain spaces or null characters"));
    }
    let changed = call.state.acl.changed(name, args.rest());
    let user = changed.map_err(|why| Error::showing("ERR {}", &[&why]))?;
    let deprecations = call.state.acl.rules.deprecations(&args.rest().join(&b' '));
    deprecations.into_iter().for_each(|line| call.state.logger.warning(line));
    settle::users::put(call.state, user);
    Ok(out.ok())
}

fn whoami(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(match call.client().user_name() {
        Some(name) => out.bulk(name),
        None => out.null(),
    })
}

const HELP: &[(&str, &[&str])] = &[
    (
        "CAT [<category>]",
        &[
            "List all commands that belong to <category>, or all command categories",
            "when no category is specified.",
        ],
    ),
    ("DELUSER <username> [<username> ...]", &["Delete a list of users."]),
    (
        "DRYRUN <username> <command> [<arg> ...]",
        &["Returns whether the user can execute the given command without executing the command."],
    ),
    ("GETUSER <username>", &["Get the user's details."]),
    (
        "GENPASS [<bits>]",
        &[
            "Generate a secure 256-bit user password. The optional `bits` argument can",
            "be used to specify a different size.",
        ],
    ),
    ("LIST", &["Show users details in config file format."]),
    ("LOAD", &["Reload users from the ACL file."]),
    ("LOG [<count> | RESET]", &["Show the ACL log entries."]),
    ("SAVE", &["Save the current config to the ACL file."]),
    (
        "SETUSER <username> <attribute> [<attribute> ...]",
        &["Create or modify a user with the specified attributes."],
    ),
    ("USERS", &["List all the registered usernames."]),
    ("WHOAMI", &["Return the current connection username."]),
];
