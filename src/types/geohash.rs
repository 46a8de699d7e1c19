//! Positions as 52-bit numbers, as GEOADD stores them in the scores of a sorted set.
//!
//! Longitude and latitude are cut into 2^26 steps each and their bits interleaved, so that near
//! points mostly have near scores, and a search is a handful of score ranges. Invariant: every
//! number is worked out in the same order of floating-point steps as in Redis, because scores,
//! coordinates and the order of unsorted results are compared to the last bit.

/// Steps (bits of each coordinate) of a score.
const STEPS: u32 = 26;
/// Radius of the sphere on which distances are taken, in metres.
const EARTH_RADIUS_M: f64 = 6372797.560856;
/// Half the length of the equator in the Mercator projection, in metres.
const MERCATOR_MAX_M: f64 = 20037726.37;
const DEGREE: f64 = std::f64::consts::PI / 180.0;

/// Longitudes that can be stored.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes that can be stored: the poles are cut off where the Mercator map is a square.
pub const LATITUDE_MAX: f64 = 85.05112878;

/// A closed interval of degrees.
#[derive(Clone, Copy)]
struct Span {
    min: f64,
    max: f64,
}

impl Span {
    const fn around_zero(max: f64) -> Span {
        Span { min: -max, max }
    }

    fn fixed_point(self, degrees: f64, steps: u32) -> u32 {
        let offset = (degrees - self.min) / (self.max - self.min);
        (offset * (1u64 << steps) as f64) as u32
    }

    /// The part of this span that the step number `at` stands for.
    fn part(self, at: u32, steps: u32) -> Span {
        let (size, scale) = ((1u64 << steps) as f64, self.max - self.min);
        Span {
            min: self.min + (f64::from(at) / size) * scale,
            max: self.min + (f64::from(at.wrapping_add(1)) / size) * scale,
        }
    }
}

const LONGITUDES: Span = Span::around_zero(LONGITUDE_MAX);
const LATITUDES: Span = Span::around_zero(LATITUDE_MAX);

/// A point in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Point {
    /// Whether a score can hold it.
    pub fn is_storable(&self) -> bool {
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&self.longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// The score that stands for this point; `None` when it cannot be stored.
    pub fn score(&self) -> Option<u64> {
        self.is_storable().then(|| Cell::around(*self, STEPS).bits)
    }

    /// The middle of the cell that `score` stands for.
    pub fn from_score(score: u64) -> Point {
        let (longitude, latitude) = Cell { bits: score, steps: STEPS }.spans();
        Point {
            longitude: ((longitude.min + longitude.max) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((latitude.min + latitude.max) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// Great-circle distance by the haversine formula, in metres.
    pub fn distance_m(&self, other: &Point) -> f64 {
        let (from, to) = (self.longitude * DEGREE, other.longitude * DEGREE);
        let v = ((to - from) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance_m(other);
        }
        let (from, to) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    fn latitude_distance_m(&self, other: &Point) -> f64 {
        EARTH_RADIUS_M * (other.latitude * DEGREE - self.latitude * DEGREE).abs()
    }
}

/// The standard 11-letter geohash of the point that `score` stands for.
pub fn geohash_text(score: u64) -> [u8; 11] {
    const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let point = Point::from_score(score);
    // The standard spans latitudes up to the poles, scores do not.
    let bits = interleave(
        Span::around_zero(90.0).fixed_point(point.latitude, STEPS),
        LONGITUDES.fixed_point(point.longitude, STEPS),
    );
    let mut text = [LETTERS[0]; 11];
    for (at, letter) in text.iter_mut().take(10).enumerate() {
        *letter = LETTERS[(bits >> (52 - (at + 1) * 5)) as usize & 31];
    }
    text
}

/// `even` in the even bits, `odd` in the odd ones.
fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

fn spread(bits: u32) -> u64 {
    const MASKS: [(u32, u64); 5] = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    MASKS.iter().fold(u64::from(bits), |x, (shift, mask)| (x | x << shift) & mask)
}

/// The even bits, moved together.
fn gather(bits: u64) -> u32 {
    const MASKS: [(u32, u64); 6] = [
        (0, 0x5555_5555_5555_5555),
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ];
    MASKS.iter().fold(bits, |x, (shift, mask)| (x | x >> shift) & mask) as u32
}

/// A rectangle of the map: the points whose coordinates begin with the same `steps` bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    bits: u64,
    steps: u32,
}

impl Cell {
    fn around(point: Point, steps: u32) -> Cell {
        let latitude = LATITUDES.fixed_point(point.latitude, steps);
        Cell { bits: interleave(latitude, LONGITUDES.fixed_point(point.longitude, steps)), steps }
    }

    /// (longitudes, latitudes)
    fn spans(self) -> (Span, Span) {
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        (LONGITUDES.part(longitude, self.steps), LATITUDES.part(latitude, self.steps))
    }

    /// The neighbour `east` columns and `north` rows away (-1, 0 or 1), around the world's edges.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let mask = u64::MAX >> (64 - self.steps * 2);
        // A carry runs through the other coordinate's bits, which are all set for it.
        let moved = |bits: u64, own: u64, by: i32| match by {
            1 => (bits & !own) | ((bits & own) + ((!own & mask) + 1)) & own & mask,
            -1 => {
                let gaps = !own & mask;
                (bits & !own) | ((bits & own) | gaps).wrapping_sub(gaps + 1) & own & mask
            }
            _ => bits,
        };
        let bits = moved(moved(self.bits, !EVEN, east), EVEN, north);
        Cell { bits, steps: self.steps }
    }

    /// Scores of this cell: from (included) and to (excluded).
    fn scores(self) -> (u64, u64) {
        let shift = 52 - self.steps * 2;
        (self.bits << shift, (self.bits + 1) << shift)
    }
}

/// What a search covers, in its own unit.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// BYRADIUS.
    Circle {
        /// In units.
        radius: f64,
    },
    /// BYBOX: parallel to the axes, around its centre.
    Rectangle {
        /// East to west, in units.
        width: f64,
        /// South to north, in units.
        height: f64,
    },
}

/// An area to search.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Where its middle is; a storable point.
    pub center: Point,
    /// Its form and size.
    pub shape: Shape,
    /// Metres in one unit of the size.
    pub unit_m: f64,
}

impl Area {
    /// The point of `score` and its distance from the centre in metres, if the area covers it.
    pub fn covers(&self, score: u64) -> Option<(Point, f64)> {
        let point = Point::from_score(score);
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance_m(&point);
                (distance <= radius * self.unit_m).then_some((point, distance))
            }
            Shape::Rectangle { width, height } => {
                if point.latitude_distance_m(&self.center) > height * self.unit_m / 2.0 {
                    return None;
                }
                let beside = Point { longitude: self.center.longitude, ..point };
                if point.distance_m(&beside) > width * self.unit_m / 2.0 {
                    return None;
                }
                Some((point, self.center.distance_m(&point)))
            }
        }
    }

    /// The score ranges (from, to excluded) that together hold every point of the area, in the
    /// order in which Redis walks them; unsorted results come in this order.
    pub fn score_ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        const ORDER: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let (longitudes, latitudes) = self.bounds();
        let mut steps = self.estimated_steps();
        let mut center = Cell::around(self.center, steps);
        if steps > 1 && !reaches(center, longitudes, latitudes) {
            steps -= 1;
            center = Cell::around(self.center, steps);
        }
        let (columns, rows) = center.spans();
        let needless = move |east: i32, north: i32| {
            steps >= 2
                && ((north < 0 && rows.min < latitudes.min)
                    || (north > 0 && rows.max > latitudes.max)
                    || (east < 0 && columns.min < longitudes.min)
                    || (east > 0 && columns.max > longitudes.max))
        };
        // Large areas have neighbours that are the same cell. Redis: the centre is not compared.
        let mut last = None;
        ORDER.into_iter().enumerate().filter_map(move |(at, (east, north))| {
            let cell = center.neighbour(east, north);
            if (at > 0 && needless(east, north)) || last == Some(cell) {
                return None;
            }
            last = (at > 0).then_some(cell);
            Some(cell.scores())
        })
    }

    /// The box around the area: (longitudes, latitudes).
    fn bounds(&self) -> (Span, Span) {
        let (half_width, half_height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Rectangle { width, height } => (width / 2.0, height / 2.0),
        };
        let (width, height) = (self.unit_m * half_width, self.unit_m * half_height);
        let Point { longitude, latitude } = self.center;
        let high = (height / EARTH_RADIUS_M) / DEGREE;
        // Degrees of longitude are shortest at the edge that is nearer to a pole.
        let edge = if latitude < 0.0 { latitude - high } else { latitude + high };
        let wide = (width / EARTH_RADIUS_M / (edge * DEGREE).cos()) / DEGREE;
        (
            Span { min: longitude - wide, max: longitude + wide },
            Span { min: latitude - high, max: latitude + high },
        )
    }

    /// How fine the cells can be so that nine of them still cover the area, nearly always.
    fn estimated_steps(&self) -> u32 {
        let mut radius_m = self.unit_m
            * match self.shape {
                Shape::Circle { radius } => radius,
                Shape::Rectangle { width, height } => {
                    let (width, height) = (width / 2.0, height / 2.0);
                    (width * width + height * height).sqrt()
                }
            };
        if radius_m == 0.0 {
            return STEPS;
        }
        let mut steps = 1i32;
        while radius_m < MERCATOR_MAX_M {
            radius_m *= 2.0;
            steps += 1;
        }
        steps -= 2;
        let latitude = self.center.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }
}

/// Whether the neighbours of `center` reach the edges of the box.
fn reaches(center: Cell, longitudes: Span, latitudes: Span) -> bool {
    center.neighbour(0, 1).spans().1.max >= latitudes.max
        && center.neighbour(0, -1).spans().1.min <= latitudes.min
        && center.neighbour(1, 0).spans().0.max >= longitudes.max
        && center.neighbour(-1, 0).spans().0.min <= longitudes.min
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::number::{format_f64, format_fixed, Extended};
    use crate::types::oracle::Oracle;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    fn any_point(rng: &mut SmallRng) -> Point {
        match rng.random_range(0..20) {
            0 => Point { longitude: [180.0, -180.0][rng.random_range(0..2)], latitude: 12.5 },
            1 => Point {
                longitude: 0.0,
                latitude: [85.05112878, -85.05112878, 0.0][rng.random_range(0..3)],
            },
            2..8 => Point {
                longitude: rng.random_range(13.0..13.8),
                latitude: rng.random_range(52.3..52.7),
            },
            _ => Point {
                longitude: rng.random_range(-180.0..=180.0),
                latitude: rng.random_range(-85.05..=85.05),
            },
        }
    }

    #[test]
    fn a_score_decodes_to_its_own_cell() {
        let mut rng = SmallRng::seed_from_u64(21);
        for _ in 0..10_000 {
            let point = any_point(&mut rng);
            let score = point.score().unwrap_or(u64::MAX);
            let back = Point::from_score(score);
            assert!((back.longitude - point.longitude).abs() < 3e-6);
            assert!((back.latitude - point.latitude).abs() < 3e-6);
            if point.latitude < LATITUDE_MAX && point.longitude < LONGITUDE_MAX {
                assert_eq!(back.score(), Some(score));
            }
        }
        assert_eq!(Point { longitude: 0.0, latitude: 86.0 }.score(), None);
        assert_eq!(Point { longitude: -180.1, latitude: 0.0 }.score(), None);
    }

    #[test]
    fn ranges_hold_every_covered_point() {
        let mut rng = SmallRng::seed_from_u64(22);
        for _ in 0..300 {
            let area = any_area(&mut rng);
            // At the date line, near the poles and with huge areas Redis itself misses points.
            let inside = area.bounds().0.min > -180.0 && area.bounds().0.max < 180.0;
            if !inside || area.center.latitude.abs() > 66.0 || area.estimated_steps() < 4 {
                continue;
            }
            let ranges: Vec<_> = area.score_ranges().collect();
            for _ in 0..200 {
                let score = any_point(&mut rng).score().unwrap_or(0);
                if area.covers(score).is_some_and(|(_, distance)| distance < 3_000_000.0) {
                    let held = ranges.iter().any(|(from, to)| (*from..*to).contains(&score));
                    assert!(held, "{area:?} {score}");
                }
            }
        }
    }

    fn any_area(rng: &mut SmallRng) -> Area {
        let center = any_point(rng);
        let size = |rng: &mut SmallRng| (10f64).powf(rng.random_range(0.0..7.3));
        let shape = if rng.random() {
            Shape::Circle { radius: size(rng) }
        } else {
            Shape::Rectangle { width: size(rng), height: size(rng) }
        };
        Area { center, shape, unit_m: [1.0, 1.0, 0.3048][rng.random_range(0..3)] }
    }

    fn words(words: &[String]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        write(&mut out);
        Some(out)
    }

    #[test]
    fn points_as_the_genuine_server_stores_them() {
        let Some(mut oracle) = Oracle::start() else { return };
        let mut rng = SmallRng::seed_from_u64(23);
        let points: Vec<Point> = (0..5_000).map(|_| any_point(&mut rng)).collect();
        let add = |name: &str, point: &Point| {
            let (longitude, latitude) = (point.longitude.to_string(), point.latitude.to_string());
            words(&["GEOADD".into(), "g".into(), longitude, latitude, name.into()])
        };
        let ask = |command: &str, tail: &[&str]| {
            let head = [command, "g"];
            words(&head.iter().chain(tail).map(|word| word.to_string()).collect::<Vec<_>>())
        };
        for pair in points.windows(2) {
            let replies = oracle.pipeline(&[
                ask("DEL", &[]),
                add("a", &pair[0]),
                add("b", &pair[1]),
                ask("ZSCORE", &["a"]),
                ask("GEOPOS", &["a"]),
                ask("GEOHASH", &["a"]),
                ask("GEODIST", &["a", "b"]),
            ]);
            let scores = (pair[0].score().unwrap_or(0), pair[1].score().unwrap_or(0));
            let at = Point::from_score(scores.0);
            assert_eq!(replies[3], [text(|out| out.extend(scores.0.to_string().bytes()))]);
            // Redis 7.4 prints coordinates as long doubles, 8.0 as doubles.
            let (east, north) = (at.longitude, at.latitude);
            let long =
                [east, north].map(|degrees| text(|out| Extended::from_f64(degrees).write_to(out)));
            let short = [east, north].map(|degrees| text(|out| format_f64(degrees, out)));
            assert!(replies[4] == long || replies[4] == short, "{pair:?}");
            assert_eq!(replies[5], [Some(geohash_text(scores.0).to_vec())]);
            let distance_m = at.distance_m(&Point::from_score(scores.1));
            assert_eq!(replies[6], [text(|out| format_fixed(distance_m, 4, out))], "{pair:?}");
        }
    }

    #[test]
    fn searches_come_in_the_genuine_order() {
        let Some(mut oracle) = Oracle::start() else { return };
        let mut rng = SmallRng::seed_from_u64(24);
        let mut stored: Vec<(u64, String)> = (0..3_000)
            .map(|at| (any_point(&mut rng).score().unwrap_or(0), format!("m{at:05}")))
            .collect();
        stored.sort();
        for (score, name) in &stored {
            oracle.call(&["ZADD", "g", &score.to_string(), name]);
        }
        for _ in 0..1_500 {
            let area = any_area(&mut rng);
            let (longitude, latitude) =
                (area.center.longitude.to_string(), area.center.latitude.to_string());
            let unit = if area.unit_m == 1.0 { "m" } else { "ft" };
            let mut command: Vec<String> =
                ["GEOSEARCH", "g", "FROMLONLAT", &longitude, &latitude].map(String::from).to_vec();
            match area.shape {
                Shape::Circle { radius } => {
                    command.extend(["BYRADIUS".into(), radius.to_string(), unit.into()]);
                }
                Shape::Rectangle { width, height } => command.extend([
                    "BYBOX".into(),
                    width.to_string(),
                    height.to_string(),
                    unit.into(),
                ]),
            }
            command.push("WITHDIST".into());
            let theirs = oracle.pipeline(&[words(&command)]).pop().unwrap_or_default();
            let mut ours = Vec::new();
            for (from, to) in area.score_ranges() {
                let first = stored.partition_point(|(score, _)| *score < from);
                for (score, name) in stored[first..].iter().take_while(|(score, _)| *score < to) {
                    if let Some((_, distance_m)) = area.covers(*score) {
                        ours.push(Some(name.as_bytes().to_vec()));
                        ours.push(text(|out| format_fixed(distance_m / area.unit_m, 4, out)));
                    }
                }
            }
            assert_eq!(ours.len(), theirs.len(), "{area:?}");
            assert!(ours == theirs, "{area:?}");
        }
    }
}
