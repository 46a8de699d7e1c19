//! What commands on sorted sets and positions write into the log.

use crate::waiters::Tape;

const COMMANDS: &str = "\
ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h
ZADD z 1 a
ZADD z XX CH 2 a
ZADD z INCR 1.5 a
ZADD z NX INCR 1.5 a
zincrby z 0.25 a
ZINCRBY z 0 a
ZREM z none
ZREM z a none
ZPOPMIN z
ZPOPMAX z 2
ZPOPMIN none
ZPOPMIN z 0
ZMPOP 2 none z MIN
ZMPOP 1 z MAX COUNT 2
ZMPOP 1 none MAX
BZPOPMIN none z 0
ZADD z 3 c
BZPOPMAX z 0
ZADD z 1 a 2 b 3 c 4 d
BZMPOP 0 1 z MIN COUNT 9
ZADD z 1 a 2 b 3 c 4 d
ZREMRANGEBYRANK z 0 0
ZREMRANGEBYRANK z 9 9
ZREMRANGEBYSCORE z 2 2
ZREMRANGEBYLEX z [c [c
ZADD z 1 a 2 b
ZUNIONSTORE d 1 z
ZINTERSTORE d 1 z WEIGHTS 2
ZDIFFSTORE d 2 z z
ZDIFFSTORE d 2 z z
ZRANGESTORE d z 0 0
ZRANGESTORE d z 9 9
ZRANGESTORE d z 9 9
ZREM z a b
GEOADD g NX CH 1 1 a 2 2 b
GEOADD g NX 1 1 a
GEOSEARCHSTORE e g FROMLONLAT 1 1 BYRADIUS 500 km STOREDIST
GEORADIUS g 1 1 500 km STORE e
GEORADIUSBYMEMBER g a 500 km
GEORADIUS g 50 50 1 m STORE e
GEORADIUS g 50 50 1 m STORE e
";

/// The append-only file of Redis 8.0 after the same commands.
const LOG: &str = "\
SELECT 0
ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h
ZADD z XX CH 2 a
ZADD z INCR 1.5 a
zincrby z 0.25 a
ZREM z a none
ZPOPMIN z
ZPOPMAX z 2
ZPOPMIN z 1
ZPOPMAX z 2
ZPOPMIN z
ZADD z 3 c
ZPOPMAX z
ZADD z 1 a 2 b 3 c 4 d
ZPOPMIN z 4
ZADD z 1 a 2 b 3 c 4 d
ZREMRANGEBYRANK z 0 0
ZREMRANGEBYSCORE z 2 2
ZREMRANGEBYLEX z [c [c
ZADD z 1 a 2 b
ZUNIONSTORE d 1 z
ZINTERSTORE d 1 z WEIGHTS 2
ZDIFFSTORE d 2 z z
ZRANGESTORE d z 0 0
ZRANGESTORE d z 9 9
ZREM z a b
zadd g NX CH 3377822707026402 a 3378191666521995 b
GEOSEARCHSTORE e g FROMLONLAT 1 1 BYRADIUS 500 km STOREDIST
GEORADIUS g 1 1 500 km STORE e
GEORADIUS g 50 50 1 m STORE e
";

#[test]
fn sorted_sets_are_logged_as_the_genuine_server_logs_them() {
    assert_eq!(Tape::of(COMMANDS), LOG);
}
