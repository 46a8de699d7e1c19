//! A disk that fails when it is told to: for tests of what must survive it.
//!
//! Invariant: a call that fails has done nothing, except a short write, which has done a part. All
//! other calls reach the system's file system.

use super::{Backing, Disk, DiskFile, Open, RealDisk};
use parking_lot::Mutex;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kinds of calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Opening or making a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Forcing contents to disk.
    Sync,
    /// Forcing the names of a directory to disk.
    SyncDir,
    /// Cutting off.
    Truncate,
    /// Renaming.
    Rename,
    /// Removing a file.
    Remove,
    /// Making a directory.
    MakeDir,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 9] = [
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::SyncDir,
        Call::Truncate,
        Call::Rename,
        Call::Remove,
        Call::MakeDir,
    ];
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Io,
    /// ENOSPC.
    NoSpace,
    /// A write takes half of what it is given; any other call fails with EIO.
    Short,
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Fault::Io | Fault::Short => libc::EIO,
            Fault::NoSpace => libc::ENOSPC,
        })
    }
}

/// What fails, and how.
#[derive(Debug)]
struct Failing {
    call: Call,
    /// Which call of the kind; `None` for all of them.
    number: Option<u64>,
    /// Only for a file whose name ends so.
    name: String,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Plan {
    /// Calls so far, by kind.
    seen: [u64; Call::ALL.len()],
    failing: Vec<Failing>,
}

/// The system's file system, with faults. Clones share their plan.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Plan>>);

impl FaultyDisk {
    /// Lets the call number `number` of a kind fail, counted from 1 and from now on.
    pub fn fail(&self, call: Call, number: u64, fault: Fault) {
        let mut plan = self.0.lock();
        let number = Some(plan.seen[call as usize] + number);
        plan.failing.push(Failing { call, number, name: String::new(), fault });
    }

    /// Lets all calls of a kind fail, until [`FaultyDisk::cure`].
    pub fn fail_all(&self, call: Call, fault: Fault) {
        self.fail_all_of("", call, fault);
    }

    /// The same for files whose name ends with `name`: that which they had when they were opened.
    pub fn fail_all_of(&self, name: &str, call: Call, fault: Fault) {
        let name = name.to_string();
        self.0.lock().failing.push(Failing { call, number: None, name, fault });
    }

    /// Nothing fails any more.
    pub fn cure(&self) {
        self.0.lock().failing.clear();
    }

    /// How often calls of a kind have come.
    pub fn calls(&self, call: Call) -> u64 {
        self.0.lock().seen[call as usize]
    }

    fn fault(&self, call: Call, path: &Path) -> Option<Fault> {
        let mut plan = self.0.lock();
        plan.seen[call as usize] += 1;
        let seen = plan.seen[call as usize];
        let is_hit = |failing: &&Failing| {
            failing.call == call
                && failing.number.is_none_or(|number| number == seen)
                && path.to_string_lossy().ends_with(&failing.name)
        };
        plan.failing.iter().find(is_hit).map(|failing| failing.fault)
    }

    fn pass(&self, call: Call, path: &Path) -> io::Result<()> {
        self.fault(call, path).map_or(Ok(()), |fault| Err(fault.error()))
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<DiskFile> {
        self.pass(Call::Open, path)?;
        let file = RealDisk.open(path, how)?;
        Ok(DiskFile::new(FaultyFile { file, path: path.to_path_buf(), disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Call::Rename, from)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::Remove, path)?;
        RealDisk.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::MakeDir, path)?;
        RealDisk.make_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::SyncDir, path)?;
        RealDisk.sync_dir(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: DiskFile,
    path: PathBuf,
    disk: FaultyDisk,
}

impl Backing for FaultyFile {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.disk.pass(Call::Read, &self.path)?;
        self.file.0.read(into)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.disk.fault(Call::Write, &self.path) {
            None => self.file.0.write(bytes),
            Some(Fault::Short) if bytes.len() > 1 => self.file.0.write(&bytes[..bytes.len() / 2]),
            Some(fault) => Err(fault.error()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.pass(Call::Sync, &self.path)?;
        self.file.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.pass(Call::Truncate, &self.path)?;
        self.file.0.truncate(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.0.size()
    }
}
