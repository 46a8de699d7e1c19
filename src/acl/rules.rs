//! The words of ACL SETUSER: what each does to a user.
//!
//! Redis reads most of them as C strings: what follows a zero byte is not seen, save in passwords
//! and patterns. // Redis: pinned by the session of ACL SETUSER.

use super::demand::Needs;
use super::password::Digest;
use super::selector::{until_nul, Selector};
use super::user::User;
use super::vocabulary::Vocabulary;
use crate::config::words;

/// Why a word is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command or category.
    Unknown,
    /// The word makes no sense.
    Syntax,
    /// A pattern of keys although all are allowed.
    KeysAreAll,
    /// A pattern of channels although all are allowed.
    ChannelsAreAll,
    /// The password to be removed is none of the user's.
    NoSuchPassword,
    /// Not a digest.
    BadDigest,
    /// `+container|subcommand|argument`.
    ArgumentOfSubcommand,
}

impl RuleError {
    /// In Redis's words.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAreAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and \
                 does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAreAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                 does not have any effect. Try 'resetchannels' to start with an empty list of \
                 channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadDigest => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            RuleError::ArgumentOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
        }
    }
}

/// How rules are read.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The names of commands.
    pub vocabulary: &'static Vocabulary,
    /// New users may use all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// Words that mean themselves, in any case.
const WORDS: [&str; 14] = [
    "allchannels",
    "allcommands",
    "allkeys",
    "clearselectors",
    "nocommands",
    "nopass",
    "off",
    "on",
    "reset",
    "resetchannels",
    "resetkeys",
    "resetpass",
    "sanitize-payload",
    "skip-sanitize-payload",
];

impl Rules {
    /// Applies one word. A selector in parentheses is one word.
    pub fn apply(&self, user: &mut User, word: &[u8]) -> Result<(), RuleError> {
        match keyword(word) {
            None if word.is_empty() => {}
            Some("on") => user.enabled = true,
            Some("off") => user.enabled = false,
            Some("skip-sanitize-payload") => user.skips_sanitizing = true,
            Some("sanitize-payload") => user.skips_sanitizing = false,
            Some("nopass") => user.set_password(b""),
            Some("resetpass") => user.forget_passwords(),
            Some("clearselectors") => user.selectors.clear(),
            Some("reset") => *user = User::new(&user.name, self),
            Some(_) => self.select(&mut user.root, word)?,
            None => match word {
                [b'>', password @ ..] => user.add_password(Digest::of(password)),
                [b'#', digest @ ..] => user.add_password(read_digest(digest)?),
                [b'<', password @ ..] => user.remove_password(Digest::of(password))?,
                [b'!', digest @ ..] => user.remove_password(read_digest(digest)?)?,
                [b'(', inside @ .., b')'] => {
                    let mut selector = Selector::new(self.all_channels);
                    // Redis: what cannot be split into words makes a selector without rights.
                    for word in words::split(inside).unwrap_or_default() {
                        self.select(&mut selector, &word)?;
                    }
                    user.selectors.push(selector);
                }
                _ => self.select(&mut user.root, word)?,
            },
        }
        Ok(())
    }

    /// Lines for the log about the rules in `text` that allow a command with one first argument
    /// only.
    pub fn deprecations(&self, text: &[u8]) -> Vec<String> {
        let is_first_arg = |word: &&[u8]| {
            let Some(name) = word.strip_prefix(b"+") else { return false };
            let bar = name.iter().rposition(|&byte| byte == b'|');
            let command = bar.and_then(|bar| self.vocabulary.command(&name[..bar]));
            command.is_some_and(|id| {
                !self.vocabulary.is_subcommand(id) && self.vocabulary.subcommands(id).is_empty()
            })
        };
        let line = |word: &[u8]| {
            format!(
                "Deprecation warning: Allowing a first arg of an otherwise blocked command is a \
                 misuse of ACL and may get disabled in the future (offender: {})",
                printed(word)
            )
        };
        let words = text.split(|byte| matches!(byte, b' ' | b'(' | b')'));
        words.filter(is_first_arg).map(line).collect()
    }

    /// Applies one word about commands, keys or channels.
    fn select(&self, selector: &mut Selector, word: &[u8]) -> Result<(), RuleError> {
        match keyword(word) {
            Some("allkeys") => selector.set_all_keys(true),
            Some("resetkeys") => selector.set_all_keys(false),
            Some("allchannels") => selector.set_all_channels(true),
            Some("resetchannels") => selector.set_all_channels(false),
            Some("allcommands") => selector.set_all_commands(true, self.vocabulary),
            Some("nocommands") => selector.set_all_commands(false, self.vocabulary),
            Some(_) => return Err(RuleError::Syntax),
            None => match word {
                [b'~', ..] if until_nul(word) == b"~*" => selector.set_all_keys(true),
                [b'&', ..] if until_nul(word) == b"&*" => selector.set_all_channels(true),
                [b'~' | b'%', ..] => return key_pattern(selector, word),
                [b'&', ..] if selector.has_all_channels() => return Err(RuleError::ChannelsAreAll),
                [b'&', pattern @ ..] => selector.add_channels(without_blanks(pattern)?),
                [sign @ (b'+' | b'-'), b'@', ..] => {
                    return self.category(selector, until_nul(&word[1..]), *sign == b'+')
                }
                [b'+', name @ ..] => return self.allow(selector, until_nul(name)),
                [b'-', name @ ..] => {
                    let name = until_nul(name);
                    let id = self.vocabulary.command(name).ok_or(RuleError::Unknown)?;
                    selector.set_command(id, false, self.vocabulary);
                    selector.note_rule(name, false);
                }
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    /// `name` begins with `@`.
    fn category(&self, to: &mut Selector, name: &[u8], allows: bool) -> Result<(), RuleError> {
        if name.eq_ignore_ascii_case(b"@all") {
            to.set_all_commands(allows, self.vocabulary);
            return Ok(());
        }
        let ids = self.vocabulary.category(&name[1..]).ok_or(RuleError::Unknown)?;
        for &id in ids {
            to.set_command(id, allows, self.vocabulary);
        }
        to.note_rule(name, allows);
        Ok(())
    }

    /// `+name`, `+container|subcommand` and `+command|first-argument`.
    fn allow(&self, selector: &mut Selector, name: &[u8]) -> Result<(), RuleError> {
        let bar = name.iter().rposition(|&byte| byte == b'|');
        let Some(bar) = bar else {
            let id = self.vocabulary.command(name).ok_or(RuleError::Unknown)?;
            selector.set_command(id, true, self.vocabulary);
            selector.note_rule(name, true);
            return Ok(());
        };
        let (command, argument) = (&name[..bar], &name[bar + 1..]);
        let id = self.vocabulary.command(command).ok_or(RuleError::Unknown)?;
        if self.vocabulary.is_subcommand(id) {
            return Err(RuleError::ArgumentOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if self.vocabulary.subcommands(id).is_empty() {
            // Such a rule could not be read back from where it is described.
            let is_strange = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'');
            if argument.iter().any(is_strange) {
                return Err(RuleError::Syntax);
            }
            selector.add_first_arg(id, argument);
        } else {
            let id = self.vocabulary.command(name).ok_or(RuleError::Unknown)?;
            selector.set_command(id, true, self.vocabulary);
        }
        selector.note_rule(name, true);
        Ok(())
    }
}

/// One of [`WORDS`], if the word is one.
fn keyword(word: &[u8]) -> Option<&'static str> {
    let seen = until_nul(word);
    WORDS.iter().find(|known| seen.eq_ignore_ascii_case(known.as_bytes())).copied()
}

fn read_digest(text: &[u8]) -> Result<Digest, RuleError> {
    Digest::read(text).ok_or(RuleError::BadDigest)
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
fn key_pattern(selector: &mut Selector, word: &[u8]) -> Result<(), RuleError> {
    if selector.has_all_keys() {
        return Err(RuleError::KeysAreAll);
    }
    let (mut allows, mut rest) = (Needs::NONE, &word[1..]);
    if word[0] == b'~' {
        allows = Needs::BOTH;
    } else {
        // Redis: a word that ends before the `~` is a pattern for the empty key.
        while let Some((sign, after)) = rest.split_first() {
            rest = after;
            allows = match sign.to_ascii_uppercase() {
                b'R' if !allows.cover(Needs::READ) => allows.and(Needs::READ),
                b'W' if !allows.cover(Needs::WRITE) => allows.and(Needs::WRITE),
                b'~' if allows != Needs::NONE => break,
                _ => return Err(RuleError::Syntax),
            };
        }
    }
    selector.add_keys(without_blanks(rest)?, allows);
    Ok(())
}

/// A pattern that can be written into a file and read back.
fn without_blanks(pattern: &[u8]) -> Result<&[u8], RuleError> {
    if has_blanks(pattern) {
        return Err(RuleError::Syntax);
    }
    Ok(pattern)
}

/// Whether a name or a pattern could not stand in a line of a file.
pub fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'\t'..=b'\r' | b' ' | 0))
}

/// A word inside of a text for people, as far as C would print it.
pub fn printed(word: &[u8]) -> String {
    crate::error::shown(until_nul(word))
}

/// Makes one word of each selector whose parentheses are spread over several. On failure, the
/// number of the word with the parenthesis that is never closed.
pub fn merge_selectors(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged: Vec<Vec<u8>> = Vec::with_capacity(words.len());
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.iter().enumerate() {
        match &mut open {
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(until_nul(word));
                if word.ends_with(b")") {
                    merged.extend(open.take().map(|(_, selector)| selector));
                }
            }
            None if word.starts_with(b"(") && !word.ends_with(b")") => {
                open = Some((at, word.to_vec()));
            }
            None => merged.push(word.to_vec()),
        }
    }
    match open {
        Some((at, _)) => Err(at),
        None => Ok(merged),
    }
}
