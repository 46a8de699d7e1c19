//! `--check-system`: whether this machine suits a server.
//!
//! Only what a server of ours suffers from is looked at. Nothing forks here, so that the rules for
//! overcommitting memory do not matter; and huge pages are declined by the process itself.

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::process::{self, CpuOf};
use std::path::Path;

/// What a check has found out: nothing, or what is wrong and what to do.
type Verdict = Option<String>;

/// How long the clock is read, each time.
const CLOCK_TRIAL_NS: u64 = 50_000_000;
/// The kernel counts by ticks, and a busy machine blurs the result of a single trial.
const CLOCK_TRIALS: usize = 3;
/// More of the time in the kernel than this share, in percent, means that each reading goes there.
const KERNEL_PERCENT: f64 = 10.0;
const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0";
/// Connections that wait to be accepted: the default of `tcp-backlog`.
const BACKLOG: u32 = 511;

/// All checks: name and verdict. `own_files` are those that are open besides those of clients.
pub fn run(own_files: u64) -> [(&'static str, Verdict); 4] {
    let current = read(&Path::new(CLOCKS).join("current_clocksource"));
    let available = read(&Path::new(CLOCKS).join("available_clocksource"));
    let trials = (0..CLOCK_TRIALS).map(|_| kernel_percent());
    let percent = trials.fold(f64::INFINITY, f64::min);
    let wanted = Config::default().settings().maxclients as u64 + own_files;
    let backlog = read(Path::new("/proc/sys/net/core/somaxconn")).parse().ok();
    [
        ("slow-clocksource", slow_clock(percent, &current, &available)),
        ("xen-clocksource", xen_clock(&current)),
        ("open-files", few_files(process::raise_open_files(wanted), wanted)),
        ("somaxconn", short_backlog(backlog)),
    ]
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// How much of the time that reading the clock takes is spent in the kernel.
fn kernel_percent() -> f64 {
    let (before, watch) = (process::cpu_time(CpuOf::Thread), Stopwatch::start());
    while watch.elapsed_ns() < CLOCK_TRIAL_NS {}
    let after = process::cpu_time(CpuOf::Thread);
    let (system_s, user_s) = (after.system_s - before.system_s, after.user_s - before.user_s);
    let total_s = system_s + user_s;
    if total_s > 0.0 {
        system_s * 100.0 / total_s
    } else {
        0.0
    }
}

fn slow_clock(percent: f64, current: &str, available: &str) -> Verdict {
    (percent > KERNEL_PERCENT).then(|| {
        format!(
            "Slow system clocksource detected: the time is asked for with every batch of commands. \
             Current clocksource: {current}. Available clocksources: {available}. Another one is \
             set with: echo NAME > {CLOCKS}/current_clocksource"
        )
    })
}

fn xen_clock(current: &str) -> Verdict {
    (current == "xen").then(|| {
        format!(
            "The clocksource is xen, which is slow. Where the machine allows it: echo tsc > \
             {CLOCKS}/current_clocksource"
        )
    })
}

fn few_files(granted: u64, wanted: u64) -> Verdict {
    (granted < wanted).then(|| {
        format!("{granted} open files are allowed; the default of maxclients needs {wanted}.")
    })
}

fn short_backlog(backlog: Option<u32>) -> Verdict {
    let backlog = backlog.filter(|backlog| *backlog < BACKLOG)?;
    Some(format!("net.core.somaxconn is {backlog}, below {BACKLOG}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let slow = slow_clock(40.0, "hpet", "tsc hpet").expect("it is slow");
        assert!(slow.contains("Current clocksource: hpet. Available clocksources: tsc hpet."));
        assert_eq!((slow_clock(9.0, "tsc", "tsc"), xen_clock("tsc")), (None, None));
        assert!(xen_clock("xen").is_some_and(|text| text.contains("xen")));
        assert!(few_files(100, 101).is_some() && few_files(101, 101).is_none());
        assert!(short_backlog(Some(128)).is_some_and(|text| text.contains("128")));
        assert_eq!((short_backlog(Some(511)), short_backlog(None)), (None, None));
    }

    #[test]
    fn every_check_has_a_name() {
        let names = run(32).map(|(name, _)| name);
        assert_eq!(names, ["slow-clocksource", "xen-clocksource", "open-files", "somaxconn"]);
        assert!((0.0..=100.0).contains(&kernel_percent()));
    }
}
