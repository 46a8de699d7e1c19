//! What was removed and waits to be freed, in pieces, so that nobody waits for it.
//!
//! Lots are freed in the order in which they came. A value of many parts that comes out of an
//! emptied database is freed before anything else of that database, so that a lot is done when it
//! leaves the queue, and whoever waits for one ([`Graveyard::mark`]) has waited for all of it.
//!
//! Invariant: `bytes` and `objects` are those of everything that waits.

use crate::keyspace::entry::Entry;
use crate::keyspace::space::Space;
use crate::keyspace::value::{Kind, Value};
use std::collections::VecDeque;

/// Values of more bytes are freed in pieces.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;
/// Redis: values of more parts are freed later, where that was asked for.
const PARTS_MAX: usize = 64;

/// What was removed at once.
#[derive(Debug)]
enum Lot {
    Value(Value),
    Space(Box<Space>),
}

/// The queue.
#[derive(Debug, Default)]
pub struct Graveyard {
    lots: VecDeque<Lot>,
    /// Values of many parts, of the database that comes first in the queue.
    opened: Vec<Value>,
    /// Lots that ever came.
    came: u64,
    bytes: usize,
    objects: usize,
    /// Objects that were freed here; set back by CONFIG RESETSTAT.
    pub freed_objects: u64,
}

/// Whether a value is so large that it is freed in pieces.
pub fn is_large(value: &Value) -> bool {
    value.heap_bytes() > AT_ONCE_BYTES_MAX
}

/// Whether a value is to be freed later when that was asked for.
pub fn is_worth_a_lot(value: &Value) -> bool {
    parts(value) > PARTS_MAX || is_large(value)
}

/// Blocks of memory that freeing a value gives back, about.
fn parts(value: &Value) -> usize {
    match value {
        Value::Int(_) | Value::Str(_) => 1,
        Value::List(list) => list.nodes().unwrap_or(1),
        Value::Set(set) if set.small().is_some() => 1,
        Value::Set(set) => set.len(),
        Value::SortedSet(set) if set.listpack().is_some() => 1,
        Value::SortedSet(set) => set.len(),
        Value::Hash(hash) if hash.encoding() != "hashtable" => 1,
        Value::Hash(hash) => hash.len(),
        Value::Stream(stream) => {
            let pending = stream.groups().map(|group| group.pending().len());
            stream.block_count() + pending.sum::<usize>()
        }
    }
}

/// The value of an entry, if it can be large.
pub fn content(mut entry: Entry) -> Option<Value> {
    match entry.is_inline() || entry.kind() == Kind::Int {
        true => None,
        false => entry.take(),
    }
}

impl Graveyard {
    /// Takes a value.
    pub fn push_value(&mut self, value: Value) {
        self.count_in(value.heap_bytes(), 1);
        self.lots.push_back(Lot::Value(value));
    }

    /// Takes an emptied database with all that was in it.
    pub fn push_space(&mut self, space: Space) {
        if space.is_empty() {
            return;
        }
        self.count_in(space.heap_bytes(), space.len());
        self.lots.push_back(Lot::Space(Box::new(space)));
    }

    fn count_in(&mut self, bytes: usize, objects: usize) {
        self.came += 1;
        self.bytes += bytes;
        self.objects += objects;
    }

    /// A piece took `before` bytes and takes `after`; so many objects are gone with it.
    fn count_out(&mut self, before: usize, after: usize, objects: usize) {
        self.bytes = self.bytes + after - before;
        self.objects -= objects;
        self.freed_objects += objects as u64;
    }

    /// Bytes that wait.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Objects that wait.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Stands for all that has come by now.
    pub fn mark(&self) -> u64 {
        self.came
    }

    /// Whether all that had come when `mark` was taken is freed.
    pub fn is_past(&self, mark: u64) -> bool {
        self.came - self.lots.len() as u64 >= mark
    }

    /// Frees one bounded piece; false when nothing is left.
    pub fn free_chunk(&mut self) -> bool {
        if let Some(value) = self.opened.last_mut() {
            let before = value.heap_bytes();
            let more = value.pop_chunk();
            let after = if more { value.heap_bytes() } else { 0 };
            if !more {
                self.opened.pop();
            }
            self.count_out(before, after, usize::from(!more));
            return true;
        }
        match self.lots.pop_front() {
            None => return false,
            Some(Lot::Value(mut value)) => {
                let before = value.heap_bytes();
                if value.pop_chunk() {
                    self.count_out(before, value.heap_bytes(), 0);
                    self.lots.push_front(Lot::Value(value));
                } else {
                    self.count_out(before, 0, 1);
                }
            }
            Some(Lot::Space(mut space)) => {
                let before = space.heap_bytes();
                let Some(entries) = space.pop_chunk() else {
                    self.count_out(before, 0, 0);
                    return true;
                };
                let mut objects = entries.len();
                let mut kept_bytes = 0;
                for value in entries.into_iter().filter_map(content).filter(is_worth_a_lot) {
                    kept_bytes += value.heap_bytes();
                    objects -= 1;
                    self.opened.push(value);
                }
                self.count_out(before, space.heap_bytes() + kept_bytes, objects);
                self.lots.push_front(Lot::Space(space));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::entry::NewValue;
    use crate::keyspace::value::Set;
    use crate::types::limits::Limits;

    fn set(members: usize, limits: &Limits) -> Value {
        let mut set = Set::new();
        for number in 0..members {
            set.add(format!("member:{number}").as_bytes(), limits);
        }
        Value::Set(Box::new(set))
    }

    /// A database of so many sets.
    fn space(keys: usize, limits: &Limits, members_of: impl Fn(usize) -> usize) -> Space {
        let mut space = Space::new(limits.hash_key, 0);
        for number in 0..keys {
            let key = format!("key:{number}").into_bytes();
            let value = NewValue::Owned(set(members_of(number), limits));
            space.insert(limits.hash_key.hash(&key), Entry::new(&key, value, None, 0), 0);
        }
        space
    }

    /// Values that are freed at once when they go alone come out of a database by hundreds.
    #[test]
    fn no_piece_of_a_database_takes_long() {
        let limits = Limits::default();
        let mut graveyard = Graveyard::default();
        assert!(!is_large(&set(1000, &limits)));
        graveyard.push_space(space(300, &limits, |_| 1000));
        let (mut before, mut most) = (graveyard.heap_bytes(), 0);
        while graveyard.free_chunk() {
            most = most.max(before - graveyard.heap_bytes());
            before = graveyard.heap_bytes();
        }
        assert!((1..200_000).contains(&most), "{most}");
        assert_eq!((graveyard.heap_bytes(), graveyard.objects()), (0, 0));
    }

    #[test]
    fn everything_is_freed_in_order_and_the_figures_end_at_nothing() {
        let limits = Limits::default();
        let mut graveyard = Graveyard::default();
        // Some large values among them, which are freed before the rest.
        let members_of = |number| if number % 500 == 0 { 20_000 } else { number % 7 };
        graveyard.push_space(space(3000, &limits, members_of));
        let after_space = graveyard.mark();
        graveyard.push_value(set(50_000, &limits));
        assert_eq!((graveyard.objects(), graveyard.is_past(after_space)), (3001, false));
        while !graveyard.is_past(after_space) {
            assert!(graveyard.free_chunk());
        }
        assert_eq!((graveyard.objects(), graveyard.freed_objects), (1, 3000));
        let mut before = graveyard.heap_bytes();
        assert!(before > 50_000 * 8);
        while graveyard.free_chunk() {
            assert!(graveyard.heap_bytes() <= before, "it only shrinks");
            before = graveyard.heap_bytes();
        }
        assert_eq!((graveyard.heap_bytes(), graveyard.objects()), (0, 0));
        assert!(graveyard.is_past(graveyard.mark()));
    }
}
