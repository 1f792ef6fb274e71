//! The commands, family by family: rows and handlers.

use crate::table::Family;

pub mod bitmaps;
mod client;
mod client_kill;
mod command;
mod command_docs;
pub mod config;
pub mod connection;
mod debug;
mod debug_digest;
mod debug_reload;
pub mod dump;
pub mod expire;
mod failover;
pub mod geo;
pub mod hashes;
pub mod hyperloglogs;
mod info;
mod info_replication;
pub mod keys;
mod latency;
mod list_moves;
pub mod lists;
pub(crate) mod lock_guards;
mod lock_views;
mod locks;
mod lolwut;
mod memory;
pub mod object;
mod persistence;
pub mod pubsub;
mod replication;
pub(crate) mod scan;
pub mod server;
mod set_algebra;
pub mod sets;
mod slowlog;
pub mod sort;
pub mod strings;
pub mod transaction;
pub mod wait;
pub mod zsets;

/// All families of this build.
pub const FAMILIES: &[Family] = &[
    Family { group: "connection", commands: connection::COMMANDS },
    Family { group: "server", commands: server::COMMANDS },
    Family { group: "server", commands: persistence::COMMANDS },
    Family { group: "server", commands: replication::COMMANDS },
    Family { group: "generic", commands: keys::COMMANDS },
    Family { group: "generic", commands: dump::COMMANDS },
    Family { group: "generic", commands: expire::COMMANDS },
    Family { group: "generic", commands: object::COMMANDS },
    Family { group: "generic", commands: sort::COMMANDS },
    Family { group: "generic", commands: wait::COMMANDS },
    Family { group: "string", commands: strings::COMMANDS },
    Family { group: "bitmap", commands: bitmaps::COMMANDS },
    Family { group: "hyperloglog", commands: hyperloglogs::COMMANDS },
    Family { group: "hash", commands: hashes::COMMANDS },
    Family { group: "list", commands: lists::COMMANDS },
    Family { group: "set", commands: sets::COMMANDS },
    Family { group: "sorted_set", commands: zsets::COMMANDS },
    Family { group: "geo", commands: geo::COMMANDS },
    Family { group: "pubsub", commands: pubsub::COMMANDS },
    Family { group: "lock", commands: locks::COMMANDS },
    Family { group: "lock", commands: lock_views::COMMANDS },
    Family { group: "lock", commands: lock_guards::COMMANDS },
    Family { group: "transactions", commands: transaction::COMMANDS },
];

/// Writes a container's HELP: each subcommand with the lines that say what it does.
pub(crate) fn help(cx: &crate::Cx<'_>, out: &mut crate::Reply<'_>, lines: &[(&str, &str)]) {
    let container = cx.row.name.split('|').next().unwrap_or_default().to_uppercase();
    out.array(3 + lines.iter().map(|(_, meaning)| 1 + meaning.lines().count()).sum::<usize>());
    out.simple(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, meaning) in lines {
        out.simple(usage);
        for line in meaning.lines() {
            out.simple(format!("    {line}"));
        }
    }
    out.simple("HELP");
    out.simple("    Prints this help.");
}

/// Writes an element of a collection as a bulk string.
#[inline]
pub(crate) fn reply_item(item: structures::Item<'_>, out: &mut crate::Reply<'_>) {
    match item {
        structures::Item::Int(n) => out.bulk_int(n),
        structures::Item::Bytes(bytes) => out.bulk(bytes),
    }
}

/// Returns the database with this index, if there is one.
pub(crate) fn database(cx: &crate::Cx<'_>, index: i64) -> crate::Result<usize> {
    usize::try_from(index).ok().filter(|db| *db < cx.keys.space.dbs.len()).ok_or(crate::Error::DbIndex)
}

/// Returns the error for a subcommand that was given too many or too few arguments.
pub(crate) fn unknown_form(cx: &crate::Cx<'_>) -> crate::Error {
    let word = crate::dispatch::quoted(cx.request.arg(1), 128);
    let container = cx.row.name.split('|').next().unwrap_or_default().to_uppercase();
    crate::Error::from(format!(
        "ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP."
    ))
}

/// The most elements that SRANDMEMBER and its kin draw with repetitions.
///
/// Redis goes on until memory is gone: thirty bytes of request could end the server.
const DRAWS_MAX: u64 = 1 << 24;

/// Refuses a negative count that asks for more elements than a reply should ever hold.
pub(crate) fn check_draws(count: i64) -> crate::Result<()> {
    if count < 0 && count.unsigned_abs() > DRAWS_MAX { Err(crate::Error::OutOfRange) } else { Ok(()) }
}
