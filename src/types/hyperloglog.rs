//! HyperLogLog: how many different elements were added, within 0.81 %, in at most 12 KiB.
//!
//! The value is a string in Redis's own format, byte for byte: `HYLL`, encoding, three zero bytes,
//! the cached count (little-endian; the top bit of its last byte says that it is stale), then the
//! 16384 registers. Dense: 6 bits each. Sparse: run-length opcodes, `00xxxxxx` for up to 64 zeros,
//! `01xxxxxx yyyyyyyy` for up to 16384 zeros, `1vvvvvxx` for up to 4 registers of value 1 to 32.
//!
//! Invariant: strings come from clients, so nothing here trusts the opcodes; what does not
//! describe exactly 16384 registers is [`Corrupted`], found where Redis finds it: an element is
//! added to a damaged value if it only concerns what is whole.

use super::limits::Limits;
use super::text::Text;

/// Registers of every HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Length of a dense string.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;

const INDEX_BITS: u32 = 14;
/// Bits of a hash that are left for the run of zeros.
const RUN_BITS: usize = 64 - INDEX_BITS as usize;
const HEADER_BYTES: usize = 16;
const ENCODING_AT: usize = 4;
const COUNT_AT: usize = 8;
const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const SPARSE_VALUE_MAX: u8 = 32;

/// The sparse opcodes do not describe 16384 registers.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupted;

/// A sparse opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Up to 64 registers that are zero, in one byte.
    Zero(usize),
    /// Up to 16384 registers that are zero, in two bytes.
    ManyZero(usize),
    /// Up to 4 registers of one value (1 to 32).
    Value(u8, usize),
}

impl Run {
    fn registers(self) -> usize {
        match self {
            Run::Zero(registers) | Run::ManyZero(registers) | Run::Value(_, registers) => registers,
        }
    }

    fn bytes(self) -> usize {
        1 + usize::from(matches!(self, Run::ManyZero(_)))
    }

    /// The opcode at the head of `bytes`, which is not empty.
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run::Zero(usize::from(first) + 1),
            1 => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Run::ManyZero((usize::from(first & 0x3f) << 8 | usize::from(second)) + 1)
            }
            _ => Run::Value((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1),
        })
    }

    fn zeros(registers: usize) -> Run {
        if registers > 64 {
            Run::ManyZero(registers)
        } else {
            Run::Zero(registers)
        }
    }

    fn write(self, out: &mut impl Extend<u8>) {
        match self {
            Run::Zero(registers) => out.extend([registers as u8 - 1]),
            Run::ManyZero(registers) => {
                let length = registers - 1;
                out.extend([0x40 | (length >> 8) as u8, length as u8]);
            }
            Run::Value(value, registers) => {
                out.extend([0x80 | (value - 1) << 2 | (registers as u8 - 1)]);
            }
        }
    }
}

/// Reads a HyperLogLog where it lies.
#[derive(Clone, Copy)]
pub struct View<'a>(&'a [u8]);

impl<'a> View<'a> {
    /// `None` if the string is no HyperLogLog by its header and length.
    pub fn new(bytes: &'a [u8]) -> Option<View<'a>> {
        let known = bytes.len() >= HEADER_BYTES && bytes.starts_with(b"HYLL");
        match bytes.get(ENCODING_AT) {
            Some(&DENSE) if known && bytes.len() == DENSE_BYTES => Some(View(bytes)),
            Some(&SPARSE) if known => Some(View(bytes)),
            _ => None,
        }
    }

    /// Whether the registers are packed by 6 bits.
    pub fn is_dense(&self) -> bool {
        self.0[ENCODING_AT] == DENSE
    }

    /// The count in the header, unless it is stale.
    pub fn cached_count(&self) -> Option<u64> {
        let bytes = self.0.get(COUNT_AT..HEADER_BYTES)?.try_into().ok()?;
        let count = u64::from_le_bytes(bytes);
        (count >> 63 == 0).then_some(count)
    }

    /// The estimate from the registers.
    pub fn count(&self) -> Result<u64, Corrupted> {
        let mut histogram = [0u32; 64];
        if self.is_dense() {
            for four in self.dense_fours() {
                four.iter().for_each(|&value| histogram[usize::from(value)] += 1);
            }
        } else {
            let mut seen = 0;
            for run in self.runs() {
                let value = if let Run::Value(value, _) = run { value } else { 0 };
                histogram[usize::from(value)] += run.registers() as u32;
                seen += run.registers();
                if seen > REGISTERS {
                    return Err(Corrupted);
                }
            }
            if seen != REGISTERS {
                return Err(Corrupted);
            }
        }
        Ok(estimate(&histogram))
    }

    /// The sparse opcodes; none when dense.
    pub fn runs(&self) -> impl Iterator<Item = Run> + 'a {
        let mut rest = if self.is_dense() { &[][..] } else { &self.0[HEADER_BYTES..] };
        std::iter::from_fn(move || {
            let run = Run::read(rest)?;
            rest = rest.get(run.bytes()..).unwrap_or(&[]);
            Some(run)
        })
    }

    /// Raises `into` to the maximum of both, register by register. What was raised before the
    /// damage was found stays raised.
    pub fn merge_into(&self, into: &mut Registers) -> Result<(), Corrupted> {
        if self.is_dense() {
            for (target, four) in into.0.chunks_exact_mut(4).zip(self.dense_fours()) {
                for (target, value) in target.iter_mut().zip(four) {
                    *target = (*target).max(value);
                }
            }
            return Ok(());
        }
        let mut at = 0;
        for run in self.runs() {
            let end = at + run.registers();
            if let Run::Value(value, _) = run {
                let targets = into.0.get_mut(at..end).ok_or(Corrupted)?;
                targets.iter_mut().for_each(|target| *target = (*target).max(value));
            }
            at = end;
        }
        if at == REGISTERS {
            Ok(())
        } else {
            Err(Corrupted)
        }
    }

    /// Dense registers by four: they fill three bytes.
    fn dense_fours(&self) -> impl Iterator<Item = [u8; 4]> + 'a {
        self.0[HEADER_BYTES..].chunks_exact(3).map(|three| {
            let word = u32::from_le_bytes([three[0], three[1], three[2], 0]);
            [0, 6, 12, 18].map(|shift| (word >> shift & 63) as u8)
        })
    }
}

/// One byte for each register: what unions are worked out in.
#[derive(Clone)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// The estimate for the union.
    pub fn count(&self) -> u64 {
        let mut histogram = [0u32; 64];
        self.0.iter().for_each(|&value| histogram[usize::from(value & 63)] += 1);
        estimate(&histogram)
    }

    /// The values.
    pub fn values(&self) -> &[u8; REGISTERS] {
        &self.0
    }
}

/// A HyperLogLog to be changed: the owner of its string.
#[derive(Clone, Debug)]
pub struct HyperLogLog(Text);

impl Default for HyperLogLog {
    fn default() -> Self {
        Self::new()
    }
}

impl HyperLogLog {
    /// An empty one, sparse, with a valid cached count of zero.
    pub fn new() -> Self {
        let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        Run::ManyZero(REGISTERS).write(&mut bytes);
        HyperLogLog(bytes.into())
    }

    /// Takes over a string; gives it back if it is no HyperLogLog by its header and length.
    pub fn from_text(text: Text) -> Result<Self, Text> {
        if View::new(&text).is_some() {
            Ok(HyperLogLog(text))
        } else {
            Err(text)
        }
    }

    /// The string.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The string.
    pub fn into_text(self) -> Text {
        self.0
    }

    /// The reading side.
    pub fn view(&self) -> View<'_> {
        View(&self.0)
    }

    /// Adds an element; whether a register was raised.
    pub fn add(&mut self, element: &[u8], limits: &Limits) -> Result<bool, Corrupted> {
        let (index, value) = place(element);
        self.raise(index, value, limits)
    }

    /// Marks the cached count as stale.
    pub fn invalidate(&mut self) {
        let last = self.0.at_mut(HEADER_BYTES - 1..HEADER_BYTES);
        last.iter_mut().for_each(|byte| *byte |= STALE);
    }

    /// Puts the count into the header.
    pub fn cache_count(&mut self, count: u64) {
        self.0.put(COUNT_AT, &count.to_le_bytes());
    }

    /// Raises every register to at least the given one and marks the count as stale.
    pub fn raise_all(&mut self, registers: &Registers, limits: &Limits) -> Result<(), Corrupted> {
        for (index, &value) in registers.0.iter().enumerate() {
            if value != 0 {
                self.raise(index, value, limits)?;
            }
        }
        self.invalidate();
        Ok(())
    }

    /// Converts to dense, keeping the cached count; false if it was dense.
    pub fn make_dense(&mut self) -> Result<bool, Corrupted> {
        if self.view().is_dense() {
            return Ok(false);
        }
        let mut registers = Registers::default();
        self.view().merge_into(&mut registers)?;
        let mut bytes = Vec::with_capacity(DENSE_BYTES);
        bytes.extend_from_slice(&self.0[..HEADER_BYTES]);
        bytes[ENCODING_AT] = DENSE;
        for four in registers.0.chunks_exact(4) {
            let word = four.iter().rev().fold(0u32, |word, &value| word << 6 | u32::from(value));
            bytes.extend_from_slice(&word.to_le_bytes()[..3]);
        }
        *self.0.all_mut() = bytes;
        Ok(true)
    }

    fn raise(&mut self, index: usize, value: u8, limits: &Limits) -> Result<bool, Corrupted> {
        if self.view().is_dense() {
            return Ok(self.raise_dense(index, value));
        }
        if value <= SPARSE_VALUE_MAX {
            if let Some(raised) = self.raise_sparse(index, value, limits)? {
                return Ok(raised);
            }
        }
        self.make_dense()?;
        Ok(self.raise_dense(index, value))
    }

    fn raise_dense(&mut self, index: usize, value: u8) -> bool {
        let at = HEADER_BYTES + index / 4 * 3;
        let [low, middle, high] = self.0.at_mut(at..at + 3) else { return false };
        let (word, shift) = (u32::from_le_bytes([*low, *middle, *high, 0]), index % 4 * 6);
        if word >> shift & 63 >= u32::from(value) {
            return false;
        }
        let word = word & !(63 << shift) | u32::from(value) << shift;
        [*low, *middle, *high, _] = word.to_le_bytes();
        self.invalidate();
        true
    }

    /// `None` when the result would be longer than a sparse string may be.
    fn raise_sparse(
        &mut self,
        index: usize,
        value: u8,
        limits: &Limits,
    ) -> Result<Option<bool>, Corrupted> {
        let (mut at, mut before, mut first) = (HEADER_BYTES, None, 0);
        let run = loop {
            let run = Run::read(self.0.get(at..).unwrap_or(&[])).ok_or(Corrupted)?;
            if index < first + run.registers() {
                break run;
            }
            before = Some(at);
            at += run.bytes();
            first += run.registers();
        };
        if matches!(run, Run::Value(old, _) if old >= value) {
            return Ok(Some(false));
        }
        let same = |registers| match run {
            Run::Value(old, _) => Run::Value(old, registers),
            _ => Run::zeros(registers),
        };
        let (left, right) = (index - first, first + run.registers() - 1 - index);
        let mut split: smallvec::SmallVec<[u8; 8]> = smallvec::SmallVec::new();
        if left > 0 {
            same(left).write(&mut split);
        }
        Run::Value(value, 1).write(&mut split);
        if right > 0 {
            same(right).write(&mut split);
        }
        let whole = self.0.len();
        let length = whole + split.len() - run.bytes();
        if length > whole && length > limits.hll_sparse_max_bytes {
            return Ok(None);
        }
        let end = at + run.bytes();
        if end > whole {
            // Redis: where the second byte is missing it takes one for there, and loses the last.
            split.pop();
        }
        self.0.all_mut().splice(at..end.min(whole), split);
        self.join_values(before.unwrap_or(HEADER_BYTES));
        self.invalidate();
        Ok(Some(true))
    }

    /// Joins neighbouring runs of one value. Redis: five steps from the opcode before the change.
    fn join_values(&mut self, from: usize) {
        let mut at = from;
        for _ in 0..5 {
            let rest = self.0.get(at..).unwrap_or(&[]);
            let Some(run) = Run::read(rest) else { return };
            if let (Run::Value(value, left), Some(Run::Value(next, right))) =
                (run, Run::read(rest.get(1..).unwrap_or(&[])))
            {
                if value == next && left + right <= 4 {
                    let bytes = self.0.all_mut();
                    bytes.remove(at);
                    bytes[at] = 0x80 | (value - 1) << 2 | (left + right - 1) as u8;
                    continue;
                }
            }
            at += run.bytes();
        }
    }

    /// Panics if the value is not what this module would have made.
    pub fn check(&self) {
        assert!(View::new(&self.0).is_some());
        let registers: usize = self.view().runs().map(Run::registers).sum();
        assert!(self.view().is_dense() || registers == REGISTERS);
    }
}

/// The register of an element and the value it asks for: the length of its hash's run of zeros.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element);
    let index = hash as usize & (REGISTERS - 1);
    let rest = hash >> INDEX_BITS | 1 << RUN_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash2, 64-bit version A, with the seed that HyperLogLogs have in files.
fn murmur64a(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes).wrapping_mul(FACTOR);
        hash = (hash ^ (word ^ word >> 47).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(FACTOR);
    hash ^ hash >> 47
}

/// Otmar Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches",
/// arXiv:1702.01284) on the number of registers of each value.
fn estimate(histogram: &[u32; 64]) -> u64 {
    // 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let full = f64::from(histogram[RUN_BITS + 1]);
    let mut z = registers * tau((registers - full) / registers);
    for &count in histogram[1..=RUN_BITS].iter().rev() {
        z += f64::from(count);
        z *= 0.5;
    }
    z += registers * sigma(f64::from(histogram[0]) / registers);
    let count = (ALPHA * registers * registers / z).round();
    // Redis: what does not fit 63 bits becomes the smallest integer.
    if count < i64::MAX as f64 {
        count as u64
    } else {
        1 << 63
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oracle::Oracle;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    fn small(bytes: usize) -> Limits {
        Limits { hll_sparse_max_bytes: bytes, ..Limits::default() }
    }

    #[test]
    fn sparse_and_dense_hold_the_model() {
        let mut rng = SmallRng::seed_from_u64(31);
        for limit in [0, 100, 3000, 20_000] {
            let limits = small(limit);
            let mut ours = HyperLogLog::new();
            let mut model = vec![0u8; REGISTERS];
            for step in 0..6_000 {
                let element = rng.random_range(0..5_000u32).to_le_bytes();
                let (index, value) = place(&element);
                let raised = ours.add(&element, &limits);
                assert_eq!(raised, Ok(model[index] < value));
                model[index] = model[index].max(value);
                if step % 500 == 0 {
                    ours.check();
                    let mut registers = Registers::default();
                    assert_eq!(ours.view().merge_into(&mut registers), Ok(()));
                    assert_eq!(registers.values()[..], model);
                    assert_eq!(ours.view().count(), Ok(registers.count()));
                    let mut dense = ours.clone();
                    assert_eq!(dense.make_dense(), Ok(!ours.view().is_dense()));
                    assert_eq!(dense.view().count(), ours.view().count());
                }
            }
            assert!(!ours.view().is_dense() || limit < 20_000);
            let count = ours.view().count().unwrap_or(0) as f64;
            assert!((count - 3_500.0).abs() < 600.0, "{count}");
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let mut rng = SmallRng::seed_from_u64(32);
        for _ in 0..3_000 {
            let mut bytes = HyperLogLog::new().into_text().to_vec();
            bytes.truncate(HEADER_BYTES);
            let length = rng.random_range(0..40);
            bytes.extend((0..length).map(|_| rng.random::<u8>()));
            let Ok(mut ours) = HyperLogLog::from_text(bytes.into()) else {
                panic!("a valid header")
            };
            let whole = ours.view().runs().map(Run::registers).sum::<usize>() == REGISTERS;
            assert_eq!(ours.view().count().is_ok(), whole);
            assert_eq!(ours.view().merge_into(&mut Registers::default()).is_ok(), whole);
            let _ = ours.add(&rng.random::<u64>().to_le_bytes(), &small(40));
            assert_eq!(ours.make_dense().is_ok(), whole);
        }
        assert!(HyperLogLog::from_text(b"HYLL".to_vec().into()).is_err());
        assert!(HyperLogLog::from_text(vec![b'H'; 20].into()).is_err());
        assert!(View::new(b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0").is_none());
    }

    #[test]
    fn the_bytes_are_the_genuine_servers() {
        let Some(mut oracle) = Oracle::start() else { return };
        let mut rng = SmallRng::seed_from_u64(33);
        for round in 0..60 {
            let limit = [0, 60, 300, 3000, 15_999][round % 5];
            let limits = small(limit);
            oracle.call(&["CONFIG", "SET", "hll-sparse-max-bytes", &limit.to_string()]);
            let mut merged = HyperLogLog::new();
            let mut union = Registers::default();
            oracle.call(&["DEL", "a", "b", "u"]);
            for key in ["a", "b"] {
                let mut ours = HyperLogLog::new();
                let count = rng.random_range(1..3_000);
                let commands: Vec<Vec<Vec<u8>>> = (0..count)
                    .map(|_| {
                        let length = rng.random_range(0..30);
                        let element = (0..length).map(|_| rng.random_range(0..4u8)).collect();
                        vec![b"PFADD".to_vec(), key.as_bytes().to_vec(), element]
                    })
                    .collect();
                oracle.pipeline(&commands);
                for command in &commands {
                    let _ = ours.add(&command[2], &limits);
                }
                assert_eq!(oracle.call(&["GET", key]), [Some(ours.as_bytes().to_vec())]);
                let count = ours.view().count().unwrap_or(0);
                let theirs = oracle.call(&["PFCOUNT", key]);
                assert_eq!(theirs, [Some(count.to_string().into_bytes())]);
                ours.cache_count(count);
                assert_eq!(oracle.call(&["GET", key]), [Some(ours.as_bytes().to_vec())]);
                assert_eq!(ours.view().cached_count(), Some(count));
                assert_eq!(ours.view().merge_into(&mut union), Ok(()));
                if ours.view().is_dense() {
                    let _ = merged.make_dense();
                }
            }
            let theirs = oracle.call(&["PFCOUNT", "a", "b"]);
            assert_eq!(theirs, [Some(union.count().to_string().into_bytes())]);
            assert_eq!(merged.raise_all(&union, &limits), Ok(()));
            oracle.call(&["PFMERGE", "u", "a", "b"]);
            assert_eq!(oracle.call(&["GET", "u"]), [Some(merged.as_bytes().to_vec())]);
        }
    }

    #[test]
    fn estimates_of_any_registers_agree() {
        let Some(mut oracle) = Oracle::start() else { return };
        let mut rng = SmallRng::seed_from_u64(34);
        for round in 0..200 {
            let mut bytes = b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
            bytes.extend((0..DENSE_BYTES - HEADER_BYTES).map(|_| match round {
                0 => 0xff,
                1..50 => rng.random::<u8>() & rng.random::<u8>() & rng.random::<u8>(),
                _ => rng.random(),
            }));
            let Some(view) = View::new(&bytes) else { panic!("a valid header") };
            let ours = view.count().map(|count| (count as i64).to_string().into_bytes());
            let set = vec![b"SET".to_vec(), b"k".to_vec(), bytes.clone()];
            oracle.pipeline(&[set]);
            assert_eq!(oracle.call(&["PFCOUNT", "k"]), [ours.ok()]);
        }
    }
}
