//! What a master and a replica answer: gates, WAIT, FAILOVER, the synchronous mode, INFO and ROLE.

use std::time::Duration;

use engine::replication::{Follow, link_of};
use engine::session::Closing;
use engine::{Effect, SessionId};
use replication::primary::{Output, Upstream};

use crate::world::World;

/// A master at offset 100 of a history that replicas know.
fn master(parameters: &[(&str, &str)]) -> World {
    let mut world = World::new(parameters);
    let server = &mut world.engine.server;
    let id = replication::ReplId::parse(&[b'a'; 40]).unwrap();
    server.replication.primary.resume(world.now, id, 100);
    world.engine.move_to_offset(100);
    world.engine.listen_propagation(true);
    world
}

/// Attaches a replica that has everything up to the present; it has acknowledged as much.
fn replica(world: &mut World, port: u16) -> SessionId {
    turn(world);
    let id = world.open();
    world.engine.server.sessions.get_mut(id).unwrap().addr = "10.0.0.1:1".into();
    let history = world.engine.server.replication.primary.history().id;
    let next = (world.engine.server.replication.primary.offset() + 1).to_string();
    let port = port.to_string();
    assert_eq!(world.call_as(id, &[b"REPLCONF", b"listening-port", port.as_bytes()]), b"+OK\r\n");
    world.call_as(id, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
    world.call_as(id, &[b"PSYNC", history.as_bytes(), next.as_bytes()]);
    assert!(world.engine.server.sessions.get(id).unwrap().replica);
    outputs(world);
    id
}

/// Ends a turn as a node does: hands on what was written, and lets go of what may be told. Returns whether replicas were
/// asked how far they are.
fn turn(world: &mut World) -> bool {
    let now = world.now;
    let (stream, replication) = world.engine.stream_and_replication();
    replication.append(now, stream);
    stream.take(|_| ());
    let server = &mut world.engine.server;
    server.next_turn();
    server.hold_replies(server.synchronous_hold());
    let release = server.synchronous_release().min(server.stream_offset());
    server.release_replies(release);
    outputs(world).contains(&Output::GetAck)
}

fn outputs(world: &mut World) -> Vec<Output> {
    std::iter::from_fn(|| world.engine.server.replication.primary.poll_output()).collect()
}

/// Lets a replica acknowledge everything that was handed on.
fn acknowledge(world: &mut World, replica: SessionId) {
    let offset = world.engine.server.replication.primary.offset().to_string();
    world.call_as(replica, &[b"REPLCONF", b"ACK", offset.as_bytes(), b"FACK", offset.as_bytes()]);
    world.engine.replicas_advanced(world.now);
    turn(world);
}

/// Says something as a client and leaves the answers where they are; returns those that may be sent.
fn say(world: &mut World, client: SessionId, commands: &[&str]) -> String {
    for command in commands {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        // `call_as` takes the output away: what was there is put in front again.
        let before = std::mem::take(&mut world.engine.server.sessions.get_mut(client).unwrap().out);
        let request = engine::session::OwnedRequest::from_words(words.iter().copied());
        let mut session = world.engine.server.sessions.take(client).unwrap();
        session.out = before;
        world.engine.execute(world.now, &world.meters, &mut session, request.request());
        world.engine.server.sessions.put(session);
    }
    sendable(world, client)
}

/// Takes what may be sent to a client, as a driver does.
fn sendable(world: &mut World, client: SessionId) -> String {
    let session = world.engine.server.sessions.get_mut(client).unwrap();
    let count = session.sendable();
    let text = String::from_utf8_lossy(&session.out[session.sent..session.sent + count]).into_owned();
    session.bytes_out += count as u64;
    session.out.drain(..session.sent + count);
    session.sent = 0;
    text
}

fn follow(world: &mut World, port: u16) {
    let follow = Follow { target: Some(("10.0.0.9".into(), port)), ..Follow::default() };
    world.engine.server.follow(world.now, follow);
    world.engine.replication_changed(world.now);
}

fn promote(world: &mut World) {
    world.engine.server.follow(world.now, Follow::default());
    world.engine.replication_changed(world.now);
}

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const NOREPLICAS: &str = "-NOREPLICAS Not enough good replicas to write.\r\n";

#[test]
fn a_replica_refuses_writes_and_answers_reads() {
    let mut world = World::new(&[]);
    world.call("SET key value");
    let queued = world.open();
    say(&mut world, queued, &["MULTI", "SET key other"]);
    assert_eq!(world.call("REPLICAOF 10.0.0.9 7000"), "+OK\r\n");
    assert_eq!(world.call("CONFIG GET slaveof"), "*2\r\n$7\r\nslaveof\r\n$13\r\n10.0.0.9 7000\r\n");
    assert_eq!(world.call("SET key other"), READONLY);
    assert_eq!(world.call("GET key"), "$5\r\nvalue\r\n");
    assert!(say(&mut world, queued, &["EXEC"]).ends_with(
        "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n"
    ));
    world.call("CONFIG SET replica-read-only no");
    assert_eq!(world.call("SET key other"), "+OK\r\n");
    assert!(world.call("WAIT 0 0").starts_with("-ERR WAIT cannot be used with replica instances."));
    assert!(world.call("WAITAOF 0 0 0").starts_with("-ERR WAITAOF cannot be used with replica instances."));

    world.call("CONFIG SET replica-serve-stale-data no");
    let masterdown = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n";
    assert_eq!(world.call("GET key"), masterdown);
    assert_eq!(world.call("PING"), masterdown);
    assert!(world.call("INFO replication").contains("role:slave\r\n"));
    assert_eq!(world.call("REPLICAOF no ONE"), "+OK\r\n");
    assert_eq!(world.call("GET key"), "$5\r\nother\r\n");
    assert_eq!(world.call("CONFIG GET replicaof"), "*2\r\n$9\r\nreplicaof\r\n$0\r\n\r\n");
}

#[test]
fn a_replica_hides_expired_keys_and_a_promoted_one_deletes_them() {
    let mut world = World::new(&[]);
    world.call("SET key value PX 10");
    follow(&mut world, 7000);
    world.pass(Duration::from_secs(1));
    world.tick();
    assert_eq!(world.call("GET key"), "$-1\r\n");
    assert_eq!(world.len(0), 1);
    world.call("CLIENT PAUSE 10 WRITE");
    world.call("CLIENT UNPAUSE");
    assert_eq!(world.call("EXISTS key"), ":0\r\n");
    assert_eq!(world.len(0), 1, "a pause that ends does not make it a master");
    promote(&mut world);
    world.pass(Duration::from_secs(1));
    world.tick();
    assert_eq!(world.len(0), 0);
}

#[test]
fn a_replica_does_not_evict_unless_it_was_told_to() {
    let mut world = World::new(&[("maxmemory-policy", "allkeys-random")]);
    world.call("SET key value");
    follow(&mut world, 7000);
    world.meters.memory.set(2 << 20);
    world.call("CONFIG SET maxmemory 1mb");
    world.call("GET key");
    assert_eq!(world.len(0), 1);
    world.call("CONFIG SET replica-ignore-maxmemory no");
    world.call("GET key");
    assert_eq!(world.len(0), 0);
}

#[test]
fn clients_that_wait_are_told_that_this_is_a_replica_now() {
    let mut world = World::new(&[]);
    let waiting = world.open();
    say(&mut world, waiting, &["BLPOP list 0"]);
    follow(&mut world, 7000);
    let error =
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
    assert_eq!(sendable(&mut world, waiting), error);
    assert_eq!(world.engine.server.sessions.get(waiting).unwrap().closing, Closing::AfterReply);
    assert!(world.effects().iter().any(|effect| matches!(effect, Effect::Unblocked(id) if *id == waiting)));
}

#[test]
fn wait_answers_how_many_replicas_have_what_was_written() {
    let mut world = master(&[]);
    let (first, second) = (replica(&mut world, 7001), replica(&mut world, 7002));
    let client = world.open();
    assert_eq!(say(&mut world, client, &["WAIT 2 0"]), ":2\r\n", "nothing was written");
    assert_eq!(say(&mut world, client, &["SET key value", "WAIT 2 100"]), "+OK\r\n");
    assert!(turn(&mut world), "the replicas are asked");
    acknowledge(&mut world, first);
    assert_eq!(sendable(&mut world, client), "");
    acknowledge(&mut world, second);
    assert_eq!(sendable(&mut world, client), ":2\r\n");
    // A write of the turn at hand has reached nobody.
    assert_eq!(
        say(&mut world, client, &["SET key value", "MULTI", "WAIT 2 0", "EXEC"]),
        "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:0\r\n"
    );
    assert_eq!(say(&mut world, client, &["WAIT 2 100"]), "");
    turn(&mut world);
    acknowledge(&mut world, first);
    world.pass(Duration::from_millis(200));
    world.tick();
    assert_eq!(sendable(&mut world, client), ":1\r\n", "when time is up, what there is counts");
    assert_eq!(say(&mut world, client, &["WAITAOF 0 1 0"]), "*2\r\n:0\r\n:1\r\n");
    say(&mut world, client, &["WAITAOF 0 2 0"]);
    acknowledge(&mut world, second);
    assert_eq!(sendable(&mut world, client), "*2\r\n:0\r\n:2\r\n");
    say(&mut world, client, &["WAIT 3 0"]);
    follow(&mut world, 7001);
    assert!(sendable(&mut world, client).starts_with("-UNBLOCKED"));
}

#[test]
fn writes_are_refused_without_enough_good_replicas() {
    let mut world = master(&[("min-replicas-to-write", "1"), ("min-replicas-max-lag", "5")]);
    assert_eq!(world.call("SET key value"), NOREPLICAS);
    let replica = replica(&mut world, 7001);
    assert_eq!(world.call("SET key value"), "+OK\r\n");
    assert!(world.call("INFO replication").contains("min_slaves_good_slaves:1\r\n"));
    world.pass(Duration::from_secs(7));
    assert_eq!(world.call("SET key value"), NOREPLICAS);
    assert_eq!(world.call("GET key"), "$5\r\nvalue\r\n");
    turn(&mut world);
    acknowledge(&mut world, replica);
    assert_eq!(world.call("SET key value"), "+OK\r\n");
}

#[test]
fn a_synchronous_write_is_answered_when_replicas_have_it() {
    let mut world = master(&[("synchronous-replicas", "1")]);
    assert_eq!(world.call("SET key value"), NOREPLICAS);
    let replica = replica(&mut world, 7001);
    turn(&mut world);
    let (client, reader) = (world.open(), world.open());
    assert_eq!(say(&mut world, client, &["SET a 1", "PING", "INCR a"]), "");
    assert_eq!(say(&mut world, reader, &["PING", "GET b", "GET a"]), "+PONG\r\n$-1\r\n");
    assert!(world.call("INFO replication").contains("synchronous_waiting_replies:3\r\n"));
    assert!(turn(&mut world));
    assert!(!turn(&mut world), "they are asked once");
    acknowledge(&mut world, replica);
    assert_eq!(sendable(&mut world, client), "+OK\r\n+PONG\r\n:2\r\n");
    assert_eq!(sendable(&mut world, reader), "$1\r\n2\r\n");
    // What was acknowledged stays so when the replica leaves.
    world.engine.server.replication.primary.closed(world.now.instant, {
        let session = world.engine.server.sessions.get(replica).unwrap();
        link_of(session)
    });
    turn(&mut world);
    assert_eq!(say(&mut world, reader, &["GET a"]), "$1\r\n2\r\n");
    assert_eq!(say(&mut world, client, &["SET a 3"]), NOREPLICAS);
}

#[test]
fn what_was_there_before_the_synchronous_mode_is_told_and_what_a_new_master_holds() {
    let mut world = master(&[]);
    world.call("SET a 1");
    let client = world.open();
    let on = ["CONFIG SET synchronous-replicas 1", "GET a", "DBSIZE"];
    say(&mut world, client, &on);
    turn(&mut world);
    assert_eq!(sendable(&mut world, client), "$1\r\n1\r\n:1\r\n");
    assert_eq!(say(&mut world, client, &["GET a", "DBSIZE"]), "$1\r\n1\r\n:1\r\n");
    follow(&mut world, 7000);
    turn(&mut world);
    promote(&mut world);
    assert_eq!(say(&mut world, client, &["GET a", "SET a 2"]), format!("$1\r\n1\r\n{NOREPLICAS}"));
    turn(&mut world);
    assert_eq!(say(&mut world, client, &["KEYS *"]), "*1\r\n$1\r\na\r\n");
}

#[test]
fn after_its_time_a_synchronous_write_is_answered_that_nobody_knows() {
    let mut world = master(&[("synchronous-replicas", "1"), ("synchronous-timeout", "1000")]);
    let replica = replica(&mut world, 7001);
    turn(&mut world);
    let (client, late) = (world.open(), world.open());
    say(&mut world, client, &["SUBSCRIBE news"]);
    sendable(&mut world, client);
    world.engine.server.sessions.get_mut(client).unwrap().protocol = engine::Protocol::Resp3;
    say(&mut world, client, &["SET a 1", "SET b 1", "PING"]);
    world.call("PUBLISH news today");
    say(&mut world, client, &["ECHO x", "INCR a"]);
    turn(&mut world);
    world.pass(Duration::from_millis(600));
    say(&mut world, late, &["SET c 1"]);
    turn(&mut world);
    let due = world.engine.replication_due().unwrap();
    world.pass(Duration::from_millis(399));
    world.engine.tend_replication(world.now);
    assert_eq!(sendable(&mut world, client), "");
    world.pass(Duration::from_millis(1));
    assert_eq!(due, world.now.instant);
    world.engine.tend_replication(world.now);
    let answers = sendable(&mut world, client);
    let answers: Vec<&str> = answers.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let push = [">3", "$7", "message", "$4", "news", "$5", "today"];
    let expected = [&["-UNKNOWN", "-UNKNOWN", "+PONG"][..], &push, &["$1", "x", "-UNKNOWN"]].concat();
    assert_eq!(answers, expected);
    assert_eq!(sendable(&mut world, late), "", "its time is not up");
    assert!(world.engine.replication_due().is_some_and(|due| due > world.now.instant));
    acknowledge(&mut world, replica);
    assert_eq!(sendable(&mut world, late), "+OK\r\n");
    assert_eq!(world.engine.replication_due(), None);
    // The fourth was PUBLISH: it is passed on to replicas, too.
    assert!(world.call("INFO replication").contains("synchronous_unknown_outcomes:4\r\n"));
    assert_eq!(sendable(&mut world, client), "");
}

#[test]
fn a_master_that_is_demoted_does_not_say_what_it_does_not_know() {
    let mut world = master(&[("synchronous-replicas", "1")]);
    let replica = replica(&mut world, 7001);
    turn(&mut world);
    let client = world.open();
    say(&mut world, client, &["SET a 1"]);
    turn(&mut world);
    // The write and the demotion may come in one turn, on one link.
    say(&mut world, client, &["SET b 1", "REPLICAOF 10.0.0.9 7000"]);
    turn(&mut world);
    let answers = sendable(&mut world, client);
    assert!(answers.starts_with("-UNKNOWN "), "{answers}");
    assert_eq!(answers.matches("-UNKNOWN ").count(), 2);
    assert!(answers.ends_with("+OK\r\n"));
    let _ = replica;
}

#[test]
fn switching_the_synchronous_mode_off_lets_go_of_what_it_held() {
    let mut world = master(&[]);
    replica(&mut world, 7001);
    turn(&mut world);
    let client = world.open();
    // It holds from the very next command.
    assert_eq!(say(&mut world, client, &["CONFIG SET synchronous-replicas 1", "SET a 1"]), "+OK\r\n");
    turn(&mut world);
    assert_eq!(sendable(&mut world, client), "");
    world.call("CONFIG SET synchronous-replicas 0");
    turn(&mut world);
    assert_eq!(sendable(&mut world, client), "+OK\r\n");
}

#[test]
fn writes_are_refused_when_the_lease_is_over() {
    let mut world = master(&[("synchronous-replicas", "1"), ("synchronous-lease", "500")]);
    let replica = replica(&mut world, 7001);
    assert_eq!(world.call("SET a 1"), "+OK\r\n");
    world.pass(Duration::from_millis(501));
    assert_eq!(world.call("SET a 1"), NOREPLICAS);
    assert!(world.call("INFO replication").contains("synchronous_state:refusing-writes\r\n"));
    turn(&mut world);
    acknowledge(&mut world, replica);
    assert_eq!(world.call("SET a 1"), "+OK\r\n");
}

#[test]
fn failover_refuses_what_it_cannot_do() {
    let mut world = master(&[]);
    for (command, error) in [
        ("FAILOVER ABORT", "-ERR No failover in progress.\r\n"),
        ("FAILOVER", "-ERR FAILOVER requires connected replicas.\r\n"),
        ("FAILOVER TO a", "-ERR syntax error\r\n"),
        ("FAILOVER TIMEOUT 0", "-ERR FAILOVER timeout must be greater than 0\r\n"),
        ("FAILOVER TIMEOUT x", "-ERR value is not an integer or out of range\r\n"),
        ("FAILOVER ABORT TIMEOUT 1", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(world.call(command), error, "{command}");
    }
    replica(&mut world, 7001);
    for (command, error) in [
        (
            "FAILOVER FORCE",
            "-ERR FAILOVER with force option requires both a timeout and target HOST and IP.\r\n",
        ),
        ("FAILOVER TO 10.0.0.1 7002", "-ERR FAILOVER target HOST and PORT is not a replica.\r\n"),
        ("FAILOVER TO 10.0.0.1 99999", "-ERR FAILOVER target HOST and PORT is not a replica.\r\n"),
    ] {
        assert_eq!(world.call(command), error, "{command}");
    }
    follow(&mut world, 7000);
    assert_eq!(world.call("FAILOVER"), "-ERR FAILOVER is not valid when server is a replica.\r\n");
}

#[test]
fn a_failover_waits_for_a_replica_that_has_everything_and_follows_it() {
    let mut world = master(&[]);
    let replica = replica(&mut world, 7001);
    let client = world.open();
    say(&mut world, client, &["SET a 1"]);
    turn(&mut world);
    assert_eq!(world.call("FAILOVER TIMEOUT 5000"), "+OK\r\n");
    assert_eq!(world.call("FAILOVER"), "-ERR FAILOVER already in progress.\r\n");
    assert_eq!(world.call("REPLICAOF no one"), "-ERR REPLICAOF not allowed while failing over.\r\n");
    world.call("CLIENT UNPAUSE");
    assert_eq!(world.call("SET a 2"), "", "writes wait");
    assert_eq!(world.call("GET a"), "$1\r\n1\r\n");
    world.engine.tend_replication(world.now);
    assert!(world.call("INFO replication").contains("master_failover_state:waiting-for-sync\r\n"));
    acknowledge(&mut world, replica);
    let info = world.call("INFO replication");
    assert!(info.contains("master_failover_state:failover-in-progress\r\n"), "{info}");
    assert!(
        info.contains(
            "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:7001\r\nmaster_link_status:down\r\n"
        )
    );
    assert_eq!(world.call("SET a 2"), READONLY, "it is refused at once, and not held");
    world.effects();
    // The replica will not: everything is as it was.
    let now = world.now;
    world.engine.hand_over_refused(now, "-ERR no");
    assert!(world.call("INFO replication").contains("role:master\r\n"));
    assert!(world.effects().iter().any(|effect| matches!(effect, Effect::Resume)));
    assert_eq!(world.call("SET a 2"), "+OK\r\n");
    assert_eq!(world.engine.server.replication.primary.upstream(), Upstream::None);
}

#[test]
fn a_failover_ends_with_its_time_or_by_a_word() {
    let mut world = master(&[]);
    replica(&mut world, 7001);
    world.call("SET a 1");
    turn(&mut world);
    world.call("FAILOVER TO 10.0.0.1 7001 TIMEOUT 1000");
    world.pass(Duration::from_millis(999));
    world.engine.tend_replication(world.now);
    assert!(world.call("INFO replication").contains("waiting-for-sync"));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.engine.replication_due(), Some(world.now.instant));
    world.engine.tend_replication(world.now);
    assert!(world.call("INFO replication").contains("role:master\r\n"));
    assert!(world.call("INFO replication").contains("no-failover"));
    assert_eq!(world.call("SET a 1"), "+OK\r\n");

    world.call("FAILOVER");
    assert_eq!(world.call("FAILOVER ABORT"), "+OK\r\n");
    assert_eq!(world.call("SET a 1"), "+OK\r\n");

    // With FORCE, what the replica lacks does not matter.
    turn(&mut world);
    world.call("FAILOVER TO 10.0.0.1 7001 TIMEOUT 1000 FORCE");
    world.pass(Duration::from_secs(1));
    world.engine.tend_replication(world.now);
    assert!(world.call("INFO replication").contains("failover-in-progress"));
    let now = world.now;
    world.engine.hand_over_refused(now, "-ERR PSYNC FAILOVER can't be sent to a master.");
    let info = world.call("INFO replication");
    assert!(
        info.contains("role:slave\r\n") && info.contains("no-failover"),
        "it took over, and the answer was lost"
    );
}

#[test]
fn role_and_client_list_tell_who_replicates() {
    let mut world = master(&[("client-output-buffer-limit", "replica 10kb 0 0")]);
    assert_eq!(world.call("ROLE"), "*3\r\n$6\r\nmaster\r\n:100\r\n*0\r\n");
    let replica = replica(&mut world, 7001);
    assert_eq!(
        world.call("ROLE"),
        "*3\r\n$6\r\nmaster\r\n:100\r\n*1\r\n*3\r\n$8\r\n10.0.0.1\r\n$4\r\n7001\r\n$3\r\n100\r\n"
    );
    let info = world.call("INFO replication");
    assert!(info.contains("slave0:ip=10.0.0.1,port=7001,state=online,offset=100,lag=0\r\n"), "{info}");
    assert!(info.contains(&format!("master_replid2:{}\r\n", "a".repeat(40))));
    assert!(info.contains("master_repl_offset:100\r\nsecond_repl_offset:101\r\nrepl_backlog_active:1\r\n"));
    assert!(info.contains("repl_backlog_first_byte_offset:101\r\nrepl_backlog_histlen:0\r\n"));
    assert!(world.call("INFO clients").contains("connected_clients:1\r\n"));
    assert!(world.call("INFO stats").contains("sync_full:0\r\nsync_partial_ok:1\r\nsync_partial_err:0\r\n"));
    world.call("CONFIG RESETSTAT");
    assert!(world.call("INFO stats").contains("sync_partial_ok:0\r\n"));
    world.call_words(&[b"SET", b"large", &[b'x'; 50_000]]);
    turn(&mut world);
    let list = world.call("CLIENT LIST TYPE replica");
    assert!(list.contains(" flags=S ") && list.contains(" omem=50"), "{list}");
    assert_eq!(world.call("CLIENT LIST TYPE master").lines().count(), 2, "a length, and nothing");
    assert_eq!(world.call("CLIENT KILL TYPE slave"), ":1\r\n");
    assert_eq!(world.engine.server.sessions.get(replica).unwrap().closing, Closing::Now);

    follow(&mut world, 7000);
    assert_eq!(
        world.call("ROLE"),
        "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.9\r\n:7000\r\n$7\r\nconnect\r\n:-1\r\n"
    );
    let info = world.call("INFO replication");
    assert!(info.contains("master_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:0\r\n"), "{info}");
    assert!(info.contains("slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n"));
}

#[test]
fn the_link_of_a_replica_does_not_touch_the_data() {
    let mut world = master(&[]);
    let replica = replica(&mut world, 7001);
    world.call_as(replica, &[b"SET", b"a", b"1"]);
    world.call_as(replica, &[b"PUBLISH", b"a", b"1"]);
    assert_eq!(world.call("EXISTS a"), ":0\r\n");
    assert!(world.call("INFO errorstats").contains("errorstat_ERR:count=2"));
}

#[test]
fn a_transaction_may_change_the_role_in_its_midst() {
    let mut world = master(&[("replica-read-only", "no")]);
    replica(&mut world, 7001);
    let client = world.open();
    say(&mut world, client, &["MULTI", "SET a 1", "REPLICAOF 10.0.0.9 7000", "SET b 1", "EXEC"]);
    let replication = &world.engine.server.replication;
    let held = replication.replica.as_ref().unwrap().position().unwrap().offset;
    assert_eq!(held, world.engine.server.stream_offset(), "the history ends with what was done as a master");
    assert_eq!(world.propagated(), ["0 SET a 1"]);

    say(&mut world, client, &["MULTI", "REPLICAOF no one", "SET c 1", "SET d 1", "EXEC"]);
    assert_eq!(world.propagated(), ["0 MULTI", "0 SET c 1", "0 SET d 1", "0 EXEC"]);
}

#[test]
fn a_write_of_the_master_that_the_disk_refuses_ends_a_replica_unless_that_is_ignored() {
    for (ignore, ends) in [("no", true), ("yes", false)] {
        let mut world = World::new(&[("replica-ignore-disk-write-errors", ignore)]);
        follow(&mut world, 7000);
        let refusal = Some("MISCONF Errors writing to the AOF file: No space left on device".to_owned());
        let now = world.now;
        let figures = engine::persistence::LogFigures { refusal, ..Default::default() };
        world.engine.log_advanced(now, figures);
        world.effects();
        let link = world.open();
        let mut session = world.engine.server.sessions.take(link).unwrap();
        session.origin = engine::session::Origin::Master;
        let request = engine::session::OwnedRequest::from_words([&b"SET"[..], b"a", b"1"].into_iter());
        world.engine.apply(now, &world.meters, &mut session, request.request()).unwrap();
        world.engine.server.sessions.put(session);
        assert_eq!(world.effects().iter().any(|effect| matches!(effect, Effect::Crash(_))), ends);
    }
}

#[test]
fn what_the_replica_of_a_failover_has_is_known_in_the_synchronous_mode() {
    let mut world = master(&[("synchronous-replicas", "1")]);
    let replica = replica(&mut world, 7001);
    turn(&mut world);
    let client = world.open();
    say(&mut world, client, &["SET a 1"]);
    turn(&mut world);
    assert_eq!(world.call("FAILOVER"), "+OK\r\n");
    acknowledge(&mut world, replica);
    assert!(world.engine.server.follows());
    assert_eq!(sendable(&mut world, client), "+OK\r\n");
}

#[test]
fn what_clients_write_to_a_replica_expires_there_and_the_masters_keys_do_not() {
    let mut world = World::new(&[("replica-read-only", "no")]);
    for command in ["SET theirs 1 PX 10", "SET counter 5 PX 10"] {
        world.call(command);
    }
    follow(&mut world, 7000);
    let client = world.open();
    say(&mut world, client, &["SET own 1 PX 10", "SET kept 1", "MULTI", "SET queued 1 PX 10", "EXEC"]);
    assert!(world.call("INFO stats").contains("slave_expires_tracked_keys:2\r\n"));
    world.pass(Duration::from_secs(1));
    world.tick();
    assert_eq!(world.len(0), 3, "the master's two, and the one that does not expire");
    assert!(world.call("INFO stats").contains("slave_expires_tracked_keys:0\r\n"));
    assert_eq!(world.call("GET theirs"), "$-1\r\n");
    assert_eq!(world.len(0), 3, "a read deletes nothing");
    assert_eq!(world.call("INCR counter"), ":1\r\n", "a write begins anew");
    assert_eq!(world.call("TTL counter"), ":-1\r\n");
    assert_eq!(world.len(0), 3);
}

#[test]
fn what_was_loaded_is_read_when_replicas_have_it() {
    let mut world = World::new(&[]);
    world.call("SET a 1");
    let id = replication::ReplId::parse(&[b'a'; 40]).unwrap();
    world.engine.server.replication.primary.resume(world.now, id, 100);
    world.engine.move_to_offset(100);
    world.call("CONFIG SET synchronous-replicas 1");
    world.engine.listen_propagation(true);
    turn(&mut world);
    world.engine.hold_loaded(world.now);
    turn(&mut world);
    let client = world.open();
    assert_eq!(say(&mut world, client, &["DBSIZE", "GET a"]), "");
    let replica = replica(&mut world, 7001);
    acknowledge(&mut world, replica);
    assert_eq!(sendable(&mut world, client), ":1\r\n$1\r\n1\r\n");
}

#[test]
fn what_is_loaded_beside_the_data_is_not_disturbed() {
    let mut world = master(&[]);
    world.engine.server.persistence.loads_beside = true;
    const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(world.call("SAVE"), LOADING);
    assert_eq!(world.call("SET key value"), "+OK\r\n");
    assert!(world.call("INFO persistence").contains("\r\nloading:0\r\nasync_loading:1\r\n"));
    let client = world.open();
    assert_eq!(
        say(&mut world, client, &["MULTI", "PING", "BGREWRITEAOF"]),
        format!("+OK\r\n+QUEUED\r\n{LOADING}")
    );
    assert!(say(&mut world, client, &["EXEC"]).starts_with("-EXECABORT"));
}
