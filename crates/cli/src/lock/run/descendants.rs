//! Every process below this one, found by ancestry, and signals to all of them.
//!
//! A process that starts a session of its own, or whose parents have ended, stays a descendant: the kernel gives orphans
//! to the nearest ancestor that declared itself a subreaper, which the keeper and the holder of a lock do. What has ended
//! is therefore known, too: when no child is left, no descendant is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often the tree is read anew while it is being frozen, before what was found is killed anyway.
const FREEZES: usize = 16;

/// A process as `/proc` tells of it; pid and start together name it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pid: i32,
    parent: i32,
    started: u64,
}

impl Process {
    /// Returns what `/proc/PID/stat` says; nothing if there is no such process any more.
    fn read(pid: i32) -> Option<Process> {
        Process::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `PID (NAME) STATE PARENT …`, where the name may hold anything, brackets and newlines included.
    fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Process { pid, parent, started })
    }

    /// Sends a signal to this process, and never to another that got its number; true when it was there.
    fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => {
                let same = Process::read(self.pid).is_some_and(|now| now.started == self.started);
                same && pidfd_send_signal(handle, signal).is_ok()
            }
            // Kernels before 5.3 and some sandboxes have no handles of processes.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                let same = Process::read(self.pid).is_some_and(|now| now.started == self.started);
                same && rustix::process::kill_process(pid, signal).is_ok()
            }
            Err(_) => false,
        }
    }
}

/// Returns every process below this one.
fn all() -> Vec<Process> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    below(own, pids.filter_map(Process::read))
}

/// Returns those of `processes` that descend from `ancestor`, parents first.
fn below(ancestor: i32, processes: impl Iterator<Item = Process>) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = children.remove(&ancestor).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next].pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Asks every descendant to end; those that are stopped are continued, so that they can.
pub(crate) fn terminate() {
    for process in all() {
        process.signal(Signal::TERM);
        process.signal(Signal::CONT);
    }
}

/// Kills every descendant there is now; call it again until none is left.
pub(crate) fn kill() {
    // Stopped processes start no others, so that the list is complete at some point, whatever they were about to do.
    let mut frozen = BTreeSet::new();
    for _ in 0..FREEZES {
        let new: Vec<Process> = all().into_iter().filter(|process| !frozen.contains(process)).collect();
        if new.is_empty() {
            break;
        }
        for process in new {
            process.signal(Signal::STOP);
            frozen.insert(process);
        }
    }
    for process in frozen {
        process.signal(Signal::KILL);
    }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// This one ended or stopped.
    Child(WaitStatus),
    /// Children are there, and nothing is new of them.
    NothingNew,
    /// There is no child, hence no descendant.
    NoneLeft,
}

/// Takes in the next piece of news of a child, without waiting for one.
pub(crate) fn reap() -> Reaped {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::StillAlive) => return Reaped::NothingNew,
            Ok(status) => return Reaped::Child(status),
            Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NoneLeft,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_read_over() {
        let mut stat =
            b"12 (a) S 1 (b\n) R 7 12 12 0 -1 4194304 100 0 0 0 1 2 3 4 20 0 1 0 98765 1000 10".to_vec();
        let process = Process::parse(12, &stat).unwrap();
        assert_eq!((process.parent, process.started), (7, 98765));
        stat.truncate(30);
        assert_eq!(Process::parse(12, &stat), None);
        assert_eq!(Process::parse(12, b""), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_in_any_order() {
        let process = |pid, parent| Process { pid, parent, started: 1 };
        let list = [process(9, 5), process(5, 3), process(3, 1), process(4, 2), process(2, 1), process(8, 3)];
        let pids = |ancestor| {
            below(ancestor, list.into_iter()).iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        assert_eq!(pids(3), [5, 8, 9]);
        assert_eq!(pids(1), [3, 2, 5, 8, 4, 9]);
        assert_eq!(pids(9), [0; 0]);
    }
}
