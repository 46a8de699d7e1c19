//! `server.client()`: which values are replies, and which are messages between them.

use redouble::resp::reader::Value;
use redouble::Server;

fn id_of(client: &mut redouble::Connection) -> String {
    match client.command(&["CLIENT", "ID"]) {
        Value::Int(id) => id.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whose_messages_went_elsewhere_hears_that_they_do_not_any_more() {
    let server = Server::start().unwrap();
    let [mut tracks, mut hears] = [server.client(), server.client()];
    let id = id_of(&mut hears);
    tracks.command(&["HELLO", "3"]);
    hears.command(&["HELLO", "3"]);
    assert_eq!(tracks.command(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]), "OK");
    tracks.command(&["GET", "key"]);
    server.command(&["SET", "key", "x"]);
    let forgets = |key: &str| Value::Array(vec![Value::Bulk(key.into())]);
    let told = Value::Push(vec![Value::Bulk("invalidate".into()), forgets("key")]);
    assert_eq!(hears.message().unwrap(), told);
    tracks.command(&["GET", "key"]);
    assert_eq!(server.command(&["CLIENT", "KILL", "ID", &id]), 1);
    drop(hears);
    // Whoever has its place is another one.
    let mut next = server.client();
    next.command(&["HELLO", "3"]);
    server.command(&["SET", "key", "y"]);
    assert_eq!(tracks.command(&["PING"]), "PONG");
    let told = [Value::Bulk("tracking-redir-broken".into()), Value::Int(id.parse().unwrap())];
    assert_eq!(tracks.message().unwrap(), told);
    assert_eq!(next.command(&["PING"]), "PONG");
    assert!(next.message_so_far().is_none());
}

#[test]
fn a_reply_that_is_too_deep_for_a_value_is_an_error() {
    let server = Server::start().unwrap();
    let script = "local t = {} for i = 1, 200 do t = {t} end return t";
    let wanted = Value::Error("ERR the reply is nested more than 128 levels deep".into());
    assert_eq!(server.command(&["EVAL", script, "0"]), wanted);
    let mut client = server.client();
    let replies = client.pipeline(&[&["EVAL", script, "0"][..], &["PING"]]);
    assert_eq!(replies, [wanted, Value::Simple("PONG".into())]);
}

#[test]
fn many_replies_at_once_are_all_read() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let large = "x".repeat(300_000);
    let mut requests = vec![vec!["SET", "key", &large]];
    requests.extend((0..2000).map(|_| vec!["ECHO", "short"]));
    requests.extend((0..5).map(|_| vec!["GET", "key"]));
    let replies = client.pipeline(&requests);
    assert!(replies[1..2001].iter().all(|reply| *reply == "short"));
    assert!(replies[2001..].iter().all(|reply| *reply == *large));
    assert_eq!(replies.len(), 2006);
}

#[test]
fn keys_beyond_the_limit_are_forgotten_bit_by_bit() {
    let server = Server::builder().config("enable-debug-command", "yes").start().unwrap();
    let mut tracks = server.client();
    tracks.command(&["HELLO", "3"]);
    tracks.command(&["CLIENT", "TRACKING", "ON"]);
    let keys: Vec<String> = (0..3000).map(|number| format!("key:{number}")).collect();
    let request: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(|key| &**key)).collect();
    tracks.command(&request);
    server.command(&["DEBUG", "PAUSE-CRON", "1"]);
    let kept = || server.shared().lock().tracking.keys();
    server.command(&["CONFIG", "SET", "tracking-table-max-keys", "1000"]);
    assert_eq!(kept(), 2900);
    server.command(&["PING"]);
    assert_eq!(kept(), 2700);
    // Nobody need call for the rest to go.
    server.command(&["DEBUG", "PAUSE-CRON", "0"]);
    let mut told = 0;
    while told < 2000 {
        match tracks.message().unwrap() {
            Value::Push(items) if items[0] == "invalidate" => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kept(), 1000);
    assert!(tracks.message_so_far().is_none());
}
