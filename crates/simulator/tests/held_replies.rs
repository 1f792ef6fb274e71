//! What a node says of its log while the disk is not that far, one rule at a time.

use base::disk::Task;
use base::time::Now;
use config::Config;
use engine::table::Table;
use node::{Effect, LinkId, Node, Peer, Written};
use simulator::disk::{Speed, VirtualDisk};
use simulator::host::Bytes;
use simulator::{Clock, VirtualHost};
use testkit::words;

/// A node whose tasks are carried out when it is said.
struct Bench {
    node: Node,
    host: VirtualHost,
    disk: VirtualDisk,
    now: Now,
    link: LinkId,
    /// Where the snapshot under way is to be written, and what.
    child: Option<(String, Vec<u8>)>,
    begun: Vec<Task>,
}

impl Bench {
    fn new(parameters: &[(&str, &str)]) -> Bench {
        let (host, now) = (VirtualHost::default(), Clock::default().now());
        let mut config = Config::default();
        for (name, value) in parameters {
            config.set_at_start(name.as_bytes(), &[value.as_bytes()]).expect("a parameter");
        }
        let mut node = Node::new(config, Table::standard(), 1, now);
        node.begin_loading(now, None, false, &mut |_| None).expect("nothing to load");
        node.file_missing().expect("none is required");
        node.end_loading(now, &host);
        let link = node.open(now, Peer::default());
        let disk = VirtualDisk::new(1, Speed::default());
        let mut bench = Bench { node, host, disk, now, link, child: None, begun: Vec::new() };
        bench.finish();
        bench
    }

    fn begin(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Disk(id, task) => {
                    self.begun.push(task.clone());
                    self.disk.submit(self.now.instant, id, task);
                }
                Effect::Fork { kind, path, .. } => {
                    let mut bytes = Bytes::default();
                    self.node.write_snapshot(self.now, 0, kind, &mut bytes, &mut |_| {}).expect("memory");
                    self.child = Some((path, bytes.0));
                }
                _ => {}
            }
        }
    }

    /// Carries out all that is asked for, and what follows from it.
    fn finish(&mut self) {
        loop {
            self.begin();
            self.disk.settle();
            let done = self.disk.take_done(self.now.instant);
            if done.is_empty() {
                return;
            }
            done.into_iter().for_each(|(id, result)| self.node.task_done(self.now, &self.host, id, result));
        }
    }

    fn finish_snapshot(&mut self) {
        let (path, bytes) = self.child.take().expect("a snapshot is under way");
        self.disk.save(&path, None, &bytes).expect("a good disk");
        self.node.snapshot_done(self.now, Ok(Written { bytes: bytes.len() as u64, copied: 0 }));
        self.finish();
    }

    /// Returns what may leave once a request is executed, before the disk has done anything.
    fn ask(&mut self, line: &str) -> String {
        let request = words::split(line).expect("a request");
        self.node.handle_input(self.now, &self.host, self.link, &words::encode(&request));
        self.said()
    }

    fn said(&mut self) -> String {
        let said = String::from_utf8_lossy(self.node.output(self.link)).replace("\r\n", " ");
        let count = self.node.output(self.link).len();
        self.node.sent(self.link, count);
        said
    }
}

#[test]
fn reads_wait_for_writes_from_before_appendfsync_was_always() {
    let mut bench = Bench::new(&[("appendonly", "yes"), ("appendfsync", "everysec")]);
    assert_eq!(bench.ask("SET k v"), "+OK ");
    assert_eq!(bench.ask("CONFIG SET appendfsync always"), "+OK ");
    assert_eq!(bench.ask("GET k"), "", "the value is not on the disk");
    bench.finish();
    assert_eq!(bench.said(), "$1 v ");
    assert_eq!(bench.ask("GET k"), "$1 v ");
}

#[test]
fn waitaof_counts_no_log_that_has_no_base_yet() {
    let mut bench = Bench::new(&[("appendonly", "no"), ("appendfsync", "always")]);
    assert_eq!(bench.ask("CONFIG SET appendonly yes"), "+OK ");
    bench.finish();
    assert_eq!(bench.ask("SET k v"), "+OK ");
    bench.finish();
    assert_eq!(bench.ask("WAITAOF 1 0 0"), "", "what the file holds is not listed");
    bench.finish_snapshot();
    assert_eq!(bench.said(), "*2 :1 :0 ");
}

#[test]
fn keys_of_one_piece_are_not_looked_for_in_the_next() {
    let mut config = Config::default();
    config.set_at_start(b"appendonly", &[b"yes"]).expect("a parameter");
    let (host, now) = (VirtualHost::default(), Clock::default().now());
    let mut node = Node::new(config, Table::standard(), 1, now);
    let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
    node.begin_loading(now, Some(manifest), false, &mut |_| Some(1_000)).expect("a manifest");
    // Each piece lies where the one before it lay.
    let mut piece = Vec::with_capacity(4_096);
    for number in 0..100 {
        piece.clear();
        for other in 0..20 {
            let key = format!("key-{:04}", (number * 37 + other * 101) % 2_000);
            piece.extend(words::encode(&[b"HSET".to_vec(), key.into_bytes(), b"f".to_vec(), b"v".to_vec()]));
        }
        assert_eq!(node.load(now, &host, &piece), Ok(piece.len()));
    }
    node.file_ended(&host, &[]).expect("a whole file");
    node.end_loading(now, &host);
    let keys = node.engine.keyspace.len();
    let distinct: std::collections::BTreeSet<u64> =
        (0..100).flat_map(|number| (0..20).map(move |other| (number * 37 + other * 101) % 2_000)).collect();
    assert_eq!(keys, distinct.len());
}
