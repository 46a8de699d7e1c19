//! Sets: members, random members, moves. Intersections, unions and differences are in
//! `set_algebra`.
//!
//! Invariant: a random choice enters the log as what was chosen (SPOP as SREM or DEL).

use super::scan::ScanOptions;
use super::set_algebra as algebra;
use crate::command::{read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, FreedLater};
use crate::keyspace::value::Value;
use crate::resp::out::{Done, Items, Out};
use crate::types::compact::Item;
use crate::types::set::Set;

/// The family.
pub const FAMILY: Family = Family { group: "set", rows: ROWS };

const ROWS: &[Row] = &[
    write("SADD key member [member ...]", sadd)
        .fast()
        .grows()
        .since("1.0.0")
        .about("Adds members to a set; the key is created if it is absent.")
        .cost("O(1) for each member added."),
    write("SREM key member [member ...]", srem)
        .fast()
        .since("1.0.0")
        .about("Removes members from a set; the key goes with the last one.")
        .cost("O(N) where N is the number of members to be removed."),
    read("SISMEMBER key member", sismember)
        .fast()
        .since("1.0.0")
        .about("Says whether something is a member of a set.")
        .cost("O(1)"),
    read("SMISMEMBER key member [member ...]", smismember)
        .fast()
        .since("6.2.0")
        .about("Says for several things whether they are members of a set.")
        .cost("O(N) where N is the number of things asked for."),
    read("SMEMBERS key", smembers)
        .varies_in_order()
        .since("1.0.0")
        .about("Returns all members of a set.")
        .cost("O(N) where N is the number of members."),
    read("SCARD key", scard)
        .fast()
        .since("1.0.0")
        .about("Returns the number of members of a set.")
        .cost("O(1)"),
    write("SPOP key [count]", spop)
        .fast()
        .varies()
        .since("1.0.0")
        .about("Takes random members out of a set and returns them.")
        .cost("O(N) where N is the count, 1 without it."),
    read("SRANDMEMBER key [count]", srandmember)
        .varies()
        .since("1.0.0")
        .about("Returns random members of a set.")
        .cost("O(N) where N is the absolute count, 1 without it."),
    write("SMOVE source destination member", smove)
        .fast()
        .since("1.0.0")
        .about("Moves a member from one set to another.")
        .cost("O(1)"),
    read("SINTER key [key ...]", algebra::sinter)
        .varies_in_order()
        .since("1.0.0")
        .about("Returns what several sets have in common.")
        .cost("O(N*M) for the smallest of M sets, of N members."),
    write("SINTERSTORE destination key [key ...]", algebra::sinterstore)
        .grows()
        .since("1.0.0")
        .about("Stores what several sets have in common.")
        .cost("O(N*M) for the smallest of M sets, of N members."),
    read("SINTERCARD numkeys key [key ...] [LIMIT limit]", algebra::sintercard)
        .since("7.0.0")
        .about("Counts what several sets have in common.")
        .cost("O(N*M) for the smallest of M sets, of N members."),
    read("SUNION key [key ...]", algebra::sunion)
        .varies_in_order()
        .since("1.0.0")
        .about("Returns the union of several sets.")
        .cost("O(N) where N is the number of members of all sets."),
    write("SUNIONSTORE destination key [key ...]", algebra::sunionstore)
        .grows()
        .since("1.0.0")
        .about("Stores the union of several sets.")
        .cost("O(N) where N is the number of members of all sets."),
    read("SDIFF key [key ...]", algebra::sdiff)
        .varies_in_order()
        .since("1.0.0")
        .about("Returns what the first set has and none of the others.")
        .cost("O(N) where N is the number of members of all sets."),
    write("SDIFFSTORE destination key [key ...]", algebra::sdiffstore)
        .grows()
        .since("1.0.0")
        .about("Stores what the first set has and none of the others.")
        .cost("O(N) where N is the number of members of all sets."),
    read("SSCAN key cursor [MATCH pattern] [COUNT count]", sscan)
        .varies()
        .since("2.8.0")
        .about("Goes through the members of a set piece by piece.")
        .cost("O(1) for every call, O(N) for a whole run over N members."),
];

/// Members of one SREM record, when SPOP takes out many.
const RECORD_MEMBERS_MAX: usize = 1024;

/// Writes a member.
pub(super) fn push_member(items: &mut Items<'_>, member: &Item<'_>) {
    match *member {
        Item::Int(number) => items.bulk_int(number),
        Item::Bytes(bytes) => items.bulk(bytes),
    }
}

fn sadd(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut edit = db.edit::<Set>(args.key())?;
    let members = args.rest();
    let was_there = edit.exists();
    let (set, limits, _) = edit.parts();
    if was_there {
        set.announce(members.len(), limits);
    } else {
        *set = Set::for_member(members[0], members.len(), limits);
    }
    let added = members.iter().filter(|member| set.add(member, limits)).count();
    if added > 0 {
        edit.changed_times(added, "sadd");
    }
    Ok(out.int(added as i64))
}

fn srem(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(mut set) = db.edit::<Set>(args.key())?.existing() else { return Ok(out.int(0)) };
    let mut removed = 0;
    for member in args.rest() {
        removed += usize::from(set.remove(member));
        if set.is_empty() {
            break;
        }
    }
    if removed > 0 {
        set.changed_times(removed, "srem");
    }
    Ok(out.int(removed as i64))
}

fn sismember(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<Set>(args.key())?;
    let member = args.bytes();
    Ok(out.yes_no(set.is_some_and(|set| set.contains(member))))
}

fn smismember(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<Set>(args.key())?;
    let mut items = out.array(args.left());
    for member in args.rest() {
        items.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(items.end())
}

fn smembers(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<Set>(args.key())?;
    let mut items = out.set(set.map_or(0, Set::len));
    for member in set.iter().flat_map(|set| set.iter()) {
        push_member(&mut items, &member);
    }
    Ok(items.end())
}

fn scard(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<Set>(args.key())?;
    Ok(out.int(set.map_or(0, Set::len) as i64))
}

fn spop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    if !args.is_done() {
        return spop_many(db, key, args, out);
    }
    let Some(mut set) = db.edit::<Set>(key)?.existing() else { return Ok(out.null()) };
    let (members, _, rng) = set.parts();
    let Some(member) = members.pop_random(rng) else { return Ok(out.null()) };
    set.changed("spop");
    set.replay_as(&[b"SREM", key, &member]);
    Ok(out.bulk(&member))
}

fn spop_many(db: &mut Db, key: &[u8], args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    let count = args.int().ok().and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(Error::NotPositive)?;
    let removal = FreedLater::removal(db.freed_later.replaced);
    let Some(mut set) = db.edit::<Set>(key)?.existing() else { return Ok(out.set(0).end()) };
    if count == 0 {
        return Ok(out.set(0).end());
    }
    if count >= set.len() {
        let mut items = out.set(set.len());
        set.iter().for_each(|member| push_member(&mut items, &member));
        set.changed_times(set.len(), "spop");
        set.replay_as(&[removal, key]);
        let gone = std::mem::take(&mut *set);
        drop(set);
        db.bury_value(Value::Set(Box::new(gone)));
        return Ok(items.end());
    }
    let mut items = out.set(count);
    let mut popped: Vec<Vec<u8>> = Vec::new();
    let logged = set.db().is_logged();
    let (members, limits, rng) = set.parts();
    let replaced = members.pop_many(count, limits, rng, |member| {
        push_member(&mut items, &member);
        if logged {
            popped.push(member.to_vec());
        }
    });
    set.changed_times(count, "spop");
    if let Some(replaced) = replaced {
        set.db().bury_value(Value::Set(Box::new(replaced)));
    }
    for some in popped.chunks(RECORD_MEMBERS_MAX) {
        let words = [&b"SREM"[..], key].into_iter().chain(some.iter().map(Vec::as_slice));
        set.replay_as(&words.collect::<Vec<_>>());
    }
    Ok(items.end())
}

fn srandmember(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    if args.is_done() {
        let Some(set) = db.get::<Set>(key)? else { return Ok(out.null()) };
        let member = set.random(&mut *db.reader_rng());
        return Ok(match member {
            Some(Item::Int(number)) => out.bulk_int(number),
            Some(Item::Bytes(bytes)) => out.bulk(bytes),
            None => out.null(),
        });
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(Error::CountBelowMinimum);
    }
    let Some(set) = db.get::<Set>(key)? else { return Ok(out.array(0).end()) };
    let rng = &mut *db.reader_rng();
    if count >= 0 {
        let count = set.len().min(count as usize);
        let mut items = out.array(count);
        set.random_distinct(count, rng, |member| push_member(&mut items, &member));
        return Ok(items.end());
    }
    let mut items = out.array(count.unsigned_abs() as usize);
    for _ in 0..count.unsigned_abs() {
        if let Some(member) = set.random(rng) {
            push_member(&mut items, &member);
        }
        if items.is_full() {
            break;
        }
    }
    Ok(items.end())
}

fn smove(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (source, destination, member) = (args.key(), args.key(), args.bytes());
    let Some(from) = db.peek::<Set>(source)? else { return Ok(out.int(0)) };
    db.peek::<Set>(destination)?;
    if source == destination {
        return Ok(out.yes_no(from.contains(member)));
    }
    let Some(mut from) = db.edit::<Set>(source)?.existing() else { return Ok(out.int(0)) };
    if !from.remove(member) {
        return Ok(out.int(0));
    }
    from.changed("srem");
    drop(from);
    let mut edit = db.edit::<Set>(destination)?;
    let was_there = edit.exists();
    let (to, limits, _) = edit.parts();
    if !was_there {
        *to = Set::for_member(member, 1, limits);
    }
    if to.add(member, limits) {
        edit.changed("sadd");
    }
    Ok(out.int(1))
}

fn sscan(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let cursor = super::scan_cursor(args.bytes())?;
    let Some(set) = db.get::<Set>(key)? else {
        let mut items = out.array(2);
        items.bulk_int(0);
        items.array(0);
        return Ok(items.end());
    };
    let options = ScanOptions::parse(args, None)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        if member.with_bytes(|text| options.matches(text)) {
            found.push(member);
        }
    });
    let mut items = out.array(2);
    items.text(&next.to_string());
    items.array(found.len());
    found.iter().for_each(|member| push_member(&mut items, member));
    Ok(items.end())
}

#[cfg(test)]
mod tests;
