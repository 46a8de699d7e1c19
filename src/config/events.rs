//! The classes of keyspace events, and the letters that `notify-keyspace-events` names them by.

/// `K`: publish on `__keyspace@<db>__:<key>`.
pub const KEYSPACE: u32 = 1;
/// `E`: publish on `__keyevent@<db>__:<event>`.
pub const KEYEVENT: u32 = 1 << 1;
/// `g`: commands of any type, such as DEL and EXPIRE.
pub const GENERIC: u32 = 1 << 2;
/// `$`: strings.
pub const STRING: u32 = 1 << 3;
/// `l`: lists.
pub const LIST: u32 = 1 << 4;
/// `s`: sets.
pub const SET: u32 = 1 << 5;
/// `h`: hashes.
pub const HASH: u32 = 1 << 6;
/// `z`: sorted sets.
pub const SORTED_SET: u32 = 1 << 7;
/// `x`: a key has expired.
pub const EXPIRED: u32 = 1 << 8;
/// `e`: a key was evicted.
pub const EVICTED: u32 = 1 << 9;
/// `t`: streams.
pub const STREAM: u32 = 1 << 10;
/// `m`: a key was looked up and not found; not in `A`.
pub const KEY_MISS: u32 = 1 << 11;
/// `d`: types that modules define.
pub const MODULE: u32 = 1 << 13;
/// `n`: a key was created; not in `A`.
pub const NEW: u32 = 1 << 14;
/// `A`: every class but `m` and `n`.
pub const ALL: u32 =
    GENERIC | STRING | LIST | SET | HASH | SORTED_SET | EXPIRED | EVICTED | STREAM | MODULE;

const CLASSES: [(u8, u32); 11] = [
    (b'g', GENERIC),
    (b'$', STRING),
    (b'l', LIST),
    (b's', SET),
    (b'h', HASH),
    (b'z', SORTED_SET),
    (b'x', EXPIRED),
    (b'e', EVICTED),
    (b't', STREAM),
    (b'd', MODULE),
    (b'n', NEW),
];
const CHANNELS: [(u8, u32); 3] = [(b'K', KEYSPACE), (b'E', KEYEVENT), (b'm', KEY_MISS)];

/// The classes that `letters` name; `None` where a letter is none.
pub fn parse(letters: &[u8]) -> Option<u32> {
    letters.iter().try_fold(0, |flags, letter| {
        if *letter == b'A' {
            return Some(flags | ALL);
        }
        let mut known = CLASSES.iter().chain(&CHANNELS);
        known.find(|(name, _)| name == letter).map(|(_, flag)| flags | flag)
    })
}

/// The letters of `flags`, in the order in which Redis prints them.
pub fn letters(flags: u32) -> String {
    let mut out = String::new();
    // Redis: `n` is printed only beside single classes, never beside `A`.
    if flags & ALL == ALL {
        out.push('A');
    } else {
        push(&CLASSES, flags, &mut out);
    }
    push(&CHANNELS, flags, &mut out);
    out
}

fn push(classes: &[(u8, u32)], flags: u32, out: &mut String) {
    let set = classes.iter().filter(|(_, flag)| flags & flag != 0);
    out.extend(set.map(|(letter, _)| *letter as char));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_print_as_the_genuine_server_prints_them() {
        let seen = [
            ("KEA", "AKE"),
            ("Kg$", "g$K"),
            ("Ktmdn", "tdnKm"),
            ("g$lshzxetn", "g$lshzxetn"),
            ("AKEmn", "AKEm"),
            ("Kn", "nK"),
            ("", ""),
        ];
        for (given, printed) in seen {
            assert_eq!(parse(given.as_bytes()).map(letters).as_deref(), Some(printed), "{given}");
        }
        assert_eq!(parse(b"KQ"), None);
    }
}
