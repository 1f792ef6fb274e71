//! A program that uses the lock library: what it does not get done, a person hears of.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, FailureKind, Notifier, Store};
use redstart_lock::{LockClient, RunError};
use support::{Folder, PATIENCE, Receiver};
use testkit::ServerProcess;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

#[test]
fn what_the_library_gives_up_is_saved_and_told_by_name() {
    let Ok(server) = ServerProcess::start(&["redis-server".to_owned()], &[]) else {
        println!("no redis-server here to lock with");
        return;
    };
    let (folder, receiver) = (Folder::new(), Receiver::ok("ok"));
    let config = format!(
        "[people.ada]\nname = \"Ada Lovelace\"\nchannels = \"chat\"\nslack = \"U012AB3CD\"\n\
         [channels.chat]\ntype = \"slack\"\nurl = \"{}\"\nspacing = \"0s\"\n\
         [[routes]]\nkeys = \"jobs:*\"\npeople = \"ada\"\n",
        receiver.url("/services/x")
    );
    let url = format!("redis://{}", server.address());
    let config = Config::parse(&config, Path::new("notify.toml")).unwrap();
    let notifier = Arc::new(Notifier::new(config, Store::open(&url, folder.0.join("state")).unwrap()));

    block_on(async {
        let holder = LockClient::builder().url(&url).build().unwrap();
        let held = holder.lock("jobs:invoices").lease(Duration::from_secs(10)).acquire().await.unwrap();
        let client = LockClient::builder().url(&url).records(notifier.sink()).build().unwrap();
        let lock = client.lock("jobs:invoices").max_checks(3).interval(Duration::from_millis(20));
        let outcome = lock.task("send invoices").run(async |_| Ok::<(), String>(())).await;
        assert!(matches!(outcome, Err(RunError::Lock(redstart_lock::Error::Busy { checks: 3, .. }))));
        let token = held.token();
        drop(held);
        let record = notifier.store().list(10).unwrap().remove(0);
        assert_eq!(
            (record.kind, record.key.as_str(), record.checks),
            (FailureKind::Busy, "jobs:invoices", 3)
        );
        assert_eq!(record.holder.unwrap().token, Some(token));
        assert_eq!((record.task.as_deref(), record.people), (Some("send invoices"), vec!["ada".to_owned()]));
    });

    assert!(notifier.settle(PATIENCE));
    let told = receiver.wait_for(1);
    assert!(told[0].text().contains("<@U012AB3CD> send invoices did not run"), "{}", told[0].text());
    assert_eq!(notifier.store().list(10).unwrap().len(), 1);
}
