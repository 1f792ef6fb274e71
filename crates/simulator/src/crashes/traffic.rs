//! What clients send: writes that can be recognized in the stream, and reads.

use base::rng::Rng;

use crate::checkers::model::Words;

/// One request, and what its reply will say.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) words: Words,
    pub(super) meaning: Meaning,
}

impl Request {
    /// Returns the database that the client is in from now on, if it changes.
    pub(super) fn selects(&self) -> Option<usize> {
        match &self.words[..] {
            [name, db] if name == b"SELECT" => std::str::from_utf8(db).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// What a reply tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// That something was written; the number stands in the stream, if the command has room for one.
    Write(Option<u64>),
    /// What a key holds.
    Read(Vec<u8>),
    /// How many logs hold what the client wrote.
    WaitLog,
    /// That another policy is in force.
    Policy,
    Other,
}

/// Draws requests.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    last: u64,
    /// Whether keys expire.
    pub(super) expiry: bool,
    /// Of so many values one is long.
    long: u64,
}

pub(super) const DBS: u64 = 3;

impl Traffic {
    pub(crate) fn new(rng: &mut Rng, expiry: bool) -> Traffic {
        Traffic { last: 0, expiry, long: [30, 300, 3_000][rng.below(3) as usize] }
    }

    /// Returns what a client sends at once.
    pub(crate) fn batch(&mut self, rng: &mut Rng) -> Vec<Request> {
        match rng.below(12) {
            0 => {
                let mut batch = vec![other(&["MULTI"])];
                for _ in 0..1 + rng.below(5) {
                    let queued = self.write(rng);
                    batch.push(Request { meaning: Meaning::Other, ..queued });
                }
                let exec = Meaning::Write(None);
                batch.push(Request { words: vec![b"EXEC".to_vec()], meaning: exec });
                batch
            }
            1 | 2 => (0..2 + rng.below(12)).map(|_| self.one(rng)).collect(),
            _ => vec![self.one(rng)],
        }
    }

    fn one(&mut self, rng: &mut Rng) -> Request {
        match rng.below(61) {
            0..42 => self.write(rng),
            42..56 => self.read(rng),
            56..59 => other(&["SELECT", &rng.below(DBS).to_string()]),
            59 => other(&["PUBLISH", "news", "nobody listens"]),
            _ => {
                let timeout = ["1", "5", "20", "2000"][rng.below(4) as usize];
                Request { meaning: Meaning::WaitLog, ..other(&["WAITAOF", "1", "0", timeout]) }
            }
        }
    }

    fn read(&self, rng: &mut Rng) -> Request {
        let kind = b"snlhtz"[rng.below(6) as usize];
        let key = key(rng, kind);
        let name = match kind {
            b's' | b'n' => "GET",
            b'l' => "LLEN",
            b'h' => "HGETALL",
            b't' => "SMEMBERS",
            _ => "ZCARD",
        };
        Request { words: vec![name.into(), key.clone()], meaning: Meaning::Read(key) }
    }

    /// Returns one write; the number in it is in no other.
    fn write(&mut self, rng: &mut Rng) -> Request {
        self.last += 1;
        let number = self.last;
        let id = format!("w{number};").into_bytes();
        let numbered = |words: Words| Request { words, meaning: Meaning::Write(Some(number)) };
        let plain = |words: Words| Request { words, meaning: Meaning::Write(None) };
        let kind = b"snlhtz"[rng.below(6) as usize];
        let (key, other) = (key(rng, kind), key(rng, kind));
        match rng.below(40) {
            0 | 1 => return plain(vec![pick(rng, &["DEL", "UNLINK"]), key, other]),
            2 => return plain(vec![b"RENAME".to_vec(), key, other]),
            3 => {
                let db = rng.below(DBS).to_string().into();
                return plain(vec![b"MOVE".to_vec(), key, db]);
            }
            4 => return plain(vec![b"COPY".to_vec(), key, other, b"REPLACE".to_vec()]),
            5 | 6 if self.expiry => {
                let time = pick(rng, &["1", "30", "400", "3000", "100000"]);
                return plain(vec![b"PEXPIRE".to_vec(), key, time]);
            }
            7 if self.expiry => return plain(vec![b"PERSIST".to_vec(), key]),
            8 if rng.below(8) == 0 => {
                return plain(vec![pick(rng, &["FLUSHDB", "FLUSHALL"])]);
            }
            9 if rng.below(8) == 0 => {
                return plain(vec![b"SWAPDB".to_vec(), b"0".to_vec(), rng.below(DBS).to_string().into()]);
            }
            _ => {}
        }
        let mut value = id.clone();
        if rng.below(self.long) == 0 {
            let long = if rng.below(20) == 0 { 60_000 } else { 3_000 };
            value.resize(10 + rng.below(long) as usize, b'.');
        }
        match kind {
            b's' if rng.below(3) == 0 => numbered(vec![b"APPEND".to_vec(), key, id]),
            b's' if self.expiry && rng.below(5) == 0 => {
                let time = pick(rng, &["1", "300", "9000"]);
                numbered(vec![b"SET".to_vec(), key, value, b"PX".to_vec(), time])
            }
            b's' => numbered(vec![b"SET".to_vec(), key, value]),
            b'n' => plain(vec![b"INCR".to_vec(), key]),
            b'l' if rng.below(2) == 0 => plain(vec![pick(rng, &["LPOP", "RPOP"]), key]),
            b'l' => numbered(vec![pick(rng, &["LPUSH", "RPUSH"]), key, value, b"x".to_vec()]),
            b'h' if rng.below(4) == 0 => plain(vec![b"HDEL".to_vec(), key, field(rng)]),
            b'h' => numbered(vec![b"HSET".to_vec(), key, field(rng), value]),
            b't' if rng.below(2) == 0 => plain(vec![b"SPOP".to_vec(), key]),
            b't' => numbered(vec![b"SADD".to_vec(), key, id]),
            _ if rng.below(4) == 0 => plain(vec![b"ZREM".to_vec(), key, field(rng)]),
            _ => plain(vec![b"ZADD".to_vec(), key, number.to_string().into(), field(rng)]),
        }
    }
}

/// Returns the number of a write, if one stands in a command of the stream.
pub(super) fn number_in(words: &[Vec<u8>]) -> Option<u64> {
    words.iter().skip(2).find_map(|word| {
        let digits = word.strip_prefix(b"w")?;
        let end = digits.iter().position(|byte| *byte == b';')?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    })
}

pub(super) fn other(words: &[&str]) -> Request {
    Request { words: words.iter().map(|word| word.as_bytes().to_vec()).collect(), meaning: Meaning::Other }
}

/// Keys begin with a letter for the type of what they hold.
fn key(rng: &mut Rng, kind: u8) -> Vec<u8> {
    format!("{}{}", kind as char, rng.below(4)).into_bytes()
}

fn field(rng: &mut Rng) -> Vec<u8> {
    format!("f{}", rng.below(8)).into_bytes()
}

fn pick(rng: &mut Rng, choices: &[&str]) -> Vec<u8> {
    choices[rng.below(choices.len() as u64) as usize].into()
}
