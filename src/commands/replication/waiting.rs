//! WAIT and WAITAOF.

use crate::client::{Acks, Awaited};
use crate::command::{Args, Call, Wait, Waiting};
use crate::error::{Error, Result};
use crate::log::aof::Mode;
use crate::replicas;
use crate::resp::out::Out;
use crate::types::number::parse_i64;

/// WAIT numreplicas timeout
pub fn wait(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    if call.state.role.is_replica() {
        return Err(Error::WaitOnReplica);
    }
    let replicas = usize::try_from(args.int()?).unwrap_or(0);
    let until_ms = until_ms(call, args.bytes())?;
    let offset = call.client().wrote_offset;
    wait_for(call, Acks { offset, replicas, local: false, on_disk: false }, until_ms, out)
}

/// WAITAOF numlocal numreplicas timeout
pub fn waitaof(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let local = args.int()?;
    if !(0..=1).contains(&local) {
        return Err(Error::NumLocal);
    }
    let replicas = parse_i64(args.bytes()).and_then(|count| usize::try_from(count).ok());
    let replicas = replicas.ok_or(Error::NotPositive)?;
    let until_ms = until_ms(call, args.bytes())?;
    if call.state.role.is_replica() {
        return Err(Error::WaitAofOnReplica);
    }
    if local > 0 && call.state.aof.mode == Mode::Off {
        return Err(Error::WaitAofOff);
    }
    let offset = call.client().wrote_offset;
    wait_for(call, Acks { offset, replicas, local: local > 0, on_disk: true }, until_ms, out)
}

fn until_ms(call: &Call<'_>, word: &[u8]) -> Result<Option<i64>> {
    let timeout_ms = parse_i64(word).ok_or(Error::TimeoutNotInteger)?;
    if timeout_ms < 0 {
        return Err(Error::TimeoutNegative);
    }
    let now_ms = call.state.db.now_ms();
    let at = now_ms.checked_add(timeout_ms).ok_or(Error::TimeoutOutOfRange)?;
    Ok((timeout_ms > 0).then_some(at))
}

fn wait_for(call: &mut Call<'_>, acks: Acks, until_ms: Option<i64>, out: Out<'_>) -> Result<Wait> {
    let counted = replicas::count_acks(call.state, acks);
    if replicas::is_enough(acks, counted) || call.state.inside_unit {
        return Ok(Wait::Done(replicas::reply(acks, counted, out)));
    }
    Ok(Wait::For(Waiting {
        keys: Vec::new(),
        until_ms,
        // Who gives up is told how many there are by then.
        on_timeout: |out| out.int(0),
        argv: None,
        wakes_on_loss: false,
        awaits: Some(Awaited::Acks(acks)),
    }))
}
