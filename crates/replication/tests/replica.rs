//! The replica's machine alone: masters that refuse, lie, fall silent, follow us, or have lost their data.

use std::time::Duration;

use base::log_level::LogLevel;
use base::time::{Instant, Now};
use replication::replica::{Output, Refusal};
use replication::{Position, ReplId, Replica, ReplicaSettings};

fn id(digit: char) -> ReplId {
    ReplId::parse(std::iter::repeat_n(digit, ReplId::LEN).collect::<String>().as_bytes()).expect("an id")
}

fn at(secs: u64) -> Now {
    Now { instant: Instant::from_micros(secs * 1_000_000), unix_us: 0 }
}

fn settings() -> ReplicaSettings {
    ReplicaSettings::new(id('e'), 7001)
}

/// Returns a replica that has connected, and holds `keys` keys of history `a` up to 1000.
fn connected(settings: ReplicaSettings, keys: u64) -> Replica {
    let start = Some(Position { id: id('a'), offset: 1_000 });
    let mut replica = Replica::new(settings, "master".into(), 6379, start, at(0));
    replica.hold(keys);
    connect(&mut replica, at(0));
    replica
}

fn connect(replica: &mut Replica, now: Now) {
    replica.handle_timeout(now);
    let connects = outputs(replica).contains(&Output::Connect { host: "master".into(), port: 6379 });
    assert!(connects, "it is time to connect");
    replica.connected(now);
    replica.handle_input(now, b"+PONG\r\n+OK\r\n+OK\r\n");
    outputs(replica);
}

fn outputs(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.poll_output())
        .filter(|output| !matches!(output, Output::Line(..)))
        .collect()
}

fn hear(replica: &mut Replica, now: Now, text: &str) -> Vec<Output> {
    replica.handle_input(now, text.as_bytes());
    outputs(replica)
}

#[test]
fn a_master_that_talks_nonsense_is_left_at_once() {
    let (b, endless) = (id('b'), "x".repeat(9_000));
    let full = format!("+FULLRESYNC {b} 5000\r\n");
    let nonsense = [
        "-NOAUTH Authentication required.\r\n".to_owned(),
        "-NOPERM no\r\n".into(),
        "+FULLRESYNC\r\n".into(),
        format!("+FULLRESYNC {b}\r\n"),
        format!("+FULLRESYNC {b} -5\r\n"),
        format!("+FULLRESYNC {b} 9223372036854775807\r\n"),
        "+FULLRESYNC short 5\r\n".into(),
        "+CONTINUE short\r\n".into(),
        "$5\r\n".into(),
        endless.clone(),
        format!("{full}$1152921504606846976\r\n"),
        format!("{full}$99999999999999999999999\r\n"),
        format!("{full}$-1\r\n"),
        format!("{full}$0\r\n"),
        format!("{full}$EOF:short\r\n"),
        format!("{full}-ERR the disk is full\r\n"),
        format!("{full}+OK\r\n"),
        format!("{full}{endless}"),
        format!("{full}$EOF:{b}\r\n{}", "y".repeat(5_000)),
    ];
    for text in nonsense {
        let mut replica = connected(ReplicaSettings { snapshot_max: 4_000, ..settings() }, 10);
        let heard = hear(&mut replica, at(1), &text);
        assert!(heard.contains(&Output::Close), "{text:.80}: {heard:?}");
        assert_eq!(replica.figures(at(1).instant).state, "connect", "{text:.80}");
        assert_eq!(
            replica.position(),
            Some(Position { id: id('a'), offset: 1_000 }),
            "our data is untouched"
        );
        assert!(hear(&mut replica, at(1), "*1\r\n$4\r\nPING\r\n").is_empty(), "nothing is heard any more");
    }
}

#[test]
fn attempts_become_rarer() {
    let mut replica = connected(settings(), 10);
    let (mut now, mut pauses) = (0, Vec::new());
    for _ in 0..16 {
        hear(&mut replica, at(now), "-LOADING\r\n");
        let due = replica.poll_timeout().expect("another attempt").micros() / 1_000_000;
        pauses.push(due - now);
        now = due;
        connect(&mut replica, at(now));
    }
    assert_eq!(pauses, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 10, 10, 10]);
    // A link that was good is opened again at once.
    assert_eq!(hear(&mut replica, at(now), "+CONTINUE\r\n").len(), 2);
    replica.closed(at(now + 5), "reset");
    assert_eq!(replica.poll_timeout(), Some(at(now + 5).instant));
    connect(&mut replica, at(now + 5));
    // Full syncs that fail are dear.
    let (mut now, mut pauses) = (now + 5, Vec::new());
    for _ in 0..8 {
        hear(&mut replica, at(now), &format!("+FULLRESYNC {} 1\r\n$100\r\nabc", id('b')));
        replica.closed(at(now), "reset");
        assert_eq!(outputs(&mut replica), [Output::AbandonSnapshot]);
        let due = replica.poll_timeout().expect("another attempt").micros() / 1_000_000;
        pauses.push(due - now);
        now = due;
        connect(&mut replica, at(now));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn silence_is_not_borne_longer_than_repl_timeout() {
    for text in ["", "+CONTINUE\r\n", "+FULLRESYNC bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 1\r\n"] {
        let mut replica = connected(ReplicaSettings { timeout: Duration::from_secs(9), ..settings() }, 0);
        hear(&mut replica, at(0), text);
        replica.handle_timeout(at(9));
        assert!(!outputs(&mut replica).contains(&Output::Close), "{text}");
        // A line feed is a sign of life.
        hear(&mut replica, at(9), if text.contains("CONTINUE") { "" } else { "\n" });
        replica.handle_timeout(at(10));
        assert_eq!(outputs(&mut replica).contains(&Output::Close), text.contains("CONTINUE"), "{text}");
        replica.handle_timeout(at(19));
        assert_ne!(replica.figures(at(19).instant).state, "sync");
    }
}

#[test]
fn a_snapshot_is_handed_on_in_ranges_and_the_stream_behind_it_waits() {
    let mut replica = connected(settings(), 10);
    let (b, mark) = (id('b'), id('c'));
    let heard = hear(&mut replica, at(0), &format!("+FULLRESYNC {b} 50\r\n\n$EOF:{mark}\r\nabd"));
    let origin = Some(Position { id: b, offset: 50 });
    let begin = Output::BeginSnapshot { origin, len: None, guarded: true };
    assert_eq!(heard[0], begin);
    assert!(matches!(&heard[1], Output::Snapshot(range) if range.len() == 3));
    assert_eq!(hear(&mut replica, at(0), "decc"), [Output::Snapshot(0..2)]);
    assert_eq!(
        hear(&mut replica, at(0), "f"),
        [Output::SnapshotKept(b"cc".to_vec()), Output::Snapshot(0..1)]
    );
    let heard = hear(&mut replica, at(0), &format!("gh{mark}*1\r\n"));
    assert_eq!(heard, [Output::Snapshot(0..2), Output::EndSnapshot, Output::Apply(42..46)]);
    assert!(!replica.wants_input() && !replica.is_up());
    replica.handle_timeout(at(1));
    assert_eq!(outputs(&mut replica), [Output::Send(b"\n".to_vec())]);
    replica.data_dropped();
    replica.snapshot_loaded(at(2), Ok(()));
    assert_eq!(
        outputs(&mut replica),
        [Output::Send(b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n50\r\n".to_vec())]
    );
    assert_eq!((replica.is_up(), replica.position()), (true, origin));
    replica.synced(Some(52));
    replica.applied(54);
    replica.acknowledge(at(2));
    let ack = b"*5\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n54\r\n$4\r\nFACK\r\n$2\r\n52\r\n".to_vec();
    assert_eq!(outputs(&mut replica), [Output::Send(ack)]);
    assert_eq!(replica.figures(at(2).instant).received, 54);
}

#[test]
fn an_empty_master_is_refused_until_that_is_allowed() {
    let mut replica = connected(settings(), 10);
    let text = format!("+FULLRESYNC {} 0\r\n$100\r\nREDIS", id('b'));
    hear(&mut replica, at(0), &text);
    replica.snapshot_holds(at(0), 0);
    let mut lines = Vec::new();
    while let Some(output) = replica.poll_output() {
        if let Output::Line(level, line) = output {
            lines.push((level, line));
        }
    }
    assert!(
        lines.iter().any(|(level, line)| *level == LogLevel::Warning && line.contains("REPLICAOF NO ONE"))
    );
    let figures = replica.figures(at(0).instant);
    assert_eq!((figures.refused, figures.link_up), (Some(Refusal::Empty { keys_held: 10 }), false));
    assert_eq!(replica.position(), Some(Position { id: id('a'), offset: 1_000 }));
    assert_eq!(replica.poll_timeout(), Some(at(60).instant));
    connect(&mut replica, at(60));
    hear(&mut replica, at(60), &text);
    // It has data again.
    replica.snapshot_holds(at(60), 3);
    assert!(outputs(&mut replica).is_empty());
    replica.closed(at(61), "reset");
    connect(&mut replica, at(63));
    hear(&mut replica, at(63), &text);
    replica.snapshot_holds(at(63), 0);
    outputs(&mut replica);
    replica.accept_empty(at(64));
    connect(&mut replica, at(64));
    let heard = hear(&mut replica, at(64), &text);
    assert!(heard.iter().any(|output| matches!(output, Output::BeginSnapshot { guarded: false, .. })));
    replica.snapshot_holds(at(64), 0);
    assert!(outputs(&mut replica).is_empty());
}

#[test]
fn a_master_that_is_behind_us_in_our_own_history_is_refused() {
    let mut replica = connected(settings(), 10);
    assert_eq!(hear(&mut replica, at(0), &format!("+FULLRESYNC {} 400\r\n", id('a'))), [Output::Close]);
    assert_eq!(replica.figures(at(0).instant).refused, Some(Refusal::Behind { offset: 400, held: 1_000 }));
    // Without data there is nothing to lose.
    let mut replica = connected(settings(), 0);
    assert!(hear(&mut replica, at(0), &format!("+FULLRESYNC {} 400\r\n", id('a'))).is_empty());
}

#[test]
fn loops_are_found_and_said() {
    let mut replica = connected(settings(), 10);
    hear(&mut replica, at(0), "-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
    replica.handle_timeout(at(1));
    replica.connected(at(1));
    outputs(&mut replica);
    let heard = hear(&mut replica, at(1), "+PONG\r\n");
    let asked = format!("*3\r\n$8\r\nREPLCONF\r\n$5\r\nchain\r\n$40\r\n{}\r\n", id('e'));
    assert_eq!(heard.last(), Some(&Output::Send(asked.into_bytes())));
    let heard = hear(&mut replica, at(1), &format!("+OK\r\n+OK\r\n+{} {} {}\r\n", id('1'), id('2'), id('e')));
    assert_eq!(heard, [Output::Chain(Vec::new()), Output::Close]);
    assert_eq!(replica.figures(at(1).instant).refused, Some(Refusal::Loop));
}

#[test]
fn a_replica_hands_its_place_over_or_hears_why_not() {
    let start = Some(Position { id: id('a'), offset: 10 });
    for (answer, accepted) in [("+CONTINUE\r\n", true), ("-ERR no\r\n", false)] {
        let mut replica = Replica::new(settings(), "master".into(), 6379, start, at(0));
        replica.hand_over();
        replica.handle_timeout(at(0));
        replica.connected(at(0));
        outputs(&mut replica);
        let asked = hear(&mut replica, at(0), "+PONG\r\n+OK\r\n+OK\r\n").pop();
        assert!(matches!(asked, Some(Output::Send(bytes)) if bytes.ends_with(b"$8\r\nFAILOVER\r\n")));
        let heard = hear(&mut replica, at(0), answer);
        assert_eq!(heard.contains(&Output::HandOverRefused("-ERR no".into())), !accepted);
        assert_eq!(replica.is_up(), accepted);
    }
}
