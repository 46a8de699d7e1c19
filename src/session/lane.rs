//! Which worker serves a session: one of those that are active (`crew`), its home, or, with an
//! endless pipeline in the house, the one that all share who meet at the lock: the lane.
//!
//! A client that sends without an end takes all that a worker has, and its worker is under the lock
//! most of the time. Two such workers would pass the lock to and fro with each batch, each waiting
//! for the other to be woken: less gets done than by one alone, and shares depend on who sits
//! beside whom. Who wants little fares worse still: on another worker each of its commands waits
//! for a batch of the endless one. In the lane all take turns at one thread, as in a server that
//! has no other, and nobody waits for a lock. When the last endless pipeline has ended or calmed
//! down, everybody goes home at their next turn.
//!
//! Invariant: a session moves between two of its turns, while no reply is under way and nothing but
//! its own task waits for anything, so it goes on there as if it had slept.

use super::input::Kept;
use super::stream::{Detached, Socket};
use super::turn::Pace;
use super::{note_end, Scratch, Session};
use crate::client::{ClientId, Kick};
use crate::crew::dealt;
use crate::resp::decode::Decoder;
use crate::settle;
use crate::shared::{Incoming, Shared, WORKER};
use crate::state::State;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Who has had so many more turns that left something to do than others is endless, until it has
/// had as many others.
const ENDLESS: u8 = 64;
/// Waits for the lock, while the lane is open, after which a session goes there too.
const WAITS: u8 = 3;

/// Where a session belongs.
#[derive(Debug)]
pub(super) struct Place {
    home: usize,
    /// So many workers were active when its home was chosen.
    among: usize,
    /// Chooses a home when their number changes.
    number: u64,
    now: usize,
    excess: u8,
    is_endless: bool,
    waits: u8,
}

impl Place {
    /// That of a client whose session begins at this thread's worker, while so many are active.
    pub(super) fn of(me: ClientId, active: usize) -> Place {
        let (number, here) = (me.serial, WORKER.get());
        let (home, among) = (here, active);
        Place { home, among, number, now: here, excess: 0, is_endless: false, waits: 0 }
    }

    /// A turn is over, and there is more to do already, or not.
    pub(super) fn note(&mut self, more: bool, endless: &AtomicUsize) {
        self.excess = match more {
            true => (self.excess + 1).min(ENDLESS),
            false => self.excess.saturating_sub(1),
        };
        if self.excess == 0 {
            self.leave(endless);
        } else if self.excess == ENDLESS && !self.is_endless {
            self.is_endless = true;
            endless.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The lock was taken when this session wanted it.
    pub(super) fn note_wait(&mut self) {
        self.waits = self.waits.saturating_add(1);
    }

    /// It is endless no more.
    pub(super) fn leave(&mut self, endless: &AtomicUsize) {
        if std::mem::take(&mut self.is_endless) {
            endless.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The worker to go to, when so many are active.
    #[inline]
    fn elsewhere(&mut self, active: usize, workers: usize, endless: &AtomicUsize) -> Option<usize> {
        if workers == 1 {
            return None;
        }
        if endless.load(Ordering::Relaxed) == 0 {
            self.waits = 0;
        }
        if active != self.among {
            (self.home, self.among) = (dealt(self.number, active), active);
        }
        let in_lane = self.is_endless || self.waits >= WAITS;
        let wanted = if in_lane { workers - 1 } else { self.home };
        (wanted != self.now).then_some(wanted)
    }
}

/// A session on its way to another worker.
pub(crate) struct Moved {
    stream: Detached,
    me: ClientId,
    kick: Arc<Kick>,
    shared: Arc<Shared>,
    decoder: Decoder,
    pace: Pace,
    place: Place,
    kept: Kept,
    more: bool,
    untold: bool,
    noted: bool,
    mark: u64,
}

impl Session {
    /// The worker to go to now.
    pub(super) fn wants_to_move(&mut self) -> Option<usize> {
        let Shared { crew, workers, endless, .. } = &*self.shared;
        let worker = self.place.elsewhere(crew.active(), workers.len(), endless)?;
        let rests = self.output.is_empty() && !self.waiting && !self.closing;
        // A move needs the lock: during a slow script the client is answered where it is.
        let may = rests && self.socket.may_move() && !self.shared.running.is_slow();
        may.then_some(worker)
    }

    /// Goes on at another worker. Gives the session back when a slow script keeps the lock.
    pub(super) fn move_to(mut self, worker: usize) -> Option<Session> {
        let shared = self.shared.clone();
        let Some(mut state) = shared.lock_unless_busy() else { return Some(self) };
        let me = self.me;
        Socket::forget(me);
        // What rings from here on wakes the session there.
        let kick = Arc::new(Kick::default());
        kick.ring();
        if let Some(before) = self.socket.kick.get() {
            kick.arriving.note(before.arriving.incomplete(), before.arriving.heard_ms());
        }
        state.clients.at(me).kick = kick.clone();
        let Ok(stream) = self.socket.detach() else {
            self.place.leave(&shared.endless);
            end(&mut state, me);
            return None;
        };
        let moved = Moved {
            stream,
            me,
            kick,
            shared: self.shared,
            decoder: self.decoder,
            pace: self.pace,
            place: self.place,
            kept: self.kept,
            more: self.more,
            untold: self.untold,
            noted: self.noted,
            mark: self.mark,
        };
        // Where nobody listens any more the server has ended.
        let _ = shared.workers[worker].send(Incoming::Moved(Box::new(moved)));
        // Not before: a script that begins now and becomes slow there finds it among the arrivals.
        drop(state);
        None
    }
}

impl Moved {
    /// Goes on here.
    pub(crate) fn arrive(self: Box<Moved>, scratch: Rc<RefCell<Scratch>>) {
        let (me, shared) = (self.me, self.shared);
        let mut place = Place { now: WORKER.get(), ..self.place };
        let Ok(stream) = self.stream.attach() else {
            place.leave(&shared.endless);
            tokio::task::spawn_local(async move {
                end(&mut *shared.lock_when_free().await, me);
            });
            return;
        };
        let session = Session {
            decoder: self.decoder,
            pace: self.pace,
            place,
            kept: self.kept,
            more: self.more,
            untold: self.untold,
            noted: self.noted,
            mark: self.mark,
            ..Session::new(stream, me, shared, scratch)
        };
        tokio::task::spawn_local(session.run(self.kick));
    }
}

/// The connection was lost between two workers.
fn end(state: &mut State, me: ClientId) {
    note_end(state, me);
    settle::disconnect(state, me);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { home: 0, among: 3, number: 0, now: 0, excess: 0, is_endless: false, waits: 0 }
    }

    #[test]
    fn who_has_more_to_do_again_and_again_belongs_to_the_lane_until_it_calms_down() {
        let (mut place, endless) = (place(), AtomicUsize::new(0));
        for _ in 1..ENDLESS {
            place.note(true, &endless);
            assert_eq!(place.elsewhere(3, 3, &endless), None);
        }
        place.note(true, &endless);
        assert_eq!(place.elsewhere(3, 3, &endless), Some(2));
        assert_eq!(place.elsewhere(1, 1, &endless), None);
        place.now = 2;
        for _ in 1..ENDLESS {
            place.note(false, &endless);
            assert_eq!(place.elsewhere(3, 3, &endless), None);
        }
        place.note(false, &endless);
        assert_eq!(place.elsewhere(3, 3, &endless), Some(0));
        assert_eq!(endless.into_inner(), 0);
    }

    #[test]
    fn sessions_follow_the_active_workers() {
        let endless = AtomicUsize::new(0);
        let mut place = Place { number: 3, among: 1, ..place() };
        for (active, wanted) in [(1, None), (2, Some(1)), (4, Some(3)), (3, Some(2)), (1, Some(0))]
        {
            assert_eq!(place.elsewhere(active, 4, &endless), wanted);
            place.now = wanted.unwrap_or(place.now);
            assert_eq!(place.elsewhere(active, 4, &endless), None);
        }
    }

    #[test]
    fn a_pipeline_with_an_end_stays() {
        let (mut place, endless) = (place(), AtomicUsize::new(0));
        for turn in 0..1000 {
            place.note(turn % 2 == 0, &endless);
            assert_eq!(place.elsewhere(2, 2, &endless), None);
        }
    }

    #[test]
    fn who_waits_for_the_lock_goes_to_the_lane_while_it_is_open() {
        let (mut place, endless) = (place(), AtomicUsize::new(0));
        for _ in 0..2 * WAITS {
            place.note_wait();
            assert_eq!(place.elsewhere(2, 2, &endless), None);
        }
        endless.store(1, Ordering::Relaxed);
        for _ in 0..WAITS {
            assert_eq!(place.elsewhere(2, 2, &endless), None);
            place.note_wait();
        }
        assert_eq!(place.elsewhere(2, 2, &endless), Some(1));
        place.now = 1;
        assert_eq!(place.elsewhere(2, 2, &endless), None);
        endless.store(0, Ordering::Relaxed);
        assert_eq!(place.elsewhere(2, 2, &endless), Some(0));
    }
}
