//! What commands do to their keys: facts that follow neither from the synopsis nor from the shape
//! of the handler. COMMAND INFO and GETKEYSANDFLAGS tell them, and rights on keys follow from them.

use crate::acl::Needs;

/// The words for what a command does to the keys that one rule finds.
pub type Access = &'static [&'static str];

/// Words, and the commands whose first rule for keys has them; `name#1` stands for a later rule.
/// What is not here reads (`RO access`) or changes (`RW update`) its keys.
const ACCESS: &[(&[&str], &str)] = &[
    (&["OW", "insert"], "msetnx renamenx#1 setnx"),
    (
        &["OW", "update"],
        "bitop copy#1 georadius#1 georadius#2 georadiusbymember#1 georadiusbymember#2 \
         geosearchstore mset psetex rename#1 restore restore-asking sdiffstore setex sinterstore \
         sort#2 sunionstore zdiffstore zinterstore zrangestore zunionstore",
    ),
    (&["RM", "delete"], "del unlink"),
    (
        &["RO"],
        "exists hexists hlen hstrlen llen memory|usage object|encoding object|freq \
         object|idletime object|refcount scard sismember strlen touch type watch xlen zcard",
    ),
    (
        &["RO", "access"],
        "bitop#1 copy georadius georadiusbymember geosearchstore#1 pfmerge#1 sdiffstore#1 \
         sinterstore#1 sort sort#1 sunionstore#1 xreadgroup zdiffstore#1 zinterstore#1 \
         zrangestore#1 zunionstore#1",
    ),
    (&["RW", "access"], "pfcount pfdebug"),
    (
        &["RW", "access", "delete"],
        "blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin getdel hgetdel lmove lmpop \
         lpop migrate rename renamenx rpop rpoplpush smove spop zmpop zpopmax zpopmin",
    ),
    (&["RW", "access", "delete", "incomplete"], "migrate#1"),
    (&["RW", "access", "insert"], "pfmerge"),
    (
        &["RW", "access", "update"],
        "decr decrby eval evalsha fcall getex getset hgetex hincrby hincrbyfloat incr incrby \
         incrbyfloat move setbit zincrby",
    ),
    (&["RW", "access", "update", "variable_flags"], "bitfield set"),
    (
        &["RW", "delete"],
        "hdel lrem ltrim srem xautoclaim xdel xgroup|delconsumer xgroup|destroy xtrim zrem \
         zremrangebylex zremrangebyrank zremrangebyscore",
    ),
    (
        &["RW", "insert"],
        "append blmove#1 brpoplpush#1 hsetnx linsert lmove#1 lpush lpushx pfadd rpoplpush#1 rpush \
         rpushx sadd smove#1 xgroup|create xgroup|createconsumer",
    ),
    (&["not_key"], "spublish ssubscribe sunsubscribe"),
];

/// The words for a rule (counted from 0) of a command, which may change the data unless
/// `is_readonly`.
pub fn words(command: &str, rule: usize, is_readonly: bool) -> Access {
    let is = |entry: &str| match entry.split_once('#') {
        Some((name, number)) => name == command && number.parse() == Ok(rule),
        None => entry == command && rule == 0,
    };
    let known = ACCESS.iter().find(|(_, entries)| entries.split(' ').any(is));
    known.map_or(if is_readonly { &["RO", "access"] } else { &["RW", "update"] }, |row| row.0)
}

/// The rights that such an access needs.
pub fn needs(access: Access) -> Needs {
    let mut needs = Needs::NONE;
    for word in access {
        needs = match *word {
            "access" => needs.and(Needs::READ),
            "insert" | "delete" | "update" => needs.and(Needs::WRITE),
            _ => needs,
        };
    }
    needs
}

/// The words for SET, which depend on what it is asked to do.
pub fn words_of_set(argv: &[&[u8]]) -> Access {
    let reads = argv.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"GET"));
    if reads {
        &["RW", "access", "update"]
    } else {
        &["OW", "update"]
    }
}

/// The words for BITFIELD, which depend on what it is asked to do; what makes no sense might write.
pub fn words_of_bitfield(argv: &[&[u8]]) -> Access {
    let mut rest = argv.get(2..).unwrap_or_default();
    let reads = loop {
        let Some((word, after)) = rest.split_first() else { break true };
        let words = match word.to_ascii_lowercase().as_slice() {
            b"get" => 2,
            b"overflow" => 1,
            _ => break false,
        };
        match after.get(words..) {
            Some(after) => rest = after,
            None => break false,
        }
    };
    if reads {
        &["RO", "access"]
    } else {
        &["RW", "access", "update"]
    }
}
