//! Where snapshots go: a file that takes the place of another one, or memory.

use super::rdb_output::Sink;
use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::{dir_of, Disk, DiskFile, Open, Pace};
use crate::persistence::Order;
use crate::server_log::Logger;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// A file that appears whole or not at all: written under another name, forced to disk, renamed.
pub struct FileSink {
    /// Where it is.
    pub disk: Arc<dyn Disk>,
    /// The name that it gets.
    pub path: PathBuf,
    /// The name that it has until then; nobody else's at the same time.
    pub temporary: PathBuf,
    /// Which of the saves under this name it is.
    pub order: Order,
    /// `rdb-save-incremental-fsync`
    pub pace: Pace,
    /// Hears of what goes wrong.
    pub logger: Arc<Logger>,
    /// The file, while it is open.
    pub file: Option<DiskFile>,
    /// How long it took to remove the file again (ns); 0 when it was not removed.
    pub removal_ns: Arc<AtomicU64>,
}

impl FileSink {
    fn names(&self) -> (String, String) {
        let name = |path: &PathBuf| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        (name(&self.temporary), name(&self.path))
    }

    fn written(&self, what: &str, went: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &went {
            self.logger.warning(format!(
                "Write error while saving DB to the disk({what}): {}",
                error_text(error)
            ));
        }
        went
    }
}

impl Sink for FileSink {
    fn open(&mut self) -> io::Result<()> {
        match self.disk.open(&self.temporary, Open::Create) {
            Ok(file) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => {
                self.logger.warning(format!(
                    "Failed opening the temp RDB file {} (in server root dir {}) for saving: {}",
                    self.names().0,
                    dir_of(&self.path).display(),
                    error_text(&error)
                ));
                Err(error)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let went = self.pace.write(file, bytes);
        self.written("rdbSaveRio", went)
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        self.written("fsync", file.sync_data())?;
        drop(file);
        let dir = dir_of(&self.path);
        let (from, to) = self.names();
        self.order.place(|| {
            self.disk.rename(&self.temporary, &self.path).inspect_err(|error| {
                self.logger.warning(format!(
                    "Error moving temp DB file {from} on the final destination {to} (in server \
                     root dir {}): {}",
                    dir.display(),
                    error_text(error)
                ));
            })
        })?;
        self.disk.sync_dir(&dir).inspect_err(|error| {
            let text = error_text(error);
            self.logger.warning(format!("Failed to fsync directory while saving DB: {text}"));
        })
    }

    fn discard(&mut self) {
        self.file = None;
        let watch = Stopwatch::start();
        let _ = self.disk.remove(&self.temporary);
        self.removal_ns.store(watch.elapsed_ns(), Ordering::Relaxed);
    }

    fn purpose(&self) -> Option<&'static str> {
        Some("Saving")
    }
}

/// Bytes in memory; who made it keeps the other half.
pub struct MemorySink(pub Arc<Mutex<Vec<u8>>>);

impl Sink for MemorySink {
    fn open(&mut self) -> io::Result<()> {
        self.0.lock().clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        // It may live for long.
        self.0.lock().shrink_to_fit();
        Ok(())
    }

    fn discard(&mut self) {
        self.0.lock().clear();
    }
}
