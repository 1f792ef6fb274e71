//! SLOWLOG: the commands that took long.

use base::number::parse_i64;

use crate::table::{self, Command, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("GET", get)
        .summary("Returns the newest entries.")
        .since("2.2.12")
        .complexity("O(N) where N is the number of entries returned")
        .syntax("[count]")
        .flags(&[table::ADMIN, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    command("HELP", help)
        .summary("Returns what the subcommands do.")
        .since("6.2.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE]),
    command("LEN", len)
        .summary("Returns how many entries there are.")
        .since("2.2.12")
        .complexity("O(1)")
        .flags(&[table::ADMIN, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    command("RESET", reset)
        .summary("Deletes all entries.")
        .since("2.2.12")
        .complexity("O(N) where N is the number of entries in the slowlog")
        .flags(&[table::ADMIN, table::LOADING, table::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

/// Returns the newest entries; -1 means all.
fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if args.left() > 1 {
        return Err(super::unknown_form(cx));
    }
    let entries = &cx.server.slowlog.entries;
    let count = match args.next() {
        Err(_) => 10,
        Ok(count) => match parse_i64(count) {
            Some(-1) => entries.len(),
            Some(count) if count >= 0 => count as usize,
            _ => return Err(Error::text("ERR count should be greater than or equal to -1")),
        },
    };
    out.array(count.min(entries.len()));
    for entry in entries.iter().take(count) {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.unix_secs);
        out.int(entry.microseconds as i64);
        out.array(entry.argv.len());
        for arg in &entry.argv {
            out.bulk(arg);
        }
        out.bulk(entry.addr.as_bytes());
        out.bulk(&entry.name);
    }
    Ok(())
}

/// Returns how many entries there are.
fn len(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.server.slowlog.entries.len() as i64);
    Ok(())
}

/// Deletes all entries.
fn reset(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.server.slowlog.entries.clear();
    out.ok();
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            (
                "GET [<count>]",
                "Return the newest entries (default 10, -1 for all): id, unix time, microseconds, arguments, \
                 address and name of the client.",
            ),
            ("LEN", "Return how many entries there are."),
            ("RESET", "Delete all entries."),
        ],
    );
    Ok(())
}
