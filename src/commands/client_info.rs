//! The line that CLIENT LIST and CLIENT INFO show, and the types of clients.

use crate::client::{Client, ClientId, Transport};
use crate::pubsub::Scope;
use crate::state::State;

/// The types that CLIENT LIST, CLIENT KILL and output limits tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Primary,
    Replica,
    PubSub,
}

impl Kind {
    pub(super) fn named(word: &[u8]) -> Option<Kind> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Kind::Normal),
            b"slave" | b"replica" => Some(Kind::Replica),
            b"pubsub" => Some(Kind::PubSub),
            b"master" => Some(Kind::Primary),
            _ => None,
        }
    }

    pub(super) fn of(client: &Client) -> Kind {
        if client.is_primary {
            Kind::Primary
        } else if client.is_replica() {
            Kind::Replica
        } else if client.is_subscriber() {
            Kind::PubSub
        } else {
            Kind::Normal
        }
    }
}

fn flags(state: &State, client: &Client) -> String {
    let tracking = state.tracking.options(client.id);
    let marks = [
        (client.is_monitor, 'O'),
        (client.is_replica() && !client.is_monitor, 'S'),
        (client.is_primary, 'M'),
        (client.is_subscriber(), 'P'),
        (client.multi.is_some(), 'x'),
        (client.blocked.is_some() || client.paused, 'b'),
        (tracking.is_some(), 't'),
        (tracking.is_some_and(|options| options.redirect_broken), 'R'),
        (tracking.is_some_and(|options| options.mode == crate::tracking::Mode::Bcast), 'B'),
        (client.watch_broken, 'd'),
        (client.close_after_reply, 'c'),
        (client.close_now, 'A'),
        (client.transport == Transport::Unix, 'U'),
        (client.no_evict, 'e'),
        (client.no_touch, 'T'),
    ];
    let set: String = marks.iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
    if set.is_empty() {
        "N".to_string()
    } else {
        set
    }
}

/// One client, in the words of CLIENT LIST. It has no buffer of its own for replies, so `rbs` and
/// `rbp` are 0; what it has not taken counts as Redis counts it.
pub fn line(state: &State, id: ClientId) -> String {
    let Some(client) = state.clients.find(id) else { return String::new() };
    let now_ms = state.db.now_ms();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let multi = client.multi.as_ref();
    let command = client.last_command.map(|id| super::table().specs[id].name.as_str());
    let tracking = state.tracking.options(id);
    let multi_bytes = multi.map_or(0, |multi| multi.bytes);
    let incomplete = client.incomplete;
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} \
         ssub={} multi={} watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} \
         obl={} oll={} omem={} tot-mem={} events={} cmd={} user={} redir={} resp={} \
         lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        client.id.serial,
        client.addr,
        client.laddr,
        client.fd,
        text(&client.name),
        (now_ms - client.since_ms).max(0) / 1000,
        (now_ms - client.active_ms).max(0) / 1000,
        flags(state, client),
        client.db,
        state.pubsub.count_of(Scope::Channel, id),
        state.pubsub.count_of(Scope::Pattern, id),
        client.shard_subscriptions,
        multi.map_or(-1, |multi| multi.queue.len() as i64),
        client.watched.len(),
        incomplete.raw_bytes,
        incomplete.free_bytes,
        incomplete.argv_bytes,
        multi_bytes,
        0,
        0,
        client.uncounted_output_bytes(),
        client.output_blocks(),
        client.limited_output_bytes(),
        client.promised_bytes(),
        if client.unwritten_bytes > 0 { "rw" } else { "r" },
        command.unwrap_or("NULL"),
        text(client.user_name().unwrap_or(b"(superuser)")),
        tracking.map_or(-1, |options| options.redirect.map_or(0, |serial| serial as i64)),
        if client.resp3 { 3 } else { 2 },
        text(&client.lib_name),
        text(&client.lib_ver),
        client.net_in_bytes,
        client.net_out_bytes,
        client.commands,
    )
}
