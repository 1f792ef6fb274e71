//! Random writes of every type, for servers that are to end up with the same data.
//!
//! Keys are named after what they hold, so that no request meets a key of another type, whatever was renamed, copied,
//! moved or swapped before. What a request does may depend on chance (SPOP), on the clock (expiries) or on other
//! clients (BLPOP): the point is that all of it must reach a replica as its outcome.
//!
//! ```text
//! s strings   i integers   f floats   b bitmaps   p hyperloglogs   l lists   t sets
//! z sorted sets   x sorted sets of one score   g places   h hashes   q, w what is popped by others
//! ```

use crate::random::Random;
use crate::words;

/// A request's words.
pub type Request = Vec<Vec<u8>>;

/// Keys of each type in a database.
const KEYS: u64 = 30;

/// Databases that are written to.
const DATABASES: u64 = 4;

/// The bytes of a big value.
const BIG: usize = 1 << 20;

/// What may be refused, depending on what there is at the moment.
const EXPECTED: &[&str] = &[
    "ERR no such key",
    "ERR index out of range",
    "ERR source and destination objects are the same",
    "ERR The source and destination objects are the same",
    "ERR increment or decrement would overflow",
    "ERR could not decode requested zset member",
];

/// Random requests, the same for each seed.
#[derive(Clone, Debug)]
pub struct Mixture {
    random: Random,
}

impl Mixture {
    /// Returns the mixture of a seed.
    pub fn new(seed: u64) -> Mixture {
        Mixture { random: Random(seed) }
    }

    /// Returns whether an error that a server answered is no fault of anybody's.
    pub fn is_expected(error: &str) -> bool {
        EXPECTED.iter().any(|start| error.trim_start_matches('-').starts_with(start))
    }

    /// Returns requests that fill an empty server: every type, small and large, in several databases, some with expiries.
    pub fn load(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for db in 0..DATABASES {
            requests.push(split(&format!("SELECT {db}")));
            for n in 0..KEYS {
                let (v, m) = (self.value(), self.random.of(1..400));
                for text in [
                    format!("SET s:{n} {v}"),
                    format!("SET i:{n} {}", self.random.of(0..1 << 40)),
                    format!("SET f:{n} {}.25", self.random.of(0..1000)),
                    format!("SETBIT b:{n} {} 1", self.random.of(0..20_000)),
                    format!("GEOADD g:{n} {} {} Berlin {} {} Lisbon", m % 90, n, n, m % 40),
                    format!("PEXPIRE s:{} {}", self.key(), self.random.of(1_000_000..9_000_000)),
                ] {
                    requests.push(split(&text));
                }
                for (start, each) in [
                    ("RPUSH l", 1),
                    ("SADD t", 1),
                    ("PFADD p", 1),
                    ("HSET h", 2),
                    ("ZADD z", 3),
                    ("ZADD x", 0),
                ] {
                    let mut words = split(&format!("{start}:{n}"));
                    for e in 0..m * [1, 1, 1, 5][(n % 4) as usize] {
                        match each {
                            1 => words.extend(split(&format!("e{e}"))),
                            2 => words.extend(split(&format!("f{e} {v}"))),
                            3 => words.extend(split(&format!("{}.5 m{e}", e * 7 % 100))),
                            _ => words.extend(split(&format!("0 m{e}"))),
                        }
                    }
                    requests.push(words);
                }
            }
        }
        requests.push(split("SELECT 0"));
        requests
    }

    /// Returns the requests that a client sends next, in one go.
    pub fn batch(&mut self) -> Vec<Request> {
        match self.random.of(0..100) {
            0..5 => vec![split(&format!("SELECT {}", self.random.of(0..DATABASES)))],
            5..12 => {
                let mut requests = vec![split("MULTI")];
                for _ in 0..self.random.of(1..6) {
                    requests.push(self.request());
                }
                requests.push(split(if self.random.of(0..10) == 0 { "DISCARD" } else { "EXEC" }));
                requests
            }
            _ => (0..self.random.of(1..8)).map(|_| self.request()).collect(),
        }
    }

    /// Returns a request of a client that waits for what others push.
    pub fn pop(&mut self) -> Request {
        let (a, b) = (self.random.of(0..3), self.random.of(0..3));
        split(&match self.random.of(0..6) {
            0 => format!("BLPOP q:{a} q:{b} 0.2"),
            1 => format!("BRPOP q:{a} 0.1"),
            2 => format!("BLMOVE q:{a} l:{} LEFT RIGHT 0.2", self.key()),
            3 => format!("BZPOPMIN w:{a} w:{b} 0.2"),
            4 => format!("BLMPOP 0.1 2 q:{a} q:{b} LEFT COUNT 3"),
            _ => format!("BZMPOP 0.1 1 w:{a} MAX COUNT 2"),
        })
    }

    fn key(&mut self) -> u64 {
        self.random.of(0..KEYS)
    }

    fn value(&mut self) -> String {
        let n = self.random.number();
        match n % 8 {
            0 => (n >> 40).to_string(),
            1 => format!("\"\\x00\\xff\\r\\n{n}\""),
            2 => "v".repeat((n >> 32) as usize % 600 + 1),
            3 => format!("{n:x}").repeat((n >> 8) as usize % 20 + 1),
            _ => format!("v{}", n >> 50),
        }
    }

    fn request(&mut self) -> Request {
        if self.random.of(0..1500) == 0 {
            let mut request = split(&format!("SET s:{}", self.key()));
            let byte = b'a' + (self.random.number() % 26) as u8;
            request.push((0..BIG).map(|at| if at % 64 == 0 { at as u8 } else { byte }).collect());
            return request;
        }
        let text = match self.random.of(0..20) {
            0..4 => self.string(),
            4..7 => self.list(),
            7..9 => self.set(),
            9..12 => self.sorted_set(),
            12..14 => self.hash(),
            14 => self.sketch(),
            15..18 => self.generic(),
            18 => self.pushed(),
            _ => self.whole(),
        };
        split(&text)
    }

    fn string(&mut self) -> String {
        let (n, m, v) = (self.key(), self.key(), self.value());
        let (small, offset) = (self.random.of(1..90), self.random.of(0..5000));
        match self.random.of(0..26) {
            0..3 => format!("SET s:{n} {v}"),
            3 => format!("SET s:{n} {v} PX {}", small * 20),
            4 => format!("SET s:{n} {v} EX {small}000 GET"),
            5 => format!("SET s:{n} {v} KEEPTTL"),
            6 => format!("SET s:{n} {v} XX"),
            7 => format!("PSETEX s:{n} {small}0 {v}"),
            8 => format!("GETSET s:{n} {v}"),
            9 => format!("GETDEL s:{n}"),
            10 => format!("GETEX s:{n} PX {small}0"),
            11 => format!("GETEX s:{n} PERSIST"),
            12 => format!("GETEX s:{n} EX {small}000"),
            13 => format!("APPEND s:{n} {v}"),
            14 => format!("SETRANGE s:{n} {offset} {v}"),
            15 => format!("MSET s:{n} {v} s:{m} {v}"),
            16 => format!("MSETNX s:{n} {v} s:new{m} {v}"),
            17 => format!("INCR i:{n}"),
            18 => format!("DECRBY i:{n} {small}"),
            19 => format!("INCRBYFLOAT f:{n} {small}.1"),
            20 => format!("INCRBYFLOAT f:{n} -0.{small}"),
            21 => format!("SETBIT b:{n} {offset} {}", small % 2),
            22 => format!(
                "BITFIELD b:{n} SET u8 {offset} {small} INCRBY i5 {small} 3 OVERFLOW SAT INCRBY u4 7 9"
            ),
            23 => format!("BITOP {} b:{n} b:{m} b:{}", self.random.pick(&["AND", "OR", "XOR"]), self.key()),
            24 => format!("BITOP NOT b:{n} b:{m}"),
            _ => format!("SETNX s:{n} {v}"),
        }
    }

    fn list(&mut self) -> String {
        let (n, m, v, small) = (self.key(), self.key(), self.value(), self.random.of(1..40));
        let (from, to) = (self.random.pick(&["LEFT", "RIGHT"]), self.random.pick(&["LEFT", "RIGHT"]));
        match self.random.of(0..16) {
            0..3 => format!("RPUSH l:{n} {v} e{small} {small}"),
            3 => format!("LPUSH l:{n} {v} e{small}"),
            4 => format!("LPUSHX l:{n} {v}"),
            5 => format!("LPOP l:{n}"),
            6 => format!("RPOP l:{n} {small}"),
            7 => format!("LSET l:{n} {small} {v}"),
            8 => format!("LINSERT l:{n} BEFORE e{small} {v}"),
            9 => format!("LREM l:{n} {} e{small}", small % 3),
            10 => format!("LTRIM l:{n} {} -{small}", small / 2),
            11 => format!("LMOVE l:{n} l:{m} {from} {to}"),
            12 => format!("RPOPLPUSH l:{n} l:{m}"),
            13 => format!("LMPOP 2 l:{n} l:{m} {from} COUNT {small}"),
            14 => format!("SORT l:{n} ALPHA LIMIT 0 50 STORE l:{m}"),
            _ => format!("LTRIM l:{n} 0 99"),
        }
    }

    fn set(&mut self) -> String {
        let (n, m, o) = (self.key(), self.key(), self.key());
        let (v, small) = (self.value(), self.random.of(1..400));
        match self.random.of(0..13) {
            0..3 => format!("SADD t:{n} e{small} {small} {v}"),
            3 => format!("SREM t:{n} e{small} {small}"),
            4 | 5 => format!("SPOP t:{n}"),
            6 => format!("SPOP t:{n} {}", small % 20),
            7 => format!("SPOP t:{n} {}", small * 10),
            8 => format!("SMOVE t:{n} t:{m} e{small}"),
            9 => format!("SUNIONSTORE t:{n} t:{m} t:{o}"),
            10 => format!("SINTERSTORE t:{n} t:{m} t:{o}"),
            11 => format!("SDIFFSTORE t:{n} t:{m} t:{o}"),
            _ => format!("SORT t:{n} ALPHA DESC LIMIT 0 40 STORE l:{m}"),
        }
    }

    fn sorted_set(&mut self) -> String {
        let (n, m, o, small) = (self.key(), self.key(), self.key(), self.random.of(1..100));
        match self.random.of(0..22) {
            0..3 => format!("ZADD z:{n} {small} m{small} -{small}.75 n{small}"),
            3 => format!("ZADD z:{n} GT CH {small} m{small}"),
            4 => format!("ZADD z:{n} NX inf m{small}"),
            5 => format!("ZADD z:{n} XX INCR 0.1 m{small}"),
            6 => format!("ZINCRBY z:{n} 1.{small} m{small}"),
            7 => format!("ZREM z:{n} m{small} n{small}"),
            8 => format!("ZPOPMIN z:{n}"),
            9 => format!("ZPOPMAX z:{n} {}", small % 10),
            10 => format!("ZMPOP 2 z:{n} z:{m} MIN COUNT {}", small % 5 + 1),
            11 => format!("ZREMRANGEBYRANK z:{n} {} {}", small / 3, small / 2),
            12 => format!("ZREMRANGEBYSCORE z:{n} -{small} ({}", small / 4),
            13 => format!("ZREMRANGEBYLEX x:{n} [m{small} (m{}", small + 7),
            14 => format!("ZADD x:{n} 0 m{small} 0 k{small}"),
            15 => format!("ZUNIONSTORE z:{n} 2 z:{m} z:{o} WEIGHTS 0.5 0.25 AGGREGATE MAX"),
            16 => format!("ZINTERSTORE z:{n} 2 z:{m} z:{o} AGGREGATE MIN"),
            17 => format!("ZDIFFSTORE z:{n} 2 z:{m} z:{o}"),
            18 => format!("ZRANGESTORE z:{n} z:{m} 0 {small}"),
            19 => format!("ZRANGESTORE x:{n} x:{m} [a (z BYLEX LIMIT 0 {small}"),
            20 => format!("GEOADD g:{n} {}.{small} {}.5 place{small}", small / 2, small % 80),
            _ => format!("GEOSEARCHSTORE g:{n} g:{m} FROMLONLAT {small} 30 BYRADIUS 4000 km"),
        }
    }

    fn hash(&mut self) -> String {
        let (n, v, small) = (self.key(), self.value(), self.random.of(1..300));
        match self.random.of(0..9) {
            0..3 => format!("HSET h:{n} f{small} {v} g{small} {v}"),
            3 => format!("HMSET h:{n} f{small} {v}"),
            4 => format!("HSETNX h:{n} f{small} {v}"),
            5 => format!("HDEL h:{n} f{small} g{small}"),
            6 => format!("HINCRBY h:{n} count {small}"),
            7 => format!("HINCRBYFLOAT h:{n} sum {small}.3"),
            _ => format!("HINCRBYFLOAT h:{n} sum -0.{small}"),
        }
    }

    fn sketch(&mut self) -> String {
        let (n, m, o) = (self.key(), self.key(), self.key());
        match self.random.of(0..5) {
            0..3 => format!("PFADD p:{n} {} {}", self.random.number(), self.random.number() % 5000),
            3 => format!("PFMERGE p:{n} p:{m} p:{o}"),
            // Counting stores the count in the key, which is a write.
            _ => format!("PFCOUNT p:{n}"),
        }
    }

    /// Returns a request on a key of any type.
    fn generic(&mut self) -> String {
        let kind = self.random.pick(&["s", "i", "f", "b", "p", "l", "t", "z", "x", "g", "h"]);
        let (n, m, small) = (self.key(), self.key(), self.random.of(1..100));
        match self.random.of(0..17) {
            0 => format!("EXPIRE {kind}:{n} {small}00"),
            1 => format!("EXPIRE {kind}:{n} 1 {}", self.random.pick(&["NX", "XX", "GT", "LT"])),
            2 => format!("PEXPIRE {kind}:{n} {small}0"),
            3 => format!("PEXPIRE {kind}:{n} -{small}"),
            4 => format!("EXPIREAT {kind}:{n} 33{small:08}0"),
            5 => format!("PEXPIREAT {kind}:{n} 33{small:011}0"),
            6 | 7 => format!("PERSIST {kind}:{n}"),
            8 => format!("DEL {kind}:{n} {kind}:{m}"),
            9 => format!("UNLINK {kind}:{n}"),
            10 => format!("RENAME {kind}:{n} {kind}:{m}"),
            11 => format!("RENAMENX {kind}:{n} {kind}:{m}"),
            12 => format!("COPY {kind}:{n} {kind}:{m} REPLACE"),
            13 => format!("COPY {kind}:{n} {kind}:{m} DB {}", small % DATABASES),
            14 => format!("MOVE {kind}:{n} {}", small % DATABASES),
            // A look may be what finds a key expired.
            15 => format!("EXISTS {kind}:{n}"),
            _ => format!("TOUCH {kind}:{n}"),
        }
    }

    fn pushed(&mut self) -> String {
        let (n, v, small) = (self.random.of(0..3), self.value(), self.random.of(1..100));
        match self.random.of(0..6) {
            0..2 => format!("RPUSH q:{n} {v}"),
            2 => format!("LPUSH q:{n} {v} {v} {small}"),
            3 => format!("ZADD w:{n} {small} m{small} {small} n{small}"),
            4 => format!("LTRIM q:{n} 0 20"),
            _ => format!("ZREMRANGEBYRANK w:{n} 10 -1"),
        }
    }

    /// Returns a request about databases, or about none.
    fn whole(&mut self) -> String {
        let small = self.random.of(0..1000);
        match small {
            0..300 => format!("PUBLISH channel {}", self.value()),
            300..340 => format!("SWAPDB {} {}", small % DATABASES, self.random.of(0..DATABASES)),
            340..345 => "FLUSHDB".into(),
            345..347 => "FLUSHDB ASYNC".into(),
            347 => "FLUSHALL".into(),
            _ => self.generic(),
        }
    }
}

fn split(text: &str) -> Request {
    words::split(text).expect("balanced quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_tells_every_request() {
        let requests = |seed| {
            let mut mixture = Mixture::new(seed);
            let load = mixture.load();
            (load, (0..500).map(|_| mixture.batch()).collect::<Vec<_>>())
        };
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
        assert!(requests(3).1.iter().flatten().all(|request| !request.is_empty()));
    }
}
