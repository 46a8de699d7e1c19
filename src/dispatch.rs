//! The only path that a command takes: find, gate, run, settle.
//!
//! Invariant: whoever runs a command (a session, EXEC, a script, the log) comes through here, so
//! statistics, effects and the log see every command once. A *unit* is what nobody can come
//! between: a command, a transaction or a script; waiters are served and the log is written at its
//! end.

mod calm;
mod discord;
mod names;
mod nested;
mod permission;
mod roles;
mod trouble;
mod waiting;

use crate::acl::log::Origin;
use crate::client::{ClientId, Cut, ReplyMode};
use crate::clock::Stopwatch;
use crate::command::row::{flag, Call, Run, Wait, Waiting};
use crate::command::{Args, Spec, Table};
use crate::commands::find_renamed;
use crate::commands::scripting::{declares_growth, declares_no_writes};
use crate::error::{Error, Result};
use crate::keyspace::effects::listener;
use crate::log::aof::Mode;
use crate::memory;
use crate::resp::out::{push_error, Bound, Out};
use crate::resp::replies::Replies;
use crate::settle;
use crate::state::State;
pub use names::KnownNames;

/// Whether a test holds for a command, or for one of those that EXEC would run.
fn any(
    state: &State,
    me: ClientId,
    (spec, argv): (&Spec, &[&[u8]]),
    test: impl Fn(&Spec, &[&[u8]]) -> bool,
) -> bool {
    let multi = || state.clients.find(me)?.multi.as_ref();
    let queued = |argv: &Vec<Vec<u8>>| {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        find_renamed(&state.renames, &argv).is_ok_and(|spec| test(spec, &argv))
    };
    test(spec, argv)
        || (spec.name == "exec" && multi().is_some_and(|multi| multi.queue.iter().any(queued)))
}

/// What a session does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Goes on with the next request.
    Next,
    /// The client waits for a key; the request is consumed.
    Blocked,
    /// CLIENT PAUSE holds the request back; it comes again later.
    HeldBack,
    /// The connection ends after the reply.
    Close,
    /// The connection is a replica's from here on.
    Attached,
}

/// Runs the requests of one client.
pub struct Dispatcher<'a> {
    state: &'a mut State,
    me: ClientId,
    table: &'static Table,
    /// Inside EXEC or a script: nobody waits for a key.
    nested: bool,
    /// A command that waited runs once more: it has been shown to monitors.
    again: bool,
    /// The protocol that a running script asked for: RESP3?
    script_resp3: Option<bool>,
    /// A slow script runs, and lets few commands come between.
    while_busy: bool,
    /// See `calm`.
    calm: bool,
    watch: Stopwatch,
    /// Sum of the laps of `watch`.
    worked_ns: u64,
    /// How long the replies of a batch may become.
    bound: Bound,
    /// How far the log must be durable before they leave.
    mark: u64,
    /// Where the log stood when the batch began.
    log_before: u64,
    /// The database of the client when the batch began: where to prefetch.
    db: usize,
    names: Option<&'a mut KnownNames>,
}

/// What is known of a request before it runs.
#[derive(Clone, Copy, Default)]
pub struct Prepared<'i> {
    spec: Option<&'static Spec>,
    hash: Option<u64>,
    member: Option<&'i [u8]>,
    member_hash: Option<u64>,
}

impl Prepared<'_> {
    /// Whether there is such a command.
    pub fn is_known(&self) -> bool {
        self.spec.is_some()
    }
}

impl<'a> Dispatcher<'a> {
    /// For the client `me`, whose registration the caller has made sure of.
    pub fn new(state: &'a mut State, me: ClientId) -> Self {
        Dispatcher::since(Stopwatch::start(), state, me)
    }

    /// The same for work that began with `watch`.
    pub fn since(watch: Stopwatch, state: &'a mut State, me: ClientId) -> Self {
        let table = crate::commands::table();
        let client = state.clients.at(me);
        let most = Bound::of_bytes(state.facts.reply_bytes_max);
        let (db, bound) = (client.db, client.reply_bound(state.config.settings(), most));
        let calm = calm::is_calm(state, me);
        Dispatcher {
            calm,
            db,
            bound,
            mark: 0,
            log_before: state.aof.tail.appended(),
            names: None,
            state,
            me,
            table,
            nested: false,
            again: false,
            script_resp3: None,
            while_busy: false,
            watch,
            worked_ns: 0,
        }
    }

    /// With names that came before, at this server.
    pub fn knowing(mut self, names: &'a mut KnownNames) -> Self {
        self.names = Some(names);
        self
    }

    /// All rooms.
    pub fn state(&mut self) -> &mut State {
        self.state
    }

    /// How long the replies of a batch may become before its client is cut off.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// How far the log must be durable before the replies of the batch leave: up to what it has
    /// written, and to what it was shown of others' writes, where that matters.
    pub fn mark(&self) -> u64 {
        match self.state.aof.tail.appended() {
            now if now != self.log_before => now,
            _ => self.mark,
        }
    }

    /// Finds the command of the request with these words and the place of its first key, and asks
    /// the processor for it.
    #[inline]
    pub fn prepare<'w>(&mut self, word: impl Fn(usize) -> Option<&'w [u8]>) -> Prepared<'w> {
        let mut prepared = Prepared::default();
        let Some(spec) = self.find_as_before(&word) else { return prepared };
        prepared.spec = Some(spec);
        if let Some(key) = spec.first_key.and_then(&word) {
            prepared.hash = Some(self.state.db.prefetch(self.db, key));
            prepared.member = spec.member.and_then(word);
        }
        prepared
    }

    /// The second step, when the place has come: asks for what lies there.
    #[inline]
    pub fn prefetch(&self, prepared: &Prepared<'_>) {
        if let Some(hash) = prepared.hash {
            self.state.db.prefetch_entry(self.db, hash);
        }
    }

    /// The third and the fourth step: the same for the members that requests name, where they are
    /// in large collections.
    #[inline]
    pub fn prefetch_members(&self, group: &mut [Prepared<'_>]) {
        let db = &self.state.db;
        let mut any = false;
        for prepared in group.iter_mut() {
            if let (Some(hash), Some(member)) = (prepared.hash, prepared.member) {
                prepared.member_hash = db.prefetch_member(self.db, hash, member);
                any |= prepared.member_hash.is_some();
            }
        }
        if any {
            for prepared in group {
                if let (Some(hash), Some(member)) = (prepared.hash, prepared.member_hash) {
                    db.prefetch_item(self.db, hash, member);
                }
            }
        }
    }

    /// Runs one request; its reply is appended to `out`.
    pub fn request(&mut self, argv: &[&[u8]], prepared: &Prepared<'_>, out: &mut Replies) -> Flow {
        let Some(spec) = prepared.spec else { return self.find_and_run(argv, out) };
        let mark = out.len();
        if let (Some(hash), Some(at)) = (prepared.hash, spec.first_key) {
            self.state.db.memorize_hash(argv[at], hash);
        }
        let flow = self.gated(spec, argv, out);
        self.state.db.forget_hash();
        self.after(Some(spec), mark, flow, out)
    }

    /// The same for a request that was not prepared.
    pub fn request_unprepared(&mut self, argv: &[&[u8]], out: &mut Vec<u8>) -> Flow {
        Replies::within(out, |out| self.find_and_run(argv, out))
    }

    fn find_and_run(&mut self, argv: &[&[u8]], out: &mut Replies) -> Flow {
        let (mark, found) = (out.len(), self.find(argv));
        let flow = match found {
            Ok(spec) => self.gated(spec, argv, out),
            Err(_) if is_http(argv[0]) => {
                // A browser that was tricked into speaking to us must not get a second line in.
                out.clear();
                settle::suspect(self.state, self.me);
                return Flow::Close;
            }
            Err(container) => {
                let error = match container {
                    Some(_) => Error::unknown_subcommand(argv[0], argv[1]),
                    None => Error::unknown_command(argv),
                };
                self.refuse(None, error, out)
            }
        };
        self.after(found.ok(), mark, flow, out)
    }

    /// CLIENT REPLY, and what others wrote to the client meanwhile; the connection may end.
    #[inline]
    fn after(&mut self, spec: Option<&Spec>, mark: usize, flow: Flow, out: &mut Replies) -> Flow {
        if self.state.clients.at(self.me).reply_mode != ReplyMode::On {
            self.skip(spec, mark, flow, out);
        }
        if self.state.clients.at(self.me).wants_attention() {
            self.take_what_others_wrote(out);
            let client = self.state.clients.at(self.me);
            if client.close_after_reply || client.close_now {
                return Flow::Close;
            }
            if client.is_replica() {
                return Flow::Attached;
            }
        }
        flow
    }

    /// What others told the client leaves with its replies, and may be of changes that are not on
    /// disk yet.
    #[inline]
    fn take_what_others_wrote(&mut self, out: &mut Replies) {
        let client = self.state.clients.at(self.me);
        if !client.outbox.is_empty() {
            client.outbox.drain_into(out);
            self.mark = self.mark.max(self.state.aof.tail.appended());
        }
    }

    /// A reply that its client does not want.
    #[cold]
    fn skip(&mut self, spec: Option<&Spec>, mark: usize, flow: Flow, out: &mut Replies) {
        // EXEC has left out what its client does not want of what it has run.
        let has_run = out.get(mark) != Some(&b'-') && !self.state.is_over;
        if !has_run || spec.is_none_or(|spec| spec.name != "exec") {
            out.truncate(mark);
        }
        let client = self.state.clients.at(self.me);
        // A reply that is still to come is the one to be skipped.
        let comes = matches!(flow, Flow::Blocked | Flow::HeldBack);
        client.reply_mode = match client.reply_mode {
            ReplyMode::SkipSet => ReplyMode::SkipNext,
            ReplyMode::SkipNext if !comes => ReplyMode::On,
            mode => mode,
        };
    }

    /// The command of a request, under the name that `rename-command` gave it.
    #[inline]
    fn find(&self, argv: &[&[u8]]) -> std::result::Result<&'static Spec, Option<&'static Spec>> {
        find_renamed(&self.state.renames, argv)
    }

    /// Everything that may refuse a command before it runs, in Redis's order.
    fn gated(&mut self, spec: &'static Spec, argv: &[&[u8]], out: &mut Replies) -> Flow {
        match self.gate(spec, argv) {
            Err(error) => return self.refuse(Some(spec), error, out),
            Ok(Gate::HoldBack) => return Flow::HeldBack,
            Ok(Gate::Queue) => {
                self.queue(argv);
                out.extend_from_slice(b"+QUEUED\r\n");
                return Flow::Next;
            }
            Ok(Gate::Run) => {}
        }
        // What making room told this client comes before the reply.
        self.take_what_others_wrote(out);
        let outcome = self.call(spec, argv, out);
        self.calm &= spec.row.run.reaches_only_data();
        let flow = match outcome {
            None => Flow::Next,
            Some(waiting) => {
                self.block(spec, *waiting, argv);
                Flow::Blocked
            }
        };
        settle::request_over(self.state, spec);
        if self.state.db.effects.hears(listener::LOG) {
            self.state.clients.at(self.me).wrote_offset = self.state.log.offset;
        }
        if self.state.blocking.has_ready() && !self.state.inside_unit {
            self.serve_ready();
        }
        flow
    }

    fn gate(&mut self, spec: &'static Spec, argv: &[&[u8]]) -> Result<Gate> {
        if !spec.accepts(argv.len()) {
            return Err(Error::wrong_arity(&spec.name));
        }
        if spec.has(flag::PROTECTED) {
            self.protect(spec)?;
        }
        if self.calm {
            self.state.clients.at(self.me).last_command = Some(spec.id);
            return Ok(Gate::Run);
        }
        if self.state.is_over {
            return Ok(Gate::HoldBack);
        }
        let client = self.state.clients.at(self.me);
        client.last_command = Some(spec.id);
        if !client.authenticated && !spec.has(flag::NO_AUTH) && self.state.acl.needs_login() {
            return Err(Error::NoAuth);
        }
        let in_multi = client.multi.is_some();
        if in_multi && spec.has(flag::NO_MULTI) {
            return Err(Error::of("ERR Command not allowed inside a transaction"));
        }
        if !client.may_all {
            let origin = if in_multi { Origin::Multi } else { Origin::Client };
            self.permit(spec, argv, origin)?;
        }
        let client = self.state.clients.at(self.me);
        if client.is_internal {
            self.obey_despite_disk(spec);
            return Ok(if in_multi && !spec.has(flag::IMMEDIATE) {
                Gate::Queue
            } else {
                Gate::Run
            });
        }
        // What would go now would go in the middle of the slow script's unit.
        if self.state.config.settings().maxmemory > 0 && !self.while_busy {
            let me = self.me;
            memory::gate(self.state, |state| {
                any(state, me, (spec, argv), |spec, argv| {
                    spec.has(flag::DENYOOM) || declares_growth(&state.scripting, spec, argv)
                })
            })?;
        }
        if self.state.aof.mode != Mode::Off {
            self.refuse_unlogged(spec)?;
        }
        self.gate_by_state(spec, argv)?;
        if self.state.role.is_replica() || self.state.config.settings().needs_replicas() {
            self.may_write(spec, argv)?;
        }
        let client = self.state.clients.at(self.me);
        if client.is_subscriber() && !client.resp3 && !spec.has(flag::WHILE_SUBSCRIBED) {
            return Err(Error::of(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                spec.name
            )));
        }
        if self.state.role.is_replica() && self.is_stale(spec, argv) {
            return Err(Error::PrimaryDown);
        }
        if self.while_busy && !spec.has(flag::ALLOW_BUSY) {
            return Err(self.state.scripting.running.busy());
        }
        let client = self.state.clients.at(self.me);
        let takes_the_stream = client.is_monitor || client.is_replica();
        if takes_the_stream && spec.has(flag::WRITE | flag::READONLY | flag::MAY_REPLICATE) {
            return Err(Error::ReplicaKeyspace);
        }
        let is_paused = self.state.pause.is_some() || self.state.holds_writes();
        if is_paused && self.is_held_back(spec, argv) {
            return Ok(Gate::HoldBack);
        }
        if in_multi && !spec.has(flag::IMMEDIATE) {
            return Ok(Gate::Queue);
        }
        Ok(Gate::Run)
    }

    fn is_held_back(&mut self, spec: &Spec, argv: &[&[u8]]) -> bool {
        let now_ms = self.state.db.now_ms();
        let pause = self.state.pause.filter(|pause| pause.until_ms > now_ms);
        if pause.is_none() && !self.state.holds_writes() {
            return false;
        }
        // Redis: a pause of everything holds back CLIENT UNPAUSE too.
        let held = pause.is_some_and(|pause| pause.all)
            || any(self.state, self.me, (spec, argv), |spec, argv| {
                spec.has(flag::WRITE | flag::MAY_REPLICATE)
                    && !declares_no_writes(&self.state.scripting, spec, argv)
            });
        let client = self.state.clients.at(self.me);
        if held && !client.paused {
            client.paused = true;
            self.state.held_back.push(self.me);
        }
        held
    }

    fn queue(&mut self, argv: &[&[u8]]) {
        let client = self.state.clients.at(self.me);
        if let Some(multi) = &mut client.multi {
            multi.bytes += argv.iter().map(|arg| arg.len()).sum::<usize>();
            multi.queue.push(argv.iter().map(|arg| arg.to_vec()).collect());
            // Redis: what is queued has not run, so it counts as still being read.
            let limit = self.state.config.settings().client_query_buffer_limit;
            if limit > 0 && multi.bytes > limit {
                client.cut_off(Cut::Query);
            }
        }
    }

    /// Answers with an error before the command runs; inside MULTI the transaction is lost.
    fn refuse(&mut self, spec: Option<&Spec>, error: Error, out: &mut Vec<u8>) -> Flow {
        if let Some(spec) = spec {
            self.state.stats.commands[spec.id].rejected += 1;
        }
        settle::count_error(self.state, error.code());
        self.tell_peer(spec, error.text().strip_prefix(b"ERR ").unwrap_or(error.text()));
        // Redis: a refused EXEC ends its transaction, outside of MULTI too.
        if spec.is_some_and(|spec| spec.name == "exec") {
            self.state.clients.at(self.me).multi = None;
            settle::unwatch(self.state, self.me);
            let why = error.text();
            let why = why.strip_prefix(b"ERR ").unwrap_or(why);
            push_error(out, &[b"EXECABORT Transaction discarded because of: ", why].concat());
            return Flow::Next;
        }
        if let Some(multi) = &mut self.state.clients.at(self.me).multi {
            multi.refused = true;
        }
        push_error(out, error.text());
        Flow::Next
    }

    /// Runs a command that nothing refuses any more. `Some` when it waits.
    fn call(
        &mut self,
        spec: &'static Spec,
        argv: &[&[u8]],
        out: &mut Replies,
    ) -> Option<Box<Waiting>> {
        let mark = out.len();
        let (resp3, db, may_all) = {
            let client = self.state.clients.at(self.me);
            let resp3 = self.script_resp3.unwrap_or(client.resp3);
            (self.state.db.no_touch, self.state.db.obeys) = (client.no_touch, client.is_internal);
            (resp3, client.db, client.may_all)
        };
        let dirty_before = self.state.db.effects.dirty;
        let began_ns = self.worked_ns;
        self.state.db.select(db);
        self.state.current = Some(self.me);
        if !self.state.tracking.is_empty() {
            let in_multi = self.nested || self.state.clients.at(self.me).multi.is_some();
            self.state.tracking.command_begins(self.me, in_multi);
        }
        self.state.db.shows_all_keys = may_all || self.may_see_all_keys(spec, argv);
        if self.state.db.effects.hears(listener::FRESH) {
            self.wait_for_what_is_shown(spec, argv);
        }
        self.state.stats.recent.note(spec.id);
        let result = self.handler(spec, argv, Out::bounded(out, resp3, self.bound));
        let waiting = match result {
            Ok(waiting) => waiting,
            Err(error) => {
                out.truncate(mark);
                push_error(out, error.text());
                None
            }
        };
        if waiting.is_some() {
            out.truncate(mark);
        }
        // Redis: shown when it has run. EXEC comes after its commands, SELECT with the new
        // database, and who has just left does not see how.
        self.show(spec, argv);
        let failed = out.get(mark) == Some(&b'-');
        if failed && self.script_resp3.is_none() {
            self.tell_peer_of_last(&out[mark..]);
        }
        if failed && !std::mem::take(&mut self.state.scripting.error_counted) {
            let line = &out[mark + 1..];
            let end = line.iter().position(|&byte| matches!(byte, b' ' | b'\r'));
            settle::count_error(self.state, &line[..end.unwrap_or(0)]);
        }
        // What EXEC and scripts ran has entered the log by itself.
        if !matches!(spec.row.run, Run::Nested(_)) {
            self.log_own_form(db, argv, dirty_before);
        }
        if self.state.role.is_replica() {
            self.note_own_keys(spec, argv, db);
        }
        settle::command_over(self.state);
        // What it has removed because its time had come is told before: what it has read of that
        // is news.
        if !self.state.tracking.is_empty() {
            self.track(spec, argv);
        }
        self.worked_ns += self.watch.lap_ns();
        let elapsed_ns = self.worked_ns - began_ns;
        // Each command of a batch has a later time than the one before; within a transaction or
        // a script time stands still.
        if !self.nested && !self.state.clock.is_frozen() {
            self.state.db.pass_ns(elapsed_ns);
        }
        // Redis: a command that waits counts once, when it is answered.
        if waiting.is_none() || self.nested {
            self.state.clients.at(self.me).commands += 1;
            settle::count(self.state, spec, argv, self.me, elapsed_ns, failed);
        }
        waiting
    }

    /// Shows a command to those who asked for MONITOR.
    #[inline]
    fn show(&mut self, spec: &Spec, argv: &[&[u8]]) {
        let hidden = self.again || spec.has(flag::SKIP_MONITOR | flag::ADMIN);
        if !self.state.monitors.is_empty() && !hidden {
            settle::show_monitors(self.state, self.me, spec, argv);
        }
    }

    #[inline]
    fn handler(
        &mut self,
        spec: &'static Spec,
        argv: &[&[u8]],
        out: Out<'_>,
    ) -> Result<Option<Box<Waiting>>> {
        let mut args = Args::new(argv, spec.name_words(), &spec.name);
        match spec.row.run {
            Run::Read(run) => run(&self.state.db, &mut args, out).map(|_| None),
            Run::Write(run) => run(&mut self.state.db, &mut args, out).map(|_| None),
            Run::Client(run) => {
                let mut call = Call { state: self.state, me: self.me };
                run(&mut call, &mut args, out).map(|_| None)
            }
            Run::Nested(run) => {
                let was_nested = std::mem::replace(&mut self.nested, true);
                let was_inside = std::mem::replace(&mut self.state.inside_unit, true);
                self.state.db.may_wait = false;
                let result = run(self, &mut args, out).map(|_| None);
                self.state.db.may_wait = !was_nested;
                self.nested = was_nested;
                self.state.inside_unit = was_inside;
                result
            }
            Run::Wait(run) => run(&mut self.state.db, &mut args, out).map(Wait::waiting),
            Run::ClientWait(run) => {
                let mut call = Call { state: self.state, me: self.me };
                run(&mut call, &mut args, out).map(Wait::waiting)
            }
        }
    }

    /// With `appendfsync always`: the reply leaves when what it shows is on disk.
    #[cold]
    fn wait_for_what_is_shown(&mut self, spec: &Spec, argv: &[&[u8]]) {
        let (fresh, db) = (&self.state.db.effects.fresh, self.state.db.current());
        let keys = spec.key_positions(argv).unwrap_or_default();
        let marks = keys.iter().map(|at| fresh.mark(db, argv[*at]));
        let shown = marks.max().unwrap_or(0);
        let shows_any =
            spec.has(flag::READONLY) && (keys.is_empty() || spec.has(flag::MOVABLEKEYS));
        self.mark = self.mark.max(if shows_any { fresh.mark_of_all() } else { shown });
    }

    /// The keys that a tracking client has read.
    #[cold]
    fn track(&mut self, spec: &Spec, argv: &[&[u8]]) {
        // What a script reads is remembered when it reads it.
        if spec.has(flag::READONLY) && !matches!(spec.row.run, Run::Nested(_)) {
            let keys = spec.key_positions(argv).unwrap_or_default();
            self.state.tracking.remember(self.me, keys.into_iter().map(|at| argv[at]));
        }
    }

    fn log_own_form(&mut self, db: usize, argv: &[&[u8]], dirty_before: u64) {
        let effects = &mut self.state.db.effects;
        let stated = std::mem::take(&mut effects.form_stated);
        if effects.dirty != dirty_before && !stated {
            effects.record_own(db, argv);
        }
    }
}

/// The first word of an HTTP request, or of one of its headers.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

enum Gate {
    Run,
    Queue,
    HoldBack,
}
