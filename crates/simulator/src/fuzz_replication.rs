//! What the fuzzers do with replication links: `replica_link` is a rogue master's, `primary_link` a rogue replica's.

use std::time::Duration;

use base::time::{Instant, Now};
use replication::primary::{Answer, Output as Wish};
use replication::replica::Output;
use replication::{LinkId, Position, Primary, PrimarySettings, ReplId, Replica, ReplicaSettings};
use resp::{Decoder, Limits};

fn id(digit: char) -> ReplId {
    ReplId::parse(std::iter::repeat_n(digit, ReplId::LEN).collect::<String>().as_bytes()).expect("an id")
}

fn after(micros: u64) -> Now {
    Now { instant: Instant::from_micros(micros), unix_us: micros as i64 }
}

/// How much a rogue peer may claim for a snapshot.
const SNAPSHOT_MAX: u64 = 1 << 20;

/// Whatever a master sends ends in a closed link or in bytes that were sent, and does not depend on how they arrive.
///
/// The first byte chooses how far the master behaves, the second how its bytes arrive.
pub fn replica_link(data: &[u8]) {
    let [behaves, step, data @ ..] = data else { return };
    let (a, b) = (id('a'), id('b'));
    let greeting = "+PONG\r\n+OK\r\n+OK\r\n";
    let prefix = match behaves % 8 {
        0 => String::new(),
        1 => "+PONG\r\n".into(),
        2 => greeting.into(),
        3 => format!("{greeting}+FULLRESYNC {b} 1000\r\n"),
        4 => format!("{greeting}+FULLRESYNC {b} 1000\r\n$EOF:{a}\r\n"),
        5 => format!("{greeting}+FULLRESYNC {b} 1000\r\n${}\r\n", data.len() / 2),
        6 => format!("{greeting}+CONTINUE {b}\r\n"),
        _ => format!("{greeting}-ERR unknown command\r\n"),
    };
    let mut bytes = prefix.into_bytes();
    bytes.extend_from_slice(data);
    let held = u64::from(behaves & 8);
    let whole = listen(&bytes, bytes.len(), held);
    let pieces = listen(&bytes, usize::from(*step) + 1, held);
    assert_eq!(whole, pieces, "what a master says depends on how its bytes arrive");
}

/// What a replica made of its master's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    snapshot: Vec<u8>,
    stream: Vec<u8>,
    sent: Vec<u8>,
    closed: bool,
    ended: bool,
    state: &'static str,
}

fn listen(bytes: &[u8], step: usize, held: u64) -> Heard {
    let settings = ReplicaSettings { snapshot_max: SNAPSHOT_MAX, ..ReplicaSettings::new(id('e'), 7000) };
    let start = Some(Position { id: id('a'), offset: 2_000 });
    let mut replica = Replica::new(settings, "master".into(), 6379, start, after(0));
    let mut heard = Heard::default();
    replica.hold(held);
    replica.handle_timeout(after(0));
    replica.connected(after(0));
    for input in bytes.chunks(step.max(1)) {
        replica.handle_input(after(1), input);
        let mut at = 0;
        while let Some(output) = replica.poll_output() {
            let closed = heard.closed;
            let mut part = |range: std::ops::Range<usize>| {
                assert!(
                    !closed && range.start >= at && range.end <= input.len(),
                    "bytes are handed on twice"
                );
                at = range.end;
                &input[range]
            };
            match output {
                Output::Snapshot(range) => heard.snapshot.extend_from_slice(part(range)),
                Output::Apply(range) => heard.stream.extend_from_slice(part(range)),
                Output::SnapshotKept(kept) => {
                    assert!(kept.len() < ReplId::LEN && !closed);
                    heard.snapshot.extend_from_slice(&kept);
                }
                Output::BeginSnapshot { len, .. } => assert!(len.is_none_or(|len| len <= SNAPSHOT_MAX)),
                Output::EndSnapshot => {
                    heard.ended = true;
                    // What is loaded is somebody else's matter; the stream that follows is ours.
                    replica.data_dropped();
                }
                Output::Close => heard.closed = true,
                Output::Send(bytes) if !closed => heard.sent.extend_from_slice(&bytes),
                _ => {}
            }
        }
        if heard.closed {
            break;
        }
    }
    // Time passes without a word: whatever the state is, it ends in another attempt.
    heard.state = replica.figures(after(1).instant).state;
    if heard.ended {
        replica.snapshot_loaded(after(2), Err("it was nonsense".into()));
    }
    if !heard.closed {
        replica.handle_timeout(after(100_000_000));
        replica.handle_timeout(after(300_000_000));
        assert_ne!(
            replica.figures(after(300_000_000).instant).state,
            "connected",
            "a silent master is given up"
        );
    } else {
        assert!(replica.poll_timeout().is_some(), "a link that was closed is opened again");
    }
    heard
}

/// Whatever a replica sends is answered or ends its link, and costs no memory that was merely claimed.
///
/// A byte below 16 between requests is what happens at the master instead: writes, time, pieces, a closed link.
pub fn primary_link(data: &[u8]) {
    let settings = PrimarySettings {
        backlog_size: 1 << 14,
        timeout: Duration::from_secs(3),
        diskless: data.first().is_some_and(|byte| byte & 1 == 0),
        ..PrimarySettings::default()
    };
    let mut primary = Primary::new(settings, id('e'), 1, 0, after(0));
    let (mut micros, mut offset, mut link) = (0, 0, 1);
    let (mut child, mut held) = (None, Vec::new());
    for part in data.split_inclusive(|byte| *byte < 9) {
        let (last, requests) = part.split_last().expect("a part has a byte");
        answer(&mut primary, after(micros), LinkId(link), if *last < 9 { requests } else { part });
        match last {
            0 => {
                if primary.listens() {
                    offset += 5_000;
                    primary.append(after(micros), offset, &[b'x'; 5_000]);
                } else {
                    offset = primary.offset();
                }
            }
            1 => micros += 700_000,
            2 => link = link % 4 + 1,
            3 => primary.closed(after(micros).instant, LinkId(link)),
            4 => primary.piece_taken(after(micros).instant, LinkId(link)),
            5 => primary.file_sent(after(micros).instant, LinkId(link)),
            6 => {
                if let Some((snapshot, _)) = child.take() {
                    primary.snapshot_done(after(micros).instant, snapshot, Ok(100));
                }
            }
            7 => {
                if let Some((snapshot, wanted @ true)) = &mut child {
                    *wanted = false;
                    primary.piece(after(micros).instant, *snapshot);
                }
            }
            8 => {
                let count = primary.stream(LinkId(link)).len();
                primary.streamed(LinkId(link), count);
            }
            _ => {}
        }
        primary.handle_timeout(after(micros));
        while let Some(wish) = primary.poll_output() {
            match wish {
                Wish::StartSnapshot { id, .. } => {
                    assert!(child.is_none(), "one snapshot at a time");
                    child = Some((id, false));
                }
                Wish::NextPiece(id) => {
                    assert_eq!(child, Some((id, false)), "one piece at a time");
                    child = Some((id, true));
                }
                // It may have ended before it was given up.
                Wish::StopSnapshot(id) => drop(child.take_if(|(under_way, _)| *under_way == id)),
                Wish::SendFile { snapshot, .. } => held.push(snapshot),
                Wish::DropSnapshot(id) => held.retain(|held| *held != id),
                Wish::Close(link) | Wish::Finish(link) => assert!(!primary.is_replica(link)),
                _ => {}
            }
        }
        let figures = primary.figures(after(micros).instant);
        assert!(
            figures.replicas.iter().all(|replica| replica.acked <= figures.offset),
            "nobody is ahead of us"
        );
        assert!(figures.replicas.len() <= 4);
    }
}

/// Executes the requests in `bytes`, as far as they are requests.
fn answer(primary: &mut Primary, now: Now, link: LinkId, mut bytes: &[u8]) {
    let (mut decoder, limits) = (Decoder::new(), Limits::default());
    while let Ok(Some(request)) = decoder.decode(bytes, &limits) {
        bytes = &bytes[request.consumed()..];
        let answer = match request.get(0).unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"replconf" => primary.replconf(now, link, request),
            b"psync" if request.len() >= 3 => primary.sync(now, link, "10.0.0.1", false, request),
            b"sync" => primary.sync(now, link, "10.0.0.1", false, request),
            _ => Answer::Nothing,
        };
        if let Answer::Error(text) | Answer::Status(text) = answer {
            assert!(!text.contains(['\r', '\n']) && text.len() < 4_096, "an answer is one line");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::rng::Rng;

    #[test]
    fn rogue_peers_that_nearly_behave_are_survived() {
        let mut rng = Rng::seeded(11);
        let words: [&[u8]; 16] = [
            b"PSYNC ? -1\r\n",
            b"PSYNC ",
            b"SYNC\r\n",
            b"REPLCONF ACK 99999999\r\n",
            b"REPLCONF ACK 0 FACK 1\r\n",
            b"REPLCONF capa eof capa psync2\r\n",
            b"REPLCONF rdb-only 1\r\n",
            b"REPLCONF rdb-filter-only \"\"\r\n",
            b"REPLCONF chain x\r\n",
            b"$EOF:",
            b"$1152921504606846976\r\n",
            b"$-1\r\n",
            b"+FULLRESYNC ",
            b"+CONTINUE\r\n",
            &[b'a'; 40],
            b"\r\n",
        ];
        for _ in 0..3_000 {
            let mut data = vec![rng.next_u64() as u8, rng.next_u64() as u8];
            for _ in 0..rng.below(40) {
                match rng.below(2) {
                    0 => data.extend_from_slice(words[rng.below(16) as usize]),
                    _ => data.push(rng.below(10) as u8),
                }
            }
            replica_link(&data);
            primary_link(&data);
        }
    }
}
