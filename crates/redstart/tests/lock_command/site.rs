//! A server, a directory for what is saved, and the command line between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::supervised::wait_for;

use crate::harness::{Folder, Kind, Server};

/// A server and a directory of this test's own.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) server: Server,
    pub(crate) folder: Folder,
}

impl Site {
    pub(crate) fn start(kind: Kind) -> Site {
        let folder = Folder::new();
        Site { kind, server: Server::start(kind, &folder, &[]), folder }
    }

    pub(crate) fn is_native(&self) -> bool {
        self.kind == Kind::Ours
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path("state")
    }

    /// Returns `redstart lock` with these words, on this server.
    pub(crate) fn lock(&self, words: &[&str]) -> Command {
        self.lock_at(self.server.address(), words)
    }

    /// Returns `redstart lock` with these words, on a server at this address.
    pub(crate) fn lock_at(&self, server: SocketAddr, words: &[&str]) -> Command {
        let mut command = redstart();
        command.arg("lock").args(words).env("REDSTART_SERVER", server.to_string());
        command.env("XDG_STATE_HOME", self.state()).env("XDG_CONFIG_HOME", self.folder.path("config"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command under the lock on a key.
    pub(crate) fn run(&self, key: &str, options: &[&str], command: &[&str]) -> Output {
        self.run_command(key, options, command).output().unwrap()
    }

    pub(crate) fn run_command(&self, key: &str, options: &[&str], command: &[&str]) -> Command {
        let mut words = vec!["run", key];
        words.extend(options);
        words.push("--");
        words.extend(command);
        self.lock(&words)
    }

    /// Holds a lock as another client until the returned command is ended.
    pub(crate) fn occupy(&self, key: &str) -> Occupied {
        let mut child =
            self.run_command(key, &["--task", "occupier"], &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        wait_for("the other to hold the lock", || self.server.ask(&format!("EXISTS {key}")) == ":1").unwrap();
        Occupied { child, stdin }
    }

    /// Returns what a command prints that has to succeed.
    pub(crate) fn text(&self, words: &[&str]) -> String {
        let output = self.lock(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A lock that another client holds.
pub(crate) struct Occupied {
    child: Child,
    stdin: Option<std::process::ChildStdin>,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

pub(crate) fn redstart() -> Command {
    Command::new(env!("CARGO_BIN_EXE_redstart"))
}

/// Returns a name that no other test uses.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A receiver of HTTP that keeps what it is sent, and answers 500 while it is told to fail.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    bodies: Mutex<Vec<String>>,
    fails: AtomicBool,
    ended: AtomicBool,
}

impl Receiver {
    pub(crate) fn start() -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    if shared.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    let Some(body) = read_request(&mut stream) else { continue };
                    let answer = if shared.fails.load(Ordering::SeqCst) {
                        "HTTP/1.1 500 Sorry\r\n"
                    } else {
                        shared.bodies.lock().unwrap().push(body);
                        "HTTP/1.1 200 OK\r\n"
                    };
                    let _ = stream.write_all(
                        format!("{answer}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes(),
                    );
                }
            }
        });
        Receiver { address, shared, thread: Some(thread) }
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.shared.fails.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.shared.bodies.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Writes a configuration in which ada is told here of everything, and bob when he is named.
    pub(crate) fn config(&self, site: &Site) -> String {
        let file = site.folder.path("notify.toml");
        let text = format!(
            "[channels.hook]\ntype = \"webhook\"\nurl = \"{}\"\ntimeout = \"1s\"\n\n\
             [people.ada]\nname = \"Ada Lovelace\"\nchannels = [\"hook\"]\n\n\
             [people.bob]\nname = \"Bob\"\nchannels = [\"hook\"]\n\n\
             [[routes]]\nkeys = [\"*\"]\npeople = [\"ada\"]\n",
            self.url()
        );
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read_request(stream: &mut impl Read) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let wanted =
                head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
            if body.len() >= wanted {
                return Some(body.to_owned());
            }
        }
    }
}
