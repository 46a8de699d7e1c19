//! Tests of the table and of `Config` as a whole.

use super::*;

fn get(config: &Config, name: &str) -> String {
    let value = config.value(name).unwrap_or_else(|| panic!("no directive {name}"));
    String::from_utf8(value).expect("text")
}

fn set(config: &mut Config, name: &str, value: &str) -> Result<Vec<&'static str>, String> {
    config
        .set(&[(name.as_bytes(), value.as_bytes())], Access::default())
        .map_err(|error| String::from_utf8(error.text().unwrap_or_default()).expect("text"))
}

/// A value other than the default that every directive of this kind takes.
fn other_value(named: &Named, default: &str) -> String {
    let row = named.directive;
    match row.kind {
        Kind::Switch if row.name == "activedefrag" => default.into(),
        Kind::Switch => if default == "yes" { "no" } else { "yes" }.into(),
        Kind::Number { min, max, unit } => {
            let number = if default == max.to_string() { min } else { max };
            match (row.name, unit) {
                ("hz", _) => "77".into(),
                (_, value::Unit::Octal) => format!("{number:o}"),
                _ => number.to_string(),
            }
        }
        Kind::Text { .. } => match row.name {
            "proc-title-template" => "{title} {port}",
            "locale-collate" => "C",
            "redis-version" => "7.2.9",
            // The file is opened when the configuration is read.
            "logfile" => "/dev/null",
            "cluster-announce-client-ipv4" => "10.1.2.3",
            "cluster-announce-client-ipv6" => "::1",
            _ => "other",
        }
        .into(),
        Kind::Choice(choices) => {
            let other = choices.iter().find(|(name, number)| {
                let same = choices.iter().find(|(_, first)| first == number);
                *name != default && same.is_some_and(|(first, _)| first == name)
            });
            other.expect("two choices").0.into()
        }
        Kind::Flags(_) => "nosave now".into(),
        Kind::Directory => "/".into(),
        Kind::Save => "60 1 70 2".into(),
        Kind::OutputLimits => "normal 1 2 3 slave 4 5 6 pubsub 7 8 9".into(),
        Kind::OomScores => "-1 2 2000".into(),
        Kind::Events => "g$KE".into(),
        Kind::Bind => "127.0.0.1 -::1".into(),
        Kind::ReplicaOf => "10.0.0.1 6380".into(),
        Kind::Percentiles => "12.5 100".into(),
    }
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    let config = Config::default();
    for named in table::names().filter(|named| named.name != "dir") {
        let printed = match named.directive.default {
            "no one" => "",
            default => default,
        };
        assert_eq!(get(&config, named.name), printed, "{}", named.name);
    }
    assert_eq!(table::names().count(), {
        let mut names: Vec<_> = table::names().map(|named| named.name).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    });
}

#[test]
fn every_directive_goes_through_set_get_rewrite_and_back() {
    for named in table::names() {
        let row = named.directive;
        let mut config = Config::default();
        let value = other_value(&named, &get(&config, named.name));
        if row.fixed || row.protected {
            let refused = set(&mut config, named.name, &value).expect_err(named.name);
            assert!(refused.contains("can't set"), "{refused}");
            let mut words = value.split(' ').map(|word| words::quote(word.as_bytes()));
            let line = format!("{} {}", named.name, {
                let several = row.kind.takes_several();
                let joined = words.by_ref().collect::<Vec<_>>().join(" ");
                if several {
                    joined
                } else {
                    words::quote(value.as_bytes())
                }
            });
            config.apply_text(line.as_bytes()).expect(named.name);
        } else {
            let changed = set(&mut config, named.name, &value).expect(named.name);
            assert_eq!(changed.is_empty(), row.name == "activedefrag", "{}", named.name);
        }
        assert_eq!(get(&config, named.name), value, "{}", named.name);
        let file = config.rewrite(b"# mine\n", None, false);
        let mut again = Config::default();
        again.apply_text(&file).expect(named.name);
        assert_eq!(again.values, config.values, "{}", String::from_utf8_lossy(&file));
    }
}

#[test]
fn names_are_answered_as_spelled_and_globs_without_hidden_ones() {
    let config = Config::default();
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        let found = config.get(patterns).into_iter();
        found.map(|(name, _)| String::from_utf8(name).expect("text")).collect()
    };
    assert_eq!(names(&[b"MaxMemory"]), ["MaxMemory"]);
    assert_eq!(names(&[b"maxmemory", b"maxmemory"]), ["maxmemory"]);
    assert_eq!(names(&[b"slave-prio*"]), ["slave-priority"]);
    assert_eq!(names(&[b"key-load-delay"]), ["key-load-delay"]);
    assert!(!names(&[b"*"]).contains(&"key-load-delay".to_string()));
    assert_eq!(names(&[b"MAXMEMORY-P*", b"nothing"]), ["maxmemory-policy"]);
}

#[test]
fn set_is_all_or_nothing_with_redis_texts() {
    let mut config = Config::default();
    let access = Access::default();
    let refused = config.set(&[(b"maxmemory", b"1gb"), (b"hz", b"abc")], access);
    let text = refused.expect_err("hz").text().expect("text");
    assert_eq!(
        String::from_utf8(text).expect("text"),
        "CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed \
         into an integer"
    );
    assert_eq!(get(&config, "maxmemory"), "0");
    let twice = config.set(&[(b"maxmemory", b"1gb"), (b"MaxMemory", b"2gb")], access);
    let text = twice.expect_err("twice").text().expect("text");
    assert!(text.ends_with(b"'MaxMemory') - duplicate parameter"));
    let unknown = config.set(&[(b"foo", b"bar")], access).expect_err("unknown");
    assert_eq!(unknown, SetError::Unknown(b"foo".to_vec()));
    let loading = Access { loading: true, local: false };
    let pair: [(&[u8], &[u8]); 1] = [(b"appendonly", b"yes")];
    assert_eq!(config.set(&pair, loading), Err(SetError::Loading));
}

/// Values and refusals seen on Redis 7.0 and 8.0.
#[test]
fn values_are_read_and_refused_as_redis_does() {
    let seen = [
        ("hz", "1000", Ok("500")),
        ("hz", "0", Ok("1")),
        ("maxmemory-clients", "10%", Ok("10%")),
        ("maxmemory-clients", "101%", Err("percentage argument must be less or equal to 100")),
        ("maxclients", "0", Err("argument must be between 1 and 4294967295 inclusive")),
        ("save", "60 1 70 2", Ok("60 1 70 2")),
        ("save", "60  1", Err("Invalid save parameters")),
        ("save", "", Ok("")),
        ("maxmemory", "1gb", Ok("1073741824")),
        ("maxmemory", "2K", Ok("2000")),
        ("maxmemory", "10x", Err("argument must be a memory value")),
        (
            "client-output-buffer-limit",
            "",
            Ok(table::find(b"client-output-buffer-limit").expect("row").directive.default),
        ),
        (
            "client-output-buffer-limit",
            "normal 1mb 1kb 60",
            Ok("normal 1048576 1024 60 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ),
        (
            "client-output-buffer-limit",
            "master 1mb 1kb 60",
            Err("Invalid client class specified in buffer limit configuration."),
        ),
        ("latency-tracking-info-percentiles", "50 99.95 100", Ok("50 99.95 100")),
        ("latency-tracking-info-percentiles", "", Ok("")),
        (
            "latency-tracking-info-percentiles",
            "500",
            Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"),
        ),
        (
            "latency-tracking-info-percentiles",
            "x",
            Err("Invalid latency-tracking-info-percentiles parameters"),
        ),
        ("shutdown-on-sigterm", "nosave force now", Ok("nosave now force")),
        (
            "shutdown-on-sigterm",
            "nosave save",
            Err("shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ),
        ("oom-score-adj-values", "1 2", Err("wrong number of arguments")),
        ("bind", "", Ok("")),
        ("cluster-announce-human-nodename", "a_b", Ok("a_b")),
        (
            "cluster-announce-hostname",
            "a_b",
            Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
        ),
        ("port", "70000", Err("argument must be between 0 and 65535 inclusive")),
        ("replica-announced", "maybe", Err("argument must be 'yes' or 'no'")),
        (
            "oom-score-adj",
            "foo",
            Err("argument(s) must be one of the following: no, yes, relative, absolute"),
        ),
    ];
    for (name, given, expected) in seen {
        let mut config = Config::default();
        match (set(&mut config, name, given), expected) {
            (Ok(_), Ok(expected)) => assert_eq!(get(&config, name), expected, "{name} {given}"),
            (Err(text), Err(expected)) => assert_eq!(
                text,
                format!("CONFIG SET failed (possibly related to argument '{name}') - {expected}")
            ),
            (got, _) => panic!("{name} {given}: {got:?}"),
        }
    }
}

#[test]
fn command_lines_become_text_as_redis_joins_them() {
    let seen: [(&[&str], &str); 10] = [
        (&["--port", "7777"], "port \"7777\" "),
        (&["--save 60 1"], "save 60 1 "),
        (&["--save", ""], "save \"\" "),
        (&["--save"], "save \"\""),
        (&["--save", "--port", "1"], "save \"\"\nport \"1\" "),
        (&["loglevel", "verbose"], "\"loglevel\" \"verbose\" "),
        (&["--port", "--bla"], "port \"--bla\" "),
        (&["--save", "60", "1", "--port", "2"], "save \"60\" \"1\" \nport \"2\" "),
        (&["-", "--port", "2"], "port \"2\" "),
        (&["--port", "2", "-"], "port \"2\" "),
    ];
    for (args, text) in seen {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        assert_eq!(String::from_utf8(join_args(&args)).expect("text"), text, "{args:?}");
    }
}

/// Messages seen on Redis 7.0 and 8.0, the line included.
#[test]
fn bad_command_lines_stop_with_redis_lines() {
    let seen: [(&[&str], &str, &str); 9] = [
        (&["--bla"], "bla", "Bad directive or wrong number of arguments"),
        (&["--port"], "port", "wrong number of arguments"),
        (&["--port", "1", "2"], "port \"1\" \"2\"", "wrong number of arguments"),
        (&["--port", "--bla"], "port \"--bla\"", "argument couldn't be parsed into an integer"),
        (
            &["--shutdown-on-sigint"],
            "shutdown-on-sigint",
            "argument(s) must be one of the following: default, save, nosave, now, force",
        ),
        (&["--replicaof", "h", "abc"], "replicaof \"h\" \"abc\"", "Invalid master port"),
        (&["--dir", "/nonexistent"], "dir \"/nonexistent\"", "No such file or directory"),
        (&["--port 'x"], "port 'x", "Unbalanced quotes in configuration line"),
        (
            &["--appendfilename", "a/b"],
            "appendfilename \"a/b\"",
            "appendfilename can't be a path, just a filename",
        ),
    ];
    for (args, line, reason) in seen {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let error = Config::default().apply_args(&args).expect_err(line);
        assert_eq!(
            error.fatal("7.4.2"),
            format!(
                "\n*** FATAL CONFIG FILE ERROR (Redis 7.4.2) ***\nReading the configuration \
                 file, at line 2\n>>> '{line}'\n{reason}\n"
            )
        );
    }
    let text = b"user default on nopass ~* +@all\nuser default on";
    let error = Config::default().apply_text(text).expect_err("twice").to_string();
    assert!(error.ends_with(
        "Error in user declaration 'default': Duplicate user found. A user can only be defined \
         once in config files"
    ));
}

#[test]
fn save_lines_replace_the_default_and_add_up() {
    let mut config = Config::default();
    config.apply_text(b"save 10 1\nsave 20 2\nport 1").expect("valid");
    assert_eq!(get(&config, "save"), "10 1 20 2");
    config.apply_text(b"save \"\"\n").expect("valid");
    assert_eq!(get(&config, "save"), "");
    config.apply_text(b"save \"30 3 40 4\"").expect("valid");
    assert_eq!(get(&config, "save"), "30 3 40 4");
}

#[test]
fn includes_are_read_where_they_stand() {
    let dir = std::env::temp_dir().join(format!("redouble-include-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    std::fs::write(dir.join("a.conf"), "port 1\ninclude b.conf\nhz 20").expect("file");
    std::fs::write(dir.join("b.conf"), "port 2\ntimeout 5").expect("file");
    let mut config = Config::default();
    let text = format!("dir {}\ninclude a.c*\ninclude none*.conf\ntimeout 9", dir.display());
    config.apply_text(text.as_bytes()).expect("valid");
    assert_eq!(["port", "hz", "timeout"].map(|name| get(&config, name)), ["2", "20", "9"]);
    std::fs::write(dir.join("b.conf"), "include a.conf").expect("file");
    assert!(Config::default().apply_text(text.as_bytes()).is_err());
    let error = Config::default().apply_text(b"include /nonexistent").expect_err("missing");
    assert_eq!(
        error.to_string(),
        "Fatal error, can't open config file '/nonexistent': No such file or directory"
    );
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn rewriting_keeps_what_is_not_its_business() {
    let mut config = Config::default();
    let file = b"# head\n\nport 7000\n\n\n# sizes\nmaxmemory 1gb\nsave 1 1\nsave 2 2\nsave 3 3\n\
                 slave-priority 5\nnonsense 1\ninclude other.conf\nrequirepass x\n";
    config
        .apply_text(b"port 7001\nmaxmemory 2gb\nsave 9 9 8 8\nslave-priority 6\ntimeout 3")
        .expect("valid");
    let dir = get(&config, "dir");
    let text = config.rewrite(file, None, false);
    let expected = format!(
        "# head\n\nport 7001\n\n# sizes\nmaxmemory 2gb\nsave 9 9\nsave 8 8\n\nreplica-priority 6\n\
         # ??? nonsense 1\ninclude other.conf\n\n# Generated by CONFIG REWRITE\ntimeout 3\n\
         latency-tracking-info-percentiles 50 99 99.9\ndir \"{dir}\"\n"
    );
    assert_eq!(String::from_utf8(text.clone()).expect("text"), expected);
    let again = config.rewrite(&text, None, false);
    assert_eq!(again, [text.as_slice(), b"\n"].concat());
    let users = ["default on nopass".to_string()];
    let text = config.rewrite(b"user bob off\nuser tim off", Some(&users), false);
    assert!(text.starts_with(b"user default on nopass\n\n#"));
}

/// What Redis 8.0 says, the wrong word included.
#[test]
fn user_lines_are_looked_at_when_they_are_read() {
    let load = |text: &str| Config::default().apply_text(text.as_bytes());
    for good in [
        "user default on nopass sanitize-payload ~* &* +@all",
        "user alice on >secret ~app:* (%R~shared:* +get) +@read -@dangerous +nosuch",
        "user alice (~a +get )",
        "user \"al ice\" on\naclfile users.acl",
    ] {
        assert_eq!(load(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("user", "Bad directive or wrong number of arguments"),
        ("user alice bogus", "Error in user declaration 'user': Syntax error"),
        ("user alice on nopass bogus", "Error in user declaration 'on': Syntax error"),
        (
            "user alice on\nuser alice off",
            "Error in user declaration 'alice': Duplicate user found. A user can only be defined \
             once in config files",
        ),
        (
            "user alice on (~a +get",
            "Error in user declaration '(~a': Unmatched parenthesis in acl selector",
        ),
    ] {
        let error = load(bad).expect_err(bad).to_string();
        assert!(error.ends_with(&format!("\n{why}")), "{error}");
    }
}

#[test]
fn the_example_changes_nothing() {
    let mut config = Config::default();
    let before = config.values.clone();
    config.apply_text(Config::example().as_bytes()).expect("valid");
    let names: Vec<_> = table::all().map(|row| row.name).collect();
    for (index, name) in names.iter().enumerate() {
        assert_eq!(config.values[index], before[index], "{name}");
    }
    assert!(Config::example().lines().all(|line| line.len() <= 100));
    assert!(table::all().all(|row| row.hidden || row.about.ends_with('.')));
}

#[test]
fn what_is_configured_and_not_honoured_is_named() {
    let mut config = Config::default();
    assert_eq!(config.unhonoured(), [] as [&str; 0]);
    config.apply_text(b"cluster-enabled yes\nport 1\nkey-load-delay 5").expect("valid");
    assert_eq!(config.unhonoured(), ["cluster-enabled"]);
}

#[test]
fn settings_follow_the_values() {
    let mut config = Config::default();
    let settings = config.settings();
    assert_eq!((settings.port, settings.databases, settings.maxclients), (6379, 16, 10000));
    assert_eq!(settings.bind, ["*", "-::*"]);
    assert_eq!(settings.redis_version, REDIS_VERSION);
    assert_eq!(settings.limits.hash_max_listpack_entries, 512);
    assert_eq!(settings.save.len(), 3);
    config
        .apply_text(b"maxmemory 100mb\nmaxmemory-policy allkeys-lfu\nmaxmemory-clients 5%\nport 0")
        .expect("valid");
    let settings = config.settings();
    assert_eq!(settings.maxmemory, 100 << 20);
    assert!(settings.maxmemory_policy.is_lfu() && settings.maxmemory_policy.is_allkeys());
    assert_eq!(settings.maxmemory_clients, ClientsLimit::Percent(5));
    config.assume("io-threads", "4").expect("valid");
    assert_eq!(config.settings().io_threads, 4);
    assert_eq!(config.unhonoured(), [] as [&str; 0]);
}
