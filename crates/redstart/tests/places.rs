//! Where files lie: servers side by side, a directory that changes, and what an older log left behind.

mod harness;

use std::fs;

use harness::{Folder, Kind, Server};

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

fn start(folder: &Folder, options: &[&str]) -> Server {
    Server::start(Kind::Ours, folder, options)
}

#[test]
fn turning_the_log_on_goes_on_above_what_lies_there() {
    let folder = Folder::new();
    let server = start(&folder, LOG);
    server.ask("SET old 1");
    server.shut_down("");
    // What a killed server left without listing it.
    fs::write(folder.path("appendonlydir/appendonly.aof.7.incr.aof"), b"left").unwrap();
    let mut server = start(&folder, &LOG[2..]);
    server.ask("SET new 1");
    assert_eq!(server.ask("CONFIG SET appendonly yes"), "+OK");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    let expected = ["appendonly.aof.2.base.rdb", "appendonly.aof.8.incr.aof", "appendonly.aof.manifest"];
    server.wait_until("the old files are gone", |_| folder.names("appendonlydir") == expected);
    server.ask("SET newer 1");
    server.kill();
    let server = start(&folder, LOG);
    assert_eq!(["old", "new", "newer"].map(|key| server.ask(&format!("EXISTS {key}"))), [":0", ":1", ":1"]);
}

#[test]
fn log_files_without_a_manifest_are_for_the_operator() {
    let folder = Folder::new();
    let server = start(&folder, LOG);
    server.ask("SET k 1");
    server.shut_down("");
    let manifest = folder.path("appendonlydir/appendonly.aof.manifest");
    fs::rename(&manifest, folder.path("kept")).unwrap();
    let names = folder.names("appendonlydir");
    let mut server = Server::launch(Kind::Ours, &folder, LOG);
    assert_eq!(server.exit_code(), Some(1));
    assert!(server.log().contains("appendonlydir holds log files"), "{}", server.log());
    let server = start(&folder, &[]);
    let reply = server.ask("CONFIG SET appendonly yes");
    assert!(reply.starts_with('-') && reply.contains("but no manifest"), "{reply}");
    assert_eq!(server.ask("CONFIG GET appendonly"), "*2 \"appendonly\" \"no\"");
    assert_eq!(folder.names("appendonlydir"), names);
    server.shut_down("");
    fs::rename(folder.path("kept"), &manifest).unwrap();
    assert_eq!(start(&folder, LOG).ask("GET k"), "\"1\"");
}

#[test]
fn a_log_stays_where_it_was_turned_on() {
    let folder = Folder::new();
    let other = folder.path("other");
    fs::create_dir(&other).unwrap();
    let mut server = start(&folder, &[LOG, &["--enable-protected-configs", "yes"]].concat());
    server.ask("SET k 1");
    assert_eq!(server.ask(&format!("CONFIG SET dir {}", other.display())), "+OK");
    server.ask("SET k 2");
    assert!(server.ask("BGREWRITEAOF").starts_with('+'));
    server.wait_for_info("aof_rewrites", "1");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    server.ask("INCR k");
    assert_eq!(server.ask("SAVE"), "+OK");
    server.kill();
    assert_eq!(folder.names("other"), ["dump.rdb"]);
    assert!(!folder.names("").iter().any(|name| name.starts_with("temp-")));
    assert_eq!(start(&folder, LOG).ask("GET k"), "\"3\"");
}

#[test]
fn servers_side_by_side_do_not_write_to_each_others_files() {
    let folder = Folder::new();
    let names = ["a.rdb", "b.rdb"];
    let mut servers = names.map(|name| {
        let server = start(&folder, &["--dbfilename", name, "--rdb-key-save-delay", "10000"]);
        let mut client = server.connect();
        (0..50).for_each(|key| assert_eq!(client.ask(&format!("SET {name}-{key} 1")), "+OK"));
        server
    });
    for server in &servers {
        assert_eq!(server.ask("BGSAVE"), "+Background saving started");
    }
    for server in &mut servers {
        server.wait_for_info("rdb_bgsave_in_progress", "0");
        assert_eq!(server.info("rdb_last_bgsave_status"), "ok");
    }
    drop(servers);
    for name in names {
        let server = start(&folder, &["--dbfilename", name]);
        assert_eq!(server.ask("DBSIZE"), ":50");
        assert_eq!(server.ask(&format!("EXISTS {name}-0 {name}-49")), ":2");
    }
}
