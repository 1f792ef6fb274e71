//! Who is what: masters, replicas, those who become the other, and what each may do.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::Proxy;
use testkit::writers;

use crate::harness::Kind;
use crate::site::{Site, are_here, converge, is_about_us, ours};

/// Starts a master and a replica that follows it.
fn pair(master: Kind, replica: Kind) -> (Site, Site) {
    let master = Site::start(master, &[]);
    let mut replica = Site::start(replica, &[]);
    replica.follow(&master);
    replica.wait_for_link();
    (master, replica)
}

#[test]
fn a_replica_is_read_only() {
    let (mut master, mut replica) = pair(ours(), ours());
    assert_eq!(replica.ask("SET k 1"), "-READONLY You can't write against a read only replica.");
    let mut client = replica.connect();
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k 1"), "-READONLY You can't write against a read only replica.");
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(replica.ask("CONFIG SET replica-read-only no"), "+OK");
    assert_eq!(replica.ask("SET own 1"), "+OK");
    assert_eq!(master.ask("EXISTS own"), ":0");
    assert_eq!(replica.ask("CONFIG SET replica-read-only yes"), "+OK");
    assert!(replica.ask("ROLE").starts_with("*5 \"slave\" \"127.0.0.1\""), "{}", replica.ask("ROLE"));
    let port = replica.server.address().port();
    master.server.wait_until("the replica has acknowledged", |server| {
        server.ask("ROLE").contains(&format!("\"127.0.0.1\" \"{port}\""))
    });

    // Without its master, and told not to serve what may be old.
    assert_eq!(replica.ask("CONFIG SET replica-serve-stale-data no"), "+OK");
    master.ask("SET k 1");
    converge_key(&mut replica, "GET k", "\"1\"");
    master.server.kill();
    replica.server.wait_for_info("master_link_status", "down");
    let refused = replica.ask("GET k");
    assert_eq!(refused, "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    assert_eq!(replica.ask("CONFIG SET replica-serve-stale-data yes"), "+OK");
    assert_eq!(replica.ask("GET k"), "\"1\"");
}

#[test]
fn the_kernel_and_the_log_know_the_role() {
    let mut site =
        Site::start(ours(), &["--oom-score-adj", "absolute", "--oom-score-adj-values", "100 200 300"]);
    let score = format!("/proc/{}/oom_score_adj", site.server.child.id());
    let score = || fs::read_to_string(&score).expect("a score").trim().to_owned();
    assert_eq!(score(), "100");
    assert_eq!(site.ask("REPLICAOF 127.0.0.1 1"), "+OK");
    site.server.wait_for_log(":S ");
    assert_eq!(score(), "200");
    assert_eq!(site.ask("REPLICAOF NO ONE"), "+OK");
    site.server.wait_for_log("MASTER MODE enabled");
    assert_eq!(score(), "100");
    let log = site.server.log();
    let role = |text: &str| {
        let line = log.lines().find(|line| line.contains(text)).expect(text);
        line.split_once(':').and_then(|(_, line)| line.chars().next())
    };
    assert_eq!((role("REPLICAOF 127.0.0.1:1 enabled"), role("MASTER MODE enabled")), (Some('S'), Some('M')));
}

fn converge_key(site: &mut Site, request: &str, reply: &str) {
    site.server.wait_until(&format!("{request} is {reply}"), |server| server.ask(request) == reply);
}

#[test]
fn what_has_expired_is_not_seen_on_a_replica() {
    for (above, below) in [(ours(), ours()), (Kind::Theirs, ours()), (ours(), Kind::Theirs)] {
        if !are_here(&[above, below]) {
            continue;
        }
        let (mut master, mut replica) = pair(above, below);
        let mut client = master.connect();
        client.all([
            "DEBUG SET-ACTIVE-EXPIRE 0",
            "SET stays 1",
            "SET goes 1 PX 60",
            "SADD also 1 2",
            "PEXPIRE also 60",
        ]);
        converge_key(&mut replica, "GET stays", "\"1\"");
        // What has not arrived is not there either: all three are counted, hidden or not.
        converge_key(&mut replica, "DBSIZE", ":3");
        converge_key(&mut replica, "GET goes", "$-1");
        converge_key(&mut replica, "EXISTS also", ":0");
        let mut reader = replica.connect();
        assert_eq!(reader.ask("TTL goes"), ":-2");
        assert_eq!(reader.ask("SCARD also"), ":0");
        assert_eq!(reader.ask("TYPE also"), "+none");
        // Only the master may delete them.
        assert_eq!(reader.ask("DBSIZE"), ":3");
        assert_eq!(client.ask("DBSIZE"), ":3");
        // Redis lets a key live through the millisecond of its expiry.
        converge_key(&mut master, "EXISTS goes also", ":0");
        converge_key(&mut replica, "DBSIZE", ":1");
        converge(&[&master, &replica]);
        // And it may give them a longer life meanwhile.
        client.all(["SET k 1 PX 40"]);
        converge_key(&mut replica, "EXISTS k", ":0");
        client.all(["SET k 2"]);
        converge_key(&mut replica, "GET k", "\"2\"");
    }
}

#[test]
fn wait_counts_replicas() {
    let master = Site::start(ours(), &[]);
    let mut replicas = [(); 2].map(|()| Site::start(ours(), &[]));
    let detour = Proxy::start(master.server.address()).unwrap();
    replicas[0].follow(&master);
    replicas[1].follow_address(detour.address());
    for replica in &mut replicas {
        replica.wait_for_link();
    }
    let mut client = master.connect();
    // Once the replicas have said that they are there.
    assert_eq!(client.ask("SET k 0"), "+OK");
    assert_eq!(client.ask("WAIT 2 10000"), ":2");
    assert_eq!(client.ask("SET k 1"), "+OK");
    let asked = Instant::now();
    assert_eq!(client.ask("WAIT 2 10000"), ":2");
    // The replicas are asked, so it does not take the second until their next word.
    assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
    detour.hold(true);
    assert_eq!(client.ask("SET k 2"), "+OK");
    assert_eq!(client.ask("WAIT 1 10000"), ":1");
    assert_eq!(client.ask("WAIT 2 50"), ":1");
    client.send("WAIT 2 0");
    detour.hold(false);
    assert_eq!(client.receive().head(), ":2");
    assert_eq!(
        replicas[0].ask("WAIT 0 0"),
        "-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated."
    );
}

#[test]
fn a_master_wants_good_replicas() {
    let (mut master, mut replica) = pair(ours(), ours());
    let mut client = master.connect();
    client.all(["CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-max-lag 2"]);
    master.server.wait_until("the replica is good", |server| server.ask("SET k 1") == "+OK");
    assert_eq!(master.info("min_slaves_good_slaves"), "1");
    replica.server.kill();
    master.server.wait_until("writes are refused", |server| {
        server.ask("SET late 2") == "-NOREPLICAS Not enough good replicas to write."
    });
    assert_eq!(client.ask("GET k"), "\"1\"");
    client.all(["CONFIG SET min-replicas-to-write 0", "SET k 3"]);
}

#[test]
fn a_replica_knows_the_password() {
    for (above, below) in [(ours(), ours()), (Kind::Theirs, ours()), (ours(), Kind::Theirs)] {
        if !are_here(&[above, below]) {
            continue;
        }
        let (master, mut replica) = (Site::start(above, &[]), Site::start(below, &[]));
        let mut client = master.connect();
        client.all(["SET k 1", "CONFIG SET requirepass secret"]);
        replica.ask("CONFIG SET masterauth wrong");
        replica.follow(&master);
        replica.server.wait_until("it is told why not", |server| {
            let log = server.log();
            log.contains("WRONGPASS") || log.contains("Unable to AUTH to MASTER")
        });
        assert_eq!(replica.info("master_link_status"), "down");
        assert_eq!(replica.ask("CONFIG SET masterauth secret"), "+OK");
        replica.wait_for_link();
        assert_eq!(replica.ask("GET k"), "\"1\"");
        // The user may be named.
        replica.connect().all(["CONFIG SET masteruser default"]);
        replica.ask("CLIENT KILL TYPE master");
        client.ask("SET k 2");
        converge_key(&mut replica, "GET k", "\"2\"");
    }
}

#[test]
fn loops_are_said() {
    if !is_about_us() {
        return;
    }
    let mut alone = Site::start(ours(), &[]);
    alone.ask("SET k 1");
    alone.follow_address(alone.server.address());
    alone.server.wait_for_log("REPLICAOF makes a loop");
    assert_eq!(alone.ask("GET k"), "\"1\"");
    assert_eq!(alone.info("master_link_status"), "down");
    assert_eq!(alone.ask("REPLICAOF NO ONE"), "+OK");
    assert_eq!(alone.ask("SET k 2"), "+OK");

    let sites = [(); 3].map(|()| Site::start(ours(), &[]));
    for at in 0..3 {
        sites[at].follow(&sites[(at + 1) % 3]);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sites.iter().any(|site| site.server.log().contains("REPLICAOF makes a loop")) {
        assert!(Instant::now() < deadline, "nobody says so:\n{}", sites[0].server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_empty_master_is_not_copied() {
    if !is_about_us() {
        return;
    }
    for (above, diskless) in [(ours(), "yes"), (ours(), "no"), (Kind::Theirs, "yes"), (Kind::Theirs, "no")] {
        if !are_here(&[above]) {
            continue;
        }
        let (mut master, mut replica) = pair(above, ours());
        writers::load(master.server.address(), 19).unwrap();
        converge(&[&master, &replica]);
        let digest = replica.digest();
        master.server.kill();
        let options = ["--repl-diskless-sync", diskless];
        master.restart(&options);
        replica.server.wait_for_log("has no data, and would replace");
        assert_eq!(replica.digest(), digest);
        assert_eq!(replica.info("master_link_status"), "down");
        let info = replica.ask("INFO replication");
        assert!(info.contains("refused"), "INFO says so: {info}");
        assert_eq!(replica.ask("SET k 1"), "-READONLY You can't write against a read only replica.");

        // A master that has data again is copied, once it is asked for.
        let address = master.proxy.address();
        let follow = format!("REPLICAOF {} {}", address.ip(), address.port());
        assert_eq!(replica.ask(&format!("{follow} ACCEPT-EMPTY")), "+OK");
        replica.wait_for_link();
        assert_eq!(replica.ask("DBSIZE"), ":0");
        assert_eq!(master.ask("SET k 1"), "+OK");
        converge(&[&master, &replica]);

        // It was allowed once, not for ever.
        master.server.kill();
        master.restart(&options);
        replica.server.wait_until("it is refused again", |server| {
            server.log().matches("has no data, and would replace").count() > 1
        });
        assert_eq!(replica.ask("GET k"), "\"1\"");
    }
}

#[test]
fn failover_swaps_the_roles() {
    for (above, below) in [(ours(), ours()), (Kind::Theirs, ours()), (ours(), Kind::Theirs)] {
        if !are_here(&[above, below]) {
            continue;
        }
        let (mut master, mut replica) = (Site::start(above, &[]), Site::start(below, &[]));
        replica.follow_address(master.server.address());
        replica.wait_for_link();
        master.ask("SET k 1");
        converge(&[&master, &replica]);
        let id = master.info("master_replid");
        assert_eq!(master.ask("FAILOVER"), "+OK");
        master.wait_for_link();
        assert_eq!(replica.info("role"), "master");
        assert_eq!(replica.info("master_replid2"), id);
        assert_eq!(master.info("master_failover_state"), "no-failover");
        assert_eq!(replica.ask("SET k 2"), "+OK");
        converge(&[&replica, &master]);
        assert_eq!(replica.info("sync_full"), "0", "{above:?} {below:?}\n{}", replica.server.log());

        // And back, to the one that is named.
        let port = master.server.address().port();
        assert_eq!(replica.ask(&format!("FAILOVER TO 127.0.0.1 {port} TIMEOUT 5000")), "+OK");
        replica.wait_for_link();
        assert_eq!(master.info("role"), "master");
        assert_eq!(master.ask("SET k 3"), "+OK");
        converge(&[&master, &replica]);
        replica.server.wait_for_info("master_failover_state", "no-failover");
    }
}

#[test]
fn a_failover_can_be_given_up() {
    let (mut master, mut replica) = pair(ours(), ours());
    assert_eq!(master.ask("FAILOVER ABORT"), "-ERR No failover in progress.");
    assert_eq!(master.ask("FAILOVER TO 127.0.0.1 1"), "-ERR FAILOVER target HOST and PORT is not a replica.");
    assert_eq!(
        master.ask("FAILOVER TO 127.0.0.1 1 FORCE"),
        "-ERR FAILOVER with force option requires both a timeout and target HOST and IP."
    );
    // The replica cannot come up: the link to it stands still, and writes wait.
    master.proxy.hold(true);
    assert_eq!(master.ask("SET k 1"), "+OK");
    assert_eq!(master.ask("FAILOVER"), "+OK");
    assert_eq!(master.info("master_failover_state"), "waiting-for-sync");
    assert_eq!(master.ask("FAILOVER"), "-ERR FAILOVER already in progress.");
    let mut writer = master.connect();
    writer.send("SET k 2");
    assert_eq!(master.ask("GET k"), "\"1\"");
    assert_eq!(master.ask("FAILOVER ABORT"), "+OK");
    assert_eq!(writer.receive().head(), "+OK");
    assert_eq!(master.info("master_failover_state"), "no-failover");
    // Nor in time.
    assert_eq!(master.ask("FAILOVER TIMEOUT 50"), "+OK");
    master.server.wait_for_info("master_failover_state", "no-failover");
    master.proxy.hold(false);
    replica.wait_for_link();
    assert_eq!(master.ask("SET k 3"), "+OK");
    converge(&[&master, &replica]);
    assert_eq!(replica.ask("FAILOVER"), "-ERR FAILOVER is not valid when server is a replica.");
}

#[test]
fn who_waits_is_let_go_when_its_server_becomes_a_replica() {
    let (other, master) = (Site::start(ours(), &[]), Site::start(ours(), &[]));
    let mut waiting = master.connect();
    waiting.send("BLPOP list 0");
    let mut server = master;
    server.server.wait_for_info("blocked_clients", "1");
    server.follow(&other);
    let reply = waiting.receive().head();
    assert_eq!(
        reply,
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
    );
}

#[test]
fn links_can_be_killed_by_type() {
    let (mut master, mut replica) = pair(ours(), ours());
    master.ask("SET k 1");
    converge(&[&master, &replica]);
    assert!(replica.ask("CLIENT LIST TYPE master").contains("flags=M"), "{}", replica.ask("CLIENT LIST"));
    assert!(master.ask("CLIENT LIST TYPE replica").contains("flags=S"), "{}", master.ask("CLIENT LIST"));
    for (killed, at_the_master) in [("replica", true), ("slave", true), ("master", false)] {
        let before = master.count("sync_partial_ok");
        let site = if at_the_master { &master } else { &replica };
        assert_eq!(site.ask(&format!("CLIENT KILL TYPE {killed}")), ":1");
        master.wait_beyond("sync_partial_ok", before);
        replica.wait_for_link();
    }
    assert_eq!(master.info("sync_full"), "1");
}

/// A file system of a few megabytes, unmounted with this value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts one, where this user may.
    fn mount(path: std::path::PathBuf, size: &str) -> Option<SmallDisk> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(SmallDisk(path))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_a_replica_nothing() {
    let mut replica =
        Site::start(ours(), &["--repl-diskless-load", "disabled", "--enable-protected-configs", "yes"]);
    let Some(disk) = SmallDisk::mount(replica.folder.path("small"), "1m") else {
        println!("SKIPPED: no file system can be mounted here (root is needed)");
        return;
    };
    assert_eq!(replica.ask(&format!("CONFIG SET dir {}", disk.0.display())), "+OK");
    replica.connect().all(["SET old 1", "RPUSH list a b c"]);
    let digest = replica.digest();
    let master = Site::start(ours(), &["--rdbcompression", "no"]);
    let mut client = master.connect();
    for n in 0..40 {
        client.ask(&format!("SETRANGE big:{n} 100000 x"));
    }
    replica.follow(&master);
    replica.server.wait_until("it says that the disk is full", |server| {
        let log = server.log();
        log.contains("No space left on device") || log.contains("short write")
    });
    assert_eq!(replica.digest(), digest);
    assert_eq!(replica.info("master_link_status"), "down");
    assert_eq!(replica.ask("GET old"), "\"1\"");
    // Once there is room it is made up for.
    disk.grow("64m");
    replica.wait_for_link();
    converge(&[&master, &replica]);
    drop(replica);
    drop(disk);
}
