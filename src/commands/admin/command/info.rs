//! COMMAND INFO: one command as ten items.

use crate::command::categories::categories;
use crate::command::row::flag;
use crate::command::spec::{Begin, Find, KeySpec, Spec};
use crate::commands::table;
use crate::resp::out::Items;

/// Flags that are told, in the order in which they are.
const FLAGS: &[(u32, &str)] = &[
    (flag::WRITE, "write"),
    (flag::READONLY, "readonly"),
    (flag::DENYOOM, "denyoom"),
    (flag::ADMIN, "admin"),
    (flag::PUBSUB, "pubsub"),
    (flag::NOSCRIPT, "noscript"),
    (flag::BLOCKING, "blocking"),
    (flag::LOADING, "loading"),
    (flag::STALE, "stale"),
    (flag::SKIP_MONITOR, "skip_monitor"),
    (flag::SKIP_SLOWLOG, "skip_slowlog"),
    (flag::ASKING, "asking"),
    (flag::FAST, "fast"),
    (flag::NO_AUTH, "no_auth"),
    (flag::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (flag::NO_ASYNC_LOADING, "no_async_loading"),
    (flag::NO_MULTI, "no_multi"),
    (flag::MOVABLEKEYS, "movablekeys"),
    (flag::ALLOW_BUSY, "allow_busy"),
];

/// Writes the description of a command, with those of its subcommands.
pub(super) fn describe(items: &mut Items<'_>, spec: &Spec) {
    items.array(10);
    items.text(&spec.name);
    items.int(spec.arity.into());
    let flags: Vec<&str> =
        FLAGS.iter().filter(|(bit, _)| spec.has(*bit)).map(|(_, name)| *name).collect();
    items.set(flags.len());
    for name in flags {
        items.simple(name);
    }
    let (first, last, step) = legacy_range(&spec.keys);
    items.int(first);
    items.int(last);
    items.int(step);
    let categories: Vec<&str> = categories(spec).collect();
    items.set(categories.len());
    for name in categories {
        items.simple(&format!("@{name}"));
    }
    let tips = tips(spec);
    items.array(tips.len());
    tips.iter().for_each(|tip| items.text(tip));
    items.array(spec.keys.len());
    for (rule, key) in spec.keys.iter().enumerate() {
        key_spec(items, spec.access[rule], key);
    }
    let mut subcommands: Vec<usize> = spec.subcommands.values().copied().collect();
    subcommands.sort_unstable();
    items.array(subcommands.len());
    for id in subcommands {
        describe(items, &table().specs[id]);
    }
}

/// Advice for those who route commands or compare replies.
fn tips(spec: &Spec) -> Vec<String> {
    let varies = [
        (flag::VARIES, "nondeterministic_output"),
        (flag::VARIES_IN_ORDER, "nondeterministic_output_order"),
    ];
    let (request, response) = spec.row.route;
    let policies = [("request_policy", request), ("response_policy", response)];
    let varies = varies.iter().filter(|(bit, _)| spec.has(*bit)).map(|(_, tip)| tip.to_string());
    let stated = policies.iter().filter(|(_, policy)| !policy.is_empty());
    varies.chain(stated.map(|(name, policy)| format!("{name}:{policy}"))).collect()
}

/// First key, last key and step as clients older than key specs know them.
fn legacy_range(keys: &[KeySpec]) -> (i64, i64, i64) {
    let ranges = keys.iter().filter_map(|key| match (key.begin, key.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let last = i64::from(last) + if last >= 0 { first as i64 } else { 0 };
            Some((first as i64, last, step as i64))
        }
        _ => None,
    });
    if let (1, Some(only)) = (keys.len(), ranges.clone().next()) {
        return only;
    }
    let mut found: Option<(i64, i64)> = None;
    for (first, last, step) in ranges {
        let follows = found.is_none_or(|(_, before)| before == first - 1);
        if step != 1 || !follows {
            continue;
        }
        // A negative last key counts from the end, which is beyond any other.
        found = Some(match found {
            Some((begin, before)) => {
                (begin.min(first), if before < 0 || last < 0 { last.min(before) } else { last })
            }
            None => (first, last),
        });
    }
    found.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

pub(super) fn write_words(items: &mut Items<'_>, words: &[&str]) {
    items.set(words.len());
    for word in words {
        items.simple(word);
    }
}

fn key_spec(items: &mut Items<'_>, access: &[&str], key: &KeySpec) {
    items.map(3);
    items.text("flags");
    write_words(items, access);
    items.text("begin_search");
    match key.begin {
        Begin::Index(index) => {
            rule(items, "index", &[("index", index as i64)]);
        }
        Begin::Keyword(word, from) => {
            items.map(2);
            items.text("type");
            items.text("keyword");
            items.text("spec");
            items.map(2);
            items.text("keyword");
            items.text(word);
            items.text("startfrom");
            items.int(from.into());
        }
        Begin::Unknown => rule(items, "unknown", &[]),
    }
    items.text("find_keys");
    match key.find {
        Find::Range { last, step, limit } => {
            let figures =
                [("lastkey", last.into()), ("keystep", step as i64), ("limit", limit as i64)];
            rule(items, "range", &figures);
        }
        Find::KeyNum { number, first, step } => {
            let figures = [
                ("keynumidx", number as i64),
                ("firstkey", first as i64),
                ("keystep", step as i64),
            ];
            rule(items, "keynum", &figures);
        }
        Find::Unknown => rule(items, "unknown", &[]),
    }
}

fn rule(items: &mut Items<'_>, kind: &str, figures: &[(&str, i64)]) {
    items.map(2);
    items.text("type");
    items.text(kind);
    items.text("spec");
    items.map(figures.len());
    for (name, value) in figures {
        items.text(name);
        items.int(*value);
    }
}
