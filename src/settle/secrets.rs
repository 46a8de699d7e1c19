//! What of a command MONITOR and SLOWLOG may show.
//!
//! Invariant: options are read as their command reads them, so that a name or a key that is
//! spelled like an option leaves no password uncovered behind it.

use crate::command::Spec;
use crate::config::Config;

const HIDDEN: &[u8] = b"(redacted)";

/// The words of a command as logs may show them: passwords replaced.
pub(super) fn redacted<'a>(spec: &Spec, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut words = argv.to_vec();
    cover(&spec.name, argv, &mut |at| {
        if let Some(word) = words.get_mut(at) {
            *word = HIDDEN;
        }
    });
    words
}

/// Hides the secrets of the command `name` by their numbers in `argv`.
fn cover(name: &str, argv: &[&[u8]], hide: &mut dyn FnMut(usize)) {
    match name {
        "auth" => (1..argv.len()).for_each(hide),
        "acl|setuser" | "acl|deluser" | "acl|getuser" => (2..argv.len()).for_each(hide),
        "acl|dryrun" => {
            // Redis shows the whole of what is tried, passwords too.
            let tried = argv.get(3..).unwrap_or_default();
            cover(&called(tried), tried, &mut |at| hide(at + 3));
        }
        "hello" => options(argv, 2, &[(b"auth", 2, true), (b"setname", 1, false)], hide),
        "config|set" => {
            for (at, pair) in argv.chunks(2).enumerate().skip(1) {
                if pair.first().is_some_and(|name| Config::is_secret(name)) {
                    hide(2 * at + 1);
                }
            }
        }
        "migrate" => {
            const OPTIONS: &[Shape] = &[
                (b"copy", 0, false),
                (b"replace", 0, false),
                (b"auth", 1, true),
                (b"auth2", 2, true),
            ];
            options(argv, 6, OPTIONS, hide);
        }
        _ => {}
    }
}

/// The name of what ACL DRYRUN is asked to try, in the table's spelling.
fn called(argv: &[&[u8]]) -> String {
    let word = |at: usize| argv.get(at).map_or_else(String::new, |word| lower(word));
    match word(0).as_str() {
        container @ ("acl" | "config") => format!("{container}|{}", word(1)),
        name => name.to_string(),
    }
}

fn lower(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_lowercase()
}

/// Name of an option, how many words follow it, and whether these are secret.
type Shape = (&'static [u8], usize, bool);

/// Walks over options until one is unknown. The last may be cut short: its words are hidden too.
fn options(argv: &[&[u8]], from: usize, shapes: &[Shape], hide: &mut dyn FnMut(usize)) {
    let mut at = from;
    while let Some(word) = argv.get(at) {
        let shape = shapes.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name));
        let Some((_, following, secret)) = shape else { return };
        let end = at + following;
        if *secret {
            (at + 1..=end).for_each(&mut *hide);
        }
        at = end + 1;
    }
}
