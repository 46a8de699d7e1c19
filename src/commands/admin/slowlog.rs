//! SLOWLOG: the last commands that took long.

use crate::command::{client, container, Args, Call, Row};
use crate::commands::help;
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};

/// The rows of SLOWLOG.
pub const ROWS: &[Row] = &[
    container("SLOWLOG")
        .since("2.2.12")
        .about("The last commands that took long.")
        .cost("Depends on the subcommand."),
    client("SLOWLOG|GET [count]", slowlog_get)
        .admin()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "")
        .since("2.2.12")
        .cost("O(N) where N is the number of entries")
        .about("Replies with the latest entries."),
    client("SLOWLOG|LEN", slowlog_len)
        .admin()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "agg_sum")
        .since("2.2.12")
        .cost("O(1)")
        .about("Counts the entries."),
    client("SLOWLOG|RESET", slowlog_reset)
        .admin()
        .loading()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.2.12")
        .cost("O(N) where N is the number of entries")
        .about("Forgets all entries."),
    client("SLOWLOG|HELP", slowlog_help)
        .loading()
        .stale()
        .since("6.2.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
];

fn slowlog_get(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(Error::showing(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try SLOWLOG HELP.",
            &[args.all()[1]],
        ));
    }
    let count = if args.is_done() { Ok(10) } else { args.int() };
    let Some(count) = count.ok().filter(|count| *count >= -1) else {
        return Err(Error::of("ERR count should be greater than or equal to -1"));
    };
    let log = &call.state.stats.slowlog;
    let shown = usize::try_from(count).unwrap_or(usize::MAX).min(log.len());
    let mut items = out.array(shown);
    for entry in log.iter().take(shown) {
        items.array(6);
        items.int(entry.id as i64);
        items.int(entry.at_s);
        items.int(entry.took_us as i64);
        items.array(entry.words.len());
        for word in &entry.words {
            items.bulk(word);
        }
        items.text(&entry.addr);
        items.bulk(&entry.name);
    }
    Ok(items.end())
}

fn slowlog_len(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(call.state.stats.slowlog.len() as i64))
}

fn slowlog_reset(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.state.stats.slowlog.clear();
    Ok(out.ok())
}

fn slowlog_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            (
                "GET [<count>]",
                &[
                    "Return top <count> entries from the slowlog (default: 10, -1 mean all).",
                    "Entries are made of:",
                    "id, timestamp, time in microseconds, arguments array, client IP and port,",
                    "client name",
                ],
            ),
            ("LEN", &["Return the length of the slowlog."]),
            ("RESET", &["Reset the slowlog."]),
        ],
    ))
}
