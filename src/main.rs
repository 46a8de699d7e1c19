//! The binary: command line and configuration file, a server, and its end.

use redouble::check_aof::{Check, Wish};
use redouble::cli::{self, Call, Run};
use redouble::clock::Clock;
use redouble::config::{error_text, Config, LoadError, LogLevel};
use redouble::disk::RealDisk;
use redouble::process::{self, OpenFiles, Title};
use redouble::server::{End, Server};
use redouble::server_log::{line, Logger, Role};
use redouble::supervision::Supervisor;
use redouble::StartError;
use std::io::{Read, Write};
use std::process::exit;
use std::sync::Arc;
use std::thread::JoinHandle;

mod allocator;
mod loading_bar;
mod signals;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Files that a server of few workers needs besides its clients' connections.
const OWN_FILES: u64 = 32;
/// So many workers are few.
const FEW_WORKERS: usize = 4;
/// Files of each further one: what it waits for, its bell, and what tells of its time.
const WORKER_FILES: u64 = 4;

fn main() {
    // Before anything touches memory; the configuration may take it back.
    process::forbid_huge_pages(true);
    let mut args = std::env::args_os().map(std::ffi::OsString::into_encoded_bytes);
    let program = String::from_utf8_lossy(&args.next().unwrap_or_default()).into_owned();
    let args: Vec<Vec<u8>> = args.collect();
    match cli::parse(&program, &args) {
        Call::Say { text, code: 0 } => print!("{text}"),
        Call::Say { text, code } => {
            eprint!("{text}");
            exit(code);
        }
        Call::CheckSystem => exit(check_system()),
        Call::TestMemory { mebibytes } => exit(test_memory(mebibytes)),
        Call::CheckRdb(path) => exit(check_rdb(&path)),
        Call::CheckAof { path, fix, up_to_s } => exit(check_aof(&path, Wish { fix, up_to_s })),
        Call::Run(call) => run(&program, &call),
    }
}

/// Prints what is in a snapshot; the exit code says whether it is good.
fn check_rdb(path: &std::path::Path) -> i32 {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("Cannot open {}: {}", path.display(), error_text(&error));
            return 1;
        }
    };
    let now_ms = Clock::default().now_ms();
    // A reader that has seen enough may close the pipe.
    let mut print = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let name = path.display().to_string();
    i32::from(!redouble::rdb::check::check(&name, file, now_ms, &mut print))
}

fn run(program: &str, call: &Run) {
    let title = Title::claim();
    let clock = Clock::default();
    let config = configure(call, &clock);
    let settings = config.settings().clone();
    if config.value("disable-thp").as_deref() == Some(b"no") {
        process::forbid_huge_pages(false);
    }
    let log_clock = clock.clone();
    let log = Arc::new(Logger::new(&settings, Box::new(move || log_clock.now_ms())));
    let supervisor = Supervisor::find(settings.supervised, &log);
    // Redis: who is supervised stays in the foreground.
    if settings.daemonize && supervisor == Supervisor::Nobody {
        if let Err(error) = process::daemonize() {
            eprintln!("Can't go to the background: {}", error_text(&error));
            exit(1);
        }
    }
    // Threads do not follow a process to the background.
    allocator::maps::give_back_aside();
    announce(&log, call, &settings.redis_version);
    log.set_role(Role::Primary);
    let config = fit_open_files(config, &log);
    let file = call.config_file.as_ref().map(|path| path.display().to_string());
    let file = file.unwrap_or_default();
    log.notice("monotonic clock: POSIX clock_gettime");
    let settings = config.settings().clone();
    show_logo(&settings, &log);
    let listens_tcp = settings.port > 0 && !settings.bind.is_empty();
    let listens_tls = settings.tls.port > 0 && !settings.bind.is_empty();
    if !listens_tcp && !listens_tls && settings.unixsocket.is_none() {
        log.warning("Configured to not listen anywhere, exiting.");
        exit(1);
    }
    if let Some(name) = config.indispensable().first() {
        log.warning(format!(
            "The directive '{name}' asks for what this server does not do yet. It does not start, \
             rather than run without it: remove the directive."
        ));
        exit(1);
    }
    let pidfile = write_pidfile(&config, &log);
    // Before anybody can connect: a signal that comes while one is being listened for is lost.
    let signals = match signals::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            log.warning(format!("No signals: {}", error_text(&error)));
            exit(1);
        }
    };
    let builder = Server::builder().with_config(config.clone(), &file).clock(clock).standalone();
    let builder = builder.giving_back(allocator::give_back);
    let server =
        match builder.logger(log.clone()).titled(program, title).supervised(supervisor).start() {
            Ok(server) => server,
            Err(error) => fail(&error, &settings, &log),
        };
    log.notice("Server initialized");
    if !config.modules().is_empty() {
        let path = config.modules()[0].first().cloned().unwrap_or_default();
        let path = String::from_utf8_lossy(&path).into_owned();
        log.warning(format!("Module {path} failed to load: this server has no module API"));
        log.warning(format!("Can't load module from {path}: server aborting"));
        exit(1);
    }
    for name in config.unhonoured() {
        log.warning(format!("The directive '{name}' is accepted and has no effect yet."));
    }
    arm_crash_log(&config, &server, &log);
    let listens = [listens_tcp, settings.unixsocket.is_some(), listens_tls];
    // Before the data is there no script can run and keep the lock.
    let final_save = server.shared().lock().persistence.file.final_save.clone();
    let loading = load(&server, &log, listens, supervisor);
    if signals.serve(&server, &log, &final_save) == End::Failed {
        fall(&server);
    }
    drop(loading);
    end(server, &log, pidfile.as_deref())
}

/// Loads the data on a thread of its own: signals and clients are answered meanwhile. A server
/// whose data cannot be loaded ends, and leaves the files as they are.
fn load(
    server: &Server,
    log: &Arc<Logger>,
    listens: [bool; 3],
    supervisor: Supervisor,
) -> JoinHandle<()> {
    let (server, log) = (server.clone(), log.clone());
    std::thread::spawn(move || {
        let bar = loading_bar::LoadingBar::draw(&server, &log);
        let loaded = server.load();
        drop(bar);
        if loaded.is_err() {
            if server.shared().lock().has_failed {
                fall(&server);
            }
            log.warning("Fatal error loading the DB, check server logs. Exiting.");
            exit(1);
        }
        for (listens, kind) in listens.iter().zip(["tcp", "unix", "tls"]) {
            if *listens {
                log.notice(format!("Ready to accept connections {kind}"));
            }
        }
        let copies = server.shared().lock().role.upstream.is_some();
        supervisor.ready(copies, &log);
    })
}

/// Writes a report should the process crash.
fn arm_crash_log(config: &Config, server: &Server, log: &Logger) {
    let settings = config.settings();
    let recent = server.shared().lock().stats.recent.clone();
    let names = redouble::commands::table().specs.iter().map(|spec| spec.name.as_str()).collect();
    redouble::crash::arm(log.file().as_deref(), &settings.redis_version, recent, names);
    redouble::crash::enable(settings.crash_log_enabled);
}

/// The configuration, or the end of the process with Redis's lines.
fn configure(call: &Run, clock: &Clock) -> Config {
    let say = |level, text: &str| {
        let now_ms = clock.now_ms();
        let line = line(Default::default(), std::process::id(), 'C', now_ms, level, text);
        let _ = std::io::stdout().write_all(line.as_bytes());
    };
    let mut stdin = Vec::new();
    if call.stdin {
        say(LogLevel::Notice, "Reading config from stdin");
        let _ = std::io::stdin().lock().read_to_end(&mut stdin);
    }
    let vocabulary = redouble::commands::vocabulary();
    let mut base = Config::default().knowing_commands(redouble::commands::is_command, vocabulary);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let _ = base.assume("io-threads", &threads.to_string());
    match call.configure(base, &stdin) {
        Ok(config) => config,
        Err(error) => {
            if let LoadError::Unreadable { .. } = error {
                say(LogLevel::Warning, &error.to_string());
            } else {
                eprint!("{}", error.fatal(redouble::config::REDIS_VERSION));
            }
            exit(1)
        }
    }
}

fn announce(log: &Logger, call: &Run, version: &str) {
    log.notice("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log.notice(format!(
        "Redis version={version}, bits={}, commit=00000000, modified=0, pid={}, just started",
        usize::BITS,
        std::process::id()
    ));
    log.notice(format!("Redouble version={}", env!("CARGO_PKG_VERSION")));
    if call.is_bare() {
        log.warning(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use redouble /path/to/redis.conf",
        );
    } else {
        log.notice("Configuration loaded");
    }
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients`.
fn fit_open_files(mut config: Config, log: &Logger) -> Config {
    let further = config.settings().io_threads.saturating_sub(FEW_WORKERS) as u64;
    let own = OWN_FILES + further * WORKER_FILES;
    let wanted = config.settings().maxclients as u64 + own;
    let before = process::raise_open_files(0);
    let OpenFiles { granted, refusal } = process::open_files(wanted);
    if granted >= wanted {
        if granted > before {
            log.notice(format!(
                "Increased maximum number of open files to {granted} (it was originally set to \
                 {before})."
            ));
        }
        return config;
    }
    let clients = granted.saturating_sub(own);
    if clients == 0 {
        log.warning(format!(
            "Your current 'ulimit -n' of {granted} is not enough for the server to start. Please \
             increase your open file limit to at least {wanted}. Exiting."
        ));
        exit(1);
    }
    log.warning(format!(
        "You requested maxclients of {} requiring at least {wanted} max file descriptors.",
        config.settings().maxclients
    ));
    if let Some(error) = refusal {
        log.warning(format!(
            "Server can't set maximum open files to {wanted} because of OS error: {}.",
            error_text(&error)
        ));
    }
    log.warning(format!(
        "Current maximum open files is {granted}. maxclients has been reduced to {clients} to \
         compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    ));
    if let Err(error) = config.assign("maxclients", &clients.to_string()) {
        log.warning(error.to_string());
    }
    config
}

fn write_pidfile(config: &Config, log: &Logger) -> Option<std::path::PathBuf> {
    let settings = config.settings();
    let path = match &settings.pidfile {
        Some(path) => config.path(path),
        // Redis: in the background there always is one.
        None if settings.daemonize => "/var/run/redis.pid".into(),
        None => return None,
    };
    match std::fs::write(&path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(path),
        Err(error) => {
            log.warning(format!("Failed to write PID file: {}", error_text(&error)));
            None
        }
    }
}

fn fail(error: &StartError, settings: &redouble::config::Settings, log: &Logger) -> ! {
    match error {
        StartError::Listen(what, error) if what.starts_with("Failed opening Unix") => {
            log.warning(format!("{what}: {}", error_text(error)));
        }
        StartError::Listen(what, error) => {
            log.warning(format!("Warning: {what}: {}", error_text(error)));
            log.warning(format!("Failed listening on port {} (tcp), aborting.", settings.port));
        }
        StartError::Users(lines) => lines.iter().for_each(|line| log.warning(line)),
        StartError::ListenTls(what, error) => {
            let port = settings.tls.port;
            log.warning(format!("Warning: {what}: {}", error_text(error)));
            log.warning(format!("Failed listening on port {port} (tls), aborting."));
        }
        StartError::Tls(reason) => {
            log.warning(reason);
            log.warning("Failed to configure TLS. Check logs for more info.");
        }
        other => log.warning(other.to_string()),
    }
    exit(1)
}

fn show_logo(settings: &redouble::config::Settings, log: &Logger) {
    let port = if settings.port > 0 { settings.port } else { settings.tls.port };
    let address = match port {
        0 => "no TCP port".to_string(),
        port => format!("port={port}"),
    };
    if !settings.always_show_logo {
        log.notice(format!("Running mode=standalone, {address}."));
        return;
    }
    log.raw(&format!(
        "\n   /\\/\\\n  / // /   Redouble {} speaks Redis {} ({} bit)\n  \\ \\\\ \\   Running in \
         standalone mode\n   \\/\\/    Port: {}\n            PID: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        settings.redis_version,
        usize::BITS,
        port,
        std::process::id()
    ));
}

/// Ends as Redis's panics do: by a signal, so that whoever supervises the process sees a failure.
fn fall(server: &Server) -> ! {
    if server.shared().lock().config.settings().exits_on_panic {
        exit(1);
    }
    std::process::abort()
}

/// Closes the connections, removes what the server put into the file system, and exits.
fn end(server: Server, log: &Logger, pidfile: Option<&std::path::Path>) -> ! {
    if let Some(path) = pidfile {
        log.notice("Removing the pid file.");
        let _ = std::fs::remove_file(path);
    }
    drop(server);
    log.warning("Redis is now ready to exit, bye bye...");
    exit(0)
}

/// `--check-aof`: prints what is wrong with a file, and mends it if asked to.
fn check_aof(path: &std::path::Path, wish: Wish) -> i32 {
    // A reader that has seen enough may close the pipe.
    let mut print = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let mut ask = |question: &str| {
        let _ = write!(std::io::stdout(), "{question}");
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        answer.starts_with(['y', 'Y'])
    };
    Check::new(&RealDisk, wish, &mut print, &mut ask).run(path)
}

/// `--check-system`: what a server would suffer from on this machine.
fn check_system() -> i32 {
    let verdicts = redouble::system_check::run(OWN_FILES);
    for (name, fault) in &verdicts {
        match fault {
            None => println!("[{name}]...OK"),
            Some(fault) => println!("[{name}]...WARNING:\n{fault}"),
        }
    }
    i32::from(verdicts.iter().any(|(_, fault)| fault.is_some()))
}

/// `--test-memory`: whether so many MiB of memory keep what is written.
fn test_memory(mebibytes: usize) -> i32 {
    let mut say = |step: &str| {
        let _ = writeln!(std::io::stdout(), "{step}");
    };
    match redouble::memory_test::run(mebibytes, &mut say) {
        Ok(()) => {
            say("Your memory passed this test. memtest86 and memtester look closer.");
            0
        }
        Err(fault) => {
            eprintln!("{fault}");
            1
        }
    }
}
