//! What follows from the rows: names, arity, keys, flags, categories; and the table of it all.

use crate::acl::ChannelWords;
use crate::command::access::{self, Access};
use crate::command::row::{flag, Family, Row};
use crate::command::synopsis::{self, Node};
use std::collections::HashMap;

/// Where a search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this word; the name is word 0.
    Index(usize),
    /// Behind this word, looked for from a position (negative: from the end, backwards).
    Keyword(&'static str, i32),
    /// Nowhere that a rule could tell.
    Unknown,
}

/// How the keys go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to a word relative to the first (negative: from the end), in steps; with a limit of 2
    /// only the first half.
    Range {
        /// The last key, relative to the first, or negative from the end.
        last: i32,
        /// Words from key to key.
        step: usize,
        /// 0, or the divisor of what is left.
        limit: usize,
    },
    /// A number of keys stands at a word relative to the begin.
    KeyNum {
        /// Where the number is.
        number: usize,
        /// Where the first key is.
        first: usize,
        /// Words from key to key.
        step: usize,
    },
    /// No rule could tell.
    Unknown,
}

/// One rule that finds keys, with the words that COMMAND INFO uses for the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: Begin,
    /// How to go on.
    pub find: Find,
    /// Flags such as `RO`, `ACCESS`; empty for the default of the command's shape.
    pub access: &'static [&'static str],
}

/// A command with all that follows from its row.
pub struct Spec {
    /// Its number in the table.
    pub id: usize,
    /// Full name in lower case: `client|kill`.
    pub name: String,
    /// The row.
    pub row: Row,
    /// The group of its family.
    pub group: &'static str,
    /// Least number of words, the name included; negative when there may be more.
    pub arity: i32,
    /// Rules that find its keys.
    pub keys: Vec<KeySpec>,
    /// What is done to the keys that each of these rules finds.
    pub access: Vec<Access>,
    /// Where the channels are that it needs a right for.
    pub channels: Option<ChannelWords>,
    /// The index of the first key, when one rule tells it without looking at the words.
    pub first_key: Option<usize>,
    /// Where the first member or field is that it names, when no options are given.
    pub member: Option<usize>,
    /// Its arguments.
    pub args: Vec<Node>,
    /// Subcommands, by name in lower case.
    pub subcommands: HashMap<Vec<u8>, usize>,
    /// The container of a subcommand.
    pub container: Option<usize>,
    /// All flag bits, derived ones included.
    pub flags: u32,
}

impl Spec {
    /// Whether any of `bits` (of [`flag`]) is set.
    #[inline]
    pub fn has(&self, bits: u32) -> bool {
        self.flags & bits != 0
    }

    /// Whether this number of words is right.
    #[inline]
    pub fn accepts(&self, words: usize) -> bool {
        if self.arity >= 0 {
            words == self.arity as usize
        } else {
            words >= -self.arity as usize
        }
    }

    /// Words of the name: 2 for subcommands.
    #[inline]
    pub fn name_words(&self) -> usize {
        1 + self.container.is_some() as usize
    }

    /// The synopsis without the name.
    pub fn usage(&self) -> &'static str {
        self.row.synopsis.split_once(' ').map_or("", |(_, usage)| usage)
    }

    /// Positions of the keys in `argv`; `None` when the words make no sense.
    pub fn key_positions(&self, argv: &[&[u8]]) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        for spec in &self.keys {
            spec.positions(argv, &mut found)?;
        }
        Some(found)
    }
}

impl KeySpec {
    /// Appends the positions of the keys that this rule finds.
    pub fn positions(&self, argv: &[&[u8]], found: &mut Vec<usize>) -> Option<()> {
        let words = argv.len();
        let begin = match self.begin {
            Begin::Index(index) => index,
            Begin::Keyword(word, from) => {
                let is_word = |at: &usize| argv[*at].eq_ignore_ascii_case(word.as_bytes());
                let at = if from >= 0 {
                    (from as usize..words).find(is_word)
                } else {
                    (1..(words as i32 + from + 1).max(1) as usize).rev().find(is_word)
                };
                match at {
                    Some(at) => at + 1,
                    None => return Some(()),
                }
            }
            Begin::Unknown => return Some(()),
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin + last as usize
                } else if limit <= 1 {
                    words.checked_sub(last.unsigned_abs() as usize)?
                } else {
                    begin + ((words - begin.min(words)) / limit).checked_sub(1)?
                };
                (begin, last, step)
            }
            Find::KeyNum { number, first, step } => {
                let count = crate::types::number::parse_i64(argv.get(begin + number)?)?;
                let count = usize::try_from(count).ok()?;
                if count == 0 {
                    return Some(());
                }
                if count > words {
                    return None;
                }
                (begin + first, begin + first + (count - 1) * step, step)
            }
            Find::Unknown => return Some(()),
        };
        if last >= words || first > last {
            return None;
        }
        found.extend((first..=last).step_by(step.max(1)));
        Some(())
    }
}

/// Every command.
pub struct Table {
    /// In the order of the families.
    pub specs: Vec<Spec>,
    /// Numbers by name in lower case; subcommands are found through their containers.
    by_name: Names,
}

/// Numbers of commands by name: open addressing over a fixed power of two, because a general map
/// costs as much as a whole GET.
struct Names {
    places: Vec<u16>,
}

const NO_COMMAND: u16 = u16::MAX;

impl Names {
    fn new() -> Names {
        Names { places: vec![NO_COMMAND; 2048] }
    }

    /// FNV-1a: names are ours, so nobody can choose collisions.
    #[inline]
    fn place(&self, name: &[u8]) -> usize {
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3)
        });
        (hash ^ hash >> 32) as usize & (self.places.len() - 1)
    }

    fn insert(&mut self, name: &[u8], id: usize) {
        let mut at = self.place(name);
        while self.places[at] != NO_COMMAND {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = id as u16;
    }

    #[inline]
    fn find(&self, name: &[u8], specs: &[Spec]) -> Option<usize> {
        let mut at = self.place(name);
        loop {
            let id = *self.places.get(at)?;
            let spec = specs.get(id as usize)?;
            if spec.name.as_bytes() == name {
                return Some(id as usize);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }
}

impl Table {
    /// Reads all rows. A container's row must stand before its subcommands.
    pub fn new(families: &[&Family]) -> Table {
        let mut table = Table { specs: Vec::new(), by_name: Names::new() };
        for family in families {
            for row in family.rows {
                table.add(family.group, row);
            }
        }
        table
    }

    fn add(&mut self, group: &'static str, row: &Row) {
        let (name, args) = synopsis::parse(row.synopsis);
        let id = self.specs.len();
        let (least, more) = synopsis::extents(&args);
        let mut container = None;
        let mut words = 1;
        if let Some((parent, sub)) = name.split_once('|') {
            words = 2;
            container = self.by_name.find(parent.as_bytes(), &self.specs);
            if let Some(parent) = container {
                self.specs[parent].subcommands.insert(sub.as_bytes().to_vec(), id);
            }
        } else {
            self.by_name.insert(name.as_bytes(), id);
        }
        let least = (least + words) as i32;
        let arity = row.arity.unwrap_or(if more { -least } else { least });
        let keys = row.keys.map_or_else(|| derive_keys(&args, words), <[KeySpec]>::to_vec);
        let mut flags = row.flags;
        if keys
            .iter()
            .any(|key| !matches!((key.begin, key.find), (Begin::Index(_), Find::Range { .. })))
        {
            flags |= flag::MOVABLEKEYS;
        }
        let is_readonly = flags & flag::READONLY != 0;
        let access = (0..keys.len()).map(|rule| access::words(&name, rule, is_readonly)).collect();
        let channels = channels_of(flags, words, &args);
        let first_key = keys.first().and_then(|key| match (key.begin, key.find) {
            (Begin::Index(index), Find::KeyNum { first, .. }) => Some(index + first),
            (Begin::Index(index), _) => Some(index),
            _ => None,
        });
        let subcommands = HashMap::new();
        let row = *row;
        self.specs.push(Spec {
            id,
            name,
            row,
            group,
            arity,
            keys,
            access,
            channels,
            first_key,
            member: member_at(row.synopsis),
            args,
            subcommands,
            container,
            flags,
        });
    }

    /// The command by its name in any case; subcommands have the form `client|kill`.
    pub fn named(&self, name: &[u8]) -> Option<&Spec> {
        let name = name.to_ascii_lowercase();
        if let Some(bar) = name.iter().position(|&byte| byte == b'|') {
            let parent = &self.specs[self.by_name.find(&name[..bar], &self.specs)?];
            return parent.subcommands.get(&name[bar + 1..]).map(|&id| &self.specs[id]);
        }
        self.by_name.find(&name, &self.specs).map(|id| &self.specs[id])
    }

    /// The command of a request, container and subcommand resolved. `Err` holds the container
    /// whose subcommand is unknown, or nothing when the command itself is.
    #[inline]
    pub fn find(&self, argv: &[&[u8]]) -> Result<&Spec, Option<&Spec>> {
        let name = *argv.first().ok_or(None)?;
        let mut lower = [0; 32];
        let Some(lower) = lower.get_mut(..name.len()) else { return Err(None) };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let spec = &self.specs[self.by_name.find(lower, &self.specs).ok_or(None)?];
        if spec.subcommands.is_empty() {
            return Ok(spec);
        }
        let Some(sub) = argv.get(1) else { return Ok(spec) };
        match spec.subcommands.get(&sub.to_ascii_lowercase()) {
            Some(&id) => Ok(&self.specs[id]),
            None => Err(Some(spec)),
        }
    }

    /// Commands without the subcommands.
    pub fn top_level(&self) -> impl Iterator<Item = &Spec> {
        self.specs.iter().filter(|spec| spec.container.is_none())
    }
}

/// Where a command on one key names a member, as an index of its words, without options.
fn member_at(synopsis: &str) -> Option<usize> {
    let mut depth = 0;
    let fixed = synopsis.split_whitespace().filter(|word| {
        depth += word.matches('[').count();
        let is_fixed = depth == 0;
        depth -= word.matches(']').count();
        is_fixed
    });
    let words: Vec<&str> = fixed.collect();
    (words.get(1) == Some(&"key")).then_some(())?;
    words.iter().position(|word| matches!(*word, "member" | "field"))
}

/// Where the channels are that a command of pub/sub must be given: publishing and subscribing need
/// a right, to leave a channel or to ask about one needs none, and there channels are optional.
fn channels_of(flags: u32, words: usize, args: &[Node]) -> Option<ChannelWords> {
    if flags & flag::PUBSUB == 0 {
        return None;
    }
    let (first, to_end) = match args.first()? {
        Node::Group { choices, optional: false, repeats: true } => {
            (choices.first()?.first()?, true)
        }
        node => (node, false),
    };
    let Node::Hole(name) = first else { return None };
    let are_patterns = name == "pattern";
    let are_channels = are_patterns || matches!(name.as_str(), "channel" | "shardchannel");
    are_channels.then_some(ChannelWords { first: words, to_end, are_patterns })
}

const KEY_HOLES: [&str; 14] = [
    "key",
    "key1",
    "key2",
    "destination",
    "source",
    "newkey",
    "destkey",
    "sourcekey",
    "storekey",
    "srckey",
    "dstkey",
    "key-or-string",
    "dst",
    "src",
];

/// Whether a place of this name takes a key.
pub fn is_key(name: &str) -> bool {
    KEY_HOLES.contains(&name)
}

/// Finds the keys in the arguments by the names of their places. `words` is the length of the name.
fn derive_keys(args: &[Node], words: usize) -> Vec<KeySpec> {
    let mut found: Vec<KeySpec> = Vec::new();
    let mut at = Some(words);
    for (number, node) in args.iter().enumerate() {
        let after = synopsis::extents(&args[number + 1..]);
        let here = at;
        let extent = synopsis::extent(node);
        at = at.filter(|_| !extent.1).map(|at| at + extent.0);
        let range = |begin: usize, last: i32, step: usize| KeySpec {
            begin: Begin::Index(begin),
            find: Find::Range { last, step, limit: 0 },
            access: &[],
        };
        match node {
            Node::Hole(name) if name == "numkeys" => {
                if let Some(here) = here {
                    let find = Find::KeyNum { number: 0, first: 1, step: 1 };
                    found.push(KeySpec { begin: Begin::Index(here), find, access: &[] });
                }
                return found;
            }
            Node::Hole(name) if is_key(name) => {
                if let Some(here) = here {
                    found.push(range(here, 0, 1));
                }
            }
            Node::Group { choices, repeats: true, .. } => {
                let first = choices.first().map(Vec::as_slice).unwrap_or_default();
                let (Some(Node::Hole(name)), Some(here)) = (first.first(), here) else { continue };
                if is_key(name) && first.len() <= 2 {
                    // `SET key` twice in one family of steps: key value [key value ...]
                    let last = -1 - after.0 as i32;
                    found.push(range(here, last, first.len()));
                }
            }
            Node::Word(word) if word == "STREAMS" => {
                let begin = Begin::Keyword("STREAMS", 1);
                let find = Find::Range { last: -1, step: 1, limit: 2 };
                found.push(KeySpec { begin, find, access: &[] });
                return found;
            }
            Node::Group { choices, optional: false, repeats: false } => {
                // A choice between two forms of the first key.
                let first = choices.first().and_then(|nodes| nodes.first());
                if let (Some(Node::Hole(name)), Some(here)) = (first, here) {
                    if is_key(name) && choices.len() == 1 {
                        found.push(range(here, 0, 1));
                    }
                }
            }
            _ => {}
        }
    }
    found
}
