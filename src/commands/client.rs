//! The subcommands of CLIENT.

use super::client_info::{line, Kind};
use crate::acl::Acl;
use crate::client::{Client, ClientId, ReplyMode};
use crate::command::{Args, Call};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use crate::settle;
use crate::state::{Pause, State};
use crate::tracking::{Caching, Mode, Options};
use crate::types::number::parse_i64;

/// Names and library names hold printable ASCII only; `what` begins the refusal.
pub(super) fn check_name(name: &[u8], what: &[u8]) -> Result<()> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    let text = "ERR {} cannot contain spaces, newlines or special characters.";
    Err(Error::showing(text, &[what]))
}

fn on_off(args: &mut Args<'_>) -> Result<bool> {
    match args.option().as_deref() {
        Some("ON") => Ok(true),
        Some("OFF") => Ok(false),
        _ => Err(Error::Syntax),
    }
}

/// The refusal of a subcommand with too many words.
fn too_many(args: &Args<'_>) -> Error {
    Error::showing(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try CLIENT HELP.",
        args.all().get(1..).unwrap_or_default(),
    )
}

pub(super) fn caching(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let word = args.option();
    let Some(options) = call.state.tracking.options_mut(call.me) else {
        return Err(Error::of(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    match (word.as_deref(), options.mode) {
        (Some("YES"), Mode::OptIn) => options.caching = Caching::JustSet,
        (Some("NO"), Mode::OptOut) => options.caching = Caching::JustSet,
        (Some("YES"), _) => {
            let text =
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
            return Err(Error::of(text));
        }
        (Some("NO"), _) => {
            let text =
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
            return Err(Error::of(text));
        }
        _ => return Err(Error::Syntax),
    }
    Ok(out.ok())
}

pub(super) fn capa(_: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.ok())
}

pub(super) fn getname(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = &call.client().name;
    Ok(if name.is_empty() { out.null() } else { out.bulk(name) })
}

pub(super) fn getredir(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(match call.state.tracking.options(call.me) {
        None => -1,
        Some(options) => options.redirect_serial(),
    }))
}

pub(super) fn help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(super::help(args, out, super::client_help::LINES))
}

pub(super) fn id(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(call.me.serial as i64))
}

pub(super) fn info(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    note_request(call, args, &out);
    let mut text = line(call.state, call.me);
    text.push(b'\n');
    Ok(out.verbatim("txt", &text))
}

/// Bytes of the words of the request at hand, which CLIENT LIST calls `argv-mem`.
pub(super) fn request_bytes(state: &State, argv: &[&[u8]]) -> usize {
    // Redis: inside a transaction the request at hand is EXEC.
    match state.inside_unit {
        true => b"EXEC".len(),
        false => argv.iter().map(|word| word.len()).sum(),
    }
}

/// Notes what the calling client has in buffers besides its input.
fn note_request(call: &mut Call<'_>, args: &Args<'_>, out: &Out<'_>) {
    let argv_bytes = request_bytes(call.state, args.all());
    let at_hand = &mut call.client().at_hand;
    (at_hand.argv_bytes, at_hand.reply_bytes) = (argv_bytes, out.bytes_before());
}

fn kind(word: &[u8]) -> Result<Kind> {
    Kind::named(word).ok_or_else(|| Error::showing("ERR Unknown client type '{}'", &[word]))
}

pub(super) fn list(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut wanted: Option<Kind> = None;
    let mut serials: Option<Vec<u64>> = None;
    match (args.option().as_deref(), args.left()) {
        (None, _) => {}
        (Some("TYPE"), 1) => wanted = Some(kind(args.bytes())?),
        (Some("ID"), 1..) => {
            let parse = |word: &&[u8]| parse_i64(word).and_then(|id| u64::try_from(id).ok());
            let parsed: Option<Vec<u64>> = args.rest().iter().map(parse).collect();
            serials = Some(parsed.ok_or_else(|| Error::of("ERR Invalid client ID"))?);
        }
        _ => return Err(Error::Syntax),
    }
    // Who has been told to go is gone for others.
    let me = call.me;
    let here = call.state.clients.iter().filter(|client| !client.is_gone() || client.id == me);
    let mut ids: Vec<ClientId> = here.map(|client| client.id).collect();
    ids.sort();
    if let Some(serials) = serials {
        let found = |serial: &u64| ids.iter().find(|id| id.serial == *serial).copied();
        ids = serials.iter().filter_map(found).collect();
    }
    note_request(call, args, &out);
    let mut text = Vec::new();
    for id in ids {
        let fits = wanted.is_none_or(|wanted| {
            call.state.clients.find(id).is_some_and(|client| Kind::of(client) == wanted)
        });
        if fits {
            text.extend_from_slice(&line(call.state, id));
            text.push(b'\n');
        }
    }
    Ok(out.verbatim("txt", &text))
}

/// The filters of CLIENT KILL.
#[derive(Default)]
struct Filters<'a> {
    serial: Option<u64>,
    kind: Option<Kind>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    max_age_s: Option<i64>,
    skip_me: Option<bool>,
}

impl<'a> Filters<'a> {
    fn read(args: &mut Args<'a>, acl: &Acl) -> Result<Filters<'a>> {
        let mut filters = Filters::default();
        while let Some(word) = args.option() {
            let value = args.required()?;
            match &*word {
                "ID" => {
                    let serial = parse_i64(value).filter(|serial| *serial > 0);
                    let refused = || Error::of("ERR client-id should be greater than 0");
                    filters.serial = Some(serial.ok_or_else(refused)? as u64);
                }
                "MAXAGE" => {
                    let age_s = parse_i64(value)
                        .ok_or_else(|| Error::of("ERR maxage is not an integer or out of range"))?;
                    if age_s <= 0 {
                        return Err(Error::of("ERR maxage should be greater than 0"));
                    }
                    filters.max_age_s = Some(age_s);
                }
                "TYPE" => filters.kind = Some(kind(value)?),
                "ADDR" => filters.addr = Some(value),
                "LADDR" => filters.laddr = Some(value),
                "USER" if acl.user(value).is_some() => filters.user = Some(value),
                "USER" => {
                    return Err(Error::showing("ERR No such user '{}'", &[value]));
                }
                "SKIPME" if value.eq_ignore_ascii_case(b"yes") => filters.skip_me = Some(true),
                "SKIPME" if value.eq_ignore_ascii_case(b"no") => filters.skip_me = Some(false),
                _ => return Err(Error::Syntax),
            }
        }
        Ok(filters)
    }

    fn fit(&self, client: &Client, now_ms: i64) -> bool {
        self.serial.is_none_or(|serial| client.id.serial == serial)
            && self.kind.is_none_or(|kind| Kind::of(client) == kind)
            && self.addr.is_none_or(|addr| client.addr.as_bytes() == addr)
            && self.laddr.is_none_or(|laddr| client.laddr.as_bytes() == laddr)
            && self.user.is_none_or(|name| client.user_name() == Some(name))
            && self.max_age_s.is_none_or(|age_s| age_of(client, now_ms) >= age_s)
    }
}

/// In whole seconds, as the second hand goes.
fn age_of(client: &Client, now_ms: i64) -> i64 {
    now_ms.div_euclid(1000) - client.since_ms.div_euclid(1000)
}

pub(super) fn kill(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let me = call.me;
    let now_ms = call.state.db.now_ms();
    let old_style = args.left() == 1;
    let filters = if old_style {
        Filters { addr: Some(args.bytes()), skip_me: Some(false), ..Filters::default() }
    } else {
        Filters::read(args, &call.state.acl)?
    };
    let skip_me = filters.skip_me.unwrap_or(true);
    let fit = |client: &&Client| {
        let own = client.is_internal && !client.is_primary;
        let spared = own || client.is_gone() || (skip_me && client.id == me);
        !spared && filters.fit(client, now_ms)
    };
    let killed: Vec<ClientId> =
        call.state.clients.iter().filter(fit).map(|client| client.id).collect();
    for &id in &killed {
        if id == me {
            call.client().close_after_reply = true;
        } else {
            settle::kill(call.state, id);
        }
    }
    match (old_style, killed.len() as i64) {
        (true, 0) => Err(Error::of("ERR No such client")),
        (true, _) => Ok(out.ok()),
        (false, killed) => Ok(out.int(killed)),
    }
}

pub(super) fn no_evict(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.client().no_evict = on_off(args)?;
    Ok(out.ok())
}

pub(super) fn no_touch(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.client().no_touch = on_off(args)?;
    Ok(out.ok())
}

pub(super) fn pause(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 2 {
        return Err(too_many(args));
    }
    let timeout_ms = args.bytes();
    let all = match args.option().as_deref() {
        None | Some("ALL") => true,
        Some("WRITE") => false,
        _ => return Err(Error::of("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout_ms = parse_i64(timeout_ms).ok_or(Error::TimeoutNotInteger)?;
    if timeout_ms < 0 {
        return Err(Error::TimeoutNegative);
    }
    let now_ms = call.state.db.now_ms();
    let until_ms = now_ms.checked_add(timeout_ms).ok_or(Error::TimeoutOutOfRange)?;
    // A pause that is in force is never made shorter or weaker by another one.
    let before = call.state.pause.filter(|pause| pause.until_ms > now_ms);
    call.state.pause = Some(Pause {
        until_ms: before.map_or(until_ms, |pause| pause.until_ms.max(until_ms)),
        all: all || before.is_some_and(|pause| pause.all && pause.until_ms > until_ms),
    });
    call.state.db.keeps_expired = true;
    Ok(out.ok())
}

pub(super) fn unpause(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    call.state.pause = None;
    settle::release_held_back(call.state);
    Ok(out.ok())
}

pub(super) fn reply(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let client = call.client();
    match args.option().as_deref() {
        Some("ON") => {
            // Redis: what SKIP has asked for earlier in the transaction stands.
            if client.reply_mode != ReplyMode::SkipSet {
                client.reply_mode = ReplyMode::On;
            }
            return Ok(out.ok());
        }
        Some("OFF") => client.reply_mode = ReplyMode::Off,
        Some("SKIP") if client.reply_mode != ReplyMode::Off => {
            client.reply_mode = ReplyMode::SkipSet
        }
        Some("SKIP") => {}
        _ => return Err(Error::Syntax),
    }
    Ok(out.several().end())
}

pub(super) fn setinfo(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (option, value) = (args.bytes(), args.bytes());
    if option.eq_ignore_ascii_case(b"lib-name") {
        check_name(value, option)?;
        call.client().lib_name = value.to_vec();
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        check_name(value, option)?;
        call.client().lib_ver = value.to_vec();
    } else {
        return Err(Error::showing("ERR Unrecognized option '{}'", &[option]));
    }
    Ok(out.ok())
}

pub(super) fn setname(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let name = args.bytes();
    check_name(name, b"Client names")?;
    call.client().name = name.to_vec();
    Ok(out.ok())
}

fn read_tracking(state: &State, args: &mut Args<'_>) -> Result<Options> {
    let mut options = Options::default();
    let (mut opt_in, mut opt_out, mut bcast) = (false, false, false);
    while let Some(word) = args.option() {
        match &*word {
            "REDIRECT" if !args.is_done() => {
                if options.redirect.is_some() {
                    let text = "ERR A client can only redirect to a single other client";
                    return Err(Error::of(text));
                }
                let serial = parse_i64(args.bytes()).ok_or(Error::NotInteger)?;
                let mut here = state.clients.iter().filter(|one| !one.is_gone());
                let found = here.find(|one| one.id.serial as i64 == serial);
                let refused = || Error::of("ERR The client ID you want redirect to does not exist");
                options.redirect = Some(found.ok_or_else(refused)?.id);
            }
            "BCAST" => bcast = true,
            "OPTIN" => opt_in = true,
            "OPTOUT" => opt_out = true,
            "NOLOOP" => options.noloop = true,
            "PREFIX" if !args.is_done() => options.prefixes.push(args.bytes().into()),
            _ => return Err(Error::Syntax),
        }
    }
    if !options.prefixes.is_empty() && !bcast {
        let text = "ERR PREFIX option requires BCAST mode to be enabled";
        return Err(Error::of(text));
    }
    if bcast && (opt_in || opt_out) {
        return Err(Error::of("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if opt_in && opt_out {
        return Err(Error::of("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    options.mode = match (bcast, opt_in, opt_out) {
        (true, ..) => Mode::Bcast,
        (_, true, _) => Mode::OptIn,
        (.., true) => Mode::OptOut,
        _ => Mode::Default,
    };
    Ok(options)
}

pub(super) fn tracking(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let word = args.option();
    let mut options = read_tracking(call.state, args)?;
    match word.as_deref() {
        Some("ON") => {}
        Some("OFF") => {
            call.state.tracking.stop(call.me);
            settle::count_names(call.state, call.me);
            settle::listen(call.state);
            return Ok(out.ok());
        }
        _ => return Err(Error::Syntax),
    }
    if let Some(before) = call.state.tracking.options(call.me) {
        if (before.mode == Mode::Bcast) != (options.mode == Mode::Bcast) {
            return Err(Error::of(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        let switches = (before.mode == Mode::OptIn && options.mode == Mode::OptOut)
            || (before.mode == Mode::OptOut && options.mode == Mode::OptIn);
        if switches {
            return Err(Error::of(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this \
                 client, and then re-enabling it with a different mode.",
            ));
        }
    }
    if options.mode == Mode::Bcast {
        if options.prefixes.is_empty() {
            options.prefixes.push(Box::default());
        }
        call.state.tracking.check_prefixes(call.me, &options.prefixes)?;
    }
    call.state.tracking.start(call.me, options);
    settle::count_names(call.state, call.me);
    settle::listen(call.state);
    Ok(out.ok())
}

pub(super) fn trackinginfo(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let options = call.state.tracking.options(call.me);
    let mut items = out.map(3);
    items.text("flags");
    let flags = options.map_or(vec!["off"], Options::flags);
    items.set(flags.len());
    flags.iter().for_each(|flag| items.text(flag));
    items.text("redirect");
    items.int(options.map_or(-1, Options::redirect_serial));
    items.text("prefixes");
    let prefixes = match options {
        Some(options) if options.mode == Mode::Bcast => &options.prefixes[..],
        _ => &[],
    };
    items.array(prefixes.len());
    prefixes.iter().for_each(|prefix| items.bulk(prefix));
    Ok(items.end())
}

pub(super) fn unblock(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() > 2 {
        return Err(too_many(args));
    }
    let serial = args.bytes();
    let with_error = match args.option().as_deref() {
        None | Some("TIMEOUT") => false,
        Some("ERROR") => true,
        _ => {
            let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(Error::of(text));
        }
    };
    let serial = parse_i64(serial).ok_or(Error::NotInteger)?;
    let target = call.state.clients.iter().find(|one| {
        let may_give_up = one.blocked.as_ref().is_some_and(|blocked| !blocked.is_firm());
        may_give_up && one.id.serial as i64 == serial
    });
    let Some(target) = target.map(|client| client.id) else { return Ok(out.int(0)) };
    let unblocked = settle::unblock_with(call.state, target, |out, on_timeout| {
        let _ = if with_error { out.error(&Error::Unblocked) } else { on_timeout(out) };
    });
    Ok(out.yes_no(unblocked))
}
