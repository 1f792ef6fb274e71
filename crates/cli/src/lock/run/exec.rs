//! `redstart lock __exec`: the last step before the command, in the process that becomes it.
//!
//! It asks the kernel to kill it when the keeper dies, takes the terminal, and starts with the signals unblocked that the
//! keeper has blocked for itself. All that is inherited by the command, as its descriptors and its environment are.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpgrp, getppid};

use super::{signals, terminal};
use crate::lock::exit;

/// The word for it among the arguments.
pub(crate) const WORD: &str = "__exec";

/// Returns the process that will become the command, in a process group of its own; to be started by this thread.
pub(super) fn command(program: &[OsString], unblock: &[Signal], foreground: bool) -> io::Result<Command> {
    let mut command = Command::new(super::own_program());
    command
        .args(["lock", WORD])
        .arg(std::process::id().to_string())
        .arg(signals::to_word(unblock))
        .arg(if foreground { "foreground" } else { "background" })
        .args(program)
        .process_group(0);
    Ok(command)
}

/// Becomes the command; returns only when that fails.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let [keeper, unblock, place, program, program_args @ ..] = args else { return exit::USAGE.into() };
    let keeper = keeper.to_string_lossy().parse().unwrap_or(0);
    // A keeper that died before this was asked for is noticed by who adopted us.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid().as_raw() != keeper {
        return exit::UNAVAILABLE.into();
    }
    if place == "foreground" {
        terminal::give_to(getpgrp());
    }
    let _ = signals::unblock(&signals::from_word(&unblock.to_string_lossy()));
    let error = Command::new(program).args(program_args).exec();
    complain!("redstart lock run: {}: {error}", program.to_string_lossy());
    match error.kind() {
        io::ErrorKind::NotFound => exit::NOT_FOUND.into(),
        _ => exit::NOT_EXECUTABLE.into(),
    }
}
