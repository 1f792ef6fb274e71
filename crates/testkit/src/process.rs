//! A server process started for a test: free port, directory of its own, ended and removed on drop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::reply::Reply;
use crate::target::Dialect;
use crate::tcp;

/// How long a server may take until it answers PING.
const START_WAIT: Duration = Duration::from_secs(10);

/// How long to wait before asking again whether it answers.
const START_POLL: Duration = Duration::from_micros(500);

/// A running server and the directory it works in.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    start_time: Duration,
}

impl ServerProcess {
    /// Starts `command` (program and leading arguments) with redis-server's options and waits until it answers.
    pub fn start(command: &[String], options: &[&str]) -> io::Result<ServerProcess> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("no server command given"))?;
        let port = free_port()?;
        let directory = new_directory()?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(arguments)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(&directory)
            .args(["--enable-debug-command", "yes"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = ServerProcess { child, address, directory, start_time: Duration::ZERO };
        server.wait_until_it_answers()?;
        server.start_time = started.elapsed();
        Ok(server)
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the directory it works in.
    pub fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Returns the behaviour it is held to as a reference server, from the version it reports.
    pub fn reference_dialect(&self) -> io::Result<Dialect> {
        let info = tcp::ask(self.address, &["INFO", "server"])?;
        let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let mut numbers = version.unwrap_or_default().split('.').map_while(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => Ok(Dialect::Reference(major, minor)),
            _ => Err(io::Error::other("the server reports no redis_version")),
        }
    }

    /// Returns the time from starting the process to its first answer.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_WAIT;
        loop {
            if let Ok(Reply::Leaf(_, text)) = tcp::ask(self.address, &["PING"])
                && text == b"PONG"
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended while starting: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the server did not answer PING in time"));
            }
            std::thread::sleep(START_POLL);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Failing to end or remove what may already be gone changes nothing for the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

fn new_directory() -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("testkit-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
