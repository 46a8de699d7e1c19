//! The text of INFO while it is written.

use std::fmt::Display;
use std::io::Write;

/// Headings and fields, with Redis's line ends.
#[derive(Default)]
pub struct Report {
    text: Vec<u8>,
}

impl Report {
    /// Opens a section.
    pub fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.extend_from_slice(b"\r\n");
        }
        let _ = write!(self.text, "# {title}\r\n");
    }

    /// One line.
    pub fn field(&mut self, name: impl Display, value: impl Display) {
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// One line whose name ends with bytes that a client chose. What would end the name becomes an
    /// underscore.
    pub fn named(&mut self, prefix: &str, name: &[u8], value: impl Display) {
        let safe = |byte: &u8| if b"#:\r\n".contains(byte) { b'_' } else { *byte };
        self.text.extend_from_slice(prefix.as_bytes());
        self.text.extend(name.iter().map(safe));
        let _ = write!(self.text, ":{value}\r\n");
    }

    /// One line whose value has bytes that somebody else chose.
    pub fn bytes_field(&mut self, name: impl Display, parts: &[&[u8]]) {
        let _ = write!(self.text, "{name}:");
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        self.text.extend_from_slice(b"\r\n");
    }

    /// Several lines of figures.
    pub fn numbers(&mut self, fields: &[(&str, u64)]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    /// A size twice: in bytes, and for people under `<name>_human`.
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(format_args!("{name}_human"), human_bytes(bytes));
    }

    /// A number with two digits behind the point.
    pub fn ratio(&mut self, name: &str, value: f64) {
        self.field(name, format_args!("{value:.2}"));
    }

    /// What was written.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }
}

/// Bytes with a unit of 1024 and two digits: `816.36K`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let shown = [0, 1023, 835_952, 1 << 30, 25_276_510_208].map(human_bytes);
        assert_eq!(shown, ["0B", "1023B", "816.36K", "1.00G", "23.54G"]);
    }

    #[test]
    fn sections_are_apart() {
        let mut report = Report::default();
        report.title("A");
        report.bytes("x", 2048);
        report.title("B");
        report.named("e_", b"a:\xff\n", 1);
        let expected = b"# A\r\nx:2048\r\nx_human:2.00K\r\n\r\n# B\r\ne_a_\xff_:1\r\n";
        assert_eq!(report.into_text(), expected);
    }
}
