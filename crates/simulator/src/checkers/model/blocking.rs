//! Clients that wait for a key.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::Instant;

use super::{Model, Outcome, Said, Words, float, int, is};
use crate::checkers::answer::Answer;
use crate::checkers::model::Value;

/// A command that cannot be answered yet.
#[derive(Debug)]
pub(super) struct Blocked {
    keys: Vec<Vec<u8>>,
    deadline: Option<Instant>,
    /// The answer where waiting is not possible; one whose time is up gets a null array instead.
    pub(super) in_vain: Answer,
    /// It waits for lists, or else for sorted sets.
    for_lists: bool,
}

/// All waiting clients in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Vec<Waiter>,
    ready: VecDeque<(usize, Vec<u8>)>,
}

#[derive(Debug)]
struct Waiter {
    client: u32,
    db: usize,
    words: Words,
    blocked: Blocked,
}

impl Waiting {
    /// Notes that a key was changed.
    pub(super) fn signal(&mut self, db: usize, key: &[u8]) {
        let waited = self.queue.iter().any(|waiter| waiter.waits_for(db, key));
        if waited && !self.ready.iter().any(|(d, k)| *d == db && k == key) {
            self.ready.push_back((db, key.to_vec()));
        }
    }

    /// Forgets a client.
    pub(super) fn leave(&mut self, client: u32) {
        self.queue.retain(|waiter| waiter.client != client);
    }

    /// Returns the keys of a database that somebody waits for.
    pub(super) fn keys(&self, db: usize) -> Vec<Vec<u8>> {
        let waiters = self.queue.iter().filter(|waiter| waiter.db == db);
        waiters.flat_map(|waiter| waiter.blocked.keys.clone()).collect()
    }
}

impl Waiter {
    fn waits_for(&self, db: usize, key: &[u8]) -> bool {
        self.db == db && self.blocked.keys.iter().any(|k| k == key)
    }
}

impl Model {
    /// Executes a command that may have to wait.
    pub(super) fn blocking(&mut self, name: &str, args: &[&[u8]]) -> Option<Outcome> {
        let (keys, timeout, said, in_vain): (&[&[u8]], _, Said, _) = match (name, args) {
            ("BLPOP" | "BRPOP", [keys @ .., timeout]) => {
                let said = self.pop_first(keys, name == "BLPOP");
                (keys, timeout, said, Answer::NullArray)
            }
            ("BLMOVE", [source, destination, from, to, timeout]) => {
                let said = self.move_element(source, destination, is(from, "LEFT"), is(to, "LEFT"));
                (&args[..1], timeout, said, Answer::Null)
            }
            ("BRPOPLPUSH", [source, destination, timeout]) => {
                let said = self.move_element(source, destination, false, true);
                (&args[..1], timeout, said, Answer::Null)
            }
            ("BLMPOP", [timeout, rest @ ..]) => {
                let said = self.lmpop(rest);
                (&rest[1..1 + int(rest[0]) as usize], timeout, said, Answer::NullArray)
            }
            ("BZPOPMIN" | "BZPOPMAX", [keys @ .., timeout]) => {
                let said = self.pop_first_scored(keys, name == "BZPOPMIN");
                (keys, timeout, said, Answer::NullArray)
            }
            ("BZMPOP", [timeout, rest @ ..]) => {
                let said = self.zmpop(rest);
                (&rest[1..1 + int(rest[0]) as usize], timeout, said, Answer::NullArray)
            }
            _ => return None,
        };
        Some(match said {
            Ok(Answer::Null | Answer::NullArray) => {
                let ms = (float(timeout) * 1000.0).ceil() as u64;
                Outcome::Block(Blocked {
                    keys: keys.iter().map(|key| key.to_vec()).collect(),
                    deadline: (ms > 0).then(|| self.now.instant + Duration::from_millis(ms)),
                    in_vain,
                    for_lists: !name.starts_with("BZ"),
                })
            }
            Ok(answer) | Err(answer) => Outcome::Answer(answer),
        })
    }

    /// Makes a client wait.
    pub(super) fn block(&mut self, id: u32, words: Words, blocked: Blocked) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.blocked = true;
        self.waiting.queue.push(Waiter { client: id, db: client.db, words, blocked });
    }

    /// Serves those who wait for keys that were changed, first come first served.
    pub(super) fn serve(&mut self) {
        while let Some((db, key)) = self.waiting.ready.pop_front() {
            let queue: Vec<u32> = self
                .waiting
                .queue
                .iter()
                .filter(|waiter| waiter.waits_for(db, &key))
                .map(|waiter| waiter.client)
                .collect();
            for client in queue {
                let Some(index) = self.waiting.queue.iter().position(|w| w.client == client) else {
                    continue;
                };
                let for_lists = self.waiting.queue[index].blocked.for_lists;
                let fits = match self.look_in(db, &key).map(|entry| &entry.value) {
                    Some(Value::List(_)) => for_lists,
                    Some(Value::ZSet(_)) => !for_lists,
                    _ => false,
                };
                if !fits {
                    continue;
                }
                let waiter = self.waiting.queue.remove(index);
                self.db = db;
                self.retrying = true;
                let outcome = self.execute(client, &waiter.words, None);
                self.retrying = false;
                match outcome {
                    Outcome::Answer(answer) => self.answer_waiter(&waiter, &answer),
                    // Another key of its list, or the same one, did not suffice after all.
                    _ => self.waiting.queue.insert(index, waiter),
                }
            }
        }
    }

    /// Answers those whose time is up.
    pub(super) fn time_out(&mut self) {
        loop {
            let now = self.now.instant;
            let overdue = self.waiting.queue.iter().enumerate().filter_map(|(index, waiter)| {
                let at = waiter.blocked.deadline.filter(|at| *at <= now)?;
                Some((at, waiter.client, index))
            });
            let Some((_, _, index)) = overdue.min() else { return };
            let waiter = self.waiting.queue.remove(index);
            self.answer_waiter(&waiter, &Answer::NullArray);
        }
    }

    /// Does something with one of a command's keys; one of another type is as good as none once the command waits.
    pub(super) fn pass_over<T: Default>(
        &mut self,
        act: impl FnOnce(&mut Model) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        match act(self) {
            Err(_) if self.retrying => Ok(T::default()),
            result => result,
        }
    }

    fn answer_waiter(&mut self, waiter: &Waiter, answer: &Answer) {
        self.expect(waiter.client, &waiter.words, answer);
        if let Some(client) = self.clients.get_mut(&waiter.client) {
            client.blocked = false;
            self.resumed.push_back(waiter.client);
        }
    }
}
