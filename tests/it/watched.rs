//! A disk of which a test hears every call, and may keep it waiting.

use redouble::disk::{Backing, Call, Disk, DiskFile, Open, RealDisk};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Who hears of calls; a rename by the name before it.
pub trait Watcher: Clone + Debug + Send + Sync + 'static {
    fn before(&self, _: Call, _: &Path) {}
    fn after(&self, _: Call, _: &Path) {}
    /// A file is closed that was opened so.
    fn closes(&self, _: Open, _: &Path) {}
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Watched<W>(pub W);

fn told<W: Watcher, T>(to: &W, call: Call, path: &Path, work: impl FnOnce() -> T) -> T {
    to.before(call, path);
    let done = work();
    to.after(call, path);
    done
}

impl<W: Watcher> Disk for Watched<W> {
    fn open(&self, path: &Path, how: Open) -> io::Result<DiskFile> {
        let file = told(&self.0, Call::Open, path, || RealDisk.open(path, how))?;
        let (path, watcher) = (path.to_owned(), self.0.clone());
        Ok(DiskFile::new(WatchedFile { file, path, how, watcher }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        told(&self.0, Call::Rename, from, || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        told(&self.0, Call::Remove, path, || RealDisk.remove(path))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        told(&self.0, Call::MakeDir, path, || RealDisk.make_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        told(&self.0, Call::SyncDir, path, || RealDisk.sync_dir(path))
    }
}

#[derive(Debug)]
struct WatchedFile<W: Watcher> {
    file: DiskFile,
    path: PathBuf,
    how: Open,
    watcher: W,
}

impl<W: Watcher> Backing for WatchedFile<W> {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        told(&self.watcher, Call::Read, &self.path, || self.file.clone().read(into))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        told(&self.watcher, Call::Write, &self.path, || self.file.write_some(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        told(&self.watcher, Call::Sync, &self.path, || self.file.sync_data())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        told(&self.watcher, Call::Truncate, &self.path, || self.file.truncate(len))
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl<W: Watcher> Drop for WatchedFile<W> {
    fn drop(&mut self) {
        self.watcher.closes(self.how, &self.path);
    }
}
