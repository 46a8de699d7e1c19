//! LZF, the compression of strings in RDB, in the format of liblzf.
//!
//! A packed text is a row of literal runs (a byte below 32, which is their length less one) and
//! copies of what came before: three bits of length less two (7: one more byte of it follows) and
//! thirteen bits of distance less one.
//!
//! The packer remembers for each hash of three bytes where it last saw them. Its table is never
//! cleared: places count on from text to text, so those of earlier texts are told by being too
//! low. After many misses in a row it looks at fewer places, so that what cannot be packed costs
//! little.

/// Longest run of literals.
const LITERALS_MAX: usize = 32;
/// Longest distance of a copy.
const DISTANCE_MAX: usize = 1 << 13;
/// Longest copy.
const COPY_MAX: usize = 264;
const COPY_MIN: usize = 3;
const TABLE_BITS: u32 = 14;
/// Texts from this length on are packed in vain: places are 32 bits.
const TEXT_MAX: usize = 1 << 30;
/// The step to the next place grows by one with so many misses in a row, as a power of two.
const MISSES_BITS: usize = 5;

/// Packs texts, one after the other.
pub struct Packer {
    /// Where three bytes of this hash were seen last.
    places: Box<[u32; 1 << TABLE_BITS]>,
    /// The place of the next text's first byte.
    base: u32,
}

impl Default for Packer {
    fn default() -> Self {
        // Place 0 is below every text's.
        Packer { places: Box::new([0; 1 << TABLE_BITS]), base: 1 }
    }
}

/// Bytes that a text of so many takes at most when it is packed.
pub fn most_packed(length: usize) -> usize {
    length + length.div_ceil(LITERALS_MAX)
}

/// The three bytes from `at` on, as a number; there must be one more behind them.
#[inline(always)]
fn word(text: &[u8], at: usize) -> Option<u32> {
    let four = text.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_le_bytes(*four) & 0xff_ffff)
}

#[inline(always)]
fn slot(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize
}

/// How many bytes from `earlier` and from `at` on are alike, at most `COPY_MAX`, where the first
/// `COPY_MIN` are. Byte by byte: a processor that foresees the length does not wait for it.
#[inline(always)]
fn alike(text: &[u8], earlier: usize, at: usize) -> usize {
    let most = COPY_MAX.min(text.len() - at);
    let (one, other) = (&text[earlier..earlier + most], &text[at..at + most]);
    let mut length = COPY_MIN;
    while length < most && one[length] == other[length] {
        length += 1;
    }
    length
}

impl Packer {
    /// Appends `text` to `out`, packed; false, and nothing is appended, when it would take more
    /// than `most` bytes.
    pub fn pack(&mut self, text: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        if text.is_empty() || text.len() >= TEXT_MAX {
            return text.is_empty();
        }
        if self.base.checked_add(text.len() as u32).is_none() {
            *self = Packer::default();
        }
        let start = out.len();
        out.resize(start + most.min(most_packed(text.len())), 0);
        let packed_bytes = self.runs(text, &mut out[start..]);
        self.base += text.len() as u32;
        out.truncate(start + packed_bytes.unwrap_or(0));
        packed_bytes.is_some()
    }

    /// Writes literals and copies, and says how many bytes; `None` when there is no room.
    fn runs(&mut self, text: &[u8], out: &mut [u8]) -> Option<usize> {
        let base = self.base;
        let mut row = Row { out, len: 0 };
        // What is between `literals` and `at` is to be written as literals.
        let (mut literals, mut at, mut misses) = (0, 0, 0);
        while let Some(here) = word(text, at) {
            let place = std::mem::replace(&mut self.places[slot(here)], base + at as u32);
            // What is of an earlier text is further away than the beginning of this one.
            let distance = (base + at as u32).wrapping_sub(place) as usize;
            let is_near = distance <= DISTANCE_MAX.min(at);
            if !is_near || word(text, at - distance) != Some(here) {
                at += 1 + (misses >> MISSES_BITS);
                misses += 1;
                continue;
            }
            misses = 0;
            let length = alike(text, at - distance, at);
            row.push_literals(text, literals, at)?;
            row.push_copy(distance, length)?;
            for inside in at + length - 2..at + length {
                let Some(word) = word(text, inside) else { break };
                self.places[slot(word)] = base + inside as u32;
            }
            at += length;
            literals = at;
        }
        row.push_literals(text, literals, text.len())?;
        Some(row.len)
    }
}

/// The row of literal runs and copies that a text becomes.
struct Row<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Row<'_> {
    /// The bytes of the text from one place to another, in runs.
    #[inline(always)]
    fn push_literals(&mut self, text: &[u8], mut from: usize, to: usize) -> Option<()> {
        const SHORT: usize = 8;
        while from < to {
            let run = (to - from).min(LITERALS_MAX);
            let most = from..from + LITERALS_MAX;
            let room = self.len..self.len + 1 + LITERALS_MAX;
            // As many as a run can have, where there is room for them: to copy a fixed number
            // is quick, and what is too much is written over.
            if let (Some(most), Some(room)) = (text.get(most), self.out.get_mut(room)) {
                room[0] = run as u8 - 1;
                room[1..1 + SHORT].copy_from_slice(&most[..SHORT]);
                if run > SHORT {
                    room[1 + SHORT..].copy_from_slice(&most[SHORT..]);
                }
            } else {
                let room = self.out.get_mut(self.len..self.len + 1 + run)?;
                room[0] = run as u8 - 1;
                room[1..].copy_from_slice(text.get(from..from + run)?);
            }
            self.len += 1 + run;
            from += run;
        }
        Some(())
    }

    /// So many bytes from so far back.
    #[inline(always)]
    fn push_copy(&mut self, distance: usize, length: usize) -> Option<()> {
        debug_assert!((COPY_MIN..=COPY_MAX).contains(&length));
        let (back, length) = (distance - 1, length - 2);
        if length < 7 {
            let short = self.out.get_mut(self.len..self.len + 2)?;
            short.copy_from_slice(&[(length << 5 | back >> 8) as u8, back as u8]);
            self.len += 2;
        } else {
            let long = self.out.get_mut(self.len..self.len + 3)?;
            long.copy_from_slice(&[(7 << 5 | back >> 8) as u8, (length - 7) as u8, back as u8]);
            self.len += 3;
        }
        Some(())
    }
}

/// Unpacks into `out`, which is emptied first; `None` unless exactly `length` bytes come out.
/// Takes no more memory than a small multiple of what really comes out.
pub fn unpack(mut packed: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    // One packed byte makes at most as many as the longest copy has.
    if length > packed.len().saturating_mul(COPY_MAX) {
        return None;
    }
    out.reserve(length.min(packed.len() * 8));
    while let Some((&control, rest)) = packed.split_first() {
        let control = usize::from(control);
        if control < LITERALS_MAX {
            let (literals, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            packed = rest;
        } else {
            packed = unpack_copy(control, rest, out)?;
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(())
}

fn unpack_copy<'a>(control: usize, mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut length = control >> 5;
    if length == 7 {
        let (&more, after) = rest.split_first()?;
        length += usize::from(more);
        rest = after;
    }
    let (&low, rest) = rest.split_first()?;
    let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
    let (start, length) = (out.len().checked_sub(distance)?, length + 2);
    if distance >= length {
        out.extend_from_within(start..start + length);
    } else {
        // The copy reads what it has just written.
        for at in start..start + length {
            let byte = *out.get(at)?;
            out.push(byte);
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::{unpack, Packer};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn text(rng: &mut SmallRng) -> Vec<u8> {
        let letters = [2u8, 4, 30, 255][rng.random_range(0..4)];
        let length = [30usize, 300, 20_000][rng.random_range(0..3)];
        let mut text = Vec::new();
        while text.len() < length {
            if text.len() > 4 && rng.random_range(0..3) == 0 {
                let from = rng.random_range(0..text.len());
                let to = rng.random_range(from..text.len().min(from + 400));
                text.extend_from_within(from..to);
            }
            text.push(rng.random_range(0..=letters));
        }
        text
    }

    #[test]
    fn what_is_packed_comes_back() {
        let (mut rng, mut packer) = (SmallRng::seed_from_u64(3), Packer::default());
        let mut back = Vec::new();
        for _ in 0..2_000 {
            let text = text(&mut rng);
            let mut packed = b"before".to_vec();
            let limit = [text.len() * 2, text.len() - 4][rng.random_range(0..2)];
            if packer.pack(&text, limit, &mut packed) {
                assert!(packed.len() - 6 <= limit);
                assert_eq!(unpack(&packed[6..], text.len(), &mut back), Some(()));
                assert_eq!(back, text);
                assert_eq!(unpack(&packed[6..], text.len() - 1, &mut back), None);
            } else {
                assert_eq!(packed, b"before");
            }
        }
    }

    #[test]
    fn repeated_bytes_become_short() {
        let (mut packed, mut back) = (Vec::new(), Vec::new());
        let text = [b'a'; 1000];
        assert!(Packer::default().pack(&text, 996, &mut packed));
        assert!(packed.len() < 20, "{}", packed.len());
        assert_eq!(unpack(&packed, 1000, &mut back), Some(()));
        assert_eq!(back, text);
    }

    #[test]
    fn places_start_anew_when_they_run_out() {
        let mut packer = Packer { base: u32::MAX - 100, ..Packer::default() };
        for _ in 0..4 {
            let (mut packed, mut back) = (Vec::new(), Vec::new());
            let text = b"abcdefgh".repeat(8);
            assert!(packer.pack(&text, 60, &mut packed));
            assert_eq!(unpack(&packed, 64, &mut back), Some(()));
            assert_eq!(back, text);
        }
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused() {
        let (mut rng, mut out) = (SmallRng::seed_from_u64(9), Vec::new());
        for _ in 0..100_000 {
            let packed: Vec<u8> = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
            let length = rng.random_range(0..300);
            if unpack(&packed, length, &mut out).is_some() {
                assert_eq!(out.len(), length);
            }
        }
        assert_eq!(unpack(&[0xff; 10], usize::MAX, &mut out), None);
    }
}
