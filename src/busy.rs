//! What happens while a slow script keeps the lock.
//!
//! Sessions of other workers find the lock taken, and answer by [`answer`]. The script's own
//! worker is stuck in it, so a thread of its own, the [`rescue`], looks after that worker's sockets
//! and listeners: it takes whole requests only, and never a byte more, so that the sessions go on
//! afterwards as if nothing had happened. The end of the script waits for the rescue's round to
//! end (`Running::over`), so never do two threads read the same socket.

use crate::client::{Asker, ClientId, Visitor};
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::resp::out::Out;
use crate::scripting::{Reply, Running};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
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
    /// It has its reply, and the connection ends.
    Last,
    /// The script is over; the lock will be free.
    AwaitsLock,
}

/// Answers a request without the lock: the script's side does, which has it, with all that may
/// refuse the request. One that would end the script waits for its answer as long as it takes.
pub fn answer(running: &Running, asker: &Asker, argv: &[&[u8]], out: &mut Vec<u8>) -> Answer {
    loop {
        match running.ask(asker, argv) {
            Reply::Given(reply, ends) => {
                out.extend_from_slice(&reply);
                return if ends { Answer::Last } else { Answer::Given };
            }
            Reply::Over => return Answer::AwaitsLock,
            Reply::Late if ends_scripts(argv) => {}
            Reply::Late => break,
        }
    }
    let out = Out::new(out, false);
    out.error(&running.busy());
    Answer::Given
}

fn ends_scripts(argv: &[&[u8]]) -> bool {
    let is = |at: usize, word: &str| {
        argv.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    is(0, "shutdown") || ((is(0, "script") || is(0, "function")) && is(1, "kill"))
}

/// A socket beside the one that its session owns; both read and write the same connection.
pub fn twin(socket: &impl AsFd) -> Option<TcpStream> {
    // A unix socket is as good: only `peek`, `read` and `write` are called.
    socket.as_fd().try_clone_to_owned().ok().map(TcpStream::from)
}

/// Answers the whole requests that wait in a socket, which must not block. False when the peer
/// has gone.
pub fn serve(mut socket: &TcpStream, asker: &Asker, running: &Running) -> bool {
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
    let mut goes_on = true;
    for request in &batch.requests {
        batch.argv(request, input, &mut argv);
        let answer = answer(running, asker, &argv, &mut out);
        if answer == Answer::AwaitsLock {
            break;
        }
        consumed = request.end;
        if answer == Answer::Last {
            goes_on = false;
            break;
        }
    }
    let mut taken = vec![0u8; consumed];
    let served =
        consumed == 0 || (socket.read_exact(&mut taken).is_ok() && socket.write_all(&out).is_ok());
    let goes_on = goes_on && served;
    if !goes_on {
        // Its session finds the end of the stream when the script is over. So does that of a peer
        // that takes no replies, rather than miss one of them.
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    goes_on
}

/// A connection that came while a slow script ran.
#[derive(Debug)]
pub struct Guest {
    /// Its socket.
    pub stream: TcpStream,
    /// What is known of it; registered if it has asked for something.
    pub visitor: Arc<Visitor>,
    has_gone: bool,
}

impl Guest {
    fn welcome(stream: TcpStream) -> Option<Guest> {
        stream.set_nonblocking(true).ok()?;
        let _ = stream.set_nodelay(true);
        let visitor = Arc::new(Visitor::tcp(&stream)?);
        Some(Guest { stream, visitor, has_gone: false })
    }

    fn serve(&mut self, running: &Running) {
        let asker = Asker::Visitor(self.visitor.clone());
        self.has_gone = self.has_gone || !serve(&self.stream, &asker, running);
    }
}

/// Looks after `sockets` and `listeners` until the slow script ends, and after connections that
/// have `arrived` and are nobody's yet. Gives these and the ones that came meanwhile; one that has
/// gone again is among them if it has to be unregistered.
pub fn rescue(
    running: &Running,
    mut sockets: Vec<(ClientId, TcpStream)>,
    arrived: Vec<TcpStream>,
    listeners: &[TcpListener],
) -> Vec<Guest> {
    let mut guests: Vec<Guest> = arrived.into_iter().filter_map(Guest::welcome).collect();
    while running.while_slow(|| {
        sockets.retain(|(client, socket)| serve(socket, &Asker::Client(*client), running));
        guests.iter_mut().for_each(|guest| guest.serve(running));
        guests.retain(|guest| !guest.has_gone || guest.visitor.id.get().is_some());
        for listener in listeners {
            while let Ok((stream, _)) = listener.accept() {
                guests.extend(Guest::welcome(stream));
            }
        }
    }) {
        std::thread::sleep(ROUND);
    }
    guests
}
