//! Commands on places: sorted sets whose scores are geohashes.
//!
//! Owns arguments, units and replies. Leaves the encoding and which scores a search covers to `structures::geohash`.

mod search;

use base::number::IntText;
use keyspace::{Listening, ZSet};
use structures::geohash::Point;

use super::zsets::{AddOptions, add};
use crate::table::{self, Begin, Command, Find, acl, at, command, does, key, spec};
use crate::{Args, Cx, Error, Reply, Result};

use search::{georadius, georadius_ro, georadiusbymember, georadiusbymember_ro, geosearch, geosearchstore};

pub(super) const COMMANDS: &[Command] = &[
    command("GEOADD", geoadd)
        .summary("Adds places to a sorted set, or moves them.")
        .since("3.2.0")
        .complexity("O(log(N)) for each item added, where N is the number of elements in the sorted set.")
        .syntax("key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("GEODIST", geodist)
        .summary("Returns the distance between two places.")
        .since("3.2.0")
        .complexity("O(1)")
        .syntax("key member1 member2 [m | km | ft | mi]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEOHASH", geohash)
        .summary("Returns places as geohashes, texts that begin alike where places are near.")
        .since("3.2.0")
        .complexity("O(1) for each member requested.")
        .syntax("key [member [member ...]]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEOPOS", geopos)
        .summary("Returns the longitudes and latitudes of places.")
        .since("3.2.0")
        .complexity("O(1) for each member requested.")
        .syntax("key [member [member ...]]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEORADIUS", georadius)
        .summary("Returns or stores the places within a distance of a point.")
        .since("3.2.0")
        .complexity("O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.")
        .syntax("key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE storekey | STOREDIST storedistkey]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS])), spec(Begin::Keyword("STORE", 6), Find::Range { last: 0, step: 1, limit: 0 }, does(&[key::OW, key::UPDATE])), spec(Begin::Keyword("STOREDIST", 6), Find::Range { last: 0, step: 1, limit: 0 }, does(&[key::OW, key::UPDATE]))]),
    command("GEORADIUSBYMEMBER", georadiusbymember)
        .summary("Returns or stores the places within a distance of another.")
        .since("3.2.0")
        .complexity("O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.")
        .syntax("key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE storekey | STOREDIST storedistkey]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS])), spec(Begin::Keyword("STORE", 5), Find::Range { last: 0, step: 1, limit: 0 }, does(&[key::OW, key::UPDATE])), spec(Begin::Keyword("STOREDIST", 5), Find::Range { last: 0, step: 1, limit: 0 }, does(&[key::OW, key::UPDATE]))]),
    command("GEORADIUSBYMEMBER_RO", georadiusbymember_ro)
        .summary("Returns the places within a distance of another.")
        .since("3.2.10")
        .complexity("O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.")
        .syntax("key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEORADIUS_RO", georadius_ro)
        .summary("Returns the places within a distance of a point.")
        .since("3.2.10")
        .complexity("O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.")
        .syntax("key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEOSEARCH", geosearch)
        .summary("Returns the places inside a circle or a box.")
        .since("6.2.0")
        .complexity("O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape")
        .syntax("key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <m | km | ft | mi> | BYBOX width height <m | km | ft | mi>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]")
        .flags(&[table::READONLY])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GEOSEARCHSTORE", geosearchstore)
        .summary("Stores the places inside a circle or a box.")
        .since("6.2.0")
        .complexity("O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape")
        .syntax("destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <m | km | ft | mi> | BYBOX width height <m | km | ft | mi>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::GEO])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), at(2, does(&[key::RO, key::ACCESS]))]),
];

/// Adds places, or moves them.
fn geoadd(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut options = AddOptions::default();
    loop {
        if args.accept("NX") {
            options.if_missing = true;
        } else if args.accept("XX") {
            options.if_there = true;
        } else if args.accept("CH") {
            options.count_changed = true;
        } else {
            break;
        }
    }
    if args.is_empty() || !args.left().is_multiple_of(3) || options.if_missing && options.if_there {
        return Err(Error::Syntax);
    }
    let mut places = Vec::with_capacity(args.left() / 3);
    while !args.is_empty() {
        places.push((parse_point(args)?.encode(), args.next()?));
    }
    let added = add(cx, key, options, places.iter().map(|(hash, member)| (*hash as f64, *member)))?;
    out.int(if options.count_changed { added.new + added.moved } else { added.new } as i64);
    if cx.keys.space.recorder.listening.any(Listening::PROPAGATE) {
        propagate(cx, key, options, &places);
    }
    Ok(())
}

/// Says what to log and replicate: the scores, so that nobody has to compute them alike.
fn propagate(cx: &mut Cx<'_>, key: &[u8], options: AddOptions, places: &[(u64, &[u8])]) {
    let scores: Vec<IntText> = places.iter().map(|(hash, _)| IntText::unsigned(*hash)).collect();
    let mut argv: Vec<&[u8]> = vec![b"ZADD", key];
    let words = [(options.if_missing, &b"NX"[..]), (options.if_there, b"XX"), (options.count_changed, b"CH")];
    argv.extend(words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word));
    for ((_, member), score) in places.iter().zip(&scores) {
        argv.extend([score.as_bytes(), member]);
    }
    cx.propagate(&argv);
}

/// Returns the distance between two places.
fn geodist(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, from, to) = (args.key()?, args.next()?, args.next()?);
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    let unit_m = if args.is_empty() { 1.0 } else { parse_unit(args)? };
    let scores = cx.keys.read::<ZSet>(key)?.and_then(|zset| Some((zset.score(from)?, zset.score(to)?)));
    match scores {
        Some((from, to)) => {
            push_distance(Point::from_score(from).distance(Point::from_score(to)) / unit_m, out);
        }
        None => out.null(),
    }
    Ok(())
}

/// Returns places as texts that begin alike where places are near.
fn geohash(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let zset = cx.keys.read::<ZSet>(key)?;
    out.array(args.left());
    for member in args.rest() {
        match zset.as_ref().and_then(|zset| zset.score(member)) {
            Some(score) => out.bulk(&Point::from_score(score).geohash_text()),
            None => out.null(),
        }
    }
    Ok(())
}

/// Returns the longitudes and latitudes of places.
fn geopos(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let zset = cx.keys.read::<ZSet>(key)?;
    out.array(args.left());
    for member in args.rest() {
        match zset.as_ref().and_then(|zset| zset.score(member)) {
            Some(score) => reply_point(Point::from_score(score), out),
            None => out.null_array(),
        }
    }
    Ok(())
}

/// Reads a longitude and a latitude.
fn parse_point(args: &mut Args<'_>) -> Result<Point> {
    let point = Point { longitude: args.float()?, latitude: args.float()? };
    if point.is_valid() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    Err(Error::from(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// Reads a unit and returns how many metres it has.
fn parse_unit(args: &mut Args<'_>) -> Result<f64> {
    let unit = args.next()?;
    [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)]
        .into_iter()
        .find_map(|(name, metres)| unit.eq_ignore_ascii_case(name.as_bytes()).then_some(metres))
        .ok_or(Error::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Writes longitude and latitude with up to 17 decimals.
fn reply_point(point: Point, out: &mut Reply<'_>) {
    out.array(2);
    for degrees in [point.longitude, point.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        out.double_text(if text == "-0" { b"0" } else { text.as_bytes() });
    }
}

/// Writes a distance with four decimals, which is a string in RESP3, too.
fn push_distance(distance: f64, out: &mut Reply<'_>) {
    let scaled = (distance * 1e4).round_ties_even() as i64;
    out.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}
