//! Files of users and users in configuration files: what is read, what is refused, what is written.

use std::fs;
use std::path::PathBuf;

use redouble::acl::{file, Rules, Vocabulary};
use redouble::config::Config;
use redouble::resp::reader::Value;
use redouble::Server;

use crate::differential::number;
use crate::generate::Rng;
use crate::wire::{Reply, Wire};

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("redouble-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn started(directives: &[(&str, &str)]) -> Server {
    let builder = Server::builder();
    let builder =
        directives.iter().fold(builder, |builder, (name, value)| builder.config(name, value));
    builder.start().expect("it starts")
}

fn refusal(directives: &[(&str, &str)]) -> String {
    let builder = Server::builder();
    let builder =
        directives.iter().fold(builder, |builder, (name, value)| builder.config(name, value));
    builder.start().err().map(|error| error.to_string()).unwrap_or_default()
}

fn list(server: &Server) -> Vec<String> {
    let Value::Array(users) = server.command(&["ACL", "LIST"]) else { return Vec::new() };
    let text = |user| match user {
        Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => format!("{other:?}"),
    };
    users.into_iter().map(text).collect()
}

const OPEN: &str = "user default on nopass sanitize-payload ~* &* +@all";
const NO_CHANGE: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// What Redis 8.0.2 says to such files; `F` stands for the name.
#[test]
fn files_with_faults_change_nothing() {
    let folder = Folder::new("faults");
    let path = folder.file("users.acl");
    fs::write(&path, "user alice on >pw ~a:* +@all\n\n").expect("written");
    let server = started(&[("aclfile", &path)]);
    let before = list(&server);
    assert_eq!(before.len(), 2, "{before:?}");
    let unknown = "Unknown command or category name in ACL";
    let keyword = "F:1 should start with user keyword followed by the username. ";
    let twice = format!(
        "F:1: Error in applying operation '+nosuch': {unknown}. F:1: Syntax error. F:1: Error in \
         applying operation '+@nosuch': {unknown}. "
    );
    for (text, why) in [
        ("bogus\n", keyword),
        ("user\n", keyword),
        ("user \n", keyword),
        ("USER a on\n", keyword),
        ("# comment\n", keyword),
        ("user a\tb on\n", "'F:1: username 'a\tb' contains invalid characters. "),
        ("user  x on\n", "F:1: Syntax error. "),
        ("user a \"on\"\n", "F:1: Syntax error. "),
        ("user a bogus nonsense\n", "F:1: Syntax error. "),
        ("user bob on\nuser carl off ~x (+get ~y) (~z\tq)\n", "F:2: Syntax error. "),
        ("user a on\nuser a off\n", "WARNING: Duplicate user 'a' found on line 2. "),
        ("user a +nosuch bogus +@nosuch ~* ~a\n", &twice),
        ("user a (+get\n", "F:1: Unmatched parenthesis in selector definition."),
        (
            "user a on >p #bad\n",
            "F:1: The password hash must be exactly 64 characters and contain only lowercase \
             hexadecimal characters. ",
        ),
        (
            "user a ~a (~x +get)(+set)\n",
            &format!("F:1: Error in applying operation '(~x +get)(+set)': {unknown}. "),
        ),
        (
            "user a on <x\n",
            "F:1: The password you are trying to remove from the user does not exist. ",
        ),
    ] {
        fs::write(&path, text).expect("written");
        let expected = format!("ERR {}{NO_CHANGE}", why.replace('F', &path));
        assert_eq!(server.command(&["ACL", "LOAD"]), Value::Error(expected.into()), "{text:?}");
        assert_eq!(list(&server), before, "{text:?}");
    }
    fs::remove_file(&path).expect("removed");
    let gone = format!("ERR Error loading ACLs, opening file '{path}': No such file or directory");
    assert_eq!(server.command(&["ACL", "LOAD"]), Value::Error(gone.into()));
    assert_eq!(list(&server), before);
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let folder = Folder::new("saved");
    let path = folder.file("users.acl");
    fs::write(&path, "  user alice on   +get\r\n\n").expect("written");
    let server = started(&[("aclfile", &path)]);
    let alice = "user alice on sanitize-payload resetchannels -@all +get";
    assert_eq!(list(&server), [alice, OPEN]);
    let changed = ["ACL", "SETUSER", "bob", "on", ">p", "~a", "(", "+get", "~b", ")", "&\u{e9}"];
    assert_eq!(server.command(&changed), Value::Simple("OK".into()));
    assert_eq!(server.command(&["ACL", "SAVE"]), Value::Simple("OK".into()));
    let saved = list(&server);
    assert_eq!(fs::read_to_string(&path).expect("read"), saved.join("\n") + "\n");
    assert_eq!(server.command(&["ACL", "DELUSER", "bob", "alice"]), Value::Int(2));
    assert_eq!(server.command(&["ACL", "LOAD"]), Value::Simple("OK".into()));
    assert_eq!(list(&server), saved);
    // Where nothing can be written, the file of before stays.
    let moved = std::env::temp_dir().join(format!("redouble-moved-{}", std::process::id()));
    fs::rename(&folder.0, &moved).expect("moved");
    let refused = server.command(&["ACL", "SAVE"]);
    fs::rename(&moved, &folder.0).expect("moved back");
    assert!(matches!(refused, Value::Error(why) if why.contains("trying to save the ACLs")));
    assert_eq!(fs::read_to_string(&path).expect("read"), saved.join("\n") + "\n");
    let names = fs::read_dir(&folder.0).expect("listed").count();
    assert_eq!(names, 1, "a draft was left");
}

#[test]
fn loading_ends_the_connections_of_users_who_are_gone() {
    let folder = Folder::new("gone");
    let path = folder.file("users.acl");
    let all = "user alice on nopass +@all &*\nuser bob on nopass +@all\n";
    fs::write(&path, format!("{all}user carl on nopass &c +@all\n")).expect("written");
    let server = started(&[("aclfile", &path)]);
    let login = |name: &str| {
        let mut wire = Wire::connect(server.addr().expect("an address")).expect("connected");
        let reply = wire.call(&["AUTH", name, "x"]).expect("answered");
        assert_eq!(reply, Reply::Status(b"OK".to_vec()));
        wire
    };
    let (mut alice, mut listener, mut bob) = (login("alice"), login("alice"), login("bob"));
    let mut carl = login("carl");
    listener.call(&["SUBSCRIBE", "news"]).expect("subscribed");
    carl.call(&["SUBSCRIBE", "c"]).expect("subscribed");
    fs::write(&path, "user alice on nopass +ping\nuser carl on nopass &c &d +@all\n").expect("it");
    assert_eq!(server.command(&["ACL", "LOAD"]), Value::Simple("OK".into()));
    assert_eq!(alice.call(&["PING"]).expect("kept"), Reply::Status(b"PONG".to_vec()));
    assert!(matches!(alice.call(&["GET", "k"]).expect("kept"), Reply::Error(_)));
    assert_eq!(bob.call(&["PING"]).expect("told"), Reply::Closed, "a user who is gone");
    let heard = listener.call(&["PING"]).expect("told");
    assert_eq!(heard, Reply::Closed, "a listener to what may not be heard any more");
    assert!(matches!(carl.call(&["PING"]).expect("kept"), Reply::Array(_)));
}

#[test]
fn users_have_one_home() {
    let folder = Folder::new("home");
    let path = folder.file("users.acl");
    fs::write(&path, "user alice on\n").expect("written");
    let both = refusal(&[("user", "alice on"), ("aclfile", &path)]);
    assert!(both.starts_with("Configuring Redis with users defined in redis.conf and"), "{both}");
    let missing = refusal(&[("aclfile", &folder.file("none"))]);
    let why = "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file";
    assert!(missing.starts_with(why), "{missing}");
    let unknown = refusal(&[("user", "alice +nosuch")]);
    let why = "Error loading ACL rule '+nosuch' for the user named 'alice': Unknown command";
    assert!(unknown.starts_with(why), "{unknown}");
    let spaces = refusal(&[("user", "\"al ice\" on")]);
    assert!(spaces.starts_with("Spaces not allowed in ACL usernames"), "{spaces}");
    // The file says what the default user is; without a word about it, it is open.
    let server = started(&[("requirepass", "secret"), ("aclfile", &path)]);
    assert!(list(&server).contains(&OPEN.to_string()));
}

#[test]
fn a_rewritten_configuration_makes_the_same_users_again() {
    let folder = Folder::new("rewritten");
    let path = folder.file("redis.conf");
    fs::write(&path, "# mine\nport 0\nuser gone on\nuser default on >secret ~* +@all\n")
        .expect("it");
    let start = || {
        let mut config = Config::default();
        config.apply_all(Some(path.as_ref()), b"", b"").expect("read");
        Server::builder().with_config(config, &path).start().expect("it starts")
    };
    let server = start();
    let words: [&[&[u8]]; 5] = [
        &[b"alice", b"on", b">p", b"~a:*", b"%R~\xff\x01\"q\"", b"&it's", b"+@read", b"-get"],
        &[b"bob", b"nopass", b"(~x +get)", b"(%W~y &z +set|a)", b"+select|0"],
        &[b"q\"uote", b"on", b"(~\"a\\\"b\" +get)", b"~\\x41"],
        &[b"skip", b"skip-sanitize-payload", b"allcommands", b"allkeys", b"allchannels"],
        &[b"\xfe", b"on"],
    ];
    for user in words {
        let call = [&[&b"ACL"[..], b"SETUSER"], user].concat();
        assert_eq!(server.command(&call), Value::Simple("OK".into()), "{user:?}");
    }
    assert_eq!(server.command(&["ACL", "DELUSER", "gone"]), Value::Int(1));
    let before = server.command(&["ACL", "LIST"]);
    assert_eq!(server.command(&["CONFIG", "REWRITE"]), Value::Simple("OK".into()));
    let text = fs::read(&path).expect("read");
    let server = start();
    assert_eq!(server.command(&["ACL", "LIST"]), before, "{}", text.escape_ascii());
    assert_eq!(server.command(&["CONFIG", "REWRITE"]), Value::Simple("OK".into()));
    let mut again = fs::read(&path).expect("read");
    while again.ends_with(b"\n\n") {
        again.pop();
    }
    assert_eq!(again, text, "written a second time, it is another file");
}

fn rules() -> Rules {
    let vocabulary: &'static Vocabulary = redouble::commands::vocabulary();
    Rules { vocabulary, all_channels: false }
}

/// Whatever a file holds, reading it ends, and what was read is described so that it is read again.
#[test]
fn any_text_is_read_or_refused() {
    const PIECES: &[&str] = &[
        "user ",
        "user",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "a",
        "default",
        " on",
        " off",
        " ~*",
        " ~a",
        " %R~b",
        " %W~b",
        " %",
        " &*",
        " &c",
        " +@all",
        " -@all",
        " +get",
        " -get",
        " +@read",
        " -@",
        " +config|get",
        " +select|1",
        " +get|",
        " +|",
        " (",
        ")",
        " (+get)",
        " (~x",
        " +set)",
        "\"",
        "'",
        "\\",
        " >p",
        " <p",
        " #0",
        " !0",
        " nopass",
        " resetpass",
        " reset",
        " allkeys",
        " resetkeys",
        " clearselectors",
        "|",
        "@",
        "\u{ff}",
        " skip-sanitize-payload",
    ];
    let mut rng = Rng(number("SEED", 1) as u64);
    let (rules, mut good) = (rules(), 0);
    for _ in 0..number("FILES", 4000) {
        let mut text = Vec::new();
        for _ in 0..1 + rng.below(4) {
            if !rng.one_in(10) {
                text.extend_from_slice(format!("user u{}", rng.below(9)).as_bytes());
            }
            for _ in 0..rng.below(7) {
                text.extend_from_slice(rng.pick(PIECES).as_bytes());
            }
            text.push(b'\n');
        }
        if rng.one_in(4) {
            let at = rng.below(text.len());
            text[at] = rng.next() as u8;
        }
        let Ok(users) = file::read("f", &text, &rules) else { continue };
        good += 1;
        let printed = file::print(users.values());
        let again = file::read("f", &printed, &rules);
        let again = again
            .unwrap_or_else(|why| panic!("{}: {}", why.escape_ascii(), printed.escape_ascii()));
        let reprinted = file::print(again.values());
        assert_eq!(reprinted, printed, "{}", text.escape_ascii());
    }
    assert!(good > 100, "{good} files were read");
}

#[test]
fn the_program_itself_may_do_everything_and_a_reset_brings_the_first_users_back() {
    let server = started(&[("user", "alice on >pw ~a +get"), ("requirepass", "secret")]);
    let first = list(&server);
    assert_eq!(first.len(), 2, "{first:?}");
    for words in [
        &["ACL", "SETUSER", "bob", "on"][..],
        &["ACL", "SETUSER", "default", "reset"],
        &["ACL", "SETUSER", "alice", "off"],
    ] {
        assert_eq!(server.command(words), Value::Simple("OK".into()), "{words:?}");
    }
    assert_eq!(server.command(&["ACL", "WHOAMI"]), Value::Null);
    assert_eq!(server.command(&["SET", "k", "v"]), Value::Simple("OK".into()));
    let address = server.addr().expect("an address");
    let mut wire = Wire::connect(address).expect("connected");
    assert!(matches!(wire.call(&["PING"]).expect("told"), Reply::Error(_)));
    server.reset();
    assert_eq!(list(&server), first);
    let mut wire = Wire::connect(address).expect("connected");
    assert!(matches!(wire.call(&["PING"]).expect("told"), Reply::Error(_)));
    assert_eq!(wire.call(&["AUTH", "secret"]).expect("told"), Reply::Status(b"OK".to_vec()));
    assert_eq!(wire.call(&["PING"]).expect("told"), Reply::Status(b"PONG".to_vec()));
}
