//! Replies that wait for what they tell of, and commands that the files refuse.

use engine::SessionId;
use engine::hold::Hold;
use engine::persistence::LogFigures;

use crate::world::World;

fn world() -> World {
    let mut world = World::new(&[]);
    world.engine.listen_propagation(true);
    world.engine.server.hold_replies(Hold::WritesAndReads);
    world
}

/// Returns how many bytes of the reply to a command may be sent at once, and how many there are.
fn reply(world: &mut World, client: SessionId, command: &str) -> (usize, usize) {
    let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    let reply = world.call_as(client, &words);
    let session = world.engine.server.sessions.get_mut(client).unwrap();
    session.out = reply;
    (session.sendable(), session.unsent())
}

/// Lets everything be told that was written, and forgets the replies.
fn release(world: &mut World, clients: &[SessionId]) {
    let offset = world.engine.server.stream_offset();
    world.engine.server.release_replies(offset);
    for client in clients {
        let session = world.engine.server.sessions.get_mut(*client).unwrap();
        assert_eq!(session.sendable(), session.unsent(), "nothing is held any more");
        session.bytes_out += session.out.len() as u64;
        session.out.clear();
    }
}

#[test]
fn a_reply_to_a_write_waits_and_so_does_a_read_of_what_was_written() {
    let mut world = world();
    let (writer, reader) = (world.open(), world.open());
    assert_eq!(reply(&mut world, writer, "SET key value"), (0, 5));
    assert_eq!(reply(&mut world, reader, "GET other"), (5, 5));
    release(&mut world, &[writer, reader]);

    reply(&mut world, writer, "SADD set member");
    for command in ["SMEMBERS set", "SADD set member", "SCARD set", "EXISTS other set", "DBSIZE", "KEYS x"] {
        let reader = world.open();
        let (sendable, all) = reply(&mut world, reader, command);
        assert!(sendable == 0 && all > 0, "{command} tells of what may be lost");
    }
    for command in ["PING", "ECHO x", "CLIENT ID", "TIME", "EXISTS other"] {
        let reader = world.open();
        let (sendable, all) = reply(&mut world, reader, command);
        assert_eq!(sendable, all, "{command} tells of nothing");
    }
    release(&mut world, &[writer]);
    assert_eq!(reply(&mut world, reader, "SCARD set"), (4, 4));
}

#[test]
fn what_follows_a_held_reply_waits_with_it_and_nothing_else_does() {
    let mut world = world();
    let (first, second) = (world.open(), world.open());
    reply(&mut world, first, "INCR n");
    assert_eq!(reply(&mut world, second, "PING"), (7, 7));
    let offset = world.engine.server.stream_offset();
    world.engine.server.next_turn();
    reply(&mut world, second, "INCR m");
    world.engine.server.release_replies(offset);
    let sessions = &world.engine.server.sessions;
    assert_eq!(sessions.get(first).unwrap().sendable(), 4);
    assert_eq!(sessions.get(second).unwrap().sendable(), 7, "the answer to PING came before");
}

#[test]
fn a_transaction_waits_for_what_it_wrote_and_for_what_it_read() {
    let mut world = world();
    let (writer, reader) = (world.open(), world.open());
    reply(&mut world, writer, "SET a 1");
    for command in ["MULTI", "GET a"] {
        world.call_as(reader, &command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    assert_eq!(reply(&mut world, reader, "EXEC").0, 0);
}

#[test]
fn waitaof_is_about_the_write_it_was_said_after() {
    let mut world = World::new(&[]);
    world.engine.listen_propagation(true);
    let on = |durable| LogFigures { enabled: true, durable, ..LogFigures::default() };
    let now = world.now;
    world.engine.log_advanced(now, on(0));
    let client = world.open();
    let words = |text: &'static str| text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
    world.call_as(client, &words("SET a 1"));
    let first = world.engine.server.stream_offset();
    world.call_as(client, &words("WAITAOF 1 0 50"));
    world.pass(std::time::Duration::from_millis(60));
    world.tick();
    assert_eq!(world.received(client), "*2\r\n:0\r\n:0\r\n");
    world.call_as(client, &words("SET b 1"));
    world.call_as(client, &words("WAITAOF 1 0 0"));
    let now = world.now;
    world.engine.log_advanced(now, on(first));
    assert_eq!(
        world.received(client),
        "",
        "the first wait is over, and its offset means nothing to the second"
    );
    world.engine.log_advanced(now, on(world.engine.server.stream_offset()));
    assert_eq!(world.received(client), "*2\r\n:1\r\n:0\r\n");
    world.call_as(client, &words("SET c 1"));
    world.call_as(client, &words("WAITAOF 1 0 0"));
    world.engine.log_advanced(now, LogFigures::default());
    assert!(world.received(client).starts_with("-ERR WAITAOF cannot be used"));
}

#[test]
fn writes_are_refused_while_the_log_cannot_follow_and_transactions_with_them() {
    let mut world = World::new(&[]);
    let client = world.open();
    let words = |text: &'static str| text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
    world.call_as(client, &words("MULTI"));
    world.call_as(client, &words("SET a 1"));
    let now = world.now;
    let refusal = Some("MISCONF Errors writing to the AOF file: No space left on device".to_owned());
    world.engine.log_advanced(now, LogFigures { refusal, ..LogFigures::default() });
    let reply = String::from_utf8(world.call_as(client, &words("EXEC"))).unwrap();
    assert!(reply.starts_with("-EXECABORT Transaction discarded because of: MISCONF"), "{reply}");
    assert!(world.call("SET a 1").starts_with("-MISCONF"));
    assert!(world.call("PING").starts_with("-MISCONF"));
    assert_eq!(world.call("GET a"), "$-1\r\n");
    world.engine.log_advanced(now, LogFigures::default());
    assert_eq!(world.call("SET a 1"), "+OK\r\n");
}
