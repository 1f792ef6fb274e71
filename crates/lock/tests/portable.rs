//! The suite on redis-server: the portable backend.

mod suite;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use redstart_lock::{BackendKind, Error, LockClient};
use suite::{Place, block_on, ms, redis_is_here, scenes};
use testkit::Reply;

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
fn tokens_are_those_of_a_redstart_server_at_that_time() {
    let Some(place) = place() else { return };
    block_on(async {
        let guard = place.client().lock("k").acquire().await.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // Milliseconds since 2024, and 14 bits for the grants in each of them.
        let by_clock = (now.as_millis() as u64 - 1_704_067_200_000) << 14;
        assert!(guard.token().abs_diff(by_clock) < 10_000 << 14, "{} and {by_clock}", guard.token());
        guard.release().await.unwrap();
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
    if let Some(place) = place() {
        scenes::a_blocking_client_does_the_same(&place);
    }
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

#[test]
fn a_server_that_can_compare_and_delete_is_asked_for_that() {
    let deleted = |command: &str, owner: &str| match command {
        "DELIFEQ" => format!("DELIFEQ k {owner}"),
        _ => format!("DELEX k IFEQ {owner}"),
    };
    for command in ["DELIFEQ", "DELEX"] {
        let server = Modern::start(command);
        let client = || LockClient::builder().url(server.url());
        let owner = block_on(async {
            let guard = client().build().unwrap().lock("k").acquire().await.unwrap();
            let owner = guard.owner().to_owned();
            guard.release().await.unwrap();
            owner
        });
        let asked = server.asked();
        let released = &asked[asked.len() - 2..];
        assert_eq!(released, [deleted(command, &owner), "PUBLISH redstart:lock:{k} 1".into()], "{asked:?}");
        // The blocking client does no less.
        let client = client().build_blocking().unwrap();
        for _ in 0..2 {
            let guard = client.lock("k").acquire().unwrap();
            let owner = guard.owner().to_owned();
            guard.release().unwrap();
            let asked = server.asked();
            assert_eq!(asked[asked.len() - 2], deleted(command, &owner), "{asked:?}");
        }
        // A name that another may have is not enough: only the token tells them apart.
        client.lock("k").owner("me").acquire().unwrap().release().unwrap();
        let asked = server.asked();
        assert!(asked[asked.len() - 1].starts_with("EVAL "), "{asked:?}");
    }
}

/// A server that knows a command which the installed one does not, and notes what it is asked.
struct Modern {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Modern {
    fn start(command: &'static str) -> Modern {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Modern { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || answer(stream, command, &asked));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers one client: every lock is free, every release finds it held.
fn answer(mut stream: TcpStream, command: &str, asked: &Mutex<Vec<String>>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..length]);
        while let Ok(Some((request, length))) = Reply::parse(&bytes) {
            bytes.drain(..length);
            let words: Vec<String> = request
                .elements()
                .iter()
                .map(|word| String::from_utf8_lossy(word.text().unwrap_or_default()).into_owned())
                .collect();
            asked.lock().unwrap().push(words.join(" "));
            let known = "*1\r\n$1\r\nx\r\n";
            let reply = match (words[0].as_str(), words.len()) {
                ("COMMAND", _) if command == "DELIFEQ" => format!("*3\r\n*-1\r\n{known}*-1\r\n"),
                ("COMMAND", _) => format!("*3\r\n*-1\r\n*-1\r\n{known}"),
                ("EVALSHA", _) => "-NOSCRIPT No matching script\r\n".to_owned(),
                ("EVAL", 7) => "*2\r\n:1\r\n$1\r\n7\r\n".to_owned(),
                _ => ":1\r\n".to_owned(),
            };
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}
