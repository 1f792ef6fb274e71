//! Whose turn it is at the terminal: the command's while it runs in the foreground.

use std::io::{self, IsTerminal};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgrp, getpid, getppid, getsid, tcgetpgrp, tcsetpgrp};

use super::signals;

/// Returns whether standard input is a terminal.
pub(crate) fn is_here() -> bool {
    io::stdin().is_terminal()
}

/// Returns whether standard input is a terminal, and this process in its foreground.
pub(crate) fn is_ours() -> bool {
    is_here() && tcgetpgrp(io::stdin()) == Ok(getpgrp())
}

/// Puts a process group into the foreground of the terminal at standard input.
pub(crate) fn give_to(group: Pid) {
    // From the background this would stop us, were the signal for it not blocked.
    let blocked = signals::block(&[Signal::SIGTTOU]).unwrap_or_default();
    // A terminal that is gone needs nobody in its foreground.
    let _ = tcsetpgrp(io::stdin(), group);
    let _ = signals::unblock(&blocked);
}

/// Puts this process' group into the foreground again.
pub(crate) fn take_back() {
    give_to(getpgrp());
}

/// Returns whether no shell is there that would continue this process, were it stopped.
pub(crate) fn nobody_continues_us() -> bool {
    let own = getsid(None);
    own == Ok(getpid()) || getsid(Some(getppid())) != own
}
