//! What all clients together hold, and who goes when it is more than `maxmemory-clients` allows.

use crate::Server;
use crate::effect::LogLevel;
use crate::session::{Closing, Session, SessionId, Sessions};

/// The sum over all sessions, kept only while there is a limit.
#[derive(Debug, Default)]
pub(crate) struct ClientMemory {
    /// Bytes that all clients together may hold.
    limit: Option<usize>,
    held: usize,
}

impl ClientMemory {
    /// Brings the sum up to date with a session that changed.
    #[inline]
    pub(crate) fn count(&mut self, session: &mut Session) {
        if self.limit.is_some() {
            self.recount(session);
        }
    }

    fn recount(&mut self, session: &mut Session) {
        // What is being closed is as good as gone.
        let now = if session.closing == Closing::Now || session.replicates() { 0 } else { session.memory() };
        self.held = self.held + now - session.counted_memory;
        session.counted_memory = now;
    }

    /// Takes a session out of the sum.
    pub(crate) fn forget(&mut self, session: &mut Session) {
        self.held -= std::mem::take(&mut session.counted_memory);
    }

    #[inline]
    fn is_exceeded(&self) -> bool {
        self.limit.is_some_and(|limit| self.held > limit)
    }
}

impl Sessions {
    /// Sets the limit; with a new one everything is counted afresh, but for the session that executes.
    pub(crate) fn limit_memory(&mut self, limit: Option<u64>) {
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let begins = self.client_memory.limit.is_none() && limit.is_some();
        self.client_memory.limit = limit;
        if begins {
            let mut memory = std::mem::take(&mut self.client_memory);
            for session in self.iter_mut() {
                memory.recount(session);
            }
            self.client_memory = memory;
        }
    }

    /// Brings the sum up to date with a session whose buffers changed.
    #[inline]
    pub fn count_memory(&mut self, id: SessionId) {
        if self.client_memory.limit.is_none() {
            return;
        }
        let mut memory = std::mem::take(&mut self.client_memory);
        if let Some(session) = self.get_mut(id) {
            memory.recount(session);
        }
        self.client_memory = memory;
    }

    /// Returns the session that holds most, of those that may be closed for it.
    fn largest(&self) -> Option<&Session> {
        let may_go = |session: &&Session| {
            session.closing != Closing::Now
                && !session.no_evict
                && !session.monitor
                && session.counted_memory > 0
        };
        self.iter().filter(may_go).max_by_key(|session| session.counted_memory)
    }
}

impl Server {
    /// Makes the limit follow the configuration.
    pub(crate) fn limit_clients(&mut self) {
        let limit = self.config.maxmemory_clients.limit(self.config.maxmemory);
        self.sessions.limit_memory(limit);
    }

    /// Closes the clients that hold most until all of them together hold no more than they may.
    #[inline]
    pub fn evict_clients(&mut self) {
        while self.sessions.client_memory.is_exceeded() {
            if !self.evict_client() {
                return;
            }
        }
    }

    #[cold]
    fn evict_client(&mut self) -> bool {
        let Some(session) = self.sessions.largest() else { return false };
        let (id, held) = (session.id, session.counted_memory);
        let line = format!("Evicting client: id={} addr={} tot-mem={held}", session.client_id, session.addr);
        self.log(LogLevel::Notice, line);
        self.kill(id);
        if let Some(session) = self.sessions.get_mut(id) {
            // Nobody will read it.
            session.out = Vec::new();
            session.sent = 0;
        }
        self.stats.evicted_clients += 1;
        true
    }
}
