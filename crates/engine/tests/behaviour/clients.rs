//! What happens to clients: they are closed, killed, unblocked, and held to what they may hold together.

use engine::session::Closing;
use engine::{Effect, SessionId};

use crate::world::World;

/// Lets a client hold some memory: a large command queued in a transaction.
fn hoard(world: &mut World, client: SessionId, bytes: usize) {
    world.call_as(client, &[b"MULTI"]);
    world.call_as(client, &[b"SET", b"key", &vec![b'x'; bytes]]);
}

fn closing(world: &World, client: SessionId) -> Closing {
    world.engine.server.sessions.get(client).expect("an open session").closing
}

#[test]
fn the_clients_that_hold_most_are_closed_when_all_hold_too_much() {
    let mut world = World::new(&[("maxmemory-clients", "1mb")]);
    let [small, large, larger] = [(); 3].map(|()| world.open());
    hoard(&mut world, small, 100_000);
    hoard(&mut world, large, 500_000);
    world.engine.server.evict_clients();
    assert_eq!([small, large].map(|id| closing(&world, id)), [Closing::No; 2]);

    hoard(&mut world, larger, 600_000);
    world.engine.server.evict_clients();
    assert_eq!([small, large].map(|id| closing(&world, id)), [Closing::No; 2]);
    assert_eq!(closing(&world, larger), Closing::Now);
    assert!(world.call("INFO stats").contains("evicted_clients:1\r\n"));

    // What is gone is not counted any more.
    world.engine.close(larger);
    hoard(&mut world, small, 100_000);
    world.engine.server.evict_clients();
    assert_eq!(closing(&world, large), Closing::No);
}

#[test]
fn a_protected_client_is_not_closed_for_what_it_holds() {
    let mut world = World::new(&[]);
    let [protected, other] = [(); 2].map(|()| world.open());
    world.call_as(protected, &[b"CLIENT", b"NO-EVICT", b"ON"]);
    hoard(&mut world, protected, 2_000_000);
    hoard(&mut world, other, 100_000);
    // A limit set while the server runs counts what is there already.
    assert_eq!(world.call("CONFIG SET maxmemory-clients 1mb"), "+OK\r\n");
    world.engine.server.evict_clients();
    assert_eq!(closing(&world, protected), Closing::No);
    assert_eq!(closing(&world, other), Closing::Now);
}

#[test]
fn a_killed_client_gets_nothing_more_of_what_it_waited_for() {
    let mut world = World::new(&[]);
    let waiting = world.open();
    world.call_as(waiting, &[b"BLPOP", b"list", b"0"]);
    world.call_as(waiting, &[b"SUBSCRIBE", b"channel"]);
    assert_eq!(world.call("CLIENT KILL ID 2"), ":1\r\n");
    assert_eq!(closing(&world, waiting), Closing::Now);
    assert_eq!(world.call("RPUSH list element"), ":1\r\n");
    assert_eq!(world.call("LLEN list"), ":1\r\n");
    assert_eq!(world.call("CLIENT KILL ID 2"), ":0\r\n", "who is being closed cannot be killed again");
    assert!(world.call("INFO clients").contains("connected_clients:1\r\n"));
}

#[test]
fn a_command_that_waits_is_counted_once_when_its_wait_ends() {
    let mut world = World::new(&[]);
    let waiting = world.open();
    world.call_as(waiting, &[b"BLPOP", b"list", b"0"]);
    assert!(!world.call("INFO commandstats").contains("cmdstat_blpop"));
    world.call("RPUSH list element");
    assert!(world.call("INFO commandstats").contains("cmdstat_blpop:calls=1,"));
    world.call_as(waiting, &[b"BLPOP", b"list", b"0"]);
    assert_eq!(world.call("CLIENT UNBLOCK 2 ERROR"), ":1\r\n");
    assert!(world.received(waiting).ends_with("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"));
    let stats = world.call("INFO commandstats");
    let stats = stats.lines().find(|line| line.starts_with("cmdstat_blpop:calls=2,")).unwrap();
    assert!(stats.ends_with("failed_calls=1"), "{stats}");
}

#[test]
fn a_monitor_sees_what_a_transaction_does_before_its_exec_and_no_secrets() {
    let mut world = World::new(&[]);
    let monitor = world.open();
    world.call_as(monitor, &[b"MONITOR"]);
    world.call("MULTI");
    world.call("SET key value");
    world.call("EXEC");
    world.call("AUTH default secret");
    world.call("CONFIG GET requirepass");
    world.call("SELECT 2");
    let seen = world.received(monitor);
    let commands: Vec<&str> = seen.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    assert_eq!(
        commands,
        [
            r#""MULTI""#,
            r#""SET" "key" "value""#,
            r#""EXEC""#,
            r#""AUTH" "(redacted)" "(redacted)""#,
            r#""SELECT" "2""#
        ]
    );
}

#[test]
fn a_stall_counts_as_the_time_of_the_command_that_asked_for_it() {
    let mut world = World::new(&[("enable-debug-command", "yes")]);
    world.effects();
    assert_eq!(world.call("DEBUG SLEEP 0.5"), "+OK\r\n");
    assert!(matches!(world.effects()[..], [Effect::Stall(time)] if time.as_millis() == 500));
    assert!(world.call("SLOWLOG GET").contains(":500000\r\n*3\r\n$5\r\nDEBUG\r\n"));
    assert_eq!(world.call("SLOWLOG LEN"), ":1\r\n");
}

#[test]
fn debug_is_refused_unless_it_was_enabled() {
    let mut world = World::new(&[]);
    assert!(world.call("DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed."));
    let mut world = World::new(&[("enable-debug-command", "local")]);
    assert!(world.call("DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed."));
    let local = world.open();
    world.engine.server.sessions.get_mut(local).unwrap().addr = "127.0.0.1:5000".into();
    assert_eq!(world.call_as(local, &[b"DEBUG", b"SLEEP", b"0"]), b"+OK\r\n");
}

#[test]
fn shutdown_closes_the_client_that_asks_without_a_reply() {
    let mut world = World::new(&[]);
    let client = world.open();
    assert_eq!(world.call_as(client, &[b"SHUTDOWN", b"NOSAVE", b"NOW"]), b"");
    assert!(world.effects().iter().any(|effect| matches!(effect, Effect::Shutdown)));
    assert_eq!(closing(&world, client), Closing::Now);
}

#[test]
fn a_client_whose_command_waits_for_the_end_of_a_pause_counts_as_blocked() {
    let mut world = World::new(&[]);
    let client = world.open();
    world.call("CLIENT PAUSE 1000 WRITE");
    assert_eq!(world.call_as(client, &[b"SET", b"key", b"value"]), b"", "it is to be tried again");
    assert!(world.call("INFO clients").contains("blocked_clients:1\r\n"));
    assert!(world.call("CLIENT LIST ID 2").contains(" flags=b "));
    assert_eq!(world.call("CLIENT UNBLOCK 2"), ":0\r\n", "only waiting for a key can be ended");
    world.call("CLIENT UNPAUSE");
    assert!(world.effects().iter().any(|effect| matches!(effect, Effect::Resume)));
    assert_eq!(world.call_as(client, &[b"SET", b"key", b"value"]), b"+OK\r\n");
    assert!(world.call("INFO clients").contains("blocked_clients:0\r\n"));
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_though_it_says_nothing() {
    let mut world = World::new(&[("client-output-buffer-limit", "pubsub 100kb 50kb 3")]);
    let [hard, soft] = [(); 2].map(|()| world.open());
    world.call_as(hard, &[b"SUBSCRIBE", b"much"]);
    world.call_as(soft, &[b"SUBSCRIBE", b"some"]);
    let message = vec![b'x'; 30_000];
    for _ in 0..3 {
        world.call_words(&[b"PUBLISH", b"much", &message]);
        assert_eq!(closing(&world, hard), Closing::No);
    }
    world.call_words(&[b"PUBLISH", b"much", &message]);
    assert_eq!(closing(&world, hard), Closing::Now);

    // Above the soft limit only time tells.
    world.call_words(&[b"PUBLISH", b"some", &message]);
    world.call_words(&[b"PUBLISH", b"some", &message]);
    for _ in 0..3 {
        assert_eq!(closing(&world, soft), Closing::No);
        world.pass(std::time::Duration::from_secs(1));
        world.tick();
    }
    assert_eq!(closing(&world, soft), Closing::Now);
    assert!(world.call("INFO stats").contains("client_output_buffer_limit_disconnections:2\r\n"));
}
