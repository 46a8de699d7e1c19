//! What CLIENT LIST and CLIENT INFO say about buffers, and replies without an end.

use redouble::resp::reader::Value;
use redouble::Server;
use std::time::Duration;

fn started(directives: &[(&str, &str)]) -> Server {
    let builder = Server::builder().config("enable-debug-command", "yes");
    let builder =
        directives.iter().fold(builder, |builder, (name, value)| builder.config(name, value));
    builder.start().expect("a server")
}

fn text(reply: Value) -> String {
    match reply {
        Value::Bulk(text) | Value::Verbatim(_, text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A field of the line of a client.
fn field(line: &str, name: &str) -> i64 {
    let mut words = line.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

fn fields<const N: usize>(line: &str, names: [&str; N]) -> [i64; N] {
    names.map(|name| field(line, name))
}

/// The figures are those of a Redis 8.0 that is asked the same.
#[test]
fn the_request_at_hand_is_shown_as_it_came() {
    let server = started(&[]);
    let mut client = server.client();
    let asked = ["qbuf", "argv-mem", "multi-mem", "obl"];
    let line = text(client.command(&["CLIENT", "LIST"]));
    assert_eq!(fields(&line, asked), [26, 10, 0, 0]);
    assert!(field(&line, "qbuf-free") > 0);
    let batch = [vec!["PING"], vec!["CLIENT", "INFO"], vec!["PING"]];
    let line = text(client.pipeline(&batch).swap_remove(1));
    assert_eq!(fields(&line, asked), [54, 10, 0, 7]);
    client.command(&["MULTI"]);
    client.command(&["SET", "k", "vvvvvvv"]);
    let mut replies = client.pipeline(&[vec!["CLIENT", "INFO"], vec!["EXEC"]]);
    let Some(Value::Array(mut inside)) = replies.pop() else { panic!("{replies:?}") };
    let line = text(inside.swap_remove(1));
    assert_eq!(fields(&line, ["qbuf", "argv-mem"]), [40, 4]);
}

#[test]
fn others_show_what_they_keep_and_what_they_wait_for() {
    let server = started(&[]);
    let mut client = server.client();
    client.command(&["CLIENT", "SETNAME", "waits"]);
    let waits = std::thread::spawn(move || client.command(&["BLPOP", "l", "0"]));
    let line_of = |name: &str| {
        let lines = text(server.command(&["CLIENT", "LIST"]));
        lines.lines().find(|line| line.contains(&format!("name={name} "))).map(str::to_string)
    };
    let line = loop {
        match line_of("waits").filter(|line| line.contains("flags=b")) {
            Some(line) => break line,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(fields(&line, ["qbuf", "argv-mem", "obl"]), [0, 7, 0]);
    server.command(&["RPUSH", "l", "x"]);
    assert_eq!(waits.join().expect("an answer"), ["l", "x"]);
}

#[test]
fn the_reply_buffer_follows_what_replies_need() {
    let server = started(&[]);
    let mut client = server.client();
    let line = text(client.command(&["CLIENT", "INFO"]));
    assert!([1024, 16 * 1024].contains(&field(&line, "rbs")), "{line}");
    while field(&text(client.command(&["CLIENT", "INFO"])), "rbs") != 1024 {
        std::thread::sleep(Duration::from_millis(20));
    }
    server.command(&["SET", "large", &"x".repeat(40_000)]);
    server.command(&["DEBUG", "REPLYBUFFER", "PEAK-RESET-TIME", "never"]);
    while field(&text(client.command(&["CLIENT", "INFO"])), "rbs") != 16 * 1024 {
        client.command(&["GET", "large"]);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Redis builds such a reply as a whole, and cuts the client off in the end.
#[test]
fn a_reply_without_an_end_is_cut_off_while_it_is_built() {
    let server = started(&[("client-output-buffer-limit", "normal 1mb 0 0")]);
    server.command(&["ZADD", "z", "1", "a", "2", "b"]);
    server.command(&["SADD", "s", "a", "b"]);
    server.command(&["HSET", "h", "a", "1", "b", "2"]);
    for (at, name, key) in
        [(1, "ZRANDMEMBER", "z"), (2, "SRANDMEMBER", "s"), (3, "HRANDFIELD", "h")]
    {
        let mut client = server.client();
        let reply = client.command(&[name, key, "-2147483648"]);
        assert!(matches!(reply, Value::Error(_)), "{name}: the connection is closed");
        let stats = text(server.command(&["INFO", "stats"]));
        let line = format!("client_output_buffer_limit_disconnections:{at}\r\n");
        while !text(server.command(&["INFO", "stats"])).contains(&line) {
            assert!(!stats.is_empty());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(server.command(&["PING"]), "PONG");
}

#[test]
fn names_keep_their_bytes() {
    let server = started(&[]);
    let user: &[u8] = b"\xff\xfe";
    let words = [b"ACL", &b"SETUSER"[..], user, b"on", b"nopass", b"~a*", b"+get", b"+client"];
    assert_eq!(server.command(&words), "OK");
    let denied = server.command(&[b"ACL", &b"DRYRUN"[..], user, b"GET", b"\xfd"]);
    let expected = b"User \xff\xfe has no permissions to access the '\xfd' key";
    assert_eq!(denied, Value::Bulk(expected.to_vec()));
    let mut client = server.client();
    assert_eq!(client.command(&[b"AUTH", user, b"x"]), "OK");
    let (Value::Bulk(line) | Value::Verbatim(_, line)) = client.command(&["CLIENT", "INFO"]) else {
        panic!("a line")
    };
    let named = b" user=\xff\xfe redir=";
    assert!(line.windows(named.len()).any(|part| part == named), "{}", line.escape_ascii());
}
