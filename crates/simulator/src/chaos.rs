//! Random requests of every command in the table, made from the syntax that its row declares.

use base::rng::Rng;
use engine::syntax::Item;
use engine::table::{Row, Table};

use crate::checkers::model::Words;

/// Commands that would end the run or take it too long, or that change how replies belong to requests.
const LEFT_OUT: [&str; 17] = [
    "pfselftest",
    "shutdown",
    "debug",
    "monitor",
    "client|reply",
    "config|set",
    "acl|setuser",
    "acl|deluser",
    "acl|load",
    "multi",
    "exec",
    "discard",
    "sync",
    "psync",
    "replicaof",
    "slaveof",
    "failover",
];

/// Parameters that clients may change, with values.
const PARAMETERS: [(&str, &[&str]); 14] = [
    ("hash-max-listpack-entries", &["0", "2", "128"]),
    ("hash-max-listpack-value", &["2", "64"]),
    ("set-max-intset-entries", &["0", "3", "512"]),
    ("set-max-listpack-entries", &["0", "3", "128"]),
    ("zset-max-listpack-entries", &["0", "3", "128"]),
    ("list-max-listpack-size", &["1", "3", "-2", "-1"]),
    ("maxmemory", &["0", "1048577", "2000000", "100000000"]),
    (
        "maxmemory-policy",
        &[
            "noeviction",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "volatile-lru",
            "volatile-lfu",
            "volatile-ttl",
        ],
    ),
    ("maxmemory-samples", &["1", "5", "64"]),
    ("notify-keyspace-events", &["", "KEA", "Ex", "AKEmn"]),
    ("hz", &["1", "10", "500"]),
    ("active-expire-effort", &["1", "10"]),
    ("slowlog-log-slower-than", &["0", "1", "10000", "-1"]),
    ("latency-monitor-threshold", &["0", "1"]),
];

/// Draws requests from a table of commands.
#[derive(Debug)]
pub struct Chaos {
    keys: u64,
    rows: Vec<&'static Row>,
    table: &'static Table,
}

impl Chaos {
    /// Returns a source of requests over all rows, but those of [`LEFT_OUT`].
    pub fn new(table: &'static Table, rng: &mut Rng) -> Chaos {
        let rows = table.rows.iter().filter(|row| {
            let container = row.name.split('|').next().unwrap_or_default();
            row.subcommands.is_empty()
                && !LEFT_OUT.contains(&row.name.as_str())
                && !LEFT_OUT.contains(&container)
        });
        Chaos { keys: 3 + rng.below(10), rows: rows.collect(), table }
    }

    /// Returns the requests that a client sends together.
    pub fn batch(&self, rng: &mut Rng) -> Vec<Words> {
        match rng.below(20) {
            0 => vec![parameter(rng)],
            1 | 2 => {
                let mut batch = vec![vec![b"MULTI".to_vec()]];
                for _ in 0..rng.below(8) {
                    let words = self.request(rng);
                    // What confirms topic by topic has no place in the array that EXEC answers.
                    if !is_subscription(&words) {
                        batch.push(words);
                    }
                }
                batch.push(vec![b"EXEC".to_vec()]);
                batch
            }
            3..6 => (0..2 + rng.below(20)).map(|_| self.request(rng)).collect(),
            _ => vec![self.request(rng)],
        }
    }

    fn request(&self, rng: &mut Rng) -> Words {
        let mut row = self.rows[rng.below(self.rows.len() as u64) as usize];
        // Families that only report are many and change nothing: most of the time another row is drawn.
        while matches!(row.group, "server" | "connection" | "pubsub") && rng.below(6) != 0 {
            row = self.rows[rng.below(self.rows.len() as u64) as usize];
        }
        let mut words: Words = row.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
        let mut counts = Vec::new();
        self.items(&row.syntax.items, rng, &mut words, &mut counts);
        for at in counts {
            words[at] = numkeys(&words, at, rng);
        }
        if rng.below(60) == 0 {
            words.push(self.value("value", rng));
        }
        if rng.below(60) == 0 && words.len() > 1 {
            words.pop();
        }
        // A topic more keeps the count of confirmations known.
        if is_subscription(&words) && words.len() == 1 {
            words.push(b"c".to_vec());
        }
        // What is left of a request must not be one of those left out.
        if self.table.find(&words[0]).is_some_and(|row| LEFT_OUT.contains(&row.name.as_str())) {
            return vec![b"PING".to_vec()];
        }
        words
    }

    fn items(&self, items: &[Item], rng: &mut Rng, words: &mut Words, counts: &mut Vec<usize>) {
        for item in items {
            match item {
                Item::Word(word) => words.push(word.trim_matches('"').as_bytes().to_vec()),
                Item::Value(name) => {
                    if *name == "numkeys" {
                        counts.push(words.len());
                    }
                    words.push(self.value(name, rng));
                }
                Item::Optional(alternatives) => {
                    if rng.below(3) == 0 {
                        let chosen = &alternatives[rng.below(alternatives.len() as u64) as usize];
                        self.items(chosen, rng, words, counts);
                    }
                }
                Item::Choice(alternatives) => {
                    let chosen = &alternatives[rng.below(alternatives.len() as u64) as usize];
                    self.items(chosen, rng, words, counts);
                }
                Item::Again(repeated) => {
                    let times = if rng.below(40) == 0 { 30 } else { rng.below(4) };
                    (0..times).for_each(|_| self.items(repeated, rng, words, counts));
                }
            }
        }
    }

    /// Returns a value that suits an argument of this name, most of the time.
    fn value(&self, name: &str, rng: &mut Rng) -> Vec<u8> {
        if rng.below(40) == 0 {
            return anything(rng);
        }
        let choose = |rng: &mut Rng, choices: &[&str]| -> Vec<u8> {
            choices[rng.below(choices.len() as u64) as usize].as_bytes().to_vec()
        };
        match name {
            _ if name.contains("key") || ["source", "destination", "dst", "src"].contains(&name) => {
                format!("k{}", rng.below(self.keys)).into()
            }
            "timeout" => choose(rng, &["0.01", "0.1", "1", "0", "2"]),
            "seconds" | "milliseconds" | "ttl" => choose(rng, &["1", "5", "100", "10000", "0"]),
            _ if name.contains("unix-time") => {
                choose(rng, &["1", "1704067202", "1704067202000", "4102444800000"])
            }
            "cursor" => choose(rng, &["0", "0", "0", "1", "77"]),
            "score" | "increment" | "decrement" | "weight" => {
                choose(rng, &["0", "1", "-1", "2.5", "inf", "7"])
            }
            "min" | "max" => choose(rng, &["-inf", "+inf", "-", "+", "[a", "(m", "0", "(1", "5", "[m5"]),
            "longitude" => choose(rng, &["0", "13.36", "15.08", "-179", "200"]),
            "latitude" => choose(rng, &["0", "38.1", "37.5", "-85", "85.05"]),
            "radius" | "width" | "height" => choose(rng, &["1", "100", "5000"]),
            "bit" => choose(rng, &["0", "1"]),
            "encoding" => choose(rng, &["u8", "i5", "u1", "i64", "u63", "i16", "u64"]),
            "offset" => choose(rng, &["0", "1", "#2", "7", "100", "9999"]),
            "index" | "start" | "stop" | "end" | "rank" => choose(rng, &["0", "1", "-1", "-3", "5", "100"]),
            "count" | "len" | "numreplicas" | "numlocal" => choose(rng, &["1", "2", "10", "-2", "0"]),
            "db" | "index1" | "index2" | "destination-db" => choose(rng, &["0", "1", "2", "99"]),
            "pattern" => choose(rng, &["*", "k*", "k?", "[a-m]*", "m1*"]),
            "channel" | "shardchannel" => choose(rng, &["c", "d", "__keyevent@0__:set"]),
            "protover" => choose(rng, &["2", "3"]),
            "member" | "field" | "element" => format!("m{}", rng.below(12)).into(),
            _ => anything(rng),
        }
    }
}

/// Returns whether a request is one that confirms topic by topic.
fn is_subscription(words: &[Vec<u8>]) -> bool {
    words[0].to_ascii_lowercase().ends_with(b"subscribe")
}

/// Counts the keys behind a `numkeys`, and sometimes miscounts.
fn numkeys(words: &[Vec<u8>], at: usize, rng: &mut Rng) -> Vec<u8> {
    let is_key = |word: &&Vec<u8>| word.len() <= 3 && word.starts_with(b"k");
    let count = words[at + 1..].iter().take_while(is_key).count() as u64;
    let count = if rng.below(20) == 0 { count + rng.below(3) } else { count };
    count.to_string().into()
}

fn parameter(rng: &mut Rng) -> Words {
    let (name, values) = PARAMETERS[rng.below(PARAMETERS.len() as u64) as usize];
    let value = values[rng.below(values.len() as u64) as usize];
    ["CONFIG", "SET", name, value].iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Returns a word that suits nothing in particular.
fn anything(rng: &mut Rng) -> Vec<u8> {
    const WORDS: [&[u8]; 18] = [
        b"",
        b"0",
        b"1",
        b"-1",
        b"3.5",
        b"nan",
        b"-inf",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"18446744073709551616",
        b"1e308",
        b"abc",
        b"\x00\r\n\xff",
        b"k1",
        b"(5",
        b"[z",
        b"GET",
        b"NX",
    ];
    match rng.below(30) {
        0 => vec![b'x'; 1 + rng.below(300) as usize],
        1 => vec![b'*'; 20],
        _ => WORDS[rng.below(WORDS.len() as u64) as usize].to_vec(),
    }
}
