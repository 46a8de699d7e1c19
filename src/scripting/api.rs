//! The `redis` table: what scripts call.

use sha1_smol::Sha1;

use super::convert;
use super::fault::{push_error_table, Fault};
use super::functions;
use super::raw::{Kind, Lua, Results};
use super::sandbox::{truncate, Purpose, Version};
use super::shared::{Argument, Shared};
use crate::types::number;

/// Pushes the `redis` table of running scripts or functions.
pub fn push_table(lua: Lua, shared: &Shared, purpose: Purpose, version: &Version) {
    lua.new_table(0, 24);
    add(lua, shared, b"call", call);
    add(lua, shared, b"pcall", protected_call);
    add(lua, shared, b"setresp", setresp);
    add(lua, shared, b"sha1hex", sha1hex);
    add(lua, shared, b"error_reply", error_reply);
    add(lua, shared, b"status_reply", status_reply);
    add(lua, shared, b"set_repl", set_repl);
    add(lua, shared, b"acl_check_cmd", acl_check_cmd);
    for (name, bits) in [("NONE", 0), ("AOF", 1), ("SLAVE", 2), ("REPLICA", 2), ("ALL", 3)] {
        lua.push_number(f64::from(bits));
        lua.set_field(-2, format!("REPL_{name}").as_bytes());
    }
    add_log(lua, shared);
    add_version(lua, version);
    if purpose == Purpose::Scripts {
        add(lua, shared, b"breakpoint", breakpoint);
        add(lua, shared, b"debug", debug);
        add(lua, shared, b"replicate_commands", replicate_commands);
    }
}

/// Pushes the `redis` table that a library sees while it is loaded.
pub fn push_loading_table(lua: Lua, shared: &Shared, version: &Version) {
    lua.new_table(0, 8);
    add(lua, shared, b"register_function", functions::register_function);
    add_log(lua, shared);
    add_version(lua, version);
}

/// Adds a native function to the table on top.
pub fn add<F>(lua: Lua, shared: &Shared, name: &[u8], function: F)
where
    F: Fn(Lua) -> Results + Copy + 'static,
{
    lua.push_native(shared, function);
    lua.set_field(-2, name);
}

fn add_log(lua: Lua, shared: &Shared) {
    add(lua, shared, b"log", log);
    for (level, name) in ["DEBUG", "VERBOSE", "NOTICE", "WARNING"].iter().enumerate() {
        lua.push_number(level as f64);
        lua.set_field(-2, format!("LOG_{name}").as_bytes());
    }
}

fn add_version(lua: Lua, version: &Version) {
    lua.push_bytes(version.text.as_bytes());
    lua.set_field(-2, b"REDIS_VERSION");
    lua.push_number(f64::from(version.number));
    lua.set_field(-2, b"REDIS_VERSION_NUM");
}

fn call(lua: Lua) -> Results {
    if run_command(lua)? {
        Err(Fault::OnTop)
    } else {
        Ok(1)
    }
}

fn protected_call(lua: Lua) -> Results {
    match run_command(lua) {
        Err(Fault::Reply(text)) => push_error_table(lua, &text),
        Err(other) => return Err(other),
        Ok(_) => {}
    }
    Ok(1)
}

/// Runs the command in the arguments and pushes the reply's value; true when it is an error.
fn run_command(lua: Lua) -> Result<bool, Fault> {
    let shared = lua.shared();
    let mut reply = shared.reply.take();
    reply.clear();
    let ran = with_command(lua, shared, |args| {
        if let Some(host) = shared.host() {
            host.call(args, shared.protocol.get(), &mut reply);
        }
    });
    if let Err(fault) = ran {
        shared.reply.replace(reply);
        return Err(fault);
    }
    let failed = reply.first() == Some(&b'-');
    let read = convert::push_reply(lua, &reply);
    const KEPT_BYTES: usize = 64 * 1024;
    if reply.capacity() > KEPT_BYTES {
        reply = Vec::new();
    }
    shared.reply.replace(reply);
    read?;
    Ok(failed)
}

/// Hands the arguments of the running native to `run` as those of a command.
#[inline]
fn with_command<R>(lua: Lua, shared: &Shared, run: impl FnOnce(&[&[u8]]) -> R) -> Result<R, Fault> {
    let count = lua.top();
    if count == 0 {
        return Err(Fault::reply("Please specify at least one argument for this redis lib call"));
    }
    let fill = |index: usize, numbers: &mut Vec<u8>| {
        let slot = index as i32 + 1;
        match lua.kind(slot) {
            Kind::String => lua.bytes(slot).map(Argument::Borrowed),
            Kind::Number => {
                write_number(lua.number(slot), numbers);
                Some(Argument::Number)
            }
            _ => None,
        }
    };
    shared
        .with_arguments(count as usize, fill, run)
        .ok_or_else(|| Fault::reply("Lua redis lib command arguments must be strings or integers"))
}

/// A number as commands get it: integers in full, others in the shortest form that reads back.
fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() && value.is_sign_negative() {
        out.extend_from_slice(b"-nan");
    } else if value == 0.0 {
        out.push(b'0');
    } else {
        number::format_f64(value, out);
    }
}

fn sha1hex(lua: Lua) -> Results {
    if lua.top() != 1 {
        return Err(Fault::reply("wrong number of arguments"));
    }
    let digest = Sha1::from(lua.bytes(1).unwrap_or_default()).digest().to_string();
    lua.push_bytes(digest.as_bytes());
    Ok(1)
}

fn error_reply(lua: Lua) -> Results {
    if lua.top() != 1 || lua.kind(1) != Kind::String {
        push_error_table(lua, b"wrong number or type of arguments");
        return Ok(1);
    }
    let text = lua.bytes(1).unwrap_or_default();
    if text.first() == Some(&b'-') {
        push_error_table(lua, text);
    } else {
        let mut dashed = Vec::with_capacity(text.len() + 1);
        dashed.push(b'-');
        dashed.extend_from_slice(text);
        push_error_table(lua, &dashed);
    }
    Ok(1)
}

fn status_reply(lua: Lua) -> Results {
    if lua.top() != 1 || lua.kind(1) != Kind::String {
        push_error_table(lua, b"wrong number or type of arguments");
        return Ok(1);
    }
    lua.new_table(0, 1);
    lua.copy(1);
    lua.set_field(-2, b"ok");
    Ok(1)
}

fn setresp(lua: Lua) -> Results {
    if lua.top() != 1 {
        return Err(Fault::reply("redis.setresp() requires one argument."));
    }
    match truncate(lua.number(1)) {
        protocol @ (2 | 3) => lua.shared().protocol.set(protocol as u8),
        _ => return Err(Fault::reply("RESP version must be 2 or 3.")),
    }
    Ok(0)
}

fn set_repl(lua: Lua) -> Results {
    if lua.top() != 1 {
        return Err(Fault::reply("redis.set_repl() requires one argument."));
    }
    let bits = truncate(lua.number(1)) as i32;
    if bits & !3 != 0 {
        return Err(Fault::reply(
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    }
    if let Some(host) = lua.shared().host() {
        host.set_replication(bits as u8);
    }
    Ok(0)
}

fn acl_check_cmd(lua: Lua) -> Results {
    let shared = lua.shared();
    let allowed =
        with_command(lua, shared, |args| shared.host().and_then(|host| host.is_allowed(args)))?;
    match allowed {
        Some(allowed) => lua.push_boolean(allowed),
        None => return Err(Fault::reply("Invalid command passed to redis.acl_check_cmd()")),
    }
    Ok(1)
}

fn log(lua: Lua) -> Results {
    let count = lua.top();
    if count < 2 {
        return Err(Fault::reply("redis.log() requires two arguments or more."));
    }
    if !lua.is_numeric(1) {
        return Err(Fault::reply("First argument must be a number (log level)."));
    }
    let level = truncate(lua.number(1)) as i32;
    if !(0..=3).contains(&level) {
        return Err(Fault::reply("Invalid log level."));
    }
    let mut line = Vec::new();
    for slot in 2..=count {
        if let Some(text) = lua.bytes(slot) {
            if slot > 2 {
                line.push(b' ');
            }
            line.extend_from_slice(text);
        }
    }
    if let Some(host) = lua.shared().host() {
        host.log(level as u8, &line);
    }
    Ok(0)
}

fn breakpoint(lua: Lua) -> Results {
    lua.push_boolean(false);
    Ok(1)
}

/// Redis: says something only inside its debugger, which is not here.
fn debug(_: Lua) -> Results {
    Ok(0)
}

/// Redis: scripts always replicate by effects since 7.0; kept for old scripts.
fn replicate_commands(lua: Lua) -> Results {
    lua.push_boolean(true);
    Ok(1)
}

/// The handler of errors at the script's edge: makes a table of what was raised and adds the
/// source and line where it happened.
pub fn complete_error(lua: Lua) -> Results {
    let place = match lua.place(1) {
        Some(place) if place.native => lua.place(2),
        other => other,
    };
    if lua.kind(1) != Kind::Table {
        let mut text = b"ERR ".to_vec();
        match lua.kind(1) {
            Kind::String | Kind::Number => text.extend_from_slice(lua.bytes(1).unwrap_or_default()),
            Kind::Boolean if lua.boolean(1) => text.extend_from_slice(b"true"),
            Kind::Boolean => text.extend_from_slice(b"false"),
            Kind::Nil | Kind::None => text.extend_from_slice(b"nil"),
            other => {
                let at = lua.identity(1);
                text.extend_from_slice(format!("{}: 0x{at:x}", other.name()).as_bytes());
            }
        }
        lua.new_table(0, 4);
        lua.push_bytes(&text);
        lua.set_field(-2, b"err");
    } else {
        lua.copy(1);
    }
    let is_protected = lua.metatable(-1) && {
        let identity = lua.identity(-1);
        lua.pop(1);
        lua.shared().proxies.borrow().contains(&identity)
    };
    if is_protected {
        return Err(Fault::here(super::guard::READONLY));
    }
    if let Some(place) = place {
        lua.push_bytes(&place.source);
        lua.set_field(-2, b"source");
        lua.push_number(f64::from(place.line));
        lua.set_field(-2, b"line");
    }
    Ok(1)
}
