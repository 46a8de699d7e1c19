//! The ends of ranges by score and by member.

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score; not NaN.
    pub score: f64,
    /// Whether members with exactly this score are left out.
    pub exclusive: bool,
}

impl ScoreBound {
    /// As the lower end: whether `score` is too small.
    #[inline]
    pub fn is_above(&self, score: f64) -> bool {
        if self.exclusive {
            score <= self.score
        } else {
            score < self.score
        }
    }

    /// As the upper end: whether `score` is small enough.
    #[inline]
    pub fn admits(&self, score: f64) -> bool {
        if self.exclusive {
            score < self.score
        } else {
            score <= self.score
        }
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LexBound<'a> {
    /// Before every member.
    Lowest,
    /// After every member.
    Highest,
    /// This member and what lies inwards.
    Including(&'a [u8]),
    /// What lies inwards of this member.
    Excluding(&'a [u8]),
}

impl LexBound<'_> {
    /// As the lower end: whether `member` is too small.
    #[inline]
    pub fn is_above(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Including(bound) => member < bound,
            LexBound::Excluding(bound) => member <= bound,
        }
    }

    /// As the upper end: whether `member` is small enough.
    #[inline]
    pub fn admits(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Including(bound) => member <= bound,
            LexBound::Excluding(bound) => member < bound,
        }
    }

    /// Whether no member at all can lie between `self` as lower and `max` as upper end.
    pub fn excludes_all_up_to(&self, max: &LexBound<'_>) -> bool {
        use LexBound::*;
        match (*self, *max) {
            (Lowest, Lowest) | (Highest, Highest) => true,
            (Lowest, _) | (_, Highest) => false,
            (Highest, _) | (_, Lowest) => true,
            (Including(min), Including(max)) => min > max,
            (Including(min) | Excluding(min), Including(max) | Excluding(max)) => min >= max,
        }
    }
}
