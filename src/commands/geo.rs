//! Positions in sorted sets: GEOADD and its family. A member's score is its geohash of 52 bits;
//! what the searches have in common is in `search`.

mod search;

use super::sorted_sets;
use crate::command::args::{Args, Word};
use crate::command::row::{read, write, Family};
use crate::command::spec::{Begin, Find, KeySpec};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Items, Out};
use crate::types::geohash::{geohash_text, Point};
use crate::types::number::{format_fixed, parse_f64};
use crate::types::sorted_set::{AddRule, SortedSet};

/// Metres in a unit, by its name.
fn unit_m(name: &[u8]) -> Result<f64> {
    match &*Word::of(name) {
        "M" => Ok(1.0),
        "KM" => Ok(1000.0),
        "FT" => Ok(0.3048),
        "MI" => Ok(1609.34),
        _ => Err(Error::GeoUnit),
    }
}

const fn first_key(access: &'static [&'static str]) -> KeySpec {
    let find = Find::Range { last: 0, step: 1, limit: 0 };
    KeySpec { begin: Begin::Index(1), find, access }
}

const fn stored_key(word: &'static str, from: i32) -> KeySpec {
    let find = Find::Range { last: 0, step: 1, limit: 0 };
    KeySpec { begin: Begin::Keyword(word, from), find, access: &["OW", "update"] }
}

/// The rows of this family.
pub const FAMILY: Family = Family {
    group: "geo",
    rows: &[
        write(
            "GEOADD key [NX | XX] [CH] longitude latitude member \
             [longitude latitude member ...]",
            geoadd,
        )
        .grows()
        .since("3.2.0")
        .about("Adds members with positions, or moves those that are there.")
        .cost("O(log(N)) for each member"),
        read("GEODIST key member1 member2 [M | KM | FT | MI]", geodist)
            .since("3.2.0")
            .about("Tells the distance between two members.")
            .cost("O(1)"),
        read("GEOHASH key [member [member ...]]", geohash)
            .since("3.2.0")
            .about("Tells the positions of members as geohash strings.")
            .cost("O(1) for each member"),
        read("GEOPOS key [member [member ...]]", geopos)
            .since("3.2.0")
            .about("Tells the longitudes and latitudes of members.")
            .cost("O(1) for each member"),
        read(
            "GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> \
             <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> \
             [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
            search::geosearch,
        )
        .since("6.2.0")
        .about("Lists the members inside a circle or a box.")
        .cost("O(log(N)+M) for M members in the cells around the area"),
        write(
            "GEOSEARCHSTORE destination source \
             <FROMMEMBER member | FROMLONLAT longitude latitude> \
             <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> \
             [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
            search::geosearchstore,
        )
        .grows()
        .since("6.2.0")
        .about("Stores the members inside a circle or a box.")
        .cost("O(log(N)+M) for M members in the cells around the area"),
        write(
            "GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
             [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
            search::georadius,
        )
        .grows()
        .since("3.2.0")
        .about("Lists or stores the members around a position.")
        .cost("O(log(N)+M) for M members in the cells around the area")
        .keys(&[
            first_key(&["RO", "access"]),
            stored_key("STORE", 6),
            stored_key("STOREDIST", 6),
        ]),
        write(
            "GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
             [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
            search::georadiusbymember,
        )
        .grows()
        .since("3.2.0")
        .about("Lists or stores the members around a member.")
        .cost("O(log(N)+M) for M members in the cells around the area")
        .keys(&[
            first_key(&["RO", "access"]),
            stored_key("STORE", 5),
            stored_key("STOREDIST", 5),
        ]),
        read(
            "GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] \
             [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
            search::georadius_ro,
        )
        .since("3.2.10")
        .about("Lists the members around a position.")
        .cost("O(log(N)+M) for M members in the cells around the area"),
        read(
            "GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
             [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
            search::georadiusbymember_ro,
        )
        .since("3.2.10")
        .about("Lists the members around a member.")
        .cost("O(log(N)+M) for M members in the cells around the area"),
    ],
};

/// A longitude and a latitude that can be stored.
fn position(longitude: &[u8], latitude: &[u8]) -> Result<Point> {
    let longitude = parse_f64(longitude).ok_or(Error::NotFloat)?;
    let latitude = parse_f64(latitude).ok_or(Error::NotFloat)?;
    let point = Point { longitude, latitude };
    if point.is_storable() {
        return Ok(point);
    }
    Err(Error::of(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// Where a member is.
fn member_position(set: &SortedSet, member: &[u8]) -> Option<Point> {
    set.score(member).map(|score| Point::from_score(score as u64))
}

/// A distance with four digits behind the point.
fn with_distance<R>(distance: f64, write: impl FnOnce(&[u8]) -> R) -> R {
    let mut text = Vec::with_capacity(24);
    format_fixed(distance, 4, &mut text);
    write(&text)
}

/// A pair of coordinates.
fn coordinates(items: &mut Items<'_>, point: Point) {
    items.array(2);
    items.double(point.longitude);
    items.double(point.latitude);
}

fn geoadd(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let mut rule = AddRule::default();
    let mut counts_updates = false;
    let options_from = args.all().len() - args.left();
    while let Some(word) = args.peek() {
        match &*Word::of(word) {
            "NX" => rule.only_new = true,
            "XX" => rule.only_present = true,
            "CH" => counts_updates = true,
            _ => break,
        }
        args.skip(1);
    }
    let options = &args.all()[options_from..args.all().len() - args.left()];
    let triples = args.rest();
    if triples.is_empty()
        || !triples.len().is_multiple_of(3)
        || (rule.only_new && rule.only_present)
    {
        return Err(Error::Syntax);
    }
    let mut entries = Vec::with_capacity(triples.len() / 3);
    for triple in triples.chunks_exact(3) {
        let score = position(triple[0], triple[1])?.score().unwrap_or(0);
        entries.push((score as f64, triple[2]));
    }
    let (added, updated) = sorted_sets::add_all(db, key, &entries, rule)?;
    if added + updated > 0 && db.is_logged() {
        let mut form: Vec<Vec<u8>> = vec![b"zadd".to_vec(), key.to_vec()];
        form.extend(options.iter().map(|option| option.to_vec()));
        for (score, member) in &entries {
            form.push(itoa::Buffer::new().format(*score as u64).as_bytes().to_vec());
            form.push(member.to_vec());
        }
        db.replay_as(&form);
    }
    Ok(out.int(if counts_updates { added + updated } else { added } as i64))
}

fn geodist(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, from, to) = (args.key(), args.bytes(), args.bytes());
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    let unit_m = args.peek().map_or(Ok(1.0), unit_m)?;
    let ends = db
        .get::<SortedSet>(key)?
        .and_then(|set| Some((member_position(set, from)?, member_position(set, to)?)));
    Ok(match ends {
        Some((from, to)) => with_distance(from.distance_m(&to) / unit_m, |text| out.bulk(text)),
        None => out.null(),
    })
}

fn geohash(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    let mut items = out.array(args.left());
    for member in args.rest() {
        match set.and_then(|set| set.score(member)) {
            Some(score) => items.bulk(&geohash_text(score as u64)),
            None => items.null(),
        }
    }
    Ok(items.end())
}

fn geopos(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    let mut items = out.array(args.left());
    for member in args.rest() {
        match set.and_then(|set| member_position(set, member)) {
            Some(point) => coordinates(&mut items, point),
            None => items.null_array(),
        }
    }
    Ok(items.end())
}
