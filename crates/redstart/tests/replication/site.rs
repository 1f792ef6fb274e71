//! A server with its folder, and the link that leads to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::Proxy;

use crate::harness::{Client, Folder, Kind, Server, redis_is_here};

/// How long servers may take to agree.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all servers here are started with.
const OPTIONS: &[&str] =
    &["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "32mb", "--repl-timeout", "10"];

/// Whose server stands in our place.
pub(crate) fn ours() -> Kind {
    match std::env::var("REDSTART_TEST_OURS").as_deref() {
        Ok("redis-server") => Kind::Theirs,
        _ => Kind::Ours,
    }
}

/// Returns whether this test is about us alone, and can be made.
pub(crate) fn is_about_us() -> bool {
    ours() == Kind::Ours
}

/// Returns whether all of these can be started here.
pub(crate) fn are_here(kinds: &[Kind]) -> bool {
    !kinds.contains(&Kind::Theirs) || redis_is_here()
}

/// A server, its folder, and a proxy that leads to it.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) folder: Folder,
    pub(crate) kind: Kind,
}

impl Site {
    /// Starts a server in a folder of its own.
    pub(crate) fn start(kind: Kind, options: &[&str]) -> Site {
        let folder = Folder::new();
        let server = Server::start(kind, &folder, &[OPTIONS, options].concat());
        let proxy = Proxy::start(server.address()).unwrap();
        Site { server, proxy, folder, kind }
    }

    /// Starts one more server on the folder of one that has ended; the proxy leads to it.
    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.server = Server::start(self.kind, &self.folder, &[OPTIONS, options].concat());
        self.proxy.lead_to(self.server.address());
    }

    pub(crate) fn ask(&self, request: &str) -> String {
        self.server.ask(request)
    }

    pub(crate) fn info(&self, field: &str) -> String {
        self.server.info(field)
    }

    pub(crate) fn count(&self, field: &str) -> u64 {
        self.info(field).parse().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        self.server.connect()
    }

    pub(crate) fn digest(&self) -> String {
        self.ask("DEBUG DIGEST")
    }

    /// Follows another server over the link that leads to it.
    pub(crate) fn follow(&self, master: &Site) {
        self.follow_address(master.proxy.address());
    }

    pub(crate) fn follow_address(&self, master: SocketAddr) {
        let reply = self.ask(&format!("REPLICAOF {} {}", master.ip(), master.port()));
        assert!(reply.starts_with("+OK"), "{reply}");
    }

    /// Waits until the master's stream flows.
    pub(crate) fn wait_for_link(&mut self) {
        self.server.wait_until("the link to the master is up", |server| {
            server.info("role") == "slave" && server.info("master_link_status") == "up"
        });
    }

    /// Waits until a count of INFO has grown beyond `before`.
    pub(crate) fn wait_beyond(&mut self, field: &str, before: u64) {
        self.server.wait_until(&format!("{field} is beyond {before}"), |server| {
            server.info(field).parse::<u64>().unwrap() > before
        });
    }

    /// Returns the options that make it follow a master from its start.
    pub(crate) fn followers_options(&self) -> [String; 3] {
        let address = self.proxy.address();
        ["--replicaof".into(), address.ip().to_string(), address.port().to_string()]
    }
}

/// Waits until all are at the same place of the stream and have the same data.
pub(crate) fn converge(sites: &[&Site]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found: Vec<String> = sites
            .iter()
            .map(|site| format!("{} {}", site.info("master_repl_offset"), site.digest()))
            .collect();
        if found.iter().all(|one| *one == found[0]) {
            return;
        }
        let logs = || sites.iter().map(|site| site.server.log()).collect::<Vec<_>>().join("\n--------\n");
        let keys =
            || sites[1..].iter().map(|site| differences(sites[0], site)).collect::<Vec<_>>().join("\n");
        assert!(Instant::now() < deadline, "offsets and digests differ: {found:#?}\n{}\n{}", keys(), logs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the first keys that are not the same at two servers.
fn differences(one: &Site, other: &Site) -> String {
    let (mut one, mut other) = (one.connect(), other.connect());
    let mut found = Vec::new();
    for db in 0..10 {
        let select = format!("SELECT {db}");
        one.ask(&select);
        other.ask(&select);
        let mut keys: Vec<String> =
            [one.ask("KEYS *"), other.ask("KEYS *")].join(" ").split(' ').map(str::to_string).collect();
        keys.retain(|key| key.starts_with('"'));
        keys.sort();
        keys.dedup();
        for key in keys {
            let facts =
                ["DEBUG DIGEST-VALUE", "PEXPIRETIME", "TYPE", "DUMP"].map(|ask| format!("{ask} {key}"));
            let (here, there) = (facts.clone().map(|ask| one.ask(&ask)), facts.map(|ask| other.ask(&ask)));
            if here[..2] != there[..2] {
                found.push(format!("{db} {key}: {here:?} is {there:?}"));
            }
        }
    }
    found.truncate(8);
    found.join("\n")
}

/// Turns words into those that a server is started with.
pub(crate) fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}
