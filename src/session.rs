//! One connection's I/O: read, decode, run a batch under the lock, write.
//!
//! A session lives on one worker for life and runs to completion there: the thread that reads a
//! request executes it and writes the reply. It sleeps in one place, `Session::next`, from which
//! bytes, room to write, or a ring of its client's [`Kick`] wake it.
//!
//! Invariant: an idle session owns no buffer; reading and replying use the worker's own, and only
//! what is left over (half a request, replies that the peer does not take) is kept.

use crate::busy::{self, Answer};
use crate::client::{Asker, ClientId, Cut, Incomplete, Kick};
use crate::commands::client_line;
use crate::config::LogLevel;
use crate::dispatch::{Dispatcher, Flow, Prepared};
use crate::error::shown;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::settle;
use crate::shared::Shared;
use crate::state::State;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Commands of one stay under the lock.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes of replies of one stay under the lock.
const BATCH_REPLY_BYTES_MAX: usize = 256 * 1024;
/// Requests whose keys are fetched from memory together, before the first of them runs.
const PREFETCH: usize = 16;
/// What one read takes at most, while nothing is kept.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// A waiting client's requests are read up to here, so that its going away is noticed.
const WAITING_READ_BYTES_MAX: usize = 1 << 20;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// Inside the process.
    Memory(DuplexStream),
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
}

/// The buffers of one worker. The default is an empty one that stands in while a session has taken
/// the worker's own, so it allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    input: Vec<u8>,
    out: Vec<u8>,
    batch: Batch,
}

impl Scratch {
    /// Buffers to work with.
    pub fn new() -> Self {
        Scratch { input: vec![0; READ_BYTES], ..Scratch::default() }
    }
}

/// A connection's socket, which others of its thread may reach while the session sleeps.
#[derive(Debug)]
struct Socket {
    stream: RefCell<Stream>,
    /// The session sleeps, and no part of a request or reply is under way.
    idle: Cell<bool>,
}

thread_local! {
    static SOCKETS: RefCell<HashMap<ClientId, Weak<Socket>>> = RefCell::default();
}

/// Twins of the sockets of this thread's sleeping sessions.
pub fn idle_sockets() -> Vec<(ClientId, std::net::TcpStream)> {
    let twin = |socket: Rc<Socket>| match &*socket.stream.try_borrow().ok()? {
        _ if !socket.idle.get() => None,
        Stream::Tcp(stream) => busy::twin(stream),
        Stream::Unix(stream) => busy::twin(stream),
        Stream::Memory(_) => None,
    };
    SOCKETS.with_borrow(|sockets| {
        let live = sockets.iter().filter_map(|(id, socket)| Some((*id, twin(socket.upgrade()?)?)));
        live.collect()
    })
}

enum Wake {
    /// This many bytes in the worker's input buffer, or none: they were appended to `kept`.
    Input(usize),
    Rung,
    Gone,
}

/// Replies of up to this many bytes wait for the session's next turn.
const OWED_BYTES_MAX: usize = 64 << 10;
/// Empty buffers that a worker keeps for replies to come.
const SPARE_BUFFERS_MAX: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn spared() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps an empty buffer of at most [`OWED_BYTES_MAX`].
fn spare(mut buffer: Vec<u8>) {
    buffer.clear();
    SPARE.with_borrow_mut(|buffers| {
        if buffers.len() < SPARE_BUFFERS_MAX {
            buffers.push(buffer);
        }
    });
}

/// One connection.
pub struct Session {
    socket: Rc<Socket>,
    me: ClientId,
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    decoder: Decoder,
    /// Input that is not yet consumed.
    kept: Vec<u8>,
    /// Replies that the peer has not taken, and how much of them it has.
    unwritten: Vec<u8>,
    written: usize,
    /// `unwritten` leaves at this session's next turn.
    owed: bool,
    /// The peer has been seen not to take everything at once.
    behind: bool,
    /// The client waits for a key, or CLIENT PAUSE holds it back: its requests stay in `kept`.
    waiting: bool,
    closing: bool,
}

impl Session {
    /// A session for a client that is registered already.
    pub fn new(
        stream: Stream,
        me: ClientId,
        shared: Arc<Shared>,
        scratch: Rc<RefCell<Scratch>>,
    ) -> Session {
        let socket = Rc::new(Socket { stream: RefCell::new(stream), idle: Cell::new(true) });
        SOCKETS.with_borrow_mut(|sockets| sockets.insert(me, Rc::downgrade(&socket)));
        Session {
            socket,
            me,
            shared,
            scratch,
            decoder: Decoder::default(),
            kept: Vec::new(),
            unwritten: Vec::new(),
            written: 0,
            owed: false,
            behind: false,
            waiting: false,
            closing: false,
        }
    }

    /// Serves the connection until it ends, then forgets the client.
    pub async fn run(mut self, kick: Arc<Kick>) {
        while poll_fn(|cx| self.poll_rung(cx, &kick)).await {
            self.attend().await;
        }
        SOCKETS.with_borrow_mut(|sockets| sockets.remove(&self.me));
        let mut state = self.shared.lock_when_free().await;
        note_end(&mut state, self.me);
        settle::disconnect(&mut state, self.me);
    }

    /// Does what needs no waiting, until the client's state wants attention; false when the
    /// connection has ended.
    fn poll_rung(&mut self, cx: &mut Context<'_>, kick: &Kick) -> Poll<bool> {
        loop {
            if self.closing && self.unwritten.is_empty() {
                return Poll::Ready(false);
            }
            let idle = self.kept.is_empty() && self.unwritten.is_empty() && !self.waiting;
            self.socket.idle.set(idle);
            let wake = ready!(self.next(cx, kick));
            self.socket.idle.set(false);
            match wake {
                Wake::Input(len) => self.work(cx, len),
                Wake::Rung => return Poll::Ready(true),
                Wake::Gone => return Poll::Ready(false),
            }
        }
    }

    fn next(&mut self, cx: &mut Context<'_>, kick: &Kick) -> Poll<Wake> {
        if std::mem::take(&mut self.owed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.unwritten.is_empty() {
            match self.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Ready(Ok(())) if self.closing => return Poll::Ready(Wake::Gone),
                Poll::Ready(Ok(())) => self.all_written(kick),
                Poll::Pending => {
                    self.check_output_limit();
                    if self.closing && self.unwritten.is_empty() {
                        return Poll::Ready(Wake::Gone);
                    }
                }
            }
        }
        if kick.poll_rung(cx).is_ready() {
            return Poll::Ready(Wake::Rung);
        }
        if self.closing {
            return Poll::Pending;
        }
        match ready!(self.poll_input(cx)) {
            Ok(Some(len)) => Poll::Ready(Wake::Input(len)),
            _ => Poll::Ready(Wake::Gone),
        }
    }

    /// Reads into the worker's buffer, or behind what is kept. `None` at the end of the stream.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        if self.kept.is_empty() {
            let mut scratch = self.scratch.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch.input);
            ready!(self.socket.stream.borrow_mut().poll_read(cx, &mut buf))?;
            let len = buf.filled().len();
            return Poll::Ready(Ok((len > 0).then_some(len)));
        }
        if self.waiting && self.kept.len() > WAITING_READ_BYTES_MAX {
            return Poll::Pending;
        }
        let before = self.kept.len();
        let missing = self.decoder.missing_bytes(before).filter(|missing| *missing > 0);
        let wanted = missing.map_or(READ_BYTES / 4, |missing| missing.min(READ_BYTES / 4));
        if self.kept.capacity() - before < wanted {
            // Never on the word of an announced length: at most as much again as has arrived. But
            // not beyond that length either, so that large values leave no room unused.
            let more = before.max(READ_BYTES / 2);
            self.kept.reserve_exact(missing.map_or(more, |missing| missing.min(more)));
        }
        // Reading into initialized room keeps this safe; the room is small beside what was read.
        let room = (self.kept.capacity() - before).min(1 << 20);
        self.kept.resize(before + room, 0);
        let mut buf = ReadBuf::new(&mut self.kept[before..]);
        let result = self.socket.stream.borrow_mut().poll_read(cx, &mut buf);
        let len = buf.filled().len();
        self.kept.truncate(before + len);
        ready!(result)?;
        Poll::Ready(Ok((len > 0).then_some(0)))
    }

    /// The peer has taken what it had not read: it counts no longer.
    fn all_written(&mut self, kick: &Kick) {
        if !std::mem::take(&mut self.behind) {
            return;
        }
        match self.shared.lock_unless_busy() {
            Some(mut state) => state.clients.at(self.me).has_taken_all(),
            // Said when the script that runs has ended.
            None => kick.ring(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.unwritten.len() {
            let len = ready!(self
                .socket
                .stream
                .borrow_mut()
                .poll_write(cx, &self.unwritten[self.written..]))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += len;
        }
        let written = std::mem::take(&mut self.unwritten);
        self.written = 0;
        if written.capacity() <= OWED_BYTES_MAX {
            spare(written);
        } else {
            self.let_go(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Frees a buffer; large ones are noted, so that they go back to the system.
    fn let_go(&self, buffer: Vec<u8>) {
        if buffer.capacity() > 4 * BATCH_REPLY_BYTES_MAX {
            self.shared.let_go_bytes.fetch_add(buffer.capacity(), Ordering::Relaxed);
        }
    }

    /// Sends the replies to `requests` at this session's next turn, after all sessions that have
    /// input now: replies that leave in a row find their reader awake, and waking it costs more
    /// than writing. A single reply, or a long one, or what comes on top of one that is owed,
    /// leaves now as far as the peer takes it.
    fn send(&mut self, cx: &mut Context<'_>, requests: usize, out: &mut Vec<u8>) {
        if requests > 1 && self.unwritten.is_empty() && out.len() <= OWED_BYTES_MAX {
            self.unwritten = std::mem::replace(out, spared());
            self.owed = !self.unwritten.is_empty();
            return;
        }
        self.pay(cx);
        self.send_now(cx, out);
    }

    /// Sends what is owed as far as the peer takes it now.
    fn pay(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.owed) && matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
            self.closing = true;
            self.unwritten.clear();
        }
    }

    fn send_now(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        if self.unwritten.is_empty() {
            let mut sent = 0;
            while sent < out.len() {
                match self.socket.stream.borrow_mut().poll_write(cx, &out[sent..]) {
                    Poll::Ready(Ok(len)) if len > 0 => sent += len,
                    Poll::Ready(_) => {
                        self.closing = true;
                        break;
                    }
                    Poll::Pending => {
                        self.unwritten.extend_from_slice(&out[sent..]);
                        break;
                    }
                }
            }
        } else {
            self.unwritten.extend_from_slice(out);
        }
        out.clear();
        if !self.unwritten.is_empty() {
            self.check_output_limit();
        }
    }

    /// `client-output-buffer-limit`, for what the peer has not taken.
    fn check_output_limit(&mut self) {
        self.behind = true;
        let Some(mut guard) = self.shared.lock_unless_busy() else { return };
        let unwritten_bytes = self.unwritten.len() - self.written;
        let state = &mut *guard;
        let now_ms = state.db.now_ms();
        let settings = state.config.settings();
        let client = state.clients.at(self.me);
        client.unwritten_bytes = unwritten_bytes;
        client.check_output_limit(settings, now_ms);
        let cut = client.cut.is_some();
        drop(guard);
        if cut {
            self.drop_replies();
        }
    }

    /// The client was cut off: what it has not taken does not leave any more.
    fn drop_replies(&mut self) {
        self.unwritten = Vec::new();
        self.written = 0;
        self.owed = false;
        self.closing = true;
    }

    /// Decodes and runs what has been read.
    fn work(&mut self, cx: &mut Context<'_>, len: usize) {
        let scratch = self.scratch.clone();
        let Scratch { input, out, batch } = &mut *scratch.borrow_mut();
        let from_scratch = len > 0;
        if !from_scratch && self.kept.len() > READ_BYTES {
            // Redis: the limit counts what was read, before any of it is understood.
            self.check_query_limit();
        }
        let kept = std::mem::take(&mut self.kept);
        let input = if from_scratch { &input[..len] } else { &kept[..] };
        let mut consumed = 0;
        while !self.waiting && !self.closing && consumed < input.len() {
            let (used, stalled) = self.step(cx, &input[consumed..], out, batch);
            consumed += used;
            if stalled {
                break;
            }
        }
        if !from_scratch && consumed == 0 {
            self.kept = kept;
        } else {
            if consumed < input.len() {
                self.kept = input[consumed..].to_vec();
            }
            self.let_go(kept);
        }
        if out.capacity() > 4 * BATCH_REPLY_BYTES_MAX {
            self.let_go(std::mem::take(out));
        }
        if !self.kept.is_empty() && !self.closing {
            self.check_query_limit();
        }
    }

    /// One batch. Returns the bytes consumed, and whether the rest has to wait for more.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        batch: &mut Batch,
    ) -> (usize, bool) {
        batch.clear();
        let bounds = Bounds {
            bulk_bytes_max: self.shared.bulk_bytes_max.load(Ordering::Relaxed),
            unauthenticated: self.is_unauthenticated(),
        };
        let decoded = self.decoder.decode(input, bounds, BATCH_COMMANDS_MAX, batch);
        let mut done = 0;
        let mut flow = Flow::Next;
        while done < batch.requests.len() && flow == Flow::Next {
            (done, flow) = self.run_batch(input, out, batch, done);
            self.send(cx, batch.requests.len(), out);
            if self.closing {
                break;
            }
        }
        let consumed_by_done = done.checked_sub(1).map_or(0, |last| batch.requests[last].end);
        match flow {
            Flow::Next => {}
            Flow::Close => {
                self.closing = true;
                return (input.len(), true);
            }
            Flow::Blocked | Flow::HeldBack => {
                self.waiting = true;
                self.decoder = Decoder::default();
                return (consumed_by_done, true);
            }
        }
        match decoded {
            Ok(consumed) => (consumed, consumed == 0 || batch.requests.is_empty()),
            Err(error) => {
                out.extend_from_slice(format!("-ERR {}\r\n", shown(error.0.as_bytes())).as_bytes());
                self.send(cx, 1, out);
                self.closing = true;
                (input.len(), true)
            }
        }
    }

    fn is_unauthenticated(&self) -> bool {
        self.shared.password_set.load(Ordering::Relaxed)
            && self
                .shared
                .lock_unless_busy()
                .is_some_and(|mut state| !state.clients.at(self.me).authenticated)
    }

    /// Runs requests from number `done` on under one lock; returns how many are done.
    fn run_batch(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        batch: &Batch,
        mut done: usize,
    ) -> (usize, Flow) {
        let mut argv = Argv::new();
        let mut state = match self.shared.lock_unless_busy() {
            Some(state) => state,
            None => {
                let asker = Asker::Client(self.me);
                while done < batch.requests.len() {
                    batch.argv(&batch.requests[done], input, &mut argv);
                    let answer = busy::answer(&self.shared.running, &asker, &argv, out);
                    if answer == Answer::AwaitsLock {
                        break;
                    }
                    done += 1;
                    if answer == Answer::Last {
                        return (done, Flow::Close);
                    }
                }
                if done == batch.requests.len() {
                    return (done, Flow::Next);
                }
                self.shared.lock()
            }
        };
        let now_ms = self.shared.clock.now_ms();
        state.db.set_now_ms(now_ms);
        let client = state.clients.at(self.me);
        client.active_ms = now_ms;
        client.incomplete = Incomplete::default();
        if client.close_now {
            return (done, Flow::Close);
        }
        let mut flow = Flow::Next;
        let (first, out_before) = (done, out.len());
        let command_ns_before = state.stats.work.command_ns;
        let mut dispatcher = Dispatcher::new(&mut state, self.me);
        let mut ahead = [Prepared::default(); PREFETCH];
        let bound = dispatcher.bound().bytes();
        let out_bytes_max = BATCH_REPLY_BYTES_MAX.min(bound);
        'batch: while done < batch.requests.len() && out.len() < out_bytes_max {
            let group = &batch.requests[done..batch.requests.len().min(done + PREFETCH)];
            for (prepared, request) in ahead.iter_mut().zip(group) {
                *prepared = dispatcher.prepare(|at| batch.word(request, input, at));
            }
            if group.len() > 1 {
                ahead[..group.len()].iter().for_each(|prepared| dispatcher.prefetch(prepared));
                dispatcher.prefetch_members(&mut ahead[..group.len()]);
            }
            for (prepared, request) in ahead.iter().zip(group) {
                batch.argv(request, input, &mut argv);
                flow = dispatcher.request(&argv, prepared, out);
                if flow == Flow::HeldBack {
                    break 'batch;
                }
                done += 1;
                if flow != Flow::Next || out.len() >= out_bytes_max {
                    break 'batch;
                }
            }
        }
        let end_of = |number: usize| number.checked_sub(1).map_or(0, |at| batch.requests[at].end);
        let in_bytes = (end_of(done) - end_of(first)) as u64;
        let out_bytes = (out.len() - out_before) as u64;
        let client = state.clients.at(self.me);
        client.net_in_bytes += in_bytes;
        client.net_out_bytes += out_bytes;
        let busy_ns = state.stats.work.command_ns.saturating_sub(command_ns_before);
        state.stats.batch(busy_ns, (done - first) as u64, in_bytes, out_bytes);
        if flow == Flow::Close {
            settle::leave(&mut state, self.me);
        }
        let outgrown = out.len() > bound;
        if outgrown {
            let client = state.clients.at(self.me);
            client.unwritten_bytes = self.unwritten.len() - self.written + out.len();
            client.cut_off(Cut::Output);
        }
        drop(state);
        if outgrown {
            out.clear();
            self.drop_replies();
            return (done, Flow::Close);
        }
        if flow == Flow::Blocked {
            // Its timeout may end before cron would look.
            self.shared.cron.notify_one();
        }
        (done, flow)
    }

    /// The client's state wants something: replies that others wrote, an end, a go-on.
    async fn attend(&mut self) {
        let mut out = Vec::new();
        let (close_now, cut, go_on) = {
            let mut state = self.shared.lock_when_free().await;
            let client = state.clients.at(self.me);
            match self.unwritten.len() - self.written {
                0 => client.has_taken_all(),
                bytes => client.unwritten_bytes = bytes,
            }
            client.outbox.drain_into(&mut out);
            client.net_out_bytes += out.len() as u64;
            let go_on = client.blocked.is_none() && !client.paused;
            let answer = (client.close_now, client.cut.is_some(), go_on);
            state.stats.pushed(out.len() as u64);
            answer
        };
        if cut {
            return self.drop_replies();
        }
        poll_fn(|cx| {
            self.hand_out(cx, &mut out, close_now);
            if self.waiting && go_on && !self.closing {
                self.waiting = false;
                if !self.kept.is_empty() {
                    self.work(cx, 0);
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends what others wrote to the client.
    fn hand_out(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>, close_now: bool) {
        if close_now {
            // What was answered before the end still leaves, as far as the peer takes it at once.
            self.pay(cx);
            self.send_now(cx, out);
            self.unwritten.clear();
            self.closing = true;
        } else if !out.is_empty() {
            self.send(cx, 1, out);
        }
    }

    /// `client-query-buffer-limit`, and `maxmemory-clients` for what has arrived of a request.
    fn check_query_limit(&mut self) {
        let Some(mut guard) = self.shared.lock_unless_busy() else { return };
        let state = &mut *guard;
        let settings = state.config.settings();
        let limit = settings.client_query_buffer_limit;
        let client = state.clients.at(self.me);
        let understood_bytes = self.decoder.understood_bytes();
        let free_bytes = self.kept.capacity() - self.kept.len();
        let missing = self.decoder.missing_bytes(self.kept.len());
        client.incomplete = Incomplete {
            raw_bytes: self.kept.len().saturating_sub(understood_bytes),
            free_bytes,
            argv_bytes: self.decoder.argv_bytes(),
            announced_bytes: missing.map_or(0, |missing| missing.saturating_sub(free_bytes)),
        };
        let queued_bytes = client.multi.as_ref().map_or(0, |multi| multi.bytes);
        if limit > 0 && client.incomplete.raw_bytes + queued_bytes > limit {
            client.cut_off(Cut::Query);
        }
        client.check_memory_limit(settings);
        self.closing |= client.cut.is_some();
    }
}

/// Tells why a connection ended, if it was cut off or the peer closed it.
fn note_end(state: &mut State, me: ClientId) {
    let client = state.clients.at(me);
    let Some(cut) = client.cut else {
        if !client.close_now && !client.close_after_reply && state.logger.wants(LogLevel::Verbose) {
            let line = client_line(state, me);
            state.logger.verbose(format!("Client closed connection {line}"));
        }
        return;
    };
    let line = client_line(state, me);
    match cut {
        Cut::Output => {
            state.stats.output_limit_disconnections += 1;
            state.logger.warning(format!(
                "Client {line} scheduled to be closed ASAP for overcoming of output buffer limits."
            ));
        }
        Cut::Query => {
            state.stats.query_limit_disconnections += 1;
            state
                .logger
                .warning(format!("Closing client that reached max query buffer length: {line}"));
        }
        Cut::Memory => {
            state.stats.evicted_clients += 1;
            state.logger.notice(format!("Evicting client: {line}"));
        }
    }
}
