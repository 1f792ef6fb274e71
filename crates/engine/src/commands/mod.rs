//! The commands, family by family: rows and handlers.

use crate::table::Family;

pub mod bitmaps;
pub mod config;
pub mod hashes;
pub mod hyperloglogs;
mod list_moves;
pub mod lists;
pub mod pubsub;
pub(crate) mod scan;
pub mod strings;
pub mod transaction;

/// All families of this build.
pub const FAMILIES: &[Family] = &[
    Family { group: "string", commands: strings::COMMANDS },
    Family { group: "bitmap", commands: bitmaps::COMMANDS },
    Family { group: "hyperloglog", commands: hyperloglogs::COMMANDS },
    Family { group: "hash", commands: hashes::COMMANDS },
    Family { group: "list", commands: lists::COMMANDS },
    Family { group: "pubsub", commands: pubsub::COMMANDS },
    Family { group: "transactions", commands: transaction::COMMANDS },
];

/// Writes a container's HELP: each subcommand with a line that says what it does.
pub(crate) fn help(cx: &crate::Cx<'_>, out: &mut crate::Reply<'_>, lines: &[(&str, &str)]) {
    let container = cx.row.name.split('|').next().unwrap_or_default().to_uppercase();
    out.array(1 + 2 * lines.len() + 2);
    out.simple(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, meaning) in lines {
        out.simple(usage);
        out.simple(format!("    {meaning}"));
    }
    out.simple("HELP");
    out.simple("    Print this help.");
}

/// Writes an element of a collection as a bulk string.
#[inline]
pub(crate) fn reply_item(item: structures::Item<'_>, out: &mut crate::Reply<'_>) {
    match item {
        structures::Item::Int(n) => out.bulk_int(n),
        structures::Item::Bytes(bytes) => out.bulk(bytes),
    }
}
