//! The data of a server as a whole: files at the start, snapshots in memory for tests.

use super::Server;
use crate::append_only;
use crate::commands::{load_library, replace_libraries};
use crate::error::{shown, Error};
use crate::following;
use crate::keyspace::image::Wanted;
use crate::listeners::StartError;
use crate::persistence::{Job, Outcome};
use crate::replicas;
use crate::role::Address;
use crate::settle;
use crate::shared::BUSY_LOOK;
use crate::snapshot::load::{self, How, LoadError, Whole};
use crate::snapshot::rdb_output::RdbOutput;
use crate::snapshot::{self, save, sinks::MemorySink};
use crate::startup;
use crate::state::State;
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;

impl Server {
    /// The data that a server starts with: of a snapshot, or of its files. A process of its own
    /// loads those itself, with [`Server::load`].
    pub(super) fn begin(&self, rdb: Option<&[u8]>, embedded: bool) -> Result<(), StartError> {
        match rdb {
            Some(rdb) => {
                self.restore(rdb).map_err(|error| StartError::Data(error.to_string()))?;
                load::start_is_over(&mut self.shared().lock());
                self.follow();
                Ok(())
            }
            None if embedded => self.load(),
            None => Ok(()),
        }
    }

    /// Loads what the files have, if there are any; commands of others get the LOADING error
    /// meanwhile.
    pub fn load(&self) -> Result<(), StartError> {
        startup::load(self.shared())?;
        load::start_is_over(&mut self.shared().lock());
        self.follow();
        Ok(())
    }

    /// `replicaof`: only now, since a copy takes the place of what was loaded.
    fn follow(&self) {
        let mut state = self.shared().lock();
        if let Some((host, port)) = state.config.settings().replicaof.clone() {
            following::start(&mut state, Address { host, port });
        }
    }

    /// The state, to keep all data; an error while a slow script keeps it, and while half of the
    /// data is there, as commands get one.
    fn lock_whole(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock_all()?;
        match &state.persistence.loading {
            Some(loading) if !loading.is_async => Err(Error::Loading),
            _ => Ok(state),
        }
    }

    /// The state, to do something with all data; an error while a slow script keeps it, as
    /// commands get one.
    fn lock_all(&self) -> Result<MutexGuard<'_, State>, Error> {
        self.shared().lock_unless_busy().ok_or_else(|| self.shared().running.busy())
    }

    /// Saves the data to the file that `dir` and `dbfilename` name; others wait. While a script
    /// runs for longer than `busy-reply-threshold` it is refused, as a command would be.
    pub fn save(&self) -> io::Result<()> {
        let mut state = self.lock_whole().map_err(busy)?;
        match save::now(&mut state) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("the snapshot could not be written")),
            Err(_) => Err(io::Error::other("a snapshot is being saved")),
        }
    }

    /// All data as it is now, as the bytes of an RDB file. Others go on meanwhile. It is refused,
    /// or given up, while a script runs for longer than `busy-reply-threshold`.
    pub fn snapshot(&self) -> io::Result<Vec<u8>> {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let output = Box::new(RdbOutput::new(MemorySink(bytes.clone()), Vec::new()));
        let (sender, receiver) = channel();
        let over = Box::new(move |_: &mut _, outcome| drop(sender.send(outcome)));
        let job = Job { output, wanted: Wanted::default(), over };
        snapshot::begin(&mut *self.lock_whole().map_err(busy)?, job)?;
        loop {
            match receiver.recv_timeout(BUSY_LOOK) {
                Ok(Outcome::Done) => return Ok(std::mem::take(&mut *bytes.lock())),
                Ok(Outcome::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) if !self.shared().running.is_slow() => {}
                Err(RecvTimeoutError::Timeout) => return Err(busy(self.shared().running.busy())),
                _ => return Err(io::Error::other("the server is ending")),
            }
        }
    }

    /// Replaces all data by that of [`Server::snapshot`], or of any other RDB file. Clients stay
    /// connected; replicas come again for a copy, and the append-only file is written anew.
    /// Nothing has changed when the bytes are damaged, when a library is refused, or while a
    /// script runs for longer than `busy-reply-threshold`.
    pub fn restore(&self, rdb: &[u8]) -> Result<(), LoadError> {
        let (rules, databases) = {
            let state = self.lock_all().map_err(LoadError::Busy)?;
            (load::rules(&state), state.db.databases())
        };
        let mut whole = Whole::read(rdb, rules, databases)?;
        let mut state = self.lock_all().map_err(LoadError::Busy)?;
        let now_ms = state.clock.now_ms();
        state.db.set_now_ms(now_ms);
        replace_libraries(&mut state, &whole.take_libraries()).map_err(LoadError::Library)?;
        state.db.flush(None, true);
        let how =
            How { replaces: true, keeps_expired: false, left_out: |_, _, _| {}, load_library };
        let loaded = whole.put_in(&mut state, how);
        settle::command_over(&mut state);
        // No record says what came: the file is written anew, and replicas begin anew.
        state.db.effects.records.clear();
        append_only::begin_anew(&mut state);
        replicas::disconnect_all(&mut state);
        following::forget_history(&mut state);
        settle::turn_over(&mut state);
        loaded.map(drop)
    }
}

fn busy(error: Error) -> io::Error {
    io::Error::other(shown(error.text()))
}
