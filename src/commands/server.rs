//! Commands about the server.

use crate::command::{client, read, Args, Call, Family, Row};
use crate::error::Result;
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};

/// The family.
pub const FAMILY: Family = Family { group: "server", rows: ROWS };

const ROWS: &[Row] = &[
    read("DBSIZE", dbsize)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the number of keys of the selected database."),
    client("FLUSHALL [ASYNC | SYNC]", flushall)
        .writes()
        .dangerous()
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Removes all keys of all databases."),
    client("INFO [section [section ...]]", info)
        .loading()
        .stale()
        .dangerous()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with figures about the server."),
];

fn dbsize(db: &Db, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(db.here().len() as i64))
}

fn flushall(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.state.db.flush(None, true);
    Ok(out.ok())
}

fn info(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let text = format!(
        "# Server\r\nprocess_id:{}\r\n# Memory\r\nused_memory:{}\r\n",
        std::process::id(),
        call.state.db.heap_bytes()
    );
    Ok(out.verbatim("txt", text.as_bytes()))
}
