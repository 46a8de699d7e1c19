//! A slow script: everybody else is answered, and may stop it.
//!
//! The server has one worker, so the script keeps the thread that all connections live on.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use redouble::resp::reader::Value;
use redouble::Server;

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(addr: SocketAddr) -> Client {
        Client(BufReader::new(TcpStream::connect(addr).expect("the server listens")))
    }

    fn send(&mut self, words: &[&str]) {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes()).expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        line.trim_end().to_string()
    }

    fn ask(&mut self, words: &[&str]) -> String {
        self.send(words);
        self.line()
    }
}

const BUSY: &str = "-BUSY Redis is busy running a script. \
                    You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn server() -> (Server, SocketAddr) {
    let server = Server::builder().config("busy-reply-threshold", "20").start();
    let server = server.expect("the server starts");
    let addr = server.addr().expect("a TCP address");
    (server, addr)
}

#[test]
fn slow_scripts_can_be_killed_by_old_and_new_connections() {
    let (_server, addr) = server();
    let (mut slow, mut other) = (Client::new(addr), Client::new(addr));
    assert_eq!(other.ask(&["PING"]), "+PONG");
    slow.send(&["EVAL", "while true do end", "0"]);
    let mut stranger = Client::new(addr);
    assert_eq!(stranger.ask(&["PING"]), BUSY);
    assert_eq!(other.ask(&["GET", "k"]), BUSY);
    assert_eq!(other.ask(&["FUNCTION", "KILL"]), BUSY);
    assert_eq!(other.ask(&["FUNCTION", "STATS"]), BUSY);
    assert_eq!(other.ask(&["HELLO", "2", "SETNAME", "me"]), "*14");
    for _ in 0..25 {
        other.line();
    }
    assert_eq!(stranger.ask(&["SCRIPT", "KILL"]), "+OK");
    assert!(slow.line().starts_with("-ERR Script killed by user with SCRIPT KILL... script:"));
    assert_eq!(slow.ask(&["PING"]), "+PONG");
    assert_eq!(other.ask(&["CLIENT", "GETNAME"]), "$2");
    assert_eq!(other.line(), "me");
    assert_eq!(stranger.ask(&["PING"]), "+PONG");
}

#[test]
fn slow_scripts_can_be_killed_from_inside_the_process() {
    let (server, addr) = server();
    let mut slow = Client::new(addr);
    slow.send(&["EVAL", "while true do end", "0"]);
    let busy = Value::Error(BUSY[1..].into());
    while server.command(&["PING"]) != busy {
        std::thread::yield_now();
    }
    assert_eq!(server.command(&["SCRIPT", "KILL"]), Value::Simple("OK".into()));
    assert!(slow.line().starts_with("-ERR Script killed"));
    assert_eq!(server.command(&["ECHO", "x"]), Value::Bulk(b"x".to_vec()));
}

#[test]
fn a_server_that_is_dropped_or_reset_waits_for_no_script() {
    for threshold in ["20", "0"] {
        let server = Server::builder().config("busy-reply-threshold", threshold).start();
        let server = server.expect("the server starts");
        let addr = server.addr().expect("a TCP address");
        for script in ["while true do end", "while true do pcall(function() end) end"] {
            let mut slow = Client::new(addr);
            slow.send(&["EVAL", "redis.call('SET', 'k', '1') return 1", "0"]);
            slow.line();
            slow.send(&["EVAL", script, "0"]);
            // Whether it runs already or comes later, nobody waits for its end.
            std::thread::sleep(std::time::Duration::from_millis(30));
            server.reset();
        }
        let mut slow = Client::new(addr);
        assert_eq!(slow.ask(&["EVAL", "return redis.call('GET', 'k')", "0"]), "$-1");
        slow.send(&["EVAL", "while true do end", "0"]);
        std::thread::sleep(std::time::Duration::from_millis(30));
        drop(server);
    }
}

#[test]
fn transactions_are_lost_when_a_command_meets_a_slow_script() {
    let (_server, addr) = server();
    let (mut slow, mut other) = (Client::new(addr), Client::new(addr));
    let (mut early, mut killer) = (Client::new(addr), Client::new(addr));
    assert_eq!(other.ask(&["MULTI"]), "+OK");
    assert_eq!(early.ask(&["MULTI"]), "+OK");
    slow.send(&["EVAL", "while true do end", "0"]);
    assert_eq!(other.ask(&["INCR", "n"]), BUSY);
    assert_eq!(other.ask(&["SCRIPT", "KILL"]), "+QUEUED");
    let because = format!("-EXECABORT Transaction discarded because of: {}", &BUSY[1..]);
    assert_eq!(early.ask(&["EXEC"]), because);
    assert_eq!(killer.ask(&["SCRIPT", "KILL"]), "+OK");
    slow.line();
    let lost = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(other.ask(&["EXEC"]), lost);
    assert_eq!(early.ask(&["EXEC"]), "-ERR EXEC without MULTI");
}

#[test]
fn scripts_that_have_written_cannot_be_killed() {
    let (server, addr) = server();
    let (mut slow, mut other) = (Client::new(addr), Client::new(addr));
    slow.send(&["EVAL", "redis.call('SET', KEYS[1], '1') while true do end", "1", "k"]);
    assert_eq!(other.ask(&["GET", "k"]), BUSY);
    assert!(other.ask(&["SCRIPT", "KILL"]).starts_with("-UNKILLABLE "));
    other.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(slow.line(), "", "the connection ends without a word");
    drop(server);
}

#[test]
fn connections_that_come_during_a_slow_script_are_clients_like_others() {
    let (_server, addr) = server();
    let (mut slow, mut quitter) = (Client::new(addr), Client::new(addr));
    slow.send(&["EVAL", "while true do end", "0"]);
    let mut stranger = Client::new(addr);
    assert_eq!(stranger.ask(&["HELLO", "3"]), "%7");
    for _ in 0..25 {
        stranger.line();
    }
    assert_eq!(
        stranger.ask(&["NOSUCH"]),
        "-ERR unknown command 'NOSUCH', with args beginning with:"
    );
    assert_eq!(stranger.ask(&["GET"]), "-ERR wrong number of arguments for 'get' command");
    assert_eq!(stranger.ask(&["SHUTDOWN"]), BUSY);
    assert_eq!(stranger.ask(&["SHUTDOWN", "ABORT"]), "-ERR No shutdown in progress.");
    assert_eq!(stranger.ask(&["MULTI"]), "+OK");
    assert_eq!(quitter.ask(&["QUIT"]), "+OK");
    assert_eq!(quitter.line(), "", "the connection ends while the script runs");
    let mut leaver = Client::new(addr);
    assert_eq!(leaver.ask(&["MULTI"]), "+OK");
    drop(leaver);
    let mut killer = Client::new(addr);
    assert_eq!(killer.ask(&["SCRIPT", "KILL"]), "+OK");
    slow.line();
    assert_eq!(stranger.ask(&["PING"]), "+QUEUED");
    assert_eq!(stranger.ask(&["EXEC"]), "*1");
    assert_eq!(stranger.line(), "+PONG");
    let mut count = String::new();
    for _ in 0..200 {
        killer.send(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        killer.line();
        count.clear();
        while !killer.0.buffer().is_empty() {
            count.push_str(&killer.line());
            count.push('\n');
        }
        if count.matches("id=").count() == 3 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("slow, stranger and killer are all that is left: {count}");
}

#[test]
fn who_has_not_authenticated_cannot_end_a_slow_script() {
    let server = Server::builder().config("busy-reply-threshold", "20");
    let server = server.config("requirepass", "pw").start().expect("the server starts");
    let addr = server.addr().expect("a TCP address");
    let (mut slow, mut before) = (Client::new(addr), Client::new(addr));
    assert_eq!(slow.ask(&["AUTH", "pw"]), "+OK");
    let script = "redis.call('SET', 'k', '1') while true do end";
    slow.send(&["EVAL", script, "0"]);
    let mut after = Client::new(addr);
    let refusal = "-NOAUTH Authentication required.";
    for stranger in [&mut before, &mut after] {
        for words in [&["SCRIPT", "KILL"][..], &["SHUTDOWN", "NOSAVE"], &["PING"], &["GET", "k"]] {
            assert_eq!(stranger.ask(words), refusal, "{words:?}");
        }
        assert_eq!(stranger.ask(&["AUTH", "pw"]), "+OK");
        assert!(stranger.ask(&["SCRIPT", "KILL"]).starts_with("-UNKILLABLE "));
        assert_eq!(stranger.ask(&["MULTI"]), "+OK");
        let inside = "-ERR Command not allowed inside a transaction";
        assert_eq!(stranger.ask(&["SHUTDOWN", "NOSAVE", "BOGUS"]), inside);
        assert_eq!(stranger.ask(&["DISCARD"]), "+OK");
        assert_eq!(stranger.ask(&["SHUTDOWN", "NOSAVE", "BOGUS"]), "-ERR syntax error");
    }
    after.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(slow.line(), "", "the connection ends without a word");
    drop(server);
}

#[test]
fn a_script_that_was_killed_writes_nothing_any_more() {
    let (_server, addr) = server();
    let (mut slow, mut other) = (Client::new(addr), Client::new(addr));
    let script = "while not redis.pcall('PING').err do end redis.pcall('SET', 'k', '1')
                  redis.call('SET', 'k', '2')";
    slow.send(&["EVAL", script, "0"]);
    assert_eq!(other.ask(&["GET", "k"]), BUSY);
    assert_eq!(other.ask(&["SCRIPT", "KILL"]), "+OK");
    assert!(slow.line().starts_with("-ERR Script killed by user with SCRIPT KILL..."));
    assert_eq!(other.ask(&["EXISTS", "k"]), ":0");
}

/// What goes for want of memory is written to the log, where it must not stand in a script's unit.
#[test]
fn nothing_is_evicted_in_the_middle_of_a_slow_script() {
    let (server, addr) = server();
    for key in 0..100 {
        server.command(&["SET", &key.to_string(), "value"]);
    }
    for words in [["maxmemory-policy", "allkeys-random"], ["maxmemory", "2mb"]] {
        server.command(&["CONFIG", "SET", words[0], words[1]]);
    }
    let (mut slow, mut other) = (Client::new(addr), Client::new(addr));
    assert_eq!(other.ask(&["PING"]), "+PONG");
    // Long enough for somebody to be refused meanwhile.
    let script = "redis.call('SET', 'large', string.rep('x', 4000000)) \
                  for _ = 1, 100000000 do end return redis.call('DBSIZE')";
    slow.send(&["EVAL", script, "0"]);
    let refused = (0..100_000).map(|_| other.ask(&["GET", "k"])).find(|reply| reply == BUSY);
    assert!(refused.is_some(), "the script was over too soon");
    assert_eq!(slow.line(), ":101");
    assert_eq!(other.ask(&["EXISTS", "large"]), ":0");
}
