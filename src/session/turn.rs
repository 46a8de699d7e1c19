//! One batch of a session's requests under the lock.
//!
//! Invariant: a batch is bounded by commands, by bytes of replies and by time, so whoever waits
//! for the lock, or for this worker, waits for a few batches of known length. What was decoded and
//! has not run is decoded again at the next turn; the session's pace keeps that to a part.

use super::{news, Session};
use crate::busy::{self, Answer};
use crate::client::{Asker, AtHand, Cut, Peer};
use crate::dispatch::{Dispatcher, Flow, KnownNames, Prepared};
use crate::error::shown;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::resp::replies::Replies;
use crate::settle;
use crate::shared::{let_others_in, STAY_NS_MAX};
use crate::state::State;
use std::sync::atomic::Ordering;

/// Commands of one stay under the lock.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes of replies of one stay under the lock.
const BATCH_REPLY_BYTES_MAX: usize = 256 * 1024;
/// Requests whose keys are fetched from memory together, before the first of them runs.
const PREFETCH: usize = 16;

/// How many requests a session decodes at a turn: about as many as it ran at the last ones.
#[derive(Debug)]
pub(super) struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Pace(BATCH_COMMANDS_MAX)
    }
}

impl Pace {
    fn ran(&mut self, done: usize, all: bool) {
        let next = if all { self.0 * 2 } else { done * 2 };
        self.0 = next.clamp(PREFETCH, BATCH_COMMANDS_MAX);
    }
}

/// How far a turn came.
pub(super) struct Turn {
    /// Bytes of the input that are consumed.
    pub(super) consumed: usize,
    /// The rest may hold another whole request.
    pub(super) more: bool,
    /// Requests that were answered.
    pub(super) requests: usize,
}

impl Session {
    /// Decodes and runs one batch; its replies are in `out`, and are to be sent.
    pub(super) fn turn(
        &mut self,
        input: &[u8],
        out: &mut Replies,
        batch: &mut Batch,
        names: &mut KnownNames,
    ) -> Turn {
        batch.clear();
        let bounds = Bounds {
            bulk_bytes_max: self.shared.bulk_bytes_max.load(Ordering::Relaxed),
            unauthenticated: self.is_unauthenticated(),
        };
        let most = self.pace.0;
        let decoded = self.decoder.decode(input, bounds, most, batch);
        let (requests, flow) = match batch.requests.len() {
            0 => {
                self.tell_rest();
                (0, Flow::Next)
            }
            _ => self.run_batch(input, out, batch, names),
        };
        let all = requests == batch.requests.len();
        self.pace.ran(requests, all);
        let consumed = requests.checked_sub(1).map_or(0, |last| batch.requests[last].end);
        let turn = Turn { consumed, more: true, requests };
        match flow {
            Flow::Next if all => {}
            Flow::Next => {
                self.decoder = Decoder::default();
                return turn;
            }
            Flow::Blocked | Flow::HeldBack => {
                self.waiting = true;
                self.decoder = Decoder::default();
                return turn;
            }
            Flow::Attached => {
                self.attached = true;
                self.decoder = Decoder::default();
                return turn;
            }
            Flow::Close => {
                self.closing = true;
                return Turn { consumed: input.len(), more: false, ..turn };
            }
        }
        match decoded {
            Ok(consumed) => Turn { consumed, more: requests == most, ..turn },
            Err(error) => {
                let mut state = self.shared.lock_unless_busy();
                let hears = state
                    .as_mut()
                    .is_none_or(|state| settle::misunderstood(state, self.me, &error));
                if state.is_some_and(|mut state| self.is_silenced(&mut state, out)) {
                    (self.waiting, self.deaf) = (true, true);
                    self.decoder = Decoder::default();
                    return turn;
                }
                if hears {
                    let text = format!("-ERR {}\r\n", shown(error.0.as_bytes()));
                    out.extend_from_slice(text.as_bytes());
                }
                self.closing = true;
                Turn { consumed: input.len(), more: false, ..turn }
            }
        }
    }

    /// Whether somebody must log in first. A client gets rights by its own requests alone; who
    /// loses them by somebody else's is closed in that moment (`users::cast_out`).
    fn is_unauthenticated(&mut self) -> bool {
        if !self.shared.login_needed.load(Ordering::Relaxed) {
            return false;
        }
        if self.authenticated.is_none() {
            let state = self.shared.lock_unless_busy();
            self.authenticated = state.map(|mut state| state.clients.at(self.me).authenticated);
        }
        self.authenticated == Some(false)
    }

    /// Runs a batch under one lock, or its beginning; returns how many of its requests are done.
    fn run_batch(
        &mut self,
        input: &[u8],
        out: &mut Replies,
        batch: &Batch,
        names: &mut KnownNames,
    ) -> (usize, Flow) {
        let waits = || self.place.note_wait();
        let most = self.pace.0;
        let (first, mut state) = match self.shared.lock_or_wait(waits) {
            Some(state) => (0, state),
            None => match self.answer_without_lock(input, out, batch) {
                (done, Some(flow)) => return (done, flow),
                (done, None) => (done, self.shared.lock()),
            },
        };
        self.shared.end_rest(&mut state);
        let (now_us, watch) = self.shared.clock.now_us_and_watch();
        state.db.set_now_us(now_us);
        let now_ms = state.db.now_ms();
        let client = state.clients.at(self.me);
        client.active_ms = now_ms;
        if std::mem::take(&mut self.noted) {
            client.kick.arriving.clear();
        }
        client.at_hand.input_bytes = input.len();
        client.at_hand.free_bytes = self.room_bytes.saturating_sub(input.len());
        if client.close_now {
            return (first, Flow::Close);
        }
        state.role.tells_later = true;
        let (out_before, ns_before) = (out.total_bytes(), state.stats.work.command_ns);
        let mut dispatcher = Dispatcher::since(watch, &mut state, self.me).knowing(names);
        let bound = dispatcher.bound().bytes();
        let out_bytes_max = BATCH_REPLY_BYTES_MAX.min(bound);
        let (done, mut flow) = run(&mut dispatcher, batch, input, first, out, out_bytes_max);
        self.mark = self.mark.max(dispatcher.mark());
        let end_of = |number: usize| number.checked_sub(1).map_or(0, |at| batch.requests[at].end);
        // The session's next turn, or its end, is for what came with the rest.
        let has_rest = done < batch.requests.len() || (done == most && end_of(done) < input.len());
        self.untold = flow == Flow::Next && has_rest;
        if !self.untold {
            settle::turn_over(&mut state);
        }
        let in_bytes = (end_of(done) - end_of(first)) as u64;
        let out_bytes = (out.total_bytes() - out_before) as u64;
        let client = state.clients.at(self.me);
        client.net_in_bytes += in_bytes;
        client.net_out_bytes += out_bytes;
        client.at_hand = AtHand::default();
        client.reply_buffer.wrote(out_bytes as usize);
        self.authenticated = Some(client.authenticated);
        let busy_ns = state.stats.work.command_ns.saturating_sub(ns_before);
        state.stats.batch(busy_ns, (done - first) as u64, in_bytes, out_bytes);
        news::spread(&mut state);
        if flow == Flow::Blocked {
            self.watch_end(&mut state);
        }
        if flow == Flow::Close {
            match self.is_silenced(&mut state, out) {
                true => (flow, self.deaf) = (Flow::HeldBack, true),
                false => settle::leave(&mut state, self.me),
            }
        }
        let outgrown = out.total_bytes() > bound;
        if outgrown {
            let client = state.clients.at(self.me);
            client.unwritten_bytes = self.output.bytes() + out.total_bytes();
            client.cut_off(Cut::Output);
        }
        let_others_in(state, busy_ns);
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

    /// The rest of what came was no whole request: what the turn before left is told now.
    fn tell_rest(&mut self) {
        if std::mem::take(&mut self.untold) {
            // While a slow script runs, its end tells it.
            if let Some(mut state) = self.shared.lock_unless_busy() {
                settle::turn_over(&mut state);
            }
        }
    }

    /// The client should go when it has been told so, and CLIENT REPLY keeps that from it. Redis:
    /// the connection ends when the last byte has left, so if there is none it stays, and no
    /// request of it runs any more.
    fn is_silenced(&self, state: &mut State, out: &Replies) -> bool {
        let client = state.clients.at(self.me);
        client.close_after_reply
            && !client.close_now
            && client.cut.is_none()
            && out.total_bytes() == 0
            && self.output.is_empty()
    }

    /// The client waits: who would give it something has to know whether it is still there.
    fn watch_end(&self, state: &mut State) {
        let client = state.clients.at(self.me);
        if client.peer == Peer::Unwatched
            && self.socket.watch_end(&mut state.blocking.ends, self.me)
        {
            client.peer = Peer::There;
        }
    }

    /// Answers requests while a slow script keeps the lock. No flow: the script is over.
    fn answer_without_lock(
        &self,
        input: &[u8],
        out: &mut Vec<u8>,
        batch: &Batch,
    ) -> (usize, Option<Flow>) {
        let (asker, mut argv) = (Asker::Client(self.me), Argv::new());
        for (number, request) in batch.requests.iter().enumerate() {
            batch.argv(request, input, &mut argv);
            match busy::answer(&self.shared.running, &asker, &argv, out) {
                Answer::Given => {}
                Answer::Last => return (number + 1, Some(Flow::Close)),
                Answer::AwaitsLock => return (number, None),
            }
        }
        (batch.requests.len(), Some(Flow::Next))
    }
}

/// Runs requests from number `done` on until a bound is reached.
fn run<'a>(
    dispatcher: &mut Dispatcher<'_>,
    batch: &'a Batch,
    input: &'a [u8],
    mut done: usize,
    out: &mut Replies,
    out_bytes_max: usize,
) -> (usize, Flow) {
    let mut argv = Argv::new();
    if let [request] = &batch.requests[done..] {
        let prepared = dispatcher.prepare(|at| batch.word(request, input, at));
        batch.argv(request, input, &mut argv);
        let flow = dispatcher.request(&argv, &prepared, out);
        return (done + usize::from(flow != Flow::HeldBack), flow);
    }
    let mut ahead = [Prepared::default(); PREFETCH];
    let until_ns = dispatcher.state().stats.work.command_ns + STAY_NS_MAX;
    while done < batch.requests.len() {
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
            let flow = dispatcher.request(&argv, prepared, out);
            done += usize::from(flow != Flow::HeldBack);
            let is_over = dispatcher.state().stats.work.command_ns >= until_ns;
            if flow != Flow::Next || is_over || out.total_bytes() >= out_bytes_max {
                return (done, flow);
            }
        }
    }
    (done, Flow::Next)
}
