//! `--check-rdb`: reads a file to its end and says what is in it and where it breaks.
//!
//! The lines are those of redis-check-rdb where that has them, because scripts read them; ours
//! add the version of the format and the keys by type.

use super::codes;
use super::fault::{Fault, Reason};
use super::read::{Item, Reader, Rules, Sum};
use crate::keyspace::entry::Entry;
use crate::types::limits::Limits;
use std::collections::BTreeMap;
use std::io::Read;

/// What was counted.
#[derive(Default)]
struct Census {
    keys: u64,
    with_deadline: u64,
    expired: u64,
    fields_with_deadline: u64,
    by_type: BTreeMap<&'static str, u64>,
    functions: u64,
    empty: u64,
}

impl Census {
    fn count(&mut self, entry: &Entry, now_ms: i64) {
        self.keys += 1;
        *self.by_type.entry(entry.kind().type_name()).or_default() += 1;
        if let Some(at) = entry.deadline_ms() {
            self.with_deadline += 1;
            self.expired += u64::from(at < now_ms);
        }
        if let Some(hash) = entry.hash().filter(|hash| hash.next_deadline().is_some()) {
            self.fields_with_deadline +=
                hash.iter_all().filter(|(.., deadline)| deadline.is_some()).count() as u64;
        }
    }

    fn print(&self, print: &mut dyn FnMut(&str)) {
        print(&format!("[info] {} keys read", self.keys));
        print(&format!("[info] {} expires", self.with_deadline));
        print(&format!("[info] {} already expired", self.expired));
        print(&format!("[info] {} subexpires", self.fields_with_deadline));
        for (name, count) in &self.by_type {
            print(&format!("[info] {count} of type {name}"));
        }
        if self.functions > 0 {
            print(&format!("[info] {} function libraries", self.functions));
        }
        if self.empty > 0 {
            print(&format!("[info] {} empty keys, which are skipped", self.empty));
        }
    }
}

/// Checks the file called `name` and hands every line to `print`; whether it is good.
pub fn check(name: &str, input: impl Read, now_ms: i64, print: &mut dyn FnMut(&str)) -> bool {
    print(&format!("[offset 0] Checking RDB file {name}"));
    let mut census = Census::default();
    let rules = Rules { limits: Limits::default(), checksum: true };
    let mut reader = match Reader::open(input, rules) {
        Ok(reader) => reader,
        Err(fault) => {
            let offset = if matches!(fault.reason, Reason::Ended) { fault.offset } else { 9 };
            print_fault(&Fault { offset, ..fault }, "start", None, print);
            census.print(print);
            return false;
        }
    };
    print(&format!("[info] RDB version {}", reader.version()));
    let fault = loop {
        match reader.next_item() {
            Ok(Item::End) => break None,
            Ok(item) => note(item, reader.offset(), now_ms, &mut census, print),
            Err(fault) => break Some(fault),
        }
    };
    let Some(fault) = fault else {
        let sum = match reader.sum() {
            Sum::None => None,
            Sum::Disabled => Some("RDB file was saved with checksum disabled: no check performed."),
            Sum::Right => Some("Checksum OK"),
        };
        if let Some(sum) = sum {
            print(&format!("[offset {}] {sum}", reader.offset()));
        }
        print(&format!("[offset {}] \\o/ RDB looks OK! \\o/", reader.offset()));
        census.print(print);
        return true;
    };
    let value = reader.value_at_hand().map(|(key, kind)| (key.to_vec(), kind));
    let doing = match (&fault.reason, &value) {
        (Reason::Checksum { .. }, _) => "check-sum",
        (_, Some(_)) => "read-object-value",
        (_, None) => "read-type",
    };
    print_fault(&fault, doing, value, print);
    census.print(print);
    false
}

fn note(item: Item, offset: u64, now_ms: i64, census: &mut Census, print: &mut dyn FnMut(&str)) {
    match item {
        Item::Key(loaded) => census.count(&loaded.entry, now_ms),
        Item::EmptyKey(_) => census.empty += 1,
        Item::Function(_) => census.functions += 1,
        Item::Aux(name, value) => {
            let (name, value) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
            print(&format!("[offset {offset}] AUX FIELD {name} = '{value}'"));
        }
        Item::SelectDb(index) => print(&format!("[offset {offset}] Selecting DB ID {index}")),
        Item::ModuleAux(name) => {
            print(&format!("[offset {offset}] MODULE AUX for: {name}"));
        }
        Item::ResizeDb(..) | Item::SlotInfo(..) | Item::End => {}
    }
}

fn print_fault(
    fault: &Fault,
    doing: &str,
    value: Option<(Vec<u8>, u8)>,
    print: &mut dyn FnMut(&str),
) {
    print("--- RDB ERROR DETECTED ---");
    let text = match &fault.reason {
        Reason::Ended => "Unexpected EOF reading RDB file".to_string(),
        Reason::Signature => "Wrong signature trying to load DB from file".to_string(),
        Reason::Version(version) => format!("Can't handle RDB format version {version}"),
        Reason::Checksum { .. } => format!("RDB CRC error: {}", fault.reason),
        reason => reason.to_string(),
    };
    print(&format!("[offset {}] {text}", fault.offset));
    print(&format!("[additional info] While doing: {doing}"));
    if let Some((key, kind)) = value {
        print(&format!("[additional info] Reading key '{}'", String::from_utf8_lossy(&key)));
        print(&format!("[additional info] Reading type {kind} ({})", type_name(kind)));
    }
}

/// The words of redis-check-rdb for the types of values.
fn type_name(kind: u8) -> &'static str {
    match kind {
        codes::STRING => "string",
        codes::LIST => "list-linked",
        codes::SET => "set-hashtable",
        codes::ZSET => "zset-v1",
        codes::HASH => "hash-hashtable",
        codes::ZSET_2 => "zset-v2",
        codes::MODULE_PRE_GA | codes::MODULE_2 => "module-value",
        codes::HASH_ZIPMAP => "hash-zipmap",
        codes::LIST_ZIPLIST => "list-ziplist",
        codes::SET_INTSET => "set-intset",
        codes::ZSET_ZIPLIST => "zset-ziplist",
        codes::HASH_ZIPLIST => "hash-ziplist",
        codes::LIST_QUICKLIST => "quicklist",
        codes::STREAM => "stream",
        codes::HASH_LISTPACK => "hash-listpack",
        codes::ZSET_LISTPACK => "zset-listpack",
        codes::LIST_QUICKLIST_2 => "quicklist-v2",
        codes::STREAM_2 => "stream-v2",
        codes::SET_LISTPACK => "set-listpack",
        codes::STREAM_3 => "stream-v3",
        codes::HASH_METADATA_PRE_GA | codes::HASH_METADATA => "hash-hashtable-md",
        codes::HASH_LISTPACK_EX_PRE_GA | codes::HASH_LISTPACK_EX => "hash-listpack-md",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    fn lines(file: &[u8]) -> (bool, Vec<String>) {
        let mut lines = Vec::new();
        let good = check("x.rdb", file, 1000, &mut |line| lines.push(line.to_string()));
        (good, lines)
    }

    #[test]
    fn it_says_what_is_there_and_where_it_breaks() {
        let file = b"REDIS0004\xfa\x03ver\x017\xfe\x01\xfc\x05\0\0\0\0\0\0\0\x00\x01a\x01b\x02\
            \x01s\x01\x01m\xff";
        let (good, seen) = lines(file);
        let expected = [
            "[offset 0] Checking RDB file x.rdb",
            "[info] RDB version 4",
            "[offset 16] AUX FIELD ver = '7'",
            "[offset 18] Selecting DB ID 1",
            "[offset 39] \\o/ RDB looks OK! \\o/",
            "[info] 2 keys read",
            "[info] 1 expires",
            "[info] 1 already expired",
            "[info] 0 subexpires",
            "[info] 1 of type set",
            "[info] 1 of type string",
        ];
        assert!(good);
        assert_eq!(seen, expected);
        let (good, seen) = lines(&file[..36]);
        assert!(!good);
        let expected = [
            "--- RDB ERROR DETECTED ---",
            "[offset 36] Unexpected EOF reading RDB file",
            "[additional info] While doing: read-object-value",
            "[additional info] Reading key 's'",
            "[additional info] Reading type 2 (set-hashtable)",
            "[info] 1 keys read",
        ];
        assert_eq!(seen[4..10], expected);
        let (good, seen) = lines(b"REDIS0099");
        assert!(!good && seen[2] == "[offset 9] Can't handle RDB format version 99", "{seen:?}");
    }

    #[test]
    fn a_sum_is_said_to_be_right_only_where_there_is_one() {
        let of_new = b"REDIS0009\xfe\x00\x00\x01a\x01b\xff";
        let disabled = "[offset 25] RDB file was saved with checksum disabled: no check performed.";
        let (_, seen) = lines(&[&of_new[..], &[0; 8]].concat());
        assert!(seen.iter().any(|line| line == disabled), "{seen:?}");
        let sum = crate::rdb::crc::checksum(of_new);
        let (_, seen) = lines(&[&of_new[..], &sum.to_le_bytes()].concat());
        assert!(seen.iter().any(|line| line == "[offset 25] Checksum OK"), "{seen:?}");
    }
}
