//! Random changes against a sorted map, with everything believed of a table asserted on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use base::rng::Rng;

use super::*;
use crate::{Pair, Payload, Record, Word};

const SEED: HashSeed = HashSeed([0x5eed, 0xd1c7]);

/// A record without words, which only its stamp matters of.
type Stamped = Record<NoWord>;

#[derive(Debug)]
enum NoWord {}

// SAFETY: there is no such value.
unsafe impl Word for NoWord {
    fn split(self) -> (u8, u64) {
        match self {}
    }

    unsafe fn join(_: u8, _: u64) -> Self {
        unreachable!()
    }
}

fn key(n: u64) -> Vec<u8> {
    match n % 5 {
        0 => format!("{n}").into_bytes(),
        1 => format!("key:{n:012}").into_bytes(),
        2 => format!("a key that takes some thirty bytes {n}").into_bytes(),
        3 => [b"x".repeat(n as usize % 300), n.to_be_bytes().to_vec()].concat(),
        _ => n.to_le_bytes().to_vec(),
    }
}

fn check<E: Entry>(dict: &Dict<E>) {
    let (mut seen, mut marked, mut chained) = (0, 0, 0);
    for (number, table) in dict.tables.iter().enumerate() {
        for index in 0..table.count() {
            let bucket = table.bucket(index);
            if number == 0 && index < dict.moved {
                assert!(bucket.is_empty(), "moved buckets are empty");
            }
            let mut any_marked = false;
            chained += bucket.check_chain(|found, place| {
                // SAFETY: an occupied place of a borrowed dict.
                let entry = unsafe { &*place.entry().as_ptr() };
                let hash = dict.hash(entry.key());
                assert_eq!(found, tag(hash));
                assert_eq!(dict.home(hash), (number, index), "an entry is at home");
                seen += 1;
                marked += usize::from(entry.marked());
                any_marked |= entry.marked();
            });
            assert!(!any_marked || table.has_mark(index), "a bucket with marked entries has its bit");
        }
    }
    assert_eq!(seen, dict.len());
    assert_eq!(marked, dict.marked_len());
    assert_eq!(chained, dict.chained);
    assert!(dict.moved == 0 || dict.is_rehashing());
}

#[test]
fn an_empty_dict_allocates_nothing() {
    let mut dict = Dict::<Pair>::new(SEED);
    assert_eq!((dict.len(), dict.bytes(), dict.buckets()), (0, 0, 0));
    assert!(dict.get(b"").is_none() && dict.find(b"a").is_none() && dict.remove(b"b").is_none());
    assert_eq!(dict.iter().count(), 0);
    assert_eq!(dict.scan(0, |_| ()), 0);
    assert_eq!(dict.scan_marked(0, 10, |_| ()), 0);
    assert!(dict.random(&mut Rng::seeded(1)).is_none() && dict.random_marked(&mut Rng::seeded(1)).is_none());
    dict.prefetch(7);
    dict.prefetch_entry(7);
    dict.shrink_if_sparse();
    assert!(!dict.rehash_step(1));
}

#[test]
fn agrees_with_a_sorted_map_through_growth_and_decline() {
    let mut rng = Rng::seeded(42);
    let mut dict = Dict::new(SEED);
    let mut model = BTreeMap::new();
    for (phase, (range, insert_percent)) in
        [(40, 50), (3_000, 80), (3_000, 5), (20_000, 90), (20_000, 30), (20_000, 2), (10, 50)]
            .into_iter()
            .enumerate()
    {
        for round in 0..6_000u64 {
            let key = key(rng.below(range));
            let value = rng.next_u64().to_le_bytes();
            if rng.below(100) < insert_percent {
                let old = dict.insert(Pair::new(&key, &value));
                assert_eq!(old.map(|pair| pair.value().to_vec()), model.insert(key.clone(), value.to_vec()));
            } else {
                let old = dict.remove(&key);
                assert_eq!(old.map(|pair| pair.value().to_vec()), model.remove(&key));
            }
            let probe = self::key(rng.below(range));
            assert_eq!(dict.get(&probe).map(|pair| pair.value()), model.get(&probe).map(|value| &value[..]));
            assert_eq!(dict.len(), model.len());
            if round % 199 == 0 || model.len() < 30 {
                check(&dict);
                let found: BTreeMap<_, _> =
                    dict.iter().map(|pair| (pair.field().to_vec(), pair.value().to_vec())).collect();
                assert_eq!(found, model, "phase {phase}, round {round}");
                assert_eq!(dict.iter().len(), model.len());
            }
        }
    }
    while let Some(key) = model.keys().next().cloned() {
        assert!(dict.remove(&key).is_some());
        model.remove(&key);
        check(&dict);
    }
    assert!(dict.buckets() <= 1, "an emptied dict keeps nothing");
}

#[test]
fn long_chains_come_and_go() {
    let mut dict = Dict::new(SEED);
    dict.set_resize_allowed(false);
    for n in 0..220u64 {
        dict.insert(Pair::new(&key(n), b"v"));
        check(&dict);
    }
    assert!(dict.buckets() < 10, "a table that may not grow is crowded first");
    let mut rng = Rng::seeded(3);
    let mut left: Vec<u64> = (0..220).collect();
    rng.shuffle(&mut left);
    while let Some(n) = left.pop() {
        assert_eq!(dict.remove(&key(n)).unwrap().field(), key(n));
        check(&dict);
        assert!(left.iter().all(|&n| dict.contains(&key(n))));
    }
    assert_eq!(dict.chained, 0);
}

#[test]
fn a_table_is_about_seventeen_bytes_an_entry() {
    let mut dict = Dict::new(SEED);
    for n in 0..1_000_000u64 / 8 {
        dict.insert(Pair::new(&n.to_le_bytes(), b""));
    }
    while dict.rehash_step(100) {}
    let per_entry = dict.bytes() as f64 / dict.len() as f64;
    assert!(per_entry < 17.4, "{per_entry}");
}

#[test]
fn the_slots_of_an_entry_change_it_replace_it_and_remove_it() {
    let mut dict = Dict::new(SEED);
    let Slot::Vacant(vacant) = dict.entry(b"field") else { panic!("there is nothing yet") };
    let mut occupied = vacant.insert(Pair::new(b"field", b"one"));
    assert_eq!(occupied.get().value(), b"one");
    occupied.get_mut().set_value(&[b'x'; 1000]);
    assert_eq!(dict.get(b"field").unwrap().value(), [b'x'; 1000]);

    let Slot::Occupied(mut occupied) = dict.entry(b"field") else { panic!("it was put in") };
    assert_eq!(occupied.replace(Pair::new(b"field", b"two")).value(), [b'x'; 1000]);
    occupied.into_mut().set_value(b"three");
    assert_eq!(dict.find(b"field").unwrap().remove().value(), b"three");
    assert!(dict.is_empty());
}

#[test]
fn no_call_moves_more_than_a_few_buckets() {
    let mut dict = Dict::new(SEED);
    for n in 0..200_000u64 {
        let before = (dict.is_rehashing(), dict.moved);
        dict.insert(Pair::new(&n.to_le_bytes(), b""));
        if before.0 && dict.is_rehashing() {
            assert!(dict.moved - before.1 <= GROW_STEP * EMPTY_PER_BUCKET);
        }
    }
    for n in 0..200_000u64 {
        let before = (dict.is_rehashing(), dict.moved);
        dict.remove(&n.to_le_bytes());
        if before.0 && dict.is_rehashing() && dict.moved >= before.1 {
            assert!(dict.moved - before.1 <= SHRINK_STEP * EMPTY_PER_BUCKET);
        }
        let sparse = dict.len() * 10 < dict.tables[0].count();
        assert!(!sparse || dict.len() < 50, "decline keeps up: {} in {}", dict.len(), dict.buckets());
    }
}

#[test]
fn a_finished_table_is_handed_out() {
    let mut dict = Dict::new(SEED);
    let mut handed_out = 0;
    for n in 0..100_000u64 {
        dict.insert(Pair::new(&n.to_le_bytes(), b""));
        handed_out += usize::from(dict.take_retired().is_some());
    }
    assert!(handed_out >= 3, "{handed_out}");
    assert!(dict.take_retired().is_none());
}

#[test]
fn what_others_free_may_go_to_another_thread() {
    fn goes_to_threads<T: Send>() {}
    goes_to_threads::<Retired>();
    goes_to_threads::<Dict<Stamped>>();
}

#[test]
fn room_is_made_at_once() {
    let mut dict = Dict::new(SEED);
    dict.reserve(10_000);
    let buckets = dict.buckets();
    for n in 0..10_000u64 {
        dict.insert(Pair::new(&n.to_le_bytes(), b""));
        assert!(!dict.is_rehashing());
    }
    assert_eq!(dict.buckets(), buckets);
    dict.reserve(100_000);
    assert!(dict.is_rehashing());
    while dict.rehash_step(7) {}
    check(&dict);
}

#[test]
fn a_scan_sees_all_that_stays_while_the_table_grows_and_shrinks() {
    let mut rng = Rng::seeded(9);
    for trial in 0..60 {
        let mut dict = Dict::new(SEED);
        let stays = 1 + rng.below(3_000);
        for n in 0..stays {
            dict.insert(Pair::new(&key(n), b"stays"));
        }
        let extra = rng.below(20_000);
        let growing = trial % 2 == 0;
        if !growing {
            (0..extra).for_each(|n| drop(dict.insert(Pair::new(&key(1_000_000 + n), b"goes"))));
        }
        let (mut cursor, mut changed, mut seen) = (0, 0, BTreeSet::new());
        for call in 0.. {
            cursor = dict.scan(cursor, |pair| seen.extend([pair.field().to_vec()]));
            if cursor == 0 {
                break;
            }
            assert!(call < 100_000, "a scan comes to its end");
            for _ in 0..rng.below(60) {
                if changed < extra {
                    let key = key(1_000_000 + changed);
                    if growing {
                        dict.insert(Pair::new(&key, b"comes"));
                    } else {
                        dict.remove(&key);
                    }
                    changed += 1;
                }
            }
            if rng.below(10) == 0 {
                dict.rehash_step(rng.below(50) as usize);
            }
        }
        for n in 0..stays {
            assert!(seen.contains(&key(n)), "trial {trial}: {n} of {stays} was missed");
        }
    }
}

#[test]
fn a_scan_of_a_quiet_dict_sees_each_entry_once() {
    let mut dict = Dict::new(SEED);
    (0..5_000).for_each(|n| drop(dict.insert(Pair::new(&key(n), b""))));
    while dict.rehash_step(100) {}
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        cursor = dict.scan(cursor, |pair| seen.push(pair.field().to_vec()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 5_000);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 5_000);
}

#[test]
fn chance_is_fair() {
    let mut rng = Rng::seeded(5);
    for len in [1, 2, 7, 100, 433] {
        let mut dict = Dict::new(SEED);
        (0..len).for_each(|n| drop(dict.insert(Pair::new(&key(n), b""))));
        let mut counts = BTreeMap::<Vec<u8>, u64>::new();
        for _ in 0..len * 400 {
            *counts.entry(dict.random(&mut rng).unwrap().field().to_vec()).or_default() += 1;
        }
        assert_eq!(counts.len() as u64, len);
        assert!(counts.values().all(|count| (300..=500).contains(count)), "{len}: {counts:?}");
    }
}

#[test]
fn chance_is_fair_while_the_table_is_resized() {
    let mut rng = Rng::seeded(8);
    let mut dict = Dict::new(SEED);
    (0..300).for_each(|n| drop(dict.insert(Pair::new(&key(n), b""))));
    while dict.rehash_step(1) {}
    for (growing, buckets) in [(true, 256), (false, 64)] {
        dict.resize(buckets);
        for _ in 0..6 {
            let mut counts = BTreeMap::<Vec<u8>, u64>::new();
            for _ in 0..300 * 300 {
                *counts.entry(dict.random(&mut rng).unwrap().field().to_vec()).or_default() += 1;
            }
            assert_eq!(counts.len(), 300);
            assert!(counts.values().all(|count| (220..=380).contains(count)), "{growing}: {counts:?}");
            assert_eq!(dict.sample(300, &mut rng, |_| ()), 300);
            dict.rehash_step(if growing { 12 } else { 45 });
        }
        while dict.rehash_step(1) {}
    }
}

#[test]
fn samples_are_as_many_as_asked_for() {
    let mut rng = Rng::seeded(6);
    let mut dict = Dict::new(SEED);
    let mut seen = BTreeSet::new();
    for n in 0..3_000 {
        dict.insert(Pair::new(&key(n), b""));
        let mut count = 0;
        let given = dict.sample(5, &mut rng, |pair| {
            seen.insert(pair.field().to_vec());
            count += 1;
        });
        assert_eq!(given, count);
        assert_eq!(given, 5.min(dict.len()));
    }
    assert!(seen.len() > 2_000, "{}", seen.len());
    assert_eq!(dict.sample(0, &mut rng, |_| panic!("none was asked for")), 0);
    while dict.rehash_step(100) {}
    assert_eq!(dict.sample(usize::MAX, &mut rng, |_| ()), 3_000);
}

#[test]
fn marks_are_found_wherever_they_move() {
    let mut rng = Rng::seeded(77);
    let mut dict = Dict::<Stamped>::new(SEED);
    let mut model = BTreeMap::<Vec<u8>, Option<i64>>::new();
    for round in 0..30_000u64 {
        let range = if round < 20_000 { 4_000 } else { 300 };
        let key = key(rng.below(range));
        let stamp = (rng.below(3) == 0).then_some(round as i64);
        match rng.below(10) {
            0..4 => {
                dict.insert(Record::with_bytes(&key, b"value", stamp));
                model.insert(key, stamp);
            }
            4..7 => {
                if let Some(mut occupied) = dict.find(&key) {
                    occupied.get_mut().set_stamp(stamp);
                    occupied.update_mark();
                    model.insert(key, stamp);
                }
            }
            _ => {
                let old = if rng.below(2) == 0 || round < 20_000 {
                    key
                } else {
                    model.keys().next().cloned().unwrap_or_default()
                };
                assert_eq!(dict.remove(&old).is_some(), model.remove(&old).is_some());
            }
        }
        let marked = model.values().flatten().count();
        assert_eq!(dict.marked_len(), marked);
        if round % 211 != 0 {
            continue;
        }
        check(&dict);

        let expected: BTreeSet<_> =
            model.iter().filter(|(_, stamp)| stamp.is_some()).map(|(key, _)| key.clone()).collect();
        let (mut cursor, mut seen) = (0, BTreeSet::new());
        loop {
            let max_buckets = 1 + rng.below(20) as usize;
            cursor = dict.scan_marked(cursor, max_buckets, |record| seen.extend([record.key().to_vec()]));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, expected);
        check(&dict);

        let n = rng.below(30) as usize;
        let mut sampled = 0;
        let given = dict.sample_marked(n, &mut rng, |record| {
            assert!(record.stamp().is_some());
            sampled += 1;
        });
        assert_eq!((given, sampled), (n.min(marked), n.min(marked)));
        assert_eq!(dict.random_marked(&mut rng).is_some(), marked > 0);
        assert_eq!(dict.sample_marked(usize::MAX, &mut rng, |_| ()), marked);
    }
}

#[test]
fn a_lonely_mark_is_found_among_many() {
    let mut dict = Dict::<Stamped>::new(SEED);
    for n in 0..50_000u64 {
        dict.insert(Record::with_bytes(&key(n), b"", None));
    }
    dict.insert(Record::with_bytes(b"lonely", b"", Some(1)));
    let mut rng = Rng::seeded(1);
    for _ in 0..100 {
        assert_eq!(dict.random_marked(&mut rng).unwrap().key(), b"lonely");
    }
    let (mut calls, mut cursor, mut found) = (0, 0, 0);
    loop {
        cursor = dict.scan_marked(cursor, 16, |_| found += 1);
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(found, 1);
    assert!(calls < 10, "{calls}");
}

#[test]
fn dropping_a_dict_drops_each_entry_once() {
    static ALIVE: AtomicI64 = AtomicI64::new(0);
    #[derive(Debug)]
    struct Counted(u32);
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    // SAFETY: the number is given up and taken back whole.
    unsafe impl Word for Counted {
        fn split(self) -> (u8, u64) {
            let number = self.0;
            std::mem::forget(self);
            (3, u64::from(number))
        }

        unsafe fn join(_: u8, bits: u64) -> Self {
            Counted(bits as u32)
        }
    }
    let mut dict = Dict::new(SEED);
    for n in 0..10_000u32 {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        dict.insert(Record::with_word(&key(u64::from(n)), Counted(n), None));
    }
    for n in 0..2_000 {
        dict.remove(&key(n));
    }
    assert_eq!(ALIVE.load(Ordering::Relaxed), 8_000);
    for n in 2_000..10_000u32 {
        let Payload::Word(word) = dict.get(&key(u64::from(n))).unwrap().payload() else {
            panic!("a word was put in")
        };
        assert_eq!(word.0, n);
    }
    assert_eq!(ALIVE.load(Ordering::Relaxed), 8_000);
    drop(dict);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

#[test]
fn a_copy_has_all_entries_and_its_own() {
    for len in [0, 1, 7, 100, 5000] {
        let mut dict: Dict<Pair> = Dict::new(SEED);
        for n in 0..len {
            dict.insert(Pair::new(&key(n), b"value"));
        }
        // Taken while entries are being moved, too.
        for n in 0..len / 3 {
            dict.remove(&key(n));
        }
        let mut copy = dict.clone();
        check(&copy);
        assert_eq!(copy.len(), dict.len());
        assert!(dict.iter().all(|pair| copy.get(pair.field()) == Some(pair)));
        if let Some(pair) = copy.get_mut(&key(len.saturating_sub(1))) {
            pair.set_value(b"another");
            assert_eq!(dict.get(&key(len - 1)).unwrap().value(), b"value");
        }
    }
}
