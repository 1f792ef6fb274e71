//! The process that holds the lock: gets it, has the keeper run the command, gives it back, and tells what went wrong.

use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use notify::FailureKind;
use redstart_lock::{Context, Error, Lock, LockClient, TaskInfo};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

use super::clock::BootTime;
use super::descendants::{self, Reaped};
use super::keeper::Settings;
use super::link::{Door, News, Order, Outcome};
use super::plan::{Cause, Deadlines, Plan, Step};
use super::report::{self, Waited};
use super::{signals, terminal};
use crate::lock::arguments::{OnBusy, Run};
use crate::lock::desk::Desk;
use crate::lock::exit::{self, Code};
use crate::lock::wire::address;

/// The signals that end a process, unless it has other plans.
const ENDS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// How long the keeper may take to start.
const KEEPER_START: Duration = Duration::from_secs(10);

/// How long an attempt that was interrupted has for being withdrawn.
const WITHDRAWAL: Duration = Duration::from_millis(300);

/// Does all of `redstart lock run` but telling people; returns the exit code. What failed is saved when it returns.
pub(super) async fn run(run: &Run, desk: &Desk) -> Code {
    let heard = signals::not_ignored();
    // Whoever waits for a lock can be stopped and continued as anyone; the rest is listened to when a command is there.
    let (ends, others): (Vec<Signal>, Vec<Signal>) =
        heard.into_iter().partition(|signal| ENDS.contains(signal));
    let mut ends = listen(&ends);
    let acquired = match lock(run) {
        Ok(lock) => tokio::select! {
            acquired = lock.acquire() => acquired,
            Some(signal) = ends.recv() => {
                // What was sent may still be granted: it is given back in the background.
                tokio::time::sleep(WITHDRAWAL).await;
                return exit::by_signal(signal as i32);
            }
        },
        Err(error) => Err(error),
    };
    let guard = match acquired {
        Ok(guard) => guard,
        Err(error) => return refused(run, desk, &error),
    };
    let waited = Waited { checks: guard.checks(), waited: guard.waited() };
    let token = guard.token();
    let mut holder = match Holder::start(run, desk, guard.context(), &others, ends).await {
        Ok(holder) => holder,
        Err(error) => {
            let _ = guard.release().await;
            let reason = format!("the command could not be started: {error}");
            complain(&reason);
            desk.save(&report::not_run(run, waited, reason));
            return exit::OS;
        }
    };
    let outcome = holder.watch().await;
    if holder.foreground {
        terminal::take_back();
    }
    // What is left of its output must not keep others from the lock.
    let released = guard.release().await;
    let (code, report) = report::ended(run, waited, token, &outcome, released.err());
    if let Some(report) = report {
        // What the command has to say about its own failure it has said.
        if report.kind != FailureKind::TaskFailed || outcome.cause.is_some() {
            complain(&report.error);
        }
        desk.save(&report);
    }
    holder.finish().await;
    code
}

fn lock(run: &Run) -> Result<Lock, Error> {
    let mut builder = LockClient::builder().urls(run.servers.iter().map(|url| address(url)));
    if run.servers.len() > 1 {
        builder = builder.redlock();
    }
    let lock = builder
        .build()?
        .lock(&run.key)
        .lease(run.lease)
        .max_checks(run.max_checks)
        .interval(run.interval)
        .jitter(run.jitter)
        .replicas(run.replicas)
        .task(TaskInfo::new(report::task_name(run)));
    Ok(match &run.owner {
        Some(owner) => lock.owner(owner),
        None => lock,
    })
}

/// Returns the code when there is no lock to run under, and saves that it was so.
fn refused(run: &Run, desk: &Desk, error: &Error) -> Code {
    match error {
        Error::Busy { .. } if run.on_busy == OnBusy::Skip => {
            complain(&format!("skipped: {error}"));
            Code(0)
        }
        Error::Busy { holder, checks, waited } => {
            complain(&error.to_string());
            let waited = Waited { checks: *checks, waited: *waited };
            desk.save(&report::busy(run, waited, holder, error));
            exit::BUSY
        }
        Error::Invalid { .. } => {
            complain(&error.to_string());
            exit::USAGE
        }
        error => {
            complain(&error.to_string());
            desk.save(&report::unavailable(run, error));
            match error {
                Error::Refused { .. } => exit::REFUSED,
                _ => exit::UNAVAILABLE,
            }
        }
    }
}

/// Says something to whoever reads the command's errors.
fn complain(reason: &str) {
    complain!("redstart lock run: {reason}");
}

/// Returns signals as they come in; those that cannot be listened to do what they always do.
fn listen(wanted: &[Signal]) -> Receiver<Signal> {
    let (sender, receiver) = channel(64);
    for &wanted in wanted {
        if let Ok(mut stream) = signal(SignalKind::from_raw(wanted as i32)) {
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() && sender.send(wanted).await.is_ok() {}
            });
        }
    }
    receiver
}

/// A running command, seen from the process that holds its lock.
struct Holder {
    lock: Context,
    lease: Duration,
    grace: Duration,
    max_hold: Option<Duration>,
    foreground: bool,
    keeper: Child,
    /// Where the keeper speaks and listens; nothing once it is gone.
    news: Option<Lines<BufReader<OwnedReadHalf>>>,
    orders: OwnedWriteHalf,
    ends: Receiver<Signal>,
    others: Receiver<Signal>,
    /// The command's process group, once it runs.
    command: Option<Pid>,
    /// A moment on both clocks, taken before the last renewal was noticed.
    both: (BootTime, Instant),
    valid_until: Instant,
    deadlines: Deadlines,
}

impl Holder {
    /// Starts the keeper, which starts the command.
    async fn start(
        run: &Run,
        desk: &Desk,
        lock: Context,
        others: &[Signal],
        ends: Receiver<Signal>,
    ) -> io::Result<Holder> {
        // Should the keeper be killed, what it kept comes to us.
        prctl::set_child_subreaper(true)?;
        let others = listen(others);
        // Not ignoring the end of children is inherited, even if we were started to ignore it.
        let _child = signal(SignalKind::child())?;
        let foreground = terminal::is_ours();
        let door = Door::open()?;
        let settings =
            Settings { door: door.name().to_owned(), grace: run.grace, foreground, tail: !run.no_tail };
        let mut command = Command::new(super::own_program());
        command.args(settings.to_args()).args(&run.command);
        command.env("LOCK_KEY", &run.key);
        command.env("LOCK_TOKEN", lock.token().to_string());
        command.env("LOCK_OWNER", lock.owner());
        command.env("LOCK_SERVER", run.servers.iter().map(|url| address(url)).collect::<Vec<_>>().join(" "));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut keeper = command.spawn()?;
        let stream = match admit(door, &mut keeper).await {
            Ok(stream) => stream,
            Err(error) => {
                let _ = keeper.kill();
                let _ = keeper.wait();
                return Err(error);
            }
        };
        let (news, orders) = stream.into_split();
        let now = BootTime::now();
        let mut holder = Holder {
            lock,
            lease: run.lease,
            grace: run.grace,
            max_hold: run.max_hold,
            foreground,
            keeper,
            news: Some(BufReader::new(news).lines()),
            orders,
            ends,
            others,
            command: None,
            both: (now, Instant::now()),
            valid_until: Instant::now(),
            deadlines: Deadlines { terminate: now, kill: now },
        };
        let begun = report::holder_gone(run, holder.lock.token());
        holder.order(&Order::Remember { record: Box::new(begun), desk: desk.clone() }).await;
        holder.extend().await;
        Ok(holder)
    }

    /// Goes along with the command until nothing of it is left.
    async fn watch(&mut self) -> Outcome {
        let begun = Instant::now();
        let lock = self.lock.clone();
        let mut lost = std::pin::pin!(lock.lost());
        let mut ended_for = None;
        loop {
            // Noticing a renewal takes a thirtieth of the lease at most; a sixth is left until the command is ended.
            let look = (self.lease / 30).clamp(Duration::from_millis(2), Duration::from_secs(1));
            let held_for_long = async {
                match self.max_hold.filter(|_| ended_for.is_none()) {
                    Some(most) => tokio::time::sleep(most.saturating_sub(begun.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                line = next_line(&mut self.news) => match line {
                    Some(line) => match serde_json::from_str(&line) {
                        Ok(News::Started(pid)) => self.command = Some(Pid::from_raw(pid)),
                        Ok(News::Stopped(signal)) => self.stopped(signal).await,
                        Ok(News::Ended(outcome)) => return outcome,
                        Ok(News::NotStarted(reason)) => {
                            complain(&reason);
                            return Outcome { code: Some(i32::from(exit::OS.0)), ..Outcome::default() };
                        }
                        Err(_) => {}
                    },
                    None => return self.take_over(Cause::KeeperGone).await,
                },
                Some(signal) = self.ends.recv() => self.order(&Order::Pass(signal as i32)).await,
                Some(signal) = self.others.recv() => self.order(&Order::Pass(signal as i32)).await,
                cause = &mut lost, if ended_for.is_none() => {
                    ended_for = Some(Cause::Lease);
                    complain(&format!("the lock is lost, the command is ended: {cause}"));
                    self.order(&Order::End(Cause::Lease)).await;
                }
                () = held_for_long => {
                    ended_for = Some(Cause::MaxHold);
                    complain("the command has held the lock for as long as it may, and is ended");
                    self.order(&Order::End(Cause::MaxHold)).await;
                }
                () = tokio::time::sleep(look) => {}
            }
            self.extend().await;
            // The keeper kills at this moment. Should it have been stopped itself, somebody else has to.
            if BootTime::now() > self.deadlines.kill.after(self.lease / 30) {
                return self.take_over(Cause::Lease).await;
            }
        }
    }

    /// Tells the keeper of a renewal, if there was one.
    async fn extend(&mut self) {
        let now = Instant::now();
        let valid_until = now + self.lock.remaining();
        // Computed from the moment now, it varies a little without a renewal.
        if self.lock.is_held() && valid_until > self.valid_until + Duration::from_millis(1) {
            self.valid_until = valid_until;
            // `Instant` stands still while the machine sleeps. Counted from a moment before the renewal, a sleep since
            // then makes the deadlines too early, never too late.
            let (boot, instant) = self.both;
            let remaining = valid_until.saturating_duration_since(instant);
            self.deadlines = Deadlines::within(self.lease, boot, remaining, self.grace);
            self.order(&Order::Hold(self.deadlines)).await;
        }
        self.both = (BootTime::now(), now);
    }

    async fn order(&mut self, order: &Order) {
        let Ok(mut line) = serde_json::to_vec(order) else { return };
        line.push(b'\n');
        // A keeper that does not listen is noticed by its deadline.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.orders.write_all(&line)).await;
    }

    /// Stops as the command has, when that was done at the terminal; the lock is lost if it stays so for long.
    async fn stopped(&mut self, signal: i32) {
        let is = |of: Signal| of as i32 == signal;
        let wants_terminal = is(Signal::SIGTTIN) || is(Signal::SIGTTOU);
        let Some(command) = self.command.filter(|_| terminal::is_here()) else { return };
        if !(wants_terminal || is(Signal::SIGTSTP)) {
            return;
        }
        // Brought to the foreground while the command ran, we have the terminal that it wants.
        let is_given = wants_terminal && terminal::is_ours();
        if !is_given && !terminal::nobody_continues_us() {
            if self.foreground {
                terminal::take_back();
            }
            // Everyone in our group stops, as had the command been one of them: the shell sees its job stop.
            let _ = kill(Pid::from_raw(0), Signal::SIGSTOP);
        }
        // Continued, in the foreground or not.
        if terminal::is_ours() {
            self.foreground = true;
            terminal::give_to(command);
        }
        self.order(&Order::Pass(Signal::SIGCONT as i32)).await;
    }

    /// Ends the keeper and everything below, when it does not do its work any more.
    async fn take_over(&mut self, cause: Cause) -> Outcome {
        complain("the process that keeps the command is gone or stopped; the command is ended");
        let _ = self.keeper.kill();
        self.news = None;
        let mut plan = Plan::new(self.grace, self.deadlines);
        plan.end(BootTime::now(), cause);
        loop {
            while let Reaped::Child(_) = descendants::reap() {}
            if descendants::reap() == Reaped::NoneLeft {
                return Outcome { cause: Some(cause), killed: true, ..Outcome::default() };
            }
            match plan.step(BootTime::now()) {
                Step::Terminate => descendants::terminate(),
                Step::Kill => descendants::kill(),
                Step::Wait(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Tells the keeper that everything is settled, and waits until it has handed on what the command wrote.
    async fn finish(mut self) {
        self.order(&Order::Settled).await;
        while next_line(&mut self.news).await.is_some() {}
        let _ = self.keeper.wait();
    }
}

/// Returns what the keeper says next; nothing when it is gone.
async fn next_line(news: &mut Option<Lines<BufReader<OwnedReadHalf>>>) -> Option<String> {
    let lines = news.as_mut()?;
    match lines.next_line().await {
        Ok(Some(line)) => Some(line),
        _ => None,
    }
}

/// Waits until the keeper comes, and lets nobody else in.
async fn admit(door: Door, keeper: &mut Child) -> io::Result<UnixStream> {
    let listener = door.into_listener();
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let deadline = Instant::now() + KEEPER_START;
    loop {
        match tokio::time::timeout(Duration::from_millis(100), listener.accept()).await {
            Ok(accepted) => {
                let (stream, _) = accepted?;
                if stream.peer_cred()?.pid() == i32::try_from(keeper.id()).ok() {
                    return Ok(stream);
                }
            }
            Err(_) if keeper.try_wait()?.is_some() => return Err(io::Error::other("its keeper has ended")),
            Err(_) if Instant::now() > deadline => {
                return Err(io::Error::other("its keeper does not answer"));
            }
            Err(_) => {}
        }
    }
}
