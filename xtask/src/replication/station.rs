//! A server at a fixed port that is stopped, killed and started again.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::Reply;

use super::wait_for;
use crate::durability::clients::Connection;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place for a server: its process is killed with this value, its directory stays.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: String,
    command: Vec<String>,
    pub(crate) directory: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
    stopped: bool,
}

impl Station {
    /// Returns a place below `scratch` in which nothing runs yet.
    pub(crate) fn new(name: &str, command: &[String], scratch: &Path) -> Result<Station, String> {
        let directory = scratch.join(name);
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (name, command) = (name.to_string(), command.to_vec());
        Ok(Station { name, command, directory, address, child: None, stopped: false })
    }

    /// Starts the server with these options behind its place, and waits until it serves.
    pub(crate) fn start(&mut self, options: &[&str]) -> Result<(), String> {
        let port = self.address.port().to_string();
        let directory = self.directory.display().to_string();
        let place = ["--port", &port, "--bind", "127.0.0.1", "--dir", &directory];
        self.launch(&[&place[..], &["--enable-debug-command", "yes", "--save", ""], options].concat())
    }

    /// Starts the server with exactly these arguments, and waits until it serves.
    pub(crate) fn launch(&mut self, arguments: &[&str]) -> Result<(), String> {
        let (program, leading) = self.command.split_first().ok_or("no server command given")?;
        let failed = |error: std::io::Error| format!("{program}: {error}");
        let output =
            OpenOptions::new().create(true).append(true).open(self.directory.join("log")).map_err(failed)?;
        let child = Command::new(program)
            .args(leading)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output)
            .spawn()
            .map_err(failed)?;
        self.child = Some(child);
        wait_for(&format!("{} serves", self.name), Duration::from_secs(60), || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(format!("it ended with {status}"));
            }
            match self.ask(&["PING"])?.text() {
                Some(b"PONG") => Ok(()),
                _ => Err("it does not answer PING".into()),
            }
        })
        .map_err(|error| format!("{error}\n{}", self.last_words()))
    }

    /// Returns the address it listens on while it runs.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it on the spot, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended by itself needs no more than to be waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stopped = false;
    }

    /// Lets it stand still (SIGSTOP), or go on (SIGCONT).
    pub(crate) fn stop(&mut self, stopped: bool) -> Result<(), String> {
        let Some(child) = &self.child else { return Ok(()) };
        let signal = if stopped { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        self.stopped = stopped;
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill {signal}: {other:?}")),
        }
    }

    /// Has it stop by itself with a snapshot.
    pub(crate) fn shut_down(&mut self) -> Result<(), String> {
        // The link ends with the server, so there is no answer.
        let _ = self.ask(&["SHUTDOWN", "SAVE"]);
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = wait_for("it shuts down", Duration::from_secs(30), || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err("it still runs".into()),
        });
        self.child = None;
        match ended? {
            status if status.success() => Ok(()),
            status => Err(format!("{} ended with {status}\n{}", self.name, self.last_words())),
        }
    }

    /// Asks over a connection of its own; errors that were answered are replies.
    pub(crate) fn ask(&self, request: &[&str]) -> Result<Reply, String> {
        Connection::open(self.address, PATIENCE)?.reply(request)
    }

    /// Asks what must be answered with OK.
    pub(crate) fn order(&self, request: &[&str]) -> Result<(), String> {
        let reply = self.ask(request).map_err(|error| format!("{}: {error}", self.name))?;
        match reply.head().starts_with("+OK") {
            true => Ok(()),
            false => Err(format!("{}: {}: {}", self.name, request.join(" "), reply.head())),
        }
    }

    /// Follows the server that is reached there.
    pub(crate) fn follow(&self, master: SocketAddr) -> Result<(), String> {
        self.order(&["REPLICAOF", &master.ip().to_string(), &master.port().to_string()])
    }

    /// Returns a field of INFO.
    pub(crate) fn info(&self, field: &str) -> Result<String, String> {
        Connection::open(self.address, PATIENCE)?.info(field)
    }

    /// Returns a field of INFO that is a number.
    pub(crate) fn count(&self, field: &str) -> Result<u64, String> {
        let text = self.info(field)?;
        text.parse().map_err(|_| format!("{field} is {text}"))
    }

    /// Returns the digest of its data, and its place in the stream.
    pub(crate) fn digest(&self) -> Result<(String, u64), String> {
        let digest = self.ask(&["DEBUG", "DIGEST"])?.head();
        Ok((digest, self.count("master_repl_offset")?))
    }

    /// Returns why its link to the master is not up.
    pub(crate) fn check_link(&self) -> Result<(), String> {
        let (role, status) = (self.info("role")?, self.info("master_link_status").unwrap_or_default());
        match role == "slave" && status == "up" {
            true => Ok(()),
            false => Err(format!("{} is a {role}, its link is {status}", self.name)),
        }
    }

    /// Waits until its link to the master is up.
    pub(crate) fn wait_for_link(&self) -> Result<(), String> {
        wait_for("a link comes up", Duration::from_secs(60), || self.check_link())
            .map_err(|error| format!("{error}\n{}", self.last_words()))
    }

    /// Returns the end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        format!("---- {}\n{}", self.name, lines[lines.len().saturating_sub(25)..].join("\n"))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.kill();
    }
}
