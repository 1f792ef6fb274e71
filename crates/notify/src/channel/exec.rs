//! Any program: it gets the record as JSON on standard input, and returns 0 when the person was told.
//!
//! No shell reads the command. It runs as a process group of its own, which is killed when it takes too long.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Failure, QUOTED_BYTES_MAX, quoted};
use crate::message::Message;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::ZERO;

/// How often it looks whether the program has ended.
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Exec {
    command: Vec<String>,
    timeout: Duration,
}

impl Exec {
    pub(super) fn read(table: &mut Table<'_>, timeout: Duration) -> Result<Exec, Mistake> {
        let command: Vec<String> = table.texts("command")?.into_iter().map(|word| word.value).collect();
        if command.is_empty() {
            return Err(table.mistake("`command` is missing: a list of the program and its arguments"));
        }
        Ok(Exec { command, timeout })
    }

    pub(super) fn deliver(&self, message: &Message<'_>) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .env("REDSTART_PERSON", message.person_id)
            .env("REDSTART_KIND", message.record.kind.name())
            .env("REDSTART_RECORD", message.record.id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(format!("{}: {error}", self.command[0])))?;

        // Threads, for the program may read and write in any order, or not at all; killing it ends both.
        let mut input = child.stdin.take().expect("its input is a pipe");
        let document = message.json();
        thread::spawn(move || {
            // A program that does not care for the record closes its end; its exit code decides.
            let _ = input.write_all(&document);
        });
        let complaint = read_complaint(&mut child);
        let status = wait(&mut child, deadline)?;
        if status.success() {
            return Ok(());
        }
        let ended = match status.signal() {
            Some(signal) => format!("ended by signal {signal}"),
            None => format!("exit code {}", status.code().unwrap_or(-1)),
        };
        let said = complaint.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
        Err(Failure::new(format!("{}: {ended}, said {}", self.command[0], quoted(&said))))
    }
}

/// Returns the beginning of what the program writes to standard error, once that is closed.
fn read_complaint(child: &mut Child) -> Receiver<Vec<u8>> {
    let mut pipe = child.stderr.take().expect("its errors are a pipe");
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        let _ = pipe.by_ref().take(QUOTED_BYTES_MAX as u64).read_to_end(&mut said);
        let _ = sender.send(said);
        // Whoever goes on writing must not be stopped by a full pipe.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    });
    receiver
}

/// Returns how the program ended; kills it and all it started when that takes too long.
fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, Failure> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => {
                // The group has the child's number, which is not reused before the wait below.
                let group = i32::try_from(child.id()).map(Pid::from_raw);
                let _ = group.map(|group| killpg(group, Signal::SIGKILL));
                let _ = child.wait();
                return Err(Failure::new("took too long and was killed"));
            }
            Err(error) => return Err(Failure::new(error.to_string())),
        }
    }
}
