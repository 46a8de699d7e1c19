//! SUBSCRIBE and PUBLISH, by channels, patterns and shard channels.

use crate::client::ReplyMode;
use crate::command::{client, container, flag, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::pubsub::Scope;
use crate::resp::out::{Done, Items, Out};
use crate::resp::replies::Replies;
use crate::settle;
use crate::types::glob::glob_match;

/// The family.
pub const FAMILY: Family = Family { group: "pubsub", rows: ROWS };

const NO_KEYS: &[crate::command::spec::KeySpec] = &[];

const ROWS: &[Row] = &[
    client("PSUBSCRIBE pattern [pattern ...]", psubscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .flags(flag::WHILE_SUBSCRIBED)
        .since("2.0.0")
        .cost("O(N) where N is the number of patterns")
        .about("Listens to channels that match patterns."),
    client("PUBLISH channel message", publish)
        .pubsub()
        .loading()
        .stale()
        .fast()
        .flags(flag::MAY_REPLICATE)
        .since("2.0.0")
        .cost("O(N+M) where N is the number of subscribers and M the number of patterns")
        .about("Sends a message to a channel."),
    container("PUBSUB")
        .since("2.8.0")
        .cost("Depends on the subcommand")
        .about("Looks at subscriptions."),
    client("PUBSUB|CHANNELS [pattern]", channels)
        .pubsub()
        .loading()
        .stale()
        .since("2.8.0")
        .cost("O(N) where N is the number of channels")
        .about("Lists channels with listeners."),
    client("PUBSUB|HELP", help)
        .loading()
        .stale()
        .since("6.2.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    client("PUBSUB|NUMPAT", numpat)
        .pubsub()
        .loading()
        .stale()
        .since("2.8.0")
        .cost("O(1)")
        .about("Counts patterns that somebody listens to."),
    client("PUBSUB|NUMSUB [channel [channel ...]]", numsub)
        .pubsub()
        .loading()
        .stale()
        .since("2.8.0")
        .cost("O(N) where N is the number of channels asked for")
        .about("Counts the listeners of channels."),
    client("PUBSUB|SHARDCHANNELS [pattern]", shardchannels)
        .pubsub()
        .loading()
        .stale()
        .since("7.0.0")
        .cost("O(N) where N is the number of shard channels")
        .about("Lists shard channels with listeners."),
    client("PUBSUB|SHARDNUMSUB [shardchannel [shardchannel ...]]", shardnumsub)
        .pubsub()
        .loading()
        .stale()
        .since("7.0.0")
        .cost("O(N) where N is the number of channels asked for")
        .about("Counts the listeners of shard channels."),
    client("PUNSUBSCRIBE [pattern [pattern ...]]", punsubscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .flags(flag::WHILE_SUBSCRIBED)
        .since("2.0.0")
        .cost("O(N) where N is the number of patterns")
        .about("Stops listening to patterns."),
    client("SPUBLISH shardchannel message", spublish)
        .pubsub()
        .loading()
        .stale()
        .fast()
        .keys(SHARD_CHANNEL)
        .flags(flag::MAY_REPLICATE)
        .since("7.0.0")
        .cost("O(N) where N is the number of subscribers")
        .about("Sends a message to a shard channel."),
    client("SSUBSCRIBE shardchannel [shardchannel ...]", ssubscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .keys(SHARD_CHANNELS)
        .flags(flag::WHILE_SUBSCRIBED)
        .since("7.0.0")
        .cost("O(N) where N is the number of channels")
        .about("Listens to shard channels."),
    client("SUBSCRIBE channel [channel ...]", subscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .keys(NO_KEYS)
        .flags(flag::WHILE_SUBSCRIBED)
        .since("2.0.0")
        .cost("O(N) where N is the number of channels")
        .about("Listens to channels."),
    client("SUNSUBSCRIBE [shardchannel [shardchannel ...]]", sunsubscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .keys(SHARD_CHANNELS)
        .flags(flag::WHILE_SUBSCRIBED)
        .since("7.0.0")
        .cost("O(N) where N is the number of channels")
        .about("Stops listening to shard channels."),
    client("UNSUBSCRIBE [channel [channel ...]]", unsubscribe)
        .pubsub()
        .noscript()
        .loading()
        .stale()
        .flags(flag::WHILE_SUBSCRIBED)
        .since("2.0.0")
        .cost("O(N) where N is the number of channels")
        .about("Stops listening to channels."),
];

use crate::command::spec::{Begin, Find, KeySpec};

const SHARD_CHANNEL: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(1),
    find: Find::Range { last: 0, step: 1, limit: 0 },
    access: &["not_key"],
}];

const SHARD_CHANNELS: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(1),
    find: Find::Range { last: -1, step: 1, limit: 0 },
    access: &["not_key"],
}];

fn psubscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    join(call, args, out, Scope::Pattern, "psubscribe")
}

fn subscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    join(call, args, out, Scope::Channel, "subscribe")
}

fn ssubscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    join(call, args, out, Scope::Shard, "ssubscribe")
}

fn punsubscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    leave(call, args, out, Scope::Pattern, "punsubscribe")
}

fn unsubscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    leave(call, args, out, Scope::Channel, "unsubscribe")
}

fn sunsubscribe(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    leave(call, args, out, Scope::Shard, "sunsubscribe")
}

/// Counts the subscriptions of a client anew; the reply shows those of its kind.
fn recount(call: &mut Call<'_>, scope: Scope) -> i64 {
    let me = call.me;
    settle::count_names(call.state, me);
    let pubsub = &call.state.pubsub;
    let plain = pubsub.count_of(Scope::Channel, me) + pubsub.count_of(Scope::Pattern, me);
    let shard = pubsub.count_of(Scope::Shard, me);
    let client = call.client();
    client.subscriptions = plain;
    client.shard_subscriptions = shard;
    if scope == Scope::Shard {
        shard as i64
    } else {
        plain as i64
    }
}

fn join(
    call: &mut Call<'_>,
    args: &mut Args<'_>,
    out: Out<'_>,
    scope: Scope,
    word: &str,
) -> Result<Done> {
    let client = call.client();
    if client.denies_blocking && !client.resp3 {
        return Err(Error::of(format!(
            "ERR {} isn't allowed for a DENY BLOCKING client",
            word.to_ascii_uppercase()
        )));
    }
    let mut items = out.several();
    for name in args.rest() {
        call.state.pubsub.join(scope, call.me, name);
        let count = recount(call, scope);
        confirm(call, &mut items, word, Some(name), count);
    }
    Ok(items.end())
}

fn leave(
    call: &mut Call<'_>,
    args: &mut Args<'_>,
    out: Out<'_>,
    scope: Scope,
    word: &str,
) -> Result<Done> {
    let me = call.me;
    let mut names: Vec<Box<[u8]>> = args.rest().iter().map(|name| Box::from(*name)).collect();
    if names.is_empty() {
        names = call.state.pubsub.names_of(scope, me);
    }
    let mut items = out.several();
    if names.is_empty() {
        let count = recount(call, scope);
        confirm(call, &mut items, word, None, count);
    }
    for name in names {
        call.state.pubsub.leave(scope, me, &name);
        let count = recount(call, scope);
        confirm(call, &mut items, word, Some(&name), count);
    }
    Ok(items.end())
}

/// Confirmations are messages, not replies: CLIENT REPLY OFF does not hold them back.
fn confirm(
    call: &mut Call<'_>,
    items: &mut Items<'_>,
    word: &str,
    name: Option<&[u8]>,
    count: i64,
) {
    let write = |items: &mut Items<'_>| {
        items.push(3);
        items.text(word);
        items.bulk_or_null(name);
        items.int(count);
    };
    let client = call.client();
    if client.reply_mode == ReplyMode::On {
        return write(items);
    }
    let resp3 = client.resp3;
    client.outbox.append_with(|buf| {
        Replies::within(buf, |buf| {
            let mut items = Out::new(buf, resp3).several();
            write(&mut items);
            items.end();
        });
    });
}

fn publish(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    send(call, args, out, false)
}

fn spublish(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    send(call, args, out, true)
}

fn send(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>, sharded: bool) -> Result<Done> {
    let (channel, message) = (args.bytes(), args.bytes());
    let state = &mut *call.state;
    let now_ms = state.db.now_ms();
    let settings = state.config.settings();
    let receivers =
        state.pubsub.publish(sharded, channel, message, &mut state.clients, settings, now_ms);
    state.db.effects.record_message(args.all());
    Ok(out.int(receivers as i64))
}

fn channels(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    names(call, args, out, Scope::Channel)
}

fn shardchannels(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    names(call, args, out, Scope::Shard)
}

fn names(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>, scope: Scope) -> Result<Done> {
    if args.left() > 1 {
        return Err(Error::showing(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
            &[args.all()[1]],
        ));
    }
    let pattern = args.peek();
    let mut items = out.array_of_unknown_len();
    for (name, _) in call.state.pubsub.names(scope) {
        if pattern.is_none_or(|pattern| glob_match(pattern, name, false)) {
            items.bulk(name);
        }
    }
    Ok(items.end())
}

fn numsub(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    counts(call, args, out, Scope::Channel)
}

fn shardnumsub(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    counts(call, args, out, Scope::Shard)
}

fn counts(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>, scope: Scope) -> Result<Done> {
    let mut items = out.array(args.left() * 2);
    for name in args.rest() {
        items.bulk(name);
        items.int(call.state.pubsub.subscribers(scope, name) as i64);
    }
    Ok(items.end())
}

fn numpat(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(call.state.pubsub.names(Scope::Pattern).count() as i64))
}

fn help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(super::help(
        args,
        out,
        &[
            (
                "CHANNELS [<pattern>]",
                &["Return the currently active channels matching a <pattern> (default: '*')."],
            ),
            ("NUMPAT", &["Return number of subscriptions to patterns."]),
            (
                "NUMSUB [<channel> ...]",
                &[
                    "Return the number of subscribers for the specified channels, \
                                      excluding",
                    "pattern subscriptions(default: no channels).",
                ],
            ),
            (
                "SHARDCHANNELS [<pattern>]",
                &["Return the currently active shard level channels matching \
                                         a <pattern> (default: '*')."],
            ),
            (
                "SHARDNUMSUB [<shardchannel> ...]",
                &["Return the number of subscribers for the specified \
                                                shard level channel(s)"],
            ),
        ],
    ))
}
