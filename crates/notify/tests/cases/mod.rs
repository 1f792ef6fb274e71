//! What holds of records and their delivery on any server that speaks the protocol: one function a case.
//!
//! The case gets the command that starts the server, so that the same file judges redis-server and Redstart.
#![allow(dead_code, unreachable_pub)] // Each test binary uses a part.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use notify::{
    Attempt, AttemptResult, Config, Exit, FailureKind, FailureRecord, Holder, Notifier, Saved, Store,
    StoreError, Ulid, UnixMs,
};
use testkit::{Proxy, Reply, ServerProcess, tcp};

use super::support::{Behaviour, Folder, PATIENCE, Receiver, nobody};

/// A secret that stands in everything a record is made of, and may come out nowhere.
const SECRET: &str = "hunter2hunter2";

/// A server, and a folder for the journal.
struct Site {
    server: ServerProcess,
    folder: Folder,
}

impl Site {
    fn new(command: &[String]) -> Site {
        let server = ServerProcess::start(command, &[]).unwrap();
        Site { server, folder: Folder::new() }
    }

    fn store(&self) -> Store {
        open(&format!("redis://{}", self.server.address()), &self.folder)
    }

    fn notifier(&self, config: Config) -> Notifier {
        Notifier::new(config, self.store())
    }

    fn ask(&self, words: &[&str]) -> Reply {
        tcp::ask(self.server.address(), words).unwrap()
    }

    /// Returns everything that the server keeps, as text.
    fn everything(&self) -> String {
        let mut all = String::new();
        for key in texts(&self.ask(&["KEYS", "*"])) {
            all.push_str(&format!("{key}\n"));
            for words in [
                vec!["HGETALL", key.as_str()],
                vec!["LRANGE", key.as_str(), "0", "-1"],
                vec!["SMEMBERS", key.as_str()],
                vec!["GET", key.as_str()],
            ] {
                all.push_str(&format!("{}\n", texts(&self.ask(&words)).join("\n")));
            }
        }
        all
    }
}

fn open(url: &str, folder: &Folder) -> Store {
    Store::open(url, folder.0.join("state")).unwrap().timeout(Duration::from_secs(1))
}

/// Returns all texts in a reply.
fn texts(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Branch(_, items) => items.iter().flat_map(texts).collect(),
        other => other.text().map(|text| String::from_utf8_lossy(text).into_owned()).into_iter().collect(),
    }
}

/// Returns a configuration in which Ada gets everything over these channels, each a table's lines.
fn config(window: &str, channels: &[(&str, String)]) -> Config {
    let names: Vec<String> = channels.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let mut text = format!(
        "[settings]\nwindow = \"{window}\"\n[people.ada]\nname = \"Ada Lovelace\"\nchannels = [{}]\n\
         [[routes]]\nkeys = \"*\"\npeople = \"ada\"\n",
        names.join(", ")
    );
    for (name, lines) in channels {
        text.push_str(&format!("[channels.{name}]\n{lines}\n"));
    }
    Config::parse(&text, Path::new("notify.toml")).unwrap()
}

fn webhook(receiver: &Receiver) -> String {
    format!(
        "type = \"webhook\"\ntimeout = \"1s\"\nspacing = \"0s\"\nurl = \"{}\"",
        receiver.url(&format!("/hooks/{SECRET}"))
    )
}

fn record(key: &str) -> FailureRecord {
    FailureRecord::here(FailureKind::Busy, key)
        .task("report")
        .arguments([
            "report",
            "--password",
            SECRET,
            &format!("redis://:{SECRET}@db"),
            &format!("API_TOKEN={SECRET}"),
        ])
        .waited(3, Duration::from_millis(50), Duration::from_millis(110))
        .holder(Some(Holder {
            owner: "other:1".into(),
            token: Some(7),
            held_ms: Some(5000),
            remaining_ms: Some(100),
            meta: Some(serde_json::json!({ "secret": SECRET, "job": "x" })),
        }))
        .exit(Some(Exit::Code(1)))
        .error(format!("password={SECRET} was refused"))
        .stderr(format!("Authorization: Bearer {SECRET}\nfailed\n").as_bytes())
}

/// Calls until it returns something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_open(store: &Store, site: &Site, id: Ulid) -> bool {
    assert!(store.get(id).unwrap().is_some());
    texts(&site.ask(&["SMEMBERS", "redstart:failures:open"])).contains(&id.to_string())
}

pub fn records_are_kept_newest_first_and_never_more_than_the_cap(command: &[String]) {
    let site = Site::new(command);
    let store = site.store().records_max(5);
    let records: Vec<FailureRecord> = (0..8)
        .map(|n| {
            thread::sleep(Duration::from_millis(2));
            record(&format!("k{n}"))
        })
        .collect();
    for one in &records {
        assert_eq!(store.save(one).unwrap(), Saved::Server);
        assert_eq!(store.save(one).unwrap(), Saved::Server, "twice is once");
    }
    let keys: Vec<String> = store.list(100).unwrap().into_iter().map(|one| one.key).collect();
    assert_eq!(keys, ["k7", "k6", "k5", "k4", "k3"]);
    assert_eq!(store.list(2).unwrap().len(), 2);
    assert!(store.list(0).unwrap().is_empty());
    assert_eq!(store.get(records[0].id).unwrap(), None);
    assert_eq!(store.get(records[7].id).unwrap().unwrap(), records[7].redacted());
    assert_eq!(texts(&site.ask(&["KEYS", "redstart:failure:*"])).len(), 5);
    assert_eq!(texts(&site.ask(&["SMEMBERS", "redstart:failures:open"])).len(), 5);
}

pub fn an_acknowledgement_ends_it_and_asking_anew_begins_it_again(command: &[String]) {
    let site = Site::new(command);
    let store = site.store();
    let one = record("k");
    store.save(&one).unwrap();
    assert!(is_open(&store, &site, one.id));
    assert!(store.ack(one.id, "grace").unwrap());
    assert!(!is_open(&store, &site, one.id));
    assert_eq!(store.get(one.id).unwrap().unwrap().acknowledged.unwrap().by, "grace");
    assert!(store.renotify(one.id).unwrap());
    assert!(is_open(&store, &site, one.id));
    assert_eq!(store.get(one.id).unwrap().unwrap().acknowledged, None);
    let unknown = Ulid::new(UnixMs(1), [0; 10]);
    assert!(!store.ack(unknown, "x").unwrap() && !store.renotify(unknown).unwrap());
    assert_eq!(texts(&site.ask(&["EXISTS", &format!("redstart:failure:{unknown}")])), ["0"]);
}

pub fn while_no_server_is_there_records_go_to_disk_and_later_to_the_server(command: &[String]) {
    let site = Site::new(command);
    let proxy = Proxy::start(nobody()).unwrap();
    let store = open(&format!("redis://{}", proxy.address()), &site.folder);
    let (one, two) = (record("a"), record("b"));
    assert_eq!(store.save(&one).unwrap(), Saved::Disk);
    assert!(matches!(store.list(10), Err(StoreError::Unavailable(_))));
    proxy.lead_to(site.server.address());
    assert_eq!(store.save(&two).unwrap(), Saved::Server);
    assert_eq!(store.on_disk().unwrap(), [one.redacted()]);
    assert_eq!(store.replay().unwrap(), 1);
    assert!(store.on_disk().unwrap().is_empty());
    let mut keys: Vec<String> = store.list(10).unwrap().into_iter().map(|one| one.key).collect();
    keys.sort();
    assert_eq!(keys, ["a", "b"]);

    // A process that was killed between the server's answer and the emptying of the file does it all again.
    store.journal().append(&one.redacted()).unwrap();
    assert_eq!(store.replay().unwrap(), 1);
    assert_eq!(store.list(10).unwrap().len(), 2);
    // What was acknowledged in between stays acknowledged.
    assert!(store.ack(one.id, "ada").unwrap());
    store.journal().append(&one.redacted()).unwrap();
    store.replay().unwrap();
    assert!(!is_open(&store, &site, one.id));
}

pub fn a_server_that_refuses_writes_is_one_that_is_away(command: &[String]) {
    let site = Site::new(command);
    let store = site.store();
    site.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    site.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let one = record("k");
    assert_eq!(store.save(&one).unwrap(), Saved::Disk);
    assert!(matches!(store.replay(), Err(StoreError::Refused(_))));
    assert_eq!(store.on_disk().unwrap().len(), 1);
    site.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.list(10).unwrap(), [one.redacted()]);
}

pub fn one_failure_is_told_once_by_name_on_every_channel(command: &[String]) {
    let site = Site::new(command);
    let (first, second) = (Receiver::ok(""), Receiver::ok("ok"));
    let slack = format!("type = \"slack\"\nurl = \"{}\"", second.url("/services/x"));
    let notifier = site.notifier(config("10m", &[("hook", webhook(&first)), ("chat", slack)]));
    let one = record("nightly");
    assert_eq!(notifier.report(one.clone()).unwrap(), Saved::Server);
    assert!(notifier.settle(PATIENCE));
    let told = first.wait_for(1)[0].json();
    assert_eq!((&told["person"], &told["key"]), (&"ada".into(), &"nightly".into()));
    assert!(second.wait_for(1)[0].text().contains("Ada Lovelace"));
    let kept = notifier.store().get(one.id).unwrap().unwrap();
    assert_eq!((kept.people, kept.attempts.len()), (vec!["ada".to_owned()], 2));
    assert!(kept.attempts.iter().all(|attempt| attempt.result == AttemptResult::Delivered));
    assert!(!is_open(notifier.store(), &site, one.id));
    // Nobody tells it again.
    assert_eq!(site.notifier(config("10m", &[("hook", webhook(&first))])).deliver_due().delivered, 0);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

pub fn what_does_not_arrive_is_recorded_and_tried_again(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::start(Behaviour::Answer(500, format!("sorry {SECRET}")));
    let notifier = site.notifier(config("10m", &[("hook", webhook(&receiver))]));
    let one = record("k");
    let begun = Instant::now();
    notifier.report(one.clone()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "a report does not wait for a channel");
    let requests = receiver.wait_for(3);
    let waits: Vec<Duration> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits[0] >= Duration::from_millis(990) && waits[1] >= Duration::from_millis(1990), "{waits:?}");
    assert!(requests[0].headers["x-redstart-record"] == one.id.to_string());
    receiver.behave(Behaviour::Answer(200, String::new()));
    assert!(notifier.settle(PATIENCE));
    let kept = notifier.store().get(one.id).unwrap().unwrap();
    let failed: Vec<&Attempt> =
        kept.attempts.iter().filter(|attempt| !attempt.result.is_delivered()).collect();
    assert_eq!(failed.len(), kept.attempts.len() - 1);
    let AttemptResult::Failed(what) = &failed[0].result else { panic!("it failed") };
    assert!(what.starts_with("answered 500 with \"sorry "), "{what}");
    assert!(!is_open(notifier.store(), &site, one.id));
}

pub fn a_receiver_that_hangs_delays_neither_the_task_nor_other_channels(command: &[String]) {
    let site = Site::new(command);
    let (hung, well) = (Receiver::start(Behaviour::Hang), Receiver::ok(""));
    let patient = webhook(&hung).replace("\"1s\"", "\"8s\"");
    let notifier = site.notifier(config("10m", &[("hung", patient), ("well", webhook(&well))]));
    let begun = Instant::now();
    notifier.report(record("a")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the task waited for a channel");
    well.wait_for(1);
    // What is reported while a delivery hangs goes out over the other channel, too.
    notifier.report(record("b")).unwrap();
    well.wait_for(2);
    assert!(begun.elapsed() < Duration::from_secs(5), "a channel waited for another");
    assert!(!notifier.settle(Duration::from_millis(300)), "the hung channel has not told it");
}

pub fn repetitions_are_told_together(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::ok("");
    let notifier = site.notifier(config("2s", &[("hook", webhook(&receiver))]));
    let ids: Vec<Ulid> = (0..4)
        .map(|n| {
            let one = record("k");
            notifier.report(one.clone()).unwrap();
            if n == 0 {
                receiver.wait_for(1);
            }
            one.id
        })
        .collect();
    // Another process, which knows of the window only from the store.
    let other = site.notifier(config("2s", &[("hook", webhook(&receiver))]));
    assert_eq!(other.deliver_due().delivered, 0);
    let requests = receiver.wait_for(2);
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(1900));
    assert_eq!(requests[1].json()["repeated"], 2);
    assert!(notifier.settle(PATIENCE));
    until("all are closed", || ids.iter().all(|id| !is_open(notifier.store(), &site, *id)).then_some(()));
    let newest = *ids[1..].iter().max().unwrap();
    for id in &ids[1..] {
        let attempts = notifier.store().get(*id).unwrap().unwrap().attempts;
        let with =
            if *id == newest { AttemptResult::Delivered } else { AttemptResult::DeliveredWith(newest) };
        assert_eq!(attempts.iter().map(|attempt| &attempt.result).collect::<Vec<_>>(), [&with]);
    }
    assert_eq!(receiver.requests().len(), 2);
}

pub fn two_processes_do_not_both_tell(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::ok("");
    let store = site.store();
    for n in 0..40 {
        store.save(&record(&format!("k{n}"))).unwrap();
    }
    let notifiers: Vec<Arc<Notifier>> =
        (0..4).map(|_| Arc::new(site.notifier(config("10m", &[("hook", webhook(&receiver))])))).collect();
    let passes: Vec<_> = notifiers
        .iter()
        .map(|notifier| {
            let notifier = Arc::clone(notifier);
            thread::spawn(move || notifier.deliver_due().delivered)
        })
        .collect();
    let delivered: usize = passes.into_iter().map(|pass| pass.join().unwrap()).sum();
    let rest: usize = until("all are told", || {
        let told: usize = notifiers.iter().map(|notifier| notifier.deliver_due().delivered).sum();
        texts(&site.ask(&["SMEMBERS", "redstart:failures:open"])).is_empty().then_some(told)
    });
    let requests = receiver.requests();
    let mut keys: Vec<String> = requests.iter().map(|one| one.json()["key"].to_string()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((requests.len(), keys.len()), (40, 40), "{delivered} at once, {rest} in the end");
}

pub fn two_processes_share_a_channels_pace(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::ok("");
    let paced = || {
        let lines = webhook(&receiver).replace("\"0s\"", "\"300ms\"");
        site.notifier(config("10m", &[("hook", lines)]))
    };
    let (first, second) = (paced(), paced());
    for n in 0..3 {
        first.report(record(&format!("a{n}"))).unwrap();
        second.report(record(&format!("b{n}"))).unwrap();
    }
    let requests = receiver.wait_for(6);
    for pair in requests.windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between >= Duration::from_millis(250), "{between:?}");
    }
}

pub fn nobody_is_told_of_what_was_acknowledged_and_everybody_of_what_is_asked_anew(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::ok("");
    let notifier = site.notifier(config("10m", &[("hook", webhook(&receiver))]));
    let one = record("k");
    notifier.store().save(&one).unwrap();
    notifier.store().ack(one.id, "ada").unwrap();
    assert_eq!(notifier.deliver_due().delivered, 0);
    for told in 1..=3 {
        // Within the window, too.
        notifier.store().renotify(one.id).unwrap();
        assert_eq!(notifier.deliver_due().delivered, 1);
        assert_eq!(receiver.requests().len(), told);
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn without_a_server_people_are_told_from_disk_and_not_again_afterwards(command: &[String]) {
    let site = Site::new(command);
    let proxy = Proxy::start(nobody()).unwrap();
    let receiver = Receiver::ok("");
    let notifier = || {
        let store = open(&format!("redis://{}", proxy.address()), &site.folder);
        Notifier::new(config("10m", &[("hook", webhook(&receiver))]), store)
    };
    let first = notifier();
    let one = record("k");
    assert_eq!(first.report(one.clone()).unwrap(), Saved::Disk);
    assert!(first.settle(PATIENCE));
    assert_eq!(receiver.wait_for(1)[0].json()["key"], "k");
    assert!(!notifier().deliver_due().server);
    assert_eq!(receiver.requests().len(), 1, "the journal knows that it was told");
    proxy.lead_to(site.server.address());
    let pass = notifier().deliver_due();
    assert_eq!((pass.server, pass.delivered, pass.waiting), (true, 0, 0));
    let store = site.store();
    assert_eq!(store.get(one.id).unwrap().unwrap().attempts.len(), 1);
    assert!(!is_open(&store, &site, one.id));
    assert_eq!(receiver.requests().len(), 1);
}

pub fn with_everything_down_a_record_survives_and_is_told_when_all_is_back(command: &[String]) {
    let site = Site::new(command);
    let proxy = Proxy::start(nobody()).unwrap();
    let receiver = Receiver::start(Behaviour::Close);
    let url = format!("redis://{}", proxy.address());
    let channels = [("hook", webhook(&receiver))];
    let first = Notifier::new(config("10m", &channels), open(&url, &site.folder));
    let one = record("k");
    assert_eq!(first.report(one.clone()).unwrap(), Saved::Disk);
    receiver.wait_for(2);
    drop(first);
    // Whoever runs next is another process.
    let second = Notifier::new(config("10m", &channels), open(&url, &site.folder));
    second.start();
    let before = receiver.requests().len();
    receiver.wait_for(before + 1);
    proxy.lead_to(site.server.address());
    receiver.behave(Behaviour::Answer(200, String::new()));
    let back = Instant::now();
    let store = site.store();
    until("it is told and closed", || {
        let kept = store.get(one.id).ok().flatten()?;
        kept.attempts.iter().any(|attempt| attempt.result.is_delivered()).then_some(())
    });
    assert!(back.elapsed() < Duration::from_secs(60));
    until("it is closed", || (!is_open(&store, &site, one.id)).then_some(()));
}

/// What the process is told to do that [`a_process_killed_at_any_moment_leaves_nobody_untold`] starts.
pub const VICTIM: &str = "NOTIFY_TEST_VICTIM";

/// Saves a record, tells of it or does not, and ends without a farewell: the other half of the case below.
pub fn victim() {
    let Ok(task) = std::env::var(VICTIM) else { return };
    let mut parts = task.split('|');
    let mut part = || parts.next().unwrap().to_owned();
    let (url, state, hook, moment, key) = (part(), part(), part(), part(), part());
    let store = Store::open(&url, state).unwrap();
    let lines = format!("type = \"webhook\"\ntimeout = \"1s\"\nspacing = \"0s\"\nurl = \"{hook}\"");
    let notifier = Notifier::new(config("10m", &[("hook", lines)]), store);
    if moment == "saved" {
        notifier.store().save(&record(&key)).unwrap();
    } else {
        notifier.report(record(&key)).unwrap();
        // The receiver hangs; the test looks for the request, then the answer never comes.
        thread::sleep(Duration::from_millis(600));
    }
    std::process::abort();
}

pub fn a_process_killed_at_any_moment_leaves_nobody_untold(command: &[String], victim: &str) {
    let site = Site::new(command);
    let receiver = Receiver::start(Behaviour::Hang);
    let url = format!("redis://{}", site.server.address());
    for moment in ["saved", "sending"] {
        let state = site.folder.0.join("state");
        let task = format!("{url}|{}|{}|{moment}|{moment}", state.display(), receiver.url("/"));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", victim, "--test-threads=1"])
            .env(VICTIM, task)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "it was killed");
    }
    assert_eq!(receiver.requests().len(), 1, "one was killed before it told, one while it told");
    receiver.behave(Behaviour::Answer(200, String::new()));
    let next = site.notifier(config("10m", &[("hook", webhook(&receiver))]));
    let begun = Instant::now();
    assert_eq!(next.deliver_due().delivered, 1, "the claim of the other is still there");
    next.start();
    until("both are told", || {
        texts(&site.ask(&["SMEMBERS", "redstart:failures:open"])).is_empty().then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(60));
    let mut keys: Vec<String> =
        receiver.requests()[1..].iter().map(|one| one.json()["key"].to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["\"saved\"", "\"sending\""]);
}

pub fn secrets_come_out_nowhere(command: &[String]) {
    let site = Site::new(command);
    let receiver = Receiver::start(Behaviour::Answer(500, format!("bad url /hooks/{SECRET}")));
    let proxy = Proxy::start(nobody()).unwrap();
    let signed = format!("{}\nsecret = \"{SECRET}\"", webhook(&receiver));
    let config = config("10m", &[("hook", signed)]);
    assert!(!format!("{config:?}").contains(SECRET));
    let url = format!("redis://user:{SECRET}@{}", proxy.address());
    let store = open(&url, &site.folder);
    // A record whose maker forgot to strike anything.
    let mut raw = record("k");
    raw.arguments = vec!["mysqldump".into(), format!("-p{SECRET}"), format!("--token={SECRET}")];
    raw.stderr = format!("secret: {SECRET}");
    raw.error = format!("https://hooks.slack.com/services/{SECRET}");
    let notifier = Notifier::new(config, store);
    assert!(!format!("{notifier:?}").contains(SECRET));
    notifier.report(raw.clone()).unwrap();
    receiver.wait_for(1);
    let journal = std::fs::read_to_string(site.folder.0.join("state/failures.jsonl")).unwrap();
    assert!(!journal.contains(SECRET), "{journal}");
    let error = notifier.store().list(1).unwrap_err().to_string();
    assert!(!error.contains(SECRET), "{error}");
    drop(notifier);

    let signed = format!("{}\nsecret = \"{SECRET}\"", webhook(&receiver));
    let notifier = site.notifier(self::config("10m", &[("hook", signed)]));
    notifier.report(raw).unwrap();
    let before = receiver.requests().len();
    receiver.wait_for(before + 1);
    notifier.deliver_due();
    let all = site.everything();
    assert!(all.contains("\"answered 500") || all.contains("answered 500"), "{all}");
    assert!(!all.contains(SECRET), "{all}");
    for request in receiver.requests() {
        assert!(!request.text().contains(SECRET), "{}", request.text());
    }
}

/// Hands the names of the cases that take a server's command, and nothing else, to a macro that makes tests of them.
macro_rules! on_any_server {
    ($tests:ident) => {
        $tests! {
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
    };
}
pub(crate) use on_any_server;
