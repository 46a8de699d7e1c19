//! Tests of the host without a server around it, most of them against a genuine one.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::convert::write_error;
use super::{Call, Engine, Host, Libraries, LogLevel, Passing, Purpose, Scripts, Verdict, Version};
use crate::types::oracle::Oracle;

/// A server with three commands.
#[derive(Default)]
struct Stub {
    hooks: usize,
    hooks_max: usize,
    logged: Vec<(LogLevel, Vec<u8>)>,
}

impl Host for Stub {
    fn call(&mut self, args: &[&[u8]], protocol: u8, reply: &mut Vec<u8>) {
        match args {
            [b"echo", text] => {
                reply.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                reply.extend_from_slice(text);
                reply.extend_from_slice(b"\r\n");
            }
            [b"ping"] => reply.extend_from_slice(b"+PONG\r\n"),
            [b"lpush", ..] => reply.extend_from_slice(
                b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            ),
            [b"get", b"none"] if protocol == 3 => reply.extend_from_slice(b"_\r\n"),
            [b"get", b"none"] => reply.extend_from_slice(b"$-1\r\n"),
            _ => reply.extend_from_slice(b"-ERR Unknown Redis command called from script\r\n"),
        }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.logged.push((level, text.to_vec()));
    }

    fn on_hook(&mut self) -> Verdict {
        self.hooks += 1;
        if self.hooks_max != 0 && self.hooks > self.hooks_max {
            Verdict::Kill
        } else {
            Verdict::Continue
        }
    }

    fn set_replication(&mut self, _: u8) {}

    fn is_allowed(&mut self, args: &[&[u8]]) -> Option<bool> {
        (args.first() == Some(&&b"get"[..])).then_some(true)
    }
}

fn version() -> Version {
    Version { text: "8.0.2".to_string(), number: 0x80002 }
}

/// A host for EVAL.
struct Bench {
    engine: Engine,
    scripts: Scripts,
    stub: Stub,
    protocol: u8,
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new(Purpose::Scripts, &version()).expect("memory");
        Bench { engine, scripts: Scripts::default(), stub: Stub::default(), protocol: 2 }
    }

    fn eval(&mut self, body: &[u8], keys: &[&[u8]], args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.scripts.eval(&mut self.engine, body) {
            Ok(script) => {
                let (function, name) = (script.function, script.digest);
                let call = Call {
                    function,
                    name: &name,
                    keys,
                    args,
                    passing: Passing::Globals,
                    protocol: self.protocol,
                };
                self.engine.call(&call, &mut self.stub, &mut out);
            }
            Err(text) => {
                write_error(&mut out, &[b"ERR ", text.as_slice()].concat());
            }
        }
        out
    }

    fn text(&mut self, body: &str) -> String {
        String::from_utf8_lossy(&self.eval(body.as_bytes(), &[], &[])).into_owned()
    }
}

/// Runs scripts on both and reports every difference.
fn compare(oracle: &mut Oracle, bench: &mut Bench, scripts: &[String], args: &[&[u8]]) {
    let mut wrong = Vec::new();
    for script in scripts {
        let mut command: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"0"];
        command.extend_from_slice(args);
        let theirs = oracle.exact(&command);
        let ours = bench.eval(script.as_bytes(), &[], args);
        if ours != theirs {
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            wrong.push(format!("{script}\n  ours   {}\n  theirs {}", show(&ours), show(&theirs)));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// How many generated scripts a test compares: `ROUNDS` says more than the usual number.
fn rounds(usual: usize) -> usize {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The generator of a test; `SEED` gives it other numbers than the usual ones.
fn generator(usual: u64) -> SmallRng {
    let other = std::env::var("SEED").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    SmallRng::seed_from_u64(usual.wrapping_add(other << 8))
}

/// Scripts whose replies must be equal to the last byte.
const SCRIPTS: &str = include_str!("samples.lua");

#[test]
fn samples_answer_as_the_genuine_server() {
    let Some(mut oracle) = Oracle::start() else { return };
    let scripts: Vec<String> = SCRIPTS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.replace("\\n", "\n"))
        .collect();
    oracle.call(&["SET", "str", "x"]);
    for protocol in [2, 3] {
        oracle.exact(&[b"HELLO", protocol.to_string().as_bytes()]);
        let mut bench = Bench::new();
        bench.protocol = protocol;
        compare(&mut oracle, &mut bench, &scripts, &[b"a", b"b\0c"]);
    }
}

/// A Lua expression of a random value.
fn value(random: &mut SmallRng, depth: u32) -> String {
    match random.random_range(0..if depth == 0 { 7 } else { 10 }) {
        0 => ["nil", "true", "false", "cjson.null"][random.random_range(0..4)].to_string(),
        1 | 2 => number(random),
        3..=6 => string(random),
        7 => {
            let items: Vec<String> =
                (0..random.random_range(0..20)).map(|_| value(random, depth - 1)).collect();
            format!("{{{}}}", items.join(","))
        }
        8 => format!("{{[{}]={}}}", key(random), value(random, depth - 1)),
        _ => format!("{{[{}]={}}}", random.random_range(-2..30), value(random, depth - 1)),
    }
}

fn key(random: &mut SmallRng) -> String {
    match random.random_range(0..4) {
        0 => number(random).replace("(0/0)", "7"),
        1 => "true".to_string(),
        _ => string(random),
    }
}

fn number(random: &mut SmallRng) -> String {
    match random.random_range(0..9) {
        0 => random.random_range(-40i64..300).to_string(),
        1 => random.random_range(-70000i64..70000).to_string(),
        2 => format!("2^{}", random.random_range(0..70)),
        3 => format!("-(2^{})", random.random_range(0..70)),
        4 => format!("{}.5", random.random_range(-100i64..100)),
        5 => format!("{:e}", random.random::<f64>() * 10f64.powi(random.random_range(-30..30))),
        6 => ["1/0", "-1/0", "(0/0)", "2^53+1", "2^31-1", "2^32", "-2^31", "2^63", "-(2^63)"]
            [random.random_range(0..9)]
        .to_string(),
        _ => format!("{}", random.random_range(-10_000_000_000i64..10_000_000_000)),
    }
}

fn string(random: &mut SmallRng) -> String {
    let len = match random.random_range(0..8) {
        0 => 0,
        1 => random.random_range(0..300),
        _ => random.random_range(0..12),
    };
    let bytes: String = (0..len).map(|_| format!("\\{}", random.random_range(0..256))).collect();
    format!("'{bytes}'")
}

#[test]
fn packed_values_are_the_genuine_servers() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut random = generator(4);
    let scripts: Vec<String> = (0..rounds(1500))
        .map(|round| {
            let value = value(&mut random, 3);
            match round % 3 {
                0 => format!("return cjson.encode({value})"),
                1 => format!("return cmsgpack.pack({value},{})", number(&mut random)),
                _ => format!("return cjson.encode({{cmsgpack.unpack(cmsgpack.pack({value}))}})"),
            }
        })
        .collect();
    compare(&mut oracle, &mut Bench::new(), &scripts, &[]);
}

#[test]
fn damaged_input_is_refused_as_by_the_genuine_server() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut random = generator(5);
    let show =
        "local function show(...) local t={} for i=1,select('#',...) do local v=select(i,...) \
                if v~=v then t[i]='nan' elseif type(v)=='table' then t[i]='t'..#v \
                else t[i]=tostring(v) end end return t end ";
    let json = br#"{"a":[1,2.5e3,-0,true,null,"x\u00e9\ud83d\ude00\n"],"b":{}}  "#;
    let mut bench = Bench::new();
    for _ in 0..rounds(1500) {
        let mut input: Vec<u8> = if random.random() {
            json.to_vec()
        } else {
            (0..random.random_range(0..12)).map(|_| random.random()).collect()
        };
        for _ in 0..random.random_range(0..3) {
            if !input.is_empty() {
                let at = random.random_range(0..input.len());
                match random.random_range(0..3) {
                    0 => input.truncate(at),
                    1 => input[at] = random.random(),
                    _ => input.insert(at, b"{}[],:\"\\0-+eEntfx"[random.random_range(0..17)]),
                }
            }
        }
        let call =
            ["cjson.decode", "cmsgpack.unpack", "cmsgpack.unpack_one"][random.random_range(0..3)];
        let script = format!("{show} return show({call}(ARGV[1]))");
        compare(&mut oracle, &mut bench, &[script], &[&input]);
    }
}

#[test]
fn structs_and_bits_are_the_genuine_servers() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut random = generator(6);
    let mut scripts = Vec::new();
    for round in 0..rounds(2000) {
        let script = match round % 4 {
            0 | 1 => {
                let mut format = String::new();
                let mut values = Vec::new();
                for _ in 0..random.random_range(0..6) {
                    let option =
                        "bBhHlLTiIfdxcs<>! q".as_bytes()[random.random_range(0..19)] as char;
                    format.push(option);
                    if "iIc!".contains(option) && random.random() {
                        format.push_str(&random.random_range(0..40).to_string());
                    }
                    match option {
                        'c' | 's' => values.push(string(&mut random)),
                        'x' | '<' | '>' | '!' | ' ' | 'q' => {}
                        _ => values.push(number(&mut random).replace("(0/0)", "1")),
                    }
                }
                if round % 4 == 0 {
                    values.insert(0, format!("'{format}'"));
                    format!("return struct.pack({})", values.join(","))
                } else {
                    let data = string(&mut random);
                    format!(
                        "local t={{struct.unpack('{format}',{data}..{data})}} for i,v in ipairs(t) \
                         do t[i]=tostring(v) end return t"
                    )
                }
            }
            2 => {
                let names = [
                    "tobit", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol",
                    "ror", "bswap",
                ];
                let name = names[random.random_range(0..names.len())];
                let (a, b) = (number(&mut random), number(&mut random));
                format!("return tostring(bit.{name}({a},{b}))")
            }
            _ => {
                format!("return bit.tohex({},{})", number(&mut random), random.random_range(-9..10))
            }
        };
        scripts.push(script);
    }
    compare(&mut oracle, &mut Bench::new(), &scripts, &[]);
}

/// A pattern of random pieces, some of them wrong.
fn random_pattern(random: &mut SmallRng) -> String {
    const PIECES: [&str; 40] = [
        "a", "b", "a", "b", ".", "%a", "%d", "%s", "%w", "%x", "%p", "%u", "%l", "%c", "%z", "%A",
        "%W", "%S", "%.", "%%", "[ab]", "[^a]", "[a-c%d]", "[]a]", "[^]a]", "[%]-]", "[a-]", "(",
        ")", "()", "(a)", "(.-)", "(b*)", "%1", "%2", "%b()", "%f[%w]", "^", "$", "-",
    ];
    const ODD: [&str; 8] = ["%", "[", "[a", "%b", "%f", "%0", "\\0", "[%"];
    let mut pattern = String::new();
    for _ in 0..random.random_range(0..7) {
        if random.random_range(0..25) == 0 {
            pattern.push_str(ODD[random.random_range(0..ODD.len())]);
        } else {
            pattern.push_str(PIECES[random.random_range(0..PIECES.len())]);
        }
        pattern.push_str(["", "", "*", "+", "-", "?"][random.random_range(0..6)]);
    }
    pattern
}

#[test]
fn patterns_match_as_on_the_genuine_server() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut random = generator(7);
    let show = "local function show(...) local t={} for i=1,select('#',...) do \
                t[i]=tostring((select(i,...))) end return t end ";
    let scripts: Vec<String> = (0..rounds(6000))
        .map(|round| {
            let pattern = random_pattern(&mut random);
            let subject: String = (0..random.random_range(0..14))
                .map(|_| ["a", "b", "c", "1", " ", "(", ")", "A", ".", "-", "\\0", "]"])
                .map(|letters| letters[random.random_range(0..letters.len())])
                .collect();
            let from = random.random_range(-16..16);
            let call = match round % 7 {
                0 => format!("show(string.find('{subject}','{pattern}',{from}))"),
                1 => format!("show(string.match('{subject}','{pattern}',{from}))"),
                2 => format!("show(string.gsub('{subject}','{pattern}','<%0%1>'))"),
                3 => format!("show(string.gsub('{subject}','{pattern}','%2x%',{from}))"),
                4 => format!("show(string.gsub('{subject}','{pattern}',{{a='A',b=1,c=false}}))"),
                5 => format!(
                    "show(string.gsub('{subject}','{pattern}',function(x,y) if x~='b' then \
                     return y or x end end))"
                ),
                _ => format!(
                    "(function() local t={{}} for x,y in string.gmatch('{subject}','{pattern}') \
                     do t[#t+1]=tostring(x) t[#t+1]=tostring(y) end return t end)()"
                ),
            };
            format!("{show} return {call}")
        })
        .collect();
    compare(&mut oracle, &mut Bench::new(), &scripts, &[]);
}

#[test]
fn wrong_scripts_end_in_errors() {
    let mut bench = Bench::new();
    bench.engine.set_memory_limit(16 << 20);
    for (script, wanted) in [
        ("return string.rep('x', 1e9)", "not enough memory"),
        ("local t={} while true do t[#t+1]=('x'):rep(1000)..#t end", "not enough memory"),
        ("local function f() return 1+f() end return f()", "stack overflow"),
        ("return loadstring(string.dump(function() return 1 end))()", "attempt to call"),
        (
            "local s='\\27Lua' local f=load(function() local r=s s=nil return r end) return f()",
            "call",
        ),
        ("return string.find(('a'):rep(90000), ('a?'):rep(90000))", "pattern too complex"),
        ("return unpack({}, -2^31, 2^31-1)", "too many results to unpack"),
        ("return unpack({}, 0, 2^31-1)", "too many results to unpack"),
        ("return table.insert({}, 2^31, 1)", "position out of bounds"),
        ("local t={} for i=1,60 do t={t,t} end return t", "not enough memory"),
        ("local s='x' while true do s=s..s end", "not enough memory"),
        ("return ('x'):rep(1e6):gsub('x', ('y'):rep(1e6))", "not enough memory"),
        ("return string.format('%99999d', 1)", "invalid format"),
        ("return struct.pack('c99999999999', 'x')", "integral size overflow"),
        ("return cmsgpack.unpack(('\\145'):rep(1e6))", "stack overflow"),
        ("return coroutine.yield(1)", "attempt to yield"),
        ("local function f(n) return coroutine.wrap(f)(n+1) end return f(1)", "C stack overflow"),
        ("error()", "nil"),
        ("os.exit()", "nil value"),
        ("local t={} for i=1,60 do t={t,t} end return cjson.encode(t)", "not enough memory"),
        ("error(setmetatable({}, {__index=function() error('x') end}))", "unknown error"),
        ("return tostring(xpcall(error, function() error('b') end))", "false"),
    ] {
        let reply = bench.text(script);
        assert!(reply.contains(wanted), "{script}: {reply}");
        assert_eq!(bench.text("return 'alive'"), "$5\r\nalive\r\n");
    }
    bench.engine.set_memory_limit(1 << 30);
    let nested = "local t={} for i=1,200000 do t={t} end return t";
    assert!(bench.text(nested).ends_with("-ERR reached lua stack limit\r\n"));
}

#[test]
fn endless_scripts_are_killed() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local function f() while true do pcall(f) end end f()",
        "while true do xpcall(function() while true do end end, function() while true do end end) \
         end",
        "string.find(('a'):rep(200000), ('a-'):rep(50)..'b')",
        "return ('a'):rep(200000):gsub('.-b', '')",
        "return ('a'):rep(200000):match('(.-)%1b')",
        "for word in ('a'):rep(200000):gmatch('.-b') do end",
        "while true do pcall(string.find, ('a'):rep(200000), '.-b') end",
        "while true do string.rep('x', 1e6) end",
        "local t={} for i=1,1e4 do t[i]=i end while true do cjson.encode(t) end",
        "local t={} for i=1,1e4 do t[i]=i end \
         coroutine.wrap(function() while true do cjson.encode(t) end end)()",
        "local t={} for i=1,1e5 do t[i]=i end while true do table.sort(t) end",
        "local t={} for i=1,1e5 do t[i]=i end while true do table.insert(t,1,table.remove(t)) end",
        "local t={} for i=1,14 do t={t,t,t,t,t,t,t,t,t,t} end return cmsgpack.pack(t)",
        "local t={} for i=1,60 do t={t,t} end return cjson.encode(t)",
        "local t={} for i=1,60 do t={t,t} end return t",
    ] {
        let mut bench = Bench::new();
        bench.stub.hooks_max = 3;
        let reply = bench.text(script);
        assert!(reply.contains("Script killed by user with SCRIPT KILL..."), "{script}: {reply}");
        bench.stub.hooks_max = 0;
        assert_eq!(bench.text("return 1"), ":1\r\n");
        let long = "local n=0 for i=1,1000000 do n=n+1 end return n";
        assert_eq!(bench.text(long), ":1000000\r\n");
    }
}

#[test]
fn nothing_leaves_the_sandbox() {
    let mut bench = Bench::new();
    for script in [
        "redis.x=1",
        "string.x=1",
        "rawset(_G,'x',1)",
        "rawset(math,'x',1)",
        "table.insert(redis,1)",
        "setmetatable(_G,nil)",
        "getmetatable('').__index=1",
        "getmetatable('').__index.len=1",
        "getmetatable(_G).__index=1",
        "for k,v in pairs(_G) do if type(v)=='table' and k~='KEYS' and k~='ARGV' then \
         rawset(v,'x',1) end end",
        "local _,t=pairs(redis) t.x=1",
        "table.foreach(_G,function(k,v) if k=='redis' then v.x=1 end end)",
        "error(redis)",
        "getmetatable(getmetatable('').__index).x=1",
    ] {
        let reply = bench.text(script);
        let refused = reply.contains("readonly table")
            || reply.contains("a nil value")
            || reply.contains("error in error handling");
        assert!(reply.starts_with('-') && refused, "{script}: {reply}");
    }
    let names = bench.text("local t={} for k in pairs(redis) do t[#t+1]=k end return #t");
    assert_eq!(names, ":23\r\n");
}

#[test]
fn scripts_of_eval_are_bounded() {
    let mut bench = Bench::new();
    let kept = bench.scripts.load(&mut bench.engine, b"return 'kept'").expect("compiles");
    for round in 0..600 {
        bench.text(&format!("return {round}"));
    }
    assert_eq!(bench.scripts.len(), 501);
    assert_eq!(bench.scripts.evicted(), 100);
    bench.scripts.reset_statistics();
    assert_eq!(bench.scripts.evicted(), 0);
    assert!(bench.scripts.contains(&kept));
    assert!(bench.scripts.find(kept.to_ascii_uppercase().as_slice()).is_some());
}

#[test]
fn libraries_load_whole_or_not_at_all() {
    let mut engine = Engine::new(Purpose::Functions, &version()).expect("memory");
    let mut libraries = Libraries::default();
    let mut stub = Stub::default();
    let mut load = |libraries: &mut Libraries, code: &str, replace| {
        libraries
            .load(&mut engine, code.as_bytes(), replace, &mut stub)
            .map_err(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let one =
        "#!lua name=one\nredis.register_function('f', function(keys, args) return args[1] end)";
    assert_eq!(load(&mut libraries, one, false), Ok(b"one".to_vec()));
    assert_eq!(load(&mut libraries, one, false), Err("Library 'one' already exists".into()));
    assert_eq!(load(&mut libraries, one, true), Ok(b"one".to_vec()));
    let clash = one.replace("one", "two").replace("'f'", "'F'");
    assert_eq!(load(&mut libraries, &clash, false), Err("Function F already exists".into()));
    let bad = "#!lua name=one\nredis.register_function('g', function() end) local x = math.abs(1)";
    let text = "Error registering functions: ERR user_function:2: Script attempted to access \
                nonexistent global variable 'math'";
    assert_eq!(load(&mut libraries, bad, true), Err(text.into()));
    assert_eq!((libraries.len(), libraries.function_count()), (1, 1));
    let function = libraries.find(b"F").expect("found without case").function;
    let call = Call {
        function,
        name: b"f",
        keys: &[],
        args: &[b"hello"],
        passing: Passing::Parameters,
        protocol: 2,
    };
    let mut out = Vec::new();
    engine.call(&call, &mut stub, &mut out);
    assert_eq!(out, b"$5\r\nhello\r\n");
}
