//! What the fuzzers do with arbitrary bytes. `cargo test` runs each briefly on seeded bytes, `cargo xtask fuzz` for long.
//!
//! A body panics when something is wrong; it returns for every input.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

use base::crc64::crc64;
use base::glob::glob_match;
use base::hash::HashSeed;
use base::number::{LongDouble, parse_f64, parse_i64, parse_u64, push_f64};
use base::rng::Rng;
use config::Config;
use engine::Effect;
use engine::table::Table;
use keyspace::keys::type_of;
use keyspace::list::End;
use keyspace::{Hash, Keyspace, List, Set, Value, ZSet};
use node::{Closing, LinkId, Node, Peer};
use resp::decode::{Decoder, Limits};
use structures::{Fill, Item, Listpack};
use testkit::Reply;

use crate::checkers::model::Model;
pub use crate::fuzz_aof::{aof, manifest};
pub use crate::fuzz_replication::{primary_link, replica_link};
use crate::host::Bytes;
use crate::workload::{Role, Workload};
use crate::{Clock, VirtualHost};

/// The bodies by name, for the seeded runs.
pub const BODIES: &[(&str, fn(&[u8]))] = &[
    ("decoder", decoder),
    ("arguments", arguments),
    ("glob", glob),
    ("listpack", listpack),
    ("stream", stream),
    ("session", session),
    ("config", config),
    ("rdb", rdb),
    ("restore", restore),
    ("aof", aof),
    ("manifest", manifest),
    ("replica_link", replica_link),
    ("primary_link", primary_link),
];

/// Requests decoded whole and in pieces are the same requests, and errors come at the same place.
pub fn decoder(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let limits = Limits { authenticated: first & 1 == 0, ..Limits::default() };
    let step = usize::from(first >> 1) + 1;
    let whole = decode(data, &limits, data.len().max(1));
    let pieces = decode(data, &limits, step);
    assert_eq!(whole, pieces, "requests depend on how their bytes arrive");
}

/// Returns the requests in `data`, or those before an error and the error, when `step` bytes arrive at a time.
fn decode(data: &[u8], limits: &Limits, step: usize) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (mut decoder, mut requests) = (Decoder::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < data.len() {
        end = (end + step).min(data.len());
        loop {
            match decoder.decode(&data[start..end], limits) {
                Ok(Some(request)) => {
                    assert!(request.consumed() <= end - start, "no more is consumed than there is");
                    let words: Vec<Vec<u8>> = request.iter().map(<[u8]>::to_vec).collect();
                    start += request.consumed();
                    if !words.is_empty() {
                        requests.push(words);
                    }
                    if start == end {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error.to_string())),
            }
        }
    }
    (requests, None)
}

/// Numbers read and written again are the same numbers.
pub fn arguments(data: &[u8]) {
    if let Some(n) = parse_i64(data) {
        assert_eq!(n.to_string().as_bytes(), data, "an integer has one spelling");
    }
    if let Some(n) = parse_u64(data) {
        assert_eq!(parse_u64(n.to_string().as_bytes()), Some(n));
    }
    if let Some(n) = parse_f64(data) {
        assert!(!n.is_nan());
        let mut text = Vec::new();
        push_f64(&mut text, n);
        assert_eq!(parse_f64(&text), Some(n), "a double survives its shortest text");
    }
    if let Some(n) = LongDouble::parse(data)
        && n.is_finite()
    {
        let mut text = Vec::new();
        (n + LongDouble::from(0)).push_text(&mut text);
        assert!(LongDouble::parse(&text).is_some(), "what INCRBYFLOAT stores, it reads");
    }
    // The bytes as the words of one request to a fresh node: whatever the command, one reply comes back.
    let mut player = Player::new();
    let words: Vec<&[u8]> = data.split(|b| *b == b' ').collect();
    player.say(&encode(&words));
}

/// The matcher agrees with a simple one on small input, and ends on any.
pub fn glob(data: &[u8]) {
    let Some((at, rest)) = data.split_first() else { return };
    let (pattern, text) = rest.split_at(usize::from(*at).min(rest.len()));
    let found = glob_match(pattern, text, false);
    if glob_match(pattern, text, true) != found {
        assert!(
            pattern.iter().chain(text).any(u8::is_ascii_alphabetic),
            "case matters only where there are letters"
        );
    }
    // Without special bytes a pattern matches only itself.
    if !pattern.iter().any(|b| b"*?[]\\^-".contains(b)) {
        assert_eq!(found, pattern == text);
    }
    let stars = [b"*", pattern, b"*"].concat();
    // A star does not match nothing at all (so it is in Redis), and the last byte may quote or enclose the star behind it.
    let quotes = text.is_empty() || pattern.iter().any(|b| b"[\\".contains(b));
    assert!(!found || quotes || glob_match(&stars, text, false), "stars around a match match too");
}

/// A listpack does what a vector of texts does, and refuses or accepts arbitrary bytes without harm.
pub fn listpack(data: &[u8]) {
    if let Some(pack) = Listpack::from_bytes(data) {
        assert_eq!(pack.iter().count(), pack.len());
        assert_eq!(Listpack::from_bytes(pack.as_bytes()).map(|p| p.len()), Some(pack.len()));
    }
    let (mut pack, mut model): (Listpack, Vec<Vec<u8>>) = (Listpack::new(), Vec::new());
    for op in data.chunks(4) {
        let [kind, a, b, c] = [0, 1, 2, 3].map(|i| op.get(i).copied().unwrap_or(0));
        let text = match kind >> 4 & 3 {
            0 => (i64::from(a) << (b & 63)).wrapping_neg().to_string().into_bytes(),
            1 => u64::from(u32::from_be_bytes([a, b, c, a])).to_string().into_bytes(),
            2 => vec![a; usize::from(b)],
            _ => vec![b'x'; usize::from(a) << 6],
        };
        let place = usize::from(a).checked_rem(model.len()).unwrap_or(0);
        match kind & 7 {
            0 | 1 => {
                pack.push_back(text.as_slice());
                model.push(text);
            }
            2 => {
                pack.push_front(text.as_slice());
                model.insert(0, text);
            }
            3 => {
                pack.insert(place, text.as_slice());
                model.insert(place, text);
            }
            4 if !model.is_empty() => {
                let pos = pack.seek(place as isize).expect("inside");
                pack.replace(pos, text.as_slice());
                model[place] = text;
            }
            5 => {
                let popped = pack.pop_front(|item| item.to_vec());
                assert_eq!(popped, (!model.is_empty()).then(|| model.remove(0)));
            }
            6 => assert_eq!(pack.pop_back(|item| item.to_vec()), model.pop()),
            7 => {
                let count = usize::from(b & 7).min(model.len() - place);
                pack.remove_indexes(place as isize, count);
                model.drain(place..place + count);
            }
            _ => {}
        }
        assert_eq!(pack.len(), model.len());
        let found = pack.find(b"1", 0).map(|pos| pack.at(pos).to_vec());
        assert_eq!(found, model.iter().find(|t| **t == b"1").cloned());
    }
    assert!(pack.iter().map(Item::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter().rev().map(Item::to_vec).eq(model.iter().rev().cloned()));
    assert!(Listpack::from_bytes(pack.as_bytes()).is_some(), "its own bytes are valid");
}

/// Configuration files load or are refused with a line; what loads survives a rewrite.
pub fn config(data: &[u8]) {
    struct NoFiles;
    impl config::Host for NoFiles {
        fn include(&mut self, _: &[u8]) -> Result<Vec<u8>, config::LoadError> {
            Ok(Vec::new())
        }
        fn change_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
            Ok(path.to_vec())
        }
        fn rename_command(&mut self, _: &[u8], _: &[u8]) -> Result<(), &'static str> {
            Ok(())
        }
    }
    let mut loaded = Config::default();
    if loaded.load(data, &mut NoFiles).is_err() {
        return;
    }
    let text = config::rewrite(data, &loaded);
    let mut again = Config::default();
    if let Err(error) = again.load(&text, &mut NoFiles) {
        panic!("the rewritten file does not load: {}", error.report("test"));
    }
}

/// Two clients say what the bytes choose, three at a time, from the simulator's workload; a model agrees to every reply.
///
/// Each three bytes choose one batch of requests (or how much time passes), so that changing them changes only that.
pub fn session(data: &[u8]) {
    let mut choices =
        data.chunks(3).map(|three| Rng::seeded(three.iter().fold(7, |n, b| n << 8 | u64::from(*b))));
    let Some(mut first) = choices.next() else { return };
    let workload = Workload::new(&mut first);
    let (mut clock, host, mut model) = (Clock::default(), VirtualHost::default(), Model::new(DATABASES));
    let mut config = Config::default();
    config.set_at_start(b"databases", &[DATABASES.to_string().as_bytes()]).expect("a number of databases");
    let mut node = Node::new(config, Table::standard(), 1, clock.now());
    let links = [(); 2].map(|()| node.open(clock.now(), Peer::default()));
    links.iter().for_each(|link| model.open(link.0));
    let listen = |node: &mut Node, model: &mut Model| {
        while node.poll_effect().is_some() {}
        while let Some(link) = node.poll_output() {
            let output = node.output(link).to_vec();
            node.sent(link, output.len());
            let mut at = 0;
            while let Some((reply, length)) = Reply::parse(&output[at..]).expect("replies are well-formed") {
                model.received(link.0, reply);
                at += length;
            }
            assert_eq!(at, output.len(), "replies are whole");
        }
    };
    for mut choice in choices.take(400) {
        clock.advance(Duration::from_micros(50));
        if choice.below(10) == 0 {
            clock.advance(Duration::from_millis(choice.below(3_000)));
        }
        node.handle_timeout(clock.now(), &host);
        listen(&mut node, &mut model);
        model.pass(clock.now());
        let link = links[choice.below(2) as usize];
        let batch = workload.batch(Role::Worker { resp3: false }, &mut choice);
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|words| encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        node.handle_input(clock.now(), &host, link, &bytes);
        listen(&mut node, &mut model);
        model.requests(clock.now(), link.0, batch);
        if let Err(problem) = model.verdict() {
            panic!("{problem}");
        }
    }
}

/// Databases of the modelled node: one more than the workload selects.
const DATABASES: usize = 4;

/// Arbitrary bytes as a client's stream, in pieces, with the clock going on: replies are whole, and the node lives.
pub fn stream(data: &[u8]) {
    let mut player = Player::new();
    for chunk in data.split(|b| *b == 0xfe).take(64) {
        match chunk.split_first() {
            Some((0xfd, rest)) => player.pass(Duration::from_millis(rest.len() as u64 * 100)),
            _ => player.say(chunk),
        }
    }
}

/// A snapshot loads or is refused, the same however it arrives; what loads can be saved, and loads again as it is.
///
/// The bytes are read as they are, and once more as the inside of a snapshot whose frame is right.
pub fn rdb(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let step = usize::from(*first) + 1;
    load(data, step);
    let mut framed = [b"REDIS0010\xfe\x00", data, b"\xff"].concat();
    framed.extend_from_slice(&crc64(0, &framed).to_le_bytes());
    if let Some(keyspace) = load(&framed, step) {
        let mut sink = Bytes::default();
        let (meta, options) = (rdb::Meta::default(), rdb::SaveOptions::default());
        rdb::save(&mut sink, &keyspace, &meta, &options, &mut |_| ()).expect("memory takes all");
        let again = load(&sink.0, sink.0.len()).expect("what was saved loads");
        assert_eq!(again.dbs[0].len(), keyspace.dbs[0].len());
        for entry in &keyspace.dbs[0].table {
            let other = again.dbs[0].table.get(entry.key()).expect("every key was saved");
            assert_eq!((entry.stamp(), type_of(entry)), (other.stamp(), type_of(other)));
        }
    }
}

/// Loads a snapshot whole and in pieces; the two come to the same.
fn load(data: &[u8], step: usize) -> Option<Keyspace> {
    let whole = load_in_pieces(data, data.len().max(1));
    let pieces = load_in_pieces(data, step);
    assert_eq!(whole.is_some(), pieces.is_some(), "loading depends on how bytes arrive");
    assert_eq!(whole.as_ref().map(Keyspace::len), pieces.as_ref().map(Keyspace::len));
    whole
}

fn load_in_pieces(data: &[u8], step: usize) -> Option<Keyspace> {
    let mut keyspace = Keyspace::new(DATABASES, 1);
    let context = rdb::Context { limits: keyspace.limits, seed: keyspace.seed };
    let mut loader = rdb::Loader::new(context, rdb::LoadOptions::default());
    let (mut start, mut end, mut db) = (0, 0, 0);
    while !loader.is_done() {
        if end == data.len() {
            return None;
        }
        end = (end + step).max(start + loader.needs()).min(data.len());
        let parsed = loader.parse(&data[start..end], &mut |item| {
            match item {
                rdb::Item::Select(number) if number >= DATABASES => {
                    return Err(rdb::LoadError::refused("no such database"));
                }
                rdb::Item::Select(number) => db = number,
                rdb::Item::Resize { keys, .. } => keyspace.reserve(db, keys),
                rdb::Item::Entry(entry) => {
                    keyspace.load(db, entry).map_err(|_| rdb::LoadError::refused("a key comes twice"))?;
                }
                _ => {}
            }
            Ok(())
        });
        start += parsed.ok()?;
    }
    Some(keyspace)
}

/// A payload with a right checksum is restored or refused, and what is restored bears whatever is done to it.
///
/// The first byte chooses a value that was dumped, the next say where its bytes are changed to what; or all of the
/// bytes are the payload.
pub fn restore(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let mut payload = match dumped(*first) {
        Some(mut payload) => {
            payload.truncate(payload.len() - 10);
            for change in data.chunks_exact(3).take(16) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % payload.len();
                payload[at] = change[2];
            }
            payload
        }
        None => data.to_vec(),
    };
    payload.extend_from_slice(&rdb::VERSION.to_le_bytes());
    payload.extend_from_slice(&crc64(0, &payload).to_le_bytes());

    const TRAFFIC: &[&str] = &[
        "TYPE k",
        "OBJECT ENCODING k",
        "MEMORY USAGE k SAMPLES 0",
        "DEBUG DIGEST",
        "DUMP k",
        "COPY k c",
        "GET k",
        "APPEND k x",
        "SETRANGE k 3 y",
        "STRLEN k",
        "PFCOUNT k",
        "PFADD k a",
        "LRANGE k 0 -1",
        "LPOP k",
        "RPUSH k a 5",
        "LINSERT k BEFORE a b",
        "LSET k 0 zz",
        "LREM k 0 a",
        "LTRIM k 1 -2",
        "SMEMBERS k",
        "SADD k a 7 -9000000000",
        "SREM k 7",
        "SPOP k",
        "SUNION k c",
        "SRANDMEMBER k -5",
        "HGETALL k",
        "HSET k f v g 5",
        "HDEL k f",
        "HINCRBY k n 3",
        "HRANDFIELD k 4",
        "HSCAN k 0",
        "ZRANGE k 0 -1 WITHSCORES",
        "ZADD k 5 a -inf b 2.5 c",
        "ZRANGEBYSCORE k -inf 3",
        "ZREM k a",
        "ZPOPMAX k",
        "ZRANGEBYLEX k - +",
        "ZUNIONSTORE d 2 k c",
        "SORT c ALPHA",
        "DEBUG DIGEST",
        "DEL k",
        "DUMP c",
        "FLUSHALL",
    ];
    /// Inputs that one node takes before another is made.
    const INPUTS: u32 = 500;
    thread_local! {
        static PLAYER: RefCell<(u32, Option<Player>)> = const { RefCell::new((0, None)) };
    }
    static REQUESTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let words = |line: &&str| encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        TRAFFIC.iter().flat_map(words).collect()
    });
    PLAYER.with_borrow_mut(|(inputs, player)| {
        *inputs += 1;
        if *inputs % INPUTS == 0 {
            *player = None;
        }
        let player = player.get_or_insert_with(Player::new);
        let mut requests = encode(&[b"RESTORE", b"k", b"0", &payload]);
        requests.extend_from_slice(&REQUESTS);
        player.say(&requests);
    });
}

/// Returns the dump of one of some values of every type and encoding.
fn dumped(choice: u8) -> Option<Vec<u8>> {
    let (limits, seed) = (keyspace::Limits::default(), HashSeed([1, 2]));
    let count = [3, 30, 300][usize::from(choice >> 3) % 3];
    let words = (0..count).map(|n| if n % 3 == 0 { n.to_string() } else { format!("word{}", n * n) });
    let value = match choice % 7 {
        0 => Value::Int(123_456),
        1 => Value::Text(words.collect::<String>().as_bytes().into()),
        2 => {
            let (mut list, fill) = (List::new(), Fill::new(-1));
            for word in words {
                list.reserve(fill, word.len(), 1);
                list.push(End::Right, word.as_bytes());
            }
            Value::List(list)
        }
        3 => {
            let mut set = Set::new();
            words.for_each(|word| {
                let word = if choice & 0x80 == 0 { word } else { word.replace("word", "") };
                set.add(word.as_bytes(), &limits, seed);
            });
            Value::Set(set)
        }
        4 => {
            let mut hash = Hash::new();
            for word in words {
                hash.fit([word.as_bytes(), b"value"], &limits, seed);
                hash.set(word.as_bytes(), b"value", &limits, seed);
            }
            Value::Hash(hash)
        }
        5 => {
            let mut zset = ZSet::new();
            for (n, word) in words.enumerate() {
                zset.insert(word.as_bytes(), n as f64 / 4.0, &limits, seed);
            }
            Value::ZSet(zset)
        }
        _ => return None,
    };
    let version = rdb::VERSION + u16::from(choice & 0x40 != 0);
    Some(rdb::dump(&keyspace::Entry::with_word(b"k", value, None), version))
}

/// A node and one client that says whatever it is told to.
struct Player {
    node: Node,
    host: VirtualHost,
    clock: Clock,
    link: Option<LinkId>,
    heard: Vec<u8>,
}

impl Player {
    fn new() -> Player {
        let clock = Clock::default();
        let node = Node::new(Config::default(), Table::standard(), 1, clock.now());
        Player { node, host: VirtualHost::default(), clock, link: None, heard: Vec::new() }
    }

    /// Sends bytes, connecting anew if the node has closed the connection.
    fn say(&mut self, bytes: &[u8]) {
        let link = *self.link.get_or_insert_with(|| self.node.open(self.clock.now(), Peer::default()));
        self.node.handle_input(self.clock.now(), &self.host, link, bytes);
        self.listen();
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.node.handle_timeout(self.clock.now(), &self.host);
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            if let Effect::Stall(time) = effect {
                self.clock.advance(time.min(Duration::from_secs(1)));
            }
        }
        while let Some(link) = self.node.poll_output() {
            self.heard.extend_from_slice(self.node.output(link));
            let count = self.node.output(link).len();
            self.node.sent(link, count);
            let mut at = 0;
            while let Some((_, length)) = Reply::parse(&self.heard[at..]).expect("replies are well-formed") {
                at += length;
            }
            assert_eq!(at, self.heard.len(), "replies are whole");
            self.heard.clear();
            if self.node.closing(link) != Closing::No {
                self.node.close(link);
                self.link = None;
            }
        }
    }
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Runs a body on `count` inputs drawn from `seed`: random bytes, and words that commands and protocols are made of.
pub fn seeded(body: fn(&[u8]), seed: u64, count: usize) {
    const WORDS: &[&str] = &[
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "$3\r\nGET\r\n",
        "$1\r\nk\r\n",
        "SET k v\r\n",
        "LPUSH l 1 2 3\r\n",
        "\r\n",
        "$-1\r\n",
        " ",
        "*",
        "?",
        "[a-z]",
        "\\",
        "9223372036854775807",
        "-1",
        "0",
        "1e308",
        "0.1",
        "maxmemory 1mb\n",
        "save \"\"\n",
        "\"",
        "HSET h f v\r\n",
        "ZADD z 1 a\r\n",
        "MULTI\r\n",
        "EXEC\r\n",
        "BLPOP l 1\r\n",
        "SUBSCRIBE c\r\n",
        "HELLO 3\r\n",
        "DEL k l h z\r\n",
        "SORT l BY w_* GET #\r\n",
        "\u{fe}",
        "\u{fd}",
        "#RC1:0:0000000:0:0000000000000000\r\n",
        "#TS:1700000000\r\n",
        "file a.1.incr.aof seq 1 type i\n",
        "file a.1.base.rdb seq 1 type b\n",
        "file \"a b\" seq 2 type h\n",
    ];
    let mut rng = Rng::seeded(seed);
    for _ in 0..count {
        let mut data = Vec::new();
        for _ in 0..rng.below(24) {
            match rng.below(3) {
                0 => data.push(rng.next_u64() as u8),
                1 => data.extend((0..rng.below(12)).map(|_| rng.next_u64() as u8)),
                _ => data.extend_from_slice(WORDS[rng.below(WORDS.len() as u64) as usize].as_bytes()),
            }
        }
        body(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_on_seeded_bytes() {
        for (index, (_, body)) in BODIES.iter().enumerate() {
            seeded(*body, 100 + index as u64, 3_000);
        }
    }
}
