//! An I/O worker: a thread with a runtime of its own that serves the connections it is given.
//!
//! Invariant: a worker keeps the lock only while it runs commands or a tick of time, never while
//! it sleeps.

use crate::client::Client;
use crate::clock::Stopwatch;
use crate::crew::Foreman;
use crate::cron;
use crate::listeners::{Listener, Port};
use crate::memory;
use crate::session::Scratch;
use crate::shared::{Incoming, Shared, WORKER};
use crate::welcome::{accept_tcp, accept_unix, entertain, go_on_shaking, shake_hands, welcome};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;

/// What a server listens on when it starts.
pub(crate) struct Listeners {
    pub(crate) tcp: Vec<(Port, Listener)>,
    pub(crate) unix: Option<std::os::unix::net::UnixListener>,
}

thread_local! {
    /// What this thread's worker has been given and has not looked at.
    static ARRIVING: RefCell<Option<mpsc::UnboundedReceiver<Incoming>>> = RefCell::default();
}

/// Connections on their way to this thread's worker: a slow script that keeps it has them looked
/// after elsewhere.
pub(crate) fn arriving() -> Vec<Incoming> {
    ARRIVING.with_borrow_mut(|receiver| {
        let next = || receiver.as_mut()?.try_recv().ok();
        std::iter::from_fn(next).collect()
    })
}

/// The next one; `None` when no more can come.
async fn arrival() -> Option<Incoming> {
    poll_fn(|cx| {
        ARRIVING.with_borrow_mut(|receiver| match receiver {
            Some(receiver) => receiver.poll_recv(cx),
            None => Poll::Ready(None),
        })
    })
    .await
}

/// One I/O worker: a thread with a runtime of its own. The first one also accepts and turns the
/// wheel of time.
pub(crate) fn run(
    shared: Arc<Shared>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    listeners: Option<Listeners>,
) {
    shared.crew.joined(WORKER.get());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    if shared.workers.len() == 1 {
        // There may be thousands like this one: its share of memory counts more than its rounds.
        builder.max_io_events_per_tick(128);
    }
    let runtime = match builder.enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            shared.logger.warning(format!("No runtime for a worker: {error}"));
            return;
        }
    };
    ARRIVING.set(Some(incoming));
    let scratch = Rc::new(RefCell::new(Scratch::default()));
    let stopped = shared.clone();
    runtime.block_on(async move {
        if let Some(Listeners { tcp, unix }) = listeners {
            tokio::task::spawn_local(time(shared.clone()));
            for (port, listener) in tcp {
                tokio::task::spawn_local(serve_port(shared.clone(), port, listener));
            }
            if let Some(listener) = unix {
                tokio::task::spawn_local(accept_unix(shared.clone(), listener));
            }
        }
        let mut stopping = shared.stopping.subscribe();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => break,
                connection = arrival() => match connection {
                    Some(Incoming::Listener(port, listener)) => {
                        tokio::task::spawn_local(serve_port(shared.clone(), port, listener));
                    }
                    Some(Incoming::Handshake(stream)) => {
                        let (shared, scratch) = (shared.clone(), scratch.clone());
                        tokio::task::spawn_local(shake_hands(shared, scratch, stream));
                    }
                    Some(Incoming::Moved(moved)) => {
                        moved.arrive(scratch.clone());
                    }
                    Some(Incoming::Guest(guest)) if guest.is_handshaking() => {
                        let (shared, scratch) = (shared.clone(), scratch.clone());
                        tokio::task::spawn_local(go_on_shaking(shared, scratch, guest));
                    }
                    Some(connection) => {
                        let Some(visitor) = connection.visitor() else { continue };
                        match shared.lock_unless_busy() {
                            Some(state) => {
                                welcome(&shared, &scratch, connection, &visitor, state);
                            }
                            None => {
                                let (shared, scratch) = (shared.clone(), scratch.clone());
                                let guest = entertain(shared, scratch, connection, visitor);
                                tokio::task::spawn_local(guest);
                            }
                        }
                    }
                    None => break,
                },
            }
        }
    });
    drop(runtime);
    // Nobody serves them any more: calls inside the process that wait have to end.
    stopped.lock().clients.iter_mut().for_each(Client::close_soon);
}

async fn serve_port(shared: Arc<Shared>, port: Port, listener: Listener) {
    match port {
        Port::Plain | Port::Tls => accept_tcp(shared, port, listener).await,
        Port::Metrics => crate::metrics::serve(shared, listener).await,
    }
}

/// Freed bytes that are worth a walk through the allocator's pages.
const SURPLUS_BYTES_MIN: usize = 8 << 20;
/// Between two such walks.
const SURPLUS_LOOK_NS: u64 = 1_000_000_000;

/// Memory that was freed and has not gone back to the system yet. The allocator gives pages back
/// only in the course of further calls, so a server that has become idle would keep them for ever.
struct Surplus {
    /// The most that was in use since the last time, in bytes.
    high_bytes: usize,
    since: Stopwatch,
}

impl Surplus {
    /// Gives back what is worth it; true when there is more to come.
    fn look(&mut self, shared: &Shared, used_bytes: usize, give_back: Option<fn()>) -> bool {
        self.high_bytes = self.high_bytes.max(used_bytes);
        let freed_bytes =
            self.high_bytes - used_bytes + shared.let_go_bytes.load(Ordering::Relaxed);
        let worth_bytes = SURPLUS_BYTES_MIN.max(used_bytes / 4);
        let Some(give_back) = give_back.filter(|_| freed_bytes >= worth_bytes) else {
            return false;
        };
        if self.since.elapsed_ns() < SURPLUS_LOOK_NS {
            return true;
        }
        shared.let_go_bytes.store(0, Ordering::Relaxed);
        *self = Surplus { high_bytes: used_bytes, since: Stopwatch::start() };
        // Returning gigabytes takes the kernel a while.
        let _ = std::thread::Builder::new().name("redouble-purge".into()).spawn(give_back);
        false
    }
}

/// Turns the wheel of time.
async fn time(shared: Arc<Shared>) {
    let mut moves = shared.clock.moves();
    let mut surplus = Surplus { high_bytes: 0, since: Stopwatch::start() };
    let mut foreman = Foreman::new();
    loop {
        let (more, mut wait_ms, used_bytes, give_back) = {
            let mut state = shared.lock_when_free().await;
            let more = cron::tick(&mut state);
            let wait_ms = cron::next_tick_ms(&mut state);
            (more, wait_ms, memory::used_bytes(&state) as usize, state.facts.give_back)
        };
        // No reply waits for what a tick has logged.
        shared.tail.write_soon();
        if more {
            tokio::task::yield_now().await;
            continue;
        }
        foreman.look(&shared.crew);
        if surplus.look(&shared, used_bytes, give_back) {
            wait_ms = Some(wait_ms.map_or(100, |ms| ms.min(100)));
        }
        let wait = async {
            match wait_ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms as u64)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = wait => {}
            _ = shared.cron.notified() => {}
            _ = moves.changed() => {}
        }
    }
}
