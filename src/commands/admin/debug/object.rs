//! DEBUG OBJECT and DEBUG LISTPACK: the insides of one value.

use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::value::{List, SortedSet};
use crate::resp::out::{Done, Out};
use crate::types::hash::HashView;

pub(super) fn object(db: &Db, key: &[u8], out: Out<'_>) -> Result<Done> {
    let entry = db.look_unremoved(key).ok_or(Error::NoSuchKey)?;
    let bits = entry.ageing();
    let idle_s = db.ageing.idle_seconds(bits, db.now_ms());
    let mut text = format!(
        "Value at:0x{:012x} refcount:1 encoding:{} serializedlength:{} lru:{bits} \
         lru_seconds_idle:{idle_s}",
        std::ptr::from_ref(entry) as usize,
        entry.encoding(),
        // Redis: without the byte that tells the type.
        crate::rdb::payload::packed_bytes(entry, db.payloads.compress).saturating_sub(1),
    );
    if let Some(list) = entry.collection::<List>() {
        if let Some(nodes) = list.nodes() {
            let average = list.len() as f64 / nodes.max(1) as f64;
            text.push_str(&format!(
                " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{} ql_compressed:{} \
                 ql_uncompressed_size:{}",
                db.limits.list_max_listpack_size,
                u8::from(db.limits.list_compress_depth != 0),
                entry.heap_bytes()
            ));
        }
    }
    Ok(out.simple(&text))
}

pub(super) fn listpack(db: &Db, key: &[u8], out: Out<'_>) -> Result<Done> {
    let entry = db.look(key).ok_or(Error::NoSuchKey)?;
    if entry.encoding() != "listpack" {
        return Err(Error::of("ERR Not a listpack encoded object."));
    }
    let hash = entry.hash().and_then(HashView::listpack);
    let pack = match &hash {
        Some(pack) => Some(pack),
        None => entry.collection::<SortedSet>().and_then(SortedSet::listpack),
    };
    let text = match pack {
        Some(pack) => format!("{} items in {} bytes", pack.len(), pack.byte_len()),
        None => format!("{} bytes", entry.heap_bytes()),
    };
    Ok(out.simple(&text))
}
