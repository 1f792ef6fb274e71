//! `cargo xtask sentinel`: Redis' own Sentinel watches three servers, and fails over whenever the master is killed or stands still.
//!
//! A writer asks the sentinels where the master is, as clients do. A round ends when a new master was elected, the writer
//! goes on there, the old one has come back as its replica, and a write has reached all three.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testkit::Random;

use super::station::Station;
use super::{Options, theirs, wait_for};
use crate::durability::Scratch;
use crate::durability::clients::Connection;

const SENTINELS: usize = 3;
const SERVERS: usize = 3;

/// After so long without an answer a sentinel takes the master for down.
const DOWN_AFTER_MS: &str = "1000";

/// Sentinel's own pace, which is made for networks: seconds between looks. Here everything is near.
const PACE: &[(&str, &str)] = &[
    ("info-period", "500"),
    ("publish-period", "400"),
    ("ask-period", "200"),
    ("min-link-reconnect-period", "500"),
];

const PATIENCE: Duration = Duration::from_secs(60);

/// Fails over as often as asked; true when each time all was well again.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 20)?;
    println!("sentinel --seed {} --rounds {}", options.seed, options.rounds);
    let scratch = Scratch::new("sentinel")?;
    let mut play = Play::start(&options, &scratch)?;
    let writer = Writer::start(&play.sentinels);
    println!(
        "{:>5}  {:8} {:>12} {:>13} {:>12} {:>9}  master",
        "round", "fault", "elected, s", "writing, s", "rejoined, s", "full"
    );
    let mut result = Ok(());
    for round in 1..=options.rounds {
        result = play.round(round, &writer);
        if result.is_err() {
            break;
        }
    }
    let (acknowledged, gap) = writer.finish();
    let result = result.and_then(|()| play.finish(&acknowledged, gap));
    if let Err(error) = &result {
        println!("BROKEN: {error}");
        for station in play.servers.iter().chain(&play.sentinels) {
            println!("{}", station.last_words());
        }
    }
    Ok(result.is_ok())
}

struct Play {
    servers: Vec<Station>,
    sentinels: Vec<Station>,
    random: Random,
    /// Seconds until a new master was there, and until the old one was back.
    elected: Vec<f64>,
    rejoined: Vec<f64>,
    /// Failovers that nobody asked for.
    more: u64,
}

impl Play {
    fn start(options: &Options, scratch: &Scratch) -> Result<Play, String> {
        let mut servers: Vec<Station> = Vec::new();
        for number in 0..SERVERS {
            let name = format!("server{number}");
            let mut station = Station::new(&name, &options.ours, &scratch.0)?;
            let mut lines = vec![
                format!("port {}", station.address().port()),
                "bind 127.0.0.1".into(),
                format!("dir {}", station.directory.display()),
                "enable-debug-command yes".into(),
                "save \"\"".into(),
                "appendonly yes".into(),
                "repl-diskless-sync-delay 0".into(),
                "repl-timeout 10".into(),
            ];
            if let Some(first) = servers.first().map(Station::address) {
                lines.push(format!("replicaof 127.0.0.1 {}", first.port()));
            }
            write(&station, &lines)?;
            station.launch(&[&configuration(&station)])?;
            servers.push(station);
        }
        for replica in &servers[1..] {
            replica.wait_for_link()?;
        }
        let mut sentinels = Vec::new();
        for number in 0..SENTINELS {
            let mut station = Station::new(&format!("sentinel{number}"), &theirs()?, &scratch.0)?;
            let port = servers[0].address().port();
            let lines = [
                format!("port {}", station.address().port()),
                "bind 127.0.0.1".into(),
                format!("dir {}", station.directory.display()),
                format!("sentinel monitor m 127.0.0.1 {port} 2"),
                format!("sentinel down-after-milliseconds m {DOWN_AFTER_MS}"),
                "sentinel failover-timeout m 3000".into(),
                "sentinel parallel-syncs m 2".into(),
            ];
            write(&station, &lines)?;
            station.launch(&[&configuration(&station), "--sentinel"])?;
            for (name, value) in PACE {
                station.order(&["SENTINEL", "DEBUG", name, value])?;
            }
            sentinels.push(station);
        }
        let play = Play {
            servers,
            sentinels,
            random: Random(options.seed),
            elected: Vec::new(),
            rejoined: Vec::new(),
            more: 0,
        };
        play.wait_for_quorum()?;
        Ok(play)
    }

    /// Waits until all sentinels know each other and all servers, and find everything up.
    fn wait_for_quorum(&self) -> Result<(), String> {
        wait_for("the sentinels know everything", PATIENCE, || {
            for sentinel in &self.sentinels {
                let quorum = sentinel.ask(&["SENTINEL", "CKQUORUM", "m"])?.head();
                if !quorum.starts_with(&format!("+OK {SENTINELS} usable")) {
                    return Err(quorum);
                }
                let master = fields(sentinel, &["SENTINEL", "MASTER", "m"])?;
                if master.get("num-slaves").map(String::as_str) != Some("2")
                    || master.get("flags").map(String::as_str) != Some("master")
                {
                    return Err(format!("{master:?}"));
                }
                let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", "m"])?;
                for replica in replicas.elements() {
                    let replica = pairs(replica);
                    let is = |field: &str| replica.get(field).map(String::as_str).unwrap_or_default();
                    if is("flags") != "slave"
                        || is("master-link-status") != "ok"
                        || is("master-port") != master["port"]
                    {
                        return Err(format!("{replica:?}"));
                    }
                }
            }
            Ok(())
        })
    }

    fn round(&mut self, round: u64, writer: &Writer) -> Result<(), String> {
        let old = self.server_at(master(&self.sentinels[0])?)?;
        std::thread::sleep(Duration::from_millis(self.random.of(50..300)));
        let kills = round % 2 == 1;
        let start = Instant::now();
        match kills {
            true => self.servers[old].kill(),
            false => self.servers[old].stop(true)?,
        }
        let old_address = self.servers[old].address();
        let address = wait_for("a new master is elected", PATIENCE, || {
            // All of them, as any may be asked.
            let mut names: Vec<SocketAddr> = Vec::new();
            for sentinel in &self.sentinels {
                names.push(master(sentinel)?);
            }
            match names.iter().all(|name| *name == names[0] && *name != old_address) {
                true => Ok(names[0]),
                false => Err(format!("the sentinels name {names:?}")),
            }
        })?;
        let elected = start.elapsed();
        let new = self.server_at(address)?;
        wait_for("the writer goes on", PATIENCE, || match writer.last() {
            (at, by) if at > start && by == address => Ok(()),
            (_, by) => Err(format!("the last write went to {by}")),
        })?;
        let writing = start.elapsed();
        let role = self.servers[new].info("role")?;
        if role != "master" {
            return Err(format!("{} was elected and is a {role}", self.servers[new].name));
        }
        match kills {
            true => {
                let configuration = configuration(&self.servers[old]);
                self.servers[old].launch(&[&configuration])?;
            }
            false => self.servers[old].stop(false)?,
        }
        let back = Instant::now();
        let elected_first = new;
        let (address, new) = wait_for("all follow the new master", PATIENCE, || {
            // On a busy machine there may have been one more failover meanwhile.
            let mut names: Vec<SocketAddr> = Vec::new();
            for sentinel in &self.sentinels {
                names.push(master(sentinel)?);
            }
            if names.iter().any(|name| *name != names[0]) {
                return Err(format!("the sentinels name {names:?}"));
            }
            let (address, new) = (names[0], self.server_at(names[0])?);
            for (_, server) in self.servers.iter().enumerate().filter(|(at, _)| *at != new) {
                server.check_link()?;
                let follows = server.info("master_port")?;
                if follows != address.port().to_string() {
                    return Err(format!("{} follows {follows}", server.name));
                }
            }
            Ok((address, new))
        })?;
        self.more += u64::from(new != elected_first);
        let rejoined = back.elapsed();
        let mut connection = Connection::open(address, Duration::from_secs(20))?;
        let marker = round.to_string();
        connection.ask(&["SET", "marker", &marker])?;
        let reached = connection.ask(&["WAIT", "2", "10000"])?;
        if reached != [b"2".to_vec()] {
            return Err(format!("the marker reached {reached:?} replicas"));
        }
        for server in &self.servers {
            let found = server.ask(&["GET", "marker"])?;
            if found.text() != Some(marker.as_bytes()) {
                return Err(format!("{} has the marker {}", server.name, found.head()));
            }
        }
        println!(
            "{round:>5}  {:8} {:>12.2} {:>13.2} {:>12.2} {:>9}  {}",
            if kills { "kill -9" } else { "SIGSTOP" },
            elected.as_secs_f64(),
            writing.as_secs_f64(),
            rejoined.as_secs_f64(),
            self.servers[new].count("sync_full")?,
            self.servers[new].name
        );
        self.elected.push(elected.as_secs_f64());
        self.rejoined.push(rejoined.as_secs_f64());
        self.wait_for_quorum()
    }

    fn server_at(&self, address: SocketAddr) -> Result<usize, String> {
        let found = self.servers.iter().position(|server| server.address() == address);
        found.ok_or_else(|| format!("{address} is none of the servers"))
    }

    fn finish(&self, acknowledged: &[u64], gap: Duration) -> Result<(), String> {
        let digest = wait_for("all are equal", PATIENCE, || {
            let found: Result<Vec<_>, _> = self.servers.iter().map(Station::digest).collect();
            match found? {
                found if found.iter().all(|one| *one == found[0]) => Ok(found[0].0.clone()),
                found => Err(format!("digests and offsets: {found:?}")),
            }
        })?;
        let mut connection = Connection::open(master(&self.sentinels[0])?, Duration::from_secs(20))?;
        let mut lost = 0;
        for write in acknowledged {
            lost += u64::from(connection.ask(&["GET", &format!("write:{write}")])?.is_empty());
        }
        let most = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
        let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len().max(1) as f64;
        println!(
            "\n{} failovers: elected after {:.2} s (at most {:.2}), rejoined after {:.2} s (at most {:.2}); \
             the writer stood still for {:.2} s at most; {} writes acknowledged, {lost} of them lost \
             (replies waited for no replica); {} more failovers of a busy machine; digests equal: {digest}",
            self.elected.len(),
            mean(&self.elected),
            most(&self.elected),
            mean(&self.rejoined),
            most(&self.rejoined),
            gap.as_secs_f64(),
            acknowledged.len(),
            self.more
        );
        Ok(())
    }
}

fn configuration(station: &Station) -> String {
    station.directory.join("conf").display().to_string()
}

fn write(station: &Station, lines: &[String]) -> Result<(), String> {
    std::fs::write(configuration(station), lines.join("\n") + "\n").map_err(|error| error.to_string())
}

/// Returns the names and values of a flat reply.
fn pairs(reply: &testkit::Reply) -> BTreeMap<String, String> {
    let text =
        |reply: &testkit::Reply| String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    reply.elements().chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn fields(station: &Station, request: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let reply = station.ask(request)?;
    match reply.is_error() {
        true => Err(reply.head()),
        false => Ok(pairs(&reply)),
    }
}

/// Returns where a sentinel says that the master is.
fn master(sentinel: &Station) -> Result<SocketAddr, String> {
    named(sentinel.address())
}

fn named(sentinel: SocketAddr) -> Result<SocketAddr, String> {
    let mut connection = Connection::open(sentinel, Duration::from_secs(2))?;
    let words = connection.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"])?;
    let port = words.get(1).and_then(|port| String::from_utf8_lossy(port).parse::<u16>().ok());
    port.map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok_or_else(|| format!("{sentinel} names {words:?}"))
}

/// A client that writes to whom Sentinel names.
struct Writer {
    stop: Arc<AtomicBool>,
    /// When a write was acknowledged last, and by whom.
    last: Arc<Mutex<(Instant, SocketAddr)>>,
    gap_us: Arc<AtomicU64>,
    thread: JoinHandle<Vec<u64>>,
}

impl Writer {
    fn start(sentinels: &[Station]) -> Writer {
        let sentinels: Vec<SocketAddr> = sentinels.iter().map(Station::address).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let last = Arc::new(Mutex::new((Instant::now(), (Ipv4Addr::UNSPECIFIED, 0).into())));
        let gap_us = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, last, gap_us) = (Arc::clone(&stop), Arc::clone(&last), Arc::clone(&gap_us));
            move || {
                let (mut acknowledged, mut number) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let address = sentinels.iter().find_map(|sentinel| named(*sentinel).ok());
                    let Some(address) = address else { continue };
                    let Ok(mut connection) = Connection::open(address, Duration::from_millis(400)) else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let key = format!("write:{number}");
                        match connection.reply(&["SET", &key, &number.to_string()]) {
                            Ok(reply) if !reply.is_error() => acknowledged.push(number),
                            _ => break,
                        }
                        let now = Instant::now();
                        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                        gap_us.fetch_max((now - last.0).as_micros() as u64, Ordering::Relaxed);
                        *last = (now, address);
                        drop(last);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                acknowledged
            }
        });
        Writer { stop, last, gap_us, thread }
    }

    fn last(&self) -> (Instant, SocketAddr) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the writes that were acknowledged, and the longest time without one.
    fn finish(self) -> (Vec<u64>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.thread.join().expect("the writer does not panic");
        (acknowledged, Duration::from_micros(self.gap_us.load(Ordering::Relaxed)))
    }
}
