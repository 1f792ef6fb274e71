//! Asking on the thread that waits: one write and one read, without a task or another thread in between.
//!
//! ```text
//! async      caller ── Wire ── driver's task ── socket
//! blocking   caller ────────────────────────── socket
//! ```
//!
//! It is for code that is not async, whose thread has nothing else to do until the answer is there. Only what one
//! answer settles is asked so. Whatever else comes of it (no answer, or one that calls for more) is left to the async
//! way, which may ask the same once more.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use redis::{Client, ConnectionAddr, Value};

use crate::backend::Trouble;
use crate::encode::Pack;
use crate::parse::parse;
use crate::wire::{greeting, keep_alive};

/// How much is read at a time; what is asked here is answered in less.
const CHUNK: usize = 1 << 12;

/// A connection that one thread at a time uses.
pub(crate) struct Direct {
    socket: Box<dyn Socket>,
    response_timeout: Duration,
    out: Vec<u8>,
    read: Vec<u8>,
}

trait Socket: Read + Write + Send {}

impl<S: Read + Write + Send> Socket for S {}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl Direct {
    /// Connects, and logs in as the address says.
    pub(crate) fn connect(
        client: &Client,
        connection_timeout: Duration,
        response_timeout: Duration,
    ) -> Result<Direct, Trouble> {
        let info = client.get_connection_info();
        let failed = |error: io::Error| Trouble::Unreachable(error.to_string());
        let socket: Box<dyn Socket> = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = connect_tcp(host, *port, connection_timeout).map_err(failed)?;
                stream.set_nodelay(info.tcp_settings().nodelay()).map_err(failed)?;
                keep_alive(&stream, info.tcp_settings()).map_err(failed)?;
                stream.set_read_timeout(Some(response_timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(response_timeout)).map_err(failed)?;
                Box::new(stream)
            }
            ConnectionAddr::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(Some(response_timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(response_timeout)).map_err(failed)?;
                Box::new(stream)
            }
            _ => return Err(Trouble::Refused("an address of a kind that is not supported (TLS)".into())),
        };
        let mut direct = Direct { socket, response_timeout, out: Vec::new(), read: vec![0; CHUNK] };
        for command in greeting(info.redis_settings()) {
            direct.ask(&command)?;
        }
        Ok(direct)
    }

    /// Sends a request and waits for its reply. After [`Trouble::Unreachable`] the connection is of no use any more.
    pub(crate) fn ask(&mut self, command: &impl Pack) -> Result<Value, Trouble> {
        match self.exchange(command) {
            Ok(reply) => reply.map_err(Trouble::of_words),
            Err(error) => Err(Trouble::Unreachable(error.to_string())),
        }
    }

    fn exchange(&mut self, command: &impl Pack) -> io::Result<Result<Value, String>> {
        self.out.clear();
        command.pack(&mut self.out);
        let begun = Instant::now();
        self.socket.write_all(&self.out)?;
        let mut filled = 0;
        loop {
            if self.read.len() < filled + CHUNK {
                self.read.resize(2 * filled + CHUNK, 0);
            }
            match self.socket.read(&mut self.read[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            match parse(&self.read[..filled]).map_err(io::Error::other)? {
                Some((reply, length)) if length == filled => return Ok(reply),
                Some(_) => return Err(io::Error::other("a reply that nobody has asked for")),
                // Each read has a limit of its own; a server that dribbles has this one.
                None if begun.elapsed() >= self.response_timeout => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                None => {}
            }
        }
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
