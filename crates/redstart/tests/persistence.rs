//! What is in the files of a server, from outside: it survives, it is refused when it is damaged, and it is all there.

mod harness;

use std::fs;
use std::time::{Duration, Instant};

use harness::{Folder, Kind, Server, flip};

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
/// The same, whose file ends where its data does.
const DATA_ALONE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--aof-prepared-space", "0"];

fn start(folder: &Folder, options: &[&str]) -> Server {
    Server::start(Kind::Ours, folder, options)
}

/// Launches a server that is to refuse its files, and returns what it says.
fn refusal(folder: &Folder, options: &[&str]) -> String {
    let mut server = Server::launch(Kind::Ours, folder, options);
    assert_eq!(server.exit_code(), Some(1), "{}", server.log());
    server.log()
}

fn increment(folder: &Folder, number: u32) -> std::path::PathBuf {
    folder.path(&format!("appendonlydir/appendonly.aof.{number}.incr.aof"))
}

#[test]
fn a_snapshot_survives_a_restart() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    server.ask("SET k 1");
    server.ask("SET expires v PX 100000000");
    assert_eq!(server.ask("SAVE"), "+OK");
    server.ask("SET k 2");
    server.shut_down("NOSAVE");
    let server = start(&folder, &[]);
    assert_eq!(server.ask("GET k"), "\"1\"");
    let left: i64 = server.ask("PTTL expires")[1..].parse().unwrap();
    assert!((90_000_000..=100_000_000).contains(&left), "{left}");
    server.ask("SET k 3");
    server.shut_down("SAVE");
    assert_eq!(start(&folder, &[]).ask("GET k"), "\"3\"");
    assert_eq!(folder.names("").iter().filter(|name| name.ends_with(".rdb")).count(), 1);
}

#[test]
fn a_log_survives_a_kill_under_each_policy() {
    for policy in ["always", "everysec", "no"] {
        let folder = Folder::new();
        let options = ["--appendonly", "yes", "--appendfsync", policy];
        let mut server = start(&folder, &options);
        let mut client = server.connect();
        client.all(["SET k 1", "SELECT 3", "RPUSH list a b c", "MULTI", "SET x 1", "SET y 2", "EXEC"]);
        server.wait_for_info("aof_buffer_length", "0");
        server.wait_for_info("aof_pending_bio_fsync", "0");
        server.kill();
        let server = start(&folder, &options);
        let mut client = server.connect();
        assert_eq!(client.ask("GET k"), "\"1\"", "{policy}");
        client.ask("SELECT 3");
        assert_eq!(client.ask("LRANGE list 0 -1"), "*3 \"a\" \"b\" \"c\"");
        assert_eq!(client.ask("MGET x y"), "*2 \"1\" \"2\"");
        client.ask("SET at shutdown");
        server.shut_down("");
        assert_eq!(start(&folder, &options).ask("DBSIZE"), ":1");
    }
}

#[test]
fn clients_are_told_while_it_loads() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    let mut client = server.connect();
    for n in 0..3000 {
        client.ask(&format!("SET key:{n} value"));
    }
    client.ask("SAVE");
    server.shut_down("NOSAVE");
    let mut server = Server::launch(Kind::Ours, &folder, &["--key-load-delay", "300"]);
    let mut told = false;
    server.wait_until("loading is over", |server| {
        let Ok(_) = std::net::TcpStream::connect(server.address()) else { return false };
        let reply = server.ask("GET key:1");
        told |= reply.starts_with("-LOADING");
        if reply.starts_with("-LOADING") {
            assert_eq!(reply, "-LOADING Redis is loading the dataset in memory");
            assert!(server.ask("INFO persistence").contains("loading:"));
        }
        reply == "\"value\""
    });
    assert!(told, "nobody was told");
    assert_eq!(server.ask("DBSIZE"), ":3000");
    assert_eq!(server.info("loading"), "0");
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    server.ask("SET key value");
    server.ask("SAVE");
    server.shut_down("NOSAVE");
    let length = fs::metadata(folder.path("dump.rdb")).unwrap().len() as usize;
    for offset in [2, length / 2, length - 3] {
        flip(&folder.path("dump.rdb"), offset);
        let log = refusal(&folder, &[]);
        assert!(log.contains("Fatal error loading the DB: dump.rdb: ") && log.contains("offset"), "{log}");
        flip(&folder.path("dump.rdb"), offset);
    }
    assert_eq!(start(&folder, &[]).ask("GET key"), "\"value\"");
}

#[test]
fn a_damaged_log_is_refused() {
    let folder = Folder::new();
    let mut server = start(&folder, DATA_ALONE);
    let mut client = server.connect();
    for n in 0..50 {
        client.ask(&format!("SET key:{n} value:{n}"));
    }
    server.kill();
    let path = increment(&folder, 1);
    let length = fs::metadata(&path).unwrap().len() as usize;
    for offset in [1, length / 3, length / 2] {
        flip(&path, offset);
        let log = refusal(&folder, DATA_ALONE);
        assert!(
            log.contains("Fatal error loading the DB: appendonlydir/appendonly.aof.1.incr.aof: "),
            "{log}"
        );
        assert!(log.contains(" at offset "), "{log}");
        flip(&path, offset);
    }
    assert_eq!(start(&folder, DATA_ALONE).ask("DBSIZE"), ":50");

    let manifest = folder.path("appendonlydir/appendonly.aof.manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace(" type i", " typo i")).unwrap();
    assert!(refusal(&folder, DATA_ALONE).contains("manifest"), "a manifest is not guessed");
    fs::write(&manifest, text).unwrap();
    fs::remove_file(&path).unwrap();
    let log = refusal(&folder, DATA_ALONE);
    assert!(log.contains("appendonly.aof.1.incr.aof doesn't exist"), "{log}");
}

#[test]
fn a_torn_tail_is_cut_or_refused_as_configured() {
    let folder = Folder::new();
    let mut server = start(&folder, DATA_ALONE);
    for n in 0..5 {
        server.ask(&format!("SET key:{n} value"));
    }
    server.kill();
    let path = increment(&folder, 1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let log = refusal(&folder, &[DATA_ALONE, &["--aof-load-truncated", "no"]].concat());
    assert!(log.contains("aof-load-truncated is no") && log.contains("at offset"), "{log}");
    let mut server = start(&folder, DATA_ALONE);
    assert!(server.log().contains("short read while loading the AOF file"), "{}", server.log());
    assert_eq!(server.ask("DBSIZE"), ":4");
    server.ask("SET after 1");
    server.kill();
    assert_eq!(start(&folder, DATA_ALONE).ask("DBSIZE"), ":5");
}

/// The power may fail between listing a new, empty file and syncing the one before it.
#[test]
fn a_torn_tail_before_an_empty_file_is_cut_before_that_is_written() {
    for tail in [&b"#RC1:"[..], &[0; 5000]] {
        let folder = Folder::new();
        let mut server = start(&folder, LOG);
        server.ask("SET before 1");
        server.kill();
        let path = increment(&folder, 1);
        fs::write(&path, [&fs::read(&path).unwrap(), tail].concat()).unwrap();
        fs::write(increment(&folder, 2), "").unwrap();
        let manifest = folder.path("appendonlydir/appendonly.aof.manifest");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text + "file appendonly.aof.2.incr.aof seq 2 type i\n").unwrap();
        for writes in 1..4 {
            let mut server = start(&folder, LOG);
            assert_eq!(server.ask("DBSIZE"), format!(":{writes}"));
            server.ask(&format!("SET after:{writes} 1"));
            server.kill();
        }
    }
}

#[test]
fn a_snapshot_in_the_background_is_of_one_moment() {
    let folder = Folder::new();
    let mut server = start(&folder, &["--rdb-key-save-delay", "200"]);
    let mut client = server.connect();
    for n in 0..2000 {
        client.ask(&format!("SET key:{n} before"));
    }
    assert_eq!(client.ask("BGSAVE"), "+Background saving started");
    assert_eq!(client.ask("BGSAVE"), "-ERR Background save already in progress");
    let mut writes = 0;
    while client.info("rdb_bgsave_in_progress") == "1" {
        for n in 0..100 {
            client.ask(&format!("SET key:{} after", writes % 2000 + n));
        }
        writes += 100;
    }
    assert!(writes > 0);
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    server.kill();
    let server = start(&folder, &[]);
    assert_eq!(server.ask("DBSIZE"), ":2000");
    let mut client = server.connect();
    for n in 0..2000 {
        assert_eq!(client.ask(&format!("GET key:{n}")), "\"before\"");
    }
}

#[test]
fn save_points_save_by_themselves() {
    let folder = Folder::new();
    let mut server = start(&folder, &["--save", "1 3"]);
    let mut client = server.connect();
    client.all(["SET a 1", "SET b 2", "SET c 3"]);
    server.wait_for_log("3 changes in 1 seconds. Saving...");
    server.wait_for_log("Background saving terminated with success");
    assert_eq!(server.info("rdb_changes_since_last_save"), "0");
    server.kill();
    assert_eq!(start(&folder, &[]).ask("DBSIZE"), ":3");
}

#[test]
fn a_child_that_is_killed_is_noticed() {
    let folder = Folder::new();
    let options = ["--rdb-key-save-delay", "1000000", "--save", "3600 1000"];
    let mut server = start(&folder, &[&options[..], LOG].concat());
    server.ask("SET a 1");
    for (request, field) in
        [("BGSAVE", "rdb_last_bgsave_status"), ("BGREWRITEAOF", "aof_last_bgrewrite_status")]
    {
        server.ask(request);
        let parent = server.child.id().to_string();
        let mut child = 0;
        server.wait_until("there is a child", |_| {
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            child = children.split_whitespace().next().map_or(0, |pid| pid.parse().unwrap());
            child != 0
        });
        let killed = std::process::Command::new("kill").args(["-9", &child.to_string()]).status().unwrap();
        assert!(killed.success());
        server.wait_for_info(field, "err");
        assert!(server.log().contains("terminated by signal 9"), "{}", server.log());
        assert!(!folder.names("").iter().any(|name| name.starts_with("temp-")), "{:?}", folder.names(""));
    }
    // Where snapshots were asked for, a failed one stops writes until another succeeds.
    let refused = server.ask("SET b 1");
    assert!(refused.starts_with("-MISCONF Redis is configured to save RDB snapshots"), "{refused}");
    server.ask("CONFIG SET rdb-key-save-delay 0");
    server.ask("BGSAVE");
    server.wait_for_info("rdb_last_bgsave_status", "ok");
    assert_eq!(server.ask("SET b 1"), "+OK");
}

#[test]
fn the_log_is_turned_on_and_off_at_run_time() {
    let folder = Folder::new();
    let mut server = start(&folder, &["--appendfsync", "always"]);
    server.ask("SET before 1");
    assert_eq!(server.info("aof_enabled"), "0");
    assert_eq!(server.ask("CONFIG SET appendonly yes"), "+OK");
    server.ask("SET during 1");
    server.wait_for_log("Background AOF rewrite finished successfully");
    server.ask("SET after 1");
    server.kill();
    let mut server = start(&folder, LOG);
    assert_eq!(server.ask("DBSIZE"), ":3");
    assert_eq!(server.ask("CONFIG SET appendonly no"), "+OK");
    assert_eq!(server.ask("SET unlogged 1"), "+OK");
    assert_eq!(server.info("aof_enabled"), "0");
    server.kill();
    assert_eq!(start(&folder, LOG).ask("DBSIZE"), ":3");
}

#[test]
fn waitaof_answers_when_the_log_is_on_the_disk() {
    let folder = Folder::new();
    let server = start(&folder, &["--appendonly", "yes", "--appendfsync", "everysec"]);
    let mut client = server.connect();
    client.ask("SET k 1");
    let asked = Instant::now();
    assert_eq!(client.ask("WAITAOF 1 0 5000"), "*2 :1 :0");
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(client.ask("WAITAOF 1 0 0"), "*2 :1 :0");
    client.ask("CONFIG SET appendfsync no");
    client.ask("SET k 2");
    assert_eq!(client.ask("WAITAOF 1 0 50"), "*2 :0 :0");
    let server = start(&Folder::new(), &[]);
    let refused = server.ask("WAITAOF 1 0 0");
    assert!(refused.starts_with("-ERR WAITAOF cannot be used when numlocal is set"), "{refused}");
}

#[test]
fn a_rewrite_keeps_what_comes_meanwhile() {
    for preamble in ["yes", "no"] {
        let folder = Folder::new();
        let options = [LOG, &["--aof-use-rdb-preamble", preamble, "--rdb-key-save-delay", "300"]].concat();
        let mut server = start(&folder, &options);
        let mut client = server.connect();
        for n in 0..500 {
            client.ask(&format!("INCRBY counter:{} {n}", n % 50));
        }
        assert_eq!(client.ask("BGREWRITEAOF"), "+Background append only file rewriting started");
        let mut count = 0;
        while client.info("aof_rewrite_in_progress") == "1" {
            client.ask("INCR meanwhile");
            count += 1;
        }
        assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
        client.ask("INCR meanwhile");
        server.kill();
        let mut names = folder.names("appendonlydir");
        names.retain(|name| !name.ends_with(".manifest"));
        let kind = if preamble == "yes" { "rdb" } else { "aof" };
        let base = format!("appendonly.aof.2.base.{kind}");
        assert!(names.contains(&base), "{names:?}");
        let server = start(&folder, &options);
        assert_eq!(server.ask("GET meanwhile"), format!("\"{}\"", count + 1));
        assert_eq!(
            server.ask("GET counter:49"),
            format!("\"{}\"", (0..10).map(|n| n * 50 + 49).sum::<u32>())
        );
    }
}
