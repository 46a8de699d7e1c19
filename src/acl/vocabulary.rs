//! The names that rules may use: commands with their subcommands, and categories.
//!
//! Invariant: a command's number is its number in the table of commands; it
//! is computed once for all servers.

use std::collections::HashMap;

/// Categories of commands, in Redis's order.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// A command as rules see it.
#[derive(Debug)]
struct Word {
    name: String,
    is_subcommand: bool,
    subcommands: Vec<usize>,
}

/// All names.
#[derive(Debug, Default)]
pub struct Vocabulary {
    words: Vec<Word>,
    by_name: HashMap<Vec<u8>, usize>,
    /// Commands of each category.
    categories: HashMap<&'static str, Vec<usize>>,
}

impl Vocabulary {
    /// From the full names (`client|kill`) of all commands in the order of their numbers, each
    /// with its categories. A container stands before its subcommands.
    pub fn new(commands: impl Iterator<Item = (String, Vec<&'static str>)>) -> Vocabulary {
        let mut all = Vocabulary::default();
        for (id, (name, categories)) in commands.enumerate() {
            let container = name.split_once('|').map(|(container, _)| container);
            let container = container.and_then(|name| all.by_name.get(name.as_bytes()).copied());
            if let Some(container) = container.and_then(|id| all.words.get_mut(id)) {
                container.subcommands.push(id);
            }
            all.by_name.insert(name.clone().into_bytes(), id);
            for category in categories {
                all.categories.entry(category).or_default().push(id);
            }
            let is_subcommand = container.is_some();
            all.words.push(Word { name, is_subcommand, subcommands: Vec::new() });
        }
        all
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The command with this full name, in any case.
    pub fn command(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The full name of a command.
    pub fn name(&self, id: usize) -> &str {
        self.words.get(id).map_or("", |word| &word.name)
    }

    /// The numbers of a container's subcommands.
    pub fn subcommands(&self, id: usize) -> &[usize] {
        self.words.get(id).map_or(&[], |word| &word.subcommands)
    }

    /// Whether it belongs to a container.
    pub fn is_subcommand(&self, id: usize) -> bool {
        self.words.get(id).is_some_and(|word| word.is_subcommand)
    }

    /// The commands in a category; `None` when there is no such category.
    pub fn category(&self, name: &[u8]) -> Option<&[usize]> {
        let name = CATEGORIES.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        Some(self.categories.get(name).map_or(&[], Vec::as_slice))
    }
}
