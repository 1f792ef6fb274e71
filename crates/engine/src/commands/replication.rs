//! The commands of replication: those with which replicas and masters talk, and those that say who follows whom.

use base::number::parse_i64;
use keyspace::Listening;
use replication::Answer;
use replication::primary::Upstream;

use crate::effect::LogLevel;
use crate::replication::{Follow, link_of};
use crate::session::{Closing, Origin, ReplyMode};
use crate::table::{self, Command, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("FAILOVER", super::failover::failover)
        .summary("Gives the place of this master to one of its replicas, once that has everything.")
        .since("6.2.0")
        .complexity("O(1)")
        .syntax("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .flags(&[table::ADMIN, table::NOSCRIPT, table::STALE]),
    command("PSYNC", psync)
        .summary("An internal command used in replication.")
        .since("2.8.0")
        .syntax("replicationid offset")
        .arity(-3)
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NO_MULTI, table::NOSCRIPT]),
    command("REPLCONF", replconf)
        .summary("An internal command for configuring the replication stream.")
        .since("3.0.0")
        .complexity("O(1)")
        .arity(-1)
        .flags(&[table::ADMIN, table::NOSCRIPT, table::LOADING, table::STALE, table::ALLOW_BUSY]),
    command("REPLICAOF", replicaof)
        .summary("Configures a server as replica of another, or promotes it to a master.")
        .since("5.0.0")
        .complexity("O(1)")
        .syntax("<host port [ACCEPT-EMPTY] | NO ONE>")
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NOSCRIPT, table::STALE]),
    command("SLAVEOF", replicaof)
        .summary("Sets a Redis server as a replica of another, or promotes it to being a master.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("<host port | NO ONE>")
        .flags(&[table::NO_ASYNC_LOADING, table::ADMIN, table::NOSCRIPT, table::STALE]),
    command("SYNC", psync).summary("An internal command used in replication.").since("1.0.0").flags(&[
        table::NO_ASYNC_LOADING,
        table::ADMIN,
        table::NO_MULTI,
        table::NOSCRIPT,
    ]),
];

/// Makes the link a replica's, which is sent the data from here on.
fn psync(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let link = link_of(cx.session);
    let peer = cx.session.addr.rsplit_once(':').map_or("", |(ip, _)| ip).trim_matches(['[', ']']);
    // What was written into `out` before this command belongs to requests that came in one piece with it.
    let pending = out.out.len() > cx.session.sent;
    let primary = &mut cx.server.replication.primary;
    match primary.sync(cx.now, link, peer, pending, cx.request) {
        Answer::Error(error) => Err(Error::from(error)),
        Answer::Close => {
            cx.session.close(Closing::Now);
            Ok(())
        }
        _ => {
            cx.session.replica = primary.is_replica(link);
            if primary.upstream() == Upstream::None && cx.server.follows() {
                // It was handed our master's place with this: what that says from here on is nothing to us.
                follow(cx, Follow::default());
            }
            if cx.session.replica {
                // From here on all that the link carries is the snapshot and the stream.
                cx.session.reply_mode = ReplyMode::Off;
            }
            Ok(())
        }
    }
}

/// Takes what a replica says of itself, or what our master asks us.
fn replconf(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let link = link_of(cx.session);
    match cx.server.replication.primary.replconf(cx.now, link, cx.request) {
        Answer::Ok => out.ok(),
        Answer::Status(status) => out.simple(status),
        Answer::Error(error) => return Err(Error::from(error)),
        Answer::Close => cx.session.close(Closing::Now),
        Answer::Acknowledge => {
            // Only the master may ask, and what it is told is the node's to know.
            cx.server.replication.ack_wanted |= cx.session.origin == Origin::Master;
        }
        Answer::Nothing => {}
    }
    Ok(())
}

/// Follows another master, or nobody.
fn replicaof(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.server.replication.failover_in_progress() {
        return Err(Error::text("ERR REPLICAOF not allowed while failing over."));
    }
    let (host, port) = (args.next()?, args.next()?);
    let nobody = host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one");
    let accept_empty = !nobody && args.accept("ACCEPT-EMPTY");
    if !args.is_empty() {
        return Err(Error::Arity(cx.row.name.clone().into()));
    }
    // As in Redis, the words are looked at before the port.
    if nobody {
        if cx.server.follows() {
            follow(cx, Follow::default());
            let line = format!("MASTER MODE enabled (user request from '{}')", client_line(cx));
            cx.server.log(LogLevel::Notice, line);
        }
        out.ok();
        return Ok(());
    }
    if cx.session.replica {
        // A replica that makes its master its replica would wait for itself.
        return Err(Error::text("ERR Command is not valid when client is a replica."));
    }
    let port = parse_i64(port)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(Error::text("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host).into_owned();
    // What was refused is tried again at once by whoever says so: the master may have its data by now.
    let refused = cx
        .server
        .replication
        .replica
        .as_ref()
        .is_some_and(|replica| replica.figures(cx.now.instant).refused.is_some());
    if !accept_empty
        && !refused
        && cx.server.master().is_some_and(|(name, at)| name.eq_ignore_ascii_case(&host) && at == port)
    {
        let line = "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.";
        cx.server.log(LogLevel::Notice, line.into());
        out.simple("OK Already connected to specified master");
        return Ok(());
    }
    let line = format!("REPLICAOF {host}:{port} enabled (user request from '{}')", client_line(cx));
    follow(cx, Follow { target: Some((host, port)), accept_empty, hand_over: false });
    // It is the replica that says so, as in Redis.
    cx.server.log(LogLevel::Notice, line);
    out.ok();
    Ok(())
}

/// Changes whom the server follows, between two commands of a transaction if need be.
pub(super) fn follow(cx: &mut Cx<'_>, follow: Follow) {
    let space = &mut *cx.keys.space;
    if space.recorder.listening.any(Listening::PROPAGATE) {
        // What a transaction has done so far belongs to the history that ends here.
        cx.server.end_propagated_unit(space, true);
    }
    cx.server.follow(cx.now, follow);
    space.recorder.listening = cx.server.listening();
    space.keep_expired = cx.server.keeps_expired();
}

/// Returns the session's line, as the log names clients.
fn client_line(cx: &Cx<'_>) -> String {
    let mut line = Vec::new();
    crate::client_line::push(&mut line, cx.session, cx.server.table, cx.now.instant);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}
