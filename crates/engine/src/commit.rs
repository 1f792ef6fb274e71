//! What follows a change: the only place that knows.

use keyspace::Listening;

use crate::dispatch::Engine;
use crate::effect::Effect;
use crate::notify;
use crate::session::Session;

impl Engine {
    /// Turns the changes of the last command or transaction into notifications, failed WATCHes, wake-ups and effects.
    #[inline]
    pub(crate) fn commit(&mut self, session: &mut Session) {
        self.settle(session, true);
    }

    /// Does the same for changes that no command asked for and that have nothing to do with each other.
    pub(crate) fn commit_apart(&mut self, session: &mut Session) {
        self.settle(session, false);
    }

    #[inline]
    fn settle(&mut self, session: &mut Session, together: bool) {
        let recorder = &self.keyspace.recorder;
        if recorder.listening.any(Listening::PROPAGATE) {
            self.server.end_propagated_unit(&self.keyspace, together);
        }
        if !recorder.changes.is_empty() {
            self.commit_changes(session);
        }
        self.keyspace.retire_table(session.db);
        let recorder = &mut self.keyspace.recorder;
        if !recorder.garbage.is_empty() {
            self.server.effects.extend(recorder.garbage.drain(..).map(Effect::Free));
        }
    }

    #[cold]
    fn commit_changes(&mut self, session: &mut Session) {
        let mut changes = std::mem::take(&mut self.keyspace.recorder.changes);
        let listening = self.keyspace.recorder.listening;
        let server = &mut self.server;
        for change in changes.drain(..) {
            if listening.any(Listening::WATCH) {
                server.touch_watched(session, change.db, &change.key);
            }
            if listening.any(Listening::BLOCKED) {
                server.waiting.signal(change.db, &change.key);
            }
            if listening.any(Listening::NOTIFY) {
                let flags = server.config.notify_keyspace_events;
                notify::publish(flags, &server.pubsub, &mut server.sessions, &change);
            }
        }
        // The vector keeps its room for the next command.
        if self.keyspace.recorder.changes.is_empty() {
            self.keyspace.recorder.changes = changes;
        }
    }
}
