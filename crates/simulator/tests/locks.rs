//! Locks of a few dozen seeds; `cargo xtask simulate --locks` runs as many as it is asked for.

use simulator::replicas::{self, Mutant, Subject, Tally};

#[test]
fn locks_are_what_their_holders_believe() {
    let mut tally = Tally::default();
    for seed in 0..60 {
        match replicas::run(seed, Subject::Locks, Mutant::None, false) {
            Ok(found) => tally.add(&found),
            Err(problem) => panic!("{problem}"),
        }
    }
    // That what is judged has happened at all.
    let locks = tally.locks;
    assert!(locks.grants > 300 && locks.renewed > 500 && locks.released > 40, "{tally:?}");
    assert!(locks.accepted > 500 && locks.fenced > 15 && locks.late > 20 && locks.jumps > 50, "{tally:?}");
    assert!(tally.promotions > 10 && tally.crashes > 50, "{tally:?}");
}

#[test]
fn the_same_seed_locks_the_same() {
    for seed in 1_000..1_006 {
        let run = || replicas::run(seed, Subject::Locks, Mutant::None, false);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn tokens_of_a_server_that_has_seen_less_are_not_older() {
    for seed in [11, 84, 97, 139, 1257] {
        replicas::run(seed, Subject::Locks, Mutant::None, false).expect("an epoch begins by the clock");
    }
}

#[test]
fn seeds_that_found_something_once_find_nothing_any_more() {
    // A log that was turned on while a snapshot was loaded; links that were cut for what they had been granted; a child
    // that began while another's pieces lay in the pipe; a lease that is over when its grant can be told.
    for seed in [14_789, 17_921, 10_962, 18_374] {
        replicas::run(seed, Subject::Locks, Mutant::None, false)
            .unwrap_or_else(|problem| panic!("{problem}"));
    }
}

/// Returns the first seed in which something is found, and what.
fn found(mutant: Mutant, seeds: u64) -> Option<String> {
    (0..seeds).find_map(|seed| replicas::run(seed, Subject::Locks, mutant, false).err())
}

#[test]
fn a_holder_that_relies_on_its_lock_too_long_is_found() {
    let problem = found(Mutant::HoldsTooLong, 100).expect("somebody else is granted the lock");
    assert!(problem.contains("holds"), "{problem}");
}

#[test]
fn grants_that_wait_for_nobody_are_found() {
    let problem = found(Mutant::DoesNotWait, 200).expect("some grant is lost");
    assert!(problem.starts_with("seed "), "{problem}");
}
