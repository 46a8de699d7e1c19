//! Do two servers agree on what a sequence led to?
//!
//! Replies must be equal; looser only where the order is free, where chance decides, or where the
//! clock shows. What chance draws must come from what was listed just before.

use std::collections::HashSet;

use crate::play::{Command, Outcome};
use crate::session::compare::agrees;
use crate::session::parse::Mark;
use crate::show;
use crate::wire::Reply;

/// Their elements come in any order.
const FREE: &[&str] = &["KEYS", "SMEMBERS", "SUNION", "SINTER", "SDIFF", "HKEYS", "HVALS"];

/// Chance decides what they answer.
const DRAWS: &[&str] = &["SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY"];

/// A scan that is not the whole: where it goes on is each server's own affair.
const PART: &str = "a part";

const SCANS: &[&str] = &["SCAN", "SSCAN", "HSCAN", "ZSCAN"];

/// In the descriptions of streams: what depends on the clock or on the shape of a tree.
const UNSTEADY: &[&[u8]] =
    &[b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes"];

/// From here on an integer in a description of a stream is a moment.
const MOMENT: i64 = 1_000_000_000_000;

/// The first difference: how many commands it took, and what it is.
pub fn difference(
    commands: &[Command],
    ours: &Outcome,
    theirs: &Outcome,
) -> Option<(usize, String)> {
    let mut queued: Vec<&[Vec<u8>]> = Vec::new();
    for (at, command) in commands.iter().enumerate() {
        let (a, b) = (&ours.replies[at], &theirs.replies[at]);
        let words = inner(command);
        let (a, b) = match (a, b) {
            (Reply::Array(a), Reply::Array(b)) if is(command, "EXEC") => {
                let lines = |replies: &[Reply]| -> Vec<Vec<String>> {
                    let pairs = queued.iter().zip(replies);
                    pairs.map(|(words, reply)| comparable(words, reply, None)).collect()
                };
                let (x, y) = (lines(a), lines(b));
                let pairs = queued.iter().zip(x.iter().zip(&y));
                let same =
                    a.len() == b.len() && pairs.into_iter().all(|(w, (x, y))| alike(w, x, y));
                if same {
                    continue;
                }
                (x.concat(), y.concat())
            }
            _ => {
                let before = at.checked_sub(1).filter(|at| lists(&commands[*at], words));
                let listed = |outcome: &Outcome| before.map(|at| leaves(&outcome.replies[at]));
                let (of_ours, of_theirs) = (listed(ours), listed(theirs));
                (comparable(words, a, of_ours), comparable(words, b, of_theirs))
            }
        };
        match b.first().map(String::as_str) {
            Some("QUEUED") => queued.push(words),
            Some(first) if first.starts_with("(error)") && !is(command, "EXEC") => {}
            _ if is(command, "EXEC") || is(command, "MULTI") || is(command, "DISCARD") => {
                queued.clear()
            }
            _ => {}
        }
        if !alike(words, &a, &b) {
            return Some((at + 1, contrast("", &a, &b)));
        }
    }
    rest(commands.len(), ours, theirs)
}

/// Whether the command lists what the draw draws from.
fn lists(command: &Command, draw: &[Vec<u8>]) -> bool {
    let of_all = is(command, "KEYS") && command[1..] == [b"*"] && draw.len() == 1;
    let lists = ["SMEMBERS", "HGETALL", "ZRANGE"].iter().any(|name| is(command, name));
    of_all || lists && draw.len() > 1 && command.get(1) == draw.get(1)
}

/// Both sides from the first line on in which they differ.
fn contrast(title: &str, ours: &[String], theirs: &[String]) -> String {
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let from = |lines: &[String]| {
        lines[same..].iter().take(12).map(|line| format!("    {line}\n")).collect::<String>()
    };
    format!("{title}  ours, from line {same}\n{}  genuine\n{}", from(ours), from(theirs))
}

/// A difference in the events or in the dataset.
fn rest(length: usize, ours: &Outcome, theirs: &Outcome) -> Option<(usize, String)> {
    if ours.events != theirs.events {
        return Some((length, contrast("  events\n", &ours.events, &theirs.events)));
    }
    if ours.dataset != theirs.dataset {
        let only = |these: &[String], those: &[String]| {
            let lines = these.iter().filter(|line| !those.contains(line));
            lines.map(|line| format!("    {line}\n")).collect::<String>()
        };
        let (a, b) = (only(&ours.dataset, &theirs.dataset), only(&theirs.dataset, &ours.dataset));
        return Some((length, format!("  dataset\n  ours\n{a}  genuine\n{b}")));
    }
    None
}

/// The command that a script runs, or the command itself.
pub fn inner(command: &Command) -> &[Vec<u8>] {
    let script = is(command, "EVAL") || is(command, "EVAL_RO");
    let keys = command.get(2).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    match keys {
        Some(keys) if script => command.get(3usize.saturating_add(keys)..).unwrap_or(command),
        _ => command,
    }
}

fn is(command: &Command, name: &str) -> bool {
    command.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn upper(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_uppercase()
}

/// Whether two comparable replies to the command agree.
fn alike(words: &[Vec<u8>], a: &[String], b: &[String]) -> bool {
    let name = words.first().map_or(String::new(), |word| upper(word));
    let tolerance = match name.as_str() {
        "TTL" | "EXPIRETIME" | "HTTL" | "HEXPIRETIME" | "OBJECT" => 30.0,
        "PTTL" | "PEXPIRETIME" | "HPTTL" | "HPEXPIRETIME" => 30_000.0,
        name if SCANS.contains(&name) && (is_part(a) || is_part(b)) => return true,
        _ => return a == b,
    };
    // Whether there is a deadline at all is no matter of time.
    let signs = |lines: &[String]| lines.iter().map(|l| l.contains(") -")).collect::<Vec<_>>();
    a.len() == b.len() && signs(a) == signs(b) && agrees(a, b, &[Mark::Approx(tolerance)])
}

fn is_part(lines: &[String]) -> bool {
    lines == [PART]
}

/// The reply as it is compared; `listed` is what the command before answered.
fn comparable(words: &[Vec<u8>], reply: &Reply, listed: Option<Vec<String>>) -> Vec<String> {
    let name = words.first().map_or(String::new(), |word| upper(word));
    // A map that went through Lua comes in the order of its table.
    let reply = &with_sorted_maps(reply);
    let has = |word: &str| words.iter().any(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    if matches!(reply, Reply::Error(_) | Reply::Status(_)) {
        return show::lines(reply);
    }
    match name.as_str() {
        "DUMP" => vec!["answered".into()],
        // Redis: a small integer is one object for all keys, and as old as its oldest use.
        "OBJECT" if has("IDLETIME") && matches!(reply, Reply::Int(_)) => vec!["an age".into()],
        "HGETALL" => sorted(reply, 2),
        "SORT" | "SORT_RO" if is_unsorted(words) || has("BY") && has("ALPHA") && has("LIMIT") => {
            vec![format!("{} items", leaves(reply).len())]
        }
        "SORT" | "SORT_RO" if has("BY") && has("ALPHA") => sorted(reply, 1),
        "XINFO" => show::lines(&steady(reply)),
        "XPENDING" => show::lines(&without_idle(reply)),
        name if FREE.contains(&name) => sorted(reply, 1),
        name if DRAWS.contains(&name) => drawn(words, reply, listed),
        name if SCANS.contains(&name) => {
            let cursor = words.get(if name == "SCAN" { 1 } else { 2 });
            match cursor.map(Vec::as_slice) {
                Some(b"0") => scanned(name, reply, has("NOVALUES")),
                _ => vec![PART.into()],
            }
        }
        _ => show::lines(reply),
    }
}

fn with_sorted_maps(reply: &Reply) -> Reply {
    let all = |items: &[Reply]| items.iter().map(with_sorted_maps).collect();
    match reply {
        Reply::Map(pairs) => {
            let mut pairs: Vec<_> =
                pairs.iter().map(|(k, v)| (with_sorted_maps(k), with_sorted_maps(v))).collect();
            pairs.sort_by_cached_key(|(key, _)| show::lines(key));
            Reply::Map(pairs)
        }
        Reply::Array(items) => Reply::Array(all(items)),
        Reply::Set(items) => Reply::Set(all(items)),
        _ => reply.clone(),
    }
}

/// A pattern without a star means "do not sort".
fn is_unsorted(words: &[Vec<u8>]) -> bool {
    let by = words.iter().position(|word| word.eq_ignore_ascii_case(b"BY"));
    by.and_then(|at| words.get(at + 1)).is_some_and(|pattern| !pattern.contains(&b'*'))
}

fn sorted(reply: &Reply, group: usize) -> Vec<String> {
    let rows = match reply {
        Reply::Array(items) | Reply::Set(items) => items.chunks(group).map(<[Reply]>::to_vec),
        _ => return show::lines(reply),
    };
    let kind = if matches!(reply, Reply::Set(_)) { "set" } else { "array" };
    let mut rows: Vec<_> =
        rows.map(|row| row.iter().flat_map(show::lines).collect::<Vec<_>>()).collect();
    rows.sort();
    std::iter::once(kind.to_string()).chain(rows.concat()).collect()
}

/// The texts and numbers in a reply, however deep.
fn leaves(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            items.iter().flat_map(leaves).collect()
        }
        Reply::Map(pairs) => {
            pairs.iter().flat_map(|(k, v)| [leaves(k), leaves(v)].concat()).collect()
        }
        _ => show::lines(reply),
    }
}

/// Of a draw: how many, whether they repeat when they must not, whether they were there.
fn drawn(words: &[Vec<u8>], reply: &Reply, listed: Option<Vec<String>>) -> Vec<String> {
    let found = leaves(reply);
    let kind = match reply {
        Reply::Array(items) if matches!(items.first(), Some(Reply::Array(_))) => "rows",
        Reply::Array(_) => "array",
        Reply::Set(_) => "set",
        Reply::Bulk(_) => "one",
        _ => return show::lines(reply),
    };
    let may_repeat = words.len() != 3 || words[2].starts_with(b"-");
    let different = found.iter().collect::<HashSet<_>>().len();
    let repeats = !may_repeat && different < found.len();
    let listed: HashSet<String> = listed.unwrap_or_default().into_iter().collect();
    let strays = found.iter().filter(|text| !listed.is_empty() && !listed.contains(*text)).count();
    vec![format!("{kind} of {}, repeats: {repeats}, strays: {strays}", found.len())]
}

/// A whole scan in free order, or [`PART`].
fn scanned(name: &str, reply: &Reply, no_values: bool) -> Vec<String> {
    let Reply::Array(parts) = reply else { return show::lines(reply) };
    let [Reply::Bulk(cursor), items] = &parts[..] else { return show::lines(reply) };
    let pairs = matches!(name, "ZSCAN" | "HSCAN") && !no_values;
    match &cursor[..] {
        b"0" => sorted(items, 1 + usize::from(pairs)),
        _ => vec![PART.into()],
    }
}

/// A description of a stream without what is unsteady.
fn steady(reply: &Reply) -> Reply {
    let masked = || Reply::Status(b"masked".to_vec());
    let is_unsteady =
        |label: Option<&Reply>| matches!(label, Some(Reply::Bulk(l)) if UNSTEADY.contains(&&l[..]));
    match reply {
        Reply::Int(at) if *at > MOMENT => masked(),
        Reply::Array(items) => {
            let steady = items.iter().enumerate().map(|(at, item)| {
                let label = at.checked_sub(1).and_then(|before| items.get(before));
                match item {
                    Reply::Int(n) if *n >= 0 && is_unsteady(label) => masked(),
                    _ => steady(item),
                }
            });
            Reply::Array(steady.collect())
        }
        Reply::Map(pairs) => {
            let steady = pairs.iter().map(|(k, v)| match v {
                Reply::Int(n) if *n >= 0 && is_unsteady(Some(k)) => (k.clone(), masked()),
                _ => (k.clone(), steady(v)),
            });
            Reply::Map(steady.collect())
        }
        _ => reply.clone(),
    }
}

fn without_idle(reply: &Reply) -> Reply {
    let Reply::Array(rows) = reply else { return reply.clone() };
    let rows = rows.iter().map(|row| match row {
        Reply::Array(cells) if cells.len() == 4 => {
            let mut cells = cells.clone();
            cells[2] = Reply::Status(b"masked".to_vec());
            Reply::Array(cells)
        }
        _ => row.clone(),
    });
    Reply::Array(rows.collect())
}
