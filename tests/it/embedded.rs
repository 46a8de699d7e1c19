//! The server inside this process, called without a socket: what blocks ends, and what a
//! connection remembers is remembered.

use std::io::Write;
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use redouble::resp::reader::Value;
use redouble::Server;

#[test]
fn a_pause_holds_a_call_back_until_its_end() {
    let server = Server::start().unwrap();
    server.command(&["SET", "key", "v"]);
    server.clock().freeze();
    server.command(&["CLIENT", "PAUSE", "200", "ALL"]);
    let held = std::thread::spawn({
        let server = server.clone();
        move || server.command(&["GET", "key"])
    });
    while server.shared().lock().held_back.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    server.clock().advance(Duration::from_millis(201));
    assert_eq!(held.join().unwrap(), "v");
    server.command(&["CLIENT", "PAUSE", "1", "WRITE"]);
    server.clock().resume();
    assert_eq!(server.command(&["SET", "key", "w"]), "OK");
}

#[test]
fn shutdown_ends_the_server_and_those_who_wait() {
    let server = Server::start().unwrap();
    let waits = std::thread::spawn({
        let server = server.clone();
        move || server.command(&["BLPOP", "list", "0"])
    });
    while server.shared().lock().blocking.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let addr = server.addr().unwrap();
    assert_eq!(server.command(&["SHUTDOWN", "NOSAVE"]), Value::Null);
    assert!(matches!(waits.join().unwrap(), Value::Error(_)));
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_call_that_waits_ends_when_nobody_else_holds_the_server() {
    let server = Server::start().unwrap();
    let other = server.clone();
    let waits =
        |handle: Server| std::thread::spawn(move || handle.command(&["BLPOP", "list", "0"]));
    let calls = [waits(server.clone()), waits(server.clone())];
    while server.shared().lock().blocking.len() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(other);
    // There is a handle left: it still may push.
    server.command(&["RPUSH", "other", "x"]);
    assert_eq!(server.shared().lock().blocking.len(), 2);
    let (addr, shared) = (server.addr().unwrap(), std::sync::Arc::downgrade(server.shared()));
    drop(server);
    for call in calls {
        assert!(matches!(call.join().unwrap(), Value::Error(_)));
    }
    assert!(TcpStream::connect(addr).is_err());
    assert!(shared.upgrade().is_none(), "nothing of it is left");
}

#[test]
fn a_call_goes_on_when_a_clone_of_its_handle_is_dropped() {
    static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start().unwrap());
    let early = SERVER.clone();
    let waits = std::thread::spawn(|| SERVER.command(&["BLPOP", "list", "0"]));
    while SERVER.shared().lock().blocking.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let late = SERVER.clone();
    let latest = late.clone();
    [early, late, latest].into_iter().for_each(drop);
    assert_eq!(SERVER.command(&["RPUSH", "list", "x"]), Value::Int(1));
    assert_eq!(waits.join().unwrap(), ["list", "x"]);
}

/// A server whose scripts are slow soon.
fn soon_slow() -> Server {
    Server::builder().config("busy-reply-threshold", "20").start().unwrap()
}

fn begin_an_endless_script(server: &Server) -> TcpStream {
    let mut slow = TcpStream::connect(server.addr().unwrap()).unwrap();
    slow.write_all(b"EVAL 'while true do end' 0\r\n").unwrap();
    slow
}

#[test]
fn calls_that_wait_end_with_their_server_whatever_script_runs() {
    let server = soon_slow();
    let handle = server.clone();
    let waits = std::thread::spawn(move || handle.command(&["BLPOP", "list", "0"]));
    while server.shared().lock().blocking.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _slow = begin_an_endless_script(&server);
    while !server.shared().running.is_slow() {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(server);
    assert!(matches!(waits.join().unwrap(), Value::Error(_)));
}

#[test]
fn snapshots_are_refused_while_a_slow_script_keeps_the_data() {
    let server = soon_slow();
    let _slow = begin_an_endless_script(&server);
    let is_busy = |text: String| text.starts_with("BUSY Redis is busy running a script.");
    // Taken, or given up, before the script is slow.
    while !server.shared().running.is_slow() {
        let _ = server.snapshot();
    }
    assert!(is_busy(server.snapshot().unwrap_err().to_string()));
    assert!(is_busy(server.save().unwrap_err().to_string()));
    assert!(is_busy(server.restore(b"").unwrap_err().to_string()));
    assert_eq!(server.command(&["SCRIPT", "KILL"]), "OK");
    while server.shared().running.is_slow() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let bytes = server.snapshot().unwrap();
    server.restore(&bytes).unwrap();
}

#[test]
fn shutdown_saves_what_it_should() {
    let cases: [(&str, &[&str], bool); 5] = [
        ("", &["SHUTDOWN"], false),
        ("", &["SHUTDOWN", "SAVE"], true),
        ("3600 1", &["SHUTDOWN"], true),
        ("3600 1", &["SHUTDOWN", "NOSAVE"], false),
        ("3600 1", &["SHUTDOWN", "NOW", "FORCE"], true),
    ];
    for (points, shutdown, saves) in cases {
        let folder = crate::process::Folder::new("shutdown");
        let dir = folder.0.display().to_string();
        let builder = Server::builder().config("dir", &dir).config("save", points);
        let server = builder.start().unwrap();
        server.command(&["SET", "key", "v"]);
        assert_eq!(server.command(shutdown), Value::Null);
        assert_eq!(folder.0.join("dump.rdb").exists(), saves, "{points:?} {shutdown:?}");
    }
}

#[test]
fn a_connection_remembers() {
    let server = Server::start().unwrap();
    let (mut client, mut listener) = (server.client(), server.client());
    assert_eq!(client.command(&["SELECT", "3"]), "OK");
    assert_eq!(client.command(&["SET", "key", "v"]), "OK");
    assert_eq!(server.command(&["GET", "key"]), Value::Null);
    client.command(&["WATCH", "key"]);
    client.command(&["SET", "key", "w"]);
    let replies = client.pipeline(&[&["MULTI"][..], &["GET", "key"], &["EXEC"]]);
    assert_eq!(replies[2], Value::Null);
    let last = listener.command(&["SUBSCRIBE", "a", "b"]);
    assert_eq!(format!("{last:?}"), r#"Array([Bulk("subscribe"), Bulk("b"), Int(2)])"#);
    assert_eq!(listener.message_so_far(), None);
    server.command(&["PUBLISH", "a", "hi"]);
    assert_eq!(listener.message().unwrap(), ["message", "a", "hi"]);
    // Far more than either side holds of what the other has not taken.
    let value = "x".repeat(100_000);
    let many = vec![["ECHO", value.as_str()]; 50];
    let replies = client.pipeline(&many);
    assert!(replies.len() == 50 && replies.iter().all(|reply| *reply == value.as_str()));
}

#[test]
fn a_connection_knows_how_many_answers_a_subscription_has() {
    let server = Server::start().unwrap();
    for protocol in ["2", "3"] {
        let mut client = server.client();
        client.command(&["HELLO", protocol]);
        let last = |value: Value| match value {
            Value::Array(items) | Value::Push(items) => items[2].clone(),
            other => other,
        };
        assert_eq!(last(client.command(&["UNSUBSCRIBE"])), 0);
        let replies = client.pipeline(&[
            &["SUBSCRIBE", "a", "b", "c", "a"][..],
            &["PSUBSCRIBE", "p*", "q*"],
            &["SSUBSCRIBE", "shard"],
            &["UNSUBSCRIBE"],
            &["PING", "x"],
            &["PUNSUBSCRIBE", "p*"],
            &["PUNSUBSCRIBE"],
            &["SUNSUBSCRIBE"],
            &["ECHO", "y"],
        ]);
        let pong = &replies[4];
        assert!(*pong == "x" || *pong == ["pong", "x"], "{pong:?}");
        assert_eq!(replies[8], "y");
        let totals = [0, 1, 2, 3, 5, 6, 7].map(|at: usize| last(replies[at].clone()));
        assert_eq!(totals, [3, 5, 1, 2, 1, 0, 0].map(Value::Int));
        // A list that looks like a message is none when nothing is listened to.
        client.command(&["RPUSH", "list", "message", "a", "b"]);
        assert_eq!(client.command(&["LRANGE", "list", "0", "2"]), ["message", "a", "b"]);
        // One reply, however many channels there are.
        assert_eq!(client.command(&["MULTI"]), "OK");
        assert_eq!(client.command(&["SUBSCRIBE", "a", "b"]), "QUEUED");
        assert_eq!(client.command(&["DISCARD"]), "OK");
        // What a transaction begins to listen to is known afterwards.
        let unit = [&["MULTI"][..], &["SUBSCRIBE", "a"], &["PSUBSCRIBE", "p*"], &["EXEC"]];
        unit.iter().for_each(|argv| drop(client.command(argv)));
        server.command(&["PUBLISH", "a", "text"]);
        assert_eq!(last(client.command(&["PUNSUBSCRIBE"])), 1);
        assert_eq!(client.message().unwrap(), ["message", "a", "text"]);
        assert_eq!(last(client.command(&["UNSUBSCRIBE"])), 0);
        let refused = client.command(&["SUBSCRIBE"]);
        assert!(matches!(refused, Value::Error(_)), "{refused:?}");
        server.command(&["ACL", "SETUSER", "deaf", "on", "nopass", "+@all", "resetchannels"]);
        client.command(&["AUTH", "deaf", ""]);
        let refused = client.command(&["SUBSCRIBE", "a", "b"]);
        assert!(matches!(refused, Value::Error(_)), "{refused:?}");
        client.command(&["AUTH", "default", ""]);
        client.command(&["SUBSCRIBE", "a"]);
        assert_eq!(client.command(&["RESET"]), "RESET");
        assert_eq!(client.command(&["PING"]), "PONG");
        server.command(&["DEL", "list"]);
    }
}
