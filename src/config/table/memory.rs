//! The memory limit, eviction, lazy freeing, defragmentation.

use super::super::checks;
use super::{bytes, choice, number, off, on, Choices, Directive, I32_MAX, I64_MAX, U64_MAX};

const POLICIES: Choices = &[
    ("volatile-lru", 0),
    ("volatile-lfu", 1),
    ("volatile-random", 2),
    ("volatile-ttl", 3),
    ("allkeys-lru", 4),
    ("allkeys-lfu", 5),
    ("allkeys-random", 6),
    ("noeviction", 7),
];

pub(super) const MEMORY: &[Directive] = &[
    bytes("maxmemory", "0", 0, U64_MAX).honoured().about("Bytes of all data; 0 is no limit."),
    choice("maxmemory-policy", "noeviction", POLICIES)
        .honoured()
        .about("What makes room: {volatile,allkeys}-{lru,lfu,random}, volatile-ttl, noeviction."),
    number("maxmemory-samples", "5", 1, 64)
        .honoured()
        .about("Keys looked at to find the best one to evict."),
    number("maxmemory-eviction-tenacity", "10", 0, 100)
        .honoured()
        .about("How long a round of eviction may take, 0 to 100."),
    on("replica-ignore-maxmemory")
        .alias("slave-ignore-maxmemory")
        .about("A replica evicts nothing by itself."),
    number("lfu-log-factor", "10", 0, I32_MAX)
        .honoured()
        .about("How slowly the counter of uses grows."),
    number("lfu-decay-time", "1", 0, I32_MAX)
        .honoured()
        .about("Minutes after which the counter of uses falls by one."),
    number("active-expire-effort", "1", 1, 10).about("Effort to find expired keys, 1 to 10."),
];

pub(super) const FREEING: &[Directive] = &[
    off("lazyfree-lazy-eviction").honoured().about("Free evicted values in the background."),
    off("lazyfree-lazy-expire").honoured().about("Free expired values in the background."),
    off("lazyfree-lazy-server-del").honoured().about("Free overwritten values in the background."),
    off("lazyfree-lazy-user-del").honoured().about("DEL does as UNLINK does."),
    off("lazyfree-lazy-user-flush")
        .honoured()
        .about("FLUSHDB and FLUSHALL are ASYNC unless they say SYNC."),
    on("jemalloc-bg-thread").about("Of no use here: the allocator is another one."),
    off("activedefrag")
        .honoured()
        .checked(checks::no_defragmentation)
        .about("Of no use here: the allocator is another one; yes is refused."),
    bytes("active-defrag-ignore-bytes", "104857600", 1, I64_MAX)
        .about("Waste from which defragmentation starts."),
    number("active-defrag-threshold-lower", "10", 0, 1000).about("Percentage where it starts."),
    number("active-defrag-threshold-upper", "100", 0, 1000)
        .about("Percentage where it uses full effort."),
    number("active-defrag-cycle-min", "1", 1, 99).about("Least effort, percent of the CPU."),
    number("active-defrag-cycle-max", "25", 1, 99).about("Full effort, percent of the CPU."),
    number("active-defrag-max-scan-fields", "1000", 1, I64_MAX)
        .about("Fields of a collection that are moved at one go."),
];
