//! The flags of scripts and functions, and the first line that declares them.

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flags(u8);

impl Flags {
    /// Changes nothing.
    pub const NO_WRITES: Flags = Flags(1);
    /// May run when memory is over the limit.
    pub const ALLOW_OOM: Flags = Flags(2);
    /// May run on a replica that lost its primary.
    pub const ALLOW_STALE: Flags = Flags(4);
    /// Does not run in a cluster.
    pub const NO_CLUSTER: Flags = Flags(8);
    /// May use keys of several slots.
    pub const ALLOW_CROSS_SLOT_KEYS: Flags = Flags(16);
    /// A script without a first line of flags, which may do what old scripts may.
    pub const COMPATIBLE: Flags = Flags(32);

    /// Whether all of `other` is in.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

/// Flags and their words, in the order of Redis's replies.
pub const FLAGS: [(Flags, &str); 5] = [
    (Flags::NO_WRITES, "no-writes"),
    (Flags::ALLOW_OOM, "allow-oom"),
    (Flags::ALLOW_STALE, "allow-stale"),
    (Flags::NO_CLUSTER, "no-cluster"),
    (Flags::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
];

/// Reads the first line of a script. Gives the flags and the bytes to leave out before compiling
/// (the line feed stays, so that line numbers are right). The error is without `ERR`.
pub fn shebang(code: &[u8]) -> Result<(Flags, usize), Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Ok((Flags::COMPATIBLE, 0));
    }
    let end = memchr::memchr(b'\n', code).ok_or_else(|| b"Invalid script shebang".to_vec())?;
    let words = words(&code[..end]).ok_or_else(|| b"Invalid engine in script shebang".to_vec())?;
    let Some((engine, options)) = words.split_first() else {
        return Err(b"Invalid engine in script shebang".to_vec());
    };
    if engine != b"#!lua" {
        return Err([b"Unexpected engine in script shebang: ", engine.as_slice()].concat());
    }
    let mut flags = Flags::default();
    for option in options {
        let Some(list) = option.strip_prefix(b"flags=") else {
            return Err([b"Unknown lua shebang option: ", option.as_slice()].concat());
        };
        if list.is_empty() {
            continue;
        }
        for word in list.split(|&byte| byte == b',') {
            match FLAGS.iter().find(|(_, name)| name.as_bytes() == word) {
                Some(&(flag, _)) => flags.insert(flag),
                None => return Err([b"Unexpected flag in script shebang: ", word].concat()),
            }
        }
    }
    Ok((flags, end))
}

/// Splits a line into words as Redis's configuration files are split: blanks separate, double
/// quotes take escapes, single quotes take `\'`. None when quotes do not match.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_blank = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_blank(byte)) {
            at += 1;
        }
        if at >= line.len() {
            return Some(found);
        }
        let mut word = Vec::new();
        while let Some(&byte) = line.get(at) {
            match byte {
                b'"' | b'\'' => {
                    at = quoted(line, at, &mut word)?;
                    if line.get(at).is_some_and(|&next| !is_blank(next)) {
                        return None;
                    }
                    break;
                }
                byte if is_blank(byte) || byte == 0 => break,
                byte => {
                    word.push(byte);
                    at += 1;
                }
            }
        }
        found.push(word);
        if line.get(at) == Some(&0) {
            return Some(found);
        }
    }
}

/// Reads a quoted part that opens at `at`; gives the position behind it.
fn quoted(line: &[u8], at: usize, word: &mut Vec<u8>) -> Option<usize> {
    let quote = *line.get(at)?;
    let mut at = at + 1;
    loop {
        let byte = *line.get(at)?;
        let next = line.get(at + 1).copied();
        if byte == quote {
            return Some(at + 1);
        }
        match (quote, byte, next) {
            (b'\'', b'\\', Some(b'\'')) => {
                word.push(b'\'');
                at += 2;
            }
            (b'"', b'\\', Some(b'x')) => {
                let digits = line.get(at + 2..at + 4);
                let value = digits
                    .and_then(|pair| std::str::from_utf8(pair).ok())
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok());
                match value {
                    Some(value) => {
                        word.push(value);
                        at += 4;
                    }
                    None => {
                        word.push(b'x');
                        at += 2;
                    }
                }
            }
            (b'"', b'\\', Some(escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{shebang, Flags};

    #[test]
    fn first_lines_of_scripts() {
        assert_eq!(shebang(b"return 1"), Ok((Flags::COMPATIBLE, 0)));
        assert_eq!(shebang(b"#!lua flags=no-writes\nx"), Ok((Flags::NO_WRITES, 21)));
        for (code, text) in [
            ("#!lua", "Invalid script shebang"),
            ("#!lua flags=x\nreturn 1", "Unexpected flag in script shebang: x"),
            ("#!lua foo=x\nreturn 1", "Unknown lua shebang option: foo=x"),
            ("#!lub\nreturn 1", "Unexpected engine in script shebang: #!lub"),
            ("#!lua flags=no-writes,\nreturn 1", "Unexpected flag in script shebang: "),
        ] {
            assert_eq!(shebang(code.as_bytes()), Err(text.as_bytes().to_vec()), "{code}");
        }
    }
}
