//! A replica's connection, from PSYNC on: its full copy, then the stream, and what it says.
//!
//! A feed holds a position in the stream and nothing else: it borrows pieces of the log's ring and
//! writes them from where they lie, so that a byte is copied once however many replicas there are.
//! It is woken as any session: by bytes, room to write, or a ring of its client's [`Kick`].
//!
//! Invariant: what is in `pieces` precedes the client's position; nothing of the stream leaves
//! before the copy has left as a whole.

use super::Session;
use crate::client::{Asker, Kick};
use crate::commands::find_renamed;
use crate::dispatch::Dispatcher;
use crate::replicas;
use crate::resp::decode::{Argv, Batch, Bounds, Decoder};
use crate::role::{Copy, Part, Stage};
use crate::scripting;
use crate::settle;
use crate::shared::{Shared, BUSY_LOOK};
use crate::state::State;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read as _};
use std::sync::mpsc::TryRecvError;
use std::sync::Arc;
use std::task::{ready, Context, Poll};

/// Bytes of the stream or of a copy that are taken at once.
const TAKEN_BYTES: usize = 256 << 10;
/// Pieces in one system call.
const SLICES_MAX: usize = 64;
/// A replica says little; one that says more without an end is none.
const KEPT_BYTES_MAX: usize = 64 << 10;
const REQUESTS_MAX: usize = 64;

/// What came of asking for more to send.
enum Taken {
    /// There may be something now.
    Some,
    /// A slow script keeps the lock.
    Later,
    /// The connection is to end.
    End,
}

enum Wake {
    /// Everything has been written, and there may be more.
    Written,
    Input,
    Rung,
    Gone,
}

#[derive(Default)]
enum Read {
    #[default]
    Nothing,
    Some,
    Failed(String),
}

/// One replica.
pub(super) struct Feed {
    session: Session,
    kick: Arc<Kick>,
    pieces: VecDeque<Bytes>,
    copy: Option<Copy>,
    /// What came of reading the copy, until the server has been told.
    read: Read,
    /// The copy has arrived as a whole, and is announced when it has left.
    copied: Option<bool>,
    /// The stream or the copy may have more.
    has_more: bool,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Feed {
    /// Takes a connection over from its session.
    pub(super) fn new(mut session: Session, kick: Arc<Kick>) -> Feed {
        let input = session.kept.bytes().to_vec();
        session.kept = Default::default();
        Feed {
            session,
            kick,
            pieces: VecDeque::new(),
            copy: None,
            read: Read::Nothing,
            copied: None,
            has_more: true,
            decoder: Decoder::default(),
            input,
        }
    }

    /// Serves the replica until one of the two ends the connection; gives the session back.
    pub(super) async fn run(mut self) -> Session {
        let delays = {
            let state = self.shared().lock_when_free().await;
            state.config.settings().repl_disable_tcp_nodelay
        };
        if delays {
            self.session.socket.delay_sending();
        }
        let mut is_open = self.input.is_empty() || self.listen();
        while is_open {
            let wake = match self.collect() {
                Taken::End => break,
                Taken::Some => poll_fn(|cx| self.poll_wake(cx)).await,
                Taken::Later => {
                    let said = poll_fn(|cx| self.poll_said(cx));
                    tokio::time::timeout(BUSY_LOOK, said).await.unwrap_or(Wake::Rung)
                }
            };
            is_open = match wake {
                Wake::Gone => false,
                Wake::Input => self.listen(),
                Wake::Rung | Wake::Written => true,
            };
        }
        self.session
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.session.shared
    }

    /// Takes what is to be sent next.
    fn collect(&mut self) -> Taken {
        self.read_copy();
        let shared = self.shared().clone();
        let Some(mut state) = shared.lock_unless_busy() else { return Taken::Later };
        match self.collect_from(&mut state) {
            true => Taken::Some,
            false => Taken::End,
        }
    }

    /// The same under the lock; false when the connection ends.
    fn collect_from(&mut self, state: &mut State) -> bool {
        let me = self.session.me;
        let now_ms = state.clock.steady_ms();
        if self.pieces.is_empty() {
            if let Some(starts_on_ack) = self.copied.take() {
                replicas::copied(state, me, starts_on_ack);
            }
        }
        let client = state.clients.at(me);
        if client.close_now {
            return false;
        }
        let mut out = Vec::new();
        client.outbox.drain_into(&mut out);
        if !out.is_empty() {
            self.pieces.push_back(Bytes::from(out));
        }
        let Some(replica) = client.replica.as_deref_mut() else { return false };
        let mut is_new = false;
        if let Some(copy) = replica.copy.take() {
            replica.progress_ms = now_ms;
            let len = match &copy {
                Copy::Stream(_) => None,
                Copy::File(_, len) => Some(*len),
                Copy::Memory(bytes) => Some(bytes.len() as u64),
            };
            if let Some(len) = len {
                self.pieces.push_back(Bytes::from(format!("${len}\r\n")));
            }
            self.copy = Some(copy);
            is_new = true;
        }
        match std::mem::take(&mut self.read) {
            Read::Nothing => {}
            Read::Some => replica.progress_ms = now_ms,
            Read::Failed(why) => {
                state.logger.warning(format!("Sending a copy to a replica failed: {why}"));
                return false;
            }
        }
        replica.is_behind_copy = !self.pieces.is_empty();
        let streams = replica.stage == Stage::Online && !replica.starts_on_ack;
        if streams && self.copy.is_none() && self.pieces.is_empty() {
            let mut taken = Vec::new();
            let ring = state.log.ring.as_mut();
            if !ring.is_some_and(|ring| ring.read(replica.position, TAKEN_BYTES, &mut taken)) {
                return false;
            }
            let bytes: usize = taken.iter().map(Bytes::len).sum();
            replica.position += bytes as u64;
            state.role.counters.net_out_bytes += bytes as u64;
            self.pieces.extend(taken);
        }
        let unwritten_bytes = self.pieces.iter().map(Bytes::len).sum::<usize>();
        client.unwritten_bytes = 0;
        client.stream_bytes = if streams {
            (state.log.offset.saturating_sub(replica.position)) as usize + unwritten_bytes
        } else {
            0
        };
        client.net_out_bytes += unwritten_bytes as u64;
        state.stats.pushed(unwritten_bytes as u64);
        self.has_more = is_new || !self.pieces.is_empty();
        true
    }

    /// Takes the next of the copy when all before it has left. It may come from the disk, so this
    /// is not for who has the lock.
    fn read_copy(&mut self) {
        if !self.pieces.is_empty() || !matches!(self.read, Read::Nothing) {
            return;
        }
        match self.next_of_copy() {
            Ok(true) => self.read = Read::Some,
            Ok(false) => {}
            Err(why) => self.read = Read::Failed(why),
        }
    }

    /// The next bytes of the copy; false when there are none yet.
    fn next_of_copy(&mut self) -> Result<bool, String> {
        match &mut self.copy {
            None => Ok(false),
            Some(Copy::Stream(parts)) => match parts.try_recv() {
                Ok(Part::Bytes(bytes)) => {
                    self.pieces.push_back(bytes);
                    Ok(true)
                }
                Ok(Part::End) => {
                    self.copy = None;
                    self.copied = Some(true);
                    Ok(true)
                }
                Err(TryRecvError::Empty) => Ok(false),
                Err(TryRecvError::Disconnected) => Err("it could not be made".to_string()),
            },
            Some(Copy::File(file, left)) => {
                let wanted = (*left).min(TAKEN_BYTES as u64) as usize;
                let mut bytes = vec![0; wanted];
                file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
                *left -= wanted as u64;
                self.pieces.push_back(Bytes::from(bytes));
                if *left == 0 {
                    self.copy = None;
                    self.copied = Some(false);
                }
                Ok(true)
            }
            Some(Copy::Memory(bytes)) => {
                let taken = bytes.split_to(bytes.len().min(TAKEN_BYTES));
                self.pieces.push_back(taken);
                if bytes.is_empty() {
                    self.copy = None;
                    self.copied = Some(false);
                }
                Ok(true)
            }
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if !self.pieces.is_empty() || !self.session.output.is_empty() {
            match self.poll_pieces(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Wake::Written),
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {}
            }
        } else if std::mem::take(&mut self.has_more) {
            return Poll::Ready(Wake::Written);
        }
        if self.kick.poll_rung(cx).is_ready() && (self.pieces.is_empty() || self.is_over()) {
            return Poll::Ready(Wake::Rung);
        }
        // Nothing is under way: during a slow script of this worker others listen to the replica.
        self.session.socket.idle.set(self.input.is_empty() && self.pieces.is_empty());
        let said = self.poll_said(cx);
        if said.is_ready() {
            self.session.socket.idle.set(false);
        }
        said
    }

    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        match ready!(self.poll_input(cx)) {
            Ok(true) => Poll::Ready(Wake::Input),
            _ => Poll::Ready(Wake::Gone),
        }
    }

    /// While a replica takes nothing, only the end of its connection is news.
    fn is_over(&self) -> bool {
        let state = self.shared().lock_unless_busy();
        state.is_some_and(|state| {
            state.clients.find(self.session.me).is_none_or(|client| client.close_now)
        })
    }

    fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Replies to what came before PSYNC.
        ready!(self.session.output.poll_write(&self.session.socket, cx, usize::MAX))?;
        while !self.pieces.is_empty() {
            let slices: smallvec::SmallVec<[IoSlice<'_>; SLICES_MAX]> =
                self.pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
            let mut written = ready!(self.session.socket.poll_write_slices(cx, &slices))?;
            drop(slices);
            while let Some(piece) = self.pieces.front_mut().filter(|_| written > 0) {
                let gone = written.min(piece.len());
                piece.advance(gone);
                written -= gone;
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the replica says behind what it has said; false at the end of the stream.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = [0u8; 4096];
        let len = ready!(self.session.socket.poll_read(cx, &mut room))?;
        self.input.extend_from_slice(&room[..len]);
        Poll::Ready(Ok(len > 0))
    }

    /// Runs what the replica has said; false when it said something that ends the connection.
    fn listen(&mut self) -> bool {
        while let Some(more) = self.listen_once() {
            if !more {
                return true;
            }
        }
        false
    }

    /// Runs the first requests of what the replica has said; tells whether there may be more of
    /// them, or `None` when the connection is to end.
    fn listen_once(&mut self) -> Option<bool> {
        let mut batch = Batch::default();
        let bounds = Bounds { bulk_bytes_max: KEPT_BYTES_MAX, unauthenticated: false };
        let input = std::mem::take(&mut self.input);
        let Ok(mut consumed) = self.decoder.decode(&input, bounds, REQUESTS_MAX, &mut batch) else {
            return None;
        };
        let shared = self.shared().clone();
        let heard =
            shared.lock_unless_busy().map(|mut state| self.hear(&mut state, &batch, 0, &input));
        let goes_on = heard.unwrap_or_else(|| self.tell_script(&batch, &input));
        if !goes_on {
            return None;
        }
        consumed = consumed.min(input.len());
        self.input = input.get(consumed..).unwrap_or_default().to_vec();
        let more = batch.requests.len() == REQUESTS_MAX;
        (more || self.input.len() <= KEPT_BYTES_MAX).then_some(more)
    }

    /// Lets a slow script's side run what the replica has said. What it cannot look at in time is
    /// lost: a replica says everything again. No reply ends the connection meanwhile.
    fn tell_script(&self, batch: &Batch, input: &[u8]) -> bool {
        let (asker, mut argv) = (Asker::Client(self.session.me), Argv::new());
        for (number, request) in batch.requests.iter().enumerate() {
            batch.argv(request, input, &mut argv);
            if self.shared().running.ask(&asker, &argv) == scripting::Reply::Over {
                return self.hear(&mut self.shared().lock(), batch, number, input);
            }
        }
        true
    }

    /// Runs what the replica has said, from request number `first` on; false when it ends the
    /// connection.
    fn hear(&self, state: &mut State, batch: &Batch, first: usize, input: &[u8]) -> bool {
        let me = self.session.me;
        let now_ms = state.clock.now_ms();
        state.db.set_now_ms(now_ms);
        let client = state.clients.at(me);
        client.active_ms = now_ms;
        client.net_in_bytes += input.len() as u64;
        let (mut argv, mut out) = (Argv::new(), Vec::new());
        for request in batch.requests.iter().skip(first) {
            batch.argv(request, input, &mut argv);
            if argv.is_empty() {
                continue;
            }
            out.clear();
            // What others write to the client is no reply.
            let outbox = std::mem::take(&mut state.clients.at(me).outbox);
            Dispatcher::new(state, me).request_unprepared(&argv, &mut out);
            let given = std::mem::replace(&mut state.clients.at(me).outbox, outbox);
            given.into_bytes().into_iter().for_each(|byte| out.push(byte));
            if !out.is_empty() {
                let command = match find_renamed(&state.renames, &argv) {
                    Ok(spec) => spec.name.clone(),
                    Err(_) => String::from_utf8_lossy(argv[0]).to_lowercase(),
                };
                let reply = String::from_utf8_lossy(&out).trim_end().to_string();
                state.logger.warning(format!(
                    "Replica generated a reply to command '{command}', disconnecting it: '{reply}'"
                ));
                settle::kill(state, me);
                return false;
            }
        }
        settle::turn_over(state);
        true
    }
}
