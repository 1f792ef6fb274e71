//! Looking at locks: who holds which, who waits, what has happened.

use std::collections::BTreeSet;

use base::glob::glob_match;

use crate::locks::book::Figures;
use crate::locks::graph::{Edge, cycles};
use crate::locks::record::Record;
use crate::table::{self, Command, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("LOCK.GRAPH", graph)
        .summary("Returns who waits for whose lock, and who wait for each other in a circle.")
        .since("7.2.0")
        .complexity("O(N*log(N)) with N being the number of clients that wait for locks.")
        .flags(&[table::READONLY])
        .tips(&["nondeterministic_output_order"]),
    command("LOCK.HISTORY", history)
        .summary("Returns what has happened to a lock lately, the newest first.")
        .since("7.2.0")
        .complexity("O(N) with N being the number of events returned.")
        .syntax("key [COUNT count]")
        .flags(&[table::READONLY])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("LOCK.INFO", info)
        .summary("Returns who holds a lock, for how long still, and how many wait.")
        .since("7.2.0")
        .complexity("O(log(N)) with N being the number of locks held or waited for.")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("LOCK.LIST", list)
        .summary("Returns the locks that are held in the selected database.")
        .since("7.2.0")
        .complexity("O(N*log(N)) with N being the number of locks held.")
        .syntax("[pattern]")
        .flags(&[table::READONLY])
        .tips(&["nondeterministic_output"]),
    command("LOCK.STATS", stats)
        .summary("Returns how much a lock, or all of them, are contended for.")
        .since("7.2.0")
        .complexity("O(1)")
        .syntax("[key]")
        .arity(-1)
        .flags(&[table::READONLY, table::NO_MANDATORY_KEYS])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("LOCK.WAITERS", waiters)
        .summary("Returns who waits for a lock, the next first.")
        .since("7.2.0")
        .complexity("O(N) with N being the number of clients that wait.")
        .syntax("key")
        .flags(&[table::READONLY])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
];

/// Writes a name and a number.
fn number(out: &mut Reply<'_>, name: &str, number: u64) {
    out.bulk(name.as_bytes());
    out.int(i64::try_from(number).unwrap_or(i64::MAX));
}

/// Writes what is known of a held lock.
fn describe(cx: &Cx<'_>, key: &[u8], record: &Record, out: &mut Reply<'_>) {
    let busy = cx.server.busy(cx.keys.db, key, record.clone(), b"", cx.now);
    out.map(9);
    for (name, text) in [("key", key), ("owner", &record.owner)] {
        out.bulk(name.as_bytes());
        out.bulk(text);
    }
    number(out, "token", record.token);
    number(out, "lease", record.lease);
    out.bulk(b"remaining");
    // On a replica nobody counts.
    match cx.server.counts_leases() {
        true => out.int(busy.remaining as i64),
        false => out.null(),
    }
    number(out, "since", busy.since);
    number(out, "waiters", busy.waiters as u64);
    number(out, "replicas", record.replicas);
    out.bulk(b"meta");
    match &record.meta {
        Some(meta) => out.bulk(meta),
        None => out.null(),
    }
}

/// Describes one lock.
fn info(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    match cx.lock(key)? {
        Some(record) => describe(cx, key, &record, out),
        None => out.null(),
    }
    Ok(())
}

/// Describes all locks of the database.
fn list(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let pattern = if args.is_empty() { None } else { Some(args.next()?) };
    args.end()?;
    let wanted = |key: &[u8]| pattern.is_none_or(|pattern| glob_match(pattern, key, false));
    let known = cx.server.locks.index.iter().filter(|(db, key)| *db == cx.keys.db && wanted(key));
    let keys: BTreeSet<Box<[u8]>> = known.map(|(_, key)| key.into()).collect();
    let (mark, mut count) = (out.defer(), 0);
    for key in &keys {
        // What the index does not know is gone by now.
        if let Ok(Some(record)) = cx.lock(key) {
            describe(cx, key, &record, out);
            count += 1;
        }
    }
    out.finish_array(mark, count);
    Ok(())
}

/// Describes who waits for a lock.
fn waiters(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let queues = &cx.server.waiting.locks;
    out.array(queues.len(cx.keys.db, key));
    for waiter in queues.waiters(cx.keys.db, key) {
        let session = cx.server.sessions.get(waiter.session);
        out.map(5);
        out.bulk(b"owner");
        out.bulk(&waiter.owner);
        number(out, "client-id", session.map_or(0, |session| session.client_id));
        out.bulk(b"addr");
        out.bulk(session.map_or("", |session| &session.addr).as_bytes());
        let now = cx.now.instant;
        number(out, "waiting", now.saturating_since(waiter.since).as_millis() as u64);
        number(out, "wait-left", waiter.until.saturating_since(now).as_millis() as u64);
    }
    Ok(())
}

/// Returns who waits for whom.
fn graph(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    args.end()?;
    let mut edges = Vec::new();
    let queues = cx.server.waiting.locks.of_db(cx.keys.db);
    let waited: Vec<_> = queues
        .map(|(key, waiters)| (Box::from(key), waiters.map(|w| w.owner.clone()).collect::<Vec<_>>()))
        .collect();
    for (key, owners) in waited {
        let Ok(Some(held)) = cx.lock(&key) else { continue };
        let edge = |waiter| Edge { waiter, key: key.clone(), holder: held.owner.clone() };
        edges.extend(owners.into_iter().map(edge));
    }
    out.map(2);
    out.bulk(b"edges");
    out.array(edges.len());
    for edge in &edges {
        out.array(3);
        [&edge.waiter, &edge.key, &edge.holder].into_iter().for_each(|word| out.bulk(word));
    }
    out.bulk(b"cycles");
    let cycles = cycles(&edges);
    out.array(cycles.len());
    for cycle in cycles {
        out.array(cycle.len());
        cycle.into_iter().for_each(|owner| out.bulk(owner));
    }
    Ok(())
}

/// Returns the figures of a lock, or of all.
fn stats(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let db = cx.keys.db;
    let key = if args.is_empty() { None } else { Some(args.key()?) };
    args.end()?;
    let (figures, held, waiting) = match key {
        Some(key) => {
            let held = u64::from(cx.lock(key)?.is_some());
            let figures = cx.server.locks.book.find(db, key).map(|page| page.figures.clone());
            (figures.unwrap_or_default(), held, cx.server.waiting.locks.len(db, key))
        }
        None => {
            let waiting = cx.server.waiting.locks.all();
            (cx.server.locks.book.all.clone(), cx.server.locks.index.len() as u64, waiting)
        }
    };
    let Figures { hold, wait, .. } = &figures;
    let counts = [
        ("held", held),
        ("waiting", waiting as u64),
        ("acquires", figures.acquires),
        ("renewals", figures.renewals),
        ("releases", figures.releases),
        ("busy", figures.busy),
        ("waits", figures.waits),
        ("timeouts", figures.timeouts),
        ("losses", figures.expired + figures.forced),
        ("expired", figures.expired),
        ("forced", figures.forced),
        ("fenced", figures.fenced),
    ];
    out.map(counts.len() + 8);
    counts.into_iter().for_each(|(name, count)| number(out, name, count));
    for (name, histogram, max) in [("hold", hold, figures.hold_max), ("wait", wait, figures.wait_max)] {
        for percentile in [50, 90, 99] {
            let ms = histogram.percentile(f64::from(percentile)).min(max);
            number(out, &format!("{name}-p{percentile}"), ms);
        }
        number(out, &format!("{name}-max"), max);
    }
    Ok(())
}

/// Returns the last events of a lock.
fn history(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut count = usize::MAX;
    if args.accept("COUNT") {
        count = args.int_in(0..=i64::MAX, Error::text("ERR COUNT must not be negative"))? as usize;
    }
    args.end()?;
    // What is over is told as over.
    let _ = cx.lock(key);
    let page = cx.server.locks.book.find(cx.keys.db, key);
    let events: Vec<_> = page.into_iter().flat_map(|page| &page.events).take(count).collect();
    out.array(events.len());
    for event in events {
        out.map(4);
        out.bulk(b"at");
        out.int(event.at_ms);
        out.bulk(b"event");
        out.bulk(event.what.name().as_bytes());
        out.bulk(b"owner");
        out.bulk(&event.owner);
        number(out, "token", event.token);
    }
    Ok(())
}
