//! Waiting for the end: signals, and SHUTDOWN.

use redouble::config::ShutdownFlags;
use redouble::server::Server;
use redouble::server_log::Logger;
use redouble::state::Shutdown;
use tokio::signal::unix::{signal, Signal, SignalKind};

/// Serves until a signal or a client ends it; gives the exit code.
pub fn serve(server: &Server, log: &Logger) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log.warning(format!("No runtime for signals: {error}"));
            return 1;
        }
    };
    runtime.block_on(wait(server, log))
}

async fn wait(server: &Server, log: &Logger) -> i32 {
    let listen = |kind| signal(kind).map_err(|error| log.warning(format!("No signals: {error}")));
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(listen) else {
        return 1;
    };
    let mut interrupted = false;
    loop {
        tokio::select! {
            _ = received(&mut interrupt) => {
                if interrupted {
                    log.warning("You insist... exiting now.");
                    return 1;
                }
                interrupted = true;
                log.warning("Received SIGINT scheduling shutdown...");
                let flags = server.shared().lock().config.settings().shutdown_on_sigint;
                server.ask_shutdown(asked(flags));
            }
            _ = received(&mut terminate) => {
                log.warning("Received SIGTERM scheduling shutdown...");
                let flags = server.shared().lock().config.settings().shutdown_on_sigterm;
                server.ask_shutdown(asked(flags));
            }
            // Redis ignores it, so that closing a terminal does not end a server.
            _ = received(&mut hangup) => {}
            _ = server.shutdown_asked() => {
                log.warning("User requested shutdown...");
                return 0;
            }
        }
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn asked(flags: ShutdownFlags) -> Shutdown {
    Shutdown { nosave: flags.nosave, save: flags.save, now: flags.now, force: flags.force }
}
