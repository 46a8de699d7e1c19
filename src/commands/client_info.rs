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

/// One client, in the words of CLIENT LIST. Names are bytes, as they were given.
pub fn line(state: &State, id: ClientId) -> Vec<u8> {
    let Some(client) = state.clients.find(id) else { return Vec::new() };
    let now_ms = state.db.now_ms();
    let multi = client.multi.as_ref();
    let command = client.last_command.map(|id| super::table().specs[id].name.as_str());
    let tracking = state.tracking.options(id);
    let multi_bytes = multi.map_or(0, |multi| multi.bytes);
    let (incomplete, at_hand) = (client.incomplete(), client.at_hand);
    let waiting = client.blocked.iter().flat_map(|blocked| &blocked.argv).map(Vec::len);
    let head = format!(
        "id={} addr={} laddr={} fd={} name=",
        client.id.serial, client.addr, client.laddr, client.fd
    );
    let middle = format!(
        " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} watch={} qbuf={} \
         qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} \
         events={} cmd={} user=",
        (now_ms - client.since_ms).max(0) / 1000,
        (now_ms - client.heard_ms()).max(0) / 1000,
        flags(state, client),
        client.db,
        state.pubsub.count_of(Scope::Channel, id),
        state.pubsub.count_of(Scope::Pattern, id),
        client.shard_subscriptions,
        multi.map_or(-1, |multi| multi.queue.len() as i64),
        client.watched.len(),
        incomplete.raw_bytes + at_hand.input_bytes,
        incomplete.free_bytes + at_hand.free_bytes,
        incomplete.argv_bytes + at_hand.argv_bytes + waiting.sum::<usize>(),
        multi_bytes,
        client.reply_buffer.size_bytes(),
        client.reply_buffer.peak_bytes(at_hand.reply_bytes),
        client.uncounted_output_bytes(),
        client.output_blocks(),
        client.limited_output_bytes(),
        client.promised_bytes(),
        if client.unwritten_bytes > 0 { "rw" } else { "r" },
        command.unwrap_or("NULL"),
    );
    let tail = format!(
        " tot-net-in={} tot-net-out={} tot-cmds={}",
        client.net_in_bytes, client.net_out_bytes, client.commands
    );
    let protocol = format!(
        " redir={} resp={} lib-name=",
        tracking.map_or(-1, crate::tracking::Options::redirect_serial),
        if client.resp3 { 3 } else { 2 },
    );
    [
        head.as_bytes(),
        &client.name,
        middle.as_bytes(),
        client.user_name().unwrap_or(b"(superuser)"),
        protocol.as_bytes(),
        &client.lib_name,
        b" lib-ver=",
        &client.lib_ver,
        tail.as_bytes(),
    ]
    .concat()
}
