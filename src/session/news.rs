//! How replicas hear of what the sessions of a worker have written: when all that were ready have
//! had their turn, so that one call sends what came of all of them. To wake a replica's connection
//! for each batch would cost more than the batch, and more still where it lives on another worker.
//!
//! Invariant: whatever a batch has added to the stream, each replica is told within one round of
//! the worker.

use super::order;
use crate::client::Kick;
use crate::replicas;
use crate::state::State;
use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Tells the replicas.
struct Crier;

thread_local! {
    static AWAITING: RefCell<Vec<Arc<Kick>>> = const { RefCell::new(Vec::new()) };
    static CRIER: Waker = Waker::from(Arc::new(Crier));
}

impl Wake for Crier {
    fn wake(self: Arc<Self>) {
        AWAITING.with_borrow_mut(|kicks| kicks.drain(..).for_each(|kick| kick.ring()));
    }
}

/// A batch is over: what it has written is told after the others' turns.
#[inline]
pub(super) fn spread(state: &mut State) {
    state.role.tells_later = false;
    if std::mem::take(&mut state.role.has_news) {
        tell_later(state);
    }
}

fn tell_later(state: &State) {
    let is_first = AWAITING.with_borrow_mut(|awaiting| {
        let is_first = awaiting.is_empty();
        for kick in replicas::kicks(state) {
            if !awaiting.iter().any(|other| Arc::ptr_eq(other, kick)) {
                awaiting.push(kick.clone());
            }
        }
        is_first && !awaiting.is_empty()
    });
    if is_first {
        order::step_back(CRIER.with(Waker::clone));
    }
}
