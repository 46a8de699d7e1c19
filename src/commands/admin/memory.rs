//! MEMORY: what takes the memory, counted by the types themselves.

use crate::command::{client, container, read, Args, Call, Row};
use crate::commands::help;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::memory::Use;
use crate::resp::out::{Done, Out};

/// The rows of MEMORY.
pub const ROWS: &[Row] = &[
    container("MEMORY").about("What takes the memory.").cost("Depends on the subcommand."),
    read("MEMORY|USAGE key [SAMPLES count]", usage)
        .since("4.0.0")
        .about("Bytes that a key and its value take.")
        .cost("O(1)"),
    client("MEMORY|STATS", stats)
        .varies()
        .route("all_shards", "special")
        .since("4.0.0")
        .about("Where the memory of the server is.")
        .cost("O(1)"),
    client("MEMORY|DOCTOR", doctor)
        .varies()
        .route("all_shards", "special")
        .since("4.0.0")
        .about("Looks for trouble with memory.")
        .cost("O(1)"),
    client("MEMORY|PURGE", purge)
        .route("all_shards", "all_succeeded")
        .since("4.0.0")
        .about("Asks the allocator to give memory back.")
        .cost("O(1)"),
    client("MEMORY|MALLOC-STATS", malloc_stats)
        .varies()
        .route("all_shards", "special")
        .since("4.0.0")
        .about("What the allocator says about itself.")
        .cost("O(1)"),
    client("MEMORY|HELP", memory_help)
        .since("4.0.0")
        .about("Lists the subcommands.")
        .loading()
        .stale()
        .cost("O(1)"),
];

fn usage(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    while let Some(option) = args.option() {
        match &*option {
            // Sizes are kept, not sampled: the count is only checked.
            "SAMPLES" if args.int()? < 0 => return Err(Error::Syntax),
            "SAMPLES" => {}
            _ => return Err(Error::Syntax),
        }
    }
    match db.look(key) {
        // An entry stands in its table with a pointer.
        Some(entry) => Ok(out.int((entry.heap_bytes() + std::mem::size_of::<usize>()) as i64)),
        None => Ok(out.null()),
    }
}

fn stats(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let state = &mut *call.state;
    let used = Use::of(state);
    let resident = crate::process::resident_bytes();
    let databases: Vec<(usize, usize, usize)> = (0..state.db.databases())
        .map(|db| (db, state.db.space(db)))
        .filter(|(_, space)| !space.is_empty() || space.overhead_bytes() > 0)
        .map(|(db, space)| (db, space.table.heap_bytes(), space.wheel.heap_bytes()))
        .collect();
    let keys: u64 = (0..state.db.databases()).map(|db| state.db.space(db).len() as u64).sum();
    let net = used.total - used.startup;
    let mut items = out.map(29 + databases.len());
    let field = |items: &mut crate::resp::out::Items<'_>, name: &str, value: u64| {
        items.text(name);
        items.int(value as i64);
    };
    field(&mut items, "peak.allocated", used.peak);
    field(&mut items, "total.allocated", used.total);
    field(&mut items, "startup.allocated", used.startup);
    for name in ["replication.backlog", "replica.fullsync.buffer", "clients.slaves"] {
        field(&mut items, name, 0);
    }
    field(&mut items, "clients.normal", used.clients);
    for name in ["cluster.links", "aof.buffer", "lua.caches", "functions.caches", "script.VMs"] {
        field(&mut items, name, 0);
    }
    for (db, table, wheel) in &databases {
        items.text(&format!("db.{db}"));
        items.map(2);
        field(&mut items, "overhead.hashtable.main", *table as u64);
        field(&mut items, "overhead.hashtable.expires", *wheel as u64);
    }
    field(&mut items, "overhead.db.hashtable.lut", used.tables);
    field(&mut items, "overhead.db.hashtable.rehashing", 0);
    field(&mut items, "overhead.total", used.overhead());
    field(&mut items, "db.dict.rehashing.count", 0);
    field(&mut items, "keys.count", keys);
    field(&mut items, "keys.bytes-per-key", net.checked_div(keys).unwrap_or(0));
    field(&mut items, "dataset.bytes", used.dataset());
    items.text("dataset.percentage");
    items.double(used.dataset() as f64 * 100.0 / net.max(1) as f64);
    items.text("peak.percentage");
    items.double(used.total as f64 * 100.0 / used.peak.max(1) as f64);
    field(&mut items, "allocator.allocated", used.total);
    field(&mut items, "allocator.active", used.total);
    field(&mut items, "allocator.resident", resident);
    field(&mut items, "allocator.muzzy", 0);
    items.text("allocator-fragmentation.ratio");
    items.double(1.0);
    field(&mut items, "allocator-fragmentation.bytes", 0);
    items.text("fragmentation");
    items.double(resident as f64 / used.total.max(1) as f64);
    field(&mut items, "fragmentation.bytes", resident.saturating_sub(used.total));
    Ok(items.end())
}

fn doctor(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let used = Use::of(call.state);
    let limit = call.state.config.settings().maxmemory;
    let clients = call.state.clients.len().max(1) as u64;
    let mut text = String::new();
    if used.total < 5 << 20 {
        text.push_str("There is too little data here to say anything about its memory.\n");
    } else {
        if used.peak > used.total * 3 / 2 {
            text.push_str(
                "* Peak: the memory in use was much higher before; the allocator may keep what \
                 was freed.\n",
            );
        }
        if limit > 0 && used.total > limit / 100 * 95 {
            text.push_str("* Limit: nearly all of maxmemory is in use.\n");
        }
        if used.clients / clients > 200 << 10 {
            text.push_str("* Clients: their buffers are large; some may not read their replies.\n");
        }
        if text.is_empty() {
            text.push_str("Nothing remarkable.\n");
        }
    }
    Ok(out.verbatim("txt", text.as_bytes()))
}

fn purge(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if let Some(give_back) = call.state.facts.give_back {
        give_back();
    }
    Ok(out.ok())
}

fn malloc_stats(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let used = Use::of(call.state);
    let text = format!(
        "{}: {} bytes counted by the server, {} bytes resident\n",
        crate::cli::allocator(),
        used.total,
        crate::process::resident_bytes()
    );
    Ok(out.verbatim("txt", text.as_bytes()))
}

fn memory_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            ("DOCTOR", &["Return memory problems reports."]),
            ("MALLOC-STATS", &["Return internal statistics report from the memory allocator."]),
            ("PURGE", &["Attempt to purge dirty pages for reclamation by the allocator."]),
            ("STATS", &["Return information about the memory usage of the server."]),
            (
                "USAGE <key> [SAMPLES <count>]",
                &[
                    "Return memory in bytes used by <key> and its value. Nested values are",
                    "sampled up to <count> times (default: 5, 0 means sample all).",
                ],
            ),
        ],
    ))
}
