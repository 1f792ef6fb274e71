//! What is large is freed elsewhere: values, and tables that were outgrown.

use std::time::Duration;

use engine::Effect;
use keyspace::change::Garbage;

use crate::world::World;

/// Counts the values and the tables handed out since the last time.
fn freed(world: &mut World) -> (usize, usize) {
    let (mut values, mut tables) = (0, 0);
    for effect in world.effects() {
        match effect {
            Effect::Free(Garbage::Value(_)) => values += 1,
            Effect::Free(Garbage::Table(_)) => tables += 1,
            _ => {}
        }
    }
    (values, tables)
}

fn add_hash(world: &mut World, key: &str, fields: usize) {
    for field in 0..fields {
        world.call(&format!("HSET {key} field:{field} value"));
    }
    freed(world);
}

#[test]
fn large_values_are_freed_elsewhere() {
    let mut world = World::new(&[]);
    for (command, values) in [
        ("UNLINK large", 1),
        ("SET large text", 1),
        ("RENAME small large", 1),
        ("COPY small large REPLACE", 1),
        ("SORT none STORE large", 1),
        ("DEL large", 0),
        ("DEL small", 0),
        ("UNLINK small", 0),
        ("SET small text", 0),
        ("UNLINK none", 0),
    ] {
        world.call("DEL large small");
        add_hash(&mut world, "large", 600);
        add_hash(&mut world, "small", 10);
        let reply = world.call(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        assert_eq!(freed(&mut world), (values, 0), "{command}");
    }
}

#[test]
fn deletions_are_as_lazy_as_configured() {
    let mut world = World::new(&[("lazyfree-lazy-user-del", "yes"), ("lazyfree-lazy-expire", "yes")]);
    for command in ["DEL large", "EXPIRE large -1", "PEXPIREAT large 1"] {
        add_hash(&mut world, "large", 600);
        assert_eq!(world.call(command), ":1\r\n");
        assert_eq!(freed(&mut world), (1, 0), "{command}");
    }
}

#[test]
fn databases_are_freed_elsewhere_if_asked_to() {
    for (command, lazily, elsewhere) in [
        ("FLUSHALL", "no", 0),
        ("FLUSHALL SYNC", "yes", 0),
        ("FLUSHALL ASYNC", "no", 2),
        ("FLUSHALL", "yes", 2),
        ("FLUSHDB", "no", 0),
        ("FLUSHDB ASYNC", "no", 1),
        ("FLUSHDB", "yes", 1),
    ] {
        let mut world = World::new(&[("lazyfree-lazy-user-flush", lazily)]);
        for db in [3, 0] {
            world.select(db);
            world.call("SET key value");
        }
        world.effects();
        assert_eq!(world.call(command), "+OK\r\n");
        let freed = world.effects().iter().filter(|e| matches!(e, Effect::Free(Garbage::Db(_)))).count();
        assert_eq!(freed, elsewhere, "{command}, lazyfree-lazy-user-flush {lazily}");
        assert_eq!(world.len(0), 0);
    }
}

#[test]
fn a_long_string_is_freed_elsewhere() {
    let mut world = World::new(&[]);
    world.call("SETRANGE text 20000000 x");
    world.call("UNLINK text");
    assert_eq!(freed(&mut world), (1, 0));
}

#[test]
fn expired_values_are_freed_elsewhere() {
    let mut world = World::new(&[]);
    add_hash(&mut world, "met", 600);
    add_hash(&mut world, "found", 600);
    world.call("PEXPIRE met 10");
    world.call("PEXPIRE found 10");
    world.pass(Duration::from_millis(20));
    assert_eq!(world.call("GET met"), "$-1\r\n");
    assert_eq!(freed(&mut world), (1, 0));
    world.tick();
    world.pass(Duration::from_secs(1));
    world.tick();
    assert_eq!(freed(&mut world), (1, 0));
    assert_eq!(world.len(0), 0);
}

#[test]
fn outgrown_tables_are_freed_elsewhere_whatever_outgrew_them() {
    let mut world = World::new(&[]);
    let mut tables = 0;
    for i in 0..100_000 {
        world.call(&format!("SET key:{i} value"));
        let (values, more) = freed(&mut world);
        assert!(values == 0 && more <= 1);
        tables += more;
    }
    // Of 64 KB and more: 1024 buckets and upwards.
    assert!(tables >= 3, "{tables} tables while growing");
    tables = 0;
    for i in 0..100_000 {
        world.call(&format!("DEL key:{i}"));
        tables += freed(&mut world).1;
    }
    assert!(tables >= 2, "{tables} tables while shrinking");
    tables = 0;
    for i in 0..100_000 {
        world.call(&format!("HSET hash field:{i} value"));
        tables += freed(&mut world).1;
    }
    assert!(tables >= 3, "{tables} tables of a hash");
    tables = 0;
    for i in 0..100_000 {
        world.call(&format!("SADD set member:{i}"));
        world.call(&format!("ZADD zset {i} member:{i}"));
        tables += freed(&mut world).1;
    }
    assert!(tables >= 6, "{tables} tables of a set and a sorted set");
}
