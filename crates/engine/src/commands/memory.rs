//! MEMORY: how memory is used, by keys and by the whole.

use keyspace::keys::memory_of;

use crate::memory::Overhead;
use crate::table::{self, Command, at, command, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("DOCTOR", doctor)
        .summary("Returns a report on memory for people.")
        .since("4.0.0")
        .complexity("O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("4.0.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE]),
    command("MALLOC-STATS", malloc_stats)
        .summary("Returns the allocator's own statistics.")
        .since("4.0.0")
        .complexity("Depends on how much memory is allocated, could be slow")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    command("PURGE", purge)
        .summary("Gives memory that the allocator keeps for reuse back to the system.")
        .since("4.0.0")
        .complexity("Depends on how much memory is allocated, could be slow")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    command("STATS", stats)
        .summary("Returns what memory is used for.")
        .since("4.0.0")
        .complexity("O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    command("USAGE", usage)
        .summary("Returns the bytes that a key and its value take.")
        .since("4.0.0")
        .complexity("O(N) where N is the number of samples.")
        .syntax("key [SAMPLES count]")
        .flags(&[table::READONLY])
        .keys(&[at(2, key::RO)]),
];

/// Elements of a collection that are looked at when its size is estimated.
const SAMPLES: usize = 5;

/// The place that an entry has in its table: a pointer and a tag byte, at the usual load.
const SLOT: usize = 12;

/// Returns the bytes that a key and its value take.
fn usage(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut samples = SAMPLES;
    while args.accept("SAMPLES") {
        samples = usize::try_from(args.int()?).map_err(|_| Error::Syntax)?;
    }
    args.end()?;
    match cx.keys.peek(key) {
        None => out.null(),
        Some(entry) => out.int((memory_of(entry, samples) + SLOT) as i64),
    }
    Ok(())
}

/// Returns what memory is used for.
fn stats(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let overhead = Overhead::measure(cx.server, cx.session, cx.keys.space, cx.host);
    let report = &overhead.report;
    out.map(27 + overhead.dbs.len());
    let int = |out: &mut Reply<'_>, name: &str, value: i64| {
        out.bulk(name.as_bytes());
        out.int(value);
    };
    let double = |out: &mut Reply<'_>, name: &str, value: f64| {
        out.bulk(name.as_bytes());
        out.double(value);
    };
    int(out, "peak.allocated", overhead.peak as i64);
    int(out, "total.allocated", overhead.used as i64);
    int(out, "startup.allocated", overhead.startup as i64);
    int(out, "replication.backlog", overhead.backlog as i64);
    int(out, "clients.slaves", overhead.replicas as i64);
    int(out, "clients.normal", overhead.clients as i64);
    int(out, "cluster.links", 0);
    int(out, "aof.buffer", 0);
    int(out, "lua.caches", 0);
    int(out, "functions.caches", 0);
    for db in &overhead.dbs {
        out.bulk(format!("db.{}", db.index).as_bytes());
        out.map(2);
        int(out, "overhead.hashtable.main", db.table as i64);
        // Keys with an expiry are marked in the same table.
        int(out, "overhead.hashtable.expires", 0);
    }
    int(out, "overhead.total", overhead.total as i64);
    int(out, "keys.count", overhead.keys as i64);
    int(out, "keys.bytes-per-key", overhead.bytes_per_key() as i64);
    int(out, "dataset.bytes", overhead.dataset() as i64);
    double(out, "dataset.percentage", overhead.dataset_percent());
    double(out, "peak.percentage", overhead.peak_percent());
    int(out, "allocator.allocated", report.allocated as i64);
    int(out, "allocator.active", report.active as i64);
    int(out, "allocator.resident", report.resident as i64);
    double(out, "allocator-fragmentation.ratio", overhead.fragmentation().ratio);
    int(out, "allocator-fragmentation.bytes", overhead.fragmentation().bytes);
    double(out, "allocator-rss.ratio", overhead.kept().ratio);
    int(out, "allocator-rss.bytes", overhead.kept().bytes);
    double(out, "rss-overhead.ratio", overhead.beyond_allocator().ratio);
    int(out, "rss-overhead.bytes", overhead.beyond_allocator().bytes);
    double(out, "fragmentation", overhead.resident().ratio);
    int(out, "fragmentation.bytes", overhead.resident().bytes);
    Ok(())
}

/// Returns a report on memory for people.
fn doctor(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let overhead = Overhead::measure(cx.server, cx.session, cx.keys.space, cx.host);
    out.verbatim("txt", report(&overhead, cx.server.sessions.len()).as_bytes());
    Ok(())
}

/// Below this nothing can be told from what the server itself takes.
const LITTLE: usize = 5 << 20;

/// A difference below this is not worth a word.
const NOTABLE: i64 = 10 << 20;

/// Output and input that a client holds without anybody wondering.
const MUCH_PER_CLIENT: usize = 200 << 10;

fn report(overhead: &Overhead, clients: usize) -> String {
    if overhead.used < LITTLE {
        return "The server holds too little data for its use of memory to be judged.\n".into();
    }
    let mut found = Vec::new();
    let exceeds = |share: crate::memory::Share, ratio| share.ratio > ratio && share.bytes > NOTABLE;
    if overhead.peak > overhead.used / 2 * 3 {
        found.push(
            "Peak: the server once used over 150% of what it uses now. Memory that a peak left with the allocator is \
             used again before more is asked for; MEMORY PURGE may give it back earlier.",
        );
    }
    if exceeds(overhead.resident(), 1.4) {
        found.push(
            "Resident memory: the process holds over 1.4 times what is allocated, after a peak or because of \
             fragmentation.",
        );
    }
    if exceeds(overhead.fragmentation(), 1.1) {
        found.push("Fragmentation: over a tenth of the allocator's pages is unused between allocations.");
    }
    if exceeds(overhead.kept(), 1.1) {
        found.push(
            "Kept pages: the allocator keeps over a tenth more than it uses; MEMORY PURGE gives it back.",
        );
    }
    if exceeds(overhead.beyond_allocator(), 1.1) {
        found
            .push("Beyond the allocator: the process holds much memory that the allocator knows nothing of.");
    }
    if overhead.clients / clients.max(1) > MUCH_PER_CLIENT {
        found.push(
            "Clients: they hold over 200 KB each, in replies they do not read or in large requests. CLIENT LIST shows \
             who (tot-mem).",
        );
    }
    if found.is_empty() {
        return "Nothing is wrong with the use of memory.\n".into();
    }
    let lines = found.iter().map(|line| format!(" * {line}\n"));
    format!("This is notable about the use of memory:\n\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Gives memory that the allocator keeps for reuse back to the system.
fn purge(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.host.purge();
    out.ok();
    Ok(())
}

/// Returns the allocator's own statistics.
fn malloc_stats(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.verbatim("txt", cx.host.allocator_stats().as_bytes());
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("DOCTOR", "Return a report on memory for people."),
            ("MALLOC-STATS", "Return the allocator's own statistics."),
            ("PURGE", "Give memory that the allocator keeps for reuse back to the system."),
            ("STATS", "Return what memory is used for."),
            (
                "USAGE <key> [SAMPLES <count>]",
                "Return the bytes that a key and its value take, estimated from some elements (default 5, 0 for all).",
            ),
        ],
    );
    Ok(())
}
