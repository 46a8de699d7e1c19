//! What commands on deadlines write into the log.

use crate::server::Ours;
use crate::session::run::Server;
use crate::waiters::Tape;
use crate::wire::Wire;

const COMMANDS: &str = "\
SET k v
EXPIREAT k 9999999999
expireat k 9999999990 lt xx
EXPIREAT k 9999999999 NX
PEXPIREAT k 9999999999999 GT
pexpireat k 9999999999998 lt
PERSIST k
EXPIREAT k 1 NX
HSET h a 1 b 2 c 3 d 4
HEXPIREAT h 9999999999 FIELDS 2 a b
HEXPIREAT h 9999999998 lt fields 3 a none c
HPEXPIREAT h 9999999999999 NX FIELDS 2 a d
hpexpireat h 9999999999999 xx Fields 2 a none
HPERSIST h FIELDS 2 a none
HPERSIST h FIELDS 2 a none
HEXPIREAT h 1 FIELDS 2 a b
HGETEX h EXAT 9999999999 FIELDS 2 c none
HGETEX h PERSIST FIELDS 2 c none
HGETEX h PXAT 1 FIELDS 2 c d
HSETEX h EXAT 9999999999 FIELDS 2 a 1 b 2
hsetex h FNX PXAT 9999999999999 FIELDS 1 c 3
HSETEX h FXX KEEPTTL FIELDS 1 c 4
HSETEX h FIELDS 1 e 5
HSETEX h PXAT 1 FIELDS 2 e 6 f 7
HGETDEL h FIELDS 3 a none c
HGETDEL h FIELDS 1 none
HINCRBYFLOAT h g 1.5
";

/// The append-only file of Redis 8.0 after the same commands.
const LOG: &str = "\
SELECT 0
SET k v
PEXPIREAT k 9999999999000
PEXPIREAT k 9999999990000 lt xx
PEXPIREAT k 9999999999999 GT
pexpireat k 9999999999998 lt
PERSIST k
DEL k
HSET h a 1 b 2 c 3 d 4
HPEXPIREAT h 9999999999000 FIELDS 2 a b
HPEXPIREAT h 9999999998000 lt fields 2 a c
HPEXPIREAT h 9999999999999 NX FIELDS 1 d
hpexpireat h 9999999999999 xx Fields 1 a
HPERSIST h FIELDS 2 a none
MULTI
HDEL h a
HDEL h b
EXEC
HPEXPIREAT h 9999999999000 FIELDS 2 c none
HPERSIST h FIELDS 2 c none
MULTI
HDEL h c
HDEL h d
EXEC
HSETEX h PXAT 9999999999000 FIELDS 2 a 1 b 2
hsetex h FNX PXAT 9999999999999 FIELDS 1 c 3
HSETEX h FXX KEEPTTL FIELDS 1 c 4
HSETEX h FIELDS 1 e 5
MULTI
HDEL h e
HDEL h f
EXEC
HDEL h a none c
HSET h g 1.5
";

#[test]
fn deadlines_are_logged_as_the_genuine_server_logs_them() {
    let server = Ours::start(&[]).unwrap();
    let tape = Tape::attach(&server);
    let mut client = Wire::connect(server.addr()).unwrap();
    for line in COMMANDS.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        client.call(&words).unwrap();
    }
    assert_eq!(tape.lines(), LOG);
}
