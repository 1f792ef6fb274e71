//! What redis-server 7.0.15 said as a replica and as a master: our machines say the same.

use std::time::Duration;

use base::time::{Instant, Now};
use replication::primary::{Answer, Output as Wish, Primary};
use replication::replica::Output;
use replication::settings::Credentials;
use replication::{LinkId, Position, PrimarySettings, ReplId, Replica, ReplicaSettings};
use resp::{Decoder, Limits};

fn id(digit: char) -> ReplId {
    ReplId::parse(std::iter::repeat_n(digit, ReplId::LEN).collect::<String>().as_bytes()).expect("an id")
}

fn at(secs: u64) -> Now {
    Now { instant: Instant::from_micros(secs * 1_000_000), unix_us: 0 }
}

/// Takes the next request out of `said`, as words.
fn next_request(said: &mut Vec<u8>) -> String {
    let mut decoder = Decoder::new();
    let request = decoder.decode(said, &Limits { authenticated: true, ..Limits::default() });
    let request = request.expect("well formed").expect("something was said");
    let words: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let used = request.consumed();
    said.drain(..used);
    words.join(" ")
}

#[test]
fn our_replica_says_what_redis_server_says() {
    let settings = ReplicaSettings {
        auth: Some(Credentials { user: Some(b"u".to_vec()), password: b"pw".to_vec() }),
        address: Some("10.0.0.2".into()),
        ..ReplicaSettings::new(id('e'), 7001)
    };
    let start = Some(Position { id: id('c'), offset: 0 });
    let mut replica = Replica::new(settings, "127.0.0.1".into(), 6379, start, at(0));
    let (mut said, mut now, mut applied, mut snapshot) = (Vec::new(), 0, 100, 0);
    for line in include_str!("transcripts/redis-server-7.0.15-as-replica.txt").lines() {
        let mut input = Vec::new();
        if replica.poll_timeout().is_some_and(|due| due <= at(now).instant) {
            replica.handle_timeout(at(now));
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("#", _) => continue,
            ("<", answer) => input = format!("{answer}\r\n").into_bytes(),
            ("snapshot", "with mark") => {
                input = b"bytes bbb of a snapshot".to_vec();
                input.extend_from_slice(id('b').as_bytes());
            }
            ("snapshot", _) => input = vec![b'x'; 172],
            ("stream", count) => input = vec![b'x'; count.parse().expect("a count")],
            ("second", _) => now += 1,
            ("cut", _) => {
                now += 2;
                replica.handle_timeout(at(now));
                while replica.poll_output().is_some() {}
                replica.closed(at(now), "cut");
            }
            ("closed", _) => now += 1,
            (">", expected) => {
                collect(&mut replica, at(now), &mut said, &mut applied, &mut snapshot);
                assert_eq!(next_request(&mut said), expected);
                continue;
            }
            _ => panic!("what does {line:?} mean?"),
        }
        if !input.is_empty() {
            replica.handle_input(at(now), &input);
            // Redis says a reply to GETACK in the stream; here the one who applies the stream asks for it.
            let getack = line == "stream 37";
            collect(&mut replica, at(now), &mut said, &mut applied, &mut snapshot);
            if getack {
                replica.acknowledge(at(now));
            }
        }
    }
    collect(&mut replica, at(now), &mut said, &mut applied, &mut snapshot);
    assert_eq!(
        (replica.is_up(), replica.position()),
        (true, None),
        "a master without PSYNC names no history"
    );
    assert_eq!(snapshot, 23 + 172);
    assert!(said.is_empty(), "{}", said.escape_ascii());
}

fn collect(replica: &mut Replica, now: Now, said: &mut Vec<u8>, applied: &mut u64, snapshot: &mut usize) {
    while let Some(output) = replica.poll_output() {
        match output {
            Output::Connect { .. } => replica.connected(now),
            Output::Send(bytes) if bytes == b"SYNC\r\n" => said.extend_from_slice(b"*1\r\n$4\r\nSYNC\r\n"),
            Output::Send(bytes) => said.extend_from_slice(&bytes),
            Output::Snapshot(range) => *snapshot += range.len(),
            Output::EndSnapshot => replica.snapshot_loaded(now, Ok(())),
            Output::Apply(range) => {
                *applied += range.len() as u64;
                replica.applied(*applied);
            }
            _ => {}
        }
    }
}

#[test]
fn our_master_answers_what_redis_server_answers() {
    let settings = PrimarySettings { diskless_delay: Duration::ZERO, ..PrimarySettings::default() };
    let mut primary = Primary::new(settings, id('e'), 1, 0, at(0));
    let (mut link, mut offset, mut snapshot) = (1, 0, None);
    let (mut sent, mut mark) = (Vec::new(), String::new());
    for line in include_str!("transcripts/redis-server-7.0.15-as-master.txt").lines() {
        let history = primary.history().id.to_string();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("#", _) => continue,
            (">", request) => {
                assert!(sent.is_empty(), "before {line}: {}", String::from_utf8_lossy(&sent));
                let mut bytes = request.replace("<id>", &history).into_bytes();
                bytes.extend_from_slice(b"\r\n");
                let mut decoder = Decoder::new();
                let request =
                    decoder.decode(&bytes, &Limits::default()).expect("well formed").expect("whole");
                let answer = match request.arg(0) {
                    b"REPLCONF" => primary.replconf(at(0), LinkId(link), request),
                    _ => primary.sync(at(0), LinkId(link), "127.0.0.1", false, request),
                };
                match answer {
                    Answer::Ok => sent.extend_from_slice(b"+OK\r\n"),
                    Answer::Error(text) => sent.extend_from_slice(format!("-{text}\r\n").as_bytes()),
                    Answer::Nothing => {}
                    other => panic!("{line} is answered {other:?}"),
                }
            }
            ("<", expected) => {
                let (mut line, mut rest) = (sent.clone(), Vec::new());
                if let Some(end) = sent.iter().position(|byte| *byte == b'\n') {
                    rest = line.split_off(end + 1);
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if let Some(found) = text.strip_prefix("$EOF:") {
                    found.clone_into(&mut mark);
                }
                assert_eq!(text, expected.replace("<id>", &history).replace("<mark>", &mark));
                sent = rest;
                continue;
            }
            ("snapshot", _) => {
                primary.snapshot_done(at(0).instant, snapshot.take().expect("one has begun"), Ok(100));
            }
            ("write", count) => {
                let count: u64 = count.parse().expect("a count");
                offset += count;
                primary.append(at(0), offset, &vec![b'x'; count as usize]);
                assert!(primary.stream(LinkId(link)).is_empty());
            }
            ("stream", count) => {
                assert_eq!(primary.stream(LinkId(link)).len(), count.parse().expect("a count"));
                primary.streamed(LinkId(link), count.parse().expect("a count"));
            }
            ("info", expected) => {
                let replica = primary.figures(at(0).instant).replicas.remove(0);
                let (ip, port, state, acked) = (replica.address, replica.port, replica.state, replica.acked);
                assert_eq!(format!("slave0:ip={ip},port={port},state={state},offset={acked}"), expected);
            }
            ("another", _) => link += 1,
            _ => panic!("what does {line:?} mean?"),
        }
        while let Some(wish) = primary.poll_output() {
            match wish {
                Wish::Send(_, bytes) => sent.extend_from_slice(&bytes),
                Wish::StartSnapshot { id, diskless, .. } => {
                    assert!(diskless);
                    snapshot = Some(id);
                }
                _ => {}
            }
        }
    }
    assert!(sent.is_empty());
}
