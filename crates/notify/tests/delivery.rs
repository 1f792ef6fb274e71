//! Records and their delivery on redis-server; `crates/redstart/tests/failures.rs` has the same on Redstart.

mod cases;
mod support;

use std::process::{Command, Stdio};

/// Returns the command that starts the server; nothing, and says so, where there is none.
fn server() -> Option<Vec<String>> {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("no redis-server here to keep records in");
    }
    found.then(|| vec!["redis-server".to_owned()])
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                if let Some(server) = server() {
                    cases::$case(&server);
                }
            }
        )*
    };
}

cases::on_any_server!(cases);

#[test]
fn victim() {
    cases::victim();
}

#[test]
fn a_process_killed_at_any_moment_leaves_nobody_untold() {
    if let Some(server) = server() {
        cases::a_process_killed_at_any_moment_leaves_nobody_untold(&server, "victim");
    }
}
