//! Channels, patterns and shard channels: who listens, and delivery.

use std::collections::{BTreeMap, BTreeSet};

use crate::session::{Session, SessionId, Sessions};
use base::glob::glob_match;

/// Who listens to what.
#[derive(Debug, Default)]
pub struct PubSub {
    pub channels: BTreeMap<Box<[u8]>, BTreeSet<SessionId>>,
    pub patterns: BTreeMap<Box<[u8]>, BTreeSet<SessionId>>,
    pub shards: BTreeMap<Box<[u8]>, BTreeSet<SessionId>>,
}

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Channel,
    Pattern,
    Shard,
}

impl PubSub {
    /// Returns the listeners of one kind.
    pub fn of(&mut self, scope: Scope) -> &mut BTreeMap<Box<[u8]>, BTreeSet<SessionId>> {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::Shard => &mut self.shards,
        }
    }

    /// Adds a subscription; returns whether it is new.
    pub fn subscribe(&mut self, session: &mut Session, scope: Scope, name: &[u8]) -> bool {
        let subscriptions = session.subscriptions.get_or_insert_default();
        let own = match scope {
            Scope::Channel => &mut subscriptions.channels,
            Scope::Pattern => &mut subscriptions.patterns,
            Scope::Shard => &mut subscriptions.shards,
        };
        own.insert(name.into()) && self.of(scope).entry(name.into()).or_default().insert(session.id)
    }

    /// Ends a subscription; returns whether there was one.
    pub fn unsubscribe(&mut self, session: &mut Session, scope: Scope, name: &[u8]) -> bool {
        let Some(subscriptions) = &mut session.subscriptions else { return false };
        let own = match scope {
            Scope::Channel => &mut subscriptions.channels,
            Scope::Pattern => &mut subscriptions.patterns,
            Scope::Shard => &mut subscriptions.shards,
        };
        if !own.remove(name) {
            return false;
        }
        if subscriptions.is_empty() {
            session.subscriptions = None;
        }
        self.forget(session.id, scope, name);
        true
    }

    /// Ends all of a session's subscriptions, silently.
    pub fn leave(&mut self, session: &mut Session) {
        let Some(subscriptions) = session.subscriptions.take() else { return };
        for name in &subscriptions.channels {
            self.forget(session.id, Scope::Channel, name);
        }
        for name in &subscriptions.patterns {
            self.forget(session.id, Scope::Pattern, name);
        }
        for name in &subscriptions.shards {
            self.forget(session.id, Scope::Shard, name);
        }
    }

    fn forget(&mut self, id: SessionId, scope: Scope, name: &[u8]) {
        let listeners = self.of(scope);
        if let Some(ids) = listeners.get_mut(name) {
            ids.remove(&id);
            if ids.is_empty() {
                listeners.remove(name);
            }
        }
    }

    /// Delivers a message to a channel's listeners and returns how many got it.
    pub fn publish(&self, sessions: &mut Sessions, channel: &[u8], message: &[u8]) -> usize {
        let mut receivers = 0;
        if let Some(ids) = self.channels.get(channel) {
            for id in ids {
                sessions.write(*id, |out| {
                    out.push(3);
                    out.bulk(b"message");
                    out.bulk(channel);
                    out.bulk(message);
                });
                receivers += 1;
            }
        }
        for (pattern, ids) in &self.patterns {
            if !glob_match(pattern, channel, false) {
                continue;
            }
            for id in ids {
                sessions.write(*id, |out| {
                    out.push(4);
                    out.bulk(b"pmessage");
                    out.bulk(pattern);
                    out.bulk(channel);
                    out.bulk(message);
                });
                receivers += 1;
            }
        }
        receivers
    }

    /// Delivers a message to a shard channel's listeners and returns how many got it.
    pub fn publish_shard(&self, sessions: &mut Sessions, channel: &[u8], message: &[u8]) -> usize {
        let Some(ids) = self.shards.get(channel) else { return 0 };
        for id in ids {
            sessions.write(*id, |out| {
                out.push(3);
                out.bulk(b"smessage");
                out.bulk(channel);
                out.bulk(message);
            });
        }
        ids.len()
    }
}
