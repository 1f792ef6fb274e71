//! The checks between a request and its handler, in the order in which Redis makes them.

use base::time::Now;

use crate::dispatch::Engine;
use crate::session::{Multi, Origin, Session};
use crate::table::{self, Flags, Row};
use crate::{Error, Host, Result};

/// What the gates decide when they do not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The server is paused for such commands: try again later.
    Postpone,
}

/// Checks whether `session` may run the command now; `argc` words were given.
#[inline]
pub fn check(
    engine: &mut Engine,
    host: &dyn Host,
    session: &mut Session,
    row: &Row,
    argc: usize,
    now: Now,
) -> Result<Verdict> {
    if !row.takes(argc) {
        return Err(Error::Arity(row.name.clone().into()));
    }
    if row.flags.has(table::PROTECTED)
        && !engine.server.config.enable_debug_command.allows(session.is_local())
    {
        return Err(Error::text(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    if !session.authenticated && !row.flags.has(table::NO_AUTH) && engine.server.requires_password() {
        return Err(Error::text("NOAUTH Authentication required."));
    }
    if session.multi.is_some() && row.flags.has(table::NO_MULTI) {
        return Err(Error::text("ERR Command not allowed inside a transaction"));
    }
    if engine.server.config.maxmemory != 0 {
        engine.forget_ticks();
        memory(engine, host, session, row, now.unix_ms())?;
    }
    let asks = session.origin == Origin::Client;
    if asks && engine.server.persistence.hinders() {
        files(engine, session, row)?;
    }
    if asks && engine.server.minds_replicas() {
        replicas(engine, session, row, now)?;
    }
    if session.subscriptions.is_some() && session.protocol == crate::Protocol::Resp2 && session.subscribed() {
        const ALLOWED: [&str; 9] = [
            "PING",
            "SUBSCRIBE",
            "SSUBSCRIBE",
            "SUNSUBSCRIBE",
            "PSUBSCRIBE",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "QUIT",
            "RESET",
        ];
        if !row.is_any(&ALLOWED) {
            return Err(Error::from(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                row.name
            )));
        }
    }
    if asks && engine.server.follows() {
        stale(engine, session, row)?;
    }
    if asks && engine.server.persistence.loads() {
        loading(engine, session, row)?;
    }
    if session.replica {
        return of_replica(session, row);
    }
    if asks && engine.server.pause.writes() && postpones(engine, session, row) {
        return Ok(Verdict::Postpone);
    }
    Ok(Verdict::Pass)
}

/// Returns the transaction that the command executes, if it is EXEC.
fn executed<'s>(session: &'s Session, row: &Row) -> Option<&'s Multi> {
    session.multi.as_deref().filter(|_| row.is_any(&["EXEC"]))
}

/// Returns whether the command has any of these flags, or executes one that has.
fn has(session: &Session, row: &Row, flags: Flags) -> bool {
    row.flags.has(flags) || executed(session, row).is_some_and(|multi| multi.flags.has(flags))
}

/// Returns whether the command has not this flag, or executes one that has not.
fn lacks(session: &Session, row: &Row, flag: Flags) -> bool {
    !row.flags.has(flag) || executed(session, row).is_some_and(|multi| multi.lacks.has(flag))
}

/// Refuses writes that the files could not follow.
#[cold]
fn files(engine: &Engine, session: &Session, row: &Row) -> Result<()> {
    if (has(session, row, table::WRITE) || row.is_any(&["PING"]))
        && let Some(refusal) = engine.server.refuses_writes()
    {
        return Err(refusal);
    }
    Ok(())
}

/// Refuses writes that too few replicas would have, and those that are our master's alone to do.
fn replicas(engine: &Engine, session: &Session, row: &Row, now: Now) -> Result<()> {
    if !has(session, row, table::WRITE) {
        return Ok(());
    }
    if engine.server.follows() {
        return match engine.server.config.replica_read_only {
            true => Err(Error::text("READONLY You can't write against a read only replica.")),
            false => Ok(()),
        };
    }
    match engine.server.lacks_replicas(now.instant) {
        true => Err(Error::text("NOREPLICAS Not enough good replicas to write.")),
        false => Ok(()),
    }
}

/// Refuses to answer out of old data, where that is not wanted.
fn stale(engine: &Engine, session: &Session, row: &Row) -> Result<()> {
    if engine.server.config.replica_serve_stale_data || engine.server.master_is_up() {
        return Ok(());
    }
    match lacks(session, row, table::STALE) {
        true => Err(Error::text(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        )),
        false => Ok(()),
    }
}

/// Refuses nearly everything while the data set is being loaded, and a little while another is beside it.
#[cold]
fn loading(engine: &Engine, session: &Session, row: &Row) -> Result<()> {
    let refused = match engine.server.persistence.loading() {
        Some(_) => lacks(session, row, table::LOADING),
        None => has(session, row, table::NO_ASYNC_LOADING),
    };
    match refused {
        true => Err(Error::text("LOADING Redis is loading the dataset in memory")),
        false => Ok(()),
    }
}

/// Decides for the link of a replica: no pause holds it up, and it may not look at the data.
#[cold]
fn of_replica(session: &Session, row: &Row) -> Result<Verdict> {
    let touches = table::WRITE | table::MAY_REPLICATE | table::READONLY;
    match row.flags.has(touches) || (row.is_any(&["EXEC"]) && session.multi.is_some()) {
        true => Err(Error::text("ERR Replica can't interact with the keyspace")),
        false => Ok(Verdict::Pass),
    }
}

/// Evicts what exceeds `maxmemory`; refuses commands that need memory when that does not suffice.
fn memory(engine: &mut Engine, host: &dyn Host, session: &mut Session, row: &Row, now_ms: i64) -> Result<()> {
    let fits = engine.make_room(host, now_ms);
    // The session learns what it was sent, and that keys which it watches are gone.
    engine.server.sessions.settle(session);
    if fits {
        return Ok(());
    }
    // Queueing takes memory, too, and so does a transaction with a command that does.
    let refused = row.flags.has(table::DENYOOM)
        || session.multi.as_ref().is_some_and(|multi| match row.is_any(&["EXEC"]) {
            true => multi.flags.has(table::DENYOOM),
            false => !row.is_any(&["DISCARD", "MULTI", "WATCH", "UNWATCH", "QUIT", "RESET"]),
        });
    if refused { Err(Error::OutOfMemory) } else { Ok(()) }
}

fn postpones(engine: &Engine, session: &Session, row: &Row) -> bool {
    if engine.server.pause.reads() {
        return true;
    }
    has(session, row, table::WRITE | table::MAY_REPLICATE)
}
