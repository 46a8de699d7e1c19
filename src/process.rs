//! What a process asks of its operating system: going to the background, its title, limits,
//! local time, the system's log, the time and memory it has used.
//!
//! One of the few rooms with `unsafe`: each block is one call of the C library with arguments
//! that live until it returns, except for the title, whose contract stands at `Title`.
#![allow(unsafe_code)]

use crate::config::{LogLevel, OomScore};
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

/// A time of day in the local zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LocalTime {
    pub year: i32,
    /// 0 is January.
    pub month0: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// Seconds east of Greenwich.
    pub east_s: i64,
}

/// The local time at `unix_s`, seconds since 1970.
pub fn local_time(unix_s: i64) -> LocalTime {
    let seconds = unix_s as libc::time_t;
    // SAFETY: a zeroed `tm` is a valid one, and both pointers live until the call returns.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut tm).is_null() {
            return LocalTime::default();
        }
        tm
    };
    LocalTime {
        year: tm.tm_year + 1900,
        month0: tm.tm_mon as u8,
        day: tm.tm_mday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
        east_s: tm.tm_gmtoff,
    }
}

/// Asks the kernel to give this process no transparent huge pages from here on, or to give them
/// again. With them every started region of the allocator is 2 MiB in memory.
pub fn forbid_huge_pages(forbidden: bool) {
    #[cfg(target_os = "linux")]
    // SAFETY: numbers only; a kernel that does not know the request refuses it.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(forbidden), 0, 0, 0);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = forbidden;
}

/// Goes on in a child without a terminal, while the caller's process exits with 0. Must be called
/// before any thread is started: a child has only the thread that forks.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: no arguments; the contract above rules out other threads.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    // SAFETY: no arguments.
    unsafe { libc::setsid() };
    // SAFETY: the path is a C string; the descriptors are numbers.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null != -1 {
            for standard in 0..=2 {
                libc::dup2(null, standard);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Ends this process as a bad access to memory would.
pub fn fault() -> ! {
    // SAFETY: takes a number.
    unsafe { libc::raise(libc::SIGSEGV) };
    std::process::abort()
}

/// Stops this process until somebody lets it go on.
pub fn stop_self() {
    // SAFETY: takes a number.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Raises the limit of open files towards `wanted`; gives the limit that holds then.
pub fn raise_open_files(wanted: u64) -> u64 {
    open_files(wanted).granted
}

/// What came of raising the limit of open files.
#[derive(Debug)]
pub struct OpenFiles {
    /// The limit that holds now.
    pub granted: u64,
    /// Why it is not what was wanted.
    pub refusal: Option<io::Error>,
}

/// Raises the limit of open files towards `wanted`.
// The width of a limit is the system's.
#[allow(clippy::unnecessary_cast)]
pub fn open_files(wanted: u64) -> OpenFiles {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer lives until the call returns.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == -1 {
        return OpenFiles { granted: 1024, refusal: Some(io::Error::last_os_error()) };
    }
    let before = limit.rlim_cur as u64;
    let mut refusal = None;
    if before >= wanted {
        return OpenFiles { granted: before, refusal };
    }
    // A process without privileges gets as far as the hard limit.
    for hard in [wanted.max(limit.rlim_max as u64), limit.rlim_max as u64] {
        let raised = libc::rlimit {
            rlim_cur: wanted.min(hard) as libc::rlim_t,
            rlim_max: hard as libc::rlim_t,
        };
        // SAFETY: the pointer lives until the call returns.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return OpenFiles { granted: wanted.min(hard), refusal };
        }
        refusal.get_or_insert_with(io::Error::last_os_error);
    }
    OpenFiles { granted: before, refusal }
}

/// Sets the permission bits that new files lack; gives those before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: takes a number and cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) as u32 }
}

/// The number of a group of users.
fn group_id(name: &str) -> Option<u32> {
    /// More than any group's entry takes that is not a mistake.
    const ENTRY_BYTES: usize = 64 * 1024;
    let name = CString::new(name).ok()?;
    let mut buffer: Vec<libc::c_char> = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: a zeroed `group` is a valid one; all pointers live until the call returns, the
    // length is the buffer's, and `found` points to `entry` or nowhere.
    unsafe {
        let mut entry: libc::group = std::mem::zeroed();
        let buffer = (buffer.as_mut_ptr(), buffer.len());
        libc::getgrnam_r(name.as_ptr(), &mut entry, buffer.0, buffer.1, &mut found);
        (!found.is_null()).then_some(entry.gr_gid)
    }
}

/// The file at `path` belongs to a group from here on.
pub fn give_to_group(path: &Path, group: &str) -> io::Result<()> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no group '{group}'"));
    let id = group_id(group).ok_or_else(unknown)?;
    std::os::unix::fs::chown(path, None, Some(id))
}

/// The kernel's score for killing this process when memory runs out; `None` where there is none.
pub fn oom_score() -> Option<i64> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Sets that score, which the kernel limits to -1000 to 1000.
pub fn set_oom_score(score: i64) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.clamp(-1000, 1000).to_string())
}

/// Sets the score as directives say. `base` is the score before the first change, while one is in
/// force.
pub fn follow_oom_score(wanted: OomScore, base: &mut Option<i64>) -> io::Result<()> {
    let (score, next_base) = match (wanted, *base) {
        (OomScore::Untouched, None) => return Ok(()),
        (OomScore::Untouched, Some(before)) => (before, None),
        (_, known) => {
            let before = known.or_else(oom_score).ok_or(io::ErrorKind::Unsupported)?;
            let score = match wanted {
                OomScore::Relative(by) => before + by,
                OomScore::Absolute(score) => score,
                OomScore::Untouched => before,
            };
            (score, Some(before))
        }
    };
    set_oom_score(score)?;
    *base = next_base;
    Ok(())
}

/// Processor time used so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct CpuTime {
    pub system_s: f64,
    pub user_s: f64,
}

/// Whose processor time.
#[derive(Clone, Copy, Debug)]
pub enum CpuOf {
    /// All threads of this process.
    Process,
    /// Its children that have ended.
    Children,
    /// The calling thread.
    Thread,
}

/// Processor time used so far.
pub fn cpu_time(of: CpuOf) -> CpuTime {
    let who = match of {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
        #[cfg(target_os = "linux")]
        CpuOf::Thread => libc::RUSAGE_THREAD,
        #[cfg(not(target_os = "linux"))]
        CpuOf::Thread => libc::RUSAGE_SELF,
    };
    // SAFETY: a zeroed `rusage` is a valid one, and the pointer lives until the call returns.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    CpuTime { system_s: seconds(usage.ru_stime), user_s: seconds(usage.ru_utime) }
}

/// Bytes of this process in memory; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * page_bytes()
}

/// Bytes of memory that the machine has; 0 where the system does not say.
pub fn total_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn page_bytes() -> u64 {
    // SAFETY: takes a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Name, release and machine of the system, as INFO's `os` gives them.
pub fn system_name() -> String {
    // SAFETY: a zeroed `utsname` is a valid one; the call fills in C strings.
    unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        if libc::uname(&mut names) == -1 {
            return std::env::consts::OS.to_string();
        }
        let text =
            |chars: &[libc::c_char]| CStr::from_ptr(chars.as_ptr()).to_string_lossy().into_owned();
        format!("{} {} {}", text(&names.sysname), text(&names.release), text(&names.machine))
    }
}

/// A connection to the system's log.
pub struct Syslog {
    /// The C library keeps a pointer to it, so it lives as long as the process.
    _ident: &'static CStr,
}

impl Syslog {
    /// Opens the system's log under a name, with a facility's number.
    pub fn open(ident: &str, facility: u32) -> Self {
        let ident: &'static CStr = Box::leak(without_nul(ident).into_boxed_c_str());
        let options = libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT;
        // SAFETY: `ident` is never freed.
        unsafe { libc::openlog(ident.as_ptr(), options, facility as libc::c_int) };
        Syslog { _ident: ident }
    }

    /// Writes a line.
    pub fn write(&self, level: LogLevel, text: &str) {
        let priority = match level {
            LogLevel::Debug => libc::LOG_DEBUG,
            LogLevel::Verbose => libc::LOG_INFO,
            LogLevel::Notice => libc::LOG_NOTICE,
            LogLevel::Warning | LogLevel::Nothing => libc::LOG_WARNING,
        };
        let text = without_nul(text);
        // SAFETY: both are C strings, and the format takes exactly one.
        unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
    }
}

fn without_nul(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// The memory that `/proc/<pid>/cmdline` shows: the arguments and, after them, the environment.
///
/// Contract: nobody else uses that memory. `claim` moves the environment away from it; after it
/// `std::env::args` gives nonsense, so the program must have read its arguments before.
#[derive(Debug)]
pub struct Title {
    start: usize,
    bytes: usize,
}

impl Title {
    /// Takes the memory over. Must be called before any thread is started, because it rewrites
    /// the environment. `None` where the system does not tell where the memory is.
    pub fn claim() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, a name in brackets, may hold blanks: count from behind it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<usize> =
            fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let (&arguments, &arguments_end) = (fields.get(45)?, fields.get(46)?);
        let (&environment, &environment_end) = (fields.get(47)?, fields.get(48)?);
        let adjoining = arguments_end == environment && environment_end > environment;
        let end = if adjoining { environment_end } else { arguments_end };
        if arguments == 0 || end <= arguments + 1 {
            return None;
        }
        for (name, value) in std::env::vars_os() {
            // Setting a variable copies it to the heap.
            std::env::set_var(name, value);
        }
        Some(Title { start: arguments, bytes: end - arguments })
    }

    /// Shows `text`, as much of it as there is room for.
    pub fn show(&self, text: &str) {
        let shown = &text.as_bytes()[..text.len().min(self.bytes - 1)];
        // SAFETY: the kernel put arguments and environment at `start`, `bytes` long and writable;
        // by the contract nothing else refers to it. The last byte stays 0.
        unsafe {
            let memory = std::slice::from_raw_parts_mut(self.start as *mut u8, self.bytes);
            memory.fill(0);
            memory[..shown.len()].copy_from_slice(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_numbers() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no-such-group"), None);
        assert_eq!(group_id("with\0nul"), None);
    }

    #[test]
    fn what_the_system_says_is_plausible() {
        assert!(resident_bytes() > 1 << 20);
        assert!(total_memory_bytes() > resident_bytes());
        assert!(system_name().starts_with("Linux ") || !cfg!(target_os = "linux"));
        let used = cpu_time(CpuOf::Process);
        assert!(used.user_s + used.system_s > 0.0);
        let thread = cpu_time(CpuOf::Thread);
        assert!(thread.user_s <= used.user_s + 1.0);
    }

    #[test]
    fn limits_are_only_raised() {
        let now = raise_open_files(1);
        assert!(now >= 1);
        assert_eq!(raise_open_files(now), now);
        assert!(open_files(now).refusal.is_none());
        let most = open_files(u64::MAX / 2);
        assert!(most.granted >= now && most.refusal.is_some(), "{most:?}");
    }

    #[test]
    fn local_time_is_within_a_day_of_the_meridian() {
        let at = local_time(1_000_728_000);
        assert_eq!((at.year, at.month0, at.day), (2001, 8, 17));
        assert!(at.hour < 24 && at.minute < 60 && at.second < 61);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_score_can_be_raised_and_read() {
        let before = oom_score().expect("a score");
        set_oom_score(before).expect("the same score is always allowed");
        assert_eq!(oom_score(), Some(before));
    }

    #[test]
    fn nul_bytes_do_not_reach_c() {
        assert_eq!(without_nul("a\0b").as_bytes(), b"a b");
    }
}
