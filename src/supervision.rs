//! Telling the one who started the process how it goes: `supervised`.
//!
//! systemd listens to datagrams at the address in `NOTIFY_SOCKET`; upstart waits until the process
//! stops itself. Invariant: a supervisor that cannot be reached never keeps a server from serving.

use crate::config::Supervision;
use crate::server_log::Logger;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Who supervises this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    #[default]
    Nobody,
    /// upstart.
    Upstart,
    /// systemd.
    Systemd,
}

impl Supervisor {
    /// Finds the one that `supervised` asks for, and says that the server is starting. Must be
    /// called before any thread is started: it changes the environment.
    pub fn find(wanted: Supervision, log: &Logger) -> Supervisor {
        let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let (upstart, systemd) = match wanted {
            Supervision::No => return Supervisor::Nobody,
            Supervision::Auto => (has("UPSTART_JOB"), has("NOTIFY_SOCKET")),
            Supervision::Upstart => (true, false),
            Supervision::Systemd => (false, true),
        };
        if upstart && !has("UPSTART_JOB") {
            log.warning("upstart supervision requested, but UPSTART_JOB not found!");
            Supervisor::Nobody
        } else if upstart {
            log.notice("supervised by upstart, will stop to signal readiness.");
            crate::process::stop_self();
            std::env::remove_var("UPSTART_JOB");
            Supervisor::Upstart
        } else if systemd && Supervisor::Systemd.say("STATUS=Redis is loading...\n", log) {
            log.notice(
                "Supervised by systemd. Please make sure you set appropriate values for \
                 TimeoutStartSec and TimeoutStopSec in your service unit.",
            );
            Supervisor::Systemd
        } else {
            Supervisor::Nobody
        }
    }

    /// The word in INFO's `process_supervised`.
    pub fn name(self) -> &'static str {
        match self {
            Supervisor::Nobody => "no",
            Supervisor::Upstart => "upstart",
            Supervisor::Systemd => "systemd",
        }
    }

    /// The server accepts connections; one that copies another has yet to be in step with it.
    pub fn ready(self, copies: bool, log: &Logger) {
        self.status(
            match copies {
                false => "Ready to accept connections",
                true => {
                    "Ready to accept connections in read-only mode. Waiting for MASTER <-> \
                     REPLICA sync"
                }
            },
            log,
        );
        self.say("READY=1\n", log);
    }

    /// The copy of another server is in step with it; `how` says by which way.
    pub fn in_step(self, how: &str, log: &Logger) {
        let text = "Ready to accept connections in read-write mode.";
        self.status(&format!("MASTER <-> REPLICA sync: {how}. {text}"), log);
    }

    /// What the server does now, in words for people.
    pub fn status(self, text: &str, log: &Logger) {
        if self == Supervisor::Systemd {
            self.say(&format!("STATUS={text}\n"), log);
        }
    }

    /// Somebody has asked for the end.
    pub fn stopping(self, log: &Logger) {
        self.say("STOPPING=1\n", log);
    }

    fn say(self, state: &str, log: &Logger) -> bool {
        if self != Supervisor::Systemd {
            return false;
        }
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
            log.warning("systemd supervision error: NOTIFY_SOCKET not found!");
            return false;
        };
        match send(address.into_vec().as_slice(), state.as_bytes()) {
            Ok(()) => true,
            Err(error) => {
                let error = crate::config::error_text(&error);
                log.warning(format!("systemd supervision error: sd_notify: {error}"));
                false
            }
        }
    }
}

/// Sends a datagram to a path, or to an abstract name where the address begins with `@`.
fn send(address: &[u8], state: &[u8]) -> io::Result<()> {
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state, &address).map(|_| ())
}
