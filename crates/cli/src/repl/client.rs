//! One connection to a server: requests out, replies in, both blocking.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::options::{Endpoint, Family};
use super::reply::{LinkError, Reply};

/// How long a connection may be idle before the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many bytes are read at once.
const READ_SIZE: usize = 64 << 10;

/// A connected socket of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    input: BufReader<Stream>,
    output: Stream,
}

impl Client {
    /// Connects; `timeout` bounds each address that a name stands for.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        family: Option<Family>,
        timeout: Option<Duration>,
    ) -> Result<Client, LinkError> {
        let output = match &endpoint.socket {
            Some(path) => {
                use std::os::unix::ffi::OsStrExt;
                Stream::Unix(UnixStream::connect(std::ffi::OsStr::from_bytes(path)).map_err(LinkError::Io)?)
            }
            None => Stream::Tcp(connect_tcp(endpoint, family, timeout).map_err(LinkError::Io)?),
        };
        let input = output.try_clone().map_err(LinkError::Io)?;
        Ok(Client { input: BufReader::with_capacity(READ_SIZE, input), output })
    }

    /// Sends one request.
    pub(crate) fn send<T: AsRef<[u8]>>(&mut self, args: &[T]) -> Result<(), LinkError> {
        let mut request = Vec::new();
        resp::encode::request(&mut request, args);
        self.send_bytes(&request)
    }

    /// Sends bytes that are requests already.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.output.write_all(bytes).map_err(LinkError::Io)
    }

    /// Reads the next reply, a push included.
    pub(crate) fn read(&mut self) -> Result<Reply, LinkError> {
        Reply::read(&mut self.input)
    }

    /// Sends a request and returns its reply; pushes that come before it are dropped.
    pub(crate) fn call<T: AsRef<[u8]>>(&mut self, args: &[T]) -> Result<Reply, LinkError> {
        self.send(args)?;
        self.read_answer()
    }

    /// Reads the next reply that is no push.
    pub(crate) fn read_answer(&mut self) -> Result<Reply, LinkError> {
        loop {
            match self.read()? {
                Reply::Push(_) => {}
                reply => return Ok(reply),
            }
        }
    }

    /// Returns whether bytes of a reply have been received already.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.buffer().is_empty()
    }

    /// Returns the bytes that follow, no matter what they are.
    pub(crate) fn bytes(&mut self) -> &mut BufReader<Stream> {
        &mut self.input
    }

    /// Returns another handle on the socket.
    pub(crate) fn stream(&self) -> io::Result<Stream> {
        self.output.try_clone()
    }

    /// Returns the socket, to wait for.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

fn connect_tcp(
    endpoint: &Endpoint,
    family: Option<Family>,
    timeout: Option<Duration>,
) -> io::Result<TcpStream> {
    // A port that is none is what it would be on the wire: its lower half.
    let mut addresses: Vec<SocketAddr> =
        (endpoint.host.as_str(), endpoint.port as u16).to_socket_addrs()?.collect();
    if let Some(family) = family {
        // The order is kept within each family.
        addresses.sort_by_key(|address| matches!(address.ip(), IpAddr::V4(_)) != (family == Family::V4));
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for address in addresses {
        let connected = match timeout {
            Some(timeout) if !timeout.is_zero() => TcpStream::connect_timeout(&address, timeout),
            _ => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive =
                    socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
                // A connection that cannot be kept alive this way serves all the same.
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Stream {
    /// Returns another handle on the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    /// Ends the connection for every handle on it, so that whoever waits for it goes on.
    pub(crate) fn cut(&self) {
        // One that has ended already needs no cutting.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
