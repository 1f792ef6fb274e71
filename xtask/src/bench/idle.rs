//! Idle: what a server that has nothing to do costs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::Contest;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;

/// How often a server is started to find its best time.
const STARTS: usize = 5;

const CONNECTIONS: u64 = 10_000;

/// How long connections lie idle before the reading: servers give buffers back after some seconds.
const IDLE: Duration = Duration::from_secs(4);

/// Measures all that is selected.
pub(super) fn section(contest: &Contest) -> Section {
    let line = |name: &str, goal: f64, measure: &dyn Fn(&[String]) -> io::Result<f64>| {
        let selected = contest.selects("idle", name);
        selected.then(|| Line::new(name, Goal::AtMost(goal), contest.pairs(name, measure)))
    };
    let connections = contest.scaled(CONNECTIONS);
    let lines = [
        line("resident memory, MB", 8.0, &resident),
        line("from start to the first answer, ms", 30.0, &start),
        line("resident memory per idle connection, KB", 6.0, &|command| connection(command, connections)),
    ];
    Section {
        title: "Idle",
        method: "A server just started; the best of 5 starts; 10,000 connections that each sent one PING, after 4 \
            seconds.",
        tables: vec![Table::new("idle", lines.into_iter().flatten().collect())],
    }
}

fn resident(command: &[String]) -> io::Result<f64> {
    let server = Server::start(command, &[])?;
    sleep(Duration::from_secs(1));
    Ok(server.resident_bytes()? as f64 / 1e6)
}

fn start(command: &[String]) -> io::Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..STARTS {
        best = best.min(Server::start(command, &[])?.start_time());
    }
    Ok(best.as_secs_f64() * 1000.0)
}

fn connection(command: &[String], count: u64) -> io::Result<f64> {
    let server = Server::start(command, &["--maxclients", "11000"])?;
    let before = server.resident_bytes()?;
    let connections = (0..count).map(|_| greeted(server.address())).collect::<io::Result<Vec<_>>>()?;
    sleep(IDLE);
    let grown = server.resident_bytes()?.saturating_sub(before);
    Ok(grown as f64 / connections.len() as f64 / 1000.0)
}

/// Returns a connection that the server has accepted and answered on.
fn greeted(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(stream)
}
