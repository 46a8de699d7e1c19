//! What happens while a slow script keeps the lock.
//!
//! Sessions of other workers find the lock taken, and answer by [`answer`]. The script's own
//! worker is stuck in it, so a thread of its own, the [`rescue`], looks after that worker's sockets
//! and listeners: it takes whole requests only, and never a byte more, so that the sessions go on
//! afterwards as if nothing had happened. The end of the script waits for the rescue's round to
//! end (`Running::over`), so never do two threads read the same socket.

use crate::client::ClientId;
use crate::commands::scripting::unkillable;
use crate::error::Error;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::resp::out::Out;
use crate::scripting::{Reply, Running};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Between two rounds of the rescue.
const ROUND: Duration = Duration::from_millis(2);
/// Bytes of one socket that a round looks at.
const PEEK_BYTES: usize = 16 * 1024;
/// Requests of one socket that a round answers.
const REQUESTS_MAX: usize = 64;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has its reply.
    Given,
    /// The script is over, or was told to stop (SHUTDOWN NOSAVE); the lock will be free.
    AwaitsLock,
}

/// Answers a request without the lock. `client` is whose it is, if it is registered: then the
/// script's side may answer, which reaches its state.
pub fn answer(
    running: &Running,
    client: Option<ClientId>,
    argv: &[&[u8]],
    out: &mut Vec<u8>,
) -> Answer {
    let is = |at: usize, word: &str| {
        argv.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let is_function = is(0, "function");
    if argv.len() == 2 && (is_function || is(0, "script")) && is(1, "kill") {
        let out = Out::new(out, false);
        match running.kill(is_function) {
            Ok(()) => drop(out.ok()),
            Err(why) => drop(out.error(&unkillable(why))),
        }
        return Answer::Given;
    }
    if is(0, "shutdown") && (1..argv.len()).any(|at| is(at, "nosave")) {
        running.end();
        return Answer::AwaitsLock;
    }
    match client.map(|client| running.ask(client, argv)) {
        Some(Reply::Given(reply)) => {
            out.extend_from_slice(&reply);
            return Answer::Given;
        }
        Some(Reply::Over) => return Answer::AwaitsLock,
        Some(Reply::Late) | None => {}
    }
    let out = Out::new(out, false);
    out.error(&if running.is_function() { Error::BusyFunction } else { Error::BusyScript });
    Answer::Given
}

/// A socket beside the one that its session owns; both read and write the same connection.
pub fn twin(socket: &impl AsFd) -> Option<TcpStream> {
    // A unix socket is as good: only `peek`, `read` and `write` are called.
    socket.as_fd().try_clone_to_owned().ok().map(TcpStream::from)
}

/// Answers the whole requests that wait in a socket, which must not block. False when the peer
/// has gone.
pub fn serve(mut socket: &TcpStream, client: Option<ClientId>, running: &Running) -> bool {
    let mut input = [0u8; PEEK_BYTES];
    let input = match socket.peek(&mut input) {
        Ok(0) => return false,
        Ok(len) => &input[..len],
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let mut batch = Batch::default();
    let bounds = Bounds { bulk_bytes_max: PEEK_BYTES, unauthenticated: false };
    if Decoder::default().decode(input, bounds, REQUESTS_MAX, &mut batch).is_err() {
        return true;
    }
    let (mut out, mut argv, mut consumed) = (Vec::new(), Argv::new(), 0);
    for request in &batch.requests {
        batch.argv(request, input, &mut argv);
        if !argv.is_empty() && answer(running, client, &argv, &mut out) == Answer::AwaitsLock {
            break;
        }
        consumed = request.end;
    }
    let mut taken = vec![0u8; consumed];
    consumed == 0 || (socket.read_exact(&mut taken).is_ok() && socket.write_all(&out).is_ok())
}

/// Looks after `sockets` and `listeners` until the slow script ends. Gives the connections that
/// came meanwhile.
pub fn rescue(
    running: &Running,
    mut sockets: Vec<(ClientId, TcpStream)>,
    listeners: &[TcpListener],
) -> Vec<TcpStream> {
    let mut guests: Vec<TcpStream> = Vec::new();
    while running.while_slow(|| {
        sockets.retain(|(client, socket)| serve(socket, Some(*client), running));
        guests.retain(|guest| serve(guest, None, running));
        for listener in listeners {
            while let Ok((guest, _)) = listener.accept() {
                if guest.set_nonblocking(true).is_ok() {
                    guests.push(guest);
                }
            }
        }
    }) {
        std::thread::sleep(ROUND);
    }
    guests
}
