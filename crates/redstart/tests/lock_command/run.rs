//! What a command under a lock gets, and what whoever started it gets back.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::supervised::{command_processes, signal, wait_for};

use crate::harness::{Folder, Server};
use crate::on_both;
use crate::site::{Site, redstart, stderr, unique};

on_both!(
    exit_codes_pass_through,
    codes_of_our_own_are_distinct,
    a_command_knows_its_lock,
    tokens_grow_and_the_key_is_gone_afterwards,
    bytes_go_through_unchanged,
    both_outputs_in_one_file_keep_their_order,
    signals_reach_the_command,
    what_is_ignored_stays_ignored,
    what_a_command_leaves_running_ends_with_it,
    a_command_may_not_run_for_longer_than_it_may,
    a_lock_that_is_taken_away_ends_the_command,
    a_lock_whose_waiter_is_interrupted_stays_free,
    a_terminal_is_the_commands_while_it_runs,
    a_majority_of_several_servers_is_enough,
);

fn exit_codes_pass_through(site: &Site) {
    for code in [0, 1, 3, 75, 255] {
        let output = site.run("k", &[], &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
        let output = site.run("k", &[], &["sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(output.status.code(), Some(128 + number), "{}", stderr(&output));
    }
}

fn codes_of_our_own_are_distinct(site: &Site) {
    let output = site.run("k", &[], &["/nowhere/to/be/found"]);
    assert_eq!(output.status.code(), Some(127), "{}", stderr(&output));
    let file = site.folder.path("no-program");
    fs::write(&file, "x").unwrap();
    let output = site.run("k", &[], &[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
    for words in [
        &["run", "k"][..],
        &["run", "k", "--lease", "soon", "--", "true"],
        &["no-such"],
        &["run", "k", "--lease", "0", "--", "true"],
    ] {
        assert_eq!(site.lock(words).output().unwrap().status.code(), Some(64), "{words:?}");
    }
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let begun = Instant::now();
    let output = site.lock_at(nowhere, &["run", "k", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(20));

    site.server.ask("RPUSH list a");
    let output = site.run("list", &[], &["true"]);
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let failures = site.text(&["failures", "ls", "--json"]);
    let of = failures.lines().find(|line| line.contains("\"key\":\"list\"")).unwrap();
    assert!(of.contains("\"kind\":\"unavailable\""), "{of}");

    let held = site.occupy("busy");
    let options = ["--max-checks", "2", "--interval", "50ms"];
    let output = site.run("busy", &options, &["touch", site.folder.path("ran").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("held by"), "{}", stderr(&output));
    let skipping = [&options[..], &["--on-busy", "skip"]].concat();
    let output = site.run("busy", &skipping, &["touch", site.folder.path("ran").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!site.folder.path("ran").exists());
    drop(held);
    assert_eq!(site.run("busy", &options, &["true"]).status.code(), Some(0));
    assert!(redstart().args(["lock", "--help"]).output().unwrap().status.success());
}

fn a_majority_of_several_servers_is_enough(site: &Site) {
    let folders = [Folder::new(), Folder::new()];
    let mut others = folders.each_ref().map(|folder| Server::start(site.kind, folder, &[]));
    let urls = [site.server.address(), others[0].address(), others[1].address()].map(|at| at.to_string());
    let servers: Vec<&str> = urls.iter().flat_map(|url| ["--server", url]).collect();
    let run = |options: &[&str], command: &str| {
        site.run("k", &[&servers[..], options].concat(), &["sh", "-c", command])
    };
    let output = run(&[], "echo $LOCK_SERVER");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = urls.clone().map(|url| format!("redis://{url}")).join(" ");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), told);
    for server in [&site.server, &others[0], &others[1]] {
        assert_eq!(server.ask("EXISTS k"), ":0");
    }
    // The same servers by the environment; who holds two of three keeps a second one out.
    let mut holding = site.run_command("k", &[], &["cat"]);
    let mut holding = holding.env("REDSTART_SERVER", &told).stdin(Stdio::piped()).spawn().unwrap();
    let on_all =
        || site.server.ask("EXISTS k") == ":1" && others.iter().all(|one| one.ask("EXISTS k") == ":1");
    wait_for("the lock to be held", on_all).unwrap();
    let busy = ["--max-checks", "2", "--interval", "50ms"];
    assert_eq!(run(&busy, "true").status.code(), Some(75));
    drop(holding.stdin.take());
    assert!(holding.wait().unwrap().success());
    others[0].kill();
    let output = run(&[], "exit 3");
    assert_eq!(output.status.code(), Some(3), "one of three is away: {}", stderr(&output));
    assert_eq!(others[1].ask("EXISTS k"), ":0");
    others[1].kill();
    let output = run(&[], "touch $0");
    assert_eq!(output.status.code(), Some(69), "two of three are away: {}", stderr(&output));
    assert_eq!(site.server.ask("EXISTS k"), ":0", "a minority's grant is given back");
}

fn a_command_knows_its_lock(site: &Site) {
    let output = site.run(
        "the key",
        &["--owner", "me"],
        &["sh", "-c", "echo \"$LOCK_KEY|$LOCK_OWNER|$LOCK_TOKEN|$LOCK_SERVER\""],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let parts: Vec<&str> = text.trim().split('|').collect();
    assert_eq!(parts[..2], ["the key", "me"], "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(parts[2].parse::<u64>().unwrap() > 0);
    assert_eq!(parts[3], format!("redis://{}", site.server.address()));
}

fn tokens_grow_and_the_key_is_gone_afterwards(site: &Site) {
    let mut last = 0;
    for _ in 0..3 {
        let output = site.run("k", &[], &["sh", "-c", "echo $LOCK_TOKEN"]);
        let token: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
        assert_eq!(site.server.ask("EXISTS k"), ":0");
    }
}

fn bytes_go_through_unchanged(site: &Site) {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let file = site.folder.path("bytes");
    fs::write(&file, &bytes).unwrap();
    let script = format!("cat; cat '{0}' >&2", file.display());
    for options in [&[][..], &["--no-tail"]] {
        let mut command = site.run_command("k", options, &["sh", "-c", &script]);
        let output = command.stdin(fs::File::open(&file).unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == bytes, "{} bytes on standard output", output.stdout.len());
        assert!(output.stderr == bytes, "{} bytes on standard error", output.stderr.len());
    }
}

fn both_outputs_in_one_file_keep_their_order(site: &Site) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done";
    let mut command = site.run_command("k", &[], &["sh", "-c", script]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    // It holds the writing ends.
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let expected: String = (0..300).map(|i| format!("out{i}\nerr{i}\n")).collect();
    assert_eq!(text, expected);
}

fn signals_reach_the_command(site: &Site) {
    for name in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"] {
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done");
        let mut child =
            site.run_command("k", &[], &["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        signal(&format!("-{name}"), child.id() as i32).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(7), "{name}");
    }
    // Without a trap of its own the command ends, and we as it does.
    let mut child = site.run_command("k", &[], &["sleep", "1000"]).spawn().unwrap();
    wait_for("the lock", || site.server.ask("EXISTS k") == ":1").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    signal("-TERM", child.id() as i32).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

fn what_is_ignored_stays_ignored(site: &Site) {
    let key = unique("nohup");
    let binary = env!("CARGO_BIN_EXE_redstart");
    let script =
        format!("trap '' HUP; exec {binary} lock run {key} -- sh -c 'echo ready; sleep 0.3; echo done'");
    let mut child = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("REDSTART_SERVER", site.server.address().to_string())
        .env("XDG_STATE_HOME", site.state())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal("-HUP", child.id() as i32).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert!(child.wait().unwrap().success());
}

fn what_a_command_leaves_running_ends_with_it(site: &Site) {
    for (left, most) in [
        ("sleep 1000 &", 2),
        ("setsid sleep 1000 & sleep 0.05", 2),
        ("(setsid sh -c 'sleep 1000 & sleep 1000' &) ; sleep 0.05", 2),
        ("trap '' TERM; sleep 1000 & exit 4", 5),
    ] {
        let key = unique("left");
        let begun = Instant::now();
        let output = site.run(&key, &["--grace", "200ms"], &["sh", "-c", left]);
        let code = if left.contains("exit 4") { 4 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{left}: {}", stderr(&output));
        assert!(begun.elapsed() < Duration::from_secs(most), "{left}: {:?}", begun.elapsed());
        assert_eq!(command_processes(&key), [0; 0], "{left}");
    }
}

fn a_command_may_not_run_for_longer_than_it_may(site: &Site) {
    let key = unique("long");
    let options = ["--max-hold", "300ms", "--grace", "200ms"];
    let begun = Instant::now();
    let output = site.run(&key, &options, &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(5));
    assert_eq!(command_processes(&key), [0; 0]);
    assert_eq!(site.server.ask(&format!("EXISTS {key}")), ":0");
    // One that listens ends at once, and by its own code: it was asked all the same.
    let output = site.run(&key, &options, &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done"]);
    assert_eq!(output.status.code(), Some(124));
}

fn a_lock_that_is_taken_away_ends_the_command(site: &Site) {
    let key = unique("taken");
    let options = ["--lease", "600ms", "--grace", "100ms"];
    let mut child =
        site.run_command(&key, &options, &["sleep", "1000"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the command", || !command_processes(&key).is_empty()).unwrap();
    site.server.ask(&format!("DEL {key}"));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(76), "{text}");
    assert!(text.contains("lost"), "{text}");
    assert_eq!(command_processes(&key), [0; 0]);
}

fn a_lock_whose_waiter_is_interrupted_stays_free(site: &Site) {
    let held = site.occupy("k");
    let waiter = site.run_command("k", &["--max-checks", "1000", "--interval", "20ms"], &["true"]).spawn();
    let mut waiter = waiter.unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal("-INT", waiter.id() as i32).unwrap();
    assert_eq!(waiter.wait().unwrap().code(), Some(130));
    drop(held);
    assert_eq!(site.run("k", &["--max-checks", "1"], &["true"]).status.code(), Some(0));
}

fn a_terminal_is_the_commands_while_it_runs(site: &Site) {
    let lock = format!("{} lock run k --", env!("CARGO_BIN_EXE_redstart"));
    // What reads a terminal from the background is stopped: each of these reads shows who is in the foreground.
    let reads = format!(
        "{lock} sh -c 'read a; echo \"first $a\"; tty -s && tty -s <&2 && echo terminal'; read b; echo \"then $b\""
    );
    let interrupted = format!("{lock} sleep 1000; echo \"code $?\"");
    // Started in the background it is stopped when it reads, as any job; in the foreground it goes on.
    let jobs = format!("set -m; {lock} sh -c 'read a; echo \"late $a\"' & sleep 0.4; fg; echo \"job $?\"");
    for (script, input, expected) in [
        (jobs, &["one\n"][..], &["late one", "job 0"][..]),
        (reads, &["one\n", "two\n"][..], &["first one", "terminal", "then two"][..]),
        (interrupted, &["\x03"], &["code 130"]),
    ] {
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &script, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("REDSTART_SERVER", site.server.address().to_string()).env("XDG_STATE_HOME", site.state());
        let Ok(mut child) = command.spawn() else {
            println!("no script(1) here to make a terminal with");
            return;
        };
        let mut stdin = child.stdin.take().unwrap();
        for line in input {
            wait_for("the command to run", || site.server.ask("EXISTS k") == ":1" || *line == "two\n")
                .unwrap();
            std::thread::sleep(Duration::from_millis(500));
            std::io::Write::write_all(&mut stdin, line.as_bytes()).unwrap();
        }
        let mut text = String::new();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        drop(stdin);
        stdout.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        for line in expected {
            assert!(text.contains(line), "{line} in {text:?}");
        }
    }
}
