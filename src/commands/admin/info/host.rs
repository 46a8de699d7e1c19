//! INFO server, cpu, modules and debug: the process and its machine.

use super::Report;
use crate::ending;
use crate::process::{cpu_time, system_name, CpuOf, CpuTime};
use crate::state::State;

pub(super) fn server(report: &mut Report, state: &mut State) {
    let settings = state.config.settings();
    let facts = &state.facts;
    let now_us = state.clock.now_us();
    let up_s = (state.clock.now_ms() - facts.started_ms).max(0) / 1000;
    report.title("Server");
    report.field("redis_version", &settings.redis_version);
    report.field("redis_git_sha1", "00000000");
    report.field("redis_git_dirty", 0);
    report.field("redis_build_id", crate::cli::build_id());
    report.field("redis_mode", "standalone");
    report.field("os", system_name());
    report.field("arch_bits", usize::BITS);
    report.field("monotonic_clock", "POSIX clock_gettime");
    report.field("multiplexing_api", "epoll");
    report.field("atomicvar_api", "rust-std");
    report.field("gcc_version", "0.0.0");
    report.field("process_id", std::process::id());
    report.field("process_supervised", facts.supervisor.name());
    report.field("run_id", &facts.run_id);
    let tcp_port = if facts.tcp_port > 0 { facts.tcp_port } else { facts.tls_port };
    report.field("tcp_port", tcp_port);
    report.field("server_time_usec", now_us);
    report.field("uptime_in_seconds", up_s);
    report.field("uptime_in_days", up_s / 86400);
    report.field("hz", settings.hz);
    report.field("configured_hz", settings.hz);
    report.field("lru_clock", (now_us / 1_000_000) & 0xff_ffff);
    report.field("executable", &facts.executable);
    report.field("config_file", &facts.config_file);
    report.field("io_threads_active", u8::from(facts.workers > 1));
    let binds: Vec<String> =
        settings.bind.iter().map(|address| format!("bind={address}")).collect();
    let binds = binds.join(",");
    let tcp =
        |name: &str, port: u16| (port > 0).then(|| format!("name={name},{binds},port={port}"));
    let socket = settings.unixsocket.as_ref().filter(|path| !path.as_os_str().is_empty());
    let unix = socket.map(|path| format!("name=unix,bind={}", path.display()));
    let listeners = [tcp("tcp", facts.tcp_port), unix, tcp("tls", facts.tls_port)];
    for (number, listener) in listeners.into_iter().flatten().enumerate() {
        report.field(format_args!("listener{number}"), listener);
    }
    if let Some(left_ms) = ending::left_ms(state) {
        report.field("shutdown_in_milliseconds", left_ms);
    }
    report.field("redouble_version", env!("CARGO_PKG_VERSION"));
}

pub(super) fn cpu(report: &mut Report, _: &mut State) {
    report.title("CPU");
    let kinds =
        [(CpuOf::Process, ""), (CpuOf::Children, "_children"), (CpuOf::Thread, "_main_thread")];
    for (of, suffix) in kinds {
        let CpuTime { system_s, user_s } = cpu_time(of);
        report.field(format_args!("used_cpu_sys{suffix}"), format_args!("{system_s:.6}"));
        report.field(format_args!("used_cpu_user{suffix}"), format_args!("{user_s:.6}"));
    }
}

pub(super) fn modules(report: &mut Report, _: &mut State) {
    report.title("Modules");
}

pub(super) fn debug(report: &mut Report, state: &mut State) {
    let work = &state.stats.work;
    report.title("Debug");
    report.numbers(&[
        ("eventloop_duration_aof_sum", 0),
        ("eventloop_duration_cron_sum", work.cron_ns / 1000),
        ("eventloop_duration_max", work.longest_batch_ns / 1000),
        ("eventloop_cmd_per_cycle_max", work.most_in_batch),
    ]);
}
