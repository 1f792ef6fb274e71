//! Failure records and their delivery on Redstart: the cases that `crates/notify/tests/delivery.rs` plays on redis-server.

#[path = "../../notify/tests/cases/mod.rs"]
mod cases;
#[path = "../../notify/tests/support/mod.rs"]
mod support;

/// Returns the command that starts the server.
fn server() -> Vec<String> {
    [env!("CARGO_BIN_EXE_redstart"), "server"].map(str::to_owned).to_vec()
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                cases::$case(&server());
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
    cases::a_process_killed_at_any_moment_leaves_nobody_untold(&server(), "victim");
}
