//! The master's machine alone: who waits for a snapshot and who shares one, who is cut off, and what is counted.

use std::time::Duration;

use base::time::{Instant, Now};
use replication::backlog::Limit;
use replication::primary::{Answer, Commit, Output, Primary, SnapshotId, Upstream};
use replication::{LinkId, PrimarySettings, ReplId};
use resp::{Decoder, Limits};

fn at(ms: u64) -> Now {
    Now { instant: Instant::from_micros(ms * 1_000), unix_us: 0 }
}

fn primary(settings: PrimarySettings) -> Primary {
    Primary::new(settings, ReplId::parse(&[b'e'; 40]).expect("an id"), 1, 0, at(0))
}

fn say(primary: &mut Primary, now: Now, link: u64, words: &str) -> Answer {
    let bytes = format!("{words}\r\n");
    let mut decoder = Decoder::new();
    let request = decoder.decode(bytes.as_bytes(), &Limits::default()).expect("well formed").expect("whole");
    match request.arg(0) {
        b"REPLCONF" => primary.replconf(now, LinkId(link), request),
        _ => primary.sync(now, LinkId(link), "10.0.0.9", false, request),
    }
}

/// Greets and asks for all of the data.
fn arrive(primary: &mut Primary, now: Now, link: u64) {
    assert_eq!(say(primary, now, link, "REPLCONF capa eof capa psync2"), Answer::Ok);
    assert_eq!(say(primary, now, link, "PSYNC ? -1"), Answer::Nothing);
}

/// Returns what is to be done, lines aside.
fn wishes(primary: &mut Primary) -> Vec<Output> {
    std::iter::from_fn(|| primary.poll_output())
        .filter(|output| !matches!(output, Output::Line(..)))
        .collect()
}

fn started(wishes: &[Output]) -> Option<(SnapshotId, bool)> {
    wishes.iter().find_map(|wish| match wish {
        Output::StartSnapshot { id, diskless, .. } => Some((*id, *diskless)),
        _ => None,
    })
}

fn sent(wishes: &[Output], link: u64) -> String {
    let bytes = wishes.iter().filter_map(|wish| match wish {
        Output::Send(to, bytes) if *to == LinkId(link) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    });
    bytes.collect()
}

fn write(primary: &mut Primary, now: Now, count: u64) {
    let offset = primary.offset() + count;
    primary.append(now, offset, &vec![b'x'; count as usize]);
}

/// Brings a replica to where it is sent the stream.
fn bring_online(primary: &mut Primary, now: Now, link: u64) {
    arrive(primary, now, link);
    let (id, diskless) = started(&wishes(primary)).expect("a snapshot");
    assert!(diskless);
    primary.snapshot_done(now.instant, id, Ok(10));
    say(primary, now, link, &format!("REPLCONF ACK {}", primary.offset()));
    wishes(primary);
}

#[test]
fn the_first_replica_does_not_wait_and_the_next_ones_are_gathered() {
    let mut primary = primary(PrimarySettings::default());
    arrive(&mut primary, at(0), 1);
    let first = wishes(&mut primary);
    assert_eq!(first[0], Output::Attached(LinkId(1)));
    assert_eq!(first[1], Output::Listen(true));
    let (id, _) = started(&first).expect("at once");
    assert!(sent(&first, 1).starts_with(&format!("+FULLRESYNC {} 0\r\n$EOF:", primary.history().id)));
    // No piece has been handed out: a second one may share it.
    arrive(&mut primary, at(1), 2);
    let second = wishes(&mut primary);
    assert!(sent(&second, 2).starts_with("+FULLRESYNC "), "{second:?}");
    primary.piece(at(2).instant, id);
    assert_eq!(wishes(&mut primary), [Output::SendPiece(LinkId(1)), Output::SendPiece(LinkId(2))]);
    // Now it is too late.
    arrive(&mut primary, at(3), 3);
    primary.piece_taken(at(3).instant, LinkId(1));
    assert_eq!(wishes(&mut primary), [Output::Attached(LinkId(3))]);
    primary.piece_taken(at(3).instant, LinkId(2));
    assert_eq!(wishes(&mut primary), [Output::NextPiece(id)]);
    primary.snapshot_done(at(4).instant, id, Ok(7));
    let ended = wishes(&mut primary);
    assert_eq!((sent(&ended, 1).len(), started(&ended)), (40, None));
    arrive(&mut primary, at(2_000), 4);
    assert_eq!(started(&wishes(&mut primary)), None);
    assert_eq!(primary.poll_timeout().map(Instant::micros), Some(1_000_000), "the tick comes first");
    primary.handle_timeout(at(5_002));
    assert_eq!(started(&wishes(&mut primary)), None);
    primary.handle_timeout(at(5_003));
    let both = wishes(&mut primary);
    assert!(started(&both).is_some() && !sent(&both, 3).is_empty() && !sent(&both, 4).is_empty());
}

#[test]
fn a_replica_that_comes_back_waits_for_others_that_may() {
    let mut primary = primary(PrimarySettings { diskless_max_replicas: 2, ..PrimarySettings::default() });
    bring_online(&mut primary, at(0), 1);
    primary.closed(at(1_000).instant, LinkId(1));
    arrive(&mut primary, at(1_001), 2);
    assert_eq!(started(&wishes(&mut primary)), None);
    arrive(&mut primary, at(1_002), 3);
    assert!(started(&wishes(&mut primary)).is_some(), "two are enough");
}

#[test]
fn a_file_is_shared_by_those_who_come_while_it_is_written() {
    let mut primary = primary(PrimarySettings { diskless: false, ..PrimarySettings::default() });
    arrive(&mut primary, at(0), 1);
    let (id, diskless) = started(&wishes(&mut primary)).expect("at once");
    assert!(!diskless);
    write(&mut primary, at(1), 500);
    arrive(&mut primary, at(2), 2);
    assert_eq!(say(&mut primary, at(2), 3, "SYNC"), Answer::Nothing);
    let joined = wishes(&mut primary);
    assert!(sent(&joined, 2).ends_with(" 0\r\n") && sent(&joined, 3).is_empty(), "{joined:?}");
    primary.handle_timeout(at(1_000));
    assert_eq!(sent(&wishes(&mut primary), 2), "\n");
    primary.snapshot_done(at(1_100).instant, id, Ok(77));
    let done = wishes(&mut primary);
    assert_eq!([1, 2, 3].map(|link| sent(&done, link)), ["$77\r\n"; 3]);
    primary.file_sent(at(1_200).instant, LinkId(1));
    assert_eq!(wishes(&mut primary), [Output::Feed(LinkId(1))]);
    assert_eq!(primary.stream(LinkId(1)).len(), 500);
    primary.file_sent(at(1_300).instant, LinkId(2));
    primary.file_sent(at(1_300).instant, LinkId(3));
    assert_eq!(
        wishes(&mut primary),
        [Output::Feed(LinkId(2)), Output::Feed(LinkId(3)), Output::DropSnapshot(id)]
    );
}

#[test]
fn links_that_want_less_get_less() {
    let mut primary = primary(PrimarySettings { diskless: false, ..PrimarySettings::default() });
    assert_eq!(
        say(&mut primary, at(0), 1, "REPLCONF rdb-only 1 capa eof rdb-filter-only functions"),
        Answer::Ok
    );
    say(&mut primary, at(0), 1, "PSYNC ? -1");
    let first = wishes(&mut primary);
    let (id, diskless) = started(&first).expect("at once");
    assert!(diskless, "what is filtered goes to no file");
    assert!(first.iter().any(
        |wish| matches!(wish, Output::StartSnapshot { content, .. } if !content.data && content.functions)
    ));
    primary.snapshot_done(at(1).instant, id, Ok(3));
    assert!(wishes(&mut primary).contains(&Output::Finish(LinkId(1))));
    assert!(!primary.is_replica(LinkId(1)));
}

#[test]
fn a_snapshot_that_nobody_waits_for_is_given_up() {
    for diskless in [true, false] {
        let mut primary = primary(PrimarySettings { diskless, ..PrimarySettings::default() });
        arrive(&mut primary, at(0), 1);
        let (id, _) = started(&wishes(&mut primary)).expect("at once");
        primary.closed(at(1).instant, LinkId(1));
        assert_eq!(wishes(&mut primary), [Output::StopSnapshot(id)]);
        // One that fails costs the link.
        arrive(&mut primary, at(100_000), 2);
        let (id, _) = started(&wishes(&mut primary)).expect("at once");
        primary.snapshot_done(at(100_001).instant, id, Err("No space left on device".into()));
        assert_eq!(wishes(&mut primary), [Output::Close(LinkId(2))]);
    }
}

#[test]
fn a_snapshot_waits_for_other_children() {
    let mut primary = primary(PrimarySettings::default());
    primary.set_busy(true);
    arrive(&mut primary, at(0), 1);
    assert_eq!(started(&wishes(&mut primary)), None);
    primary.set_busy(false);
    assert!(started(&wishes(&mut primary)).is_some());
}

#[test]
fn acknowledgements_are_counted_and_those_from_the_future_end_the_link() {
    let mut primary =
        primary(PrimarySettings { diskless_delay: Duration::ZERO, ..PrimarySettings::default() });
    (1..=3).for_each(|link| bring_online(&mut primary, at(0), link));
    write(&mut primary, at(1), 100);
    assert_eq!(wishes(&mut primary), [1, 2, 3].map(|link| Output::Feed(LinkId(link))));
    primary.request_acks();
    primary.request_acks();
    assert_eq!(wishes(&mut primary), [Output::GetAck]);
    say(&mut primary, at(2), 1, "REPLCONF ACK 100 FACK 60");
    say(&mut primary, at(2), 2, "REPLCONF ACK 70");
    assert_eq!(wishes(&mut primary), [Output::Acked, Output::Acked]);
    let received = |primary: &Primary| [0, 1, 2, 3, 4].map(|count| primary.acked_by(count, Commit::Received));
    assert_eq!(received(&primary), [100, 100, 70, 0, 0]);
    assert_eq!(primary.acked_by(1, Commit::Fsynced), 60);
    assert_eq!((primary.count(70, Commit::Received), primary.count(60, Commit::Fsynced)), (2, 1));
    say(&mut primary, at(3), 2, "REPLCONF ACK 60");
    assert_eq!(received(&primary)[2], 70, "an older one takes nothing back");
    assert_eq!(say(&mut primary, at(3), 3, "REPLCONF ACK -1"), Answer::Nothing);
    assert_eq!(say(&mut primary, at(3), 9, "REPLCONF ACK 1"), Answer::Nothing, "it is no replica");
    assert_eq!(say(&mut primary, at(4), 3, "REPLCONF ACK 101"), Answer::Close);
    assert_eq!(say(&mut primary, at(4), 2, "REPLCONF ACK 70 FACK 101"), Answer::Close);
    assert_eq!(primary.figures(at(4).instant).replicas.len(), 1);
}

#[test]
fn a_silent_replica_is_no_good_one_and_then_none() {
    let mut primary =
        primary(PrimarySettings { timeout: Duration::from_secs(20), ..PrimarySettings::default() });
    bring_online(&mut primary, at(0), 1);
    assert_eq!(
        (primary.good_replicas(at(10_999).instant), primary.good_replicas(at(11_000).instant)),
        (1, 0)
    );
    primary.handle_timeout(at(20_000));
    assert_eq!(wishes(&mut primary), [Output::Ping]);
    primary.handle_timeout(at(21_000));
    assert!(wishes(&mut primary).contains(&Output::Close(LinkId(1))));
}

#[test]
fn a_replica_that_never_reads_is_cut_off() {
    let limit = Limit { hard: 2 << 20, soft: 0, soft_for: Duration::ZERO };
    let mut primary = primary(PrimarySettings { limit, ..PrimarySettings::default() });
    bring_online(&mut primary, at(0), 1);
    (0..30).for_each(|_| write(&mut primary, at(1), 100_000));
    primary.cut_off_slow();
    assert!(wishes(&mut primary).contains(&Output::Close(LinkId(1))));
    assert_eq!(primary.figures(at(1).instant).stats.overrun, 1);
}

#[test]
fn a_backlog_that_nobody_comes_back_for_goes_and_with_it_the_history() {
    let ttl = Duration::from_secs(5);
    let mut primary = primary(PrimarySettings { backlog_ttl: ttl, ..PrimarySettings::default() });
    bring_online(&mut primary, at(0), 1);
    let id = primary.history().id;
    primary.closed(at(1_000).instant, LinkId(1));
    primary.handle_timeout(at(6_000));
    assert!(primary.listens());
    primary.handle_timeout(at(7_001));
    assert_eq!(wishes(&mut primary), [Output::Listen(false)]);
    assert!(primary.history().id != id && primary.poll_timeout().is_none());
    primary.append(at(8_000), 1_000, b"");
    assert_eq!(say(&mut primary, at(9_000), 2, &format!("PSYNC {id} 1")), Answer::Nothing);
    assert_eq!(primary.figures(at(9_000).instant).stats.partial_refused, 1);
}

#[test]
fn a_promoted_replica_lets_others_go_on() {
    let mut primary = primary(PrimarySettings::default());
    let old = ReplId::parse(&[b'a'; 40]).expect("an id");
    primary.set_upstream(at(0), Upstream::Down);
    assert_eq!(
        say(&mut primary, at(0), 1, "PSYNC ? -1"),
        Answer::Error("NOMASTERLINK Can't SYNC while not connected with my master".into())
    );
    primary.replaced(at(0), Some(old), 1_000);
    primary.set_upstream(at(0), Upstream::Up);
    write(&mut primary, at(1), 50);
    let asked = format!("PSYNC {old} 1051 FAILOVER");
    assert_eq!(say(&mut primary, at(2), 1, &asked), Answer::Nothing);
    let done = wishes(&mut primary);
    assert!(done.contains(&Output::Promoted) && done.contains(&Output::SelectAgain));
    assert_eq!(sent(&done, 1), "+CONTINUE\r\n");
    assert_eq!(primary.history().epoch, 1);
    say(&mut primary, at(3), 2, &format!("PSYNC {old} 1052"));
    assert!(!sent(&wishes(&mut primary), 2).contains("CONTINUE"), "it has seen what we have not");
}

#[test]
fn a_restarted_master_lets_those_go_on_who_have_no_more_than_its_file() {
    let mut primary = primary(PrimarySettings::default());
    let old = ReplId::parse(&[b'a'; 40]).expect("an id");
    primary.resume(at(0), old, 1_000);
    say(&mut primary, at(1), 1, &format!("PSYNC {old} 1001"));
    assert_eq!(sent(&wishes(&mut primary), 1), "+CONTINUE\r\n");
    write(&mut primary, at(2), 100);
    say(&mut primary, at(3), 2, &format!("PSYNC {old} 1051"));
    assert!(!sent(&wishes(&mut primary), 2).contains("CONTINUE"));
}

#[test]
fn who_lacks_more_than_its_link_may_owe_takes_all_of_the_data() {
    // Chunks are larger than either: the bytes are there.
    for (hard, backlog_size, may_lack) in [(3_000, 600, 3_000), (600, 3_000, 3_000), (0, 600, 9_000)] {
        let limit = Limit { hard, soft: 0, soft_for: Duration::ZERO };
        let mut primary = primary(PrimarySettings { backlog_size, limit, ..PrimarySettings::default() });
        bring_online(&mut primary, at(0), 1);
        primary.closed(at(1).instant, LinkId(1));
        write(&mut primary, at(2), may_lack);
        let id = primary.history().id;
        assert_eq!(say(&mut primary, at(3), 2, &format!("PSYNC {id} 1")), Answer::Nothing);
        assert!(sent(&wishes(&mut primary), 2).starts_with("+CONTINUE"), "{may_lack} bytes may be lacked");
        primary.cut_off_slow();
        assert!(primary.is_replica(LinkId(2)), "it is not cut off for what it was granted");
        primary.closed(at(4).instant, LinkId(2));
        write(&mut primary, at(5), 1);
        assert_eq!(say(&mut primary, at(6), 3, &format!("PSYNC {id} 1")), Answer::Nothing);
        let goes_on = sent(&wishes(&mut primary), 3).starts_with("+CONTINUE");
        assert_eq!((goes_on, primary.stats().partial_refused), (hard == 0, u64::from(hard != 0)));
    }
}
