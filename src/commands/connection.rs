//! Commands about the connection itself; the CLIENT subcommands stand in `client`.

use super::acl::note_refusal;
use super::client;
use crate::acl::log::Origin;
use crate::acl::Reason;
use crate::client::{ClientId, ReplyMode};
use crate::command::{client as row, container, flag, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::pubsub::Scope;
use crate::resp::out::{Done, Out};
use crate::settle;
use crate::state::State;
use crate::types::number::parse_i64;

/// The family.
pub const FAMILY: Family = Family { group: "connection", rows: ROWS };

const ROWS: &[Row] = &[
    row("AUTH [username] password", auth)
        .fast()
        .noscript()
        .loading()
        .stale()
        .no_auth()
        .flags(flag::ALLOW_BUSY)
        .since("1.0.0")
        .cost("O(N) where N is the number of passwords")
        .about("Logs in."),
    container("CLIENT")
        .since("2.4.0")
        .cost("Depends on the subcommand")
        .about("Looks at connections and changes them."),
    row("CLIENT|CACHING <YES | NO>", client::caching)
        .noscript()
        .loading()
        .stale()
        .since("6.0.0")
        .cost("O(1)")
        .about("Says whether the next command's keys are tracked."),
    row("CLIENT|CAPA capability [capability ...]", client::capa)
        .noscript()
        .loading()
        .stale()
        .since("7.4.0")
        .cost("O(1)")
        .about("Names capabilities of the client."),
    row("CLIENT|GETNAME", client::getname)
        .noscript()
        .loading()
        .stale()
        .since("2.6.9")
        .cost("O(1)")
        .about("Replies with the name of the connection."),
    row("CLIENT|GETREDIR", client::getredir)
        .noscript()
        .loading()
        .stale()
        .since("6.0.0")
        .cost("O(1)")
        .about("Replies with the client that receives this one's invalidations."),
    row("CLIENT|HELP", client::help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    row("CLIENT|ID", client::id)
        .noscript()
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Replies with the number of the connection."),
    row("CLIENT|INFO", client::info)
        .noscript()
        .loading()
        .stale()
        .varies()
        .since("6.2.0")
        .cost("O(1)")
        .about("Replies with a line about the connection."),
    row(
        "CLIENT|KILL <ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | \
         PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | \
         [MAXAGE maxage] [[ID client-id] ...]>>",
        client::kill,
    )
    .admin()
    .noscript()
    .loading()
    .stale()
    .arity(-3)
    .since("2.4.0")
    .cost("O(N) where N is the number of connections")
    .about("Closes connections."),
    row(
        "CLIENT|LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        client::list,
    )
    .admin()
    .noscript()
    .loading()
    .stale()
    .varies()
    .since("2.4.0")
    .cost("O(N) where N is the number of connections")
    .about("Replies with a line about each connection."),
    row("CLIENT|NO-EVICT <ON | OFF>", client::no_evict)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("7.0.0")
        .cost("O(1)")
        .about("Keeps the connection when clients are evicted."),
    row("CLIENT|NO-TOUCH <ON | OFF>", client::no_touch)
        .noscript()
        .loading()
        .stale()
        .since("7.2.0")
        .cost("O(1)")
        .about("Lets the connection's accesses not age keys."),
    row("CLIENT|PAUSE timeout [WRITE | ALL]", client::pause)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("3.0.0")
        .cost("O(1)")
        .about("Holds back commands of clients."),
    row("CLIENT|REPLY <ON | OFF | SKIP>", client::reply)
        .noscript()
        .loading()
        .stale()
        .since("3.2.0")
        .cost("O(1)")
        .about("Says whether replies are sent."),
    row("CLIENT|SETINFO <LIB-NAME libname | LIB-VER libver>", client::setinfo)
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("7.2.0")
        .cost("O(1)")
        .about("Names the client's library."),
    row("CLIENT|SETNAME connection-name", client::setname)
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.6.9")
        .cost("O(1)")
        .about("Names the connection."),
    row(
        "CLIENT|TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] \
         [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        client::tracking,
    )
    .noscript()
    .loading()
    .stale()
    .since("6.0.0")
    .cost("O(1)")
    .about("Switches invalidation messages on or off."),
    row("CLIENT|TRACKINGINFO", client::trackinginfo)
        .noscript()
        .loading()
        .stale()
        .since("6.2.0")
        .cost("O(1)")
        .about("Replies with how the connection tracks keys."),
    row("CLIENT|UNBLOCK client-id [TIMEOUT | ERROR]", client::unblock)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(log N)")
        .about("Ends the waiting of a client."),
    row("CLIENT|UNPAUSE", client::unpause)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("6.2.0")
        .cost("O(N) where N is the number of clients held back")
        .about("Ends CLIENT PAUSE."),
    row("ECHO message", echo)
        .fast()
        .loading()
        .stale()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the message."),
    row("HELLO [protover [AUTH username password] [SETNAME clientname]]", hello)
        .fast()
        .noscript()
        .loading()
        .stale()
        .no_auth()
        .flags(flag::ALLOW_BUSY)
        .since("6.0.0")
        .cost("O(1)")
        .about("Chooses the protocol, logs in and names the connection."),
    row("PING [message]", ping)
        .fast()
        .flags(flag::WHILE_SUBSCRIBED)
        .route("all_shards", "all_succeeded")
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with PONG, or with the message."),
    row("QUIT", quit)
        .fast()
        .noscript()
        .loading()
        .stale()
        .no_auth()
        .arity(-1)
        .flags(flag::IMMEDIATE | flag::WHILE_SUBSCRIBED | flag::ALLOW_BUSY)
        .since("1.0.0")
        .cost("O(1)")
        .about("Closes the connection."),
    row("RESET", reset)
        .fast()
        .noscript()
        .loading()
        .stale()
        .no_auth()
        .flags(flag::IMMEDIATE | flag::WHILE_SUBSCRIBED | flag::ALLOW_BUSY)
        .since("6.2.0")
        .cost("O(1)")
        .about("Makes the connection as new."),
    row("SELECT index", select)
        .fast()
        .loading()
        .stale()
        .since("1.0.0")
        .cost("O(1)")
        .about("Selects a database."),
];

fn auth(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (user, password) = match *args.rest() {
        [password] => {
            if call.state.acl.default_user().nopass {
                return Err(Error::of(
                    "ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                ));
            }
            (&b"default"[..], password)
        }
        [user, password] => (user, password),
        _ => return Err(Error::Syntax),
    };
    log_in(call, args.all(), user, password)?;
    Ok(out.ok())
}

fn log_in(call: &mut Call<'_>, argv: &[&[u8]], user: &[u8], password: &[u8]) -> Result<()> {
    if settle::users::log_in(call.state, call.me, user, password) {
        return Ok(());
    }
    // No script comes here: inside a unit it is a transaction that EXEC runs.
    let origin = if call.state.inside_unit { Origin::Multi } else { Origin::Client };
    let command = argv.first().copied().unwrap_or_default();
    note_refusal(call.state, call.me, Reason::Login, (origin, argv), command, user);
    Err(Error::WrongPass)
}

fn echo(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.bulk(args.bytes()))
}

fn hello(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut protocol = None;
    if !args.is_done() {
        let version = parse_i64(args.bytes())
            .ok_or_else(|| Error::of("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&version) {
            return Err(Error::NoProto);
        }
        protocol = Some(version == 3);
    }
    let (mut login, mut name) = (None, None);
    while let Some(word) = args.peek() {
        args.skip(1);
        if word.eq_ignore_ascii_case(b"AUTH") && args.left() >= 2 {
            login = Some((args.bytes(), args.bytes()));
        } else if word.eq_ignore_ascii_case(b"SETNAME") && args.left() >= 1 {
            let wanted = args.bytes();
            client::check_name(wanted, b"Client names")?;
            name = Some(wanted);
        } else {
            return Err(Error::showing("ERR Syntax error in HELLO option '{}'", &[word]));
        }
    }
    if let Some((user, password)) = login {
        log_in(call, args.all(), user, password)?;
    }
    if !call.client().authenticated {
        return Err(Error::of(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        call.client().name = name.to_vec();
    }
    let out = match protocol {
        Some(resp3) => {
            call.client().resp3 = resp3;
            out.in_protocol(resp3)
        }
        None => out,
    };
    let resp3 = call.client().resp3;
    let version = call.state.config.settings().redis_version.clone();
    let mut items = out.map(7);
    items.text("server");
    items.text("redis");
    items.text("version");
    items.text(&version);
    items.text("proto");
    items.int(if resp3 { 3 } else { 2 });
    items.text("id");
    items.int(call.me.serial as i64);
    items.text("mode");
    items.text("standalone");
    items.text("role");
    items.text("master");
    items.text("modules");
    items.array(0);
    Ok(items.end())
}

fn ping(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(Error::wrong_arity("ping"));
    }
    let client = call.client();
    if client.is_subscriber() && !client.resp3 {
        let mut items = out.array(2);
        items.bulk(b"pong");
        items.bulk(args.bytes());
        return Ok(items.end());
    }
    Ok(if args.is_done() { out.simple("PONG") } else { out.bulk(args.bytes()) })
}

fn quit(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.client().close_after_reply = true;
    Ok(out.ok())
}

fn reset(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    forget_everything(call.state, call.me);
    settle::users::begin(call.state, call.me);
    let client = call.client();
    client.db = 0;
    client.resp3 = false;
    client.name.clear();
    // Redis: its own reply is skipped where SKIP came before.
    if client.reply_mode == ReplyMode::Off {
        client.reply_mode = ReplyMode::On;
    }
    client.no_evict = false;
    client.no_touch = false;
    Ok(out.in_protocol(false).simple("RESET"))
}

/// Transactions, watches, subscriptions, tracking and MONITOR of a client end.
fn forget_everything(state: &mut State, me: ClientId) {
    state.clients.at(me).multi = None;
    settle::unwatch(state, me);
    state.tracking.stop(me);
    state.clients.at(me).names_bytes = 0;
    for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
        for name in state.pubsub.names_of(scope, me) {
            state.pubsub.leave(scope, me, &name);
        }
    }
    state.monitors.retain(|monitor| *monitor != me);
    let client = state.clients.at(me);
    client.is_monitor = false;
    client.subscriptions = 0;
    client.shard_subscriptions = 0;
    settle::listen(state);
}

fn select(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let index = i32::try_from(args.int()?).map_err(|_| Error::NotInt32)?;
    let databases = call.state.db.databases();
    match usize::try_from(index) {
        Ok(index) if index < databases => call.client().db = index,
        _ => return Err(Error::DbIndexOutOfRange),
    }
    Ok(out.ok())
}
