//! One connection's I/O: read, decode, run a batch under the lock, write.
//!
//! A session lives on a worker and runs to completion there: the thread that reads a request
//! executes it and writes the reply. It takes turns with the worker's other sessions, as an event
//! loop would serve them: one read, one batch, one write of bounded size; then it stands behind all
//! that are ready, those included whose bytes have come meanwhile, and what it has read beyond its
//! batch waits with it. One that never stops sending goes to the worker that serves all of its kind
//! (`lane`). It sleeps in one place, `Session::poll_turn`, from which bytes, room to write, or a
//! ring of its client's [`Kick`] wake it.
//!
//! Invariant: an idle session owns no buffer; reading and replying use the worker's own, and only
//! what is left over (half a request, replies that the peer does not take) is kept.

mod feed;
mod held;
mod input;
mod lane;
mod news;
mod order;
mod output;
mod reading;
mod stream;
mod turn;
mod writing;

use crate::client::{ClientId, Cut, Kick, Peer};
use crate::commands::client_line;
use crate::config::LogLevel;
use crate::dispatch::KnownNames;
use crate::error::shown;
use crate::resp::decode::{Batch, Decoder};
use crate::resp::replies::Replies;
use crate::settle;
use crate::shared::{Shared, BUSY_LOOK};
use crate::state::State;
use input::Kept;
pub(crate) use lane::Moved;
use lane::Place;
use order::after_the_others;
use output::Output;
use reading::Arrived;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use stream::Socket;
pub use stream::{idle_sockets, Stream};
use turn::Pace;

/// What one read takes at most, but for large arguments.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// The buffers of one worker.
#[derive(Debug)]
pub struct Scratch {
    /// What is kept of a request, and what is read behind it; made by the first read.
    input: Vec<u8>,
    out: Replies,
    batch: Batch,
    names: KnownNames,
}

impl Default for Scratch {
    fn default() -> Self {
        let (input, batch, names) = (Vec::new(), Batch::default(), KnownNames::default());
        Scratch { input, out: Replies::lending(), batch, names }
    }
}

/// What a session does after a turn.
enum Step {
    /// The client's state wants attention.
    Attend,
    /// Another worker serves it from here on.
    Move(usize),
    /// The connection has ended, or is a replica's from here on.
    End,
}

/// One connection.
pub struct Session {
    socket: Rc<Socket>,
    me: ClientId,
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    decoder: Decoder,
    /// Size of the buffer that this turn's requests are in.
    room_bytes: usize,
    pace: Pace,
    place: Place,
    /// Input that is not yet consumed.
    kept: Kept,
    /// `kept` may hold a whole request, which waits for this session's next turn.
    more: bool,
    /// The last turn has left to the next one what is told after all that came at once.
    untold: bool,
    /// Replies that have not left.
    output: Output,
    /// The peer does not take everything at once.
    behind: bool,
    /// They leave when the log is durable up to here.
    mark: u64,
    /// It is not up to here, and this task will be woken when it is.
    held: Option<u64>,
    /// What it does not take has been counted for its limits.
    counted: bool,
    /// What is kept of a request has been told.
    noted: bool,
    /// The client has logged in, as its last batch has left it.
    authenticated: Option<bool>,
    /// The client waits for a key, or CLIENT PAUSE holds it back: its requests stay in `kept`.
    waiting: bool,
    /// It has asked for the end and hears nothing of it: nothing that it sends counts any more.
    deaf: bool,
    closing: bool,
    /// The connection is a replica's: what follows is its feed's.
    attached: bool,
}

impl Session {
    /// A session for a client that is registered already.
    pub fn new(
        stream: Stream,
        me: ClientId,
        shared: Arc<Shared>,
        scratch: Rc<RefCell<Scratch>>,
    ) -> Session {
        let place = Place::of(me, shared.crew.active());
        Session {
            socket: Socket::known(stream, me),
            me,
            shared,
            scratch,
            decoder: Decoder::default(),
            room_bytes: 0,
            pace: Pace::default(),
            place,
            kept: Kept::default(),
            more: false,
            untold: false,
            output: Output::default(),
            behind: false,
            mark: 0,
            held: None,
            counted: false,
            noted: false,
            authenticated: None,
            waiting: false,
            deaf: false,
            closing: false,
            attached: false,
        }
    }

    /// Serves the connection until it ends, then forgets the client.
    pub async fn run(mut self, kick: Arc<Kick>) {
        let _ = self.socket.kick.set(kick.clone());
        loop {
            match poll_fn(|cx| self.poll_turn(cx, &kick)).await {
                Step::Attend => self.attend(&kick).await,
                Step::Move(worker) => match self.move_to(worker) {
                    Some(session) => self = session,
                    None => return,
                },
                Step::End => break,
            }
        }
        self.place.leave(&self.shared.endless);
        if self.attached {
            self = feed::Feed::new(self, kick).run().await;
        }
        Socket::forget(self.me);
        self.drop_replies();
        let mut state = self.shared.lock_to_leave(self.me).await;
        note_end(&mut state, self.me);
        settle::disconnect(&mut state, self.me);
    }

    /// Takes a turn, and waits for the next one.
    fn poll_turn(&mut self, cx: &mut Context<'_>, kick: &Kick) -> Poll<Step> {
        let mut has_run = false;
        loop {
            if self.flush(cx, kick).is_err() || (self.closing && self.output.is_empty()) {
                return Poll::Ready(Step::End);
            }
            if self.attached {
                return Poll::Ready(Step::End);
            }
            if kick.poll_rung(cx).is_ready() {
                return Poll::Ready(Step::Attend);
            }
            if let Some(worker) = self.wants_to_move() {
                return Poll::Ready(Step::Move(worker));
            }
            if self.owes() {
                after_the_others(cx);
                return Poll::Pending;
            }
            // Nothing is read meanwhile: what came of it would only move the mark away.
            if self.closing || self.held.is_some() {
                self.socket.idle.set(false);
                return Poll::Pending;
            }
            self.socket.idle.set(self.is_idle());
            if has_run && !self.has_work() {
                if let Some(readable) = self.socket.poll_readable(cx) {
                    if ready!(readable).is_err() {
                        return Poll::Ready(Step::End);
                    }
                    after_the_others(cx);
                    return Poll::Pending;
                }
            }
            let arrived = match self.has_work() {
                true => Arrived::Kept,
                false => match ready!(self.poll_input(cx)) {
                    Ok(arrived) => arrived,
                    Err(_) => return Poll::Ready(Step::End),
                },
            };
            self.socket.idle.set(false);
            if matches!(arrived, Arrived::End) {
                return Poll::Ready(Step::End);
            }
            if has_run || self.waiting {
                self.keep(&arrived);
            } else {
                self.work(cx, &arrived);
                let more = self.has_work() || arrived.fills_a_read();
                self.place.note(more, &self.shared.endless);
                has_run = true;
            }
            if arrived.is_full() || self.has_work() || self.owes() {
                self.socket.idle.set(self.is_idle());
                after_the_others(cx);
                return Poll::Pending;
            }
        }
    }

    /// No part of a request or a reply is under way.
    fn is_idle(&self) -> bool {
        self.kept.is_empty() && self.output.is_empty() && !self.waiting
    }

    /// A whole request may wait for this session's turn.
    fn has_work(&self) -> bool {
        self.more && !self.waiting
    }

    /// The client's state wants something: replies that others wrote, an end, a go-on.
    async fn attend(&mut self, kick: &Arc<Kick>) {
        let mut out = Vec::new();
        let (close_now, cut, go_on) = {
            let Some(mut state) = self.shared.lock_unless_busy() else {
                // A slow script: the client is answered meanwhile, and this is for later.
                let kick = kick.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(BUSY_LOOK).await;
                    kick.ring();
                });
                return;
            };
            let client = state.clients.at(self.me);
            match self.output.bytes() {
                0 => client.has_taken_all(),
                bytes => client.unwritten_bytes = bytes,
            }
            let is_silenced = self.waiting && client.close_after_reply;
            if is_silenced && !client.outbox.is_empty() {
                // Redis: what would be told to it yet ends it.
                client.outbox.clear();
                client.close_now = true;
            }
            client.outbox.drain_into(&mut out);
            client.net_out_bytes += out.len() as u64;
            let go_on = client.blocked.is_none() && !client.paused && !is_silenced;
            let answer = (client.close_now, client.cut.is_some(), go_on);
            if !out.is_empty() {
                self.mark = state.aof.tail.appended();
            }
            state.stats.pushed(out.len() as u64);
            answer
        };
        if cut {
            return self.drop_replies();
        }
        poll_fn(|cx| {
            self.hand_out(cx, &mut Replies::from(std::mem::take(&mut out)), close_now);
            Poll::Ready(())
        })
        .await;
        self.waiting &= !go_on;
    }

    /// Sends what others wrote to the client.
    fn hand_out(&mut self, cx: &mut Context<'_>, out: &mut Replies, close_now: bool) {
        if close_now {
            // What was answered before the end still leaves, as far as the peer takes it at once.
            if self.shared.tail.is_open(self.mark) {
                let _ = self.flush_now(cx);
            }
        }
        if !out.is_empty() {
            self.send(cx, 1, out);
        }
        if close_now {
            self.drop_replies();
        }
    }
}

/// Tells why a connection ended, if it was cut off or the peer closed it.
fn note_end(state: &mut State, me: ClientId) {
    let client = state.clients.at(me);
    let Some(cut) = client.cut else {
        let is_ours = client.close_now && client.peer != Peer::Gone;
        if !is_ours && !client.close_after_reply && state.logger.wants(LogLevel::Verbose) {
            let line = shown(&client_line(state, me));
            state.logger.verbose(format!("Client closed connection {line}"));
        }
        return;
    };
    let line = shown(&client_line(state, me));
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
