//! Looking at locks, and taking one away.

use std::process::Stdio;

use testkit::supervised::{command_processes, wait_for};

use crate::on_both;
use crate::site::{Site, stderr, unique};

on_both!(
    locks_are_listed_and_shown,
    a_lock_is_taken_away_only_with_its_token,
    what_only_redstart_knows_is_said_to_be_unknown_elsewhere,
    a_server_that_is_not_there_is_told_apart,
);

fn locks_are_listed_and_shown(site: &Site) {
    assert_eq!(site.text(&["ls", "--json"]), "");
    assert_eq!(site.lock(&["show", "job:1"]).output().unwrap().status.code(), Some(1));
    site.server.ask("SET job:other x");
    let _held = (site.occupy("job:1"), site.occupy("job:{2}"));
    let list = site.text(&["ls"]);
    assert!(list.starts_with("KEY") && list.contains("job:1") && list.contains("job:{2}"), "{list}");
    assert!(!list.contains("job:other"), "{list}");
    assert_eq!(site.text(&["ls", "*1", "--json"]).lines().count(), 1);
    let shown = site.text(&["show", "job:1", "--json"]);
    assert!(shown.contains("\"key\":\"job:1\"") && shown.contains("\"remaining_ms\":"), "{shown}");
    assert!(site.text(&["show", "job:1"]).contains("token"), "{shown}");
    let top = site.text(&["top", "--once"]);
    assert!(top.starts_with("2 held") && top.contains("job:1"), "{top}");
    assert!(site.text(&["top", "--once", "--json"]).starts_with('{'));
    if site.is_native() {
        assert!(shown.contains("\"task\":\"occupier\""), "{shown}");
        assert!(list.contains("occupier"), "{list}");
    }
}

fn a_lock_is_taken_away_only_with_its_token(site: &Site) {
    let key = unique("forced");
    let options = ["--lease", "900ms", "--grace", "100ms"];
    let mut child =
        site.run_command(&key, &options, &["sleep", "1000"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the command", || !command_processes(&key).is_empty()).unwrap();
    let shown = site.text(&["show", &key, "--json"]);
    let token = shown.split("\"token\":").nth(1).unwrap().split(',').next().unwrap();
    let other = (token.parse::<u64>().unwrap() + 1).to_string();
    let output = site.lock(&["force-unlock", &key, "--token", &other]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(token), "{}", stderr(&output));
    site.text(&["force-unlock", &key, "--token", token]);
    assert_eq!(site.server.ask(&format!("EXISTS {key}")), ":0");
    assert_eq!(child.wait().unwrap().code(), Some(76));
    assert_eq!(site.lock(&["force-unlock", &key, "--token", token]).output().unwrap().status.code(), Some(1));
}

fn what_only_redstart_knows_is_said_to_be_unknown_elsewhere(site: &Site) {
    let held = site.occupy("k");
    let patient = ["--max-checks", "1000", "--interval", "20ms", "--owner", "patient"];
    let mut waiter = site.run_command("k", &patient, &["true"]).spawn().unwrap();
    if site.is_native() {
        wait_for("the waiter", || site.text(&["waiters", "k"]).contains("patient")).unwrap();
        assert!(site.text(&["graph"]).contains("patient --[k]--> "));
        assert!(site.text(&["graph", "--json"]).contains("\"waiter\":\"patient\""));
        assert!(site.text(&["waiters", "k", "--json"]).contains("\"position\":1"));
    }
    for words in [&["graph"][..], &["waiters", "k"], &["history", "k"], &["stats"], &["stats", "k"]] {
        for more in [&[][..], &["--json"]] {
            let output = site.lock(&[words, more].concat()).output().unwrap();
            assert_eq!(output.status.success(), site.is_native(), "{words:?}: {}", stderr(&output));
            assert!(site.is_native() || stderr(&output).contains("LOCK commands"), "{}", stderr(&output));
        }
    }
    drop(held);
    assert!(waiter.wait().unwrap().success());
    if site.is_native() {
        let history = site.text(&["history", "k"]);
        assert!(history.contains("patient"), "{history}");
        assert!(site.text(&["stats", "k", "--json"]).contains("\"acquires\":2"));
    }
}

fn a_server_that_is_not_there_is_told_apart(site: &Site) {
    for words in [&["ls"][..], &["show", "k"], &["top", "--once"], &["force-unlock", "k", "--token", "1"]] {
        let output = site.lock_at("127.0.0.1:1".parse().unwrap(), words).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{words:?}: {}", stderr(&output));
    }
}
