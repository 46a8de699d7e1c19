//! Hash commands. The table is the contract; the functions below it appear in the same order.
//! Those about deadlines of fields are in `field_deadlines`.

use super::field_deadlines as deadlines;
use super::scan::ScanOptions;
use crate::command::{read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::resp::out::{Done, Out};
use crate::types::compact::Item;
use crate::types::hash::{Deadline, Hash};
use crate::types::number::Extended;

/// The family.
pub const FAMILY: Family = Family { group: "hash", rows: ROWS };

const ROWS: &[Row] = &[
    write("HDEL key field [field ...]", hdel)
        .fast()
        .since("2.0.0")
        .cost("O(N) where N is the number of fields to remove")
        .about("Removes fields of a hash, and the key with its last field."),
    read("HEXISTS key field", hexists)
        .fast()
        .since("2.0.0")
        .cost("O(1)")
        .about("Tells whether a hash has a field."),
    write(
        "HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        deadlines::hexpire,
    )
    .fast()
    .since("7.4.0")
    .cost("O(N) where N is the number of fields")
    .arity(-6)
    .about("Lets fields of a hash expire after seconds."),
    write(
        "HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        deadlines::hexpireat,
    )
    .fast()
    .since("7.4.0")
    .cost("O(N) where N is the number of fields")
    .arity(-6)
    .about("Lets fields of a hash expire at a Unix time in seconds."),
    read("HEXPIRETIME key FIELDS numfields field [field ...]", deadlines::hexpiretime)
        .fast()
        .since("7.4.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with the Unix times in seconds at which fields expire."),
    read("HGET key field", hget)
        .fast()
        .since("2.0.0")
        .cost("O(1)")
        .about("Replies with the value of a field of a hash, or null."),
    read("HGETALL key", hgetall)
        .varies_in_order()
        .since("2.0.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with all fields and values of a hash."),
    write("HGETDEL key FIELDS numfields field [field ...]", deadlines::hgetdel)
        .fast()
        .since("8.0.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with the values of fields of a hash and removes the fields."),
    write(
        "HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        deadlines::hgetex,
    )
    .fast()
    .since("8.0.0")
    .cost("O(N) where N is the number of fields")
    .about("Replies with the values of fields of a hash and sets or clears their expiry."),
    write("HINCRBY key field increment", hincrby)
        .fast()
        .grows()
        .since("2.0.0")
        .cost("O(1)")
        .about("Increments the integer in a field of a hash."),
    write("HINCRBYFLOAT key field increment", hincrbyfloat)
        .fast()
        .grows()
        .since("2.6.0")
        .cost("O(1)")
        .about("Increments the decimal number in a field of a hash."),
    read("HKEYS key", hkeys)
        .varies_in_order()
        .since("2.0.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with all fields of a hash."),
    read("HLEN key", hlen)
        .fast()
        .since("2.0.0")
        .cost("O(1)")
        .about("Replies with the number of fields of a hash."),
    read("HMGET key field [field ...]", hmget)
        .fast()
        .since("2.0.0")
        .cost("O(N) where N is the number of fields asked for")
        .about("Replies with the values of several fields of a hash."),
    write("HMSET key field value [field value ...]", hmset)
        .fast()
        .grows()
        .since("2.0.0")
        .cost("O(N) where N is the number of pairs")
        .about("Sets several fields of a hash; HSET does the same."),
    write("HPERSIST key FIELDS numfields field [field ...]", deadlines::hpersist)
        .fast()
        .since("7.4.0")
        .cost("O(N) where N is the number of fields")
        .about("Takes the expiry of fields of a hash away."),
    write(
        "HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        deadlines::hpexpire,
    )
    .fast()
    .since("7.4.0")
    .cost("O(N) where N is the number of fields")
    .arity(-6)
    .about("Lets fields of a hash expire after milliseconds."),
    write(
        "HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields \
         field [field ...]",
        deadlines::hpexpireat,
    )
    .fast()
    .since("7.4.0")
    .cost("O(N) where N is the number of fields")
    .arity(-6)
    .about("Lets fields of a hash expire at a Unix time in milliseconds."),
    read("HPEXPIRETIME key FIELDS numfields field [field ...]", deadlines::hpexpiretime)
        .fast()
        .since("7.4.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with the Unix times in milliseconds at which fields expire."),
    read("HPTTL key FIELDS numfields field [field ...]", deadlines::hpttl)
        .fast()
        .varies()
        .since("7.4.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with the milliseconds that fields of a hash have left."),
    write("HRANDFIELD key [count [WITHVALUES]]", hrandfield)
        .reads()
        .varies()
        .since("6.2.0")
        .cost("O(N) where N is the number of fields returned")
        .about("Replies with random fields of a hash."),
    read("HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]", hscan)
        .varies()
        .since("2.8.0")
        .cost("O(1) for every call, O(N) for a whole scan")
        .about("Goes through the fields of a hash piece by piece."),
    write("HSET key field value [field value ...]", hset)
        .fast()
        .grows()
        .since("2.0.0")
        .cost("O(N) where N is the number of pairs")
        .about("Sets fields of a hash."),
    write(
        "HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        deadlines::hsetex,
    )
    .fast()
    .grows()
    .since("8.0.0")
    .cost("O(N) where N is the number of fields")
    .about("Sets fields of a hash and their expiry."),
    write("HSETNX key field value", hsetnx)
        .fast()
        .grows()
        .since("2.0.0")
        .cost("O(1)")
        .about("Sets a field of a hash that is not there."),
    read("HSTRLEN key field", hstrlen)
        .fast()
        .since("3.2.0")
        .cost("O(1)")
        .about("Replies with the length of the value of a field."),
    read("HTTL key FIELDS numfields field [field ...]", deadlines::httl)
        .fast()
        .varies()
        .since("7.4.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with the seconds that fields of a hash have left."),
    read("HVALS key", hvals)
        .varies_in_order()
        .since("2.0.0")
        .cost("O(N) where N is the number of fields")
        .about("Replies with all values of a hash."),
];

fn hdel(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    let Some(mut hash) = db.edit::<Hash>(key)?.existing() else { return Ok(out.int(0)) };
    hash.drop_gone(args.rest().iter().copied());
    let removed = args.rest().iter().filter(|field| hash.remove(field, now_ms)).count();
    if removed > 0 {
        hash.changed_times(removed, "hdel");
    }
    Ok(out.int(removed as i64))
}

fn hexists(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let hash = db.hash_at(args.key())?;
    Ok(out.yes_no(hash.is_some_and(|hash| hash.contains(args.bytes(), db.now_ms()))))
}

fn hget(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let hash = db.hash_at(args.key())?;
    Ok(match hash.and_then(|hash| hash.get(args.bytes(), db.now_ms())) {
        Some(value) => value.with_bytes(|value| out.bulk(value)),
        None => out.null(),
    })
}

fn hgetall(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let now_ms = db.now_ms();
    let hash = db.hash_at(args.key())?;
    let mut items = out.map(hash.map_or(0, |hash| hash.live_len(now_ms)));
    for (field, value) in hash.into_iter().flat_map(|hash| hash.iter(now_ms)) {
        field.with_bytes(|field| items.bulk(field));
        value.with_bytes(|value| items.bulk(value));
    }
    Ok(items.end())
}

fn hincrby(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, field, increment, now_ms) = (args.key(), args.bytes(), args.int()?, db.now_ms());
    let mut hash = db.edit::<Hash>(key)?.or_default();
    hash.drop_gone([field]);
    let old = match hash.view().get(field, now_ms) {
        Some(value) => value.as_i64().ok_or(Error::HashValueNotInteger)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(Error::Overflow)?;
    keep_and_set(&mut hash, field, itoa::Buffer::new().format(new).as_bytes());
    hash.changed("hincrby");
    Ok(out.int(new))
}

fn hincrbyfloat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, field, now_ms) = (args.key(), args.bytes(), db.now_ms());
    let increment = Extended::parse(args.bytes()).ok_or(Error::NotFloat)?;
    if !increment.is_finite() {
        return Err(Error::NanOrInfinite);
    }
    let mut hash = db.edit::<Hash>(key)?.or_default();
    hash.drop_gone([field]);
    let old = match hash.view().get(field, now_ms) {
        Some(value) => value.with_bytes(Extended::parse).ok_or(Error::HashValueNotFloat)?,
        None => Extended::ZERO,
    };
    let new = old.plus(increment).filter(Extended::is_finite).ok_or(Error::NanOrInfinity)?;
    let mut text = Vec::new();
    new.write_to(&mut text);
    keep_and_set(&mut hash, field, &text);
    hash.changed("hincrbyfloat");
    deadlines::replay_value(&mut hash, field, &text);
    Ok(out.bulk(&text))
}

/// Sets a field, which keeps its deadline.
fn keep_and_set(hash: &mut Edit<'_, Hash>, field: &[u8], value: &[u8]) {
    let now_ms = hash.now_ms();
    let (hash, limits, _) = hash.parts();
    hash.set(field, value, Deadline::Keep, now_ms, limits);
}

fn hkeys(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    one_side(db, args, out, |(field, _)| field)
}

fn one_side(
    db: &Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    side: for<'h> fn((Item<'h>, Item<'h>)) -> Item<'h>,
) -> Result<Done> {
    let now_ms = db.now_ms();
    let hash = db.hash_at(args.key())?;
    let mut items = out.array(hash.map_or(0, |hash| hash.live_len(now_ms)));
    for pair in hash.into_iter().flat_map(|hash| hash.iter(now_ms)) {
        side(pair).with_bytes(|text| items.bulk(text));
    }
    Ok(items.end())
}

fn hlen(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(db.hash_at(args.key())?.map_or(0, |hash| hash.len()) as i64))
}

fn hmget(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let hash = db.hash_at(args.key())?;
    let mut items = out.array(args.left());
    for field in args.rest() {
        match hash.and_then(|hash| hash.get(field, db.now_ms())) {
            Some(value) => value.with_bytes(|value| items.bulk(value)),
            None => items.null(),
        }
    }
    Ok(items.end())
}

fn hmset(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_pairs(db, args)?;
    Ok(out.ok())
}

fn hrandfield(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    let mut rng = db.rng.clone();
    let done = draw(db, key, args, out, &mut rng, now_ms);
    db.rng = rng;
    done
}

fn draw(
    db: &Db,
    key: &[u8],
    args: &mut Args<'_>,
    out: Out<'_>,
    rng: &mut rand::rngs::SmallRng,
    now_ms: i64,
) -> Result<Done> {
    if args.is_done() {
        let pair = db.hash_at(key)?.and_then(|hash| hash.random(rng, now_ms));
        return Ok(match pair {
            Some((field, _)) => field.with_bytes(|field| out.bulk(field)),
            None => out.null(),
        });
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(Error::CountBelowMinusMax);
    }
    let with_values = !args.is_done();
    if with_values && (!args.accept("WITHVALUES") || !args.is_done()) {
        return Err(Error::Syntax);
    }
    if with_values && count.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(Error::OutOfRange);
    }
    let Some(hash) = db.hash_at(key)? else { return Ok(out.array(0).end()) };
    let live = hash.live_len(now_ms);
    let wanted = count.unsigned_abs() as usize;
    let drawn = match (count >= 0, live) {
        (true, _) => wanted.min(live),
        (false, 0) => 0,
        (false, _) => wanted,
    };
    let in_pairs = with_values && out.is_resp3();
    let mut items = out.array(if with_values && !in_pairs { drawn * 2 } else { drawn });
    let mut visit = |field: Item<'_>, value: Item<'_>| {
        if in_pairs {
            items.array(2);
        }
        field.with_bytes(|field| items.bulk(field));
        if with_values {
            value.with_bytes(|value| items.bulk(value));
        }
        !items.is_full()
    };
    if count >= 0 {
        hash.sample(drawn, rng, now_ms, |field, value| {
            visit(field, value);
        });
    } else {
        hash.random_many(drawn, rng, now_ms, visit);
    }
    Ok(items.end())
}

fn hscan(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, cursor) = (args.key(), super::scan_cursor(args.bytes())?);
    let Some(hash) = db.hash_at(key)? else {
        // Redis: options are not looked at without a key.
        let mut items = out.array(2);
        items.text("0");
        items.array(0);
        return Ok(items.end());
    };
    let options = ScanOptions::parse(args, Some("NOVALUES"))?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, db.now_ms(), |field, value| {
        if field.with_bytes(|field| options.matches(field)) {
            found.push(field);
            if !options.bare {
                found.push(value);
            }
        }
    });
    let mut items = out.array(2);
    items.text(&next.to_string());
    items.array(found.len());
    found.into_iter().for_each(|text| text.with_bytes(|text| items.bulk(text)));
    Ok(items.end())
}

fn hset(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(set_pairs(db, args)? as i64))
}

/// Sets the pairs that follow the key; the number of new fields.
fn set_pairs(db: &mut Db, args: &mut Args<'_>) -> Result<usize> {
    if args.left().is_multiple_of(2) {
        return Err(Error::wrong_arity(args.name()));
    }
    let (key, now_ms) = (args.key(), db.now_ms());
    let pairs = args.rest();
    let mut edit = db.edit::<Hash>(key)?.or_default();
    edit.drop_gone(pairs.iter().step_by(2).copied());
    let (hash, limits, _) = edit.parts();
    let longest = pairs.iter().map(|text| text.len()).max().unwrap_or(0);
    hash.prepare(pairs.len() / 2, longest, limits);
    let set = |pair: &&[&[u8]]| hash.set(pair[0], pair[1], Deadline::Clear, now_ms, limits);
    let fresh = pairs.chunks_exact(2).filter(set).count();
    edit.changed_times(pairs.len() / 2, "hset");
    Ok(fresh)
}

fn hsetnx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, field, value, now_ms) = (args.key(), args.bytes(), args.bytes(), db.now_ms());
    let mut edit = db.edit::<Hash>(key)?.or_default();
    if edit.view().contains(field, now_ms) {
        return Ok(out.int(0));
    }
    edit.drop_gone([field]);
    let (hash, limits, _) = edit.parts();
    hash.set(field, value, Deadline::Clear, now_ms, limits);
    edit.changed("hset");
    Ok(out.int(1))
}

fn hstrlen(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let hash = db.hash_at(args.key())?;
    let value = hash.and_then(|hash| hash.get(args.bytes(), db.now_ms()));
    Ok(out.int(value.map_or(0, |value| value.text_bytes()) as i64))
}

fn hvals(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    one_side(db, args, out, |(_, value)| value)
}
