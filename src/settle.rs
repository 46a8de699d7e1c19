//! Settling: what follows from what a command did, in one place.
//!
//! Invariant: after `command_over` no effect is pending: watchers know, waiters' keys are marked,
//! events are published. After `unit_over` the log has its records.

mod arrival;
mod secrets;
pub mod users;

pub use arrival::{
    connect, connect_caller, connect_internal, connect_primary, misunderstood, suspect,
};

use crate::client::{Awaited, Blocked, ClientId, ReplyMode, Transport};
use crate::command::row::flag;
use crate::command::Spec;
use crate::config::events;
use crate::error::shown;
use crate::keyspace::db::FreedLater;
use crate::keyspace::effects::{listener, Class, Effect};
use crate::log::aof::{Mode, Policy};
use crate::replicas;
use crate::resp::out::{Done, Out};
use crate::resp::replies::Replies;
use crate::state::State;
use crate::tracking::{self, Audience, Tracking};
use rand::rngs::SmallRng;
use rand::SeedableRng;
use secrets::redacted;

/// Makes the listeners of the door what the rooms need now. Called after a room got its first or
/// lost its last inhabitant, and after the configuration changed.
pub fn listen(state: &mut State) {
    if state.db.effects.replays {
        state.db.effects.listeners = 0;
        return;
    }
    let notify = state.config.settings().notify_events;
    let mut listeners = 0;
    // Without K or E nobody could hear an event.
    if notify & (events::KEYSPACE | events::KEYEVENT) != 0 {
        listeners |= notify & !(events::KEYSPACE | events::KEYEVENT);
    }
    if !state.watches.is_empty() {
        listeners |= listener::WATCHES;
    }
    if !state.blocking.is_empty() {
        listeners |= listener::WAITERS;
    }
    if !state.tracking.is_empty() {
        listeners |= listener::TRACKING;
    }
    if state.log.is_read() {
        listeners |= listener::LOG;
    }
    if state.aof.mode == Mode::On && state.aof.tail.policy() == Policy::Always {
        listeners |= listener::FRESH;
    }
    state.db.effects.listeners = listeners;
}

/// Puts what the configuration says where it is read on hot paths. Called after every change.
pub fn configured(state: &mut State) {
    let settings = state.config.settings();
    let hash_key = state.db.limits.hash_key;
    let list_packed_threshold = state.db.limits.list_packed_threshold;
    state.db.limits =
        crate::types::limits::Limits { hash_key, list_packed_threshold, ..settings.limits.clone() };
    state.db.string_bytes_max = settings.proto_max_bulk_len;
    state.db.payloads.compress = settings.rdbcompression;
    state.db.payloads.deep = settings.sanitizes_payloads;
    state.db.freed_later = FreedLater {
        deleted: settings.lazyfree_user_del,
        replaced: settings.lazyfree_server_del,
        expired: settings.lazyfree_expire,
        evicted: settings.lazyfree_eviction,
    };
    let delay_us = &state.persistence.key_delay_us;
    delay_us.store(settings.rdb_key_save_delay_us, std::sync::atomic::Ordering::Relaxed);
    state.db.writes_remove_expired = state.role.is_replica() && !settings.replica_read_only;
    let policy = settings.maxmemory_policy;
    let ages = settings.maxmemory > 0 && (policy.is_lru() || policy.is_lfu());
    state.db.shares_integers = !ages;
    state.db.ageing.is_lfu = settings.maxmemory_policy.is_lfu();
    state.db.ageing.log_factor = settings.lfu_log_factor;
    state.db.ageing.decay_minutes = settings.lfu_decay_time_min;
    state.acl.rules.all_channels = settings.acl_pubsub_allchannels;
    state.aof.tail.configured(&settings.append_only, settings.latency_monitor_threshold_ms);
    if let Some(outside) = state.outside.clone() {
        outside.configured(settings);
        outside.login_needed(state.acl.needs_login());
    }
    crate::memory::limit_clients(state, state.current);
    replicas::count_good(state);
    replicas::cut_back(state);
    listen(state);
}

/// One command is over: its effects reach all but the waiters and the log.
#[inline]
pub fn command_over(state: &mut State) {
    state.db.drop_met_expired();
    if state.db.effects.hears(Class::KeyMiss as u32) {
        state.db.effects.report_missed();
    }
    if !state.db.effects.happened.is_empty() {
        spread(state);
    }
}

#[cold]
fn spread(state: &mut State) {
    for effect in std::mem::take(&mut state.db.effects.happened) {
        match effect {
            Effect::Modified { db, key, wakes } => {
                break_watches(state, db, &key, true);
                modified(state, db, &key, state.current, wakes);
            }
            Effect::Expired { db, key } => {
                break_watches(state, db, &key, false);
                modified(state, db, &key, None, true);
            }
            Effect::Woken { db, key } => state.blocking.changed(db, &key),
            Effect::Event { db, key, class, name } => publish_event(state, db, &key, class, name),
            Effect::Flushed(index) => flushed(state, index),
            Effect::Swapped(first, second) => swapped(state, first, second),
        }
    }
}

/// What tracks, and who is told.
fn audience(state: &mut State) -> (&mut Tracking, Audience<'_>) {
    let (clients, settings) = (&mut state.clients, state.config.settings());
    (&mut state.tracking, Audience { clients, settings, now_ms: state.db.now_ms() })
}

/// A key changed, by a client or by time.
fn modified(state: &mut State, db: usize, key: &[u8], by: Option<ClientId>, wakes: bool) {
    if wakes {
        state.blocking.changed(db, key);
    }
    if !state.tracking.is_empty() {
        let (tracking, mut to) = audience(state);
        tracking.changed(key, by, &mut to);
    }
}

/// A key changed: transactions of those who watch it will abort. `by_command` even counts when the
/// key is gone as it was before.
fn break_watches(state: &mut State, db: usize, key: &[u8], by_command: bool) {
    if state.watches.is_empty() {
        return;
    }
    if let Some(watchers) = state.watches.get(&(db, key.into())) {
        // What was gone already when the watch began may go once more: an expired key is removed.
        let counts = by_command || state.db.is_alive(db, key);
        for (id, existed) in watchers {
            if let (true, Some(client)) = (*existed || counts, state.clients.find_mut(*id)) {
                client.watch_broken = true;
            }
        }
    }
}

fn publish_event(state: &mut State, db: usize, key: &[u8], class: Class, name: &'static str) {
    let settings = state.config.settings();
    let now_ms = state.db.now_ms();
    if settings.notify_events & class as u32 == 0 {
        return;
    }
    if settings.notify_events & events::KEYSPACE != 0 {
        let mut channel = format!("__keyspace@{db}__:").into_bytes();
        channel.extend_from_slice(key);
        let message = name.as_bytes();
        state.pubsub.publish(false, &channel, message, &mut state.clients, settings, now_ms);
    }
    if settings.notify_events & events::KEYEVENT != 0 {
        let channel = format!("__keyevent@{db}__:{name}").into_bytes();
        state.pubsub.publish(false, &channel, key, &mut state.clients, settings, now_ms);
    }
}

fn flushed(state: &mut State, index: Option<usize>) {
    state.db.effects.fresh.add_all();
    let concerns = |db: usize| index.is_none_or(|index| index == db);
    break_replaced(state, concerns);
    state.blocking.changed_all(concerns);
    let (tracking, mut to) = audience(state);
    tracking.changed_all(&mut to);
}

/// Other data is in some databases, or none: a key changed if it was there when the watch began or
/// is there now.
fn break_replaced(state: &mut State, concerns: impl Fn(usize) -> bool) {
    for ((db, key), watchers) in &state.watches {
        if !concerns(*db) {
            continue;
        }
        let here_now = state.db.is_alive(*db, key);
        for (id, existed) in watchers {
            if let (true, Some(client)) = (*existed || here_now, state.clients.find_mut(*id)) {
                client.watch_broken = true;
            }
        }
    }
}

fn swapped(state: &mut State, first: usize, second: usize) {
    state.db.effects.fresh.add_all();
    let concerns = |db: usize| db == first || db == second;
    break_replaced(state, concerns);
    state.blocking.changed_all(concerns);
}

/// A command that is not part of a transaction or script, or one of those as a whole, is over.
#[inline]
pub fn unit_over(state: &mut State) {
    let is_heard = !state.db.effects.records.is_empty() || !state.tracking.is_empty();
    if is_heard && !state.inside_unit {
        tell_of_unit(state, true);
    }
}

/// A request is over. Redis: what one that meets any key at all removes is no transaction.
#[inline]
pub fn request_over(state: &mut State, spec: &Spec) {
    match spec.has(flag::MEETS_ANY_KEY) {
        true => removals_over(state),
        false => unit_over(state),
    }
}

/// Time or memory removed keys that have nothing to do with each other: each is a unit.
pub fn removals_over(state: &mut State) {
    let is_heard = !state.db.effects.records.is_empty() || !state.tracking.is_empty();
    if is_heard && !state.inside_unit {
        tell_of_unit(state, false);
    }
}

/// Whoever had the lock is about to let it go: caches in broadcasting mode hear of all that changed
/// meanwhile. Redis: after the replies to all that came at once, one message to a prefix.
#[inline]
pub fn turn_over(state: &mut State) {
    if state.tracking.has_news() {
        let (tracking, mut to) = audience(state);
        tracking.broadcast(&mut to);
    }
}

/// The limit of keys that are remembered for tracking, where it is exceeded, and by which chance
/// some of them go.
fn tracks_too_much(state: &mut State) -> Option<(usize, SmallRng)> {
    let keys_max = state.config.settings().tracking_table_max_keys;
    let is_above = state.tracking.is_above(keys_max);
    is_above.then(|| (keys_max, SmallRng::from_rng(&mut state.db.rng)))
}

/// Forgets some of the keys beyond that limit; true while there are more.
pub fn forget_tracked(state: &mut State) -> bool {
    let Some((keys_max, mut rng)) = tracks_too_much(state) else { return false };
    let (tracking, mut to) = audience(state);
    tracking.forget_some(keys_max, tracking::EFFORT, &mut rng, &mut to);
    tracking.is_above(keys_max)
}

fn tell_of_unit(state: &mut State, is_whole: bool) {
    if let Some((keys_max, mut rng)) = tracks_too_much(state) {
        let (tracking, mut to) = audience(state);
        tracking.keep_below(keys_max, &mut rng, &mut to);
    }
    if state.db.effects.records.is_empty() {
        return;
    }
    let records = &mut state.db.effects.records;
    // The end may have come in the middle of this unit, which is to be nowhere then.
    if !state.is_over {
        match is_whole {
            true => state.log.append(records),
            false => state.log.append_each(records),
        }
    }
    records.clear();
    if state.is_over {
        return;
    }
    if state.db.effects.hears(listener::FRESH) {
        let tail = &state.aof.tail;
        state.db.effects.fresh.logged(tail.appended(), tail.synced());
    }
    replicas::written(state);
}

/// Counts an error reply by its code word.
pub fn count_error(state: &mut State, code: &[u8]) {
    let Some(dropped) = state.stats.error(code) else { return };
    state.logger.warning(
        "Errorstats stopped adding new errors because the number of errors reached the limit, may \
         be misuse of lua error_reply, please check INFO ERRORSTATS, this can be re-enabled via \
         CONFIG RESETSTAT.",
    );
    let codes: Vec<String> = dropped.iter().map(|code| shown(code)).collect();
    state.logger.warning(format!("Current errors code list: {}", codes.join(", ")));
}

/// Statistics of a command that has run.
#[inline]
pub fn count(
    state: &mut State,
    spec: &Spec,
    argv: &[&[u8]],
    me: ClientId,
    elapsed_ns: u64,
    failed: bool,
) {
    let settings = state.config.settings();
    let stats = &mut state.stats;
    stats.commands_processed += 1;
    stats.work.command_ns += elapsed_ns;
    let command = &mut stats.commands[spec.id];
    command.calls += 1;
    command.total_ns += elapsed_ns;
    command.failed += failed as u64;
    if settings.latency_tracking {
        command.times.get_or_insert_default().add(elapsed_ns);
    }
    let slow_us = settings.slowlog_log_slower_than_us;
    let is_slow = u64::try_from(slow_us).is_ok_and(|slow_us| elapsed_ns / 1000 >= slow_us);
    let threshold_ms = settings.latency_monitor_threshold_ms;
    if is_slow || (threshold_ms > 0 && elapsed_ns / 1_000_000 >= threshold_ms) {
        remember(state, spec, argv, me, elapsed_ns, is_slow);
    }
}

#[cold]
fn remember(
    state: &mut State,
    spec: &Spec,
    argv: &[&[u8]],
    me: ClientId,
    elapsed_ns: u64,
    is_slow: bool,
) {
    let now_s = state.clock.now_ms().div_euclid(1000);
    let event = if spec.has(flag::FAST) { "fast-command" } else { "command" };
    slow_moment(state, event, elapsed_ns);
    if !is_slow || spec.has(flag::SKIP_SLOWLOG) {
        return;
    }
    let client = state.clients.find(me);
    let (addr, name) = client.map_or(("", &[][..]), |client| (&*client.addr, &client.name[..]));
    let max = state.config.settings().slowlog_max_len;
    let words = redacted(spec, argv);
    state.stats.slowlog.add(max, now_s, elapsed_ns / 1000, &words, (addr, name));
}

/// Tells LATENCY of an event that may have taken long.
pub fn slow_moment(state: &mut State, event: &'static str, elapsed_ns: u64) {
    let threshold_ms = state.config.settings().latency_monitor_threshold_ms;
    let took_ms = elapsed_ns / 1_000_000;
    if threshold_ms > 0 && took_ms >= threshold_ms {
        let now_s = state.clock.now_ms().div_euclid(1000);
        state.stats.latency.add(event, now_s, took_ms);
    }
}

/// Shows a command to those who asked for MONITOR.
pub fn show_monitors(state: &mut State, me: ClientId, spec: &Spec, argv: &[&[u8]]) {
    let now_us = state.clock.now_us();
    let (db, from) = match state.clients.find(me) {
        Some(client) if client.transport == Transport::Internal || state.db.inside_script => {
            (client.db, "lua".to_string())
        }
        Some(client) => (client.db, client.addr.clone()),
        None => return,
    };
    let mut line = format!(
        "+{}.{:06} [{db} {from}]",
        now_us.div_euclid(1_000_000),
        now_us.rem_euclid(1_000_000)
    );
    for arg in redacted(spec, argv) {
        line.push(' ');
        line.push_str(&quoted(arg));
    }
    line.push_str("\r\n");
    let now_ms = state.db.now_ms();
    let settings = state.config.settings();
    for id in &state.monitors {
        let monitor = state.clients.find_mut(*id);
        if let Some(client) = monitor.filter(|client| !client.close_after_reply) {
            client.outbox.push(line.as_bytes());
            client.check_output_limit(settings, now_ms);
            client.kick.ring();
        }
    }
}

/// Bytes in double quotes with escapes, as MONITOR and logs show them.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'"' => text.push_str("\\\""),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// Counts anew what the names that a client listens to, or tracks by, take.
pub fn count_names(state: &mut State, id: ClientId) {
    let names_bytes = state.pubsub.bytes_of(id) + state.tracking.bytes_of(id);
    state.clients.at(id).names_bytes = names_bytes;
}

/// Ends a connection: it waits for nothing and hears nothing any more, whenever its session comes
/// to see that it is over.
pub fn kill(state: &mut State, id: ClientId) {
    let upstream = state.role.upstream.as_ref().filter(|upstream| upstream.client == Some(id));
    if let Some(socket) = upstream.and_then(|upstream| upstream.socket.as_ref()) {
        // The link's own thread does the rest.
        let _ = socket.shutdown(std::net::Shutdown::Both);
        return;
    }
    leave_rooms(state, id);
    if let Some(client) = state.clients.find_mut(id) {
        client.close_soon();
    }
}

/// The last command of a client has run: it is gone for everybody else when its reply is read.
pub fn leave(state: &mut State, id: ClientId) {
    leave_rooms(state, id);
    state.clients.at(id).is_leaving = true;
}

/// Forgets a client that has gone.
pub fn disconnect(state: &mut State, id: ClientId) {
    leave_rooms(state, id);
    state.clients.remove(id);
    // Of its last turn, if it had more to come.
    turn_over(state);
}

fn leave_rooms(state: &mut State, id: ClientId) {
    unwatch(state, id);
    unblock(state, id);
    state.pubsub.forget(id);
    state.tracking.stop(id);
    state.monitors.retain(|monitor| *monitor != id);
    state.held_back.retain(|held| *held != id);
    replicas::forget(state, id);
    listen(state);
}

/// Ends all watches of a client.
pub fn unwatch(state: &mut State, id: ClientId) {
    let Some(client) = state.clients.find_mut(id) else { return };
    client.watch_broken = false;
    for place in std::mem::take(&mut client.watched) {
        if let Some(watchers) = state.watches.get_mut(&place) {
            watchers.retain(|(watcher, _)| *watcher != id);
            if watchers.is_empty() {
                state.watches.remove(&place);
            }
        }
    }
    listen(state);
}

/// A client begins to wait.
pub fn wait_begins(state: &mut State, id: ClientId, blocked: Box<Blocked>) {
    for (db, key) in &blocked.keys {
        state.db.effects.waited.add(*db, key);
    }
    state.blocking.add(id, &blocked);
    state.clients.at(id).blocked = Some(blocked);
    listen(state);
}

/// A client, no longer marked as waiting, leaves its queues.
pub fn wait_ends(state: &mut State, id: ClientId, blocked: &Blocked) {
    for (db, key) in &blocked.keys {
        state.db.effects.waited.remove(*db, key);
    }
    state.blocking.remove(id, blocked);
    match blocked.awaits {
        Some(Awaited::Acks(_)) => drop(state.role.waiting.remove(&id)),
        Some(Awaited::Freed(_)) => drop(state.flushing.remove(&id)),
        Some(Awaited::End) | None => {}
    }
    listen(state);
}

/// Clients whose commands CLIENT PAUSE held back.
pub fn release_held_back(state: &mut State) {
    if state.pause.is_some_and(|pause| pause.until_ms <= state.db.now_ms()) {
        state.pause = None;
    }
    if state.pause.is_some() || state.holds_writes() {
        return;
    }
    state.db.keeps_expired = state.role.is_replica();
    for id in std::mem::take(&mut state.held_back) {
        if let Some(client) = state.clients.find_mut(id) {
            client.paused = false;
            client.kick.ring();
        }
    }
}

/// Ends the waiting of a client without an answer; true when it waited.
pub fn unblock(state: &mut State, id: ClientId) -> bool {
    let Some(blocked) = state.clients.find_mut(id).and_then(|client| client.blocked.take()) else {
        return false;
    };
    wait_ends(state, id, &blocked);
    true
}

/// Answers a waiting client with what `answer` writes, and lets it go on. Its command counts as
/// run from now on.
pub fn unblock_with(
    state: &mut State,
    id: ClientId,
    answer: impl FnOnce(Out<'_>, &dyn Fn(Out<'_>) -> Done),
) -> bool {
    let Some(blocked) = state.clients.find_mut(id).and_then(|client| client.blocked.take()) else {
        return false;
    };
    wait_ends(state, id, &blocked);
    let counted = blocked.acks().map(|acks| (acks, replicas::count_acks(state, acks)));
    let client = state.clients.at(id);
    let mut reply = Replies::default();
    answer(Out::new(&mut reply, client.resp3), &|out| match counted {
        Some((acks, counted)) => replicas::reply(acks, counted, out),
        None => (blocked.on_timeout)(out),
    });
    client.commands += 1;
    let text = reply.strip_prefix(b"-");
    let code = text.and_then(|text| text.split(|byte| *byte == b' ').next());
    hand_over(state, id, &reply);
    if let Some(code) = code {
        count_error(state, code);
    }
    state.stats.commands_processed += 1;
    let command = &mut state.stats.commands[blocked.command];
    command.calls += 1;
    command.failed += u64::from(code.is_some());
    true
}

/// Gives a client that waited its reply.
pub fn hand_over(state: &mut State, id: ClientId, reply: &[u8]) {
    let client = state.clients.at(id);
    if client.reply_mode.is_heard() {
        client.outbox.push(reply);
        client.check_output_limit(state.config.settings(), state.db.now_ms());
    } else if client.reply_mode == ReplyMode::SkipNext {
        client.reply_mode = ReplyMode::On;
    }
    client.kick.ring();
}
