//! Waiting for the end: signals, and SHUTDOWN.

use parking_lot::Mutex;
use redouble::config::{Settings, ShutdownFlags};
use redouble::server::{End, Server};
use redouble::server_log::Logger;
use redouble::snapshot;
use redouble::state::Shutdown;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Caught;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Who insists waits so long for the lock, which tells what there is to be removed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Signals that are listened to. Made before the server can be reached: a signal that
/// comes right after must not end it the hard way.
pub struct Signals {
    runtime: Runtime,
    arriving: mpsc::UnboundedReceiver<i32>,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut caught = Caught::new([SIGINT, SIGTERM, SIGHUP, SIGALRM])?;
        let (sender, arriving) = mpsc::unbounded_channel();
        // A thread of its own: the runtime's way would cost every server of every program that
        // this crate is part of a descriptor.
        std::thread::Builder::new().name("redouble-signals".into()).spawn(move || {
            let _ = caught.forever().try_for_each(|signal| sender.send(signal));
        })?;
        Ok(Signals { runtime, arriving })
    }

    /// Serves until a signal or a client ends it, or it cannot go on; tells which: not
    /// [`End::CalledOff`]. `final_save` names the file of the last save while it is written.
    pub fn serve(self, server: &Server, log: &Logger, final_save: &Mutex<Option<PathBuf>>) -> End {
        let Signals { runtime, mut arriving } = self;
        // What a signal asks for needs the lock, which a slow script may hold; this thread goes
        // on listening meanwhile.
        std::thread::scope(|scope| {
            let ask = |flags: fn(&Settings) -> ShutdownFlags| {
                let asks = move || {
                    let state = server.shared().lock();
                    if state.persistence.loading.is_some() {
                        log.warning("Received shutdown signal during loading, exiting now.");
                        std::process::exit(0);
                    }
                    let flags = flags(state.config.settings());
                    drop(state);
                    server.ask_shutdown(asked(flags));
                };
                let asking = std::thread::Builder::new().name("redouble-end".into());
                if asking.spawn_scoped(scope, asks).is_err() {
                    // Then this thread waits for the lock.
                    asks();
                }
            };
            // Who waits for the end makes the last save: another thread, for the same reason.
            let (ends, mut ended) = mpsc::unbounded_channel();
            let waiter = runtime.handle().clone();
            let waits = move || loop {
                let end = waiter.block_on(server.shutdown_asked());
                if ends.send(end).is_err() || end != End::CalledOff {
                    return;
                }
            };
            let waiting = std::thread::Builder::new().name("redouble-last".into());
            if let Err(err) = waiting.spawn_scoped(scope, waits) {
                log.warning(format!("Cannot start a thread: {err}"));
                return End::Failed;
            }
            runtime.block_on(async {
                let mut asked = false;
                loop {
                    tokio::select! {
                        Some(signal) = arriving.recv() => match signal {
                            SIGINT => {
                                if asked {
                                    insist(server, log, final_save);
                                }
                                asked = true;
                                log.warning("Received SIGINT scheduling shutdown...");
                                ask(|settings| settings.shutdown_on_sigint);
                            }
                            SIGTERM => {
                                asked = true;
                                log.warning("Received SIGTERM scheduling shutdown...");
                                ask(|settings| settings.shutdown_on_sigterm);
                            }
                            // Redis: a line, and nothing else.
                            SIGALRM => log.warning("Received SIGALRM"),
                            // Redis ignores SIGHUP, so that closing a terminal does not end a
                            // server.
                            _ => {}
                        },
                        Some(end) = ended.recv() => match end {
                            End::CalledOff => asked = false,
                            end => return end,
                        },
                    }
                }
            })
        })
    }
}

/// An interrupt while the server is about to end: it ends now, unless the shutdown was called off.
/// The lock is not waited for while all data is being saved under it, to the file `final_save`, and
/// not long while something else keeps it.
fn insist(server: &Server, log: &Logger, final_save: &Mutex<Option<PathBuf>>) {
    if let Some(unfinished) = &*final_save.lock() {
        let _ = std::fs::remove_file(unfinished);
        log.warning("You insist... exiting now.");
        std::process::exit(1);
    }
    if let Some(state) = server.shared().lock_within(PATIENCE) {
        if state.shutdown.is_none() {
            return;
        }
        snapshot::save::remove_temporary(&state);
    }
    log.warning("You insist... exiting now.");
    std::process::exit(1);
}

fn asked(flags: ShutdownFlags) -> Shutdown {
    Shutdown { nosave: flags.nosave, save: flags.save, now: flags.now, force: flags.force }
}
