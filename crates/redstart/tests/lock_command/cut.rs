//! Nothing of a command is left when another client is granted its lock.

use std::time::Duration;

use testkit::supervised::{Blow, round};

use crate::on_both;
use crate::site::{Site, unique};

on_both!(silence, cut, quit, kill_holder, kill_keeper, stop_holder, stop_keeper);

/// How often each; `cargo xtask lock run-cut --rounds 100` does more.
const ROUNDS: usize = 2;

fn silence(site: &Site) {
    play(site, Blow::Silence, Some(76));
}

fn cut(site: &Site) {
    play(site, Blow::Cut, Some(76));
}

fn quit(site: &Site) {
    play(site, Blow::Quit, Some(128 + 3));
}

fn kill_holder(site: &Site) {
    play(site, Blow::KillHolder, None);
}

fn kill_keeper(site: &Site) {
    play(site, Blow::KillKeeper, Some(71));
}

fn stop_holder(site: &Site) {
    play(site, Blow::StopHolder, Some(76));
}

fn stop_keeper(site: &Site) {
    play(site, Blow::StopKeeper, Some(76));
}

fn play(site: &Site, blow: Blow, code: Option<i32>) {
    for _ in 0..ROUNDS {
        let (ours, key) = (env!("CARGO_BIN_EXE_redstart"), unique("cut"));
        let lease = Duration::from_millis(1500);
        let round = round(ours, site.server.address(), site.is_native(), blow, lease, &key).unwrap();
        assert!(round.survivors.is_empty(), "{blow:?}: {round:?}");
        // One of them comes and goes.
        assert!(round.processes >= 7, "{round:?}");
        assert_eq!(round.code, code, "{round:?}");
    }
}
