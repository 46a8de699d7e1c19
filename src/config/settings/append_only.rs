//! The directives of the append-only file.

use super::{choice, lossy, number, on, text, Config};
use crate::log::aof::{Names, Policy};

/// Their values.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct AppendOnly {
    /// `appendonly`
    pub on: bool,
    pub dirname: String,
    pub filename: String,
    pub policy: Policy,
    pub no_sync_on_rewrite: bool,
    /// Growth after which a rewrite begins by itself; 0 for never.
    pub rewrite_percentage: u64,
    pub rewrite_min_bytes: u64,
    pub load_truncated: bool,
    /// Ends that make no sense are cut off up to this size.
    pub corrupt_tail_max_bytes: u64,
    pub base_is_snapshot: bool,
    pub stamps: bool,
    pub rewrite_syncs_often: bool,
    pub keeps_history: bool,
}

impl AppendOnly {
    pub(super) fn read(config: &Config) -> AppendOnly {
        AppendOnly {
            on: on(config, "appendonly"),
            dirname: lossy(&text(config, "appenddirname").unwrap_or_default()),
            filename: lossy(&text(config, "appendfilename").unwrap_or_default()),
            policy: Policy::from_number(choice(config, "appendfsync")),
            no_sync_on_rewrite: on(config, "no-appendfsync-on-rewrite"),
            rewrite_percentage: number(config, "auto-aof-rewrite-percentage"),
            rewrite_min_bytes: number(config, "auto-aof-rewrite-min-size"),
            load_truncated: on(config, "aof-load-truncated"),
            corrupt_tail_max_bytes: number(config, "aof-load-corrupt-tail-max-size"),
            base_is_snapshot: on(config, "aof-use-rdb-preamble"),
            stamps: on(config, "aof-timestamp-enabled"),
            rewrite_syncs_often: on(config, "aof-rewrite-incremental-fsync"),
            keeps_history: on(config, "aof-disable-auto-gc"),
        }
    }
}

impl super::Settings {
    /// Where the files of the append-only file are.
    pub fn aof_names(&self) -> Names {
        Names {
            root: self.dir.clone(),
            dirname: self.append_only.dirname.clone(),
            filename: self.append_only.filename.clone(),
        }
    }
}
