//! Pauses: the longest time a client waits for PING while another makes the server do something big.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::load::Loader;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;
use super::{Contest, machine};

/// How long PING goes on after a key was unlinked: freeing its value goes on, too.
const AFTERMATH: Duration = Duration::from_secs(1);

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
            client inserted keys (100 a batch) or unlinked one key (and for a second after).",
        tables: vec![Table::new("longest wait, ms", lines)],
    }
}

fn inserting(command: &[String], keys: u64) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    longest_wait(server.address(), || {
        let mut loader = Loader::connect(server.address(), 100)?;
        (0..keys).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), "01234567"]))?;
        loader.finish()
    })
}

fn unlinking(command: &[String], element: Element, elements: u64) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    let mut loader = Loader::connect(server.address(), 1000)?;
    (0..elements).try_for_each(|i| element(&mut loader, i))?;
    loader.finish()?;
    longest_wait(server.address(), || {
        server.ask(&["UNLINK", "big"])?;
        thread::sleep(AFTERMATH);
        Ok(())
    })
}

/// Returns the longest wait for PING while `work` goes on, in milliseconds.
fn longest_wait(address: SocketAddr, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    ping(&mut stream)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Both clients share a processor: what PING waits for must be the server.
            let result = machine::yield_to_others().and_then(|()| work());
            done.store(true, Ordering::Release);
            result
        });
        let mut longest = Duration::ZERO;
        let pinged: io::Result<()> = (|| {
            while !done.load(Ordering::Acquire) {
                longest = longest.max(ping(&mut stream)?);
            }
            Ok(())
        })();
        worker.join().map_err(|_| io::Error::other("the loading thread panicked"))??;
        pinged.map(|()| longest.as_secs_f64() * 1000.0)
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
