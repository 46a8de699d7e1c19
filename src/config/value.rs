//! The values of directives: how each kind is read, printed by CONFIG GET and written to a file.
//!
//! Invariant: what `Kind::print` gives, `Kind::read` takes back as the same value.

use super::events;
use super::words::quote;
use crate::types::number::parse_i64;

/// How a directive's value is written.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Switch,
    /// A number between two bounds, both included.
    Number { unit: Unit, min: i128, max: i128 },
    /// Any bytes; where `nullable`, an empty value stands for "not set".
    Text { nullable: bool },
    /// One of some words.
    Choice(Choices),
    /// Any of some words, which add up.
    Flags(Choices),
    /// An existing directory.
    Directory,
    /// Pairs of seconds and changes.
    Save,
    /// Client class, hard limit, soft limit, seconds; any number of times.
    OutputLimits,
    /// Three scores between -2000 and 2000.
    OomScores,
    /// Letters of event classes.
    Events,
    /// At most 16 addresses.
    Bind,
    /// Host and port, or `no one`.
    ReplicaOf,
    /// Percentages between 0 and 100.
    Percentiles,
}

/// Words and the numbers they stand for; the first word of a number is the one that is printed.
pub type Choices = &'static [(&'static str, u32)];

/// How a number is written.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    /// Bytes, with an optional `k`, `kb`, `m`, `mb`, `g`, `gb`.
    Bytes,
    /// Bytes, or a percentage, which is kept as a negative number.
    BytesOrPercent,
    /// Permission bits.
    Octal,
}

/// A value that has been read and found valid, in the form of its `Kind`.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Switch(bool),
    Number(i128),
    /// `None` where it is not set.
    Text(Option<Vec<u8>>),
    Choice(u32),
    Save(Vec<SavePoint>),
    OutputLimits([OutputLimit; 3]),
    OomScores([i64; 3]),
    Events(u32),
    Words(Vec<Vec<u8>>),
    ReplicaOf(Option<(Vec<u8>, u16)>),
    Percentiles(Vec<f64>),
}

/// Save when at least `changes` writes happened in `seconds`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

/// When a client that does not read its replies is cut off; 0 is no limit.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Cut off at once.
    pub hard_bytes: u64,
    /// Cut off when exceeded for `soft_seconds`.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// The classes of `client-output-buffer-limit`, in the order of `Value::OutputLimits`; a second
/// name is read, and written to files.
const CLASSES: [(&str, &str); 3] =
    [("normal", "normal"), ("slave", "replica"), ("pubsub", "pubsub")];

/// Why a value was refused, in Redis's words.
pub type Refusal = String;

const WRONG_COUNT: &str = "wrong number of arguments";
const BIND_MAX: usize = 16;

impl Kind {
    /// Whether the value may be several words.
    pub fn takes_several(self) -> bool {
        use Kind::{Bind, Flags, OomScores, OutputLimits, Percentiles, ReplicaOf, Save};
        matches!(self, Bind | Flags(_) | OomScores | OutputLimits | Percentiles | ReplicaOf | Save)
    }

    /// Reads a value from its words. `before` is what the directive says now; limits that a line
    /// does not name keep it.
    pub fn read(self, words: &[Vec<u8>], before: Option<&Value>) -> Result<Value, Refusal> {
        let single = || match words {
            [word] => Ok(word.as_slice()),
            _ => Err(WRONG_COUNT.to_string()),
        };
        Ok(match self {
            Kind::Switch => Value::Switch(read_switch(single()?)?),
            Kind::Number { unit, min, max } => {
                Value::Number(read_number(single()?, unit, min, max)?)
            }
            Kind::Text { nullable } => {
                let text = single()?;
                Value::Text((!nullable || !text.is_empty()).then(|| text.to_vec()))
            }
            Kind::Choice(choices) => match words {
                [word] => Value::Choice(read_choice(word, choices)?),
                _ => return Err(not_a_choice(choices)),
            },
            Kind::Flags(choices) => Value::Choice(read_flags(words, choices)?),
            Kind::Directory => match single()? {
                b"" => return Err("dir can't be empty".to_string()),
                path => Value::Text(Some(path.to_vec())),
            },
            Kind::Save => Value::Save(read_save(words)?),
            Kind::OutputLimits => Value::OutputLimits(read_output_limits(words, before)?),
            Kind::OomScores => Value::OomScores(read_oom_scores(words)?),
            Kind::Events => match events::parse(single()?) {
                Some(flags) => Value::Events(flags),
                None => {
                    return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_string())
                }
            },
            Kind::Bind if words.len() > BIND_MAX => {
                return Err("Too many bind addresses specified.".to_string())
            }
            Kind::Bind => Value::Words(if is_empty(words) { Vec::new() } else { words.to_vec() }),
            Kind::ReplicaOf => Value::ReplicaOf(read_replica_of(words)?),
            Kind::Percentiles => Value::Percentiles(read_percentiles(words)?),
        })
    }

    /// The value as CONFIG GET gives it.
    pub fn print(self, value: &Value) -> Vec<u8> {
        match value {
            Value::Switch(on) => yes_no(*on).into(),
            Value::Number(number) => match self {
                Kind::Number { unit: Unit::Octal, .. } => format!("{number:o}").into_bytes(),
                Kind::Number { unit: Unit::BytesOrPercent, .. } if *number < 0 => {
                    format!("{}%", -number).into_bytes()
                }
                _ => number.to_string().into_bytes(),
            },
            Value::Text(text) => text.clone().unwrap_or_default(),
            Value::Choice(number) => match self {
                Kind::Choice(choices) | Kind::Flags(choices) => {
                    choice_names(choices, *number).into_bytes()
                }
                _ => Vec::new(),
            },
            Value::Save(points) => print_save(points).into_bytes(),
            Value::OutputLimits(limits) => print_output_limits(limits).into_bytes(),
            Value::OomScores(scores) => joined(scores).into_bytes(),
            Value::Events(flags) => events::letters(*flags).into_bytes(),
            Value::Words(words) => words.join(&b' '),
            Value::ReplicaOf(None) => Vec::new(),
            Value::ReplicaOf(Some((host, port))) => {
                let mut out = host.clone();
                out.extend_from_slice(format!(" {port}").as_bytes());
                out
            }
            Value::Percentiles(list) => joined(list).into_bytes(),
        }
    }

    /// The value as it follows the name in a configuration file.
    pub fn write(self, value: &Value) -> String {
        match (self, value) {
            (
                Kind::Number { unit: Unit::Bytes | Unit::BytesOrPercent, .. },
                Value::Number(bytes),
            ) if *bytes >= 0 => rounded_bytes(*bytes),
            (Kind::Text { .. } | Kind::Directory | Kind::Events, _) => quote(&self.print(value)),
            _ => {
                let printed = self.print(value);
                if printed.is_empty() {
                    "\"\"".to_string()
                } else {
                    String::from_utf8_lossy(&printed).into_owned()
                }
            }
        }
    }
}

/// The lines of `client-output-buffer-limit` for a file: one a class, after the directive's name.
pub fn output_limit_lines(limits: &[OutputLimit; 3]) -> [String; 3] {
    std::array::from_fn(|class| {
        let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limits[class];
        let [hard, soft] = [hard_bytes, soft_bytes].map(|bytes| rounded_bytes(bytes.into()));
        format!("{} {hard} {soft} {soft_seconds}", CLASSES[class].1)
    })
}

/// `yes` or `no`.
fn yes_no(on: bool) -> &'static str {
    if on {
        "yes"
    } else {
        "no"
    }
}

fn is_empty(words: &[Vec<u8>]) -> bool {
    matches!(words, [word] if word.is_empty())
}

fn read_switch(word: &[u8]) -> Result<bool, Refusal> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".to_string())
    }
}

/// Bytes with an optional unit, as Redis reads memory: no sign; digits alone are bytes, `k` is
/// 1000, `kb` 1024. Redis: no digits at all are 0, an overflow wraps or stays at the largest.
pub fn read_bytes(word: &[u8]) -> Option<u64> {
    let digits = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(word.len());
    let (digits, unit) = word.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let count = digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(count.wrapping_mul(factor))
}

fn read_number(word: &[u8], unit: Unit, min: i128, max: i128) -> Result<i128, Refusal> {
    let (number, refusal) = match unit {
        Unit::Plain => {
            (parse_i64(word).map(i128::from), "argument couldn't be parsed into an integer")
        }
        Unit::Octal => (read_octal(word), "argument couldn't be parsed as an octal number"),
        Unit::Bytes => (read_bytes(word).map(i128::from), "argument must be a memory value"),
        Unit::BytesOrPercent => (
            read_bytes(word).map(i128::from).or_else(|| read_percent(word)),
            "argument must be a memory or percent value",
        ),
    };
    let number = number.ok_or(refusal)?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(match unit {
        Unit::BytesOrPercent if number < 0 => {
            format!("percentage argument must be less or equal to {}", -min)
        }
        Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
        _ => format!("argument must be between {min} and {max} inclusive"),
    })
}

fn read_percent(word: &[u8]) -> Option<i128> {
    let number = parse_i64(word.strip_suffix(b"%")?)?;
    (number >= 0).then_some(-i128::from(number))
}

fn read_octal(word: &[u8]) -> Option<i128> {
    let digits = std::str::from_utf8(word).ok()?;
    if digits.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(digits, 8).ok().map(i128::from)
}

fn read_choice(word: &[u8], choices: Choices) -> Result<u32, Refusal> {
    let found = choices.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, number)| *number).ok_or_else(|| not_a_choice(choices))
}

fn read_flags(words: &[Vec<u8>], choices: Choices) -> Result<u32, Refusal> {
    if words.is_empty() {
        return Err(not_a_choice(choices));
    }
    words.iter().try_fold(0, |flags, word| Ok(flags | read_choice(word, choices)?))
}

fn not_a_choice(choices: Choices) -> Refusal {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    format!("argument(s) must be one of the following: {}", names.join(", "))
}

fn choice_names(choices: Choices, number: u32) -> String {
    if let Some((name, _)) = choices.iter().find(|(_, choice)| *choice == number) {
        return (*name).to_string();
    }
    let named = choices.iter().filter(|(_, bit)| *bit != 0 && number & bit == *bit);
    let names: Vec<&str> = named.map(|(name, _)| *name).collect();
    names.join(" ")
}

/// A decimal number as C reads it: leading blanks and a sign are allowed, nothing is 0.
fn loose_integer(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?.trim_start();
    if text.is_empty() {
        return word.is_empty().then_some(0);
    }
    text.parse().ok()
}

fn read_save(words: &[Vec<u8>]) -> Result<Vec<SavePoint>, Refusal> {
    if is_empty(words) {
        return Ok(Vec::new());
    }
    let refusal = || "Invalid save parameters".to_string();
    if !words.len().is_multiple_of(2) {
        return Err(refusal());
    }
    let point = |pair: &[Vec<u8>]| {
        let [seconds, changes] = pair else { return None };
        let seconds = loose_integer(seconds).filter(|seconds| *seconds >= 1)?;
        let changes = loose_integer(changes).filter(|changes| *changes >= 0)?;
        Some(SavePoint { seconds: seconds.unsigned_abs(), changes: changes.unsigned_abs() })
    };
    words.chunks_exact(2).map(|pair| point(pair).ok_or_else(refusal)).collect()
}

fn print_save(points: &[SavePoint]) -> String {
    let pairs = points.iter().map(|SavePoint { seconds, changes }| format!("{seconds} {changes}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn read_output_limits(
    words: &[Vec<u8>],
    before: Option<&Value>,
) -> Result<[OutputLimit; 3], Refusal> {
    let mut limits = match before {
        Some(Value::OutputLimits(limits)) => *limits,
        _ => [OutputLimit::default(); 3],
    };
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_string());
    }
    for group in words.chunks_exact(4) {
        let [class, hard, soft, seconds] = group else { continue };
        let known = |(name, other): &(&str, &str)| {
            class.eq_ignore_ascii_case(name.as_bytes())
                || class.eq_ignore_ascii_case(other.as_bytes())
        };
        let class = CLASSES
            .iter()
            .position(known)
            .ok_or("Invalid client class specified in buffer limit configuration.".to_string())?;
        let seconds = loose_integer(seconds).filter(|seconds| *seconds >= 0);
        let (Some(hard_bytes), Some(soft_bytes), Some(seconds)) =
            (read_bytes(hard), read_bytes(soft), seconds)
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit \
                        configuration."
                .to_string());
        };
        let soft_seconds = seconds.unsigned_abs();
        limits[class] = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(limits)
}

fn print_output_limits(limits: &[OutputLimit; 3]) -> String {
    let classes = CLASSES.iter().zip(limits).map(|((class, _), limit)| {
        let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
        format!("{class} {hard_bytes} {soft_bytes} {soft_seconds}")
    });
    classes.collect::<Vec<_>>().join(" ")
}

fn read_oom_scores(words: &[Vec<u8>]) -> Result<[i64; 3], Refusal> {
    let [a, b, c] = words else { return Err(WRONG_COUNT.to_string()) };
    let read = |word: &Vec<u8>| {
        loose_integer(word).filter(|score| (-2000..=2000).contains(score)).ok_or(
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_string(),
        )
    };
    Ok([read(a)?, read(b)?, read(c)?])
}

fn read_replica_of(words: &[Vec<u8>]) -> Result<Option<(Vec<u8>, u16)>, Refusal> {
    let [host, port] = words else { return Err(WRONG_COUNT.to_string()) };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(None);
    }
    let port = loose_integer(port).and_then(|port| u16::try_from(port).ok());
    port.map(|port| Some((host.clone(), port))).ok_or("Invalid master port".to_string())
}

fn read_percentiles(words: &[Vec<u8>]) -> Result<Vec<f64>, Refusal> {
    if is_empty(words) {
        return Ok(Vec::new());
    }
    let mut list = Vec::with_capacity(words.len());
    for word in words {
        let number = crate::types::number::parse_f64(word)
            .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            return Err("latency-tracking-info-percentiles parameters should sit between \
                        [0.0,100.0]"
                .to_string());
        }
        // Redis prints six digits; what is printed is what is kept, so that it round-trips.
        list.push((number * 1e6).round() / 1e6);
    }
    Ok(list)
}

fn joined<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn rounded_bytes(bytes: i128) -> String {
    let units = [(1i128 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match units.iter().find(|(size, _)| bytes != 0 && bytes % size == 0) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}
