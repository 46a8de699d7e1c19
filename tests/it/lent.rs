//! Long strings leave from where they lie: what a reader gets late is what was there when it was
//! asked for, whatever has become of the string meanwhile.

use redouble::resp::out::push_request;
use redouble::resp::reader;
use redouble::Server;
use std::io::{Read, Write};
use std::net::TcpStream;

type Request = Vec<Vec<u8>>;

fn words(line: &str) -> Request {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Requests about a string of `len` bytes, and what they answer.
fn exchange(len: usize) -> (Vec<Request>, Vec<u8>) {
    let mut value: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    let mut ask = |request: Request, reply: Vec<u8>| {
        requests.push(request);
        expected.extend(reply);
    };
    let set = [b"SET".to_vec(), b"k".to_vec(), value.clone()].to_vec();
    ask(set.clone(), b"+OK\r\n".to_vec());
    for round in 0..3 {
        ask(words("GET k"), bulk(&value));
        value.push(b'x');
        ask(words("APPEND k x"), format!(":{}\r\n", value.len()).into());
        ask(words("GET k"), bulk(&value));
        value[round..round + 2].copy_from_slice(b"zz");
        ask(words(&format!("SETRANGE k {round} zz")), format!(":{}\r\n", value.len()).into());
        let twice = [b"*3\r\n".to_vec(), bulk(&value), b"$-1\r\n".to_vec(), bulk(&value)];
        ask(words("MGET k none k"), twice.concat());
        ask(words("GETRANGE k 5 -5"), bulk(&value[5..value.len() - 4]));
        ask(words("CLIENT REPLY SKIP"), Vec::new());
        ask(words("GET k"), Vec::new());
        ask(words("PING"), b"+PONG\r\n".to_vec());
        ask(words("COPY k copy REPLACE"), b":1\r\n".to_vec());
        ask(words("SETBIT copy 0 0"), format!(":{}\r\n", value[0] >> 7).into());
        ask(words("EVAL return(redis.call('GET','k')) 0"), bulk(&value));
    }
    ask(words("MULTI"), b"+OK\r\n".to_vec());
    ask(words("GET k"), b"+QUEUED\r\n".to_vec());
    ask(words("EXEC"), [b"*1\r\n".to_vec(), bulk(&value)].concat());
    ask(words("GETEX k PERSIST"), bulk(&value));
    ask(words("SET k short GET"), bulk(&value));
    ask(set.clone(), b"+OK\r\n".to_vec());
    ask(words("GETSET k short"), bulk(&set[2]));
    ask(set.clone(), b"+OK\r\n".to_vec());
    ask(words("GETDEL k"), bulk(&set[2]));
    ask(words("GET k"), b"$-1\r\n".to_vec());
    (requests, expected)
}

const LENGTHS: [usize; 6] = [100, 5_000, 16_383, 16_384, 70_000, 1 << 20];

#[test]
fn late_readers_get_what_was_there() {
    let server = Server::builder().workers(2).start().expect("a server");
    for len in LENGTHS {
        let (requests, expected) = exchange(len);
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| push_request(&mut bytes, request));
        let mut stream = TcpStream::connect(server.addrs()).expect("a connection");
        stream.write_all(&bytes).expect("what was asked");
        // Everything has run before anything is read.
        while server.command(&["EXISTS", "copy"]) == 0 || server.command(&["EXISTS", "k"]) == 1 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).expect("all answers");
        assert!(got == expected, "with a string of {len} bytes");
        server.command(&["DEL", "copy"]);
    }
}

#[test]
fn inside_the_process_the_same_is_read() {
    let server = Server::start().expect("a server");
    for len in LENGTHS {
        let (requests, expected) = exchange(len);
        let asked = requests.split(|words| words[0] == b"CLIENT");
        // What follows is not answered there.
        let mut skipped = 0;
        let asked: Vec<Request> =
            asked.flat_map(|part| &part[std::mem::replace(&mut skipped, 1)..]).cloned().collect();
        let replies = server.client().pipeline(&asked);
        let mut rest = &expected[..];
        for reply in &replies {
            let (wanted, len) = reader::read(rest).expect("a reply");
            assert!(*reply == wanted, "with a string of {len} bytes");
            rest = &rest[len..];
        }
        assert_eq!((replies.len(), rest.len()), (asked.len(), 0));
    }
}

/// Replies that nobody reads count as if each were a copy, for limits and for MEMORY.
#[test]
fn what_is_lent_counts_for_its_reader() {
    let server = Server::builder()
        .config("client-output-buffer-limit", "normal 40mb 0 0")
        .start()
        .expect("a server");
    server.command(&["SET", "k", &"v".repeat(1 << 20)]);
    let mut stream = TcpStream::connect(server.addrs()).expect("a connection");
    stream.write_all(&b"GET k\r\n".repeat(200)).expect("what was asked");
    let mut got = Vec::new();
    while server.shared().lock().stats.output_limit_disconnections == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = stream.read_to_end(&mut got);
    assert!(got.len() < 200 << 20, "{} bytes", got.len());
}
