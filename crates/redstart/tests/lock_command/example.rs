//! The example of the nightly job does what its page says.

use std::fs;
use std::process::Output;

use crate::on_both;
use crate::site::{Receiver, Site, stderr};

on_both!(a_nightly_job_runs_once_and_its_failure_is_told);

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/nightly-cron");

fn a_nightly_job_runs_once_and_its_failure_is_told(site: &Site) {
    let receiver = Receiver::start();
    let reports = site.folder.path("reports");
    fs::create_dir_all(&reports).unwrap();
    // The line as cron would run it, but for the places.
    let crontab = fs::read_to_string(format!("{EXAMPLE}/crontab")).unwrap();
    let line = |of: &str| {
        let line = crontab.lines().find(|line| line.contains(of)).expect(of);
        let command = line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ");
        command
            .replace("redstart lock", &format!("{} lock", env!("CARGO_BIN_EXE_redstart")))
            .replace("/usr/local/bin", EXAMPLE)
    };
    let cron = |command: &str| -> Output {
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", command])
            .env("REDSTART_SERVER", format!("redis://{}", site.server.address()))
            .env("REDSTART_NOTIFY_CONFIG", format!("{EXAMPLE}/notify.toml"))
            .env("REPORT_DIR", &reports)
            .env("REPORT_HOOK", receiver.url())
            .env("XDG_STATE_HOME", site.state())
            .output()
            .unwrap()
    };
    let job = line("lock run");
    let output = cron(&job);
    assert!(output.status.success(), "{}", stderr(&output));
    let first = fs::read_to_string(reports.join("report")).unwrap();
    assert!(first.starts_with("token "), "{first}");

    // Another machine is at it: nothing to do.
    let held = site.occupy("nightly:report");
    let output = cron(&job);
    assert!(output.status.success() && stderr(&output).contains("skipped"), "{}", stderr(&output));
    drop(held);
    assert_eq!(fs::read_to_string(reports.join("report")).unwrap(), first);

    // A newer report is there, and is not replaced; Ada hears of it, once.
    fs::write(reports.join("report"), "token 9007199254740991\n").unwrap();
    assert_eq!(cron(&job).status.code(), Some(1));
    cron(&line("notifier"));
    assert_eq!(receiver.bodies().len(), 1, "{:?}", receiver.bodies());
    assert!(receiver.bodies()[0].contains("made by a later run"), "{:?}", receiver.bodies());
}
