//! The master that lost its data, from beginning to end: its replicas keep theirs and say so, `redstart recover` restores.

mod harness;

use std::process::{Command, Output};

use harness::{Folder, Kind, Server, redis_is_here};

const QUICK: &[&str] = &["--repl-diskless-sync-delay", "0"];

fn start(kind: Kind, folder: &Folder, more: &[&str]) -> Server {
    Server::start(kind, folder, &[QUICK, more].concat())
}

fn name(server: &Server) -> String {
    server.address().to_string()
}

fn follow(replica: &Server, master: &Server) {
    assert_eq!(replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.address().port())), "+OK");
}

/// Writes every type, in several databases.
fn fill(server: &Server) {
    let mut client = server.connect();
    for n in 0..200 {
        client.all([
            format!("SELECT {}", n % 3).as_str(),
            &format!("SET string:{n} value:{n}"),
            &format!("SET expires:{n} value EX 10000"),
            &format!("RPUSH list:{} {n}", n % 7),
            &format!("SADD set:{} member:{n}", n % 7),
            &format!("ZADD zset:{} {n}.5 member:{n}", n % 7),
            &format!("HSET hash:{} field:{n} {n}", n % 7),
        ]);
    }
}

fn settle(master: &mut Server, replicas: &[&Server]) {
    master.wait_until("all are the same", |master| {
        let digest = master.ask("DEBUG DIGEST");
        replicas.iter().all(|replica| {
            replica.info("role") == "slave"
                && replica.info("master_link_status") == "up"
                && replica.ask("DEBUG DIGEST") == digest
        })
    });
}

/// Runs `redstart recover`.
fn recover(from: &Server, to: &Server, more: &[&str]) -> Output {
    let (from, to) = (name(from), name(to));
    let mut command = Command::new(env!("CARGO_BIN_EXE_redstart"));
    command.args(["recover", "--from", &from, "--to", &to, "--timeout", "15"]).args(more);
    command.env_remove("REDISCLI_AUTH").output().unwrap()
}

/// Returns what it said, having ended with this code.
fn said(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn the_master_that_came_back_empty() {
    let (first, second, third) = (Folder::new(), Folder::new(), Folder::new());
    let mut master = start(Kind::Ours, &first, &[]);
    fill(&master);
    let mut holder = start(Kind::Ours, &second, &[]);
    let other = start(Kind::Ours, &third, &[]);
    follow(&holder, &master);
    follow(&other, &master);
    settle(&mut master, &[&holder, &other]);
    master.ask("SET last write");
    settle(&mut master, &[&holder, &other]);
    let digest = master.ask("DEBUG DIGEST");

    // An orchestrator starts it again, on a disk that is empty.
    master.kill();
    std::fs::remove_dir_all(&first.0).unwrap();
    std::fs::create_dir_all(&first.0).unwrap();
    master.start_again(Kind::Ours, &first, QUICK);
    assert_eq!(master.ask("DBSIZE"), ":0");

    // Its replicas keep what they have, serve it, and say so.
    holder.wait_until("it refuses", |holder| {
        let info = holder.ask("INFO replication");
        info.contains("master_refused:empty,keys_held=")
    });
    assert_eq!(holder.ask("DEBUG DIGEST"), digest);
    assert_eq!(holder.ask("GET last"), "\"write\"");
    assert_eq!(holder.info("master_link_status"), "down");
    assert!(holder.ask("ROLE").contains("\"refused\""), "{}", holder.ask("ROLE"));
    assert!(holder.log().contains("ACCEPT-EMPTY"), "{}", holder.log());

    let text = said(&recover(&holder, &master, &["--replica", &name(&other), "--yes"]), 0);
    for step in
        ["it refuses what its master has now", "Copied: ", &digest[1..], "is the master again", "Done."]
    {
        assert!(text.contains(step), "no '{step}' in\n{text}");
    }
    assert_eq!((master.info("role"), master.ask("DEBUG DIGEST")), ("master".into(), digest.clone()));
    settle(&mut master, &[&holder, &other]);
    assert_eq!(holder.ask("DEBUG DIGEST"), digest);
    // What is written now reaches both.
    master.ask("SET after it");
    settle(&mut master, &[&holder, &other]);
    assert_eq!(other.ask("GET after"), "\"it\"");
    // Once more does no harm.
    let text = said(&recover(&holder, &master, &["--yes"]), 0);
    assert!(text.contains("already") && text.contains("Done."), "{text}");
    assert_eq!(other.ask("GET after"), "\"it\"");
}

#[test]
fn what_is_not_lost_is_left_alone() {
    let (first, second, third) = (Folder::new(), Folder::new(), Folder::new());
    let mut master = start(Kind::Ours, &first, &[]);
    fill(&master);
    let replica = start(Kind::Ours, &second, &[]);
    follow(&replica, &master);
    settle(&mut master, &[&replica]);
    let empty = start(Kind::Ours, &third, &[]);
    for (from, to, more, why) in [
        (&replica, &empty, "--yes", "nothing was lost"),
        (&empty, &master, "--yes", "holds no keys"),
        (&master, &master, "--yes", "the same server"),
        (&master, &empty, "--no", "no such option"),
    ] {
        let text = said(&recover(from, to, &[more]), 2);
        assert!(text.contains(why), "{text}");
    }
    // Nobody says yes.
    let text = said(&recover(&master, &empty, &[]), 2);
    assert!(text.contains("Nothing was changed"), "{text}");
    empty.ask("SET k v");
    let text = said(&recover(&master, &empty, &["--yes"]), 2);
    assert!(text.contains("holds 1 key, which would be lost"), "{text}");
    assert_eq!((empty.ask("DBSIZE"), empty.info("role")), (":1".into(), "master".into()));
    settle(&mut master, &[&replica]);
    // With --force the replica's data goes there.
    said(&recover(&master, &empty, &["--yes", "--force"]), 0);
    assert_eq!((empty.info("role"), empty.ask("GET k")), ("master".into(), "$-1".into()));
    assert_eq!(master.info("role"), "slave");
}

#[test]
fn another_replica_may_have_come_farther() {
    let (first, second, third, fresh) = (Folder::new(), Folder::new(), Folder::new(), Folder::new());
    let mut master = start(Kind::Ours, &first, &[]);
    fill(&master);
    let holder = start(Kind::Ours, &second, &[]);
    let other = start(Kind::Ours, &third, &[]);
    follow(&holder, &master);
    follow(&other, &master);
    settle(&mut master, &[&holder, &other]);
    // The link of one breaks before the last writes.
    assert_eq!(holder.ask("REPLICAOF 127.0.0.1 1"), "+OK");
    master.ask("SET last write");
    settle(&mut master, &[&other]);
    master.start_again(Kind::Ours, &fresh, QUICK);
    let text = said(&recover(&holder, &master, &["--replica", &name(&other), "--yes"]), 2);
    assert!(text.contains("has come farther"), "{text}");
    said(&recover(&other, &master, &["--replica", &name(&holder), "--yes"]), 0);
    settle(&mut master, &[&holder, &other]);
    assert_eq!(holder.ask("GET last"), "\"write\"");
}

#[test]
fn servers_of_either_kind() {
    if !redis_is_here() {
        return;
    }
    for (source, target) in
        [(Kind::Theirs, Kind::Theirs), (Kind::Theirs, Kind::Ours), (Kind::Ours, Kind::Theirs)]
    {
        let (first, second) = (Folder::new(), Folder::new());
        let holder = start(source, &first, &[]);
        fill(&holder);
        let digest = holder.ask("DEBUG DIGEST");
        let mut master = start(target, &second, &[]);
        let text = said(&recover(&holder, &master, &["--yes"]), 0);
        assert!(text.contains(&digest[1..]), "{text}");
        settle(&mut master, &[&holder]);
        assert_eq!((master.info("role"), master.ask("DEBUG DIGEST")), ("master".into(), digest));
    }
}

#[test]
fn without_digests_numbers_and_values_are_compared() {
    let locked = ["--enable-debug-command", "no", "--requirepass", "secret", "--masterauth", "secret"];
    let (first, second) = (Folder::new(), Folder::new());
    let holder = start(Kind::Ours, &first, &["--enable-debug-command", "no"]);
    fill(&holder);
    holder.connect().all(["CONFIG SET masterauth secret", "CONFIG SET requirepass secret"]);
    let master = start(Kind::Ours, &second, &locked);
    let text = said(&recover(&holder, &master, &["--yes"]), 2);
    assert!(text.contains("NOAUTH"), "{text}");
    let text = said(&recover(&holder, &master, &["--yes", "--auth", "wrong"]), 2);
    assert!(text.contains("WRONGPASS"), "{text}");
    let text = said(&recover(&holder, &master, &["--yes", "--auth", "secret"]), 0);
    assert!(text.contains("chosen at random, are equal. No digests:"), "{text}");
    let mut client = master.connect();
    client.all(["AUTH secret", "SELECT 1"]);
    assert_eq!(client.ask("GET string:1"), "\"value:1\"");
    assert_eq!(client.info("role"), "master");
}
