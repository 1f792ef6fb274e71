//! What the commands mean, written once more with maps and vectors of the standard library.
//!
//! The model executes every request at the moment at which the node does, and compares each reply with its own. It is
//! slow and plain on purpose: no encodings but for their names, no laziness, no shared code with the server. Where the
//! server may choose (SPOP, the order of a hash) the model takes over what it chose, if that was allowed.

mod blocking;
mod entry;
mod hashes;
mod keys;
mod lists;
mod pubsub;
mod sets;
mod strings;
mod transactions;
mod zsets;

use std::collections::{BTreeMap, VecDeque};

use base::time::Now;
use testkit::Reply;

use super::answer::Answer;
use blocking::{Blocked, Waiting};
use entry::Db;
pub use entry::{Encoding, Entry, Limits, Value};
use transactions::{Multi, Watch};

/// One request's words.
pub type Words = Vec<Vec<u8>>;

/// What a command came to.
enum Outcome {
    Answer(Answer),
    /// Several replies to one request, as SUBSCRIBE has them.
    Answers(Vec<Answer>),
    Block(Blocked),
}

/// An answer, or an error as answer.
type Said = Result<Answer, Answer>;

/// The model: databases, clients, and what went wrong first.
#[derive(Debug)]
pub struct Model {
    dbs: Vec<Db>,
    limits: Limits,
    clients: BTreeMap<u32, Client>,
    waiting: Waiting,
    /// Clients that do not wait any more and have requests left.
    resumed: VecDeque<u32>,
    now: Now,
    /// The database that the executing client has selected.
    db: usize,
    /// The executing command has waited: keys of other types are passed over.
    retrying: bool,
    failure: Option<String>,
    compared: u64,
}

/// What the model knows of a link.
#[derive(Debug, Default)]
struct Client {
    resp3: bool,
    db: usize,
    multi: Option<Multi>,
    watching: Vec<Watch>,
    channels: Vec<Vec<u8>>,
    patterns: Vec<Vec<u8>>,
    blocked: bool,
    /// Requests that arrived while the client waits.
    pending: VecDeque<Words>,
    /// Replies of the node that the model has not asked for yet.
    replies: VecDeque<Reply>,
    /// Messages of the node, and those that the model expects.
    messages: VecDeque<Reply>,
    expected_messages: VecDeque<Answer>,
    closed: bool,
}

impl Model {
    /// Returns an empty model with that many databases.
    pub fn new(dbs: usize) -> Model {
        Model {
            dbs: vec![Db::default(); dbs],
            limits: Limits::default(),
            clients: BTreeMap::new(),
            waiting: Waiting::default(),
            resumed: VecDeque::new(),
            now: Now::default(),
            db: 0,
            retrying: false,
            failure: None,
            compared: 0,
        }
    }

    /// Notes a new link.
    pub fn open(&mut self, client: u32) {
        self.clients.insert(client, Client::default());
    }

    /// Notes that a link is gone, with everything that it waited for.
    pub fn close(&mut self, client: u32) {
        self.clients.remove(&client);
        self.waiting.leave(client);
    }

    /// Takes a reply of the node.
    pub fn received(&mut self, client: u32, reply: Reply) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.replies.push_back(reply);
        }
    }

    /// Takes a published message that the node sent.
    pub fn received_message(&mut self, client: u32, message: Reply) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.messages.push_back(message);
        }
    }

    /// Executes requests that the node has just been given, in that order.
    pub fn requests(&mut self, now: Now, client: u32, requests: Vec<Words>) {
        self.now = now;
        let Some(state) = self.clients.get_mut(&client) else { return };
        state.pending.extend(requests);
        self.run(client);
        self.resume();
    }

    /// Lets time pass: waits end.
    pub fn pass(&mut self, now: Now) {
        self.now = now;
        self.time_out();
        self.resume();
    }

    /// Returns the first disagreement, or what the node said without being asked.
    pub fn verdict(&mut self) -> Result<(), String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        for (id, client) in &mut self.clients {
            if let Some(reply) = client.replies.pop_front() {
                return Err(format!("client {id} received a reply that nothing asked for: {}", show(&reply)));
            }
            if client.messages.len() != client.expected_messages.len() {
                return Err(format!(
                    "client {id} received {} messages instead of {}",
                    client.messages.len(),
                    client.expected_messages.len()
                ));
            }
            for (message, answer) in client.messages.drain(..).zip(client.expected_messages.drain(..)) {
                if !answer.agrees(&message, client.resp3) {
                    return Err(format!("client {id}: message {} instead of {answer:?}", show(&message)));
                }
            }
        }
        Ok(())
    }

    /// Returns whether the client waits for a key.
    pub fn is_blocked(&self, client: u32) -> bool {
        self.clients.get(&client).is_some_and(|client| client.blocked)
    }

    /// Returns how many replies were compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Returns the live keys of a database with what they hold.
    pub fn live(&self, now: Now, db: usize) -> impl Iterator<Item = (&Vec<u8>, &Entry)> {
        self.dbs[db].keys.iter().filter(move |(_, entry)| !entry.is_expired(now.unix_ms()))
    }

    /// Executes what a client has sent, until it waits.
    fn run(&mut self, id: u32) {
        loop {
            let Some(client) = self.clients.get_mut(&id) else { return };
            if client.blocked || client.closed || self.failure.is_some() {
                return;
            }
            let Some(words) = client.pending.pop_front() else { return };
            self.request(id, words);
            self.serve();
        }
    }

    /// Goes on with the clients that were waiting.
    fn resume(&mut self) {
        while let Some(id) = self.resumed.pop_front() {
            self.run(id);
        }
    }

    /// Executes one request of a client and compares the reply.
    fn request(&mut self, id: u32, words: Words) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        self.db = client.db;
        let name = words[0].to_ascii_uppercase();
        if client.multi.is_some() && !matches!(&name[..], b"EXEC" | b"DISCARD" | b"MULTI" | b"WATCH") {
            let answer = self.enqueue(id, words);
            self.expect(id, &[b"(queued)".to_vec()], &answer);
            return;
        }
        if name == b"EXEC" {
            self.exec(id);
            return;
        }
        let actual = client.replies.front().cloned();
        match self.execute(id, &words, actual.as_ref()) {
            Outcome::Answer(answer) => self.expect(id, &words, &answer),
            Outcome::Answers(answers) => answers.iter().for_each(|answer| self.expect(id, &words, answer)),
            Outcome::Block(blocked) => self.block(id, words, blocked),
        }
        if name == b"QUIT"
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.closed = true;
        }
    }

    /// Runs a command; `actual` is what the node answered, for commands with a choice.
    fn execute(&mut self, id: u32, words: &[Vec<u8>], actual: Option<&Reply>) -> Outcome {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        let args: Vec<&[u8]> = words[1..].iter().map(Vec::as_slice).collect();
        if let Some(outcome) = self.subscription(id, &name, &args) {
            return outcome;
        }
        if let Some(outcome) = self.blocking(&name, &args) {
            return outcome;
        }
        let said = self
            .connection(id, &name, &args)
            .or_else(|| self.transaction(id, &name, &args))
            .or_else(|| self.strings(&name, &args, actual))
            .or_else(|| self.hashes(&name, &args, actual))
            .or_else(|| self.lists(&name, &args))
            .or_else(|| self.sets(&name, &args, actual))
            .or_else(|| self.zsets(&name, &args, actual))
            .or_else(|| self.keys(id, &name, &args, actual));
        match said {
            Some(Ok(answer) | Err(answer)) => Outcome::Answer(answer),
            None => panic!("the workload sends {name}, which the model does not know"),
        }
    }

    fn connection(&mut self, id: u32, name: &str, args: &[&[u8]]) -> Option<Said> {
        Some(Ok(match (name, args) {
            ("PING", []) => Answer::Simple("PONG"),
            ("ECHO", [text]) => Answer::Bulk(text.to_vec()),
            ("QUIT", []) => Answer::ok(),
            ("HELLO", [version]) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.resp3 = *version == b"3";
                }
                Answer::Anything
            }
            ("SELECT", [index]) => {
                let index = usize::try_from(int(index)).unwrap_or(usize::MAX);
                if index >= self.dbs.len() {
                    return Some(Err(error("ERR DB index is out of range")));
                }
                if let Some(client) = self.clients.get_mut(&id) {
                    client.db = index;
                }
                self.db = index;
                Answer::ok()
            }
            ("CONFIG", [b"SET", pairs @ ..]) => {
                for pair in pairs.chunks(2) {
                    self.limits.set(pair[0], int(pair[1]));
                }
                Answer::ok()
            }
            _ => return None,
        }))
    }

    /// Compares the next reply of the node with the model's.
    fn expect(&mut self, id: u32, words: &[Vec<u8>], answer: &Answer) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let resp3 = client.resp3;
        let actual = client.replies.pop_front();
        self.compared += 1;
        let agrees = actual.as_ref().is_some_and(|reply| answer.agrees(reply, resp3));
        if !agrees && self.failure.is_none() {
            let request = testkit::words::quote(&words.join(&b' '));
            let actual = actual.as_ref().map_or("nothing".into(), show);
            self.failure = Some(format!("client {id}: {request}\n  model: {answer:?}\n  node:  {actual}"));
        }
    }
}

/// Returns a reply on one line.
pub fn show(reply: &Reply) -> String {
    let lines: Vec<String> = reply.lines().iter().map(|line| line.trim().to_string()).collect();
    lines.join(" ")
}

fn error(text: &str) -> Answer {
    Answer::Error(text.to_string())
}

fn wrong_type() -> Answer {
    error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

/// Reads an integer that the workload wrote itself.
fn int(text: &[u8]) -> i64 {
    maybe_int(text)
        .unwrap_or_else(|| panic!("the workload sends {:?} as an integer", String::from_utf8_lossy(text)))
}

/// Reads an integer as the protocol has it: the shortest decimal form only.
fn maybe_int(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<i64>().ok().filter(|n| n.to_string() == text)
}

/// Reads a floating-point number that the workload wrote itself.
fn float(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text);
    text.parse().unwrap_or_else(|_| panic!("the workload sends {text:?} as a number"))
}

fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// Returns the range of indices that `start..=end` means for `length` elements, negatives counting from the end.
fn clamp(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let from_end = |index: i64| if index < 0 { index + length } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(length - 1));
    if start > end || start >= length { 0..0 } else { start as usize..end as usize + 1 }
}
