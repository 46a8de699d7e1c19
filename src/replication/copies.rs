//! Full copies for replicas: a snapshot that goes straight to their connections, or into a file of
//! its own from which they are sent (memory, where a server keeps no files).
//!
//! The snapshot's thread hands its bytes to one bounded queue for each connection; the slowest
//! replica sets the pace, and one that takes nothing for `repl-timeout` is cut off. The file has
//! no name any more when it is sent: it is gone when the last replica has it.
//!
//! Invariant: a queue that ends without [`Part::End`] was no whole copy.

use crate::client::{ClientId, Kick};
use crate::clock::Stopwatch;
use crate::disk::{Disk, DiskFile, Open};
use crate::keyspace::image::{Piece, Wanted};
use crate::persistence::{Job, Outcome, Output, Start};
use crate::replicas;
use crate::role::{Copy, Copying, Order, Part};
use crate::snapshot;
use crate::snapshot::rdb_output::{RdbOutput, Sink};
use crate::snapshot::sinks::MemorySink;
use crate::state::{self, State};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::Arc;

/// Chunks that wait for one replica.
const AHEAD: usize = 8;

/// Begins the snapshot that an order asks for.
pub(crate) fn begin(state: &mut State, order: Order) {
    let wanted = Wanted::default();
    let copying = Copying { wanted: wanted.clone(), watch: Stopwatch::start() };
    state.role.copying = Some(copying);
    let replicas = order.replicas.clone();
    let begun = match order.diskless {
        true => begin_diskless(state, order, wanted),
        false if state.persistence.keeps_files => begin_in_file(state, order, wanted),
        false => begin_in_memory(state, order, wanted),
    };
    if let Err(error) = begun {
        state.logger.warning(format!("BGSAVE for replication failed: {error}"));
        state.role.copying = None;
        replicas::copy_failed(state, &replicas);
    }
}

fn begin_diskless(state: &mut State, order: Order, wanted: Wanted) -> io::Result<()> {
    let mark: String = (0..40)
        .map(|_| char::from_digit(state.db.rng.random_range(0..16), 16).unwrap_or('0'))
        .collect();
    let mut targets = Vec::new();
    for id in &order.replicas {
        let (sender, receiver) = sync_channel(AHEAD);
        let Some(client) = state.clients.find_mut(*id) else { continue };
        let Some(replica) = client.replica.as_deref_mut() else { continue };
        replica.copy = Some(Copy::Stream(receiver));
        replica.progress_ms = state.clock.steady_ms();
        client.kick.ring();
        targets.push((sender, client.kick.clone()));
    }
    let sink = Connections { targets, mark: Bytes::from(mark) };
    let replicas = order.replicas.clone();
    let over = move |state: &mut State, outcome: Outcome| {
        match outcome {
            Outcome::Done => {
                let there = |id: &&ClientId| state.clients.find(**id).is_some();
                let up = replicas.iter().filter(there).count();
                state.logger.warning(format!(
                    "Diskless rdb transfer, done reading from pipe, {up} replicas still up."
                ));
                state.logger.notice("Background RDB transfer terminated with success");
            }
            Outcome::Failed(_) | Outcome::Cancelled => {
                state
                    .logger
                    .warning("Diskless rdb transfer, last replica dropped, killing fork child.");
                replicas::copy_failed(state, &replicas);
            }
        }
        over(state);
    };
    let pid = std::process::id();
    state.logger.notice(format!("Background RDB transfer started by pid {pid}"));
    start(state, order, sink, wanted, Box::new(over))
}

fn begin_in_file(state: &mut State, order: Order, wanted: Wanted) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("temp-repl-{}-{number}.rdb", std::process::id());
    let path = state.config.settings().dir.join(name);
    let sink = OwnFile { disk: state.disk.clone(), path: path.clone(), file: None };
    let disk = state.disk.clone();
    let over = move |state: &mut State, outcome: Outcome| {
        let open = || {
            let file = disk.open(&path, Open::Read)?;
            let len = file.size()?;
            Ok(Copy::File(file.into(), len))
        };
        whole(state, &outcome, open);
        remove_apart(state, path);
        over(state);
    };
    let pid = std::process::id();
    state.logger.notice(format!("Background saving started by pid {pid}"));
    start(state, order, sink, wanted, Box::new(over))
}

/// Removes a copy's file on another thread: if nobody has opened it, that frees all of it.
fn remove_apart(state: &State, path: PathBuf) {
    let (disk, outside) = (state.disk.clone(), state.outside.clone());
    let there = path.clone();
    let remove = move |_: &dyn state::Access| drop(disk.remove(&there));
    let begun = outside.map(|outside| outside.assist("redouble-unlink", Box::new(remove)));
    if !matches!(begun, Some(Ok(()))) {
        // No thread can be had: better slowly than never.
        let _ = state.disk.remove(&path);
    }
}

/// The same for a server that keeps no files.
fn begin_in_memory(state: &mut State, order: Order, wanted: Wanted) -> io::Result<()> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = MemorySink(bytes.clone());
    let over = move |state: &mut State, outcome: Outcome| {
        let bytes = Bytes::from(std::mem::take(&mut *bytes.lock()));
        whole(state, &outcome, || Ok(Copy::Memory(bytes.clone())));
        over(state);
    };
    start(state, order, sink, wanted, Box::new(over))
}

/// A copy that is sent as a whole has been made, or not.
fn whole(state: &mut State, outcome: &Outcome, open: impl Fn() -> io::Result<Copy>) {
    // Those who have come since the beginning share it.
    let replicas = replicas::waiting_for_file(state);
    match outcome {
        Outcome::Done => replicas::copy_is_whole(state, &replicas, open),
        Outcome::Failed(_) | Outcome::Cancelled => replicas::copy_failed(state, &replicas),
    }
}

/// The snapshot is over: the next may begin.
fn over(state: &mut State) {
    state.role.copying = None;
    replicas::begin_due_copies(state);
}

fn start(
    state: &mut State,
    order: Order,
    sink: impl Sink + 'static,
    wanted: Wanted,
    over: crate::persistence::Over,
) -> io::Result<()> {
    let mut aux = replicas::point(state);
    aux.push(("aof-base", "0".to_string()));
    let Order { without_data, without_functions, .. } = order;
    let output = Filtered { output: RdbOutput::new(sink, aux), without_data, without_functions };
    snapshot::begin(state, Job { output: Box::new(output), wanted, over })
}

/// Leaves out what a replica has not asked for (`rdb-filter-only`).
struct Filtered<O> {
    output: O,
    without_data: bool,
    without_functions: bool,
}

impl<O: Output> Output for Filtered<O> {
    fn begin(&mut self, start: &Start) -> io::Result<()> {
        let mut start = start.clone();
        if self.without_functions {
            start.libraries.clear();
        }
        self.output.begin(&start)
    }

    fn take(&mut self, pieces: &[Piece]) -> io::Result<()> {
        if self.without_data {
            return Ok(());
        }
        self.output.take(pieces)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.finish()
    }

    fn discard(&mut self) {
        self.output.discard();
    }

    fn waits_for_peers(&self) -> bool {
        self.output.waits_for_peers()
    }

    fn purpose(&self) -> Option<&'static str> {
        Some("Copying to replicas")
    }

    fn written_bytes(&self) -> u64 {
        self.output.written_bytes()
    }
}

/// The connections of replicas.
struct Connections {
    targets: Vec<(SyncSender<Part>, Arc<Kick>)>,
    mark: Bytes,
}

impl Connections {
    /// Gives a part to everybody who is still there, and waits for the slowest.
    fn send(&mut self, part: impl Fn() -> Part) -> io::Result<()> {
        self.targets.retain(|(sender, kick)| {
            let went = sender.send(part()).is_ok();
            kick.ring();
            went
        });
        if self.targets.is_empty() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl Sink for Connections {
    fn waits_for_peers(&self) -> bool {
        true
    }

    fn open(&mut self) -> io::Result<()> {
        let line = [&b"$EOF:"[..], &self.mark, b"\r\n"].concat();
        let line = Bytes::from(line);
        self.send(|| Part::Bytes(line.clone()))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(|| Part::Bytes(bytes.clone()))
    }

    fn finish(&mut self) -> io::Result<()> {
        let mark = self.mark.clone();
        self.send(|| Part::Bytes(mark.clone()))?;
        self.send(|| Part::End)
    }

    fn discard(&mut self) {
        // The queues end; their readers are woken to see it.
        for (sender, kick) in self.targets.drain(..) {
            drop(sender);
            kick.ring();
        }
    }
}

/// A file that nobody else knows.
struct OwnFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<DiskFile>,
}

impl Sink for OwnFile {
    fn open(&mut self) -> io::Result<()> {
        self.file = Some(self.disk.open(&self.path, Open::Create)?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }

    fn discard(&mut self) {
        self.file = None;
        let _ = self.disk.remove(&self.path);
    }
}
