//! What is freed in the background: counted, and waited for where somebody asked to wait.

use redouble::resp::reader::Value;
use redouble::Server;

fn started() -> Server {
    let builder = Server::builder().without_tcp().config("enable-debug-command", "yes");
    builder.start().expect("a server")
}

fn memory(reply: Value) -> String {
    match reply {
        Value::Bulk(text) | Value::Verbatim(_, text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// Two figures of INFO: what was freed in the background, and what waits to be.
fn figures(server: &Server) -> (u64, u64) {
    let text = memory(server.command(&["INFO", "memory"]));
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    };
    (figure("lazyfreed_objects"), figure("lazyfree_pending_objects"))
}

/// What was freed in the background, as soon as nothing waits any more.
fn freed(server: &Server) -> u64 {
    loop {
        match figures(server) {
            (freed, 0) => return freed,
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

fn fill(server: &Server, keys: usize) {
    assert_eq!(server.command(&["DEBUG", "POPULATE", &keys.to_string()]), "OK");
}

fn add_members(server: &Server, key: &str, members: usize) {
    let words = ["SADD", key].map(str::to_string).into_iter();
    let words: Vec<String> = words.chain((0..members).map(|at| format!("member:{at}"))).collect();
    assert_eq!(server.command(&words), members as i64);
}

#[test]
fn unlink_leaves_many_parts_to_the_background_and_del_only_large_values() {
    let server = started();
    add_members(&server, "many", 600);
    server.command(&["UNLINK", "many"]);
    assert_eq!(freed(&server), 1);
    add_members(&server, "many", 600);
    server.command(&["DEL", "many"]);
    assert_eq!(freed(&server), 1, "a few kilobytes are freed at once");
    add_members(&server, "few", 60);
    server.command(&["UNLINK", "few"]);
    assert_eq!(freed(&server), 1, "one block of memory is freed at once");
    server.command(&["CONFIG", "SET", "lazyfree-lazy-user-del", "yes"]);
    add_members(&server, "many", 600);
    server.command(&["DEL", "many"]);
    assert_eq!(freed(&server), 2);
    add_members(&server, "large", 20_000);
    server.command(&["SET", "large", "small"]);
    assert_eq!(freed(&server), 3, "a large value never stops anybody");
    server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(figures(&server), (0, 0));
}

#[test]
fn flushall_is_answered_when_everything_is_freed() {
    let server = started();
    for keys in [1, 1000, 200_000] {
        fill(&server, keys);
        add_members(&server, "large", 30_000);
        server.command(&["CONFIG", "RESETSTAT"]);
        assert_eq!(server.command(&["FLUSHALL"]), "OK");
        assert_eq!(figures(&server), (keys as u64 + 1, 0));
        assert_eq!(server.command(&["DBSIZE"]), 0);
    }
    fill(&server, 1000);
    server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(server.command(&["FLUSHDB", "ASYNC"]), "OK");
    assert_eq!(freed(&server), 1000);
}

#[test]
fn requests_behind_a_flush_wait_for_it_and_those_of_others_do_not() {
    let server = started();
    fill(&server, 300_000);
    let mut connection = server.client();
    let replies = connection.pipeline(&[
        vec!["FLUSHALL"],
        vec!["FLUSHDB", "SYNC"],
        vec!["INFO", "memory"],
        vec!["PING"],
    ]);
    assert_eq!(replies[..2], ["OK", "OK"]);
    assert!(memory(replies[2].clone()).contains("lazyfree_pending_objects:0\r\n"));
    assert_eq!(replies[3], "PONG");
    // A transaction waits for nobody.
    fill(&server, 10);
    server.command(&["CONFIG", "RESETSTAT"]);
    let replies = connection.pipeline(&[vec!["MULTI"], vec!["FLUSHALL"], vec!["EXEC"]]);
    assert_eq!(replies[2], ["OK"]);
    assert_eq!(figures(&server), (0, 0));
}

#[test]
fn a_flush_that_is_carried_out_is_never_told_to_have_failed() {
    let server = started();
    fill(&server, 300_000);
    let serial = |server: &Server| {
        let list = memory(server.command(&["CLIENT", "LIST"]));
        let flushing = list.lines().find(|line| line.contains(" cmd=flushall "));
        let id = flushing.and_then(|line| line.strip_prefix("id=")?.split(' ').next());
        id.map(str::to_string)
    };
    assert_eq!(server.command(&["DEBUG", "PAUSE-CRON", "1"]), "OK");
    let flush = {
        let server = server.clone();
        std::thread::spawn(move || server.client().command(&["FLUSHALL"]))
    };
    let waiting = loop {
        match serial(&server) {
            Some(id) => break id,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(server.command(&["CLIENT", "UNBLOCK", &waiting, "ERROR"]), 0);
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    assert_eq!(flush.join().expect("an answer"), "OK");
}

#[test]
fn a_client_that_leaves_while_its_flush_goes_on_is_forgotten() {
    let server = started();
    for _ in 0..20 {
        fill(&server, 100_000);
        let waits = {
            let server = server.clone();
            std::thread::spawn(move || server.client().command(&["FLUSHALL"]))
        };
        server.command(&["CLIENT", "KILL", "SKIPME", "yes"]);
        let _ = waits.join();
        freed(&server);
    }
    assert_eq!(server.command(&["PING"]), "PONG");
}
