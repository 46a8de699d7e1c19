//! Scripts seen from outside: what enters the log.

use std::sync::{Arc, Mutex};

use redouble::keyspace::effects::Reach;
use redouble::log::Reader;

use crate::server::Ours;
use crate::session::run::Server;
use crate::wire::Wire;

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
    assert_eq!(file, "SELECT 0 MULTI set a 1 SET b 1.5 KEEPTTL set e 1 EXEC SELECT 0 SET f 1 ");
    assert_eq!(replicas, "SELECT 0 MULTI set a 1 set c 1 set e 1 EXEC SELECT 0 SET f 1 ");
}
