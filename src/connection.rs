//! A client inside the process whose calls wait for their replies: `server.client()`.
//!
//! Invariant: it speaks the protocol to a session like every other connection, so what a command
//! leaves behind (MULTI, WATCH, SELECT, a subscription, a pause) means here what it means there.

use crate::resp::out::push_request;
use crate::resp::reader::{Parser, Unread, Value};
use crate::server::block_on;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// What a message begins with where it is no push, but an array among replies.
const MESSAGES: [&str; 3] = ["message", "pmessage", "smessage"];
/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// How the answer to each channel begins, by what is listened to.
const ANSWERS: [[&str; 2]; 3] =
    [["subscribe", "unsubscribe"], ["psubscribe", "punsubscribe"], ["ssubscribe", "sunsubscribe"]];

/// A connection without any socket. The calling thread waits for each reply.
///
/// ```
/// let server = redouble::Server::start()?;
/// let mut client = server.client();
/// client.command(&["MULTI"]);
/// client.command(&["SET", "greeting", "hello"]);
/// assert_eq!(client.command(&["EXEC"]), ["OK"]);
/// assert_eq!(server.command(&["GET", "greeting"]), "hello");
///
/// let mut listener = server.client();
/// listener.command(&["SUBSCRIBE", "news"]);
/// server.command(&["PUBLISH", "news", "hi"]);
/// assert_eq!(listener.message()?, ["message", "news", "hi"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    stream: DuplexStream,
    /// Bytes that have come.
    read: Vec<u8>,
    /// How many of them have been taken in.
    taken: usize,
    parser: Parser,
    messages: VecDeque<Value>,
    /// How many channels, patterns and shard channels it listens to.
    listens: [usize; 3],
    /// MULTI has queued something that changes that.
    queues: bool,
}

impl Connection {
    pub(crate) fn new(stream: DuplexStream) -> Connection {
        Connection {
            stream,
            read: Vec::new(),
            taken: 0,
            parser: Parser::default(),
            messages: VecDeque::new(),
            listens: [0; 3],
            queues: false,
        }
    }

    /// Runs one command and gives its reply; an error when the connection ends without one.
    /// Messages before it wait for [`Connection::message`]. Of the answers to the channels
    /// of a SUBSCRIBE or UNSUBSCRIBE this is the last.
    pub fn command<B: AsRef<[u8]>>(&mut self, argv: &[B]) -> Value {
        let mut replies = self.pipeline(&[argv]);
        replies.pop().unwrap_or(Value::Null)
    }

    /// Sends several commands at one go and gives their replies, in order.
    pub fn pipeline<A: AsRef<[B]>, B: AsRef<[u8]>>(&mut self, requests: &[A]) -> Vec<Value> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|argv| push_request(&mut bytes, argv.as_ref()));
        let mut rest = &bytes[..];
        let mut sent = block_on(poll_fn(|cx| self.poll_send(cx, &mut rest)));
        let answer = |argv: &A| {
            let answer = std::mem::replace(&mut sent, Ok(())).and_then(|()| self.answer(argv));
            answer.unwrap_or_else(|error| Value::Error(format!("ERR {error}").into()))
        };
        requests.iter().map(answer).collect()
    }

    /// The reply to a request that was sent: of several, one for each channel, the last.
    fn answer<A: AsRef<[B]>, B: AsRef<[u8]>>(&mut self, argv: &A) -> io::Result<Value> {
        let mut words = argv.as_ref().iter().map(B::as_ref);
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let mut reply = self.reply()?;
        match &*name {
            b"reset" if reply == "RESET" => (self.listens, self.queues) = ([0; 3], false),
            b"discard" => self.queues = false,
            b"exec" if std::mem::take(&mut self.queues) => self.note_answers(&reply),
            _ => {}
        }
        if !name.ends_with(b"subscribe") {
            return Ok(reply);
        }
        let before = self.listens;
        self.queues |= reply == "QUEUED";
        // What was refused, or queued by MULTI, has no other reply.
        if let Some(kind) = self.note_answer(&reply) {
            let count = match words.len() {
                0 => before[kind],
                named => named,
            };
            for _ in 1..count {
                reply = self.reply()?;
                self.note_answer(&reply);
            }
        }
        Ok(reply)
    }

    /// The same for the answers to what MULTI has queued.
    fn note_answers(&mut self, replies: &Value) {
        if let Value::Array(replies) = replies {
            for reply in replies {
                self.note_answer(reply);
            }
        }
    }

    /// Counts what is listened to after the answer to one channel; which of [`ANSWERS`] it is.
    fn note_answer(&mut self, reply: &Value) -> Option<usize> {
        let (Value::Array(items) | Value::Push(items)) = reply else { return None };
        let [word, _, Value::Int(total)] = &items[..] else { return None };
        let kind = ANSWERS.iter().position(|words| words.iter().any(|one| word == one))?;
        let [channels, patterns, _] = self.listens;
        let others = [patterns, channels, 0][kind];
        self.listens[kind] = usize::try_from(*total).unwrap_or(0).saturating_sub(others);
        Some(kind)
    }

    fn reply(&mut self) -> io::Result<Value> {
        block_on(poll_fn(|cx| self.poll_reply(cx)))
    }

    /// The next message to a subscriber, or of client-side caching; waits for it.
    pub fn message(&mut self) -> io::Result<Value> {
        match self.messages.pop_front() {
            Some(message) => Ok(message),
            None => block_on(poll_fn(|cx| self.poll_value(cx))),
        }
    }

    /// The next message, if one has come already.
    pub fn message_so_far(&mut self) -> Option<Value> {
        self.messages.pop_front().or_else(|| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            match self.poll_value(&mut cx) {
                Poll::Ready(Ok(message)) => Some(message),
                _ => None,
            }
        })
    }

    /// Whether nobody has asked for this just now.
    fn is_message(&self, value: &Value) -> bool {
        let begins_with = |items: &[Value], words: &[&str]| {
            items.first().is_some_and(|kind| words.iter().any(|word| kind == word))
        };
        match value {
            Value::Push(items) => !begins_with(items, ANSWERS.as_flattened()),
            Value::Array(items) => self.listens != [0; 3] && begins_with(items, &MESSAGES),
            _ => false,
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Value>> {
        loop {
            let value = ready!(self.poll_value(cx))?;
            if !self.is_message(&value) {
                return Poll::Ready(Ok(value));
            }
            self.messages.push_back(value);
        }
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Value>> {
        loop {
            let read = self.parser.next(&self.read, &mut self.taken);
            self.forget_taken();
            match read {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(Unread::Incomplete) => ready!(self.poll_read(cx))?,
                Err(why) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)))
                }
            }
        }
    }

    /// Moves no byte more than once, however many replies have come at one go.
    fn forget_taken(&mut self) {
        if self.taken == self.read.len() {
            self.read.clear();
            self.read.shrink_to(READ_BYTES);
        } else if self.taken > self.read.len() / 2 {
            self.read.drain(..self.taken);
        } else {
            return;
        }
        self.taken = 0;
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            let text = "the connection was closed";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.read.extend_from_slice(buf.filled());
        Poll::Ready(Ok(()))
    }

    /// Sends `rest`, and takes what comes meanwhile: the server may wait for that.
    fn poll_send(&mut self, cx: &mut Context<'_>, rest: &mut &[u8]) -> Poll<io::Result<()>> {
        while !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(len) => *rest = rest.get(len?..).unwrap_or_default(),
                Poll::Pending => ready!(self.poll_read(cx))?,
            }
        }
        Poll::Ready(Ok(()))
    }
}
