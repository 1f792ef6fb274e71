//! The suite on redis-server: the portable backend.

mod suite;

use redstart_lock::{BackendKind, Error};
use suite::{Place, block_on, ms, redis_is_here, scenes};

fn place() -> Option<Place> {
    redis_is_here().then(|| Place::start(&["redis-server"], BackendKind::Portable))
}

macro_rules! scenes {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                if let Some(place) = place() {
                    block_on(scenes::$name(&place));
                }
            }
        )*
    };
}

scenes::on_any_server!(scenes);

#[test]
fn races_of_acquire_abort_drop_and_panic_leave_nothing() {
    if let Some(place) = place() {
        block_on(scenes::races_of_acquire_abort_drop_and_panic_leave_nothing(&place, 2000, 11));
    }
}

#[test]
fn tokens_grow_over_a_server_that_forgets_everything() {
    let Some(place) = place() else { return };
    block_on(async {
        let client = place.client();
        let before = client.lock("k").acquire().await.unwrap();
        let token = before.token();
        before.release().await.unwrap();
        place.ask(&["FLUSHALL"]);
        place.ask(&["SCRIPT", "FLUSH"]);
        let after = client.lock("k").acquire().await.unwrap();
        assert!(after.token() > token);
        after.release().await.unwrap();
    });
}

#[test]
fn too_few_replicas_give_the_lock_back() {
    let Some(place) = place() else { return };
    block_on(async {
        let error = place.client().lock("k").replicas(1).lease(ms(400)).acquire().await.unwrap_err();
        assert!(matches!(error, Error::NotDurable { .. }), "{error:?}");
        assert!(!place.exists("k"));
        let error = place.client().fence("r", 1).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    });
}

#[test]
fn a_lock_of_others_is_respected_and_ours_is_understood_by_them() {
    let Some(place) = place() else { return };
    block_on(async {
        place.ask(&["SET", "k", "someone", "PX", "60000", "NX"]);
        let error = place.client().lock("k").max_checks(1).acquire().await.unwrap_err();
        assert!(matches!(&error, Error::Busy { holder, .. } if holder.owner == "someone"), "{error:?}");
        place.ask(&["DEL", "k"]);
        let guard = place.client().lock("k").acquire().await.unwrap();
        assert_eq!(place.ask(&["SET", "k", "other", "PX", "60000", "NX"]).head(), "$-1");
        assert_eq!(place.ask(&["GET", "k"]).text(), Some(guard.owner().as_bytes()));
        guard.release().await.unwrap();
    });
}

#[test]
fn a_blocking_client_does_the_same() {
    let Some(place) = place() else { return };
    let client = place.builder().build_blocking().unwrap();
    let guard = client.lock("k").lease(ms(300)).acquire().unwrap();
    std::thread::sleep(ms(700));
    guard.ensure_held().unwrap();
    let busy = client.lock("k").max_checks(2).interval(ms(20)).acquire();
    assert!(matches!(busy, Err(Error::Busy { checks: 2, .. })));
    guard.release().unwrap();
    drop(client.lock("k").acquire().unwrap());
    assert!(!place.exists("k"), "dropping waits for the release");
    let value = client.lock("k").run(|held| held.ensure_held().map(|()| held.token())).unwrap();
    assert!(value > 0);
    // A guard that is dropped within a runtime gives back all the same.
    let guard = client.lock("k").acquire().unwrap();
    block_on(async {
        drop(guard);
        suite::eventually("it is given back", || !place.exists("k")).await;
    });
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_renewals_with_it() {
    let Some(place) = place() else { return };
    let client = place.client();
    let guard = block_on(client.lock("k").lease(ms(300)).acquire()).unwrap();
    // The runtime is gone and the guard is not: nobody renews it, and it says so.
    std::thread::sleep(ms(400));
    assert!(!place.exists("k"));
    assert!(!guard.is_held());
    // Another runtime begins anew.
    block_on(async {
        let again = client.lock("k").lease(ms(300)).acquire().await.unwrap();
        tokio::time::sleep(ms(700)).await;
        again.ensure_held().unwrap();
        again.release().await.unwrap();
    });
    drop(guard);
}

#[test]
fn a_majority_of_independent_servers_holds_a_lock() {
    let places: Vec<Place> = (0..3).filter_map(|_| place()).collect();
    if places.len() < 3 {
        return;
    }
    block_on(async {
        let urls = || places.iter().map(Place::url);
        let client = redstart_lock::LockClient::builder().urls(urls()).redlock().build().unwrap();
        let guard = client.lock("k").lease(ms(600)).acquire().await.unwrap();
        assert!(places.iter().all(|place| place.exists("k")));
        // A minority may forget it.
        places[0].ask(&["DEL", "k"]);
        tokio::time::sleep(ms(700)).await;
        guard.ensure_held().unwrap();
        let other = redstart_lock::LockClient::builder().urls(urls()).redlock().build().unwrap();
        let busy = other.lock("k").max_checks(2).interval(ms(30)).acquire().await;
        assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
        assert!(!places[0].exists("k"), "a minority's grant is given back");
        guard.release().await.unwrap();
        assert!(places.iter().all(|place| !place.exists("k")));
        // One of three may be silent.
        places[2].signal("-STOP");
        let quick = redstart_lock::LockClient::builder().urls(urls()).redlock().response_timeout(ms(100));
        let client = quick.connection_timeout(ms(100)).build().unwrap();
        let guard = client.lock("k").lease(ms(2000)).acquire().await.unwrap();
        guard.release().await.unwrap();
        places[2].signal("-CONT");
    });
}
