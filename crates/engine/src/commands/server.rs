//! Commands about the server as a whole: its databases, its clock, its end.

use ::config::ShutdownFlags;

use crate::cx::Mode;
use crate::effect::Effect;
use crate::persistence::{Snapshot, prepare_shutdown, save_now};
use crate::session::{Closing, Origin};
use crate::table::{self, Command, acl, command, container};
use crate::{Args, Cx, Error, Reply, Result};

use super::{command as command_command, config, debug, info, latency, lolwut, memory, slowlog};

pub(super) const COMMANDS: &[Command] = &[
    container("COMMAND", command_command::COMMANDS)
        .handler(command_command::describe_commands)
        .summary("Describes all commands.")
        .since("2.8.13")
        .complexity("O(N) where N is the total number of commands")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::CONNECTION])
        .tips(&["nondeterministic_output_order"]),
    container("CONFIG", config::COMMANDS)
        .summary("Reads and changes the configuration.")
        .since("2.0.0")
        .complexity("Depends on subcommand."),
    command("DBSIZE", dbsize)
        .summary("Returns how many keys the selected database has.")
        .since("1.0.0")
        .complexity("O(1)")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    command("DEBUG", debug::debug)
        .summary("Serves those who test the server.")
        .since("1.0.0")
        .complexity("Depends on subcommand.")
        .arity(-2)
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE, table::PROTECTED]),
    command("FLUSHALL", flushall)
        .summary("Deletes all keys of all databases.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of keys in all databases")
        .syntax("[ASYNC | SYNC]")
        .flags(&[table::WRITE])
        .acl(&[acl::KEYSPACE, acl::DANGEROUS])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    command("FLUSHDB", flushdb)
        .summary("Deletes all keys of the selected database.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys in the selected database")
        .syntax("[ASYNC | SYNC]")
        .flags(&[table::WRITE])
        .acl(&[acl::KEYSPACE, acl::DANGEROUS])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    command("INFO", info::info)
        .summary("Returns figures about the server, section by section.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("[section [section ...]]")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::DANGEROUS])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    container("LATENCY", latency::COMMANDS)
        .summary("Tells how long commands and events take.")
        .since("2.8.13")
        .complexity("Depends on subcommand."),
    command("LOLWUT", lolwut::lolwut)
        .summary("Shows computer art and the server's version.")
        .since("5.0.0")
        .syntax("[VERSION version]")
        .flags(&[table::READONLY, table::FAST]),
    container("MEMORY", memory::COMMANDS)
        .summary("Tells how memory is used.")
        .since("4.0.0")
        .complexity("Depends on subcommand."),
    command("MONITOR", monitor)
        .summary("Sends the client every command that the server executes.")
        .since("1.0.0")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE]),
    command("ROLE", role)
        .summary("Returns the server's role in replication.")
        .since("2.8.12")
        .complexity("O(1)")
        .flags(&[table::NOSCRIPT, table::LOADING, table::STALE, table::FAST])
        .acl(&[acl::ADMIN, acl::DANGEROUS]),
    command("SHUTDOWN", shutdown)
        .summary("Stops the server.")
        .since("1.0.0")
        .complexity("O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)")
        .syntax("[[NOSAVE | SAVE] [NOW] [FORCE] | ABORT]")
        .flags(&[
            table::ADMIN,
            table::NOSCRIPT,
            table::LOADING,
            table::STALE,
            table::NO_MULTI,
            table::ALLOW_BUSY,
        ]),
    container("SLOWLOG", slowlog::COMMANDS)
        .summary("Tells which commands took long.")
        .since("2.2.12")
        .complexity("Depends on subcommand."),
    command("SWAPDB", swapdb)
        .summary("Lets two databases trade places.")
        .since("4.0.0")
        .complexity("O(N) where N is the count of clients watching or blocking on keys from both databases.")
        .syntax("index1 index2")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE, acl::DANGEROUS]),
    command("TIME", time)
        .summary("Returns the server's clock.")
        .since("2.6.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE, table::FAST])
        .tips(&["nondeterministic_output"]),
];

/// Returns how many keys the selected database has.
fn dbsize(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.int(cx.keys.space.dbs[cx.session.db].len() as i64);
    Ok(())
}

/// Deletes all keys of all databases.
fn flushall(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let lazy = lazily(cx, args)?;
    for db in 0..cx.keys.space.dbs.len() {
        flush(cx, db, lazy);
    }
    // It is logged and replicated even if there was nothing to delete.
    cx.keys.space.recorder.dirty += 1;
    empty_snapshot(cx);
    out.ok();
    Ok(())
}

/// Lets the RDB file say that everything is gone, too, where snapshots are taken: a restart must not bring it back.
fn empty_snapshot(cx: &mut Cx<'_>) {
    if cx.session.origin != Origin::Client {
        return;
    }
    if cx.server.persistence.child.is_some_and(|child| child.kind == Snapshot::Save) {
        cx.server.effects.push(Effect::KillChild);
    }
    if !cx.server.config.save.is_empty() {
        // A failure is in the log; FLUSHALL has done what it was asked for all the same.
        let _ = save_now(cx.server, cx.keys.space, cx.now, cx.host);
    }
}

/// Deletes all keys of the selected database.
fn flushdb(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let lazy = lazily(cx, args)?;
    flush(cx, cx.session.db, lazy);
    cx.keys.space.recorder.dirty += 1;
    out.ok();
    Ok(())
}

/// Returns whether memory is to be freed on another thread.
fn lazily(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<bool> {
    let lazy = match args.is_empty() {
        true => cx.server.config.lazyfree_lazy_user_flush,
        false if args.accept("ASYNC") => true,
        false if args.accept("SYNC") => false,
        false => return Err(Error::Syntax),
    };
    args.end()?;
    Ok(lazy)
}

/// Empties one database.
pub(super) fn flush(cx: &mut Cx<'_>, db: usize, lazy: bool) {
    let space = &mut *cx.keys.space;
    if space.dbs[db].is_empty() {
        return;
    }
    cx.server.touch_watched_db(cx.session, db, |key| space.dbs[db].table.contains(key));
    space.recorder.dirty += space.flush(db, lazy) as u64;
    cx.server.locks.index.clear_db(db);
    cx.server.waiting.signal_locks(db);
}

/// Lets two databases trade places.
fn swapdb(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let first = index(args, Error::text("ERR invalid first DB index"))?;
    let second = index(args, Error::text("ERR invalid second DB index"))?;
    let (first, second) = (super::database(cx, first)?, super::database(cx, second)?);
    if first != second {
        let space = &mut *cx.keys.space;
        let now_ms = cx.now.unix_ms();
        let expired = |db: usize, key: &[u8]| {
            let entry = space.dbs[db].table.get(key)?;
            Some(entry.stamp().is_some_and(|at| at <= now_ms))
        };
        cx.server.swap_watched(cx.session, first, second, expired);
        space.dbs.swap(first, second);
        // What eviction had in view lies elsewhere now.
        space.evictor.clear();
        cx.server.locks.index.swap_dbs(first, second);
        cx.server.waiting.signal_db(first);
        cx.server.waiting.signal_db(second);
    }
    cx.keys.space.recorder.dirty += 1;
    out.ok();
    Ok(())
}

fn index(args: &mut Args<'_>, error: Error) -> Result<i64> {
    args.int_in(i64::from(i32::MIN)..=i64::from(i32::MAX), error)
}

/// Returns the server's clock: seconds, and microseconds beyond them.
fn time(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.array(2);
    out.bulk_int(cx.now.unix_secs());
    out.bulk_int(cx.now.unix_us.rem_euclid(1_000_000));
    Ok(())
}

/// Returns the server's role: a master with its replicas, or a replica with its master.
fn role(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let replication = &cx.server.replication;
    match &replication.replica {
        None => {
            let figures = replication.primary.figures(cx.now.instant);
            let online = || figures.replicas.iter().filter(|replica| replica.state == "online");
            out.array(3);
            out.bulk(b"master");
            out.int(figures.offset as i64);
            out.array(online().count());
            for replica in online() {
                out.array(3);
                out.bulk(replica.address.as_bytes());
                out.bulk_int(i64::from(replica.port));
                out.bulk_int(replica.acked as i64);
            }
        }
        Some(replica) => {
            let figures = replica.figures(cx.now.instant);
            out.array(5);
            out.bulk(b"slave");
            out.bulk(figures.host.as_bytes());
            out.int(i64::from(figures.port));
            out.bulk(figures.state.as_bytes());
            let position = figures.position.filter(|_| figures.link_up);
            out.int(position.map_or(-1, |position| position.offset as i64));
        }
    }
    Ok(())
}

/// Makes the session a monitor.
fn monitor(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.mode == Mode::Transaction {
        return Err(Error::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // As in Redis, asking twice is not answered twice.
    if !cx.session.monitor {
        cx.session.monitor = true;
        cx.server.monitors.push(cx.session.id);
        out.ok();
    }
    Ok(())
}

/// Stops the server; only an error is answered.
fn shutdown(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (mut save, mut no_save, mut now, mut force, mut abort) = (false, false, false, false, false);
    while let Ok(word) = args.next() {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => no_save = true,
            b"now" => now = true,
            b"force" => force = true,
            b"abort" => abort = true,
            _ => return Err(Error::Syntax),
        }
    }
    if (abort && (save || no_save || now || force)) || (save && no_save) {
        return Err(Error::Syntax);
    }
    if abort {
        return Err(Error::text("ERR No shutdown in progress."));
    }
    let _ = out;
    let wish = ShutdownFlags { save, no_save, now, force };
    prepare_shutdown(cx.server, cx.keys.space, cx.now, cx.host, wish)
        .map_err(|()| Error::text("ERR Errors trying to SHUTDOWN. Check logs."))?;
    cx.server.effects.push(Effect::Shutdown);
    // Nothing that follows in the pipeline is executed.
    cx.session.close(Closing::Now);
    Ok(())
}
