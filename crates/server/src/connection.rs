//! A client's socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::gather::Seen;

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
    /// The other side has not taken the connection yet.
    pub(crate) opening: bool,
    /// A file that is sent behind what the node has to send.
    pub(crate) file: Option<FileToSend>,
    /// When it last sent something.
    pub(crate) seen: Seen,
}

/// A file on its way to a replica.
#[derive(Debug)]
pub(crate) struct FileToSend {
    file: File,
    sent: u64,
    len: u64,
}

impl FileToSend {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<FileToSend> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(FileToSend { file, sent: 0, len })
    }
}

/// So much of a file is read at once.
const FILE_PART: usize = 256 << 10;

impl Connection {
    /// Returns the connection over an accepted socket, listened to from now on.
    pub(crate) fn new(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Connection> {
        registry.register(stream.source(), token, Interest::READABLE)?;
        Ok(Connection { stream, waits_to_write: false, opening: false, file: None, seen: Seen::default() })
    }

    /// Begins to open a connection; that it is open, or cannot be, shows when it can be written to.
    pub(crate) fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Connection> {
        let mut stream = Stream::Tcp(TcpStream::connect(address)?);
        registry.register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { stream, waits_to_write: true, opening: true, file: None, seen: Seen::default() })
    }

    /// Returns the local address once the connection is open, and nothing before; an error says why it never will be.
    pub(crate) fn opened(&mut self) -> io::Result<Option<SocketAddr>> {
        let Stream::Tcp(stream) = &self.stream else { return Ok(None) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {
                self.opening = false;
                let _ = stream.set_nodelay(true);
                stream.local_addr().map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets the system wait for more before it sends a small packet.
    pub(crate) fn gather(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            // Only a preference.
            let _ = stream.set_nodelay(false);
        }
    }

    /// Returns the descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Sends some of the file; returns how many bytes that was, and whether that was the end of it.
    pub(crate) fn send_file(&mut self, buffer: &mut Vec<u8>) -> io::Result<(usize, bool)> {
        let Some(FileToSend { file, sent, len }) = &mut self.file else { return Ok((0, true)) };
        let wanted = (*len - *sent).min(FILE_PART as u64) as usize;
        buffer.resize(wanted, 0);
        file.read_exact_at(buffer, *sent)?;
        let (stream, mut count) = (&mut self.stream, 0);
        while count < wanted {
            match stream.write(&buffer[count..]) {
                Ok(written) => count += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        *sent += count as u64;
        let whole = *sent == *len;
        if whole {
            self.file = None;
        }
        Ok((count, whole))
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
