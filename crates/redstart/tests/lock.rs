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

scenes::on_any_server!(scenes);

scenes![
    waiters_are_served_in_order_and_send_nothing,
    guarded_commands_are_refused_once_the_lock_is_someone_elses,
    an_abandoned_waiter_leaves_the_queue_at_once,
    a_waiter_that_gives_up_while_the_lock_becomes_free_leaves_it_so,
];

#[test]
fn races_of_acquire_abort_drop_and_panic_leave_nothing() {
    block_on(scenes::races_of_acquire_abort_drop_and_panic_leave_nothing(&place(), 2000, 11));
}

#[test]
fn a_blocking_client_does_the_same() {
    scenes::a_blocking_client_does_the_same(&place());
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
