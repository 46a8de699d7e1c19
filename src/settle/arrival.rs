//! Who comes: a connection becomes a client, or is refused.

use super::users;
use crate::client::{ClientId, ReplyMode, Transport, Visitor};
use crate::config::LogLevel;
use crate::resp::decode::{ProtocolError, TLS_GREETING};
use crate::state::State;

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may adopt \
one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET \
protected-mode no' from the loopback interface by connecting to Redis from the same host the \
server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. \
Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
protected mode by editing the Redis configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// Makes a client of a connection, unless it is one; or says why not, in the protocol.
pub fn connect(state: &mut State, visitor: &Visitor) -> Result<ClientId, &'static [u8]> {
    if let Some(id) = visitor.id.get() {
        return Ok(*id);
    }
    let settings = state.config.settings();
    if state.is_exposed() && visitor.transport == (Transport::Tcp { local: false }) {
        return Err(PROTECTED);
    }
    if state.clients.len() >= settings.maxclients {
        return Err(b"-ERR max number of clients reached\r\n");
    }
    let now_ms = state.clock.now_ms();
    state.stats.connections_received += 1;
    if state.logger.wants(LogLevel::Verbose) {
        state.logger.verbose(match visitor.transport {
            Transport::Unix => {
                format!("Accepted connection to {}", visitor.laddr.trim_end_matches(":0"))
            }
            _ => format!("Accepted {}", visitor.addr),
        });
    }
    let id = state.clients.add(visitor.transport, now_ms);
    let client = state.clients.at(id);
    client.addr = visitor.addr.clone();
    client.laddr = visitor.laddr.clone();
    client.fd = visitor.fd;
    users::begin(state, id);
    Ok(*visitor.id.get_or_init(|| id))
}

/// Notes that a client's bytes are no requests; whether CLIENT REPLY lets it hear so. What they
/// were stays out of the log: it may be a secret.
pub fn misunderstood(state: &mut State, me: ClientId, error: &ProtocolError) -> bool {
    let level = if error.0 == TLS_GREETING { LogLevel::Warning } else { LogLevel::Verbose };
    if state.logger.wants(level) {
        let what = error.0.trim_start_matches("Protocol error: ");
        let addr = state.clients.at(me).addr.clone();
        state.logger.log(level, &format!("Protocol error ({what}) from client: addr={addr}"));
    }
    let client = state.clients.at(me);
    let hears = client.reply_mode == ReplyMode::On;
    client.close_after_reply |= !hears;
    hears
}

/// Ends the connection of somebody who speaks HTTP.
pub fn suspect(state: &mut State, me: ClientId) {
    let client = state.clients.at(me);
    client.close_now = true;
    let addr = client.addr.clone();
    state.logger.warning(format!(
        "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: \
         commands to Redis. This is likely due to an attacker attempting to use Cross Protocol \
         Scripting to compromise your Redis instance. Connection from {addr} aborted."
    ));
}

/// Makes a client for one call from inside the process.
pub fn connect_caller(state: &mut State) -> ClientId {
    let id = state.clients.add(Transport::Memory, state.db.now_ms());
    let client = state.clients.at(id);
    client.resp3 = true;
    client.addr = "embedded:0".to_string();
    id
}

/// Makes a client for commands that nobody sends: those of the log.
pub fn connect_internal(state: &mut State) -> ClientId {
    let id = state.clients.add(Transport::Internal, state.clock.now_ms());
    let client = state.clients.at(id);
    client.is_internal = true;
    client.authenticated = true;
    id
}

/// Makes a client for the commands of the primary that this server copies.
pub fn connect_primary(state: &mut State, addr: &str, laddr: &str) -> ClientId {
    let id = state.clients.add(Transport::Tcp { local: true }, state.db.now_ms());
    let client = state.clients.at(id);
    client.is_internal = true;
    client.is_primary = true;
    client.authenticated = true;
    client.may_all = true;
    client.addr = addr.to_string();
    client.laddr = laddr.to_string();
    id
}
