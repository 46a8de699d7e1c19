//! Checks of single values that go beyond their kind, with Redis's refusals.

use std::net::{Ipv4Addr, Ipv6Addr};

type Checked = Result<(), &'static str>;

fn ensure(valid: bool, refusal: &'static str) -> Checked {
    if valid {
        Ok(())
    } else {
        Err(refusal)
    }
}

fn is_base_name(name: &[u8]) -> bool {
    !name.iter().any(|byte| matches!(byte, b'/' | b'\\'))
}

pub(super) fn db_filename(name: &[u8]) -> Checked {
    ensure(!name.is_empty(), "dbfilename can't be empty")?;
    ensure(is_base_name(name), "dbfilename can't be a path, just a filename")
}

pub(super) fn append_filename(name: &[u8]) -> Checked {
    ensure(!name.is_empty(), "appendfilename can't be empty")?;
    ensure(is_base_name(name), "appendfilename can't be a path, just a filename")
}

pub(super) fn append_dirname(name: &[u8]) -> Checked {
    ensure(!name.is_empty(), "appenddirname can't be empty")?;
    ensure(is_base_name(name), "appenddirname can't be a path, just a dirname")
}

pub(super) fn cluster_config_file(name: &[u8]) -> Checked {
    ensure(!name.is_empty(), "cluster-config-file can't be empty")
}

pub(super) fn hostname(name: &[u8]) -> Checked {
    ensure(name.len() < 256, "Hostnames must be less than 256 characters")?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    ensure(
        name.iter().all(allowed),
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    )
}

pub(super) fn node_name(name: &[u8]) -> Checked {
    // Redis: blanks, quotes and line feeds may stand in a name.
    let allowed = |byte: &u8| !b"\0!#$%&()*+:;<>?@[]^{|}~".contains(byte);
    ensure(name.iter().all(allowed), "Announced human node name contained invalid character")
}

pub(super) fn ipv4(address: &[u8]) -> Checked {
    ensure(address.is_empty() || is_parsed::<Ipv4Addr>(address), "Invalid IPv4 address")
}

pub(super) fn ipv6(address: &[u8]) -> Checked {
    ensure(address.is_empty() || is_parsed::<Ipv6Addr>(address), "Invalid IPv6 address")
}

fn is_parsed<T: std::str::FromStr>(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<T>().is_ok())
}

/// Only the locales that sort by bytes: others would need the system's tables.
pub(super) fn locale(name: &[u8]) -> Checked {
    ensure(matches!(name, b"" | b"C" | b"POSIX" | b"C.UTF-8"), "Invalid locale name")
}

/// Redis: a title that may turn out to be empty is refused as well.
pub(super) fn title_template(template: &[u8]) -> Checked {
    let known = std::str::from_utf8(template).is_ok_and(|template| {
        let facts = super::title::Facts {
            listen_addr: "*:0".to_string(),
            config_file: "-".to_string(),
            ..Default::default()
        };
        super::title::expand(template, &facts)
            .is_some_and(|title| !title.trim_matches(' ').is_empty())
    });
    ensure(known, "template format is invalid or contains unknown variables")
}

pub(super) fn no_defragmentation(on: &[u8]) -> Checked {
    ensure(
        on != b"yes",
        "Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
         modified Jemalloc like the one shipped by default with the Redis source distribution",
    )
}

/// Clients read the version as three numbers; anything else would mislead them.
pub(super) fn version(text: &[u8]) -> Checked {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
    let numeric = parts
        .iter()
        .all(|part| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit));
    ensure(parts.len() == 3 && numeric, "redis-version must be three numbers, such as 7.4.2")
}
