//! Whether a command under `redstart lock run` is gone when another client is granted its lock, whatever is done to it.
//!
//! ```text
//! redstart lock run ── keeper ── sh, which nothing but SIGKILL ends ── sh, setsid sh, double forks ── sleep …
//!        │
//!      Proxy ── server ◄── rival: granted ──► at once: which processes of the command are there?
//! ```

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::reply::Reply;
use crate::{Proxy, tcp};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The network carries nothing any more, and nobody is told.
    Silence,
    /// All connections are closed, and new ones lead nowhere.
    Cut,
    /// The one who runs `redstart lock run` quits it.
    Quit,
    /// The process that holds the lock is killed.
    KillHolder,
    /// The process that keeps the command is killed.
    KillKeeper,
    /// The process that holds the lock is stopped.
    StopHolder,
    /// The process that keeps the command is stopped, and the network is silent.
    StopKeeper,
}

impl Blow {
    /// All of them.
    pub const ALL: [Blow; 7] = [
        Blow::Silence,
        Blow::Cut,
        Blow::Quit,
        Blow::KillHolder,
        Blow::KillKeeper,
        Blow::StopHolder,
        Blow::StopKeeper,
    ];
}

/// What came of one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// How many processes the command had.
    pub processes: usize,
    /// Those that were there when the rival was granted the lock; there must be none.
    pub survivors: Vec<String>,
    /// From the blow to the last process' end.
    pub ended_after: Duration,
    /// From the blow to the rival's grant.
    pub granted_after: Duration,
    /// The exit code of `redstart lock run`, if it was not killed.
    pub code: Option<i32>,
}

/// Deals one blow and sees what is left; `ours` is the redstart program, `native` whether the server has LOCK commands.
pub fn round(
    ours: &str,
    server: SocketAddr,
    native: bool,
    blow: Blow,
    lease: Duration,
    mark: &str,
) -> io::Result<Round> {
    let proxy = Proxy::start(server)?;
    let state = std::env::temp_dir().join(format!("redstart-supervised-{}-{mark}", std::process::id()));
    // SIGTERM and its kin are ignored; some leave the session, some are orphans, two levels down.
    let stubborn = "trap '' TERM INT HUP USR1; sleep 1000 & setsid sh -c 'trap \"\" TERM QUIT; sleep 1000 & sleep 1000' & \
                    (sh -c 'setsid sh -c \"trap \\\"\\\" TERM QUIT HUP; sleep 1000 & wait; sleep 1000\" &' &) ; \
                    while :; do sleep 1; done";
    let mut holder = Command::new(ours)
        .args(["lock", "run", mark, "--server", &proxy.address().to_string(), "--grace", "300ms"])
        .args(["--lease", &format!("{}ms", lease.as_millis()), "--state-dir"])
        .arg(&state)
        .args(["--", "sh", "-c", stubborn])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let outcome = strike(&mut holder, &proxy, server, native, blow, lease, mark);
    // Whatever came of it, nothing of it may stay.
    for pid in marked(mark) {
        let _ = signal("-KILL", pid);
    }
    let _ = holder.kill();
    let _ = holder.wait();
    let _ = fs::remove_dir_all(state);
    outcome
}

fn strike(
    holder: &mut Child,
    proxy: &Proxy,
    server: SocketAddr,
    native: bool,
    blow: Blow,
    lease: Duration,
    mark: &str,
) -> io::Result<Round> {
    // Sleeps below shells, and the shells themselves; the one in the loop comes and goes.
    wait_for("the command to run", || command_processes(mark).len() >= 7)?;
    // The lease has been renewed at least once.
    std::thread::sleep(lease / 2);
    let processes = command_processes(mark).len();
    let pid = i32::try_from(holder.id()).map_err(io::Error::other)?;
    let keeper = marked(mark).into_iter().find(|pid| is_keeper(*pid));
    let keeper = keeper.ok_or_else(|| io::Error::other("there is no keeper"))?;
    let struck = Instant::now();
    match blow {
        Blow::Silence => proxy.hold(true),
        Blow::Cut => {
            proxy.lead_to(SocketAddr::from(([127, 0, 0, 1], 1)));
            proxy.cut();
        }
        Blow::Quit => {
            proxy.hold(false);
            // The shell ends by it; the others do not, and would be left behind.
            signal("-QUIT", pid)?;
        }
        Blow::KillHolder => signal("-KILL", pid)?,
        Blow::KillKeeper => signal("-KILL", keeper)?,
        Blow::StopHolder => signal("-STOP", pid)?,
        Blow::StopKeeper => {
            proxy.hold(true);
            signal("-STOP", keeper)?;
        }
    }
    let watching = std::thread::spawn({
        let mark = mark.to_owned();
        move || {
            while !command_processes(&mark).is_empty() && struck.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            struck.elapsed()
        }
    });
    grant(server, native, mark)?;
    let survivors: Vec<String> = command_processes(mark).into_iter().map(describe).collect();
    let granted_after = struck.elapsed();
    let ended_after = watching.join().map_err(|_| io::Error::other("watching failed"))?;
    proxy.hold(false);
    if blow == Blow::StopHolder {
        signal("-CONT", pid)?;
    }
    let mut code = None;
    if blow != Blow::KillHolder {
        wait_for("redstart lock run to end", || {
            code = holder.try_wait().ok().flatten().and_then(|status| status.code());
            code.is_some()
        })?;
    }
    Ok(Round { processes, survivors, ended_after, granted_after, code })
}

/// Waits until another client is granted the lock, as any client would be.
fn grant(server: SocketAddr, native: bool, key: &str) -> io::Result<()> {
    wait_for("the rival's grant", || {
        let words: &[&str] = match native {
            true => &["LOCK.ACQUIRE", key, "rival", "LEASE", "1000"],
            false => &["SET", key, "rival", "NX", "PX", "1000"],
        };
        let reply = tcp::ask(server, words).map(|reply: Reply| reply.lines().join(" ")).unwrap_or_default();
        reply.contains("granted") || reply.contains("+OK")
    })
}

/// Returns the processes whose environment says that they run under the lock on this key, zombies left out.
pub fn marked(key: &str) -> Vec<i32> {
    let mark = format!("LOCK_KEY={key}\0");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    })
    .collect()
}

/// Returns those of them that are the command's, and not the keeper's own.
pub fn command_processes(key: &str) -> Vec<i32> {
    // Without a command line it has ended since its environment was read: it runs no code any more.
    let runs = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty() && !is_keepers(&line))
    };
    marked(key).into_iter().filter(runs).collect()
}

fn is_keeper(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| is_keepers(&line))
}

fn is_keepers(line: &[u8]) -> bool {
    line.split(|byte| *byte == 0).nth(2) == Some(b"__keep")
}

fn describe(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

/// Sends a signal by its name, as kill(1) does.
pub fn signal(name: &str, pid: i32) -> io::Result<()> {
    let done = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("kill {name} {pid}: {done}"))) }
}

/// Waits until something is so.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("waited in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
