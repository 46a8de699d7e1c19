//! What a command may do is a matter of this server's role, too: replicas refuse writes, and a
//! primary whose replicas have gone may refuse them.
//!
//! Invariant: the primary's own commands never come here.

use super::{any, Dispatcher};
use crate::command::row::flag;
use crate::command::Spec;
use crate::commands::scripting::effective_flags;
use crate::error::Result;
use crate::replicas;

impl Dispatcher<'_> {
    /// Whether the command, or one of the commands that EXEC would run, has one of these flags,
    /// or with `lacks` does not have it.
    fn any_has(&self, spec: &Spec, argv: &[&[u8]], bits: u32, lacks: bool) -> bool {
        any(self.state, self.me, (spec, argv), |spec, argv| {
            (effective_flags(&self.state.scripting, spec, argv) & bits != 0) != lacks
        })
    }

    pub(super) fn may_write(&mut self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        match replicas::write_refused(self.state) {
            Some(error) if self.any_has(spec, argv, flag::WRITE, false) => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn is_stale(&mut self, spec: &Spec, argv: &[&[u8]]) -> bool {
        replicas::is_stale(self.state) && self.any_has(spec, argv, flag::STALE, true)
    }

    /// Remembers keys with a deadline that a client of a writable replica makes.
    pub(super) fn note_own_keys(&mut self, spec: &Spec, argv: &[&[u8]], db: usize) {
        let is_own = !self.state.clients.at(self.me).is_internal && spec.has(flag::WRITE);
        for at in spec.key_positions(argv).unwrap_or_default().into_iter().filter(|_| is_own) {
            let deadline = self.state.db.look(argv[at]).and_then(|entry| entry.deadline_ms());
            if deadline.is_some() {
                self.state.role.own_keys.insert((db, argv[at].into()));
            }
        }
    }
}
