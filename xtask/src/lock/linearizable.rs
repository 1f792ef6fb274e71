//! `cargo xtask lock linearizable`: many clients of the library, one lock, and every trouble that there is for ten minutes.
//!
//! ```text
//! 20 clients ──redstart-lock──► proxy ──► server          links cut and held up, the server stopped and killed
//!      │ └── some sleep longer than their lease
//!      └── data that only the holder may write: LOCK.GUARD, or a resource that remembers the newest token
//! ```
//!
//! What they saw must be the history of a fenced mutex (see [`history`](super::history)): on redstart with the native
//! commands, and on redis-server with the scripts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redstart_lock::{Error, LockClient};
use testkit::{Proxy, Random};

use super::history::{self, Hold, Moment, Write};
use super::{Options, open};
use crate::durability::Scratch;
use crate::durability::clients::Connection;
use crate::replication::station::Station;

const CLIENTS: u64 = 20;
const LEASE: Duration = Duration::from_millis(600);
const KEY: &str = "mutex";
const SETTINGS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Plays on both servers; true when both histories can be those of a mutex.
pub(super) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 0)?;
    println!("lock linearizable --seed {} --minutes {}", options.seed, options.minutes);
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let mut good = true;
    for (name, server, native) in [
        ("redstart, native", options.ours.clone(), true),
        ("redis-server, portable", vec!["redis-server".into()], false),
    ] {
        if !options.only.is_empty() && !options.only.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let seen = play(&server, native, length, options.seed)?;
        let accepted = seen.writes.iter().filter(|write| write.accepted).count();
        println!(
            "{name}: {CLIENTS} clients, {:.0} s, {} holds ({} overslept), {} busy, {} other errors, {accepted} writes \
             accepted, {} refused; {} cuts, {} stalls, {} stops, {} kill -9",
            length.as_secs_f64(),
            seen.holds.len(),
            seen.overslept,
            seen.busy,
            seen.errors,
            seen.writes.len() - accepted,
            seen.cuts,
            seen.stalls,
            seen.stops,
            seen.kills,
        );
        match history::check(&seen.holds, &seen.writes) {
            Ok(()) => {
                println!("  a history of a fenced mutex: no two holders at a time, tokens strictly growing")
            }
            Err(problem) => {
                println!("  NOT A MUTEX: {problem}");
                good = false;
            }
        }
        good &= !seen.holds.is_empty();
    }
    Ok(good)
}

/// What was seen, and what was done.
#[derive(Clone, Debug, Default)]
struct Seen {
    holds: Vec<Hold>,
    writes: Vec<Write>,
    overslept: u64,
    busy: u64,
    errors: u64,
    cuts: u64,
    stalls: u64,
    stops: u64,
    kills: u64,
}

/// What all clients share.
struct Scene {
    proxy: SocketAddr,
    server: SocketAddr,
    native: bool,
    start: Instant,
    ended: AtomicBool,
    /// The newest token that a resource beside the server has seen.
    resource: Mutex<u64>,
}

impl Scene {
    fn now(&self) -> Moment {
        self.start.elapsed().as_nanos() as Moment
    }
}

fn play(server: &[String], native: bool, length: Duration, seed: u64) -> Result<Seen, String> {
    let scratch = Scratch::new("lock-linearizable")?;
    let mut station = Station::new("server", server, &scratch.0)?;
    station.start(SETTINGS)?;
    let proxy = Proxy::start(station.address()).map_err(|error| error.to_string())?;
    let scene = Arc::new(Scene {
        proxy: proxy.address(),
        server: station.address(),
        native,
        start: Instant::now(),
        ended: AtomicBool::new(false),
        resource: Mutex::new(0),
    });
    let mut random = Random(seed | 1);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (scene, random) = (Arc::clone(&scene), Random(random.number() | 1));
            std::thread::spawn(move || client(number, &scene, random))
        })
        .collect();
    let mut seen = Seen::default();
    while scene.start.elapsed() < length {
        std::thread::sleep(Duration::from_millis(random.of(200..1_500)));
        let pause = Duration::from_millis(random.of(50..900));
        match random.of(0..20) {
            0..8 => {
                proxy.cut();
                seen.cuts += 1;
            }
            8..12 => {
                proxy.cut_after(random.of(1..400) as usize);
                seen.cuts += 1;
            }
            12..15 => {
                proxy.hold(true);
                std::thread::sleep(pause);
                proxy.hold(false);
                seen.stalls += 1;
            }
            15..18 => {
                station.stop(true)?;
                std::thread::sleep(pause);
                station.stop(false)?;
                seen.stops += 1;
            }
            _ => {
                station.kill();
                std::thread::sleep(pause / 4);
                station.start(SETTINGS)?;
                seen.kills += 1;
            }
        }
    }
    scene.ended.store(true, Ordering::SeqCst);
    for client in clients {
        let other = client.join().map_err(|_| "a client panicked".to_string())??;
        seen.holds.extend(other.holds);
        seen.writes.extend(other.writes);
        seen.overslept += other.overslept;
        seen.busy += other.busy;
        seen.errors += other.errors;
    }
    Ok(seen)
}

/// One process, as far as the lock can tell: its own connections, and a runtime that stands still when it sleeps.
fn client(number: u64, scene: &Scene, mut random: Random) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = LockClient::builder()
            .url(format!("redis://{}", scene.proxy))
            .owner(format!("client{number}"))
            .response_timeout(Duration::from_millis(400))
            .patience(Duration::from_millis(1_500))
            .build()
            .map_err(|error| error.to_string())?;
        let mut seen = Seen::default();
        let mut direct = None;
        while !scene.ended.load(Ordering::SeqCst) {
            let asked = scene.now();
            let interval = Duration::from_millis(random.of(20..250));
            let checks = random.of(1..6) as u32;
            let guard =
                match client.lock(KEY).lease(LEASE).max_checks(checks).interval(interval).acquire().await {
                    Ok(guard) => guard,
                    Err(Error::Busy { .. }) => {
                        seen.busy += 1;
                        continue;
                    }
                    Err(_) => {
                        seen.errors += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
            let granted = scene.now();
            let context = guard.context();
            let token = context.token();
            let mut hold =
                Hold { client: number, token, asked, granted, relied_until: granted, released: None };
            for _ in 0..random.of(1..5) {
                tokio::time::sleep(Duration::from_millis(random.of(0..15))).await;
                let before = scene.now();
                if context.ensure_held().is_err() {
                    break;
                }
                hold.relied_until = hold.relied_until.max(before);
                seen.writes.extend(write(scene, &mut direct, token));
            }
            if random.of(0..60) == 0 {
                // The process sleeps, its renewals with it, and writes on before it looks at anything.
                std::thread::sleep(LEASE * 2);
                seen.writes.extend(write(scene, &mut direct, token));
                seen.overslept += 1;
            }
            let before = scene.now();
            if context.is_held() {
                hold.relied_until = hold.relied_until.max(before);
            }
            if random.of(0..30) == 0 {
                // Given back in the background, whenever that is.
                drop(guard);
            } else if guard.release().await.is_ok() {
                hold.released = Some(scene.now());
            }
            seen.holds.push(hold);
        }
        Ok(seen)
    })
}

/// Writes data that only the holder may write; nothing when the answer is not known.
fn write(scene: &Scene, direct: &mut Option<Connection>, token: u64) -> Option<Write> {
    let asked = scene.now();
    if !scene.native {
        let mut newest = scene.resource.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = token >= *newest;
        *newest = token.max(*newest);
        return Some(Write { token, asked, answered: scene.now(), accepted });
    }
    if direct.is_none() {
        *direct = open(scene.server).ok();
    }
    let number = token.to_string();
    let Ok(reply) = direct.as_mut()?.reply(&["LOCK.GUARD", KEY, &number, "SET", "data", &number]) else {
        *direct = None;
        return None;
    };
    let refused = reply.head().starts_with("-FENCED");
    (refused || !reply.is_error()).then(|| Write { token, asked, answered: scene.now(), accepted: !refused })
}
