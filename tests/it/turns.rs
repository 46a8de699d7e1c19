//! Sessions of one worker take turns: whoever is ready waits for one batch of each of the others,
//! however much they have sent; and what is left of slow readers and half-sent requests.

use crate::patience::PATIENCE;

use redouble::resp::reader::{self, Value};
use redouble::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

/// A server, and clients in the same process: who is ready, and in which order, does not depend on
/// a network.
struct Stage {
    server: Server,
    runtime: Runtime,
}

impl Stage {
    fn new(workers: usize) -> Stage {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let builder = Server::builder().without_tcp().config("enable-debug-command", "yes");
        let server = builder.workers(workers).start().unwrap();
        server.shared().keep_all_workers();
        Stage { server, runtime }
    }

    /// A client whose session sleeps.
    fn client(&self) -> DuplexStream {
        let mut client = self.server.connect();
        self.send(&mut client, b"PING\r\n");
        self.runtime.block_on(async { client.read_exact(&mut [0; 7]).await }).unwrap();
        client
    }

    fn send(&self, client: &mut DuplexStream, bytes: &[u8]) {
        self.runtime.block_on(client.write_all(bytes)).unwrap();
    }

    /// Reads so many replies.
    fn replies(&self, client: &mut DuplexStream, count: usize) -> Vec<Value> {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        while values.len() < count {
            let mut at = 0;
            while let Ok((value, len)) = reader::read(&bytes[at..]) {
                values.push(value);
                at += len;
            }
            bytes.drain(..at);
            if values.len() < count {
                let read = self.runtime.block_on(async {
                    tokio::time::timeout(PATIENCE, client.read_buf(&mut bytes)).await
                });
                assert_ne!(read.expect("replies go on").unwrap(), 0, "closed");
            }
        }
        values
    }

    /// Who pushed to the list `order` how often in a row.
    fn runs(&self) -> Vec<(u8, usize)> {
        let Value::Array(items) = self.server.command(&["LRANGE", "order", "0", "-1"]) else {
            panic!("LRANGE")
        };
        let mut runs: Vec<(u8, usize)> = Vec::new();
        for item in items {
            let Value::Bulk(who) = item else { panic!("{item:?}") };
            match runs.last_mut().filter(|(last, _)| *last == who[0]) {
                Some((_, count)) => *count += 1,
                None => runs.push((who[0], 1)),
            }
        }
        runs
    }
}

/// A request that pushes `who` to the list `order` and then takes longer than a turn may last, so
/// that it is a turn of its own however busy the machine is.
fn slow_push(who: char) -> String {
    format!("EVAL \"redis.call('RPUSH', 'order', '{who}') for i = 1, 500000 do end\" 0\r\n")
}

/// Two clients send `line` so often at one go, then a third sends one command: who comes when.
fn order_of(line: &str, count: usize) -> Vec<(u8, usize)> {
    let stage = Stage::new(1);
    let (mut a, mut b, mut bystander) = (stage.client(), stage.client(), stage.client());
    {
        // Nobody runs before all are ready.
        let _lock = stage.server.shared().lock();
        stage.send(&mut a, line.replace('W', "a").repeat(count).as_bytes());
        stage.send(&mut b, line.replace('W', "b").repeat(count).as_bytes());
        stage.send(&mut bystander, b"RPUSH order x\r\n");
    }
    let each = line.matches("\r\n").count() * count;
    stage.replies(&mut bystander, 1);
    stage.replies(&mut a, each);
    stage.replies(&mut b, each);
    stage.runs()
}

#[test]
fn deep_pipelines_take_turns_of_one_batch() {
    let runs = order_of("RPUSH order W\r\n", 4000);
    let begin: Vec<u8> = runs.iter().map(|(who, _)| *who).take(5).collect();
    assert_eq!(begin, *b"abxab", "{runs:?}");
    let (_, turns) = runs.split_last().unwrap();
    assert!(turns.iter().all(|(_, count)| *count <= 1024), "{runs:?}");
    assert_eq!(runs.iter().map(|(_, count)| count).sum::<usize>(), 8001);
}

#[test]
fn slow_commands_take_turns_of_bounded_time() {
    let runs = order_of(&slow_push('W'), 50);
    let expected: Vec<u8> = [&b"abx"[..], &b"ab".repeat(49)].concat();
    assert!(runs.iter().all(|(_, count)| *count == 1), "{runs:?}");
    assert_eq!(runs.iter().map(|(who, _)| *who).collect::<Vec<u8>>(), expected);
}

#[test]
fn endless_pipelines_of_two_workers_take_equal_turns_in_one_lane() {
    let stage = Stage::new(2);
    let mut hogs = [b'a', b'b', b'c'].map(|name| (name, stage.client()));
    for (name, client) in &mut hogs {
        // Long enough to be known as endless.
        stage.send(client, slow_push(*name as char).repeat(100).as_bytes());
        stage.replies(client, 100);
    }
    stage.server.command(&["DEL", "order"]);
    {
        let _lock = stage.server.shared().lock();
        for (name, client) in &mut hogs {
            stage.send(client, slow_push(*name as char).repeat(50).as_bytes());
        }
    }
    for (_, client) in &mut hogs {
        stage.replies(client, 50);
    }
    // Two workers would come to the lock in turns, and one of them has two of the three.
    let mut pushed = [0usize; 3];
    for (who, count) in stage.runs() {
        pushed[usize::from(who - b'a')] += count;
        let (least, most) = (pushed.iter().min().unwrap(), pushed.iter().max().unwrap());
        assert!(most - least <= 1, "{:?}", stage.runs());
    }
    assert_eq!(pushed, [50; 3]);
}

#[test]
fn a_session_that_has_calmed_down_goes_on_at_its_own_worker() {
    let stage = Stage::new(2);
    let mut client = stage.client();
    for round in 0..3 {
        stage.send(&mut client, "DEBUG SLEEP 0.0003\r\nINCR n\r\n".repeat(100).as_bytes());
        let replies = stage.replies(&mut client, 200);
        assert_eq!(replies[199], Value::Int((round + 1) * 100));
        for _ in 0..100 {
            stage.send(&mut client, b"GET n\r\n");
            assert_eq!(stage.replies(&mut client, 1)[0], ((round + 1) * 100).to_string().as_str());
        }
        // What others write to it finds it wherever it is.
        stage.send(&mut client, b"SUBSCRIBE news\r\n");
        stage.replies(&mut client, 1);
        stage.server.command(&["PUBLISH", "news", "hi"]);
        assert_eq!(stage.replies(&mut client, 1)[0], ["message", "news", "hi"]);
        stage.send(&mut client, b"UNSUBSCRIBE\r\nBLPOP queue 0\r\n");
        stage.replies(&mut client, 1);
        stage.server.command(&["RPUSH", "queue", "x"]);
        assert_eq!(stage.replies(&mut client, 1)[0], ["queue", "x"]);
    }
}

#[test]
fn who_would_go_to_the_lane_is_answered_while_a_script_keeps_the_lock() {
    let stage = Stage::new(2);
    let mut bystander = stage.client();
    let mut hog = stage.client();
    stage.send(&mut hog, "DEBUG SLEEP 0.0003\r\nPING\r\n".repeat(100).as_bytes());
    stage.replies(&mut hog, 200);
    stage.server.command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    stage.send(&mut hog, b"EVAL 'while true do end' 0\r\n");
    while !matches!(stage.server.command(&["PING"]), Value::Error(_)) {
        std::thread::yield_now();
    }
    for _ in 0..10 {
        stage.send(&mut bystander, b"PING\r\n");
        let busy = &stage.replies(&mut bystander, 1)[0];
        assert!(matches!(busy, Value::Error(_)), "{busy:?}");
    }
    stage.send(&mut bystander, b"SCRIPT KILL\r\n");
    assert_eq!(stage.replies(&mut bystander, 1)[0], "OK");
    stage.replies(&mut hog, 1);
    stage.send(&mut bystander, b"PING\r\n");
    assert_eq!(stage.replies(&mut bystander, 1)[0], "PONG");
}

#[test]
fn who_was_told_something_by_a_slow_script_is_answered_meanwhile() {
    let stage = Stage::new(2);
    let (mut listener, mut slow) = (stage.client(), stage.client());
    stage.send(&mut listener, b"CLIENT REPLY SKIP\r\nHELLO 3\r\nSUBSCRIBE news\r\n");
    stage.replies(&mut listener, 1);
    stage.server.command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let script = "redis.call('PUBLISH', 'news', 'hi') while true do end";
    stage.send(&mut slow, format!("EVAL \"{script}\" 0\r\n").as_bytes());
    while !matches!(stage.server.command(&["PING"]), Value::Error(_)) {
        std::thread::yield_now();
    }
    stage.send(&mut listener, b"PING\r\nSCRIPT KILL\r\n");
    // The message comes before either reply or after them.
    let mut replies = stage.replies(&mut listener, 3);
    replies.retain(|reply| *reply != ["message", "news", "hi"]);
    assert_eq!(replies.len(), 2, "{replies:?}");
    assert!(matches!(replies[0], Value::Error(_)), "{replies:?}");
    assert_eq!(replies[1], "OK");
}

/// How many turns of an endless client another worker's client waits for, both being ready.
fn turns_before_a_bystander(stage: &Stage) -> usize {
    let (mut hog, mut bystander) = (stage.client(), stage.client());
    stage.server.command(&["DEL", "order"]);
    {
        let lock = stage.server.shared().lock();
        stage.send(&mut hog, slow_push('h').repeat(60).as_bytes());
        stage.send(&mut bystander, b"RPUSH order x\r\n");
        while stage.server.shared().waiting() < 2 {
            std::thread::yield_now();
        }
        drop(lock);
    }
    stage.replies(&mut bystander, 1);
    stage.replies(&mut hog, 60);
    let runs = stage.runs();
    if runs[0].0 == b'x' {
        0
    } else {
        runs[0].1
    }
}

#[test]
fn who_waits_for_the_lock_gets_it_between_the_batches_of_another_worker() {
    let stage = Stage::new(2);
    // The bystander now and then looks up whether a slow script runs, and does not wait just when
    // its turn comes; a busy machine may let it look up for long. Not each time.
    let is_soon = |_| turns_before_a_bystander(&stage) <= 1;
    assert!((0..200).any(is_soon), "the bystander waits for more than one turn again and again");
}

#[test]
fn caches_in_broadcasting_mode_hear_although_half_a_request_has_come_with_the_rest() {
    let stage = Stage::new(1);
    let (mut tracker, mut writer) = (stage.client(), stage.client());
    stage.send(&mut tracker, b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX k\r\n");
    stage.replies(&mut tracker, 2);
    // Time would tell it, too.
    stage.server.command(&["DEBUG", "PAUSE-CRON", "1"]);
    // After a slow turn comes one of sixteen requests.
    let rest = "SET k 1\r\n".repeat(16) + "SET k";
    stage.send(&mut writer, (slow_push('w') + &rest).as_bytes());
    let keys = Value::Array(vec![Value::Bulk(b"k".to_vec())]);
    let message = Value::Push(vec![Value::Bulk(b"invalidate".to_vec()), keys]);
    assert_eq!(stage.replies(&mut tracker, 1), [message]);
    stage.server.command(&["DEBUG", "PAUSE-CRON", "0"]);
}

/// A tick of time may come between the turns that a batch takes: then it is sent again.
#[test]
fn caches_in_broadcasting_mode_hear_after_the_replies_to_all_that_came_at_once() {
    const TRIES: usize = 100;
    let stage = Stage::new(1);
    let mut client = stage.client();
    stage.send(&mut client, b"HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n");
    stage.replies(&mut client, 2);
    let is_news = |value: &Value| matches!(value, Value::Push(_));
    let mut turn = || {
        let batch = b"SET a 1\r\nPING\r\nMULTI\r\nSET b 1\r\nEXEC\r\n\
            EVAL 'for i = 1, 100000 do end' 0\r\nSET a 2\r\nPING\r\n";
        stage.send(&mut client, batch);
        let mut replies = stage.replies(&mut client, 9);
        while replies.iter().filter(|reply| !is_news(reply)).count() < 8 {
            replies.extend(stage.replies(&mut client, 1));
        }
        replies
    };
    let in_one =
        (0..TRIES).map(|_| turn()).find(|replies| replies.iter().position(is_news) == Some(8));
    let keys = Value::Array(vec![Value::Bulk(b"a".to_vec()), Value::Bulk(b"b".to_vec())]);
    let message = Value::Push(vec![Value::Bulk(b"invalidate".to_vec()), keys]);
    assert_eq!(in_one.expect("a batch and then the news").pop(), Some(message));
    // What the program itself changes is told as well, and what time removes.
    let mut other = stage.client();
    stage.send(&mut other, b"HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n");
    stage.replies(&mut other, 2);
    stage.server.command(&["SET", "c", "1", "PX", "1"]);
    let keys = Value::Array(vec![Value::Bulk(b"c".to_vec())]);
    let message = Value::Push(vec![Value::Bulk(b"invalidate".to_vec()), keys]);
    assert_eq!(stage.replies(&mut other, 2), [message.clone(), message]);
}
