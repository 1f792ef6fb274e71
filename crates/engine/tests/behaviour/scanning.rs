//! SCAN returns everything that is there throughout, however the keyspace changes meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use base::rng::Rng;
use resp::value::Value;

use crate::world::World;

/// Calls SCAN once and returns the next cursor and the keys.
fn scan(world: &mut World, cursor: &str, options: &str) -> (String, Vec<String>) {
    let command = format!("SCAN {cursor} {options}");
    let words: Vec<&[u8]> = command.trim_end().split(' ').map(str::as_bytes).collect();
    let reply = world.call_words(&words);
    let (reply, _) = Value::parse(&reply).unwrap().expect("a whole reply");
    let text = |value: &Value| String::from_utf8(value.as_bytes().unwrap().to_vec()).unwrap();
    let [cursor, keys] = reply.as_items().unwrap() else { panic!("two elements: {reply}") };
    (text(cursor), keys.as_items().unwrap().iter().map(text).collect())
}

/// Scans from beginning to end, calling `between` after each step; returns the keys and the number of steps.
fn scan_all(world: &mut World, options: &str, mut between: impl FnMut(&mut World)) -> (Vec<String>, usize) {
    let (mut cursor, mut all, mut steps) = ("0".to_string(), Vec::new(), 0);
    loop {
        let (next, keys) = scan(world, &cursor, options);
        all.extend(keys);
        steps += 1;
        assert!(steps < 1_000_000, "a round ends");
        if next == "0" {
            return (all, steps);
        }
        cursor = next;
        between(world);
    }
}

#[test]
fn what_stays_is_returned_while_the_keyspace_grows_and_shrinks() {
    for seed in 0..12 {
        let mut rng = Rng::seeded(seed);
        let mut world = World::new(&[]);
        let stable: BTreeSet<String> = (0..300).map(|i| format!("stable:{i}")).collect();
        for key in &stable {
            world.call(&format!("SET {key} value"));
        }
        let mut others = 0;
        // Growth by some dozen times, then shrinking, or the other way round.
        let mut swell = |world: &mut World, by: u64, grow: bool| {
            for _ in 0..by {
                if grow {
                    world.call(&format!("SET other:{others} value"));
                    others += 1;
                } else if others > 0 {
                    others -= 1;
                    world.call(&format!("DEL other:{others}"));
                }
            }
        };
        swell(&mut world, 20_000 * (seed % 2), true);
        let mut step = 0;
        let (found, _) = scan_all(&mut world, &format!("COUNT {}", 1 + seed * 3), |world| {
            step += 1;
            let grow = (step / 40 + seed) % 2 == 0;
            swell(world, rng.below(400), grow);
        });
        let found: BTreeSet<String> = found.into_iter().filter(|key| key.starts_with("stable")).collect();
        assert_eq!(found, stable, "seed {seed}");
    }
}

#[test]
fn a_round_of_a_keyspace_that_does_not_change_returns_each_key_once() {
    for len in [0, 1, 7, 8, 100, 5000] {
        let mut world = World::new(&[]);
        for i in 0..len {
            world.call(&format!("SET key:{i} value"));
        }
        while world.engine.keyspace.rehash(100) {}
        for count in [1, 10, 1000] {
            let (found, steps) = scan_all(&mut world, &format!("COUNT {count}"), |_| {});
            let unique: BTreeSet<_> = found.iter().collect();
            assert_eq!((found.len(), unique.len()), (len, len));
            assert!(steps <= len / count.min(len.max(1)) + 2, "{steps} steps for {len} keys by {count}");
        }
    }
}

#[test]
fn a_step_takes_about_as_many_keys_as_asked_for() {
    let mut world = World::new(&[]);
    for i in 0..10_000 {
        world.call(&format!("SET key:{i} value"));
    }
    let (_, keys) = scan(&mut world, "0", "COUNT 100");
    assert!((100..140).contains(&keys.len()), "{}", keys.len());
}

#[test]
fn expired_keys_are_hidden_and_deleted() {
    let mut world = World::new(&[]);
    for i in 0..100 {
        world.call(&format!("SET key:{i} value PX {}", 10 + i % 2 * 1000));
    }
    world.pass(Duration::from_millis(20));
    let (found, _) = scan_all(&mut world, "COUNT 10", |_| {});
    assert_eq!(found.len(), 50);
    assert_eq!(world.len(0), 50);
}

#[test]
fn patterns_and_types_narrow_what_is_returned() {
    let mut world = World::new(&[]);
    for i in 0..100 {
        world.call(&format!("SET text:{i} value"));
        world.call(&format!("RPUSH list:{i} value"));
    }
    assert_eq!(scan_all(&mut world, "MATCH *:7*", |_| {}).0.len(), 22);
    assert_eq!(scan_all(&mut world, "TYPE list", |_| {}).0.len(), 100);
    assert_eq!(scan_all(&mut world, "TYPE list MATCH *:7*", |_| {}).0.len(), 11);
    assert_eq!(scan_all(&mut world, "TYPE set", |_| {}).0.len(), 0);
}
