//! What single random commands would never meet: values filled to just below a threshold,
//! transactions that come to their EXEC, scripts, draws by chance with the list that they are
//! drawn from, keys and fields that die on the way.

use crate::generate::Generator;
use crate::play::{Command, Scene};

/// Thresholds as they are when nobody sets them.
const USUAL: &[(&str, &str)] = &[
    ("list-max-listpack-size", "-2"),
    ("list-compress-depth", "0"),
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("set-max-intset-entries", "512"),
    ("set-max-listpack-entries", "128"),
    ("set-max-listpack-value", "64"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("hll-sparse-max-bytes", "3000"),
    ("stream-node-max-entries", "100"),
    ("stream-node-max-bytes", "4096"),
];

/// Thresholds that every other command crosses.
const TIGHT: &[(&str, &str)] = &[
    ("list-max-listpack-size", "3"),
    ("list-compress-depth", "1"),
    ("hash-max-listpack-entries", "3"),
    ("hash-max-listpack-value", "8"),
    ("set-max-intset-entries", "4"),
    ("set-max-listpack-entries", "5"),
    ("set-max-listpack-value", "8"),
    ("zset-max-listpack-entries", "3"),
    ("zset-max-listpack-value", "8"),
    ("hll-sparse-max-bytes", "40"),
    ("stream-node-max-entries", "3"),
    ("stream-node-max-bytes", "0"),
];

/// No small encodings at all, streams by bytes, lists by their smallest size.
const NONE: &[(&str, &str)] = &[
    ("list-max-listpack-size", "-1"),
    ("list-compress-depth", "2"),
    ("hash-max-listpack-entries", "0"),
    ("hash-max-listpack-value", "0"),
    ("set-max-intset-entries", "0"),
    ("set-max-listpack-entries", "0"),
    ("set-max-listpack-value", "0"),
    ("zset-max-listpack-entries", "0"),
    ("zset-max-listpack-value", "0"),
    ("hll-sparse-max-bytes", "0"),
    ("stream-node-max-entries", "0"),
    ("stream-node-max-bytes", "60"),
];

/// One script for each kind of value: fills KEYS[1] with as many elements as ARGV[1] says.
const FILLS: &[(&str, &str)] = &[
    ("list", "redis.call('RPUSH', KEYS[1], i)"),
    ("list", "redis.call('LPUSH', KEYS[1], string.rep('e', 60) .. i)"),
    ("list", "redis.call('RPUSH', KEYS[1], string.rep('w', 997))"),
    ("set", "redis.call('SADD', KEYS[1], i)"),
    ("set", "redis.call('SADD', KEYS[1], 'f' .. i)"),
    ("zset", "redis.call('ZADD', KEYS[1], i % 7, 'f' .. i)"),
    ("zset", "redis.call('ZADD', KEYS[1], i / 3, i)"),
    ("lex", "redis.call('ZADD', KEYS[1], 0, 'f' .. i)"),
    ("hash", "redis.call('HSET', KEYS[1], 'f' .. i, i)"),
    ("hash", "redis.call('HSET', KEYS[1], i, string.rep('v', i % 66))"),
    ("stream", "redis.call('XADD', KEYS[1], i .. '-1', 'f', i)"),
    ("stream", "redis.call('XADD', KEYS[1], i .. '-' .. i, i, 'v', 'g', string.rep('v', 40))"),
    ("hll", "redis.call('PFADD', KEYS[1], 'f' .. i, i)"),
    ("geo", "redis.call('GEOADD', KEYS[1], i % 170, i % 80, 'f' .. i)"),
    ("string", "redis.call('APPEND', KEYS[1], i)"),
    ("bits", "redis.call('SETBIT', KEYS[1], i * 13, 1)"),
];

const SIZES: &[&str] = &["3", "20", "99", "101", "126", "127", "128", "129", "200", "511", "513"];

const SCRIPTS: &[&str] = &[
    "return redis.call(unpack(ARGV))",
    "return redis.pcall(unpack(ARGV))",
    "redis.setresp(3); return redis.call(unpack(ARGV))",
    "local r = redis.pcall(unpack(ARGV)); return type(r)",
    "redis.pcall(unpack(ARGV)); return redis.call(unpack(ARGV))",
];

/// What chance draws from: the kind of key, the command that lists it, the one that draws.
const DRAWS: &[(&str, &str, &str)] = &[
    ("set", "SMEMBERS", "SPOP"),
    ("set", "SMEMBERS", "SRANDMEMBER"),
    ("hash", "HGETALL", "HRANDFIELD"),
    ("zset", "ZRANGE", "ZRANDMEMBER"),
];

fn words(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

impl Generator<'_> {
    /// The conditions of the next sequence.
    pub fn scene(&mut self) -> Scene {
        let settings = [USUAL, USUAL, TIGHT, NONE][self.rng.below(4)];
        // Events of keys that nobody has met yet come when each server thinks of them.
        let (listens, is_lazy) = [(true, false), (false, false), (false, true)][self.rng.below(3)];
        Scene { resp3: self.rng.one_in(3), listens, is_lazy, settings }
    }

    /// A sequence of about `length` commands, made of blocks.
    pub fn sequence(&mut self, scene: Scene, length: usize) -> Vec<Command> {
        self.no_past = scene.listens;
        let mut commands = Vec::new();
        while commands.len() < length {
            self.block(scene, &mut commands);
        }
        commands
    }

    fn block(&mut self, scene: Scene, to: &mut Vec<Command>) {
        match self.rng.below(60) {
            0..=2 => to.push(self.fill()),
            3 | 4 => self.transaction(to),
            5..=8 => {
                let command = self.command();
                to.push(self.scripted(command));
            }
            9..=11 => self.draw(to),
            12 if scene.is_lazy || self.rng.one_in(30) => self.death(scene, to),
            13 => to.push(self.alphabet()),
            14 => to.push(self.elsewhere()),
            15..=25 => {
                let command = self.command();
                let key = command.get(1).cloned().unwrap_or_default();
                to.push(command);
                to.push(vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key]);
            }
            _ => {
                let command = self.command();
                to.push(command);
            }
        }
    }

    fn fill(&mut self) -> Command {
        let (family, call) = FILLS[self.rng.below(FILLS.len())];
        let call =
            if self.plain_scores { call.replace("i / 3", "i / 4") } else { call.to_string() };
        let script = format!("for i = 1, ARGV[1] do {call} end");
        let size = self.rng.pick(SIZES);
        let key = self.key(family);
        let mut command = words(&["EVAL", &script, "1"]);
        command.extend([key, size.as_bytes().to_vec()]);
        command
    }

    fn transaction(&mut self, to: &mut Vec<Command>) {
        if self.rng.one_in(3) {
            let key = self.key("any");
            to.push(vec![b"WATCH".to_vec(), key]);
            if self.rng.one_in(2) {
                let command = self.command();
                to.push(command);
            }
        }
        to.push(words(&["MULTI"]));
        for _ in 0..1 + self.rng.below(6) {
            let command = self.command();
            let command = if self.rng.one_in(6) { self.scripted(command) } else { command };
            to.push(command);
        }
        to.push(words(&["EXEC"]));
    }

    fn scripted(&mut self, command: Command) -> Command {
        let mut wrapped = words(&["EVAL", self.rng.pick(SCRIPTS), "0"]);
        wrapped.extend(command);
        wrapped
    }

    fn draw(&mut self, to: &mut Vec<Command>) {
        if self.rng.one_in(8) {
            to.push(words(&["KEYS", "*"]));
            return to.push(words(&["RANDOMKEY"]));
        }
        let (family, list, draw) = DRAWS[self.rng.below(DRAWS.len())];
        let key = self.key(family);
        let mut listing = vec![list.as_bytes().to_vec(), key.clone()];
        if list == "ZRANGE" {
            listing.extend(words(&["0", "-1", "WITHSCORES"]));
        }
        to.push(listing);
        let mut drawing = vec![draw.as_bytes().to_vec(), key.clone()];
        if !self.rng.one_in(4) {
            let counts = ["0", "1", "2", "5", "50", "500", "-1", "-4", "-200", "x"];
            drawing.push(self.rng.pick(&counts).as_bytes().to_vec());
            let option = match draw {
                "HRANDFIELD" => "WITHVALUES",
                "ZRANDMEMBER" => "WITHSCORES",
                _ => "extra",
            };
            if self.rng.one_in(if option == "extra" { 20 } else { 3 }) {
                drawing.push(option.as_bytes().to_vec());
            }
        }
        to.push(drawing);
        if draw == "SPOP" {
            // What is left depends on chance.
            to.push(vec![b"SCARD".to_vec(), key.clone()]);
            to.push(vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()]);
            to.push(vec![b"DEL".to_vec(), key]);
        }
    }

    /// Members of one score, as commands by lexicographic range want them.
    fn alphabet(&mut self) -> Command {
        let mut command = vec![b"ZADD".to_vec(), self.key("lex")];
        for _ in 0..1 + self.many() {
            command.push(b"0".to_vec());
            command.push(self.word());
        }
        command
    }

    /// A key or fields that are gone a moment later.
    fn death(&mut self, scene: Scene, to: &mut Vec<Command>) {
        // Redis shows fields that are gone, here and there, until it has cleared them away.
        if scene.is_lazy || self.rng.one_in(2) {
            let key = self.key("any");
            to.push(vec![b"PEXPIRE".to_vec(), key, b"1".to_vec()]);
        } else {
            let mut command = vec![b"HPEXPIRE".to_vec(), self.key("hash")];
            command.extend(words(&["1", "FIELDS", "3"]));
            command.extend((0..3).map(|_| self.word()));
            to.push(command);
        }
        to.push(words(&["DEBUG", "SLEEP", "0.003"]));
    }

    /// Now and then the whole database moves or goes.
    fn elsewhere(&mut self) -> Command {
        let lines: [&[&str]; 8] = [
            &["SELECT", "1"],
            &["SELECT", "0"],
            &["SELECT", "0"],
            &["SWAPDB", "0", "1"],
            &["SWAPDB", "0", "16"],
            &["FLUSHDB"],
            &["FLUSHALL", "SYNC"],
            &["FLUSHDB", "nonsense"],
        ];
        words(lines[self.rng.below(lines.len())])
    }
}
