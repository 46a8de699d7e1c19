//! How much memory is in use, and what makes room when it is too much.
//!
//! The types count their own bytes, so `used_memory` is the same in the binary and in a process
//! that embeds the server. Eviction runs before a command, never in the middle of one, for a
//! bounded time; cron goes on where it stopped.

use crate::client::{Client, ClientId, Cut};
use crate::clock::Stopwatch;
use crate::command::{Spec, Table};
use crate::error::{Error, Result};
use crate::settle;
use crate::state::State;
use crate::stats::{CommandStats, Freshness};

/// Keys evicted between two readings of the stopwatch.
const KEYS_A_LOOK: usize = 16;

/// Bytes of everything, by what they are for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// What INFO calls `used_memory`.
    pub total: u64,
    /// The most that `total` has been.
    pub peak: u64,
    /// `total` of a server that has just started.
    pub startup: u64,
    /// Connections and what waits in their buffers.
    pub clients: u64,
    /// Tables of databases, and their wheels of deadlines.
    pub tables: u64,
}

impl Use {
    /// Counts, and remembers the peak.
    pub fn of(state: &mut State) -> Use {
        measure_clients(state);
        let total = used_bytes(state);
        state.stats.peak_bytes = state.stats.peak_bytes.max(total);
        let tables = (0..state.db.databases()).map(|db| state.db.space(db).overhead_bytes() as u64);
        Use {
            total,
            peak: state.stats.peak_bytes,
            startup: state.stats.startup_bytes.min(total),
            clients: state.stats.client_bytes,
            tables: tables.sum(),
        }
    }

    /// What is not data.
    pub fn overhead(&self) -> u64 {
        (self.startup + self.clients + self.tables).min(self.total)
    }

    /// What is data.
    pub fn dataset(&self) -> u64 {
        self.total - self.overhead()
    }
}

/// What a count of the connections is good for, for each of them: ten times what it costs or more,
/// so that counting takes a tenth of the time at most.
const COUNT_LASTS_NS_EACH: u64 = 1000;

/// Counts the bytes of connections and their buffers. There may be many, so hot paths use the
/// figure of the last count.
pub fn measure_clients(state: &mut State) {
    // What was written to others a moment ago is on its way to their sockets: counting it would
    // let the invalidations that eviction sends cause more eviction.
    // Who is being closed gives all back.
    let kept = |client: &Client| match client.close_now {
        true => 0,
        false => (client.memory_bytes() - client.outbox.len()) as u64,
    };
    state.stats.client_bytes = state.clients.iter().map(kept).sum();
    let lasts_ns = state.clients.len() as u64 * COUNT_LASTS_NS_EACH;
    state.stats.client_count = Some(Freshness { since: Stopwatch::start(), lasts_ns });
}

/// `used_memory`: data, and connections as they were counted last.
pub fn used_bytes(state: &State) -> u64 {
    let scripting = state.scripting.used_bytes();
    let grown = (state.db.heap_bytes() + scripting) as u64 + state.stats.client_bytes;
    state.stats.startup_bytes + grown
}

/// What a server's tables take before it holds anything. Only a server with a process of its own
/// counts it.
pub fn own_bytes(table: &Table) -> u64 {
    let row_bytes = size_of::<Spec>() + size_of::<CommandStats>();
    let words = table.specs.iter().map(|spec| spec.row.synopsis.len() + spec.row.about.len());
    let tables = table.specs.len() * row_bytes + words.sum::<usize>();
    (size_of::<State>() + tables) as u64
}

/// Whether memory is above `maxmemory`.
pub fn is_short(state: &State) -> bool {
    let settings = state.config.settings();
    let limit = settings.maxmemory;
    // A replica has what its primary has, and the primary makes room for both.
    let is_exempt = state.role.is_replica() && settings.replica_ignore_maxmemory;
    limit > 0 && !is_exempt && used_bytes(state) > limit
}

/// Makes room before a command, and refuses it when `grows` says that it needs memory and there
/// is none.
pub fn gate(state: &mut State, grows: impl FnOnce(&mut State) -> bool) -> Result<()> {
    if !is_short(state) {
        return Ok(());
    }
    if state.stats.client_count.is_none_or(|count| count.is_over()) {
        measure_clients(state);
        close_largest(state, None);
    }
    if make_room(state) || !grows(state) {
        return Ok(());
    }
    Err(Error::OutOfMemory)
}

/// Evicts until memory is below its limit or the time is up. False when nothing can be evicted
/// and memory is still short.
pub fn make_room(state: &mut State) -> bool {
    let is_paused = state.pause.is_some_and(|pause| pause.until_ms > state.db.now_ms());
    if is_paused || state.holds_writes() {
        // What is evicted is written to replicas, too.
        return true;
    }
    let settings = state.config.settings();
    let (policy, samples) = (settings.maxmemory_policy, settings.maxmemory_samples);
    let limit_ns = time_limit_ns(settings.maxmemory_eviction_tenacity);
    let now_ms = state.db.now_ms();
    let watch = Stopwatch::start();
    let mut possible = true;
    // However little time there is, one look's worth of keys goes.
    'time: loop {
        for _ in 0..KEYS_A_LOOK {
            if !is_short(state) {
                break 'time;
            }
            // What was removed before, and waits to be freed, makes room first: no key goes for it.
            if state.db.free_chunk() {
                continue;
            }
            possible = state.db.evict_one(policy, samples, &mut state.evictable);
            if !possible {
                // One that hides among other slots is found by and by: not now is not never.
                possible = state.db.may_evict(policy);
                break 'time;
            }
        }
        if watch.elapsed_ns() >= limit_ns {
            break;
        }
    }
    // Nobody's command has done this: who skips its own changes hears of it, too.
    let current = state.current.take();
    settle::command_over(state);
    settle::removals_over(state);
    state.current = current;
    let short = is_short(state);
    state.stats.work.above_limit(short, now_ms);
    settle::slow_moment(state, "eviction-cycle", watch.elapsed_ns());
    possible || !short
}

/// Closes the clients with the largest buffers until all of them together are below
/// `maxmemory-clients`. The client `asking` gets its reply first.
pub fn limit_clients(state: &mut State, asking: Option<ClientId>) {
    let settings = state.config.settings();
    if settings.maxmemory_clients.bytes(settings.maxmemory).is_some() {
        measure_clients(state);
        close_largest(state, asking);
    }
}

/// The same by what was counted just now.
fn close_largest(state: &mut State, asking: Option<ClientId>) {
    let settings = state.config.settings();
    let Some(limit) = settings.maxmemory_clients.bytes(settings.maxmemory) else { return };
    let mut total = state.stats.client_bytes;
    if total <= limit {
        return;
    }
    let evictable = |client: &&Client| {
        let spared = client.no_evict || client.is_internal || client.is_replica();
        !spared && !client.is_gone()
    };
    let clients = state.clients.iter().filter(evictable);
    let mut largest: Vec<_> =
        clients.map(|client| (client.memory_bytes() as u64, client.id)).collect();
    largest.sort_unstable();
    while let Some((bytes, id)) = largest.pop().filter(|_| total > limit) {
        let Some(client) = state.clients.find_mut(id) else { continue };
        if asking == Some(id) {
            client.cut = Some(Cut::Memory);
            client.close_after_reply = true;
        } else {
            client.cut_off(Cut::Memory);
        }
        total = total.saturating_sub(bytes);
    }
    state.stats.client_bytes = total;
}

/// How long a round may take, from `maxmemory-eviction-tenacity`: 0.5 ms at the default of 10,
/// growing by 15 % a step above it, without end at 100.
fn time_limit_ns(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => 50_000 * u64::from(tenacity),
        11..100 => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}
