//! REPLICAOF and ROLE: what this server is.

use crate::command::{Args, Call};
use crate::commands::client_line;
use crate::error::{shown, Error, Result};
use crate::following;
use crate::resp::out::{Done, Out};
use crate::role::Address;
use crate::state::State;
use crate::types::number::parse_i64;

/// REPLICAOF <host port | NO ONE>
pub fn replicaof(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if call.state.role.failover.is_some() {
        return Err(Error::FailingOver);
    }
    let (host, port) = (args.bytes(), args.bytes());
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        if call.state.role.is_replica() {
            following::promote(call.state);
            let line = shown(&client_line(call.state, call.me));
            let text = format!("MASTER MODE enabled (user request from '{line}')");
            call.state.logger.notice(text);
        }
        return Ok(out.ok());
    }
    if call.client().is_replica() {
        return Err(Error::CommandOfReplica);
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Error::InvalidPrimaryPort)?;
    let address = Address { host: host.to_vec(), port };
    let upstream = call.state.role.upstream.as_ref();
    if upstream.is_some_and(|upstream| is_same(&upstream.address, &address)) {
        call.state.logger.notice(
            "REPLICAOF would result into synchronization with the master we are already \
             connected with. No operation performed.",
        );
        return Ok(out.simple("OK Already connected to specified master"));
    }
    following::follow(call.state, address);
    note_upstream(call);
    Ok(out.ok())
}

fn is_same(one: &Address, other: &Address) -> bool {
    one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}

fn note_upstream(call: &mut Call<'_>) {
    let line = shown(&client_line(call.state, call.me));
    if let Some(upstream) = &call.state.role.upstream {
        let address = &upstream.address;
        let text = format!("REPLICAOF {address} enabled (user request from '{line}')");
        call.state.logger.notice(text);
    }
}

/// ROLE
pub fn role(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    match &call.state.role.upstream {
        None => Ok(as_primary(call.state, out)),
        Some(upstream) => {
            let mut items = out.array(5);
            items.text("slave");
            items.bulk(&upstream.address.host);
            items.int(i64::from(upstream.address.port));
            items.text(upstream.link.name());
            items.int(if upstream.is_up() { call.state.log.offset as i64 } else { -1 });
            Ok(items.end())
        }
    }
}

fn as_primary(state: &State, out: Out<'_>) -> Done {
    let replicas = state.role.replicas.iter().filter_map(|id| state.clients.find(*id));
    let online: Vec<_> = replicas
        .filter_map(|client| Some((client, client.replica.as_deref()?)))
        .filter(|(_, replica)| replica.is_online())
        .collect();
    let mut items = out.array(3);
    items.text("master");
    items.int(state.log.offset as i64);
    items.array(online.len());
    for (client, replica) in online {
        items.array(3);
        items.bulk(client.replica_ip());
        items.text(&replica.port.to_string());
        items.text(&replica.acked.to_string());
    }
    items.end()
}
