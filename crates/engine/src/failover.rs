//! FAILOVER: a master gives its place to one of its replicas, and nothing is lost on the way.
//!
//! ```text
//!             writes are paused                        they go on, and are refused: we are a replica
//!  FAILOVER ─► WaitingForSync ─► a replica has everything ─► InProgress ─► it has taken over ─► done
//!                    │  timeout, ABORT                          │ it will not, ABORT
//!                    └─► as before                              └─► master again
//! ```

use std::time::Duration;

use base::time::{Instant, Now};

use crate::effect::{Effect, LogLevel};
use crate::replication::Follow;
use crate::{Engine, Error, Result, Server};

/// A failover under way.
#[derive(Clone, Debug)]
pub(crate) struct Failover {
    state: State,
    /// The replica that is to take over; any, until one has everything.
    target: Option<(String, u16)>,
    deadline: Option<Instant>,
    /// When time is up the target takes over whatever it has.
    force: bool,
    /// When to look next.
    look_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    WaitingForSync,
    InProgress,
}

/// What FAILOVER was asked to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) target: Option<(String, u16)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) force: bool,
}

/// How often the replicas are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Failover {
    /// Returns INFO's word for the state.
    pub(crate) fn state_word(failover: Option<&Failover>) -> &'static str {
        match failover.map(|failover| failover.state) {
            None => "no-failover",
            Some(State::WaitingForSync) => "waiting-for-sync",
            Some(State::InProgress) => "failover-in-progress",
        }
    }

    fn target_words(&self) -> String {
        match &self.target {
            Some((host, port)) => format!("{host}:{port}"),
            None => "any replica".into(),
        }
    }
}

impl Server {
    /// Begins a failover: from now on writes wait.
    pub(crate) fn begin_failover(&mut self, now: Now, wish: Wish) -> Result<()> {
        if self.replication.failover.is_some() {
            return Err(Error::text("ERR FAILOVER already in progress."));
        }
        if self.follows() {
            return Err(Error::text("ERR FAILOVER is not valid when server is a replica."));
        }
        let replicas = self.replication.primary.figures(now.instant).replicas;
        if replicas.is_empty() {
            return Err(Error::text("ERR FAILOVER requires connected replicas."));
        }
        if wish.force && (wish.timeout.is_none() || wish.target.is_none()) {
            return Err(Error::text(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        if let Some((host, port)) = &wish.target {
            let target = replicas
                .iter()
                .find(|replica| replica.address.eq_ignore_ascii_case(host) && replica.port == *port)
                .ok_or(Error::text("ERR FAILOVER target HOST and PORT is not a replica."))?;
            if target.state != "online" {
                return Err(Error::text("ERR FAILOVER target replica is not online."));
            }
        }
        let failover = Failover {
            state: State::WaitingForSync,
            target: wish.target,
            deadline: wish.timeout.map(|timeout| now.instant + timeout),
            force: wish.force,
            look_at: now.instant,
        };
        self.log(LogLevel::Notice, format!("FAILOVER requested to {}.", failover.target_words()));
        self.replication.failover = Some(failover);
        self.replication.primary.set_failing_over(true);
        self.pause.failover = true;
        Ok(())
    }

    /// Ends a failover that is not to go on; one that was handed over already is taken back.
    pub(crate) fn abort_failover(&mut self, now: Now, why: &str) -> Result<()> {
        let Some(failover) = &self.replication.failover else {
            return Err(Error::text("ERR No failover in progress."));
        };
        let (state, target) = (failover.state, failover.target_words());
        self.log(LogLevel::Notice, format!("FAILOVER to {target} aborted: {why}"));
        if state == State::InProgress {
            self.follow(now, Follow::default());
        }
        self.end_failover();
        Ok(())
    }

    /// Lets writes go on.
    fn end_failover(&mut self) {
        self.replication.failover = None;
        self.replication.primary.set_failing_over(false);
        self.pause.failover = false;
        self.effects.push(Effect::Resume);
    }

    /// Gives our place to the target.
    fn hand_over(&mut self, now: Now, (host, port): (String, u16)) {
        if let Some(failover) = &mut self.replication.failover {
            failover.state = State::InProgress;
            failover.target = Some((host.clone(), port));
        }
        self.follow(now, Follow { target: Some((host, port)), accept_empty: false, hand_over: true });
    }

    /// Returns a replica that has everything, the target if there is one.
    fn caught_up(&self, now: Instant, target: Option<&(String, u16)>) -> Option<(String, u16)> {
        let primary = &self.replication.primary;
        // What was executed and not yet handed to the replicas is missing on all of them.
        if primary.offset() != self.stream_offset() {
            return None;
        }
        let is_target = |host: &str, port: u16| {
            target.is_none_or(|(name, at)| name.eq_ignore_ascii_case(host) && *at == port)
        };
        let replicas = primary.figures(now).replicas.into_iter();
        let mut ready = replicas.filter(|replica| {
            is_target(&replica.address, replica.port)
                && replica.state == "online"
                && replica.acked == primary.offset()
        });
        ready.next().map(|replica| (replica.address, replica.port))
    }
}

impl Engine {
    /// Moves a failover on, if one is under way.
    #[inline]
    pub(crate) fn tend_failover(&mut self, now: Now) {
        if self.server.replication.failover.is_some() {
            self.move_failover(now);
        }
    }

    #[cold]
    fn move_failover(&mut self, now: Now) {
        let server = &mut self.server;
        let Some(failover) = &mut server.replication.failover else { return };
        failover.look_at = now.instant + LOOK_EVERY;
        let failover = failover.clone();
        match failover.state {
            State::InProgress => {
                let figures = server.replication.replica.as_ref().map(|replica| replica.figures(now.instant));
                if figures.is_some_and(|figures| matches!(figures.state, "connected" | "sync")) {
                    server.log(LogLevel::Notice, format!("FAILOVER to {} done.", failover.target_words()));
                    server.end_failover();
                }
            }
            State::WaitingForSync => {
                let over = failover.deadline.is_some_and(|deadline| deadline <= now.instant);
                if over && failover.force {
                    let target = failover.target_words();
                    server.log(
                        LogLevel::Notice,
                        format!("FAILOVER to {target} time out exceeded, failing over."),
                    );
                    if let Some(target) = failover.target {
                        server.hand_over(now, target);
                    }
                } else if over {
                    // There is one: it was looked at above.
                    let _ = server.abort_failover(now, "Replica never caught up before timeout");
                } else if let Some((host, port)) = server.caught_up(now.instant, failover.target.as_ref()) {
                    let line = format!("Failover target {host}:{port} is synced, failing over.");
                    server.log(LogLevel::Notice, line);
                    server.hand_over(now, (host, port));
                }
            }
        }
        self.keyspace.keep_expired = self.server.keeps_expired();
    }

    /// Takes back the place that the target of a failover did not want.
    pub fn hand_over_refused(&mut self, now: Now, reason: &str) {
        if self.server.replication.failover.is_none() {
            return;
        }
        // It is a master already: our wish was heard, and only the answer lost. Two masters would be worse than none.
        if reason.contains(replication::primary::ALREADY_MASTER) {
            self.server.end_failover();
        } else {
            let why = format!("Failover target rejected psync request: {reason}");
            let _ = self.server.abort_failover(now, &why);
        }
        self.keyspace.keep_expired = self.server.keeps_expired();
    }

    /// Returns when a failover is to be looked at.
    pub(crate) fn failover_due(&self) -> Option<Instant> {
        self.server.replication.failover.as_ref().map(|failover| match failover.deadline {
            Some(deadline) if failover.state == State::WaitingForSync => failover.look_at.min(deadline),
            _ => failover.look_at,
        })
    }
}
