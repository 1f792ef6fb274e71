//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::commands::lock_guards;
use crate::session::{Multi, OwnedRequest, ReplyMode, Session, Watched};
use crate::table::{self, Command, Row, Table, acl, command, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("DISCARD", discard)
        .summary("Forgets the commands queued since MULTI.")
        .since("2.0.0")
        .complexity("O(N), when N is the number of queued commands")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::FAST, table::ALLOW_BUSY])
        .acl(&[acl::TRANSACTION]),
    command("EXEC", exec)
        .summary("Runs the commands queued since MULTI, one after the other with nothing between them.")
        .since("1.2.0")
        .complexity("Depends on commands in the transaction")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::SKIP_SLOWLOG])
        .acl(&[acl::TRANSACTION]),
    command("MULTI", multi)
        .summary("Starts queueing commands for EXEC.")
        .since("1.2.0")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::FAST, table::ALLOW_BUSY])
        .acl(&[acl::TRANSACTION]),
    command("UNWATCH", unwatch)
        .summary("Stops watching all keys.")
        .since("2.2.0")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::FAST, table::ALLOW_BUSY])
        .acl(&[acl::TRANSACTION]),
    command("WATCH", watch)
        .summary("Makes the next EXEC fail if one of the keys changes before it.")
        .since("2.2.0")
        .complexity("O(1) for every key.")
        .syntax("key [key ...]")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::FAST, table::ALLOW_BUSY])
        .acl(&[acl::TRANSACTION])
        .keys(&[range(1, -1, 1, 0, key::RO)]),
];

/// Returns whether a command is executed, not queued, between MULTI and EXEC.
pub(crate) fn runs_inside_multi(row: &Row) -> bool {
    row.is_any(&["EXEC", "DISCARD", "MULTI", "WATCH", "QUIT", "RESET"])
}

/// Queues a command for EXEC and says so.
pub(crate) fn queue(session: &mut Session, row: &Row, request: resp::decode::Request<'_>) {
    let before = session.out.len();
    let multi = session.multi.as_mut().expect("only called between MULTI and EXEC");
    // EXEC will fail anyway: what cannot run need not be kept.
    if !session.dirty_watch && !multi.refused {
        multi.flags = multi.flags | row.flags;
        multi.lacks = multi.lacks | !row.flags;
        if lock_guards::is_guard(row)
            && let Some((inner, _)) = lock_guards::guarded(Table::standard(), request)
        {
            multi.flags = multi.flags | inner.flags;
        }
        let request = OwnedRequest::new(request);
        multi.memory += size_of::<(usize, OwnedRequest)>() + request.memory();
        multi.queue.push((row.id, request));
    }
    Reply::new(&mut session.out, session.protocol).simple("QUEUED");
    if matches!(session.reply_mode, ReplyMode::Off | ReplyMode::Skip) {
        session.out.truncate(before);
    }
}

/// Starts a transaction.
fn multi(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.session.multi.is_some() {
        return Err(Error::text("ERR MULTI calls can not be nested"));
    }
    cx.session.multi = Some(Box::new(Multi::default()));
    out.ok();
    Ok(())
}

/// Ends a transaction without running it.
fn discard(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.session.multi.is_none() {
        return Err(Error::text("ERR DISCARD without MULTI"));
    }
    cx.server.discard(cx.session);
    out.ok();
    Ok(())
}

/// Runs the queued commands, unless one was refused or a watched key changed.
fn exec(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let Some(multi) = cx.session.multi.take() else { return Err(Error::text("ERR EXEC without MULTI")) };
    let changed = cx.session.dirty_watch || watched_key_expired(cx);
    cx.server.unwatch(cx.session);
    if multi.refused {
        return Err(Error::text("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed {
        out.null_array();
        return Ok(());
    }
    out.array(multi.queue.len());
    for (row, request) in &multi.queue {
        let row = &cx.server.table.rows[*row];
        cx.run_queued(row, request, out);
    }
    Ok(())
}

/// Returns whether a watched key was alive when WATCH was said and is past its expiry now.
fn watched_key_expired(cx: &Cx<'_>) -> bool {
    cx.session.watching.iter().any(|w| {
        let entry = cx.keys.space.dbs[w.db].table.get(&w.key);
        !w.expired && entry.and_then(|e| e.stamp()).is_some_and(|at| at <= cx.now.unix_ms())
    })
}

/// Puts keys under watch.
fn watch(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.session.multi.is_some() {
        return Err(Error::text("ERR WATCH inside MULTI is not allowed"));
    }
    // A key changed already: EXEC will fail whatever is watched besides.
    if !cx.session.dirty_watch {
        for key in args.rest() {
            let db = cx.session.db;
            let stamp = cx.keys.space.dbs[db].table.get(key).and_then(|e| e.stamp());
            let expired = stamp.is_some_and(|at| at <= cx.now.unix_ms());
            cx.server.watch(cx.session, Watched { db, key: key.into(), expired });
        }
    }
    out.ok();
    Ok(())
}

/// Ends all watches.
fn unwatch(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.server.unwatch(cx.session);
    out.ok();
    Ok(())
}
