//! The commands, family by family: rows and handlers.

use crate::table::Family;

pub mod bitmaps;
pub mod config;
pub mod expire;
pub mod geo;
pub mod hashes;
pub mod hyperloglogs;
pub mod keys;
mod list_moves;
pub mod lists;
pub mod object;
pub mod pubsub;
pub(crate) mod scan;
mod set_algebra;
pub mod sets;
pub mod sort;
pub mod strings;
pub mod transaction;
pub mod wait;
pub mod zsets;

/// All families of this build.
pub const FAMILIES: &[Family] = &[
    Family { group: "generic", commands: keys::COMMANDS },
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
