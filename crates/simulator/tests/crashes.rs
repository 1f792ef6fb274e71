//! Crashes of a few hundred seeds; `cargo xtask simulate --crashes` makes as many as it is asked for.

use simulator::crashes::{self, Tally};

#[test]
fn nothing_promised_is_lost() {
    let mut tally = Tally::default();
    for seed in 0..150 {
        match crashes::run(seed, false) {
            Ok(found) => tally.add(&found),
            Err(problem) => panic!("{problem}"),
        }
    }
    assert_eq!(tally.crashes(), 150 * crashes::CRASHES);
    // That what is judged has happened at all.
    assert!(tally.checked > 10_000 && tally.faults > 100 && tally.recoveries > 20, "{tally:?}");
    assert!(tally.refused > 100 && tally.survived > 100, "{tally:?}");
}

#[test]
fn a_quick_disk_waits_for_nothing_that_was_removed_before_the_start() {
    crashes::run(404_329, false).expect("the disk of the fifth life is quick");
}

#[test]
fn the_same_seed_crashes_the_same() {
    for seed in 1_000..1_010 {
        assert_eq!(crashes::run(seed, false), crashes::run(seed, false), "seed {seed}");
    }
}
