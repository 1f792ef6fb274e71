//! Replies that wait for replicas.

use std::time::{Duration, Instant};

use crate::site::{Site, converge, is_about_us, ours};

#[test]
fn a_write_is_answered_once_a_replica_has_it() {
    if !is_about_us() {
        return;
    }
    for commit in ["received", "fsynced"] {
        let log = ["--appendonly", "yes"];
        let mut master = Site::start(ours(), &[]);
        let mut replica = Site::start(ours(), if commit == "fsynced" { &log } else { &[] });
        replica.follow(&master);
        replica.wait_for_link();
        let mut client = master.connect();
        client.all([
            &format!("CONFIG SET synchronous-commit {commit}")[..],
            "CONFIG SET synchronous-timeout 1000",
            "CONFIG SET synchronous-replicas 1",
        ]);
        client.all(["SET k 1", "INCR k", "GET k"]);
        converge(&[&master, &replica]);

        // Nothing reaches the replica any more: neither the writer nor who saw the write hears of it; others do.
        master.proxy.hold(true);
        client.send("SET k 3");
        let mut reader = master.connect();
        master
            .server
            .wait_until("the write was executed", |server| server.info("total_writes_processed") != "-");
        reader.send("GET k");
        let asked = Instant::now();
        let reply = client.receive();
        assert!(
            asked.elapsed() > Duration::from_millis(500),
            "{}: after {:?}",
            reply.head(),
            asked.elapsed()
        );
        assert!(reply.head().starts_with("-UNKNOWN"), "the outcome is not known: {}", reply.head());
        let refused = master.ask("SET k 4");
        assert!(refused.starts_with('-'), "new writes are refused: {refused}");
        assert_eq!(master.ask("PING"), "+PONG");

        // It goes on by itself once the replica is back.
        master.proxy.hold(false);
        master.server.wait_until("writes are taken again", |server| server.ask("SET k 5") == "+OK");
        converge(&[&master, &replica]);
    }
}
