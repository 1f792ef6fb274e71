//! Servers of either kind in folders that outlive them.
#![allow(dead_code, unreachable_pub)] // Each test binary uses a part.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use testkit::{Reply, words};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is removed with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redstart-files-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the names of the files in a folder below, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Theirs,
}

/// Returns whether there is a redis-server to exchange files with; says so if not.
pub fn redis_is_here() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("no redis-server here to exchange files with");
    }
    found
}

/// A server, killed with the test.
pub struct Server {
    pub child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it serves.
    pub fn start(kind: Kind, folder: &Folder, options: &[&str]) -> Server {
        let mut server = Server::launch(kind, folder, options);
        server.wait_until_it_serves();
        server
    }

    fn wait_until_it_serves(&mut self) {
        self.wait_until("it serves", |server| {
            assert!(server.child.try_wait().unwrap().is_none(), "it ended:\n{}", server.log());
            // One that wants a password serves, too.
            server.try_ask("PING").is_some_and(|reply| reply == "+PONG" || reply.starts_with("-NOAUTH"))
        });
    }

    /// Ends the process, if it has not ended, and starts another one at the same address.
    pub fn start_again(&mut self, kind: Kind, folder: &Folder, options: &[&str]) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        *self = Server::launch_at(self.address, kind, folder, options);
        self.wait_until_it_serves();
    }

    /// Starts a server.
    pub fn launch(kind: Kind, folder: &Folder, options: &[&str]) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        Server::launch_at(address, kind, folder, options)
    }

    fn launch_at(address: SocketAddr, kind: Kind, folder: &Folder, options: &[&str]) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let log = folder.path(&format!("log-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut command = match kind {
            Kind::Ours => Command::new(env!("CARGO_BIN_EXE_redstart")),
            Kind::Theirs => Command::new("redis-server"),
        };
        if kind == Kind::Ours {
            command.arg("server");
        }
        let output = fs::File::create(&log).unwrap();
        let child = command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--dir"])
            .arg(&folder.0)
            .args(["--save", "", "--enable-debug-command", "yes"])
            .args(options)
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        Server { child, address, log }
    }

    /// Returns the address it listens on, now or soon.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, received: Vec::new() }
    }

    /// Asks over a connection of its own; the reply is written as in scenario files, on one line.
    pub fn ask(&self, request: &str) -> String {
        self.connect().ask(request)
    }

    /// As [`ask`](Server::ask), of a server that may not serve yet: its port may be anybody's until then.
    fn try_ask(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = words::split(request).expect("balanced quotes");
        stream.write_all(&words::encode(&request)).ok()?;
        let (mut received, mut chunk) = (Vec::new(), [0; 1024]);
        loop {
            let length = stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
            received.extend_from_slice(&chunk[..length]);
            if let Some((reply, _)) = Reply::parse(&received).ok()? {
                return Some(reply.lines().iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "));
            }
        }
    }

    pub fn info(&self, field: &str) -> String {
        self.connect().info(field)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_until(text, |server| server.log().contains(text));
    }

    pub fn wait_for_info(&mut self, field: &str, value: &str) {
        self.wait_until(&format!("{field} is {value}"), |server| server.info(field) == value);
    }

    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Sends a signal by its name, as kill(1) does.
    pub fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    }

    /// Ends the process on the spot.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops in order, as SHUTDOWN with these words does.
    pub fn shut_down(mut self, how: &str) {
        self.connect().send(&format!("SHUTDOWN {how}"));
        assert_eq!(self.exit_code(), Some(0), "{}", self.log());
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Sends a request written as for redis-cli.
    pub fn send(&mut self, request: &str) {
        let request = words::split(request).expect("balanced quotes");
        self.stream.write_all(&words::encode(&request)).unwrap();
    }

    pub fn receive(&mut self) -> Reply {
        let mut chunk = [0; 65536];
        loop {
            if let Some((reply, length)) = Reply::parse(&self.received).unwrap() {
                self.received.drain(..length);
                return reply;
            }
            let length = self.stream.read(&mut chunk).unwrap();
            assert!(length > 0, "the server closed the connection");
            self.received.extend_from_slice(&chunk[..length]);
        }
    }

    pub fn ask(&mut self, request: &str) -> String {
        self.send(request);
        let lines = self.receive().lines();
        lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// Sends many requests, none of which may fail.
    pub fn all<'a>(&mut self, requests: impl IntoIterator<Item = &'a str>) {
        for request in requests {
            let reply = self.ask(request);
            assert!(!reply.starts_with('-'), "{request}: {reply}");
        }
    }

    pub fn info(&mut self, field: &str) -> String {
        self.send("INFO everything");
        let reply = self.receive();
        let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {text}")).to_string()
    }
}

/// Writes to a byte of a file.
pub fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}
