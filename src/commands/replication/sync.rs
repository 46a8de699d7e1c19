//! PSYNC and SYNC: a client becomes a replica.

use crate::command::{Args, Call};
use crate::commands::client_line;
use crate::error::{shown, Error, Result};
use crate::following;
use crate::replicas;
use crate::resp::out::{Done, Out};
use crate::role::Stage;
use crate::types::number::parse_i64;

/// PSYNC replicationid offset [FAILOVER]
pub fn psync(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.client().is_replica() {
        return Ok(out.several().end());
    }
    let (id, offset) = (args.bytes(), args.bytes());
    let id = String::from_utf8_lossy(id).into_owned();
    if args.accept("FAILOVER") {
        take_over(call, &id)?;
    }
    may_sync(call)?;
    let name = replicas::name(call.client());
    call.state.logger.notice(format!("Replica {name} asks for synchronization"));
    let Some(offset) = parse_i64(offset) else {
        let text = format!("Replica {name} asks for synchronization but with a wrong offset");
        call.state.logger.warning(text);
        return Err(Error::NotInteger);
    };
    if let Some(position) = resumes_at(call, &id, offset, &name) {
        return Ok(resume(call, position, &name, out));
    }
    if !id.starts_with('?') {
        call.state.role.counters.sync_partial_err += 1;
    }
    Ok(begin_copy(call, out))
}

/// SYNC
pub fn sync(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.client().is_replica() {
        return Ok(out.several().end());
    }
    may_sync(call)?;
    let name = replicas::name(call.client());
    call.state.logger.notice(format!("Replica {name} asks for synchronization"));
    let me = call.me;
    replicas::introduced(call.state, me).is_silent = true;
    Ok(begin_copy(call, out))
}

/// The primary steps back in favour of this server: FAILOVER.
fn take_over(call: &mut Call<'_>, id: &str) -> Result<()> {
    call.state.logger.warning(format!("Failover request received for replid {id}."));
    if !call.state.role.is_replica() {
        return Err(Error::FailoverToPrimary);
    }
    if !id.eq_ignore_ascii_case(&call.state.role.id) {
        return Err(Error::FailoverHistory);
    }
    following::promote(call.state);
    let line = shown(&client_line(call.state, call.me));
    let text = format!("MASTER MODE enabled (failover request from '{line}')");
    call.state.logger.notice(text);
    Ok(())
}

fn may_sync(call: &mut Call<'_>) -> Result<()> {
    if call.state.role.failover.is_some() {
        return Err(Error::SyncWhileFailingOver);
    }
    if call.state.role.upstream.as_ref().is_some_and(|upstream| !upstream.is_up()) {
        return Err(Error::SyncWithoutPrimary);
    }
    if call.client().output_bytes() > 0 {
        return Err(Error::of("ERR SYNC and PSYNC are invalid with pending output"));
    }
    let replica = call.client().replica.as_deref();
    let filtered = replica.is_some_and(|one| one.without_data || one.without_functions);
    if filtered && !replica.is_some_and(|one| one.takes_eof) {
        return Err(Error::FilteredWithoutEof);
    }
    Ok(())
}

/// The position from which the stream can go on for a replica that has `id`'s history up to the
/// byte before `offset`.
fn resumes_at(call: &mut Call<'_>, id: &str, offset: i64, name: &str) -> Option<u64> {
    let (role, logger) = (&call.state.role, &call.state.logger);
    if !role.shares(id, offset) {
        let is_known = [&role.id, &role.second_id].iter().any(|own| own.eq_ignore_ascii_case(id));
        logger.notice(if id.starts_with('?') {
            format!("Full resync requested by replica {name}")
        } else if is_known {
            format!(
                "Partial resynchronization not accepted: Requested offset for second ID was \
                 {offset}, but I can reply up to {}",
                role.second_offset
            )
        } else {
            format!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked \
                 for '{id}', my replication IDs are '{}' and '{}')",
                role.id, role.second_id
            )
        });
        return None;
    }
    let position = offset.checked_sub(1).and_then(|position| u64::try_from(position).ok());
    let ring = call.state.log.ring.as_ref();
    let reached = position.filter(|at| ring.is_some_and(|ring| ring.reaches(*at)));
    if reached.is_none() {
        logger.notice(format!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request \
             was: {offset})."
        ));
        if offset > call.state.log.offset as i64 {
            logger.warning(format!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the \
                 master replication offset."
            ));
        }
    }
    reached
}

fn resume(call: &mut Call<'_>, position: u64, name: &str, out: Out<'_>) -> Done {
    let me = call.me;
    replicas::introduced(call.state, me).position = position;
    replicas::attach(call.state, me, Stage::Online);
    let state = &mut *call.state;
    state.role.counters.sync_partial_ok += 1;
    state.logger.notice(format!(
        "Partial resynchronization request from {name} accepted. Sending {} bytes of backlog \
         starting from offset {}.",
        state.log.offset - position,
        position + 1
    ));
    let takes_new_id = replicas::introduced(state, me).takes_new_id;
    match takes_new_id {
        true => out.simple(&format!("CONTINUE {}", state.role.id)),
        false => out.simple("CONTINUE"),
    }
}

/// What it gets, and when, is decided when a snapshot can begin.
fn begin_copy(call: &mut Call<'_>, out: Out<'_>) -> Done {
    call.state.role.counters.sync_full += 1;
    let me = call.me;
    replicas::attach(call.state, me, Stage::Waiting);
    replicas::wants_copy(call.state, me);
    out.several().end()
}
