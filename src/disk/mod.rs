//! The disk as the server sees it: files, directories, and what may go wrong with them.
//!
//! Invariant: whatever holds data that must survive (snapshots, the append-only file and its
//! manifest) is opened, written, forced to disk, renamed and removed through a [`Disk`], so that
//! tests can let every single call fail ([`FaultyDisk`]). The configuration file and the log for
//! people are not here.
//!
//! A file that replaces another one appears whole or not at all: written under another name,
//! forced to disk, renamed, and its directory forced to disk ([`replace`]).

mod faulty;

pub use faulty::{Call, Fault, FaultyDisk};

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be read.
    Read,
    /// To be written from the start; what was there is gone.
    Create,
    /// To be written behind what is there; made if it is not there.
    Append,
    /// To be read and cut, as it is.
    Repair,
}

/// Where files are.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<DiskFile>;

    /// Gives a file another name; what had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory; it may be there already.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Names of what is in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Forces the names in a directory to disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The length of a file in bytes; `None` when there is none.
    fn size_of(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(about) => Ok(Some(about.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What an open file can do. All calls may come from several threads at once: one may force to
/// disk what another goes on writing.
pub trait Backing: fmt::Debug + Send + Sync {
    /// Reads where the file stands.
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;
    /// Writes where the file stands; may take less than all.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Forces the contents to disk.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file off.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// An open file; clones are the same one.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<dyn Backing>);

impl DiskFile {
    /// Makes a file of what stands behind it.
    pub fn new(backing: impl Backing + 'static) -> DiskFile {
        DiskFile(Arc::new(backing))
    }

    /// Writes where the file stands; may take less than all.
    pub fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Forces the contents to disk.
    pub fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Cuts the file off.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    /// Its length in bytes.
    pub fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl Read for DiskFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Nothing is kept back here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file to read that is closed on a thread of its own: to close the last descriptor of a long
/// file that has no name any more is to free all of it, and takes its time.
#[derive(Debug)]
pub struct ApartFile(Option<DiskFile>);

impl From<DiskFile> for ApartFile {
    fn from(file: DiskFile) -> ApartFile {
        ApartFile(Some(file))
    }
}

impl Read for ApartFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |file| file.read(into))
    }
}

impl Drop for ApartFile {
    fn drop(&mut self) {
        let file = self.0.take();
        // Where there is no thread to be had it is closed here.
        let thread = std::thread::Builder::new().name("redouble-close".into());
        let _ = thread.spawn(move || drop(file));
    }
}

/// Bytes after which a file that is written at a pace goes to the disk.
const PACE_BYTES: usize = 4 << 20;

/// How a long file is written: all at the end to the disk, or a piece at a time, so that the last
/// sync is short.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    syncs_often: bool,
    unsynced_bytes: usize,
}

impl Pace {
    /// Piece by piece if `syncs_often`.
    pub fn new(syncs_often: bool) -> Pace {
        Pace { syncs_often, unsynced_bytes: 0 }
    }

    /// Writes all of `bytes`, and forces what there is to disk when it is time.
    pub fn write(&mut self, file: &mut DiskFile, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        self.unsynced_bytes += bytes.len();
        if !self.syncs_often || self.unsynced_bytes < PACE_BYTES {
            return Ok(());
        }
        self.unsynced_bytes = 0;
        file.sync_data()
    }
}

/// The system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<DiskFile> {
        let mut options = fs::OpenOptions::new();
        match how {
            Open::Read => options.read(true),
            Open::Create => options.write(true).create(true).truncate(true),
            Open::Append => options.append(true).create(true),
            Open::Repair => options.read(true).write(true),
        };
        options.open(path).map(DiskFile::new)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened like a file, and its names need no forcing.
        if cfg!(unix) {
            fs::File::open(path)?.sync_all()?;
        }
        Ok(())
    }
}

impl Backing for fs::File {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, into)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|about| about.len())
    }
}

/// The directory that a file is in.
pub fn dir_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Everything in a file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open(path, Open::Read)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a small file under the name `temporary` and lets it take the place of `path`, which is
/// whole at every moment, after a crash too. The temporary file does not stay behind a failure.
pub fn replace(disk: &dyn Disk, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let placed = (|| {
        let mut file = disk.open(temporary, Open::Create)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        disk.rename(temporary, path)
    })();
    if placed.is_err() {
        let _ = disk.remove(temporary);
        return placed;
    }
    disk.sync_dir(&dir_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of a test's own, which goes with it.
    pub(super) struct Folder(pub PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Folder {
            let name = format!("redouble-disk-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).expect("the directory of temporary files can be written");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_written_appended_cut_and_read() {
        let folder = Folder::new("file");
        let path = folder.0.join("a");
        let disk = RealDisk;
        assert_eq!(disk.size_of(&path).unwrap(), None);
        disk.open(&path, Open::Create).unwrap().write_all(b"one").unwrap();
        let mut file = disk.open(&path, Open::Append).unwrap();
        file.write_all(b"two").unwrap();
        file.sync_data().unwrap();
        file.truncate(4).unwrap();
        file.write_all(b"!").unwrap();
        let mut text = String::new();
        disk.open(&path, Open::Read).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "onet!");
        assert_eq!(disk.size_of(&path).unwrap(), Some(5));
        replace(&disk, &path, &folder.0.join("b"), b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(disk.list(&folder.0).unwrap(), ["a"]);
        disk.remove(&path).unwrap();
        assert_eq!(disk.list(&folder.0).unwrap().len(), 0);
    }

    #[test]
    fn a_failed_replacement_changes_nothing() {
        for call in [Call::Open, Call::Write, Call::Sync, Call::Rename] {
            for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
                let folder = Folder::new(&format!("{call:?}-{fault:?}"));
                let path = folder.0.join("a");
                fs::write(&path, b"old").unwrap();
                let disk = FaultyDisk::default();
                disk.fail(call, 1, fault);
                let placed = replace(&disk, &path, &folder.0.join("b"), b"new");
                // A short write is not an error: the rest is written by a further call.
                let cured = fault == Fault::Short && call == Call::Write;
                assert_eq!(placed.is_ok(), cured, "{call:?} {fault:?}");
                let expected: &[u8] = if cured { b"new" } else { b"old" };
                assert_eq!(fs::read(&path).unwrap(), expected, "{call:?} {fault:?}");
                assert_eq!(disk.list(&folder.0).unwrap(), ["a"]);
            }
        }
    }
}
