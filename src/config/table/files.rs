//! Snapshots and the append only file, and the directives that only tests use.

use super::super::checks;
use super::{
    bytes, choice, number, off, on, row, text, Choices, Directive, Kind, I32_MAX, I64_MAX,
};

const FSYNC: Choices = &[("everysec", 1), ("always", 2), ("no", 0)];
const SANITIZE: Choices = &[("no", 0), ("yes", 1), ("clients", 2)];
const VERSION_CHECK: Choices = &[("strict", 0), ("relaxed", 1)];

pub(super) const SNAPSHOTS: &[Directive] = &[
    row("save", Kind::Save, "3600 1 300 100 60 10000")
        .honoured()
        .about("Seconds and changes after which a snapshot is taken; \"\" for never."),
    row("dir", Kind::Directory, ".")
        .protected()
        .quiet_loading()
        .honoured()
        .about("Directory of all files."),
    text("dbfilename", "dump.rdb")
        .protected()
        .checked(checks::db_filename)
        .honoured()
        .about("Name of the snapshot file."),
    on("rdbcompression").honoured().about("Compress strings in snapshots."),
    on("rdbchecksum").fixed().honoured().about("End snapshots with a checksum."),
    on("stop-writes-on-bgsave-error").honoured().about("Refuse writes after a snapshot failed."),
    on("rdb-save-incremental-fsync")
        .honoured()
        .about("Write snapshots to the disk piece by piece."),
    off("rdb-del-sync-files").honoured().about("Delete snapshots that only replication needed."),
    choice("sanitize-dump-payload", "no", SANITIZE).honoured().about(
        "Values of RESTORE and files are always checked thoroughly; INFO counts them unless no.",
    ),
    choice("rdb-version-check", "strict", VERSION_CHECK)
        .about("Whether snapshots of newer versions are tried (Valkey)."),
];

pub(super) const APPEND_ONLY: &[Directive] = &[
    off("appendonly").quiet_loading().honoured().about("Keep a file of all writes."),
    text("appendfilename", "appendonly.aof")
        .fixed()
        .honoured()
        .checked(checks::append_filename)
        .about("Name that the files begin with."),
    text("appenddirname", "appendonlydir")
        .fixed()
        .honoured()
        .checked(checks::append_dirname)
        .about("Directory of the files, below dir."),
    choice("appendfsync", "everysec", FSYNC)
        .honoured()
        .about("When writes reach the disk: always, everysec, no."),
    off("no-appendfsync-on-rewrite")
        .honoured()
        .about("Do not force writes to disk during a rewrite."),
    number("auto-aof-rewrite-percentage", "100", 0, I32_MAX)
        .honoured()
        .about("Growth, in percent, after which the files are rewritten; 0 for never."),
    bytes("auto-aof-rewrite-min-size", "67108864", 0, I64_MAX)
        .honoured()
        .about("Size below which they are not rewritten."),
    on("aof-load-truncated").honoured().about("Start although the end of the file is cut off."),
    bytes("aof-load-corrupt-tail-max-size", "0", 0, I64_MAX)
        .honoured()
        .about("Start although so much at the end of the file makes no sense (Redis 8.4)."),
    on("aof-use-rdb-preamble").honoured().about("Rewrite to the snapshot format."),
    off("aof-timestamp-enabled").honoured().about("Write times into the file."),
    on("aof-rewrite-incremental-fsync")
        .honoured()
        .about("Write rewrites to the disk piece by piece."),
];

pub(super) const TESTING: &[Directive] = &[
    off("aof-disable-auto-gc").hidden().honoured(),
    number("rdb-key-save-delay", "0", -I32_MAX - 1, I32_MAX).hidden(),
    number("key-load-delay", "0", -I32_MAX - 1, I32_MAX).hidden(),
    number("loading-process-events-interval-bytes", "2097152", 1024, I32_MAX).hidden(),
    off("use-exit-on-panic").hidden().honoured(),
    off("enable-debug-assert").fixed().hidden(),
    text("debug-context", "").hidden(),
];
