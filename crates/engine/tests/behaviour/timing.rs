//! What commands are said to have taken, and how often the host's counter is read for it.

use engine::Host;
use engine::session::OwnedRequest;
use resp::decode::Request;

use crate::world::World;

/// Executes three commands that follow each other at once; returns their time, and the time in all.
fn three_at_once(world: &mut World) -> (u64, u64) {
    let request = OwnedRequest::new(Request::new(b"SETkeyvalue", &[(0, 3), (3, 6), (6, 11)]));
    let client = world.open();
    let mut session = world.engine.server.sessions.take(client).expect("an open session");
    let stats = |world: &World| -> u64 {
        world.engine.server.stats.per_command.iter().map(|command| command.microseconds).sum()
    };
    let (before, start) = (stats(world), world.meters.ticks());
    world.engine.forget_ticks();
    for _ in 0..3 {
        world.engine.execute_next(world.now, &world.meters, &mut session, request.request());
    }
    let spent = world.meters.ticks() - start - world.meters.pace.get();
    world.engine.server.sessions.put(session);
    (stats(world) - before, spent)
}

#[test]
fn one_reading_lies_between_commands_that_follow_each_other() {
    let mut world = World::new(&[]);
    world.meters.pace.set(10);
    assert_eq!(three_at_once(&mut world), (30, 40));
}

#[test]
fn what_makes_room_for_a_command_is_not_counted_as_its_own_time() {
    let mut world = World::new(&[("maxmemory", "100mb")]);
    world.meters.pace.set(10);
    assert_eq!(three_at_once(&mut world), (30, 60));
}

#[test]
fn time_between_commands_is_not_counted() {
    let mut world = World::new(&[]);
    world.meters.pace.set(10);
    world.call("SET key value");
    for _ in 0..5 {
        world.meters.ticks();
    }
    world.call("SET key value");
    let stats = world.call("INFO commandstats");
    assert!(stats.contains("cmdstat_set:calls=2,usec=20,"), "{stats}");
}
