//! A replica as its primary sees it.

use crate::client::ClientId;
use crate::clock::Stopwatch;
use crate::disk::ApartFile;
use crate::keyspace::image::Wanted;
use bytes::Bytes;
use std::sync::mpsc::Receiver;

/// How far a replica has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// A connection that only said something about itself so far.
    #[default]
    Greeting,
    /// It waits for a snapshot to begin.
    Waiting,
    /// The snapshot that it will get, or is getting while it is made, is under way.
    Saving,
    /// It is sent a snapshot that lies in a file.
    Sending,
    /// It receives the stream.
    Online,
    /// It asked for a snapshot only, and has got it.
    Served,
}

impl Stage {
    /// What INFO shows.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Greeting | Stage::Waiting | Stage::Saving => "wait_bgsave",
            Stage::Sending => "send_bulk",
            Stage::Online => "online",
            Stage::Served => "rdb_transmitted",
        }
    }
}

/// What a snapshot hands to the connection of a replica.
#[derive(Debug)]
pub enum Part {
    /// Some of its bytes.
    Bytes(Bytes),
    /// It is complete. Without this it has failed.
    End,
}

/// Where a replica's connection finds its full copy.
#[derive(Debug)]
pub enum Copy {
    /// Made while it is sent; the sender waits when the replica does not keep up.
    Stream(Receiver<Part>),
    /// A file without a name, and its length in bytes.
    File(ApartFile, u64),
    /// Memory, of a server that keeps no files.
    Memory(Bytes),
}

/// A snapshot for replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who gets it.
    pub replicas: Vec<ClientId>,
    /// It is sent while it is made, without a file.
    pub diskless: bool,
    /// Without keys.
    pub without_data: bool,
    /// Without functions.
    pub without_functions: bool,
}

/// A snapshot for replicas that is being taken.
#[derive(Clone, Debug)]
pub struct Copying {
    /// Whether somebody waits for it still.
    pub wanted: Wanted,
    /// Since it began.
    pub watch: Stopwatch,
}

/// What a primary knows of a replica.
#[derive(Debug, Default)]
pub struct Replica {
    /// How far it is.
    pub stage: Stage,
    /// The port that it listens on, as it says; 0 is not known.
    pub port: u16,
    /// The address that it says it has; empty is not known.
    pub ip: Vec<u8>,
    /// It can find the end of a copy whose length is not known ahead.
    pub takes_eof: bool,
    /// It understands `+CONTINUE <id>`.
    pub takes_new_id: bool,
    /// It came with SYNC, and never says how far it is.
    pub is_silent: bool,
    /// It wants the snapshot only.
    pub wants_snapshot_only: bool,
    /// It wants no keys.
    pub without_data: bool,
    /// It wants no functions.
    pub without_functions: bool,
    /// The position of the next byte of the stream that its connection will take.
    pub position: u64,
    /// It receives the stream once it has said that it is there.
    pub starts_on_ack: bool,
    /// The offset that it has said it has applied.
    pub acked: u64,
    /// The offset that it has said is on its disk.
    pub acked_on_disk: u64,
    /// When it last said so (steady ms).
    pub acked_ms: i64,
    /// When its connection last took some of its full copy (steady ms).
    pub progress_ms: i64,
    /// Its connection has bytes of the copy that it has not taken.
    pub is_behind_copy: bool,
    /// Since when it has been waiting for a snapshot to begin (steady ms).
    pub waiting_since_ms: i64,
    /// Its copy is written to a file first.
    pub by_file: bool,
    /// The full copy, until its connection has picked it up.
    pub copy: Option<Copy>,
}

impl Replica {
    /// Whether it is more than a client that introduced itself.
    pub fn is_attached(&self) -> bool {
        self.stage != Stage::Greeting
    }

    /// Whether it receives the stream.
    pub fn is_online(&self) -> bool {
        self.stage == Stage::Online
    }

    /// Seconds since it last said how far it is.
    pub fn lag_s(&self, now_ms: i64) -> i64 {
        if self.acked_ms == 0 {
            return 0;
        }
        now_ms.div_euclid(1000) - self.acked_ms.div_euclid(1000)
    }

    /// Whether one snapshot can serve both.
    pub fn wants_the_same_as(&self, other: &Replica) -> bool {
        (self.without_data, self.without_functions) == (other.without_data, other.without_functions)
    }
}
