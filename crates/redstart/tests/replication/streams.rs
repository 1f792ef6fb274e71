//! What goes from one to the next: a snapshot, the stream after it, and the rest of it after whatever broke the link.

use std::time::Duration;

use testkit::writers::{self, Writers};
use testkit::{Proxy, Random};

use crate::harness::{Kind, Server};
use crate::site::{Site, are_here, converge, is_about_us, ours, words};

/// How snapshots go over: `repl-diskless-sync` of the master, `repl-diskless-load` of the replica.
const MANNERS: [(&str, &str); 3] = [("no", "disabled"), ("yes", "on-empty-db"), ("yes", "swapdb")];

/// Lets the first of several servers, each the master of the next, be written to while they attach and links are cut.
fn converges(kinds: &[Kind], manners: &[(&str, &str)]) {
    if !are_here(kinds) {
        return;
    }
    for (number, (diskless, load)) in manners.iter().enumerate() {
        let options = ["--repl-diskless-sync", diskless, "--repl-diskless-load", load];
        let mut sites: Vec<Site> = kinds.iter().map(|&kind| Site::start(kind, &options)).collect();
        let seed = (kinds.len() * 10 + number) as u64;
        writers::load(sites[0].server.address(), seed).unwrap();
        // The replica has data of its own, which goes.
        sites[1].connect().all(["SET own 1", "SELECT 9", "SADD own 1 2"]);
        let writers = Writers::start(sites[0].server.address(), seed, 2, Duration::from_micros(500));
        for below in 1..sites.len() {
            sites[below].follow(&sites[below - 1]);
            sites[below].wait_for_link();
        }
        let full: Vec<u64> = sites.iter().map(|site| site.count("sync_full")).collect();
        let mut random = Random(seed);
        for cut in 0..4 * (sites.len() - 1) {
            let above = cut / 4;
            wait_for_writes(&writers, 150);
            let before = sites[above].count("sync_partial_ok");
            match cut % 4 {
                0 => sites[above].proxy.cut(),
                1 => _ = sites[above].ask("CLIENT KILL TYPE replica"),
                2 => _ = sites[above + 1].ask("CLIENT KILL TYPE master"),
                _ => sites[above].proxy.cut_after(random.of(1..3000) as usize),
            }
            sites[above].wait_beyond("sync_partial_ok", before);
            sites[above + 1].wait_for_link();
        }
        wait_for_writes(&writers, 150);
        writers.finish().unwrap();
        converge(&sites.iter().collect::<Vec<_>>());
        for (site, before) in sites.iter().zip(full) {
            assert_eq!(
                site.count("sync_full"),
                before,
                "{diskless}, {load}: the cuts cost no full sync\n{}",
                site.server.log()
            );
        }
    }
}

fn wait_for_writes(writers: &Writers, count: u64) {
    let from = writers.written();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while writers.written() < from + count {
        assert!(std::time::Instant::now() < deadline, "the writers stand still");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn redis_follows_redis() {
    // The judge's own judgement.
    converges(&[Kind::Theirs, Kind::Theirs], &MANNERS[..1]);
}

#[test]
fn we_follow_redis() {
    converges(&[Kind::Theirs, ours()], &MANNERS);
}

#[test]
fn redis_follows_us() {
    converges(&[ours(), Kind::Theirs], &MANNERS);
}

#[test]
fn we_follow_ourselves() {
    converges(&[ours(), ours()], &MANNERS);
}

#[test]
fn redis_follows_us_following_redis() {
    converges(&[Kind::Theirs, ours(), Kind::Theirs], &MANNERS[1..]);
}

#[test]
fn we_follow_redis_following_us() {
    converges(&[ours(), Kind::Theirs, ours()], &MANNERS[..2]);
}

#[test]
fn many_replicas_share_a_snapshot() {
    for diskless in ["yes", "no"] {
        let options = ["--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "1"];
        let master = Site::start(ours(), &options);
        writers::load(master.server.address(), 5).unwrap();
        let mut replicas: Vec<Site> = (0..3).map(|_| Site::start(ours(), &[])).collect();
        let writers = Writers::start(master.server.address(), 5, 1, Duration::from_micros(500));
        for replica in &replicas {
            replica.follow(&master);
        }
        for replica in &mut replicas {
            replica.wait_for_link();
        }
        wait_for_writes(&writers, 200);
        writers.finish().unwrap();
        let mut all = vec![&master];
        all.extend(&replicas);
        converge(&all);
        assert_eq!(master.info("connected_slaves"), "3");
    }
}

#[test]
fn what_is_published_reaches_the_end_of_a_chain() {
    let sites: Vec<Site> = (0..3).map(|_| Site::start(ours(), &[])).collect();
    let [head, mut middle, mut tail]: [Site; 3] = sites.try_into().ok().unwrap();
    middle.follow(&head);
    middle.wait_for_link();
    tail.follow(&middle);
    tail.wait_for_link();
    let mut listener = tail.connect();
    assert_eq!(listener.ask("SUBSCRIBE news"), "*3 \"subscribe\" \"news\" :1");
    assert_eq!(head.ask("PUBLISH news hello"), ":0");
    let heard: Vec<String> = listener.receive().lines().iter().map(|line| line.trim().to_string()).collect();
    assert_eq!(heard.join(" "), "*3 \"message\" \"news\" \"hello\"");
}

/// Restarts the replica in a pair while its master is written to; it goes on where it was.
fn restarts(master: Kind, replica: Kind, options: &[&str], how: &str) {
    if !are_here(&[master, replica]) {
        return;
    }
    let master = Site::start(master, &[]);
    writers::load(master.server.address(), 7).unwrap();
    let mut replica = Site::start(replica, options);
    replica.follow(&master);
    replica.wait_for_link();
    let writers = Writers::start(master.server.address(), 7, 1, Duration::from_millis(1));
    wait_for_writes(&writers, 200);
    if options.contains(&"--appendonly") {
        // Until the log has a base of the new data it holds nothing that could be gone on from.
        replica.server.wait_for_log("Background AOF rewrite finished successfully");
    }
    replica.connect().send(&format!("SHUTDOWN {how}"));
    assert_eq!(replica.server.exit_code(), Some(0), "{}", replica.server.log());
    wait_for_writes(&writers, 200);
    let follow = master.followers_options();
    replica.restart(&[options, &words(&follow)].concat());
    replica.wait_for_link();
    wait_for_writes(&writers, 200);
    writers.finish().unwrap();
    converge(&[&master, &replica]);
    assert_eq!(master.info("sync_full"), "1", "{}", master.server.log());
    assert_eq!(master.info("sync_partial_ok"), "1");
}

#[test]
fn a_replica_restarted_from_its_snapshot_goes_on() {
    restarts(ours(), ours(), &[], "SAVE");
    restarts(Kind::Theirs, ours(), &[], "SAVE");
    restarts(ours(), Kind::Theirs, &[], "SAVE");
}

#[test]
fn a_replica_restarted_from_its_log_goes_on() {
    if !is_about_us() {
        return;
    }
    for preamble in ["yes", "no"] {
        let options = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        restarts(ours(), ours(), &options, "NOSAVE");
        restarts(Kind::Theirs, ours(), &options, "NOSAVE");
    }
}

#[test]
fn a_replica_killed_with_its_log_has_the_same_data_again() {
    let master = Site::start(ours(), &[]);
    writers::load(master.server.address(), 8).unwrap();
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut replica = Site::start(ours(), &options);
    replica.follow(&master);
    replica.wait_for_link();
    for _ in 0..2 {
        let writers = Writers::start(master.server.address(), 8, 1, Duration::from_millis(1));
        wait_for_writes(&writers, 200);
        replica.server.kill();
        wait_for_writes(&writers, 100);
        replica.restart(&[&options[..], &words(&master.followers_options())].concat());
        replica.wait_for_link();
        wait_for_writes(&writers, 100);
        writers.finish().unwrap();
        converge(&[&master, &replica]);
    }
}

#[test]
fn a_master_restarted_from_its_snapshot_is_gone_on_with() {
    for (above, below) in [(ours(), ours()), (ours(), Kind::Theirs)] {
        if !are_here(&[above, below]) {
            continue;
        }
        let mut master = Site::start(above, &[]);
        writers::load(master.server.address(), 9).unwrap();
        let mut replica = Site::start(below, &[]);
        replica.follow(&master);
        replica.wait_for_link();
        master.ask("SET last 1");
        converge(&[&master, &replica]);
        master.connect().send("SHUTDOWN SAVE");
        assert_eq!(master.server.exit_code(), Some(0));
        master.restart(&[]);
        replica.wait_for_link();
        master.ask("SET more 1");
        converge(&[&master, &replica]);
        assert_eq!(master.info("sync_partial_ok"), "1", "{}", master.server.log());
        assert_eq!(master.info("sync_full"), "0");
    }
}

#[test]
fn the_other_replica_goes_on_after_a_promotion() {
    for kinds in [[ours(); 3], [ours(), Kind::Theirs, ours()], [Kind::Theirs, ours(), Kind::Theirs]] {
        if !are_here(&kinds) {
            continue;
        }
        let [mut first, mut second, mut third] = kinds.map(|kind| Site::start(kind, &[]));
        writers::load(first.server.address(), 11).unwrap();
        second.follow(&first);
        third.follow(&first);
        second.wait_for_link();
        third.wait_for_link();
        let writers = Writers::start(first.server.address(), 11, 1, Duration::from_millis(1));
        wait_for_writes(&writers, 300);
        writers.finish().unwrap();
        converge(&[&first, &second, &third]);
        let (id, offset) = (first.info("master_replid"), first.count("master_repl_offset"));
        first.server.kill();
        assert_eq!(second.ask("REPLICAOF NO ONE"), "+OK");
        assert_eq!(second.info("role"), "master");
        assert_eq!(second.info("master_replid2"), id);
        assert_eq!(second.count("second_repl_offset"), offset + 1);
        assert_ne!(second.info("master_replid"), id);
        let writers = Writers::start(second.server.address(), 12, 1, Duration::from_millis(1));
        wait_for_writes(&writers, 100);
        third.follow(&second);
        third.wait_for_link();
        wait_for_writes(&writers, 100);
        // The old one comes back with nothing, as a replica.
        first.restart(&[]);
        first.follow(&second);
        first.wait_for_link();
        writers.finish().unwrap();
        converge(&[&second, &third, &first]);
        assert_eq!(second.info("sync_partial_ok"), "1", "{kinds:?}:\n{}", second.server.log());
        assert_eq!(second.info("sync_full"), "1");
    }
}

#[test]
fn a_replica_that_reads_slowly_costs_the_others_nothing() {
    let master = Site::start(ours(), &[]);
    let [mut fast, mut slow] = [(); 2].map(|()| Site::start(ours(), &[]));
    let detour = Proxy::start(master.server.address()).unwrap();
    fast.follow(&master);
    slow.follow_address(detour.address());
    fast.wait_for_link();
    slow.wait_for_link();
    detour.hold(true);
    let mut client = master.connect();
    for n in 0..200 {
        client.ask(&format!("SETRANGE big:{n} 100000 x"));
    }
    converge(&[&master, &fast]);
    assert_ne!(slow.digest(), master.digest());
    detour.hold(false);
    converge(&[&master, &slow]);
    assert_eq!(master.info("sync_full"), "2");
}

#[test]
fn a_full_sync_under_load_ends() {
    if !is_about_us() {
        return;
    }
    // The backlog is far smaller than what is written meanwhile.
    let small = ["--repl-backlog-size", "16kb"];
    let mut master = Site::start(ours(), &small);
    writers::load(master.server.address(), 13).unwrap();
    assert_eq!(master.ask("CONFIG SET rdb-key-save-delay 200"), "+OK");
    let mut replica = Site::start(ours(), &[]);
    let writers = Writers::start(master.server.address(), 13, 3, Duration::ZERO);
    replica.follow(&master);
    replica.wait_for_link();
    wait_for_writes(&writers, 1000);
    writers.finish().unwrap();
    converge(&[&master, &replica]);
    assert_eq!(master.info("sync_full"), "1", "{}", master.server.log());
    master.server.wait_for_info("rdb_bgsave_in_progress", "0");
}

/// Returns all that redis-cli prints for these arguments.
fn redis_cli(server: &Server, arguments: &[&str]) -> String {
    let port = server.address().port().to_string();
    let output =
        std::process::Command::new("redis-cli").args(["-p", &port]).args(arguments).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn redis_cli_fetches_a_snapshot() {
    if !are_here(&[Kind::Theirs]) {
        return;
    }
    let master = Site::start(ours(), &[]);
    writers::load(master.server.address(), 17).unwrap();
    let mut copy = Site::start(Kind::Theirs, &[]);
    copy.server.kill();
    let path = copy.folder.path("dump.rdb");
    let said = redis_cli(&master.server, &["--rdb", path.to_str().unwrap()]);
    copy.restart(&[]);
    assert_eq!(copy.digest(), master.digest(), "{said}");
}

#[test]
fn redis_cli_shows_the_stream() {
    use std::io::{BufRead, BufReader};
    if !are_here(&[Kind::Theirs]) {
        return;
    }
    let mut master = Site::start(ours(), &[]);
    let port = master.server.address().port().to_string();
    let mut child = std::process::Command::new("redis-cli")
        .args(["-p", &port, "--replica"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (heard, lines) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = heard.send(line);
        }
    });
    master.server.wait_until("it is a replica", |server| server.info("connected_slaves") == "1");
    assert_eq!(master.ask("SET marker 17"), "+OK");
    let mut found = String::new();
    while !found.contains("marker") {
        let Ok(line) = lines.recv_timeout(Duration::from_secs(20)) else { break };
        found = line;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap();
    assert!(found.contains("marker"), "{}", master.server.log());
    assert_eq!(found, "\"SET\",\"marker\",\"17\"");
}
