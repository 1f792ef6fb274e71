//! The exit codes of `redstart lock`, apart from those that a command under a lock passes through.

use std::process::ExitCode;

/// An exit code of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

/// The arguments make no sense (sysexits' EX_USAGE).
pub(crate) const USAGE: Code = Code(64);
/// No server could be reached, or too few replicas have the lock (EX_UNAVAILABLE).
pub(crate) const UNAVAILABLE: Code = Code(69);
/// Something on this machine failed: no process, no file (EX_OSERR).
pub(crate) const OS: Code = Code(71);
/// The lock is held by another, and was at every check (EX_TEMPFAIL).
pub(crate) const BUSY: Code = Code(75);
/// The lock was lost while the command ran, and the command ended for it (EX_PROTOCOL).
pub(crate) const LOST: Code = Code(76);
/// The server refuses the lock: a key of another type, no permission (EX_NOPERM).
pub(crate) const REFUSED: Code = Code(77);
/// The configuration file makes no sense (EX_CONFIG).
pub(crate) const CONFIG: Code = Code(78);
/// The command was ended after the longest time it may hold the lock (as of timeout(1)).
pub(crate) const MAX_HOLD: Code = Code(124);
/// The command was found but could not be started (as of a shell).
pub(crate) const NOT_EXECUTABLE: Code = Code(126);
/// The command was not found (as of a shell).
pub(crate) const NOT_FOUND: Code = Code(127);
/// What was asked for is not there, or was refused by the server.
pub(crate) const FAILURE: Code = Code(1);

/// Returns the code for an end by a signal, as a shell gives it.
pub(crate) fn by_signal(signal: i32) -> Code {
    Code(128u8.saturating_add(u8::try_from(signal).unwrap_or(127)))
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.0)
    }
}
