//! Whole snapshots: there and back, cut short, bent, and as other servers wrote them.

use std::collections::BTreeMap;

use base::crc64::crc64;
use base::hash::HashSeed;
use base::rng::Rng;
use keyspace::keys::encoding_of;
use keyspace::load::text_entry;
use keyspace::{Entry, Hash, Keyspace, Limits, List, Set, Text, Value, ZSet};
use structures::{Fill, Item as Element, Payload};

use crate::ziplist::tests::ziplist;
use crate::{
    Context, ErrorKind, Item, LoadError, LoadOptions, Loader, Meta, RestoreError, SaveOptions, Sink,
    SinkError, check, dump, restore, save,
};

const SEED: HashSeed = HashSeed([7, 8]);

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn context() -> Context {
    Context { limits: Limits::default(), seed: SEED }
}

fn random_text(rng: &mut Rng, most: u64) -> Vec<u8> {
    match rng.below(6) {
        0 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into_bytes(),
        1 => vec![b'a' + rng.below(4) as u8; rng.below(most) as usize],
        2 => format!("field:{}", rng.below(1000)).into_bytes().repeat(1 + rng.below(4) as usize),
        _ => (0..rng.below(most.min(40))).map(|_| rng.next_u64() as u8).collect(),
    }
}

/// Returns a value of any type in any encoding.
fn random_value(rng: &mut Rng, limits: &Limits) -> Option<Value> {
    let size = rng.below(3) as usize;
    let count = 1 + rng.below([3, 40, 700][size]);
    let most = if rng.below(3) == 0 { 300 } else { 20 };
    Some(match rng.below(5) {
        0 => return None,
        1 => {
            let fill = Fill::new(i64::from(limits.list_size));
            let mut list = List::new();
            for _ in 0..count {
                let text = if rng.below(300) == 0 { vec![b'l'; 20_000] } else { random_text(rng, most) };
                list.reserve(fill, text.len(), 1);
                list.push(keyspace::list::End::Right, &text);
            }
            Value::List(list)
        }
        2 => {
            let mut set = Set::new();
            let ints = rng.below(2) == 0;
            for _ in 0..count {
                let text =
                    if ints { rng.below(100_000).to_string().into_bytes() } else { random_text(rng, most) };
                set.add(&text, limits, SEED);
            }
            Value::Set(set)
        }
        3 => {
            let mut hash = Hash::new();
            for _ in 0..count {
                let (field, value) = (random_text(rng, most), random_text(rng, most));
                hash.fit([&field[..], &value], limits, SEED);
                hash.set(&field, &value, limits, SEED);
            }
            Value::Hash(hash)
        }
        _ => {
            let mut zset = ZSet::new();
            for _ in 0..count {
                let score = match rng.below(4) {
                    0 => rng.below(10) as f64,
                    1 => f64::INFINITY,
                    _ => rng.float() * 1e6,
                };
                zset.insert(&random_text(rng, most), score, limits, SEED);
            }
            Value::ZSet(zset)
        }
    })
}

fn random_keyspace(rng: &mut Rng, keys: u64) -> Keyspace {
    let mut keyspace = Keyspace::new(16, 3);
    for number in 0..keys {
        let key = [format!("{number}:").into_bytes(), random_text(rng, 60)].concat();
        let stamp = (rng.below(3) == 0).then(|| rng.below(1 << 42) as i64);
        let entry = match random_value(rng, &Limits::default()) {
            Some(value) => Entry::with_word(&key, value, stamp),
            None => text_entry(&key, &random_text(rng, 5000), stamp),
        };
        keyspace.load([0, 0, 0, 9][rng.below(4) as usize], entry).expect("keys are numbered");
    }
    keyspace
}

/// Returns a value's encoding and its elements, in their order where they have one.
fn shape(entry: &Entry) -> (&'static str, Vec<Vec<u8>>) {
    let mut parts = match Text::of(entry) {
        Ok(text) => vec![text.to_vec()],
        Err(_) => {
            let Payload::Word(word) = entry.payload() else { unreachable!("no string") };
            let mut parts: Vec<Vec<u8>> = match &*word {
                Value::List(list) => return (encoding_of(entry), list.iter().map(|e| e.to_vec()).collect()),
                Value::Set(set) => set.iter().map(|e| e.to_vec()).collect(),
                Value::Hash(hash) => {
                    hash.iter().map(|(f, v)| [f.to_vec(), b" -> ".to_vec(), v.to_vec()].concat()).collect()
                }
                Value::ZSet(zset) => {
                    zset.iter().map(|(m, s)| [s.to_le_bytes().to_vec(), m.to_vec()].concat()).collect()
                }
                Value::Int(_) | Value::Text(_) => unreachable!("strings are above"),
            };
            parts.sort();
            parts
        }
    };
    parts.shrink_to_fit();
    (encoding_of(entry), parts)
}

type Shapes = BTreeMap<(usize, Vec<u8>), (Option<i64>, (&'static str, Vec<Vec<u8>>))>;

fn shapes(keyspace: &Keyspace) -> Shapes {
    let mut all = Shapes::new();
    for (number, db) in keyspace.dbs.iter().enumerate() {
        for entry in &db.table {
            all.insert((number, entry.key().to_vec()), (entry.stamp(), shape(entry)));
        }
    }
    all
}

/// Loads a snapshot that arrives `piece` bytes at a time.
fn load(bytes: &[u8], piece: usize) -> Result<Keyspace, LoadError> {
    let mut keyspace = Keyspace::new(16, 4);
    let context = Context { limits: Limits::default(), seed: keyspace.seed };
    let mut loader = Loader::new(context, LoadOptions::default());
    let (mut start, mut end, mut db) = (0, 0, 0);
    while !loader.is_done() {
        if end == bytes.len() {
            loader.end_of_input()?;
        }
        end = (end + piece).max(start + loader.needs()).min(bytes.len());
        let taken = loader.parse(&bytes[start..end], &mut |item| {
            match item {
                Item::Select(number) if number >= 16 => return Err(LoadError::refused("too many databases")),
                Item::Select(number) => db = number,
                Item::Resize { keys, stamped } => {
                    assert!(keys.max(stamped) <= bytes.len(), "no more keys than bytes");
                    keyspace.reserve(db, keys);
                }
                Item::Entry(entry) => {
                    keyspace.load(db, entry).map_err(|_| LoadError::refused("a key comes twice"))?;
                }
                Item::Aux(..) | Item::Function(_) | Item::Checksum(_) | Item::End => {}
            }
            Ok(())
        })?;
        start += taken;
        assert_eq!(loader.offset(), start as u64);
    }
    Ok(keyspace)
}

fn saved(keyspace: &Keyspace, options: &SaveOptions) -> Vec<u8> {
    let mut sink = Bytes(Vec::new());
    let meta = Meta {
        aux: vec![("redis-ver", "7.0.15".into()), ("redis-bits", "64".into())],
        aof_base: false,
        functions: vec![b"#!lua name=lib".as_slice().into()],
    };
    let summary = save(&mut sink, keyspace, &meta, options, &mut |_| ()).expect("memory takes all");
    assert_eq!(summary.bytes, sink.0.len() as u64);
    sink.0
}

/// Returns a snapshot of one key `k`, of a value as it is written.
fn snapshot_of(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = [b"REDIS0010\xfe\x00".as_slice(), &[number, 1, b'k'], value, &[0xff]].concat();
    let crc = crc64(0, &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Returns a string as it is written without compression.
fn raw(text: &[u8]) -> Vec<u8> {
    [&[0x80][..], &(text.len() as u32).to_be_bytes(), text].concat()
}

fn only(bytes: &[u8]) -> (&'static str, Vec<Vec<u8>>) {
    let shapes = shapes(&load(bytes, 1 << 20).expect("well-formed"));
    assert_eq!(shapes.len(), 1);
    shapes.into_values().next().expect("there is one").1
}

#[test]
fn every_value_comes_back_as_it_was() {
    let mut rng = Rng::seeded(1);
    for round in 0..12 {
        let keyspace = random_keyspace(&mut rng, 150);
        let options = SaveOptions {
            version: [10, 11, 12][round % 3],
            compress: round % 2 == 0,
            checksum: round % 4 < 2,
            ..SaveOptions::default()
        };
        let bytes = saved(&keyspace, &options);
        let expected = shapes(&keyspace);
        for piece in [1 << 20, 4096, 7] {
            assert_eq!(shapes(&load(&bytes, piece).expect("just saved")), expected);
        }
    }
}

#[test]
fn a_value_comes_back_from_its_dump() {
    let mut rng = Rng::seeded(2);
    let keyspace = random_keyspace(&mut rng, 400);
    for entry in &keyspace.dbs[0].table {
        for version in [10, 11] {
            let payload = dump(entry, version);
            let back = restore(&payload, entry.key(), entry.stamp(), &context()).expect("just dumped");
            assert_eq!((shape(&back), back.stamp()), (shape(entry), entry.stamp()));
            let at = rng.below(payload.len() as u64) as usize;
            let mut bent = payload.clone();
            bent[at] ^= 1;
            assert_eq!(restore(&bent, b"k", None, &context()).err(), Some(RestoreError::Checksum));
            // With the right checksum anything may come of it, but no harm.
            let summed = bent.len() - 8;
            let crc = crc64(0, &bent[..summed]);
            bent[summed..].copy_from_slice(&crc.to_le_bytes());
            let _ = restore(&bent, b"k", None, &context());
        }
    }
    assert_eq!(restore(b"short", b"k", None, &context()).err(), Some(RestoreError::Checksum));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let mut rng = Rng::seeded(3);
    let bytes = saved(&random_keyspace(&mut rng, 30), &SaveOptions::default());
    let bytes = if bytes.len() > 40_000 {
        saved(&random_keyspace(&mut rng, 5), &SaveOptions::default())
    } else {
        bytes
    };
    for cut in 0..bytes.len() {
        assert!(load(&bytes[..cut], 1 << 20).is_err(), "cut at {cut}");
    }
    let step = 1 + bytes.len() * 8 / 20_000;
    for bit in (0..bytes.len() * 8).step_by(step).chain(0..200) {
        let mut bent = bytes.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(load(&bent, 1 << 20).is_err(), "bit {bit}");
        let mut checker = check::Checker::new(Limits::default(), 0, Some(bent.len() as u64));
        checker.feed(&bent);
        assert!(checker.finish().error.is_some());
    }
}

#[test]
fn bent_bytes_with_a_right_checksum_do_no_harm() {
    let mut rng = Rng::seeded(4);
    let mut accepted = 0;
    for _ in 0..60 {
        let bytes =
            saved(&random_keyspace(&mut rng, 6), &SaveOptions { compress: false, ..SaveOptions::default() });
        for _ in 0..60 {
            let mut bent = bytes.clone();
            for _ in 0..=rng.below(3) {
                let at = 9 + rng.below(bent.len() as u64 - 17) as usize;
                bent[at] = rng.next_u64() as u8;
            }
            let summed = bent.len() - 8;
            let crc = crc64(0, &bent[..summed]);
            bent[summed..].copy_from_slice(&crc.to_le_bytes());
            // What is accepted is whole: it can be saved and comes back.
            if let Ok(keyspace) = load(&bent, 1 << 20) {
                accepted += 1;
                let again = load(&saved(&keyspace, &SaveOptions::default()), 999).expect("just saved");
                assert_eq!(shapes(&again), shapes(&keyspace));
            }
        }
    }
    assert!(accepted > 300, "{accepted}");
}

#[test]
fn encodings_of_older_versions_are_read() {
    let texts = |texts: &[&str]| -> Vec<Vec<u8>> { texts.iter().map(|t| t.as_bytes().to_vec()).collect() };
    let pairs = [Element::Bytes(b"f"), Element::Int(1), Element::Int(5), Element::Bytes(b"v")];
    let list = [[2].as_slice(), &raw(b"a"), &raw(b"12")].concat();
    assert_eq!(only(&snapshot_of(1, &list)), ("listpack", texts(&["a", "12"])));
    assert_eq!(only(&snapshot_of(2, &list)), ("listpack", texts(&["12", "a"])));
    assert_eq!(only(&snapshot_of(10, &raw(&ziplist(&pairs)))), ("listpack", texts(&["f", "1", "5", "v"])));
    let nodes = [[2].as_slice(), &raw(&ziplist(&pairs)), &raw(&ziplist(&pairs[..1]))].concat();
    assert_eq!(only(&snapshot_of(14, &nodes)), ("quicklist", texts(&["f", "1", "5", "v", "f"])));
    assert_eq!(only(&snapshot_of(13, &raw(&ziplist(&pairs)))), ("listpack", texts(&["5 -> v", "f -> 1"])));
    assert_eq!(only(&snapshot_of(9, &raw(b"\x01\x01f\x01\x00v\xff"))), ("listpack", texts(&["f -> v"])));
    let scored = [Element::Bytes(b"a"), Element::Bytes(b"-1.5"), Element::Bytes(b"b"), Element::Int(3)];
    let score = |score: f64, member: &str| [score.to_le_bytes().to_vec(), member.into()].concat();
    let expected = vec![score(-1.5, "a"), score(3.0, "b")];
    let sorted = |mut parts: Vec<Vec<u8>>| {
        parts.sort();
        parts
    };
    assert_eq!(only(&snapshot_of(12, &raw(&ziplist(&scored)))), ("listpack", sorted(expected.clone())));
    let text_scores = [[2].as_slice(), &raw(b"b"), b"\x013", &raw(b"a"), b"\x04-1.5"].concat();
    assert_eq!(only(&snapshot_of(3, &text_scores)), ("listpack", sorted(expected)));
    let infinite = [[2].as_slice(), &raw(b"b"), b"\xff", &raw(b"a"), b"\xfe"].concat();
    let expected = vec![score(f64::NEG_INFINITY, "b"), score(f64::INFINITY, "a")];
    assert_eq!(only(&snapshot_of(3, &infinite)), ("listpack", sorted(expected)));
    // The first versions have no checksum, and count expiries in seconds.
    let old = load(b"REDIS0003\xfe\x02\xfd\x64\x00\x00\x00\x00\x01k\x01v\xff", 3).expect("well-formed");
    assert_eq!(shapes(&old)[&(2, b"k".to_vec())].0, Some(100_000));
    let valkey =
        load(b"VALKEY080\xf4\x01\x02\x03\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0", 9).expect("well-formed");
    assert_eq!(valkey.dbs[0].len(), 1);
}

#[test]
fn what_is_not_supported_is_named_with_its_place() {
    let message = |bytes: &[u8]| load(bytes, 1 << 20).err().expect("refused").to_string();
    assert_eq!(message(&snapshot_of(15, b"")), "value type 15 (stream) is not supported at offset 11");
    assert_eq!(message(&snapshot_of(7, b"")), "value type 7 (module value) is not supported at offset 11");
    assert!(message(&snapshot_of(22, b"")).starts_with("value type 22 (hash with expiring fields)"));
    assert!(
        message(b"REDIS0010\xf7\x00").starts_with("opcode 247 (module data) is not supported at offset 9")
    );
    assert_eq!(message(b"REDIS0099\xff"), "version 99 is not known at offset 0");
    assert_eq!(message(b"VALKEY010\xff"), "version 10 is not known at offset 0");
    assert!(message(b"NOTREDIS!").starts_with("not a snapshot"));
    assert_eq!(message(b"REDIS0010"), "the snapshot ends too early at offset 9");
    let bytes = snapshot_of(0, b"\x01v");
    assert!(
        message(&[&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat()).contains("checksum")
    );
}

#[test]
fn wrong_values_are_refused() {
    let what = |number: u8, value: &[u8]| load(&snapshot_of(number, value), 1 << 20).err().map(|e| e.what);
    let twice = [[2].as_slice(), &raw(b"a"), &raw(b"a")].concat();
    assert_eq!(what(2, &twice), Some(ErrorKind::Repeated(2)));
    let pairs = [[2].as_slice(), &raw(b"a"), &raw(b"1"), &raw(b"a"), &raw(b"2")].concat();
    assert_eq!(what(4, &pairs), Some(ErrorKind::Repeated(4)));
    let nan = [[1].as_slice(), &raw(b"a"), &f64::NAN.to_le_bytes()].concat();
    assert_eq!(what(5, &nan), Some(ErrorKind::Malformed(5)));
    let scored = [Element::Bytes(b"a"), Element::Int(2), Element::Bytes(b"b"), Element::Int(1)];
    assert_eq!(what(12, &raw(&ziplist(&scored))), Some(ErrorKind::Malformed(12)));
    assert_eq!(what(13, &raw(&ziplist(&scored[..3]))), Some(ErrorKind::Malformed(13)));
    let many: Vec<_> = (0..300).chain([7]).flat_map(|n| [raw(n.to_string().as_bytes()), raw(b"v")]).collect();
    let count = (301u32 | 0x4000).to_be_bytes();
    assert_eq!(what(4, &[&count[2..], &many.concat()].concat()), Some(ErrorKind::Repeated(4)));
    // Claims of more than there is.
    let huge = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for number in [0, 1, 2, 3, 4, 5, 14, 16, 18] {
        assert!(what(number, &huge).is_some(), "{number}");
    }
    assert_eq!(what(0, &[&[0xc3, 1][..], &huge].concat()), Some(ErrorKind::Compression));
    // Where the end is known, nobody waits for what cannot come.
    let options = LoadOptions { input_len: Some(1000), ..LoadOptions::default() };
    let bytes = snapshot_of(0, &[&[0x80, 0, 0, 4][..], &[0; 100]].concat());
    let error =
        Loader::new(context(), options).parse(&bytes, &mut |_| Ok(())).expect_err("1024 bytes of 1000");
    assert_eq!(error, LoadError { offset: 11, what: ErrorKind::Truncated });
    // Keys without elements are passed over.
    assert_eq!(load(&snapshot_of(2, &[0]), 5).expect("well-formed").dbs[0].len(), 0);
}

#[test]
fn a_sink_that_fails_ends_the_saving() {
    struct Full(usize);
    impl Sink for Full {
        fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
            assert!(self.0 > 0, "not called again");
            self.0 = self.0.saturating_sub(bytes.len());
            if self.0 > 0 { Ok(()) } else { Err(SinkError { reason: "No space left on device".into() }) }
        }
    }
    let keyspace = random_keyspace(&mut Rng::seeded(9), 400);
    for room in [1, 100_000] {
        let error = save(&mut Full(room), &keyspace, &Meta::default(), &SaveOptions::default(), &mut |_| ());
        assert_eq!(error, Err(SinkError { reason: "No space left on device".into() }));
    }
}

#[test]
fn a_report_counts_what_is_there() {
    let mut rng = Rng::seeded(11);
    let keyspace = random_keyspace(&mut rng, 300);
    let bytes = saved(&keyspace, &SaveOptions::default());
    let mut checker = check::Checker::new(Limits::default(), 1 << 41, None);
    let (mut start, mut end) = (0, 0);
    while !checker.is_done() && end < bytes.len() {
        end = (end + 1000).max(start + checker.needs()).min(bytes.len());
        start += checker.feed(&bytes[start..end]);
    }
    let report = checker.finish();
    let all = shapes(&keyspace);
    assert_eq!((report.error, report.keys, report.version), (None, 300, 10));
    assert_eq!(report.with_expiry, all.values().filter(|(stamp, _)| stamp.is_some()).count() as u64);
    assert_eq!(
        report.expired,
        all.values().filter(|(stamp, _)| stamp.is_some_and(|at| at <= 1 << 41)).count() as u64
    );
    assert_eq!(report.kinds.values().map(|tally| tally.keys).sum::<u64>(), 300);
    assert_eq!((report.databases.len(), report.functions, report.largest.len()), (2, 1, 10));
    assert!(report.largest.is_sorted_by(|a, b| a.memory >= b.memory));
    assert_eq!(report.aux[0], ("redis-ver".into(), "7.0.15".into()));
}
