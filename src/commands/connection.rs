//! Commands about the connection itself.

use crate::command::{client, flag, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};

/// The family.
pub const FAMILY: Family = Family { group: "connection", rows: ROWS };

const ROWS: &[Row] = &[
    client("ECHO message", echo)
        .fast()
        .loading()
        .stale()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the message."),
    client("PING [message]", ping)
        .fast()
        .loading()
        .stale()
        .flags(flag::WHILE_SUBSCRIBED)
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with PONG, or with the message."),
    client("SELECT index", select)
        .fast()
        .loading()
        .stale()
        .since("1.0.0")
        .cost("O(1)")
        .about("Selects a database."),
];

fn echo(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.bulk(args.bytes()))
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

fn select(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let index = i32::try_from(args.int()?).map_err(|_| Error::NotInt32)?;
    let databases = call.state.db.databases();
    match usize::try_from(index) {
        Ok(index) if index < databases => call.client().db = index,
        _ => return Err(Error::DbIndexOutOfRange),
    }
    Ok(out.ok())
}
