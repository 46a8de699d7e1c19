//! Users change, and with them what their clients may do: at once, or the connection ends.
//!
//! Invariant: a client holds the present value of its user, never one that has been replaced.

use crate::acl::{Acl, User, Users};
use crate::client::{Client, ClientId};
use crate::pubsub::{PubSub, Scope};
use crate::state::State;
use std::sync::Arc;

/// A client begins, or begins anew, as the default user.
pub fn begin(state: &mut State, id: ClientId) {
    let client = state.clients.at(id);
    client.become_user(state.acl.default_user());
    client.authenticated = !state.acl.needs_login();
}

/// A client logs in, if name and password are right.
pub fn log_in(state: &mut State, id: ClientId, name: &[u8], password: &[u8]) -> bool {
    let Some(user) = state.acl.login(name, password) else { return false };
    let client = state.clients.at(id);
    client.become_user(user);
    client.authenticated = true;
    true
}

/// A user changes, or is new. Its clients go on with the rights that it has now; who listens to a
/// channel that it may not hear any more is cut off.
pub fn put(state: &mut State, user: User) {
    let user = Arc::new(user);
    let Some(before) = state.acl.put(user.clone()) else { return };
    let clients = of_user(state, &before);
    for id in clients {
        follow(state, id, &before, &user);
    }
    login_needed(state);
}

/// A user goes, with the connections of its clients. False when there is none.
pub fn remove(state: &mut State, name: &[u8]) -> bool {
    let Some(user) = state.acl.remove(name) else { return false };
    for id in of_user(state, &user) {
        cast_out(state, id);
    }
    true
}

/// Other users take the place of all. Clients of those who are gone lose their connections.
pub fn put_all(state: &mut State, users: Users) {
    let before = state.acl.put_all(users);
    let user_of = |client: &Client| {
        let old = before.get(&client.user.as_ref()?.name)?;
        Some((client.id, old.clone()))
    };
    let everybody: Vec<(ClientId, Arc<User>)> = state.clients.iter().filter_map(user_of).collect();
    for (id, old) in everybody {
        match state.acl.user(&old.name).cloned() {
            Some(user) => follow(state, id, &old, &user),
            None => cast_out(state, id),
        }
    }
    login_needed(state);
}

/// All users as they are at a start, for clients that are leaving.
pub fn begin_anew(state: &mut State, acl: Acl) {
    state.acl = acl;
    let everybody: Vec<ClientId> = state.clients.iter().map(|client| client.id).collect();
    for id in everybody {
        if state.clients.at(id).user.is_some() {
            begin(state, id);
        }
    }
    login_needed(state);
}

fn of_user(state: &State, user: &Arc<User>) -> Vec<ClientId> {
    let is_its = |client: &&Client| client.user.as_ref().is_some_and(|own| Arc::ptr_eq(own, user));
    state.clients.iter().filter(is_its).map(|client| client.id).collect()
}

fn follow(state: &mut State, id: ClientId, before: &User, user: &Arc<User>) {
    if user.silences(before, names(&state.pubsub, id)) {
        return cast_out(state, id);
    }
    state.clients.at(id).become_user(user);
}

/// All that a client listens to, and whether it is a pattern.
fn names(pubsub: &PubSub, id: ClientId) -> Vec<(Box<[u8]>, bool)> {
    let scopes = [Scope::Pattern, Scope::Channel, Scope::Shard];
    let of = |scope| {
        pubsub.names_of(scope, id).into_iter().map(move |name| (name, scope == Scope::Pattern))
    };
    scopes.into_iter().flat_map(of).collect()
}

/// The connection ends; until then it is a stranger. Who has done this to itself still hears so.
fn cast_out(state: &mut State, id: ClientId) {
    let client = state.clients.at(id);
    client.become_user(state.acl.default_user());
    client.authenticated = false;
    if state.current == Some(id) {
        client.close_after_reply = true;
    } else {
        super::kill(state, id);
    }
}

fn login_needed(state: &State) {
    if let Some(outside) = &state.outside {
        outside.login_needed(state.acl.needs_login());
    }
}
