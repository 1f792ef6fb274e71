//! Clients that write a [`Mixture`] until they are told to stop, whatever becomes of the server meanwhile.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::mixture::{Mixture, Request};
use crate::reply::Reply;
use crate::words;

/// How long a reply may take before the client connects anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a server says that will take writes later, or when it has lost its role.
const LATER: &[&str] = &["LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "EXECABORT"];

/// Writers at work: some that write, and one that waits for what they push.
#[derive(Debug)]
pub struct Writers {
    threads: Vec<JoinHandle<Result<(), String>>>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writers {
    /// Lets `count` clients write to `address`, each pausing for `pause` between its batches.
    pub fn start(address: SocketAddr, seed: u64, count: u64, pause: Duration) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let threads = (0..=count).map(|number| {
            let mut client = Client {
                address,
                mixture: Mixture::new(seed.wrapping_mul(31).wrapping_add(number)),
                pops: number == count,
                pause,
                stop: Arc::clone(&stop),
                written: Arc::clone(&written),
            };
            std::thread::spawn(move || client.run())
        });
        Writers { threads: threads.collect(), stop, written }
    }

    /// Returns how many requests were answered so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lets them send no more; returns how many requests were answered, or an answer that nobody expected.
    pub fn finish(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        Ok(self.written.load(Ordering::Relaxed))
    }
}

/// Fills an empty server with what [`Mixture::load`] has.
pub fn load(address: SocketAddr, seed: u64) -> Result<(), String> {
    let requests = Mixture::new(seed).load();
    let mut stream = connect(address).map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    for part in requests.chunks(100) {
        for reply in exchange(&mut stream, &mut received, part).map_err(|error| error.to_string())? {
            unexpected(&reply).map_or(Ok(()), |error| Err(format!("while loading: {error}")))?;
        }
    }
    Ok(())
}

struct Client {
    address: SocketAddr,
    mixture: Mixture,
    pops: bool,
    pause: Duration,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Client {
    fn run(&mut self) -> Result<(), String> {
        while !self.stop.load(Ordering::Relaxed) {
            let ended = connect(self.address).and_then(|stream| self.write(stream));
            match ended {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error.to_string()),
                // The server is gone, for a while.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Ok(())
    }

    fn write(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut received = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let requests = if self.pops { vec![self.mixture.pop()] } else { self.mixture.batch() };
            for reply in exchange(&mut stream, &mut received, &requests)? {
                if let Some(error) = unexpected(&reply) {
                    if LATER.iter().any(|start| error.trim_start_matches('-').starts_with(start)) {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
            }
            self.written.fetch_add(requests.len() as u64, Ordering::Relaxed);
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        Ok(())
    }
}

/// Returns an error that is not the mixture's own doing.
fn unexpected(reply: &Reply) -> Option<String> {
    // In the reply of EXEC errors are elements; a reply within a reply is no error of ours.
    let replies = std::slice::from_ref(reply).iter().chain(reply.elements());
    replies.filter(|reply| reply.is_error()).map(Reply::head).find(|error| !Mixture::is_expected(error))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, received: &mut Vec<u8>, requests: &[Request]) -> io::Result<Vec<Reply>> {
    let bytes: Vec<u8> = requests.iter().flat_map(|request| words::encode(request)).collect();
    stream.write_all(&bytes)?;
    let (mut replies, mut chunk) = (Vec::new(), [0; 1 << 16]);
    while replies.len() < requests.len() {
        match Reply::parse(received).map_err(|what| io::Error::new(ErrorKind::InvalidData, what))? {
            Some((reply, length)) => {
                received.drain(..length);
                replies.push(reply);
            }
            None => match stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => received.extend_from_slice(&chunk[..length]),
            },
        }
    }
    Ok(replies)
}
