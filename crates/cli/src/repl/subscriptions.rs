//! What a connection listens to, followed from the messages that the server sends about it.

use std::collections::BTreeSet;

use super::reply::Reply;

/// A set of names that are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Channel,
    Pattern,
    ShardChannel,
}

/// The channels and patterns of a connection.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    names: BTreeSet<(Kind, Vec<u8>)>,
}

/// A command that begins or ends to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    kind: Kind,
    begins: bool,
}

impl Request {
    /// Returns what the command of this lowercase name asks for, if it is one of these.
    pub(crate) fn named(name: &[u8]) -> Option<Request> {
        let (kind, begins) = match name {
            b"subscribe" => (Kind::Channel, true),
            b"psubscribe" => (Kind::Pattern, true),
            b"ssubscribe" => (Kind::ShardChannel, true),
            b"unsubscribe" => (Kind::Channel, false),
            b"punsubscribe" => (Kind::Pattern, false),
            b"sunsubscribe" => (Kind::ShardChannel, false),
            _ => return None,
        };
        Some(Request { kind, begins })
    }

    /// Returns whether it begins to listen.
    pub(crate) fn begins(self) -> bool {
        self.begins
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Confirms one name of such a request.
    Confirmation(Request),
    /// Something that was published.
    Published,
}

impl Subscriptions {
    /// Returns whether the connection listens to anything.
    pub(crate) fn any(&self) -> bool {
        !self.names.is_empty()
    }

    /// Forgets all, as the server does when a connection ends.
    pub(crate) fn clear(&mut self) {
        self.names.clear();
    }

    /// Returns how many messages confirm a request with so many names; without any it means all that there are.
    pub(crate) fn confirmations(&self, request: Request, names: usize) -> usize {
        match names {
            0 if !request.begins => {
                self.names.iter().filter(|(kind, _)| *kind == request.kind).count().max(1)
            }
            names => names.max(1),
        }
    }

    /// Takes note of a reply, and returns what it says about subscriptions if it is such a message.
    pub(crate) fn note(&mut self, reply: &Reply) -> Option<Message> {
        let (Reply::Push(items) | Reply::Array(items)) = reply else { return None };
        let [kind, name, _, ..] = items.as_slice() else { return None };
        let kind = kind.text()?;
        if matches!(kind, b"message" | b"pmessage" | b"smessage") {
            return Some(Message::Published);
        }
        let request = Request::named(kind)?;
        if let Some(name) = name.text() {
            let name = (request.kind, name.to_vec());
            if request.begins {
                self.names.insert(name);
            } else {
                self.names.remove(&name);
            }
        }
        Some(Message::Confirmation(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, name: Option<&str>, left: i64) -> Reply {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        Reply::Push(vec![bulk(kind), name.map_or(Reply::Nil, bulk), Reply::Int(left)])
    }

    #[test]
    fn the_last_name_that_goes_ends_it() {
        let mut all = Subscriptions::default();
        let ends = Request::named(b"unsubscribe").unwrap();
        for (kind, name) in [("subscribe", "a"), ("subscribe", "b"), ("psubscribe", "a*")] {
            assert!(matches!(all.note(&message(kind, Some(name), 1)), Some(Message::Confirmation(_))));
        }
        assert_eq!(all.confirmations(ends, 0), 2);
        assert_eq!(all.confirmations(ends, 1), 1);
        assert_eq!(all.note(&message("unsubscribe", Some("a"), 2)), Some(Message::Confirmation(ends)));
        all.note(&message("unsubscribe", Some("b"), 1));
        assert!(all.any());
        all.note(&message("punsubscribe", Some("a*"), 0));
        assert!(!all.any());
        assert_eq!(all.confirmations(ends, 0), 1);
        assert!(all.note(&message("unsubscribe", None, 0)).is_some());
    }

    #[test]
    fn what_is_published_and_what_is_no_message_are_told_apart() {
        let mut all = Subscriptions::default();
        assert_eq!(all.note(&message("message", Some("a"), 1)), Some(Message::Published));
        assert_eq!(all.note(&message("pong", Some(""), 1)), None);
        assert_eq!(all.note(&Reply::Int(1)), None);
    }
}
