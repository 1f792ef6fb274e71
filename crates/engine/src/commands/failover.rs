//! FAILOVER: what it is asked, and what it answers.

use std::time::Duration;

use crate::failover::Wish;
use crate::{Args, Cx, Error, Reply, Result};

/// Gives this master's place to one of its replicas, once that has everything.
pub(super) fn failover(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if args.left() == 1 && args.accept("ABORT") {
        cx.server.abort_failover(cx.now, "Failover manually aborted")?;
    } else {
        let wish = wish(args)?;
        cx.server.begin_failover(cx.now, wish)?;
    }
    cx.keys.space.keep_expired = cx.server.keeps_expired();
    out.ok();
    Ok(())
}

/// Reads `[TO host port [FORCE]] [TIMEOUT milliseconds]`, in any order.
fn wish(args: &mut Args<'_>) -> Result<Wish> {
    let mut wish = Wish::default();
    while !args.is_empty() {
        if args.left() >= 2 && wish.timeout.is_none() && args.accept("TIMEOUT") {
            let timeout = args.int()?;
            if timeout <= 0 {
                return Err(Error::text("ERR FAILOVER timeout must be greater than 0"));
            }
            wish.timeout = Some(Duration::from_millis(timeout as u64));
        } else if args.left() >= 3 && wish.target.is_none() && args.accept("TO") {
            let host = String::from_utf8_lossy(args.next()?).into_owned();
            // A port that none can have is none of a replica's.
            wish.target = Some((host, u16::try_from(args.int()?).unwrap_or(0)));
        } else if !wish.force && args.accept("FORCE") {
            wish.force = true;
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(wish)
}
