//! Scripts seen from outside: what enters the log.

use crate::patience::PATIENCE;
use std::sync::{Arc, Mutex};

use redouble::keyspace::effects::Reach;
use redouble::log::Reader;

use crate::server::Ours;
use crate::session::run::Server;
use crate::wire::{request, Reply, Wire};

/// The words that one kind of reader receives.
struct Tape(Reach, Arc<Mutex<String>>);

impl Reader for Tape {
    fn receive(&mut self, encoded: &[u8]) {
        let text = String::from_utf8_lossy(encoded);
        for word in text.split("\r\n").filter(|word| !word.is_empty()) {
            if !word.starts_with(['$', '*']) {
                self.1.lock().unwrap().push_str(&format!("{word} "));
            }
        }
    }

    fn kind(&self) -> Reach {
        self.0
    }
}

#[test]
fn scripts_choose_who_reads_their_writes() {
    let server = Ours::start(&[]).unwrap();
    let (file, replicas) = (Arc::default(), Arc::default());
    {
        let mut state = server.handle().shared().lock();
        state.log.attach(Box::new(Tape(Reach::FILE, Arc::clone(&file))));
        state.log.attach(Box::new(Tape(Reach::REPLICAS, Arc::clone(&replicas))));
        redouble::settle::listen(&mut state);
    }
    let mut wire = Wire::connect(server.addr()).unwrap();
    let script = "redis.call('set', 'a', 1) \
                  redis.set_repl(redis.REPL_AOF) redis.call('incrbyfloat', 'b', 1.5) \
                  redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'c', 1) \
                  redis.set_repl(redis.REPL_NONE) redis.call('set', 'd', 1) \
                  redis.call('getdel', 'a') \
                  redis.set_repl(redis.REPL_ALL) redis.call('set', 'e', 1)";
    wire.call(&["EVAL", script, "0"]).unwrap();
    wire.call(&["SET", "f", "1"]).unwrap();
    let file = file.lock().unwrap().clone();
    let replicas = replicas.lock().unwrap().clone();
    assert_eq!(file, "MULTI SELECT 0 set a 1 SET b 1.5 KEEPTTL set e 1 EXEC SET f 1 ");
    assert_eq!(replicas, "MULTI SELECT 0 set a 1 set c 1 set e 1 EXEC SET f 1 ");
}

/// What a script that is pipelined `times` times answers.
fn pipelined(wire: &mut Wire, script: &str, times: usize) -> Vec<String> {
    let requests: Vec<u8> = (0..times).flat_map(|_| request(&["EVAL", script, "0"])).collect();
    wire.send(&requests);
    let replies = (0..times).map(|_| match wire.wait(PATIENCE) {
        Ok(Some(Reply::Bulk(text))) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    });
    replies.collect()
}

#[test]
fn time_stands_still_in_a_script_and_goes_on_after_it() {
    let server = Ours::start(&[]).unwrap();
    let mut wire = Wire::connect(server.addr()).unwrap();
    let script = "local function now() local t = redis.call('TIME'); return t[1] * 1e6 + t[2] end
                  local first = now()
                  for i = 1, 20 do redis.call('SET', 'k', i) end
                  assert(now() == first)
                  return string.format('%.0f', first)";
    let times: Vec<u64> =
        pipelined(&mut wire, script, 200).iter().map(|time| time.parse().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut different = times.clone();
    different.dedup();
    assert!(
        different.len() > 150,
        "only {} of 200 scripts have a time of their own",
        different.len()
    );
    server.handle().clock().freeze();
    let frozen = pipelined(&mut wire, script, 5);
    assert!(frozen.iter().all(|time| *time == frozen[0]), "{frozen:?}");
}

#[test]
fn a_script_takes_as_long_as_what_it_calls() {
    let server = Ours::start(&[]).unwrap();
    let mut wire = Wire::connect(server.addr()).unwrap();
    wire.call(&["EVAL", "for i = 1, 2000 do redis.call('SET', 'k', i) end", "0"]).unwrap();
    let Ok(Reply::Bulk(info)) = wire.call(&["INFO", "commandstats"]) else { panic!("no INFO") };
    let info = String::from_utf8(info).unwrap();
    let usec = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let figure = line.split(',').find_map(|field| field.strip_prefix("usec=")).unwrap();
        figure.parse::<u64>().unwrap()
    };
    assert!(usec("cmdstat_eval:") >= usec("cmdstat_set:"), "{info}");
}
