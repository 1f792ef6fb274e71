//! Random changes under a clock that jumps, against a map that knows what must come of them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use base::rng::Rng;
use keyspace::db::Aging;
use keyspace::evict::{Order, Scope};
use keyspace::keys::{duplicate, rename};
use keyspace::{Class, Hash, Keys, Keyspace, Kind, List, Listening, Stamp, Text};

const DBS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
enum Held {
    Text(Vec<u8>),
    /// A hash with so many fields.
    Hash(usize),
    /// An empty list cannot be: this one holds a single element.
    List,
}

/// What a database must hold: values with their expiries, the expired ones as long as nobody has met them.
type Model = BTreeMap<Vec<u8>, (Held, Option<i64>)>;

struct Pair {
    space: Keyspace,
    models: Vec<Model>,
    rng: Rng,
    now_ms: i64,
    db: usize,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut space = Keyspace::new(DBS, seed);
        for bit in [Listening::NOTIFY, Listening::PROPAGATE] {
            space.recorder.listening.set(bit, true);
        }
        let models = vec![Model::new(); DBS];
        Pair { space, models, rng: Rng::seeded(seed), now_ms: 1_000_000, db: 0 }
    }

    fn keys(&mut self) -> Keys<'_> {
        Keys::new(&mut self.space, self.db, self.now_ms, false)
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(150);
        match n % 3 {
            0 => format!("{n}").into_bytes(),
            1 => format!("key:{n:020}").into_bytes(),
            _ => [&b"\0\xff"[..], &n.to_le_bytes()].concat(),
        }
    }

    fn text(&mut self) -> Vec<u8> {
        match self.rng.below(5) {
            0 => b"12345".to_vec(),
            1 => Vec::new(),
            2 => vec![b'x'; 3000],
            n => vec![b'y'; self.rng.below(20 * n) as usize],
        }
    }

    /// Returns what a live key must hold; an expired one is forgotten, as whoever asks deletes it.
    fn expected(&mut self, key: &[u8]) -> Option<(Held, Option<i64>)> {
        let now_ms = self.now_ms;
        let model = &mut self.models[self.db];
        if model.get(key).is_some_and(|(_, at)| at.is_some_and(|at| at <= now_ms)) {
            model.remove(key);
        }
        model.get(key).cloned()
    }

    fn stamp(&mut self) -> Option<i64> {
        let ms = self.rng.below(200) as i64;
        (ms % 3 > 0).then(|| self.now_ms + ms)
    }

    fn step(&mut self) {
        let key = self.key();
        let expected = self.expected(&key);
        let expired = self.space.recorder.expired;
        let choice = self.rng.below(14);
        if choice >= 8 {
            // Not all of these meet the key by themselves.
            self.keys().exists(&key);
        }
        match choice {
            0..=2 => {
                let (text, at) = (self.text(), self.stamp());
                let stamp = match self.rng.below(3) {
                    0 => Stamp::Keep,
                    1 => Stamp::Clear,
                    _ => at.map_or(Stamp::Clear, Stamp::At),
                };
                self.keys().set_text(&key, &text, stamp);
                let at = match stamp {
                    Stamp::Keep => expected.and_then(|(_, at)| at),
                    Stamp::Clear => None,
                    Stamp::At(at) => Some(at),
                };
                self.models[self.db].insert(key, (Held::Text(text), at));
            }
            3 => {
                let at = self.stamp();
                let there = self.keys().set_stamp(&key, at);
                assert_eq!(there, expected.is_some());
                if let Some((held, _)) = expected {
                    self.models[self.db].insert(key, (held, at));
                }
            }
            4 => {
                let lazy = self.rng.below(2) == 0;
                let dirty = self.space.recorder.dirty;
                let deleted = self.keys().delete(&key, "del", lazy);
                assert_eq!(deleted, expected.is_some());
                assert_eq!(self.space.recorder.dirty - dirty, u64::from(deleted));
                self.models[self.db].remove(&key);
            }
            5 => {
                let result = self.keys().edit_or_create::<Hash>(&key).map(|mut hash| {
                    let (limits, seed) = (Default::default(), base::hash::HashSeed([1, 2]));
                    let field = hash.len();
                    hash.set(format!("field {field}").as_bytes(), b"value", &limits, seed);
                    hash.changed("hset");
                });
                match expected {
                    None => _ = self.models[self.db].insert(key, (Held::Hash(1), None)),
                    Some((Held::Hash(fields), at)) => {
                        self.models[self.db].insert(key, (Held::Hash(fields + 1), at));
                    }
                    Some(_) => assert!(result.is_err()),
                }
            }
            6 => {
                // What is left empty is gone, an event later.
                let emptied = match self.keys().edit::<List>(&key) {
                    Ok(Some(mut list)) => {
                        list.take();
                        list.changed("lpop");
                        true
                    }
                    _ => false,
                };
                assert_eq!(emptied, matches!(expected, Some((Held::List, _))));
                if emptied {
                    let events: Vec<_> =
                        self.space.recorder.changes.iter().rev().map(|c| c.event).take(2).collect();
                    assert_eq!(events, ["del", "lpop"]);
                    self.models[self.db].remove(&key);
                }
            }
            7 => {
                let mut list = List::new();
                list.push(keyspace::list::End::Right, b"element");
                self.keys().set_value(&key, list.wrap(), Stamp::Clear);
                self.models[self.db].insert(key, (Held::List, None));
            }
            8 => {
                let new = self.key();
                let _ = self.expected(&new);
                let mut keys = self.keys();
                keys.exists(&new);
                if new != key
                    && let Some(entry) = keys.take(&key)
                {
                    drop(keys.take(&new));
                    keys.put(rename(entry, &new));
                    let moved = self.models[self.db].remove(&key).expect("what was there is known");
                    self.models[self.db].insert(new, moved);
                }
            }
            9 => {
                let (to, from) = (self.rng.below(DBS as u64) as usize, self.db);
                if to != from
                    && let Some(copied) = expected
                {
                    let mut keys = self.keys();
                    let entry = keys.live(&key).expect("as expected");
                    let copy = duplicate(entry, &key, entry.stamp());
                    let mut there = keys.other(to);
                    drop(there.take(&key));
                    there.put(copy);
                    self.models[to].insert(key, copied);
                }
            }
            10 => self.now_ms += self.rng.below(30) as i64,
            11 => self.db = self.rng.below(DBS as u64) as usize,
            12 => {
                self.space.expire_step(self.db, self.now_ms, 1 + self.rng.below(20) as usize);
                self.forget_deleted();
            }
            _ => {
                self.check_key(&key, expected.as_ref());
                return;
            }
        }
        assert!(self.space.recorder.expired >= expired);
        if self.space.recorder.changes.len() > 1000 {
            self.space.recorder.changes.clear();
        }
    }

    /// Forgets the expired keys that the keyspace has deleted, and only such.
    fn forget_deleted(&mut self) {
        let (table, now_ms) = (&self.space.dbs[self.db].table, self.now_ms);
        self.models[self.db].retain(|key, (_, at)| {
            let there = table.contains(key);
            assert!(there || at.is_some_and(|at| at <= now_ms), "only what is due is deleted");
            there
        });
    }

    fn check_key(&mut self, key: &[u8], expected: Option<&(Held, Option<i64>)>) {
        let mut keys = self.keys();
        let at = keys.inspect(key).map(|entry| entry.stamp());
        assert_eq!(at, expected.map(|(_, at)| *at));
        assert_eq!(keys.exists(key), expected.is_some());
        match expected.map(|(held, _)| held) {
            None => assert!(keys.text(key).unwrap().is_none()),
            Some(Held::Text(text)) => {
                assert_eq!(keys.text(key).unwrap().map(Text::to_vec).as_deref(), Some(&**text))
            }
            Some(Held::Hash(fields)) => {
                assert_eq!(keys.read::<Hash>(key).unwrap().unwrap().len(), *fields);
                assert!(keys.text(key).is_err());
            }
            Some(Held::List) => assert_eq!(keys.read::<List>(key).unwrap().unwrap().len(), 1),
        }
    }

    /// Compares all databases, then meets every key.
    fn check(&mut self) {
        for db in 0..DBS {
            self.db = db;
            self.forget_deleted();
            let table = &self.space.dbs[db].table;
            let names: BTreeSet<Vec<u8>> = table.iter().map(|entry| entry.key().to_vec()).collect();
            assert!(names.iter().eq(self.models[db].keys()));
            let expiring = self.models[db].values().filter(|(_, at)| at.is_some()).count();
            assert_eq!(table.marked_len(), expiring, "every key with an expiry is found by it");
            for key in names {
                let expected = self.expected(&key);
                self.check_key(&key, expected.as_ref());
            }
        }
    }
}

#[test]
fn random_changes_agree_with_a_map() {
    for seed in 0..30 {
        let mut pair = Pair::new(seed);
        for round in 0..20 {
            for _ in 0..300 {
                pair.step();
            }
            pair.check();
            if round % 5 == 4 {
                // Growth and shrinking of the tables go on in between.
                pair.space.rehash(10);
            }
        }
    }
}

#[test]
fn the_expiry_cycle_finds_all_that_is_due_and_nothing_else() {
    for seed in 0..10 {
        let mut space = Keyspace::new(1, seed);
        let mut rng = Rng::seeded(seed);
        let mut due = BTreeMap::new();
        for i in 0..5000 {
            let key = format!("key:{i}").into_bytes();
            let at = (i % 4 != 0).then(|| 1000 + rng.below(1000) as i64);
            Keys::new(&mut space, 0, 0, false).set_text(&key, b"value", at.map_or(Stamp::Clear, Stamp::At));
            due.insert(key, at);
        }
        let mut now_ms = 1000;
        while now_ms < 2100 {
            now_ms += rng.below(200) as i64;
            // Two rounds see every bucket, wherever the cursor stood.
            let mut wrapped = 0;
            while wrapped < 2 {
                let step = space.expire_step(0, now_ms, 16);
                assert!(step.expired <= step.checked);
                wrapped += usize::from(step.wrapped);
            }
            due.retain(|_, at| at.is_none_or(|at| at > now_ms));
            assert_eq!(space.dbs[0].len(), due.len());
            assert_eq!(space.dbs[0].table.marked_len(), due.values().filter(|at| at.is_some()).count());
        }
        assert_eq!(space.recorder.expired as usize, 5000 - due.len());
        assert_eq!(space.recorder.dirty, 0, "nobody asked for it");
        assert!(due.keys().all(|key| space.dbs[0].table.contains(key)));
    }
}

#[test]
fn deletions_by_the_server_are_recorded_for_those_who_propagate_and_other_changes_are_not() {
    let mut space = Keyspace::new(1, 1);
    space.recorder.listening.set(Listening::PROPAGATE, true);
    let mut keys = Keys::new(&mut space, 0, 100, false);
    for key in [b"a", b"b"] {
        keys.set_text(key, b"value", Stamp::At(200));
        keys.changed(Class::String, "set", key);
    }
    (keys.now_ms, keys.due_ms) = (200, 200);
    assert!(keys.lookup(b"a").is_none());
    space.evict_one(Scope::All, Order::Random, 5, 200, false).unwrap();
    let events: Vec<_> = space.recorder.changes.iter().map(|change| (&*change.key, change.event)).collect();
    assert_eq!(events, [(&b"a"[..], "expired"), (b"b", "evicted")]);
}

#[test]
fn kept_keys_are_hidden_until_they_may_be_deleted() {
    let mut space = Keyspace::new(1, 1);
    space.keep_expired = true;
    let mut keys = Keys::new(&mut space, 0, 100, false);
    keys.set_text(b"key", b"value", Stamp::At(200));
    (keys.now_ms, keys.due_ms) = (200, 200);
    assert!(keys.lookup(b"key").is_none() && keys.find(b"key").is_none() && keys.live(b"key").is_none());
    assert!(!keys.delete(b"key", "del", false));
    assert_eq!((keys.space.dbs[0].len(), keys.space.recorder.expired), (1, 0));
    // Writing over it is possible all the same.
    let entry = keyspace::Entry::with_bytes(b"key", b"new", None);
    keys.put(entry);
    assert_eq!(keys.text(b"key").unwrap().map(Text::to_vec).as_deref(), Some(&b"new"[..]));
    assert_eq!(keys.space.dbs[0].table.marked_len(), 0);
}

#[test]
fn evictions_end_with_the_candidates() {
    for scope in [Scope::All, Scope::Volatile] {
        for order in [Order::Lru, Order::Lfu, Order::Ttl, Order::Random] {
            let mut space = Keyspace::new(2, 7);
            if order == Order::Lfu {
                space.aging = Aging::Lfu { log_factor: 10, decay_minutes: 1 };
            }
            for i in 0..400 {
                let stamp = if i % 4 == 0 { Stamp::At(1_000_000 + i) } else { Stamp::Clear };
                Keys::new(&mut space, i as usize % 2, 1000, false).set_text(
                    format!("key:{i}").as_bytes(),
                    b"value",
                    stamp,
                );
            }
            let mut gone = BTreeSet::new();
            while let Some(evicted) = space.evict_one(scope, order, 5, 5000, true) {
                assert!(gone.insert((evicted.db, evicted.key)));
            }
            assert_eq!(gone.len(), if scope == Scope::All { 400 } else { 100 }, "{scope:?} {order:?}");
            assert_eq!(space.recorder.evicted as usize, gone.len());
            assert_eq!(space.recorder.dirty, 0);
        }
    }
}

#[test]
fn the_time_to_live_decides_in_order() {
    let mut space = Keyspace::new(1, 3);
    for i in 0..100 {
        Keys::new(&mut space, 0, 0, false).set_text(format!("{i}").as_bytes(), b"", Stamp::At(1000 + i));
    }
    // With as many samples as keys the choice is exact.
    for i in 0..100 {
        let evicted = space.evict_one(Scope::Volatile, Order::Ttl, 100, 0, false).unwrap();
        assert_eq!(*evicted.key, *format!("{i}").as_bytes());
    }
}
