//! Keyspace notifications: changes as messages on `__keyspace@N__:key` and `__keyevent@N__:event`.

use base::number::IntText;
use config::NotifyFlags;
use keyspace::{Change, Class};

use crate::pubsub::PubSub;
use crate::session::Sessions;

/// Returns the flag that selects events of this class.
fn flag(class: Class) -> NotifyFlags {
    match class {
        Class::Generic => NotifyFlags::GENERIC,
        Class::String => NotifyFlags::STRING,
        Class::List => NotifyFlags::LIST,
        Class::Set => NotifyFlags::SET,
        Class::Hash => NotifyFlags::HASH,
        Class::ZSet => NotifyFlags::ZSET,
        Class::Expired => NotifyFlags::EXPIRED,
        Class::Evicted => NotifyFlags::EVICTED,
        Class::New => NotifyFlags::NEW,
        Class::KeyMiss => NotifyFlags::KEY_MISS,
    }
}

/// Publishes a change, if its class is selected.
pub fn publish(flags: NotifyFlags, pubsub: &PubSub, sessions: &mut Sessions, change: &Change) {
    if !flags.contains(flag(change.class)) {
        return;
    }
    let db = IntText::new(change.db as i64);
    if flags.contains(NotifyFlags::KEYSPACE) {
        let channel = [b"__keyspace@", db.as_bytes(), b"__:", &change.key].concat();
        pubsub.publish(sessions, &channel, change.event.as_bytes());
    }
    if flags.contains(NotifyFlags::KEYEVENT) {
        let channel = [b"__keyevent@", db.as_bytes(), b"__:", change.event.as_bytes()].concat();
        pubsub.publish(sessions, &channel, &change.key);
    }
}
