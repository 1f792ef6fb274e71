//! MULTI, EXEC, DISCARD, WATCH.

use testkit::Reply;
use testkit::reply::{Branch, Leaf};

use super::{Model, Outcome, Said, Words, error};
use crate::checkers::answer::Answer;

/// A transaction that is being written.
#[derive(Debug, Default)]
pub(super) struct Multi {
    queue: Vec<Words>,
    refused: bool,
}

/// A key under WATCH.
#[derive(Debug)]
pub(super) struct Watch {
    db: usize,
    key: Vec<u8>,
    /// The key was past its time, or at its end, when WATCH was said or later: whether its deletion counts is open.
    open: bool,
    dirty: bool,
}

impl Model {
    pub(super) fn transaction(&mut self, id: u32, name: &str, args: &[&[u8]]) -> Option<Said> {
        let in_multi = self.clients.get(&id).is_some_and(|client| client.multi.is_some());
        Some(match name {
            "MULTI" if in_multi => Err(error("ERR MULTI calls can not be nested")),
            "MULTI" => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.multi = Some(Multi::default());
                }
                Ok(Answer::ok())
            }
            "DISCARD" if !in_multi => Err(error("ERR DISCARD without MULTI")),
            "DISCARD" => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.multi = None;
                    client.watching.clear();
                }
                Ok(Answer::ok())
            }
            "WATCH" if in_multi => Err(error("ERR WATCH inside MULTI is not allowed")),
            "WATCH" => {
                args.iter().for_each(|key| self.watch(id, key));
                Ok(Answer::ok())
            }
            "UNWATCH" => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.watching.clear();
                }
                Ok(Answer::ok())
            }
            _ => return None,
        })
    }

    fn watch(&mut self, id: u32, key: &[u8]) {
        let db = self.db;
        self.look(key);
        let open = self.dbs[db].ghosts.contains(key);
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.watching.iter().any(|watch| watch.db == db && watch.key == key) {
            client.watching.push(Watch { db, key: key.to_vec(), open, dirty: false });
        }
    }

    /// Breaks the watches on a key.
    pub(super) fn touch(&mut self, db: usize, key: &[u8]) {
        for client in self.clients.values_mut() {
            for watch in client.watching.iter_mut().filter(|watch| watch.db == db && watch.key == key) {
                watch.dirty = true;
            }
        }
    }

    /// Says that whether the watches on a key are broken depends on what the server has deleted already.
    pub(super) fn leave_open(&mut self, db: usize, key: &[u8]) {
        for client in self.clients.values_mut() {
            for watch in client.watching.iter_mut().filter(|watch| watch.db == db && watch.key == key) {
                watch.open = true;
            }
        }
    }

    /// Queues a command between MULTI and EXEC. The workload marks one that the server must refuse by its name.
    pub(super) fn enqueue(&mut self, id: u32, words: Words) -> Answer {
        let Some(multi) = self.clients.get_mut(&id).and_then(|client| client.multi.as_mut()) else {
            return Answer::Anything;
        };
        if words[0] == b"NOSUCHCOMMAND" {
            multi.refused = true;
            return error("ERR unknown command 'NOSUCHCOMMAND', with args beginning with: ");
        }
        multi.queue.push(words);
        Answer::Simple("QUEUED")
    }

    /// Executes a transaction, or finds out why not.
    pub(super) fn exec(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let words = vec![b"EXEC".to_vec()];
        let Some(multi) = client.multi.take() else {
            return self.expect(id, &words, &error("ERR EXEC without MULTI"));
        };
        let watching = std::mem::take(&mut client.watching);
        let actual = client.replies.front().cloned();
        let resp3 = client.resp3;
        if multi.refused {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.expect(id, &words, &error(text));
        }
        let broken: Vec<_> = watching.iter().map(|watch| self.is_broken(watch)).collect();
        let null = matches!(
            &actual,
            Some(Reply::Leaf(leaf, _)) if *leaf == if resp3 { Leaf::Null } else { Leaf::NullArray }
        );
        let fails = match (broken.contains(&Broken::Yes), broken.contains(&Broken::Perhaps)) {
            (true, _) => true,
            (false, true) => null,
            (false, false) => false,
        };
        if fails {
            return self.expect(id, &words, &Answer::NullArray);
        }
        let actual = match actual {
            Some(Reply::Branch(Branch::Array, elements)) => elements,
            _ => Vec::new(),
        };
        let mut answers = Vec::with_capacity(multi.queue.len());
        for (index, words) in multi.queue.iter().enumerate() {
            answers.push(match self.execute(id, words, actual.get(index)) {
                Outcome::Answer(answer) => answer,
                Outcome::Answers(mut answers) => answers.remove(0),
                // Inside a transaction a command that would wait is answered at once.
                Outcome::Block(blocked) => blocked.in_vain,
            });
            if let Some(reply) = actual.get(index)
                && !answers[index].agrees(reply, resp3)
                && self.failure.is_none()
            {
                self.failure = Some(format!(
                    "client {id}: {} (in EXEC)\n  model: {:?}\n  node:  {}",
                    testkit::words::quote(&words.join(&b' ')),
                    answers[index],
                    super::show(reply)
                ));
            }
        }
        self.expect(id, &words, &Answer::Array(answers));
    }

    /// Returns whether a watched key was changed; keys that expire meanwhile leave it open.
    fn is_broken(&mut self, watch: &Watch) -> Broken {
        let expires = {
            self.look_in(watch.db, &watch.key);
            self.dbs[watch.db].ghosts.contains(&watch.key)
        };
        match (watch.dirty, watch.open || expires) {
            (_, true) => Broken::Perhaps,
            (true, false) => Broken::Yes,
            (false, false) => Broken::No,
        }
    }
}

#[derive(PartialEq)]
enum Broken {
    No,
    Yes,
    Perhaps,
}
