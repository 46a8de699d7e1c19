//! What was delivered and not acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM.
//!
//! Invariant: each change of an owner enters the log as the XCLAIM that states all of it, so that
//! a replay depends neither on time nor on what is pending there.

use super::{
    count_change, no_key_or_group, push_entry, push_id, range_end, range_start, strict_id,
    strict_ids,
};
use crate::command::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::keyspace::value::Stream;
use crate::resp::out::{Done, Items, Out};
use crate::types::number::parse_i64;
use crate::types::stream::{Consumer, ConsumerId, Group, GroupEdit, Pending, Seeker, StreamId};

/// `XACK key group id [id ...]`
pub fn xack(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name) = (args.key(), args.bytes());
    if db.get::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Ok(out.int(0));
    }
    let ids = strict_ids(args.rest())?;
    let mut acknowledged = 0;
    let Some(mut edit) = db.edit::<Stream>(key)?.existing() else { return Ok(out.int(0)) };
    if let Some(mut group) = edit.edit_group(name) {
        acknowledged = ids.iter().filter(|id| group.acknowledge(**id).is_some()).count();
    }
    edit.db().effects.dirty += acknowledged as u64;
    Ok(out.int(acknowledged as i64))
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub fn xpending(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let words = args.all().len();
    let (key, name) = (args.key(), args.bytes());
    if words != 3 && !(6..=9).contains(&words) {
        return Err(Error::Syntax);
    }
    let mut min_idle_ms = 0;
    let mut wanted = None;
    if words > 3 {
        if args.accept("IDLE") {
            min_idle_ms = args.int()?;
            if words < 8 {
                return Err(Error::Syntax);
            }
        }
        let (start, end) = (args.bytes(), args.bytes());
        let count = args.int()?.max(0) as usize;
        wanted = Some((range_start(start)?, range_end(end)?, count));
    }
    let group = db.get::<Stream>(key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    let Some((start, end, count)) = wanted else { return Ok(summary(group, out)) };
    let owner = match args.peek() {
        None => None,
        Some(name) => match group.find_consumer(name) {
            None => return Ok(out.array(0).end()),
            Some(owner) => group.consumer(owner),
        },
    };
    let now_ms = db.wall_ms();
    let mut items = out.array_of_unknown_len();
    let mut push = |id: StreamId, pending: &Pending| {
        let idle_ms = now_ms.wrapping_sub(pending.delivered_ms);
        if min_idle_ms != 0 && idle_ms < min_idle_ms {
            return false;
        }
        items.array(4);
        push_id(&mut items, id);
        items.bulk(group.consumer_name(pending.consumer));
        items.int(idle_ms.max(0));
        items.int(pending.deliveries as i64);
        true
    };
    // Entries too young to show do not count.
    match owner {
        None => {
            let all = group.pending().iter_from(start).take_while(|(id, _)| *id <= end);
            all.filter(|(id, pending)| push(*id, pending)).take(count).for_each(drop);
        }
        Some(owner) => {
            let own = owner.pending().iter_from(start).take_while(|(id, _)| *id <= end);
            let own = own.filter_map(|(id, _)| Some((id, group.pending().find(&id)?)));
            own.filter(|(id, pending)| push(*id, pending)).take(count).for_each(drop);
        }
    }
    Ok(items.end())
}

fn summary(group: &Group, out: Out<'_>) -> Done {
    let mut items = out.array(4);
    items.int(group.pending().len() as i64);
    let ends = (group.pending().first(), group.pending().last());
    let (Some((first, _)), Some((last, _))) = ends else {
        items.null();
        items.null();
        items.null_array();
        return items.end();
    };
    push_id(&mut items, first);
    push_id(&mut items, last);
    let busy = |consumer: &&Consumer| !consumer.pending().is_empty();
    items.array(group.consumers().map(|(_, consumer)| consumer).filter(busy).count());
    for consumer in group.consumers().map(|(_, consumer)| consumer).filter(busy) {
        items.array(2);
        items.bulk(consumer.name());
        items.bulk_int(consumer.pending().len() as i64);
    }
    items.end()
}

/// Options of XCLAIM behind its ids.
#[derive(Default)]
struct ClaimOptions {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    fn parse(args: &mut Args<'_>, now_ms: i64) -> Result<ClaimOptions> {
        let mut options = ClaimOptions::default();
        let invalid =
            |option: &str| Error::of(format!("ERR Invalid {option} option argument for XCLAIM"));
        while let Some(word) = args.peek() {
            let more = args.left() > 1;
            args.skip(1);
            if word.eq_ignore_ascii_case(b"FORCE") {
                options.force = true;
            } else if word.eq_ignore_ascii_case(b"JUSTID") {
                options.just_id = true;
            } else if word.eq_ignore_ascii_case(b"IDLE") && more {
                let idle_ms = parse_i64(args.bytes()).ok_or_else(|| invalid("IDLE"))?;
                options.delivered_ms = Some(now_ms.wrapping_sub(idle_ms));
            } else if word.eq_ignore_ascii_case(b"TIME") && more {
                options.delivered_ms =
                    Some(parse_i64(args.bytes()).ok_or_else(|| invalid("TIME"))?);
            } else if word.eq_ignore_ascii_case(b"RETRYCOUNT") && more {
                let count = parse_i64(args.bytes()).ok_or_else(|| invalid("RETRYCOUNT"))?;
                options.deliveries = u64::try_from(count).ok();
            } else if word.eq_ignore_ascii_case(b"LASTID") && more {
                options.last_id = strict_id(args.bytes())?;
            } else {
                return Err(Error::showing("ERR Unrecognized XCLAIM option '{}'", &[word]));
            }
        }
        Ok(options)
    }

    /// The delivery time to set. A time that was never or is still to come counts as now: clients
    /// reckon it by clocks of their own.
    fn delivered_ms(&self, now_ms: i64) -> i64 {
        match self.delivered_ms {
            Some(at) if (0..=now_ms).contains(&at) => at,
            _ => now_ms,
        }
    }
}

/// How entries change their owner; the same for all entries of one command.
struct Claim {
    consumer: ConsumerId,
    min_idle_ms: i64,
    now_ms: i64,
    delivered_ms: i64,
    /// The count to set; `None` counts one more delivery unless only ids are wanted.
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
}

/// What came of one entry.
enum Taken {
    /// It has a new owner.
    Claimed(Pending),
    /// It is no longer in the stream, so it is no longer pending either.
    Gone(Pending),
    /// It is not pending, or not for long enough.
    Left,
}

/// What a command did to the pending entries.
#[derive(Default)]
struct Claims {
    claimed: Vec<StreamId>,
    gone: Vec<StreamId>,
    /// What the log must repeat, in order.
    changed: Vec<(StreamId, Pending)>,
}

impl Claim {
    /// Finds or creates the consumer, which counts as seen; says whether it is new.
    fn open(group: &mut GroupEdit<'_>, name: &[u8], now_ms: i64) -> (Claim, bool) {
        let (consumer, created) = see_consumer(group, name, now_ms);
        let claim = Claim {
            consumer,
            min_idle_ms: 0,
            now_ms,
            delivered_ms: now_ms,
            deliveries: None,
            force: false,
            just_id: false,
        };
        (claim, created)
    }

    fn take(&self, group: &mut GroupEdit<'_>, seeker: &mut Seeker<'_>, id: StreamId) -> Taken {
        let before = group.pending().find(&id).copied();
        if seeker.seek(id).is_none() {
            return group.acknowledge(id).map_or(Taken::Left, Taken::Gone);
        }
        let count = match before {
            None if !self.force => return Taken::Left,
            None => 1,
            Some(pending) => {
                let idle_ms = self.now_ms.wrapping_sub(pending.delivered_ms);
                if self.min_idle_ms > 0 && idle_ms < self.min_idle_ms {
                    return Taken::Left;
                }
                pending.deliveries
            }
        };
        let pending = Pending {
            consumer: self.consumer,
            delivered_ms: self.delivered_ms,
            deliveries: self.deliveries.unwrap_or(count.wrapping_add(u64::from(!self.just_id))),
        };
        group.assign(id, pending);
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            consumer.active_ms = self.now_ms;
        }
        Taken::Claimed(pending)
    }
}

impl Claims {
    fn add(&mut self, id: StreamId, taken: Taken) {
        match taken {
            Taken::Claimed(pending) => {
                self.claimed.push(id);
                self.changed.push((id, pending));
            }
            Taken::Gone(pending) => {
                self.gone.push(id);
                self.changed.push((id, pending));
            }
            Taken::Left => {}
        }
    }

    /// The claimed ones as clients see them.
    fn push(&self, items: &mut Items<'_>, stream: &Stream, just_id: bool) {
        items.array(self.claimed.len());
        let mut seeker = stream.seeker();
        for id in &self.claimed {
            match (!just_id).then(|| seeker.seek(*id)).flatten() {
                Some(entry) => push_entry(items, &entry),
                None => push_id(items, *id),
            }
        }
    }
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]`
pub fn xclaim(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, consumer) = (args.key(), args.bytes(), args.bytes());
    if db.get::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_key_or_group(key, name));
    }
    let min_idle_ms = parse_i64(args.bytes()).ok_or(Error::XclaimMinIdle)?;
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|text| StreamId::parse(text, 0)) {
        ids.push(id);
        args.skip(1);
    }
    let now_ms = db.wall_ms();
    let options = ClaimOptions::parse(args, now_ms)?;
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::NoSuchKey)?;
    let mut group = edit.edit_group(name).ok_or(Error::NoSuchKey)?;
    let last_id_moved = options.last_id > group.last_id;
    group.last_id = group.last_id.max(options.last_id);
    let (mut claim, created) = Claim::open(&mut group, consumer, now_ms);
    claim.min_idle_ms = min_idle_ms;
    claim.delivered_ms = options.delivered_ms(now_ms);
    claim.deliveries = options.deliveries;
    (claim.force, claim.just_id) = (options.force, options.just_id);
    let mut claims = Claims::default();
    let mut seeker = group.entries.seeker();
    for id in ids {
        claims.add(id, claim.take(&mut group, &mut seeker, id));
    }
    drop(group);
    let mut items = out.several();
    claims.push(&mut items, &edit, options.just_id);
    settle(&mut edit, key, name, created, &claims);
    if last_id_moved && claims.changed.is_empty() {
        edit.db().effects.dirty += 1;
        log_group_position(&mut edit, key, name);
    }
    Ok(items.end())
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub fn xautoclaim(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, consumer) = (args.key(), args.bytes(), args.bytes());
    let min_idle_ms = parse_i64(args.bytes()).ok_or(Error::XautoclaimMinIdle)?;
    let start = range_start(args.bytes())?;
    let (mut count, mut just_id) = (100, false);
    while !args.is_done() {
        if args.left() > 1 && args.accept("COUNT") {
            let wanted =
                parse_i64(args.bytes()).filter(|count| (1..=i64::MAX / 16).contains(count));
            count = wanted.ok_or(Error::CountNotPositive)?;
        } else if args.accept("JUSTID") {
            just_id = true;
        } else {
            return Err(Error::Syntax);
        }
    }
    if db.get::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_key_or_group(key, name));
    }
    let now_ms = db.wall_ms();
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::NoSuchKey)?;
    let mut group = edit.edit_group(name).ok_or(Error::NoSuchKey)?;
    let (mut claim, created) = Claim::open(&mut group, consumer, now_ms);
    (claim.min_idle_ms, claim.just_id) = (min_idle_ms, just_id);
    let mut claims = Claims::default();
    let mut seeker = group.entries.seeker();
    let first_from = |group: &Group, id| group.pending().iter_from(id).next().map(|(id, _)| id);
    let mut next = first_from(&group, start);
    // Redis: at most ten looks for each entry that is asked for.
    let mut looks = count.saturating_mul(10);
    while let Some(id) = next.filter(|_| looks > 0 && count > 0) {
        let taken = claim.take(&mut group, &mut seeker, id);
        looks -= 1;
        count -= i64::from(!matches!(taken, Taken::Left));
        claims.add(id, taken);
        next = id.next().and_then(|id| first_from(&group, id));
    }
    drop(group);
    let mut items = out.array(3);
    push_id(&mut items, next.unwrap_or(StreamId::MIN));
    claims.push(&mut items, &edit, just_id);
    items.array(claims.gone.len());
    for id in &claims.gone {
        push_id(&mut items, *id);
    }
    settle(&mut edit, key, name, created, &claims);
    Ok(items.end())
}

/// Counts and logs what was claimed.
fn settle(edit: &mut Edit<'_, Stream>, key: &[u8], name: &[u8], created: bool, claims: &Claims) {
    if created {
        count_change(edit.db(), key, "xgroup-createconsumer");
    }
    edit.db().effects.dirty += claims.changed.len() as u64;
    let last_id = edit.group(name).map(|group| group.last_id);
    log_claims(edit, key, name, &claims.changed, last_id);
}

/// The consumer called `name`, created if need be, which counts as seen now; and whether it is new.
pub(super) fn see_consumer(
    group: &mut GroupEdit<'_>,
    name: &[u8],
    now_ms: i64,
) -> (ConsumerId, bool) {
    let created = group.create_consumer(name, now_ms);
    // Either it was just created or the name was taken.
    let consumer = created.or_else(|| group.find_consumer(name)).unwrap_or_default();
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.seen_ms = now_ms;
    }
    (consumer, created.is_some())
}

/// Logs owners of entries, each as the XCLAIM that makes it so; `last_id` is how far the group has
/// read, or with `None` each entry's own id, as a delivery moves it. Without any entry the command
/// leaves no trace in the log.
pub(super) fn log_claims(
    edit: &mut Edit<'_, Stream>,
    key: &[u8],
    name: &[u8],
    changed: &[(StreamId, Pending)],
    last_id: Option<StreamId>,
) {
    edit.db().replay_nothing();
    if !edit.db().is_logged() {
        return;
    }
    for (id, pending) in changed {
        let Some(group) = edit.group(name) else { return };
        let owner = group.consumer_name(pending.consumer).to_vec();
        let last_id = last_id.unwrap_or(*id).to_text();
        let (id, at) = (id.to_text(), pending.delivered_ms.to_string());
        let count = pending.deliveries.to_string();
        edit.replay_as(&[
            &b"XCLAIM"[..],
            key,
            name,
            &owner,
            b"0",
            &id,
            b"TIME",
            at.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &last_id,
        ]);
    }
}

/// Logs how far a group has read.
pub(super) fn log_group_position(edit: &mut Edit<'_, Stream>, key: &[u8], name: &[u8]) {
    if !edit.db().is_logged() {
        return;
    }
    let Some(group) = edit.group(name) else { return };
    let id = group.last_id.to_text();
    let read = group.entries_read.unwrap_or(-1).to_string();
    edit.replay_as(&[&b"XGROUP"[..], b"SETID", key, name, &id, b"ENTRIESREAD", read.as_bytes()]);
}
