//! One user: a name, passwords, and selectors, any one of which may admit a request.

use super::demand::{Demand, Denial, Reason};
use super::password::Digest;
use super::rules::{RuleError, Rules};
use super::selector::{admits_channel, Selector};
use crate::config::words;

/// A user. To change one is to put another value in its place.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: Box<[u8]>,
    /// One may log in as this user.
    pub enabled: bool,
    /// Any password will do.
    pub nopass: bool,
    /// RESTORE trusts what this user brings.
    pub skips_sanitizing: bool,
    passwords: Vec<Digest>,
    /// What stands outside of parentheses.
    pub root: Selector,
    /// What stands in parentheses.
    pub selectors: Vec<Selector>,
}

impl User {
    /// A user who may do nothing, and not even log in.
    pub fn new(name: &[u8], rules: &Rules) -> User {
        User {
            name: name.into(),
            enabled: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::new(rules.all_channels),
            selectors: Vec::new(),
        }
    }

    /// The default user of a server that nobody has configured.
    pub fn open_default(rules: &Rules) -> User {
        let mut user = User::new(super::DEFAULT, rules);
        user.root.set_all_commands(true, rules.vocabulary);
        user.root.set_all_keys(true);
        user.root.set_all_channels(true);
        user.enabled = true;
        user.nopass = true;
        user
    }

    /// This password alone; none, when it is empty.
    pub fn set_password(&mut self, password: &[u8]) {
        self.forget_passwords();
        if password.is_empty() {
            self.nopass = true;
        } else {
            self.add_password(Digest::of(password));
        }
    }

    pub(super) fn forget_passwords(&mut self) {
        self.passwords.clear();
        self.nopass = false;
    }

    pub(super) fn add_password(&mut self, digest: Digest) {
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
        self.nopass = false;
    }

    pub(super) fn remove_password(&mut self, digest: Digest) -> Result<(), RuleError> {
        let before = self.passwords.len();
        self.passwords.retain(|known| *known != digest);
        if self.passwords.len() == before {
            return Err(RuleError::NoSuchPassword);
        }
        Ok(())
    }

    /// The digests of its passwords.
    pub fn passwords(&self) -> &[Digest] {
        &self.passwords
    }

    /// Whether one may log in as this user with this password.
    pub fn admits(&self, password: &[u8]) -> bool {
        if !self.enabled || self.nopass {
            return self.enabled;
        }
        let given = Digest::of(password);
        // All of them are compared, so that nobody learns which.
        self.passwords.iter().fold(false, |found, known| found | known.is(&given))
    }

    /// Whether it may do everything: then nothing else need be asked.
    pub fn may_all(&self) -> bool {
        self.all_selectors().any(Selector::may_all)
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether it may do what a request asks: all of it by one selector. Of several refusals the
    /// one is told that came furthest.
    pub fn judge(&self, demand: &Demand<'_>) -> Result<(), Denial> {
        let mut told = Denial { reason: Reason::Command, at: 0 };
        for selector in self.all_selectors() {
            let Err(denial) = selector.judge(demand) else { return Ok(()) };
            if (denial.reason, denial.at) > (told.reason, told.at) {
                told = denial;
            }
        }
        Err(told)
    }

    /// Whether a selector that allows the request also allows to read every key there is.
    pub fn reads_all_keys(&self, demand: &Demand<'_>) -> bool {
        self.all_selectors()
            .any(|selector| selector.reads_all_keys() && selector.judge(demand).is_ok())
    }

    /// Whether who listens to these channels, and hears all that `before` could, must be cut off
    /// when it becomes this user. `listens` gives names, and whether they are patterns.
    pub fn silences(&self, before: &User, listens: Vec<(Box<[u8]>, bool)>) -> bool {
        let Some(now) = self.channel_patterns() else { return false };
        let covers = |old: &Selector| {
            let old = old.channel_patterns();
            old.is_some_and(|old| old.iter().all(|pattern| now.contains(&&pattern[..])))
        };
        if before.all_selectors().all(covers) {
            return false;
        }
        listens.iter().any(|(name, is_pattern)| !admits_channel(&now, name, *is_pattern))
    }

    /// Patterns of channels of all selectors; `None` where one of them allows all.
    fn channel_patterns(&self) -> Option<Vec<&[u8]>> {
        let mut all: Vec<&[u8]> = Vec::new();
        for selector in self.all_selectors() {
            all.extend(selector.channel_patterns()?.iter().map(|pattern| &pattern[..]));
        }
        Some(all)
    }

    /// Its switches, as they are described.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(match self.skips_sanitizing {
            true => "skip-sanitize-payload",
            false => "sanitize-payload",
        });
        flags
    }

    /// The words that would make this user again, in one line.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts = self.describe_outside();
        parts.extend(self.selectors.iter().map(|one| [b"(", &one.describe()[..], b")"].concat()));
        parts.join(&b' ')
    }

    /// What stands outside of parentheses.
    fn describe_outside(&self) -> Vec<Vec<u8>> {
        let flags = self.flags();
        let mut parts: Vec<Vec<u8>> = flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords.iter().map(|one| [b"#", one.text().as_bytes()].concat()));
        parts.push(self.root.describe());
        parts
    }

    /// The name and these words as a line of a configuration file: there, quotes have a meaning.
    pub fn config_words(&self) -> String {
        let outside = self.describe_outside().join(&b' ');
        let mut words = vec![config_word(&self.name), quoted_words(&outside)];
        for selector in &self.selectors {
            let inside = selector.describe();
            let quoted = quoted_words(&inside);
            // One word, so that what its own words are is found in a second look.
            words.push(if quoted.as_bytes() == inside {
                format!("({quoted})")
            } else {
                config_word(format!("({quoted})").as_bytes())
            });
        }
        words.join(" ")
    }

    /// The line of a file that makes this user again.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &self.name[..], b" ", &self.describe()].concat()
    }
}

fn quoted_words(words: &[u8]) -> String {
    let words: Vec<String> = words.split(|&byte| byte == b' ').map(config_word).collect();
    words.join(" ")
}

/// In quotes where it would be read as something else without them.
fn config_word(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'');
    match std::str::from_utf8(word) {
        Ok(text) if word.iter().all(is_plain) => text.to_string(),
        _ => words::quote(word),
    }
}
