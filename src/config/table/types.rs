//! The thresholds of encodings, and the limits of scripts.

use super::{bytes, number, Directive, I32_MAX, I64_MAX};

pub(super) const ENCODINGS: &[Directive] = &[
    number("hash-max-listpack-entries", "512", 0, I64_MAX)
        .alias("hash-max-ziplist-entries")
        .honoured()
        .about("Fields of a packed hash."),
    bytes("hash-max-listpack-value", "64", 0, I64_MAX)
        .alias("hash-max-ziplist-value")
        .honoured()
        .about("Bytes of a field or value in a packed hash."),
    number("list-max-listpack-size", "-2", -I32_MAX - 1, I32_MAX)
        .alias("list-max-ziplist-size")
        .honoured()
        .about("Elements of a list node, or -1 to -5 for 4 to 64 KiB."),
    number("list-compress-depth", "0", 0, I32_MAX)
        .honoured()
        .about("Nodes at each end that stay uncompressed; 0 compresses none."),
    number("set-max-intset-entries", "512", 0, I64_MAX)
        .honoured()
        .about("Members of a set of integers."),
    number("set-max-listpack-entries", "128", 0, I64_MAX)
        .honoured()
        .about("Members of a packed set."),
    number("set-max-listpack-value", "64", 0, I64_MAX)
        .honoured()
        .about("Bytes of a member of a packed set."),
    number("zset-max-listpack-entries", "128", 0, I64_MAX)
        .alias("zset-max-ziplist-entries")
        .honoured()
        .about("Members of a packed sorted set."),
    bytes("zset-max-listpack-value", "64", 0, I64_MAX)
        .alias("zset-max-ziplist-value")
        .honoured()
        .about("Bytes of a member of a packed sorted set."),
    bytes("hll-sparse-max-bytes", "3000", 0, I64_MAX)
        .honoured()
        .about("Bytes of a sparse HyperLogLog."),
    bytes("stream-node-max-bytes", "4096", 0, I64_MAX)
        .honoured()
        .about("Bytes of a block of a stream; 0 is no limit."),
    number("stream-node-max-entries", "100", 0, I64_MAX)
        .honoured()
        .about("Entries of a block of a stream; 0 is no limit."),
];

pub(super) const SCRIPTS: &[Directive] = &[number("busy-reply-threshold", "5000", 0, I64_MAX)
    .alias("lua-time-limit")
    .honoured()
    .about("Milliseconds after which other clients are told that a script runs.")];
