//! Commands that run inside another one: what EXEC and scripts may call.
//!
//! Invariant: inside a unit nobody waits, and what a script may not call is refused before it runs.

use super::{Dispatcher, Flow};
use crate::acl::log::Origin;
use crate::client::ClientId;
use crate::command::row::{flag, Caller, ScriptRules};
use crate::command::Spec;
use crate::error::{Error, Result};
use crate::log::aof::Mode;
use crate::memory;
use crate::replicas;
use crate::resp::out::{push_error, Bound, Out};
use crate::resp::replies::Replies;
use crate::settle;
use crate::snapshot;
use crate::state::State;

impl Caller for Dispatcher<'_> {
    fn state(&mut self) -> &mut State {
        self.state
    }

    fn me(&self) -> ClientId {
        self.me
    }

    fn run_queued(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>) {
        let mark = reply.len();
        match self.find(argv) {
            Ok(spec) => match self.still_may(spec, argv) {
                Ok(()) => self.run_nested(spec, argv, reply),
                Err(error) => {
                    settle::count_error(self.state, error.code());
                    push_error(reply, error.text());
                }
            },
            Err(_) => {
                self.refuse(None, Error::unknown_command(argv), reply);
            }
        }
        if !self.state.clients.at(self.me).reply_mode.is_heard() {
            reply.truncate(mark);
        }
    }

    fn run_while_busy(&mut self, client: ClientId, argv: &[&[u8]], reply: &mut Vec<u8>) -> bool {
        if argv.is_empty() || self.state.clients.find(client).is_none() {
            return false;
        }
        let mine = std::mem::replace(&mut self.me, client);
        let before = std::mem::replace(&mut self.while_busy, true);
        self.calm = false;
        let protocol = self.script_resp3.take();
        let flow = self.request_unprepared(argv, reply);
        self.script_resp3 = protocol;
        self.while_busy = before;
        self.me = mine;
        flow == Flow::Close
    }

    fn run_from_script(&mut self, argv: &[&[u8]], rules: ScriptRules, reply: &mut Vec<u8>) -> bool {
        match self.script_gate(argv, rules) {
            Ok(spec) => {
                let resp3 = self.script_resp3.replace(rules.resp3);
                let outer = std::mem::replace(&mut self.state.db.inside_script, true);
                let reach = std::mem::replace(&mut self.state.db.effects.reach, rules.reach);
                // What a script receives is not sent to anybody.
                let bound = std::mem::replace(&mut self.bound, Bound::NONE);
                self.run_nested(spec, argv, reply);
                self.bound = bound;
                self.state.db.effects.reach = reach;
                self.state.db.inside_script = outer;
                self.script_resp3 = resp3;
                spec.has(flag::WRITE)
            }
            Err(error) => {
                settle::count_error(self.state, error.code());
                push_error(reply, error.text());
                false
            }
        }
    }
}

impl Dispatcher<'_> {
    /// Runs a command inside a unit: one that would wait gives up at once.
    fn run_nested(&mut self, spec: &'static Spec, argv: &[&[u8]], reply: &mut Vec<u8>) {
        Replies::within(reply, |reply| {
            if let Some(waiting) = self.call(spec, argv, reply) {
                let resp3 = self.script_resp3.unwrap_or(self.state.clients.at(self.me).resp3);
                (waiting.on_timeout)(Out::new(reply, resp3));
            }
        });
    }

    #[inline]
    fn script_gate(&mut self, argv: &[&[u8]], rules: ScriptRules) -> Result<&'static Spec> {
        let spec = self
            .find_as_before(&|at| argv.get(at).copied())
            .ok_or_else(|| Error::of("ERR Unknown Redis command called from script"))?;
        if let Err(error) = self.script_may(spec, argv, rules) {
            self.state.stats.commands[spec.id].rejected += 1;
            return Err(error);
        }
        Ok(spec)
    }

    /// Rights may have changed since a command was queued.
    #[inline]
    fn still_may(&mut self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        if self.state.clients.at(self.me).may_all {
            return Ok(());
        }
        self.permit_still(spec, argv)
    }

    #[inline]
    fn script_may(&mut self, spec: &Spec, argv: &[&[u8]], rules: ScriptRules) -> Result<()> {
        if !spec.accepts(argv.len()) {
            let text = "ERR Wrong number of args calling Redis command from script";
            return Err(Error::of(text));
        }
        if spec.has(flag::NOSCRIPT) && !self.state.debug.scripts_may_all {
            return Err(Error::of("ERR This Redis command is not allowed from script"));
        }
        if !self.state.clients.at(self.me).may_all {
            self.permit(spec, argv, Origin::Script)?;
        }
        if rules.read_only && spec.has(flag::WRITE | flag::MAY_REPLICATE) {
            let text = "ERR Write commands are not allowed from read-only scripts.";
            return Err(Error::of(text));
        }
        if self.state.aof.mode != Mode::Off {
            self.refuse_unlogged(spec)?;
        }
        if spec.has(flag::WRITE) && !self.state.persistence.file.last_was_ok {
            snapshot::save::check_writes(self.state)?;
        }
        let is_client = !self.state.clients.find(self.me).is_some_and(|me| me.is_internal);
        if is_client && spec.has(flag::WRITE) && !rules.wrote {
            if let Some(refused) = replicas::write_refused(self.state) {
                return Err(refused);
            }
        }
        if is_client && !spec.has(flag::STALE) && replicas::is_stale(self.state) {
            return Err(Error::StaleScript);
        }
        let may_refuse = !rules.allow_oom && !rules.wrote && spec.has(flag::DENYOOM);
        if may_refuse && memory::is_short(self.state) {
            return Err(Error::OutOfMemory);
        }
        Ok(())
    }
}
