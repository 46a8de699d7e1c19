//! Searches by area: GEOSEARCH, the older GEORADIUS forms, and their storing variants.

use super::{coordinates, member_position, position, unit_m, with_distance};
use crate::command::args::Args;
use crate::commands::sorted_sets::store;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};
use crate::types::geohash::{Area, Point, Shape};
use crate::types::number::{parse_f64, parse_i64};
use crate::types::sorted_set::{Gather, ScoreBound, SortedSet};

/// Which command asks.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// GEOSEARCH
    Search,
    /// GEOSEARCHSTORE
    SearchStore,
    /// GEORADIUS
    Radius { read_only: bool },
    /// GEORADIUSBYMEMBER
    RadiusByMember { read_only: bool },
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(
            self,
            Form::Radius { read_only: false } | Form::RadiusByMember { read_only: false }
        )
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Ascending,
    Descending,
}

/// The area, as far as it is known, and the options.
struct Query<'a> {
    center: Option<Point>,
    /// FROMMEMBER was read, though its key is not there.
    from_member: bool,
    from_position: bool,
    shape: Option<(Shape, f64)>,
    by_box: bool,
    destination: Option<&'a [u8]>,
    stores_distance: bool,
    with_distance: bool,
    with_hash: bool,
    with_coordinates: bool,
    order: Option<Order>,
    /// 0 is all.
    count: usize,
    any: bool,
}

/// One member found.
struct Hit {
    member: Vec<u8>,
    score: f64,
    point: Point,
    distance_m: f64,
}

fn size(text: &[u8], refusal: Error) -> Result<f64> {
    parse_f64(text).ok_or(refusal)
}

fn circle(radius: &[u8], unit: &[u8]) -> Result<(Shape, f64)> {
    let radius = size(radius, Error::GeoRadiusNotNumber)?;
    if radius < 0.0 {
        return Err(Error::GeoRadiusNegative);
    }
    Ok((Shape::Circle { radius }, unit_m(unit)?))
}

fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Shape, f64)> {
    let width = size(width, Error::GeoWidthNotNumber)?;
    let height = size(height, Error::GeoHeightNotNumber)?;
    if width < 0.0 || height < 0.0 {
        return Err(Error::GeoBoxNegative);
    }
    Ok((Shape::Rectangle { width, height }, unit_m(unit)?))
}

impl<'a> Query<'a> {
    fn parse(form: Form, set: Option<&SortedSet>, args: &mut Args<'a>) -> Result<Query<'a>> {
        let mut query = Query {
            center: None,
            from_member: false,
            from_position: false,
            shape: None,
            by_box: false,
            destination: None,
            stores_distance: false,
            with_distance: false,
            with_hash: false,
            with_coordinates: false,
            order: None,
            count: 0,
            any: false,
        };
        query.parse_fixed(form, set, args)?;
        while let Some(option) = args.option() {
            let known = query.parse_option(&option, form, args)?
                || form.is_search() && query.parse_area(&option, set, args)?;
            if !known {
                return Err(Error::Syntax);
            }
        }
        query.check(form, args)?;
        Ok(query)
    }

    /// The words with a fixed place in the older forms.
    fn parse_fixed(
        &mut self,
        form: Form,
        set: Option<&SortedSet>,
        args: &mut Args<'a>,
    ) -> Result<()> {
        match form {
            Form::Search | Form::SearchStore => return Ok(()),
            Form::Radius { .. } => self.center = Some(position(args.bytes(), args.bytes())?),
            Form::RadiusByMember { .. } => {
                let member = args.bytes();
                // Redis: without the key, radius and unit are not even looked at.
                let Some(set) = set else {
                    args.skip(2);
                    return Ok(());
                };
                self.center = Some(member_position(set, member).ok_or(Error::GeoMember)?);
            }
        }
        self.shape = Some(circle(args.bytes(), args.bytes())?);
        Ok(())
    }

    /// Options of every form; false when it is none of them.
    fn parse_option(&mut self, option: &str, form: Form, args: &mut Args<'a>) -> Result<bool> {
        match option {
            "WITHDIST" => self.with_distance = true,
            "WITHHASH" => self.with_hash = true,
            "WITHCOORD" => self.with_coordinates = true,
            "ANY" => self.any = true,
            "ASC" => self.order = Some(Order::Ascending),
            "DESC" => self.order = Some(Order::Descending),
            "COUNT" if !args.is_done() => {
                let count = parse_i64(args.bytes()).ok_or(Error::NotInteger)?;
                if count <= 0 {
                    return Err(Error::CountNotPositive);
                }
                self.count = count as usize;
            }
            "STORE" | "STOREDIST" if form.may_store() && !args.is_done() => {
                self.destination = Some(args.key());
                self.stores_distance = option == "STOREDIST";
            }
            "STOREDIST" if form == Form::SearchStore => self.stores_distance = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Where to search, in the newer forms; false when it is something else.
    fn parse_area(
        &mut self,
        option: &str,
        set: Option<&SortedSet>,
        args: &mut Args<'a>,
    ) -> Result<bool> {
        match option {
            "FROMMEMBER" if !self.from_position && !args.is_done() => {
                let member = args.bytes();
                self.from_member = true;
                if let Some(set) = set {
                    self.center = Some(member_position(set, member).ok_or(Error::GeoMember)?);
                }
            }
            "FROMLONLAT" if !self.from_member && args.left() >= 2 => {
                self.center = Some(position(args.bytes(), args.bytes())?);
                self.from_position = true;
            }
            "BYRADIUS" if !self.by_box && args.left() >= 2 => {
                self.shape = Some(circle(args.bytes(), args.bytes())?);
            }
            "BYBOX" if (self.by_box || self.shape.is_none()) && args.left() >= 3 => {
                self.shape = Some(rectangle(args.bytes(), args.bytes(), args.bytes())?);
                self.by_box = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What must and must not come together.
    fn check(&self, form: Form, args: &Args<'_>) -> Result<()> {
        let stores = self.destination.is_some() || form == Form::SearchStore;
        if stores && (self.with_distance || self.with_hash || self.with_coordinates) {
            let who = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(Error::of(format!(
                "ERR {who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let typed = || args.all().first().copied().unwrap_or_default();
        if form.is_search() && !(self.from_member || self.from_position) {
            return Err(Error::showing(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}",
                &[typed()],
            ));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(Error::showing(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {}",
                &[typed()],
            ));
        }
        if self.any && self.count == 0 {
            return Err(Error::GeoAnyWithoutCount);
        }
        Ok(())
    }

    /// The members found, in the order and number asked for, and metres in the unit.
    fn run(&self, set: &SortedSet) -> (Vec<Hit>, f64) {
        let (Some(center), Some((shape, unit_m))) = (self.center, self.shape) else {
            return (Vec::new(), 1.0);
        };
        let area = Area { center, shape, unit_m };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut hits = Vec::new();
        'areas: for (from, to) in area.score_ranges() {
            let min = ScoreBound { score: from as f64, exclusive: false };
            let max = ScoreBound { score: to as f64, exclusive: true };
            let (from, to) = set.ranks_by_score(&min, &max);
            for (item, score) in set.range(from, to, false) {
                if hits.len() >= enough {
                    break 'areas;
                }
                if let Some((point, distance_m)) = area.covers(score as u64) {
                    hits.push(Hit { member: item.to_vec(), score, point, distance_m });
                }
            }
        }
        // Redis: the nearest few only make sense in order.
        let order = self.order.or((self.count > 0 && !self.any).then_some(Order::Ascending));
        match order {
            Some(Order::Ascending) => {
                hits.sort_by(|hit, other| hit.distance_m.total_cmp(&other.distance_m))
            }
            Some(Order::Descending) => {
                hits.sort_by(|hit, other| other.distance_m.total_cmp(&hit.distance_m))
            }
            None => {}
        }
        if self.count > 0 {
            hits.truncate(self.count);
        }
        (hits, unit_m)
    }

    fn reply(&self, out: Out<'_>, hits: &[Hit], unit_m: f64) -> Done {
        let extras = [self.with_distance, self.with_hash, self.with_coordinates];
        let extras = extras.iter().filter(|wanted| **wanted).count();
        let mut items = out.array(hits.len());
        for hit in hits {
            if extras > 0 {
                items.array(extras + 1);
            }
            items.bulk(&hit.member);
            if self.with_distance {
                with_distance(hit.distance_m / unit_m, |text| items.bulk(text));
            }
            if self.with_hash {
                items.int(hit.score as i64);
            }
            if self.with_coordinates {
                coordinates(&mut items, hit.point);
            }
        }
        items.end()
    }

    /// Stores what was found at `key`.
    fn keep(
        &self,
        db: &mut Db,
        key: &[u8],
        (hits, unit_m): (Vec<Hit>, f64),
        event: &'static str,
        out: Out<'_>,
    ) -> Done {
        let mut gather = Gather::new(&db.limits);
        for hit in hits {
            let score = if self.stores_distance { hit.distance_m / unit_m } else { hit.score };
            gather.put(&hit.member, score, |_, new| new);
        }
        let mut stored = gather.finish();
        stored.shrink_to_fit(&db.limits);
        store(db, key, stored, event, out)
    }
}

fn list(db: &Db, args: &mut Args<'_>, out: Out<'_>, form: Form) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    let query = Query::parse(form, set, args)?;
    let (hits, unit_m) = set.map_or((Vec::new(), 1.0), |set| query.run(set));
    Ok(query.reply(out, &hits, unit_m))
}

fn list_or_keep(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, form: Form) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    let query = Query::parse(form, set, args)?;
    let found = set.map_or((Vec::new(), 1.0), |set| query.run(set));
    Ok(match query.destination {
        Some(key) => query.keep(db, key, found, "georadiusstore", out),
        None => query.reply(out, &found.0, found.1),
    })
}

pub(super) fn geosearch(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Form::Search)
}

pub(super) fn geosearchstore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let destination = args.key();
    let set = db.get::<SortedSet>(args.key())?;
    let query = Query::parse(Form::SearchStore, set, args)?;
    let found = set.map_or((Vec::new(), 1.0), |set| query.run(set));
    Ok(query.keep(db, destination, found, "geosearchstore", out))
}

pub(super) fn georadius(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list_or_keep(db, args, out, Form::Radius { read_only: false })
}

pub(super) fn georadiusbymember(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list_or_keep(db, args, out, Form::RadiusByMember { read_only: false })
}

pub(super) fn georadius_ro(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Form::Radius { read_only: true })
}

pub(super) fn georadiusbymember_ro(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Form::RadiusByMember { read_only: true })
}
