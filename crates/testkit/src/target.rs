//! What a scenario is played against.

use std::io;
use std::time::Duration;

/// A server that takes connections and bytes: behind a socket, or in this process.
pub trait Target {
    /// Returns which behaviour the server is held to.
    fn dialect(&self) -> Dialect;

    /// Returns where the server runs.
    fn place(&self) -> Place;

    /// Opens a connection.
    fn connect(&mut self) -> io::Result<Link>;

    /// Sends bytes on a connection, all of them.
    fn send(&mut self, link: Link, bytes: &[u8]) -> io::Result<()>;

    /// Appends what has arrived on a connection to `into`, after waiting up to `wait` when nothing has.
    ///
    /// A target with a clock of its own waits by advancing it, so that a blocked client's time can run out.
    fn receive(&mut self, link: Link, into: &mut Vec<u8>, wait: Duration) -> io::Result<Arrival>;

    /// Closes a connection and returns when the server has let go of it.
    fn disconnect(&mut self, link: Link);

    /// Lets time pass for the server.
    fn pass(&mut self, time: Duration);

    /// Takes the effects since the last call, or `None` where effects are not visible.
    fn take_effects(&mut self) -> Option<Vec<Effect>>;
}

/// A connection to a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Link(pub u64);

/// What [`Target::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Bytes were appended.
    Bytes,
    /// Nothing arrived in time.
    Nothing,
    /// The server closed the connection and everything it sent before has been read.
    Closed,
}

/// Where a target runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In this process, with a clock of its own.
    InProcess,
    /// Behind a socket, in real time.
    Tcp,
}

/// Whose behaviour a target is held to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dialect {
    /// A reference server of this version (major, minor).
    Reference(u32, u32),
    /// Redstart: every scenario and every main reply applies.
    Redstart,
}

/// Something a write wished for besides its reply, as `! kind word…` states it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// `propagate` or `notify`.
    pub kind: String,
    /// For `propagate` the request; for `notify` one word, `channel:message`.
    pub words: Vec<Vec<u8>>,
}
