//! Users and what they may do.
//!
//! A [`User`] is a value: passwords as digests, and [`Selector`]s, each a bitmap over the table of
//! commands with patterns of keys and channels. A client holds the user that it logged in as; when
//! a user changes, a new value takes the old one's place here and in its clients, so a check looks
//! nothing up. [`rules`] reads the words of ACL SETUSER, [`file`](mod@file) whole files of users,
//! and both describe a user in the words that would make it again.
//!
//! What a command is stands in the table of commands, which this room does not know: it is given
//! names and categories as a [`Vocabulary`], and what a request touches as a [`Demand`].
//!
//! Invariant: there always is a user `default`, and `users` holds each user under its own name.
//! Nothing here knows clients: who is told of a change is `settle`'s business.

pub mod demand;
pub mod file;
pub mod log;
pub mod password;
pub mod rules;
pub mod selector;
pub mod start;
pub mod user;
pub mod vocabulary;

pub use demand::{ChannelWords, Demand, Denial, KeyUse, KeyUses, Needs, Reason};
pub use rules::{RuleError, Rules};
pub use selector::Selector;
pub use user::User;
pub use vocabulary::{Vocabulary, CATEGORIES};

use crate::error::filled;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the user that every connection begins as.
pub const DEFAULT: &[u8] = b"default";

/// Users by name.
pub type Users = BTreeMap<Box<[u8]>, Arc<User>>;

/// All users, and the log of refusals.
#[derive(Debug)]
pub struct Acl {
    users: Users,
    default: Arc<User>,
    /// How rules are read.
    pub rules: Rules,
    /// Refusals.
    pub log: log::AclLog,
}

impl Acl {
    /// The default user alone, who may do everything without a password.
    pub fn new(rules: Rules) -> Acl {
        let default = Arc::new(User::open_default(&rules));
        let users = Users::from([(DEFAULT.into(), default.clone())]);
        Acl { users, default, rules, log: log::AclLog::default() }
    }

    /// A user by name.
    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users in the order of their names.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// The user that connections begin as.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether a connection has to log in before it may do anything.
    pub fn needs_login(&self) -> bool {
        !self.default.nopass || !self.default.enabled
    }

    /// The user that `words` make of the one called `name`, or of a new one. All words count, or
    /// none; the text of a refusal is Redis's.
    pub fn changed(&self, name: &[u8], words: &[&[u8]]) -> Result<User, Vec<u8>> {
        let mut user = match self.users.get(name) {
            Some(user) => User::clone(user),
            None => User::new(name, &self.rules),
        };
        let merged = rules::merge_selectors(words).map_err(|at| {
            let opening = words.get(at).copied().unwrap_or_default();
            filled("Unmatched parenthesis in acl selector starting at '{}'.", &[opening])
        })?;
        for word in &merged {
            self.rules.apply(&mut user, word).map_err(|error| {
                let words = [&word[..], error.text().as_bytes()];
                filled("Error in ACL SETUSER modifier '{}': {}", &words)
            })?;
        }
        Ok(user)
    }

    /// Lines for the log about rules that may stop to be read.
    pub fn deprecations(&self) -> impl Iterator<Item = String> + '_ {
        self.users.values().flat_map(|user| self.rules.deprecations(&user.line()))
    }

    /// Puts a user in the place of the one of its name, which it returns.
    pub fn put(&mut self, user: Arc<User>) -> Option<Arc<User>> {
        if *user.name == *DEFAULT {
            self.default = user.clone();
        }
        self.users.insert(user.name.clone(), user)
    }

    /// Removes a user; the default user stays.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT {
            return None;
        }
        self.users.remove(name)
    }

    /// Puts other users in the place of all. Without a default user among them there is one that
    /// may do everything. Returns those of before.
    pub fn put_all(&mut self, mut users: Users) -> Users {
        let open = || Arc::new(User::open_default(&self.rules));
        self.default = users.entry(DEFAULT.into()).or_insert_with(open).clone();
        std::mem::replace(&mut self.users, users)
    }

    /// The default user with this password alone, or with none when it is empty.
    pub fn default_with_password(&self, password: &[u8]) -> User {
        let mut user = User::clone(&self.default);
        user.set_password(password);
        user
    }

    /// The user that may log in with this name and password.
    pub fn login(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name).filter(|user| user.admits(password))
    }
}
