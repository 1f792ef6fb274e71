//! Transactions: optimistic locks on keys, and what breaks them.

use crate::Server;
use crate::session::{Session, Watched};

impl Server {
    /// Puts a key under watch for `session`.
    pub fn watch(&mut self, session: &mut Session, watched: Watched) {
        if session.watching.iter().any(|w| w.db == watched.db && w.key == watched.key) {
            return;
        }
        self.watched.entry((watched.db, watched.key.clone())).or_default().push(session.id);
        session.watching.push(watched);
    }

    /// Ends all of a session's watches.
    pub fn unwatch(&mut self, session: &mut Session) {
        for watched in session.watching.drain(..) {
            let place = (watched.db, watched.key);
            if let Some(ids) = self.watched.get_mut(&place) {
                ids.retain(|id| *id != session.id);
                if ids.is_empty() {
                    self.watched.remove(&place);
                }
            }
        }
        session.dirty_watch = false;
    }

    /// Breaks the watches on a key that changed; `session` is the one that executes.
    pub(crate) fn touch_watched(&mut self, session: &mut Session, db: usize, key: &[u8]) {
        let Some(ids) = self.watched.get(&(db, key.into())) else { return };
        for id in ids {
            if *id == session.id {
                session.touch_watched(db, key);
            } else {
                self.sessions.touch_watched(*id, db, key);
            }
        }
    }

    /// Breaks the watches on keys of two databases that trade places, but for those on keys that are gone for every reader
    /// before and after; `expired` says of a key whether it is there and past its expiry.
    pub(crate) fn swap_watched(
        &mut self,
        session: &mut Session,
        first: usize,
        second: usize,
        expired: impl Fn(usize, &[u8]) -> Option<bool>,
    ) {
        for ((db, key), ids) in self.watched.iter().filter(|((db, _), _)| [first, second].contains(db)) {
            let other = if *db == first { second } else { first };
            let (here, there) = (expired(*db, key).is_some(), expired(other, key));
            if !here && there.is_none() {
                continue;
            }
            for id in ids {
                let watcher =
                    if *id == session.id { Some(&mut *session) } else { self.sessions.get_mut(*id) };
                if let Some(watcher) = watcher {
                    watcher.swap_watched(*db, key, here, there);
                }
            }
        }
    }

    /// Breaks all watches on keys of a database for which `changed` holds (FLUSHALL, SWAPDB).
    pub fn touch_watched_db(
        &mut self,
        session: &mut Session,
        db: usize,
        mut changed: impl FnMut(&[u8]) -> bool,
    ) {
        let keys: Vec<_> = self.watched.keys().filter(|(d, k)| *d == db && changed(k)).cloned().collect();
        for (db, key) in keys {
            self.touch_watched(session, db, &key);
        }
    }
}
