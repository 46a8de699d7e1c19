//! Opening, storing and removing values, and what an edit leaves when it closes.

use super::{class_of, Db, Ttl};
use crate::error::{Error, Result};
use crate::keyspace::edit::{boxed_bytes, Before, Edit};
use crate::keyspace::effects::{listener, Class};
use crate::keyspace::entry::{Entry, NewValue};
use crate::keyspace::value::{Collection, Kind, Value};
use crate::types::table::Spot;
use crate::types::text::Text;

impl Db {
    /// Opens the collection at a key for change.
    pub fn edit<'a, T: Collection>(&'a mut self, key: &'a [u8]) -> Result<Edit<'a, T>> {
        let hash = self.hash(key);
        let now_ms = self.now_ms;
        self.before_change(self.current, hash);
        let space = &mut self.spaces[self.current];
        let Some(spot) = space.spot(hash, key) else { return Ok(Edit::vacant(self, key, hash)) };
        let Some(entry) = space.table.at_mut(spot) else {
            return Ok(Edit::vacant(self, key, hash));
        };
        if entry.is_gone(now_ms) {
            self.expire(self.current, key);
            return Ok(Edit::vacant(self, key, hash));
        }
        if entry.kind() != T::KIND {
            return Err(Error::WrongType);
        }
        if !self.no_touch {
            entry.set_ageing(self.ageing.touched(entry.ageing(), self.wall_ms));
        }
        let is_inline = entry.is_inline();
        match entry.take().and_then(T::from_value) {
            Some(value) => Ok(Edit::occupied(self, key, hash, spot, value, is_inline)),
            None => Ok(Edit::vacant(self, key, hash)),
        }
    }

    /// Stores a value at a key, whatever was there, and raises `event` in the value's class.
    pub fn put(&mut self, key: &[u8], value: NewValue<'_>, ttl: Ttl, event: &'static str) {
        let class = match &value {
            NewValue::Owned(value) => class_of(value.kind()),
            _ => Class::String,
        };
        self.put_new_as(key, value, ttl, class, event);
    }

    fn put_new_as(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        ttl: Ttl,
        class: Class,
        event: &'static str,
    ) {
        // Redis: only a key that comes anew, or a stream that goes, is news to those who wait.
        let is_news = !self.effects.is_waited_for(self.current, key)
            || self.kind(key).is_none_or(|kind| kind == Kind::Stream);
        self.store(key, value, ttl);
        self.effects.dirty += 1;
        match is_news {
            true => self.effects.modified(self.current, key),
            false => self.effects.modified_quietly(self.current, key),
        }
        self.effects.event(self.current, key, class, event);
    }

    /// Stores a string at a key; one that spells an integer is kept as such.
    #[inline]
    pub fn put_string(&mut self, key: &[u8], bytes: &[u8], ttl: Ttl, event: &'static str) {
        let value = match crate::types::number::parse_i64(bytes) {
            Some(number) if bytes.len() <= 20 => NewValue::Int(number),
            _ => NewValue::Bytes(bytes),
        };
        self.put(key, value, ttl, event);
    }

    fn store(&mut self, key: &[u8], value: NewValue<'_>, ttl: Ttl) {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let (current, wall_ms) = (self.current, self.wall_ms);
        self.before_change(current, hash);
        let space = &mut self.spaces[current];
        if let Some(entry) = space.find_mut(hash, key) {
            let before_ms = entry.deadline_ms();
            let deadline_ms = match ttl {
                Ttl::Clear => None,
                Ttl::Keep => before_ms,
                Ttl::At(at) => Some(at),
            };
            let ageing = match self.no_touch {
                true => entry.ageing(),
                false => self.ageing.touched(entry.ageing(), wall_ms),
            };
            let before_bytes = entry.heap_bytes();
            let value = match value {
                // A taken buffer goes back where it was.
                NewValue::Owned(value) if before_ms == deadline_ms && entry.is_taken() => {
                    match entry.put_back(value) {
                        Ok(()) => {
                            entry.set_ageing(ageing);
                            let after_bytes = entry.heap_bytes();
                            space.resized(before_bytes, after_bytes);
                            return;
                        }
                        Err(value) => NewValue::Owned(value),
                    }
                }
                value => value,
            };
            if entry.overwrite(&value, deadline_ms) {
                entry.set_ageing(ageing);
                space.deadline_changed(hash, before_ms, deadline_ms, wall_ms);
                return;
            }
            let entry = Entry::new(key, value, deadline_ms, ageing);
            if let Some(old) = space.replace(hash, entry, wall_ms) {
                self.bury(old, self.freed_later.replaced);
            }
            return;
        }
        let deadline_ms = match ttl {
            Ttl::At(at) => Some(at),
            _ => None,
        };
        let entry = Entry::new(key, value, deadline_ms, self.ageing.fresh(wall_ms));
        space.insert(hash, entry, wall_ms);
        self.effects.event(current, key, Class::New, "new");
    }

    /// Removes a key and raises `event` (class generic); false when it was not there.
    pub fn remove(&mut self, key: &[u8], event: &'static str) -> bool {
        self.remove_as(key, Class::Generic, event)
    }

    /// Removes a key and raises an event of any class.
    pub fn remove_as(&mut self, key: &[u8], class: Class, event: &'static str) -> bool {
        self.discard(key, class, event, self.freed_later.replaced)
    }

    /// Removes a key for good (DEL); what it held may be freed `later`.
    pub fn delete(&mut self, key: &[u8], later: bool) -> bool {
        self.discard(key, Class::Generic, "del", later)
    }

    /// Removes a key; what it held may be freed `later`.
    fn discard(&mut self, key: &[u8], class: Class, event: &'static str, later: bool) -> bool {
        let hash = self.hash(key);
        !self.drop_if_expired(hash, key) && self.discard_present(hash, key, class, event, later)
    }

    /// The same, of the key's hash too, whether or not the key's time has come.
    pub(in crate::keyspace) fn discard_present(
        &mut self,
        hash: u64,
        key: &[u8],
        class: Class,
        event: &'static str,
        later: bool,
    ) -> bool {
        self.before_change(self.current, hash);
        let Some(entry) = self.spaces[self.current].remove(hash, key) else { return false };
        self.bury(entry, later);
        self.effects.dirty += 1;
        self.effects.modified(self.current, key);
        self.effects.event(self.current, key, class, event);
        true
    }

    /// Takes the string at a key out of its entry, to be put back changed; one without a buffer of
    /// its own comes as a copy.
    pub fn take_string(&mut self, key: &[u8]) -> Result<Option<Text>> {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        self.before_change(self.current, hash);
        let space = &mut self.spaces[self.current];
        let Some(entry) = space.find_mut(hash, key) else { return Ok(None) };
        if !entry.kind().is_string() {
            return Err(Error::WrongType);
        }
        let before_bytes = entry.heap_bytes();
        let value = entry.take();
        let after_bytes = entry.heap_bytes();
        space.resized(before_bytes, after_bytes);
        Ok(value.map(|value| match value {
            Value::Str(text) => text,
            Value::Int(number) => itoa::Buffer::new().format(number).as_bytes().to_vec().into(),
            _ => Text::default(),
        }))
    }

    /// Gives back what [`Db::take_string`] took, unchanged. Redis: the string has a buffer of its
    /// own from then on, which OBJECT ENCODING shows.
    pub fn return_string(&mut self, key: &[u8], text: Text) {
        self.store(key, NewValue::Owned(Value::Str(text)), Ttl::Keep);
    }

    /// Stores a string, which keeps its deadline, as one change without an event.
    pub fn put_quietly(&mut self, key: &[u8], text: Text) {
        self.store(key, NewValue::Owned(Value::Str(text)), Ttl::Keep);
        self.effects.dirty += 1;
        self.effects.modified(self.current, key);
    }

    /// Raises an event that no other method does.
    pub fn raise(&mut self, key: &[u8], class: Class, event: &'static str) {
        self.effects.event(self.current, key, class, event);
    }

    /// Takes an entry out of the keyspace to be placed somewhere else; raises nothing and counts
    /// nothing.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        self.before_change(self.current, hash);
        let entry = self.spaces[self.current].remove(hash, key)?;
        self.effects.modified(self.current, key);
        Some(entry)
    }

    /// Puts a taken or copied entry at a key, with its deadline, whatever was there. Its caller
    /// raises the events, in their order.
    pub fn place(&mut self, key: &[u8], entry: Entry) {
        let hash = self.hash(key);
        let (current, wall_ms) = (self.current, self.wall_ms);
        self.drop_if_expired(hash, key);
        self.before_change(current, hash);
        if let Some(old) = self.spaces[current].remove(hash, key) {
            self.bury(old, self.freed_later.replaced);
        }
        // Redis: also when it takes the place of another.
        self.effects.event(current, key, Class::New, "new");
        let deadline_ms = entry.deadline_ms();
        self.spaces[current].insert(hash, entry.rebuilt(key, deadline_ms), wall_ms);
        self.after_arrival(hash, key);
        self.effects.dirty += 1;
        self.effects.modified(current, key);
    }

    /// Sets or clears the deadline of a key that is there; false when it is not. Raises `event`.
    pub fn set_deadline(&mut self, key: &[u8], at: Option<i64>, event: &'static str) -> bool {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let (current, wall_ms) = (self.current, self.wall_ms);
        self.before_change(current, hash);
        let space = &mut self.spaces[current];
        let Some(entry) = space.find_mut(hash, key) else { return false };
        let before_ms = entry.deadline_ms();
        if at.is_some_and(|at| entry.move_deadline(at)) {
            space.deadline_changed(hash, before_ms, at, wall_ms);
        } else if before_ms != at {
            let before_bytes = entry.heap_bytes();
            let old = std::mem::replace(entry, Entry::new(b"", NewValue::Int(0), None, 0));
            *entry = old.rebuilt(key, at);
            let after_bytes = entry.heap_bytes();
            space.resized(before_bytes, after_bytes);
            space.deadline_changed(hash, before_ms, at, wall_ms);
        }
        self.effects.dirty += 1;
        self.effects.modified(current, key);
        self.effects.event(current, key, Class::Generic, event);
        true
    }

    /// States the form in which the command enters the log, instead of its own words; may be
    /// called several times for several records.
    pub fn replay_as<B: AsRef<[u8]>>(&mut self, argv: &[B]) {
        self.effects.form_stated = true;
        self.effects.record_own(self.current, argv);
    }

    /// The command changed nothing that a replay would have to repeat.
    pub fn replay_nothing(&mut self) {
        self.effects.form_stated = true;
    }

    /// Whether anybody reads the log: saves building a form that nobody needs.
    pub fn is_logged(&self) -> bool {
        self.effects.hears(listener::LOG)
    }
}

/// For `edit`.
impl Db {
    /// Puts the value of an edit back where it was taken.
    pub(in crate::keyspace) fn close_edit<T: Collection>(
        &mut self,
        hash: u64,
        key: &[u8],
        spot: Spot,
        value: Box<T>,
        before: Before,
    ) {
        let due_ms = value.due_ms();
        let after_bytes = boxed_bytes(&*value);
        let wall_ms = self.wall_ms;
        let space = &mut self.spaces[self.current];
        let Some(entry) = space.find_again(spot, hash, key) else {
            // Somebody removed the key while the value was out.
            space.resized(before.bytes, 0);
            space.fields_due_changed(hash, before.due_ms, None, wall_ms);
            return self.close_new(hash, key, value);
        };
        // The kind is the one it was taken as, so it fits back unless it lay in the entry.
        match entry.put_back(T::into_value(value)) {
            Ok(()) => {
                space.resized(before.bytes, after_bytes);
                space.fields_due_changed(hash, before.due_ms, due_ms, wall_ms);
            }
            Err(value) => {
                let (deadline_ms, ageing) = (entry.deadline_ms(), entry.ageing());
                let (before_bytes, before_ms) = (entry.heap_bytes(), entry.fields_due_ms());
                *entry = Entry::new(key, NewValue::Owned(value), deadline_ms, ageing);
                let after_bytes = entry.heap_bytes();
                space.resized(before_bytes, after_bytes);
                space.fields_due_changed(hash, before_ms, due_ms, wall_ms);
            }
        }
    }

    /// Gives the value of an edit a key that was not there when the edit began.
    pub(in crate::keyspace) fn close_new<T: Collection>(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Box<T>,
    ) {
        let ageing = self.ageing.fresh(self.wall_ms);
        let entry = Entry::new(key, NewValue::Owned(T::into_value(value)), None, ageing);
        let space = &mut self.spaces[self.current];
        if space.find(hash, key).is_some() {
            // A key whose time has come but that is kept, or that came meanwhile.
            if let Some(old) = space.replace(hash, entry, self.wall_ms) {
                self.bury(old, self.freed_later.replaced);
            }
        } else {
            space.insert(hash, entry, self.wall_ms);
        }
        self.after_arrival(hash, key);
    }

    /// Removes the key of which an edit has left nothing.
    pub(in crate::keyspace) fn close_emptied(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Value,
        before: Before,
    ) {
        let wall_ms = self.wall_ms;
        let space = &mut self.spaces[self.current];
        // The value is outside its entry: its figures are counted there, and leave with it.
        space.resized(before.bytes, 0);
        space.fields_due_changed(hash, before.due_ms, None, wall_ms);
        if space.remove(hash, key).is_none() {
            return;
        }
        self.bury_value(value);
        self.effects.event(self.current, key, Class::Generic, "del");
    }
}
