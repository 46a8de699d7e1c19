//! The categories of access control that commands belong to.

use super::row::flag;
use super::spec::Spec;
use crate::acl::CATEGORIES;

/// Categories of access control, in Redis's order.
pub fn categories(spec: &Spec) -> impl Iterator<Item = &'static str> + '_ {
    const GROUPS: &[(&str, &str)] = &[
        ("generic", "keyspace"),
        ("set", "set"),
        ("sorted-set", "sortedset"),
        ("list", "list"),
        ("hash", "hash"),
        ("string", "string"),
        ("bitmap", "bitmap"),
        ("hyperloglog", "hyperloglog"),
        ("geo", "geo"),
        ("stream", "stream"),
        ("pubsub", "pubsub"),
        ("connection", "connection"),
        ("transactions", "transaction"),
        ("scripting", "scripting"),
    ];
    // Where the group of the documentation is not the category.
    const OTHERWISE: &[(&str, &[&str])] = &[
        ("object", &[]),
        ("asking", &["connection"]),
        ("readonly", &["connection"]),
        ("readwrite", &["connection"]),
        ("wait", &["connection"]),
        ("waitaof", &["connection"]),
        ("sort", &["set", "sortedset", "list"]),
        ("sort_ro", &["set", "sortedset", "list"]),
        ("xgroup", &[]),
        ("xinfo", &[]),
        ("client", &[]),
        ("pubsub", &[]),
        ("pubsub|help", &[]),
    ];
    // Redis: a container as such belongs to no group.
    let of_group = GROUPS
        .iter()
        .find(|(group, _)| *group == spec.group && !spec.has(flag::CONTAINER))
        .map(|(_, name)| *name);
    let otherwise = OTHERWISE.iter().find(|(name, _)| *name == spec.name).map(|(_, names)| *names);
    let is_command = spec.name.split('|').next() == Some("command");
    let is_of = move |name: &str| match otherwise {
        Some(names) => names.contains(&name),
        None => of_group == Some(name) || (is_command && name == "connection"),
    };
    let applies = move |name: &&&'static str| match **name {
        "read" => spec.has(flag::READONLY) && spec.group != "scripting",
        "write" => spec.has(flag::WRITE),
        "admin" => spec.has(flag::ADMIN | flag::ADMIN_CATEGORY),
        "fast" => spec.has(flag::FAST),
        "slow" => !spec.has(flag::FAST),
        "blocking" => spec.has(flag::BLOCKING),
        "dangerous" => spec.has(flag::DANGEROUS | flag::ADMIN_CATEGORY),
        "keyspace" => spec.has(flag::KEYSPACE) || is_of("keyspace"),
        "pubsub" => spec.has(flag::PUBSUB) || is_of("pubsub"),
        name => is_of(name),
    };
    CATEGORIES.iter().filter(applies).copied()
}
