//! Files of users, and the `user` lines of a configuration: text to users and back.
//!
//! A file is read as a whole before anything changes: one bad line, and everything stays as it
//! was. Redis keeps no comments in such files, as they would not outlive ACL SAVE.

use super::rules::{has_blanks, merge_selectors, printed, RuleError, Rules};
use super::user::User;
use super::Users;
use crate::config::words::trim;
use crate::error::filled;
use std::sync::Arc;

/// Reads the text of the file called `name`. The refusal is one line with everything found wrong.
pub fn read(name: &str, text: &[u8], rules: &Rules) -> Result<Users, Vec<u8>> {
    let mut users = Users::new();
    let mut faults = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = trim(line);
        if !line.is_empty() {
            read_line(name, index + 1, line, rules, &mut users, &mut faults);
        }
    }
    if faults.is_empty() {
        return Ok(users);
    }
    faults.extend_from_slice(
        b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(faults)
}

fn read_line(
    name: &str,
    number: usize,
    line: &[u8],
    rules: &Rules,
    users: &mut Users,
    faults: &mut Vec<u8>,
) {
    let number = number.to_string();
    let place = [name.as_bytes(), number.as_bytes()];
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let (user_name, words) = match &words[..] {
        [first, user_name, words @ ..] if *first == b"user" => (*user_name, words),
        _ => {
            let fault = "{}:{} should start with user keyword followed by the username. ";
            faults.extend(filled(fault, &place));
            return;
        }
    };
    if has_blanks(user_name) {
        // Redis: the quotation mark before the name of the file is its own.
        let fault = "'{}:{}: username '{}' contains invalid characters. ";
        faults.extend(filled(fault, &[place[0], place[1], user_name]));
        return;
    }
    if users.contains_key(user_name) {
        let fault = "WARNING: Duplicate user '{}' found on line {}. ";
        faults.extend(filled(fault, &[user_name, place[1]]));
        return;
    }
    let mut user = User::new(user_name, rules);
    let Ok(merged) = merge_selectors(words) else {
        faults.extend(filled("{}:{}: Unmatched parenthesis in selector definition.", &place));
        return;
    };
    let mut told = false;
    for word in &merged {
        match rules.apply(&mut user, trim(word)) {
            Ok(()) => {}
            Err(RuleError::Unknown) => {
                let why = RuleError::Unknown.text().as_bytes();
                let fault = "{}:{}: Error in applying operation '{}': {}. ";
                faults.extend(filled(fault, &[place[0], place[1], word, why]));
            }
            // What else is wrong may follow from the first fault, and may show a secret.
            Err(error) if !told => {
                let why = error.text().as_bytes();
                faults.extend(filled("{}:{}: {}. ", &[place[0], place[1], why]));
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
