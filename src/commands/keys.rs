//! Commands on keys of any type.

use crate::command::{client, container, read, write, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, FreedLater};
use crate::keyspace::effects::Class;
use crate::keyspace::entry::Entry;
use crate::resp::out::{Done, Out};
use crate::types::glob::glob_match;
use crate::types::number::parse_i64;

/// The family.
pub const FAMILY: Family = Family { group: "generic", rows: ROWS };

const ROWS: &[Row] = &[
    write("COPY source destination [DB destination-db] [REPLACE]", copy)
        .grows()
        .since("6.2.0")
        .cost("O(N) where N is the size of the value")
        .about("Copies the value at a key to another key."),
    write("DEL key [key ...]", del)
        .route("multi_shard", "agg_sum")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Deletes keys."),
    read("EXISTS key [key ...]", exists)
        .fast()
        .route("multi_shard", "agg_sum")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Counts the keys that are there."),
    write("EXPIRE key seconds [NX | XX | GT | LT]", expire)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Sets the expiry of a key in seconds."),
    write("EXPIREAT key unix-time-seconds [NX | XX | GT | LT]", expireat)
        .fast()
        .since("1.2.0")
        .cost("O(1)")
        .about("Sets the expiry of a key to a Unix time."),
    read("EXPIRETIME key", expiretime)
        .fast()
        .since("7.0.0")
        .cost("O(1)")
        .about("Replies with the Unix time at which a key expires."),
    read("KEYS pattern", keys)
        .dangerous()
        .varies_in_order()
        .route("all_shards", "")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Replies with all keys that match."),
    write("MOVE key db", move_)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Moves a key to another database."),
    container("OBJECT")
        .since("2.2.3")
        .cost("Depends on the subcommand")
        .about("Looks inside the value at a key."),
    read("OBJECT|ENCODING key", object_encoding)
        .varies()
        .since("2.2.3")
        .cost("O(1)")
        .about("Replies with the encoding of a value."),
    read("OBJECT|FREQ key", object_freq)
        .varies()
        .since("4.0.0")
        .cost("O(1)")
        .about("Replies with the logarithmic access counter of a key."),
    client("OBJECT|HELP", object_help)
        .loading()
        .stale()
        .since("6.2.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    read("OBJECT|IDLETIME key", object_idletime)
        .varies()
        .since("2.2.3")
        .cost("O(1)")
        .about("Replies with the seconds since the last access to a key."),
    read("OBJECT|REFCOUNT key", object_refcount)
        .varies()
        .since("2.2.3")
        .cost("O(1)")
        .about("Replies with the reference count of a value."),
    write("PERSIST key", persist)
        .fast()
        .since("2.2.0")
        .cost("O(1)")
        .about("Removes the expiry of a key."),
    write("PEXPIRE key milliseconds [NX | XX | GT | LT]", pexpire)
        .fast()
        .since("2.6.0")
        .cost("O(1)")
        .about("Sets the expiry of a key in milliseconds."),
    write("PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]", pexpireat)
        .fast()
        .since("2.6.0")
        .cost("O(1)")
        .about("Sets the expiry of a key to a Unix time in milliseconds."),
    read("PEXPIRETIME key", pexpiretime)
        .fast()
        .since("7.0.0")
        .cost("O(1)")
        .about("Replies with the Unix time in milliseconds at which a key expires."),
    read("PTTL key", pttl)
        .fast()
        .varies()
        .since("2.6.0")
        .cost("O(1)")
        .about("Replies with the milliseconds until a key expires."),
    client("RANDOMKEY", randomkey)
        .flags(crate::command::flag::READONLY | crate::command::flag::MEETS_ANY_KEY)
        .varies()
        .route("all_shards", "special")
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with a random key."),
    write("RENAME key newkey", rename)
        .since("1.0.0")
        .cost("O(1)")
        .about("Renames a key, replacing the key of the new name."),
    write("RENAMENX key newkey", renamenx)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Renames a key if the new name is free."),
    read("SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]", scan)
        .flags(crate::command::flag::MEETS_ANY_KEY)
        .varies()
        .route("special", "special")
        .since("2.8.0")
        .cost("O(1) for every call")
        .about("Walks the keys."),
    read("TOUCH key [key ...]", touch)
        .fast()
        .route("multi_shard", "agg_sum")
        .since("3.2.1")
        .cost("O(N) where N is the number of keys")
        .about("Ages keys as an access does."),
    read("TTL key", ttl)
        .fast()
        .varies()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the seconds until a key expires."),
    read("TYPE key", type_)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the type of the value at a key."),
    write("UNLINK key [key ...]", unlink)
        .fast()
        .route("multi_shard", "agg_sum")
        .since("4.0.0")
        .cost("O(1) for each key; memory is freed later")
        .about("Deletes keys, freeing later."),
];

fn copy(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (from, to) = (args.key(), args.key());
    let (mut target, mut replace) = (db.current(), false);
    while let Some(word) = args.option() {
        match &*word {
            "REPLACE" => replace = true,
            "DB" => {
                let index = i32::try_from(args.int()?).map_err(|_| Error::NotInt32)?;
                target = usize::try_from(index)
                    .ok()
                    .filter(|&index| index < db.databases())
                    .ok_or(Error::DbIndexOutOfRange)?;
            }
            _ => return Err(Error::Syntax),
        }
    }
    if from == to && target == db.current() {
        return Err(Error::SameObject);
    }
    let Some(entry) = db.read(from).and_then(Entry::copied) else { return Ok(out.int(0)) };
    let there = db.within(target, |db| db.contains(to));
    if there && !replace {
        return Ok(out.int(0));
    }
    db.within(target, |db| {
        db.place(to, entry);
        db.raise(to, Class::Generic, "copy_to");
    });
    Ok(out.int(1))
}

fn del(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let later = db.freed_later.deleted;
    let removed = args.rest().iter().filter(|key| db.delete(key, later)).count();
    Ok(out.int(removed as i64))
}

fn unlink(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let removed = args.rest().iter().filter(|key| db.delete(key, true)).count();
    Ok(out.int(removed as i64))
}

fn exists(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(args.rest().iter().filter(|key| db.probe(key).is_some()).count() as i64))
}

fn touch(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(args.rest().iter().filter(|key| db.read(key).is_some()).count() as i64))
}

fn expire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_expiry(db, args, out, 1000, true)
}

fn expireat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_expiry(db, args, out, 1000, false)
}

fn pexpire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_expiry(db, args, out, 1, true)
}

fn pexpireat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_expiry(db, args, out, 1, false)
}

/// The conditions of the EXPIRE family.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn read(args: &mut Args<'_>) -> Result<Conditions> {
        let mut given = Conditions::default();
        while let Some(bytes) = args.peek() {
            match args.option().as_deref() {
                Some("NX") => given.nx = true,
                Some("XX") => given.xx = true,
                Some("GT") => given.gt = true,
                Some("LT") => given.lt = true,
                _ => {
                    return Err(Error::showing("ERR Unsupported option {}", &[bytes]));
                }
            }
        }
        if given.nx && (given.xx || given.gt || given.lt) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Error::of(text));
        }
        if given.gt && given.lt {
            return Err(Error::of("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(given)
    }

    fn hold(self, current: Option<i64>, wanted: i64) -> bool {
        // No expiry counts as one that never comes.
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current.is_none_or(|current| wanted <= current)
            || self.lt && current.is_some_and(|current| wanted >= current))
    }
}

fn set_expiry(
    db: &mut Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    unit_ms: i64,
    relative: bool,
) -> Result<Done> {
    let key = args.key();
    let number = args.bytes();
    let words = args.rest();
    let conditions = Conditions::read(args)?;
    let number = parse_i64(number).ok_or(Error::NotInteger)?;
    let base_ms = if relative { db.wall_ms() } else { 0 };
    let at = number
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or_else(|| Error::invalid_expire(args.name()))?;
    let Some(entry) = db.look(key) else { return Ok(out.int(0)) };
    if !conditions.hold(entry.deadline_ms(), at) {
        return Ok(out.int(0));
    }
    if at <= db.now_ms() {
        db.remove(key, "del");
        db.replay_as(&[FreedLater::removal(db.freed_later.expired), key]);
    } else {
        db.set_deadline(key, Some(at), "expire");
        // PEXPIREAT is logged as it came.
        if db.is_logged() && (relative || unit_ms != 1) {
            let at = at.to_string();
            let mut form = vec![&b"PEXPIREAT"[..], key, at.as_bytes()];
            form.extend(words);
            db.replay_as(&form);
        }
    }
    Ok(out.int(1))
}

/// The deadline of a key: -2 without the key, -1 without a deadline, else what `show` makes of it.
fn deadline(db: &Db, args: &mut Args<'_>, out: Out<'_>, show: impl Fn(i64) -> i64) -> Result<Done> {
    Ok(out.int(match db.probe(args.key()) {
        None => -2,
        Some(entry) => entry.deadline_ms().map_or(-1, show),
    }))
}

fn expiretime(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    deadline(db, args, out, |at| at.saturating_add(500) / 1000)
}

fn pexpiretime(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    deadline(db, args, out, |at| at)
}

fn ttl(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let now_ms = db.now_ms();
    deadline(db, args, out, |at| at.saturating_sub(now_ms).saturating_add(500) / 1000)
}

fn pttl(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let now_ms = db.now_ms();
    deadline(db, args, out, |at| at.saturating_sub(now_ms))
}

fn keys(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let pattern = args.bytes();
    let mut items = out.array_of_unknown_len();
    for entry in db.entries() {
        if pattern == b"*" || glob_match(pattern, entry.key(), false) {
            items.bulk(entry.key());
            if items.is_full() {
                break;
            }
        }
    }
    Ok(items.end())
}

fn move_(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let target = i32::try_from(args.int()?).map_err(|_| Error::NotInt32)?;
    let target = usize::try_from(target)
        .ok()
        .filter(|&index| index < db.databases())
        .ok_or(Error::DbIndexOutOfRange)?;
    if target == db.current() {
        return Err(Error::SameObject);
    }
    if !db.contains(key) || db.within(target, |db| db.contains(key)) {
        return Ok(out.int(0));
    }
    if let Some(entry) = db.take(key) {
        db.within(target, |db| db.place(key, entry));
        db.raise(key, Class::Generic, "move_from");
        db.within(target, |db| db.raise(key, Class::Generic, "move_to"));
    }
    Ok(out.int(1))
}

fn object<'a>(db: &'a Db, args: &mut Args<'_>) -> Option<&'a Entry> {
    db.inspect(args.key())
}

fn object_encoding(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.bulk_or_null(object(db, args).map(|entry| entry.encoding().as_bytes())))
}

fn object_freq(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(entry) = object(db, args) else { return Ok(out.null()) };
    if !db.ageing.is_lfu {
        return Err(Error::of(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        ));
    }
    Ok(out.int(db.ageing.count(entry.ageing(), db.now_ms()) as i64))
}

fn object_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    const LINES: &[(&str, &[&str])] = &[
        (
            "ENCODING <key>",
            &[
                "Return the kind of internal representation used in order to store the value",
                "associated with a <key>.",
            ],
        ),
        (
            "FREQ <key>",
            &[
                "Return the access frequency index of the <key>. The returned integer is",
                "proportional to the logarithm of the recent access frequency of the key.",
            ],
        ),
        (
            "IDLETIME <key>",
            &[
                "Return the idle time of the <key>, that is the approximated number of",
                "seconds elapsed since the last access to the key.",
            ],
        ),
        (
            "REFCOUNT <key>",
            &[
                "Return the number of references of the value associated with the specified",
                "<key>.",
            ],
        ),
    ];
    Ok(super::help(args, out, LINES))
}

fn object_idletime(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(entry) = object(db, args) else { return Ok(out.null()) };
    if db.ageing.is_lfu {
        return Err(Error::of(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that \
             when switching between policies at runtime LRU and LFU data will take some time to \
             adjust.",
        ));
    }
    Ok(out.int(db.ageing.idle_seconds(entry.ageing(), db.now_ms()) as i64))
}

// Redis: small integers are shared objects, whose count is the largest there is.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10000;

fn object_refcount(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(entry) = object(db, args) else { return Ok(out.null()) };
    let shared = match entry.string() {
        Some(crate::keyspace::value::StrRef::Int(number)) => {
            db.shares_integers && SHARED_INTEGERS.contains(&number)
        }
        _ => false,
    };
    Ok(out.int(if shared { i32::MAX as i64 } else { 1 }))
}

fn persist(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let expires = db.look(key).is_some_and(|entry| entry.deadline_ms().is_some());
    if expires {
        db.set_deadline(key, None, "persist");
    }
    Ok(out.yes_no(expires))
}

fn randomkey(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.bulk_or_null(call.state.db.random_key().as_deref()))
}

fn rename(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (from, to) = (args.key(), args.key());
    if !db.contains(from) {
        return Err(Error::NoSuchKey);
    }
    if from != to {
        rename_key(db, from, to);
    }
    Ok(out.ok())
}

fn renamenx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (from, to) = (args.key(), args.key());
    if !db.contains(from) {
        return Err(Error::NoSuchKey);
    }
    let free = !db.contains(to);
    if free {
        rename_key(db, from, to);
    }
    Ok(out.yes_no(free))
}

fn rename_key(db: &mut Db, from: &[u8], to: &[u8]) {
    if let Some(entry) = db.take(from) {
        db.place(to, entry);
        db.raise(from, Class::Generic, "rename_from");
        db.raise(to, Class::Generic, "rename_to");
    }
}

fn scan(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let cursor = super::scan_cursor(args.bytes())?;
    let (mut pattern, mut count, mut kind) = (None, 10, None);
    while let Some(word) = args.option() {
        match &*word {
            "COUNT" => {
                count = args.int()?;
                if count < 1 {
                    return Err(Error::Syntax);
                }
            }
            // Redis: `*` lets the empty key through too, which no pattern matches.
            "MATCH" => pattern = Some(args.required()?).filter(|pattern| *pattern != b"*"),
            "NOVALUES" => return Err(Error::NovaluesOutsideHscan),
            "TYPE" => kind = Some(args.required()?.to_ascii_lowercase()),
            _ => return Err(Error::Syntax),
        }
    }
    let wanted = |entry: &Entry| {
        pattern.is_none_or(|pattern| glob_match(pattern, entry.key(), false))
            && kind.as_ref().is_none_or(|kind| entry.kind().type_name().as_bytes() == &kind[..])
    };
    let mut found = Vec::new();
    let next = db.scan(cursor, count as usize, wanted, |entry| found.push(entry.key()));
    let mut items = out.array(2);
    items.text(&next.to_string());
    items.array(found.len());
    found.into_iter().for_each(|key| items.bulk(key));
    Ok(items.end())
}

fn type_(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.simple(db.probe(args.key()).map_or("none", |entry| entry.kind().type_name())))
}
