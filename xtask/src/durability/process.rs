//! A server in a directory that outlives it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::clients::Connection;

/// How long a server may take to load what there is.
const START_WAIT: Duration = Duration::from_secs(60);

/// A running server, killed with this value; its directory stays.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server in `directory` and waits until it serves; the error ends with its last words.
    pub(super) fn start(
        command: &[String],
        directory: &Path,
        log: &Path,
        options: &[&str],
    ) -> Result<Server, String> {
        let (program, arguments) = command.split_first().ok_or("no server command given")?;
        let failed = |error: std::io::Error| format!("{program}: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        drop(listener);
        let output = File::create(log).map_err(failed)?;
        let child = Command::new(program)
            .args(arguments)
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(directory)
            .args(options)
            // Not in the directory, which is to be unmounted.
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output)
            .spawn()
            .map_err(failed)?;
        let mut server = Server { child, address, log: log.to_path_buf() };
        let deadline = Instant::now() + START_WAIT;
        loop {
            if let Ok(mut connection) = Connection::open(address, Duration::from_secs(5))
                && connection.ask(&["PING"]).is_ok()
            {
                return Ok(server);
            }
            let ended = server.child.try_wait().map_err(failed)?;
            if ended.is_some() || Instant::now() > deadline {
                let why = ended.map_or("does not answer".into(), |status| format!("ended with {status}"));
                return Err(format!("the server {why}:\n{}", server.last_words()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns the address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns whether it is still there.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it on the spot, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        // One that has ended by itself needs no more than to be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
