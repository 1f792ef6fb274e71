//! What every backend is held to; included by the tests of this crate (redis-server) and of the binary (redstart).
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)] // Each test binary uses a part.

pub mod lossy;
pub mod scenes;

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redstart_lock::{BackendKind, ClientBuilder, Failure, LockClient, RecordSink};
use testkit::tcp::ask;
use testkit::{Reply, ServerProcess};

pub fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A server and what is expected of it.
pub struct Place {
    pub server: ServerProcess,
    pub backend: BackendKind,
}

impl Place {
    pub fn start(command: &[&str], backend: BackendKind) -> Place {
        let command: Vec<String> = command.iter().map(|word| word.to_string()).collect();
        Place { server: ServerProcess::start(&command, &[]).unwrap(), backend }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.server.address())
    }

    pub fn builder(&self) -> ClientBuilder {
        LockClient::builder().url(self.url())
    }

    pub fn client(&self) -> LockClient {
        self.builder().build().unwrap()
    }

    pub fn is_native(&self) -> bool {
        self.backend == BackendKind::Native
    }

    /// Returns how many requests the server has served, without those that look.
    pub fn requests(&self) -> u64 {
        let info = ask(self.server.address(), &["INFO", "commandstats"]).unwrap();
        let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
        let calls = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split_once(',')?.0.parse::<u64>().ok()?;
            Some(if name.starts_with("info") || name == "ping" { 0 } else { calls })
        };
        text.lines().filter_map(calls).sum()
    }

    pub fn ask(&self, request: &[&str]) -> Reply {
        ask(self.server.address(), request).unwrap()
    }

    pub fn exists(&self, key: &str) -> bool {
        self.ask(&["EXISTS", key]).head() == ":1"
    }

    /// Stops the process as a scheduler might, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let pid = self.server.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// Returns whether there is a redis-server to test with; says so if not.
pub fn redis_is_here() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("no redis-server here to test with");
    }
    found
}

/// Runs a test's future to its end, on two threads.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Waits until something is so.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// A sink that remembers.
#[derive(Clone, Default)]
pub struct Remembered(pub Arc<Mutex<Vec<Failure>>>);

impl Remembered {
    pub fn all(&self) -> Vec<Failure> {
        self.0.lock().unwrap().clone()
    }
}

impl RecordSink for Remembered {
    fn record<'a>(&'a self, failure: &'a Failure) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.0.lock().unwrap().push(failure.clone());
        Box::pin(std::future::ready(()))
    }
}
