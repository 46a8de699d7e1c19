//! DEBUG: what test suites and people who look for faults need.

mod digest;
mod load_aof;
mod object;
mod protocol;
mod reload;

use crate::client::Resizing;
use crate::command::{client, flag, Args, Call, Row};
use crate::error::{shown, Error, Result};
use crate::keyspace::db::Ttl;
use crate::replicas;
use crate::resp::out::{Done, Out};
use crate::types::number::{parse_f64, parse_i64};
use std::time::Duration;

/// The row. DEBUG has no subcommands in the table: their names are only looked at here.
pub const ROWS: &[Row] = &[client("DEBUG subcommand [arg [arg ...]]", debug)
    .admin()
    .flags(flag::PROTECTED)
    .noscript()
    .loading()
    .stale()
    .since("1.0.0")
    .cost("Depends on the subcommand")
    .about("For tests and for finding faults.")];

fn debug(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = args.bytes();
    let word = crate::command::args::Word::of(name);
    let state = &mut *call.state;
    match (&*word, args.left()) {
        ("HELP", 0) => return Ok(help(args, out)),
        ("SLEEP", 1) => {
            // Everybody waits: that is what it is for.
            let seconds = parse_f64(args.bytes()).unwrap_or(0.0).clamp(0.0, 1e6);
            std::thread::sleep(Duration::from_secs_f64(seconds));
        }
        ("RELOAD", _) => reload::reload(state, args)?,
        ("LOADAOF", 0) => load_aof::load_aof(state)?,
        ("AOF-FLUSH-SLEEP", 1) => {
            let pause_us = args.int()?.max(0) as u64;
            state.aof.tail.sleep_us.store(pause_us, std::sync::atomic::Ordering::Relaxed);
        }
        ("SET-ACTIVE-EXPIRE", 1) => state.debug.expiry_off = args.bytes() == b"0",
        ("PAUSE-CRON", 1) => {
            state.debug.cron_paused = args.bytes() != b"0";
            if let (Some(outside), Some(_)) = (&state.outside, state.shutdown) {
                outside.stop();
            }
        }
        ("QUICKLIST-PACKED-THRESHOLD", 1) => {
            let bytes = crate::config::read_bytes(args.bytes())
                .ok_or(Error::of("ERR argument must be a memory value"))?;
            if bytes > 1 << 30 {
                return Err(Error::of(
                    "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
                ));
            }
            state.db.limits.list_packed_threshold = bytes as usize;
        }
        ("ERROR", 1) => {
            return Err(Error::of_bytes(args.bytes().to_vec()));
        }
        ("LOG", 1) => state.logger.warning(format!("DEBUG LOG: {}", shown(args.bytes()))),
        ("CONFIG-REWRITE-FORCE-ALL", 0) => super::config::rewrite_file(state, true)?,
        ("REPLICATE", 1..) => replicate(state, args.rest()),
        ("CHANGE-REPL-ID", 0) => {
            let id = crate::clock::random_hex_id(&mut state.db.rng);
            state.role.begin_history(id);
        }
        ("REPLYBUFFER", 2) => {
            let (word, value) = (args.bytes().to_ascii_lowercase(), args.bytes());
            let resizing = &mut state.debug.reply_buffers;
            match (word.as_slice(), value.to_ascii_lowercase().as_slice()) {
                (b"resizing", value) => resizing.on = value != b"0",
                (b"peak-reset-time", b"never") => resizing.peak_ms = None,
                (b"peak-reset-time", b"reset") => resizing.peak_ms = Some(Resizing::PEAK_MS),
                (b"peak-reset-time", _) => {
                    resizing.peak_ms = Some(parse_i64(value).ok_or(Error::NotInteger)?);
                }
                _ => return Err(Error::Syntax),
            }
        }
        ("SET-SKIP-CHECKSUM-VALIDATION", 1) => {
            state.db.payloads.any_sum = args.bytes() != b"0";
        }
        ("SET-DISABLE-DENY-SCRIPTS", 1) => state.debug.scripts_may_all = args.bytes() != b"0",
        ("POPULATE", 1..=3) => populate(call, args)?,
        ("DIGEST", 0) => return Ok(out.simple(&digest::hex(&digest::of_all(&mut state.db)))),
        ("DIGEST-VALUE", _) => {
            let mut items = out.array(args.left());
            for key in args.rest() {
                items.simple(&digest::hex(&digest::of_value(&state.db, key)));
            }
            return Ok(items.end());
        }
        ("OBJECT", 1..=2) => return object::object(&state.db, args.bytes(), out),
        ("LISTPACK", 1) | ("ZIPLIST", 1) => return object::listpack(&state.db, args.bytes(), out),
        ("PROTOCOL", 1) => return protocol::protocol(args.bytes(), out),
        ("HTSTATS", 1) => return htstats(call, args, out),
        ("PANIC" | "ASSERT", 0) if !state.facts.embedded => {
            state.logger.warning("Ended by DEBUG.");
            std::process::abort();
        }
        ("SEGFAULT", 0) if !state.facts.embedded => crate::process::fault(),
        _ => {
            return Err(Error::showing(
                "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
                &[&name[..name.len().min(128)]],
            ))
        }
    }
    Ok(out.ok())
}

/// The stream alone: the data here stays as it is, and that of replicas diverges.
fn replicate(state: &mut crate::state::State, words: &[&[u8]]) {
    if !state.role.is_replica() && !state.role.replicas.is_empty() {
        replicas::tell_all(state, words);
    }
}

/// DEBUG POPULATE count [prefix] [size]: strings that are not there yet.
fn populate(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<()> {
    let positive = |args: &mut Args<'_>| {
        args.int().ok().and_then(|number| usize::try_from(number).ok()).ok_or(Error::NotPositive)
    };
    let count = positive(args)?;
    let prefix = if args.is_done() { b"key" } else { args.bytes() };
    let size = if args.is_done() { 0 } else { positive(args)? };
    let db = &mut call.state.db;
    for number in 0..count {
        let key = [prefix, format!(":{number}").as_bytes()].concat();
        if db.contains(&key) {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        db.put_string(&key, &value, Ttl::Clear, "set");
    }
    db.replay_nothing();
    Ok(())
}

/// How full the table of a database is. There is one figure where Redis prints a page about its
/// chains: tables here have none.
fn htstats(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let index = usize::try_from(args.int()?).ok();
    let index = index.filter(|index| *index < call.state.db.databases());
    let space = call.state.db.space(index.ok_or(Error::of("ERR Out of range database"))?);
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n number of elements: {}\n table \
         bytes: {}\n[Expires HT]\n number of elements: {}\n",
        space.len(),
        space.overhead_bytes(),
        space.with_deadline()
    );
    Ok(out.verbatim("txt", text.as_bytes()))
}

fn help(args: &Args<'_>, out: Out<'_>) -> Done {
    crate::commands::help(
        args,
        out,
        &[
            ("AOF-FLUSH-SLEEP <microseconds>", &["Let each write of the log take so long."]),
            ("CHANGE-REPL-ID", &["Take a new replication id."]),
            ("DIGEST", &["Show a digest of all data."]),
            ("DIGEST-VALUE <key> [<key> ...]", &["Show digests of values."]),
            ("ERROR <text>", &["Answer with an error."]),
            ("HTSTATS <db>", &["Show how full the table of a database is."]),
            ("LISTPACK <key>", &["Show the encoding of a packed value."]),
            ("LOADAOF", &["Empty the data and load it from the append-only file."]),
            ("LOG <text>", &["Write to the log."]),
            ("OBJECT <key>", &["Show the insides of a value."]),
            ("PANIC", &["End the process at once."]),
            ("PAUSE-CRON <0|1>", &["Stop what happens as time passes, or let it go on."]),
            ("POPULATE <count> [<prefix>] [<size>]", &["Create strings."]),
            ("PROTOCOL <type>", &["Answer with a value of a type of the protocol."]),
            (
                "QUICKLIST-PACKED-THRESHOLD <size>",
                &["Size from which a list element has a node of its own."],
            ),
            ("SET-ACTIVE-EXPIRE <0|1>", &["Expire keys only when they are met, or on time."]),
            ("SET-SKIP-CHECKSUM-VALIDATION <0|1>", &["Let any checksum of a payload pass."]),
            ("SLEEP <seconds>", &["Let everybody wait."]),
        ],
    )
}
