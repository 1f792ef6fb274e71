//! Clients that write their sequences, each remembering what it sent and what was answered when.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testkit::{Reply, words};

use super::Random;
use super::sequence::requests;

/// A connection that asks and waits.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects; no reply may take longer than `patience`.
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> Result<Connection, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("connecting: {error}"))?;
        let set = stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_nodelay(true));
        set.map_err(|error| format!("connecting: {error}"))?;
        Ok(Connection { stream, received: Vec::new() })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("sending: {error}"))
    }

    fn receive(&mut self) -> Result<Reply, String> {
        let mut chunk = [0; 65536];
        loop {
            if let Some((reply, length)) = Reply::parse(&self.received)? {
                self.received.drain(..length);
                return Ok(reply);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("receiving: {error}")),
            }
        }
    }

    /// Sends a request and returns the reply, errors included.
    pub(crate) fn reply(&mut self, request: &[&str]) -> Result<Reply, String> {
        let request: Vec<Vec<u8>> = request.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.send(&words::encode(&request))?;
        self.receive()
    }

    /// Sends a request and returns the strings of the reply: none for a null, one for a string, those of an array.
    pub(crate) fn ask(&mut self, request: &[&str]) -> Result<Vec<Vec<u8>>, String> {
        let reply = self.reply(request)?;
        if reply.is_error() {
            return Err(format!("{}: {}", request.join(" "), reply.head()));
        }
        let leaves = if reply.text().is_some() { std::slice::from_ref(&reply) } else { reply.elements() };
        Ok(leaves.iter().filter_map(|leaf| leaf.text().map(<[u8]>::to_vec)).collect())
    }

    /// Returns a field of INFO.
    pub(crate) fn info(&mut self, field: &str) -> Result<String, String> {
        let info = self.ask(&["INFO", "everything"])?.pop().unwrap_or_default();
        let info = String::from_utf8_lossy(&info).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(str::to_string).ok_or_else(|| format!("INFO has no {field}"))
    }
}

/// What a client knows at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) client: u64,
    /// The last write that was sent.
    pub(super) sent: u64,
    /// Writes that were answered, in order, and when.
    pub(super) acknowledged: Vec<(u64, Instant)>,
    /// Writes that were refused, when, and in which words.
    pub(super) refused: Vec<(Instant, String)>,
    /// What ended the client.
    pub(super) end: String,
}

/// How clients behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// At most so many writes are under way at a time.
    pub(super) batch: u64,
    /// A refused write is sent again, rather than being the client's last.
    pub(super) insist: bool,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    threads: Vec<JoinHandle<Record>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Clients {
    /// Lets one client for each of `starts` write on behind that write.
    pub(super) fn start(address: SocketAddr, starts: &[u64], manner: Manner, random: &mut Random) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let threads = starts.iter().zip(0..).map(|(&start, client)| {
            let (stop, answered, mut random) =
                (Arc::clone(&stop), Arc::clone(&answered), Random(random.next()));
            std::thread::spawn(move || {
                let mut record = Record { client, sent: start, ..Record::default() };
                let ended = Connection::open(address, Duration::from_secs(60)).and_then(|mut connection| {
                    while !stop.load(Ordering::Relaxed) {
                        let batch = random.between(1, manner.batch + 1);
                        write(&mut connection, &mut record, batch, manner.insist)?;
                        answered.store(record.acknowledged.len() as u64, Ordering::Relaxed);
                    }
                    Ok(())
                });
                record.end = ended.err().unwrap_or_default();
                record
            })
        });
        Clients { threads: threads.collect(), stop, answered }
    }

    /// Returns how many writes of one of the clients were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets the clients send no more, and returns their records once they have ended.
    pub(super) fn finish(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

/// Sends the next writes and awaits their replies.
fn write(connection: &mut Connection, record: &mut Record, batch: u64, insist: bool) -> Result<(), String> {
    let first = record.acknowledged.last().map_or(record.sent, |(number, _)| *number) + 1;
    let writes: Vec<_> =
        (first..first + batch).map(|number| (number, requests(record.client, number))).collect();
    let mut bytes = Vec::new();
    for request in writes.iter().flat_map(|(_, requests)| requests) {
        bytes.extend_from_slice(&words::encode(request));
    }
    record.sent = first + batch - 1;
    connection.send(&bytes)?;
    for (number, requests) in writes {
        let mut error = None;
        for _ in requests {
            let reply = connection.receive()?;
            if reply.is_error() {
                error = error.or(Some(reply.head()));
            }
        }
        match error {
            None => record.acknowledged.push((number, Instant::now())),
            Some(words) if insist => {
                record.refused.push((Instant::now(), words));
                record.sent = number - 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Some(words) => {
                record.refused.push((Instant::now(), words.clone()));
                return Err(words);
            }
        }
    }
    Ok(())
}
