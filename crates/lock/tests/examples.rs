//! The examples do what they say.

use std::path::PathBuf;
use std::process::Command;

mod suite;

use redstart_lock::BackendKind;
use suite::{Place, redis_is_here};

/// Runs an example that cargo has built beside this test, and returns what it printed.
fn run(name: &str, arguments: &[&str]) -> String {
    let own = std::env::current_exe().unwrap();
    let folder: PathBuf = own.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    let output = Command::new(folder.join(name)).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn a_worker_runs_under_its_lock() {
    if !redis_is_here() {
        return;
    }
    let place = Place::start(&["redis-server"], BackendKind::Portable);
    let printed = run("rust_worker", &[&place.url(), "2"]);
    assert_eq!(printed.matches("sent 3 invoices").count(), 2, "{printed}");
    place.ask(&["SET", "jobs:invoices", "someone"]);
    let printed = run("rust_worker", &[&place.url(), "0"]);
    assert_eq!(printed, "");
}

#[test]
fn a_stale_write_is_fenced() {
    if !redis_is_here() {
        return;
    }
    let place = Place::start(&["redis-server"], BackendKind::Portable);
    let printed = run("fenced_resource", &[&place.url()]);
    assert!(printed.contains("Anna's update changed 0 rows; the balance is 200"), "{printed}");
    assert!(printed.contains("the lock is held: false"), "{printed}");
}
