//! REPLCONF: what a replica says about itself before PSYNC, and how far it is afterwards.

use crate::command::{Args, Call};
use crate::error::{Error, Result};
use crate::replicas;
use crate::resp::decode::split_quoted;
use crate::resp::out::{Done, Out};
use crate::types::number::parse_i64;

/// The longest address that a replica may say it has.
const IP_BYTES_MAX: usize = 255;

/// REPLCONF [option value ...]
pub fn replconf(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if !args.left().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    while let Some(option) = args.option() {
        let value = args.bytes();
        match &*option {
            "ACK" => {
                ack(call, value, args);
                return Ok(out.several().end());
            }
            "GETACK" => {
                if let Some(upstream) = &mut call.state.role.upstream {
                    upstream.wants_ack = true;
                }
                return Ok(out.several().end());
            }
            name => introduce(call, name, value)?,
        }
    }
    Ok(out.ok())
}

fn ack(call: &mut Call<'_>, value: &[u8], args: &mut Args<'_>) {
    let Some(offset) = parse_i64(value).and_then(|offset| u64::try_from(offset).ok()) else {
        return;
    };
    let on_disk = match args.option().as_deref() {
        Some("FACK") => parse_i64(args.bytes()).and_then(|offset| u64::try_from(offset).ok()),
        _ => None,
    };
    replicas::acked(call.state, call.me, offset, on_disk);
}

fn introduce(call: &mut Call<'_>, name: &str, value: &[u8]) -> Result<()> {
    let replica = replicas::introduced(call.state, call.me);
    let switch = || match parse_i64(value).ok_or(Error::NotInteger)? {
        number @ (0 | 1) => Ok(number == 1),
        _ => Err(Error::NumLocal),
    };
    match name {
        "LISTENING-PORT" => {
            let port = parse_i64(value).ok_or(Error::NotInteger)?;
            replica.port = u16::try_from(port).unwrap_or(0);
        }
        "IP-ADDRESS" if value.len() > IP_BYTES_MAX => {
            return Err(Error::of(format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                value.len()
            )));
        }
        "IP-ADDRESS" => replica.ip = value.to_vec(),
        "CAPA" if value.eq_ignore_ascii_case(b"eof") => replica.takes_eof = true,
        "CAPA" if value.eq_ignore_ascii_case(b"psync2") => replica.takes_new_id = true,
        // What else a replica can do is of no use here.
        "CAPA" => {}
        "RDB-ONLY" => replica.wants_snapshot_only = switch()?,
        "RDB-FILTER-ONLY" => {
            let words = split_quoted(value)
                .ok_or_else(|| Error::of("ERR Missing rdb-filter-only values"))?;
            replica.without_data = true;
            replica.without_functions = true;
            for word in words {
                if !word.eq_ignore_ascii_case(b"functions") {
                    let text = "ERR Unsupported rdb-filter-only option: {}";
                    return Err(Error::showing(text, &[&word]));
                }
                replica.without_functions = false;
            }
        }
        "VERSION" => {
            let parts = value.split(|byte| *byte == b'.');
            if !parts.clone().all(|part| part.iter().all(u8::is_ascii_digit)) || parts.count() != 3
            {
                return Err(Error::showing("ERR Unrecognized version format: {}", &[value]));
            }
        }
        _ => {
            let name = name.to_ascii_lowercase();
            return Err(Error::of(format!("ERR Unrecognized REPLCONF option: {name}")));
        }
    }
    Ok(())
}
