//! WAIT and WAITAOF while they wait: how many replicas have what a client wrote, and whether the log here has.

use base::time::{Instant, Now};
use replication::primary::Commit;

use crate::blocking::OnTimeout;
use crate::cx::on_timeout;
use crate::persistence::LOG_IS_OFF;
use crate::{Cx, Engine, Reply, Server};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The offset of the stream that others must have come up to.
    pub offset: u64,
    pub replicas: i64,
    /// How many logs here must have it on the disk; `None` when logs do not matter (WAIT).
    pub logs: Option<i64>,
}

/// How far that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is answered if nothing more comes.
    pub(crate) reply: OnTimeout,
    pub(crate) met: bool,
}

impl Server {
    /// Returns how far those are who are waited for.
    pub(crate) fn progress(&self, acks: &Acks) -> Progress {
        let count = |commit| self.replication.primary.count(acks.offset, commit) as i64;
        match acks.logs {
            None => {
                let replicas = count(Commit::Received);
                Progress { reply: OnTimeout::Int(replicas), met: replicas >= acks.replicas }
            }
            Some(logs) => {
                let (here, replicas) = (i64::from(self.has_logged(acks.offset)), count(Commit::Fsynced));
                let met = here >= logs && replicas >= acks.replicas;
                Progress { reply: OnTimeout::Counts(here, replicas), met }
            }
        }
    }

    /// Returns whether our log has everything up to an offset on the disk.
    pub(crate) fn has_logged(&self, offset: u64) -> bool {
        let log = &self.persistence.log;
        // Before its first base is on the disk a log holds nothing, whatever its file has.
        log.enabled && !log.starting && log.durable >= offset
    }
}

impl Cx<'_> {
    /// Answers how far those are who are waited for, once they are far enough or `deadline` has passed.
    pub(crate) fn wait_for_acks(&mut self, acks: Acks, deadline: Option<Instant>, out: &mut Reply<'_>) {
        let Progress { reply, met } = self.server.progress(&acks);
        if met {
            return on_timeout(out, reply);
        }
        self.wait_for([], deadline, reply, out);
        if let Some(blocked) = &mut self.session.blocked {
            blocked.acks = Some(acks);
            self.server.waiting.await_acks(self.session.id);
            self.server.ask_replicas();
        }
    }
}

impl Engine {
    /// Answers those in WAIT and WAITAOF who have what they wait for.
    #[inline]
    pub(crate) fn look_at_acks(&mut self, now: Now) {
        if self.server.waiting.has_acks() {
            self.answer_acks(now);
        }
    }

    #[cold]
    fn answer_acks(&mut self, now: Now) {
        for id in self.server.waiting.awaiting_acks() {
            let session = self.server.sessions.get(id);
            let Some(acks) = session.and_then(|session| session.blocked.as_ref()?.acks) else { continue };
            if session.is_some_and(|session| session.blocked.as_ref().is_some_and(|b| b.lock.is_some())) {
                self.look_at_grant(id, now);
            } else if acks.logs.is_some_and(|logs| logs > 0) && !self.server.persistence.log.enabled {
                self.server.unblock_with_error(id, LOG_IS_OFF);
            } else if self.server.progress(&acks).met {
                self.unblock(id, now, on_timeout);
            }
        }
    }
}
