//! What a Redis server 7.0.15 scored, printed and found when given the same points.

use base::hash::HashSeed;

use super::*;
use crate::ranked::{RankedSet, ScoreBound};

/// The generator that the recorded points and searches came from.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Draws a point near Sicily or anywhere, in ten-thousandths of a degree.
    fn point(&mut self, near: bool) -> Point {
        let (west, width, south, height) = if near {
            (133_000, 20_000, 380_000, 20_000)
        } else {
            (-1_800_000, 3_600_001, -850_500, 1_701_001)
        };
        let longitude = (west + self.below(width) as i64) as f64 / 1e4;
        let latitude = (south + self.below(height) as i64) as f64 / 1e4;
        Point { longitude, latitude }
    }
}

#[derive(PartialEq, Debug)]
struct Fnv(u64);

impl Fnv {
    const EMPTY: Fnv = Fnv(0xcbf2_9ce4_8422_2325);

    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn points() -> Vec<Point> {
    let mut draws = Draws(1);
    let mut points: Vec<Point> = (0..3000).map(|index| draws.point(index >= 2000)).collect();
    points.extend(
        [(-180.0, -85.05), (180.0, 85.05), (0.0, 0.0)]
            .map(|(longitude, latitude)| Point { longitude, latitude }),
    );
    points
}

#[test]
fn scores_texts_and_distances_equal_those_of_redis() {
    let (mut scores, mut texts, mut distances) = (Fnv::EMPTY, Fnv::EMPTY, Fnv::EMPTY);
    let mut before = None;
    for point in points() {
        assert!(point.is_valid());
        let bits = point.encode();
        let decoded = Point::decode(bits);
        scores.add(&format!("{bits}\n"));
        texts.add(&format!("{}\n", str::from_utf8(&decoded.geohash_text()).unwrap()));
        if let Some(before) = before {
            distances.add(&format!("{:.4}\n", decoded.distance(before)));
        }
        before = Some(decoded);
    }
    assert_eq!(scores, Fnv(0x03c3_cf27_7257_3413));
    assert_eq!(texts, Fnv(0xbfca_e57f_1e78_9a8c));
    assert_eq!(distances, Fnv(0xc58d_6f50_1c9d_9001));
}

#[test]
fn searches_find_what_redis_finds_in_its_order() {
    let mut set = RankedSet::new(HashSeed([3, 4]));
    for (index, point) in points().into_iter().enumerate() {
        set.insert(format!("p{index}").as_bytes(), point.encode() as f64);
    }
    let (mut found, mut total) = (Fnv::EMPTY, 0);
    let mut draws = Draws(2);
    for _ in 0..1500 {
        let near = draws.below(2) == 1;
        let center = draws.point(near);
        let unit_m = [1.0, 1000.0, 0.3048, 1609.34][draws.below(4) as usize];
        let magnitude = draws.below(8) as u32;
        let is_box = draws.below(2) == 1;
        let mut size = || ((1 + draws.below(1000)) * 10u64.pow(magnitude)) as f64 / 1e3;
        let width = size();
        let shape =
            if is_box { Shape::Box { width, height: size() } } else { Shape::Circle { radius: width } };
        let search = Search { center, shape, unit_m };
        for (from, to) in search.score_ranges() {
            let ranks = set.range_by_score(ScoreBound::inclusive(from), ScoreBound::exclusive(to));
            for (member, score) in set.range(ranks) {
                if let Some(distance) = search.distance_inside(Point::from_score(score)) {
                    found.add(&format!("{} {:.4}\n", str::from_utf8(member).unwrap(), distance / unit_m));
                    total += 1;
                }
            }
        }
        found.add(".");
    }
    assert_eq!(total, 1_077_184);
    assert_eq!(found, Fnv(0x86fd_bd2a_be1f_62cd));
}

#[test]
fn a_known_point_has_its_known_text() {
    let point = Point { longitude: 13.361389, latitude: 38.115556 };
    assert_eq!(point.encode(), 3_479_099_956_230_698);
    let decoded = Point::decode(point.encode());
    assert_eq!(decoded, Point { longitude: 13.361389338970184, latitude: 38.1155563954963 });
    assert_eq!(&decoded.geohash_text(), b"sqc8b49rny0");
    let catania = Point::decode(Point { longitude: 15.087269, latitude: 37.502669 }.encode());
    assert_eq!(format!("{:.4}", decoded.distance(catania)), "166274.1516");
}

#[test]
fn scores_of_other_sorted_sets_are_read_without_panic() {
    for score in [-1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 0.5, 18_446_744_073_709_551_615.0] {
        assert!(Point::from_score(score).is_valid());
    }
    assert_eq!(score_bits(-1.0), u64::MAX);
    assert_eq!(score_bits(9_223_372_036_854_775_808.0), 1 << 63);
}

#[test]
fn searches_of_any_size_are_answered() {
    for radius in [0.0, f64::MIN_POSITIVE, 1e-9, 1e9, f64::MAX, f64::INFINITY] {
        for latitude in [LATITUDE_MIN, -67.0, 0.0, 81.0, LATITUDE_MAX] {
            for longitude in [LONGITUDE_MIN, 0.0, LONGITUDE_MAX] {
                let center = Point { longitude, latitude };
                for shape in [Shape::Circle { radius }, Shape::Box { width: radius, height: 1.0 }] {
                    let search = Search { center, shape, unit_m: 1000.0 };
                    let score = center.encode() as f64;
                    assert!(search.score_ranges().all(|(from, to)| from < to));
                    assert!(search.score_ranges().any(|(from, to)| from <= score && score < to));
                }
            }
        }
    }
}
