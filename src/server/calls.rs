//! The handles of a server, and calls of [`Server::command`] that wait, so that they end when
//! nobody else holds their server.
//!
//! A call borrows its handle, and cannot know whether somebody else has a way to it: a handle that
//! a thread was given is out of reach while that thread waits, one in a `static` is not. So a
//! handle that clones are made of counts as within reach of whoever held a clone: it is the place
//! where handles come from. When the last handle beside those with waiting calls is dropped, the
//! calls end, unless that one came, by however many clones, from one of them.
//!
//! Invariant: a handle stands here exactly while it lives, with the nearest living one that it
//! comes from, and a call exactly while it waits.

use super::Server;
use crate::client::ClientId;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// Names a handle.
pub(super) type Number = u64;

/// Handles and calls.
#[derive(Debug, Default)]
pub(super) struct Handles(Mutex<Family>);

#[derive(Debug, Default)]
struct Family {
    born: Number,
    /// The handles that live, and what each comes from.
    parents: HashMap<Number, Option<Number>>,
    calls: HashSet<(Number, ClientId)>,
}

/// A call, for as long as it waits.
pub(super) struct Waiting<'a> {
    handles: &'a Handles,
    call: (Number, ClientId),
}

impl Handles {
    /// A handle is made: a clone of another, or the first one.
    pub(super) fn add(&self, parent: Option<Number>) -> Number {
        let family = &mut *self.0.lock();
        family.born += 1;
        family.parents.insert(family.born, parent);
        family.born
    }

    /// A handle is dropped. True when all that are left wait and have no part in it.
    pub(super) fn remove(&self, handle: Number) -> bool {
        self.0.lock().remove(handle)
    }

    /// Whether each of the handles has a call that waits.
    pub(super) fn all_wait(&self) -> bool {
        self.0.lock().all_wait()
    }

    /// A call by this handle begins to wait.
    pub(super) fn begin<'a>(&'a self, handle: &Server, id: ClientId) -> Waiting<'a> {
        let call = (handle.number, id);
        self.0.lock().calls.insert(call);
        Waiting { handles: self, call }
    }

    /// The clients of all calls that wait.
    pub(super) fn clients(&self) -> Vec<ClientId> {
        self.0.lock().calls.iter().map(|(_, id)| *id).collect()
    }
}

impl Family {
    fn remove(&mut self, handle: Number) -> bool {
        let parent = self.parents.remove(&handle).flatten();
        let children = self.parents.values_mut().filter(|one| **one == Some(handle));
        children.for_each(|one| *one = parent);
        let mut origin = parent;
        while let Some(one) = origin {
            if self.waits(one) {
                return false;
            }
            origin = self.parents.get(&one).copied().flatten();
        }
        self.all_wait()
    }

    fn waits(&self, handle: Number) -> bool {
        self.calls.iter().any(|(one, _)| *one == handle)
    }

    fn all_wait(&self) -> bool {
        !self.parents.is_empty() && self.parents.keys().all(|handle| self.waits(*handle))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handles.0.lock().calls.remove(&self.call);
    }
}
