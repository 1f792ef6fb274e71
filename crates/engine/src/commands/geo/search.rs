//! Searches around a point: GEORADIUS[BYMEMBER][_RO], GEOSEARCH and GEOSEARCHSTORE.

use keyspace::ZSet;
use keyspace::zset::End;
use structures::geohash::{Point, Search, Shape};
use structures::{Item, RankedSet, ScoreBound};

use super::{parse_point, parse_unit, push_distance, reply_point};
use crate::commands::{reply_item, zsets};
use crate::{Args, Cx, Error, Reply, Result};

/// What sets the commands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// GEORADIUS: point and circle come first. `_RO` has no STORE.
    Radius { read_only: bool },
    /// GEORADIUSBYMEMBER: a member and a circle come first.
    RadiusByMember { read_only: bool },
    /// GEOSEARCH: point and shape are options.
    Search,
    /// GEOSEARCHSTORE: the destination comes first, too.
    SearchStore,
}

/// Returns or stores the places within a distance of a point.
pub(super) fn georadius(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::Radius { read_only: false })
}

/// Returns the places within a distance of a point.
pub(super) fn georadius_ro(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::Radius { read_only: true })
}

/// Returns or stores the places within a distance of another.
pub(super) fn georadiusbymember(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::RadiusByMember { read_only: false })
}

/// Returns the places within a distance of another.
pub(super) fn georadiusbymember_ro(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::RadiusByMember { read_only: true })
}

/// Returns the places inside a circle or a box.
pub(super) fn geosearch(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::Search)
}

/// Stores the places inside a circle or a box.
pub(super) fn geosearchstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    run(cx, args, out, Form::SearchStore)
}

fn run(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, form: Form) -> Result<()> {
    let mut destination = if form == Form::SearchStore { Some(args.key()?) } else { None };
    let key = args.key()?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    // The key is looked up first, as members named in the arguments are looked for while those are read.
    let zset = cx.keys.read::<ZSet>(key)?;
    let query = Query::parse(args, form, zset.as_deref(), &mut destination)?;
    let found = match &zset {
        Some(zset) => query.find(zset),
        None => Vec::new(),
    };
    let Some(destination) = destination else {
        query.reply(&found, out);
        return Ok(());
    };
    let mut places = RankedSet::new(seed);
    for place in &found {
        let score = if query.store_distances { place.distance_m / query.unit_m } else { place.score };
        places.insert(place.member.text().as_bytes(), score);
    }
    let count = found.len();
    out.int(count as i64);
    let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
    zsets::store(cx, destination, ZSet::settled(places, &limits), event);
    cx.keys.space.recorder.dirty += count.saturating_sub(1) as u64;
    Ok(())
}

/// What is searched for, and what is told about it.
struct Query {
    /// `None` where a member was named that a missing key cannot have.
    center: Option<Point>,
    /// `None` only where the center is: such arguments are not looked at.
    shape: Option<Shape>,
    unit_m: f64,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    /// How many places are wanted; 0 is all.
    count: usize,
    /// Any places will do, not only the nearest.
    any: bool,
    order: Option<Order>,
    store_distances: bool,
}

/// In which order places are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    NearestFirst,
    FarthestFirst,
}

/// A place that was found.
struct Place<'a> {
    member: Item<'a>,
    score: f64,
    point: Point,
    distance_m: f64,
}

impl Query {
    fn parse<'a>(
        args: &mut Args<'a>,
        form: Form,
        zset: Option<&ZSet>,
        destination: &mut Option<&'a [u8]>,
    ) -> Result<Query> {
        let mut query = Query {
            center: None,
            shape: None,
            unit_m: 1.0,
            with_distance: false,
            with_hash: false,
            with_point: false,
            count: 0,
            any: false,
            order: None,
            store_distances: false,
        };
        match form {
            Form::Radius { .. } => {
                query.center = Some(parse_point(args)?);
                query.parse_circle(args)?;
            }
            Form::RadiusByMember { .. } => {
                query.center = member_point(zset, args.next()?)?;
                if zset.is_some() {
                    query.parse_circle(args)?;
                } else {
                    args.next()?;
                    args.next()?;
                }
            }
            Form::Search | Form::SearchStore => {}
        }
        query.parse_options(args, form, zset, destination)?;
        Ok(query)
    }

    fn parse_options<'a>(
        &mut self,
        args: &mut Args<'a>,
        form: Form,
        zset: Option<&ZSet>,
        destination: &mut Option<&'a [u8]>,
    ) -> Result<()> {
        let name = args.request().arg(0);
        let searches = matches!(form, Form::Search | Form::SearchStore);
        let may_store =
            matches!(form, Form::Radius { read_only: false } | Form::RadiusByMember { read_only: false });
        let (mut from_member, mut from_point, mut by_radius, mut by_box) = (false, false, false, false);
        while !args.is_empty() {
            let follow = args.left() - 1;
            if args.accept("WITHDIST") {
                self.with_distance = true;
            } else if args.accept("WITHHASH") {
                self.with_hash = true;
            } else if args.accept("WITHCOORD") {
                self.with_point = true;
            } else if args.accept("ANY") {
                self.any = true;
            } else if args.accept("ASC") {
                self.order = Some(Order::NearestFirst);
            } else if args.accept("DESC") {
                self.order = Some(Order::FarthestFirst);
            } else if follow >= 1 && args.accept("COUNT") {
                let count = args.int()?;
                if count <= 0 {
                    return Err(Error::text("ERR COUNT must be > 0"));
                }
                self.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if may_store && follow >= 1 && args.accept("STORE") {
                *destination = Some(args.key()?);
                self.store_distances = false;
            } else if may_store && follow >= 1 && args.accept("STOREDIST") {
                *destination = Some(args.key()?);
                self.store_distances = true;
            } else if form == Form::SearchStore && args.accept("STOREDIST") {
                self.store_distances = true;
            } else if searches && follow >= 1 && !from_point && args.accept("FROMMEMBER") {
                self.center = member_point(zset, args.next()?)?;
                from_member = true;
            } else if searches && follow >= 2 && !from_member && args.accept("FROMLONLAT") {
                self.center = Some(parse_point(args)?);
                from_point = true;
            } else if searches && follow >= 2 && !by_box && args.accept("BYRADIUS") {
                self.parse_circle(args)?;
                by_radius = true;
            } else if searches && follow >= 3 && !by_radius && args.accept("BYBOX") {
                self.parse_box(args)?;
                by_box = true;
            } else {
                return Err(Error::Syntax);
            }
        }
        if destination.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let option = if searches { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(Error::from(format!(
                "ERR {option} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if searches && !(from_member || from_point) {
            return Err(choose("exactly one of FROMMEMBER or FROMLONLAT", name));
        }
        if searches && !(by_radius || by_box) {
            return Err(choose("exactly one of BYRADIUS and BYBOX", name));
        }
        if self.any && self.count == 0 {
            return Err(Error::text("ERR the ANY argument requires COUNT argument"));
        }
        if self.count > 0 && !self.any {
            // Only the order says which places are left out.
            self.order = self.order.or(Some(Order::NearestFirst));
        }
        Ok(())
    }

    /// Reads a radius and its unit.
    fn parse_circle(&mut self, args: &mut Args<'_>) -> Result<()> {
        let radius = args.float().map_err(|_| Error::text("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(Error::text("ERR radius cannot be negative"));
        }
        self.unit_m = parse_unit(args)?;
        self.shape = Some(Shape::Circle { radius });
        Ok(())
    }

    /// Reads width, height and their unit.
    fn parse_box(&mut self, args: &mut Args<'_>) -> Result<()> {
        let width = args.float().map_err(|_| Error::text("ERR need numeric width"))?;
        let height = args.float().map_err(|_| Error::text("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(Error::text("ERR height or width cannot be negative"));
        }
        self.unit_m = parse_unit(args)?;
        self.shape = Some(Shape::Box { width, height });
        Ok(())
    }

    /// Returns the places wanted, in the order wanted.
    fn find<'z>(&self, zset: &'z ZSet) -> Vec<Place<'z>> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let search = Search { center, shape, unit_m: self.unit_m };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found: Vec<Place<'z>> = Vec::new();
        for (from, to) in search.score_ranges() {
            let ranks = zset.range_by_score(ScoreBound::inclusive(from), ScoreBound::exclusive(to));
            let inside = zset.range(ranks, End::Lowest).filter_map(|(member, score)| {
                let point = Point::from_score(score);
                let distance_m = search.distance_inside(point)?;
                Some(Place { member, score, point, distance_m })
            });
            found.extend(inside.take(enough - found.len()));
        }
        match self.order {
            None => {}
            Some(Order::NearestFirst) => found.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m)),
            Some(Order::FarthestFirst) => found.sort_by(|a, b| b.distance_m.total_cmp(&a.distance_m)),
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn reply(&self, found: &[Place<'_>], out: &mut Reply<'_>) {
        let told = [self.with_distance, self.with_hash, self.with_point];
        let told = told.into_iter().filter(|is_told| *is_told).count();
        out.array(found.len());
        for place in found {
            if told > 0 {
                out.array(1 + told);
            }
            reply_item(place.member, out);
            if self.with_distance {
                push_distance(place.distance_m / self.unit_m, out);
            }
            if self.with_hash {
                out.int(place.score as i64);
            }
            if self.with_point {
                reply_point(place.point, out);
            }
        }
    }
}

/// Returns where a member is; `None` where there is no sorted set to look into.
fn member_point(zset: Option<&ZSet>, member: &[u8]) -> Result<Option<Point>> {
    let Some(zset) = zset else { return Ok(None) };
    match zset.score(member) {
        Some(score) => Ok(Some(Point::from_score(score))),
        None => Err(Error::text("ERR could not decode requested zset member")),
    }
}

fn choose(what: &str, name: &[u8]) -> Error {
    Error::from(format!("ERR {what} can be specified for {}", String::from_utf8_lossy(name)))
}
