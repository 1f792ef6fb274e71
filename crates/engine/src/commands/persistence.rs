//! Commands about the files that hold the data: snapshots and the log's rewrite.

use crate::cx::Mode;
use crate::effect::Effect;
use crate::persistence::{Snapshot, save_now};
use crate::table::{self, Command, acl, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("BGREWRITEAOF", bgrewriteaof)
        .summary("Writes the log anew, as short as it can be, without stopping the server.")
        .since("1.0.0")
        .complexity("O(1)")
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NOSCRIPT]),
    command("BGSAVE", bgsave)
        .summary("Saves the data to its RDB file without stopping the server.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("[SCHEDULE]")
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NOSCRIPT]),
    command("LASTSAVE", lastsave)
        .summary("Returns when the data was last saved, as Unix time.")
        .since("1.0.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE, table::FAST])
        .acl(&[acl::ADMIN, acl::DANGEROUS])
        .tips(&["nondeterministic_output"]),
    command("SAVE", save)
        .summary("Saves the data to its RDB file while everything waits.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of keys in all databases")
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NOSCRIPT, table::NO_MULTI]),
];

/// Saves the data while everything waits.
fn save(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if saving(cx) {
        return Err(Error::text("ERR Background save already in progress"));
    }
    save_now(cx.server, cx.keys.space, cx.now, cx.host)
        .map_err(|reason| Error::from(format!("ERR Saving failed: {reason}")))?;
    out.ok();
    Ok(())
}

/// Saves the data in a child process.
fn bgsave(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let schedule = match args.left() {
        0 => false,
        1 if args.accept("SCHEDULE") => true,
        _ => return Err(Error::Syntax),
    };
    let in_transaction = cx.mode == Mode::Transaction;
    if saving(cx) {
        return Err(Error::text("ERR Background save already in progress"));
    }
    if cx.server.persistence.child.is_some() || in_transaction {
        if !schedule && !in_transaction {
            return Err(Error::text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        cx.server.persistence.save_scheduled = true;
        out.simple("Background saving scheduled");
    } else {
        cx.server.effects.push(Effect::Save);
        cx.server.persistence.wants_fork = true;
        out.simple("Background saving started");
    }
    Ok(())
}

fn saving(cx: &Cx<'_>) -> bool {
    cx.server.persistence.child.is_some_and(|child| child.kind == Snapshot::Save)
}

/// Returns when the data was last saved.
fn lastsave(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.server.persistence.last_save_unix);
    Ok(())
}

/// Writes the log anew.
fn bgrewriteaof(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let persistence = &cx.server.persistence;
    if persistence.log_rewrite_started.is_some() {
        return Err(Error::text("ERR Background append only file rewriting already in progress"));
    }
    if persistence.log.over_budget {
        return Err(Error::text("ERR Can't rewrite the append only file: it would exceed aof-disk-budget"));
    }
    let scheduled = persistence.child.is_some() || cx.mode == Mode::Transaction;
    cx.server.effects.push(Effect::RewriteLog);
    out.simple(match scheduled {
        true => "Background append only file rewriting scheduled",
        false => "Background append only file rewriting started",
    });
    Ok(())
}
