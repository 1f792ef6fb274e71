//! What clients write to a replica that may be written to: such keys expire here, as no master knows of them.

use std::collections::BTreeSet;
use std::ops::Bound;

use base::time::Now;
use keyspace::Keys;
use resp::decode::Request;

use crate::dispatch::Engine;
use crate::keys_of::{keys_of, may_have_keys};
use crate::session::Session;
use crate::table::{self, Row};

/// Keys with an expiry that clients wrote, by database.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys {
    keys: BTreeSet<(usize, Box<[u8]>)>,
    /// The last one that was looked at.
    seen: Option<(usize, Box<[u8]>)>,
}

/// How many are looked at in one cycle of the periodic work.
const LOOKED_AT: usize = 400;

impl OwnKeys {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Forgets all of them: the data is another's now, or this server is the master.
    pub(crate) fn clear(&mut self) {
        *self = OwnKeys::default();
    }

    /// Returns the next ones in their order, which begins again at its end.
    fn next_ones(&mut self) -> Vec<(usize, Box<[u8]>)> {
        let from = self.seen.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<_> = self.keys.range((from, Bound::Unbounded)).take(LOOKED_AT).cloned().collect();
        self.seen = next.last().filter(|_| next.len() == LOOKED_AT).cloned();
        next
    }
}

impl Engine {
    /// Returns the keys that a client's command may write to a replica, each with its database.
    ///
    /// While it runs, what is expired and in its way is deleted.
    #[cold]
    pub(crate) fn written_here(
        &mut self,
        session: &Session,
        row: &'static Row,
        request: Request<'_>,
    ) -> Vec<(usize, Box<[u8]>)> {
        let mut written = Vec::new();
        let mut note = |row: &Row, request: Request<'_>| {
            let mut found = Vec::new();
            if row.flags.has(table::WRITE) && may_have_keys(row) && keys_of(row, request, &mut found) {
                written.extend(found.iter().map(|(at, _)| (session.db, request.arg(*at).into())));
            }
        };
        note(row, request);
        if let Some(multi) = session.multi.as_ref().filter(|_| row.is_any(&["EXEC"])) {
            for (row, request) in &multi.queue {
                note(&self.server.table.rows[*row], request.request());
            }
        }
        self.keyspace.keep_expired &= written.is_empty();
        written
    }

    /// Notes those of the keys that a client has written to a replica which will expire.
    #[cold]
    pub(crate) fn note_own_keys(&mut self, written: Vec<(usize, Box<[u8]>)>) {
        self.keyspace.keep_expired = self.server.keeps_expired();
        for (db, key) in written {
            let stamp = self.keyspace.dbs[db].table.get(&key).and_then(|entry| entry.stamp());
            if stamp.is_some() && self.server.follows() {
                self.server.replication.own_keys.keys.insert((db, key));
            }
        }
    }

    /// Deletes what clients wrote to this replica and is past its expiry.
    pub(crate) fn expire_own_keys(&mut self, now: Now) {
        if self.server.replication.own_keys.keys.is_empty() {
            return;
        }
        let kept = std::mem::replace(&mut self.keyspace.keep_expired, false);
        for place in self.server.replication.own_keys.next_ones() {
            let (db, key) = &place;
            let mut keys = Keys::new(&mut self.keyspace, *db, now.unix_ms(), true);
            if keys.peek(key).is_none_or(|entry| entry.stamp().is_none()) {
                self.server.replication.own_keys.keys.remove(&place);
            }
        }
        self.keyspace.keep_expired = kept;
    }
}
