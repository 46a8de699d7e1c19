//! The row: a synopsis line, a function, and a few builders for what neither can say.

use crate::client::{Awaited, ClientId};
use crate::command::args::Args;
use crate::command::spec::KeySpec;
use crate::error::Result;
use crate::keyspace::db::Db;
use crate::keyspace::effects::Reach;
use crate::resp::out::{Done, Out};
use crate::state::State;

/// Reads the data; may run on a read-only replica.
pub type ReadFn = fn(&Db, &mut Args<'_>, Out<'_>) -> Result<Done>;
/// Changes the data.
pub type WriteFn = fn(&mut Db, &mut Args<'_>, Out<'_>) -> Result<Done>;
/// Changes the data, or waits for a key; the same function runs again when such a key changes.
pub type WaitFn = fn(&mut Db, &mut Args<'_>, Out<'_>) -> Result<Wait>;
/// Acts on the connection or the server, or waits.
pub type ClientWaitFn = fn(&mut Call<'_>, &mut Args<'_>, Out<'_>) -> Result<Wait>;
/// Acts on the connection or the server.
pub type ClientFn = fn(&mut Call<'_>, &mut Args<'_>, Out<'_>) -> Result<Done>;
/// Runs other commands.
pub type NestedFn = fn(&mut dyn Caller, &mut Args<'_>, Out<'_>) -> Result<Done>;

/// The shapes of a handler.
#[derive(Clone, Copy)]
pub enum Run {
    /// See [`ReadFn`].
    Read(ReadFn),
    /// See [`WriteFn`].
    Write(WriteFn),
    /// See [`WaitFn`].
    Wait(WaitFn),
    /// See [`ClientFn`].
    Client(ClientFn),
    /// See [`ClientWaitFn`].
    ClientWait(ClientWaitFn),
    /// See [`NestedFn`].
    Nested(NestedFn),
}

impl Run {
    /// Whether its type lets it reach nothing but the data.
    #[inline]
    pub fn reaches_only_data(&self) -> bool {
        matches!(self, Run::Read(_) | Run::Write(_) | Run::Wait(_))
    }
}

/// What a waiting command answers.
#[derive(Debug)]
pub enum Wait {
    /// It has replied.
    Done(Done),
    /// It waits, and has not replied.
    For(Waiting),
}

impl Wait {
    /// What the command waits for, if it has not replied.
    pub fn waiting(self) -> Option<Box<Waiting>> {
        match self {
            Wait::Done(_) => None,
            Wait::For(waiting) => Some(Box::new(waiting)),
        }
    }
}

/// What a command waits for.
#[derive(Debug)]
pub struct Waiting {
    /// Keys of the selected database, one of which must change.
    pub keys: Vec<Vec<u8>>,
    /// Unix time in milliseconds at which it gives up; `None`: never.
    pub until_ms: Option<i64>,
    /// What it answers when it gives up.
    pub on_timeout: fn(Out<'_>) -> Done,
    /// The words with which it runs again, where they differ from its own (`$` of XREAD).
    pub argv: Option<Vec<Vec<u8>>>,
    /// Runs again also when a key goes or changes its type (XREADGROUP), to answer with an error.
    pub wakes_on_loss: bool,
    /// What it waits for besides keys (WAIT, FLUSHALL).
    pub awaits: Option<Awaited>,
}

/// What a client-shaped handler reaches: everything under the lock, and who calls.
pub struct Call<'a> {
    /// All rooms.
    pub state: &'a mut State,
    /// The calling client.
    pub me: ClientId,
}

impl Call<'_> {
    /// The calling client's plain state.
    pub fn client(&mut self) -> &mut crate::client::Client {
        self.state.clients.at(self.me)
    }
}

/// What a nested handler receives: a way to run commands without knowing dispatch.
pub trait Caller {
    /// All rooms.
    fn state(&mut self) -> &mut State;
    /// The calling client.
    fn me(&self) -> ClientId;
    /// Runs one command of a transaction: gates, statistics and effects as if it came from the
    /// wire, its reply appended to `reply` if the client wants it.
    fn run_queued(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>);
    /// Runs, for another client, a request that came while a slow script runs: refused with BUSY
    /// unless its row allows it. True when the connection ends with the reply.
    fn run_while_busy(&mut self, client: ClientId, argv: &[&[u8]], reply: &mut Vec<u8>) -> bool;
    /// Runs one command of a script in the given protocol; an error that belongs to the script's
    /// world (unknown command, not allowed from scripts, …) comes back as a reply too. True when
    /// the command was one that writes, and was not refused.
    fn run_from_script(&mut self, argv: &[&[u8]], rules: ScriptRules, reply: &mut Vec<u8>) -> bool;
}

/// What a script may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScriptRules {
    /// Replies in RESP3.
    pub resp3: bool,
    /// EVAL_RO, FCALL_RO and scripts flagged no-writes.
    pub read_only: bool,
    /// The script may write although memory is short.
    pub allow_oom: bool,
    /// The script has written already: nothing refuses its further writes.
    pub wrote: bool,
    /// Who reads what it writes (`redis.set_repl`).
    pub reach: Reach,
}

/// Flag bits of a row, as COMMAND INFO names them.
pub mod flag {
    #![allow(missing_docs)]
    pub const FAST: u32 = 1;
    pub const DENYOOM: u32 = 1 << 1;
    pub const ADMIN: u32 = 1 << 2;
    pub const NOSCRIPT: u32 = 1 << 3;
    pub const LOADING: u32 = 1 << 4;
    pub const STALE: u32 = 1 << 5;
    pub const NO_AUTH: u32 = 1 << 6;
    pub const NO_MULTI: u32 = 1 << 7;
    pub const BLOCKING: u32 = 1 << 8;
    pub const PUBSUB: u32 = 1 << 9;
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    pub const SKIP_MONITOR: u32 = 1 << 11;
    pub const NO_ASYNC_LOADING: u32 = 1 << 12;
    pub const MAY_REPLICATE: u32 = 1 << 13;
    pub const ALLOW_BUSY: u32 = 1 << 14;
    pub const NO_MANDATORY_KEYS: u32 = 1 << 15;
    pub const SENTINEL: u32 = 1 << 16;
    /// Only a category: `@dangerous`.
    pub const DANGEROUS: u32 = 1 << 17;
    pub const READONLY: u32 = 1 << 18;
    pub const WRITE: u32 = 1 << 19;
    pub const MOVABLEKEYS: u32 = 1 << 20;
    /// Client-shaped, and part of what FLUSHALL-like commands do: changes the data.
    pub const CHANGES_DATA: u32 = 1 << 21;
    /// Runs inside MULTI instead of being queued.
    pub const IMMEDIATE: u32 = 1 << 22;
    /// A RESP2 client that has subscribed may run it.
    pub const WHILE_SUBSCRIBED: u32 = 1 << 23;
    /// Only for those whom `enable-debug-command` or `enable-module-command` names.
    pub const PROTECTED: u32 = 1 << 24;
    /// Only the name of its subcommands.
    pub const CONTAINER: u32 = 1 << 25;
    /// Only a category: `@keyspace`.
    pub const KEYSPACE: u32 = 1 << 26;
    /// Only categories: `@admin` and `@dangerous`.
    pub const ADMIN_CATEGORY: u32 = 1 << 27;
    /// Runs for a slot that is on its way to this node.
    pub const ASKING: u32 = 1 << 28;
    /// Only a tip: the same data may give another reply.
    pub const VARIES: u32 = 1 << 29;
    /// Only a tip: the same data may give the reply's parts in another order.
    pub const VARIES_IN_ORDER: u32 = 1 << 30;
    /// May meet keys that nobody named, and remove those whose time has come.
    pub const MEETS_ANY_KEY: u32 = 1 << 31;
}

/// One command.
#[derive(Clone, Copy)]
pub struct Row {
    /// `NAME arguments` in the notation of Redis's documentation; `CONTAINER|SUB arguments`.
    pub synopsis: &'static str,
    /// The handler.
    pub run: Run,
    /// Bits of [`flag`].
    pub flags: u32,
    /// The version of Redis that brought it.
    pub since: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Its complexity.
    pub cost: &'static str,
    /// Where the synopsis misleads.
    pub arity: Option<i32>,
    /// Where the synopsis misleads.
    pub keys: Option<&'static [KeySpec]>,
    /// What a client of a cluster is advised: whom to send it to, and how many replies become
    /// one. Empty where a key tells, or nothing does.
    pub route: (&'static str, &'static str),
}

const fn row(synopsis: &'static str, run: Run, flags: u32) -> Row {
    let (arity, keys, route) = (None, None, ("", ""));
    Row { synopsis, run, flags, since: "", about: "", cost: "", arity, keys, route }
}

/// A row whose handler reads.
pub const fn read(synopsis: &'static str, run: ReadFn) -> Row {
    row(synopsis, Run::Read(run), flag::READONLY)
}

/// A row whose handler writes.
pub const fn write(synopsis: &'static str, run: WriteFn) -> Row {
    row(synopsis, Run::Write(run), flag::WRITE)
}

/// A row whose handler may wait.
pub const fn wait(synopsis: &'static str, run: WaitFn) -> Row {
    row(synopsis, Run::Wait(run), flag::WRITE | flag::BLOCKING)
}

/// A row whose handler acts on the connection or the server, or waits for others.
pub const fn client_wait(synopsis: &'static str, run: ClientWaitFn) -> Row {
    row(synopsis, Run::ClientWait(run), flag::BLOCKING)
}

/// A row whose handler acts on the connection or the server.
pub const fn client(synopsis: &'static str, run: ClientFn) -> Row {
    row(synopsis, Run::Client(run), 0)
}

/// A row that only holds subcommands together; it stands before them.
pub const fn container(name: &'static str) -> Row {
    fn never(_: &mut Call<'_>, args: &mut Args<'_>, _: Out<'_>) -> Result<Done> {
        Err(crate::error::Error::wrong_arity(args.name()))
    }
    row(name, Run::Client(never), flag::CONTAINER).arity(-2)
}

/// A row whose handler runs other commands.
pub const fn nested(synopsis: &'static str, run: NestedFn) -> Row {
    row(synopsis, Run::Nested(run), flag::NOSCRIPT)
}

impl Row {
    const fn with(mut self, bits: u32) -> Row {
        self.flags |= bits;
        self
    }
    /// O(1) or O(log n).
    pub const fn fast(self) -> Row {
        self.with(flag::FAST)
    }
    /// May need memory: refused above `maxmemory` (denyoom).
    pub const fn grows(self) -> Row {
        self.with(flag::DENYOOM)
    }
    /// For administrators; dangerous as well.
    pub const fn admin(self) -> Row {
        self.with(flag::ADMIN | flag::DANGEROUS)
    }
    /// In the category `@dangerous`.
    pub const fn dangerous(self) -> Row {
        self.with(flag::DANGEROUS)
    }
    /// Not from scripts.
    pub const fn noscript(self) -> Row {
        self.with(flag::NOSCRIPT)
    }
    /// Also while loading.
    pub const fn loading(self) -> Row {
        self.with(flag::LOADING)
    }
    /// Also on a stale replica.
    pub const fn stale(self) -> Row {
        self.with(flag::STALE)
    }
    /// Also without authentication.
    pub const fn no_auth(self) -> Row {
        self.with(flag::NO_AUTH)
    }
    /// Not inside MULTI.
    pub const fn no_multi(self) -> Row {
        self.with(flag::NO_MULTI)
    }
    /// Belongs to pub/sub.
    pub const fn pubsub(self) -> Row {
        self.with(flag::PUBSUB)
    }
    /// Reads, although it has the waiting shape (XREAD).
    pub const fn reads(mut self) -> Row {
        self.flags = self.flags & !flag::WRITE | flag::READONLY;
        self
    }
    /// Touches no data, although its shape reaches it (WAIT).
    pub const fn touches_nothing(mut self) -> Row {
        self.flags &= !(flag::WRITE | flag::READONLY);
        self
    }
    /// Not called blocking, although it has the waiting shape (FLUSHALL).
    pub const fn seldom_waits(mut self) -> Row {
        self.flags &= !flag::BLOCKING;
        self
    }
    /// Changes the data, although it has the client shape (FLUSHALL, SWAPDB).
    pub const fn writes(self) -> Row {
        self.with(flag::WRITE | flag::CHANGES_DATA)
    }
    /// Not in the slow log.
    pub const fn skip_slowlog(self) -> Row {
        self.with(flag::SKIP_SLOWLOG)
    }
    /// Not shown by MONITOR.
    pub const fn skip_monitor(self) -> Row {
        self.with(flag::SKIP_MONITOR)
    }
    /// Any further bits of [`flag`].
    pub const fn flags(self, bits: u32) -> Row {
        self.with(bits)
    }
    /// Without bits that its shape has given it.
    pub const fn without(mut self, bits: u32) -> Row {
        self.flags &= !bits;
        self
    }
    /// The same data may give another reply.
    pub const fn varies(self) -> Row {
        self.with(flag::VARIES)
    }
    /// The same data may give the reply's parts in another order.
    pub const fn varies_in_order(self) -> Row {
        self.with(flag::VARIES_IN_ORDER)
    }
    /// Which nodes of a cluster to send it to, and how their replies become one.
    pub const fn route(mut self, request: &'static str, response: &'static str) -> Row {
        self.route = (request, response);
        self
    }
    /// The version of Redis that brought it.
    pub const fn since(mut self, since: &'static str) -> Row {
        self.since = since;
        self
    }
    /// What it does, in a sentence.
    pub const fn about(mut self, about: &'static str) -> Row {
        self.about = about;
        self
    }
    /// Its complexity.
    pub const fn cost(mut self, cost: &'static str) -> Row {
        self.cost = cost;
        self
    }
    /// Says the arity where the synopsis misleads.
    pub const fn arity(mut self, arity: i32) -> Row {
        self.arity = Some(arity);
        self
    }
    /// Says where the keys are where the synopsis misleads.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Row {
        self.keys = Some(keys);
        self
    }
}

/// A family: the rows of one file.
pub struct Family {
    /// The group that COMMAND DOCS names (`string`, `generic`, …).
    pub group: &'static str,
    /// In the order of the file.
    pub rows: &'static [Row],
}
