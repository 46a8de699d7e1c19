//! INFO memory, cluster and keyspace: the data and its copies.

use super::{human_bytes, Report};
use crate::config::Policy;
use crate::memory::Use;
use crate::process::{resident_bytes, total_memory_bytes};
use crate::scripting::{Purpose, Scripting};
use crate::state::State;

pub(super) fn memory(report: &mut Report, state: &mut State) {
    let used = Use::of(state);
    let resident = if state.facts.embedded { used.total } else { resident_bytes() };
    report.title("Memory");
    report.bytes("used_memory", used.total);
    report.bytes("used_memory_rss", resident);
    report.bytes("used_memory_peak", used.peak);
    report.field("used_memory_peak_perc", percent(used.total, used.peak));
    report.numbers(&[
        ("used_memory_overhead", used.overhead()),
        ("used_memory_startup", used.startup),
        ("used_memory_dataset", used.dataset()),
    ]);
    report.field("used_memory_dataset_perc", percent(used.dataset(), used.total - used.startup));
    report.numbers(&[
        ("allocator_allocated", used.total),
        ("allocator_active", used.total),
        ("allocator_resident", resident),
        ("allocator_muzzy", 0),
    ]);
    report.bytes("total_system_memory", total_memory_bytes());
    scripts(report, &state.scripting);
    let settings = state.config.settings();
    report.bytes("maxmemory", settings.maxmemory);
    report.field("maxmemory_policy", policy_name(settings.maxmemory_policy));
    let backlog_bytes = state.log.ring.as_ref().map_or(0, |ring| ring.memory_bytes() as u64);
    let fragmentation = resident as f64 / used.total.max(1) as f64;
    report.ratio("allocator_frag_ratio", 1.0);
    report.field("allocator_frag_bytes", 0);
    report.ratio("allocator_rss_ratio", fragmentation);
    report.field("allocator_rss_bytes", resident as i64 - used.total as i64);
    report.ratio("rss_overhead_ratio", 1.0);
    report.field("rss_overhead_bytes", 0);
    report.ratio("mem_fragmentation_ratio", fragmentation);
    report.field("mem_fragmentation_bytes", resident as i64 - used.total as i64);
    report.numbers(&[
        ("mem_not_counted_for_evict", 0),
        ("mem_replication_backlog", backlog_bytes),
        ("mem_total_replication_buffers", backlog_bytes),
        ("mem_replica_full_sync_buffer", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", used.clients),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
    ]);
    let allocator = if state.facts.embedded { "embedded" } else { crate::cli::allocator() };
    report.field("mem_allocator", allocator);
    report.numbers(&[
        ("mem_overhead_db_hashtable_rehashing", 0),
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", state.db.graveyard().objects() as u64),
        ("lazyfreed_objects", state.db.graveyard().freed_objects),
    ]);
}

fn scripts(report: &mut Report, room: &Scripting) {
    let engine = |purpose| room.engine_bytes(purpose) as u64;
    let (eval, functions) = (engine(Purpose::Scripts), engine(Purpose::Functions));
    let bodies = room.scripts.body_bytes() as u64;
    report.numbers(&[("used_memory_lua", eval), ("used_memory_vm_eval", eval)]);
    report.field("used_memory_lua_human", human_bytes(eval));
    report.numbers(&[
        ("used_memory_scripts_eval", bodies),
        ("number_of_cached_scripts", room.scripts.len() as u64),
        ("number_of_functions", room.libraries.function_count() as u64),
        ("number_of_libraries", room.libraries.len() as u64),
        ("used_memory_vm_functions", functions),
    ]);
    report.bytes("used_memory_vm_total", eval + functions);
    let code = room.libraries.code_bytes() as u64;
    report.field("used_memory_functions", code);
    report.bytes("used_memory_scripts", bodies + code);
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

/// The word of `maxmemory-policy`.
pub fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::VolatileLru => "volatile-lru",
        Policy::VolatileLfu => "volatile-lfu",
        Policy::VolatileRandom => "volatile-random",
        Policy::VolatileTtl => "volatile-ttl",
        Policy::AllkeysLru => "allkeys-lru",
        Policy::AllkeysLfu => "allkeys-lfu",
        Policy::AllkeysRandom => "allkeys-random",
        Policy::NoEviction => "noeviction",
    }
}

pub(super) fn cluster(report: &mut Report, _: &mut State) {
    report.title("Cluster");
    report.field("cluster_enabled", 0);
}

pub(super) fn keyspace(report: &mut Report, state: &mut State) {
    report.title("Keyspace");
    for index in 0..state.db.databases() {
        let space = state.db.space(index);
        if space.is_empty() {
            continue;
        }
        let (keys, expires) = (space.len(), space.with_deadline());
        let subexpiry = space.with_field_deadlines();
        let average_ms = state.db.average_ttl_ms(index);
        report.field(
            format_args!("db{index}"),
            format_args!(
                "keys={keys},expires={expires},avg_ttl={average_ms},subexpiry={subexpiry}"
            ),
        );
    }
}
