//! Commands about the process: time and figures.

use crate::command::{client, flag, Args, Call, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use rand::Rng;

/// The rows.
pub const ROWS: &[Row] = &[
    client("INFO [section [section ...]]", super::info::info)
        .loading()
        .stale()
        .dangerous()
        .varies()
        .route("all_shards", "special")
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with figures about the server."),
    client("LOLWUT [VERSION version]", lolwut)
        .fast()
        .flags(flag::READONLY)
        .since("5.0.0")
        .cost("O(1)")
        .about("Draws something, and names the version."),
    client("MONITOR", monitor)
        .admin()
        .noscript()
        .loading()
        .stale()
        .since("1.0.0")
        .cost("O(1), and something for each command of others")
        .about("Shows what other clients ask for."),
    client("TIME", time)
        .fast()
        .loading()
        .stale()
        .varies()
        .since("2.6.0")
        .cost("O(1)")
        .about("Replies with the server's time."),
];

fn time(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    // Time stands still within a transaction or script.
    let now_us = match call.state.inside_unit {
        true => call.state.db.now_us(),
        false => call.state.clock.now_us(),
    };
    let mut items = out.array(2);
    items.bulk_int(now_us.div_euclid(1_000_000));
    items.bulk_int(now_us.rem_euclid(1_000_000));
    Ok(items.end())
}

fn monitor(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.state.inside_unit {
        return Err(Error::of("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let me = call.me;
    if std::mem::replace(&mut call.client().is_monitor, true) {
        // Redis: who asks again gets no second answer.
        return Ok(out.several().end());
    }
    call.state.monitors.push(me);
    Ok(out.ok())
}

/// Squares that come apart from row to row, after Georg Nees' Schotter of 1968, in characters.
fn lolwut(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.accept("VERSION") {
        args.int()?;
    }
    const ROWS: usize = 6;
    const COLUMNS: usize = 12;
    let mut grid = vec![vec![b' '; COLUMNS * 6 + 8]; ROWS * 3 + 4];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let slack = row * 4 / ROWS;
            let mut stray = || call.state.db.rng.random_range(0..=slack);
            let (left, top) = (column * 6 + stray(), row * 3 + stray() / 2);
            for at in 0..4 {
                grid[top][left + at] = b'-';
                grid[top + 2][left + at] = b'-';
            }
            for side in [left, left + 3] {
                grid[top][side] = b'+';
                grid[top + 1][side] = b'|';
                grid[top + 2][side] = b'+';
            }
        }
    }
    let mut text = String::new();
    for line in grid {
        text.push_str(String::from_utf8_lossy(&line).trim_end());
        text.push('\n');
    }
    text.push_str("\nAfter Georg Nees, Schotter, 1968.\n");
    let version = &call.state.config.settings().redis_version;
    text.push_str(&format!("Redis ver. {version}\n"));
    Ok(out.verbatim("txt", text.as_bytes()))
}
