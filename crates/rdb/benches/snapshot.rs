//! How long a snapshot takes to write and to read: `cargo bench -p rdb --bench snapshot [-- FILE]`.
//!
//! A million small strings, 200,000 small hashes and a sorted set of a million; or whatever is in FILE. The snapshot is
//! left in the temporary directory, for other servers to be measured with.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::time::{Duration, Instant};
use std::{env, fs, hint};

use base::crc64::crc64;
use base::rng::Rng;
use keyspace::load::text_entry;
use keyspace::{Entry, Hash, Keyspace, Value};
use rdb::{Context, Item, LoadError, LoadOptions, Loader, Meta, SaveOptions, Sink, SinkError};
use structures::ranked;

/// Bytes that the loader is given at a time.
const PIECE: usize = 1 << 20;

/// Entries that go into the keyspace at a time.
const BATCH: usize = 64;

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn populate() -> Keyspace {
    let mut keyspace = Keyspace::new(1, 1);
    let (limits, seed) = (keyspace.limits, keyspace.seed);
    let mut rng = Rng::seeded(1);
    for n in 0..1_000_000 {
        let value = format!("value:{:016x}", rng.next_u64());
        let entry = text_entry(format!("key:{n:09}").as_bytes(), value.as_bytes(), None);
        keyspace.load(0, entry).expect("keys differ");
    }
    for n in 0..200_000 {
        let mut hash = Hash::new();
        for field in 0..8 {
            let value = format!("{:x}", rng.next_u64() >> 20);
            hash.set(format!("field{field}").as_bytes(), value.as_bytes(), &limits, seed);
        }
        let entry = Entry::with_word(format!("user:{n}").as_bytes(), Value::Hash(hash), None);
        keyspace.load(0, entry).expect("keys differ");
    }
    let mut builder = ranked::Builder::new(seed, 1_000_000);
    for n in 0..1_000_000 {
        builder.push(format!("member:{n}").as_bytes(), (rng.next_u64() >> 40) as f64);
    }
    let ranked = builder.finish().expect("members differ");
    let zset = keyspace::ZSet::settled(ranked, &limits);
    keyspace.load(0, Entry::with_word(b"zset", Value::ZSet(zset), None)).expect("keys differ");
    keyspace
}

fn load(bytes: &[u8], verify_checksum: bool) -> Result<Keyspace, LoadError> {
    let mut keyspace = Keyspace::new(16, 2);
    let context = Context { limits: keyspace.limits, seed: keyspace.seed };
    let input_len = Some(bytes.len() as u64);
    let mut loader =
        Loader::new(context, LoadOptions { verify_checksum, input_len, ..LoadOptions::default() });
    let (mut start, mut end, mut db) = (0, 0, 0);
    let mut batch = Vec::with_capacity(BATCH);
    let put = |keyspace: &mut Keyspace, db: usize, batch: &mut Vec<Entry>| {
        keyspace.load_all(db, batch).map_err(|_| LoadError::refused("a key comes twice"))
    };
    while !loader.is_done() {
        if end == bytes.len() {
            loader.end_of_input()?;
        }
        end = (end + PIECE).max(start + loader.needs()).min(bytes.len());
        start += loader.parse(&bytes[start..end], &mut |item| {
            match item {
                Item::Entry(entry) => {
                    batch.push(entry);
                    if batch.len() == BATCH {
                        put(&mut keyspace, db, &mut batch)?;
                    }
                }
                Item::Select(number) => {
                    put(&mut keyspace, db, &mut batch)?;
                    db = number;
                }
                Item::End => put(&mut keyspace, db, &mut batch)?,
                Item::Resize { keys, .. } => keyspace.reserve(db, keys),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(keyspace)
}

fn time<R>(name: &str, bytes: usize, mut f: impl FnMut() -> R) {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let result = hint::black_box(f());
        best = best.min(begin.elapsed());
        drop(result);
    }
    let rate = bytes as f64 / 1e6 / best.as_secs_f64();
    println!("{name:24} {:8.1} ms {rate:8.0} MB/s", best.as_secs_f64() * 1e3);
}

fn main() {
    let file = env::args().skip(1).find(|word| !word.starts_with('-'));
    let keyspace = match &file {
        Some(path) => load(&fs::read(path).expect("a readable file"), true).expect("a snapshot"),
        None => populate(),
    };
    let saved = |options: &SaveOptions, room: usize| {
        let mut sink = Bytes(Vec::with_capacity(room));
        rdb::save(&mut sink, &keyspace, &Meta::default(), options, &mut |_| ()).expect("memory takes all");
        sink.0
    };
    let standard = SaveOptions::default();
    let bytes = saved(&standard, 0);
    if file.is_none() {
        let path = env::temp_dir().join("bench.rdb");
        fs::write(&path, &bytes).expect("a writable directory");
        println!("{} bytes in {}", bytes.len(), path.display());
    }
    let len = bytes.len();
    time("crc64", len, || crc64(0, &bytes));
    time("save", len, || saved(&standard, len));
    time("save, no compression", len, || saved(&SaveOptions { compress: false, ..standard }, 2 * len));
    time("save, no checksum", len, || saved(&SaveOptions { checksum: false, ..standard }, len));
    time("load", len, || load(&bytes, true));
    time("load, no checksum", len, || load(&bytes, false));
}
