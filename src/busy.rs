//! What happens while a slow script keeps the lock.
//!
//! Sessions of other workers find the lock taken, and answer by [`answer`]. The script's own
//! worker is stuck in it, so a thread of its own, the [`rescue`], looks after that worker's sockets
//! and listeners: it takes whole requests only, and never a byte more, so that the sessions go on
//! afterwards as if nothing had happened. Of a connection that speaks TLS it borrows the keys, and
//! gives back what it has deciphered and not answered. The end of the script waits for the rescue's
//! round to end (`Running::over`), so never do two threads read the same socket.

use crate::client::{Asker, ClientId, Kick, Visitor};
use crate::clock::Stopwatch;
use crate::listeners::Listener;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::resp::out::Out;
use crate::resp::replies::Replies;
use crate::scripting::{Reply, Running};
use crate::tls::Lent;
use std::io::{self, Read, Write};
use std::net::TcpStream;
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
    Replies::within(out, |out| Out::new(out, false).error(&running.busy()));
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

/// A connection that somebody else answers; nothing of it waits for the peer.
#[derive(Debug)]
pub enum Line {
    /// Of TCP or a unix socket.
    Plain(TcpStream),
    /// Of TLS.
    Tls(Lent),
}

impl Line {
    /// What waits and is not consumed; nothing at the end of the stream.
    fn peek(&self) -> io::Result<Vec<u8>> {
        match self {
            Line::Plain(socket) => {
                let mut input = vec![0; PEEK_BYTES];
                let len = socket.peek(&mut input)?;
                input.truncate(len);
                Ok(input)
            }
            Line::Tls(lent) => lent.peek(),
        }
    }

    fn consume(&self, len: usize) -> io::Result<()> {
        match self {
            Line::Plain(socket) => (&mut &*socket).read_exact(&mut vec![0; len]),
            Line::Tls(lent) => {
                lent.consume(len);
                Ok(())
            }
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Line::Plain(socket) => (&mut &*socket).write_all(bytes),
            Line::Tls(lent) => lent.write_all(bytes),
        }
    }

    fn shut_down(&self) {
        let socket = match self {
            Line::Plain(socket) => socket,
            Line::Tls(lent) => lent.tcp(),
        };
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Answers the whole requests that wait in a connection. False when the peer has gone.
pub fn serve(line: &Line, asker: &Asker, running: &Running) -> bool {
    let input = match line.peek() {
        Ok(input) if input.is_empty() => return false,
        Ok(input) => input,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let mut batch = Batch::default();
    let bounds = Bounds { bulk_bytes_max: PEEK_BYTES, unauthenticated: false };
    if Decoder::default().decode(&input, bounds, REQUESTS_MAX, &mut batch).is_err() {
        return true;
    }
    let (mut out, mut argv, mut consumed) = (Vec::new(), Argv::new(), 0);
    let mut goes_on = true;
    for request in &batch.requests {
        batch.argv(request, &input, &mut argv);
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
    let served = consumed == 0 || (line.consume(consumed).is_ok() && line.write_all(&out).is_ok());
    let goes_on = goes_on && served;
    if !goes_on {
        // Its session finds the end of the stream when the script is over. So does that of a peer
        // that takes no replies, rather than miss one of them.
        line.shut_down();
    }
    goes_on
}

/// A connection of a sleeping session of the stuck worker.
#[derive(Debug)]
pub struct Sleeper {
    /// Whose it is.
    pub client: ClientId,
    /// The connection.
    pub line: Line,
    /// Wakes the session: bytes that came meanwhile may wait in it.
    pub kick: Option<Arc<Kick>>,
}

/// A connection that came while a slow script ran.
#[derive(Debug)]
pub struct Guest {
    /// The connection.
    pub line: Line,
    /// What is known of it; registered if it has asked for something.
    pub visitor: Arc<Visitor>,
    has_gone: bool,
    since: Stopwatch,
}

impl Guest {
    fn new(line: Line) -> Option<Guest> {
        let tcp = match &line {
            Line::Plain(tcp) => tcp,
            Line::Tls(lent) => lent.tcp(),
        };
        tcp.set_nonblocking(true).ok()?;
        let _ = tcp.set_nodelay(true);
        let visitor = Arc::new(Visitor::tcp(tcp)?);
        Some(Guest { line, visitor, has_gone: false, since: Stopwatch::start() })
    }

    /// It speaks TLS, and has not shaken hands.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.line, Line::Tls(lent) if lent.is_handshaking())
    }

    /// Goes on with a handshake. The error that ended it, if it has.
    fn shake(&mut self) -> Option<io::Error> {
        let Line::Tls(lent) = &self.line else { return None };
        if self.has_gone || !lent.is_handshaking() {
            return None;
        }
        let error = match lent.peek() {
            Ok(input) if input.is_empty() => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => error,
        };
        self.has_gone = true;
        Some(error)
    }

    fn serve(&mut self, running: &Running) {
        let asker = Asker::Visitor(self.visitor.clone());
        if self.has_gone || serve(&self.line, &asker, running) {
            return;
        }
        self.has_gone = true;
        if let Some(id) = self.visitor.id.get() {
            running.note_gone(*id);
        }
    }
}

/// How connections come in during a slow script.
pub trait Door {
    /// Begins with a connection that has been accepted; nothing when it may not stay.
    fn open(&self, tcp: TcpStream, secure: bool, handshakes: usize) -> Option<Line>;
    /// How long a handshake may take.
    fn handshake_limit(&self) -> Duration;
    /// A handshake has failed, or has taken too long if there is no error.
    fn lost(&self, visitor: &Visitor, error: Option<io::Error>);
}

/// Looks after the `sleepers` and the listeners, which say whether they are for TLS, until the slow
/// script with this number ends, and after connections that have `arrived` and are nobody's yet.
/// Gives these and the ones that came meanwhile; one that has gone again is among them if it has
/// to be unregistered.
pub fn rescue(
    running: &Running,
    script: u64,
    sleepers: Vec<Sleeper>,
    arrived: Vec<(TcpStream, bool)>,
    listeners: &[(Listener, bool)],
    door: &impl Door,
) -> Vec<Guest> {
    let (mut awake, mut guests): (Vec<&Sleeper>, Vec<Guest>) =
        (sleepers.iter().collect(), Vec::new());
    let limit_ns = u64::try_from(door.handshake_limit().as_nanos()).unwrap_or(u64::MAX);
    let mut handshakes = 0;
    let enter = |guests: &mut Vec<Guest>, handshakes: &mut usize, tcp, secure| {
        *handshakes += usize::from(secure);
        guests.extend(door.open(tcp, secure, *handshakes).and_then(Guest::new));
    };
    for (tcp, secure) in arrived {
        enter(&mut guests, &mut handshakes, tcp, secure);
    }
    while running.while_slow(script, || {
        awake.retain(|one| {
            let goes_on = serve(&one.line, &Asker::Client(one.client), running);
            if !goes_on {
                running.note_gone(one.client);
            }
            goes_on
        });
        guests.iter_mut().for_each(|guest| {
            if let Some(error) = guest.shake() {
                door.lost(&guest.visitor, Some(error));
            }
            guest.serve(running);
        });
        guests.retain(|guest| {
            let is_late = guest.is_handshaking() && guest.since.elapsed_ns() > limit_ns;
            if is_late && !guest.has_gone {
                door.lost(&guest.visitor, None);
            }
            !(guest.has_gone || is_late) || guest.visitor.id.get().is_some()
        });
        handshakes = guests.iter().filter(|guest| guest.is_handshaking()).count();
        for (listener, secure) in listeners {
            while let Ok((tcp, _)) = listener.accept() {
                enter(&mut guests, &mut handshakes, tcp, *secure);
            }
        }
    }) {
        std::thread::sleep(ROUND);
    }
    sleepers.iter().filter_map(|one| one.kick.as_ref()).for_each(|kick| kick.ring());
    guests
}
