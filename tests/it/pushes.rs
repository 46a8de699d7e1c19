//! What others tell a client leaves with its own replies, and no earlier than those could.

use crate::process::Folder;
use redouble::client::ClientId;
use redouble::dispatch::Dispatcher;
use redouble::settle;
use redouble::state::State;
use redouble::Server;

/// Runs a command; how far the log must be on disk before its reply leaves, and the reply.
fn run(state: &mut State, me: ClientId, words: &[&str]) -> (u64, String) {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut out = Vec::new();
    let mut dispatcher = Dispatcher::new(state, me);
    dispatcher.request_unprepared(&words, &mut out);
    let mark = dispatcher.mark();
    (mark, String::from_utf8_lossy(&out).into_owned())
}

/// A batch that has passed its look at the bell, and waits for the lock while another one writes
/// and tells its client so.
#[test]
fn messages_of_a_write_wait_for_the_disk_as_its_reply_does() {
    let folder = Folder::new("pushes");
    let server = Server::builder()
        .without_tcp()
        .config("dir", &folder.0.display().to_string())
        .config("appendonly", "yes")
        .config("appendfsync", "always")
        .start()
        .expect("it starts");
    let mut state = server.shared().lock();
    let state = &mut *state;
    let (writer, reader) = (settle::connect_caller(state), settle::connect_caller(state));
    run(state, reader, &["SUBSCRIBE", "news"]);
    run(state, writer, &["SET", "key", "value"]);
    run(state, writer, &["PUBLISH", "news", "changed"]);
    let (mark, out) = run(state, reader, &["PING"]);
    assert!(out.contains("changed") && out.contains("PONG"), "{out}");
    assert!(mark > 0);
    assert_eq!(mark, state.aof.tail.appended());
    // Who is told nothing, and has asked for nothing that is new, does not wait.
    assert_eq!(run(state, reader, &["PING"]).0, 0);
    settle::disconnect(state, reader);
    settle::disconnect(state, writer);
}
