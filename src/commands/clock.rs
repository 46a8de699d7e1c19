//! CLOCK: the server's clock over the wire, for tests in any language.
//!
//! Not a command of Redis. It moves everything that depends on time: expiry, TIME, stream ids,
//! idle times and the timeouts of blocked clients. Refused unless `enable-debug-command` admits
//! the client, as DEBUG is.

use crate::command::{client, container, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};
use std::time::Duration;

/// The family.
pub const FAMILY: Family = Family { group: "testing", rows: ROWS };

const ROWS: &[Row] = &[
    container("CLOCK").since("7.4.0").cost("O(1)").about("Moves the server's clock, for tests."),
    client("CLOCK|ADVANCE milliseconds", clock_advance)
        .admin()
        .noscript()
        .since("7.4.0")
        .cost("O(1), and the work of what comes due")
        .about("Moves the time forward; running or frozen, the clock stays what it is."),
    client("CLOCK|FREEZE", clock_freeze)
        .admin()
        .noscript()
        .since("7.4.0")
        .cost("O(1)")
        .about("Stops the clock where it is."),
    client("CLOCK|HELP", clock_help).since("7.4.0").cost("O(1)").about("Lists the subcommands."),
    client("CLOCK|RESUME", clock_resume)
        .admin()
        .noscript()
        .since("7.4.0")
        .cost("O(1)")
        .about("Lets a frozen clock run on from where it stands."),
    client("CLOCK|SET unix-time-milliseconds", clock_set)
        .admin()
        .noscript()
        .since("7.4.0")
        .cost("O(1), and the work of what comes due")
        .about("Sets the time."),
];

fn check_allowed(call: &mut Call<'_>) -> Result<()> {
    let local = call.client().is_local();
    if call.state.config.settings().debug_command.admits(local) {
        return Ok(());
    }
    Err(Error::of("ERR CLOCK command not allowed. It follows the enable-debug-command option."))
}

fn clock_advance(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    check_allowed(call)?;
    let by_ms = u64::try_from(args.int()?).map_err(|_| Error::NotPositive)?;
    call.state.clock.advance(Duration::from_millis(by_ms));
    Ok(moved(call, out))
}

fn clock_freeze(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    check_allowed(call)?;
    call.state.clock.freeze();
    Ok(moved(call, out))
}

fn clock_resume(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    check_allowed(call)?;
    call.state.clock.resume();
    Ok(moved(call, out))
}

fn clock_set(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    check_allowed(call)?;
    let unix_ms = args.int()?;
    if !(0..=i64::MAX / 1000).contains(&unix_ms) {
        return Err(Error::OutOfRange);
    }
    call.state.clock.set(unix_ms);
    Ok(moved(call, out))
}

/// Commands of the same batch see the new time too.
fn moved(call: &mut Call<'_>, out: Out<'_>) -> Done {
    call.state.db.set_now_us(call.state.clock.now_us());
    out.ok()
}

fn clock_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    const LINES: &[(&str, &[&str])] = &[
        ("ADVANCE <milliseconds>", &["Move the time forward."]),
        ("FREEZE", &["Stop the clock where it is."]),
        ("RESUME", &["Let a frozen clock run on."]),
        ("SET <unix-time-milliseconds>", &["Set the time."]),
    ];
    Ok(super::help(args, out, LINES))
}
