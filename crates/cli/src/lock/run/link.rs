//! What the holder of a lock and the keeper of its command tell each other: lines of JSON over a local socket.
//!
//! ```text
//! redstart lock run (holder)            redstart lock __keep (keeper)
//!   starts it                  ──►        connects
//!   Hold, End, Pass            ──►
//!                              ◄──        Started, Stopped, Ended
//!   end of the stream: the other end is gone, however it ended
//! ```

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use notify::FailureRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::plan::{Cause, Deadlines};
use crate::lock::desk::Desk;

/// The longest line that is taken; the end of the output is part of one.
const LINE_MAX: usize = 1 << 20;

/// What the holder tells the keeper.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The lock is held; the command may run until then. The first one starts it.
    Hold(Deadlines),
    /// The command has to end.
    End(Cause),
    /// A signal for the command.
    Pass(i32),
    /// What to save, and where, if the holder is gone when the command ends.
    Remember { record: Box<FailureRecord>, desk: Desk },
    /// The lock is given back, and what failed is saved: nothing is left to do.
    Settled,
}

/// What the keeper tells the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum News {
    /// The command runs, under this process id.
    Started(i32),
    /// It could not be started: why.
    NotStarted(String),
    /// It was stopped, by this signal.
    Stopped(i32),
    /// It and all its descendants have ended.
    Ended(Outcome),
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Its exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Why it was ended, if it did not end by itself.
    pub(crate) cause: Option<Cause>,
    /// Whether anything had to be killed.
    pub(crate) killed: bool,
    /// The end of what it wrote to standard error.
    pub(crate) tail: String,
}

/// The holder's end before the keeper has come.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    name: String,
}

impl Door {
    /// Opens a socket under a name that is not in the file system, and gone with this process.
    pub(crate) fn open() -> io::Result<Door> {
        let mut random = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let name = format!("redstart-lock-{}-{:032x}", std::process::id(), u128::from_ne_bytes(random));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        Ok(Door { listener, name })
    }

    /// Returns the name to give to the keeper.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the socket that they come to; who it is has to be asked.
    pub(crate) fn into_listener(self) -> UnixListener {
        self.listener
    }
}

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: UnixStream,
    received: Vec<u8>,
    ended: bool,
}

impl Line {
    /// Takes a connected socket; what is sent to an end that does not read is given up after a second.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Line> {
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Line { stream, received: Vec::new(), ended: false })
    }

    /// Connects to the holder's door.
    pub(crate) fn connect(name: &str) -> io::Result<Line> {
        Line::new(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?)
    }

    /// Returns the socket, to wait for input.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Sends one message; an end that is gone is found out by reading.
    pub(crate) fn send(&mut self, message: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(message) else { return };
        line.push(b'\n');
        let _ = self.stream.write_all(&line);
    }

    /// Reads what is there, once; false when the other end is gone.
    pub(crate) fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(length) if length > 0 && self.received.len() < LINE_MAX => {
                self.received.extend_from_slice(&chunk[..length]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            _ => self.ended = true,
        }
        !self.ended
    }

    /// Returns the next message that has arrived in full; what cannot be understood is passed over.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            if let Ok(message) = serde_json::from_slice(&line) {
                return Some(message);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_the_end_is_noticed() {
        let door = Door::open().unwrap();
        let mut keeper = Line::connect(door.name()).unwrap();
        let mut holder = Line::new(door.into_listener().accept().unwrap().0).unwrap();
        let outcome = Outcome { code: Some(3), tail: "a\nb".to_owned(), ..Outcome::default() };
        keeper.send(&News::Started(7));
        keeper.send(&News::Ended(outcome.clone()));
        assert!(holder.fill());
        assert_eq!(holder.next(), Some(News::Started(7)));
        assert_eq!(holder.next(), Some(News::Ended(outcome)));
        assert_eq!(holder.next::<News>(), None);
        drop(keeper);
        assert!(!holder.fill());
    }
}
