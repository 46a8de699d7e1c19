//! Running scripts and functions: from the words of a command to its reply.

use std::sync::Arc;

use crate::client::{Asker, ClientId, ReplyMode};
use crate::clock::Stopwatch;
use crate::command::row::ScriptRules;
use crate::command::{permission, Args, Caller};
use crate::commands::find_renamed;
use crate::error::{Error, Result};
use crate::keyspace::effects::Reach;
use crate::memory;
use crate::replicas;
use crate::resp::out::{push_error, Done, Out};
use crate::scripting::{
    Call, Engine, Flags, Function, Host, LogLevel, Passing, Purpose, Running, Slow, Verdict, KILLED,
};
use crate::settle;
use crate::state::State;

pub fn eval(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    script(caller, args, out, false, false)
}

pub fn eval_ro(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    script(caller, args, out, false, true)
}

pub fn evalsha(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    script(caller, args, out, true, false)
}

pub fn evalsha_ro(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    script(caller, args, out, true, true)
}

pub fn fcall(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    function(caller, args, out, false)
}

pub fn fcall_ro(caller: &mut dyn Caller, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    function(caller, args, out, true)
}

/// Takes the engine out of its room; it must be put back.
pub fn engine(state: &mut State, purpose: Purpose) -> Result<Engine> {
    let State { scripting, config, .. } = state;
    scripting
        .take_engine(purpose, &config.settings().redis_version)
        .ok_or(Error::NoMemoryForScripts)
}

/// A text from the Lua host as an error.
pub fn refusal(text: &[u8]) -> Error {
    Error::of_bytes([b"ERR ", text].concat())
}

/// What runs, and how.
struct Plan {
    function: Function,
    name: Name,
    flags: Flags,
    purpose: Purpose,
    read_only: bool,
}

/// The name of a script is its SHA1, on the stack; that of a function is its own.
enum Name {
    Digest([u8; 40]),
    Text(Vec<u8>),
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Name::Digest(digest) => digest,
            Name::Text(text) => text,
        }
    }
}

fn show_to_monitors(caller: &mut dyn Caller, args: &Args<'_>) {
    let me = caller.me();
    let state = caller.state();
    if state.monitors.is_empty() {
        return;
    }
    if let Ok(spec) = find_renamed(&state.renames, args.all()) {
        settle::show_monitors(state, me, spec, args.all());
    }
}

fn script(
    caller: &mut dyn Caller,
    args: &mut Args<'_>,
    out: Out<'_>,
    by_digest: bool,
    read_only: bool,
) -> Result<Done> {
    show_to_monitors(caller, args);
    let source = args.bytes();
    if by_digest && source.len() != 40 {
        return Err(Error::NoScript);
    }
    let (keys, rest) = split_keys(args, Error::NotInteger)?;
    let state = caller.state();
    let mut engine = engine(state, Purpose::Scripts)?;
    let scripts = &mut state.scripting.scripts;
    let found = if by_digest {
        scripts.find(source).ok_or(Error::NoScript)
    } else {
        scripts.eval(&mut engine, source).map_err(|text| refusal(&text))
    };
    let plan = found.map(|script| Plan {
        function: script.function,
        name: Name::Digest(script.digest),
        flags: script.flags,
        purpose: Purpose::Scripts,
        read_only,
    });
    let done = plan.and_then(|plan| start(caller, &mut engine, &plan, keys, rest, args.all(), out));
    caller.state().scripting.put_engine(Purpose::Scripts, engine);
    done
}

fn function(
    caller: &mut dyn Caller,
    args: &mut Args<'_>,
    out: Out<'_>,
    read_only: bool,
) -> Result<Done> {
    show_to_monitors(caller, args);
    let name = args.bytes();
    let state = caller.state();
    let Some(found) = state.scripting.libraries.find(name) else {
        return Err(Error::FunctionNotFound);
    };
    let plan = Plan {
        function: found.function,
        name: Name::Text(found.name.clone()),
        flags: found.flags,
        purpose: Purpose::Functions,
        read_only,
    };
    let (keys, rest) = split_keys(args, Error::BadNumberOfKeys)?;
    let mut engine = engine(caller.state(), Purpose::Functions)?;
    let done = start(caller, &mut engine, &plan, keys, rest, args.all(), out);
    caller.state().scripting.put_engine(Purpose::Functions, engine);
    done
}

/// Keys and other words.
type Split<'a> = (&'a [&'a [u8]], &'a [&'a [u8]]);

/// Reads the number of keys, and splits what follows.
fn split_keys<'a>(args: &mut Args<'a>, not_a_number: Error) -> Result<Split<'a>> {
    let count = args.int().map_err(|_| not_a_number)?;
    let rest = args.rest();
    if count > rest.len() as i64 {
        return Err(Error::NumkeysTooMany);
    }
    let count = usize::try_from(count).map_err(|_| Error::NumkeysNegative)?;
    Ok(rest.split_at(count))
}

/// What may refuse a script before it runs.
fn check(state: &State, plan: &Plan) -> Result<()> {
    let me = state.current.and_then(|me| state.clients.find(me));
    let is_client = !me.is_some_and(|me| me.is_internal);
    if is_client && replicas::is_stale(state) && !plan.flags.contains(Flags::ALLOW_STALE) {
        return Err(Error::PrimaryDown);
    }
    if plan.flags.contains(Flags::COMPATIBLE) {
        return Ok(());
    }
    let writes = !plan.flags.contains(Flags::NO_WRITES);
    let refused = replicas::write_refused(state).filter(|_| writes && is_client);
    if let Some(refused) = refused {
        return Err(refused);
    }
    if writes && plan.read_only {
        return Err(Error::ScriptWrites);
    }
    if writes && !plan.flags.contains(Flags::ALLOW_OOM) && memory::is_short(state) {
        return Err(Error::ScriptOutOfMemory);
    }
    Ok(())
}

fn start(
    caller: &mut dyn Caller,
    engine: &mut Engine,
    plan: &Plan,
    keys: &[&[u8]],
    rest: &[&[u8]],
    words: &[&[u8]],
    out: Out<'_>,
) -> Result<Done> {
    check(caller.state(), plan)?;
    let is_flagged = !plan.flags.contains(Flags::COMPATIBLE);
    let rules = ScriptRules {
        resp3: false,
        read_only: plan.read_only || (is_flagged && plan.flags.contains(Flags::NO_WRITES)),
        allow_oom: is_flagged && plan.flags.contains(Flags::ALLOW_OOM),
        wrote: false,
        reach: Reach::ALL,
    };
    let me = caller.me();
    let state = caller.state();
    let running = state.scripting.running.clone();
    let db = state.clients.at(me).db;
    let threshold_ms = state.config.settings().busy_reply_threshold_ms;
    let records_before = state.db.effects.records.len();
    let mut host = ScriptHost {
        caller,
        me,
        rules,
        running,
        watch: Stopwatch::start(),
        threshold_ms,
        name: plan.name.as_bytes(),
        words,
        is_function: plan.purpose == Purpose::Functions,
    };
    let passing = match plan.purpose {
        Purpose::Scripts => Passing::Globals,
        Purpose::Functions => Passing::Parameters,
    };
    let call = Call {
        function: plan.function,
        name: plan.name.as_bytes(),
        keys,
        args: rest,
        passing,
        protocol: if out.is_resp3() { 3 } else { 2 },
    };
    let mut outcome = Default::default();
    let done = out.encoded(|buf| outcome = engine.call(&call, &mut host, buf));
    let running = host.running.clone();
    let state = caller.state();
    if running.is_ending() {
        state.db.effects.records.truncate(records_before);
        if state.is_over {
            // Its client finds the connection closed, and is told nothing.
            let client = state.clients.at(me);
            client.reply_mode = ReplyMode::Off;
            client.close_now = state.facts.embedded;
        }
    }
    running.over();
    state.clients.at(me).db = db;
    state.db.select(db);
    state.scripting.error_counted = outcome.failed && outcome.counted;
    Ok(done)
}

/// The server as the running script sees it.
struct ScriptHost<'a> {
    caller: &'a mut dyn Caller,
    me: ClientId,
    rules: ScriptRules,
    running: Arc<Running>,
    watch: Stopwatch,
    /// 0: never slow.
    threshold_ms: u64,
    name: &'a [u8],
    words: &'a [&'a [u8]],
    is_function: bool,
}

impl ScriptHost<'_> {
    /// Answers the requests that came while the script runs, and lets go who has gone.
    fn answer_letters(&mut self) {
        for letter in self.running.letters() {
            let argv: Vec<&[u8]> = letter.words.iter().map(Vec::as_slice).collect();
            let mut reply = Vec::new();
            let client = match &letter.asker {
                Asker::Client(id) => Ok(*id),
                Asker::Visitor(visitor) => settle::connect(self.caller.state(), visitor),
                Asker::Caller => Ok(settle::connect_caller(self.caller.state())),
            };
            let ends = match client {
                Ok(client) => self.caller.run_while_busy(client, &argv, &mut reply),
                Err(refusal) => {
                    reply.extend_from_slice(refusal);
                    true
                }
            };
            if let (Asker::Caller, Ok(client)) = (&letter.asker, client) {
                settle::disconnect(self.caller.state(), client);
            }
            let _ = letter.answer.send((reply, ends));
        }
        for client in self.running.gone() {
            if self.caller.state().clients.find(client).is_some() {
                settle::leave(self.caller.state(), client);
            }
        }
    }
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, args: &[&[u8]], protocol: u8, reply: &mut Vec<u8>) {
        if self.running.is_slow() {
            self.answer_letters();
            if self.running.must_stop() {
                // Told so just now: it must not write any more before it comes to its end.
                return push_error(reply, format!("ERR {KILLED}").as_bytes());
            }
        }
        self.rules.resp3 = protocol == 3;
        let wrote = self.caller.run_from_script(args, self.rules, reply);
        if wrote && !self.rules.wrote {
            self.rules.wrote = true;
            if self.running.is_slow() {
                self.running.note_write();
            }
        }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let logger = &self.caller.state().logger;
        match level {
            0 => logger.debug(text),
            1 => logger.verbose(text),
            2 => logger.notice(text),
            _ => logger.warning(text),
        }
    }

    fn on_hook(&mut self) -> Verdict {
        if self.running.is_closed() {
            // What it has done by half is not to be kept.
            self.running.end();
            return Verdict::Kill;
        }
        let elapsed_ms = self.watch.elapsed_ns() / 1_000_000;
        if self.threshold_ms == 0 || elapsed_ms < self.threshold_ms {
            return Verdict::Continue;
        }
        if !self.running.is_slow() {
            self.caller.state().logger.warning(format!(
                "Slow script detected: still in execution after {elapsed_ms} milliseconds. You \
                 can try killing the script using the {} command. Script name is: {}.",
                if self.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" },
                String::from_utf8_lossy(self.name)
            ));
            let slow = Slow {
                name: self.name.to_vec(),
                words: self.words.iter().map(|word| word.to_vec()).collect(),
                watch: self.watch,
            };
            let number = self.running.turn_slow(slow, self.is_function, self.rules.wrote);
            if let Some(outside) = &self.caller.state().outside {
                outside.script_is_slow(number);
            }
        }
        self.answer_letters();
        if self.running.must_stop() {
            if !self.running.is_ending() {
                self.caller.state().logger.notice("Lua script killed by user with SCRIPT KILL.");
            }
            return Verdict::Kill;
        }
        Verdict::Continue
    }

    fn set_replication(&mut self, bits: u8) {
        self.rules.reach = Reach::of_bits(bits);
    }

    fn is_allowed(&mut self, args: &[&[u8]]) -> Option<bool> {
        let state = self.caller.state();
        let spec = find_renamed(&state.renames, args).ok()?;
        let user = &state.clients.at(self.me).user;
        Some(user.as_ref().is_none_or(|user| permission::judge(user, spec, args).is_ok()))
    }
}
