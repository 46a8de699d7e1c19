//! Calls of [`Server::command`] that wait, so that they end when nobody else holds their server.
//!
//! Invariant: a call stands here exactly while it waits, with its handle, which it borrows.

use super::Server;
use crate::client::ClientId;
use parking_lot::Mutex;
use std::collections::HashSet;

/// The handle that a call borrows, by its place in memory, and the call's client.
type Call = (usize, ClientId);

/// Calls that wait.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<HashSet<Call>>);

/// One of them, for as long as it waits.
pub(super) struct Waiting<'a> {
    calls: &'a Calls,
    call: Call,
}

impl Calls {
    /// A call begins to wait.
    pub(super) fn begin<'a>(&'a self, handle: &'a Server, id: ClientId) -> Waiting<'a> {
        let call = (std::ptr::from_ref(handle) as usize, id);
        self.0.lock().insert(call);
        Waiting { calls: self, call }
    }

    /// How many handles have calls that wait.
    pub(super) fn handles(&self) -> usize {
        let calls = self.0.lock();
        calls.iter().map(|(handle, _)| handle).collect::<HashSet<_>>().len()
    }

    /// The clients of all of them.
    pub(super) fn clients(&self) -> Vec<ClientId> {
        self.0.lock().iter().map(|(_, id)| *id).collect()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.calls.0.lock().remove(&self.call);
    }
}
