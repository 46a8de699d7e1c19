//! The primary's commands, applied as they come.
//!
//! They run through dispatch as those of a client that nothing refuses, and their bytes are passed
//! on verbatim to the replicas of this replica. A batch is decoded at once and runs in turns, each
//! as long under the lock as a session's. A transaction counts when its EXEC has run: a link that
//! breaks inside one goes on before its MULTI.
//!
//! Invariant: `log.offset` grows by exactly the bytes whose commands have run.

use super::wire::{Broken, Wire};
use super::Access;
use crate::client::{ClientId, Incomplete, Kick};
use crate::clock::Stopwatch;
use crate::dispatch::{Dispatcher, KnownNames, Prepared};
use crate::replicas;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::resp::out::push_request;
use crate::resp::replies::Replies;
use crate::shared::STAY_NS_MAX;
use crate::state::State;
use std::sync::Arc;
use std::time::Duration;

/// Commands that are decoded together.
const BATCH_COMMANDS_MAX: usize = 512;
/// Requests whose keys are fetched from memory together.
const PREFETCH: usize = 16;
const ACK_MS: u64 = 1000;
/// What has come to the disk is told sooner, but not more often than this.
const DISK_MS: u64 = 50;
/// What is read ahead of a pause.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Between two looks at whether a pause is over, when that much has been read.
const HELD_LOOK: Duration = Duration::from_millis(10);

/// The stream of one connection.
pub(super) struct Stream<'a> {
    wire: &'a mut Wire,
    access: &'a Access,
    primary: ClientId,
    kick: Arc<Kick>,
    /// A long command on its way is counted as the primary's.
    counts_much: bool,
    decoder: Decoder,
    batch: Batch,
    /// Bytes of a transaction that has not ended.
    open: Vec<u8>,
    since_ack: Stopwatch,
    /// What was said to be on the disk here; nothing without an append-only file.
    told_on_disk: Option<u64>,
    /// More than enough has been read during a pause.
    holds_much: bool,
    since_heard: Stopwatch,
    timeout_ms: u64,
}

/// How far a turn came, and what it left to do.
#[derive(Default)]
struct Turn {
    /// Requests of the batch that have run, those of the turns before too.
    done: usize,
    wants_ack: bool,
    /// Nothing was run: CLIENT PAUSE, or the end of this server.
    is_held: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        wire: &'a mut Wire,
        access: &'a Access,
        (primary, kick): (ClientId, Arc<Kick>),
        timeout_ms: u64,
    ) -> Stream<'a> {
        Stream {
            wire,
            access,
            primary,
            kick,
            counts_much: false,
            decoder: Decoder::default(),
            batch: Batch::default(),
            open: Vec::new(),
            since_ack: Stopwatch::start(),
            told_on_disk: None,
            holds_much: false,
            since_heard: Stopwatch::start(),
            timeout_ms,
        }
    }

    /// Applies the stream until the link ends.
    pub(super) fn run(mut self) -> Broken {
        match self.apply_all() {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }

    fn apply_all(&mut self) -> Result<std::convert::Infallible, Broken> {
        self.acknowledge()?;
        loop {
            while !self.wire.unused().is_empty() && self.apply()? {}
            let unsaid_ms = self.since_ack.elapsed_ns() / 1_000_000;
            if unsaid_ms >= ACK_MS || (unsaid_ms >= DISK_MS && self.has_news_of_the_disk()) {
                self.acknowledge()?;
            }
            if self.holds_much {
                std::thread::sleep(HELD_LOOK);
                // It is we who do not listen.
                self.since_heard = Stopwatch::start();
            } else if self.wire.fill_soon()? {
                self.since_heard = Stopwatch::start();
                self.count_much();
            } else if !self.access.is_wanted() {
                return Err(Broken::Unwanted);
            } else if self.since_heard.elapsed_ns() / 1_000_000 > self.timeout_ms {
                return Err(Broken::Silent);
            }
        }
    }

    /// Counts what a long command takes while it is on its way.
    fn count_much(&mut self) {
        let (raw_bytes, free_bytes) = (self.wire.unused().len(), self.wire.grown_bytes());
        let counts_much = free_bytes > 0;
        if counts_much || self.counts_much {
            let what = if counts_much {
                Incomplete { raw_bytes, free_bytes, ..Incomplete::default() }
            } else {
                Incomplete::default()
            };
            self.kick.arriving.set(what);
        }
        self.counts_much = counts_much;
    }

    /// Whether more is on the disk here than the primary knows.
    fn has_news_of_the_disk(&self) -> bool {
        let Some(told) = self.told_on_disk else { return false };
        self.access.with(replicas::offset_on_disk).flatten().is_some_and(|offset| offset > told)
    }

    /// Tells the primary how far this replica is.
    fn acknowledge(&mut self) -> Result<(), Broken> {
        self.since_ack = Stopwatch::start();
        let asked = self.access.with(|state| (state.log.offset, replicas::offset_on_disk(state)));
        let (offset, on_disk) = asked.ok_or(Broken::Unwanted)?;
        self.told_on_disk = on_disk;
        let mut request = Vec::new();
        let offset = offset.to_string();
        match on_disk {
            None => push_request(&mut request, &["REPLCONF", "ACK", &offset]),
            Some(on_disk) => {
                let words = ["REPLCONF", "ACK", &offset, "FACK", &on_disk.to_string()];
                push_request(&mut request, &words);
            }
        }
        self.wire.send(&request)
    }

    /// Runs what has arrived as a whole, up to a batch of it; false when nothing has.
    fn apply(&mut self) -> Result<bool, Broken> {
        let bulk_bytes_max = usize::MAX / 2;
        let bounds = Bounds { bulk_bytes_max, unauthenticated: false };
        self.batch.clear();
        let input = self.wire.unused();
        if input[0] != b'*' && input[0] != b'\n' && input[0] != b'\r' {
            return Err(inline());
        }
        let decoded = self.decoder.decode(input, bounds, BATCH_COMMANDS_MAX, &mut self.batch);
        let consumed = decoded.map_err(|error| Broken::Nonsense(error.0))?;
        if self.batch.requests.iter().any(|request| request.inline) {
            return Err(inline());
        }
        if consumed == 0 {
            return Ok(false);
        }
        let mut done = 0;
        loop {
            let (batch, open, primary) = (&self.batch, &mut self.open, self.primary);
            let input = &self.wire.unused()[..consumed];
            let run = |state: &mut State| run_turn(state, primary, input, batch, done, open);
            let turn = self.access.with_turn(run).ok_or(Broken::Unwanted)?;
            if turn.is_held {
                // The rest is decoded once more, when the pause is over.
                self.wire.used(end_of(&self.batch, done));
                self.decoder = Decoder::default();
                self.hold();
                return Ok(false);
            }
            done = turn.done;
            self.holds_much = false;
            // No session asks for what is appended here.
            if let Some(shared) = self.access.shared.upgrade() {
                shared.tail.write_soon();
            }
            if turn.wants_ack {
                self.acknowledge()?;
            }
            if done == self.batch.requests.len() {
                self.wire.used(consumed);
                return Ok(true);
            }
        }
    }

    /// CLIENT PAUSE: what comes is kept, some of it here and the rest on its way.
    fn hold(&mut self) {
        let held_bytes = self.wire.unused().len();
        self.holds_much = held_bytes > HELD_BYTES_MAX;
        let read_bytes = (self.open.len() + held_bytes) as u64;
        self.access.with(|state| {
            let offset = state.log.offset;
            if let Some(upstream) = &mut state.role.upstream {
                upstream.read_offset = offset + read_bytes;
            }
        });
    }
}

fn inline() -> Broken {
    Broken::Nonsense(
        "WARNING: Receiving inline protocol from master, master stream corruption? Closing the \
         master connection and discarding the cached master."
            .to_string(),
    )
}

/// Where the first so many requests of a batch end.
fn end_of(batch: &Batch, requests: usize) -> usize {
    let last = requests.checked_sub(1).and_then(|at| batch.requests.get(at));
    last.map_or(0, |request| request.end)
}

/// Runs commands of the primary, from number `first` of the batch on, until it is time to let
/// others have the lock. Deadlines are the primary's business: a key whose time has come here is
/// still there for it.
fn run_turn(
    state: &mut State,
    primary: ClientId,
    input: &[u8],
    batch: &Batch,
    first: usize,
    open: &mut Vec<u8>,
) -> Turn {
    let is_paused = state.pause.is_some_and(|pause| pause.until_ms > state.db.now_ms());
    if is_paused || state.ending.is_some() || state.has_failed {
        return Turn { done: first, is_held: true, wants_ack: false };
    }
    state.db.stop_time();
    let now_ms = state.db.wall_ms();
    state.clients.at(primary).active_ms = now_ms;
    let until_ns = state.stats.work.command_ns + STAY_NS_MAX;
    let (mut argv, mut out) = (Argv::new(), Replies::default());
    let mut ahead = [Prepared::default(); PREFETCH];
    let from = end_of(batch, first);
    let (mut done, mut applied_to) = (first, from);
    let mut selected = None;
    let mut names = KnownNames::default();
    let mut dispatcher = Dispatcher::new(state, primary).knowing(&mut names);
    'turn: for group in batch.requests[first..].chunks(PREFETCH) {
        for (prepared, request) in ahead.iter_mut().zip(group) {
            *prepared = dispatcher.prepare(|at| batch.word(request, input, at));
        }
        ahead[..group.len()].iter().for_each(|prepared| dispatcher.prefetch(prepared));
        dispatcher.prefetch_members(&mut ahead[..group.len()]);
        for (prepared, request) in ahead.iter().zip(group) {
            batch.argv(request, input, &mut argv);
            out.clear();
            dispatcher.request(&argv, prepared, &mut out);
            if dispatcher.state().has_failed {
                break 'turn;
            }
            done += 1;
            let client = dispatcher.state().clients.at(primary);
            if client.multi.is_none() {
                applied_to = request.end;
                selected = Some(client.db);
            }
            if dispatcher.state().stats.work.command_ns >= until_ns {
                break 'turn;
            }
        }
    }
    let is_last = done == batch.requests.len();
    let to = if is_last { input.len() } else { end_of(batch, done) };
    if batch.requests.is_empty() && state.clients.at(primary).multi.is_none() {
        // Newlines: the primary is there.
        applied_to = to;
    }
    let in_bytes = (to - from) as u64;
    state.clients.at(primary).net_in_bytes += in_bytes;
    state.role.counters.net_in_bytes += in_bytes;
    let now_ms = state.db.wall_ms();
    state.db.resume_time(now_ms);
    crate::settle::turn_over(state);
    pass_on(state, &input[from..to], applied_to - from, open);
    let steady_ms = state.clock.steady_ms();
    let offset = state.log.offset;
    let mut wants_ack = false;
    if let Some(upstream) = &mut state.role.upstream {
        upstream.heard_ms = steady_ms;
        upstream.read_offset = offset + open.len() as u64;
        upstream.selected = selected.unwrap_or(upstream.selected);
        wants_ack = std::mem::take(&mut upstream.wants_ack);
    }
    Turn { done, wants_ack, is_held: false }
}

/// Gives the bytes that have been applied to the replicas of this replica, and keeps the rest.
fn pass_on(state: &mut State, input: &[u8], applied_to: usize, open: &mut Vec<u8>) {
    let (applied, rest) = input.split_at(applied_to);
    if !applied.is_empty() {
        if !open.is_empty() {
            state.log.append_for_replicas(&std::mem::take(open));
        }
        state.log.append_for_replicas(applied);
        replicas::written(state);
    }
    open.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::following;

    /// A stream as it comes, and what is kept of it.
    #[derive(Default)]
    struct Scene {
        input: Vec<u8>,
        batch: Batch,
        open: Vec<u8>,
    }

    impl Scene {
        /// What comes next.
        fn comes(&mut self, input: Vec<u8>) {
            let bounds = Bounds { bulk_bytes_max: 1000, unauthenticated: false };
            self.batch.clear();
            let decoded = Decoder::default().decode(&input, bounds, 100, &mut self.batch);
            assert_eq!(decoded, Ok(input.len()));
            self.input = input;
        }

        /// Runs a turn from request number `first` on: requests that have run, and where the
        /// stream is then.
        fn turn(&mut self, state: &mut State, primary: ClientId, first: usize) -> (usize, u64) {
            let turn = run_turn(state, primary, &self.input, &self.batch, first, &mut self.open);
            assert!(!turn.is_held);
            (turn.done, state.log.offset)
        }
    }

    fn requests(of: &[&[&str]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        of.iter().for_each(|words| push_request(&mut bytes, words));
        bytes
    }

    #[test]
    fn a_turn_ends_in_time_and_a_transaction_counts_as_a_whole() {
        let server = crate::Server::builder().config("enable-debug-command", "yes");
        let server = server.start().expect("it starts");
        let mut state = server.shared().lock();
        let primary = following::begin_stream(&mut state, "", "");
        state.log.keep();
        state.log.relays = true;
        // Each takes longer than a turn.
        let slow: &[&str] = &["DEBUG", "SLEEP", "0.001"];
        let slow_bytes = requests(&[slow]).len() as u64;
        let mut scene = Scene::default();
        scene.comes(requests(&[slow, slow, &["MULTI"], &["SET", "key", "value"]]));
        let mut all = scene.input.clone();
        assert_eq!(scene.turn(&mut state, primary, 0), (1, slow_bytes));
        assert_eq!(scene.turn(&mut state, primary, 1), (2, slow_bytes * 2));
        let mut done = 2;
        while done < 4 {
            let (next, offset) = scene.turn(&mut state, primary, done);
            assert_eq!(offset, slow_bytes * 2);
            done = next;
        }
        scene.comes(b"\r\n\r\n".to_vec());
        all.extend_from_slice(&scene.input);
        assert_eq!(scene.turn(&mut state, primary, 0), (0, slow_bytes * 2));
        scene.comes(requests(&[&["EXEC"]]));
        all.extend_from_slice(&scene.input);
        assert_eq!(scene.turn(&mut state, primary, 0), (1, all.len() as u64));
        scene.comes(b"\r\n".to_vec());
        all.extend_from_slice(&scene.input);
        assert_eq!(scene.turn(&mut state, primary, 0), (0, all.len() as u64));
        let mut passed_on = Vec::new();
        let ring = state.log.ring.as_mut().expect("it is kept");
        assert!(ring.read(0, usize::MAX, &mut passed_on));
        assert!(passed_on.concat() == all && scene.open.is_empty());
        assert!(!state.db.space(0).is_empty());
    }
}
