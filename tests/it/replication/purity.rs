//! Stream purity: what a replica receives of each command that writes, applied by a genuine
//! server, gives the data of the primary. Each write command of the table has a form here, by
//! name; a new command without one fails the test.
//!
//! In a form `@last` stands for the last bulk reply, and `@other` for another server's port.

use std::collections::BTreeSet;

use crate::play::Player;
use crate::server::Genuine;
use crate::session::run::Server as _;
use crate::wire::Reply;
use crate::words::split;

use super::{builder, follows, port, start};

/// The data on which the forms work, in database 0.
const SETUP: &str = "
    SET s 12
    SET f 1.5
    SET t text EX 1000
    RPUSH l 1 2 3 4 5
    RPUSH m a b
    SADD a 1 2 3 x
    SADD b 2 3 4
    HSET h f 1 g 2.5 k v
    ZADD z 1 a 2 b 3 c
    ZADD y 2 b 5 e
    GEOADD g 13.36 38.11 palermo 15.08 37.50 catania
    PFADD p a b c
    PFADD q c d
    XADD x 1-1 f v
    XADD x 2-1 f w
    XGROUP CREATE x gr 0
    XREADGROUP GROUP gr one COUNT 1 STREAMS x >
";

/// `name: form`, several forms of a command in several lines, several commands with ` ; `.
const FORMS: &str = r#"
append: APPEND s 345
bitfield: BITFIELD s SET u8 0 200 INCRBY i5 100 1
bitop: BITOP XOR new s t
blmove: BLMOVE l m LEFT RIGHT 1
blmpop: BLMPOP 1 2 none l LEFT COUNT 2
blpop: BLPOP none l 1
brpop: BRPOP l 1
brpoplpush: BRPOPLPUSH l m 1
bzmpop: BZMPOP 1 1 z MAX COUNT 2
bzpopmax: BZPOPMAX z 1
bzpopmin: BZPOPMIN z 1
copy: COPY t new REPLACE
copy: COPY z new DB 1
decr: DECR s
decrby: DECRBY s 7
del: DEL s l none
eval: EVAL "redis.call('SPOP', 'a'); return redis.call('INCRBYFLOAT', 'f', 0.25)" 0
evalsha: SCRIPT LOAD "return redis.call('ZINCRBY', 'z', 1, 'a')" ; EVALSHA @last 0
expire: EXPIRE s 1000
expireat: EXPIREAT s 99999999999
fcall: FUNCTION LOAD @library ; FCALL wr 0
flushall: FLUSHALL
flushdb: FLUSHDB ASYNC
function|delete: FUNCTION LOAD @library ; FUNCTION DELETE lf
function|flush: FUNCTION FLUSH
function|load: FUNCTION LOAD @library
function|restore: FUNCTION LOAD @library ; FUNCTION DUMP ; FUNCTION RESTORE @last FLUSH
geoadd: GEOADD g CH 2.35 48.85 paris
georadius: GEORADIUS g 15 37 200 km STORE new
georadiusbymember: GEORADIUSBYMEMBER g palermo 200 km STOREDIST new
geosearchstore: GEOSEARCHSTORE new g FROMLONLAT 15 37 BYRADIUS 200 km ASC COUNT 1
getdel: GETDEL t
getex: GETEX t PX 500000
getex: GETEX t PERSIST
getset: GETSET s new
hdel: HDEL h f none
hexpire: HEXPIRE h 1000 FIELDS 1 f
hexpireat: HEXPIREAT h 9999999999 FIELDS 2 f g
hgetdel: HGETDEL h FIELDS 1 f
hgetex: HGETEX h EX 1000 FIELDS 1 f
hincrby: HINCRBY h f 3
hincrbyfloat: HINCRBYFLOAT h g 0.1
hmset: HMSET h a 1 b 2
hpersist: HPEXPIRE h 500000 FIELDS 2 f g ; HPERSIST h FIELDS 1 f
hpexpire: HPEXPIRE h 500000 FIELDS 1 f
hpexpire: HPEXPIRE h 0 FIELDS 1 f
hpexpireat: HPEXPIREAT h 9999999999999 FIELDS 1 k
hset: HSET h new 1 f 2
hsetex: HSETEX h EX 1000 FIELDS 2 a 1 b 2
hsetnx: HSETNX h new 1
incr: INCR s
incrby: INCRBY s 30
incrbyfloat: INCRBYFLOAT f 0.1
linsert: LINSERT l BEFORE 3 new
lmove: LMOVE l l RIGHT LEFT
lmpop: LMPOP 2 none l RIGHT COUNT 9
lpop: LPOP l 2
lpush: LPUSH l a b
lpushx: LPUSHX l a
lrem: LREM l 0 3
lset: LSET l 1 new
ltrim: LTRIM l 1 2
migrate: MIGRATE 127.0.0.1 @other s 0 5000 REPLACE
move: MOVE t 1
mset: MSET s 1 new 2
msetnx: MSETNX new 1 newer 2
persist: PERSIST t
pexpire: PEXPIRE s 500000
pexpire: PEXPIRE s -1
pexpireat: PEXPIREAT s 99999999999999
pfadd: PFADD p x y z
pfcount: PFCOUNT p
pfdebug: PFDEBUG TODENSE p
pfmerge: PFMERGE new p q
psetex: PSETEX s 500000 v
publish: INCR s ; PUBLISH channel message
rename: RENAME t new
renamenx: RENAMENX l new
restore: DUMP z ; RESTORE new 500000 @last REPLACE
restore-asking: DUMP l ; RESTORE-ASKING new 0 @last
rpop: RPOP l
rpoplpush: RPOPLPUSH l l
rpush: RPUSH new 1 2
rpushx: RPUSHX l 9
sadd: SADD a 9 y
sdiffstore: SDIFFSTORE new a b
set: SET s v EX 1000 GET
set: SET s v KEEPTTL XX
setbit: SETBIT s 77 1
setex: SETEX s 1000 v
setnx: SETNX new v
setrange: SETRANGE s 40 tail
sinterstore: SINTERSTORE new a b
smove: SMOVE a b 1
sort: SORT l DESC STORE new
sort: RPUSH m 1 2 3 4 5 6 7 8 ; SORT m BY none_* ALPHA LIMIT 2 6 STORE new
sort: SADD a c d e f g h i ; SORT a BY none_* ALPHA STORE new
sort: SORT z BY none_* ALPHA LIMIT 1 2 GET # GET s STORE new
spop: SPOP a 2
spop: SPOP a 99
spublish: INCR s ; SPUBLISH channel message
srem: SREM a 1 none
sunionstore: SUNIONSTORE new a b
swapdb: SWAPDB 0 1
unlink: UNLINK l z
xack: XACK x gr 1-1
xadd: XADD x MAXLEN ~ 100 * f v
xadd: XADD x NOMKSTREAM MAXLEN 1 3-* f v
xautoclaim: XAUTOCLAIM x gr two 0 0
xclaim: XCLAIM x gr two 0 1-1 RETRYCOUNT 7
xdel: XDEL x 1-1
xgroup|create: XGROUP CREATE new gr $ MKSTREAM
xgroup|createconsumer: XGROUP CREATECONSUMER x gr new
xgroup|delconsumer: XGROUP DELCONSUMER x gr one
xgroup|destroy: XGROUP DESTROY x gr
xgroup|setid: XGROUP SETID x gr 2-1
xreadgroup: XREADGROUP GROUP gr two STREAMS x >
xreadgroup: XREADGROUP GROUP gr two NOACK BLOCK 10 STREAMS x >
xsetid: XSETID x 9-9
xtrim: XTRIM x MAXLEN 1
zadd: ZADD z GT CH 7 a 8 new
zdiffstore: ZDIFFSTORE new 2 z y
zincrby: ZINCRBY z 0.25 a
zinterstore: ZINTERSTORE new 2 z y WEIGHTS 2 3
zmpop: ZMPOP 1 z MIN COUNT 2
zpopmax: ZPOPMAX z 2
zpopmin: ZPOPMIN z
zrangestore: ZRANGESTORE new z 0 1 REV
zrem: ZREM z a none
zremrangebylex: ZREMRANGEBYLEX z - +
zremrangebyrank: ZREMRANGEBYRANK z 0 0
zremrangebyscore: ZREMRANGEBYSCORE z 2 3
zunionstore: ZUNIONSTORE new 2 z y AGGREGATE MAX
"#;

/// What `@library` stands for in a form.
const LIBRARY: &str = "#!lua name=lf
redis.register_function('wr', function() return redis.call('INCR', 's') end)";

/// Commands that write by running others, or that the table marks as passed on.
const ALSO: [&str; 3] = ["eval", "evalsha", "fcall"];

fn forms() -> impl Iterator<Item = (&'static str, &'static str)> {
    FORMS.lines().filter_map(|line| line.split_once(": "))
}

fn writers() -> BTreeSet<String> {
    let flag = redouble::command::flag::WRITE;
    let specs = redouble::commands::table().specs.iter();
    let leaves = specs.filter(|spec| spec.subcommands.is_empty() && spec.has(flag));
    leaves.map(|spec| spec.name.clone()).collect()
}

#[test]
fn each_command_that_writes_has_a_form() {
    let known: BTreeSet<&str> = forms().map(|(name, _)| name).collect();
    let writers = writers();
    let missing: Vec<&String> =
        writers.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no form of {missing:?}: add one to FORMS");
    assert!(ALSO.iter().all(|name| known.contains(name)));
}

/// Runs a line of commands; the first error, if there is one.
fn run(player: &mut Player, line: &str, other: &str) -> Option<String> {
    let mut last = Vec::new();
    for command in line.split(" ; ") {
        let mut words = split(command.trim()).expect("words");
        for word in &mut words {
            match word.as_slice() {
                b"@last" => *word = last.clone(),
                b"@library" => *word = LIBRARY.as_bytes().to_vec(),
                b"@other" => *word = other.as_bytes().to_vec(),
                _ => {}
            }
        }
        match player.call(&words).expect("an answer") {
            Reply::Error(text) => return Some(format!("{command}: {}", text.escape_ascii())),
            Reply::Bulk(bytes) => last = bytes,
            _ => {}
        }
    }
    None
}

/// The lag of a group is computed when somebody asks. Redis: 7.0 computes it otherwise.
fn without_lags(line: &str) -> String {
    let mut parts = line.split("\"lag\"");
    let mut kept = parts.next().unwrap_or_default().to_string();
    for part in parts {
        // After its number in the list: `(nil)`, or `(integer)` and another word.
        let words: Vec<&str> = part.split_whitespace().collect();
        let rest = if words.get(1) == Some(&"(integer)") { 3 } else { 2 };
        kept += &words.get(rest..).unwrap_or_default().join(" ");
    }
    kept
}

fn everything(player: &mut Player) -> (Vec<String>, Reply) {
    let mut lines = player.dataset("0", true).expect("a dataset");
    lines.push("-- 1".to_string());
    lines.extend(player.dataset("1", true).expect("a dataset"));
    player.call(&["SELECT", "0"]).expect("an answer");
    let lines = lines.iter().map(|line| without_lags(line)).collect();
    let libraries = player.call(&["FUNCTION", "LIST", "WITHCODE"]).expect("an answer");
    (lines, libraries)
}

#[test]
fn a_genuine_replica_gets_what_each_command_wrote() {
    let Some(line) = Genuine::command_line() else {
        eprintln!("skipped: REDIS_SERVER names no genuine server to be a replica");
        return;
    };
    let (primary, other) = (start(builder()), start(builder()));
    let port_of_primary = port(&primary);
    let words = ["--logfile", "log", "--replicaof", "127.0.0.1", &port_of_primary];
    let genuine = Genuine::start(&line, &words).expect("a genuine server");
    let mut player = Player::new(primary.addr().expect("an address")).expect("connects");
    let mut mirror = Player::new(genuine.addr()).expect("connects");
    // Without a replica offsets stand still.
    follows(&genuine, &primary);
    let (writers, mut skipped) = (writers(), Vec::new());
    for (name, form) in forms() {
        let known = mirror.call(&["COMMAND", "INFO", name]).expect("an answer");
        // Redis: which nothing it is depends on the version.
        if [Reply::NilArray, Reply::NilBulk].map(|none| Reply::Array(vec![none])).contains(&known) {
            skipped.push(name);
            continue;
        }
        for line in ["FLUSHALL", "FUNCTION FLUSH"].into_iter().chain(SETUP.trim().lines()) {
            assert_eq!(run(&mut player, line, ""), None);
        }
        let before = super::info(&primary, "master_repl_offset");
        assert_eq!(run(&mut player, form, &port(&other)), None, "{name}");
        let after = super::info(&primary, "master_repl_offset");
        assert!(before != after || !writers.contains(name), "{name} wrote nothing");
        follows(&genuine, &primary);
        assert_eq!(everything(&mut mirror), everything(&mut player), "{name}: {form}");
    }
    if !skipped.is_empty() {
        eprintln!("not known to the genuine server: {}", skipped.join(" "));
    }
}
