//! The replica's side of replication: the link to the primary, a thread of its own.
//!
//! What the link does to the data and to the role is in [`crate::following`]; here are the socket,
//! the handshake, the full copy on its way in, and the stream. A primary's side is the session of
//! each of its replicas (`session::feed`) and [`crate::replicas`]; the snapshots for full copies
//! are ordered in `copies`.
//!
//! * `wire`: a socket with deadlines that notices when its work is no longer wanted.
//! * `reach`: a connection to the primary.
//! * `handshake`: PING, AUTH, REPLCONF, PSYNC.
//! * `payload`: the bytes of a full copy, whose end is a length or a mark.
//! * `load`: what becomes of those bytes.
//! * `stream`: the primary's commands.
//! * `link`: all of this in order, again and again.
//!
//! Invariant: a link changes nothing once the role is of another generation.

pub(crate) mod copies;
mod handshake;
mod link;
mod load;
mod payload;
mod reach;
mod stream;
mod wire;

pub(crate) use link::follow;

use crate::shared::{let_others_in, Shared};
use crate::state::{self, State};
use parking_lot::MutexGuard;
use std::sync::Weak;

/// The way of a link to the state, as long as its work is wanted.
#[derive(Clone)]
struct Access {
    shared: Weak<Shared>,
    generation: u64,
}

impl Access {
    /// Runs `work` under the lock; nothing when the server ends, or has another role by now.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> Option<R> {
        let shared = self.shared.upgrade()?;
        self.locked(&shared).map(|mut state| work(&mut state))
    }

    /// The same for commands, where more will follow at once: who waits comes between.
    fn with_turn<R>(&self, run: impl FnOnce(&mut State) -> R) -> Option<R> {
        let shared = self.shared.upgrade()?;
        let mut state = self.locked(&shared)?;
        let before_ns = state.stats.work.command_ns;
        let done = run(&mut state);
        let stay_ns = state.stats.work.command_ns.saturating_sub(before_ns);
        let_others_in(state, stay_ns);
        Some(done)
    }

    fn locked<'a>(&self, shared: &'a Shared) -> Option<MutexGuard<'a, State>> {
        if *shared.stopping.borrow() {
            return None;
        }
        let mut state = shared.lock();
        let now_ms = shared.clock.now_ms();
        state.db.set_now_ms(now_ms);
        (state.role.generation == self.generation).then_some(state)
    }

    /// Whether the work is still wanted.
    fn is_wanted(&self) -> bool {
        self.with(|_| ()).is_some()
    }
}

impl state::Access for Access {
    fn with(&self, work: &mut dyn FnMut(&mut State)) -> bool {
        self.with(work).is_some()
    }
}
