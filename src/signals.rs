//! Waiting for the end: signals, and SHUTDOWN.

use redouble::config::{Settings, ShutdownFlags};
use redouble::server::{End, Server};
use redouble::server_log::Logger;
use redouble::snapshot;
use redouble::state::Shutdown;
use std::io;
use tokio::runtime::Runtime;
use tokio::signal::unix::{signal, Signal, SignalKind};

/// Signals that are listened to. Made before the server says that it is ready: a signal that
/// comes right after must not end it the hard way.
pub struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    alarm: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let hangup = signal(SignalKind::hangup())?;
        let alarm = signal(SignalKind::alarm())?;
        drop(within);
        Ok(Signals { runtime, interrupt, terminate, hangup, alarm })
    }

    /// Serves until a signal or a client ends it, or it cannot go on; tells which: not
    /// [`End::CalledOff`].
    pub fn serve(self, server: &Server, log: &Logger) -> End {
        let Signals { runtime, mut interrupt, mut terminate, mut hangup, mut alarm } = self;
        // What a signal asks for needs the lock, which a slow script may hold; this thread goes
        // on listening meanwhile.
        std::thread::scope(|scope| {
            let ask = |flags: fn(&Settings) -> ShutdownFlags| {
                scope.spawn(move || {
                    let state = server.shared().lock();
                    if state.persistence.loading.is_some() {
                        log.warning("Received shutdown signal during loading, exiting now.");
                        std::process::exit(0);
                    }
                    let flags = flags(state.config.settings());
                    drop(state);
                    server.ask_shutdown(asked(flags));
                });
            };
            runtime.block_on(async {
                let mut asked = false;
                loop {
                    tokio::select! {
                        _ = received(&mut interrupt) => {
                            if asked {
                                insist(server, log);
                            }
                            asked = true;
                            log.warning("Received SIGINT scheduling shutdown...");
                            ask(|settings| settings.shutdown_on_sigint);
                        }
                        _ = received(&mut terminate) => {
                            asked = true;
                            log.warning("Received SIGTERM scheduling shutdown...");
                            ask(|settings| settings.shutdown_on_sigterm);
                        }
                        // Redis ignores it, so that closing a terminal does not end a server.
                        _ = received(&mut hangup) => {}
                        // Redis: a line, and nothing else.
                        _ = received(&mut alarm) => log.warning("Received SIGALRM"),
                        end = server.shutdown_asked() => match end {
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
fn insist(server: &Server, log: &Logger) {
    if let Some(state) = server.shared().lock_unless_busy() {
        if state.shutdown.is_none() {
            return;
        }
        snapshot::save::remove_temporary(&state);
    }
    log.warning("You insist... exiting now.");
    std::process::exit(1);
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn asked(flags: ShutdownFlags) -> Shutdown {
    Shutdown { nosave: flags.nosave, save: flags.save, now: flags.now, force: flags.force }
}
