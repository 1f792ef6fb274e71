//! `redstart lock __keep`: the process between the holder of a lock and its command, which owns the command's end.
//!
//! It does nothing but wait: for the holder's orders, for the command and its descendants, and for the moment after which
//! the lease can no longer be trusted. It needs neither network nor memory for that, and has no lock to wait for, so that
//! nothing that befalls the holder (a server that hangs, SIGSTOP, SIGKILL) lets the command outlive the lease.
//!
//! ```text
//! redstart lock run ── redstart lock __keep ── COMMAND ── …
//!   holder: lock        keeper: deadlines       a process group of its own
//!   subreaper           subreaper               killed with the keeper
//! ```

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use notify::FailureRecord;

use super::clock::BootTime;
use super::descendants::{self, Reaped};
use super::link::{Line, News, Order, Outcome};
use super::plan::{Cause, Plan, Step};
use super::tee::Tee;
use super::{exec, report, signals};
use crate::lock::desk::Desk;
use crate::lock::exit;

/// The word for it among the arguments.
pub(crate) const WORD: &str = "__keep";

/// How the command is to be started and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The holder's door.
    pub(crate) door: String,
    /// From being asked to end to being killed.
    pub(crate) grace: Duration,
    /// Whether the command takes the terminal.
    pub(crate) foreground: bool,
    /// Whether the end of its standard error is remembered.
    pub(crate) tail: bool,
}

impl Settings {
    /// Returns them as arguments, which [`main`] takes before the command.
    pub(crate) fn to_args(&self) -> [String; 6] {
        let grace = self.grace.as_millis().to_string();
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        ["lock".to_owned(), WORD.to_owned(), self.door.clone(), grace, word(self.foreground), word(self.tail)]
    }

    fn from_args(args: &[OsString]) -> Option<(Settings, &[OsString])> {
        let [door, grace, foreground, tail, program @ ..] = args else { return None };
        let settings = Settings {
            door: door.to_str()?.to_owned(),
            grace: Duration::from_millis(grace.to_str()?.parse().ok()?),
            foreground: foreground == "yes",
            tail: tail == "yes",
        };
        (!program.is_empty()).then_some((settings, program))
    }
}

/// Keeps one command from its start until nothing of it is left.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some((settings, program)) = Settings::from_args(args) else { return exit::USAGE.into() };
    match Keeper::start(&settings, program) {
        Ok(Some(mut keeper)) => {
            let outcome = keeper.run();
            keeper.finish(outcome);
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("redstart lock run: {error}");
            exit::OS.into()
        }
    }
}

/// What to save of a command whose holder is gone, and where.
struct Remembered {
    record: FailureRecord,
    desk: Desk,
}

struct Keeper {
    holder: Line,
    holder_is_gone: bool,
    remembered: Option<Remembered>,
    settled: bool,
    child: Pid,
    status: Option<WaitStatus>,
    plan: Plan,
    children: UnixStream,
    signals: SignalFd,
    timer: TimerFd,
    tee: Tee,
}

impl Keeper {
    /// Starts the command once the holder says that the lock is held; nothing if it never says so.
    fn start(settings: &Settings, program: &[OsString]) -> io::Result<Option<Keeper>> {
        prctl::set_child_subreaper(true)?;
        let mut holder = Line::connect(&settings.door)?;
        let (mut deadlines, mut remembered) = (None, None);
        while deadlines.is_none() {
            match holder.next() {
                Some(Order::Hold(told)) => deadlines = Some(told),
                Some(Order::Remember { record, desk }) => {
                    remembered = Some(Remembered { record: *record, desk })
                }
                Some(Order::End(_) | Order::Settled) => return Ok(None),
                Some(Order::Pass(_)) => {}
                None if !holder.fill() => return Ok(None),
                None => {}
            }
        }
        let Some(deadlines) = deadlines else { return Ok(None) };

        // Signals that come to this process are meant for the command, too.
        let heard = signals::not_ignored();
        // In the background, a word of ours to a terminal must not stop us.
        let unblock = signals::block(&[&heard[..], &[Signal::SIGTTOU]].concat())?;
        let signals = SignalFd::with_flags(
            &heard.into_iter().collect(),
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?;
        let (children, write) = UnixStream::pair()?;
        children.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(Signal::SIGCHLD as i32, write)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;

        let mut command = exec::command(program, &unblock, settings.foreground)?;
        let tee = if settings.tail { Tee::attach(&mut command)? } else { Tee::default() };
        let child = match command.spawn() {
            Ok(child) => Pid::from_raw(child.id() as i32),
            Err(error) => {
                holder.send(&News::NotStarted(error.to_string()));
                return Ok(None);
            }
        };
        // It holds the writing end of the pipe, which only the command's processes may hold now.
        drop(command);
        holder.send(&News::Started(child.as_raw()));
        let plan = Plan::new(settings.grace, deadlines);
        Ok(Some(Keeper {
            holder,
            holder_is_gone: false,
            remembered,
            settled: false,
            child,
            status: None,
            plan,
            children,
            signals,
            timer,
            tee,
        }))
    }

    /// Waits until the command and all its descendants have ended.
    fn run(&mut self) -> Outcome {
        loop {
            loop {
                match descendants::reap() {
                    Reaped::Child(status) => self.note(status),
                    Reaped::NothingNew => break,
                    Reaped::NoneLeft => return self.outcome(),
                }
            }
            match self.plan.step(BootTime::now()) {
                Step::Terminate => descendants::terminate(),
                Step::Kill => descendants::kill(),
                Step::Wait(moment) => self.wait(moment),
            }
        }
    }

    fn note(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.child => {
                self.status = Some(status);
                self.plan.end(BootTime::now(), Cause::Leftovers);
            }
            // Stopping what is being ended would only keep it from ending.
            WaitStatus::Stopped(pid, _) if self.plan.cause().is_some() && !self.plan.killed() => {
                let _ = kill(pid, Signal::SIGCONT);
            }
            WaitStatus::Stopped(pid, signal) if pid == self.child && !self.plan.killed() => {
                self.holder.send(&News::Stopped(signal as i32));
            }
            _ => {}
        }
    }

    /// Sleeps until something has happened, or the moment has come.
    fn wait(&mut self, moment: BootTime) {
        // A timer that cannot be set must not end in a sleep without end.
        let set =
            self.timer.set(Expiration::OneShot(moment.to_timespec()), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        let timeout = if set.is_ok() { PollTimeout::NONE } else { PollTimeout::from(10u8) };
        let mut ready = [
            PollFd::new(std::os::fd::AsFd::as_fd(&self.children), PollFlags::POLLIN),
            PollFd::new(std::os::fd::AsFd::as_fd(&self.timer), PollFlags::POLLIN),
            PollFd::new(std::os::fd::AsFd::as_fd(&self.signals), PollFlags::POLLIN),
            PollFd::new(self.holder.as_fd(), PollFlags::POLLIN),
        ];
        // The holder is looked at last, and not once it is gone: its end would always be ready.
        let looked_at = if self.holder_is_gone { 3 } else { 4 };
        match poll(&mut ready[..looked_at], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let holder_spoke = looked_at == 4 && ready[3].any().unwrap_or(true);
        self.drain_children();
        while let Ok(Some(signal)) = self.signals.read_signal() {
            self.pass(signal.ssi_signo as i32);
        }
        if holder_spoke {
            self.hear();
        }
    }

    fn drain_children(&mut self) {
        let mut chunk = [0; 256];
        while io::Read::read(&mut self.children, &mut chunk).is_ok_and(|length| length > 0) {}
    }

    fn hear(&mut self) {
        let there = self.holder.fill();
        while let Some(order) = self.holder.next() {
            match order {
                Order::Hold(deadlines) => self.plan.renew(deadlines),
                Order::End(cause) => self.plan.end(BootTime::now(), cause),
                Order::Pass(signal) => self.pass(signal),
                Order::Remember { record, desk } => {
                    self.remembered = Some(Remembered { record: *record, desk })
                }
                Order::Settled => self.settled = true,
            }
        }
        if !there {
            self.holder_is_gone = true;
            self.plan.end(BootTime::now(), Cause::HolderGone);
        }
    }

    fn pass(&self, signal: i32) {
        if let (None, Ok(signal)) = (self.status, Signal::try_from(signal)) {
            // Nobody there to hear it is news of its own.
            let _ = killpg(self.child, signal);
        }
    }

    fn outcome(&self) -> Outcome {
        let (code, signal) = match self.status {
            Some(WaitStatus::Exited(_, code)) => (Some(code), None),
            Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal as i32)),
            _ => (None, None),
        };
        let cause = self.plan.cause().filter(|cause| *cause != Cause::Leftovers);
        Outcome { code, signal, cause, killed: self.plan.killed(), tail: self.tee.tail() }
    }

    /// Tells the outcome, hands on what output there still is, and makes sure that a failure is saved by somebody.
    fn finish(mut self, outcome: Outcome) {
        self.holder.send(&News::Ended(outcome.clone()));
        std::mem::take(&mut self.tee).finish();
        while !self.settled && !self.holder_is_gone {
            self.hear();
        }
        if let (false, Some(Remembered { record, desk })) = (self.settled, self.remembered) {
            desk.save(&report::without_holder(record, &outcome));
        }
    }
}
