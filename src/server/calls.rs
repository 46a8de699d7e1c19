//! The handles of a server, and calls of [`Server::command`], so that those that wait end when
//! nobody else holds their server.
//!
//! A call borrows its handle, and cannot know whether somebody else has a way to it: a handle that
//! a thread was given is out of reach while that thread waits, one in a `static` is not. So a
//! handle that clones are made of counts as within reach of whoever held a clone: it is the place
//! where handles come from. When the last handle beside those with waiting calls is dropped, the
//! calls end, unless that one came, by however many clones, from one of them.
//!
//! Whether a call waits shows while its command runs. So it stands here from its beginning, and
//! when the last handle beside those with calls is dropped meanwhile, the call is left *alone*: it
//! ends as soon as it would wait.
//!
//! [`Server::command`]: super::Server::command
//!
//! Invariant: a handle stands here exactly while it lives, with the nearest living one that it
//! comes from, and a call exactly while it runs or waits.

use crate::client::ClientId;
use parking_lot::Mutex;
use std::collections::HashMap;

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
    /// Calls so far.
    begun: u64,
    /// Calls by their own numbers.
    calls: HashMap<u64, Stage>,
}

/// A call of one handle.
#[derive(Debug)]
struct Stage {
    handle: Number,
    /// It waits, by this client.
    waits: Option<ClientId>,
    /// The last handle beside those with calls was dropped while it did not.
    is_alone: bool,
}

/// A call, for as long as it runs or waits.
pub(super) struct Ongoing<'a> {
    handles: &'a Handles,
    number: u64,
}

impl Handles {
    /// A handle is made: a clone of another, or the first one.
    pub(super) fn add(&self, parent: Option<Number>) -> Number {
        let family = &mut *self.0.lock();
        // Who clones a handle has a way to it.
        let calls = family.calls.values_mut().filter(|call| Some(call.handle) == parent);
        calls.for_each(|call| call.is_alone = false);
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

    /// A call by this handle begins.
    pub(super) fn begin(&self, handle: Number) -> Ongoing<'_> {
        let family = &mut *self.0.lock();
        family.begun += 1;
        let stage = Stage { handle, waits: None, is_alone: false };
        family.calls.insert(family.begun, stage);
        Ongoing { handles: self, number: family.begun }
    }

    /// The clients of all calls that wait.
    pub(super) fn clients(&self) -> Vec<ClientId> {
        self.0.lock().clients()
    }
}

impl Ongoing<'_> {
    /// It waits from now on. Gives the clients of calls that have to end, since nobody is left.
    pub(super) fn waits(&self, id: ClientId) -> Vec<ClientId> {
        let family = &mut *self.handles.0.lock();
        let Some(stage) = family.calls.get_mut(&self.number) else { return Vec::new() };
        stage.waits = Some(id);
        match stage.is_alone && family.all_wait() {
            true => family.clients(),
            false => Vec::new(),
        }
    }
}

impl Family {
    fn remove(&mut self, handle: Number) -> bool {
        let parent = self.parents.remove(&handle).flatten();
        let children = self.parents.values_mut().filter(|one| **one == Some(handle));
        children.for_each(|one| *one = parent);
        let mut origin = parent;
        while let Some(one) = origin {
            if self.calls.values().any(|call| call.handle == one) {
                return false;
            }
            origin = self.parents.get(&one).copied().flatten();
        }
        if self.all(|_| true) {
            let running = self.calls.values_mut().filter(|call| call.waits.is_none());
            running.for_each(|call| call.is_alone = true);
        }
        self.all_wait()
    }

    fn all_wait(&self) -> bool {
        self.all(|call| call.waits.is_some())
    }

    /// Whether each of the handles has such a call.
    fn all(&self, such: impl Fn(&Stage) -> bool) -> bool {
        let calls = || self.calls.values().filter(|call| such(call));
        let has_one = |handle: &Number| calls().any(|call| call.handle == *handle);
        !self.parents.is_empty() && self.parents.keys().all(has_one)
    }

    fn clients(&self) -> Vec<ClientId> {
        self.calls.values().filter_map(|call| call.waits).collect()
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.handles.0.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(serial: u64) -> ClientId {
        ClientId { serial, slot: 0 }
    }

    #[test]
    fn a_call_that_nobody_can_end_any_more_does_not_begin_to_wait() {
        let handles = Handles::default();
        let first = handles.add(None);
        let other = handles.add(Some(first));
        let call = handles.begin(other);
        assert!(!handles.remove(first), "it runs, and may come to its end");
        assert_eq!(call.waits(client(1)), [client(1)]);
    }

    #[test]
    fn a_call_waits_as_long_as_somebody_has_a_handle() {
        let handles = Handles::default();
        let first = handles.add(None);
        let others = [handles.add(Some(first)), handles.add(Some(first))];
        let [one, two] = others.map(|handle| handles.begin(handle));
        handles.remove(first);
        assert!(one.waits(client(1)).is_empty(), "the other call may yet come back");
        let mut all = two.waits(client(2));
        all.sort();
        assert_eq!(all, [client(1), client(2)]);
    }

    #[test]
    fn a_call_waits_if_what_was_dropped_comes_from_its_handle() {
        let handles = Handles::default();
        let place = handles.add(None);
        let clone = handles.add(Some(place));
        let call = handles.begin(place);
        handles.remove(clone);
        assert!(call.waits(client(1)).is_empty());
        drop(call);
        assert!(handles.clients().is_empty());
        let other = handles.add(None);
        let call = handles.begin(place);
        handles.remove(other);
        handles.remove(handles.add(Some(place)));
        assert!(call.waits(client(2)).is_empty());
    }
}
