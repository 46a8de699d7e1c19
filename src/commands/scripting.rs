//! EVAL and its relatives, SCRIPT, FUNCTION, FCALL. How a script runs is in `run`, libraries are in
//! `libraries`.

mod libraries;
mod run;

use crate::command::spec::{Begin, Find, KeySpec};
use crate::command::{client, container, flag, nested, Args, Call, Family, Row, Spec};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::scripting::{shebang, Flags, Purpose, Scripting, Unkillable};
pub use libraries::{load_library, replace_libraries};

/// The family.
pub const FAMILY: Family = Family { group: "scripting", rows: ROWS };

const KEYS: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(2),
    find: Find::KeyNum { number: 0, first: 1, step: 1 },
    access: &["RW", "ACCESS", "UPDATE"],
}];

const READ_KEYS: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(2),
    find: Find::KeyNum { number: 0, first: 1, step: 1 },
    access: &["RO", "ACCESS"],
}];

const RUNS: u32 =
    flag::NOSCRIPT | flag::STALE | flag::SKIP_MONITOR | flag::NO_MANDATORY_KEYS | flag::MOVABLEKEYS;

/// Whether a script or function that is about to run declares that it writes nothing.
pub fn declares_no_writes(scripting: &Scripting, spec: &Spec, argv: &[&[u8]]) -> bool {
    let has_no_writes = |flags: Flags| flags.contains(Flags::NO_WRITES);
    !spec.has(flag::READONLY) && declared(scripting, spec, argv).is_some_and(has_no_writes)
}

/// Whether it declares what it is, and not that it needs no memory.
pub fn declares_growth(scripting: &Scripting, spec: &Spec, argv: &[&[u8]]) -> bool {
    let waived = [Flags::COMPATIBLE, Flags::NO_WRITES, Flags::ALLOW_OOM];
    declared(scripting, spec, argv)
        .is_some_and(|flags| !waived.into_iter().any(|waiver| flags.contains(waiver)))
}

/// The flags of a request's command, with what the first line of its script, or its function, says
/// about writing and about old data.
pub fn effective_flags(scripting: &Scripting, spec: &Spec, argv: &[&[u8]]) -> u32 {
    let flags = spec.flags;
    match declared(scripting, spec, argv) {
        None => flags,
        Some(declared) if declared.contains(Flags::COMPATIBLE) => flags,
        Some(declared) => {
            let writes = if declared.contains(Flags::NO_WRITES) { 0 } else { flag::WRITE };
            let stale = if declared.contains(Flags::ALLOW_STALE) { flag::STALE } else { 0 };
            (flags & !flag::STALE) | writes | stale
        }
    }
}

fn declared(scripting: &Scripting, spec: &Spec, argv: &[&[u8]]) -> Option<Flags> {
    let what = *argv.get(1)?;
    match &*spec.name {
        "eval" | "eval_ro" => shebang(what).ok().map(|(flags, _)| flags),
        "evalsha" | "evalsha_ro" => scripting.scripts.flags(what),
        "fcall" | "fcall_ro" => scripting.libraries.find(what).map(|function| function.flags),
        _ => None,
    }
}

const DEPENDS: &str = "Depends on the script that is executed.";
const DEPENDS_ON_FUNCTION: &str = "Depends on the function that is executed.";

const ROWS: &[Row] = &[
    nested("EVAL script numkeys [key [key ...]] [arg [arg ...]]", run::eval)
        .flags(RUNS | flag::MAY_REPLICATE)
        .keys(KEYS)
        .since("2.6.0")
        .cost(DEPENDS)
        .about("Runs a script."),
    nested("EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]", run::eval_ro)
        .flags(RUNS | flag::READONLY)
        .keys(READ_KEYS)
        .since("7.0.0")
        .cost(DEPENDS)
        .about("Runs a script that must not write."),
    nested("EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]", run::evalsha)
        .flags(RUNS | flag::MAY_REPLICATE)
        .keys(KEYS)
        .since("2.6.0")
        .cost(DEPENDS)
        .about("Runs a script that the server knows, by its SHA1."),
    nested("EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]", run::evalsha_ro)
        .flags(RUNS | flag::READONLY)
        .keys(READ_KEYS)
        .since("7.0.0")
        .cost(DEPENDS)
        .about("Runs a script that the server knows, which must not write."),
    nested("FCALL function numkeys [key [key ...]] [arg [arg ...]]", run::fcall)
        .flags(RUNS | flag::MAY_REPLICATE)
        .keys(KEYS)
        .since("7.0.0")
        .cost(DEPENDS_ON_FUNCTION)
        .about("Runs a function."),
    nested("FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]", run::fcall_ro)
        .flags(RUNS | flag::READONLY)
        .keys(READ_KEYS)
        .since("7.0.0")
        .cost(DEPENDS_ON_FUNCTION)
        .about("Runs a function that must not write."),
    container("SCRIPT").since("2.6.0").cost("Depends on subcommand.").about("Manages scripts."),
    client("SCRIPT|DEBUG <YES | SYNC | NO>", script_debug)
        .noscript()
        .since("3.2.0")
        .cost("O(1)")
        .about("Sets the debug mode of the scripts that follow."),
    client("SCRIPT|EXISTS sha1 [sha1 ...]", script_exists)
        .noscript()
        .route("all_shards", "agg_logical_and")
        .since("2.6.0")
        .cost("O(N) with N being the number of scripts to check.")
        .about("Tells which scripts the server knows."),
    client("SCRIPT|FLUSH [ASYNC | SYNC]", script_flush)
        .noscript()
        .route("all_nodes", "all_succeeded")
        .since("2.6.0")
        .cost("O(N) with N being the number of scripts in cache")
        .about("Forgets all scripts."),
    client("SCRIPT|HELP", script_help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Explains the subcommands."),
    client("SCRIPT|KILL", script_kill)
        .noscript()
        .flags(flag::ALLOW_BUSY)
        .route("all_shards", "one_succeeded")
        .since("2.6.0")
        .cost("O(1)")
        .about("Stops the script that runs."),
    client("SCRIPT|LOAD script", script_load)
        .noscript()
        .stale()
        .route("all_nodes", "all_succeeded")
        .since("2.6.0")
        .cost("O(N) with N being the length in bytes of the script body.")
        .about("Keeps a script for EVALSHA."),
    container("FUNCTION").since("7.0.0").cost("Depends on subcommand.").about("Manages functions."),
    client("FUNCTION|DELETE library-name", libraries::function_delete)
        .noscript()
        .writes()
        .route("all_shards", "all_succeeded")
        .since("7.0.0")
        .cost("O(1)")
        .about("Deletes a library."),
    client("FUNCTION|DUMP", libraries::function_dump)
        .noscript()
        .since("7.0.0")
        .cost("O(N) where N is the number of functions")
        .about("Packs all libraries into one payload."),
    client("FUNCTION|FLUSH [ASYNC | SYNC]", libraries::function_flush)
        .noscript()
        .writes()
        .route("all_shards", "all_succeeded")
        .since("7.0.0")
        .cost("O(N) where N is the number of functions deleted")
        .about("Deletes all libraries."),
    client("FUNCTION|HELP", libraries::function_help)
        .loading()
        .stale()
        .since("7.0.0")
        .cost("O(1)")
        .about("Explains the subcommands."),
    client("FUNCTION|KILL", function_kill)
        .noscript()
        .flags(flag::ALLOW_BUSY)
        .route("all_shards", "one_succeeded")
        .since("7.0.0")
        .cost("O(1)")
        .about("Stops the function that runs."),
    client("FUNCTION|LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", libraries::function_list)
        .noscript()
        .varies_in_order()
        .since("7.0.0")
        .cost("O(N) where N is the number of functions")
        .about("Describes the libraries."),
    client("FUNCTION|LOAD [REPLACE] function-code", libraries::function_load)
        .noscript()
        .writes()
        .grows()
        .route("all_shards", "all_succeeded")
        .since("7.0.0")
        .cost("O(1) (considering compilation time is redundant)")
        .about("Keeps a library."),
    client(
        "FUNCTION|RESTORE serialized-value [FLUSH | APPEND | REPLACE]",
        libraries::function_restore,
    )
    .noscript()
    .writes()
    .grows()
    .route("all_shards", "all_succeeded")
    .since("7.0.0")
    .cost("O(N) where N is the number of functions on the payload")
    .about("Unpacks libraries from a payload."),
    client("FUNCTION|STATS", libraries::function_stats)
        .noscript()
        .flags(flag::ALLOW_BUSY)
        .varies()
        .route("all_shards", "special")
        .since("7.0.0")
        .cost("O(1)")
        .about("Tells what runs and how much there is."),
];

fn script_debug(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    match args.option().as_deref() {
        Some("NO") => Ok(out.ok()),
        Some("YES" | "SYNC") => Err(Error::NoDebugger),
        _ => Err(Error::ScriptDebugMode),
    }
}

fn script_exists(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut items = out.array(args.left());
    for digest in args.rest() {
        items.int(i64::from(call.state.scripting.scripts.contains(digest)));
    }
    Ok(items.end())
}

/// Whether `FLUSH`'s one optional word is right; SYNC and ASYNC are the same here, since freeing an
/// engine takes microseconds.
fn flush_mode(args: &mut Args<'_>, refusal: Error) -> Result<()> {
    if args.is_done() || ((args.accept("SYNC") || args.accept("ASYNC")) && args.is_done()) {
        Ok(())
    } else {
        Err(refusal)
    }
}

fn script_flush(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    flush_mode(args, Error::ScriptFlushMode)?;
    call.state.scripting.flush_scripts();
    Ok(out.ok())
}

fn script_load(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let body = args.bytes();
    let mut engine = run::engine(call.state, Purpose::Scripts)?;
    let loaded = call.state.scripting.scripts.load(&mut engine, body);
    call.state.scripting.put_engine(Purpose::Scripts, engine);
    match loaded {
        Ok(digest) => Ok(out.bulk(&digest)),
        Err(text) => Err(run::refusal(&text)),
    }
}

fn script_kill(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    kill(call, false, out)
}

fn function_kill(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    kill(call, true, out)
}

/// A slow script that runs answers this itself, when it looks up: see [`crate::busy`]. Without one
/// there is nothing to stop.
fn kill(call: &mut Call<'_>, function: bool, out: Out<'_>) -> Result<Done> {
    match call.state.scripting.running.kill(function) {
        Ok(()) => Ok(out.ok()),
        Err(why) => Err(unkillable(why)),
    }
}

/// Why a script was not told to stop, as the client sees it.
pub fn unkillable(why: Unkillable) -> Error {
    match why {
        Unkillable::NotBusy => Error::NotBusy,
        Unkillable::Wrote => Error::Unkillable,
        Unkillable::Other(true) => Error::BusyFunction,
        Unkillable::Other(false) => Error::BusyScript,
    }
}

fn script_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(super::help(
        args,
        out,
        &[
            ("DEBUG (YES|SYNC|NO)", &["Set the debug mode for subsequent scripts executed."]),
            (
                "EXISTS <sha1> [<sha1> ...]",
                &["Return information about the existence of the scripts in the script cache."],
            ),
            (
                "FLUSH [ASYNC|SYNC]",
                &[
                    "Flush the Lua scripts cache. Very dangerous on replicas.",
                    "When called without the optional mode argument, the behavior is determined \
                     by the",
                    "lazyfree-lazy-user-flush configuration directive. Valid modes are:",
                    "* ASYNC: Asynchronously flush the scripts cache.",
                    "* SYNC: Synchronously flush the scripts cache.",
                ],
            ),
            ("KILL", &["Kill the currently executing Lua script."]),
            ("LOAD <script>", &["Load a script into the scripts cache without executing it."]),
        ],
    ))
}
