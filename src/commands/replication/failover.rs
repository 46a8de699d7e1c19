//! FAILOVER: a replica takes over while this server still knows all writes.

use crate::command::{Args, Call};
use crate::error::{Error, Result};
use crate::replicas;
use crate::resp::out::{Done, Out};
use crate::role::{Address, Failover};
use crate::types::number::parse_i64;

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
pub fn failover(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if args.left() == 1 && args.accept("ABORT") {
        if call.state.role.failover.is_none() {
            return Err(Error::of("ERR No failover in progress."));
        }
        replicas::abort_failover(call.state, "Failover manually aborted");
        return Ok(out.ok());
    }
    let (target, force, timeout_ms) = read(args)?;
    let state = &mut *call.state;
    if state.role.failover.is_some() {
        return Err(Error::of("ERR FAILOVER already in progress."));
    }
    if state.role.is_replica() {
        return Err(Error::of("ERR FAILOVER is not valid when server is a replica."));
    }
    if state.role.replicas.is_empty() {
        return Err(Error::of("ERR FAILOVER requires connected replicas."));
    }
    if force && (timeout_ms.is_none() || target.is_none()) {
        let text = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
        return Err(Error::of(text));
    }
    if let Some(target) = &target {
        let Some(replica) = replicas::at_address(state, target) else {
            return Err(Error::of("ERR FAILOVER target HOST and PORT is not a replica."));
        };
        let online = replica.replica.as_ref().is_some_and(|replica| replica.is_online());
        if !online {
            return Err(Error::of("ERR FAILOVER target replica is not online."));
        }
    }
    let until_ms = timeout_ms.map(|timeout_ms| state.db.now_ms().saturating_add(timeout_ms));
    replicas::begin_failover(state, Failover { target, force, until_ms, is_handing_over: false });
    Ok(out.ok())
}

fn read(args: &mut Args<'_>) -> Result<(Option<Address>, bool, Option<i64>)> {
    let (mut target, mut force, mut timeout_ms) = (None, false, None);
    while let Some(option) = args.option() {
        match &*option {
            "TIMEOUT" if args.left() >= 1 && timeout_ms.is_none() => {
                let timeout = parse_i64(args.bytes()).ok_or(Error::NotInteger)?;
                if timeout <= 0 {
                    return Err(Error::of("ERR FAILOVER timeout must be greater than 0"));
                }
                timeout_ms = Some(timeout);
            }
            "TO" if args.left() >= 2 && target.is_none() => {
                let host = args.bytes().to_vec();
                let port = parse_i64(args.bytes()).ok_or(Error::NotInteger)?;
                target = Some(Address { host, port: u16::try_from(port).unwrap_or(0) });
            }
            "FORCE" if !force => force = true,
            _ => return Err(Error::Syntax),
        }
    }
    Ok((target, force, timeout_ms))
}
