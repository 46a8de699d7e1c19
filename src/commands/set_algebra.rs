//! Intersections, unions and differences of sets.
//!
//! A reply streams from the sets themselves; only a union has to remember what it has shown.
//! Invariant: every key is looked at before anything is answered, so that one of another type is
//! refused even beside an absent one.

use super::sets::push_member;
use crate::command::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::Value;
use crate::resp::out::{Done, Out};
use crate::types::compact::Item;
use crate::types::limits::Limits;
use crate::types::set::{sift, Set, Small, Wanted};

/// Up to so many sets a union looks into the earlier sets instead of copying them.
const LOOKED_AT_MAX: usize = 8;

/// The sets at some keys; `None` stands for an absent one.
fn sets_at<'a>(db: &'a Db, keys: &[&[u8]]) -> Result<Vec<Option<&'a Set>>> {
    keys.iter().map(|key| db.get::<Set>(key)).collect()
}

/// The sets to intersect, the smallest first, each once; none at all if one is absent.
fn to_intersect<'a>(db: &'a Db, keys: &[&[u8]]) -> Result<Vec<&'a Set>> {
    let sets: Option<Vec<&Set>> = sets_at(db, keys)?.into_iter().collect();
    let mut sets = sets.unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let mut once: Vec<&Set> = Vec::with_capacity(sets.len());
    for set in sets {
        if !once.iter().any(|other| std::ptr::eq(*other, set)) {
            once.push(set);
        }
    }
    Ok(once)
}

/// The first set and the others that there are; nothing when there is no first one.
fn split<'a>(sets: &[Option<&'a Set>]) -> Option<(&'a Set, Vec<&'a Set>)> {
    let (first, others) = sets.split_first()?;
    Some(((*first)?, others.iter().copied().flatten().collect()))
}

/// Stores a result, or removes the key when there is none; returns its size.
fn store(db: &mut Db, key: &[u8], set: Set, event: &'static str) -> i64 {
    let len = set.len();
    if len == 0 {
        db.remove(key, "del");
    } else {
        db.put(key, NewValue::Owned(Value::Set(Box::new(set))), Ttl::Clear, event);
    }
    len as i64
}

pub(super) fn sinter(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let sets = to_intersect(db, args.rest())?;
    let mut items = out.set_of_unknown_len();
    if let Some((first, others)) = sets.split_first() {
        sift(first, others, Wanted::InAll, |(member, _)| {
            push_member(&mut items, &member);
            !items.is_full()
        });
    }
    Ok(items.end())
}

pub(super) fn sinterstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let destination = args.key();
    let sets = to_intersect(db, args.rest())?;
    let mut result = match sets.first().and_then(|set| set.small()) {
        Some(Small::Integers(_)) => Set::new(),
        _ => Set::packed(),
    };
    if let Some((first, others)) = sets.split_first() {
        sift(first, others, Wanted::InAll, |member| {
            result.add_new(&member, &db.limits);
            true
        });
    }
    result.settle_intersection(&db.limits);
    Ok(out.int(store(db, destination, result, "sinterstore")))
}

pub(super) fn sintercard(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let count = args.int().ok().filter(|count| *count > 0).and_then(|n| usize::try_from(n).ok());
    let count = count.ok_or(Error::NumkeysNotPositive)?;
    let Some(keys) = args.rest().get(..count) else { return Err(Error::NumkeysTooMany) };
    args.skip(count);
    let mut limit = 0;
    while !args.is_done() {
        if !args.accept("limit") || args.is_done() {
            return Err(Error::Syntax);
        }
        let number = args.int().ok().and_then(|limit| usize::try_from(limit).ok());
        limit = number.ok_or(Error::LimitNegative)?;
    }
    let sets = to_intersect(db, keys)?;
    let mut count = 0;
    if let Some((first, others)) = sets.split_first() {
        sift(first, others, Wanted::InAll, |_| {
            count += 1;
            count != limit
        });
    }
    Ok(out.int(count as i64))
}

pub(super) fn sunion(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let sets: Vec<&Set> = sets_at(db, args.rest())?.into_iter().flatten().collect();
    let all_integers = sets.iter().all(|set| matches!(set.small(), Some(Small::Integers(_))));
    if sets.len() > 1 && (all_integers || sets.len() > LOOKED_AT_MAX) {
        // Redis: a union of integers comes in ascending order.
        let mut union = if all_integers { Set::new() } else { Set::packed() };
        sets.iter().for_each(|set| union.add_all(set, &db.limits));
        let mut items = out.set(union.len());
        union.iter().for_each(|member| push_member(&mut items, &member));
        return Ok(items.end());
    }
    let mut items = out.set_of_unknown_len();
    for (at, set) in sets.iter().enumerate() {
        sift(set, &sets[..at], Wanted::InNone, |(member, _)| {
            push_member(&mut items, &member);
            !items.is_full()
        });
    }
    Ok(items.end())
}

/// Whether every set that contains this one is a hash table too, whatever else is in it.
fn stays_hashed(set: &Set, limits: &Limits) -> bool {
    let is_integer = |member: Item<'_>| member.as_i64().is_some();
    set.small().is_none()
        && set.len() > limits.set_max_listpack_entries
        && (set.len() > limits.set_max_intset_entries || !set.iter().next().is_some_and(is_integer))
}

pub(super) fn sunionstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let destination = args.key();
    let sets: Vec<&Set> = sets_at(db, args.rest())?.into_iter().flatten().collect();
    let largest = sets.iter().copied().max_by_key(|set| set.len());
    let copied = largest.filter(|set| stays_hashed(set, &db.limits));
    let mut union = copied.cloned().unwrap_or_default();
    for set in sets.iter().filter(|set| !copied.is_some_and(|copied| std::ptr::eq(**set, copied))) {
        union.add_all(set, &db.limits);
    }
    Ok(out.int(store(db, destination, union, "sunionstore")))
}

pub(super) fn sdiff(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let sets = sets_at(db, args.rest())?;
    let mut items = out.set_of_unknown_len();
    if let Some((first, others)) = split(&sets) {
        sift(first, &others, Wanted::InNone, |(member, _)| {
            push_member(&mut items, &member);
            !items.is_full()
        });
    }
    Ok(items.end())
}

pub(super) fn sdiffstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let destination = args.key();
    let sets = sets_at(db, args.rest())?;
    let mut difference = Set::new();
    if let Some((first, others)) = split(&sets) {
        sift(first, &others, Wanted::InNone, |member| {
            difference.add_new(&member, &db.limits);
            true
        });
    }
    Ok(out.int(store(db, destination, difference, "sdiffstore")))
}
