//! The scenes: each takes a place and asserts what its name says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redstart_lock::{Error, FailureKind, LockClient, LossCause, RunError};
use testkit::Random;

use super::lossy::LossyProxy;
use super::{Place, Remembered, eventually, ms};

/// A task that cannot fail.
type Fine = Result<(), std::io::Error>;

pub async fn twenty_tasks_never_overlap_and_their_tokens_grow(place: &Place) {
    let (inside, counter) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let client = place.client();
    assert_eq!(client.backend().await.unwrap(), place.backend);
    let tasks = (0..20).map(|_| {
        let (client, inside) = (client.clone(), Arc::clone(&inside));
        let (counter, tokens) = (Arc::clone(&counter), Arc::clone(&tokens));
        tokio::spawn(async move {
            for _ in 0..5 {
                let lock = client.lock("counter").max_checks(1000).interval(ms(50)).lease(ms(5000));
                lock.run(async |held| {
                    assert!(!inside.swap(true, Ordering::SeqCst), "two holders");
                    tokens.lock().unwrap().push(held.token());
                    let before = counter.load(Ordering::SeqCst);
                    tokio::time::sleep(ms(1)).await;
                    counter.store(before + 1, Ordering::SeqCst);
                    inside.store(false, Ordering::SeqCst);
                    Fine::Ok(())
                })
                .await
                .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(counter.load(Ordering::SeqCst), 100);
    let tokens = tokens.lock().unwrap();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    assert!(!place.exists("counter"));
}

pub async fn busy_comes_after_exactly_n_checks_with_one_record(place: &Place) {
    let records = Remembered::default();
    let holder = place.client().lock("k").task("the first").acquire().await.unwrap();
    let client = place.builder().records(Arc::new(records.clone())).build().unwrap();
    let begun = Instant::now();
    let lock = client.lock("k").max_checks(4).interval(ms(100)).jitter(0.0).task("nightly");
    let ran = Arc::new(AtomicBool::new(false));
    let task = {
        let ran = Arc::clone(&ran);
        async move |_| {
            ran.store(true, Ordering::SeqCst);
            Fine::Ok(())
        }
    };
    let error = lock.run(task).await.unwrap_err();
    let took = begun.elapsed();
    let RunError::Lock(Error::Busy { holder: by, checks, waited }) = error else { panic!("{error:?}") };
    assert_eq!(checks, 4);
    assert_eq!((by.owner.as_str(), by.token), (holder.owner(), Some(holder.token())));
    assert!(took >= ms(299) && took < ms(1000), "{took:?}");
    assert!(waited >= ms(299));
    assert!(!ran.load(Ordering::SeqCst), "the task must not run without the lock");
    let records = records.all();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.kind, record.checks, record.max_checks), (FailureKind::Busy, 4, Some(4)));
    assert_eq!(record.task.as_ref().unwrap().name, "nightly");
    assert_eq!(record.holder.as_ref().unwrap().owner, holder.owner());
    holder.release().await.unwrap();
    let guard = client.lock("k").max_checks(1).acquire().await.unwrap();
    assert_eq!(guard.checks(), 1);
    guard.release().await.unwrap();
}

pub async fn one_check_does_not_wait(place: &Place) {
    let client = place.client();
    let holder = client.lock("k").acquire().await.unwrap();
    let begun = Instant::now();
    let error = client.lock("k").max_checks(1).acquire().await.unwrap_err();
    assert!(matches!(error, Error::Busy { checks: 1, .. }), "{error:?}");
    assert!(begun.elapsed() < ms(300));
    holder.release().await.unwrap();
}

pub async fn a_release_wakes_a_waiter_long_before_its_next_check(place: &Place) {
    let client = place.client();
    let holder = client.lock("k").acquire().await.unwrap();
    let waiter = {
        let client = client.clone();
        tokio::spawn(async move { client.lock("k").interval(Duration::from_secs(20)).acquire().await })
    };
    tokio::time::sleep(ms(300)).await;
    assert!(!waiter.is_finished());
    let begun = Instant::now();
    holder.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    assert_eq!(guard.checks(), 1, "a wake-up is not a check");
    guard.release().await.unwrap();
    if !place.is_native() {
        eventually("no subscription is left", || place.ask(&["PUBSUB", "CHANNELS"]).elements().is_empty())
            .await;
        // The connection itself is closed a little later.
        eventually("no subscribing connection is left", || {
            let list = place.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]);
            list.text().unwrap_or_default().iter().all(u8::is_ascii_whitespace)
        })
        .await;
    }
}

pub async fn a_held_lock_is_renewed_and_is_gone_two_leases_after_its_guard(place: &Place) {
    let client = place.client();
    let guard = client.lock("k").lease(ms(300)).acquire().await.unwrap();
    for _ in 0..12 {
        tokio::time::sleep(ms(100)).await;
        guard.ensure_held().unwrap();
        assert!(place.exists("k"));
    }
    assert!(guard.remaining() > ms(50));
    let context = guard.context();
    drop(guard);
    assert!(!context.is_held());
    assert_eq!(context.lost().await, LossCause::Released);
    eventually("a dropped guard gives its lock back", || !place.exists("k")).await;
    let before = place.requests();
    tokio::time::sleep(ms(600)).await;
    assert!(place.requests() - before <= 3, "something is renewed still");
}

pub async fn a_paused_server_loses_the_lock_and_the_holder_is_told_before_the_lease_ends(place: &Place) {
    let records = Remembered::default();
    let client = place.builder().records(Arc::new(records.clone())).build().unwrap();
    let (lease, margin) = (ms(900), ms(200));
    let guard = client.lock("k").lease(lease).margin(margin).acquire().await.unwrap();
    let context = guard.context();
    place.signal("-STOP");
    let paused = Instant::now();
    let cause = tokio::time::timeout(ms(3000), context.lost()).await.expect("never told");
    let told = paused.elapsed();
    place.signal("-CONT");
    assert_eq!(cause, LossCause::Expired);
    // No renewal can have been later than the pause, so neither can the end of the lease be.
    assert!(told + margin / 2 <= lease, "{told:?}");
    assert!(matches!(context.ensure_held(), Err(Error::Lost { cause: LossCause::Expired })));
    assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
    eventually("the loss is recorded once", || records.all().len() == 1).await;
    assert_eq!(records.all()[0].kind, FailureKind::Lost);
    // A late release checks its token, and the lock can be had again.
    let guard = client.lock("k").interval(ms(100)).acquire().await.unwrap();
    assert!(guard.token() > context.token());
    guard.release().await.unwrap();
}

pub async fn a_task_is_stopped_when_its_lock_is_taken_away(place: &Place) {
    let client = place.client();
    let went_on = Arc::new(AtomicBool::new(false));
    let running = {
        let went_on = Arc::clone(&went_on);
        client.lock("k").lease(ms(300)).run(async move |_| {
            tokio::time::sleep(Duration::from_secs(3)).await;
            went_on.store(true, Ordering::SeqCst);
            Fine::Ok(())
        })
    };
    let running = tokio::spawn(running);
    eventually("it holds the lock", || place.exists("k")).await;
    place.ask(&["DEL", "k"]);
    let error = running.await.unwrap().unwrap_err();
    let lost = matches!(error, RunError::Lock(Error::Lost { cause: LossCause::Taken }));
    assert!(lost, "{error:?}");
    assert!(!went_on.load(Ordering::SeqCst));
}

pub async fn a_release_of_what_is_someone_elses_changes_nothing(place: &Place) {
    let client = place.client();
    let first = client.lock("k").lease(ms(60_000)).acquire().await.unwrap();
    place.ask(&["DEL", "k"]);
    let second = client.lock("k").acquire().await.unwrap();
    let error = first.release().await.unwrap_err();
    assert!(matches!(error, Error::Lost { cause: LossCause::Taken }), "{error:?}");
    assert!(place.exists("k"));
    second.release().await.unwrap();
}

pub async fn the_same_owner_gets_its_lock_again_with_the_same_token(place: &Place) {
    let client = place.client();
    let first = client.lock("k").owner("me").acquire().await.unwrap();
    let again = client.lock("k").owner("me").acquire().await.unwrap();
    assert_eq!(first.token(), again.token());
    let other = client.lock("k").owner("you").max_checks(1).acquire().await;
    assert!(matches!(other, Err(Error::Busy { .. })));
    again.release().await.unwrap();
    let third = client.lock("k").owner("me").acquire().await.unwrap();
    // The first guard's token is an old one: its release must not end the third.
    assert!(matches!(first.release().await, Err(Error::Lost { .. })));
    assert!(place.exists("k"));
    third.release().await.unwrap();
}

pub async fn failures_of_the_task_come_through_and_are_recorded(place: &Place) {
    let records = Remembered::default();
    let client = place.builder().records(Arc::new(records.clone())).build().unwrap();
    let failed = client.lock("k").run(async |_| Err::<(), _>(std::io::Error::other("no paper"))).await;
    assert!(matches!(failed, Err(RunError::TaskFailed(_))));
    assert!(!place.exists("k"));
    let held_too_long = client.lock("k").max_hold(ms(200)).run(async |held| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        held.ensure_held().map_err(std::io::Error::other)
    });
    let error = held_too_long.await.unwrap_err();
    assert!(matches!(error, RunError::Lock(Error::MaxHold { .. })), "{error:?}");
    assert!(!place.exists("k"), "it is given back at once");
    let kinds: Vec<FailureKind> = records.all().iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::TaskFailed, FailureKind::MaxHold]);
    assert!(records.all()[0].message.contains("no paper"));
}

pub async fn a_panic_gives_the_lock_back(place: &Place) {
    let client = place.client();
    let task = tokio::spawn(client.lock("k").run(async |held| {
        assert!(!held.is_held(), "panics");
        Fine::Ok(())
    }));
    assert!(task.await.unwrap_err().is_panic());
    eventually("the lock is free again", || !place.exists("k")).await;
}

pub async fn a_server_that_is_gone_is_unavailable_and_not_busy(place: &Place) {
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://127.0.0.1:{port}");
    let records = Remembered::default();
    let client = LockClient::builder().url(&url).patience(ms(300)).records(Arc::new(records.clone()));
    let client = client.build().unwrap();
    let begun = Instant::now();
    let error = client.lock("k").max_checks(None).acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < ms(3000));
    let records = records.all();
    assert_eq!((records.len(), records[0].kind, records[0].checks), (1, FailureKind::Unavailable, 0));
    // The next address is tried.
    let client = LockClient::builder().urls([url, place.url()]).build().unwrap();
    client.lock("k").acquire().await.unwrap().release().await.unwrap();
}

pub async fn bad_input_is_refused_and_changes_nothing(place: &Place) {
    let client = place.client();
    let invalid = |error: Error| matches!(error, Error::Invalid { .. });
    assert!(invalid(client.lock("k").lease(Duration::ZERO).acquire().await.unwrap_err()));
    assert!(invalid(client.lock("k").lease(Duration::MAX).acquire().await.unwrap_err()));
    assert!(invalid(client.lock("k").owner("a\r\nb").acquire().await.unwrap_err()));
    assert!(invalid(client.lock("k").owner("").acquire().await.unwrap_err()));
    assert!(invalid(client.lock("k").owner("x".repeat(513)).acquire().await.unwrap_err()));
    assert!(invalid(client.lock("k").max_checks(0).acquire().await.unwrap_err()));
    place.ask(&["RPUSH", "list", "a"]);
    let error = client.lock("list").acquire().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason } if reason.contains("WRONGTYPE")), "{error:?}");
    assert_eq!(place.ask(&["LLEN", "list"]).head(), ":1");
    assert!(!place.exists("k"));
    assert!(invalid(LockClient::builder().build().unwrap_err()));
    assert!(invalid(place.builder().owner("a\nb").build().unwrap_err()));
    // What stands for "without end" is no mistake.
    let client = place.builder().connection_timeout(Duration::MAX).response_timeout(Duration::MAX);
    let lock = client.patience(Duration::MAX).build().unwrap().lock("k").jitter(f64::NAN);
    let lock = lock.interval(Duration::MAX).max_hold(Duration::MAX).margin(Duration::MAX);
    let guard = lock.clone().acquire().await.unwrap();
    assert!(tokio::time::timeout(ms(50), lock.acquire()).await.is_err());
    guard.release().await.unwrap();
    eventually("who gave up leaves nothing", || !place.exists("k")).await;
    let error = LockClient::builder().url("http://:secret@host").build().unwrap_err();
    assert!(!error.to_string().contains("secret"));
}

pub async fn clients_with_the_same_name_exclude_each_other(place: &Place) {
    let client = || place.builder().owner("worker").build().unwrap();
    let held = client().lock("k").acquire().await.unwrap();
    assert!(held.owner().starts_with("worker:"), "{}", held.owner());
    let other = client().lock("k").max_checks(1).acquire().await;
    assert!(matches!(other, Err(Error::Busy { .. })), "{other:?}");
    held.release().await.unwrap();
}

pub async fn a_release_that_is_dropped_half_way_is_no_loss(place: &Place) {
    let records = Remembered::default();
    let client = place.builder().records(Arc::new(records.clone())).build().unwrap();
    for _ in 0..3 {
        let guard = client.lock("k").acquire().await.unwrap();
        place.signal("-STOP");
        let released = tokio::time::timeout(ms(50), guard.release()).await;
        place.signal("-CONT");
        assert!(released.is_err(), "it cannot have been answered");
        eventually("the lock is given back", || !place.exists("k")).await;
    }
    tokio::time::sleep(ms(300)).await;
    assert!(records.all().is_empty(), "{:?}", records.all());
}

pub async fn a_dropped_guard_whose_lock_was_taken_away_has_that_recorded(place: &Place) {
    let records = Remembered::default();
    let client = place.builder().records(Arc::new(records.clone())).build().unwrap();
    let guard = client.lock("k").acquire().await.unwrap();
    place.ask(&["DEL", "k"]);
    drop(guard);
    eventually("the loss is recorded", || !records.all().is_empty()).await;
    tokio::time::sleep(ms(100)).await;
    let kinds: Vec<FailureKind> = records.all().iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::Lost]);
}

pub async fn connections_that_the_server_has_closed_are_made_anew_without_a_pause(place: &Place) {
    let client = place.builder().patience(ms(1000)).build().unwrap();
    let others = place.client();
    // Twelve waiters at a time leave as many connections behind.
    let crowd = async |client: &LockClient| {
        let holder = others.lock("k").acquire().await.unwrap();
        let waiting: Vec<_> = (0..12)
            .map(|_| {
                let attempt = client.lock("k").interval(ms(500)).acquire();
                tokio::spawn(async { attempt.await.map(drop) })
            })
            .collect();
        tokio::time::sleep(ms(200)).await;
        holder.release().await.unwrap();
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
    };
    crowd(&client).await;
    place.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    tokio::time::sleep(ms(100)).await;
    let begun = Instant::now();
    client.lock("other").acquire().await.unwrap().release().await.unwrap();
    assert!(begun.elapsed() < ms(300), "{:?}", begun.elapsed());
    crowd(&client).await;
}

/// The blocking client does the same; its requests go out from the thread that waits.
pub fn a_blocking_client_does_the_same(place: &Place) {
    let client = place.builder().build_blocking().unwrap();
    // The first one makes the connection that tells what the server is.
    client.lock("k").acquire().unwrap().release().unwrap();
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
    super::block_on(async {
        drop(guard);
        eventually("it is given back", || !place.exists("k")).await;
    });
    // What is someone else's by now is told to be lost.
    let guard = client.lock("k").acquire().unwrap();
    place.ask(&["DEL", "k"]);
    let error = guard.release().unwrap_err();
    assert!(matches!(error, Error::Lost { cause: LossCause::Taken }), "{error:?}");
    place.ask(&["RPUSH", "list", "a"]);
    let error = client.lock("list").acquire().unwrap_err();
    assert!(matches!(&error, Error::Refused { reason } if reason.contains("WRONGTYPE")), "{error:?}");
    // More threads than have connections of their own, and connections that end under them.
    let counter = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..24)
        .map(|_| {
            let (client, counter) = (client.clone(), Arc::clone(&counter));
            std::thread::spawn(move || {
                for _ in 0..5 {
                    let lock = client.lock("k").max_checks(1000).interval(ms(20));
                    let guard = lock.acquire().unwrap();
                    let before = counter.load(Ordering::SeqCst);
                    std::thread::sleep(ms(1));
                    counter.store(before + 1, Ordering::SeqCst);
                    guard.release().unwrap();
                }
            })
        })
        .collect();
    while !threads.iter().all(|thread| thread.is_finished()) {
        std::thread::sleep(ms(50));
        place.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(counter.load(Ordering::SeqCst), 120, "two held it at once");
    assert!(!place.exists("k"));
}

pub async fn lost_replies_neither_deadlock_an_owner_with_itself_nor_leave_locks(place: &Place) {
    let proxy = LossyProxy::start(place.server.address(), 7);
    let client = LockClient::builder()
        .url(proxy.url())
        .response_timeout(ms(150))
        .connection_timeout(ms(500))
        .patience(Duration::from_secs(20))
        .build()
        .unwrap();
    let begun = Instant::now();
    for round in 0..150 {
        let lock = client.lock("k").lease(ms(30_000)).max_checks(40).interval(ms(50));
        // Nobody else asks for it: it may only be busy for as long as the round before is settled.
        let guard = lock.acquire().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        match guard.release().await {
            Ok(()) | Err(Error::ReleaseUnknown { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert!(proxy.lost() > 10, "{}", proxy.lost());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    eventually("nothing is held", || !place.exists("k")).await;
}

pub async fn races_of_acquire_abort_drop_and_panic_leave_nothing(place: &Place, races: u64, seed: u64) {
    let client = place.client();
    let mut random = Random(seed);
    let lease = ms(400);
    let mut running = Vec::new();
    for _ in 0..races {
        let key = format!("k{}", random.of(0..5));
        let (client, how, pause) = (client.clone(), random.of(0..5), random.of(0..3000));
        let task = tokio::spawn(async move {
            let lock = client.lock(&key).lease(lease).max_checks(3).interval(ms(5));
            match how {
                0 => drop(tokio::time::timeout(Duration::from_micros(pause), lock.acquire()).await),
                1 => drop(lock.acquire().await),
                2 => {
                    let _ = lock
                        .run(async |_| -> Fine {
                            std::panic::resume_unwind(Box::new("not printed"));
                        })
                        .await;
                }
                3 => {
                    if let Ok(guard) = lock.acquire().await {
                        let released = guard.release().await;
                        assert!(matches!(released, Ok(()) | Err(Error::Lost { .. })), "{released:?}");
                    }
                }
                _ => {
                    let _ = lock.run(async |_| Fine::Ok(())).await;
                }
            }
        });
        if how == 4 && pause < 1000 {
            task.abort();
        }
        running.push(task);
        if running.len() == 32 {
            for task in running.drain(..) {
                if let Err(error) = task.await {
                    assert!(error.is_cancelled() || error.is_panic());
                }
            }
        }
    }
    for task in running {
        let _ = task.await;
    }
    tokio::time::sleep(lease * 2).await;
    for key in 0..5 {
        assert!(!place.exists(&format!("k{key}")), "k{key} is held by nobody");
    }
}

/// On the native backend, waiting costs the server nothing and everyone is served in turn.
pub async fn waiters_are_served_in_order_and_send_nothing(place: &Place) {
    let client = place.client();
    let holder = client.lock("k").acquire().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..20 {
        let (client, order) = (client.clone(), Arc::clone(&order));
        waiters.push(tokio::spawn(async move {
            let lock = client.lock("k").max_checks(1000).interval(ms(1000));
            lock.run(async |_| {
                order.lock().unwrap().push(number);
                Fine::Ok(())
            })
            .await
        }));
        let waiting = || place.ask(&["LOCK.WAITERS", "k"]).elements().len();
        eventually("it waits", || waiting() == number + 1).await;
    }
    let before = place.requests();
    tokio::time::sleep(ms(2000)).await;
    let asked = place.requests() - before;
    assert_eq!(asked, 0, "waiters send nothing");
    holder.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

/// On the native backend, who stops waiting is in nobody's way.
pub async fn an_abandoned_waiter_leaves_the_queue_at_once(place: &Place) {
    let client = place.client();
    let holder = client.lock("k").acquire().await.unwrap();
    let waiting = || place.ask(&["LOCK.WAITERS", "k"]).elements().len();
    for _ in 0..5 {
        let abandoned = client.lock("k").interval(ms(20_000)).acquire();
        let abandoned = tokio::spawn(abandoned);
        eventually("it waits", || waiting() == 1).await;
        abandoned.abort();
        eventually("it waits no more", || waiting() == 0).await;
    }
    holder.release().await.unwrap();
    assert!(!place.exists("k"));
}

/// On the native backend, who stops waiting in the moment of their turn does not keep the lock.
pub async fn a_waiter_that_gives_up_while_the_lock_becomes_free_leaves_it_so(place: &Place) {
    let (client, other) = (place.client(), place.client());
    let mut random = Random(5);
    for _ in 0..100 {
        let holder = other.lock("k").acquire().await.unwrap();
        let waiting = || place.ask(&["LOCK.WAITERS", "k"]).elements().len();
        let abandoned = tokio::spawn(client.lock("k").interval(ms(20_000)).acquire());
        eventually("it waits", || waiting() == 1).await;
        abandoned.abort();
        tokio::time::sleep(Duration::from_micros(random.of(0..1500))).await;
        holder.release().await.unwrap();
        eventually("nobody holds it", || !place.exists("k")).await;
        // It may be held for a moment once more, by whoever makes sure that it is not.
        tokio::time::sleep(ms(10)).await;
        eventually("nobody holds it in the end", || !place.exists("k")).await;
    }
}

/// On the native backend, commands run under the lock only.
pub async fn guarded_commands_are_refused_once_the_lock_is_someone_elses(place: &Place) {
    let client = place.client();
    let first = client.lock("k").lease(ms(60_000)).acquire().await.unwrap();
    let mut set = redstart_lock::redis::cmd("SET");
    set.arg("balance").arg("10");
    first.guard_command(&set).await.unwrap();
    assert!(first.fence("resource").await.unwrap());
    place.ask(&["LOCK.FORCE", "k", "TOKEN", &first.token().to_string()]);
    let second = client.lock("k").acquire().await.unwrap();
    set.arg("GET");
    let error = first.guard_command(&set).await.unwrap_err();
    assert!(matches!(error, Error::Lost { cause: LossCause::Fenced }), "{error:?}");
    assert!(!first.is_held());
    assert!(second.fence("resource").await.unwrap());
    assert!(!client.fence("resource", first.token()).await.unwrap());
    second.release().await.unwrap();
}

/// Hands the names of the scenes that take a place, and nothing else, to a macro that makes tests of them.
macro_rules! on_any_server {
    ($tests:ident) => {
        $tests![
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
            clients_with_the_same_name_exclude_each_other,
            a_release_that_is_dropped_half_way_is_no_loss,
            a_dropped_guard_whose_lock_was_taken_away_has_that_recorded,
            connections_that_the_server_has_closed_are_made_anew_without_a_pause,
            lost_replies_neither_deadlock_an_owner_with_itself_nor_leave_locks,
        ];
    };
}
pub(crate) use on_any_server;
