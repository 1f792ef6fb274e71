//! What becomes of damaged files: logs and snapshots are made, cut at every place and given single wrong bits, and loaded
//! the way a server loads them.
//!
//! A node writes three logs, one for each `appendfsync`, and a snapshot with every type and encoding; after each write it
//! is noted how long the log is, and what the data was (DEBUG DIGEST). A damaged file must be refused, with its name and
//! the offset, or be cut to what the data was at some moment: then the digest of what is served must be that moment's.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::time::Duration;

use aof::record::MAGIC;
use aof::{Check, Verdict};
use base::rng::Rng;
use config::Config;
use engine::Effect;
use engine::persistence::Snapshot;
use engine::table::Table;
use node::{Ended, LinkId, Node, Peer};

use crate::disk::{Speed, VirtualDisk};
use crate::host::Bytes;
use crate::{Clock, VirtualHost};

/// A file that can be damaged, and what it takes to load it.
pub struct Case {
    pub name: &'static str,
    config: Config,
    manifest: Option<Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    /// The file that is damaged.
    path: String,
    /// What the data was when the file had so many bytes.
    moments: BTreeMap<u64, String>,
    /// Where the data of that file ends; behind it there may be filler.
    data_end: u64,
}

/// What came of damaged files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tried: u64,
    /// Loaded as if nothing were wrong, as indeed nothing was.
    pub whole: u64,
    /// Cut to what the data was at some moment.
    pub cut: u64,
    /// Refused, with file and offset.
    pub refused: u64,
    /// Damage that nobody noticed.
    pub missed: u64,
    /// Served data that never was.
    pub wrong: u64,
    /// Refused without a file and an offset.
    pub unnamed: u64,
}

/// What came of loading a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Whole(String),
    Cut(u64, String),
    Refused(String),
}

/// Makes the files to be damaged, three logs of `bytes` together and a snapshot of `bytes`.
pub fn cases(bytes: u64) -> Vec<Case> {
    let logs = [
        ("log, appendfsync always", &b"always"[..]),
        ("log, appendfsync everysec", b"everysec"),
        ("log, appendfsync no", b"no"),
    ];
    let mut cases: Vec<_> = logs.map(|(name, policy)| log(name, policy, bytes / 3)).into();
    cases.push(snapshot(bytes));
    cases
}

impl Case {
    /// Returns how long the file is.
    pub fn length(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn bytes(&self) -> &[u8] {
        &self.files[&self.path]
    }

    /// Cuts the file at the places in `range` and judges what its reader makes of it.
    ///
    /// What stands before the last moment needs not be read for each place: the reader begins at that batch.
    pub fn truncate(&self, range: Range<u64>) -> Counts {
        if self.manifest.is_none() {
            return self.truncate_snapshot(range);
        }
        let mut counts = Counts::default();
        let bytes = self.bytes();
        for end in range {
            let (start, _) = self.moments.range(..=end).next_back().expect("a file begins somewhere");
            let mut check = Check::new(*start, None);
            let taken = check.read(&bytes[*start as usize..end as usize]);
            let report = check.finish(&bytes[*start as usize + taken..end as usize]);
            counts.tried += 1;
            match report.verdict {
                Verdict::Complete if end.min(self.data_end) == *start => counts.whole += 1,
                Verdict::TornTail { offset, .. } if offset == *start && report.requests() == 0 => {
                    counts.cut += 1
                }
                Verdict::Complete => counts.missed += 1,
                Verdict::TornTail { .. } => counts.wrong += 1,
                Verdict::Corrupt { .. } => counts.refused += 1,
            }
        }
        counts
    }

    /// Cuts the snapshot at each place: one node takes it byte by byte, and is told each time that this was all.
    fn truncate_snapshot(&self, range: Range<u64>) -> Counts {
        let mut counts = Counts::default();
        let (mut node, host, clock) = self.node();
        node.file_to_load();
        let (bytes, mut taken) = (self.bytes(), 0);
        for end in 0..range.end as usize {
            taken += node.load(clock.now(), &host, &bytes[taken..end]).expect("no byte is wrong");
            if !range.contains(&(end as u64)) {
                continue;
            }
            counts.tried += 1;
            match node.file_ended(&host, &bytes[taken..end]) {
                Err(reason) => counts.refuse(&self.path, &reason),
                Ok(_) => counts.missed += 1,
            }
        }
        counts
    }

    /// Cuts the file at each of the places and loads it in a node.
    pub fn truncate_in_node(&self, places: impl IntoIterator<Item = u64>) -> Counts {
        let mut counts = Counts::default();
        for end in places {
            let outcome = self.load(&self.bytes()[..end as usize]);
            let expected = self.moments.range(..=end).next_back();
            counts.tried += 1;
            match outcome {
                Outcome::Whole(digest) if self.moments.get(&end.min(self.data_end)) == Some(&digest) => {
                    counts.whole += 1
                }
                Outcome::Whole(_) => counts.missed += 1,
                Outcome::Cut(offset, digest) => match expected == Some((&offset, &digest)) {
                    true => counts.cut += 1,
                    false => counts.wrong += 1,
                },
                Outcome::Refused(reason) => counts.refuse(&self.path, &reason),
            }
        }
        counts
    }

    /// Loads the file `count` times with one wrong bit, drawn from `seed`.
    pub fn flip(&self, seed: u64, count: u64) -> Counts {
        let (mut rng, mut counts, mut bytes) = (Rng::seeded(seed), Counts::default(), self.bytes().to_vec());
        for _ in 0..count {
            let bit = rng.below(self.length() * 8);
            let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
            bytes[at] ^= mask;
            let outcome = self.load(&bytes);
            bytes[at] ^= mask;
            counts.tried += 1;
            match outcome {
                Outcome::Whole(_) => counts.missed += 1,
                Outcome::Cut(offset, digest) => {
                    match offset <= at as u64 && self.moments.get(&offset) == Some(&digest) {
                        true => counts.cut += 1,
                        false => counts.wrong += 1,
                    }
                }
                Outcome::Refused(reason) => counts.refuse(&self.path, &reason),
            }
        }
        counts
    }

    /// Returns a node that is about to load.
    fn node(&self) -> (Node, VirtualHost, Clock) {
        let (host, mut clock) = (VirtualHost::default(), Clock::default());
        clock.advance(Duration::from_secs(3_600));
        let mut node = Node::new(self.config.clone(), Table::standard(), 1, clock.now());
        let mut size_of = |path: &str| self.files.get(path).map(|bytes| bytes.len() as u64);
        node.begin_loading(clock.now(), self.manifest.as_deref(), false, &mut size_of)
            .expect("a good manifest");
        (node, host, clock)
    }

    /// Loads all files, `bytes` being what stands in the damaged one.
    fn load(&self, bytes: &[u8]) -> Outcome {
        let (mut node, host, clock) = self.node();
        let mut cut = None;
        while let Some(file) = node.file_to_load() {
            let bytes = if file.path == self.path { bytes } else { &self.files[&file.path][..] };
            let loaded = node.load(clock.now(), &host, bytes);
            match loaded.and_then(|taken| node.file_ended(&host, &bytes[taken..])) {
                Ok(Ended::Whole) => {}
                Ok(Ended::Torn(offset)) => cut = Some(offset),
                Err(reason) => return Outcome::Refused(reason),
            }
        }
        node.end_loading(clock.now(), &host);
        let mut writer =
            Writer { node, host, clock, disk: VirtualDisk::new(1, Speed::default()), link: None };
        let digest = writer.digest();
        match cut {
            Some(offset) => Outcome::Cut(offset, digest),
            None => Outcome::Whole(digest),
        }
    }
}

impl Counts {
    fn refuse(&mut self, path: &str, reason: &str) {
        match reason.starts_with(path) && reason.contains(" at offset ") {
            true => self.refused += 1,
            false => self.unnamed += 1,
        }
    }

    /// Returns whether everything was found, and nothing served that never was.
    pub fn is_good(&self) -> bool {
        self.missed + self.wrong + self.unnamed == 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.tried += other.tried;
        self.whole += other.whole;
        self.cut += other.cut;
        self.refused += other.refused;
        self.missed += other.missed;
        self.wrong += other.wrong;
        self.unnamed += other.unnamed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { tried, whole, cut, refused, missed, wrong, unnamed } = self;
        write!(
            f,
            "{tried} tried: {refused} refused, {cut} cut to a valid prefix, {whole} whole; {missed} not detected, \
             {wrong} wrong values, {unnamed} without file and offset"
        )
    }
}

/// A node that writes its files to a virtual disk.
struct Writer {
    node: Node,
    host: VirtualHost,
    clock: Clock,
    disk: VirtualDisk,
    link: Option<LinkId>,
}

impl Writer {
    fn new(config: Config) -> Writer {
        let (host, clock) = (VirtualHost::default(), Clock::default());
        let mut node = Node::new(config, Table::standard(), 1, clock.now());
        node.begin_loading(clock.now(), None, false, &mut |_| None).expect("there is nothing to load");
        while node.file_to_load().is_some() {
            node.file_missing().expect("nothing is required");
        }
        node.end_loading(clock.now(), &host);
        let mut writer =
            Writer { node, host, clock, disk: VirtualDisk::new(1, Speed::default()), link: None };
        writer.settle();
        writer
    }

    /// Sends a request, waits until the disk is idle, and returns what came back.
    fn say(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let now = self.clock.now();
        let link = *self.link.get_or_insert_with(|| self.node.open(now, Peer::default()));
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.node.handle_input(now, &self.host, link, &bytes);
        self.settle()
    }

    fn settle(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        loop {
            while let Some(effect) = self.node.poll_effect() {
                if let Effect::Disk(id, task) = effect {
                    self.disk.submit(self.clock.now().instant, id, task);
                }
            }
            while let Some(link) = self.node.poll_output() {
                let output = self.node.output(link).to_vec();
                self.node.sent(link, output.len());
                heard.extend(output);
            }
            let Some(due) = self.disk.poll_timeout() else { return heard };
            self.clock.advance_to(due);
            for (id, result) in self.disk.take_done(self.clock.now().instant) {
                self.node.task_done(self.clock.now(), &self.host, id, result);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.node.handle_timeout(self.clock.now(), &self.host);
        self.settle();
    }

    fn digest(&mut self) -> String {
        let reply = self.say(&words(&["DEBUG", "DIGEST"]));
        assert_eq!(reply.first(), Some(&b'+'), "{}", reply.escape_ascii());
        String::from_utf8(reply).expect("digits")
    }
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn configured(parameters: &[(&str, &[u8])]) -> Config {
    let mut config = Config::default();
    for (name, value) in [("save", &b""[..]), ("enable-debug-command", b"yes")].iter().chain(parameters) {
        config.set_at_start(name.as_bytes(), &[value]).expect("a parameter and its value");
    }
    config
}

fn log(name: &'static str, policy: &[u8], bytes: u64) -> Case {
    let parameters = [("appendonly", &b"yes"[..]), ("appendfsync", policy), ("aof-prepared-space", b"8000")];
    let config = configured(&parameters);
    let (mut writer, mut rng) = (Writer::new(config.clone()), Rng::seeded(bytes));
    let path = "appendonlydir/appendonly.aof.1.incr.aof".to_owned();
    let mut known = 0;
    // Of the data, from a batch on that was there before.
    let mut length = |writer: &Writer| {
        let bytes = writer.disk.read(&path).unwrap_or_default();
        let (mut check, bytes) = (Check::new(known, None), &bytes[known as usize..]);
        if !bytes.starts_with(MAGIC) {
            return known;
        }
        let taken = check.read(bytes);
        let report = check.finish(&bytes[taken..]);
        known = report.filler_at.unwrap_or(report.bytes);
        known
    };
    let mut moments = BTreeMap::from([(0, writer.digest())]);
    for number in 0.. {
        if length(&writer) >= bytes {
            break;
        }
        for request in requests(&mut rng, 24) {
            writer.say(&request);
        }
        let before = length(&writer);
        let digest = writer.digest();
        moments.insert(before, digest.clone());
        if number % 50 == 49 {
            // The log may say in a batch of its own that it is on the disk.
            for _ in 0..20 {
                writer.pass(Duration::from_millis(100));
                moments.insert(length(&writer), digest.clone());
            }
        }
    }
    let files: BTreeMap<_, _> = writer
        .disk
        .files()
        .map(|path| (path.to_owned(), writer.disk.read(path).unwrap_or_default().to_vec()))
        .collect();
    let manifest = files["appendonlydir/appendonly.aof.manifest"].clone();
    let data_end = length(&writer);
    Case { name, config, manifest: Some(manifest), files, path, moments, data_end }
}

fn snapshot(bytes: u64) -> Case {
    let config = configured(&[]);
    let (mut writer, mut rng) = (Writer::new(config.clone()), Rng::seeded(bytes));
    let mut file = Bytes::default();
    while (file.0.len() as u64) < bytes {
        for _ in 0..200 {
            for request in requests(&mut rng, 400) {
                writer.say(&request);
            }
        }
        file.0.clear();
        writer
            .node
            .write_snapshot(writer.clock.now(), 0, Snapshot::Save, &mut file, &mut |_| ())
            .expect("memory takes everything");
    }
    let path = "dump.rdb".to_owned();
    let data_end = file.0.len() as u64;
    let moments = BTreeMap::from([(data_end, writer.digest())]);
    Case {
        name: "snapshot",
        config,
        manifest: None,
        files: BTreeMap::from([(path.clone(), file.0)]),
        path,
        moments,
        data_end,
    }
}

/// Returns requests that belong together, on one of so many keys of each type: one, or a transaction.
fn requests(rng: &mut Rng, keys: u64) -> Vec<Vec<Vec<u8>>> {
    match rng.below(20) {
        0 => {
            let mut all = vec![words(&["MULTI"])];
            all.extend((0..3).map(|_| request(rng, keys)));
            all.push(words(&["EXEC"]));
            all
        }
        1 => vec![words(&["SELECT", &rng.below(3).to_string()])],
        _ => vec![request(rng, keys)],
    }
}

fn request(rng: &mut Rng, keys: u64) -> Vec<Vec<u8>> {
    let number = rng.below(keys);
    let text = |rng: &mut Rng, most: u64| {
        let letters = 1 + rng.below(26);
        let length = rng.below(most);
        (0..length).map(|_| b'a' + rng.below(letters) as u8).collect::<Vec<u8>>()
    };
    // A few keys are large, so that all encodings are met.
    let many = if number < 3 { 40 } else { 1 + rng.below(4) };
    let (kind, mut words) = (rng.below(12), Vec::new());
    let mut begin = |command: &str, name: &str| {
        words.extend([command.as_bytes().to_vec(), format!("{name}:{number}").into_bytes()]);
    };
    match kind {
        0 => begin("SET", "text"),
        1 => begin("APPEND", "text"),
        2 => begin("INCR", "count"),
        3 => begin(if many % 2 == 0 { "LPUSH" } else { "RPUSH" }, "list"),
        4 => begin("SADD", "words"),
        5 => begin("SADD", "numbers"),
        6 => begin("HSET", "hash"),
        7 => begin("ZADD", "zset"),
        8 => begin("PFADD", "guess"),
        9 => begin("PEXPIRE", ["text", "list", "hash", "zset"][rng.below(4) as usize]),
        10 => begin("LPOP", "list"),
        _ => begin("DEL", ["text", "words", "guess", "zset"][rng.below(4) as usize]),
    }
    match kind {
        0 | 1 => words.push(text(rng, 1_000)),
        9 => words.push((100_000_000 + rng.below(1_000_000_000)).to_string().into_bytes()),
        3 | 4 | 8 => (0..many).for_each(|_| words.push(text(rng, 60))),
        5 => (0..many).for_each(|_| {
            let bits = rng.below(40);
            words.push(rng.below(1 << bits).to_string().into_bytes());
        }),
        6 => (0..many).for_each(|_| words.extend([text(rng, 6), text(rng, 80)])),
        7 => (0..many).for_each(|_| {
            words.extend([(rng.below(1_000) as f64 / 8.0).to_string().into_bytes(), text(rng, 8)]);
        }),
        _ => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_and_nothing_is_served_that_never_was() {
        for case in cases(24_000) {
            let all = case.truncate(0..case.length());
            assert!(all.is_good() && all.tried == case.length(), "{}: {all}", case.name);
            let ends = (0..case.length()).step_by(173).chain(case.moments.keys().copied());
            let loaded = case.truncate_in_node(ends);
            assert!(loaded.is_good() && loaded.whole > 0, "{}: {loaded}", case.name);
            let flips = case.flip(7, 300);
            assert!(flips.is_good() && flips.refused + flips.cut == 300, "{}: {flips}", case.name);
        }
    }
}
