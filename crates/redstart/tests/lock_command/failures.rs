//! What fails is saved once and told to the person responsible, whatever else is down.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::supervised::{command_processes, signal, wait_for};

use crate::harness::Server;
use crate::on_both;
use crate::site::{Receiver, Site, stderr, unique};

on_both!(
    a_busy_lock_is_checked_so_often_saved_once_and_told_to_the_person,
    each_kind_of_failure_has_a_record,
    the_person_that_is_named_is_told,
    a_failure_is_acknowledged_and_told_again,
    a_record_survives_a_server_that_is_down,
    a_record_survives_a_receiver_that_fails,
    a_record_survives_the_process_that_made_it,
    a_process_that_is_killed_leaves_a_record,
    secrets_are_not_in_records,
);

fn a_busy_lock_is_checked_so_often_saved_once_and_told_to_the_person(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    let _held = site.occupy("nightly");
    let acquires = |site: &Site| {
        let name = if site.is_native() { "cmdstat_lock.acquire" } else { "cmdstat_evalsha" };
        let stats = site.server.ask("INFO commandstats");
        let of = stats.split(name).nth(1).map(|rest| {
            rest.trim_start_matches(":calls=").split(',').next().unwrap().parse::<u64>().unwrap()
        });
        of.unwrap_or(0)
    };
    let before = acquires(site);
    let options = ["--max-checks", "3", "--interval", "50ms", "--task", "report", "--config", &config];
    let output = site.run("nightly", &options, &["report", "--fast"]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("3 checks").count(), 1, "{}", stderr(&output));
    if !site.is_native() {
        // Where the server queues, a check that waits takes the place of several. Here there may be one look more, in
        // the moment in which releases begin to be listened to.
        let asked = acquires(site) - before;
        assert!((3..=4).contains(&asked), "asked {asked} times");
    }
    let records = site.text(&["failures", "ls", "--json"]);
    assert_eq!(records.lines().count(), 1, "{records}");
    for part in [
        "\"kind\":\"busy\"",
        "\"key\":\"nightly\"",
        "\"task\":\"report\"",
        "\"arguments\":[\"report\",\"--fast\"]",
        "\"checks\":3",
        "\"interval_ms\":50",
        "\"owner\":\"",
        "\"people\":[\"ada\"]",
        "\"delivered\"",
    ] {
        assert!(records.contains(part), "{part} in {records}");
    }
    assert_eq!(receiver.bodies().len(), 1);
    assert!(
        receiver.bodies()[0].contains("ada") || receiver.bodies()[0].contains("Ada"),
        "{:?}",
        receiver.bodies()
    );
    // Whoever comes later has nothing to tell.
    site.run("other", &["--config", &config], &["true"]);
    assert_eq!(receiver.bodies().len(), 1);
    let id = records.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
    let shown = site.text(&["failures", "show", id]);
    assert!(shown.contains("held by") && shown.contains("report --fast"), "{shown}");
    assert!(site.text(&["failures", "ls"]).contains("ada"));
}

fn each_kind_of_failure_has_a_record(site: &Site) {
    let exits = site.run("a", &["--task", "exits"], &["sh", "-c", "echo the reason >&2; exit 3"]);
    assert_eq!(exits.status.code(), Some(3));
    site.run("b", &["--task", "signalled"], &["sh", "-c", "kill -KILL $$"]);
    site.run("c", &["--max-hold", "100ms", "--grace", "100ms"], &["sleep", "1000"]);
    let key = unique("d");
    let mut lost = site
        .run_command(&key, &["--lease", "600ms", "--grace", "100ms"], &["sleep", "1000"])
        .spawn()
        .unwrap();
    wait_for("the command", || !command_processes(&key).is_empty()).unwrap();
    site.server.ask(&format!("DEL {key}"));
    lost.wait().unwrap();
    let records = site.text(&["failures", "ls", "--json"]);
    let of = |kind: &str, key: &str| {
        let found = records.lines().find(|line| {
            line.contains(&format!("\"kind\":\"{kind}\"")) && line.contains(&format!("\"key\":\"{key}\""))
        });
        found.unwrap_or_else(|| panic!("no {kind} of {key} in {records}")).to_owned()
    };
    assert_eq!(records.lines().count(), 4, "{records}");
    let failed = of("task-failed", "a");
    assert!(failed.contains("the reason") && failed.contains("{\"code\":3}"), "{failed}");
    assert!(of("task-failed", "b").contains("{\"signal\":9}"));
    of("max-hold", "c");
    of("lost", &key);
    // Success leaves nothing.
    site.run("a", &[], &["true"]);
    assert_eq!(site.text(&["failures", "ls", "--json"]).lines().count(), 4);
}

fn the_person_that_is_named_is_told(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    site.run("k", &["--notify", "bob", "--config", &config], &["false"]);
    assert_eq!(receiver.bodies().len(), 1);
    assert!(receiver.bodies()[0].contains("Bob"), "{:?}", receiver.bodies());
    // A name that cannot be told is complained of, and the command runs.
    let output = site.run("k", &["--notify", "carol", "--config", &config], &["true"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("carol"), "{}", stderr(&output));
    let broken = site.folder.path("broken.toml");
    std::fs::write(&broken, "[people").unwrap();
    let output = site.run("k", &["--config", broken.to_str().unwrap()], &["true"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("broken.toml"), "{}", stderr(&output));
    let output = site.lock(&["notifier", "--once", "--config", broken.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

fn a_failure_is_acknowledged_and_told_again(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    site.run("k", &["--config", &config], &["false"]);
    let records = site.text(&["failures", "ls", "--json"]);
    let id = records.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(receiver.bodies().len(), 1);
    site.text(&["failures", "renotify", id, "--config", &config]);
    assert_eq!(receiver.bodies().len(), 2);
    site.text(&["failures", "ack", id, "--by", "eve"]);
    assert!(site.text(&["failures", "ls"]).contains("acknowledged by eve"));
    assert_eq!(site.text(&["failures", "ls", "--open", "--json"]), "");
    let unknown = "01JD9X2M4Q7Z3K9V1B5N8C6D2F";
    for words in
        [["failures", "ack", unknown], ["failures", "renotify", unknown], ["failures", "show", unknown]]
    {
        assert_eq!(site.lock(&words).output().unwrap().status.code(), Some(1), "{words:?}");
    }
    assert_eq!(site.lock(&["failures", "show", "x"]).output().unwrap().status.code(), Some(64));
}

/// A notifier, ended with this value.
struct Notifier(Child);

impl Notifier {
    fn start(site: &Site, config: &str) -> Notifier {
        Notifier(site.lock(&["notifier", "--config", config]).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Ends it in order.
    fn end(mut self) {
        signal("-TERM", self.0.id() as i32).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_record_survives_a_server_that_is_down(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    let folder = crate::harness::Folder::new();
    let mut server = Server::start(site.kind, &folder, &[]);
    let address = server.address();
    server.kill();
    let output = site.lock_at(address, &["run", "k", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let waiting = site.lock_at(address, &["failures", "ls", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&waiting.stdout).contains("did not run"), "{waiting:?}");
    // It is told of once the server is back.
    let mut notifier =
        site.lock_at(address, &["notifier", "--config", &config]).stderr(Stdio::null()).spawn().unwrap();
    let told_early = receiver.bodies().len();
    server.start_again(site.kind, &folder, &[]);
    let back = Instant::now();
    wait_for("the record in the server", || server.ask("LLEN redstart:failures") == ":1").unwrap();
    wait_for("the person to be told", || !receiver.bodies().is_empty()).unwrap();
    assert!(back.elapsed() < Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.bodies().len(), 1, "told while it was down: {told_early}");
    notifier.kill().unwrap();
    notifier.wait().unwrap();
}

fn a_record_survives_a_receiver_that_fails(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    receiver.fail(true);
    let begun = Instant::now();
    assert_eq!(site.run("k", &["--config", &config], &["false"]).status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(8), "a receiver that fails holds nobody up");
    assert!(receiver.bodies().is_empty());
    assert!(site.text(&["failures", "ls", "--json"]).contains("\"failed\""));
    let notifier = Notifier::start(site, &config);
    receiver.fail(false);
    wait_for("the person to be told", || !receiver.bodies().is_empty()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.bodies().len(), 1);
    notifier.end();
}

fn a_record_survives_the_process_that_made_it(site: &Site) {
    // No configuration here: the record is saved, and nobody told.
    site.run("k", &[], &["false"]);
    let receiver = Receiver::start();
    let config = receiver.config(site);
    let text = site.text(&["notifier", "--once", "--json", "--config", &config]);
    assert!(text.contains("\"delivered\":1"), "{text}");
    assert_eq!(receiver.bodies().len(), 1);
    let text = site.text(&["notifier", "--once", "--json", "--config", &config]);
    assert!(text.contains("\"delivered\":0"), "{text}");
    assert_eq!(receiver.bodies().len(), 1);
}

fn a_process_that_is_killed_leaves_a_record(site: &Site) {
    let key = unique("killed");
    let script = "echo so far >&2; sleep 1000";
    let mut child = site
        .run_command(&key, &["--grace", "100ms"], &["sh", "-c", script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the command", || command_processes(&key).len() == 2).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the command's end", || command_processes(&key).is_empty()).unwrap();
    wait_for("the record", || site.text(&["failures", "ls", "--json"]).lines().count() == 1).unwrap();
    let record = site.text(&["failures", "ls", "--json"]);
    assert!(
        record.contains("\"kind\":\"lost\"") && record.contains("so far") && record.contains("killed"),
        "{record}"
    );
}

fn secrets_are_not_in_records(site: &Site) {
    let receiver = Receiver::start();
    let config = receiver.config(site);
    let script = "echo 'login with password=hunter2' >&2; exit 1";
    let command = ["sh", "-c", script, "--password", "hunter2"];
    site.run("k", &["--config", &config], &command);
    let records = site.text(&["failures", "ls", "--json"]);
    assert!(!records.contains("hunter2") && records.contains("login with"), "{records}");
    assert!(!receiver.bodies()[0].contains("hunter2"));
}
