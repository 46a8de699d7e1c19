//! Numbers of the largest kind, where a sum or a product of them would not fit any more.

use redouble::resp::reader::Value;
use redouble::Server;

const LARGEST: &str = "9223372036854775807";

#[test]
fn nobody_is_as_old_as_the_largest_age() {
    let server = Server::start().unwrap();
    let mut other = server.client();
    other.command(&["PING"]);
    assert_eq!(server.command(&["CLIENT", "KILL", "MAXAGE", LARGEST]), 0);
    assert_eq!(other.command(&["PING"]), "PONG");
}

#[test]
fn a_soft_limit_for_the_longest_time_cuts_nobody_off() {
    let server = Server::start().unwrap();
    let limit = format!("pubsub 0 1 {LARGEST}");
    let limits = ["CONFIG", "SET", "client-output-buffer-limit", &limit];
    assert_eq!(server.command(&limits), "OK");
    server.clock().freeze();
    let mut listener = server.client();
    listener.command(&["SUBSCRIBE", "news"]);
    // What is told within one transaction waits for its reader.
    let mut teller = server.client();
    teller.command(&["MULTI"]);
    (0..3).for_each(|_| drop(teller.command(&["PUBLISH", "news", "x"])));
    assert_eq!(teller.command(&["EXEC"]), [1, 1, 1]);
    assert_eq!(listener.message().unwrap(), ["message", "news", "x"]);
}

#[test]
fn what_is_slow_after_the_longest_time_is_never_slow() {
    let server = Server::start().unwrap();
    for name in ["slowlog-log-slower-than", "latency-monitor-threshold"] {
        for threshold in ["18446744073709552", "9223372036854775", LARGEST] {
            assert_eq!(server.command(&["CONFIG", "SET", name, threshold]), "OK");
            server.command(&["SET", "key", "value"]);
        }
    }
    assert_eq!(server.command(&["SLOWLOG", "LEN"]), 0);
    assert_eq!(server.command(&["LATENCY", "LATEST"]), Value::Array(Vec::new()));
}
