//! Points on the earth as 52-bit numbers that sort near points together, and searches over such numbers.
//!
//! Owns the encoding, distances, and which cells a search has to look through. Leaves the sorted set that holds
//! the numbers as scores, units and replies to others. Every formula follows Redis to the last bit, as scores
//! and printed distances are compared.
//!
//! ```text
//! longitude -180…180 and latitude -85.05…85.05, each a fraction of its range in 26 bits, interleaved:
//!
//!   bit  51  50  49  48  …  1   0
//!        lon lat lon lat … lon lat       a cell of n steps is the first 2n bits
//! ```

/// Steps of a full encoding, one bit of longitude and one of latitude each.
pub const STEPS_MAX: u32 = 26;
pub const LONGITUDE_MIN: f64 = -180.0;
pub const LONGITUDE_MAX: f64 = 180.0;
/// Where the square Mercator map ends; nearer to the poles nothing can be encoded.
pub const LATITUDE_MIN: f64 = -85.051_128_78;
pub const LATITUDE_MAX: f64 = 85.051_128_78;

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the circumference at the equator of the Mercator map.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

/// Bits that say something about longitude, and those about latitude.
const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;

/// A place on earth in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// Returns whether the point can be encoded.
    pub fn is_valid(self) -> bool {
        (LONGITUDE_MIN..=LONGITUDE_MAX).contains(&self.longitude)
            && (LATITUDE_MIN..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// Returns the 52 bits that stand for a valid point.
    pub fn encode(self) -> u64 {
        Cell::at(self, STEPS_MAX).bits
    }

    /// Returns the middle of the cell that 52 bits stand for.
    pub fn decode(bits: u64) -> Point {
        let area = Cell { bits, steps: STEPS_MAX }.area();
        Point {
            longitude: area.longitude.middle().clamp(LONGITUDE_MIN, LONGITUDE_MAX),
            latitude: area.latitude.middle().clamp(LATITUDE_MIN, LATITUDE_MAX),
        }
    }

    /// Returns the point that the score of a sorted set stands for, whether or not it was made by `encode`.
    pub fn from_score(score: f64) -> Point {
        Point::decode(score_bits(score))
    }

    /// Returns the standard geohash of the point, which covers all latitudes, in 11 characters of base 32.
    pub fn geohash_text(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let longitude = fixed_point(self.longitude, Interval::new(-180.0, 180.0), STEPS_MAX);
        let latitude = fixed_point(self.latitude, Interval::new(-90.0, 90.0), STEPS_MAX);
        let bits = interleave(latitude, longitude);
        // 52 bits are ten characters of five; the eleventh is always the first of the alphabet.
        std::array::from_fn(|index| match index {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - (index + 1) * 5)) as usize & 31],
        })
    }

    /// Returns the distance to another point along the surface, in metres.
    pub fn distance(self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance(other);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    /// Returns the distance in metres that the latitudes alone make.
    fn latitude_distance(self, other: Point) -> f64 {
        EARTH_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }
}

/// The outline of a search, in units of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// What a search covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// A valid point.
    pub center: Point,
    pub shape: Shape,
    /// Metres per unit of the shape.
    pub unit_m: f64,
}

impl Search {
    /// Returns the distance of a point from the centre in metres if the point is inside.
    pub fn distance_inside(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance(point);
                // The far side of the earth can be at a distance of NaN, which is inside.
                if distance > radius * self.unit_m { None } else { Some(distance) }
            }
            Shape::Box { width, height } => {
                // The latitude is compared first, being cheaper.
                if point.latitude_distance(self.center) > height * self.unit_m / 2.0 {
                    return None;
                }
                let beside = Point { latitude: point.latitude, ..self.center };
                if point.distance(beside) > width * self.unit_m / 2.0 {
                    return None;
                }
                Some(self.center.distance(point))
            }
        }
    }

    /// Returns the intervals of scores, from and up to but without, that hold every point inside.
    ///
    /// They come in the order in which Redis looks through them, which shows in unsorted results.
    pub fn score_ranges(&self) -> impl Iterator<Item = (f64, f64)> {
        let cells = self.cells();
        // With huge shapes neighbours coincide. Only runs of the same cell are noticed, and never one that
        // repeats the centre: looking through a cell twice is part of what clients see.
        let mut last = 0;
        (0..cells.len()).filter_map(move |index| {
            let cell = cells[index]?;
            if last > 0 && cells[last] == Some(cell) {
                return None;
            }
            last = index;
            Some(cell.scores())
        })
    }

    /// Returns the cell of the centre and those of its neighbours that the shape reaches.
    fn cells(&self) -> [Option<Cell>; 9] {
        let bounds = self.bounds();
        let mut steps = steps_for_radius(self.reach_m(), self.center.latitude);
        // Near an edge of its cell the centre may be too close to the far side of a neighbour.
        if steps > 1 && Cell::at(self.center, steps).neighbours_fall_short(&bounds) {
            steps -= 1;
        }
        let center = Cell::at(self.center, steps);
        let area = center.area();
        // Far smaller cells than the shape: neighbours on a side that the centre's cell covers are not needed.
        let prune = steps >= 2;
        let no_south = prune && area.latitude.min < bounds.latitude.min;
        let no_north = prune && area.latitude.max > bounds.latitude.max;
        let no_west = prune && area.longitude.min < bounds.longitude.min;
        let no_east = prune && area.longitude.max > bounds.longitude.max;
        const ORDER: [(i8, i8); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        ORDER.map(|(east, north)| {
            let pruned =
                north < 0 && no_south || north > 0 && no_north || east < 0 && no_west || east > 0 && no_east;
            (!pruned).then(|| center.neighbour(east, north))
        })
    }

    /// Returns the distance in metres from the centre to the farthest point of the shape.
    fn reach_m(&self) -> f64 {
        let reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        reach * self.unit_m
    }

    /// Returns the degrees that the shape spans.
    fn bounds(&self) -> Area {
        let (half_width, half_height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let Point { longitude, latitude } = self.center;
        let latitude_delta = degrees(self.unit_m * half_height / EARTH_RADIUS_M);
        // A degree of longitude is shortest on the side nearer to the pole, where the shape spans most of them.
        let polar = if latitude < 0.0 { latitude - latitude_delta } else { latitude + latitude_delta };
        let longitude_delta = degrees(self.unit_m * half_width / EARTH_RADIUS_M / radians(polar).cos());
        Area {
            longitude: Interval::new(longitude - longitude_delta, longitude + longitude_delta),
            latitude: Interval::new(latitude - latitude_delta, latitude + latitude_delta),
        }
    }
}

/// The area that the first `2 * steps` bits of an encoding stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    steps: u32,
}

impl Cell {
    /// Returns the cell that a valid point is in.
    fn at(point: Point, steps: u32) -> Cell {
        debug_assert!(point.is_valid(), "{point:?} is refused before it gets here");
        let longitude = fixed_point(point.longitude, Interval::LONGITUDE, steps);
        let latitude = fixed_point(point.latitude, Interval::LATITUDE, steps);
        Cell { bits: interleave(latitude, longitude), steps }
    }

    /// Returns the degrees that the cell spans.
    fn area(self) -> Area {
        let (latitude, longitude) = deinterleave(self.bits);
        let span = |index: u32, whole: Interval| {
            let at = |index: u32| {
                whole.min + f64::from(index) / (1u64 << self.steps) as f64 * (whole.max - whole.min)
            };
            Interval::new(at(index), at(index.wrapping_add(1)))
        };
        Area { longitude: span(longitude, Interval::LONGITUDE), latitude: span(latitude, Interval::LATITUDE) }
    }

    /// Returns the cell some cells to the east and to the north; beyond the edges of the map it starts over.
    fn neighbour(self, east: i8, north: i8) -> Cell {
        let unused = 64 - 2 * self.steps;
        Cell {
            bits: shifted(self.bits, LONGITUDE_BITS, unused, east)
                | shifted(self.bits, LATITUDE_BITS, unused, north),
            ..self
        }
    }

    /// Returns whether the cells around this one end before `bounds` do, on any side.
    fn neighbours_fall_short(self, bounds: &Area) -> bool {
        self.neighbour(0, 1).area().latitude.max < bounds.latitude.max
            || self.neighbour(0, -1).area().latitude.min > bounds.latitude.min
            || self.neighbour(1, 0).area().longitude.max < bounds.longitude.max
            || self.neighbour(-1, 0).area().longitude.min > bounds.longitude.min
    }

    /// Returns the scores of the points inside: from, and up to but without.
    fn scores(self) -> (f64, f64) {
        let unused = 2 * (STEPS_MAX - self.steps);
        ((self.bits << unused) as f64, ((self.bits + 1) << unused) as f64)
    }
}

/// Degrees from the west to the east and from the south to the north.
#[derive(Clone, Copy)]
struct Area {
    longitude: Interval,
    latitude: Interval,
}

#[derive(Clone, Copy)]
struct Interval {
    min: f64,
    max: f64,
}

impl Interval {
    const LONGITUDE: Interval = Interval::new(LONGITUDE_MIN, LONGITUDE_MAX);
    const LATITUDE: Interval = Interval::new(LATITUDE_MIN, LATITUDE_MAX);

    const fn new(min: f64, max: f64) -> Interval {
        Interval { min, max }
    }

    fn middle(self) -> f64 {
        (self.min + self.max) / 2.0
    }
}

/// Returns how many steps give cells that are about as large as a circle, so that nine of them cover it.
fn steps_for_radius(mut radius_m: f64, latitude: f64) -> u32 {
    if radius_m == 0.0 {
        return STEPS_MAX;
    }
    let mut steps = 1i32;
    while radius_m < MERCATOR_MAX_M {
        radius_m *= 2.0;
        steps += 1;
    }
    steps -= 2;
    // The map stretches towards the poles, so its cells cover less there.
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// Returns one coordinate of a cell moved by `by`, of -1, 0 or 1; `mask` has its bits, `unused` are above the cell.
fn shifted(bits: u64, mask: u64, unused: u32, by: i8) -> u64 {
    let (own, others) = (bits & mask, !mask >> unused);
    // With the bits between its own ones filled, a carry runs through them; with those cleared, a borrow does.
    let moved = match by {
        0 => return own,
        1.. => own.wrapping_add(others + 1),
        ..0 => (own | others).wrapping_sub(others + 1),
    };
    moved & mask >> unused
}

/// Returns which of the `2^steps` parts of an interval `value` is in.
fn fixed_point(value: f64, whole: Interval, steps: u32) -> u32 {
    ((value - whole.min) / (whole.max - whole.min) * (1u64 << steps) as f64) as u32
}

/// Returns the bits of `even` and `odd` taking turns, `even` lowest.
fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

/// Returns what `interleave` was given.
fn deinterleave(bits: u64) -> (u32, u32) {
    (gather(bits), gather(bits >> 1))
}

/// The steps in which bits are moved apart: by how much, and where they then are.
const SPREADING: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

fn spread(bits: u32) -> u64 {
    SPREADING.iter().fold(u64::from(bits), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

fn gather(bits: u64) -> u32 {
    let bits = bits & LATITUDE_BITS;
    let bits = SPREADING.windows(2).rev().fold(bits, |bits, step| (bits | bits >> step[1].0) & step[0].1);
    (bits | bits >> 16) as u32
}

/// Returns a score as the 64 bits a conversion in C makes of it on the platforms Redis runs on.
fn score_bits(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    if score < HALF {
        score as i64 as u64
    } else if score < 2.0 * HALF {
        score as u64
    } else {
        0
    }
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

#[cfg(test)]
mod tests;
