//! The lock: our library on our server, beside SET NX PX and a compare-and-delete script on the reference server.
//!
//! Their side is what the `redis` crate's users write: one multiplexed connection, `SET key owner NX PX`, `EVALSHA` of
//! the usual script, and a sleep of 100 ms (redis-py's default) between tries.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use redstart_lock::LockClient;
use testkit::tcp::ask;
use testkit::{Random, Reply};
use tokio::runtime::{Builder, Runtime};

use super::Contest;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;

const SCRIPT: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// Gets a lock and gives it back for so many seconds; prints how often in each.
const REDIS_PY: &str = "
import sys, time, redis
lock = redis.Redis(port=int(sys.argv[1])).lock('lock:0', timeout=30)
count, begun = 0, time.monotonic()
while (passed := time.monotonic() - begun) < float(sys.argv[2]):
    lock.acquire()
    lock.release()
    count += 1
print(count / passed)
";

const LEASE: Duration = Duration::from_secs(30);

/// How long their waiters sleep between two tries.
const POLL: Duration = Duration::from_millis(100);

/// How long a waiter waits at most.
const LONG: Duration = Duration::from_secs(600);

const WAITERS: usize = 1000;
const KILLED: usize = 300;

/// Measures all that is selected.
pub(super) fn section(contest: &Contest) -> Section {
    let time = Duration::from_secs_f64((3.0 * contest.scale.min(1.0)).max(0.3));
    let mut speed = Vec::new();
    for (name, tasks, ending) in [
        ("acquire and release, 1 task", 1, Ending::Release),
        ("acquire and release, 32 tasks", 32, Ending::Release),
        ("acquire and release, 128 tasks", 128, Ending::Release),
        ("acquire and drop the guard, 1 task", 1, Ending::Drop),
        ("acquire and drop the guard, 32 tasks", 32, Ending::Drop),
    ] {
        if contest.selects("lock", name) {
            let pairs = contest.pairs(name, |command| cycles(command, tasks, time, ending));
            speed.push(Line::new(name, Goal::RatioAtLeast(1.5), pairs));
        }
    }
    for (name, threads) in
        [("acquire and release, blocking, 1 thread", 1), ("acquire and release, blocking, 16 threads", 16)]
    {
        if contest.selects("lock", name) {
            let pairs = contest.pairs(name, |command| blocking_cycles(command, threads, time));
            speed.push(Line::new(name, Goal::None, pairs));
        }
    }
    let name = "acquire and release, blocking, 1 thread; theirs: the Lock of redis-py";
    if contest.selects("lock", name) {
        let pairs = contest.pairs(name, |command| redis_py_cycles(command, time));
        speed.push(Line::new(name, Goal::RatioAtLeast(1.5), pairs));
    }
    let mut waiting = Vec::new();
    if contest.selects("lock", "hand-over") {
        let count = contest.scaled(300) as usize;
        let pairs = contest.pairs("hand-over", |command| handed_over(command, 8, count));
        let part = |pick: fn(&(f64, f64)) -> f64| {
            pairs.clone().map(|pairs| pairs.iter().map(|(a, b)| (pick(a), pick(b))).collect())
        };
        waiting.push(Line::new(
            "hand-over from a release to the next grant, p50, ms",
            Goal::None,
            part(|p| p.0),
        ));
        waiting.push(Line::new(
            "hand-over from a release to the next grant, p99, ms",
            Goal::AtMost(5.0),
            part(|p| p.1),
        ));
    }
    let name = "requests per second of 20 waiters";
    if contest.selects("lock", name) {
        waiting.push(Line::new(name, Goal::AtMost(0.0), contest.pairs(name, polled)));
    }
    let name = "1,000 waiters, 300 of them killed: worst hand-over, ms";
    if contest.selects("lock", name) {
        let pairs = contest.pairs(name, killed);
        waiting.push(Line::new(name, Goal::AtMost(50.0), pairs));
    }
    let mut memory = Vec::new();
    let name = "memory per held lock, bytes";
    if contest.selects("lock", name) {
        let count = contest.scaled(200_000);
        memory.push(Line::new(
            name,
            Goal::AtMost(300.0),
            contest.pairs(name, |command| held(command, count)),
        ));
    }
    Section {
        title: "Lock",
        method: "Theirs: `SET NX PX` and a compare-and-delete script over one multiplexed connection of the `redis` \
            crate (blocking: one connection for each thread), polling every 100 ms. Ours: `redstart-lock` on the native commands. Each task has a key of its own; \
            a dropped guard is released in the background; 8 tasks hand one lock over, which each holds for 1 ms; 1,000 connections wait in line, 300 of them are \
            closed, and the others are served in order; locks with keys of 15 and owners of 30 bytes.",
        tables: vec![
            Table::new("locks per second", speed),
            Table::new("waiting", waiting),
            Table::new("memory", memory),
        ],
    }
}

/// How our locks are given back; theirs are by a script, which is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Release,
    /// The release is on its way when the next lock is asked for, and is answered together with it.
    Drop,
}

/// One way to hold locks.
#[derive(Clone)]
enum Locker {
    Ours(LockClient),
    Theirs { connection: MultiplexedConnection, script: String },
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn is_ours(server: &Server) -> io::Result<bool> {
    let reply = server.ask(&["COMMAND", "INFO", "lock.acquire"])?;
    Ok(reply.elements().first().is_some_and(|row| !row.elements().is_empty()))
}

impl Locker {
    async fn on(server: &Server) -> io::Result<Locker> {
        let url = format!("redis://{}", server.address());
        if is_ours(server)? {
            let client = LockClient::builder().url(url).build().map_err(failed)?;
            return Ok(Locker::Ours(client));
        }
        let client = redis::Client::open(url).map_err(failed)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
        let script: String =
            cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await.map_err(failed)?;
        Ok(Locker::Theirs { connection, script })
    }

    /// Gets a lock, runs `work` while holding it, calls `before` and gives the lock back.
    async fn cycle(
        &self,
        key: &str,
        random: &mut Random,
        granted: impl FnOnce(),
        hold: Duration,
        before: impl FnOnce(),
        ending: Ending,
    ) -> io::Result<()> {
        match self {
            Locker::Ours(client) => {
                let lock = client.lock(key).lease(LEASE).interval(POLL).max_checks(6000);
                let guard = lock.acquire().await.map_err(failed)?;
                granted();
                if !hold.is_zero() {
                    tokio::time::sleep(hold).await;
                }
                before();
                if ending == Ending::Drop {
                    drop(guard);
                    return Ok(());
                }
                guard.release().await.map_err(failed)
            }
            Locker::Theirs { connection, script } => {
                let mut connection = connection.clone();
                let owner = format!("{:016x}{:016x}", random.number(), random.number());
                loop {
                    let mut set = cmd("SET");
                    set.arg(key).arg(&owner).arg("NX").arg("PX").arg(LEASE.as_millis() as u64);
                    match set.query_async::<Value>(&mut connection).await.map_err(failed)? {
                        Value::Okay => break,
                        _ => tokio::time::sleep(POLL).await,
                    }
                }
                granted();
                if !hold.is_zero() {
                    tokio::time::sleep(hold).await;
                }
                before();
                let mut release = cmd("EVALSHA");
                release.arg(script).arg(1).arg(key).arg(&owner);
                match release.query_async::<i64>(&mut connection).await.map_err(failed)? {
                    1 => Ok(()),
                    _ => Err(io::Error::other("the lock was lost")),
                }
            }
        }
    }
}

/// Returns how many errors a server has replied; the `redis` crate's greeting is more than an older one knows.
fn errors(server: &Server) -> io::Result<u64> {
    server.info("stats", "total_error_replies")?.parse().map_err(failed)
}

/// Returns how many locks a second are got and given back by so many tasks.
fn cycles(command: &[String], tasks: usize, time: Duration, ending: Ending) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    let rate = runtime()?.block_on(async {
        let locker = Locker::on(&server).await?;
        let refused = errors(&server)?;
        let begun = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|task| {
                let locker = locker.clone();
                tokio::spawn(async move {
                    let (mut random, key) = (Random(task as u64), format!("lock:{task}"));
                    let mut count = 0_u64;
                    while begun.elapsed() < time {
                        locker.cycle(&key, &mut random, || (), Duration::ZERO, || (), ending).await?;
                        count += 1;
                    }
                    io::Result::Ok(count)
                })
            })
            .collect();
        let mut count = 0;
        for task in running {
            count += task.await.map_err(failed)??;
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        if errors(&server)? == refused { Ok(rate) } else { Err(io::Error::other("error replies")) }
    })?;
    Ok(rate)
}

/// Returns how many locks a second are got and given back by so many threads that are not async.
fn blocking_cycles(command: &[String], threads: usize, time: Duration) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    let url = format!("redis://{}", server.address());
    let ours = match is_ours(&server)? {
        true => Some(LockClient::builder().url(url.as_str()).build_blocking().map_err(failed)?),
        false => None,
    };
    let begun = Instant::now();
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (ours, url) = (ours.clone(), url.clone());
            std::thread::spawn(move || {
                let key = format!("lock:{thread}");
                match ours {
                    Some(client) => count_until(begun + time, || {
                        let guard = client.lock(&key).lease(LEASE).acquire().map_err(failed)?;
                        guard.release().map_err(failed)
                    }),
                    None => plain_cycles(&url, &key, Random(thread as u64), begun + time),
                }
            })
        })
        .collect();
    let mut count = 0;
    for thread in running {
        count += thread.join().map_err(|_| io::Error::other("a thread has panicked"))??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Returns how many locks a second one thread gets and gives back: through our library, or through the Lock of redis-py.
fn redis_py_cycles(command: &[String], time: Duration) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    if is_ours(&server)? {
        drop(server);
        return blocking_cycles(command, 1, time);
    }
    let arguments = [server.address().port().to_string(), time.as_secs_f64().to_string()];
    let output = Command::new(".venv/bin/python").args(["-c", REDIS_PY]).args(arguments).output();
    let output =
        output.map_err(|error| failed(format!("no redis-py; scripts/install-test-tools has it: {error}")))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().map_err(|_| failed(String::from_utf8_lossy(&output.stderr)))
}

/// Counts how often something is done until then.
fn count_until(end: Instant, mut act: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let mut count = 0;
    while Instant::now() < end {
        act()?;
        count += 1;
    }
    Ok(count)
}

/// Counts how often a lock is got and given back as users of a plain server do.
fn plain_cycles(url: &str, key: &str, mut random: Random, end: Instant) -> io::Result<u64> {
    let mut connection =
        redis::Client::open(url).and_then(|client| client.get_connection()).map_err(failed)?;
    let script: String = cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut connection).map_err(failed)?;
    count_until(end, || {
        let owner = format!("{:016x}{:016x}", random.number(), random.number());
        let mut set = cmd("SET");
        set.arg(key).arg(&owner).arg("NX").arg("PX").arg(LEASE.as_millis() as u64);
        let Value::Okay = set.query(&mut connection).map_err(failed)? else {
            return Err(io::Error::other("the lock is held"));
        };
        let mut release = cmd("EVALSHA");
        release.arg(&script).arg(1).arg(key).arg(&owner);
        match release.query::<i64>(&mut connection).map_err(failed)? {
            1 => Ok(()),
            _ => Err(io::Error::other("the lock was lost")),
        }
    })
}

/// Returns the median and the 99th percentile of the time from a release to the next grant, in milliseconds.
fn handed_over(command: &[String], tasks: usize, count: usize) -> io::Result<(f64, f64)> {
    let server = Server::start(command, &[])?;
    let mut times = runtime()?.block_on(async {
        let locker = Locker::on(&server).await?;
        let released: Arc<Mutex<Option<Instant>>> = Arc::default();
        let times: Arc<Mutex<Vec<f64>>> = Arc::default();
        let running: Vec<_> = (0..tasks)
            .map(|task| {
                let (locker, released, times) = (locker.clone(), Arc::clone(&released), Arc::clone(&times));
                tokio::spawn(async move {
                    let mut random = Random(task as u64);
                    while times.lock().map_or(0, |times| times.len()) < count {
                        let granted = || {
                            let before = released.lock().ok().and_then(|mut released| released.take());
                            if let (Some(before), Ok(mut times)) = (before, times.lock()) {
                                times.push(before.elapsed().as_secs_f64() * 1000.0);
                            }
                        };
                        let before = || {
                            if let Ok(mut released) = released.lock() {
                                *released = Some(Instant::now());
                            }
                        };
                        locker
                            .cycle(
                                "handed",
                                &mut random,
                                granted,
                                Duration::from_millis(1),
                                before,
                                Ending::Release,
                            )
                            .await?;
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for task in running {
            task.await.map_err(failed)??;
        }
        let times = times.lock().map_err(failed)?.clone();
        io::Result::Ok(times)
    })?;
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

/// Returns how many requests a second reach the server while 20 tasks wait for one lock.
fn polled(command: &[String]) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    runtime()?.block_on(async {
        let locker = Locker::on(&server).await?;
        let holding = Duration::from_secs(5);
        let holder = tokio::spawn({
            let locker = locker.clone();
            async move { locker.cycle("waited", &mut Random(0), || (), holding, || (), Ending::Release).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let waiters: Vec<_> = (1..=20)
            .map(|task| {
                let locker = locker.clone();
                tokio::spawn(async move {
                    locker.cycle("waited", &mut Random(task), || (), Duration::ZERO, || (), Ending::Release).await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let (before, begun) = (requests(&server)?, Instant::now());
        tokio::time::sleep(Duration::from_secs(3)).await;
        // INFO itself is one of them.
        let asked = requests(&server)?.saturating_sub(before + 1);
        let rate = asked as f64 / begun.elapsed().as_secs_f64();
        holder.await.map_err(failed)??;
        for waiter in waiters {
            waiter.await.map_err(failed)??;
        }
        Ok(rate)
    })
}

fn requests(server: &Server) -> io::Result<u64> {
    server.info("stats", "total_commands_processed")?.parse().map_err(failed)
}

/// Returns the longest time from a release to the next grant, in milliseconds, with dead waiters in the queue.
fn killed(command: &[String]) -> io::Result<f64> {
    let server = Server::start(command, &["--maxclients", "2000"])?;
    if !is_ours(&server)? {
        return Ok(f64::NAN); // There is no queue to die in.
    }
    let wait = LONG.as_millis().to_string();
    let mut holder = Waiter::connect(&server, "holder", &wait)?;
    holder.granted()?;
    let mut waiters = Vec::new();
    for number in 0..WAITERS {
        waiters.push(Some(Waiter::connect(&server, &format!("waiter:{number}"), &wait)?));
        // They are to stand in line in this order.
        while waiting(&server)? != number + 1 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let mut random = Random(1);
    let mut left = KILLED;
    while left > 0 {
        if waiters[random.of(0..WAITERS as u64) as usize].take().is_some() {
            left -= 1;
        }
    }
    let mut worst = Duration::ZERO;
    for mut next in waiters.into_iter().flatten() {
        let released = Instant::now();
        holder.release()?;
        // Reading the wrong one of them waits in vain, and fails.
        next.granted()?;
        worst = worst.max(released.elapsed());
        if next.token <= holder.token {
            return Err(io::Error::other("tokens do not grow"));
        }
        holder = next;
    }
    Ok(worst.as_secs_f64() * 1000.0)
}

fn waiting(server: &Server) -> io::Result<usize> {
    Ok(ask(server.address(), &["LOCK.WAITERS", "line"])?.elements().len())
}

/// A connection that waits in line.
struct Waiter {
    stream: TcpStream,
    owner: String,
    token: u64,
}

impl Waiter {
    fn connect(server: &Server, owner: &str, wait: &str) -> io::Result<Waiter> {
        let stream = TcpStream::connect(server.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut waiter = Waiter { stream, owner: owner.to_string(), token: 0 };
        waiter.send(&["LOCK.ACQUIRE", "line", owner, "LEASE", "600000", "WAIT", wait])?;
        Ok(waiter)
    }

    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes())
    }

    fn receive(&mut self) -> io::Result<Reply> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 1024]);
        loop {
            if let Some((reply, _)) = Reply::parse(&bytes).map_err(failed)? {
                return Ok(reply);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => bytes.extend_from_slice(&chunk[..length]),
            }
        }
    }

    /// Waits for the grant.
    fn granted(&mut self) -> io::Result<()> {
        let reply = self.receive()?;
        let pairs = reply.elements();
        let token = pairs
            .chunks(2)
            .find(|pair| pair[0].text() == Some(b"token"))
            .and_then(|pair| std::str::from_utf8(pair[1].text()?).ok()?.parse().ok());
        match (pairs.get(1).and_then(Reply::text), token) {
            (Some(b"granted"), Some(token)) => {
                self.token = token;
                Ok(())
            }
            _ => Err(io::Error::other(reply.lines().join(" "))),
        }
    }

    fn release(&mut self) -> io::Result<()> {
        let (owner, token) = (self.owner.clone(), self.token.to_string());
        self.send(&["LOCK.RELEASE", "line", &owner, &token])?;
        match self.receive()?.head().as_str() {
            ":1" => Ok(()),
            other => Err(io::Error::other(other.to_string())),
        }
    }
}

/// Returns by how many bytes a server grows with each lock that is held.
fn held(command: &[String], count: u64) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    let ours = is_ours(&server)?;
    let before = server.resident_bytes()?;
    runtime()?.block_on(async {
        let client = redis::Client::open(format!("redis://{}", server.address())).map_err(failed)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
        for batch in 0..count.div_ceil(500) {
            let mut pipe = redis::pipe();
            for number in batch * 500..(batch * 500 + 500).min(count) {
                let (key, owner) = (format!("jobs:{number:010}"), format!("host.example:12345:{number:011}"));
                if ours {
                    pipe.cmd("LOCK.ACQUIRE").arg(key).arg(owner).arg("LEASE").arg(3_600_000);
                } else {
                    pipe.cmd("SET").arg(key).arg(owner).arg("NX").arg("PX").arg(3_600_000);
                }
            }
            // An error among the replies fails it.
            pipe.query_async::<Value>(&mut connection).await.map_err(failed)?;
        }
        io::Result::Ok(())
    })?;
    let grown = server.resident_bytes()?.saturating_sub(before);
    Ok(grown as f64 / count as f64)
}
