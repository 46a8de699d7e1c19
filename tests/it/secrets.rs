//! Secrets that clients and operators give to the server: they reach nobody but the command or the
//! directive that they are for.

use crate::patience::PATIENCE;
use crate::process::{output, text, Folder, Process};
use crate::show;
use crate::wire::Wire;

/// In no name, no text and no other argument.
const SECRET: &str = "hush-2718281828";
/// The same as a rule.
const ADDED: &str = ">hush-2718281828";
const REMOVED: &str = "<hush-2718281828";

/// What is said on one connection, line by line. Some of it is right, some is refused, some is
/// malformed; each could be told to somebody.
const TALKS: &[&[&[&str]]] = &[
    &[&["AUTH", SECRET], &["AUTH", "nobody", SECRET], &["AUTH", "default", SECRET, "more"]],
    &[&["HELLO", "3", "AUTH", "nobody", SECRET], &["HELLO", "3", "AUTH", SECRET]],
    &[&["HELLO", "9", "AUTH", "ann", SECRET], &["HELLO", "2", "AUTH", "ann", SECRET, "SETNAME"]],
    &[
        &["ACL", "SETUSER", "ann", "on", ADDED, "~*", "+@all"],
        &["ACL", "SETUSER", "ann", "on", ADDED, "+nonsense"],
        &["ACL", "SETUSER", "ben", REMOVED],
        &["ACL", "DRYRUN", "ann", "AUTH", SECRET],
        &["ACL", "DRYRUN", "ann", "ACL", "SETUSER", "ann", ADDED],
        &["ACL", "DRYRUN", "ann", "CONFIG", "SET", "requirepass", SECRET],
        &["AUTH", "ann", SECRET],
        &["HELLO", "3", "AUTH", "ann", SECRET, "SETNAME", "me"],
    ],
    &[&["MULTI"], &["AUTH", "ann", SECRET], &["ACL", "SETUSER", "cyd", ADDED], &["EXEC"]],
    &[
        &["CONFIG", "SET", "requirepass", SECRET, "masterauth", SECRET],
        &["CONFIG", "SET", "masteruser", SECRET, "nonsense", "1"],
        &["CONFIG", "SET", "tls-key-file-pass", SECRET],
        &["CONFIG", "SET", "tls-client-key-file-pass", SECRET],
        &["CONFIG", "SET", "primaryauth", SECRET],
        &["CONFIG", "SET", "requirepass", SECRET, "masterauth"],
        &["CONFIG", "SET", "requirepass", ""],
    ],
    &[
        &["SET", "key", "value"],
        &["MIGRATE", "127.0.0.1", "1", "key", "0", "100", "AUTH", SECRET],
        &["MIGRATE", "127.0.0.1", "1", "", "0", "100", "AUTH2", "ann", SECRET, "KEYS", "key"],
        &["MIGRATE", "127.0.0.1", "1", "key", "0", "100", "AUTH", SECRET, "NONSENSE"],
    ],
    &[&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], &["CONFIG", "REWRITE"]],
];

/// Everything that the server tells about itself.
const QUESTIONS: &[&[&str]] = &[
    &["SLOWLOG", "GET", "-1"],
    &["ACL", "LOG", "-1"],
    &["ACL", "LIST"],
    &["CLIENT", "LIST"],
    &["CLIENT", "INFO"],
    &["INFO", "everything"],
    &["LATENCY", "LATEST"],
];

fn said(wire: &mut Wire, words: &[&str]) -> String {
    show::lines(&wire.call(words).expect("a reply")).join("\n")
}

#[test]
fn secrets_are_told_to_nobody() {
    let folder = Folder::new("secrets");
    let file = folder.path("redouble.conf");
    let directives = "loglevel debug\nslowlog-log-slower-than 0\nslowlog-max-len 1000\n\
                      acllog-max-len 1000\nenable-debug-command yes\n";
    let users = format!("user default on nopass ~* &* +@all\nuser dan on {ADDED} ~* +@all\n");
    std::fs::write(&file, format!("{directives}{users}masterauth {SECRET}\n")).expect("written");
    let process = Process::start(&[&file]);
    let (mut observer, mut monitor) = (process.wire(), process.wire());
    assert_eq!(said(&mut monitor, &["MONITOR"]), "OK");
    // CONFIG REWRITE will find no file.
    std::fs::remove_file(&file).expect("removed");
    for talk in TALKS {
        let mut wire = process.wire();
        for words in *talk {
            let _ = wire.call(words);
        }
    }
    for words in QUESTIONS {
        let told = said(&mut observer, words);
        assert!(!told.contains(SECRET), "{words:?} tells\n{told}");
    }
    said(&mut observer, &["ECHO", "the end"]);
    let mut seen = String::new();
    while !seen.contains("the end") {
        let line = monitor.wait(PATIENCE).expect("connected").expect("a line");
        seen += &show::lines(&line).join("\n");
        seen.push('\n');
    }
    // It does see what may be seen.
    assert!(seen.contains("(redacted)") && !seen.contains(SECRET), "MONITOR tells\n{seen}");
    let _ = process.wire().call(&["AUTH", "ann", SECRET]);
    let _ = observer.call(&["DEBUG", "SEGFAULT"]);
    let (_, log) = process.end();
    assert!(log.contains("\nauth\n"), "the report names the command:\n{log}");
    assert!(!log.contains(SECRET), "the log tells\n{log}");
}

#[test]
fn a_configuration_that_is_refused_does_not_show_its_passwords() {
    let folder = Folder::new("refused");
    let file = folder.path("redouble.conf");
    for (directive, told) in [
        (format!("user ann on {ADDED} +nonsense"), "ACL rule '+nonsense' for the user named 'ann'"),
        (format!("user ann on {REMOVED}"), ">>> 'user ann (redacted)'"),
        (format!("user ann on {ADDED}\nuser ann on {ADDED}"), ">>> 'user ann (redacted)'"),
        (format!("requirepass \"{SECRET}"), ">>> 'requirepass (redacted)'"),
        (format!("masterauth {SECRET} {SECRET}"), ">>> 'masterauth (redacted)'"),
        (format!("'masterauth' {SECRET} {SECRET}"), ">>> ''masterauth' (redacted)'"),
    ] {
        std::fs::write(&file, format!("port 0\nunixsocket s\n{directive}\n")).expect("written");
        let refused = output(&[&file, "--dir", &folder.path("")]);
        let shown = text(&refused.stdout) + &text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{shown}");
        assert!(shown.contains(told) && !shown.contains(SECRET), "{shown}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_password_on_the_command_line_is_shown_to_no_other_process() {
    let process = Process::start(&["--requirepass", SECRET]);
    let shown = std::fs::read(format!("/proc/{}/cmdline", process.child.id())).expect("read");
    assert!(!text(&shown).contains(SECRET), "{}", text(&shown));
}
