//! A few seeds of every kind; `cargo xtask simulate` runs thousands.

use simulator::world;

#[test]
fn seeds_run_to_their_end() {
    for seed in 0..60 {
        if let Err(failure) = world::run(seed, false) {
            panic!("{failure}");
        }
    }
}

#[test]
fn the_same_seed_says_the_same() {
    for seed in 1000..1010 {
        let (first, second) = (world::run(seed, false), world::run(seed, false));
        assert_eq!(first.unwrap(), second.unwrap(), "seed {seed}");
    }
}
