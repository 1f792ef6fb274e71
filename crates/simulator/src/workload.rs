//! Random requests of the kinds that the model knows: few keys, so that types collide.

use base::rng::Rng;

use crate::checkers::model::Words;

/// How many databases clients move between.
pub const DBS: usize = 3;

/// What a client of this kind does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anything, in RESP2 or RESP3.
    Worker { resp3: bool },
    /// Subscribes and unsubscribes only, in RESP2, where a subscriber may do nothing else.
    Listener,
}

/// Draws requests.
#[derive(Debug)]
pub struct Workload {
    keys: u64,
    /// Shifts the odds between families, run by run.
    bias: u64,
}

const LONG: &[u8] = b"a value that is longer than what a listpack takes by default: seventy and more bytes";
const TEXTS: [&[u8]; 14] = [
    b"",
    b"a",
    b"b",
    b"hello",
    b"1",
    b"-1",
    b"0",
    b"10",
    b"007",
    b"1.5",
    b"-2.25",
    b"a b\r\n",
    b"\x00\xff",
    LONG,
];
const SCORES: [&str; 12] = ["0", "1", "-1", "2", "1.5", "3", "10", "-0.5", "inf", "-inf", "1e3", "100000"];

impl Workload {
    /// Returns a workload with its own preferences.
    pub fn new(rng: &mut Rng) -> Workload {
        Workload { keys: 4 + rng.below(12), bias: rng.below(8) }
    }

    /// Returns the requests that a client sends together.
    pub fn batch(&self, role: Role, rng: &mut Rng) -> Vec<Words> {
        if role == Role::Listener {
            return vec![self.subscription(rng)];
        }
        match rng.below(40) {
            0 | 1 => self.transaction(rng),
            2 => vec![self.thresholds(rng)],
            3 => vec![words(["SELECT".into(), rng.below(DBS as u64 + 1).to_string()])],
            4 if matches!(role, Role::Worker { resp3: true }) => vec![self.subscription(rng)],
            5 | 6 => vec![words(["PUBLISH".into(), format!("c{}", rng.below(4)), "news".into()])],
            7 | 8 => vec![self.blocking(rng)],
            9..14 => (0..2 + rng.below(14)).map(|_| self.request(rng)).collect(),
            _ => vec![self.request(rng)],
        }
    }

    fn transaction(&self, rng: &mut Rng) -> Vec<Words> {
        let mut batch = Vec::new();
        if rng.below(2) == 0 {
            batch.push(vec![b"WATCH".to_vec(), self.key(rng)]);
        }
        if rng.below(3) == 0 {
            batch.push(self.request(rng));
        }
        batch.push(words(["MULTI".into()]));
        for _ in 0..rng.below(6) {
            batch.push(match rng.below(30) {
                0 => words(["NOSUCHCOMMAND".into()]),
                1 => self.blocking(rng),
                2 => words(["MULTI".into()]),
                3 => vec![b"WATCH".to_vec(), self.key(rng)],
                _ => self.request(rng),
            });
        }
        batch.push(words([if rng.below(8) == 0 { "DISCARD".into() } else { "EXEC".into() }]));
        batch
    }

    fn subscription(&self, rng: &mut Rng) -> Words {
        let mut found = words([pick(rng, &["SUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE"]).into()]);
        if rng.below(3) == 0 {
            found = words([pick(rng, &["PSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE"]).into()]);
            found.push(pick(rng, &["c*", "c1*", "*"]).into());
            return found;
        }
        (0..1 + rng.below(2)).for_each(|_| found.push(format!("c{}", rng.below(4)).into()));
        found
    }

    fn thresholds(&self, rng: &mut Rng) -> Words {
        let entries = pick(rng, &["0", "1", "3", "8", "128"]);
        let size = pick(rng, &["4", "16", "64"]);
        let (name, value) = match rng.below(8) {
            0 => ("hash-max-listpack-entries", entries),
            1 => ("hash-max-listpack-value", size),
            2 => ("set-max-intset-entries", entries),
            3 => ("set-max-listpack-entries", entries),
            4 => ("set-max-listpack-value", size),
            5 => ("zset-max-listpack-entries", entries),
            6 => ("zset-max-listpack-value", size),
            _ => ("list-max-listpack-size", pick(rng, &["1", "2", "5", "128", "-1", "-2"])),
        };
        words(["CONFIG".into(), "SET".into(), name.into(), value.into()])
    }

    fn blocking(&self, rng: &mut Rng) -> Words {
        let timeout = pick(rng, &["0.001", "0.01", "0.05", "0.2", "1", "0"]).as_bytes().to_vec();
        let end = |rng: &mut Rng| pick(rng, &["LEFT", "RIGHT"]).as_bytes().to_vec();
        let keys = |rng: &mut Rng| (0..1 + rng.below(2)).map(|_| self.key(rng)).collect::<Vec<_>>();
        let mut found = Vec::new();
        match rng.below(7) {
            0 | 1 => {
                found.push(pick(rng, &["BLPOP", "BRPOP"]).into());
                found.extend(keys(rng));
                found.push(timeout);
            }
            2 => {
                found.extend([b"BLMOVE".to_vec(), self.key(rng), self.key(rng), end(rng), end(rng), timeout])
            }
            3 => found.extend([b"BRPOPLPUSH".to_vec(), self.key(rng), self.key(rng), timeout]),
            4 => {
                let keys = keys(rng);
                found.extend([b"BLMPOP".to_vec(), timeout, keys.len().to_string().into()]);
                found.extend(keys);
                found.extend([end(rng), b"COUNT".to_vec(), b"2".to_vec()]);
            }
            5 => {
                found.push(pick(rng, &["BZPOPMIN", "BZPOPMAX"]).into());
                found.extend(keys(rng));
                found.push(timeout);
            }
            _ => {
                let keys = keys(rng);
                found.extend([b"BZMPOP".to_vec(), timeout, keys.len().to_string().into()]);
                found.extend(keys);
                found.push(pick(rng, &["MIN", "MAX"]).into());
            }
        }
        found
    }

    fn request(&self, rng: &mut Rng) -> Words {
        let family = if rng.below(3) == 0 { self.bias } else { rng.below(8) };
        match family {
            0 | 1 => self.string(rng),
            2 => self.hash(rng),
            3 => self.list(rng),
            4 => self.set(rng),
            5 => self.zset(rng),
            6 => self.expiry(rng),
            _ => self.keyspace(rng),
        }
    }

    fn string(&self, rng: &mut Rng) -> Words {
        let (key, other) = (self.key(rng), self.key(rng));
        let (text, more) = (self.text(rng), self.text(rng));
        let number = self.number(rng);
        let bit = rng.below(200).to_string();
        match rng.below(24) {
            0..3 => vec![b"SET".to_vec(), key, text],
            3 => [vec![b"SET".to_vec(), key, text], self.set_options(rng)].concat(),
            4 | 5 => vec![b"GET".to_vec(), key],
            6 => vec![b"SETNX".to_vec(), key, text],
            7 => vec![b"SETEX".to_vec(), key, b"1".to_vec(), text],
            8 => vec![b"PSETEX".to_vec(), key, self.milliseconds(rng), text],
            9 => vec![b"GETSET".to_vec(), key, text],
            10 => vec![b"GETDEL".to_vec(), key],
            11 => [vec![b"GETEX".to_vec(), key], self.getex_options(rng)].concat(),
            12 => vec![b"MGET".to_vec(), key, other],
            13 => vec![b"MSET".to_vec(), key, text, other, more],
            14 => vec![b"MSETNX".to_vec(), key, text, other, more],
            15 => vec![b"APPEND".to_vec(), key, text],
            16 => vec![b"STRLEN".to_vec(), key],
            17 => vec![b"GETRANGE".to_vec(), key, self.index(rng), self.index(rng)],
            18 => vec![b"SETRANGE".to_vec(), key, rng.below(60).to_string().into(), text],
            19 => vec![pick(rng, &["INCR", "DECR"]).into(), key],
            20 => vec![pick(rng, &["INCRBY", "DECRBY"]).into(), key, number],
            21 => vec![b"INCRBYFLOAT".to_vec(), key, pick(rng, &["0.5", "-1.25", "3", "100"]).into()],
            22 => vec![b"SETBIT".to_vec(), key, bit.into(), rng.below(2).to_string().into()],
            _ if rng.below(2) == 0 => vec![b"GETBIT".to_vec(), key, bit.into()],
            _ => vec![b"BITCOUNT".to_vec(), key],
        }
    }

    fn set_options(&self, rng: &mut Rng) -> Words {
        let mut options = Vec::new();
        if rng.below(3) == 0 {
            options.push(pick(rng, &["NX", "XX", "nx", "xx"]).into());
        }
        if rng.below(3) == 0 {
            options.push(b"GET".to_vec());
        }
        match rng.below(4) {
            0 => options.push(b"KEEPTTL".to_vec()),
            1 => options.extend([b"PX".to_vec(), self.milliseconds(rng)]),
            2 => options.extend([b"EX".to_vec(), b"1".to_vec()]),
            _ => {}
        }
        options
    }

    fn getex_options(&self, rng: &mut Rng) -> Words {
        match rng.below(4) {
            0 => vec![b"PERSIST".to_vec()],
            1 => vec![b"PX".to_vec(), self.milliseconds(rng)],
            2 => vec![b"EX".to_vec(), b"2".to_vec()],
            _ => Vec::new(),
        }
    }

    fn hash(&self, rng: &mut Rng) -> Words {
        let key = self.key(rng);
        let field = self.field(rng);
        let mut found = match rng.below(14) {
            0..3 => vec![b"HSET".to_vec(), key, field, self.text(rng)],
            3 => vec![b"HMSET".to_vec(), key, field, self.text(rng)],
            4 => return vec![b"HSETNX".to_vec(), key, field, self.text(rng)],
            5 => return vec![b"HGET".to_vec(), key, field],
            6 => return vec![b"HMGET".to_vec(), key, field, self.field(rng)],
            7 => return vec![b"HDEL".to_vec(), key, field, self.field(rng)],
            8 => return vec![pick(rng, &["HLEN", "HKEYS", "HVALS"]).into(), key],
            9 => return vec![b"HEXISTS".to_vec(), key, field],
            10 => return vec![b"HSTRLEN".to_vec(), key, field],
            11 => return vec![b"HGETALL".to_vec(), key],
            12 => return vec![b"HINCRBY".to_vec(), key, field, self.number(rng)],
            _ => return [vec![b"HRANDFIELD".to_vec(), key], self.maybe_count(rng)].concat(),
        };
        for _ in 0..rng.below(4) {
            found.extend([self.field(rng), self.text(rng)]);
        }
        found
    }

    fn list(&self, rng: &mut Rng) -> Words {
        let (key, other) = (self.key(rng), self.key(rng));
        let text = self.text(rng);
        let ends = ["LEFT", "RIGHT"];
        match rng.below(18) {
            0..4 => {
                let mut found = vec![pick(rng, &["LPUSH", "RPUSH"]).into(), key, text];
                (0..rng.below(4)).for_each(|_| found.push(self.text(rng)));
                found
            }
            4 => vec![pick(rng, &["LPUSHX", "RPUSHX"]).into(), key, text],
            5 => vec![pick(rng, &["LPOP", "RPOP"]).into(), key],
            6 => vec![pick(rng, &["LPOP", "RPOP"]).into(), key, rng.below(4).to_string().into()],
            7 => vec![b"LLEN".to_vec(), key],
            8 => vec![b"LINDEX".to_vec(), key, self.index(rng)],
            9 | 10 => vec![b"LRANGE".to_vec(), key, self.index(rng), self.index(rng)],
            11 => vec![b"LSET".to_vec(), key, self.index(rng), text],
            12 => {
                vec![b"LINSERT".to_vec(), key, pick(rng, &["BEFORE", "AFTER"]).into(), text, self.text(rng)]
            }
            13 => vec![b"LREM".to_vec(), key, pick(rng, &["0", "1", "-1", "2"]).into(), text],
            14 => vec![b"LTRIM".to_vec(), key, self.index(rng), self.index(rng)],
            15 => vec![b"LMOVE".to_vec(), key, other, pick(rng, &ends).into(), pick(rng, &ends).into()],
            16 => vec![b"RPOPLPUSH".to_vec(), key, other],
            _ if rng.below(2) == 0 => vec![b"LPOS".to_vec(), key, text],
            _ => vec![b"LMPOP".to_vec(), b"2".to_vec(), key, other, pick(rng, &ends).into()],
        }
    }

    fn set(&self, rng: &mut Rng) -> Words {
        let (key, other) = (self.key(rng), self.key(rng));
        match rng.below(14) {
            0..5 => {
                let mut found = vec![b"SADD".to_vec(), key];
                let integers = rng.below(2) == 0;
                for _ in 0..1 + rng.below(5) {
                    found.push(if integers { rng.below(30).to_string().into() } else { self.member(rng) });
                }
                found
            }
            5 => vec![b"SREM".to_vec(), key, self.member(rng), rng.below(30).to_string().into()],
            6 => vec![b"SISMEMBER".to_vec(), key, self.member(rng)],
            7 => vec![b"SMISMEMBER".to_vec(), key, self.member(rng), self.member(rng)],
            8 => vec![pick(rng, &["SCARD", "SMEMBERS"]).into(), key],
            9 => [vec![b"SPOP".to_vec(), key], self.maybe_positive_count(rng)].concat(),
            10 => [vec![b"SRANDMEMBER".to_vec(), key], self.maybe_count(rng)].concat(),
            11 => vec![b"SMOVE".to_vec(), key, other, self.member(rng)],
            12 => vec![pick(rng, &["SINTER", "SUNION", "SDIFF"]).into(), key, other],
            _ if rng.below(3) == 0 => vec![b"SINTERCARD".to_vec(), b"2".to_vec(), key, other],
            _ => {
                let name = pick(rng, &["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]).into();
                vec![name, key, other, self.key(rng)]
            }
        }
    }

    fn zset(&self, rng: &mut Rng) -> Words {
        let (key, other) = (self.key(rng), self.key(rng));
        let member = self.member(rng);
        let score = |rng: &mut Rng| pick(rng, &SCORES).as_bytes().to_vec();
        match rng.below(22) {
            0..4 => {
                let mut found = vec![b"ZADD".to_vec(), key];
                let option = pick(rng, &["", "", "", "NX", "XX", "GT", "LT", "CH"]);
                if !option.is_empty() {
                    found.push(option.into());
                }
                for _ in 0..1 + rng.below(4) {
                    found.extend([score(rng), self.member(rng)]);
                }
                found
            }
            4 => vec![b"ZADD".to_vec(), key, b"XX".to_vec(), b"INCR".to_vec(), score(rng), member],
            5 => vec![b"ZINCRBY".to_vec(), key, score(rng), member],
            6 => vec![b"ZREM".to_vec(), key, member, self.member(rng)],
            7 => vec![b"ZCARD".to_vec(), key],
            8 => vec![b"ZSCORE".to_vec(), key, member],
            9 => vec![b"ZMSCORE".to_vec(), key, member, self.member(rng)],
            10 => vec![pick(rng, &["ZRANK", "ZREVRANK"]).into(), key, member],
            11 => vec![b"ZCOUNT".to_vec(), key, self.bound(rng), self.bound(rng)],
            12 => vec![b"ZRANGE".to_vec(), key, self.index(rng), self.index(rng), b"WITHSCORES".to_vec()],
            13 => {
                let mut found =
                    vec![b"ZRANGE".to_vec(), key, self.bound(rng), self.bound(rng), b"BYSCORE".to_vec()];
                if rng.below(2) == 0 {
                    found.push(b"REV".to_vec());
                }
                if rng.below(2) == 0 {
                    found.extend([b"LIMIT".to_vec(), b"1".to_vec(), pick(rng, &["2", "-1"]).into()]);
                }
                found
            }
            14 => vec![b"ZREVRANGE".to_vec(), key, self.index(rng), self.index(rng)],
            15 => vec![b"ZRANGEBYSCORE".to_vec(), key, self.bound(rng), self.bound(rng)],
            16 => vec![b"ZREVRANGEBYSCORE".to_vec(), key, self.bound(rng), self.bound(rng)],
            17 => vec![b"ZRANGESTORE".to_vec(), key, other, self.index(rng), self.index(rng)],
            18 => vec![b"ZREMRANGEBYRANK".to_vec(), key, self.index(rng), self.index(rng)],
            19 => vec![b"ZREMRANGEBYSCORE".to_vec(), key, self.bound(rng), self.bound(rng)],
            20 if rng.below(2) == 0 => {
                [vec![pick(rng, &["ZPOPMIN", "ZPOPMAX"]).into(), key], self.maybe_positive_count(rng)]
                    .concat()
            }
            20 => vec![b"ZMPOP".to_vec(), b"1".to_vec(), key, pick(rng, &["MIN", "MAX"]).into()],
            _ if rng.below(2) == 0 => [vec![b"ZRANDMEMBER".to_vec(), key], self.maybe_count(rng)].concat(),
            _ => {
                let name = pick(rng, &["ZUNIONSTORE", "ZINTERSTORE"]).into();
                vec![name, key, b"2".to_vec(), other, self.key(rng)]
            }
        }
    }

    fn expiry(&self, rng: &mut Rng) -> Words {
        let key = self.key(rng);
        match rng.below(8) {
            0..3 => {
                let mut found = vec![b"PEXPIRE".to_vec(), key, self.milliseconds(rng)];
                if rng.below(2) == 0 {
                    found.push(pick(rng, &["NX", "XX", "GT", "LT"]).into());
                }
                found
            }
            3 => vec![b"EXPIRE".to_vec(), key, pick(rng, &["1", "2", "100", "0", "-1"]).into()],
            4 => vec![pick(rng, &["TTL", "EXPIRETIME"]).into(), key],
            5 => vec![pick(rng, &["PTTL", "PEXPIRETIME"]).into(), key],
            6 => vec![b"PERSIST".to_vec(), key],
            _ => vec![b"EXPIREAT".to_vec(), key, pick(rng, &["1", "1704067203", "4102444800"]).into()],
        }
    }

    fn keyspace(&self, rng: &mut Rng) -> Words {
        let (key, other) = (self.key(rng), self.key(rng));
        match rng.below(22) {
            0..3 => vec![pick(rng, &["DEL", "UNLINK"]).into(), key, other],
            3 | 4 => vec![pick(rng, &["EXISTS", "TOUCH"]).into(), key, other],
            5 => vec![b"TYPE".to_vec(), key],
            6..9 => vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key],
            9 => vec![b"RENAME".to_vec(), key, other],
            10 => vec![b"RENAMENX".to_vec(), key, other],
            11 | 12 => {
                let mut found = vec![b"COPY".to_vec(), key, other];
                if rng.below(2) == 0 {
                    found.extend([b"DB".to_vec(), rng.below(DBS as u64).to_string().into()]);
                }
                if rng.below(2) == 0 {
                    found.push(b"REPLACE".to_vec());
                }
                found
            }
            13 => vec![b"MOVE".to_vec(), key, rng.below(DBS as u64).to_string().into()],
            14 => words(["RANDOMKEY".into()]),
            15 => words(["KEYS".into(), "*".into()]),
            16 => words(["DBSIZE".into()]),
            17 => match rng.below(6) {
                0 => words(["FLUSHALL".into()]),
                1 | 2 => words(["FLUSHDB".into(), pick(rng, &["SYNC", "ASYNC"]).into()]),
                3 => words(["SWAPDB".into(), "0".into(), rng.below(DBS as u64).to_string()]),
                _ => words(["UNWATCH".into()]),
            },
            18 => vec![b"SORT".to_vec(), key, b"ALPHA".to_vec()],
            19 => words(["PING".into()]),
            _ => vec![b"ECHO".to_vec(), self.text(rng)],
        }
    }

    fn key(&self, rng: &mut Rng) -> Vec<u8> {
        format!("k{}", rng.below(self.keys)).into()
    }

    fn field(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(30) {
            0 => LONG.to_vec(),
            1 => Vec::new(),
            _ => format!("f{}", rng.below(12)).into(),
        }
    }

    fn member(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(30) {
            0 => LONG.to_vec(),
            1..9 => rng.below(30).to_string().into(),
            _ => format!("m{}", rng.below(20)).into(),
        }
    }

    fn text(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(3) {
            0 => self.number(rng),
            1 => format!("v{}", rng.below(50)).into(),
            _ => TEXTS[rng.below(TEXTS.len() as u64) as usize].to_vec(),
        }
    }

    fn number(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(12) {
            0 => b"9223372036854775807".to_vec(),
            1 => b"-9223372036854775807".to_vec(),
            2 => (rng.next_u64() as i64 >> 8).to_string().into(),
            _ => (rng.below(400) as i64 - 200).to_string().into(),
        }
    }

    fn index(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(4) {
            0 => b"0".to_vec(),
            1 => b"-1".to_vec(),
            _ => (rng.below(16) as i64 - 8).to_string().into(),
        }
    }

    fn bound(&self, rng: &mut Rng) -> Vec<u8> {
        let open = if rng.below(4) == 0 { "(" } else { "" };
        format!("{open}{}", pick(rng, &SCORES)).into()
    }

    fn milliseconds(&self, rng: &mut Rng) -> Vec<u8> {
        pick(rng, &["1", "5", "20", "100", "500", "3000", "100000"]).into()
    }

    fn maybe_count(&self, rng: &mut Rng) -> Words {
        match rng.below(3) {
            0 => vec![pick(rng, &["0", "1", "3", "-3", "20", "-20"]).into()],
            _ => Vec::new(),
        }
    }

    fn maybe_positive_count(&self, rng: &mut Rng) -> Words {
        match rng.below(2) {
            0 => vec![pick(rng, &["0", "1", "2", "5", "40"]).into()],
            _ => Vec::new(),
        }
    }
}

fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.below(choices.len() as u64) as usize]
}

fn words<const N: usize>(texts: [String; N]) -> Words {
    texts.into_iter().map(String::into_bytes).collect()
}
