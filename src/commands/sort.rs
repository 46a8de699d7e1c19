//! SORT and SORT_RO: the elements of a list, set or sorted set by their own value or by values
//! found elsewhere through a pattern.
//!
//! Invariant: the whole answer is computed from the data as it is before anything is stored.

mod window;

use crate::command::spec::{Begin, Find, KeySpec};
use crate::command::{read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::{Kind, Value};
use crate::resp::out::{Done, Out};
use crate::types::compact::Item;
use crate::types::list::{End, List};
use crate::types::number::parse_f64;
use crate::types::set::Set;
use crate::types::sorted_set::SortedSet;
use smallvec::SmallVec;
use std::cmp::Ordering;
use window::sort_window;

const SOURCE: KeySpec = KeySpec {
    begin: Begin::Index(1),
    find: Find::Range { last: 0, step: 1, limit: 0 },
    access: &["RO", "ACCESS"],
};
/// BY and GET name keys that no rule can tell.
const BY_AND_GET: KeySpec =
    KeySpec { begin: Begin::Unknown, find: Find::Unknown, access: &["RO", "ACCESS"] };
/// The last STORE counts.
const STORE: KeySpec = KeySpec {
    begin: Begin::Keyword("STORE", -2),
    find: Find::Range { last: 0, step: 1, limit: 0 },
    access: &["OW", "UPDATE"],
};

/// Elements of one record of the log.
const STORED_AT_ONCE: usize = 1024;

/// The family.
pub const FAMILY: Family = Family { group: "generic", rows: ROWS };

const ROWS: &[Row] = &[
    write(
        "SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
         [ASC | DESC] [ALPHA] [STORE destination]",
        sort,
    )
    .grows()
    .dangerous()
    .keys(&[SOURCE, BY_AND_GET, STORE])
    .since("1.0.0")
    .about("Sorts a list, a set or a sorted set, and may store the result.")
    .cost("O(N+M*log(M)) for N elements of which M are returned."),
    read(
        "SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
         [ASC | DESC] [ALPHA]",
        sort_ro,
    )
    .dangerous()
    .keys(&[SOURCE, BY_AND_GET])
    .since("7.0.0")
    .about("Returns a list, a set or a sorted set in order.")
    .cost("O(N+M*log(M)) for N elements of which M are returned."),
];

/// Bytes of an element, or of what it is compared by; short ones without an allocation.
type Text = SmallVec<[u8; 24]>;

fn text(item: &Item<'_>) -> Text {
    item.with_bytes(Text::from_slice)
}

/// Elements in the order of the answer: where they lie, or else copies.
#[derive(Default)]
struct Arranged<'a> {
    items: Vec<Item<'a>>,
    texts: Vec<Text>,
}

impl Arranged<'_> {
    fn len(&self) -> usize {
        self.items.len() + self.texts.len()
    }

    fn iter(&self) -> impl Iterator<Item = Item<'_>> + '_ {
        let texts = self.texts.iter().map(|text| Item::Bytes(text));
        self.items.iter().copied().chain(texts)
    }
}

/// BY and GET read keys that the command does not name.
fn denied(option: &str) -> Error {
    Error::of(format!("ERR {option} option of SORT denied due to insufficient ACL permissions."))
}

#[derive(Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    /// BY without an asterisk: the elements stay in the order they have.
    unsorted: bool,
    get: Vec<&'a [u8]>,
    offset: i64,
    count: i64,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: &mut Args<'a>, may_store: bool, sees_all: bool) -> Result<Options<'a>> {
        let mut options = Options { count: -1, ..Options::default() };
        while let Some(word) = args.option() {
            match &*word {
                "ASC" => options.descending = false,
                "DESC" => options.descending = true,
                "ALPHA" => options.alpha = true,
                "LIMIT" if args.left() >= 2 => {
                    (options.offset, options.count) = (args.int()?, args.int()?);
                }
                "STORE" if may_store => options.store = Some(args.required()?),
                "BY" => {
                    let pattern = args.required()?;
                    options.by = Some(pattern);
                    // Redis: once a BY has no asterisk, a later one cannot bring sorting back.
                    options.unsorted |= !pattern.contains(&b'*');
                    if !options.unsorted && !sees_all {
                        return Err(denied("BY"));
                    }
                }
                "GET" => {
                    options.get.push(args.required()?);
                    if !sees_all {
                        return Err(denied("GET"));
                    }
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }

    /// First and last-plus-one of the elements that LIMIT lets through.
    fn window(&self, len: usize) -> (usize, usize) {
        let bounded = |number: i64| usize::try_from(number).unwrap_or(0).min(len);
        let start = bounded(self.offset);
        let end = if self.count < 0 { len } else { (start + bounded(self.count)).min(len) };
        (start, end)
    }
}

fn sort(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let options = Options::parse(args, true, db.shows_all_keys)?;
    let elements = arranged(db, key, &options)?;
    let Some(destination) = options.store else { return Ok(reply(db, &elements, &options, out)) };
    let mut list = List::new();
    for element in elements.iter() {
        if options.get.is_empty() {
            element.with_bytes(|element| list.push(End::Right, element, &db.limits));
        }
        for pattern in &options.get {
            let value = element.with_bytes(|element| follow(db, pattern, element));
            list.push(End::Right, &value.unwrap_or_default(), &db.limits);
        }
    }
    let stored = list.len();
    if stored == 0 {
        db.remove(destination, "del");
    } else {
        // Redis: tells the command as it was sent, so that its replicas differ: equals of a set
        // are stored in the order in which they happen to lie, here and nowhere else.
        let lies = db.look(key).is_some_and(|entry| entry.kind() != Kind::List);
        if lies && options.alpha && options.by.is_some() && db.is_logged() {
            replay_stored(db, destination, &list);
        }
        list.settle(&db.limits);
        let value = NewValue::Owned(Value::List(Box::new(list)));
        db.put(destination, value, Ttl::Clear, "sortstore");
    }
    Ok(out.int(stored as i64))
}

/// What is stored, for the log.
fn replay_stored(db: &mut Db, destination: &[u8], list: &List) {
    db.replay_as(&[b"DEL", destination]);
    let mut items = list.iter().peekable();
    while items.peek().is_some() {
        let mut words = vec![Text::from_slice(b"RPUSH"), Text::from_slice(destination)];
        words.extend(items.by_ref().take(STORED_AT_ONCE).map(|item| text(&item)));
        db.replay_as(&words);
    }
}

fn sort_ro(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let options = Options::parse(args, false, db.shows_all_keys)?;
    let elements = arranged(db, key, &options)?;
    Ok(reply(db, &elements, &options, out))
}

fn reply(db: &Db, elements: &Arranged<'_>, options: &Options<'_>, out: Out<'_>) -> Done {
    let mut items = out.array(elements.len() * options.get.len().max(1));
    for element in elements.iter() {
        match element {
            _ if !options.get.is_empty() => {}
            Item::Int(number) => items.bulk_int(number),
            Item::Bytes(bytes) => items.bulk(bytes),
        }
        for pattern in &options.get {
            let value = element.with_bytes(|element| follow(db, pattern, element));
            items.bulk_or_null(value.as_deref());
        }
    }
    items.end()
}

/// The elements that the command returns, in its order.
fn arranged<'d>(db: &'d Db, key: &[u8], options: &Options<'_>) -> Result<Arranged<'d>> {
    let Some(entry) = db.read(key) else { return Ok(Arranged::default()) };
    let kind = entry.kind();
    // Redis: what is stored, or what a script sees, must not depend on how a set happens to lie.
    let is_exact = options.store.is_some() || db.inside_script;
    let by_value = options.unsorted && kind == Kind::Set && is_exact;
    if options.unsorted && !by_value {
        let items = if let Some(list) = entry.collection::<List>() {
            let (start, end) = options.window(list.len());
            let (at, towards) = match options.descending {
                true => (list.len().wrapping_sub(start + 1), End::Left),
                false => (start, End::Right),
            };
            let count = end.saturating_sub(start);
            let range = (count > 0).then(|| list.range(at, towards, count));
            range.into_iter().flatten().collect()
        } else if let Some(set) = entry.collection::<SortedSet>() {
            let (start, end) = options.window(set.len());
            let (from, to) = match options.descending {
                true => (set.len() - end, set.len() - start),
                false => (start, end),
            };
            let range = set.range(from, to, options.descending);
            range.map(|(item, _)| item).collect()
        } else if let Some(set) = entry.collection::<Set>() {
            let (start, end) = options.window(set.len());
            set.iter().skip(start).take(end.saturating_sub(start)).collect()
        } else {
            return Err(Error::WrongType);
        };
        return Ok(Arranged { items, texts: Vec::new() });
    }
    let elements: Vec<Item<'_>> = if let Some(list) = entry.collection::<List>() {
        list.iter().collect()
    } else if let Some(set) = entry.collection::<Set>() {
        set.iter().collect()
    } else if let Some(set) = entry.collection::<SortedSet>() {
        set.iter().map(|(item, _)| item).collect()
    } else {
        return Err(Error::WrongType);
    };
    let (start, end) = options.window(elements.len());
    let by = options.by.filter(|_| !by_value);
    if options.alpha || by_value {
        return Ok(by_text(db, elements, by, options.descending, (start, end)));
    }
    let items = by_score(db, &elements, by, options.descending, (start, end))?;
    Ok(Arranged { items, texts: Vec::new() })
}

fn directed(order: Ordering, descending: bool) -> Ordering {
    if descending {
        order.reverse()
    } else {
        order
    }
}

/// A number that is ordered as the score is, and is equal where it is.
fn rank(score: f64) -> u64 {
    // There are two zeros, and they are equal.
    let bits = (score + 0.0).to_bits();
    match bits >> 63 {
        0 => bits | 1 << 63,
        _ => !bits,
    }
}

/// The order of two elements' bytes.
fn compared(one: &Item<'_>, other: &Item<'_>) -> Ordering {
    match (one, other) {
        (Item::Bytes(one), Item::Bytes(other)) => one.cmp(other),
        (Item::Int(one), Item::Int(other)) if one == other => Ordering::Equal,
        _ => one.with_bytes(|one| other.with_bytes(|other| one.cmp(other))),
    }
}

/// Sorts by numbers; elements of equal number by their bytes, so that the order is certain. Gives
/// those from the first to the last but one of `window`.
///
/// What is sorted are the numbers and where their elements stand: a quarter of what would be moved
/// otherwise, and elements are looked at only where numbers are equal.
fn by_score<'d>(
    db: &Db,
    elements: &[Item<'d>],
    by: Option<&[u8]>,
    descending: bool,
    (start, end): (usize, usize),
) -> Result<Vec<Item<'d>>> {
    // Redis: the text ends at a zero byte, and no text at all is zero.
    let score = |text: &[u8]| match text.split(|&byte| byte == 0).next() {
        None | Some(b"") => Some(0.0),
        Some(text) => parse_f64(text).filter(|score| !score.is_nan()),
    };
    let mut ranked = Vec::with_capacity(elements.len());
    for (at, element) in elements.iter().enumerate() {
        let score = match (by, element) {
            (None, Item::Int(number)) => Some(*number as f64),
            (None, Item::Bytes(bytes)) => score(bytes),
            (Some(pattern), element) => element
                .with_bytes(|element| follow(db, pattern, element))
                .map_or(Some(0.0), |text| score(&text)),
        };
        ranked.push((rank(score.ok_or(Error::SortScoreNotFloat)?), at));
    }
    let order = |(rank, at): &(u64, usize), (other_rank, other): &(u64, usize)| {
        let order = rank.cmp(other_rank);
        let order = order.then_with(|| match (elements.get(*at), elements.get(*other)) {
            (Some(element), Some(other)) => compared(element, other),
            _ => Ordering::Equal,
        });
        directed(order, descending)
    };
    if end < ranked.len() {
        ranked.select_nth_unstable_by(end, order);
        ranked.truncate(end);
    }
    ranked.sort_unstable_by(order);
    let window = ranked.get(start..).unwrap_or_default();
    Ok(window.iter().filter_map(|(_, at)| elements.get(*at).copied()).collect())
}

/// Sorts by bytes; an element without a value to be compared by comes first. Elements of equal
/// values stay in their order, or in that in which the sorting of a window leaves them.
fn by_text<'d>(
    db: &Db,
    elements: Vec<Item<'d>>,
    by: Option<&[u8]>,
    descending: bool,
    (start, end): (usize, usize),
) -> Arranged<'d> {
    let Some(pattern) = by else {
        let mut texts: Vec<Text> = elements.iter().map(text).collect();
        texts.sort_unstable_by(|element, other| directed(element.cmp(other), descending));
        texts.truncate(end);
        texts.drain(..start.min(texts.len()));
        return Arranged { items: Vec::new(), texts };
    };
    type Weighed<'d> = (Option<Text>, Item<'d>);
    let order = |(weight, _): &Weighed<'_>, (other, _): &Weighed<'_>| {
        directed(weight.cmp(other), descending)
    };
    let weight = |element: &Item<'_>| element.with_bytes(|element| follow(db, pattern, element));
    let mut weighed: Vec<Weighed<'d>> =
        elements.into_iter().map(|element| (weight(&element), element)).collect();
    match (start, end) == (0, weighed.len()) {
        true => weighed.sort_by(order),
        false => sort_window(&mut weighed, (start, end), &order),
    }
    let window = weighed.get(start..end).unwrap_or_default();
    let items = window.iter().map(|(_, element)| *element).collect();
    Arranged { items, texts: Vec::new() }
}

/// The value that a pattern leads to from an element: `#` is the element itself, `k_*` a string,
/// `k_*->field` a field of a hash.
fn follow(db: &Db, pattern: &[u8], element: &[u8]) -> Option<Text> {
    if pattern == b"#" {
        return Some(Text::from_slice(element));
    }
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->");
    let (after, field) = match arrow {
        Some(at) if at + 2 < after.len() => (&after[..at], Some(&after[at + 2..])),
        _ => (after, None),
    };
    let mut key = Text::from_slice(before);
    key.extend_from_slice(element);
    key.extend_from_slice(after);
    let entry = db.read(&key)?;
    match field {
        Some(field) => entry.hash()?.get(field, db.now_ms()).map(|item| text(&item)),
        None => entry.string().map(|string| string.with_bytes(Text::from_slice)),
    }
}
