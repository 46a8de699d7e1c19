//! [`Server::reset`]: one server for many tests, each of which finds it as it was after the start.
//!
//! Whoever keeps what the server does hears of it: the append-only file by a record of its own, the
//! snapshot file as FLUSHALL has it, and replicas by a history that begins anew.

use super::{apply_to_state, users_of, Server};
use crate::append_only;
use crate::client::ClientId;
use crate::config::Config;
use crate::ending;
use crate::following;
use crate::keyspace::effects::Reach;
use crate::log::aof::Mode;
use crate::replicas;
use crate::role::{Address, Counters, OnDisk};
use crate::settle;
use crate::snapshot::save;
use crate::state::{State, Switches};
use crate::stats::Stats;
use std::sync::atomic::Ordering;

impl Server {
    /// Back to how it was after the start: no data, no other connections, waiters, subscriptions
    /// or scripts, the configuration, the role and the clock of the start, and DEBUG has switched
    /// nothing. A shutdown that has not come to its end is called off. Data that was loaded at the
    /// start does not come back; files lose it, too. What listens goes on where it listens.
    pub fn reset(&self) {
        let shared = &self.running.shared;
        shared.running.close();
        let mut state = shared.lock();
        shared.running.reopen();
        shared.end_rest(&mut state);
        shared.clock.reset();
        ending::abort(&mut state);
        replicas::abort_failover(&mut state, "the server is reset");
        let everybody: Vec<ClientId> = state.clients.iter().map(|client| client.id).collect();
        everybody.into_iter().for_each(|id| settle::kill(&mut state, id));
        empty(&mut state);
        configure(&mut state, &self.running.started_config);
        begin_role(&mut state);
        settle::turn_over(&mut state);
        apply_to_state(&mut state);
        save::after_flush(&mut state);
    }
}

/// No data, and the file says so. Replicas are not told: they begin anew.
fn empty(state: &mut State) {
    state.db.flush(None, true);
    state.scripting.flush_scripts();
    state.scripting.flush_libraries();
    let records = &mut state.db.effects.records;
    for words in [&["FLUSHALL"][..], &["FUNCTION", "FLUSH"]] {
        records.push(0, words, Reach::FILE);
    }
    settle::command_over(state);
    settle::unit_over(state);
}

/// The configuration, the users and the switches of the start, and no figures.
fn configure(state: &mut State, started: &Config) {
    state.config = started.clone();
    if let Ok((acl, _)) = users_of(started) {
        settle::users::begin_anew(state, acl);
    }
    match (state.config.settings().append_only.on, state.aof.mode) {
        (false, _) => append_only::turn_off(state),
        (true, Mode::Off) => append_only::begin_anew(state),
        (true, _) => {}
    }
    state.pause = None;
    state.db.payloads.any_sum = false;
    state.db.limits.list_packed_threshold = 0;
    state.aof.tail.sleep_us.store(0, Ordering::Relaxed);
    state.debug = Switches { oom_base: state.debug.oom_base, ..Switches::default() };
    state.stats = Stats::new(state.stats.commands.len());
}

/// The role of the start, in a history without a past.
fn begin_role(state: &mut State) {
    state.role.is_loaded = false;
    state.role.counters = Counters::default();
    match state.config.settings().replicaof.clone() {
        Some((host, port)) => following::start(state, Address { host, port }),
        None => following::promote(state),
    }
    state.log.forget();
    state.role.on_disk = OnDisk::default();
    following::forget_history(state);
}
