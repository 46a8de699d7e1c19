//! The command line: what a call of the binary asks for, without doing it.
//!
//! Redis's own forms are kept to the letter where programs read them: the version line, and
//! options as configuration text (`config::join_args`).

use crate::config::{self, Config, LoadError};
use std::path::PathBuf;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Print a text and exit with a code.
    Say {
        /// For standard output, or for standard error where `code` is not 0.
        text: String,
        /// Exit code.
        code: i32,
    },
    /// `--check-system`: look whether the system suits a server.
    CheckSystem,
    /// `--test-memory N`: look whether memory keeps what is written.
    TestMemory {
        /// How much of it.
        mebibytes: usize,
    },
    /// `--check-rdb FILE`: look whether a snapshot is good.
    CheckRdb(PathBuf),
    /// `--check-aof FILE`: look whether an append-only file is whole, and mend it if asked to.
    CheckAof {
        /// The file, or a manifest.
        path: PathBuf,
        /// Cut off what is not whole.
        fix: bool,
        /// Cut off what was written after this second.
        up_to_s: Option<i64>,
    },
    /// Run the server.
    Run(Run),
}

/// How to run the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The first argument, if it is no option.
    pub config_file: Option<PathBuf>,
    /// Read configuration from standard input, after the file and before the options.
    pub stdin: bool,
    /// The options as configuration text.
    pub options: Vec<u8>,
}

impl Run {
    /// The configuration: file, `stdin` and options on top of `base`.
    pub fn configure(&self, mut base: Config, stdin: &[u8]) -> Result<Config, LoadError> {
        base.apply_all(self.config_file.as_deref(), stdin, &self.options)?;
        Ok(base)
    }

    /// Whether anything was configured at all: if not, the log says so.
    pub fn is_bare(&self) -> bool {
        *self == Run::default()
    }
}

/// The line of `--version`, and ours after it.
pub fn version_text() -> String {
    format!(
        "Redis server v={} sha=00000000:0 malloc={} bits={} build={}\n{} {}\n",
        config::REDIS_VERSION,
        allocator(),
        usize::BITS,
        build_id(),
        "Redouble",
        env!("CARGO_PKG_VERSION"),
    )
}

/// Name and version of the binary's allocator, as INFO and `--version` give them.
pub fn allocator() -> &'static str {
    "mimalloc-3.3.2"
}

/// A number that differs between versions and targets, in hex.
pub fn build_id() -> String {
    let parts = [env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS];
    let hash = parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    format!("{hash:016x}")
}

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Reads the arguments after the program's name.
pub fn parse(program: &str, args: &[Vec<u8>]) -> Call {
    if let Some(call) = check_aof(program, args) {
        return call;
    }
    let first = args.first().map(Vec::as_slice).unwrap_or_default();
    if let Some(call) = check_rdb(program, args) {
        return call;
    }
    match first {
        b"-v" | b"--version" => return Call::Say { text: version_text(), code: 0 },
        b"-h" | b"--help" => return Call::Say { text: help(program), code: 0 },
        b"--check-system" => return Call::CheckSystem,
        b"--test-memory" => return test_memory(program, &args[1..]),
        _ => {}
    }
    if args.iter().any(|arg| arg.eq_ignore_ascii_case(b"--sentinel")) {
        let text = "There is no Sentinel here: a genuine redis-sentinel can watch this server.\n";
        return Call::Say { text: text.to_string(), code: 1 };
    }
    let named = !first.is_empty() && !first.starts_with(b"-");
    let options = if named { &args[1..] } else { args };
    let at_end = options.last().is_some_and(|last| last == b"-");
    Call::Run(Run {
        config_file: named.then(|| absolute(config::path_from(first))),
        stdin: at_end || first == b"-",
        options: config::join_args(options),
    })
}

/// A call of `redis-check-rdb`, by that name or by the option.
fn check_rdb(program: &str, args: &[Vec<u8>]) -> Option<Call> {
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let rest = match args.split_first() {
        _ if name.contains("check-rdb") => args,
        Some((first, rest)) if first == b"--check-rdb" => rest,
        _ => return None,
    };
    Some(match rest {
        [word] if matches!(word.as_slice(), b"-v" | b"--version") => {
            Call::Say { text: format!("redis-check-rdb {}\n", config::REDIS_VERSION), code: 0 }
        }
        [file] => Call::CheckRdb(config::path_from(file)),
        _ => Call::Say { text: "Usage: redis-check-rdb <rdb-file-name>\n".into(), code: 1 },
    })
}

/// A call of `redis-check-aof`, by that name or by the option.
fn check_aof(program: &str, args: &[Vec<u8>]) -> Option<Call> {
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let rest = match args.split_first() {
        _ if name.contains("check-aof") => args,
        Some((first, rest)) if first == b"--check-aof" => rest,
        _ => return None,
    };
    let path = |file: &[u8]| config::path_from(file);
    let words: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    Some(match words[..] {
        [b"-v" | b"--version"] => {
            Call::Say { text: format!("redis-check-aof {}\n", config::REDIS_VERSION), code: 0 }
        }
        [file] => Call::CheckAof { path: path(file), fix: false, up_to_s: None },
        [b"--fix", file] => Call::CheckAof { path: path(file), fix: true, up_to_s: None },
        [b"--truncate-to-timestamp", time, file] => {
            match std::str::from_utf8(time).ok().and_then(|time| time.parse().ok()) {
                Some(time) => Call::CheckAof { path: path(file), fix: false, up_to_s: Some(time) },
                None => Call::Say { text: "Invalid timestamp, aborting...\n".to_string(), code: 1 },
            }
        }
        _ => {
            let usage = "[--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";
            Call::Say { text: format!("Usage: {program} {usage}\n"), code: 1 }
        }
    })
}

fn test_memory(program: &str, rest: &[Vec<u8>]) -> Call {
    let amount = match rest {
        [word] => std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()),
        _ => None,
    };
    match amount.filter(|mebibytes| *mebibytes > 0) {
        Some(mebibytes) => Call::TestMemory { mebibytes },
        None => Call::Say {
            text: format!(
                "Please specify the amount of memory to test in megabytes.\n\
                 Example: {program} --test-memory 4096\n\n"
            ),
            code: 1,
        },
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn help(program: &str) -> String {
    format!(
        "Redouble, a Redis-compatible server.

Usage: {program} [FILE] [--DIRECTIVE VALUE ...] [-]

    FILE               configuration as redis.conf has it
    --DIRECTIVE VALUE  a directive of it; what comes last wins
    -                  read configuration from standard input
    -v, --version      print versions
    -h, --help         print this
    --check-aof [--fix | --truncate-to-timestamp T] FILE
                       look whether an append-only file is whole, and mend it
    --check-system     look whether this system suits a server
    --check-rdb FILE   look whether a snapshot is good and what is in it
    --test-memory N    look whether N MiB of memory keep what is written

Examples:
    {program}
    {program} /etc/redis.conf --port 7777
    {program} --port 7777 --maxmemory 128mb --maxmemory-policy allkeys-lru
    echo 'requirepass secret' | {program} -

All directives with their defaults: redis.conf.example
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &[&str]) -> Call {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        parse("redouble", &args)
    }

    fn run(args: &[&str]) -> Run {
        match call(args) {
            Call::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_version_line_has_redis_form() {
        let Call::Say { text, code: 0 } = call(&["--version"]) else { panic!("no version") };
        let line = text.lines().next().expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let version = format!("v={}", config::REDIS_VERSION);
        assert_eq!(words[..4], ["Redis", "server", version.as_str(), "sha=00000000:0"]);
        let names: Vec<&str> =
            words[4..].iter().filter_map(|word| word.split('=').next()).collect();
        assert_eq!(names, ["malloc", "bits", "build"]);
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("Redouble ")));
    }

    #[test]
    fn file_stdin_and_options() {
        assert!(run(&[]).is_bare());
        let got = run(&["/etc/x.conf", "--port", "1", "-"]);
        assert_eq!(got.config_file, Some("/etc/x.conf".into()));
        assert_eq!((got.stdin, got.options.as_slice()), (true, b"port \"1\" ".as_slice()));
        assert_eq!(
            run(&["/etc/x.conf", "loglevel", "verbose"]).options,
            b"\"loglevel\" \"verbose\" "
        );
        let got = run(&["-"]);
        assert_eq!((got.stdin, got.config_file, got.options.len()), (true, None, 0));
        assert!(run(&["x.conf"]).config_file.is_some_and(|path| path.is_absolute()));
        let config = run(&["--port", "7777"]).configure(Config::default(), b"port 1\nhz 20");
        let config = config.expect("valid");
        assert_eq!((config.settings().port, config.settings().hz), (7777, 20));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for args in [&["--test-memory"][..], &["--test-memory", "0"], &["x.conf", "--sentinel"]] {
            assert!(matches!(call(args), Call::Say { code: 1, .. }), "{args:?}");
        }
        assert_eq!(call(&["--test-memory", "100"]), Call::TestMemory { mebibytes: 100 });
        assert!(matches!(call(&["--help"]), Call::Say { code: 0, .. }));
    }
}
