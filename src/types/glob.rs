//! Glob patterns as KEYS, SCAN, PSUBSCRIBE and CONFIG GET match them: `*`, `?`, `[a-c]`, `[^x]`
//! and `\` before a special byte.
//!
//! Invariant: the time is at most pattern length times text length. Only the last `*` is ever
//! tried again, because a longer stretch for an earlier one cannot help a later one.

/// Nested stars beyond this never match. // Redis: protection against abusive patterns.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`. `nocase` ignores the case of ASCII letters.
///
/// An empty text is matched by the empty pattern only. // Redis: not even by `*`.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // Pattern behind the last star, and where in the text it was tried last.
    let mut star: Option<(&[u8], usize)> = None;
    let mut stars = 0;
    loop {
        if at == text.len() || rest.is_empty() {
            if at > 0 && at == text.len() {
                rest = &rest[rest.iter().take_while(|&&byte| byte == b'*').count()..];
            }
            if rest.is_empty() && at == text.len() {
                return true;
            }
            if at == text.len() {
                // Everything behind the star takes one byte each: starting later is no help.
                return false;
            }
        } else if rest[0] == b'*' {
            rest = &rest[rest.iter().take_while(|&&byte| byte == b'*').count()..];
            stars += 1;
            if rest.is_empty() || stars > STARS_MAX {
                return rest.is_empty();
            }
            star = Some((rest, at));
            continue;
        } else if let Some(behind) = match_one(rest, text[at], nocase) {
            rest = behind;
            at += 1;
            continue;
        }
        let Some((behind, tried)) = star else { return false };
        star = Some((behind, tried + 1));
        (rest, at) = (behind, tried + 1);
    }
}

/// Matches one byte against the first element of a pattern that is not empty and starts with no
/// star; the pattern behind it, if they match.
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<&[u8]> {
    let same = |left: u8, right: u8| left == right || (nocase && left.eq_ignore_ascii_case(&right));
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let (negated, class) = match rest {
                [b'^', class @ ..] => (true, class),
                _ => (false, rest),
            };
            let (found, behind) = match_class(class, byte, nocase);
            (found != negated).then_some(behind)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => same(*literal, byte).then_some(rest),
        [] => None,
    }
}

/// (whether `byte` is in the class, the pattern behind its `]`). A class without end reaches to
/// the end of the pattern.
fn match_class(mut class: &[u8], byte: u8, nocase: bool) -> (bool, &[u8]) {
    let fold = |byte: u8| if nocase { byte.to_ascii_lowercase() } else { byte };
    let mut found = false;
    loop {
        class = match class {
            [] => return (found, class),
            [b'\\', literal, rest @ ..] => {
                // Redis: an escaped byte keeps its case even when case is ignored.
                found |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => return (found, rest),
            [from, b'-', to, rest @ ..] => {
                // Redis: bytes compare as signed, and are swapped before their case is folded.
                let (from, to) = (*from as i8, *to as i8);
                let (low, high) = (from.min(to), from.max(to));
                let low = fold(low as u8) as i8;
                let high = fold(high as u8) as i8;
                found |= (low..=high).contains(&(fold(byte) as i8));
                rest
            }
            [literal, rest @ ..] => {
                found |= fold(*literal) == fold(byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::glob_match;

    #[test]
    fn elements() {
        let yes = [
            ("", ""),
            ("*", "x"),
            ("**", "xy"),
            ("a*", "a"),
            ("a*c", "abbbc"),
            ("a**c", "ac"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[\\]]", "]"),
            ("[abc", "b"),
            ("[^", "x"),
            ("*a*b*c", "xxaxxbxxc"),
            ("[a-", "-"),
            ("[a-]", "^"),
            ("a[x]*", "ax"),
        ];
        for (pattern, text) in yes {
            assert!(glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        let no = [
            ("*", ""),
            ("", "x"),
            ("a", "b"),
            ("a?", "a"),
            ("[", "["),
            ("[]", "x"),
            ("[^a]", "a"),
            ("*a", "ab"),
            ("h[^e]llo", "hello"),
            ("\\a\\", "a"),
            ("A", "a"),
            ("[a-]", "-"),
        ];
        for (pattern, text) in no {
            assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        assert!(glob_match(b"A[X-Z]?\\b", b"ayqB", true));
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = b"a*".repeat(200);
        let mut text = vec![b'a'; 5_000];
        text.push(b'b');
        assert!(glob_match(&pattern, &text, false));
        let mut pattern = pattern;
        pattern.push(b'c');
        assert!(!glob_match(&pattern, &text, false));
    }
}
