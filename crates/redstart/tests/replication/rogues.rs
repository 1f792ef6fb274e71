//! Peers that do not keep to the protocol: a replica keeps its data, a master closes the link.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::{Reply, writers};

use crate::harness::Server;
use crate::site::{Site, converge, is_about_us, ours};

const ID: &str = "+FULLRESYNC 0123456789012345678901234567890123456789 100\r\n";
const MARK: &[u8; 40] = b"abcdefghijabcdefghijabcdefghijabcdefghij";

/// What a rogue master answers.
#[derive(Clone, Default)]
struct Manners {
    ping: Option<Vec<u8>>,
    psync: Vec<u8>,
    /// Bytes that are sent over and over after that, until the replica has had enough.
    endless: Vec<u8>,
    /// It leaves after its answer, rather than waiting until the replica does.
    leaves: bool,
}

/// A master that answers what it likes.
struct Rogue {
    address: SocketAddr,
    /// Links that have ended.
    ended: Arc<AtomicU64>,
    /// An answer was longer than any replica should have listened to.
    endured: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rogue {
    fn start(manners: Manners) -> Rogue {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, endured, stop) = <(Arc<AtomicU64>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let thread = std::thread::spawn({
            let (ended, endured, stop) = (Arc::clone(&ended), Arc::clone(&endured), Arc::clone(&stop));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    serve(stream, &manners, &endured);
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Rogue { address, ended, endured, stop, thread: Some(thread) }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.thread.take().unwrap().join();
        }
    }
}

/// Plays the master on one link, until either end has had enough.
fn serve(mut stream: TcpStream, manners: &Manners, endured: &AtomicBool) {
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(8))).unwrap();
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Ok(Some((request, length))) = Reply::parse(&received) {
            received.drain(..length);
            let word =
                request.elements().first().and_then(Reply::text).unwrap_or_default().to_ascii_uppercase();
            let answer = match &word[..] {
                b"PING" => manners.ping.as_deref().unwrap_or(b"+PONG\r\n"),
                b"REPLCONF" => b"+OK\r\n",
                _ => &manners.psync,
            };
            if stream.write_all(answer).is_err() {
                return;
            }
            if word == b"PSYNC" || word == b"SYNC" {
                let mut sent = 0;
                while !manners.endless.is_empty() && stream.write_all(&manners.endless).is_ok() {
                    sent += manners.endless.len();
                    if sent > 64 << 20 {
                        endured.store(true, Ordering::Relaxed);
                        return;
                    }
                }
                if manners.leaves {
                    return;
                }
            }
        }
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => received.extend_from_slice(&chunk[..length]),
            _ => return,
        }
    }
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Returns a snapshot as some server wrote it.
fn snapshot() -> Vec<u8> {
    let site = Site::start(ours(), &[]);
    writers::load(site.server.address(), 23).unwrap();
    assert_eq!(site.ask("SAVE"), "+OK");
    std::fs::read(site.folder.path("dump.rdb")).unwrap()
}

fn resident(server: &Server) -> u64 {
    server.info("used_memory_rss").parse().unwrap()
}

#[test]
fn a_rogue_master_costs_a_replica_nothing() {
    if !is_about_us() {
        // Redis gives its data up before it has looked at the snapshot.
        return;
    }
    let whole = snapshot();
    let half = &whole[..whole.len() / 2];
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 0x55;
    let length = |length: usize| format!("${length}\r\n").into_bytes();
    let mark = bytes(&[b"$EOF:", MARK, b"\r\n"]);
    let psync = |parts: &[&[u8]]| Manners { psync: parts.concat(), ..Manners::default() };
    let leaving = |parts: &[&[u8]]| Manners { leaves: true, ..psync(parts) };
    let cases = [
        ("garbage for PING", Manners { ping: Some(b"SSH-2.0-rogue\r\n".to_vec()), ..Manners::default() }),
        ("garbage for PSYNC", psync(&[b"what?\r\n"])),
        ("an endless line for PSYNC", Manners { endless: vec![b'x'; 1 << 16], ..psync(&[b"+FULLRESYNC "]) }),
        ("an endless line for PING", Manners { ping: Some(vec![b'x'; 4 << 20]), ..Manners::default() }),
        ("no id", psync(&[b"+FULLRESYNC x 100\r\n"])),
        ("no offset", psync(&[b"+FULLRESYNC 0123456789012345678901234567890123456789 -7\r\n"])),
        ("a length of 2^60", leaving(&[ID.as_bytes(), &length(1 << 60), half])),
        ("a length below zero", psync(&[ID.as_bytes(), b"$-5\r\n"])),
        ("an endless length", Manners { endless: vec![b'1'; 1 << 16], ..psync(&[ID.as_bytes(), b"$"]) }),
        ("a snapshot that is none", psync(&[ID.as_bytes(), &length(1000), &[b'x'; 1000]])),
        ("a snapshot that breaks off", leaving(&[ID.as_bytes(), &length(whole.len()), half])),
        ("a snapshot without its end", psync(&[ID.as_bytes(), &length(half.len()), half])),
        ("a snapshot with a wrong byte", psync(&[ID.as_bytes(), &length(bent.len()), &bent])),
        ("a wrong mark", leaving(&[ID.as_bytes(), &mark, &whole, &[b'z'; 40]])),
        ("a mark in the middle", psync(&[ID.as_bytes(), &mark, half, MARK])),
        ("a short mark", psync(&[ID.as_bytes(), b"$EOF:abc\r\n", &whole, b"abc"])),
        ("pieces with a wrong byte", psync(&[ID.as_bytes(), &mark, &bent, MARK])),
        ("pieces that break off", leaving(&[ID.as_bytes(), &mark, half])),
    ];
    for load in ["disabled", "swapdb"] {
        let mut replica = Site::start(ours(), &["--repl-diskless-load", load]);
        writers::load(replica.server.address(), 29).unwrap();
        let digest = replica.digest();
        let before = resident(&replica.server);
        for (what, manners) in &cases {
            let rogue = Rogue::start(manners.clone());
            replica.follow_address(rogue.address);
            replica.server.wait_until(what, |_| rogue.ended.load(Ordering::Relaxed) > 0);
            assert!(!rogue.endured.load(Ordering::Relaxed), "{what}: listened to without end");
            assert_eq!(
                replica.info("master_link_status"),
                "down",
                "{what}, {load}\n{}",
                replica.server.log()
            );
            assert_eq!(replica.digest(), digest, "{what}, {load}\n{}", replica.server.log());
            let now = resident(&replica.server);
            assert!(now < before + (200 << 20), "{what}: from {before} to {now} bytes");
            assert_eq!(replica.ask("REPLICAOF NO ONE"), "+OK");
        }
        // After all that a real one is followed.
        let master = Site::start(ours(), &[]);
        master.ask("SET k 1");
        replica.follow(&master);
        replica.wait_for_link();
        converge(&[&master, &replica]);
        let rest: Vec<String> =
            replica.folder.names("").into_iter().filter(|name| name.starts_with("temp-")).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// A link on which a replica has said who it is.
fn replica_link(master: &Site, psync: &str) -> TcpStream {
    let mut stream = TcpStream::connect(master.server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"REPLCONF listening-port 1\r\nREPLCONF capa eof capa psync2\r\n").unwrap();
    // PSYNC is refused while an answer is still to be sent.
    read_until(&mut stream, b"+OK\r\n+OK\r\n");
    stream.write_all(psync.as_bytes()).unwrap();
    stream
}

/// Reads until the bytes hold `text`, or the link has ended.
fn read_until(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    while !received.windows(text.len()).any(|window| window == text) {
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => received.extend_from_slice(&chunk[..length]),
            _ => break,
        }
    }
    received
}

/// Waits for the end of a link.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn acknowledging_the_future_ends_the_link() {
    if !is_about_us() {
        return;
    }
    let mut master = Site::start(ours(), &[]);
    master.ask("SET k 1");
    for ack in ["4611686018427387904", "9223372036854775807"] {
        let mut stream = replica_link(&master, "PSYNC ? -1\r\n");
        let answer = read_until(&mut stream, b"+FULLRESYNC");
        assert!(!answer.is_empty());
        master.server.wait_for_info("connected_slaves", "1");
        let _ = stream.write_all(format!("REPLCONF ACK {ack}\r\n").as_bytes());
        assert!(is_closed(&mut stream), "{ack}");
        master.server.wait_for_info("connected_slaves", "0");
        assert_eq!(master.ask("WAIT 1 1"), ":0");
    }
    // What is no offset, or an old one, says nothing.
    let mut stream = replica_link(&master, "PSYNC ? -1\r\n");
    read_until(&mut stream, b"+FULLRESYNC");
    for ack in ["-1", "99999999999999999999999", "x"] {
        stream.write_all(format!("REPLCONF ACK {ack}\r\n").as_bytes()).unwrap();
    }
    assert_eq!(master.info("connected_slaves"), "1");
    assert_eq!(master.ask("GET k"), "\"1\"");
}

#[test]
fn a_replica_that_never_reads_is_cut() {
    let limits = ["--client-output-buffer-limit", "replica", "8mb", "8mb", "0", "--repl-backlog-size", "1mb"];
    let mut master = Site::start(ours(), &limits);
    master.ask("SET k 1");
    let mut stream = replica_link(&master, "PSYNC ? -1\r\n");
    // The snapshot and its acknowledgement, then not one byte more.
    read_until(&mut stream, b"+FULLRESYNC");
    master.server.wait_for_info("rdb_bgsave_in_progress", "0");
    let _ = stream.write_all(b"REPLCONF ACK 0\r\n");
    let mut client = master.connect();
    for n in 0..1000 {
        assert!(client.ask(&format!("SETRANGE big:{} 100000 {n}", n % 10)).starts_with(':'));
    }
    master.server.wait_for_info("connected_slaves", "0");
    drop(stream);
    let mut replica = Site::start(ours(), &[]);
    replica.follow(&master);
    replica.wait_for_link();
    converge(&[&master, &replica]);
}

#[test]
fn malformed_requests_of_replicas_are_refused() {
    let mut master = Site::start(ours(), &[]);
    master.ask("SET k 1");
    let long = "f".repeat(10_000);
    for psync in [
        "PSYNC\r\n".to_string(),
        "PSYNC ?\r\n".into(),
        "PSYNC ? x\r\n".into(),
        "PSYNC x 1\r\n".into(),
        format!("PSYNC {long} 1\r\n"),
        "PSYNC 0123456789012345678901234567890123456789 99999999999999999999999\r\n".into(),
        "PSYNC 0123456789012345678901234567890123456789 -9223372036854775808\r\n".into(),
        "REPLCONF listening-port x\r\n".into(),
        "REPLCONF capa\r\n".into(),
        "REPLCONF rdb-filter-only nonsense\r\n".into(),
    ] {
        let mut stream = replica_link(&master, &psync);
        // Whatever it is told, an error or a whole snapshot, others notice nothing.
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut chunk = [0; 4096];
        while matches!(stream.read(&mut chunk), Ok(1..)) {}
        drop(stream);
        assert_eq!(master.ask("GET k"), "\"1\"", "{psync}");
    }
    master.server.wait_for_info("connected_slaves", "0");
}
