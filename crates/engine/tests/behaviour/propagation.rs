//! What a log and replicas are told.

use std::time::Duration;

use crate::world::World;

fn world(parameters: &[(&str, &str)]) -> World {
    let mut world = World::new(parameters);
    world.engine.listen_propagation(true);
    world
}

fn told(world: &mut World, command: &str) -> Vec<String> {
    world.call(command);
    world.propagated()
}

const NOTHING: [&str; 0] = [];

#[test]
fn writes_are_propagated_and_nothing_else() {
    let mut world = world(&[]);
    assert_eq!(told(&mut world, "SET a 1"), ["0 SET a 1"]);
    assert_eq!(told(&mut world, "GET a"), NOTHING);
    assert_eq!(told(&mut world, "DEL none"), NOTHING, "it changed nothing");
    assert_eq!(told(&mut world, "RPUSH a b"), NOTHING, "it failed");
    assert_eq!(told(&mut world, "NOSUCH a"), NOTHING);
    assert_eq!(told(&mut world, "RENAME a b"), ["0 RENAME a b"]);
    world.select(3);
    assert_eq!(told(&mut world, "SET a 2"), ["3 SET a 2"]);
}

#[test]
fn nobody_listens_unless_asked_to() {
    let mut world = World::new(&[]);
    assert_eq!(told(&mut world, "SET a 1"), NOTHING);
    world.engine.listen_propagation(true);
    assert_eq!(told(&mut world, "SET a 2"), ["0 SET a 2"]);
    world.engine.listen_propagation(false);
    assert_eq!(told(&mut world, "SET a 3"), NOTHING);
}

#[test]
fn a_restored_value_is_propagated_with_the_moment_of_its_expiry() {
    let mut world = world(&[]);
    let payload: &[u8] = b"\x00\x01v\x0a\x00\x91\x08\xce\xb2\x198\x8a\xce";
    world.call_words(&[b"RESTORE", b"a", b"1500", payload, b"IDLETIME", b"5"]);
    let told = world.propagated();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("0 RESTORE a 1700000001500 ") && told[0].ends_with(" IDLETIME 5 ABSTTL"),
        "{told:?}"
    );
    world.call_words(&[b"RESTORE", b"a", b"0", payload, b"REPLACE"]);
    assert!(world.propagated()[0].ends_with(" REPLACE"));
    world.call_words(&[b"RESTORE", b"a", b"0", payload]);
    assert_eq!(world.propagated(), NOTHING, "it failed");
}

#[test]
fn expiries_are_propagated_as_moments() {
    let mut world = world(&[]);
    told(&mut world, "SET a 1");
    assert_eq!(told(&mut world, "EXPIRE a 100"), ["0 PEXPIREAT a 1700000100000"]);
    assert_eq!(told(&mut world, "PEXPIRE a 1500"), ["0 PEXPIREAT a 1700000001500"]);
    assert_eq!(told(&mut world, "EXPIREAT a 1800000000"), ["0 PEXPIREAT a 1800000000000"]);
    assert_eq!(told(&mut world, "PEXPIREAT a 1800000000001"), ["0 PEXPIREAT a 1800000000001"]);
    assert_eq!(told(&mut world, "EXPIRE a 100 NX"), NOTHING);
    assert_eq!(told(&mut world, "PERSIST a"), ["0 PERSIST a"]);
    assert_eq!(told(&mut world, "EXPIRE a -1"), ["0 DEL a"]);
}

#[test]
fn transactions_stay_together() {
    let mut world = world(&[]);
    for command in ["MULTI", "SET a 1", "GET a", "RPUSH a b", "INCR n"] {
        assert_eq!(told(&mut world, command), NOTHING);
    }
    assert_eq!(told(&mut world, "EXEC"), ["0 MULTI", "0 SET a 1", "0 INCR n", "0 EXEC"]);
    // A single command needs nothing to hold it together.
    for command in ["MULTI", "SET a 1", "GET a"] {
        told(&mut world, command);
    }
    assert_eq!(told(&mut world, "EXEC"), ["0 SET a 1"]);
    for command in ["MULTI", "GET a"] {
        told(&mut world, command);
    }
    assert_eq!(told(&mut world, "EXEC"), NOTHING);
    for command in ["MULTI", "SET a 1"] {
        told(&mut world, command);
    }
    assert_eq!(told(&mut world, "DISCARD"), NOTHING);
}

#[test]
fn an_expired_key_is_deleted_before_what_met_it() {
    for (lazy, del) in [("no", "DEL"), ("yes", "UNLINK")] {
        let mut world = world(&[("lazyfree-lazy-expire", lazy)]);
        for key in ["a", "b", "c", "d", "e"] {
            told(&mut world, &format!("SET {key} 1 PX 10"));
        }
        world.pass(Duration::from_millis(20));
        assert_eq!(told(&mut world, "GET a"), [format!("0 {del} a")]);
        let both = ["0 MULTI", &format!("0 {del} b"), "0 SET b 2", "0 EXEC"];
        assert_eq!(told(&mut world, "SET b 2"), both);
        // Even if the command fails after that.
        assert_eq!(told(&mut world, "RENAME c d"), [format!("0 {del} c")]);
        assert_eq!(told(&mut world, "EXPIRE d -1"), [format!("0 {del} d")]);
        for command in ["MULTI", "INCR n", "GET e", "INCR n"] {
            told(&mut world, command);
        }
        let all = ["0 MULTI", "0 INCR n", &format!("0 {del} e"), "0 INCR n", "0 EXEC"];
        assert_eq!(told(&mut world, "EXEC"), all);
    }
}

#[test]
fn keys_that_nobody_met_are_deleted_each_by_itself() {
    for (lazy, del) in [("no", "DEL"), ("yes", "UNLINK")] {
        let mut world = world(&[("lazyfree-lazy-expire", lazy)]);
        told(&mut world, "SET a 1 PX 10");
        told(&mut world, "SET b 1 PX 10");
        world.pass(Duration::from_secs(1));
        world.tick();
        let mut deleted = world.propagated();
        deleted.sort();
        assert_eq!(deleted, [format!("0 {del} a"), format!("0 {del} b")]);
    }
}

#[test]
fn evicted_keys_are_deleted_before_the_command_and_apart_from_it() {
    for (lazy, del) in [("no", "DEL"), ("yes", "UNLINK")] {
        let mut world = world(&[
            ("maxmemory", "1mb"),
            ("maxmemory-policy", "allkeys-random"),
            ("lazyfree-lazy-eviction", lazy),
        ]);
        told(&mut world, "SET a 1");
        world.select(2);
        told(&mut world, "SET a 1");
        world.meters.memory.set((1 << 20) + 2);
        world.meters.relief.set(1);
        let mut told = told(&mut world, "SET b 1");
        assert_eq!(told.pop().as_deref(), Some("2 SET b 1"));
        told.sort();
        assert_eq!(told, [format!("0 {del} a"), format!("2 {del} a")]);
    }
}

#[test]
fn a_change_by_a_client_that_waited_fails_the_transaction_of_the_one_that_woke_it() {
    let mut world = world(&[]);
    let waiting = world.open();
    world.call_as(waiting, &[b"BLMOVE", b"source", b"watched", b"LEFT", b"LEFT", b"0"]);
    world.call("WATCH watched");
    assert_eq!(world.call("RPUSH source a"), ":1\r\n");
    world.call("MULTI");
    world.call("LLEN watched");
    assert_eq!(world.call("EXEC"), "*-1\r\n");
}

#[test]
fn a_client_that_waited_is_propagated_after_what_woke_it() {
    let mut world = world(&[]);
    let waiting = world.open();
    world.call_as(waiting, &[b"BLPOP", b"list", b"0"]);
    assert_eq!(world.propagated(), NOTHING);
    assert_eq!(told(&mut world, "RPUSH list a"), ["0 RPUSH list a", "0 LPOP list"]);
    assert!(world.received(waiting).contains("list"));
}

#[test]
fn a_range_that_depends_on_how_a_set_is_kept_is_propagated_as_ranks() {
    let mut world = world(&[]);
    told(&mut world, "ZADD z 0 a 0 b 0 c");
    assert_eq!(told(&mut world, "ZREMRANGEBYLEX z [a (b"), ["0 ZREMRANGEBYLEX z [a (b"]);
    told(&mut world, "ZADD z 1 a");
    let told = told(&mut world, "ZREMRANGEBYLEX z - [b");
    assert!(matches!(&told[..], [one] if one.starts_with("0 ZREMRANGEBYRANK z ")), "{told:?}");
}
