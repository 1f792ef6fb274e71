//! WAIT and WAITAOF: until replicas, or the log on the disk, have what was written.

use std::time::Duration;

use base::number::parse_i64;
use base::time::Instant;

use crate::acks::Acks;
use crate::persistence::LOG_IS_OFF;
use crate::table::{self, Command, acl, command};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("WAIT", wait)
        .summary("Waits until so many replicas have what this client wrote.")
        .since("3.0.0")
        .complexity("O(1)")
        .syntax("numreplicas timeout")
        .acl(&[acl::CONNECTION])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    command("WAITAOF", waitaof)
        .summary("Waits until what this client wrote is on disk, here and on so many replicas.")
        .since("7.2.0")
        .complexity("O(1)")
        .syntax("numlocal numreplicas timeout")
        .flags(&[table::NOSCRIPT])
        .acl(&[acl::CONNECTION])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
];

/// Waits for replicas to acknowledge what this client wrote, or until the time is up.
fn wait(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if cx.server.follows() {
        return Err(Error::text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = args.int()?;
    let deadline = milliseconds(cx, args)?;
    cx.wait_for_acks(Acks { offset: cx.session.written, replicas, logs: None }, deadline, out);
    Ok(())
}

/// Waits for logs to be on disk, here and on replicas, or until the time is up.
fn waitaof(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let local = args.int()?;
    if !(0..=1).contains(&local) {
        return Err(Error::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = args.int_in(0..=i64::MAX, Error::text("ERR value is out of range, must be positive"))?;
    let deadline = milliseconds(cx, args)?;
    if cx.server.follows() {
        return Err(Error::text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just \
             local and are not propagated.",
        ));
    }
    if local > 0 && !cx.server.persistence.log.enabled {
        return Err(Error::text(LOG_IS_OFF));
    }
    cx.wait_for_acks(Acks { offset: cx.session.written, replicas, logs: Some(local) }, deadline, out);
    Ok(())
}

/// Returns the moment so many milliseconds from now; 0 = never.
fn milliseconds(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Option<Instant>> {
    const NOT_TIME: Error = Error::text("ERR timeout is not an integer or out of range");
    let ms = parse_i64(args.next()?).ok_or(NOT_TIME)?;
    match u64::try_from(ms) {
        Err(_) => Err(Error::text("ERR timeout is negative")),
        Ok(0) => Ok(None),
        // The clock counts microseconds.
        Ok(ms) if ms > i64::MAX as u64 / 1000 - cx.now.unix_ms().unsigned_abs() => {
            Err(Error::text("ERR timeout is out of range"))
        }
        Ok(ms) => Ok(Some(cx.now.instant + Duration::from_millis(ms))),
    }
}
