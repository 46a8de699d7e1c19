//! One connection's plain state, without its socket, and the register of all of them.
//!
//! Invariant: a `ClientId` names one connection for ever: slots are reused, serials are not.

mod buffers;
mod waits;

use crate::acl::User;
use crate::config::{OutputLimit, Settings};
use crate::resp::out::Bound;
use crate::role::Replica;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

pub use buffers::{Arriving, AtHand, Incomplete, ReplyBuffer, Resizing};
pub use waits::{Acks, Awaited, Blocked};

/// Names a connection: a slot of the register, and the number that CLIENT ID answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// What CLIENT ID answers; never used again.
    pub serial: u64,
    /// Place in the register.
    pub slot: u32,
}

impl ClientId {
    /// The same in fewer bytes, for [`Clients::by_token`].
    pub fn token(self) -> u64 {
        u64::from(self.slot) << 32 | self.serial & u64::from(u32::MAX)
    }
}

/// Whether the peer has closed the connection, as seen before the session sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody but the session looks.
    #[default]
    Unwatched,
    /// It has not, when somebody looked.
    There,
    /// It has.
    Gone,
}

/// What CLIENT REPLY has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    #[default]
    On,
    /// Nothing is sent.
    Off,
    /// This command was SKIP itself.
    SkipSet,
    /// The reply of the next command is not sent.
    SkipNext,
}

impl ReplyMode {
    /// Whether a reply that is written now is sent.
    pub fn is_heard(self) -> bool {
        matches!(self, ReplyMode::On | ReplyMode::SkipSet)
    }
}

/// A transaction being collected.
#[derive(Debug, Default)]
pub struct Multi {
    /// The commands in order.
    pub queue: Vec<Vec<Vec<u8>>>,
    /// One of them was refused: EXEC aborts.
    pub refused: bool,
    /// Bytes of all arguments.
    pub bytes: usize,
}

impl Multi {
    /// Bytes that the queue takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.queue.len() * QUEUED_BYTES
    }
}

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, from the loopback interface or not.
    Tcp {
        /// From this machine.
        local: bool,
    },
    /// A unix socket.
    Unix,
    /// Inside the process.
    Memory,
    /// No connection: the log's or a script's own client.
    Internal,
}

/// A connection before it is registered: what its client will say of it.
#[derive(Debug)]
pub struct Visitor {
    /// How it came in.
    pub transport: Transport,
    /// `ip:port` of the peer, or the path of the unix socket with `:0`.
    pub addr: String,
    /// Our end.
    pub laddr: String,
    /// Its descriptor, or -1.
    pub fd: i32,
    /// Who it is, from its registration on.
    pub id: OnceLock<ClientId>,
}

/// Whose request it is that comes while a slow script runs.
#[derive(Clone, Debug)]
pub enum Asker {
    /// A client's.
    Client(ClientId),
    /// That of a connection which came meanwhile: the script's side registers it.
    Visitor(Arc<Visitor>),
    /// A call from inside the process: a client for this request only.
    Caller,
}

/// Bytes that wait to be written, some of them shared with other clients.
#[derive(Debug, Default)]
pub struct Outbox {
    own: Vec<u8>,
    queue: VecDeque<Bytes>,
    bytes: usize,
}

/// Replies of up to this many bytes count for no limit: in Redis they lie in the client itself.
const UNCOUNTED_BYTES: usize = 16 << 10;
/// What a watch takes besides the name of its key.
const WATCH_BYTES: usize = 64;
/// What a queued command takes besides its arguments, about.
const QUEUED_BYTES: usize = 128;
/// In Redis further replies lie in blocks that hold this many bytes.
const BLOCK_BYTES: usize = 20_464;
/// What a block counts, however much of it is in use.
const BLOCK_COUNTED_BYTES: usize = 20_504;

/// Why a connection was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It did not read what it was sent: `client-output-buffer-limit`.
    Output,
    /// It sent too long a request: `client-query-buffer-limit`.
    Query,
    /// It took too much memory: `maxmemory-clients`.
    Memory,
}

/// Messages from this size on are shared instead of copied.
const SHARED_BYTES_MIN: usize = 1024;

impl Outbox {
    /// Bytes inside.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.own.extend_from_slice(bytes);
    }

    /// Appends a message that other clients receive too.
    pub fn push_shared(&mut self, message: &Bytes) {
        if message.len() < SHARED_BYTES_MIN {
            return self.push(message);
        }
        if !self.own.is_empty() {
            self.queue.push_back(Bytes::from(std::mem::take(&mut self.own)));
        }
        self.bytes += message.len();
        self.queue.push_back(message.clone());
    }

    /// Lets `write` append to the outbox.
    pub fn append_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.own.len();
        let result = write(&mut self.own);
        self.bytes += self.own.len() - before;
        result
    }

    /// Moves everything to the end of `buf`.
    pub fn drain_into(&mut self, buf: &mut Vec<u8>) {
        for message in self.queue.drain(..) {
            buf.extend_from_slice(&message);
        }
        buf.extend_from_slice(&self.own);
        self.own = Vec::new();
        self.bytes = 0;
    }

    /// Everything inside, in order.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.drain_into(&mut bytes);
        bytes
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        *self = Outbox::default();
    }
}

/// Wakes the session of a client. A session looks at it at each of its turns, so looking costs
/// one load while nobody has rung.
#[derive(Debug, Default)]
pub struct Kick {
    /// What its session tells the other way round.
    pub arriving: Arriving,
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Kick {
    /// The session looks at its client's state soon.
    pub fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // Either this side sees the waker, or the first look, which sets it, sees the ring.
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Ready once after any number of rings. One task (or thread) looks, always the same one: its
    /// waker is taken at the first look and holds from then on.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waker.get().is_none() {
            let _ = self.waker.set(cx.waker().clone());
            fence(Ordering::SeqCst);
        }
        if self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Everything about a connection but its socket.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub id: ClientId,
    /// Selected database.
    pub db: usize,
    /// Speaks RESP3.
    pub resp3: bool,
    /// May run commands that need a login.
    pub authenticated: bool,
    /// Who it is logged in as; nobody, and with all rights, inside of the server.
    pub user: Option<Arc<User>>,
    /// Its user may do everything; kept beside it because every command looks at it.
    pub may_all: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// `ip:port`, or the path of the unix socket with `:0`.
    pub addr: String,
    /// Our end.
    pub laddr: String,
    /// How it came in.
    pub transport: Transport,
    /// When it came (Unix ms).
    pub since_ms: i64,
    /// Its last command (Unix ms).
    pub active_ms: i64,
    /// Number of its last command in the table.
    pub last_command: Option<usize>,
    /// A transaction.
    pub multi: Option<Box<Multi>>,
    /// Watched keys.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// A watched key changed.
    pub watch_broken: bool,
    /// A command that waits.
    pub blocked: Option<Box<Blocked>>,
    /// CLIENT PAUSE holds its next command back.
    pub paused: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// File descriptor of its socket; -1 without one.
    pub fd: i32,
    /// Runs inside a script, where nothing may wait or subscribe.
    pub denies_blocking: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// MONITOR.
    pub is_monitor: bool,
    /// Runs commands of the log or a replication stream.
    pub is_internal: bool,
    /// The primary, on its replica.
    pub is_primary: bool,
    /// What it has said about itself as a replica; attached or not yet.
    pub replica: Option<Box<Replica>>,
    /// Where the stream for replicas ended after its last write.
    pub wrote_offset: u64,
    /// Bytes of the stream that it has not taken yet, as a replica.
    pub stream_bytes: usize,
    /// Channels and patterns it is subscribed to.
    pub subscriptions: usize,
    /// Shard channels it is subscribed to.
    pub shard_subscriptions: usize,
    /// Must be closed, after what it has been sent has left.
    pub close_after_reply: bool,
    /// Must be closed now.
    pub close_now: bool,
    /// Its last command has run; its session only sends what is left.
    pub is_leaving: bool,
    /// Replies and messages that others wrote to it.
    pub outbox: Outbox,
    /// Bytes that its session has not been able to write; the session keeps it up to date.
    pub unwritten_bytes: usize,
    /// Since when it has been over the soft limit (Unix ms).
    pub over_soft_limit_since_ms: Option<i64>,
    /// What the batch that runs now has in the worker's buffers.
    pub at_hand: AtHand,
    /// How much of a buffer its replies have needed of late.
    pub reply_buffer: ReplyBuffer,
    /// Names of channels and patterns that it listens to, and prefixes that it tracks, in bytes.
    pub names_bytes: usize,
    /// It was cut off.
    pub cut: Option<Cut>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Bytes received.
    pub net_in_bytes: u64,
    /// Bytes sent.
    pub net_out_bytes: u64,
    /// Commands run.
    pub commands: u64,
    /// Wakes its session.
    pub kick: Arc<Kick>,
}

impl Client {
    /// A connection that has just come in.
    pub fn new(id: ClientId, transport: Transport, now_ms: i64) -> Client {
        Client {
            id,
            db: 0,
            resp3: false,
            authenticated: true,
            user: None,
            may_all: true,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            addr: String::new(),
            laddr: String::new(),
            transport,
            since_ms: now_ms,
            active_ms: now_ms,
            last_command: None,
            multi: None,
            watched: Vec::new(),
            watch_broken: false,
            blocked: None,
            paused: false,
            reply_mode: ReplyMode::On,
            fd: -1,
            denies_blocking: false,
            no_evict: false,
            no_touch: false,
            is_monitor: false,
            is_internal: transport == Transport::Internal,
            is_primary: false,
            replica: None,
            wrote_offset: 0,
            stream_bytes: 0,
            subscriptions: 0,
            shard_subscriptions: 0,
            close_after_reply: false,
            close_now: false,
            is_leaving: false,
            outbox: Outbox::default(),
            unwritten_bytes: 0,
            over_soft_limit_since_ms: None,
            at_hand: AtHand::default(),
            reply_buffer: ReplyBuffer::default(),
            names_bytes: 0,
            cut: None,
            peer: Peer::default(),
            net_in_bytes: 0,
            net_out_bytes: 0,
            commands: 0,
            kick: Arc::default(),
        }
    }

    /// Makes it another user.
    pub fn become_user(&mut self, user: &Arc<User>) {
        self.may_all = user.may_all();
        self.user = Some(user.clone());
    }

    /// The name of its user.
    pub fn user_name(&self) -> Option<&[u8]> {
        self.user.as_ref().map(|user| &user.name[..])
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        !matches!(self.transport, Transport::Tcp { local: false })
    }

    /// It is over for everybody else, whenever its session comes to close the connection.
    pub fn is_gone(&self) -> bool {
        self.close_now || self.is_leaving
    }

    /// Bytes of replies and messages that it has not taken yet.
    pub fn output_bytes(&self) -> usize {
        self.outbox.len() + self.unwritten_bytes
    }

    /// Blocks of replies and messages that it has not taken yet, beyond what counts for no limit,
    /// as Redis would hold them.
    pub fn output_blocks(&self) -> usize {
        self.output_bytes().saturating_sub(UNCOUNTED_BYTES).div_ceil(BLOCK_BYTES)
    }

    /// Bytes of replies that it has not taken yet and that count for no limit.
    pub fn uncounted_output_bytes(&self) -> usize {
        (self.output_bytes() + self.at_hand.reply_bytes).min(UNCOUNTED_BYTES)
    }

    /// What counts for output limits, in bytes.
    pub fn limited_output_bytes(&self) -> usize {
        self.output_blocks() * BLOCK_COUNTED_BYTES + self.stream_bytes
    }

    /// How long replies may become before they are beyond the hard limit; without one, `most`.
    #[inline]
    pub fn reply_bound(&self, settings: &Settings, most: Bound) -> Bound {
        match self.output_limit(settings).hard_bytes {
            0 => most,
            hard_bytes => self.reply_bound_below(hard_bytes),
        }
    }

    #[cold]
    fn reply_bound_below(&self, hard_bytes: u64) -> Bound {
        let blocks = (hard_bytes - 1) as usize / BLOCK_COUNTED_BYTES;
        let bytes = (blocks * BLOCK_BYTES).saturating_add(UNCOUNTED_BYTES);
        Bound::of_bytes(bytes.saturating_sub(self.output_bytes()).max(1) as u64)
    }

    fn output_limit(&self, settings: &Settings) -> OutputLimit {
        if !self.authenticated {
            // Strangers must not make the server keep what they do not read.
            return OutputLimit { hard_bytes: 1025, soft_bytes: 0, soft_seconds: 0 };
        }
        if self.is_replica() {
            let mut limit = settings.output_limits[1];
            // Redis: what the backlog keeps anyway counts against nobody.
            if limit.hard_bytes > 0 {
                limit.hard_bytes = limit.hard_bytes.max(settings.repl_backlog_bytes);
            }
            return limit;
        }
        settings.output_limits[if self.is_subscriber() { 2 } else { 0 }]
    }

    /// The address that it has as a replica: the one that it says it has, or where it comes from.
    pub fn replica_ip(&self) -> &[u8] {
        match self.replica.as_deref() {
            Some(replica) if !replica.ip.is_empty() => &replica.ip,
            _ => self.addr.rsplit_once(':').map_or("", |(ip, _)| ip).as_bytes(),
        }
    }

    /// Whether it is a replica.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.is_attached())
    }

    /// Bytes that it takes, its buffers included.
    pub fn memory_bytes(&self) -> usize {
        let watched: usize = self.watched.iter().map(|(_, key)| key.len() + WATCH_BYTES).sum();
        std::mem::size_of::<Client>()
            + self.name.capacity()
            + self.addr.capacity()
            + self.laddr.capacity()
            + self.output_bytes()
            + self.incomplete().memory_bytes()
            + self.multi.as_ref().map_or(0, |multi| multi.memory_bytes())
            + self.names_bytes
            + watched
    }

    /// Bytes that it takes, and what it has announced: Redis reserves room for a large argument
    /// when its length comes, so this is what CLIENT LIST shows and `maxmemory-clients` looks at.
    pub fn promised_bytes(&self) -> usize {
        self.memory_bytes() + self.incomplete().announced_bytes
    }

    /// What its session keeps of a request that has not arrived as a whole.
    pub fn incomplete(&self) -> Incomplete {
        self.kick.arriving.incomplete()
    }

    /// When it was heard of last, a part of a request being enough (Unix ms).
    pub fn heard_ms(&self) -> i64 {
        self.active_ms.max(self.kick.arriving.heard_ms())
    }

    /// Subscribed to anything.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions + self.shard_subscriptions > 0
    }

    /// Whether its session has something to do besides reading.
    pub fn wants_attention(&self) -> bool {
        !self.outbox.is_empty()
            || self.close_now
            || self.close_after_reply
            || self.replica.is_some()
    }

    /// Cuts off a client that does not read what it is sent, as `client-output-buffer-limit` and
    /// `maxmemory-clients` say.
    pub fn check_output_limit(&mut self, settings: &Settings, now_ms: i64) {
        if self.close_now {
            // It is on its way out, and takes nothing any more.
            return self.outbox.clear();
        }
        let limit = self.output_limit(settings);
        let bytes = self.limited_output_bytes() as u64;
        let soft = limit.soft_bytes > 0 && bytes >= limit.soft_bytes;
        let since_ms = match (soft, self.over_soft_limit_since_ms) {
            (false, _) => None,
            (true, Some(since_ms)) => Some(since_ms),
            (true, None) => Some(now_ms),
        };
        self.over_soft_limit_since_ms = since_ms;
        let soft_for_ms = since_ms.map_or(0, |since_ms| now_ms - since_ms);
        let hard = limit.hard_bytes > 0 && bytes >= limit.hard_bytes;
        let soft_for_ms = u64::try_from(soft_for_ms).unwrap_or_default();
        if hard || (soft && soft_for_ms > limit.soft_seconds.saturating_mul(1000)) {
            self.cut_off(Cut::Output);
        } else {
            self.check_memory_limit(settings);
        }
    }

    /// Cuts off a client that alone takes more than `maxmemory-clients` allows to all of them.
    pub fn check_memory_limit(&mut self, settings: &Settings) {
        let limit = settings.maxmemory_clients.bytes(settings.maxmemory);
        let is_over = |limit| !self.no_evict && self.promised_bytes() as u64 > limit;
        if limit.is_some_and(is_over) {
            self.cut_off(Cut::Memory);
        }
    }

    /// Nothing of what its session wrote to it waits any more.
    pub fn has_taken_all(&mut self) {
        self.unwritten_bytes = 0;
        self.over_soft_limit_since_ms = None;
    }

    /// Ends the connection without a further word; what was not sent is thrown away.
    pub fn cut_off(&mut self, why: Cut) {
        self.cut.get_or_insert(why);
        self.outbox.clear();
        self.close_soon();
    }

    /// Closes the connection as soon as its session looks.
    pub fn close_soon(&mut self) {
        self.close_now = true;
        self.kick.ring();
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    free: Vec<u32>,
    last_serial: u64,
    len: usize,
    /// Where the next round of [`Clients::next_few`] goes on.
    round: usize,
}

impl Clients {
    /// Registers a connection.
    pub fn add(&mut self, transport: Transport, now_ms: i64) -> ClientId {
        self.last_serial += 1;
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let id = ClientId { serial: self.last_serial, slot };
        self.slots[slot as usize] = Some(Box::new(Client::new(id, transport, now_ms)));
        id
    }

    /// Forgets a connection and returns what it was.
    pub fn remove(&mut self, id: ClientId) -> Option<Box<Client>> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.as_ref().is_none_or(|client| client.id != id) {
            return None;
        }
        self.free.push(id.slot);
        self.len -= 1;
        place.take()
    }

    /// The client that is running a command, which is there by construction.
    #[inline]
    pub fn at(&mut self, id: ClientId) -> &mut Client {
        match self.slots[id.slot as usize].as_deref_mut() {
            Some(client) => client,
            None => unreachable!("a running client is registered"),
        }
    }

    /// A client that may have gone meanwhile.
    #[inline]
    pub fn find(&self, id: ClientId) -> Option<&Client> {
        self.slots.get(id.slot as usize)?.as_deref().filter(|client| client.id == id)
    }

    /// A client that may have gone meanwhile.
    #[inline]
    pub fn find_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.slots.get_mut(id.slot as usize)?.as_deref_mut().filter(|client| client.id == id)
    }

    /// A client by its [`ClientId::token`].
    pub fn by_token(&mut self, token: u64) -> Option<&mut Client> {
        let client = self.slots.get_mut((token >> 32) as usize)?.as_deref_mut();
        client.filter(|client| client.id.token() == token)
    }

    /// All clients, in order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().flatten().map(|client| &**client)
    }

    /// All clients, in order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().flatten().map(|client| &mut **client)
    }

    /// About `count` clients, other ones each time, until it was everybody's turn.
    pub fn next_few(&mut self, count: usize) -> impl Iterator<Item = &mut Client> {
        let from = if self.round < self.slots.len() { self.round } else { 0 };
        self.round = self.slots.len().min(from + count);
        self.slots[from..self.round].iter_mut().flatten().map(|client| &mut **client)
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
