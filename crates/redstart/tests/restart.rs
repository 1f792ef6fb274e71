//! A server that restarts from its append-only file goes on in the history that it was in: no data is sent again.

mod harness;

use harness::{Folder, Kind, Server, redis_is_here};

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"];

/// Starts a server on a port that it can be found at again.
fn start(kind: Kind, folder: &Folder, more: &[&str]) -> Server {
    Server::start(kind, folder, &[LOG, more].concat())
}

fn follow(replica: &Server, master: &Server) {
    assert_eq!(replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.address().port())), "+OK");
}

/// Waits until both have the same data, and the same offset.
fn settle(master: &mut Server, replica: &Server) {
    master.wait_until("they are the same", |master| {
        replica.info("master_link_status") == "up"
            && master.info("master_repl_offset") == replica.info("slave_repl_offset")
            && master.ask("DEBUG DIGEST") == replica.ask("DEBUG DIGEST")
    });
}

fn write(server: &Server, from: u32, to: u32) {
    let mut client = server.connect();
    for n in from..to {
        client.ask(&format!("SELECT {}", n % 3));
        client.ask(&format!("SET key:{n} {n}"));
        client.ask(&format!("RPUSH list {n}"));
    }
}

/// Ends a server: in order, or on the spot.
fn end(mut server: Server, killed: bool) {
    match killed {
        true => server.kill(),
        false => server.shut_down("NOSAVE"),
    }
}

fn replica_goes_on(kind_of_master: Kind, killed: bool, rewritten: bool) {
    let (ours, theirs) = (Folder::new(), Folder::new());
    let mut master = start(kind_of_master, &theirs, &[]);
    write(&master, 0, 50);
    let port = master.address().port().to_string();
    let mut replica = start(Kind::Ours, &ours, &["--replicaof", &format!("127.0.0.1 {port}")]);
    settle(&mut master, &replica);
    write(&master, 50, 100);
    // What only concerns replicas is not logged, and counts.
    master.ask("PUBLISH channel message");
    settle(&mut master, &replica);
    // The log begins anew with what the master sent.
    replica.wait_for_log("Background AOF rewrite finished successfully");
    if rewritten {
        replica.ask("BGREWRITEAOF");
        replica.wait_for_info("aof_rewrite_in_progress", "0");
    }
    replica.wait_for_info("aof_buffer_length", "0");
    let full = master.info("sync_full");
    end(replica, killed);
    write(&master, 100, 150);
    let replica = start(Kind::Ours, &ours, &["--replicaof", &format!("127.0.0.1 {port}")]);
    settle(&mut master, &replica);
    assert_eq!(master.info("sync_full"), full, "{}", replica.log());
    assert_eq!(master.info("sync_partial_ok"), "1", "{}", replica.log());
}

#[test]
fn a_replica_goes_on_after_a_stop() {
    replica_goes_on(Kind::Ours, false, false);
}

#[test]
fn a_replica_goes_on_after_a_kill() {
    replica_goes_on(Kind::Ours, true, false);
}

#[test]
fn a_replica_goes_on_whose_log_was_just_rewritten() {
    replica_goes_on(Kind::Ours, true, true);
}

#[test]
fn a_replica_of_redis_goes_on() {
    if redis_is_here() {
        replica_goes_on(Kind::Theirs, true, false);
    }
}

#[test]
fn a_master_goes_on_and_its_replica_with_it() {
    for killed in [false, true] {
        let (first, second) = (Folder::new(), Folder::new());
        let mut master = start(Kind::Ours, &first, &["--repl-ping-replica-period", "1"]);
        write(&master, 0, 50);
        let mut replica = start(Kind::Ours, &second, &[]);
        follow(&replica, &master);
        settle(&mut master, &replica);
        write(&master, 50, 100);
        master.ask("PUBLISH channel message");
        settle(&mut master, &replica);
        // The log says a second later, at the latest, that the message went by.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        settle(&mut master, &replica);
        let id = master.info("master_replid");
        end(master, killed);
        replica.wait_for_info("master_link_status", "down");
        let mut master = start(Kind::Ours, &first, &[]);
        assert_eq!(master.info("master_replid2"), id);
        write(&master, 100, 150);
        follow(&replica, &master);
        settle(&mut master, &replica);
        let counts = (master.info("sync_full"), master.info("sync_partial_ok"));
        assert_eq!(counts, ("0".into(), "1".into()), "killed: {killed}\n{}", replica.log());
    }
}

#[test]
fn redis_loads_a_log_with_marks() {
    if !redis_is_here() {
        return;
    }
    for preamble in ["yes", "no"] {
        let (ours, theirs) = (Folder::new(), Folder::new());
        let mut master = start(Kind::Ours, &ours, &["--aof-use-rdb-preamble", preamble]);
        let replica = start(Kind::Ours, &theirs, &["--aof-use-rdb-preamble", preamble]);
        follow(&replica, &master);
        settle(&mut master, &replica);
        write(&master, 0, 50);
        settle(&mut master, &replica);
        master.ask("BGREWRITEAOF");
        master.wait_for_info("aof_rewrite_in_progress", "0");
        master.wait_for_info("aof_rewrite_scheduled", "0");
        write(&master, 50, 100);
        settle(&mut master, &replica);
        let digest = master.ask("DEBUG DIGEST");
        master.shut_down("NOSAVE");
        replica.shut_down("NOSAVE");
        for folder in [ours, theirs] {
            let program = env!("CARGO_BIN_EXE_redstart");
            let checked =
                std::process::Command::new(program).args(["check", "aof"]).arg(&folder.0).output().unwrap();
            let text = String::from_utf8_lossy(&checked.stdout);
            assert!(checked.status.success() && text.contains("stands at offset"), "{text}");
            let server = start(Kind::Theirs, &folder, &[]);
            assert_eq!(server.ask("DEBUG DIGEST"), digest, "{}", server.log());
            server.ask("SET more 1");
            server.shut_down("NOSAVE");
            // What redis-server appended makes the last mark void.
            let server = start(Kind::Ours, &folder, &[]);
            assert_eq!(server.ask("GET more"), "\"1\"");
            assert_eq!(server.info("master_replid2"), "0".repeat(40));
        }
    }
}
