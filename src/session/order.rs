//! The order in which sessions of one worker take their turns: first come, first served.
//!
//! Invariant: who has had a turn and wants another stands behind all that are ready, and behind
//! those whose sockets become ready until these have had theirs; the sockets are looked at once a
//! round. The runtime has a place for those who step back like this, but calls them up in reverse,
//! so there is one caller in it for all of them, who keeps the order.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// Calls up those who stepped back.
struct Usher;

thread_local! {
    static STEPPED_BACK: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    static USHER: Waker = Waker::from(Arc::new(Usher));
}

impl Wake for Usher {
    fn wake(self: Arc<Self>) {
        STEPPED_BACK.with_borrow_mut(|waiting| waiting.drain(..).for_each(Waker::wake));
    }
}

/// Wakes this task when all others have had their turn.
pub(super) fn after_the_others(cx: &Context<'_>) {
    step_back(cx.waker().clone());
}

/// Wakes one that has no turn here when all others have had theirs.
pub(super) fn step_back(waker: Waker) {
    let is_first = STEPPED_BACK.with_borrow_mut(|waiting| {
        waiting.push(waker);
        waiting.len() == 1
    });
    if is_first {
        USHER.with(|usher| {
            let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(usher));
        });
    }
}
