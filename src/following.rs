//! What a replica does about its primary, under the lock: how it becomes one, what becomes of its
//! history when the link comes and goes, and how it is a primary again.
//!
//! The link itself is a thread of [`crate::replication`]. It works for one *generation* of the
//! role and stops as soon as the role is another.
//!
//! Invariant: `log.offset` is the primary's offset of what has been applied here, and `role.id` is
//! the name of the history that this is a point of.

use crate::client::ClientId;
use crate::clock::random_hex_id;
use crate::keyspace::effects::Reach;
use crate::keyspace::records::Records;
use crate::replicas;
use crate::role::{self, Address, Link, Upstream};
use crate::server_log::Role as Mark;
use crate::settle;
use crate::state::State;

/// Begins to copy a primary, or another one.
pub fn follow(state: &mut State, address: Address) {
    let was_primary = !state.role.is_replica();
    let now_ms = state.clock.steady_ms();
    let mut upstream = Upstream::new(address, now_ms);
    // The data here is a point of a history in either case: its own, or that of the old primary.
    upstream.is_resumable =
        was_primary || state.role.upstream.as_ref().is_some_and(|old| old.is_resumable);
    if let Some(old) = &state.role.upstream {
        upstream.selected = old.selected;
    }
    if was_primary {
        upstream.selected = state.log.selected().unwrap_or(0);
    }
    drop_link(state);
    replicas::release_all(state);
    state.role.upstream = Some(upstream);
    changed(state);
    score_or_say(state);
    if let Some(outside) = state.outside.clone() {
        outside.follow(state.role.generation);
    }
}

/// Begins to copy a primary when the server starts: the data is a point of a history only if what
/// was loaded said so.
pub fn start(state: &mut State, address: Address) {
    let is_known = state.role.is_loaded;
    follow(state, address);
    if let Some(upstream) = &mut state.role.upstream {
        upstream.is_resumable = is_known;
        upstream.selected = state.role.loaded_db;
    }
}

/// The kernel's score for killing this process follows the configuration and the role.
pub fn score(state: &mut State) -> std::io::Result<()> {
    if state.facts.embedded {
        return Ok(());
    }
    let [of_primary, of_replica] = state.config.settings().oom_scores;
    let wanted = if state.role.is_replica() { of_replica } else { of_primary };
    crate::process::follow_oom_score(wanted, &mut state.debug.oom_base)
}

fn score_or_say(state: &mut State) {
    if let Err(error) = score(state) {
        let why = crate::config::error_text(&error);
        state.logger.warning(format!("Unable to write oom_score_adj: {why}"));
    }
}

/// A snapshot file is about to be loaded. A server that is to be a primary writes down what it
/// leaves out of it, for replicas that have it still.
pub fn load_begins(state: &mut State) {
    if state.config.settings().replicaof.is_none() {
        state.log.keep();
    }
}

/// A key was left out whose time had come.
pub fn left_out(state: &mut State, db: usize, key: &[u8]) {
    if state.log.ring.is_some() {
        let mut records = Records::default();
        records.push(db, &[b"DEL", key], Reach::ALL);
        state.log.append(&records);
        replicas::written(state);
    }
}

/// The data has been loaded from a snapshot file, which may say which point of a history it is. A
/// server that is to be a replica goes on from there; one that is a primary lets those who copied
/// it before go on, and writes a history of its own from here.
pub fn loaded(state: &mut State, aux: &[(Vec<u8>, Vec<u8>)]) {
    let field = |name: &[u8]| {
        let found = aux.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let offset = field(b"repl-offset").and_then(|offset| role::position(&offset));
    let id = field(b"repl-id").filter(|id| role::is_id(id));
    let (Some(id), Some(offset)) = (id, offset) else {
        state.log.forget();
        return;
    };
    if state.config.settings().replicaof.is_some() {
        state.log.restart_at(offset);
        state.role.id = id;
        state.role.is_loaded = true;
        let selected = field(b"repl-stream-db").and_then(|db| db.parse().ok());
        state.role.loaded_db = selected.unwrap_or(0);
    } else {
        state.log.shift(offset);
        state.role.second_id = id;
        state.role.second_offset = offset as i64 + 1;
        state.role.without_replicas_since_ms = state.clock.steady_ms();
        replicas::cut_back(state);
    }
    settle::listen(state);
}

/// Ends the copying: this server is a primary from here on.
pub fn promote(state: &mut State) {
    if !state.role.is_replica() {
        return;
    }
    drop_link(state);
    state.role.upstream = None;
    shift_history(state);
    // They have to hear of the new name, and go on with it at once.
    replicas::disconnect_all(state);
    state.role.without_replicas_since_ms = state.clock.steady_ms();
    state.log.select_anew();
    changed(state);
    score_or_say(state);
    // Redis: WAIT counts what was written from here on.
    replicas::count_good(state);
}

/// A history of its own begins where that of the primary ends.
pub fn shift_history(state: &mut State) {
    let id = random_hex_id(&mut state.db.rng);
    state.role.fork_history(id, state.log.offset);
    let role = &state.role;
    state.logger.warning(format!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        role.second_id, role.second_offset, role.id
    ));
}

/// What follows from the role: what the log keeps, what expires, what people see, and what a
/// rewritten configuration says.
fn changed(state: &mut State) {
    state.role.generation += 1;
    state.role.own_keys.clear();
    let upstream = state.role.upstream.as_ref();
    let address = upstream.map(|one| (one.address.host.clone(), one.address.port));
    state.log.relays = upstream.is_some();
    state.db.keeps_expired = upstream.is_some() || state.pause.is_some() || state.holds_writes();
    state.logger.set_role(if upstream.is_some() { Mark::Replica } else { Mark::Primary });
    state.config.set_primary(address);
    settle::configured(state);
}

/// Ends the link, whatever it is doing.
fn drop_link(state: &mut State) {
    let Some(upstream) = &mut state.role.upstream else { return };
    if let Some(socket) = upstream.socket.take() {
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    let was_up = upstream.is_up();
    upstream.link = Link::Down;
    if let Some(id) = upstream.client.take() {
        settle::disconnect(state, id);
    }
    if was_up {
        state.logger.warning("Connection with master lost.");
    }
}

/// The link of this generation has ended by itself.
pub fn lost(state: &mut State) {
    drop_link(state);
    let now_ms = state.clock.steady_ms();
    if let Some(upstream) = &mut state.role.upstream {
        upstream.down_since_ms = now_ms;
    }
}

/// A full copy has been loaded: the data is the primary's at this offset. Those who copy this
/// server must begin anew, too.
pub fn adopt(state: &mut State, id: &str, offset: u64, selected: usize) {
    state.role.id = id.to_string();
    state.role.forget_second();
    state.log.restart_at(offset);
    if let Some(upstream) = &mut state.role.upstream {
        upstream.selected = selected;
        upstream.is_resumable = true;
    }
}

/// The data is no point of any history: nobody can go on from here, this server neither.
pub fn forget_history(state: &mut State) {
    let id = random_hex_id(&mut state.db.rng);
    state.role.begin_history(id);
    state.log.ring = None;
    if let Some(upstream) = &mut state.role.upstream {
        upstream.is_resumable = false;
        upstream.selected = 0;
    }
}

/// The primary lets the link go on where it was; its history may have another name now.
pub fn resume(state: &mut State, id: Option<&str>) {
    if let Some(id) = id.filter(|id| *id != state.role.id) {
        let offset = state.log.offset;
        state.role.rename_history(id, offset);
        state.logger.notice(format!(
            "Successful partial resynchronization with master. Master replication ID changed to \
             {id}"
        ));
        // Theirs has changed its name as well.
        replicas::disconnect_all(state);
    }
    state.log.keep();
}

/// The stream flows: the client that applies it.
pub fn begin_stream(state: &mut State, addr: &str, laddr: &str) -> ClientId {
    let now_ms = state.clock.steady_ms();
    let id = settle::connect_primary(state, addr, laddr);
    let offset = state.log.offset;
    if let Some(upstream) = &mut state.role.upstream {
        upstream.link = Link::Up;
        upstream.client = Some(id);
        upstream.heard_ms = now_ms;
        upstream.read_offset = offset;
        upstream.is_resumable = true;
        let selected = upstream.selected;
        state.clients.at(id).db = selected.min(state.db.databases() - 1);
    }
    settle::listen(state);
    id
}

/// Removes keys that clients of a writable replica have made and whose time has come.
pub fn expire_own(state: &mut State) {
    if state.role.own_keys.is_empty() || state.debug.expiry_off {
        return;
    }
    let mut own = std::mem::take(&mut state.role.own_keys);
    let now_ms = state.db.now_ms();
    state.db.keeps_expired = false;
    own.retain(|(db, key)| {
        state.db.within(*db, |db| {
            let deadline_ms = db.look_unremoved(key).and_then(|entry| entry.deadline_ms());
            match deadline_ms {
                Some(at) if at <= now_ms => {
                    db.expire_now(key);
                    false
                }
                Some(_) => true,
                None => false,
            }
        })
    });
    state.db.keeps_expired =
        state.role.is_replica() || state.pause.is_some() || state.holds_writes();
    state.role.own_keys = own;
}
