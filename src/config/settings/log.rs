//! What the directives of the log's form and of supervision say.

use super::{choice, Config};

/// `log-format`; variants are named after its words.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Legacy,
    Logfmt,
    Json,
}

/// `log-timestamp-format`; variants are named after its words.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTimestamp {
    #[default]
    Legacy,
    Iso8601,
    Milliseconds,
}

/// The form of log lines.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogForm {
    pub format: LogFormat,
    pub timestamp: LogTimestamp,
}

impl LogForm {
    pub(super) fn read(config: &Config) -> LogForm {
        LogForm {
            format: match choice(config, "log-format") {
                1 => LogFormat::Logfmt,
                2 => LogFormat::Json,
                _ => LogFormat::Legacy,
            },
            timestamp: match choice(config, "log-timestamp-format") {
                1 => LogTimestamp::Iso8601,
                2 => LogTimestamp::Milliseconds,
                _ => LogTimestamp::Legacy,
            },
        }
    }
}

/// `supervised`; variants are named after its words.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervision {
    #[default]
    No,
    Auto,
    Systemd,
    Upstart,
}

impl Supervision {
    pub(super) fn read(config: &Config) -> Supervision {
        match choice(config, "supervised") {
            1 => Supervision::Auto,
            2 => Supervision::Systemd,
            3 => Supervision::Upstart,
            _ => Supervision::No,
        }
    }
}
