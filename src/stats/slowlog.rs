//! SLOWLOG: the last commands that took long, words cut to a bounded size.

use std::collections::VecDeque;

/// Words that an entry keeps.
const WORDS_MAX: usize = 32;
/// Bytes that an entry keeps of a word.
const WORD_BYTES_MAX: usize = 128;

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Never used twice.
    pub id: u64,
    /// When it ran (Unix seconds).
    pub at_s: i64,
    /// How long it took (microseconds).
    pub took_us: u64,
    /// Its words, cut.
    pub words: Vec<Vec<u8>>,
    /// Address of the client.
    pub addr: String,
    /// Name of the client.
    pub name: Vec<u8>,
}

/// The last such commands, the latest first.
#[derive(Clone, Debug, Default)]
pub struct Slowlog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Slowlog {
    /// Remembers a command, and forgets the oldest ones beyond `max`.
    pub fn add<W: AsRef<[u8]>>(
        &mut self,
        max: usize,
        at_s: i64,
        took_us: u64,
        words: &[W],
        (addr, name): (&str, &[u8]),
    ) {
        if max == 0 {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let (addr, name) = (addr.to_string(), name.to_vec());
        self.entries.push_front(Entry { id, at_s, took_us, words: cut(words), addr, name });
        self.entries.truncate(max);
    }

    /// The latest entries first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the oldest entries beyond `max`.
    pub fn shorten(&mut self, max: usize) {
        self.entries.truncate(max);
    }

    /// Forgets all entries; ids go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn cut<W: AsRef<[u8]>>(words: &[W]) -> Vec<Vec<u8>> {
    let kept = if words.len() > WORDS_MAX { WORDS_MAX - 1 } else { words.len() };
    let mut out: Vec<Vec<u8>> = words[..kept].iter().map(|word| cut_word(word.as_ref())).collect();
    if kept < words.len() {
        out.push(format!("... ({} more arguments)", words.len() - kept).into_bytes());
    }
    out
}

fn cut_word(word: &[u8]) -> Vec<u8> {
    if word.len() <= WORD_BYTES_MAX {
        return word.to_vec();
    }
    let more = format!("... ({} more bytes)", word.len() - WORD_BYTES_MAX);
    [&word[..WORD_BYTES_MAX], more.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_ids_stay() {
        let mut log = Slowlog::default();
        for at_s in 0..5 {
            log.add(3, at_s, 10, &["PING"], ("127.0.0.1:1", b"me"));
        }
        let ids: Vec<u64> = log.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [4, 3, 2]);
        log.clear();
        log.add(3, 9, 10, &["PING"], ("", b""));
        assert_eq!(log.iter().next().map(|entry| entry.id), Some(5));
        log.add(0, 9, 10, &["PING"], ("", b""));
        log.add(1, 9, 10, &["PING"], ("", b""));
        assert_eq!(log.iter().next().map(|entry| entry.id), Some(6));
    }

    #[test]
    fn words_are_cut_as_redis_cuts_them() {
        let words: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        let got = cut(&words);
        assert_eq!((got.len(), got[31].as_slice()), (32, b"... (2 more arguments)".as_slice()));
        assert_eq!(cut(&words[..32]).len(), 32);
        let long = vec![b'x'; 129];
        assert_eq!(cut_word(&long), [&long[..128], b"... (1 more bytes)"].concat());
        assert_eq!(cut_word(&long[..128]), &long[..128]);
    }
}
