//! INFO: a table of sections, each a function that writes fields.
//!
//! Invariant: a figure is true in the unit that its name says, or the field is 0 because there is
//! nothing of its kind; names and order are those of the genuine server.

mod append_only;
mod commands;
mod data;
mod host;
mod metrics;
mod persistence;
mod replication;
mod report;
mod traffic;

use crate::command::{Args, Call};
use crate::error::Result;
use crate::resp::out::{Done, Out};
use crate::state::State;
pub use metrics::metrics_text;
pub use report::{human_bytes, Report};

/// When a section is shown without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// INFO, and everything wider.
    Default,
    /// INFO ALL and INFO EVERYTHING.
    All,
    /// Only when it is named.
    Named,
}

struct Section {
    name: &'static str,
    shown: Shown,
    write: fn(&mut Report, &mut State),
}

const fn section(name: &'static str, shown: Shown, write: fn(&mut Report, &mut State)) -> Section {
    Section { name, shown, write }
}

/// In the order in which they are printed.
const SECTIONS: &[Section] = &[
    section("server", Shown::Default, host::server),
    section("clients", Shown::Default, traffic::clients),
    section("memory", Shown::Default, data::memory),
    section("persistence", Shown::Default, persistence::persistence),
    section("stats", Shown::Default, traffic::stats),
    section("replication", Shown::Default, replication::replication),
    section("cpu", Shown::Default, host::cpu),
    section("modules", Shown::Default, host::modules),
    section("commandstats", Shown::All, commands::commandstats),
    section("errorstats", Shown::Default, commands::errorstats),
    section("latencystats", Shown::All, commands::latencystats),
    section("cluster", Shown::Default, data::cluster),
    section("keyspace", Shown::Default, data::keyspace),
    section("debug", Shown::Named, host::debug),
];

/// INFO [section ...]
pub fn info(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let text = text(call.state, args.rest());
    Ok(out.verbatim("txt", &text))
}

/// The sections that `names` ask for, each once; names that are none ask for nothing.
pub fn text(state: &mut State, names: &[&[u8]]) -> Vec<u8> {
    let wanted = |section: &Section| {
        let asked = |name: &&[u8]| {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            match section.shown {
                _ if is(section.name) => true,
                Shown::Default => is("default") || is("all") || is("everything"),
                Shown::All => is("all") || is("everything"),
                Shown::Named => false,
            }
        };
        names.iter().any(asked) || (names.is_empty() && section.shown == Shown::Default)
    };
    let mut report = Report::default();
    for section in SECTIONS.iter().filter(|section| wanted(section)) {
        (section.write)(&mut report, state);
    }
    report.into_text()
}
