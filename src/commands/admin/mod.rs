//! Commands about the server: its data as a whole, its configuration, figures and insides.

mod append_only;
mod apply;
mod command;
mod config;
mod data;
mod debug;
mod info;
mod latency;
mod memory;
mod module;
mod process;
mod saving;
mod slowlog;

use crate::command::Family;

pub use data::answer_flushed;

pub(super) use config::replace_file;
pub(super) use info::metrics_text;

/// The families, all of one group; a file each.
pub const FAMILIES: [Family; 11] = [
    server(data::ROWS),
    server(process::ROWS),
    server(saving::ROWS),
    server(append_only::ROWS),
    server(config::ROWS),
    server(command::ROWS),
    server(slowlog::ROWS),
    server(latency::ROWS),
    server(memory::ROWS),
    server(module::ROWS),
    server(debug::ROWS),
];

const fn server(rows: &'static [crate::command::Row]) -> Family {
    Family { group: "server", rows }
}
