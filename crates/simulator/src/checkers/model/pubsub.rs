//! Channels and patterns, and what is published on them.

use super::{Model, Outcome};
use crate::checkers::answer::Answer;

impl Model {
    /// Executes a command about channels.
    pub(super) fn subscription(&mut self, id: u32, name: &str, args: &[&[u8]]) -> Option<Outcome> {
        match name {
            "SUBSCRIBE" | "PSUBSCRIBE" => {
                let answers = args.iter().map(|topic| self.subscribe(id, name, topic)).collect();
                Some(Outcome::Answers(answers))
            }
            "UNSUBSCRIBE" | "PUNSUBSCRIBE" => {
                let answers = args.iter().map(|topic| self.unsubscribe(id, name, topic)).collect();
                Some(Outcome::Answers(answers))
            }
            "PUBLISH" => Some(Outcome::Answer(self.publish(args[0], args[1]))),
            _ => None,
        }
    }

    fn subscribe(&mut self, id: u32, name: &str, topic: &[u8]) -> Answer {
        let Some(client) = self.clients.get_mut(&id) else { return Answer::Anything };
        let topics = if name == "SUBSCRIBE" { &mut client.channels } else { &mut client.patterns };
        if !topics.iter().any(|known| known == topic) {
            topics.push(topic.to_vec());
        }
        let count = client.channels.len() + client.patterns.len();
        confirmation(name, topic, count)
    }

    fn unsubscribe(&mut self, id: u32, name: &str, topic: &[u8]) -> Answer {
        let Some(client) = self.clients.get_mut(&id) else { return Answer::Anything };
        let topics = if name == "UNSUBSCRIBE" { &mut client.channels } else { &mut client.patterns };
        topics.retain(|known| known != topic);
        let count = client.channels.len() + client.patterns.len();
        confirmation(name, topic, count)
    }

    fn publish(&mut self, channel: &[u8], message: &[u8]) -> Answer {
        let bulk = |text: &[u8]| Answer::Bulk(text.to_vec());
        let mut receivers = 0;
        for client in self.clients.values_mut() {
            if client.channels.iter().any(|known| known == channel) {
                receivers += 1;
                let answer = Answer::Push(vec![bulk(b"message"), bulk(channel), bulk(message)]);
                client.expected_messages.push_back(answer);
            }
        }
        for client in self.clients.values_mut() {
            let mut matching: Vec<&Vec<u8>> =
                client.patterns.iter().filter(|p| matches(p, channel)).collect();
            // The order between patterns of one client is the server's own.
            matching.sort();
            receivers += matching.len() as i64;
            for pattern in matching {
                let answer =
                    Answer::Push(vec![bulk(b"pmessage"), bulk(pattern), bulk(channel), bulk(message)]);
                client.expected_messages.push_back(answer);
            }
        }
        Answer::Int(receivers)
    }
}

fn confirmation(name: &str, topic: &[u8], count: usize) -> Answer {
    let kind = name.to_ascii_lowercase().into_bytes();
    Answer::Push(vec![Answer::Bulk(kind), Answer::Bulk(topic.to_vec()), Answer::Int(count as i64)])
}

/// Matches the only kind of pattern that the workload sends: a prefix and a star.
fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    pattern.strip_suffix(b"*").is_some_and(|prefix| channel.starts_with(prefix))
}
