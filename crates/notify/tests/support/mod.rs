//! Receivers of messages that do as a test tells them: HTTP, plain or over TLS.
#![allow(dead_code, unreachable_pub)] // Each test binary uses a part.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A folder that is removed with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("notify-{}", notify::Ulid::generate()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file, returns its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with this status and body.
    Answer(u16, String),
    /// The same, with one more header.
    AnswerWith(u16, &'static str, &'static str),
    /// Sends the client to itself again and again.
    RedirectForEver(u16),
    /// Takes the request and says nothing.
    Hang,
    /// Answers with a body that does not end.
    Flood,
    /// Closes the connection without an answer.
    Close,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Something that bytes come from and go to.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Makes the server's end of TLS of a connection; nothing when the client would not have it.
pub type Wrap = Arc<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync>;

/// A receiver of HTTP.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub fn start(behaviour: Behaviour) -> Receiver {
        Receiver::start_with(behaviour, Arc::new(|stream| Some(Box::new(stream))))
    }

    pub fn ok(body: &str) -> Receiver {
        Receiver::start(Behaviour::Answer(200, body.into()))
    }

    pub fn start_with(behaviour: Behaviour, wrap: Wrap) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let receiver =
            Receiver { address, behaviour: Arc::new(Mutex::new(behaviour)), requests: Arc::default() };
        let server = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, wrap) = (server.clone(), Arc::clone(&wrap));
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    if let Some(stream) = wrap(stream) {
                        server.serve(stream);
                    }
                });
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Returns what arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until this many requests have arrived; returns them all.
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let requests = self.requests();
            if requests.len() >= count {
                return requests;
            }
            assert!(Instant::now() < deadline, "{} of {count} requests arrived", requests.len());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn serve(&self, stream: Box<dyn Stream>) {
        let mut stream = BufReader::new(stream);
        let Some(request) = read_request(&mut stream) else { return };
        self.requests.lock().unwrap().push(request);
        let behaviour = self.behaviour.lock().unwrap().clone();
        let stream = stream.get_mut();
        // The client may have gone; the test looks at the client.
        let _ = match behaviour {
            Behaviour::Answer(status, body) => respond(stream, status, "", &body),
            Behaviour::AnswerWith(status, header, body) => respond(stream, status, header, body),
            Behaviour::RedirectForEver(status) => respond(stream, status, "Location: /again", ""),
            Behaviour::Hang => {
                let _ = stream.read(&mut [0]);
                Ok(())
            }
            Behaviour::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
                Ok(())
            }
            Behaviour::Close => Ok(()),
        };
    }
}

fn respond(stream: &mut dyn Stream, status: u16, header: &str, body: &str) -> std::io::Result<()> {
    let end = if header.is_empty() { "" } else { "\r\n" };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{header}{end}\r\n{body}",
        body.len()
    )?;
    stream.flush()
}

fn read_request(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { at: Instant::now(), line: line.trim_end().to_owned(), headers, body })
}

/// Returns an address at which nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
