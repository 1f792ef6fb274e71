//! HyperLogLogs: about how many distinct elements there were.

use keyspace::Text;
use structures::hyperloglog::{self, Encoding, Invalid, Registers};

use crate::table::{self, Command, acl, at, command, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("PFADD", pfadd)
        .summary("Counts elements in a HyperLogLog, which is made if need be.")
        .since("2.8.9")
        .complexity("O(1) to add every element.")
        .syntax("key [element [element ...]]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HYPERLOGLOG])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("PFCOUNT", pfcount)
        .summary("Returns about how many distinct elements were counted.")
        .since("2.8.9")
        .complexity("O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY, table::MAY_REPLICATE])
        .acl(&[acl::HYPERLOGLOG])
        .keys(&[range(1, -1, 1, 0, does(&[key::RW, key::ACCESS]))]),
    command("PFDEBUG", pfdebug)
        .summary("Shows a HyperLogLog's inside, for tests.")
        .since("2.8.9")
        .complexity("N/A")
        .syntax("subcommand key")
        .flags(&[table::WRITE, table::DENYOOM, table::ADMIN])
        .acl(&[acl::HYPERLOGLOG])
        .keys(&[at(2, does(&[key::RW, key::ACCESS]))]),
    command("PFMERGE", pfmerge)
        .summary("Merges HyperLogLogs into one.")
        .since("2.8.9")
        .complexity("O(N) to merge N HyperLogLogs, but with high constant times.")
        .syntax("destkey [sourcekey [sourcekey ...]]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::HYPERLOGLOG])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::INSERT])), range(2, -1, 1, 0, does(&[key::RO, key::ACCESS]))]),
    command("PFSELFTEST", pfselftest)
        .summary("Checks the HyperLogLog implementation.")
        .since("2.8.9")
        .complexity("N/A")
        .flags(&[table::ADMIN])
        .acl(&[acl::HYPERLOGLOG]),
];

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Error {
        Error::from(invalid.to_string())
    }
}

/// Counts elements; the reply says whether an estimate may have changed.
fn pfadd(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let sparse_max = cx.keys.space.limits.hll_sparse;
    let mut text = cx.keys.edit_text(key)?;
    let mut changes = 0;
    match text.text() {
        None => {
            text.set_bytes(&hyperloglog::create());
            changes += 1;
        }
        Some(old) => {
            old.with(hyperloglog::encoding)?;
        }
    }
    changes += text.grow(|buf| {
        let mut changes = 0;
        for element in args.rest() {
            changes += u64::from(hyperloglog::add(buf, element, sparse_max)?);
        }
        Ok::<u64, Invalid>(changes)
    })?;
    if changes > 0 {
        text.grow(|buf| hyperloglog::invalidate_cache(buf.as_mut_slice()))?;
        text.changed("pfadd");
        text.count(changes - 1);
    }
    out.int(i64::from(changes > 0));
    Ok(())
}

/// Returns the estimate for one key, or for the union of several.
fn pfcount(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if args.left() > 1 {
        let mut union = Registers::new();
        for key in args.rest() {
            if let Some(text) = cx.keys.text(key)? {
                text.with(|bytes| union.merge(bytes))?;
            }
        }
        out.int(union.count() as i64);
        return Ok(());
    }
    let key = args.key()?;
    let Some(text) = cx.keys.text(key)? else {
        out.int(0);
        return Ok(());
    };
    if let Some(count) = text.with(hyperloglog::cached_count)? {
        out.int(count as i64);
        return Ok(());
    }
    let count = text.with(hyperloglog::count)?;
    // The estimate is kept in the string's header: a change of the data set, though nobody can tell.
    let mut text = cx.keys.edit_text(key)?;
    text.grow(|buf| hyperloglog::cache_count(buf.as_mut_slice(), count))?;
    text.touched();
    out.int(count as i64);
    Ok(())
}

/// Merges HyperLogLogs, the destination's own elements included.
fn pfmerge(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let destination = args.key()?;
    let sparse_max = cx.keys.space.limits.hll_sparse;
    let (mut union, mut dense) = (Registers::new(), false);
    for key in std::iter::once(destination).chain(args.rest()) {
        if let Some(text) = cx.keys.text(key)? {
            dense |= text.with(|bytes| union.merge(bytes))? == Encoding::Dense;
        }
    }
    let mut text = cx.keys.edit_text(destination)?;
    if text.text().is_none() {
        text.set_bytes(&hyperloglog::create());
    }
    text.grow(|buf| {
        if dense {
            hyperloglog::to_dense(buf)?;
        }
        union.store(buf, sparse_max)?;
        hyperloglog::invalidate_cache(buf.as_mut_slice())
    })?;
    text.changed("pfadd");
    out.ok();
    Ok(())
}

/// Shows a HyperLogLog's inside: GETREG, DECODE, ENCODING, TODENSE.
fn pfdebug(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (what, key) = (args.next()?, args.key()?);
    let Some(text) = cx.keys.text(key)? else {
        return Err(Error::text("ERR The specified key does not exist"));
    };
    let bytes = Text::to_vec(text);
    let encoding = hyperloglog::encoding(&bytes)?;
    match what.to_ascii_lowercase().as_slice() {
        b"encoding" => out.simple(encoding.name()),
        b"decode" => match hyperloglog::decode(&bytes)? {
            Some(text) => out.bulk(text.as_bytes()),
            None => return Err(Error::text("ERR HLL encoding is not sparse")),
        },
        b"todense" => {
            let converted = encoding == Encoding::Sparse;
            if converted {
                make_dense(cx, key)?;
            }
            out.int(i64::from(converted));
        }
        b"getreg" => {
            if encoding == Encoding::Sparse {
                make_dense(cx, key)?;
            }
            let mut registers = Registers::new();
            registers.merge(&bytes)?;
            out.array(registers.as_slice().len());
            registers.as_slice().iter().for_each(|register| out.int(i64::from(*register)));
        }
        _ => {
            let what = String::from_utf8_lossy(what);
            return Err(Error::from(format!("ERR Unknown PFDEBUG subcommand '{what}'")));
        }
    }
    Ok(())
}

fn make_dense(cx: &mut Cx<'_>, key: &[u8]) -> Result<()> {
    let mut text = cx.keys.edit_text(key)?;
    text.grow(hyperloglog::to_dense)?;
    text.touched();
    Ok(())
}

/// Checks the implementation against exact counts.
fn pfselftest(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let sparse_max = cx.keys.space.limits.hll_sparse;
    hyperloglog::self_test(cx.server.rng.next_u64(), sparse_max)
        .map_err(|text| format!("TESTFAILED {text}"))?;
    out.ok();
    Ok(())
}
