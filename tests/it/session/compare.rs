//! Is this reply the expected one, given the marks?

use super::parse::Mark;
use crate::show;
use crate::wire::Reply;

/// The lines of a reply as the marks want them compared and recorded.
pub fn shown(reply: &Reply, marks: &[Mark]) -> Vec<String> {
    let mut reply = reply.clone();
    for mark in marks {
        match mark {
            Mark::Unordered(group) => sort_innermost(&mut reply, *group),
            Mark::UnorderedRows => sort_rows(&mut reply, 1),
            _ => {}
        }
    }
    let mut lines = show::lines(&reply);
    if marks.iter().any(|mark| matches!(mark, Mark::Save(_))) {
        lines = vec!["*".into()];
    }
    lines
}

/// Whether the lines are as expected.
pub fn agrees(expected: &[String], seen: &[String], marks: &[Mark]) -> bool {
    if expected == seen {
        return true;
    }
    let (expected, seen) = (expected.join("\n"), seen.join("\n"));
    marks.iter().any(|mark| match mark {
        Mark::Match => globs(expected.as_bytes(), seen.as_bytes()),
        Mark::Approx(tolerance) => near(&expected, &seen, *tolerance),
        Mark::Save(_) => !seen.starts_with("(error)"),
        _ => false,
    })
}

fn sort_rows(reply: &mut Reply, group: usize) {
    let by_text = |row: &[Reply]| row.iter().flat_map(show::lines).collect::<Vec<_>>();
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            let mut rows: Vec<_> = items.chunks(group).map(<[Reply]>::to_vec).collect();
            rows.sort_by_cached_key(|row| by_text(row));
            *items = rows.concat();
        }
        Reply::Map(pairs) => pairs.sort_by_cached_key(|(key, _)| show::lines(key)),
        _ => {}
    }
}

fn sort_innermost(reply: &mut Reply, group: usize) {
    let nested = |item: &Reply| {
        matches!(item, Reply::Array(_) | Reply::Set(_) | Reply::Push(_) | Reply::Map(_))
    };
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items)
            if items.iter().any(nested) =>
        {
            items.iter_mut().for_each(|item| sort_innermost(item, group));
        }
        Reply::Map(pairs) => {
            pairs.iter_mut().for_each(|(_, value)| sort_innermost(value, group));
            sort_rows(reply, group);
        }
        _ => sort_rows(reply, group),
    }
}

/// `*` stands for any text, line ends too.
fn globs(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((back, from)) = star {
            (p, t) = (back + 1, from + 1);
            star = Some((back, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Equal text around numbers that differ by `tolerance` at most.
fn near(expected: &str, seen: &str, tolerance: f64) -> bool {
    let (left, right) = (pieces(expected), pieces(seen));
    left.len() == right.len()
        && left.iter().zip(&right).all(|(a, b)| match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= tolerance,
            _ => a == b,
        })
}

fn pieces(text: &str) -> Vec<&str> {
    let numeric = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let mut pieces = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices().skip(1) {
        if numeric(c) != numeric(text[from..].chars().next().expect("not empty")) {
            pieces.push(&text[from..at]);
            from = at;
        }
    }
    pieces.push(&text[from..]);
    pieces
}

#[test]
fn marks_loosen_exactly_what_they_name() {
    let lines = |text: &str| vec![text.to_string()];
    assert!(!agrees(&lines("(integer) 10"), &lines("(integer) 9"), &[]));
    assert!(agrees(&lines("(integer) 10"), &lines("(integer) 9"), &[Mark::Approx(1.0)]));
    assert!(!agrees(&lines("(integer) 10"), &lines("(integer) 8"), &[Mark::Approx(1.0)]));
    assert!(!agrees(&lines("(integer) 1"), &lines("(nil)"), &[Mark::Approx(1.0)]));
    assert!(agrees(&lines("\"id=*\\n\""), &lines("\"id=3 a\\n\""), &[Mark::Match]));
    assert!(!agrees(&lines("\"id=*\\n\""), &lines("\"id=3 a\\r\""), &[Mark::Match]));
    let bulk = |text: &str| Reply::Bulk(text.into());
    let scan = Reply::Array(vec![bulk("7"), Reply::Array(vec![bulk("b"), bulk("a")])]);
    let sorted = shown(&scan, &[Mark::Unordered(1)]);
    assert_eq!(sorted, ["1) \"7\"", "2) 1) \"a\"", "   2) \"b\""]);
    let pairs = Reply::Array(["b", "1", "a", "2"].map(bulk).to_vec());
    assert_eq!(shown(&pairs, &[Mark::Unordered(2)])[0], "1) \"a\"");
}
