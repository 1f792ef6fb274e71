//! A client's socket.

use std::io::{self, Read, Write};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A socket of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection; what it said and is to be told lies with the node.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// The socket's buffer was full: the rest of the output waits until it is not.
    pub(crate) waits_to_write: bool,
}

impl Connection {
    /// Returns the connection over an accepted socket, listened to from now on.
    pub(crate) fn new(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Connection> {
        registry.register(stream.source(), token, Interest::READABLE)?;
        Ok(Connection { stream, waits_to_write: false })
    }

    /// Reads what has arrived, as far as it fits.
    #[inline]
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }

    /// Writes as much as the socket takes.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Asks to be told, or not to be told any more, when the socket takes output again.
    pub(crate) fn wait_to_write(&mut self, wait: bool, registry: &Registry, token: Token) -> io::Result<()> {
        if self.waits_to_write == wait {
            return Ok(());
        }
        self.waits_to_write = wait;
        let interest = if wait { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(self.stream.source(), token, interest)
    }
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }
}

impl Stream {
    /// Writes a few bytes, if they can be had at once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
}
