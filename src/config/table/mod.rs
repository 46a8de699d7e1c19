//! The table of directives: one row each, in the order and under the headings of the example
//! configuration file that is printed from it.
//!
//! Everything that is known about a directive stands in its row. The parser, CONFIG GET, SET and
//! REWRITE, the warnings at start and the example file are all derived from here.

mod cluster;
mod files;
mod log;
mod memory;
mod network;
mod replication;
mod tls;
mod types;

use super::value::{Choices, Kind, Unit};
use std::collections::HashMap;
use std::sync::LazyLock;

/// One directive.
#[derive(Debug)]
pub struct Directive {
    /// In lower case.
    pub name: &'static str,
    /// The other name under which it is read and shown.
    pub alias: Option<&'static str>,
    /// How its value is written.
    pub kind: Kind,
    /// As CONFIG GET prints it; always readable as `kind`.
    pub default: &'static str,
    /// What it does, in a line of the example file.
    pub about: &'static str,
    /// Refused by CONFIG SET.
    pub fixed: bool,
    /// Refused by CONFIG SET unless `enable-protected-configs` allows it.
    pub protected: bool,
    /// Shown by CONFIG GET only under its full name, and absent from the example file.
    pub hidden: bool,
    /// Its value is a secret, which no log may show.
    pub secret: bool,
    /// It names what may have changed meanwhile: setting it to what it is takes effect anew.
    pub read_anew: bool,
    /// Refused by CONFIG SET while a dataset is loaded.
    pub quiet_loading: bool,
    /// The server does what it says. Others are accepted, and named in a warning at start.
    pub honoured: bool,
    /// Checks beyond the kind.
    pub check: Option<Check>,
}

/// Refuses a value, with Redis's reason.
type Check = fn(&[u8]) -> Result<(), &'static str>;

/// A heading of the example file and its directives.
#[allow(missing_docs)]
pub struct Section {
    pub title: &'static str,
    pub directives: &'static [Directive],
}

/// All sections.
pub static SECTIONS: &[Section] = &[
    Section { title: "Network", directives: network::LISTENERS },
    Section { title: "Clients", directives: network::CLIENTS },
    Section { title: "TLS", directives: tls::TLS },
    Section { title: "Process", directives: log::PROCESS },
    Section { title: "Log", directives: log::LOG },
    Section { title: "Security", directives: log::SECURITY },
    Section { title: "Slow log, latency and events", directives: log::OBSERVATION },
    Section { title: "Memory", directives: memory::MEMORY },
    Section { title: "Lazy freeing and defragmentation", directives: memory::FREEING },
    Section { title: "Encodings", directives: types::ENCODINGS },
    Section { title: "Scripts", directives: types::SCRIPTS },
    Section { title: "Snapshots", directives: files::SNAPSHOTS },
    Section { title: "Append only file", directives: files::APPEND_ONLY },
    Section { title: "Replication", directives: replication::REPLICATION },
    Section { title: "Cluster", directives: cluster::CLUSTER },
    Section { title: "Redouble's own", directives: log::OWN },
    Section { title: "For tests", directives: files::TESTING },
];

/// A name that is known, and what it names.
#[derive(Clone, Copy)]
pub struct Named {
    /// Position in `all()`.
    pub index: usize,
    /// What it names.
    pub directive: &'static Directive,
    /// The name as the table writes it.
    pub name: &'static str,
}

/// The directives in table order.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    SECTIONS.iter().flat_map(|section| section.directives)
}

/// Every name, aliases included, in table order.
pub fn names() -> impl Iterator<Item = Named> {
    all().enumerate().flat_map(|(index, directive)| {
        std::iter::once(directive.name).chain(directive.alias).map(move |name| Named {
            index,
            directive,
            name,
        })
    })
}

/// The directive called `name`, in any case.
pub fn find(name: &[u8]) -> Option<Named> {
    static INDEX: LazyLock<HashMap<&'static [u8], Named>> =
        LazyLock::new(|| names().map(|named| (named.name.as_bytes(), named)).collect());
    INDEX.get(name.to_ascii_lowercase().as_slice()).copied()
}

const I32_MAX: i128 = i32::MAX as i128;
const U32_MAX: i128 = u32::MAX as i128;
const I64_MAX: i128 = i64::MAX as i128;
const U64_MAX: i128 = u64::MAX as i128;

const fn row(name: &'static str, kind: Kind, default: &'static str) -> Directive {
    Directive {
        name,
        alias: None,
        kind,
        default,
        about: "",
        fixed: false,
        protected: false,
        hidden: false,
        secret: false,
        read_anew: false,
        quiet_loading: false,
        honoured: false,
        check: None,
    }
}

const fn on(name: &'static str) -> Directive {
    row(name, Kind::Switch, "yes")
}

const fn off(name: &'static str) -> Directive {
    row(name, Kind::Switch, "no")
}

const fn number(name: &'static str, default: &'static str, min: i128, max: i128) -> Directive {
    row(name, Kind::Number { unit: Unit::Plain, min, max }, default)
}

const fn bytes(name: &'static str, default: &'static str, min: i128, max: i128) -> Directive {
    row(name, Kind::Number { unit: Unit::Bytes, min, max }, default)
}

const fn text(name: &'static str, default: &'static str) -> Directive {
    row(name, Kind::Text { nullable: false }, default)
}

/// A text that may be not set; an empty value means that.
const fn unset(name: &'static str) -> Directive {
    row(name, Kind::Text { nullable: true }, "")
}

const fn choice(name: &'static str, default: &'static str, choices: Choices) -> Directive {
    row(name, Kind::Choice(choices), default)
}

impl Directive {
    const fn alias(self, alias: &'static str) -> Self {
        Directive { alias: Some(alias), ..self }
    }

    const fn about(self, about: &'static str) -> Self {
        Directive { about, ..self }
    }

    const fn fixed(self) -> Self {
        Directive { fixed: true, ..self }
    }

    const fn protected(self) -> Self {
        Directive { protected: true, ..self }
    }

    const fn hidden(self) -> Self {
        Directive { hidden: true, ..self }
    }

    const fn secret(self) -> Self {
        Directive { secret: true, ..self }
    }

    const fn read_anew(self) -> Self {
        Directive { read_anew: true, ..self }
    }

    const fn quiet_loading(self) -> Self {
        Directive { quiet_loading: true, ..self }
    }

    const fn honoured(self) -> Self {
        Directive { honoured: true, ..self }
    }

    const fn checked(self, check: fn(&[u8]) -> Result<(), &'static str>) -> Self {
        Directive { check: Some(check), ..self }
    }
}
