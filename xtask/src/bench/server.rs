//! A server under measurement: what the kernel says about its process.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use testkit::tcp::ask;
use testkit::{Reply, ServerProcess};

use super::machine;

/// The processor that servers run on.
const SERVER_CPU: &str = "0";

/// A running server whose process is watched.
#[derive(Debug)]
pub(super) struct Server(ServerProcess);

impl Server {
    /// Starts a server and waits until it answers.
    pub(super) fn start(command: &[String], options: &[&str]) -> io::Result<Server> {
        ServerProcess::start(command, options).map(Server)
    }

    /// Returns the address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Lets the thread that executes commands run before all else on its processor.
    pub(super) fn put_first(&self) -> io::Result<()> {
        // In both servers it is the thread that the process began with.
        machine::put_first(&self.0.pid().to_string())
    }

    /// Returns the time from starting the process to its first answer.
    pub(super) fn start_time(&self) -> Duration {
        self.0.start_time()
    }

    /// Returns the processor time that all its threads have used, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.pid()))? {
            // A thread may have ended since it was listed.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    /// Returns its resident memory in bytes.
    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS in /proc"))
    }

    /// Fails when the server has replied with errors: what replied so was not measured.
    pub(super) fn no_errors(&self) -> io::Result<()> {
        match self.info("stats", "total_error_replies")?.as_str() {
            "0" => Ok(()),
            count => Err(io::Error::other(format!("{count} error replies"))),
        }
    }

    /// Returns a field of a section of INFO.
    pub(super) fn info(&self, section: &str, field: &str) -> io::Result<String> {
        let reply = ask(self.address(), &["INFO", section])?;
        let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.map(str::to_string).ok_or_else(|| io::Error::other(format!("INFO says nothing of {field}")))
    }

    /// Sends one request and fails when the reply is an error.
    pub(super) fn ask(&self, request: &[&str]) -> io::Result<Reply> {
        let reply = ask(self.address(), request)?;
        if reply.head().starts_with('-') { Err(io::Error::other(reply.head())) } else { Ok(reply) }
    }
}

/// Returns a server's command so that it runs on the processor kept for servers.
pub(super) fn pinned_to_server_cpu(command: &[String]) -> Vec<String> {
    pinned(command, SERVER_CPU)
}

/// Returns a server's command so that it runs on one processor.
pub(super) fn pinned(command: &[String], cpu: &str) -> Vec<String> {
    ["taskset", "-c", cpu].into_iter().map(str::to_string).chain(command.iter().cloned()).collect()
}
