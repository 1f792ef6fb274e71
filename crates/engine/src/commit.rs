//! What follows a change: the only place that knows.

use keyspace::Listening;

use crate::dispatch::Engine;
use crate::effect::Effect;
use crate::notify;
use crate::session::Session;

impl Engine {
    /// Turns the changes that the last command recorded into notifications, failed WATCHes, wake-ups and effects.
    #[inline]
    pub(crate) fn commit(&mut self, session: &mut Session) {
        let recorder = &mut self.keyspace.recorder;
        if !recorder.changes.is_empty() {
            self.commit_changes(session);
        }
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
