//! The primary as its replica sees it.

use crate::client::ClientId;
use crate::error::shown;
use std::net::TcpStream;

/// Where a server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, as it was given: any bytes.
    pub host: Vec<u8>,
    /// A TCP port.
    pub port: u16,
}

/// For people.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", shown(&self.host), self.port)
    }
}

/// How far the link to the primary is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// There is none; it will be tried.
    #[default]
    Down,
    /// A connection is being made.
    Connecting,
    /// The two introduce themselves.
    Handshake,
    /// A full copy is on its way.
    Sync,
    /// The stream is applied.
    Up,
}

impl Link {
    /// What ROLE shows.
    pub fn name(self) -> &'static str {
        match self {
            Link::Down => "connect",
            Link::Connecting => "connecting",
            Link::Handshake => "handshake",
            Link::Sync => "sync",
            Link::Up => "connected",
        }
    }
}

/// A full copy on its way, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// All of it; `None` is not known ahead.
    pub total_bytes: Option<u64>,
    /// What has arrived.
    pub read_bytes: u64,
}

/// The link to the primary.
#[derive(Debug)]
pub struct Upstream {
    /// The primary.
    pub address: Address,
    /// How far the link is.
    pub link: Link,
    /// The client that runs the primary's commands, while the link is up.
    pub client: Option<ClientId>,
    /// A twin of the link's socket: shutting it down ends the link.
    pub socket: Option<TcpStream>,
    /// When the primary was last heard (steady ms).
    pub heard_ms: i64,
    /// Since when the link has been down (steady ms).
    pub down_since_ms: i64,
    /// Bytes of the stream that have arrived, those included that have not been applied.
    pub read_offset: u64,
    /// A full copy on its way.
    pub transfer: Transfer,
    /// The data here is a point of the history: the link may go on where it was.
    pub is_resumable: bool,
    /// The database that the stream has selected.
    pub selected: usize,
    /// The primary must be told at once how far this replica is.
    pub wants_ack: bool,
    /// The primary is asked to make this server its primary: FAILOVER on the other side.
    pub takes_over: bool,
    /// When the log last said that the primary's commands run although the disk fails (steady ms).
    pub told_of_disk_ms: Option<i64>,
}

impl Upstream {
    /// A link that has not been tried.
    pub fn new(address: Address, now_ms: i64) -> Upstream {
        Upstream {
            address,
            link: Link::Down,
            client: None,
            socket: None,
            heard_ms: now_ms,
            down_since_ms: now_ms,
            read_offset: 0,
            transfer: Transfer::default(),
            is_resumable: false,
            selected: 0,
            wants_ack: false,
            takes_over: false,
            told_of_disk_ms: None,
        }
    }

    /// Whether the stream is applied.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }
}
