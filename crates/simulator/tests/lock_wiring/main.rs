//! Locks on whole nodes: in replicas, in files, across restarts and promotions, and with many who wait.

#[allow(dead_code, reason = "the tests of replication use the rest")]
#[path = "../replication_wiring/rig.rs"]
mod rig;

use std::collections::BTreeSet;

use base::rng::Rng;
use node::LinkId;
use rig::Rig;

/// Returns the number behind a name in a reply.
fn number(reply: &str, name: &str) -> u64 {
    let behind = reply.split(&format!(" {name} :")).nth(1).unwrap_or_else(|| panic!("{name} in {reply}"));
    behind.split(' ').next().and_then(|digits| digits.parse().ok()).expect("a number")
}

/// Returns the token of a grant.
fn token(reply: &str) -> u64 {
    assert!(reply.contains(" granted "), "{reply}");
    number(reply, "token")
}

/// Takes a lock that is free, and returns its token.
fn acquire(rig: &mut Rig, member: usize, key: &str, owner: &str, lease_ms: u64) -> u64 {
    token(&rig.ask(member, &format!("LOCK.ACQUIRE {key} {owner} LEASE {lease_ms}")))
}

/// Lets a server be the replica of another.
fn follow(rig: &mut Rig, replica: usize, master: usize) {
    assert_eq!(rig.ask(replica, &format!("REPLICAOF 127.0.0.1 {}", master + 1)), "+OK");
    rig.pass(2);
    assert!(rig.members[replica].is_up(), "{:?}", rig.members[replica].log);
}

fn pair() -> Rig {
    let mut rig = Rig::new(&[&[], &[]]);
    follow(&mut rig, 1, 0);
    rig
}

/// Opens links that wait for a lock, one after the other.
fn wait_in_line(rig: &mut Rig, key: &str, count: usize, lease_ms: u64) -> Vec<LinkId> {
    (0..count)
        .map(|n| {
            let link = rig.open(0);
            rig.say(0, link, &format!("LOCK.ACQUIRE {key} waiter{n} LEASE {lease_ms} WAIT 3600000"));
            link
        })
        .collect()
}

#[test]
fn a_replica_has_a_lock_as_a_hash_until_its_master_ends_it() {
    let mut rig = pair();
    let token = acquire(&mut rig, 0, "k", "me", 5_000);
    let held = rig.ask(1, "HGETALL k");
    assert_eq!(held, rig.ask(0, "HGETALL k"));
    assert!(
        held.starts_with(&format!(
            "*8 $13 redstart-lock $8 {token} $5 owner $2 me $5 lease $4 5000 $5 since"
        ))
    );
    let info = rig.ask(1, "LOCK.INFO k");
    assert!(info.contains(&format!("token :{token} ")) && info.contains(" remaining $-1 "), "{info}");
    assert!(rig.ask(1, "LOCK.LIST").starts_with("*1 *18 $3 key $1 k "));
    for refused in
        ["LOCK.ACQUIRE k you LEASE 1", "LOCK.RELEASE k me 1", "LOCK.FENCE k 1", "LOCK.GUARD k 1 GET k"]
    {
        assert!(rig.ask(1, refused).starts_with("-READONLY"), "{refused}");
    }
    // Nobody but the master counts.
    rig.cut(0);
    rig.pass(6);
    assert_eq!(rig.ask(0, "EXISTS k"), ":0");
    rig.pass(10);
    assert_eq!(rig.ask(1, "EXISTS k"), ":0");
    assert_eq!(rig.ask(1, "LOCK.LIST"), "*0");
    rig.check_equal();
}

#[test]
fn only_what_changes_the_hash_is_propagated() {
    let mut rig = pair();
    rig.members[0].node.observe();
    let token = acquire(&mut rig, 0, "k", "me", 5_000);
    rig.members[0].node.take_propagated();
    rig.ask(0, &format!("LOCK.RENEW k me {token}\nLOCK.ACQUIRE k me LEASE 5000\nLOCK.ACQUIRE k you LEASE 9"));
    assert!(rig.members[0].node.take_propagated().is_empty());
    rig.ask(0, &format!("LOCK.RENEW k me {token} LEASE 6000"));
    rig.ask(0, &format!("LOCK.GUARD k {token} INCRBYFLOAT x 0.5\nLOCK.GUARD k 1 SET x 9"));
    rig.ask(0, &format!("MULTI\nLOCK.GUARD k {token} SET y 1 EX 10\nLOCK.RELEASE k me {token}\nEXEC"));
    let said: Vec<String> = rig.members[0]
        .node
        .take_propagated()
        .into_iter()
        .map(|(_, words)| {
            words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(said[..3], ["HSET k lease 6000", "SET x 0.5 KEEPTTL", "MULTI"], "{said:?}");
    assert!(said[3].starts_with("SET y 1 PXAT "), "{said:?}");
    assert_eq!(said[4..], ["DEL k", "EXEC"], "{said:?}");
    rig.check_equal();
}

#[test]
fn leases_begin_anew_in_full_on_a_promoted_replica() {
    let mut rig = pair();
    let before = acquire(&mut rig, 0, "k", "me", 3_000);
    rig.pass(2);
    assert_eq!(rig.ask(1, "REPLICAOF NO ONE"), "+OK");
    let info = rig.ask(1, "LOCK.INFO k");
    assert_eq!(number(&info, "remaining"), 3_000, "{info}");
    assert_eq!(number(&info, "token"), before);
    // Its holder goes on with the same token.
    assert_eq!(rig.ask(1, &format!("LOCK.RENEW k me {before}")), ":3000");
    let other = acquire(&mut rig, 1, "other", "you", 3_000);
    assert!(other >> 24 > before >> 24, "{other:x} is of a later epoch than {before:x}");
    rig.pass(2);
    assert_eq!(rig.ask(1, "EXISTS k"), ":1");
    rig.pass(2);
    assert_eq!(rig.ask(1, "EXISTS k other"), ":0");
    // The old master comes back as a replica, and is promoted in its turn.
    follow(&mut rig, 0, 1);
    assert_eq!(rig.ask(0, "REPLICAOF NO ONE"), "+OK");
    assert!(acquire(&mut rig, 0, "k", "you", 1_000) > other);
}

#[test]
fn a_grant_in_the_same_breath_as_a_promotion_is_of_a_new_epoch() {
    let mut rig = pair();
    let before = acquire(&mut rig, 0, "k", "me", 60_000);
    let said = rig.ask(1, "REPLICAOF NO ONE\nLOCK.ACQUIRE k you LEASE 1000\nLOCK.ACQUIRE x you LEASE 1000");
    assert_eq!(number(&said, "remaining"), 60_000);
    assert!(number(said.rsplit("granted").next().expect("a grant"), "token") >> 24 > before >> 24);
}

#[test]
fn who_waits_is_told_that_the_master_is_none_any_more() {
    let mut rig = pair();
    acquire(&mut rig, 0, "k", "me", 60_000);
    let links = wait_in_line(&mut rig, "k", 2, 1_000);
    assert_eq!(rig.ask(0, "REPLICAOF 127.0.0.1 9"), "+OK");
    for link in links {
        assert!(rig.said(0, link).starts_with("-UNBLOCKED "));
    }
}

#[test]
fn a_grant_waits_for_replicas() {
    let mut rig = pair();
    // Nothing reaches the replica for now.
    rig.wire_of(1).room = 0;
    assert_eq!(rig.ask(0, "LOCK.ACQUIRE k me LEASE 20000 REPLICAS 1"), "");
    rig.pass(3);
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k you LEASE 1000");
    assert!(rig.said(0, link).contains(" busy "));
    rig.wire_of(1).room = usize::MAX;
    rig.pass(2);
    let granted = rig.said(0, rig.members[0].client);
    token(&granted);
    // The lease begins when the grant is told.
    let remaining = number(&rig.ask(0, "LOCK.INFO k"), "remaining");
    assert!((18_000..=20_000).contains(&remaining), "{remaining}");
    assert!(rig.ask(1, "HGETALL k").contains("replicas $1 1"));
    // Who asks again hears of the same grant, once it is there.
    let again = rig.ask(0, "LOCK.ACQUIRE k me LEASE 20000 REPLICAS 1");
    assert_eq!(token(&again), token(&granted));
}

#[test]
fn a_grant_that_too_few_replicas_have_is_given_back() {
    let mut rig = pair();
    assert!(rig.ask(0, "LOCK.ACQUIRE k me LEASE 3000 REPLICAS 2").starts_with("-NOREPLICAS "));
    assert_eq!(rig.ask(0, "EXISTS k"), ":0");
    rig.wire_of(1).room = 0;
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k me LEASE 3000 REPLICAS 1");
    let next = rig.open(0);
    rig.say(0, next, "LOCK.ACQUIRE k next LEASE 3000 WAIT 60000");
    rig.pass(2);
    assert_eq!(rig.said(0, link), "");
    rig.pass(2);
    assert_eq!(rig.said(0, link), "-NOREPLICAS Not enough replicas acknowledged the lock");
    token(&rig.said(0, next));
    rig.wire_of(1).room = usize::MAX;
    rig.pass(2);
    rig.check_equal();
}

#[test]
fn a_grant_that_nobody_is_left_to_hear_of_is_given_back() {
    let mut rig = pair();
    rig.wire_of(1).room = 0;
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k me LEASE 600000 REPLICAS 1");
    let next = rig.open(0);
    rig.say(0, next, "LOCK.ACQUIRE k next LEASE 600000 WAIT 60000");
    rig.members[0].node.close(link);
    rig.settle();
    token(&rig.said(0, next));
    assert!(rig.ask(0, "LOCK.HISTORY k COUNT 2").contains("given-back"));
}

#[test]
fn a_grant_of_which_its_client_will_not_hear_is_given_back() {
    for (ending, reason) in [("KILL ID", ""), ("UNBLOCK", ""), ("UNBLOCK", " ERROR")] {
        let mut rig = pair();
        rig.wire_of(1).room = 0;
        let link = rig.open(0);
        rig.say(0, link, "CLIENT ID\nLOCK.ACQUIRE k me LEASE 600000 REPLICAS 1");
        let id = rig.said(0, link);
        let next = rig.open(0);
        rig.say(0, next, "LOCK.ACQUIRE k next LEASE 600000 WAIT 60000");
        assert_eq!(rig.ask(0, &format!("CLIENT {ending} {}{reason}", &id[1..])), ":1");
        token(&rig.said(0, next));
    }
}

#[test]
fn a_grant_that_its_owner_has_heard_of_on_another_link_is_not_given_back() {
    // It waits for a replica on the first link, and the owner asks without any on the second.
    let mut rig = pair();
    rig.wire_of(1).room = 0;
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k me LEASE 600000 REPLICAS 1");
    let granted = acquire(&mut rig, 0, "k", "me", 600_000);
    rig.members[0].node.close(link);
    rig.pass(1);
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {granted}")), ":1");
    // It has been told on the first link, to whose end nothing gets through any more.
    let mut rig = Rig::new(&[&[]]);
    let held = acquire(&mut rig, 0, "k", "me", 600_000);
    let link = wait_in_line(&mut rig, "k", 1, 600_000)[0];
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {held}")), ":1");
    let granted = acquire(&mut rig, 0, "k", "waiter0", 600_000);
    rig.members[0].node.close(link);
    rig.pass(1);
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k waiter0 {granted}")), ":1");
}

#[test]
fn who_asks_again_has_a_lock_that_has_just_become_theirs() {
    let mut rig = Rig::new(&[&[]]);
    acquire(&mut rig, 0, "k", "me", 1_000);
    let links = wait_in_line(&mut rig, "k", 2, 60_000);
    // The lease has ended, and no timer has seen it yet.
    rig.sleep(1_500);
    let again = rig.open(0);
    rig.say(0, again, "LOCK.ACQUIRE k waiter0 LEASE 60000 WAIT 60000");
    rig.settle();
    let said = rig.said(0, again);
    assert!(rig.said(0, links[0]).starts_with("-UNBLOCKED "));
    assert_eq!(number(&said, "waited"), 1_500);
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k waiter0 {}", token(&said))), ":1");
    token(&rig.said(0, links[1]));
}

#[test]
fn a_grant_of_a_new_epoch_leaves_replicas_with_the_same_hash() {
    let mut rig = pair();
    rig.say(0, rig.members[0].client, r#"LOCK.ACQUIRE k me LEASE 60000 REPLICAS 1 META '{"task":"t"}'"#);
    rig.pass(1);
    let first = token(&rig.said(0, rig.members[0].client));
    assert_eq!(rig.ask(1, "REPLICAOF NO ONE"), "+OK");
    follow(&mut rig, 0, 1);
    assert!(acquire(&mut rig, 1, "k", "me", 60_000) > first);
    rig.pass(1);
    assert!(rig.ask(0, "HGETALL k").contains("task"));
    rig.check_equal();
}

#[test]
fn in_a_transaction_a_log_that_syncs_always_is_waited_for_as_by_other_writes() {
    let mut rig = Rig::new(&[&[("appendonly", "yes"), ("appendfsync", "always")]]);
    let link = rig.open(0);
    // The epoch's first grant is on its way to the disk.
    rig.say(0, rig.members[0].client, "LOCK.ACQUIRE k me LEASE 60000");
    rig.say(0, link, "MULTI\nLOCK.ACQUIRE k me LEASE 60000\nPING\nEXEC");
    rig.pass(1);
    token(&rig.said(0, rig.members[0].client));
    let said = rig.said(0, link);
    assert!(said.contains("*2 -ERR The first lock") && said.ends_with("+PONG"), "{said}");
    for owner in ["me", "other"] {
        rig.say(0, link, &format!("MULTI\nLOCK.ACQUIRE {owner} me LEASE 60000\nPING\nEXEC"));
        rig.pass(1);
        let said = rig.said(0, link);
        assert!(said.contains("*2 *8 $6 status $7 granted ") && said.ends_with("+PONG"), "{said}");
    }
}

#[test]
fn locks_that_were_deleted_are_forgotten_long_before_their_leases_end() {
    let mut rig = Rig::new(&[&[]]);
    for n in 0..1000 {
        acquire(&mut rig, 0, &format!("k{n}"), "me", 3_600_000);
        assert_eq!(rig.ask(0, &format!("DEL k{n}")), ":1");
    }
    assert!(rig.members[0].node.engine.server.locks.index.len() < 100);
}

#[test]
fn whose_turn_comes_waits_for_replicas_as_well() {
    let mut rig = pair();
    let held = acquire(&mut rig, 0, "k", "me", 60_000);
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k you LEASE 5000 WAIT 60000 REPLICAS 1");
    rig.wire_of(1).room = 0;
    rig.pass(1);
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {held}")), ":1");
    assert_eq!(rig.said(0, link), "");
    rig.wire_of(1).room = usize::MAX;
    rig.pass(2);
    let said = rig.said(0, link);
    assert!(token(&said) > held);
    assert!(number(&said, "waited") >= 1_000, "{said}");
}

#[test]
fn tokens_grow_across_restarts_and_flushes() {
    for parameters in
        [&[][..], &[("appendonly", "yes")], &[("appendonly", "yes"), ("aof-use-rdb-preamble", "no")]]
    {
        let mut rig = Rig::new(&[parameters]);
        let mut last = 0;
        for round in 0..4 {
            rig.say(0, rig.members[0].client, "LOCK.ACQUIRE k me LEASE 60000");
            // With a log the first grant of a run waits for the disk.
            rig.pass(2);
            let said = rig.said(0, rig.members[0].client);
            let first = token(&said);
            assert!(first > last, "{first} follows {last} in round {round}");
            assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {first}")), ":1");
            assert_eq!(rig.ask(0, "FLUSHALL"), "+OK");
            last = acquire(&mut rig, 0, "k", "me", 60_000);
            assert_eq!(last, first + 1, "a flush begins no epoch");
            assert_eq!(rig.ask(0, "FLUSHALL"), "+OK");
            match parameters.is_empty() {
                true => assert_eq!(rig.ask(0, "SAVE"), "+OK"),
                false => {
                    rig.ask(0, "BGREWRITEAOF");
                }
            }
            rig.pass(3);
            assert_eq!(rig.ask(0, "DBSIZE"), ":0");
            rig.restart(0, true, parameters);
        }
    }
}

#[test]
fn the_first_grant_of_a_run_is_on_the_disk_before_it_is_told() {
    let logs = [("appendonly", "yes")];
    let mut rig = Rig::new(&[&logs]);
    assert_eq!(rig.ask(0, "LOCK.ACQUIRE a me LEASE 60000"), "");
    let link = rig.open(0);
    rig.say(0, link, "MULTI\nLOCK.ACQUIRE b me LEASE 60000\nEXEC");
    assert!(rig.said(0, link).contains("*1 -ERR The first lock"));
    rig.pass(2);
    token(&rig.said(0, rig.members[0].client));
    // Those that follow need not wait.
    acquire(&mut rig, 0, "c", "me", 60_000);
    rig.say(0, link, "MULTI\nLOCK.ACQUIRE b me LEASE 60000\nEXEC");
    assert!(rig.said(0, link).contains(" granted "));
    // Where nothing is promised, nothing is waited for.
    let mut rig = Rig::new(&[&[("appendonly", "yes"), ("appendfsync", "no")]]);
    acquire(&mut rig, 0, "a", "me", 60_000);
}

#[test]
fn tokens_grow_where_the_end_of_the_log_was_lost() {
    let logs = [("appendonly", "yes")];
    let mut rng = Rng::seeded(5);
    for round in 0..20 {
        let mut rig = Rig::new(&[&logs]);
        rig.say(0, rig.members[0].client, "LOCK.ACQUIRE a me LEASE 60000");
        let mut last = 0;
        if round % 2 == 0 {
            rig.pass(2);
            for n in 0..10 {
                last = acquire(&mut rig, 0, &format!("key{n}"), "me", 60_000);
            }
        } else {
            // Nothing may be told yet; what is told counts.
            rig.settle();
            let said = rig.said(0, rig.members[0].client);
            last = if said.is_empty() { last } else { token(&said) };
        }
        // The power fails: what was not synced may be lost, and the clock is where it was.
        rig.members[0].disk.crash(&mut rng);
        rig.restart(0, true, &logs);
        rig.say(0, rig.members[0].client, "LOCK.ACQUIRE fresh me LEASE 60000");
        rig.pass(2);
        let next = token(&rig.said(0, rig.members[0].client));
        assert!(next > last, "{next:x} follows {last:x} in round {round}");
    }
}

#[test]
fn a_restart_gives_running_leases_in_full_again() {
    for parameters in [&[][..], &[("appendonly", "yes")]] {
        let mut rig = Rig::new(&[parameters]);
        let meta = format!("{{\"task\":\"{}\"}}", "x".repeat(1_000));
        let link = rig.members[0].client;
        rig.say(0, link, &format!("LOCK.ACQUIRE k me LEASE 10000 META '{meta}'"));
        rig.pass(2);
        let token = token(&rig.said(0, link));
        rig.pass(4);
        if parameters.is_empty() {
            assert_eq!(rig.ask(0, "SAVE"), "+OK");
        }
        rig.restart(0, true, parameters);
        let info = rig.ask(0, "LOCK.INFO k");
        assert!(number(&info, "remaining") > 9_900, "{info}");
        assert!(number(&info, "since") >= 6_000, "{info}");
        assert!(info.contains(&meta) && info.contains(&format!(" token :{token} ")), "{info}");
        assert_eq!(rig.ask(0, "OBJECT ENCODING k"), "$8 listpack");
        rig.pass(8);
        assert_eq!(rig.ask(0, "EXISTS k"), ":1");
        rig.pass(3);
        assert_eq!(rig.ask(0, "EXISTS k"), ":0");
    }
}

#[test]
fn a_snapshot_for_a_replica_brings_locks_and_the_highest_token() {
    for load in ["disabled", "swapdb"] {
        let mut rig = Rig::new(&[&[], &[("repl-diskless-load", load)]]);
        acquire(&mut rig, 1, "stale", "me", 60_000);
        acquire(&mut rig, 0, "k", "me", 60_000);
        let mut last = 0;
        for _ in 0..50 {
            last = acquire(&mut rig, 0, "gone", "me", 60_000);
            rig.ask(0, "DEL gone");
        }
        follow(&mut rig, 1, 0);
        let list = rig.ask(1, "LOCK.LIST");
        assert!(list.starts_with("*1 *18 $3 key $1 k "), "{list}");
        assert_eq!(rig.ask(1, "REPLICAOF NO ONE"), "+OK");
        assert!(acquire(&mut rig, 1, "gone", "me", 60_000) > last);
        rig.pass(70);
        assert_eq!(rig.ask(1, "DBSIZE"), ":0");
    }
}

#[test]
fn a_thousand_wait_and_those_who_die_are_passed_over() {
    const COUNT: usize = 1_000;
    let mut rig = Rig::new(&[&[]]);
    let held = acquire(&mut rig, 0, "k", "me", 3_600_000);
    let links = wait_in_line(&mut rig, "k", COUNT, 3_600_000);
    let mut rng = Rng::seeded(11);
    let mut dead: BTreeSet<usize> = BTreeSet::new();
    let die = |rig: &mut Rig, n: usize| rig.members[0].node.close(links[n]);
    // Some die while they wait for long, others in the very turn in which their time comes.
    while dead.len() < COUNT / 4 {
        let n = rng.below(COUNT as u64) as usize;
        if dead.insert(n) {
            die(&mut rig, n);
        }
    }
    let waiters = rig.ask(0, "LOCK.WAITERS k");
    assert!(waiters.starts_with(&format!("*{} ", COUNT - dead.len())));
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {held}")), ":1");
    let (mut last, mut late) = (held, 0);
    for (n, link) in links.iter().enumerate() {
        if dead.contains(&n) {
            continue;
        }
        if rng.below(20) == 0 {
            // It was its turn, and nobody has told it: the next one's comes at once.
            die(&mut rig, n);
            rig.settle();
            late += 1;
            continue;
        }
        let said = rig.said(0, *link);
        let token = token(&said);
        assert!(token > last, "{token} follows {last}");
        last = token;
        rig.say(0, *link, &format!("LOCK.RELEASE k waiter{n} {token}"));
        rig.settle();
        assert_eq!(rig.said(0, *link), ":1", "waiter {n} had it");
    }
    assert!(late > 20, "{late}");
    assert_eq!(rig.ask(0, "EXISTS k"), ":0");
    assert_eq!(rig.ask(0, "LOCK.WAITERS k"), "*0");
}

#[test]
fn a_lost_reply_and_a_lost_place_are_found_again() {
    let mut rig = Rig::new(&[&[]]);
    // The grant is told, and does not arrive.
    let first = acquire(&mut rig, 0, "k", "me", 60_000);
    let link = rig.open(0);
    rig.say(0, link, "LOCK.ACQUIRE k me LEASE 60000");
    assert_eq!(token(&rig.said(0, link)), first);
    // Whoever waits and loses the link has the same place on another, as long as the server has not noticed.
    let links = wait_in_line(&mut rig, "k", 3, 1_000);
    let again = rig.open(0);
    rig.say(0, again, "LOCK.ACQUIRE k waiter0 LEASE 1000 WAIT 60000");
    assert!(rig.said(0, links[0]).starts_with("-UNBLOCKED "));
    rig.members[0].node.close(links[0]);
    assert_eq!(rig.ask(0, &format!("LOCK.RELEASE k me {first}")), ":1");
    token(&rig.said(0, again));
    assert_eq!(rig.said(0, links[1]), "");
    rig.pass(2);
    token(&rig.said(0, links[1]));
}

#[test]
fn waiting_costs_no_commands_and_ends_with_the_link() {
    let mut rig = Rig::new(&[&[]]);
    acquire(&mut rig, 0, "k", "me", 60_000);
    let links = wait_in_line(&mut rig, "k", 10, 1_000);
    let before = rig.members[0].node.engine.server.stats.commands;
    rig.pass(20);
    assert_eq!(rig.members[0].node.engine.server.stats.commands, before);
    links.iter().for_each(|link| rig.members[0].node.close(*link));
    assert!(rig.members[0].node.engine.server.waiting.is_empty());
    assert_eq!(rig.ask(0, "LOCK.WAITERS k"), "*0");
}

#[test]
fn a_pause_of_writes_holds_leases_and_turns_back() {
    let mut rig = Rig::new(&[&[]]);
    acquire(&mut rig, 0, "k", "me", 2_000);
    let links = wait_in_line(&mut rig, "k", 1, 60_000);
    assert_eq!(rig.ask(0, "CLIENT PAUSE 5000 WRITE"), "+OK");
    rig.pass(4);
    assert_eq!((rig.ask(0, "EXISTS k"), rig.said(0, links[0])), (":1".into(), "".into()));
    rig.pass(2);
    token(&rig.said(0, links[0]));
}

#[test]
fn locks_are_not_evicted_under_any_policy() {
    for policy in [
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let mut rig = Rig::new(&[&[("maxmemory-policy", policy)]]);
        for n in 0..50 {
            acquire(&mut rig, 0, &format!("lock{n}"), "me", 3_600_000);
            rig.ask(0, &format!("LOCK.FENCE fence{n} 5\nPEXPIRE lock{n} 3600000\nPEXPIRE fence{n} 3600000"));
        }
        for n in 0..20 {
            assert_eq!(rig.ask(0, &format!("SET key{n} v EX 1000")), "+OK");
        }
        // Nothing is little enough.
        assert_eq!(rig.ask(0, "CONFIG SET maxmemory 1"), "+OK");
        assert!(rig.ask(0, "SET more v").starts_with("-OOM"), "{policy}");
        assert!(rig.ask(0, "LOCK.ACQUIRE more me LEASE 1000").starts_with("-OOM"), "{policy}");
        let left = rig.members[0].keys(0);
        assert_eq!(left, if policy == "noeviction" { 120 } else { 100 }, "{policy}");
        // What needs no memory goes on.
        let info = rig.ask(0, "LOCK.INFO lock7");
        assert_eq!(rig.ask(0, &format!("LOCK.RENEW lock7 me {}", number(&info, "token"))), ":3600000");
        assert_eq!(rig.ask(0, &format!("LOCK.RELEASE lock7 me {}", number(&info, "token"))), ":1");
    }
}
