//! Unions, intersections and differences of sorted sets and plain sets, whose members count 1.

use super::range::store;
use super::{entry, list_of};
use crate::command::args::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};
use crate::types::compact::Item;
use crate::types::number::{parse_f64, parse_i64};
use crate::types::set::Set;
use crate::types::sorted_set::{Gather, SortedSet};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Redis: the sum of both infinities is 0, and a NaN never wins.
    #[inline]
    fn join(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            _ => score,
        }
    }
}

#[inline]
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() {
        0.0
    } else {
        score
    }
}

#[derive(Clone, Copy)]
enum Members<'a> {
    None,
    Scored(&'a SortedSet),
    Plain(&'a Set),
}

/// One input.
#[derive(Clone, Copy)]
struct Source<'a> {
    members: Members<'a>,
    weight: f64,
}

impl<'a> Source<'a> {
    fn open(db: &'a Db, key: &[u8]) -> Result<Source<'a>> {
        let members = match db.read(key) {
            None => Members::None,
            Some(found) => match (found.collection::<SortedSet>(), found.collection::<Set>()) {
                (Some(set), _) => Members::Scored(set),
                (_, Some(set)) => Members::Plain(set),
                _ => return Err(Error::WrongType),
            },
        };
        Ok(Source { members, weight: 1.0 })
    }

    fn len(&self) -> usize {
        match self.members {
            Members::None => 0,
            Members::Scored(set) => set.len(),
            Members::Plain(set) => set.len(),
        }
    }

    fn score(&self, item: &Item<'_>) -> Option<f64> {
        match self.members {
            Members::None => None,
            Members::Scored(set) => item.with_bytes(|member| set.score(member)),
            Members::Plain(set) => set.contains_item(item).then_some(1.0),
        }
    }

    /// Visits members and scores, until `visit` says no.
    fn visit(&self, mut visit: impl FnMut(Item<'_>, f64) -> bool) {
        match self.members {
            Members::None => {}
            Members::Scored(set) => {
                let _ = set.iter().all(|(item, score)| visit(item, score));
            }
            Members::Plain(set) => {
                let _ = set.iter().all(|item| visit(item, 1.0));
            }
        }
    }
}

/// The inputs and options of one command.
struct Plan<'a> {
    sources: Vec<Source<'a>>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Of ZINTERCARD; 0 is none.
    limit: usize,
}

/// Which options a command takes.
struct Allowed {
    weights: bool,
    scores: bool,
    limit: bool,
}

impl<'a> Plan<'a> {
    fn parse(db: &'a Db, args: &mut Args<'_>, allowed: Allowed) -> Result<Plan<'a>> {
        let numkeys = args.int()?;
        if numkeys < 1 {
            let name = args.name();
            return Err(Error::of(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let keys = args.rest().get(..numkeys as usize).ok_or(Error::Syntax)?;
        args.skip(keys.len());
        let sources = keys.iter().map(|key| Source::open(db, key)).collect::<Result<Vec<_>>>()?;
        let mut plan = Plan { sources, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        while let Some(option) = args.option() {
            match &*option {
                "WEIGHTS" if allowed.weights && args.left() >= plan.sources.len() => {
                    for source in &mut plan.sources {
                        source.weight = parse_f64(args.bytes()).ok_or(Error::WeightNotFloat)?;
                    }
                }
                "AGGREGATE" if allowed.weights && !args.is_done() => {
                    plan.aggregate = match args.option().as_deref() {
                        Some("SUM") => Aggregate::Sum,
                        Some("MIN") => Aggregate::Min,
                        Some("MAX") => Aggregate::Max,
                        _ => return Err(Error::Syntax),
                    };
                }
                "WITHSCORES" if allowed.scores => plan.with_scores = true,
                "LIMIT" if allowed.limit && !args.is_done() => {
                    let limit = parse_i64(args.bytes()).filter(|limit| *limit >= 0);
                    plan.limit = limit.ok_or(Error::LimitNegative)? as usize;
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(plan)
    }

    fn combine(mut self, db: &Db, kind: Kind) -> SortedSet {
        let most = match kind {
            Kind::Union => self.sources.iter().map(Source::len).max().unwrap_or(0),
            Kind::Intersection | Kind::Difference => 0,
        };
        let mut gather = Gather::with_capacity(most, &db.limits);
        match kind {
            Kind::Union => {
                self.sources.sort_by_key(Source::len);
                let aggregate = self.aggregate;
                for source in &self.sources {
                    source.visit(|item, score| {
                        let score = number_or_zero(source.weight * score);
                        let join = |old, new| aggregate.join(old, new);
                        item.with_bytes(|member| gather.put(member, score, join));
                        true
                    });
                }
            }
            Kind::Intersection => self.intersect(|item, score| {
                item.with_bytes(|member| gather.put(member, score, |old, _| old));
                true
            }),
            Kind::Difference => {
                let (first, others) = (self.sources[0], &self.sources[1..]);
                first.visit(|item, score| {
                    if others.iter().all(|other| other.score(&item).is_none()) {
                        item.with_bytes(|member| gather.put(member, score, |old, _| old));
                    }
                    true
                });
            }
        }
        gather.finish()
    }

    /// Visits what all inputs share, until `visit` says no.
    fn intersect(&mut self, mut visit: impl FnMut(Item<'_>, f64) -> bool) {
        self.sources.sort_by_key(Source::len);
        let aggregate = self.aggregate;
        let Some((first, others)) = self.sources.split_first() else { return };
        first.visit(|item, score| {
            let mut joined = number_or_zero(first.weight * score);
            for other in others {
                let Some(score) = other.score(&item) else { return true };
                joined = aggregate.join(joined, score * other.weight);
            }
            visit(item, joined)
        });
    }
}

fn list(db: &Db, args: &mut Args<'_>, out: Out<'_>, kind: Kind) -> Result<Done> {
    let weights = kind != Kind::Difference;
    let plan = Plan::parse(db, args, Allowed { weights, scores: true, limit: false })?;
    let with_scores = plan.with_scores;
    let set = plan.combine(db, kind);
    let mut items = list_of(out, set.len(), with_scores);
    for (item, score) in set.iter() {
        entry(&mut items, item, score, with_scores);
    }
    Ok(items.end())
}

fn keep(
    db: &mut Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    kind: Kind,
    event: &'static str,
) -> Result<Done> {
    let destination = args.key();
    let weights = kind != Kind::Difference;
    let plan = Plan::parse(db, args, Allowed { weights, scores: false, limit: false })?;
    let mut set = plan.combine(db, kind);
    set.shrink_to_fit(&db.limits);
    Ok(store(db, destination, set, event, out))
}

pub(super) fn zunion(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Kind::Union)
}

pub(super) fn zinter(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Kind::Intersection)
}

pub(super) fn zdiff(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Kind::Difference)
}

pub(super) fn zunionstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    keep(db, args, out, Kind::Union, "zunionstore")
}

pub(super) fn zinterstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    keep(db, args, out, Kind::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    keep(db, args, out, Kind::Difference, "zdiffstore")
}

pub(super) fn zintercard(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let allowed = Allowed { weights: false, scores: false, limit: true };
    let mut plan = Plan::parse(db, args, allowed)?;
    let (limit, mut shared) = (plan.limit, 0);
    plan.intersect(|_, _| {
        shared += 1;
        shared != limit
    });
    Ok(out.int(shared as i64))
}
