//! Files of users, and the `user` lines of a configuration: text to users and back.
//!
//! A file is read as a whole before anything changes: one bad line, and everything stays as it
//! was. Redis keeps no comments in such files, as they would not outlive ACL SAVE.

use super::rules::{has_blanks, merge_selectors, printed, RuleError, Rules};
use super::user::User;
use super::Users;
use crate::config::words::trim;
use std::sync::Arc;

/// Reads the text of the file called `name`. The refusal is one line with everything found wrong.
pub fn read(name: &str, text: &[u8], rules: &Rules) -> Result<Users, String> {
    let mut users = Users::new();
    let mut faults = String::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = trim(line);
        if !line.is_empty() {
            read_line(name, index + 1, line, rules, &mut users, &mut faults);
        }
    }
    if faults.is_empty() {
        return Ok(users);
    }
    faults.push_str(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(faults)
}

fn read_line(
    name: &str,
    number: usize,
    line: &[u8],
    rules: &Rules,
    users: &mut Users,
    faults: &mut String,
) {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let (user_name, words) = match &words[..] {
        [first, user_name, words @ ..] if *first == b"user" => (*user_name, words),
        _ => {
            faults.push_str(&format!(
                "{name}:{number} should start with user keyword followed by the username. "
            ));
            return;
        }
    };
    let shown = printed(user_name);
    if has_blanks(user_name) {
        // Redis: the quotation mark before the name of the file is its own.
        faults.push_str(&format!(
            "'{name}:{number}: username '{shown}' contains invalid characters. "
        ));
        return;
    }
    if users.contains_key(user_name) {
        faults.push_str(&format!("WARNING: Duplicate user '{shown}' found on line {number}. "));
        return;
    }
    let mut user = User::new(user_name, rules);
    let Ok(merged) = merge_selectors(words) else {
        faults.push_str(&format!("{name}:{number}: Unmatched parenthesis in selector definition."));
        return;
    };
    let mut told = false;
    for word in &merged {
        match rules.apply(&mut user, trim(word)) {
            Ok(()) => {}
            Err(RuleError::Unknown) => {
                let (word, why) = (printed(word), RuleError::Unknown.text());
                faults.push_str(&format!(
                    "{name}:{number}: Error in applying operation '{word}': {why}. "
                ));
            }
            // What else is wrong may follow from the first fault, and may show a secret.
            Err(error) if !told => {
                faults.push_str(&format!("{name}:{number}: {}. ", error.text()));
                told = true;
            }
            Err(_) => {}
        }
    }
    users.insert(user.name.clone(), Arc::new(user));
}

/// The text of a file with these users.
pub fn print<'u>(users: impl Iterator<Item = &'u Arc<User>>) -> Vec<u8> {
    let mut text = Vec::new();
    for user in users {
        text.extend_from_slice(&user.line());
        text.push(b'\n');
    }
    text
}

/// The user of a `user` line of a configuration; `words` are those behind `user`. The refusal is a
/// line of the log.
pub fn configured(words: &[Vec<u8>], rules: &Rules) -> Result<User, String> {
    let (name, words) = words.split_first().ok_or("A user needs a name")?;
    if has_blanks(name) {
        return Err("Spaces not allowed in ACL usernames".to_string());
    }
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut user = User::new(name, rules);
    // The configuration has been looked at when it was read: parentheses are closed.
    for word in merge_selectors(&words).unwrap_or_default() {
        rules.apply(&mut user, &word).map_err(|error| {
            format!(
                "Error loading ACL rule '{}' for the user named '{}': {}",
                printed(&word),
                printed(name),
                error.text()
            )
        })?;
    }
    Ok(user)
}
