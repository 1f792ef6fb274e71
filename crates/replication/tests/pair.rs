//! Masters and replicas wired together over links that are slow, cut in the middle, and fail: after quiet all have the same data.
//!
//! The data set is a list of numbers that grows; the stream says which one comes next, so that a command that is skipped or
//! applied twice shows at once.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use base::rng::Rng;
use base::time::{Instant, Now};
use replication::primary::{Answer, Commit, Output as Wish, SnapshotId, Upstream};
use replication::replica::{Output, Refusal};
use replication::{LinkId, Position, Primary, PrimarySettings, ReplId, Replica, ReplicaSettings};
use resp::{Decoder, Limits};

/// What waits to be sent on a link, before the stream.
enum Item {
    Bytes(Vec<u8>),
    Piece(Rc<Vec<u8>>),
    File(Rc<Vec<u8>>),
}

struct Link {
    id: LinkId,
    replica: usize,
    master: usize,
    queue: VecDeque<(Item, usize)>,
    /// Bytes under way to the replica, and to the master.
    down: VecDeque<u8>,
    up: VecDeque<u8>,
    /// What the master has not decoded yet.
    request: Vec<u8>,
    finishing: bool,
}

struct Child {
    id: SnapshotId,
    diskless: bool,
    bytes: Rc<Vec<u8>>,
    at: usize,
    wanted: bool,
    piece: Rc<Vec<u8>>,
}

struct Host {
    primary: Primary,
    replica: Option<Replica>,
    master: usize,
    data: Vec<u64>,
    offset: u64,
    /// Arrived, and not applied.
    pending: Vec<u8>,
    snapshot: Option<(Option<Position>, Vec<u8>)>,
    load: bool,
    child: Option<Child>,
    files: BTreeMap<SnapshotId, Rc<Vec<u8>>>,
}

struct World {
    hosts: Vec<Host>,
    links: Vec<Link>,
    connecting: Vec<(usize, usize)>,
    now: Now,
    rng: Rng,
    next_link: u64,
    next_number: u64,
    faults: bool,
    partials: u64,
}

const STEP_LINK: usize = 700;

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn save(data: &[u64]) -> Vec<u8> {
    let mut bytes = (data.len() as u64).to_le_bytes().to_vec();
    data.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

fn load(bytes: &[u8]) -> Vec<u64> {
    let words: Vec<u64> =
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("whole words"))).collect();
    assert_eq!(words[0] as usize, words.len() - 1, "a snapshot is whole");
    words[1..].to_vec()
}

/// Returns the requests of the first unit, and how long it is, once all of it is there.
fn unit(bytes: &[u8]) -> Option<(Vec<Vec<Vec<u8>>>, usize)> {
    let (mut decoder, mut at, mut requests, mut within) = (Decoder::new(), 0, Vec::new(), false);
    loop {
        let request = decoder.decode(&bytes[at..], &Limits { authenticated: true, ..Limits::default() });
        let request = request.expect("the stream is well formed")?;
        at += request.consumed();
        let words: Vec<Vec<u8>> = request.iter().map(<[u8]>::to_vec).collect();
        match words.first().map(Vec::as_slice) {
            Some(b"MULTI") => within = true,
            Some(b"EXEC") => within = false,
            _ => requests.push(words),
        }
        if !within {
            return Some((requests, at));
        }
    }
}

impl World {
    fn new(seed: u64, count: usize, settings: PrimarySettings) -> World {
        let now = Now { instant: Instant::from_micros(1), unix_us: 1 };
        let host = |index: usize| Host {
            primary: Primary::new(settings.clone(), run_id(index), seed ^ (index as u64) << 32, 0, now),
            replica: None,
            master: 0,
            data: Vec::new(),
            offset: 0,
            pending: Vec::new(),
            snapshot: None,
            load: false,
            child: None,
            files: BTreeMap::new(),
        };
        World {
            hosts: (0..count).map(host).collect(),
            links: Vec::new(),
            connecting: Vec::new(),
            now,
            rng: Rng::seeded(seed),
            next_link: 0,
            next_number: 0,
            faults: true,
            partials: 0,
        }
    }

    fn follow(&mut self, host: usize, master: usize) {
        self.drop_links_of(host);
        let now = self.now;
        let it = &mut self.hosts[host];
        let start = match &it.replica {
            Some(replica) => replica.position(),
            None => Some(Position { id: it.primary.history().id, offset: it.primary.offset() }),
        };
        it.primary.set_upstream(now, Upstream::Down);
        it.offset = it.primary.offset();
        let mut settings = ReplicaSettings::new(run_id(host), 7000 + host as u16);
        settings.accept_empty = true;
        it.replica = Some(Replica::new(settings, format!("host{master}"), 7000 + master as u16, start, now));
        it.master = master;
    }

    fn promote(&mut self, host: usize) {
        self.drop_links_of(host);
        let it = &mut self.hosts[host];
        it.replica = None;
        it.primary.promote(self.now);
        it.offset = it.primary.offset();
    }

    /// Ends the link on which a host follows its master, without its machine being told.
    fn drop_links_of(&mut self, host: usize) {
        self.connecting.retain(|(replica, _)| *replica != host);
        for index in (0..self.links.len()).rev() {
            if self.links[index].replica == host {
                let link = self.links.remove(index);
                self.hosts[link.master].primary.closed(self.now.instant, link.id);
            }
        }
        let it = &mut self.hosts[host];
        it.pending.clear();
        it.snapshot = None;
        it.load = false;
    }

    fn cut(&mut self, index: usize) {
        let replica = self.links[index].replica;
        self.drop_links_of(replica);
        if let Some(replica) = &mut self.hosts[replica].replica {
            replica.closed(self.now, "cut");
        }
    }

    fn write_stream(&mut self, host: usize, bytes: &[u8]) {
        let it = &mut self.hosts[host];
        if it.primary.listens() {
            it.offset += bytes.len() as u64;
            it.primary.append(self.now, it.offset, bytes);
        }
    }

    fn add(&mut self, host: usize) {
        let several = self.rng.below(8) == 0;
        let mut bytes = if several { encode(&[b"MULTI"]) } else { Vec::new() };
        for _ in 0..if several { 3 } else { 1 } {
            self.next_number += 1;
            let number = self.next_number;
            self.hosts[host].data.push(number);
            let padding = vec![b'x'; self.rng.below(60) as usize];
            bytes.extend_from_slice(&encode(&[b"ADD", number.to_string().as_bytes(), &padding]));
        }
        if several {
            bytes.extend_from_slice(&encode(&[b"EXEC"]));
        }
        self.write_stream(host, &bytes);
    }

    fn step(&mut self) {
        let micros = self.rng.below(200_000);
        self.now.instant = self.now.instant + Duration::from_micros(micros);
        self.now.unix_us += micros as i64;
        for host in 0..self.hosts.len() {
            let now = self.now;
            let it = &mut self.hosts[host];
            if it.primary.poll_timeout().is_some_and(|at| at <= now.instant) {
                it.primary.handle_timeout(now);
            }
            if let Some(replica) = &mut it.replica
                && replica.poll_timeout().is_some_and(|at| at <= now.instant)
            {
                replica.handle_timeout(now);
            }
            self.settle(host);
            self.work(host);
        }
        self.open_links();
        for index in (0..self.links.len()).rev() {
            if index < self.links.len() {
                self.move_bytes(index);
            }
        }
        if self.faults && !self.links.is_empty() && self.rng.below(60) == 0 {
            let index = self.rng.below(self.links.len() as u64) as usize;
            self.cut(index);
        }
    }

    fn open_links(&mut self) {
        for (replica, master) in std::mem::take(&mut self.connecting) {
            match self.rng.below(4) {
                0 => self.connecting.push((replica, master)),
                1 if self.faults => {
                    let now = self.now;
                    self.hosts[replica]
                        .replica
                        .as_mut()
                        .expect("it connects")
                        .closed(now, "Connection refused");
                }
                _ => {
                    self.next_link += 1;
                    self.links.push(Link {
                        id: LinkId(self.next_link),
                        replica,
                        master,
                        queue: VecDeque::new(),
                        down: VecDeque::new(),
                        up: VecDeque::new(),
                        request: Vec::new(),
                        finishing: false,
                    });
                    self.hosts[replica].replica.as_mut().expect("it connects").connected(self.now);
                    self.settle(replica);
                }
            }
        }
    }

    fn link_of(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    /// Lets bytes go on, on one link.
    fn move_bytes(&mut self, index: usize) {
        let now = self.now;
        let (id, replica, master) =
            (self.links[index].id, self.links[index].replica, self.links[index].master);
        let mut room = self.rng.below(STEP_LINK as u64) as usize;
        // The master sends.
        while room > 0 && self.links[index].down.len() < 2_000 {
            let link = &mut self.links[index];
            let Some((item, sent)) = link.queue.front_mut() else {
                if link.finishing {
                    break;
                }
                let primary = &mut self.hosts[master].primary;
                let bytes = primary.stream(id);
                let count = bytes.len().min(room);
                if count == 0 {
                    break;
                }
                link.down.extend(&bytes[..count]);
                primary.streamed(id, count);
                room -= count;
                continue;
            };
            let bytes: &[u8] = match item {
                Item::Bytes(bytes) => bytes,
                Item::Piece(bytes) | Item::File(bytes) => bytes,
            };
            let count = (bytes.len() - *sent).min(room);
            link.down.extend(&bytes[*sent..*sent + count]);
            (*sent, room) = (*sent + count, room - count);
            if *sent == bytes.len() {
                let (item, _) = link.queue.pop_front().expect("it is there");
                let primary = &mut self.hosts[master].primary;
                match item {
                    Item::Piece(_) => primary.piece_taken(now.instant, id),
                    Item::File(_) => primary.file_sent(now.instant, id),
                    Item::Bytes(_) => {}
                }
                self.settle(master);
                if self.links.get(index).is_none_or(|link| link.id != id) {
                    return;
                }
            } else {
                self.hosts[master].primary.file_progress(now.instant, id);
            }
        }
        // The replica hears.
        let it = &mut self.hosts[replica];
        let heard = self.rng.below(STEP_LINK as u64) as usize;
        let link = &mut self.links[index];
        if it.replica.as_ref().is_some_and(Replica::wants_input) {
            let count = heard.min(link.down.len());
            let bytes: Vec<u8> = link.down.drain(..count).collect();
            if !bytes.is_empty() {
                self.hear(replica, &bytes);
            } else if link.finishing && link.queue.is_empty() {
                return self.cut(index);
            }
        }
        // The master hears.
        let Some(index) = self.links.iter().position(|link| link.id == id) else { return };
        let count = (self.rng.below(100) as usize).min(self.links[index].up.len());
        let bytes: Vec<u8> = self.links[index].up.drain(..count).collect();
        self.links[index].request.extend_from_slice(&bytes);
        self.serve(id, master);
    }

    fn serve(&mut self, id: LinkId, master: usize) {
        let now = self.now;
        while let Some(link) = self.link_of(id) {
            let request = std::mem::take(&mut link.request);
            let mut decoder = Decoder::new();
            let decoded = decoder.decode(&request, &Limits { authenticated: true, ..Limits::default() });
            let Some(words) = decoded.expect("a replica speaks well") else {
                self.link_of(id).expect("it is there").request = request;
                return;
            };
            let used = words.consumed();
            let primary = &mut self.hosts[master].primary;
            let answer = match words.get(0).unwrap_or_default() {
                b"" => Answer::Nothing,
                b"PING" => Answer::Status("PONG".into()),
                b"REPLCONF" => primary.replconf(now, id, words),
                _ => primary.sync(now, id, "10.0.0.1", false, words),
            };
            let reply = match answer {
                Answer::Ok => "+OK\r\n".to_owned(),
                Answer::Status(text) => format!("+{text}\r\n"),
                Answer::Error(text) => format!("-{text}\r\n"),
                Answer::Nothing => String::new(),
                Answer::Acknowledge | Answer::Close => panic!("nobody is to be closed"),
            };
            let link = self.link_of(id).expect("it is there");
            link.request = request[used..].to_vec();
            if !reply.is_empty() {
                link.queue.push_back((Item::Bytes(reply.into_bytes()), 0));
            }
            self.settle(master);
        }
    }

    fn hear(&mut self, host: usize, bytes: &[u8]) {
        let now = self.now;
        let it = &mut self.hosts[host];
        let replica = it.replica.as_mut().expect("it follows");
        replica.hold(it.data.len() as u64);
        replica.handle_input(now, bytes);
        self.carry_out(host, bytes);
        self.apply(host);
        self.settle(host);
    }

    /// Does what a replica wants; ranges are of `bytes`.
    fn carry_out(&mut self, host: usize, bytes: &[u8]) {
        let now = self.now;
        loop {
            let it = &mut self.hosts[host];
            let Some(replica) = &mut it.replica else { return };
            let Some(output) = replica.poll_output() else { break };
            match output {
                Output::Connect { .. } => {
                    let master = it.master;
                    self.connecting.push((host, master));
                }
                Output::Send(bytes) => {
                    if let Some(link) = self.links.iter_mut().find(|link| link.replica == host) {
                        link.up.extend(bytes);
                    }
                }
                Output::Close => self.drop_links_of(host),
                Output::BeginSnapshot { origin, .. } => it.snapshot = Some((origin, Vec::new())),
                Output::Snapshot(range) => {
                    it.snapshot.as_mut().expect("it has begun").1.extend_from_slice(&bytes[range]);
                }
                Output::SnapshotKept(kept) => {
                    it.snapshot.as_mut().expect("it has begun").1.extend_from_slice(&kept);
                }
                Output::EndSnapshot => it.load = true,
                Output::AbandonSnapshot => (it.snapshot, it.load) = (None, false),
                Output::Apply(range) => it.pending.extend_from_slice(&bytes[range]),
                Output::Continue { id, renamed } => {
                    self.partials += 1;
                    assert_eq!(replica.position().map(|position| position.offset), Some(it.primary.offset()));
                    if renamed {
                        it.primary.renamed(now, id);
                    }
                }
                Output::HandOverRefused(_) | Output::Chain(_) | Output::Line(..) => {}
            }
        }
        let it = &mut self.hosts[host];
        let up = it.replica.as_ref().is_some_and(Replica::is_up);
        it.primary.set_upstream(now, if up { Upstream::Up } else { Upstream::Down });
    }

    /// Applies the whole units that have arrived.
    fn apply(&mut self, host: usize) {
        let now = self.now;
        let it = &mut self.hosts[host];
        let Some(replica) = &mut it.replica else { return };
        if !replica.is_up() {
            return;
        }
        while let Some((requests, len)) = unit(&it.pending) {
            let bytes: Vec<u8> = it.pending.drain(..len).collect();
            let mut asked = false;
            for words in requests {
                match words[0].as_slice() {
                    b"ADD" => {
                        let number =
                            std::str::from_utf8(&words[1]).expect("digits").parse().expect("a number");
                        assert!(it.data.last().is_none_or(|last| *last < number), "{number} comes twice");
                        it.data.push(number);
                    }
                    b"REPLCONF" => asked = true,
                    _ => {}
                }
            }
            it.offset += len as u64;
            it.primary.append(now, it.offset, &bytes);
            replica.applied(it.offset);
            if asked {
                replica.acknowledge(now);
            }
        }
    }

    /// Loads, and writes pieces.
    fn work(&mut self, host: usize) {
        let now = self.now;
        let lucky = self.rng.below(3) == 0;
        let unlucky = self.faults && self.rng.below(40) == 0;
        let it = &mut self.hosts[host];
        if it.load && lucky {
            it.load = false;
            let (origin, bytes) = it.snapshot.take().expect("a snapshot to load");
            let replica = it.replica.as_mut().expect("it follows");
            if unlucky {
                replica.snapshot_loaded(now, Err("No space left on device".into()));
            } else {
                replica.data_dropped();
                it.data = load(&bytes);
                it.offset = origin.map_or(0, |origin| origin.offset);
                it.primary.replaced(now, origin.map(|origin| origin.id), it.offset);
                replica.snapshot_loaded(now, Ok(()));
            }
            self.settle(host);
            self.apply(host);
        }
        let piece = 1 + self.rng.below(900) as usize;
        let it = &mut self.hosts[host];
        if let Some(child) = &mut it.child
            && lucky
        {
            let id = child.id;
            if unlucky {
                it.child = None;
                it.primary.snapshot_done(now.instant, id, Err("killed".into()));
            } else if !child.diskless {
                let bytes = child.bytes.clone();
                it.child = None;
                it.files.insert(id, bytes.clone());
                it.primary.snapshot_done(now.instant, id, Ok(bytes.len() as u64));
            } else if child.wanted && child.at == child.bytes.len() {
                let len = child.at as u64;
                it.child = None;
                it.primary.snapshot_done(now.instant, id, Ok(len));
            } else if child.wanted {
                let end = (child.at + piece).min(child.bytes.len());
                child.piece = Rc::new(child.bytes[child.at..end].to_vec());
                (child.at, child.wanted) = (end, false);
                it.primary.piece(now.instant, id);
            }
            self.settle(host);
        }
    }

    /// Does what a host's machines want.
    fn settle(&mut self, host: usize) {
        self.carry_out(host, &[]);
        while let Some(wish) = self.hosts[host].primary.poll_output() {
            let it = &mut self.hosts[host];
            match wish {
                Wish::Send(id, bytes) => {
                    if let Some(link) = self.link_of(id) {
                        link.queue.push_back((Item::Bytes(bytes), 0));
                    }
                }
                Wish::Close(id) => {
                    if let Some(index) = self.links.iter().position(|link| link.id == id) {
                        self.cut(index);
                    }
                }
                Wish::Finish(id) => {
                    if let Some(link) = self.link_of(id) {
                        link.finishing = true;
                    }
                }
                Wish::StartSnapshot { id, diskless, .. } => {
                    assert!(it.child.is_none(), "there is one child at a time");
                    let bytes = Rc::new(save(&it.data));
                    let piece = Rc::new(Vec::new());
                    it.child = Some(Child { id, diskless, bytes, at: 0, wanted: false, piece });
                }
                Wish::NextPiece(id) => {
                    let child = it.child.as_mut().expect("there is a child");
                    assert!(child.id == id && !child.wanted);
                    child.wanted = true;
                }
                Wish::SendPiece(id) => {
                    let piece = it.child.as_ref().expect("there is a child").piece.clone();
                    if let Some(link) = self.link_of(id) {
                        link.queue.push_back((Item::Piece(piece), 0));
                    }
                }
                Wish::SendFile { link: id, snapshot } => {
                    let file = it.files[&snapshot].clone();
                    if let Some(link) = self.link_of(id) {
                        link.queue.push_back((Item::File(file), 0));
                    }
                }
                Wish::StopSnapshot(id) => {
                    assert_eq!(it.child.take().map(|child| child.id), Some(id));
                }
                Wish::DropSnapshot(id) => {
                    it.files.remove(&id).expect("there is such a file");
                }
                Wish::Ping => self.write_stream(host, &encode(&[b"PING"])),
                Wish::GetAck => self.write_stream(host, &encode(&[b"REPLCONF", b"GETACK", b"*"])),
                Wish::Listen(true) => it.offset = it.primary.offset(),
                Wish::Attached(_) | Wish::Feed(_) | Wish::Acked | Wish::SelectAgain | Wish::Line(..) => {}
                Wish::Listen(false) | Wish::Promoted => panic!("nobody asked for that"),
            }
        }
    }

    fn converged(&self, master: usize) -> bool {
        let it = &self.hosts[master];
        self.hosts.iter().all(|host| {
            host.data == it.data
                && host.offset == it.offset
                && host.primary.history().id == it.primary.history().id
                && host.replica.as_ref().is_none_or(Replica::is_up)
        })
    }

    /// Lets everything come to rest, and checks that all have what the master has.
    fn quiet(&mut self, master: usize, seed: u64) {
        self.faults = false;
        for _ in 0..20_000 {
            self.step();
            if self.converged(master) {
                return;
            }
        }
        let states: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                (host.data.len(), host.offset, host.replica.as_ref().map(|it| it.figures(self.now.instant)))
            })
            .collect();
        panic!(
            "seed {seed}: no convergence: {states:#?}\n{:#?}",
            self.hosts[master].primary.figures(self.now.instant)
        );
    }
}

fn run_id(host: usize) -> ReplId {
    ReplId::random(&mut Rng::seeded(1_000 + host as u64))
}

fn settings(rng: &mut Rng) -> PrimarySettings {
    PrimarySettings {
        backlog_size: [1_000, 40_000, 1 << 20][rng.below(3) as usize],
        backlog_ttl: Duration::ZERO,
        diskless: rng.below(2) == 0,
        diskless_delay: Duration::from_secs(rng.below(3)),
        diskless_max_replicas: rng.below(3) as usize,
        ping_period: Duration::from_secs(1 + rng.below(10)),
        ..PrimarySettings::default()
    }
}

#[test]
fn a_fan_and_a_chain_converge_whatever_is_cut() {
    let (mut full, mut partial) = (0, 0);
    for seed in 0..500 {
        let mut rng = Rng::seeded(seed);
        let count = 2 + rng.below(3) as usize;
        let mut world = World::new(seed, count, settings(&mut rng));
        (0..rng.below(100)).for_each(|_| world.add(0));
        for host in 1..count {
            let master = if rng.below(2) == 0 { 0 } else { host - 1 };
            world.follow(host, master);
        }
        for _ in 0..400 {
            world.step();
            (0..rng.below(4)).for_each(|_| world.add(0));
            let master = &world.hosts[0];
            let prefix = |host: &Host| host.data.is_empty() || master.data.starts_with(&host.data);
            assert!(world.hosts.iter().all(prefix), "seed {seed}: a replica has what its master never had");
            let most = world.hosts[1..].iter().filter_map(|host| host.replica.as_ref()?.position());
            let most = most.map(|position| position.offset).max().unwrap_or(0);
            assert!(
                master.primary.acked_by(1, Commit::Received) <= most,
                "seed {seed}: nobody has what was acknowledged"
            );
            if rng.below(50) == 0 {
                world.hosts[0].primary.request_acks();
            }
        }
        world.quiet(0, seed);
        full +=
            world.hosts.iter().map(|host| host.primary.figures(world.now.instant).stats.full).sum::<u64>();
        partial += world.partials;
    }
    assert!(full > 0 && partial > full, "{full} full and {partial} partial resynchronizations");
}

#[test]
fn with_a_backlog_that_is_long_enough_nobody_needs_all_the_data_twice() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let settings = PrimarySettings { backlog_size: 8 << 20, ..settings(&mut rng) };
        let mut world = World::new(seed, 3, settings);
        world.follow(1, 0);
        world.follow(2, 0);
        world.add(0);
        world.quiet(0, seed);
        world.faults = true;
        for _ in 0..300 {
            world.step();
            (0..rng.below(4)).for_each(|_| world.add(0));
        }
        world.quiet(0, seed);
        let stats = world.hosts[0].primary.figures(world.now.instant).stats;
        assert_eq!(stats.full, 2, "seed {seed}: {stats:?}");
    }
}

#[test]
fn after_promotions_all_have_what_the_new_master_has() {
    let mut partial = 0;
    for seed in 0..500 {
        let mut rng = Rng::seeded(seed);
        let count = 3 + rng.below(2) as usize;
        let mut world = World::new(seed, count, settings(&mut rng));
        (0..20).for_each(|_| world.add(0));
        (1..count).for_each(|host| world.follow(host, 0));
        let mut master = 0;
        for _ in 0..4 {
            for _ in 0..150 {
                world.step();
                (0..rng.below(3)).for_each(|_| world.add(master));
            }
            let positions: Vec<_> = (0..count)
                .filter_map(|host| Some((world.hosts[host].replica.as_ref()?.position()?, host)))
                .filter(|(position, _)| position.id == world.hosts[master].primary.history().id)
                .collect();
            let Some((best, next)) = positions.into_iter().max_by_key(|(position, _)| position.offset) else {
                continue;
            };
            let acked = world.hosts[master].primary.acked_by(1, Commit::Received);
            assert!(best.offset >= acked, "seed {seed}: an acknowledged write is lost");
            world.promote(next);
            master = next;
            for host in (0..count).filter(|host| *host != next) {
                world.follow(host, next);
            }
        }
        world.quiet(master, seed);
        partial += world.partials;
    }
    assert!(partial > 300, "only {partial} partial resynchronizations");
}

#[test]
fn a_replica_that_was_level_goes_on_in_the_promoted_masters_history() {
    for seed in 0..50 {
        let mut world = World::new(
            seed,
            3,
            PrimarySettings { backlog_ttl: Duration::ZERO, ..PrimarySettings::default() },
        );
        (0..20).for_each(|_| world.add(0));
        (1..3).for_each(|host| world.follow(host, 0));
        world.quiet(0, seed);
        (0..20).for_each(|_| world.add(0));
        world.quiet(0, seed);
        let before: u64 =
            world.hosts.iter().map(|host| host.primary.figures(world.now.instant).stats.full).sum();
        world.promote(1);
        (0..20).for_each(|_| world.add(1));
        world.follow(0, 1);
        world.follow(2, 1);
        world.quiet(1, seed);
        let after: u64 =
            world.hosts.iter().map(|host| host.primary.figures(world.now.instant).stats.full).sum();
        assert_eq!(before, after, "seed {seed}: a partial resynchronization would have done");
    }
}

#[test]
fn an_empty_master_does_not_wipe_its_replica() {
    for seed in 0..50 {
        let mut world = World::new(seed, 2, PrimarySettings::default());
        (0..20).for_each(|_| world.add(0));
        world.follow(1, 0);
        world.quiet(0, seed);
        let keys_held = world.hosts[1].data.len() as u64;
        // The master restarts without its data.
        world.drop_links_of(1);
        world.hosts[0] = World::new(seed + 1_000, 1, PrimarySettings::default()).hosts.remove(0);
        let now = world.now;
        let replica = world.hosts[1].replica.as_mut().expect("it follows");
        replica.configure(now, ReplicaSettings::new(run_id(1), 7001));
        replica.closed(now, "Connection reset by peer");
        for _ in 0..400 {
            world.step();
            let host = &mut world.hosts[1];
            if let Some((_, bytes)) = host.snapshot.as_ref().filter(|(_, bytes)| bytes.len() >= 8) {
                let keys = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
                host.replica.as_mut().expect("it follows").snapshot_holds(world.now, keys);
                world.settle(1);
            }
        }
        let replica = world.hosts[1].replica.as_mut().expect("it follows");
        assert_eq!(replica.figures(now.instant).refused, Some(Refusal::Empty { keys_held }), "seed {seed}");
        assert_eq!(world.hosts[1].data.len() as u64, keys_held);
        // Whoever wants it that way says so.
        world.hosts[1].replica.as_mut().expect("it follows").accept_empty(world.now);
        world.quiet(0, seed);
        assert!(world.hosts[1].data.is_empty());
    }
}
