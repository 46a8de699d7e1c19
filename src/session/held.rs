//! Sessions whose replies wait until the log is durable: the worker is woken once for all of them.
//!
//! Whoever makes the log durable is another thread, and to wake a task of another thread costs it a
//! system call. So the sessions of a worker wait here, and one task waits for them there.
//!
//! Invariant: a worker has one such task, from the first who waits on; while somebody waits here
//! for a mark, it waits for that mark or a smaller one, or is about to look.

use crate::log::aof::tail::Tail;
use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The sessions of a worker that wait.
#[derive(Default)]
struct Held {
    sessions: Vec<(u64, Waker)>,
    /// There is a task.
    is_watched: bool,
    /// It, since it has looked for the first time, and the mark that it waits for, if it does.
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
        if held.awaited.is_none_or(|awaited| mark < awaited) {
            held.task.iter().for_each(Waker::wake_by_ref);
        }
        std::mem::replace(&mut held.is_watched, true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AppendOnly;
    use crate::log::aof::Policy;
    use tokio::runtime::{Builder, Handle, LocalOptions};

    /// A log that nobody writes, with something in it.
    fn unwritten() -> Arc<Tail> {
        let tail = Arc::<Tail>::default();
        tail.configured(&AppendOnly { policy: Policy::Always, ..AppendOnly::default() }, 0);
        tail.reader().receive(b"record");
        tail
    }

    #[test]
    fn sessions_of_one_round_have_one_task() {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        let tail = unwritten();
        runtime.block_on(async {
            let sessions = [3, 1, 6, 2].map(|mark| {
                let tail = tail.clone();
                tokio::task::spawn_local(poll_fn(move |cx| match is_open(&tail, mark, cx) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }))
            });
            // The first turn of each, and the task's.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert_eq!(Handle::current().metrics().num_alive_tasks(), sessions.len() + 1);
            tail.stop();
            for session in sessions {
                session.await.unwrap();
            }
        });
    }
}
