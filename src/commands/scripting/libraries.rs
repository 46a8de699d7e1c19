//! FUNCTION and its subcommands.

use crate::clock::Stopwatch;
use crate::command::{Args, Call};
use crate::error::{shown, Error, Result};
use crate::rdb::payload;
use crate::rdb::Reason;
use crate::resp::out::{Done, Out};
use crate::scripting::{Host, Libraries, LogLevel, Purpose, Shelf, Slow, Verdict, FLAGS};
use crate::server_log::Logger;
use crate::state::State;
use crate::types::glob::glob_match;

use super::run::{engine, refusal};

/// A library that takes longer to load is given up.
const LOAD_MS_MAX: u64 = 500;

/// The server as a library sees it while it is loaded.
struct LoadHost<'a> {
    logger: &'a Logger,
    watch: Stopwatch,
}

impl Host for LoadHost<'_> {
    fn call(&mut self, _: &[&[u8]], _: u8, reply: &mut Vec<u8>) {
        reply.extend_from_slice(b"-ERR This Redis command is not allowed from script\r\n");
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        match level {
            0 => self.logger.debug(text),
            1 => self.logger.verbose(text),
            2 => self.logger.notice(text),
            _ => self.logger.warning(text),
        }
    }

    fn on_hook(&mut self) -> Verdict {
        if self.watch.elapsed_ns() / 1_000_000 > LOAD_MS_MAX {
            Verdict::Stop("FUNCTION LOAD timeout")
        } else {
            Verdict::Continue
        }
    }

    fn set_replication(&mut self, _: u8) {}

    fn is_allowed(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }
}

/// Loads one library into `libraries`; gives its name.
fn load(
    state: &mut State,
    libraries: &mut Libraries,
    code: &[u8],
    replace: bool,
) -> Result<Vec<u8>> {
    let mut engine = engine(state, Purpose::Functions)?;
    let mut host = LoadHost { logger: &state.logger, watch: Stopwatch::start() };
    let loaded = libraries.load(&mut engine, code, replace, &mut host);
    state.scripting.put_engine(Purpose::Functions, engine);
    loaded.map_err(|text| refusal(&text))
}

/// Makes a library of its code, as a file or a primary gives it; `replaces` one of its name.
pub fn load_library(
    state: &mut State,
    code: &[u8],
    replaces: bool,
) -> std::result::Result<(), String> {
    let mut libraries = std::mem::take(&mut state.scripting.libraries);
    let loaded = load(state, &mut libraries, code, replaces);
    state.scripting.libraries = libraries;
    loaded.map(drop).map_err(|error| shown(error.text()))
}

/// Makes libraries of these codes in place of all that are there. When one is refused, nothing has
/// changed.
pub fn replace_libraries(
    state: &mut State,
    codes: &[impl AsRef<[u8]>],
) -> std::result::Result<(), String> {
    let mut old = Shelf::default();
    state.scripting.swap_libraries(&mut old);
    let loaded = codes.iter().try_for_each(|code| load_library(state, code.as_ref(), true));
    if loaded.is_err() {
        state.scripting.swap_libraries(&mut old);
    }
    loaded
}

pub fn function_load(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut replace = false;
    while args.left() > 1 {
        let word = args.bytes();
        if !word.eq_ignore_ascii_case(b"replace") {
            return Err(Error::showing("ERR Unknown option given: {}", &[word]));
        }
        replace = true;
    }
    let code = args.bytes();
    let mut libraries = std::mem::take(&mut call.state.scripting.libraries);
    let loaded = load(call.state, &mut libraries, code, replace);
    call.state.scripting.libraries = libraries;
    let name = loaded?;
    call.state.db.effects.dirty += 1;
    Ok(out.bulk(&name))
}

pub fn function_delete(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = args.bytes();
    if !call.state.scripting.libraries.contains(name) {
        return Err(Error::LibraryNotFound);
    }
    let mut engine = engine(call.state, Purpose::Functions)?;
    call.state.scripting.libraries.delete(&mut engine, name);
    call.state.scripting.put_engine(Purpose::Functions, engine);
    call.state.db.effects.dirty += 1;
    Ok(out.ok())
}

pub fn function_flush(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 1 {
        return Err(too_many(args));
    }
    super::flush_mode(args, Error::FunctionFlushMode)?;
    call.state.scripting.flush_libraries();
    call.state.db.effects.dirty += 1;
    Ok(out.ok())
}

/// The refusal of a subcommand with too many words.
fn too_many(args: &Args<'_>) -> Error {
    Error::showing(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try FUNCTION HELP.",
        args.all().get(1..).unwrap_or_default(),
    )
}

pub fn function_list(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (mut pattern, mut with_code) = (None, false);
    while let Some(word) = args.peek() {
        if !with_code && args.accept("WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.accept("LIBRARYNAME") {
            pattern = Some(args.required().map_err(|_| Error::LibraryNameMissing)?);
        } else {
            return Err(Error::showing("ERR Unknown argument {}", &[word]));
        }
    }
    let libraries = &call.state.scripting.libraries;
    let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob_match(pattern, name, true));
    let found: Vec<_> = libraries.iter().filter(|library| wanted(&library.name)).collect();
    let mut items = out.array(found.len());
    for library in found {
        items.map(3 + usize::from(with_code));
        items.text("library_name");
        items.bulk(&library.name);
        items.text("engine");
        items.text("LUA");
        items.text("functions");
        items.array(library.functions.len());
        for function in &library.functions {
            items.map(3);
            items.text("name");
            items.bulk(&function.name);
            items.text("description");
            items.bulk_or_null(function.description.as_deref());
            items.text("flags");
            let flags: Vec<_> =
                FLAGS.iter().filter(|(flag, _)| function.flags.contains(*flag)).collect();
            items.set(flags.len());
            for (_, word) in flags {
                items.simple(word);
            }
        }
        if with_code {
            items.text("library_code");
            items.bulk(&library.code);
        }
    }
    Ok(items.end())
}

pub fn function_stats(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let running = &call.state.scripting.running;
    if running.is_slow() && !running.is_function() {
        return Err(Error::BusyScript);
    }
    let libraries = &call.state.scripting.libraries;
    Ok(stats(out, call.state.scripting.running.slow(), libraries.len(), libraries.function_count()))
}

/// Writes FUNCTION STATS.
fn stats(out: Out<'_>, slow: Option<Slow>, libraries: usize, functions: usize) -> Done {
    let mut items = out.map(2);
    items.text("running_script");
    match slow {
        None => items.null(),
        Some(slow) => {
            items.map(3);
            items.text("name");
            items.bulk(&slow.name);
            items.text("command");
            items.array(slow.words.len());
            for word in &slow.words {
                items.bulk(word);
            }
            items.text("duration_ms");
            items.int((slow.watch.elapsed_ns() / 1_000_000) as i64);
        }
    }
    items.text("engines");
    items.map(1);
    items.text("LUA");
    items.map(2);
    items.text("libraries_count");
    items.int(libraries as i64);
    items.text("functions_count");
    items.int(functions as i64);
    items.end()
}

pub fn function_dump(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let codes = call.state.scripting.libraries.iter().map(|library| library.code.as_slice());
    let compress = call.state.db.payloads.compress;
    Ok(out.bulk(&payload::pack_functions(codes, compress)))
}

/// The codes of the libraries in a payload.
fn unpacked(payload: &[u8], checked: bool) -> Result<Vec<Vec<u8>>> {
    let (body, _) = payload::verified(payload, checked).ok_or(Error::BadPayload)?;
    payload::unpack_functions(body).map_err(|fault| match fault.reason {
        Reason::Unknown(_) => Error::NotAFunction,
        _ => Error::FunctionUnreadable,
    })
}

pub fn function_restore(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 2 {
        return Err(too_many(args));
    }
    let packed = args.bytes();
    let policy = args.option();
    let (flush, replace) = match policy.as_deref() {
        None | Some("APPEND") => (false, false),
        Some("REPLACE") => (false, true),
        Some("FLUSH") => (true, false),
        Some(_) => return Err(Error::RestorePolicy),
    };
    let codes = unpacked(packed, !call.state.db.payloads.any_sum)?;
    let mut fresh = Libraries::default();
    let mut loaded = Ok(());
    for code in &codes {
        loaded = load(call.state, &mut fresh, code, false).map(drop);
        if loaded.is_err() {
            break;
        }
    }
    let mut engine = engine(call.state, Purpose::Functions)?;
    let joined = loaded.and_then(|()| {
        let libraries = &mut call.state.scripting.libraries;
        if flush {
            libraries.release_all(&mut engine);
        }
        libraries
            .join(&mut engine, std::mem::take(&mut fresh), replace)
            .map_err(|text| refusal(&text))
    });
    fresh.release_all(&mut engine);
    call.state.scripting.put_engine(Purpose::Functions, engine);
    joined?;
    call.state.db.effects.dirty += 1;
    Ok(out.ok())
}

pub fn function_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(crate::commands::help(
        args,
        out,
        &[
            (
                "LOAD [REPLACE] <FUNCTION CODE>",
                &["Create a new library with the given library name and code."],
            ),
            ("DELETE <LIBRARY NAME>", &["Delete the given library."]),
            (
                "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
                &[
                    "Return general information on all the libraries:",
                    "* Library name",
                    "* The engine used to run the Library",
                    "* Functions list",
                    "* Library code (if WITHCODE is given)",
                    "It also possible to get only function that matches a pattern using \
                     LIBRARYNAME argument.",
                ],
            ),
            (
                "STATS",
                &[
                    "Return information about the current function running:",
                    "* Function name",
                    "* Command used to run the function",
                    "* Duration in MS that the function is running",
                    "If no function is running, return nil",
                    "In addition, returns a list of available engines.",
                ],
            ),
            ("KILL", &["Kill the current running function."]),
            (
                "FLUSH [ASYNC|SYNC]",
                &[
                    "Delete all the libraries.",
                    "When called without the optional mode argument, the behavior is determined \
                     by the",
                    "lazyfree-lazy-user-flush configuration directive. Valid modes are:",
                    "* ASYNC: Asynchronously flush the libraries.",
                    "* SYNC: Synchronously flush the libraries.",
                ],
            ),
            (
                "DUMP",
                &["Return a serialized payload representing the current libraries, can be \
                   restored using FUNCTION RESTORE command"],
            ),
            (
                "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
                &[
                    "Restore the libraries represented by the given payload, it is possible to \
                     give a restore policy to",
                    "control how to handle existing libraries (default APPEND):",
                    "* FLUSH: delete all existing libraries.",
                    "* APPEND: appends the restored libraries to the existing libraries. On \
                     collision, abort.",
                    "* REPLACE: appends the restored libraries to the existing libraries, On \
                     collision, replace the old",
                    "  libraries with the new libraries (notice that even on this option there \
                     is a chance of failure",
                    "  in case of functions name collision with another library).",
                ],
            ),
        ],
    ))
}
