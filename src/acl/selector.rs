//! A selector: commands, keys and channels that are allowed together.
//!
//! Commands are a bitmap over the table; the rules that made it are kept beside it in their order,
//! because that is how people want to read them again. A later rule about a command takes the
//! place of an earlier one, so the list does not grow with every change.
//!
//! Invariant: the rules, applied in order to a selector that begins with `+@all` or `-@all`, give
//! the bitmap and the first arguments.

use super::demand::{Demand, Denial, Needs, Reason};
use super::vocabulary::Vocabulary;
use crate::types::glob::glob_match;
use std::collections::BTreeMap;

/// A pattern of keys, and what may be done with those that match it.
#[derive(Clone, Debug)]
pub struct KeyPattern {
    /// The pattern.
    pub pattern: Box<[u8]>,
    /// What it allows.
    pub allows: Needs,
}

impl KeyPattern {
    /// As it is written.
    pub fn text(&self) -> Vec<u8> {
        let sign: &[u8] = match (self.allows.cover(Needs::READ), self.allows.cover(Needs::WRITE)) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        };
        [sign, &self.pattern].concat()
    }
}

/// A rule about commands: a name or a category in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allows: bool,
    name: Vec<u8>,
}

/// What is allowed together.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// `allkeys`
    all_keys: bool,
    /// `allchannels`
    all_channels: bool,
    /// `+@all` without any command taken away after it: nobody need look at the bitmap.
    all_commands: bool,
    /// `+@all` came after `-@all`: commands that are not there yet would be allowed.
    begins_with_all: bool,
    commands: Vec<u64>,
    first_args: BTreeMap<usize, Vec<Vec<u8>>>,
    keys: Vec<KeyPattern>,
    channels: Vec<Box<[u8]>>,
    rules: Vec<CommandRule>,
}

impl Selector {
    /// Nothing is allowed, or nothing but all channels.
    pub fn new(all_channels: bool) -> Selector {
        Selector { all_channels, ..Selector::default() }
    }

    /// Everything is allowed.
    pub fn may_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// `+@all` or `-@all`.
    pub(super) fn set_all_commands(&mut self, allows: bool, vocabulary: &Vocabulary) {
        self.commands = vec![if allows { u64::MAX } else { 0 }; vocabulary.len().div_ceil(64)];
        self.all_commands = allows;
        self.begins_with_all = allows;
        self.first_args.clear();
        self.rules.clear();
    }

    /// One command and its subcommands.
    pub(super) fn set_command(&mut self, id: usize, allows: bool, vocabulary: &Vocabulary) {
        self.set_bit(id, allows);
        self.first_args.remove(&id);
        for &subcommand in vocabulary.subcommands(id) {
            self.set_bit(subcommand, allows);
        }
    }

    fn set_bit(&mut self, id: usize, allows: bool) {
        let (word, bit) = (id / 64, 1 << (id % 64));
        if self.commands.len() <= word {
            self.commands.resize(word + 1, 0);
        }
        if allows {
            self.commands[word] |= bit;
        } else {
            self.commands[word] &= !bit;
            self.all_commands = false;
        }
    }

    /// A first argument with which a command that is not allowed may be run all the same.
    pub(super) fn add_first_arg(&mut self, id: usize, arg: &[u8]) {
        let known = self.first_args.entry(id).or_default();
        if !known.iter().any(|one| one.eq_ignore_ascii_case(arg)) {
            known.push(arg.to_vec());
        }
    }

    /// Notes a rule; what it makes pointless is forgotten: the same name, and its subcommands.
    pub(super) fn note_rule(&mut self, name: &[u8], allows: bool) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|rule| match rule.name.strip_prefix(&name[..]) {
            Some(rest) => !(rest.is_empty() || rest.starts_with(b"|")),
            None => true,
        });
        self.rules.push(CommandRule { allows, name });
    }

    /// All keys or none; patterns are forgotten.
    pub(super) fn set_all_keys(&mut self, allows: bool) {
        self.all_keys = allows;
        self.keys.clear();
    }

    /// All channels or none; patterns are forgotten.
    pub(super) fn set_all_channels(&mut self, allows: bool) {
        self.all_channels = allows;
        self.channels.clear();
    }

    /// Whether patterns of keys would be pointless.
    pub(super) fn has_all_keys(&self) -> bool {
        self.all_keys
    }

    /// Whether patterns of channels would be pointless.
    pub(super) fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    /// A pattern of keys; rights on one that is there already are added to it.
    pub(super) fn add_keys(&mut self, pattern: &[u8], allows: Needs) {
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => known.allows = known.allows.and(allows),
            None => self.keys.push(KeyPattern { pattern: pattern.into(), allows }),
        }
    }

    /// A pattern of channels.
    pub(super) fn add_channels(&mut self, pattern: &[u8]) {
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
    }

    /// Patterns of channels; `None` where all are allowed.
    pub(super) fn channel_patterns(&self) -> Option<&[Box<[u8]>]> {
        (!self.all_channels).then_some(&self.channels)
    }

    /// Whether it allows a request.
    pub(super) fn judge(&self, demand: &Demand<'_>) -> Result<(), Denial> {
        if !self.all_commands && !demand.is_open && !self.may_run(demand) {
            return Err(Denial { reason: Reason::Command, at: 0 });
        }
        if !self.all_keys {
            for key in demand.keys() {
                let name = demand.words.get(key.at).copied().unwrap_or_default();
                if !self.may_use(name, key.needs) {
                    return Err(Denial { reason: Reason::Key, at: key.at });
                }
            }
        }
        if let (false, Some(channels)) = (self.all_channels, demand.channels) {
            for (at, name) in demand.channel_words() {
                if !admits_channel(&self.channels, name, channels.are_patterns) {
                    return Err(Denial { reason: Reason::Channel, at });
                }
            }
        }
        Ok(())
    }

    fn may_run(&self, demand: &Demand<'_>) -> bool {
        let id = demand.command;
        if self.commands.get(id / 64).is_some_and(|word| word & 1 << (id % 64) != 0) {
            return true;
        }
        let (Some(known), Some(arg)) = (self.first_args.get(&id), demand.words.get(1)) else {
            return false;
        };
        known.iter().any(|one| one.eq_ignore_ascii_case(until_nul(arg)))
    }

    fn may_use(&self, key: &[u8], needs: Needs) -> bool {
        let admits = |known: &KeyPattern| {
            known.allows.cover(needs) && glob_match(&known.pattern, key, false)
        };
        self.keys.iter().any(admits)
    }

    /// Whether every key there is may be read.
    pub(super) fn reads_all_keys(&self) -> bool {
        let is_all =
            |known: &KeyPattern| known.allows.cover(Needs::READ) && *known.pattern == *b"*";
        self.all_keys || self.keys.iter().any(is_all)
    }

    /// The rules about commands: `+@all` or `-@all`, and what follows.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = if self.begins_with_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.name);
        }
        text
    }

    /// The patterns of keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let texts: Vec<Vec<u8>> = self.keys.iter().map(KeyPattern::text).collect();
        texts.join(&b' ')
    }

    /// The patterns of channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let texts: Vec<Vec<u8>> =
            self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()).collect();
        texts.join(&b' ')
    }

    /// All of it, as one would write it.
    pub fn describe(&self) -> Vec<u8> {
        let channels: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let parts = [
            self.describe_keys(),
            channels.to_vec(),
            self.describe_channels(),
            self.describe_commands(),
        ];
        let given: Vec<&[u8]> =
            parts.iter().map(Vec::as_slice).filter(|part| !part.is_empty()).collect();
        given.join(&b' ')
    }
}

/// Whether one of `patterns` admits a channel. A pattern to subscribe to is admitted by itself
/// only: whether one pattern covers another nobody can tell.
pub(super) fn admits_channel(
    patterns: &[impl AsRef<[u8]>],
    channel: &[u8],
    is_pattern: bool,
) -> bool {
    patterns.iter().any(|known| {
        let known = known.as_ref();
        if is_pattern {
            known == until_nul(channel)
        } else {
            glob_match(known, channel, false)
        }
    })
}

/// Redis compares some words as C strings, which end at the first zero byte.
pub(super) fn until_nul(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or(word)
}
