//! The ends of ranges as clients write them.

use crate::error::{Error, Result};
use crate::types::sorted_set::{LexBound, ScoreBound};

/// `1.5`, `(1.5`, `-inf`. Redis: the text ends at its first zero byte, nothing at all reads as 0,
/// and what is too large as infinite.
pub(super) fn score_bound(text: &[u8]) -> Result<ScoreBound> {
    let (exclusive, number) = match text.strip_prefix(b"(") {
        Some(number) => (true, number),
        None => (false, text),
    };
    let number = number.split(|&byte| byte == 0).next().unwrap_or_default();
    if number.is_empty() {
        return Ok(ScoreBound { score: 0.0, exclusive });
    }
    let score = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    match score.filter(|score| !score.is_nan()) {
        Some(score) => Ok(ScoreBound { score, exclusive }),
        None => Err(Error::BoundNotFloat),
    }
}

/// `[a`, `(a`, `-`, `+`.
pub(super) fn lex_bound(text: &[u8]) -> Result<LexBound<'_>> {
    match text {
        b"-" => Ok(LexBound::Lowest),
        b"+" => Ok(LexBound::Highest),
        [b'[', member @ ..] => Ok(LexBound::Including(member)),
        [b'(', member @ ..] => Ok(LexBound::Excluding(member)),
        _ => Err(Error::BoundNotLex),
    }
}
