//! The example configuration file, printed from the table.

use super::value::{output_limit_lines, Kind, Value};
use super::{table, Config};

const HEAD: &str = "\
# Redouble: all directives with their defaults. Printed from src/config/table; do not edit.
# redouble this-file --port 7000    options after the file win.
#
# Sizes: 1k is 1000 bytes, 1kb is 1024; m, mb, g, gb likewise, in any case.
# A directive marked [accepted] can be set and read, and has no effect yet.
";

impl Config {
    /// The text of `redis.conf.example`. Read as a configuration it changes nothing.
    pub fn example() -> String {
        let config = Config::default();
        let mut text = HEAD.to_string();
        let mut values = config.defaults.iter();
        for section in table::SECTIONS {
            let rows: Vec<_> = section.directives.iter().zip(values.by_ref()).collect();
            if rows.iter().all(|(row, _)| row.hidden) {
                continue;
            }
            text.push_str(&format!("\n###### {} ######\n", section.title));
            for (row, value) in rows.into_iter().filter(|(row, _)| !row.hidden) {
                let mark = if row.honoured { "" } else { " [accepted]" };
                text.push_str(&format!("\n# {}{mark}\n", row.about));
                for line in lines(row.kind, value) {
                    text.push_str(&line.replace("{name}", row.name));
                }
            }
        }
        text
    }
}

fn lines(kind: Kind, value: &Value) -> Vec<String> {
    match (kind, value) {
        (Kind::Text { .. }, Value::Text(None)) => vec!["# {name} \"\"\n".to_string()],
        (Kind::ReplicaOf, _) => vec!["# {name} <host> <port>\n".to_string()],
        (Kind::OutputLimits, Value::OutputLimits(limits)) => {
            output_limit_lines(limits).iter().map(|line| format!("{{name}} {line}\n")).collect()
        }
        (Kind::Text { .. } | Kind::Directory, Value::Text(Some(text)))
            if !text.is_empty() && !text.contains(&b' ') =>
        {
            vec![format!("{{name}} {}\n", String::from_utf8_lossy(text))]
        }
        _ => vec![format!("{{name}} {}\n", kind.write(value))],
    }
}
