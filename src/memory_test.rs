//! `--test-memory`: writes patterns into memory and looks whether they are still there.
//!
//! Invariant: each word is really written and really read. They are atomic for that alone, so that
//! no compiler concludes what memory has to say.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often everything is done.
pub const PASSES: u32 = 50;
/// How often what was written is looked at.
const LOOKS: u32 = 4;
/// Words of a page. Neighbours in time are a page apart, so that the caches are of little help.
const PAGE_WORDS: usize = 512;
const WORDS_PER_MIB: usize = (1 << 20) / 8;

/// What a word should hold, by its place and the pass.
type Pattern = fn(u64, u32) -> u64;

const PATTERNS: [(&str, Pattern); 4] = [
    ("Addressing test", |at, _| at * 8),
    ("Random fill", scrambled),
    ("Solid fill", |at, pass| if (at + u64::from(pass)) % 2 == 0 { 0 } else { u64::MAX }),
    ("Checkerboard fill", |at, pass| 0x5555_5555_5555_5555 << ((at + u64::from(pass)) % 2)),
];

/// A word that did not keep what was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its place, in bytes from the first one that was tested.
    pub at_byte: usize,
    /// What was written.
    pub wanted: u64,
    /// What was read.
    pub found: u64,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault { at_byte, wanted, found } = self;
        write!(f, "*** MEMORY ERROR DETECTED at byte {at_byte}: {found:#018x} != {wanted:#018x}")
    }
}

/// Words that can be written and read.
trait Memory {
    fn words(&self) -> usize;
    fn write(&self, at: usize, value: u64);
    fn read(&self, at: usize) -> u64;
}

impl Memory for Vec<AtomicU64> {
    fn words(&self) -> usize {
        self.len()
    }

    fn write(&self, at: usize, value: u64) {
        if let Some(word) = self.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn read(&self, at: usize) -> u64 {
        self.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

/// Tests so many MiB, as often as [`PASSES`] says; each step is announced to `say`. `Err` is what
/// to tell the user.
pub fn run(mebibytes: usize, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let mut memory: Vec<AtomicU64> = Vec::new();
    let words = mebibytes.saturating_mul(WORDS_PER_MIB);
    memory
        .try_reserve_exact(words)
        .map_err(|error| format!("Unable to allocate {mebibytes} megabytes: {error}"))?;
    memory.resize_with(words, AtomicU64::default);
    (1..=PASSES).try_for_each(|pass| test(&memory, pass, say)).map_err(|fault| fault.to_string())
}

fn test(memory: &impl Memory, pass: u32, say: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    for (name, pattern) in PATTERNS {
        say(&format!("{name} [{pass}]"));
        for first in 0..PAGE_WORDS {
            for at in (first..memory.words()).step_by(PAGE_WORDS) {
                memory.write(at, pattern(at as u64, pass));
            }
        }
        for _ in 0..LOOKS {
            for at in 0..memory.words() {
                let (wanted, found) = (pattern(at as u64, pass), memory.read(at));
                if wanted != found {
                    return Err(Fault { at_byte: at * 8, wanted, found });
                }
            }
        }
    }
    Ok(())
}

/// A number without any pattern: the finalizer of MurmurHash3.
fn scrambled(at: u64, pass: u32) -> u64 {
    let mut bits = at ^ (u64::from(pass) << 40) ^ 0x9e37_79b9_7f4a_7c15;
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        bits = (bits ^ (bits >> 33)).wrapping_mul(factor);
    }
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const WORDS: usize = 3 * PAGE_WORDS + 7;

    /// Memory in which something is wrong.
    struct Bad {
        words: Vec<Cell<u64>>,
        /// Where a write really goes.
        place: fn(usize) -> usize,
        /// What a word keeps of a value, by its place.
        keeps: fn(usize, u64) -> u64,
    }

    impl Memory for Bad {
        fn words(&self) -> usize {
            self.words.len()
        }

        fn write(&self, at: usize, value: u64) {
            let place = (self.place)(at);
            self.words[place].set((self.keeps)(place, value));
        }

        fn read(&self, at: usize) -> u64 {
            self.words[(self.place)(at)].get()
        }
    }

    fn fault(place: fn(usize) -> usize, keeps: fn(usize, u64) -> u64) -> Option<Fault> {
        let memory = Bad { words: vec![Cell::new(0); WORDS], place, keeps };
        test(&memory, 1, &mut |_| {}).err()
    }

    #[test]
    fn good_memory_passes_every_step() {
        let memory: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(u64::MAX)).collect();
        let mut steps = Vec::new();
        assert_eq!(test(&memory, 7, &mut |step| steps.push(step.to_string())), Ok(()));
        let named = ["Addressing test [7]", "Random fill [7]", "Solid fill [7]"];
        assert_eq!(steps[..3], named);
        assert_eq!(steps.len(), 4);
        assert_eq!(fault(|at| at, |_, value| value), None);
    }

    #[test]
    fn a_bit_that_does_not_change_is_found_wherever_it_is() {
        let set = fault(|at| at, |at, value| value | u64::from(at == 700)).expect("a fault");
        assert_eq!((set.at_byte, set.found ^ set.wanted), (5600, 1));
        let unset = |at, value| if at == WORDS - 1 { value & !(1 << 63) } else { value };
        let unset = fault(|at| at, unset).expect("a fault");
        assert_eq!((unset.at_byte, unset.found ^ unset.wanted), ((WORDS - 1) * 8, 1 << 63));
        let text = unset.to_string();
        assert!(text.starts_with("*** MEMORY ERROR DETECTED at byte "), "{text}");
    }

    #[test]
    fn two_addresses_of_one_word_are_found() {
        let found = fault(|at| if at == 1025 { 1 } else { at }, |_, value| value);
        assert_eq!(found.map(|fault| fault.at_byte), Some(8));
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let said = run(usize::MAX, &mut |_| {}).expect_err("too much");
        assert!(said.starts_with("Unable to allocate "), "{said}");
    }
}
