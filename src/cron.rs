//! What happens as time passes: deadlines, timeouts, limits, freeing.
//!
//! Invariant: no slice under the lock takes longer than about a millisecond; when work is left,
//! the caller comes back at once, and sessions go in between.
//!
//! Ticks come ten times a second or so, and sooner when something is due. A server inside another
//! program, of which there may be thousands, rests when nothing has happened for a while and
//! nothing is due at a time that nobody states; the next request [`wake`]s it.

use crate::append_only;
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::commands;
use crate::dispatch::Dispatcher;
use crate::ending;
use crate::following;
use crate::memory;
use crate::replicas;
use crate::settle;
use crate::snapshot::save;
use crate::state::State;

/// A slice's bound under the lock.
const SLICE_NS: u64 = 700_000;
/// Clients of which reply buffers are adapted at once; of many, a tenth.
const CLIENTS_A_SAMPLE_MIN: usize = 16;
/// Looks at the wheel between two readings of the stopwatch.
const LOOKS: usize = 64;

/// One slice. Returns true when work is left.
pub fn tick(state: &mut State) -> bool {
    let slice = Stopwatch::start();
    state.db.set_now_us(state.clock.now_us());
    release_waiters(state);
    replicas::answer_waiters(state);
    settle::release_held_back(state);
    if state.debug.cron_paused {
        return false;
    }
    sample(state);
    save::tick(state);
    check_clients(state);
    replicas::tick(state);
    ending::look(state);
    following::expire_own(state);
    let more = expire(state, &slice);
    settle::command_over(state);
    settle::removals_over(state);
    if memory::is_short(state) {
        memory::make_room(state);
    }
    let mut tracks_more = true;
    while tracks_more && slice.elapsed_ns() < SLICE_NS {
        tracks_more = settle::forget_tracked(state);
    }
    let mut left = true;
    while left && slice.elapsed_ns() < SLICE_NS {
        left = state.db.free_chunk();
    }
    commands::answer_flushed(state);
    if state.blocking.has_ready() {
        serve(state);
    }
    settle::turn_over(state);
    state.stats.work.cron_ns += slice.elapsed_ns();
    more || tracks_more || left
}

/// Removes keys whose time has come; true when some are left.
fn expire(state: &mut State, slice: &Stopwatch) -> bool {
    let began_ns = slice.elapsed_ns();
    let mut more = !state.db.keeps_expired && !is_expiry_paused(state);
    while more && slice.elapsed_ns() < SLICE_NS {
        more = state.db.expire_due(LOOKS);
    }
    let took_ns = slice.elapsed_ns() - began_ns;
    state.stats.work.expiry_ns += took_ns;
    state.stats.work.expiry_cut_short += u64::from(more);
    settle::slow_moment(state, "expire-cycle", took_ns);
    more
}

/// Figures that are looked at ten times a second.
fn sample(state: &mut State) {
    let now_ms = state.db.now_ms();
    if now_ms - state.debug.sampled_ms < 100 && now_ms >= state.debug.sampled_ms {
        return;
    }
    state.debug.sampled_ms = now_ms;
    state.stats.sample(now_ms);
    state.peers.close_unused(now_ms);
    let resizing = state.debug.reply_buffers;
    let share = CLIENTS_A_SAMPLE_MIN.max(state.clients.len() / 10 + 1);
    state.clients.next_few(share).for_each(|client| client.reply_buffer.adapt(now_ms, resizing));
    state.stats.work.batch(0, 0);
    if state.config.settings().maxmemory > 0 {
        memory::measure_clients(state);
    }
    memory::limit_clients(state, None);
    append_only::rewrite::tick(state);
    for (event, took_ns) in state.aof.tail.take_moments() {
        settle::slow_moment(state, event, took_ns);
    }
    state.stats.peak_bytes = state.stats.peak_bytes.max(memory::used_bytes(state));
}

/// Milliseconds until the next slice is due; `None` while nothing is.
pub fn next_tick_ms(state: &mut State) -> Option<i64> {
    let settings = state.config.settings();
    let most_ms = (1000 / settings.hz.max(1) as i64).min(100);
    let frozen = state.clock.is_frozen();
    state.debug.resting = rests(state);
    let deadlines = [
        state.blocking.next_deadline_ms(),
        state.db.next_due_ms().filter(|_| !state.db.keeps_expired && !is_expiry_paused(state)),
        state.pause.map(|pause| pause.until_ms),
    ];
    // A clock that stands still tells when it is moved.
    let next_ms = deadlines.into_iter().flatten().min().filter(|_| !frozen);
    let wait_ms = next_ms.map(|at_ms| at_ms - state.clock.now_ms());
    match state.debug.resting {
        true => wait_ms.map(|ms| ms.max(1)),
        false => Some(wait_ms.unwrap_or(most_ms).clamp(1, most_ms)),
    }
}

/// Whether ticks would find nothing to do until the next deadline or request. What is due at
/// times that are no deadline of [`next_tick_ms`] keeps the ticks coming here.
fn rests(state: &State) -> bool {
    let settings = state.config.settings();
    let wanted = |client: &Client| settings.timeout_s > 0 || client.output_bytes() > 0;
    state.facts.embedded
        && !state.log.is_read()
        && !save::awaits_time(state)
        && !state.role.is_replica()
        && state.role.replicas.is_empty()
        && !state.holds_writes()
        && state.peers.is_empty()
        && !memory::is_short(state)
        && (state.clock.is_frozen() || state.stats.is_still())
        && !state.clients.iter().any(wanted)
}

/// Ends a rest, because something happens. True when the caller has to notify cron.
#[inline]
pub fn wake(state: &mut State) -> bool {
    let rested = std::mem::take(&mut state.debug.resting);
    if rested {
        let now_ms = state.clock.now_ms();
        state.debug.sampled_ms = now_ms;
        state.stats.resume(now_ms);
    }
    rested
}

fn is_expiry_paused(state: &State) -> bool {
    state.debug.expiry_off
        || state.holds_writes()
        || state.persistence.loading.is_some()
        || state.pause.is_some_and(|pause| pause.until_ms > state.db.now_ms())
}

/// Waiting clients whose time is over.
fn release_waiters(state: &mut State) {
    while let Some(id) = state.blocking.next_timed_out(state.db.now_ms()) {
        if !settle::unblock_with(state, id, |out, on_timeout| {
            let _ = on_timeout(out);
        }) {
            break;
        }
    }
}

/// `timeout`, and output limits that depend on time; once a second does.
fn check_clients(state: &mut State) {
    let now_ms = state.db.now_ms();
    if now_ms.div_euclid(1000) == state.debug.checked_s {
        return;
    }
    state.debug.checked_s = now_ms.div_euclid(1000);
    let settings = state.config.settings();
    let timeout_ms = settings.timeout_s as i64 * 1000;
    for client in state.clients.iter_mut() {
        let idle = timeout_ms > 0 && now_ms - client.heard_ms() > timeout_ms;
        let listens = client.is_subscriber() || client.is_monitor || client.is_replica();
        if idle && client.blocked.is_none() && !listens && !client.is_internal {
            client.close_soon();
        } else if client.output_bytes() > 0 {
            client.check_output_limit(settings, now_ms);
        }
    }
}

fn serve(state: &mut State) {
    let me = match state.clients.iter().next() {
        Some(client) => client.id,
        None => return,
    };
    Dispatcher::new(state, me).serve_ready();
}
