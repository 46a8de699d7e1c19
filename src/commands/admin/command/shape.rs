//! The shape of a command's arguments as COMMAND DOCS gives it, made from the synopsis.
//!
//! A synopsis says what may stand where, but not what a choice or a block is called, nor that a
//! `start` is a number here and an id there. The tables below say that, in the words that clients
//! know; where a synopsis and the documented shape differ, `SHAPES` has a synopsis of its own.

use crate::command::synopsis::{self, Node};

/// An argument as clients that give hints know it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Argument {
    pub(super) name: String,
    /// What people are shown for it.
    pub(super) display: String,
    pub(super) kind: &'static str,
    /// The literal word before it.
    pub(super) token: Option<String>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// Each repetition begins with the literal word.
    pub(super) repeats_token: bool,
    /// Which of the command's descriptions of keys it belongs to, unless counting tells.
    pub(super) key_spec: Option<i64>,
    /// Of a choice or a block.
    pub(super) inside: Vec<Argument>,
}

/// Synopses only for documentation. A place that ends in `=` names the argument behind it.
const SHAPES: &[(&str, &str)] = &[
    (
        "bitfield",
        "key operation= [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] write-operation= \
         <SET encoding offset value | INCRBY encoding offset increment> ...]",
    ),
    (
        "client|kill",
        "filter= <old-format= ip:port | new-format= <[ID client-id] | [TYPE <NORMAL | MASTER | \
         SLAVE | REPLICA | PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | \
         [SKIPME <YES | NO>] | [MAXAGE maxage] ...>>",
    ),
    (
        "cluster|setslot",
        "slot subcommand= <importing= IMPORTING node-id | migrating= MIGRATING node-id | \
         node= NODE node-id | STABLE>",
    ),
    ("debug", ""),
    (
        "migrate",
        "host port key-selector= <key | empty-string= \"\"> destination-db timeout [COPY] \
         [REPLACE] authentication= [auth= AUTH password | AUTH2 username password] \
         keys= [KEYS key [key ...]]",
    ),
    ("module|loadex", "path [CONFIG name value [CONFIG name value ...]] [ARGS args [args ...]]"),
    ("xtrim", "key trim= <<MAXLEN | MINID> [= | ~] threshold [LIMIT count]>"),
];

/// Words that open a block of all places behind them, and the name of the block.
const BLOCKS: &[(&str, &str)] = &[
    ("AUTH", "auth"),
    ("AUTH2", "auth2"),
    ("CONFIG", "configs"),
    ("FIELDS", "fields"),
    ("FROMLONLAT", "fromlonlat"),
    ("GET", "get-block"),
    ("GROUP", "group-block"),
    ("INCRBY", "incrby-block"),
    ("LIMIT", "limit"),
    ("SET", "set-block"),
    ("STREAMS", "streams"),
];

/// Names of arguments: by command (or all), by the literal word and the place or the names inside.
const NAMES: &[(&str, &str, &str)] = &[
    ("", "$", "new-id"),
    ("", "*", "auto-id"),
    ("", "=", "equal"),
    ("", "~", "approximately"),
    ("", "ADDR ip:port", "addr"),
    ("", "FILTERBY module-name-category-pattern", "filterby"),
    ("", "LADDR ip:port", "laddr"),
    ("", "OVERFLOW wrap-sat-fail", "overflow-block"),
    ("", "SKIPME yes-no", "skipme"),
    ("", "alpha", "sorting"),
    ("", "and-or-xor-not", "operation"),
    ("", "asc-desc", "order"),
    ("", "async-sync", "flush-type"),
    ("", "auto-id-id", "id-selector"),
    ("", "before-after", "where"),
    ("", "byscore-bylex", "sortby"),
    ("", "byte-bit", "unit"),
    ("", "ch", "change"),
    ("", "circle-box", "by"),
    ("", "count-any", "count-block"),
    ("", "count-withscores", "options"),
    ("", "count-withvalues", "options"),
    ("", "end-unit", "end-unit-block"),
    ("", "equal-approximately", "operator"),
    ("", "field-value", "data"),
    ("", "flush-append-replace", "policy"),
    ("", "fnx-fxx", "condition"),
    ("", "full-count", "full-block"),
    ("", "gt-lt", "comparison"),
    ("", "host-port-no-one", "args"),
    ("", "id-new-id", "id-selector"),
    ("", "incr", "increment"),
    ("", "key-value", "data"),
    ("", "left-right", "where"),
    ("", "libname-libver", "attr"),
    ("", "longitude-latitude-member", "data"),
    ("", "m-km-ft-mi", "unit"),
    ("", "maxlen-minid", "strategy"),
    ("", "member-fromlonlat", "from"),
    ("", "min-idle-time-start-end-count-consumer", "filters"),
    ("", "min-max", "where"),
    ("", "normal-master-replica-pubsub", "client-type"),
    ("", "normal-master-slave-replica-pubsub", "client-type"),
    ("", "nosave-save", "save-selector"),
    ("", "nx-xx", "condition"),
    ("", "nx-xx-gt-lt", "condition"),
    ("", "on-off-skip", "action"),
    ("", "overflow-block-write-operation", "write"),
    ("", "parameter-value", "data"),
    ("", "protover-auth-clientname", "arguments"),
    ("", "radius-unit", "circle"),
    ("", "score-member", "data"),
    ("", "seconds-milliseconds-unix-time-seconds-unix-time-milliseconds-keepttl", "expiration"),
    ("", "seconds-milliseconds-unix-time-seconds-unix-time-milliseconds-persist", "expiration"),
    ("", "start-end-unit", "range"),
    ("", "start-slot-end-slot", "range"),
    ("", "start-end-unit-block", "range"),
    ("", "storekey-storedistkey", "store"),
    ("", "strategy-operator-threshold-count", "trim"),
    ("", "sum-min-max", "aggregate"),
    ("", "timeout-error", "unblock-type"),
    ("", "width-height-unit", "box"),
    ("", "write-all", "mode"),
    ("", "yes-sync-no", "mode"),
    ("acl|log", "count-reset", "operation"),
    ("client|caching", "yes-no", "mode"),
    ("client|no-evict", "on-off", "enabled"),
    ("client|no-touch", "on-off", "enabled"),
    ("client|tracking", "on-off", "status"),
    ("cluster|failover", "force-takeover", "options"),
    ("cluster|reset", "hard-soft", "reset-type"),
    ("georadius", "STORE key", "storekey"),
    ("georadius", "STOREDIST key", "storedistkey"),
    ("georadiusbymember", "STORE key", "storekey"),
    ("georadiusbymember", "STOREDIST key", "storedistkey"),
    ("sort", "BY pattern", "by-pattern"),
    ("sort", "GET pattern", "get-pattern"),
    ("sort_ro", "BY pattern", "by-pattern"),
    ("sort_ro", "GET pattern", "get-pattern"),
    ("xgroup|create", "ENTRIESREAD entries-read", "entriesread"),
    ("xgroup|setid", "ENTRIESREAD entries-read", "entriesread"),
];

/// Types of places that their names do not tell: commands, the name, the type.
const KINDS: &[(&str, &str, &str)] = &[
    ("acl|genpass", "bits", "integer"),
    ("bitfield setbit", "value", "integer"),
    ("blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin", "timeout", "double"),
    ("client|kill", "maxage", "integer"),
    ("cluster|keyslot", "key", "string"),
    ("cluster|meet", "cluster-bus-port", "integer"),
    ("cluster|set-config-epoch", "config-epoch", "integer"),
    ("function|list", "library-name-pattern", "string"),
    ("hincrbyfloat incrbyfloat", "increment", "double"),
    ("lolwut", "version", "integer"),
    ("restore restore-asking", "frequency", "integer"),
    ("restore restore-asking", "ttl", "integer"),
    ("xautoclaim xpending xrange xrevrange zrange", "start", "string"),
    ("xgroup|create xgroup|setid", "entriesread", "integer"),
    ("xpending", "min-idle-time", "integer"),
    ("xpending xrange xrevrange", "end", "string"),
    ("xsetid", "entries-added", "integer"),
    ("zcount zrangebyscore zremrangebyscore zrevrangebyscore", "max", "double"),
    ("zcount zrangebyscore zremrangebyscore zrevrangebyscore", "min", "double"),
    ("zinter zinterstore zunion zunionstore", "weight", "integer"),
    ("zrange", "stop", "string"),
];

/// Keys that are not simply the next ones: commands, the name, the number.
const KEY_SPECS: &[(&str, &str, i64)] = &[
    ("lcs", "key2", 0),
    ("sort", "destination", 2),
    ("sort sort_ro", "by-pattern", 1),
    ("sort sort_ro", "get-pattern", 1),
];

/// The arguments of a command whose synopsis has these nodes.
pub(super) fn of(command: &str, nodes: &[Node]) -> Vec<Argument> {
    let own = SHAPES.iter().find(|(name, _)| *name == command);
    let own = own.map(|(name, shape)| synopsis::parse(&format!("{name} {shape}")).1);
    let mut found = arguments(command, own.as_deref().unwrap_or(nodes));
    settle(command, &mut found);
    found
}

/// What depends on the whole: types, keys, and two choices of one name in a row.
fn settle(command: &str, found: &mut [Argument]) {
    let among = |commands: &str| commands.split(' ').any(|name| name == command);
    for argument in found.iter_mut() {
        let named = argument.name.as_str();
        if let Some((.., kind)) = KINDS.iter().find(|row| among(row.0) && row.1 == named) {
            argument.kind = kind;
        }
        let row = KEY_SPECS.iter().find(|row| among(row.0) && row.1 == named);
        argument.key_spec = row.map(|row| row.2);
        settle(command, &mut argument.inside);
    }
    let is_side = |argument: &&mut Argument| argument.name == "where";
    let mut sides: Vec<&mut Argument> = found.iter_mut().filter(is_side).collect();
    if let [from, to] = &mut sides[..] {
        from.name = "wherefrom".to_string();
        to.name = "whereto".to_string();
    }
}

/// The arguments of a sequence: a literal word belongs to the place behind it.
fn arguments(command: &str, nodes: &[Node]) -> Vec<Argument> {
    let mut found: Vec<Argument> = Vec::new();
    let mut given = None;
    let mut rest = nodes;
    while let Some((node, after)) = rest.split_first() {
        rest = after;
        let argument = match node {
            Node::Hole(name) => match name.strip_suffix('=') {
                Some(name) => {
                    given = Some(name);
                    continue;
                }
                None => place(name),
            },
            Node::Word(word) => {
                let (argument, taken) = behind(command, word, rest);
                rest = &rest[taken..];
                argument
            }
            Node::Group { choices, optional, repeats } => {
                group(command, choices, *optional, *repeats)
            }
        };
        let name = match given.take() {
            Some(name) => name.to_string(),
            None => known_name(command, &argument),
        };
        found.push(Argument { name, ..argument });
    }
    found
}

/// The argument that a literal word opens, and how many of the nodes behind it belong to it.
fn behind(command: &str, word: &str, rest: &[Node]) -> (Argument, usize) {
    let is_place = |node: &&Node| match node {
        Node::Hole(_) => true,
        Node::Group { optional, repeats, .. } => *repeats && !optional,
        Node::Word(_) => false,
    };
    let places = rest.iter().take_while(is_place).count();
    let block = BLOCKS.iter().find(|(opens, _)| *opens == word && places > 1);
    let token = Some(word.to_string());
    if let Some((_, name)) = block {
        let inside = arguments(command, &rest[..places]);
        let name = name.to_string();
        return (Argument { name, kind: "block", token, inside, ..Argument::default() }, places);
    }
    let follows = match rest.first() {
        Some(Node::Hole(name)) => place(name),
        Some(Node::Group { choices, optional: false, repeats }) => {
            group(command, choices, false, *repeats)
        }
        _ => return (literal(word), 0),
    };
    (Argument { token, ..follows }, 1)
}

/// The name that clients know an argument by.
fn known_name(command: &str, argument: &Argument) -> String {
    let name = &argument.name;
    let with_token = match &argument.token {
        Some(token) if argument.kind != "pure-token" => format!("{token} {name}"),
        _ => name.clone(),
    };
    let of = |(of, key, _): &&(&str, &str, &str)| {
        (of.is_empty() || *of == command) && (*key == with_token || key == name)
    };
    NAMES.iter().find(of).map_or(name.as_str(), |row| row.2).to_string()
}

fn literal(word: &str) -> Argument {
    let name = word.to_ascii_lowercase();
    Argument {
        display: name.clone(),
        name,
        kind: "pure-token",
        // A synopsis writes the empty word as two quotes.
        token: Some(word.trim_matches('"').to_string()),
        ..Argument::default()
    }
}

fn place(name: &str) -> Argument {
    let name = name.to_string();
    Argument { display: name.clone(), kind: kind(&name), name, ..Argument::default() }
}

fn group(command: &str, choices: &[Vec<Node>], optional: bool, multiple: bool) -> Argument {
    let several = |nodes: &[Node]| match arguments(command, nodes) {
        mut one if one.len() == 1 => one.swap_remove(0),
        inside => {
            let block = Argument { name: joined(&inside), kind: "block", ..Argument::default() };
            Argument { name: known_name(command, &block), inside, ..block }
        }
    };
    let argument = match choices {
        [only] => several(only),
        _ => {
            let inside: Vec<Argument> = choices.iter().map(|nodes| several(nodes)).collect();
            Argument { name: joined(&inside), kind: "oneof", inside, ..Argument::default() }
        }
    };
    Argument {
        optional: optional || argument.optional,
        multiple: multiple || argument.multiple,
        repeats_token: argument.repeats_token || multiple && argument.token.is_some(),
        ..argument
    }
}

fn joined(inside: &[Argument]) -> String {
    let names: Vec<&str> = inside.iter().map(|argument| argument.name.as_str()).collect();
    names.join("-")
}

/// The type of a place, told by its name.
fn kind(name: &str) -> &'static str {
    const INTEGERS: &[&str] = &[
        "seconds",
        "slot",
        "start-slot",
        "end-slot",
        "milliseconds",
        "count",
        "numkeys",
        "offset",
        "start",
        "end",
        "stop",
        "index",
        "increment",
        "decrement",
        "cursor",
        "limit",
        "db",
        "index1",
        "index2",
        "rank",
        "bit",
        "num-matches",
        "len",
        "min-match-len",
        "port",
        "destination-db",
        "numfields",
        "length",
        "client-id",
        "timeout",
        "protover",
        "numslaves",
        "numreplicas",
        "numlocal",
        "sec",
        "ms",
    ];
    const DOUBLES: &[&str] =
        &["score", "longitude", "latitude", "radius", "width", "height", "weight"];
    if crate::command::spec::is_key(name) {
        "key"
    } else if INTEGERS.contains(&name) {
        "integer"
    } else if DOUBLES.contains(&name) {
        "double"
    } else if name.starts_with("unix-time") || name.ends_with("-timestamp") {
        "unix-time"
    } else if name.ends_with("pattern") {
        "pattern"
    } else {
        "string"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::synopsis;

    #[test]
    fn words_belong_to_the_place_behind_them() {
        let (_, nodes) = synopsis::parse("SET key value [NX | XX] [EX seconds | KEEPTTL]");
        let found = of("set", &nodes);
        let shapes: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|argument| (argument.name.as_str(), argument.kind, argument.optional))
            .collect();
        assert_eq!(
            shapes,
            [
                ("key", "key", false),
                ("value", "string", false),
                ("condition", "oneof", true),
                ("seconds-keepttl", "oneof", true),
            ]
        );
        let expiry = &found[3].inside;
        assert_eq!((expiry[0].kind, expiry[0].token.as_deref()), ("integer", Some("EX")));
        assert_eq!(expiry[1].kind, "pure-token");
    }

    #[test]
    fn repeats_are_multiple() {
        let (_, nodes) = synopsis::parse("MSET key value [key value ...]");
        let found = of("set", &nodes);
        assert_eq!((found.len(), found[0].kind, found[0].multiple), (1, "block", true));
        assert_eq!(found[0].inside.len(), 2);
    }
}
