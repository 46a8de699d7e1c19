//! What a request asks of the rights of its user, and how it is refused.

use smallvec::SmallVec;
use std::cell::OnceCell;

/// What is done with a key: bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Nothing is learnt of the value (EXISTS): any right on the key will do.
    pub const NONE: Needs = Needs(0);
    /// The value, or a part of it, can be learnt.
    pub const READ: Needs = Needs(1);
    /// The value changes.
    pub const WRITE: Needs = Needs(2);
    /// Both.
    pub const BOTH: Needs = Needs(3);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Whether rights of this kind are enough for `needs`.
    pub const fn cover(self, needs: Needs) -> bool {
        self.0 & needs.0 == needs.0
    }
}

/// A word of a request that is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which word.
    pub at: usize,
    /// What is done with it.
    pub needs: Needs,
}

/// All keys of a request.
pub type KeyUses = SmallVec<[KeyUse; 4]>;

/// The words of a command that are channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelWords {
    /// The first one.
    pub first: usize,
    /// All others too.
    pub to_end: bool,
    /// They are patterns: only the very pattern in the rules admits them.
    pub are_patterns: bool,
}

/// A request as rights see it.
pub struct Demand<'a> {
    /// The number of the command.
    pub command: usize,
    /// Everybody may run it, as far as commands go: AUTH and the like.
    pub is_open: bool,
    /// All words.
    pub words: &'a [&'a [u8]],
    /// Where channels stand.
    pub channels: Option<ChannelWords>,
    find_keys: &'a dyn Fn() -> KeyUses,
    keys: OnceCell<KeyUses>,
}

impl<'a> Demand<'a> {
    /// `find_keys` is asked once at most, and only when a pattern of keys is in the way.
    pub fn new(
        command: usize,
        is_open: bool,
        words: &'a [&'a [u8]],
        channels: Option<ChannelWords>,
        find_keys: &'a dyn Fn() -> KeyUses,
    ) -> Demand<'a> {
        Demand { command, is_open, words, channels, find_keys, keys: OnceCell::new() }
    }

    /// The keys.
    pub fn keys(&self) -> &[KeyUse] {
        self.keys.get_or_init(self.find_keys)
    }

    /// The channels, with the numbers of their words.
    pub fn channel_words(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let (first, count) = match self.channels {
            Some(ChannelWords { first, to_end: true, .. }) => (first, usize::MAX),
            Some(ChannelWords { first, .. }) => (first, 1),
            None => (0, 0),
        };
        self.words.iter().copied().enumerate().skip(first).take(count)
    }
}

/// Why a request is refused, the gravest reason last: that is the one which is told when selectors
/// refuse for different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// The name or the password.
    Login,
    /// A channel.
    Channel,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The word that is to blame; 0 when it is the command.
    pub at: usize,
}

impl Denial {
    /// The sentence that tells it, with the key or the channel when `verbose`.
    pub fn text(&self, user: &[u8], command: &str, words: &[&[u8]], verbose: bool) -> Vec<u8> {
        let word = words.get(self.at).copied().unwrap_or_default();
        match (self.reason, verbose) {
            (Reason::Command | Reason::Login, _) => {
                let command = command.as_bytes();
                [b"User ", user, b" has no permissions to run the '", command, b"' command"]
                    .concat()
            }
            (Reason::Key, true) => {
                [b"User ", user, b" has no permissions to access the '", word, b"' key"].concat()
            }
            (Reason::Key, false) => b"No permissions to access a key".to_vec(),
            (Reason::Channel, true) => {
                [b"User ", user, b" has no permissions to access the '", word, b"' channel"]
                    .concat()
            }
            (Reason::Channel, false) => b"No permissions to access a channel".to_vec(),
        }
    }
}
