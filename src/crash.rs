//! A report when the process crashes: `crash-log-enabled`.
//!
//! A panic and a fatal signal write the same report to the log: version, thread, the last commands
//! by name alone, and what to do with it. Signals and panics belong to the process, not to one
//! server, so this room is global; only the binary arms it.
//!
//! Invariant: between a fatal signal and the end only calls are made that are safe in a signal
//! handler (open, write, prctl, kill), from memory that was laid out before. No argument of a
//! command and no text that is made of one is written: they may be secrets.
#![allow(unsafe_code)]

use crate::stats::recent::{Recent, RECENT};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::Arc;

/// What a report says that is known before.
struct Known {
    version: String,
    recent: Arc<Recent>,
    /// Names of commands, by the numbers that `recent` has.
    names: Vec<&'static str>,
}

/// Set once, never freed.
static KNOWN: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut());
/// The log's file; null is standard output. What was here before is never freed either: a signal
/// may come while it is read.
static FILE: AtomicPtr<CString> = AtomicPtr::new(std::ptr::null_mut());
static ENABLED: AtomicBool = AtomicBool::new(true);

/// Signals that end a process which did something it must not.
const FATAL: [libc::c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];

/// Reports crashes from here on to the file `log`, or to standard output.
pub fn arm(log: Option<&Path>, redis_version: &str, recent: Arc<Recent>, names: Vec<&'static str>) {
    let version = format!("Redouble {} (Redis {redis_version})", env!("CARGO_PKG_VERSION"));
    if let Some(log) = log {
        move_to(log);
    }
    let laid_out = Box::new(Known { version, recent, names });
    KNOWN.store(Box::into_raw(laid_out), Ordering::Release);
    std::panic::set_hook(Box::new(|panic| {
        if let Some(known) = known().filter(|_| ENABLED.load(Ordering::Relaxed)) {
            report_panic(known, panic);
        }
    }));
    for signal in FATAL {
        // SAFETY: a zeroed `sigaction` is a valid one, and the handler lives as long as the
        // process. The alternate stack is that of Rust's own threads.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fatal_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Reports go to the file `log` from here on.
pub fn move_to(log: &Path) {
    if let Ok(path) = CString::new(log.as_os_str().as_bytes()) {
        FILE.store(Box::into_raw(Box::new(path)), Ordering::Release);
    }
}

/// Switches reports on or off.
pub fn enable(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

fn known() -> Option<&'static Known> {
    // SAFETY: null, or from `arm`, and never freed.
    unsafe { KNOWN.load(Ordering::Acquire).as_ref() }
}

fn file() -> Option<&'static CString> {
    // SAFETY: null, or from `move_to`, and never freed.
    unsafe { FILE.load(Ordering::Acquire).as_ref() }
}

fn report_panic(known: &Known, panic: &std::panic::PanicHookInfo<'_>) {
    let mut report = Report::open(file());
    report.head(known);
    report.text("panicked");
    if let Some(place) = panic.location() {
        report.text(" at ").text(place.file()).text(":").number(u64::from(place.line()));
    }
    // Only what the program itself says: a text that was made may hold what a client sent.
    if let Some(constant) = panic.payload().downcast_ref::<&'static str>() {
        report.text(": ").text(constant);
    }
    report.text("\n\n------ STACK TRACE ------\n");
    report.text(&std::backtrace::Backtrace::force_capture().to_string());
    report.tail(known);
}

extern "C" fn on_fatal_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _: *mut libc::c_void,
) {
    if let Some(known) = known().filter(|_| ENABLED.load(Ordering::Relaxed)) {
        // SAFETY: the system passes a valid `siginfo_t`.
        let code = unsafe { info.as_ref() }.map_or(0, |info| info.si_code);
        let mut report = Report::open(file());
        report.head(known);
        report.text("crashed by signal: ").number(signal.unsigned_abs().into());
        report.text(", si_code: ").text(if code < 0 { "-" } else { "" });
        report.number(code.unsigned_abs().into()).text("\n");
        report.tail(known);
    }
    // SAFETY: numbers only. The default action is in force again, and ends the process as soon as
    // the handler returns and the signal is no longer held back.
    unsafe {
        libc::kill(libc::getpid(), signal);
    }
}

/// A report while it is written: bytes gather in a small buffer on the stack.
struct Report {
    fd: libc::c_int,
    bytes: [u8; 256],
    len: usize,
}

impl Report {
    fn open(file: Option<&CString>) -> Report {
        let fd = file.map_or(1, |path| {
            let flags = libc::O_APPEND | libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
            // SAFETY: the path is a C string that lives until the call returns.
            unsafe { libc::open(path.as_ptr(), flags, 0o644) }
        });
        Report { fd, bytes: [0; 256], len: 0 }
    }

    fn head(&mut self, known: &Known) {
        self.text("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
        self.number(u64::from(std::process::id())).text(":M # ").text(&known.version).text(" ");
    }

    fn tail(&mut self, known: &Known) {
        let mut name = [0u8; 17];
        // SAFETY: the call fills in at most 16 bytes.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0);
        }
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        self.text("\n------ THREAD ------\n")
            .text(std::str::from_utf8(&name[..len]).unwrap_or("?"));
        self.text("\n\n------ LAST COMMANDS, the latest first, without their arguments ------\n");
        for back in 0..RECENT {
            if let Some(name) = known.recent.back(back).and_then(|id| known.names.get(id)) {
                self.text(name).text("\n");
            }
        }
        self.text("\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n");
        self.text("       Please report the crash as an issue of the Redouble project, with all\n");
        self.text(
            "  lines between START and END and, if you can, what makes it happen. There are\n",
        );
        self.text("  no keys, values or passwords in them.\n\n");
        self.flush();
    }

    fn text(&mut self, text: &str) -> &mut Report {
        for byte in text.bytes() {
            if self.len == self.bytes.len() {
                self.flush();
            }
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        self
    }

    fn number(&mut self, number: u64) -> &mut Report {
        let mut digits = [0u8; 20];
        let (mut at, mut rest) = (digits.len(), number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[at..]).unwrap_or("?"))
    }

    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: `rest` lives until the call returns.
            let written = unsafe { libc::write(self.fd, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                _ => break,
            }
        }
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_version_thread_and_commands() {
        let path = std::env::temp_dir().join(format!("redouble-crash-{}", std::process::id()));
        let recent = Arc::new(Recent::default());
        for id in [0, 1, 1, 0] {
            recent.note(id);
        }
        let file = CString::new(path.as_os_str().as_bytes()).ok();
        let known = Known { version: "Redouble x".to_string(), recent, names: vec!["get", "set"] };
        let mut report = Report::open(file.as_ref());
        report.head(&known);
        report.number(u64::MAX).text("\n");
        report.tail(&known);
        let text = std::fs::read_to_string(&path).expect("a report");
        std::fs::remove_file(&path).expect("removed");
        let head = format!("{}:M # Redouble x 18446744073709551615\n", std::process::id());
        assert!(text.contains(&head), "{text}");
        let last = "------ LAST COMMANDS, the latest first, without their arguments ------\n\
                    get\nset\nset\nget\n\n=== REDIS BUG REPORT END.";
        assert!(text.contains(last), "{text}");
        assert!(text.contains("------ THREAD ------\n"), "{text}");
    }
}
