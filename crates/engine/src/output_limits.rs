//! `client-output-buffer-limit`: clients that do not read are closed.

use base::time::Instant;

use crate::Server;
use crate::session::{Closing, LARGE_OUTPUT, Session};

impl Server {
    /// Closes sessions that were sent more than their class' limits allow.
    #[inline]
    pub(crate) fn limit_swollen(&mut self, now: Instant) {
        while let Some(id) = self.sessions.swollen.pop() {
            // One that executes is looked at when it has its reply.
            let Some(mut session) = self.sessions.take(id) else { continue };
            self.limit_output(&mut session, now);
            self.sessions.put(session);
        }
    }

    /// Closes a session whose output exceeds its class' limits.
    #[inline]
    pub fn limit_output(&mut self, session: &mut Session, now: Instant) {
        if session.unsent() < LARGE_OUTPUT && session.soft_limit_since.is_none() {
            return;
        }
        // How far a replica may stay behind is known where the stream is kept.
        if session.replica {
            session.soft_limit_since = None;
            return;
        }
        self.limit_large_output(session, now);
    }

    #[cold]
    fn limit_large_output(&mut self, session: &mut Session, now: Instant) {
        let limit = match session.class() {
            crate::session::Class::Normal => self.config.client_output_buffer_limit.normal,
            crate::session::Class::PubSub => self.config.client_output_buffer_limit.pubsub,
            crate::session::Class::Replica => self.config.client_output_buffer_limit.replica,
        };
        let used = session.unsent() as u64;
        let hard = limit.hard_bytes > 0 && used > limit.hard_bytes;
        let soft = if limit.soft_bytes > 0 && used > limit.soft_bytes {
            let since = *session.soft_limit_since.get_or_insert(now);
            now.saturating_since(since).as_secs() >= limit.soft_secs
        } else {
            session.soft_limit_since = None;
            false
        };
        if (hard || soft) && session.closing != Closing::Now {
            session.close(Closing::Now);
            self.stats.output_limit_disconnections += 1;
            let line = format!(
                "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
                session.client_id, session.addr
            );
            self.log(crate::effect::LogLevel::Warning, line);
        }
    }
}
