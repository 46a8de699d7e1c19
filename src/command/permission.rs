//! The keys of a request with what is done to them, and whether a user may send it.

use super::access::{self, Access};
use super::row::flag;
use super::spec::{Begin, Find, Spec};
use crate::acl::{Demand, Denial, KeyUse, KeyUses, User};
use smallvec::SmallVec;

/// Keys of a request: which word each is, and what is done to it.
pub type Keys = SmallVec<[(usize, Access); 4]>;

/// The keys in `argv`; `None` when the words make no sense, so that the command will refuse them.
pub fn keys(spec: &Spec, argv: &[&[u8]]) -> Option<Keys> {
    match spec.name.as_str() {
        "set" => return Some(SmallVec::from_slice(&[(1, access::words_of_set(argv))])),
        "bitfield" => return Some(SmallVec::from_slice(&[(1, access::words_of_bitfield(argv))])),
        "sort" => return Some(keys_of_sort(spec, argv)),
        "migrate" => return Some(keys_of_migrate(spec, argv)),
        _ => {}
    }
    let mut found = Keys::new();
    let mut positions = Vec::new();
    for (rule, words) in spec.keys.iter().zip(&spec.access) {
        if words.contains(&"not_key") {
            continue;
        }
        positions.clear();
        rule.positions(argv, &mut positions)?;
        found.extend(positions.iter().map(|at| (*at, *words)));
    }
    Some(found)
}

/// The last STORE counts, unless it is the argument of another option: no rule could tell.
///
/// Redis takes a destination for the next option (`STORE by STORE x`), and so lets a user store
/// where it may not; here the words are read as SORT itself reads them.
fn keys_of_sort(spec: &Spec, argv: &[&[u8]]) -> Keys {
    let access = |rule: usize| spec.access.get(rule).copied().unwrap_or_default();
    let mut found = SmallVec::from_slice(&[(1, access(0))]);
    let mut at = 2;
    while let Some(word) = argv.get(at) {
        at += match word.to_ascii_lowercase().as_slice() {
            b"limit" => 3,
            b"get" | b"by" => 2,
            b"store" if at + 1 < argv.len() => {
                found.truncate(1);
                found.push((at + 1, access(2)));
                2
            }
            _ => 1,
        };
    }
    found
}

/// One key, or all words behind KEYS when that one is empty.
fn keys_of_migrate(spec: &Spec, argv: &[&[u8]]) -> Keys {
    let access = spec.access.first().copied().unwrap_or_default();
    let mut at = 6;
    while let Some(word) = argv.get(at) {
        at += match word.to_ascii_lowercase().as_slice() {
            b"keys" if argv[3].is_empty() => {
                return (at + 1..argv.len()).map(|at| (at, access)).collect();
            }
            b"keys" => return Keys::new(),
            b"auth" => 2,
            b"auth2" => 3,
            _ => 1,
        };
    }
    SmallVec::from_slice(&[(3, access)])
}

/// Where a word such as STORE stands twice a rule finds the key behind the first one, and the
/// command writes to the one behind the last: a user needs the right to both. Redis asks for the
/// first only.
fn add_later_destinations(spec: &Spec, argv: &[&[u8]], found: &mut Keys) {
    for (rule, access) in spec.keys.iter().zip(&spec.access) {
        let (Begin::Keyword(word, from), Find::Range { last: 0, .. }) = (rule.begin, rule.find)
        else {
            continue;
        };
        let from = usize::try_from(from).unwrap_or(1);
        let behind = argv.iter().zip(1..argv.len()).skip(from);
        for (_, at) in behind.filter(|(one, _)| one.eq_ignore_ascii_case(word.as_bytes())) {
            if !found.iter().any(|(known, _)| *known == at) {
                found.push((at, *access));
            }
        }
    }
}

/// Calls `ask` with what a request asks for.
fn with_demand<R>(spec: &Spec, argv: &[&[u8]], ask: impl FnOnce(&Demand<'_>) -> R) -> R {
    let find_keys = || -> KeyUses {
        let mut found = keys(spec, argv).unwrap_or_default();
        if spec.name != "sort" {
            add_later_destinations(spec, argv, &mut found);
        }
        found.iter().map(|(at, access)| KeyUse { at: *at, needs: access::needs(access) }).collect()
    };
    ask(&Demand::new(spec.id, spec.has(flag::NO_AUTH), argv, spec.channels, &find_keys))
}

/// Whether a user may send a request.
pub fn judge(user: &User, spec: &Spec, argv: &[&[u8]]) -> Result<(), Denial> {
    with_demand(spec, argv, |demand| user.judge(demand))
}

/// Whether a user who sends a request may read all keys with it, not only those that it names.
pub fn reads_all_keys(user: &User, spec: &Spec, argv: &[&[u8]]) -> bool {
    with_demand(spec, argv, |demand| user.reads_all_keys(demand))
}
