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
    cases::a_process_killed_at_any_moment_leaves_nobody_untold(&server(), "victim");
}
