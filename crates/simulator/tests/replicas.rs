//! Masters and replicas of a few dozen seeds; `cargo xtask simulate --replication` runs as many as it is asked for.

use simulator::replicas::{self, Mutant, Subject, Tally};

#[test]
fn replicas_have_what_their_masters_have() {
    let mut tally = Tally::default();
    for seed in 0..60 {
        match replicas::run(seed, Subject::Data, Mutant::None, false) {
            Ok(found) => tally.add(&found),
            Err(problem) => panic!("{problem}"),
        }
    }
    // That what is judged has happened at all.
    assert!(tally.full > 100 && tally.partial > 50 && tally.promotions > 10, "{tally:?}");
    assert!(tally.acknowledged > 1_000 && tally.compared > 5_000 && tally.reads > 2_000, "{tally:?}");
    assert!(tally.crashes > 50 && tally.cuts > 50 && tally.failovers > 2, "{tally:?}");
}

#[test]
fn the_same_seed_replicates_the_same() {
    for seed in 1_000..1_010 {
        let run = || replicas::run(seed, Subject::Data, Mutant::None, false);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn an_acknowledgement_that_was_sent_in_part_outlives_the_commands_behind_it() {
    replicas::run(43, Subject::Data, Mutant::None, false).expect("the socket was full");
}

#[test]
fn what_expired_while_a_master_was_down_is_no_longer_on_its_replicas() {
    for seed in [310, 1067, 1370] {
        replicas::run(seed, Subject::Data, Mutant::None, false).expect("the master starts from its snapshot");
    }
}

#[test]
fn a_loop_that_is_over_is_not_seen_any_more() {
    for seed in [3106, 4918, 5098] {
        replicas::run(seed, Subject::Data, Mutant::None, false).expect("the loop was undone");
    }
}

/// Returns the first seed in which something is found, and what.
fn found(mutant: Mutant, seeds: u64) -> Option<String> {
    (0..seeds).find_map(|seed| replicas::run(seed, Subject::Data, mutant, false).err())
}

#[test]
fn a_command_that_is_skipped_after_a_break_is_found() {
    let problem = found(Mutant::SkipsACommand, 40).expect("some link breaks");
    assert!(problem.starts_with("seed "), "{problem}");
}

#[test]
fn an_acknowledgement_that_comes_too_early_is_found() {
    let problem = found(Mutant::AcknowledgesEarly, 200).expect("some master is lost");
    assert!(problem.contains("was acknowledged"), "{problem}");
}
