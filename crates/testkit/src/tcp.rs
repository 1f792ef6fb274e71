//! A target behind TCP.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::reply::Reply;
use crate::target::{Arrival, Dialect, Effect, Link, Place, Target};
use crate::words;

/// How long a server may take to notice that a client left.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// Connections to a server listening on an address.
#[derive(Debug)]
pub struct TcpTarget {
    address: SocketAddr,
    dialect: Dialect,
    streams: BTreeMap<Link, TcpStream>,
    last_link: u64,
}

impl TcpTarget {
    /// Returns a target for the server at `address`, held to the given behaviour.
    pub fn new(address: SocketAddr, dialect: Dialect) -> TcpTarget {
        TcpTarget { address, dialect, streams: BTreeMap::new(), last_link: 0 }
    }

    fn stream(&mut self, link: Link) -> io::Result<&mut TcpStream> {
        self.streams.get_mut(&link).ok_or_else(|| io::Error::from(ErrorKind::NotConnected))
    }
}

impl Target for TcpTarget {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn place(&self) -> Place {
        Place::Tcp
    }

    fn connect(&mut self) -> io::Result<Link> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        self.last_link += 1;
        self.streams.insert(Link(self.last_link), stream);
        Ok(Link(self.last_link))
    }

    fn send(&mut self, link: Link, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream(link)?;
        stream.set_nonblocking(false)?;
        stream.write_all(bytes)
    }

    fn receive(&mut self, link: Link, into: &mut Vec<u8>, wait: Duration) -> io::Result<Arrival> {
        let stream = self.stream(link)?;
        stream.set_nonblocking(wait.is_zero())?;
        if !wait.is_zero() {
            stream.set_read_timeout(Some(wait))?;
        }
        let mut chunk = [0; 65536];
        match stream.read(&mut chunk) {
            Ok(0) => Ok(Arrival::Closed),
            Ok(length) => {
                into.extend_from_slice(&chunk[..length]);
                Ok(Arrival::Bytes)
            }
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(Arrival::Nothing),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(Arrival::Closed),
                _ => Err(e),
            },
        }
    }

    fn disconnect(&mut self, link: Link) {
        let Some(mut stream) = self.streams.remove(&link) else { return };
        let deadline = Instant::now() + CLOSE_WAIT;
        let half_closed = stream.shutdown(Shutdown::Write).is_ok()
            && stream.set_nonblocking(false).is_ok()
            && stream.set_read_timeout(Some(CLOSE_WAIT)).is_ok();
        let mut chunk = [0; 4096];
        while half_closed && Instant::now() < deadline && matches!(stream.read(&mut chunk), Ok(1..)) {}
    }

    fn pass(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn take_effects(&mut self) -> Option<Vec<Effect>> {
        None
    }
}

/// Sends one request over a connection of its own and returns the reply.
pub fn ask(address: SocketAddr, request: &[&str]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request: Vec<Vec<u8>> = request.iter().map(|word| word.as_bytes().to_vec()).collect();
    stream.write_all(&words::encode(&request))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        let length = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..length]);
        match Reply::parse(&bytes).map_err(io::Error::other)? {
            Some((reply, _)) => return Ok(reply),
            None if length == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}
