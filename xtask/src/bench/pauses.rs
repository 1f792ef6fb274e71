//! Pauses: the longest time a client waits for PING while another makes the server do something big.
//!
//! A pause of a few milliseconds is also what a thread waits when anything else on the machine, or a host around it, has
//! its processor: a kernel that preempts at ticks leaves it there for up to 4 ms, a host for as long as it likes, and the
//! longest of a million waits is sure to be one of those. So the thread that sends PING and the thread that executes
//! commands, of either server, are of the real-time class, and everything is done several times, each time on a fresh
//! server: what the server itself makes PING wait for, it does every time, and the shortest of the longest waits has it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::load::Loader;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;
use super::{Contest, machine};

/// How long PING goes on after a key was unlinked: freeing its value goes on, too.
const AFTERMATH: Duration = Duration::from_millis(300);

/// How many servers keys are inserted into, and how many a key is unlinked on.
const INSERTED: usize = 3;
const UNLINKED: usize = 5;

/// What an element of a big value is added with.
type Element = fn(&mut Loader, u64) -> io::Result<()>;

const VALUES: &[(&str, Element)] = &[
    ("hash", |loader, i| loader.request(&["HSET", "big", &format!("field:{i}"), &format!("value:{i}")])),
    ("set", |loader, i| loader.request(&["SADD", "big", &format!("member:{i}")])),
    ("sorted set", |loader, i| loader.request(&["ZADD", "big", &i.to_string(), &format!("member:{i}")])),
    ("list", |loader, i| loader.request(&["RPUSH", "big", &format!("element:{i}")])),
];

/// Measures all pauses that are selected.
pub(super) fn section(contest: &Contest) -> Section {
    let mut lines = Vec::new();
    let name = "while 10,000,000 keys are inserted";
    if contest.selects("pauses", name) {
        let keys = contest.scaled(10_000_000);
        let pairs = contest.pairs(name, |command| inserting(command, keys));
        lines.push(Line::new(name, Goal::RatioAtMost(1.0), pairs));
    }
    let name = "while nothing else is done, for 0.3 s";
    if contest.selects("pauses", name) {
        let pairs = contest.pairs(name, idling);
        lines.push(Line::new(name, Goal::None, pairs));
    }
    for (kind, element) in VALUES {
        let name = format!("while a {kind} of 1,000,000 is unlinked");
        if contest.selects("pauses", &name) {
            let elements = contest.scaled(1_000_000);
            let pairs = contest.pairs(&name, |command| unlinking(command, *element, elements));
            lines.push(Line::new(&name, Goal::RatioAtMost(1.0), pairs));
        }
    }
    Section {
        title: "Pauses",
        method: "The longest time that a client sending PING without a break waited for its answer, while another \
            client inserted keys (100 a batch) or unlinked one key (and for 0.3 s after); the shortest of 3 such times \
            (keys inserted) or 5, each on a fresh server. The thread that sends PING and the one that executes \
            commands, of either server, are of the real-time class. All this keeps the rest of the machine and its \
            host out of the figures.",
        tables: vec![Table::new("longest wait, ms", lines)],
    }
}

fn inserting(command: &[String], keys: u64) -> io::Result<f64> {
    shortest(INSERTED, || {
        let server = Server::start(command, &[])?;
        longest_wait(&server, || {
            let mut loader = Loader::connect(server.address(), 100)?;
            (0..keys).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), "01234567"]))?;
            loader.finish()
        })
    })
}

fn idling(command: &[String]) -> io::Result<f64> {
    shortest(UNLINKED, || {
        let server = Server::start(command, &[])?;
        longest_wait(&server, || {
            thread::sleep(AFTERMATH);
            Ok(())
        })
    })
}

fn unlinking(command: &[String], element: Element, elements: u64) -> io::Result<f64> {
    shortest(UNLINKED, || {
        let server = Server::start(command, &[])?;
        let mut loader = Loader::connect(server.address(), 1000)?;
        (0..elements).try_for_each(|i| element(&mut loader, i))?;
        loader.finish()?;
        longest_wait(&server, || {
            server.ask(&["UNLINK", "big"])?;
            thread::sleep(AFTERMATH);
            Ok(())
        })
    })
}

/// Measures several times and returns the smallest result.
fn shortest(times: usize, measure: impl Fn() -> io::Result<f64>) -> io::Result<f64> {
    let mut shortest = f64::INFINITY;
    for _ in 0..times {
        shortest = shortest.min(measure()?);
    }
    Ok(shortest)
}

/// Returns the longest wait for PING while `work` goes on, in milliseconds.
fn longest_wait(server: &Server, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<f64> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    ping(&mut stream)?;
    server.put_first()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Both clients have threads of their own: what these may do to their priority ends with them.
        let worker = scope.spawn(|| {
            let result = machine::yield_to_others().and_then(|()| work());
            done.store(true, Ordering::Release);
            result
        });
        let pinger = scope.spawn(|| -> io::Result<Duration> {
            machine::put_first(&machine::thread_id()?)?;
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Acquire) {
                longest = longest.max(ping(&mut stream)?);
            }
            Ok(longest)
        });
        worker.join().map_err(|_| io::Error::other("the loading thread panicked"))??;
        let longest = pinger.join().map_err(|_| io::Error::other("the pinging thread panicked"))??;
        Ok(longest.as_secs_f64() * 1000.0)
    })
}

/// Sends PING and returns how long its answer took.
pub(super) fn ping(stream: &mut TcpStream) -> io::Result<Duration> {
    let start = Instant::now();
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer == b"+PONG\r\n" { Ok(start.elapsed()) } else { Err(io::Error::other("PING without PONG")) }
}
