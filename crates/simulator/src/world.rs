//! One run: a node, its clients and the network between them, all drawn from a seed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use base::rng::Rng;
use base::time::Instant;
use config::Config;
use engine::table::Table;
use node::{Closing, Effect, LinkId, Node, Peer};
use testkit::{Reply, words};

use crate::chaos::Chaos;
use crate::checkers::accounting::Accounting;
use crate::checkers::keyspace;
use crate::checkers::model::{Model, Words, show};
use crate::checkers::replica::Replica;
use crate::checkers::transcript::Transcript;
use crate::host::MEMORY_AT_REST;
use crate::network::Pipe;
use crate::workload::{DBS, Role, Workload};
use crate::{Clock, VirtualHost, network};

/// How many of the last requests a failure shows.
const SHOWN: usize = 25;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Two runs of one seed agree in this.
    pub digest: u64,
    pub requests: u64,
    /// Replies that were compared with the model's, or counted.
    pub replies: u64,
    pub bytes: u64,
}

/// What went wrong, and what was sent before.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub problem: String,
    pub requests: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.problem)?;
        writeln!(f, "the last requests:")?;
        self.requests.iter().try_for_each(|request| writeln!(f, "  {request}"))
    }
}

/// Runs a seed to its end.
pub fn run(seed: u64, verbose: bool) -> Result<Summary, Failure> {
    let mut world = World::new(seed, verbose);
    let problem = match world.run() {
        Ok(()) => return Ok(world.summary()),
        Err(problem) => problem,
    };
    Err(Failure { seed, problem, requests: world.history.into() })
}

/// Where requests come from, and who judges the replies.
enum Game {
    /// Commands that the model knows; every reply is compared.
    Modelled { workload: Workload, model: Box<Model> },
    /// Every command of the table, and bytes that are no commands; replies are counted.
    Anything { chaos: Chaos, accounting: Accounting },
}

struct World {
    verbose: bool,
    rng: Rng,
    clock: Clock,
    host: VirtualHost,
    node: Node,
    game: Game,
    replica: Replica,
    clients: Vec<Client>,
    transcript: Transcript,
    history: VecDeque<String>,
    requests: u64,
}

/// One client and its connection, if it has one.
struct Client {
    role: Role,
    id: Option<LinkId>,
    /// The node has closed the connection: what is on its way arrives still.
    closed: bool,
    up: Pipe,
    down: Pipe,
    /// Requests on their way, each with the stream offset at which it ends.
    sent: VecDeque<(u64, Words)>,
    sent_bytes: u64,
    delivered_bytes: u64,
    /// What the node said and is no whole reply yet, before and behind the network.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// Replies that the client waits for.
    outstanding: i64,
    patience: u32,
    budget: u32,
    turn: Instant,
}

impl World {
    fn new(seed: u64, verbose: bool) -> World {
        let mut rng = Rng::seeded(seed);
        let clock = Clock::default();
        let mut config = Config::default();
        for (name, value) in [("save", ""), ("databases", "4"), ("enable-debug-command", "yes")] {
            config
                .set_at_start(name.as_bytes(), &[value.as_bytes()])
                .unwrap_or_else(|error| panic!("{name} {value:?} is refused: {error}"));
        }
        let table = Table::standard();
        let replica = Replica::new(config.clone(), clock.now());
        let mut node = Node::new(config, table, rng.next_u64(), clock.now());
        node.observe();
        let modelled = rng.below(3) != 0;
        let game = match modelled {
            true => Game::Modelled { workload: Workload::new(&mut rng), model: Box::new(Model::new(4)) },
            false => Game::Anything { chaos: Chaos::new(table, &mut rng), accounting: Accounting::default() },
        };
        let budget = 60 + rng.below(200) as u32;
        let clients = (0..2 + rng.below(5))
            .map(|index| Client {
                role: match (index, rng.below(2)) {
                    (1, 0) if modelled => Role::Listener,
                    (_, half) => Role::Worker { resp3: half == 0 },
                },
                id: None,
                closed: false,
                up: Pipe::default(),
                down: Pipe::default(),
                sent: VecDeque::new(),
                sent_bytes: 0,
                delivered_bytes: 0,
                said: Vec::new(),
                heard: Vec::new(),
                outstanding: 0,
                patience: 0,
                budget: if index == 1 { budget / 4 } else { budget },
                turn: clock.now().instant + Duration::from_micros(rng.below(5_000)),
            })
            .collect();
        World {
            verbose,
            rng,
            clock,
            host: VirtualHost::default(),
            node,
            game,
            replica,
            clients,
            transcript: Transcript::default(),
            history: VecDeque::new(),
            requests: 0,
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            digest: self.transcript.digest(),
            requests: self.requests,
            replies: match &self.game {
                Game::Modelled { model, .. } => model.compared(),
                Game::Anything { accounting, .. } => accounting.compared(),
            },
            bytes: self.transcript.bytes(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some((at, who)) = self.next_event() {
            self.clock.advance_to(at);
            match who {
                Who::Node => self.time_out()?,
                Who::Up(client) => self.deliver(client)?,
                Who::Down(client) => self.hear(client)?,
                Who::Turn(client) => self.turn(client)?,
            }
        }
        self.finish()
    }

    /// Returns what happens next; nothing when all clients are done and nothing is on its way.
    fn next_event(&self) -> Option<(Instant, Who)> {
        let mut next: Option<(Instant, Who)> = None;
        let mut consider = |at: Option<Instant>, who: Who| {
            if let Some(at) = at
                && next.is_none_or(|(first, _)| at < first)
            {
                next = Some((at, who));
            }
        };
        // At the same moment the node's own deadlines come first, as in an event loop that looks at its timers.
        consider(self.node.poll_timeout(), Who::Node);
        let mut busy = false;
        for (index, client) in self.clients.iter().enumerate() {
            consider(client.up.next(), Who::Up(index));
            consider(client.down.next(), Who::Down(index));
            consider((client.budget > 0).then_some(client.turn), Who::Turn(index));
            busy |= client.budget > 0 || !client.up.is_empty() || !client.down.is_empty();
        }
        next.filter(|_| busy)
    }

    fn time_out(&mut self) -> Result<(), String> {
        self.node.handle_timeout(self.clock.now(), &self.host);
        self.collect()?;
        self.replica.pass(self.clock.now());
        if let Game::Modelled { model, .. } = &mut self.game {
            model.pass(self.clock.now());
        }
        self.judge(false)
    }

    /// Gives the node what has arrived of a client's bytes.
    fn deliver(&mut self, index: usize) -> Result<(), String> {
        let now = self.clock.now();
        let client = &mut self.clients[index];
        let bytes = client.up.take(now.instant);
        client.delivered_bytes += bytes.len() as u64;
        let mut requests = Vec::new();
        while let Some((_, words)) = client.sent.pop_front_if(|(end, _)| *end <= client.delivered_bytes) {
            requests.push(words);
        }
        let Some(id) = client.id.filter(|_| !client.closed) else { return Ok(()) };
        if let Game::Anything { .. } = self.game {
            // Sometimes memory seems to be short; it comes back as keys are evicted.
            let used = match self.rng.below(4) {
                0 => MEMORY_AT_REST + self.rng.below(1 << 21) as usize,
                _ => MEMORY_AT_REST,
            };
            self.host.set_memory(used, 200_000);
        }
        self.requests += requests.len() as u64;
        for words in &requests {
            let line = format!("{} client {}: {}", now.instant.micros(), id.0, quoted(words));
            if self.verbose {
                println!("{line}");
            }
            self.history.push_back(line);
            if self.history.len() > SHOWN {
                self.history.pop_front();
            }
        }
        remember(&self.history);
        self.node.handle_input(now, &self.host, id, &bytes);
        if let Game::Anything { accounting, .. } = &mut self.game {
            accounting.requests(id.0, requests.clone());
        }
        self.collect()?;
        if let Game::Modelled { model, .. } = &mut self.game {
            model.requests(now, id.0, requests);
        }
        self.judge(false)
    }

    /// Carries out what the node asks for, and hands what it says to the judge and the network.
    fn collect(&mut self) -> Result<(), String> {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Stall(time) => self.clock.advance(time),
                Effect::Shutdown => return Err("the node wants to stop".into()),
                Effect::Crash(text) => return Err(format!("the node wants to crash: {text}")),
                Effect::Fork { kind, path, rename_to } => {
                    let path = rename_to.unwrap_or(path);
                    self.host.fork(&mut self.node, self.clock.now(), kind, &path);
                }
                Effect::Disk(..) => return Err("the node wants something written without a log".into()),
                _ => {}
            }
        }
        for (db, words) in self.node.take_propagated() {
            self.replica.apply(self.clock.now(), db, words)?;
        }
        while let Some(id) = self.node.poll_output() {
            let now = self.clock.now().instant;
            let closing = self.node.closing(id);
            let Some(client) = self.clients.iter_mut().find(|c| c.id == Some(id) && !c.closed) else {
                continue;
            };
            if closing != Closing::Now {
                let output = self.node.output(id);
                self.transcript.add(now.micros(), id.0, output);
                client.said.extend_from_slice(output);
                client.down.send(now, output, &mut self.rng);
                let count = output.len();
                self.node.sent(id, count);
            }
            let mut at = 0;
            while let Some((reply, length)) = Reply::parse(&client.said[at..])? {
                at += length;
                if self.verbose {
                    println!("{}     -> {}: {}", now.micros(), id.0, show(&reply));
                }
                match (&mut self.game, is_message(&reply)) {
                    (Game::Modelled { model, .. }, true) => model.received_message(id.0, reply),
                    (Game::Modelled { model, .. }, false) => model.received(id.0, reply),
                    (Game::Anything { accounting, .. }, false) => accounting.received(id.0, &reply),
                    (Game::Anything { .. }, true) => {}
                }
            }
            client.said.drain(..at);
            if !client.said.is_empty() {
                return Err(format!(
                    "half a reply is sent to client {}: {}",
                    id.0,
                    words::quote(&client.said)
                ));
            }
            if closing != Closing::No {
                client.closed = true;
                self.node.close(id);
                if let Game::Anything { accounting, .. } = &mut self.game {
                    accounting.close(id.0);
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, end: bool) -> Result<(), String> {
        match &mut self.game {
            Game::Modelled { model, .. } => {
                model.verdict()?;
                for client in &self.clients {
                    if client.closed
                        && let Some(id) = client.id
                    {
                        model.close(id.0);
                    }
                }
                Ok(())
            }
            Game::Anything { accounting, .. } => {
                let sessions = &self.node.engine.server.sessions;
                accounting.verdict(end, |link| {
                    sessions.get(LinkId(link)).is_some_and(|session| session.blocked.is_some())
                })
            }
        }
    }

    /// Gives a client what has arrived of the node's bytes.
    fn hear(&mut self, index: usize) -> Result<(), String> {
        let now = self.clock.now().instant;
        let client = &mut self.clients[index];
        client.heard.extend(client.down.take(now));
        let mut at = 0;
        while let Some((reply, length)) = Reply::parse(&client.heard[at..])? {
            at += length;
            client.outstanding -= i64::from(!is_message(&reply));
        }
        client.heard.drain(..at);
        Ok(())
    }

    /// Lets a client act: connect, send, wait, or leave.
    fn turn(&mut self, index: usize) -> Result<(), String> {
        let now = self.clock.now();
        let pause = match self.rng.below(40) {
            0 => 100_000 + self.rng.below(1_500_000),
            1..5 => self.rng.below(30_000),
            _ => self.rng.below(2_000),
        };
        let client = &mut self.clients[index];
        client.turn = now.instant + Duration::from_micros(pause + 1);
        if client.closed && client.down.is_empty() {
            client.id = None;
        }
        if client.id.is_none() {
            self.connect(index);
            return Ok(());
        }
        if client.closed {
            return Ok(());
        }
        if client.outstanding > 0 && self.rng.below(10) != 0 {
            client.patience += 1;
            if client.patience < 60 {
                return Ok(());
            }
        }
        client.patience = 0;
        if self.rng.below(80) == 0 {
            return self.disconnect(index);
        }
        let role = client.role;
        let batch = match &self.game {
            Game::Modelled { workload, .. } => workload.batch(role, &mut self.rng),
            Game::Anything { chaos, .. } => chaos.batch(&mut self.rng),
        };
        client.budget = client.budget.saturating_sub(batch.len() as u32);
        self.send(index, batch);
        Ok(())
    }

    fn connect(&mut self, index: usize) {
        let id = self.node.open(self.clock.now(), network::peer(index));
        let client = &mut self.clients[index];
        *client = Client {
            role: client.role,
            id: Some(id),
            closed: false,
            up: Pipe::default(),
            down: Pipe::default(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            delivered_bytes: 0,
            said: Vec::new(),
            heard: Vec::new(),
            outstanding: 0,
            patience: 0,
            budget: client.budget,
            turn: client.turn,
        };
        let resp3 = client.role == Role::Worker { resp3: true };
        match &mut self.game {
            Game::Modelled { model, .. } => model.open(id.0),
            Game::Anything { accounting, .. } => accounting.open(id.0),
        }
        if resp3 {
            self.send(index, vec![vec![b"HELLO".to_vec(), b"3".to_vec()]]);
        }
    }

    fn send(&mut self, index: usize, batch: Vec<Words>) {
        let client = &mut self.clients[index];
        let mut bytes = Vec::new();
        for words in batch {
            bytes.extend(words::encode(&words));
            client.outstanding += 1;
            client.sent.push_back((client.sent_bytes + bytes.len() as u64, words));
        }
        if let Game::Anything { accounting, .. } = &mut self.game
            && let Some(id) = client.id
            && self.rng.below(150) == 0
        {
            // From here on this connection speaks nonsense; the node is expected to survive it.
            let at = self.rng.below(bytes.len() as u64) as usize;
            bytes[at] = self.rng.below(256) as u8;
            accounting.lawless(id.0);
        }
        client.sent_bytes += bytes.len() as u64;
        client.up.send(self.clock.now().instant, &bytes, &mut self.rng);
    }

    /// Breaks a connection: what is on its way in either direction is lost.
    fn disconnect(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        client.up.cut();
        client.down.cut();
        if let Some(id) = client.id.take() {
            self.node.close(id);
            match &mut self.game {
                Game::Modelled { model, .. } => model.close(id.0),
                Game::Anything { accounting, .. } => accounting.close(id.0),
            }
        }
        self.collect()
    }

    /// Lets every wait with an end come to it, and then looks everything over.
    fn finish(&mut self) -> Result<(), String> {
        self.settle_pauses()?;
        let end = self.clock.now().instant + Duration::from_secs(12);
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.clock.advance_to(at);
            self.time_out()?;
        }
        self.clock.advance_to(end);
        self.judge(true)?;

        let waiting: BTreeSet<u32> =
            self.clients.iter().filter(|c| !c.closed).filter_map(|c| c.id).map(|id| id.0).collect();
        if let Game::Modelled { model, .. } = &self.game {
            for id in waiting {
                let blocked =
                    self.node.engine.server.sessions.get(LinkId(id)).is_some_and(|s| s.blocked.is_some());
                if blocked != model.is_blocked(id) {
                    return Err(format!("client {id} waits: {blocked}; in the model the opposite"));
                }
            }
        }
        self.look_over()
    }

    /// Ends what may hold requests back beyond any deadline.
    fn settle_pauses(&mut self) -> Result<(), String> {
        if let Game::Anything { .. } = self.game {
            self.host.set_memory(MEMORY_AT_REST, 0);
            self.ask_once(&[b"CLIENT", b"UNPAUSE"])?;
            self.collect()?;
        }
        Ok(())
    }

    fn look_over(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        // What evicts would change the keyspace under the eyes of its judge.
        self.host.set_memory(0, 0);
        let node = &mut self.node;
        let host = &self.host;
        let admin = node.open(now, Peer::default());
        let mut ask = |request: &[&[u8]]| -> Result<Reply, String> {
            let request: Words = request.iter().map(|word| word.to_vec()).collect();
            node.handle_input(now, host, admin, &words::encode(&request));
            let output = node.output(admin).to_vec();
            node.sent(admin, output.len());
            match Reply::parse(&output)? {
                Some((reply, length)) if length == output.len() => Ok(reply),
                _ => Err(format!("{} is answered by {}", quoted(&request), words::quote(&output))),
            }
        };
        keyspace::is_consistent(&mut ask, 4)?;
        let replica = &mut self.replica;
        let mut ask_replica = |request: &[&[u8]]| {
            replica.ask(now, &request.iter().map(|word| word.to_vec()).collect::<Words>())
        };
        keyspace::are_equal(&mut ask, &mut ask_replica)?;
        if let Game::Modelled { model, .. } = &self.game {
            keyspace::agrees_with(model, now, &mut ask, DBS)?;
        }
        node.close(admin);
        Ok(())
    }

    /// Sends one request on a connection of its own.
    fn ask_once(&mut self, request: &[&[u8]]) -> Result<(), String> {
        let now = self.clock.now();
        let admin = self.node.open(now, Peer::default());
        let request: Words = request.iter().map(|word| word.to_vec()).collect();
        self.node.handle_input(now, &self.host, admin, &words::encode(&request));
        let count = self.node.output(admin).len();
        self.node.sent(admin, count);
        self.node.close(admin);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Node,
    Up(usize),
    Down(usize),
    Turn(usize),
}

/// Returns whether this is a published message rather than a reply.
fn is_message(reply: &Reply) -> bool {
    let kind = reply.elements().first().and_then(Reply::text);
    matches!(kind, Some(b"message" | b"pmessage" | b"smessage"))
}

fn quoted(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| words::quote(word)).collect::<Vec<_>>().join(" ")
}

thread_local! {
    static LAST: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Notes the last requests for [`last_requests`], which is asked when the node panics.
fn remember(history: &VecDeque<String>) {
    LAST.with_borrow_mut(|last| {
        last.clear();
        last.extend(history.iter().rev().take(SHOWN).rev().cloned());
    });
}

/// Returns the last requests that this thread's world handed to its node.
pub fn last_requests() -> Vec<String> {
    LAST.with_borrow(Clone::clone)
}
