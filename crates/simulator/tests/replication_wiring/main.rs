//! How replication is wired into the node, one rule at a time: each was broken once.

mod rig;

use base::rng::Rng;
use rig::{NOWHERE, ROGUE, Rig, encode};

/// The name of a history that the test, as a master, says it has.
const HISTORY: &str = "0123456789abcdef0123456789abcdef01234567";

/// Returns a master and a replica that is in sync with it.
fn pair(master: &[(&str, &str)], replica: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new(&[master, replica]);
    follow(&mut rig, 1, 0);
    rig
}

/// Makes one server the replica of another, and waits until it is.
fn follow(rig: &mut Rig, replica: usize, master: usize) {
    assert_eq!(rig.ask(replica, &format!("REPLICAOF 127.0.0.1 {}", master + 1)), "+OK");
    rig.pass(2);
    assert!(rig.members[replica].is_up(), "{:?}", rig.members[replica].log);
}

/// Returns a replica of the test that has been sent all that was written before.
fn follower_of_the_test(parameters: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new(&[parameters]);
    assert_eq!(rig.ask(0, &format!("REPLICAOF {ROGUE}")), "+OK");
    assert_eq!(rig.greet(0), "PSYNC ? -1");
    let snapshot = rig.snapshot(0);
    rig.dictate(0, &full_sync(&snapshot));
    assert!(rig.members[0].is_up(), "{:?}", rig.members[0].log);
    rig
}

/// Returns what a master says that sends a whole snapshot, of offset 100 of its history.
fn full_sync(snapshot: &[u8]) -> Vec<u8> {
    let head = format!("+FULLRESYNC {HISTORY} 100\r\n${}\r\n", snapshot.len());
    [head.as_bytes(), snapshot].concat()
}

/// Fills a server with keys that make so many bytes of snapshot, about: their values cannot be compressed.
fn fill(rig: &mut Rig, index: usize, bytes: usize) {
    let mut rng = Rng::seeded(1);
    for number in 0..bytes / 1_000 {
        let value: String = (0..1_000).map(|_| char::from(b'0' + rng.below(70) as u8)).collect();
        let value = value.replace('\\', "_");
        assert_eq!(rig.ask(index, &format!("SET filler:{number} {value}")), "+OK");
    }
}

#[test]
fn the_configured_master_is_followed_from_the_start() {
    let mut rig = Rig::new(&[&[], &[("replicaof", "127.0.0.1 1")]]);
    rig.pass(2);
    assert!(rig.members[1].is_up(), "{:?}", rig.members[1].log);
    assert_eq!(rig.ask(0, "SET k v"), "+OK");
    assert_eq!(rig.ask(1, "GET k"), "$1 v");
    assert!(rig.ask(1, "SET k w").starts_with("-READONLY"));
}

#[test]
fn a_replica_goes_on_where_its_rdb_file_ends() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "SELECT 3\nSET a 1"), "+OK +OK");
    assert_eq!(rig.ask(1, "BGSAVE"), "+Background saving started");
    rig.restart(1, true, &[("replicaof", "127.0.0.1 1")]);
    // The database was selected before the file was written, and is not selected again.
    assert_eq!(rig.ask(0, "SET b 2"), "+OK");
    rig.pass(2);
    assert_eq!(rig.members[0].full_syncs(&rig), 1, "{:?}", rig.members[0].log);
    assert_eq!((rig.members[1].keys(0), rig.members[1].keys(3)), (0, 2));
    rig.check_equal();
}

#[test]
fn a_replica_goes_on_where_its_log_ends() {
    const LOGS: (&str, &str) = ("appendonly", "yes");
    let mut rig = pair(&[], &[LOGS]);
    assert_eq!(rig.ask(0, "SELECT 3\nSET a 1"), "+OK +OK");
    // Of the length of a command that is not for the log.
    assert_eq!(rig.ask(0, "SETRANGE a 3 x\nBITFIELD a SET u8 8 65"), ":4 *1 :0");
    assert_eq!(rig.ask(0, "MULTI\nSETRANGE a 5 y\nPUBLISH channel x\nEXEC"), "+OK +QUEUED +QUEUED *2 :6 :0");
    rig.pass(2);
    rig.restart(1, true, &[LOGS, ("replicaof", "127.0.0.1 1")]);
    assert_eq!(rig.ask(0, "SET b 2"), "+OK");
    rig.pass(2);
    assert_eq!(rig.members[0].full_syncs(&rig), 1, "{:?}", rig.members[0].log);
    assert_eq!((rig.members[1].keys(0), rig.members[1].keys(3)), (0, 2));
    rig.check_equal();
}

#[test]
fn replicas_go_on_with_a_master_that_was_stopped_and_has_its_rdb_file() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "SELECT 3\nSET a 1"), "+OK +OK");
    rig.ask(0, "SHUTDOWN SAVE");
    rig.pass(1);
    assert!(rig.members[0].stopped);
    rig.restart(0, true, &[]);
    rig.pass(3);
    assert_eq!(rig.ask(0, "SELECT 3\nSET b 1"), "+OK +OK");
    assert_eq!(rig.members[0].full_syncs(&rig), 0, "{:?}", rig.members[0].log);
    assert_eq!(rig.members[1].keys(3), 2);
    rig.check_equal();
}

#[test]
fn a_sub_replica_goes_on_in_the_database_of_the_stream() {
    for (diskless, load) in
        [("yes", "disabled"), ("no", "disabled"), ("yes", "on-empty-db"), ("yes", "swapdb")]
    {
        let middle = [("repl-diskless-sync", diskless)];
        let mut rig = Rig::new(&[&[], &middle, &[("repl-diskless-load", load)]]);
        follow(&mut rig, 1, 0);
        assert_eq!(rig.ask(0, "SELECT 5\nSET x 1"), "+OK +OK");
        follow(&mut rig, 2, 1);
        assert_eq!(rig.ask(0, "SET y 1"), "+OK");
        assert_eq!((rig.members[2].keys(0), rig.members[2].keys(5)), (0, 2), "{diskless} {load}");
        rig.check_equal();
    }
}

#[test]
fn the_stream_is_whole_where_roles_change_within_a_turn() {
    let mut rig = pair(&[], &[]);
    let lines = format!("SET a 1\nREPLICAOF {NOWHERE}\nREPLICAOF NO ONE\nSET b 2");
    assert_eq!(rig.ask(0, &lines), "+OK +OK +OK +OK");
    rig.pass(2);
    assert_eq!(rig.members[0].full_syncs(&rig), 1, "{:?}", rig.members[0].log);
    assert_eq!(rig.ask(1, "MGET a b"), "*2 $1 1 $1 2");
    let lines = format!("MULTI\nSET a 3\nREPLICAOF {NOWHERE}\nREPLICAOF NO ONE\nSET b 4\nEXEC");
    assert_eq!(rig.ask(0, &lines), "+OK +QUEUED +QUEUED +QUEUED +QUEUED *4 +OK +OK +OK +OK");
    rig.pass(2);
    assert_eq!(rig.ask(1, "MGET a b"), "*2 $1 3 $1 4");
    rig.check_equal();
}

#[test]
fn a_replica_that_stalls_in_the_middle_of_a_piece_is_cut_off() {
    for demoted in [false, true] {
        let mut rig = Rig::new(&[&[("repl-timeout", "5"), ("repl-diskless-sync-delay", "1")], &[]]);
        fill(&mut rig, 0, 20_000);
        rig.members[0].piece_sizes = vec![5_000, 40];
        let (stalled, other) = (rig.open(0), rig.open(0));
        for link in [stalled, other] {
            rig.say(0, link, "REPLCONF capa eof capa psync2");
            assert_eq!(rig.said(0, link), "+OK");
        }
        // Both are served out of one snapshot.
        let psync = encode("PSYNC ? -1");
        rig.say_at_once(0, &[(stalled, psync.clone()), (other, psync)]);
        rig.pass(2);
        assert_eq!(rig.take(0, stalled, 3_000).len(), 3_000);
        let mut taken = rig.take(0, other, usize::MAX);
        if demoted {
            // What the snapshot is of is given up.
            assert_eq!(rig.ask(1, "SET theirs 1"), "+OK");
            follow(&mut rig, 0, 1);
            assert!(rig.members[0].node.output(stalled).is_empty());
            rig.check_equal();
            continue;
        }
        // The piece behind the one in which it stalled is shorter than what it was sent of that.
        for _ in 0..100 {
            rig.pass(u64::from(taken.len() < 6_000));
            rig.settle();
            taken.extend(rig.take(0, other, usize::MAX));
        }
        assert!(rig.members[0].node.output(stalled).is_empty());
        assert!(rig.members[0].logged("Disconnecting timedout replica (full sync)"));
        assert!(taken.len() > 20_000);
        rig.say(0, other, "REPLCONF ACK 0");
        assert_eq!(rig.ask(0, "SET behind 1"), "+OK");
        assert!(rig.said(0, other).contains("$6 behind"));
    }
}

#[test]
fn the_stream_may_come_in_one_read_with_the_end_of_the_snapshot() {
    for load in ["disabled", "on-empty-db", "swapdb"] {
        for read in [usize::MAX, 1, 7] {
            let mut rig = Rig::new(&[&[("repl-diskless-load", load)], &[]]);
            assert_eq!(rig.ask(1, "SET a 1\nRPUSH l 1 2 3"), "+OK :3");
            assert_eq!(rig.ask(0, &format!("REPLICAOF {ROGUE}")), "+OK");
            rig.greet(0);
            rig.read = read;
            let stream = encode("SELECT 0\nSET b 2");
            rig.dictate(0, &[full_sync(&rig.snapshot(1)), stream.clone()].concat());
            assert!(rig.members[0].is_up(), "{load}, {read}: {:?}", rig.members[0].log);
            assert_eq!(rig.ask(0, "MGET a b"), "*2 $1 1 $1 2", "{load}, {read}");
            assert_eq!(rig.members[0].offset(), 100 + stream.len() as u64);
        }
    }
}

#[test]
fn a_bad_snapshot_with_bytes_behind_it_is_given_up() {
    for load in ["disabled", "on-empty-db", "swapdb"] {
        for read in [usize::MAX, 1] {
            let mut rig = Rig::new(&[&[("repl-diskless-load", load)], &[]]);
            if load != "on-empty-db" {
                assert_eq!(rig.ask(0, "SET mine 1"), "+OK");
            }
            assert_eq!(rig.ask(1, "SET a 1"), "+OK");
            assert_eq!(rig.ask(0, &format!("REPLICAOF {ROGUE}")), "+OK");
            rig.greet(0);
            rig.read = read;
            let mut snapshot = rig.snapshot(1);
            let middle = snapshot.len() - 12;
            snapshot[middle] ^= 0x55;
            rig.dictate(0, &[full_sync(&snapshot), encode("SELECT 0\nSET b 2")].concat());
            assert!(!rig.members[0].is_up());
            let kept = if load == "on-empty-db" { ":0" } else { ":1" };
            assert_eq!(rig.ask(0, "DBSIZE"), kept, "{load}, {read}: {:?}", rig.members[0].log);
            // It is asked for again, and may be good then.
            rig.pass(2);
            assert_eq!(rig.greet(0), "PSYNC ? -1");
            rig.dictate(0, &full_sync(&rig.snapshot(1)));
            assert_eq!(rig.ask(0, "KEYS *"), "*1 $1 a", "{load}, {read}: {:?}", rig.members[0].log);
        }
    }
}

#[test]
fn the_tail_of_a_snapshot_arrives_though_another_child_begins() {
    let mut rig = Rig::new(&[&[], &[]]);
    fill(&mut rig, 0, 20_000);
    rig.room = 7_000;
    assert_eq!(rig.ask(1, "REPLICAOF 127.0.0.1 1"), "+OK");
    rig.pass(2);
    // The child has ended, and what is left of what it wrote lies in its pipe.
    rig.members[0].children_wait = true;
    assert_eq!(rig.ask(0, "BGSAVE\nSET behind 1"), "+Background saving started +OK");
    rig.wire_of(1).room = usize::MAX;
    rig.pass(2);
    assert!(rig.members[1].is_up(), "{:?}", rig.members[1].log);
    rig.members[0].children_wait = false;
    rig.settle();
    assert!(rig.members[0].disk.read("dump.rdb").is_some(), "it was saved as well");
    assert_eq!(rig.members[0].full_syncs(&rig), 1);
    rig.check_equal();
}

#[test]
fn demotion_answers_what_waits_for_replicas() {
    let mut rig = pair(&[("synchronous-replicas", "1")], &[]);
    assert_eq!(rig.ask(0, "SET a 1"), "+OK");
    rig.wire_of(1).room = 0;
    assert_eq!(rig.ask(0, "SET a 2"), "");
    let other = rig.open(0);
    rig.say(0, other, &format!("REPLICAOF {NOWHERE}"));
    rig.settle();
    assert_eq!(rig.said(0, other), "+OK");
    assert!(rig.said(0, rig.members[0].client).starts_with("-UNKNOWN"));
}

#[test]
fn accept_empty_counts_once() {
    let mut rig = Rig::new(&[&[], &[]]);
    assert_eq!(rig.ask(1, "SET old 1"), "+OK");
    assert_eq!(rig.ask(1, "REPLICAOF 127.0.0.1 1 ACCEPT-EMPTY"), "+OK");
    assert_eq!(rig.ask(1, "DBSIZE"), ":0");
    assert_eq!(rig.ask(0, "SET k 1"), "+OK");
    rig.restart(0, false, &[]);
    rig.pass(3);
    assert_eq!(rig.ask(1, "GET k"), "$1 1", "{:?}", rig.members[1].log);
    assert!(!rig.members[1].is_up());
}

#[test]
fn accept_empty_outlives_a_changed_parameter() {
    let mut rig = Rig::new(&[&[], &[]]);
    assert_eq!(rig.ask(1, "SET old 1"), "+OK");
    let lines = "REPLICAOF 127.0.0.1 1 ACCEPT-EMPTY\nCONFIG SET maxmemory-samples 6";
    assert_eq!(rig.ask(1, lines), "+OK +OK");
    rig.pass(1);
    assert_eq!(rig.ask(1, "DBSIZE"), ":0", "{:?}", rig.members[1].log);
}

#[test]
fn keys_that_came_with_the_stream_are_not_given_up_for_nothing() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "SET k 1"), "+OK");
    rig.restart(0, false, &[]);
    rig.pass(3);
    assert_eq!(rig.ask(1, "GET k"), "$1 1", "{:?}", rig.members[1].log);
    assert!(!rig.members[1].is_up());
}

#[test]
fn psync_behind_output_that_was_partly_sent_is_refused() {
    let mut rig = Rig::new(&[&[]]);
    let value = "x".repeat(100_000);
    assert_eq!(rig.ask(0, &format!("SET k {value}")), "+OK");
    let link = rig.open(0);
    rig.say(0, link, "GET k");
    assert_eq!(rig.take(0, link, 99_000).len(), 99_000);
    rig.say(0, link, "PSYNC ? -1");
    rig.settle();
    assert!(rig.said(0, link).ends_with("-ERR SYNC and PSYNC are invalid with pending output"));
}

#[test]
fn nothing_of_ours_gets_into_the_stream_of_a_new_master() {
    let mut rig = Rig::new(&[&[], &[], &[]]);
    follow(&mut rig, 1, 0);
    follow(&mut rig, 2, 0);
    assert_eq!(rig.ask(0, "SET a 1"), "+OK");
    assert_eq!(rig.ask(2, "REPLICAOF NO ONE"), "+OK");
    // Acknowledgements are wished for in the turn in which the role changes: they are asked for in the stream.
    let (one, other) = (rig.open(0), rig.open(0));
    rig.say_at_once(0, &[(one, encode("WAIT 5 0")), (other, encode("REPLICAOF 127.0.0.1 3"))]);
    rig.pass(3);
    assert_eq!(rig.ask(2, "SET b 1"), "+OK");
    rig.pass(12);
    assert!(rig.members[1].is_up(), "{:?}", rig.members[1].log);
    assert_eq!(rig.members[2].full_syncs(&rig), 0, "{:?}", rig.members[2].log);
    rig.check_equal();
}

#[test]
fn empty_requests_in_the_stream_count_and_do_nothing() {
    let mut rig = follower_of_the_test(&[("appendonly", "yes")]);
    let stream = [b"\r\n*0\r\n".as_slice(), &encode("SELECT 2\nSET a 1"), b"\r\n"].concat();
    rig.dictate(0, &stream);
    assert!(rig.members[0].is_up(), "{:?}", rig.members[0].log);
    assert_eq!(rig.members[0].keys(2), 1);
    assert_eq!(rig.members[0].offset(), 100 + stream.len() as u64);
}

#[test]
fn a_master_cannot_turn_its_replica_into_something_else() {
    let commands = [
        "REPLICAOF NO ONE",
        "REPLICAOF 127.0.0.1 9",
        "SLAVEOF NO ONE",
        "FAILOVER",
        "PSYNC ? -1",
        "SYNC",
        "MONITOR",
        "SUBSCRIBE channel",
        "SHUTDOWN NOSAVE",
        "CONFIG SET replica-read-only no",
        "DEBUG SLEEP 1",
        "BGSAVE",
    ];
    for command in commands {
        for lines in [command.to_owned(), format!("MULTI\n{command}\nEXEC")] {
            let mut rig = follower_of_the_test(&[]);
            let session = rig.wire_of(0).replica.1;
            rig.dictate(0, &encode(&format!("SET before 1\n{lines}\nSET behind 1")));
            let member = &rig.members[0];
            assert!(member.logged("is no command of a stream"), "{lines}: {:?}", member.log);
            assert!(!member.is_up() && !member.node.is_master(session), "{lines}");
            assert!(!member.node.is_stopping(), "{lines}");
            assert_eq!(rig.ask(0, "KEYS *"), "*1 $6 before", "{lines}");
            assert!(rig.ask(0, "INFO replication").contains("role:slave"), "{lines}");
        }
    }
}

#[test]
fn what_masters_send_is_taken_from_their_stream() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "PFADD h a b c\nPFCOUNT h"), ":1 :3");
    assert_eq!(rig.ask(0, "PUBLISH channel x\nSPUBLISH channel x"), ":0 :0");
    assert_eq!(rig.ask(0, "MULTI\nPFADD h d\nPFCOUNT h\nEXEC"), "+OK +QUEUED +QUEUED *2 :1 :4");
    assert!(!rig.ask(0, "EVAL \"return redis.call('SET', 'k', 'v')\" 0").is_empty());
    rig.pass(2);
    assert!(rig.members[1].is_up() && rig.members[0].full_syncs(&rig) == 1, "{:?}", rig.members[1].log);
    assert!(!rig.members[1].logged("is no command of a stream"));
    rig.check_equal();
    // A master of another kind sends these as they are.
    let mut rig = follower_of_the_test(&[]);
    let stream = encode("SELECT 0\nPFADD h a b c\nPFCOUNT h\nPUBLISH channel x\nPING\nREPLCONF GETACK *");
    rig.dictate(0, &stream);
    assert!(rig.members[0].is_up(), "{:?}", rig.members[0].log);
    assert_eq!(rig.members[0].offset(), 100 + stream.len() as u64);
}

#[test]
fn loaded_data_waits_for_replicas_in_the_synchronous_mode() {
    let mut rig = Rig::new(&[&[], &[]]);
    assert_eq!(rig.ask(0, "SET z 2\nBGSAVE"), "+OK +Background saving started");
    rig.restart(0, true, &[("synchronous-replicas", "1")]);
    assert_eq!(rig.ask(0, "GET z"), "", "no replica has it");
    follow(&mut rig, 1, 0);
    assert_eq!(rig.said(0, rig.members[0].client), "$1 2");
    assert_eq!(rig.ask(0, "GET z"), "$1 2");
}

#[test]
fn a_replica_that_is_handed_the_masters_place_is_promoted_once() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "SET a 1"), "+OK");
    rig.pass(2);
    let history = rig.members[0].node.engine.server.replication.primary.history().id;
    let offset = rig.members[1].offset();
    let (link, master) = (rig.open(1), rig.wire_of(1).replica.1);
    let stream = encode("SET late 1");
    // The old master's bytes come behind the request, and in the same turn.
    rig.say(1, link, "REPLCONF capa eof capa psync2");
    assert_eq!(rig.said(1, link), "+OK");
    let request = encode(&format!("PSYNC {history} {} FAILOVER", offset + 1));
    rig.say_at_once(1, &[(link, request), (master, stream)]);
    rig.settle();
    let promoted = rig.members[1].node.engine.server.replication.primary.history();
    let second = promoted.second.expect("the history of before");
    assert_eq!((second.id, second.offset), (history, offset));
    assert_ne!(promoted.id, history);
    let promoted = format!("+CONTINUE {}", promoted.id);
    assert!(rig.said(1, link).starts_with(&promoted));
    assert_eq!(rig.ask(1, "GET late"), "$-1");
    assert_eq!(rig.ask(1, "SET b 1"), "+OK");
}

#[test]
fn a_snapshot_of_old_data_does_not_outlive_a_full_sync() {
    for load in ["disabled", "swapdb"] {
        let replica = [("repl-diskless-load", load)];
        let mut rig = Rig::new(&[&[], &replica]);
        assert_eq!(rig.ask(0, "SET new 1"), "+OK");
        rig.members[1].children_wait = true;
        assert_eq!(rig.ask(1, "SET old 1\nBGSAVE"), "+OK +Background saving started");
        follow(&mut rig, 1, 0);
        rig.members[1].children_wait = false;
        rig.pass(1);
        assert_eq!(rig.ask(1, "KEYS *"), "*1 $3 new");
        if load == "disabled" {
            rig.restart(1, true, &[]);
            assert_eq!(rig.ask(1, "KEYS *"), "*1 $3 new", "the master's snapshot is our file");
        } else {
            rig.restart(1, true, &[]);
            assert_eq!(rig.ask(1, "KEYS *"), "*0", "nobody has saved anything");
        }
    }
}

#[test]
fn half_of_a_data_set_is_not_logged_whatever_is_configured_meanwhile() {
    const REPLICA: [(&str, &str); 2] = [("appendonly", "yes"), ("repl-diskless-load", "on-empty-db")];
    let mut rig = Rig::new(&[&[], &REPLICA]);
    fill(&mut rig, 0, 40_000);
    rig.room = 20_000;
    assert_eq!(rig.ask(1, "REPLICAOF 127.0.0.1 1"), "+OK");
    rig.pass(2);
    assert!(rig.members[1].keys(0) > 0 && !rig.members[1].is_up(), "{:?}", rig.members[1].log);
    assert_eq!(rig.ask(1, "CONFIG SET appendfsync always"), "+OK");
    rig.pass(2);
    assert!(!rig.members[1].logged("rewrite"), "{:?}", rig.members[1].log);
    rig.wire_of(1).room = usize::MAX;
    rig.pass(2);
    assert!(rig.members[1].is_up() && rig.members[1].logged("AOF rewrite finished"));
    rig.restart(1, true, &[("appendonly", "yes"), ("replicaof", "127.0.0.1 1")]);
    rig.pass(2);
    assert_eq!(rig.members[0].full_syncs(&rig), 1, "{:?}", rig.members[0].log);
    rig.check_equal();
}

#[test]
fn every_command_is_applied_once_wherever_the_link_breaks() {
    let mut rig = pair(&[], &[("appendonly", "yes")]);
    let lines = "SELECT 0\nINCR a\nMULTI\nINCR b\nSELECT 4\nINCR c\nEXEC\nINCR d\nAPPEND e 0123456789\nSELECT 2\nINCR f";
    let stream = 400;
    for arrived in 1..stream {
        rig.wire_of(1).breaks_after = Some(arrived);
        let said = rig.ask(0, lines);
        assert!(!said.contains('-'), "{said}");
        rig.pass(2);
        // Where less was said than may arrive the link is whole still.
        if let Some(wire) = rig.wires.first_mut() {
            wire.breaks_after = None;
        }
        rig.settle();
        assert!(rig.members[1].is_up(), "{arrived}: {:?}", rig.members[1].log.last());
        rig.check_equal();
    }
    assert_eq!(rig.members[0].full_syncs(&rig), 1);
    assert_eq!(rig.ask(1, "SELECT 4\nGET c"), format!("+OK $3 {}", stream - 1));
    // What was logged is the same, also across the breaks.
    rig.restart(1, true, &[("appendonly", "yes")]);
    let digests = (rig.ask(0, "DEBUG DIGEST"), rig.ask(1, "DEBUG DIGEST"));
    assert_eq!(digests.0, digests.1);
}

#[test]
fn a_stream_that_goes_on_goes_on_in_its_database() {
    let mut rig = pair(&[], &[]);
    assert_eq!(rig.ask(0, "SELECT 3\nSET a 1"), "+OK +OK");
    rig.cut(0);
    assert_eq!(rig.ask(0, "SET b 2\nSELECT 6\nSET c 3"), "+OK +OK +OK");
    rig.pass(2);
    assert_eq!(rig.ask(0, "SET d 4"), "+OK");
    rig.cut(0);
    rig.pass(2);
    assert_eq!(rig.ask(0, "SET e 5"), "+OK");
    assert_eq!(rig.members[0].full_syncs(&rig), 1);
    assert_eq!((0..8).map(|db| rig.members[1].keys(db)).collect::<Vec<_>>(), [0, 0, 0, 2, 0, 0, 3, 0]);
    rig.check_equal();
}
