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

cases! {
    records_are_kept_newest_first_and_never_more_than_the_cap,
    an_acknowledgement_ends_it_and_asking_anew_begins_it_again,
    while_no_server_is_there_records_go_to_disk_and_later_to_the_server,
    a_server_that_refuses_writes_is_one_that_is_away,
    one_failure_is_told_once_by_name_on_every_channel,
    what_does_not_arrive_is_recorded_and_tried_again,
    a_receiver_that_hangs_delays_neither_the_task_nor_other_channels,
    repetitions_are_told_together,
    two_processes_do_not_both_tell,
    two_processes_share_a_channels_pace,
    nobody_is_told_of_what_was_acknowledged_and_everybody_of_what_is_asked_anew,
    without_a_server_people_are_told_from_disk_and_not_again_afterwards,
    with_everything_down_a_record_survives_and_is_told_when_all_is_back,
    secrets_come_out_nowhere,
}

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
