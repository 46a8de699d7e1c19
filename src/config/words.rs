//! The words of a configuration line: how quotes and escapes are read, and how a value is quoted
//! so that it is read back unchanged.

/// Splits a line into words by Redis's rules: blanks separate; `"…"` knows `\n \r \t \b \a \xHH`
/// and `\` before any other byte; `'…'` knows `\'` only; a closing quote ends its word.
/// `None` where a quote is not closed or is followed by something other than a blank.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_blank(*byte));
        let Some(start) = start else { return Some(words) };
        let (word, after) = word(&rest[start..])?;
        words.push(word);
        rest = after;
    }
}

/// `value` between double quotes, with escapes, as `split` reads it.
pub fn quote(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for &byte in value {
        match byte {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(byte as char);
            }
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// `line` without the blanks at its ends.
pub fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// The first word of `text`, which begins with one, and what follows it.
fn word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | 0 => {
                return Some((word, &text[at - 1 + skip_nul(byte)..]))
            }
            b'"' | b'\'' => {
                at += if byte == b'"' {
                    double_quoted(&text[at..], &mut word)?
                } else {
                    single_quoted(&text[at..], &mut word)?
                };
                if text.get(at).is_some_and(|next| !is_blank(*next)) {
                    return None;
                }
                return Some((word, &text[at..]));
            }
            _ => word.push(byte),
        }
    }
    Some((word, &[]))
}

/// A NUL ends a word but is no blank: it is stepped over, so that splitting always advances.
fn skip_nul(byte: u8) -> usize {
    usize::from(byte == 0)
}

/// Appends what stands before the closing `"`; gives the bytes taken, the quote included.
fn double_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                let hex = text.get(at + 2..at + 4).and_then(hex_byte);
                match (*text.get(at + 1)?, hex) {
                    (b'x', Some(byte)) => {
                        word.push(byte);
                        at += 4;
                        continue;
                    }
                    (b'n', _) => word.push(b'\n'),
                    (b'r', _) => word.push(b'\r'),
                    (b't', _) => word.push(b'\t'),
                    (b'b', _) => word.push(0x08),
                    (b'a', _) => word.push(0x07),
                    (other, _) => word.push(other),
                }
                at += 2;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'\'' => return Some(at + 1),
            b'\\' if text.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    Some(digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let lossy = |word: Vec<u8>| String::from_utf8_lossy(&word).into_owned();
        split(line.as_bytes()).map(|words| words.into_iter().map(lossy).collect())
    }

    #[test]
    fn blanks_quotes_and_escapes() {
        assert_eq!(words("save 60 1"), Some(vec!["save".into(), "60".into(), "1".into()]));
        assert_eq!(words("  a \t b "), Some(vec!["a".into(), "b".into()]));
        assert_eq!(words(r#"a "" b"#), Some(vec!["a".into(), String::new(), "b".into()]));
        assert_eq!(words(r#""\x41\n\q""#), Some(vec!["A\nq".into()]));
        assert_eq!(words(r"'it\'s \n'"), Some(vec![r"it's \n".into()]));
        assert_eq!(words(r#"ab"cd ef" g"#), Some(vec!["abcd ef".into(), "g".into()]));
        assert_eq!(words(""), Some(vec![]));
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in ["\"a", "'a", "\"a\"b", "'a'b", "a \"b\\\"", "\""] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn quoting_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split(quote(&all).as_bytes()), Some(vec![all]));
        assert_eq!(quote(b"--bla \"x\""), r#""--bla \"x\"""#);
    }

    #[test]
    fn trimming_leaves_the_inside() {
        assert_eq!(trim(b" \t a b \r\n"), b"a b");
        assert_eq!(trim(b" \t"), b"");
    }
}
