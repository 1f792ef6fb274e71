//! What can go wrong, told apart by what the caller should do about it.

use std::fmt::{self, Display};
use std::time::Duration;

/// Why a lock was not got, not kept, or not given back.
#[derive(Clone, Debug)]
pub enum Error {
    /// Someone else holds the lock, and all checks are used up.
    Busy {
        /// Who held it at the last check.
        holder: Box<Holder>,
        /// How many checks were made.
        checks: u32,
        /// How long the attempt lasted.
        waited: Duration,
    },
    /// The lock was held and is not any more: whatever it protects may be someone else's now.
    Lost {
        /// How that was found out.
        cause: LossCause,
    },
    /// The server could not be reached for as long as patience lasts; nothing is held.
    Unavailable {
        /// What happened last.
        reason: String,
    },
    /// Fewer replicas than asked for acknowledged the lock, which was given back.
    NotDurable {
        /// The server's words.
        reason: String,
    },
    /// The task has run, but whether its lock was given back is not known; at the latest it ends with its lease.
    ReleaseUnknown {
        /// The token that the lock was held with.
        token: u64,
        /// What happened last.
        reason: String,
    },
    /// The lock was held for as long as it may be held at most.
    MaxHold {
        /// For how long that was.
        held: Duration,
    },
    /// The server refused the request: a key of another type, a lease or an owner that it does not take, no permission.
    Refused {
        /// The server's words.
        reason: String,
    },
    /// An argument is not one that can be asked for.
    Invalid {
        /// Which and why.
        reason: String,
    },
    /// This server cannot do it: the native commands exist on Redstart only.
    Unsupported {
        /// What was wanted.
        what: &'static str,
    },
}

/// How the loss of a lock was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The lease ran out because it could not be renewed in time.
    Expired,
    /// The server says that someone else holds the lock, or nobody.
    Taken,
    /// A guarded command was refused because a newer token exists.
    Fenced,
    /// It was held for as long as it may be held at most, and is not renewed any more.
    MaxHold,
    /// It was given back: nothing went wrong, but nothing is held any more.
    Released,
}

/// Who holds a lock, as far as the server tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holder {
    /// The holder's name for itself; by default `host:pid:random`.
    pub owner: String,
    /// The holder's token.
    pub token: Option<u64>,
    /// For how long it has held the lock.
    pub held_for: Option<Duration>,
    /// How much of its lease is left.
    pub remaining: Option<Duration>,
    /// Our place in the queue, from 1.
    pub position: Option<u64>,
    /// How many wait.
    pub waiters: Option<u64>,
    /// What the holder said of its task, as JSON.
    pub meta: Option<String>,
}

/// Why [`Lock::run`](crate::Lock::run) did not return what its task returned.
#[derive(Clone, Debug)]
pub enum RunError<E> {
    /// The lock: not got, lost while the task ran (which was stopped), or not given back.
    Lock(Error),
    /// The task ran and failed; its lock was given back.
    TaskFailed(E),
}

impl<E> RunError<E> {
    /// Returns the lock's error, if it was the lock.
    pub fn lock(&self) -> Option<&Error> {
        match self {
            RunError::Lock(error) => Some(error),
            RunError::TaskFailed(_) => None,
        }
    }
}

impl<E> From<Error> for RunError<E> {
    fn from(error: Error) -> Self {
        RunError::Lock(error)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Busy { holder, checks, waited } => {
                write!(
                    f,
                    "the lock is held by {holder} after {checks} checks in {:.3} s",
                    waited.as_secs_f64()
                )
            }
            Error::Lost { cause } => write!(f, "the lock is lost: {cause}"),
            Error::Unavailable { reason } => write!(f, "the lock server is unavailable: {reason}"),
            Error::NotDurable { reason } => write!(f, "the lock is not on enough replicas: {reason}"),
            Error::ReleaseUnknown { token, reason } => {
                write!(f, "whether the lock with token {token} was released is unknown: {reason}")
            }
            Error::MaxHold { held } => {
                write!(f, "the lock was held for {:.3} s, which is the most allowed", held.as_secs_f64())
            }
            Error::Refused { reason } => write!(f, "the server refused: {reason}"),
            Error::Invalid { reason } => write!(f, "{reason}"),
            Error::Unsupported { what } => write!(f, "this server does not have {what}"),
        }
    }
}

impl Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LossCause::Expired => "its lease could not be renewed in time",
            LossCause::Taken => "the server no longer has it for this owner and token",
            LossCause::Fenced => "a newer token exists",
            LossCause::Released => "it was given back",
            LossCause::MaxHold => "it was held for as long as is allowed",
        })
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.owner.is_empty() { "someone" } else { &self.owner })?;
        if let Some(token) = self.token {
            write!(f, " (token {token})")?;
        }
        Ok(())
    }
}

impl<E: Display> Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Lock(error) => write!(f, "{error}"),
            RunError::TaskFailed(error) => write!(f, "the task failed: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl<E: std::error::Error + 'static> std::error::Error for RunError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Lock(error) => Some(error),
            RunError::TaskFailed(error) => Some(error),
        }
    }
}
