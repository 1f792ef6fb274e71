//! Child processes that share our memory as it is at one moment: beginning, ending, and what became of them.
//!
//! A child has one thread, whatever the parent has. It must not wait for a lock that another thread may have held at that
//! moment: it writes no log and touches nothing that threads share. The allocator is safe: jemalloc and glibc hold their
//! own locks across `libc::fork`, which is why nothing here may go around it.
//!
//! Its `unsafe` is that of calls which libc alone offers.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;
use std::panic::AssertUnwindSafe;

/// A child process that has not been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(libc::pid_t);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

/// The code of a child whose work panicked.
pub(crate) const PANICKED: i32 = 101;

/// Begins a child process that does `work` and ends with the code that this returns.
///
/// The child ends with the thread that calls this. Of the parent's descriptors it keeps the standard streams and `keep`:
/// a connection that the parent closes is closed then, and not when the child ends.
pub(crate) fn fork(keep: &[RawFd], work: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: an all-zero set is a set of signals, and is filled before it is read; the pointers are to locals; a default
    // action installs no code.
    let old = unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        // No handler of the parent's may run in the child: it would write to what both share.
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        // Whoever started the server may have ignored this one, and then there would be nothing to wait for.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        old
    };
    let parent = std::process::id();
    // SAFETY: the child does only what a child of a process with threads may, see the module's comment.
    let pid = unsafe { libc::fork() };
    let error = io::Error::last_os_error();
    if pid == 0 {
        reset_signals();
        follow(parent);
        close_descriptors(keep);
        let code = std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
        // SAFETY: ends the process without running anything that was registered for its end.
        unsafe { libc::_exit(code) };
    }
    // SAFETY: the pointer is to a local.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    if pid < 0 { Err(error) } else { Ok(Pid(pid)) }
}

impl Pid {
    /// Returns the number that the system knows the process by.
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }

    /// Ends the process on the spot.
    pub(crate) fn kill(self) {
        // SAFETY: no memory is involved. The child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Returns how the process ended, once it has; after this its number may be another's.
    pub(crate) fn ended(self) -> Option<Exit> {
        let mut status: c_int = 0;
        loop {
            // SAFETY: the pointer is to a local.
            match unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } {
                0 => return None,
                pid if pid == self.0 => break,
                _ => {}
            }
            let error = io::Error::last_os_error();
            assert!(error.kind() == io::ErrorKind::Interrupted, "waiting for a child failed: {error}");
        }
        Some(if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        })
    }
}

/// Makes signals mean what they mean to a new process, and lets them through again.
fn reset_signals() {
    // SAFETY: only default actions are installed; the set is filled before it is read.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            // Ctrl-C reaches every process of a terminal: what becomes of the child is for the parent to say. SIGHUP and
            // SIGPIPE are ignored as before.
            let ignored = matches!(signal, libc::SIGINT | libc::SIGHUP | libc::SIGPIPE);
            libc::signal(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Lets this process end when its parent does: what it writes would get in the way of the parent's successor.
fn follow(parent: u32) {
    // SAFETY: the calls take numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // The parent may have ended before that.
        if libc::getppid() as u32 != parent {
            libc::_exit(1);
        }
    }
}

/// Closes every descriptor but the standard streams and `keep`.
fn close_descriptors(keep: &[RawFd]) {
    let close_range = |from: RawFd, to: libc::c_uint| {
        // SAFETY: the call takes numbers only. Whatever owned these descriptors is never used in this process.
        from as libc::c_uint > to || unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } == 0
    };
    let mut kept = keep.to_vec();
    kept.sort_unstable();
    let (mut from, mut closed) = (3, true);
    for keep in &kept {
        closed &= close_range(from, (keep - 1) as libc::c_uint);
        from = keep + 1;
    }
    if closed && close_range(from, libc::c_uint::MAX) {
        return;
    }
    // A kernel before 5.9 closes one at a time.
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|&descriptor| descriptor > 2 && !keep.contains(&descriptor)) {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}
