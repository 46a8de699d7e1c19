//! Sessions whose replies wait until the log is durable: the worker is woken once for all of them.
//!
//! Whoever makes the log durable is another thread, and to wake a task of another thread costs it a
//! system call. So the sessions of a worker wait here, and one task waits for them there.
//!
//! Invariant: while somebody waits here for a mark, the task waits for that mark or a smaller one,
//! or is about to look.

use crate::log::aof::tail::Tail;
use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The sessions of a worker that wait.
#[derive(Default)]
struct Held {
    sessions: Vec<(u64, Waker)>,
    /// The task, and the mark that it waits for, if it does.
    task: Option<Waker>,
    awaited: Option<u64>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// Whether replies with this mark may leave now; if not, this task is woken when they may.
pub(super) fn is_open(tail: &Arc<Tail>, mark: u64, cx: &Context<'_>) -> bool {
    if tail.open(mark) {
        return true;
    }
    let is_watched = HELD.with_borrow_mut(|held| {
        held.sessions.push((mark, cx.waker().clone()));
        if held.awaited.is_some_and(|awaited| awaited <= mark) {
            return true;
        }
        held.task.as_ref().map(Waker::wake_by_ref).is_some()
    });
    if !is_watched {
        tokio::task::spawn_local(watch(tail.clone()));
    }
    false
}

/// Lets sessions go on whose marks are durable, for ever.
async fn watch(tail: Arc<Tail>) {
    poll_fn(|cx| loop {
        let first = HELD.with_borrow_mut(|held| {
            held.task.get_or_insert_with(|| cx.waker().clone());
            held.sessions.retain(|(mark, session)| {
                let is_held = !tail.is_open(*mark);
                if !is_held {
                    session.wake_by_ref();
                }
                is_held
            });
            held.awaited = held.sessions.iter().map(|(mark, _)| *mark).min();
            held.awaited
        });
        match first.map(|mark| tail.poll_open(mark, cx.waker())) {
            Some(Poll::Ready(())) => {}
            Some(Poll::Pending) | None => return Poll::Pending,
        }
    })
    .await
}
