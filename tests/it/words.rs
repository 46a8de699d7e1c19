//! Words of a command line, quoted as redis-cli quotes them.
//!
//! `"a\x00\n"` and `'it\'s'` as there; on top of that `"x"*1000` repeats a quoted piece, which
//! redis-cli refuses, so that no line means two things.

/// Splits a line into words; the message says what is wrong with it.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut rest = line.trim_start();
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, after) = match rest.as_bytes()[0] {
            b'"' => quoted(&rest[1..])?,
            b'\'' => single_quoted(&rest[1..])?,
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        let (word, after) = repeated(word, after)?;
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!("text after a closing quote: {after}"));
        }
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn repeated(word: Vec<u8>, after: &str) -> Result<(Vec<u8>, &str), String> {
    let Some(digits) = after.strip_prefix('*') else { return Ok((word, after)) };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let times = digits[..end].parse().map_err(|_| format!("no number after *: {after}"))?;
    Ok((word.repeat(times), &digits[end..]))
}

fn quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut word = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((word, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => word.push(b'\n'),
                Some('r') => word.push(b'\r'),
                Some('t') => word.push(b'\t'),
                Some('b') => word.push(8),
                Some('a') => word.push(7),
                Some('x') => {
                    let digits = text.get(at + 2..at + 4).unwrap_or("");
                    let byte = u8::from_str_radix(digits, 16);
                    word.push(byte.map_err(|_| format!("bad \\x in {text}"))?);
                    chars.nth(1);
                }
                Some(other) => word.extend(other.to_string().bytes()),
                None => break,
            },
            other => word.extend(other.to_string().bytes()),
        }
    }
    Err(format!("no closing quote: \"{text}"))
}

fn single_quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut word = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\'") {
            word.push(b'\'');
            rest = after;
        } else if c == '\'' {
            return Ok((word, &rest[1..]));
        } else {
            word.extend(c.to_string().bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    Err(format!("no closing quote: '{text}"))
}

/// Quotes bytes so that [`split`] gives them back; long runs of one byte as `"x"*1000`.
pub fn quote(bytes: &[u8]) -> String {
    let run = bytes.len() > 64 && bytes.iter().all(|b| *b == bytes[0]);
    let mut text = String::from('"');
    for &byte in if run { &bytes[..1] } else { bytes } {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    if run {
        text.push_str(&format!("*{}", bytes.len()));
    }
    text
}

#[test]
fn what_is_quoted_is_split_into_the_same_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [&all[..], b"", b"a b", b"\"'\\", &[b'x'; 1000], &[0; 65]] {
        assert_eq!(split(&quote(bytes)).unwrap(), [bytes]);
    }
    assert_eq!(split(r#"a 'it\'s' "" ""#).unwrap_err(), "no closing quote: \"");
    assert_eq!(
        split(r#"a  'it\'s\n' b*2 "z"*3"#).unwrap(),
        [&b"a"[..], b"it's\\n", b"b*2", b"zzz"]
    );
}
