//! Snapshots and dumps exchanged with redis-server, where it is installed.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the test drives another server")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::{env, fs, process};

use base::rng::Rng;
use keyspace::keys::encoding_of;
use keyspace::{Entry, Keyspace};
use rdb::{Ages, Context, Item, LoadError, LoadOptions, Loader, Meta, SaveOptions, Sink, SinkError};
use testkit::Reply;
use testkit::process::ServerProcess;

struct Redis {
    server: ServerProcess,
    link: TcpStream,
    heard: Vec<u8>,
}

impl Redis {
    /// Starts redis-server on what is in `directory`; nothing where there is no redis-server.
    fn start(directory: &Path, options: &[&str]) -> Option<Redis> {
        let directory = directory.to_str().expect("a plain path");
        let options = [&["--dir", directory], options].concat();
        let server = match ServerProcess::start(&["redis-server".into()], &options) {
            Ok(server) => server,
            Err(error) => {
                eprintln!("not compared with redis-server: {error}");
                return None;
            }
        };
        let link = TcpStream::connect(server.address()).expect("it listens");
        Some(Redis { server, link, heard: Vec::new() })
    }

    fn say(&mut self, requests: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        for words in requests {
            bytes.extend(format!("*{}\r\n", words.len()).bytes());
            for word in words {
                bytes.extend(format!("${}\r\n", word.len()).bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.link.write_all(&bytes).expect("it takes requests");
        let (mut replies, mut at) = (Vec::new(), 0);
        while replies.len() < requests.len() {
            match Reply::parse(&self.heard[at..]).expect("replies are well-formed") {
                Some((reply, len)) => {
                    replies.push(reply);
                    at += len;
                }
                None => {
                    let mut piece = vec![0; 1 << 16];
                    let count = self.link.read(&mut piece).expect("it answers");
                    assert!(count > 0, "redis-server closed the connection");
                    self.heard.extend_from_slice(&piece[..count]);
                }
            }
        }
        self.heard.drain(..at);
        replies
    }

    fn ask(&mut self, line: &str) -> Reply {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.say(&[words]).remove(0)
    }

    fn digest(&mut self) -> String {
        self.ask("DEBUG DIGEST").head()
    }
}

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn new_directory(name: &str) -> std::path::PathBuf {
    let path = env::temp_dir().join(format!("redstart-rdb-{name}-{}", process::id()));
    fs::create_dir_all(&path).expect("a directory for the test");
    path
}

fn load(bytes: &[u8]) -> Result<Keyspace, LoadError> {
    let mut keyspace = Keyspace::new(16, 4);
    // As redis-server is configured.
    keyspace.limits.hash_entries = 512;
    let context = Context { limits: keyspace.limits, seed: keyspace.seed };
    let options = LoadOptions { input_len: Some(bytes.len() as u64), ..LoadOptions::default() };
    let mut loader = Loader::new(context, options);
    let (mut start, mut end, mut db) = (0, 0, 0);
    while !loader.is_done() {
        if end == bytes.len() {
            loader.end_of_input()?;
        }
        end = (end + 30_000).max(start + loader.needs()).min(bytes.len());
        start += loader.parse(&bytes[start..end], &mut |item| {
            match item {
                Item::Select(number) => db = number,
                Item::Resize { keys, .. } => keyspace.reserve(db, keys),
                Item::Entry(entry) => {
                    keyspace.load(db, entry).map_err(|_| LoadError::refused("a key comes twice"))?;
                }
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(keyspace)
}

fn text(rng: &mut Rng, most: u64) -> Vec<u8> {
    match rng.below(6) {
        0 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into_bytes(),
        1 => vec![b'a' + rng.below(4) as u8; rng.below(most) as usize],
        2 => format!("field:{}", rng.below(1000)).into_bytes().repeat(1 + rng.below(4) as usize),
        3 => format!("{}", rng.below(100)).into_bytes(),
        _ => (0..rng.below(most.min(40))).map(|_| rng.next_u64() as u8).collect(),
    }
}

/// Returns requests that make a key of any type and encoding.
fn requests(rng: &mut Rng, key: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let size = rng.below(4) as usize;
    let count = 1 + rng.below([3, 40, 200, 700][size]);
    let most = if rng.below(3) == 0 { 300 } else { 20 };
    let kind = rng.below(7);
    let name = ["SET", "RPUSH", "SADD", "SADD", "HSET", "ZADD", "APPEND"][kind as usize];
    let mut words = vec![name.into(), key.to_vec()];
    match kind {
        0 | 6 => words.push(text(rng, 5000)),
        1 => {
            words.extend((0..count).map(|n| if n % 300 == 299 { vec![b'l'; 9000] } else { text(rng, most) }))
        }
        2 => words.extend((0..count).map(|_| text(rng, most))),
        3 => {
            let unused = 64 - (8 << rng.below(4));
            words.extend((0..count).map(|_| (rng.next_u64() as i64 >> unused).to_string().into_bytes()));
        }
        4 => words.extend((0..2 * count).map(|_| text(rng, most))),
        _ => words.extend((0..count).flat_map(|_| {
            let score = match rng.below(5) {
                0 => "-inf".into(),
                1 => rng.below(5).to_string(),
                2 => format!("{}", rng.float()),
                3 => format!("{}e{}", rng.float(), rng.below(200)),
                _ => (rng.next_u64() as i64 >> rng.below(64)).to_string(),
            };
            [score.into_bytes(), text(rng, most)]
        })),
    }
    let mut all = vec![words];
    if rng.below(4) == 0 {
        let at = 4_000_000_000_000 + rng.below(1 << 40);
        all.push(vec![b"PEXPIREAT".to_vec(), key.to_vec(), at.to_string().into_bytes()]);
    }
    all
}

/// Whether a value's bytes in a dump follow from its elements: tables have no order, 7.0 no listpacks for sets.
fn has_one_dump(entry: &Entry) -> bool {
    let encoding = encoding_of(entry);
    encoding != "hashtable" && !(encoding == "listpack" && keyspace::keys::type_of(entry).name() == "set")
}

#[test]
fn what_redis_saved_is_loaded_and_what_we_save_redis_loads() {
    let (first, second) = (new_directory("first"), new_directory("second"));
    let Some(mut redis) = Redis::start(&first, &[]) else { return };
    let mut rng = Rng::seeded(1);
    for number in 0..1500 {
        let key = [number.to_string().as_bytes(), b":", &text(&mut rng, 40)].concat();
        let mut all = vec![vec![b"SELECT".to_vec(), [b"0", b"0", b"7"][number % 3].to_vec()]];
        all.extend(requests(&mut rng, &key));
        for reply in redis.say(&all) {
            assert!(!reply.is_error(), "{reply:?}");
        }
    }
    let digest = redis.digest();
    redis.ask("SAVE");
    let theirs = fs::read(first.join("dump.rdb")).expect("just saved");
    let keyspace = load(&theirs).expect("a snapshot of redis-server");

    let mut compared = 0;
    for (number, db) in keyspace.dbs.iter().enumerate() {
        redis.ask(&format!("SELECT {number}"));
        for entry in db.table.iter().filter(|entry| has_one_dump(entry)) {
            let reply = redis.say(&[vec![b"DUMP".to_vec(), entry.key().to_vec()]]).remove(0);
            let ours = rdb::dump(entry, rdb::VERSION);
            assert_eq!(
                reply.text().expect("the key is there").escape_ascii().to_string(),
                ours.escape_ascii().to_string(),
                "{} {}",
                entry.key().escape_ascii(),
                encoding_of(entry)
            );
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");

    for ages in [Ages::Leave, Ages::Idle { now_ms: 1_700_000_000_000 }] {
        let mut sink = Bytes(Vec::new());
        let meta = Meta::new("7.0.15", 1_700_000_000, 1 << 20).replicated(0, &"a".repeat(40), 77);
        let options = SaveOptions { ages, ..SaveOptions::default() };
        rdb::save(&mut sink, &keyspace, &meta, &options, &mut |_| ()).expect("memory takes all");
        if ages == Ages::Leave {
            assert!(sink.0.len() as f64 <= theirs.len() as f64 * 1.02, "{} {}", sink.0.len(), theirs.len());
        }
        fs::write(second.join("dump.rdb"), &sink.0).expect("a file for redis-server");
        let mut other = Redis::start(&second, &["--dbfilename", "dump.rdb"]).expect("it started before");
        assert_eq!(other.digest(), digest);
        drop(other.server);
    }
    drop(redis.server);
    for directory in [first, second] {
        let _ = fs::remove_dir_all(directory);
    }
}
