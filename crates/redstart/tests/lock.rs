//! The lock library on our server: the native backend.

#[path = "../../lock/tests/suite/mod.rs"]
mod suite;

use redstart_lock::{BackendKind, Error};
use suite::{Place, block_on, ms, scenes};

fn place() -> Place {
    Place::start(&[env!("CARGO_BIN_EXE_redstart"), "server"], BackendKind::Native)
}

macro_rules! scenes {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                block_on(scenes::$name(&place()));
            }
        )*
    };
}

scenes![
    twenty_tasks_never_overlap_and_their_tokens_grow,
    busy_comes_after_exactly_n_checks_with_one_record,
    one_check_does_not_wait,
    a_release_wakes_a_waiter_long_before_its_next_check,
    a_held_lock_is_renewed_and_is_gone_two_leases_after_its_guard,
    a_paused_server_loses_the_lock_and_the_holder_is_told_before_the_lease_ends,
    a_task_is_stopped_when_its_lock_is_taken_away,
    a_release_of_what_is_someone_elses_changes_nothing,
    the_same_owner_gets_its_lock_again_with_the_same_token,
    failures_of_the_task_come_through_and_are_recorded,
    a_panic_gives_the_lock_back,
    a_server_that_is_gone_is_unavailable_and_not_busy,
    bad_input_is_refused_and_changes_nothing,
    lost_replies_neither_deadlock_an_owner_with_itself_nor_leave_locks,
    waiters_are_served_in_order_and_send_nothing,
    guarded_commands_are_refused_once_the_lock_is_someone_elses,
    an_abandoned_waiter_leaves_the_queue_at_once,
];

#[test]
fn races_of_acquire_abort_drop_and_panic_leave_nothing() {
    block_on(scenes::races_of_acquire_abort_drop_and_panic_leave_nothing(&place(), 2000, 11));
}

#[test]
fn too_few_replicas_give_the_lock_back() {
    let place = place();
    block_on(async {
        let error = place.client().lock("k").replicas(1).lease(ms(400)).acquire().await.unwrap_err();
        assert!(matches!(error, Error::NotDurable { .. }), "{error:?}");
        assert!(!place.exists("k"));
    });
}
