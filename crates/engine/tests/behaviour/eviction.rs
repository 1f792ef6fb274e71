//! Eviction: which keys go under each policy, and what is refused when none may.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::Effect;

use crate::world::World;

const LIMIT: usize = 1 << 20;

/// Returns a world under `policy` with 1000 keys, of which those with an odd number have an expiry.
fn filled(policy: &str, more: &[(&str, &str)]) -> World {
    let limit = LIMIT.to_string();
    let mut parameters =
        vec![("maxmemory", &*limit), ("maxmemory-policy", policy), ("maxmemory-samples", "10")];
    parameters.extend(more);
    let mut world = World::new(&parameters);
    for i in 0..1000 {
        let reply = match i % 2 {
            0 => world.call(&format!("SET key:{i} value")),
            _ => world.call(&format!("SET key:{i} value EX {}", 10_000 + i * 10)),
        };
        assert_eq!(reply, "+OK\r\n");
    }
    world
}

/// Makes memory short until `count` keys are gone, and returns their numbers.
fn evict(world: &mut World, count: usize) -> BTreeSet<usize> {
    world.meters.memory.set(LIMIT + count);
    world.meters.relief.set(1);
    let before = world.engine.keyspace.recorder.evicted;
    assert_eq!(world.call("SET new value"), "+OK\r\n");
    assert_eq!(world.engine.keyspace.recorder.evicted - before, count as u64, "no more than needed");
    world.meters.memory.set(0);
    let table = &world.engine.keyspace.dbs[0].table;
    (0..1000).filter(|i| !table.contains(format!("key:{i}").as_bytes())).collect()
}

fn share(keys: &BTreeSet<usize>, of: impl Fn(usize) -> bool) -> f64 {
    keys.iter().filter(|key| of(**key)).count() as f64 / keys.len() as f64
}

/// Uses the keys below 500 long after all were written.
fn use_lower_half(world: &mut World, times: usize) {
    world.pass(Duration::from_secs(1000));
    for i in (0..500).cycle().take(500 * times) {
        world.call(&format!("GET key:{i}"));
    }
}

#[test]
fn lru_evicts_what_was_not_used_lately() {
    let mut world = filled("allkeys-lru", &[]);
    use_lower_half(&mut world, 1);
    let gone = evict(&mut world, 300);
    assert!(share(&gone, |key| key >= 500) > 0.97, "{}", share(&gone, |key| key >= 500));
    assert!((0.35..0.65).contains(&share(&gone, |key| key % 2 == 1)), "expiries do not matter");
}

#[test]
fn lfu_evicts_what_is_used_rarely() {
    let mut world = filled("allkeys-lfu", &[]);
    use_lower_half(&mut world, 30);
    let gone = evict(&mut world, 300);
    assert!(share(&gone, |key| key >= 500) > 0.97, "{}", share(&gone, |key| key >= 500));
}

#[test]
fn random_evicts_any() {
    let mut world = filled("allkeys-random", &[]);
    use_lower_half(&mut world, 1);
    let gone = evict(&mut world, 300);
    assert!((0.35..0.65).contains(&share(&gone, |key| key >= 500)));
    assert!((0.35..0.65).contains(&share(&gone, |key| key % 2 == 1)));
}

#[test]
fn volatile_policies_only_evict_keys_with_an_expiry() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let mut world = filled(policy, &[]);
        use_lower_half(&mut world, 30);
        let gone = evict(&mut world, 200);
        assert_eq!(gone.len(), 200, "{policy}");
        assert!(gone.iter().all(|key| key % 2 == 1), "{policy}");
        match policy {
            "volatile-random" => assert!((0.3..0.7).contains(&share(&gone, |key| key >= 500)), "{policy}"),
            // The keys with the lower numbers expire first.
            "volatile-ttl" => assert!(share(&gone, |key| key < 500) > 0.97, "{policy}"),
            _ => assert!(share(&gone, |key| key >= 500) > 0.97, "{policy}"),
        }
    }
}

#[test]
fn without_candidates_commands_that_need_memory_are_refused() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    for policy in ["noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let limit = LIMIT.to_string();
        let mut world = World::new(&[("maxmemory", &limit), ("maxmemory-policy", policy)]);
        world.call("SET stays value");
        world.call("SET goes value EX 100");
        world.meters.memory.set(LIMIT + 1);
        assert_eq!(world.call("SET new value"), OOM, "{policy}");
        assert_eq!(world.call("RPUSH list item"), OOM, "{policy}");
        assert_eq!(world.call("COPY stays copy"), OOM, "{policy}");
        assert_eq!(world.call("GET stays"), "$5\r\nvalue\r\n", "{policy}");
        assert_eq!(world.call("EXISTS goes"), if policy == "noeviction" { ":1\r\n" } else { ":0\r\n" });
        // A transaction is not queued, and aborts for that.
        assert_eq!(world.call("MULTI"), "+OK\r\n", "{policy}");
        assert_eq!(world.call("GET stays"), OOM, "{policy}");
        assert!(world.call("EXEC").starts_with("-EXECABORT"), "{policy}");
        // One that was queued while memory sufficed is refused if it needs more.
        world.meters.memory.set(0);
        for command in ["MULTI", "SET new value"] {
            world.call(command);
        }
        world.meters.memory.set(LIMIT + 1);
        assert!(world.call("EXEC").starts_with("-EXECABORT"), "{policy}");
        assert_eq!(world.call("DEL stays"), ":1\r\n", "{policy}");
    }
}

#[test]
fn all_databases_are_considered() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"] {
        let mut world = World::new(&[("maxmemory", "1mb"), ("maxmemory-policy", policy)]);
        for db in [0, 3, 15] {
            world.select(db);
            for i in 0..100 {
                world.call(&format!("SET key:{i} value EX 1000"));
            }
        }
        world.meters.memory.set(LIMIT + 299);
        world.meters.relief.set(1);
        world.call("GET none");
        assert_eq!((world.len(0) + world.len(3) + world.len(15)), 1, "{policy}");
    }
}

#[test]
fn evictions_are_told_of_but_are_no_changes_to_save() {
    let mut world = filled("allkeys-lru", &[("notify-keyspace-events", "Ee")]);
    let listener = world.open();
    world.call_as(listener, &[b"SUBSCRIBE", b"__keyevent@0__:evicted"]);
    let dirty = world.engine.keyspace.recorder.dirty;
    world.meters.memory.set(LIMIT + 7);
    world.meters.relief.set(1);
    world.call("GET none");
    assert_eq!(world.received(listener).matches("__keyevent@0__:evicted").count(), 7);
    assert_eq!(world.engine.keyspace.recorder.dirty, dirty);
    assert_eq!(world.len(0), 993);
}

#[test]
fn a_watched_key_that_is_evicted_fails_the_transaction() {
    let mut world = World::new(&[("maxmemory", "1mb"), ("maxmemory-policy", "allkeys-random")]);
    world.call("SET key value");
    world.call("WATCH key");
    world.meters.memory.set(LIMIT + 1);
    world.meters.relief.set(1);
    world.call("MULTI");
    assert_eq!(world.len(0), 0);
    world.call("GET key");
    assert_eq!(world.call("EXEC"), "*-1\r\n");
}

#[test]
fn evictions_that_take_long_go_on_between_commands() {
    let mut world = filled("allkeys-random", &[("maxmemory-eviction-tenacity", "1")]);
    world.meters.pace.set(100);
    world.meters.memory.set(LIMIT + 40);
    world.meters.relief.set(1);
    // Fifty microseconds are over by the first look, and the command runs all the same.
    assert_eq!(world.call("SET new value"), "+OK\r\n");
    assert_eq!(world.len(0), 1001 - 16);
    assert!(world.engine.next_periodic().is_some_and(|at| at <= world.now.instant), "it goes on at once");
    while world.engine.next_periodic().is_some_and(|at| at <= world.now.instant) {
        world.tick();
    }
    // Each time that it began it had a look at memory first, which took some of the shortage away.
    assert!((1001 - 40..1001 - 36).contains(&world.len(0)), "{}", world.len(0));
}

#[test]
fn a_large_value_is_freed_before_more_is_evicted() {
    for (lazy, freed_elsewhere) in [("no", 0), ("yes", 1)] {
        let mut world = World::new(&[
            ("maxmemory", "1mb"),
            ("maxmemory-policy", "allkeys-random"),
            ("lazyfree-lazy-eviction", lazy),
        ]);
        for key in ["a", "b", "c"] {
            for field in 0..600 {
                world.call(&format!("HSET {key} field:{field} value"));
            }
        }
        world.effects();
        // Freed on the spot it shows; if it is not, what it will free is taken into account.
        world.meters.memory.set(LIMIT + 1);
        world.meters.relief.set(if lazy == "yes" { 0 } else { 1 });
        assert_eq!(world.call("GET none"), "$-1\r\n");
        assert_eq!(world.len(0), 2, "lazy: {lazy}");
        let freed = world.effects().iter().filter(|effect| matches!(effect, Effect::Free(_))).count();
        assert_eq!(freed, freed_elsewhere);
    }
}
