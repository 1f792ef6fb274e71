//! The Rust `redis` crate against this build: blocking and async, RESP2 and RESP3, pipelines, transactions, pub/sub.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{Client, Commands, Connection, ErrorKind, ServerErrorKind};
use testkit::ServerProcess;

fn server() -> ServerProcess {
    ServerProcess::start(&[env!("CARGO_BIN_EXE_redstart").into(), "server".into()], &[])
        .expect("our own build starts")
}

fn client(server: &ServerProcess, protocol: &str) -> Client {
    Client::open(format!("redis://127.0.0.1:{}/?protocol={protocol}", server.address().port()))
        .expect("a valid URL")
}

/// Runs a test body over both protocols, each on a server of its own.
fn both(body: impl Fn(&Client, &mut Connection)) {
    for protocol in ["resp2", "resp3"] {
        let server = server();
        let client = client(&server, protocol);
        body(&client, &mut client.get_connection().expect("the server listens"));
    }
}

#[test]
fn values_of_every_type_come_back() {
    both(|_, con| {
        let () = con.set_ex("k", "v", 100).unwrap();
        assert_eq!(con.get::<_, String>("k").unwrap(), "v");
        assert!(con.ttl::<_, i64>("k").unwrap() > 98);
        assert_eq!(con.incr::<_, _, i64>("n", i64::MAX).unwrap(), i64::MAX);
        let () = con.hset_multiple("h", &[("a", 1), ("b", 2)]).unwrap();
        let map: BTreeMap<String, i32> = con.hgetall("h").unwrap();
        assert_eq!(map, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
        let () = con.rpush("l", (0..1000).collect::<Vec<_>>()).unwrap();
        assert_eq!(con.lrange::<_, Vec<i32>>("l", 0, -1).unwrap(), (0..1000).collect::<Vec<_>>());
        let () = con.sadd("s", &["x", "y", "z"]).unwrap();
        assert_eq!(con.smembers::<_, BTreeSet<String>>("s").unwrap().len(), 3);
        let () = con.zadd_multiple("z", &[(1.5, "one"), (2.0, "two")]).unwrap();
        let scored: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1).unwrap();
        assert_eq!(scored, [("one".into(), 1.5), ("two".into(), 2.0)]);
        let missing: Option<String> = con.get("missing").unwrap();
        assert_eq!(missing, None);
    });
}

#[test]
fn a_scan_returns_every_key() {
    both(|_, con| {
        let mut pipe = redis::pipe();
        for i in 0..2000 {
            pipe.set(format!("key:{i}"), i).ignore();
        }
        let () = pipe.query(con).unwrap();
        let keys: BTreeSet<String> = con.scan_match("key:*").unwrap().map(|key| key.unwrap()).collect();
        assert_eq!(keys.len(), 2000);
    });
}

#[test]
fn a_transaction_is_tried_again_when_its_key_changes() {
    both(|client, con| {
        let mut other = client.get_connection().unwrap();
        let () = con.set("n", 1).unwrap();
        let mut tries = 0;
        let (n,): (i32,) = redis::transaction(con, &["n"], |con, pipe| {
            tries += 1;
            let old: i32 = con.get("n")?;
            if tries == 1 {
                let () = other.set("n", 10)?;
            }
            pipe.set("n", old + 1).ignore().get("n").query(con)
        })
        .unwrap();
        assert_eq!((tries, n), (2, 11));
    });
}

#[test]
fn errors_keep_their_code() {
    both(|_, con| {
        let () = con.rpush("l", 1).unwrap();
        let error = con.get::<_, String>("l").unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let error = redis::cmd("NOSUCH").query::<()>(con).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    });
}

#[test]
fn messages_arrive() {
    both(|client, con| {
        let mut listener = client.get_connection().unwrap();
        let mut listener = listener.as_pubsub();
        listener.subscribe("news").unwrap();
        listener.psubscribe("n*").unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(con.publish::<_, _, i32>("news", "hello").unwrap(), 2);
        for _ in 0..2 {
            let message = listener.get_message().unwrap();
            assert_eq!(message.get_payload::<String>().unwrap(), "hello");
        }
    });
}

#[test]
fn many_tasks_share_one_async_connection() {
    let server = server();
    let client = client(&server, "resp3");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let mut connection = connection.clone();
                async move { redis::cmd("INCR").arg("n").query_async::<i64>(&mut connection).await.unwrap() }
            })
            .collect();
        let mut replies = Vec::new();
        for task in tasks {
            replies.push(task.await);
        }
        assert_eq!(replies.iter().max(), Some(&100));
    });
}
