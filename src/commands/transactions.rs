//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::command::{client, flag, nested, Args, Call, Caller, Family, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::settle;
use crate::state::State;

/// The family.
pub const FAMILY: Family = Family { group: "transactions", rows: ROWS };

const ROWS: &[Row] = &[
    client("DISCARD", discard)
        .fast()
        .noscript()
        .loading()
        .stale()
        .flags(flag::IMMEDIATE | flag::ALLOW_BUSY)
        .since("2.0.0")
        .cost("O(N) where N is the number of queued commands")
        .about("Forgets a transaction."),
    nested("EXEC", exec)
        .loading()
        .stale()
        .skip_slowlog()
        .flags(flag::IMMEDIATE)
        .since("1.2.0")
        .cost("Depends on the commands")
        .about("Runs a transaction."),
    client("MULTI", multi)
        .fast()
        .noscript()
        .loading()
        .stale()
        .flags(flag::IMMEDIATE | flag::ALLOW_BUSY)
        .since("1.2.0")
        .cost("O(1)")
        .about("Begins a transaction."),
    client("UNWATCH", unwatch)
        .fast()
        .flags(flag::ALLOW_BUSY)
        .noscript()
        .loading()
        .stale()
        .since("2.2.0")
        .cost("O(1)")
        .about("Forgets all watched keys."),
    client("WATCH key [key ...]", watch)
        .fast()
        .noscript()
        .loading()
        .stale()
        .flags(flag::IMMEDIATE | flag::ALLOW_BUSY)
        .since("2.2.0")
        .cost("O(1) for every key")
        .about("Makes EXEC depend on keys that do not change."),
];

fn multi(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let client = call.client();
    if client.multi.is_some() {
        return Err(Error::NestedMulti);
    }
    client.multi = Some(Box::default());
    Ok(out.ok())
}

fn discard(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.client().multi.take().is_none() {
        return Err(Error::DiscardWithoutMulti);
    }
    settle::unwatch(call.state, call.me);
    Ok(out.ok())
}

fn watch(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.client().multi.is_some() {
        return Err(Error::WatchInsideMulti);
    }
    let me = call.me;
    for key in args.rest() {
        let place = (call.client().db, Box::from(*key));
        if call.client().watched.contains(&place) {
            continue;
        }
        let existed = call.state.db.is_alive(place.0, key);
        call.state.watches.entry(place.clone()).or_default().push((me, existed));
        call.client().watched.push(place);
    }
    settle::listen(call.state);
    Ok(out.ok())
}

fn unwatch(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    settle::unwatch(call.state, call.me);
    Ok(out.ok())
}

fn exec(caller: &mut dyn Caller, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let me = caller.me();
    let Some(multi) = caller.state().clients.at(me).multi.take() else {
        return Err(Error::ExecWithoutMulti);
    };
    // Redis: each part of the reply is sent or not by what CLIENT REPLY has said until then.
    let is_heard = caller.state().clients.at(me).reply_mode.is_heard();
    let broken = is_broken(caller.state(), me);
    settle::unwatch(caller.state(), me);
    if multi.refused {
        return Err(Error::ExecAbort);
    }
    let mut items = match (broken, is_heard) {
        (true, true) => return Ok(out.null_array()),
        (true, false) => return Ok(out.several().end()),
        (false, true) => out.array(multi.queue.len()),
        (false, false) => out.several(),
    };
    let mut reply = Vec::new();
    for argv in &multi.queue {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        reply.clear();
        caller.run_queued(&argv, &mut reply);
        items.raw(&reply);
    }
    Ok(items.end())
}

/// Whether a watched key has changed, or has expired without anybody noticing.
fn is_broken(state: &mut State, me: crate::client::ClientId) -> bool {
    let client = state.clients.at(me);
    if client.watch_broken {
        return true;
    }
    let watched = client.watched.clone();
    watched.iter().any(|place| {
        let existed =
            state.watches.get(place).is_some_and(|watchers| watchers.contains(&(me, true)));
        existed && !state.db.is_alive(place.0, &place.1)
    })
}
