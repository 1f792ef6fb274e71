//! `Replica`: the replica's side of the link to its master.
//!
//! ```text
//! Waiting ─► Connecting ─► Pinging ─► Greeting ─► Asking ─┬─ +CONTINUE ─────────────────────────────► Streaming
//!    ▲ ▲        PING        AUTH        PSYNC id offset+1 │                                               ▲
//!    │ │                    REPLCONF …                    └─ +FULLRESYNC ─► Counting ─► Receiving ─► Loading
//!    │ └── anything goes wrong: the link is closed                            $<len>      file          │
//!    └── Refused: slowly again                                                $EOF:<mark>               └─ snapshot_loaded
//! ```
//!
//! Bytes go in by `handle_input`, and what they are comes out as ranges of them, so that nothing of a snapshot or of the stream is
//! kept here. Whoever drives it takes all outputs before the next input.
//!
//! # Offsets
//!
//! What has been *applied* counts, not what has arrived: the driver says how far it is ([`Replica::applied`]), by whole commands
//! and whole transactions. When the link breaks the driver forgets what it has not applied, and the master sends it again.
//!
//! # Whose data is replaced
//!
//! The data that we hold is the driver's until a snapshot has been loaded. Two full syncs are refused unless
//! `ReplicaSettings::accept_empty` says otherwise: an empty snapshot when we hold keys, and one of the very history that our data
//! is of, but from before what we have applied. In both cases the master has lost what we have. The link stays down, is tried again
//! once a minute, and [`Figures::refused`] says why.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use base::log_level::LogLevel;
use base::number::parse_u64;
use base::time::{Instant, Now};

use crate::ReplId;
use crate::greeting::shown;
use crate::lines::Lines;
use crate::mark::MarkFinder;
use crate::primary::CHAIN_MAX;
use crate::settings::ReplicaSettings;

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub id: ReplId,
    pub offset: u64,
}

/// What a replica would like done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a link to the master; [`Replica::connected`] or [`Replica::closed`] follows.
    Connect { host: String, port: u16 },
    /// Bytes for the master.
    Send(Vec<u8>),
    /// Close the link, and forget what was not applied; nothing is heard of it any more.
    Close,
    /// All of the data follows: with its length, if that is known.
    ///
    /// Where `guarded`, [`Replica::snapshot_holds`] is to be told what the snapshot holds before our data is given up.
    BeginSnapshot { origin: Option<Position>, len: Option<u64>, guarded: bool },
    /// Bytes of the snapshot: a part of the last input.
    Snapshot(Range<usize>),
    /// Bytes of the snapshot that were kept back from an earlier input, as they could have been its end mark.
    SnapshotKept(Vec<u8>),
    /// That was all of it: load it, and say so with [`Replica::snapshot_loaded`].
    EndSnapshot,
    /// Forget the snapshot; our data stays.
    AbandonSnapshot,
    /// The stream goes on where we are; the history may have got another name.
    Continue { id: ReplId, renamed: bool },
    /// Bytes of the stream: a part of the last input. While the snapshot is being loaded they are kept by the driver.
    Apply(Range<usize>),
    /// The master would not take our place: see [`Replica::hand_over`].
    HandOverRefused(String),
    /// The masters above us have become known, the nearest first.
    Chain(Vec<ReplId>),
    /// For the server's log.
    Line(LogLevel, String),
}

/// Why a full sync is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The master has no data, and we have.
    Empty { keys_held: u64 },
    /// The master is in our history, but behind us.
    Behind { offset: u64, held: u64 },
    /// The master follows us, or is ourselves.
    Loop,
}

/// One link to a master, broken or not.
#[derive(Debug)]
pub struct Replica {
    settings: ReplicaSettings,
    host: String,
    port: u16,
    now: Now,
    state: State,
    lines: Lines,
    /// What we have applied, if it can be named.
    position: Option<Position>,
    /// Our log has it on the disk up to here.
    synced: Option<u64>,
    /// How much of the stream has arrived.
    received: u64,
    keys_held: u64,
    refused: Option<Refusal>,
    /// Attempts that have failed since the stream was flowing.
    failures: u32,
    /// Full syncs among them that had begun: they are dear.
    dear_failures: u32,
    /// The next attempt asks whose replica the master is.
    suspects_loop: bool,
    /// The next full sync may replace our data by nothing, whatever the settings say.
    accepts_once: bool,
    /// The next PSYNC asks the master to become one: it is a replica still.
    hands_over: bool,
    last_io: Instant,
    /// When something is to be said, to be taken for alive.
    say_at: Instant,
    /// Since when the stream does not flow.
    down_since: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
    },
    Connecting,
    Pinging,
    Greeting {
        left: VecDeque<Step>,
    },
    /// PSYNC was said.
    Asking,
    /// The snapshot has been announced; a length or a mark must follow.
    Counting {
        origin: Option<Position>,
    },
    Receiving(Receiving),
    Loading {
        origin: Option<Position>,
        received: u64,
    },
    Streaming {
        since: Instant,
    },
    Refused {
        until: Instant,
    },
}

/// An answer that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Auth,
    Port,
    Address,
    Capabilities,
    Chain,
}

#[derive(Debug)]
struct Receiving {
    origin: Option<Position>,
    end: End,
    received: u64,
}

#[derive(Debug)]
enum End {
    Length { total: u64 },
    Mark(Box<MarkFinder>),
}

/// What INFO and ROLE show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub host: String,
    pub port: u16,
    /// ROLE's word: connect, connecting, handshake, sync, connected or refused.
    pub state: &'static str,
    pub link_up: bool,
    pub last_io_secs: Option<u64>,
    pub down_secs: Option<u64>,
    /// A full sync: bytes that have arrived, and how many there are if that is known.
    pub sync: Option<(u64, Option<u64>)>,
    pub position: Option<Position>,
    /// How much of the stream has arrived.
    pub received: u64,
    pub refused: Option<Refusal>,
}

/// A failed attempt is followed by the next after this.
const RETRY: Duration = Duration::from_secs(1);
/// So many attempts follow each other that fast; then the pause doubles.
const QUICK_ATTEMPTS: u32 = 10;
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The pause between full syncs that fail grows up to this.
const DEAR_RETRY_MAX: Duration = Duration::from_secs(60);
/// What was refused is asked for again after this.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
/// How often the master hears of us.
const SAY_EVERY: Duration = Duration::from_secs(1);

impl Replica {
    /// Returns a replica that is about to connect; `start` is what its data is of, if anybody knows.
    pub fn new(
        settings: ReplicaSettings,
        host: String,
        port: u16,
        start: Option<Position>,
        now: Now,
    ) -> Replica {
        Replica {
            settings,
            host,
            port,
            now,
            state: State::Waiting { until: now.instant },
            lines: Lines::default(),
            position: start,
            synced: None,
            received: start.map_or(0, |start| start.offset),
            keys_held: 0,
            refused: None,
            failures: 0,
            dear_failures: 0,
            suspects_loop: false,
            accepts_once: false,
            hands_over: false,
            last_io: now.instant,
            say_at: now.instant,
            down_since: None,
            outputs: VecDeque::new(),
        }
    }

    /// Puts other settings into force; the link stays as it is.
    pub fn configure(&mut self, now: Now, settings: ReplicaSettings) {
        self.now = now;
        let allowed = settings.accept_empty && !self.settings.accept_empty;
        self.settings = settings;
        if let State::Refused { until } = &mut self.state
            && allowed
        {
            *until = now.instant;
        }
    }

    /// Makes the next PSYNC ask its receiver, a replica of ours, to become the master (FAILOVER).
    pub fn hand_over(&mut self) {
        self.hands_over = true;
    }

    /// Notes how many keys we hold; the rule about empty masters needs to know before a full sync begins.
    pub fn hold(&mut self, keys: u64) {
        self.keys_held = keys;
    }

    /// Returns the master's host and port.
    pub fn master(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Says what our data is of, before the first attempt.
    pub fn start_from(&mut self, position: Position) {
        self.position = Some(position);
        self.received = position.offset;
    }

    /// Returns what our data is of, for a promotion or the next master.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns whether the stream flows.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Returns whether bytes from the master are of use now; while a snapshot is loaded they wait in the socket.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Loading { .. })
    }

    /// Says that the link is open.
    pub fn connected(&mut self, now: Now) {
        self.heard(now);
        if matches!(self.state, State::Connecting) {
            self.line(LogLevel::Notice, "Non blocking connect for SYNC fired the event.".into());
            self.state = State::Pinging;
            self.command(&[b"PING"]);
        }
    }

    /// Says that the link is closed, or could not be opened.
    pub fn closed(&mut self, now: Now, reason: &str) {
        self.now = now;
        match self.state {
            State::Waiting { .. } | State::Refused { .. } => {}
            State::Streaming { .. } => {
                self.line(LogLevel::Notice, format!("Connection with master lost: {reason}"));
                self.lose(false);
            }
            _ => {
                self.line(
                    LogLevel::Warning,
                    format!("Connection with master lost during the handshake or sync: {reason}"),
                );
                self.lose(false);
            }
        }
    }

    /// Takes bytes from the master; outputs refer to them.
    pub fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.heard(now);
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Waiting { .. } | State::Refused { .. } | State::Connecting => return,
                State::Streaming { .. } => {
                    self.received += (bytes.len() - at) as u64;
                    self.outputs.push_back(Output::Apply(at..bytes.len()));
                    return;
                }
                State::Loading { received, .. } => {
                    *received += (bytes.len() - at) as u64;
                    self.outputs.push_back(Output::Apply(at..bytes.len()));
                    return;
                }
                State::Receiving(_) => at += self.receive(bytes, at),
                _ => match self.lines.take(&bytes[at..]) {
                    Err(_) => {
                        return self.fail("Bad protocol from MASTER, a line is too long".into());
                    }
                    Ok((taken, line)) => {
                        at += taken;
                        if let Some(line) = line {
                            self.answered(&line);
                        }
                    }
                },
            }
        }
    }

    /// Says how far the stream has been applied: by whole commands, and whole transactions.
    pub fn applied(&mut self, offset: u64) {
        if let Some(position) = &mut self.position
            && matches!(self.state, State::Streaming { .. })
        {
            position.offset = offset;
        }
    }

    /// Says that the stream holds what cannot be applied.
    pub fn stream_failed(&mut self, now: Now, why: String) {
        self.now = now;
        if self.is_up() {
            self.dear_failures = self.dear_failures.saturating_add(1);
            self.state = State::Asking;
            self.fail(why);
        }
    }

    /// Says up to which offset our log is on the disk, or that there is none.
    pub fn synced(&mut self, offset: Option<u64>) {
        self.synced = offset;
    }

    /// Tells the master how far we are: it has asked.
    pub fn acknowledge(&mut self, now: Now) {
        self.now = now;
        if let (State::Streaming { .. }, Some(position)) = (&self.state, self.position) {
            let offset = position.offset.to_string();
            let synced = self.synced.map(|synced| synced.min(position.offset).to_string());
            match &synced {
                Some(synced) => {
                    self.command(&[b"REPLCONF", b"ACK", offset.as_bytes(), b"FACK", synced.as_bytes()])
                }
                None => self.command(&[b"REPLCONF", b"ACK", offset.as_bytes()]),
            }
        }
    }

    /// Says how many keys the snapshot holds, as soon as that can be read out of it.
    pub fn snapshot_holds(&mut self, now: Now, keys: u64) {
        self.now = now;
        if keys == 0 && matches!(self.state, State::Receiving(_) | State::Loading { .. }) && self.is_guarded()
        {
            self.outputs.push_back(Output::AbandonSnapshot);
            self.refuse(Refusal::Empty { keys_held: self.keys_held });
        }
    }

    /// Says that our data is no longer whole: it is being replaced by the snapshot.
    pub fn data_dropped(&mut self) {
        self.position = None;
        self.keys_held = 0;
    }

    /// Says what became of the snapshot; a failure may be told of while it is still arriving.
    pub fn snapshot_loaded(&mut self, now: Now, result: Result<(), String>) {
        self.now = now;
        match (&self.state, result) {
            (State::Loading { origin, received }, Ok(())) => {
                let received = *received;
                self.position = *origin;
                self.received = origin.map_or(0, |origin| origin.offset) + received;
                self.stream();
                self.line(LogLevel::Notice, "MASTER <-> REPLICA sync: Finished with success".into());
                self.acknowledge(now);
            }
            (State::Receiving(_) | State::Loading { .. }, Err(reason)) => {
                self.fail(format!("Failed trying to load the MASTER synchronization DB: {reason}"));
            }
            _ => {}
        }
    }

    /// Allows that our data is replaced by nothing, until the stream flows again; what was refused is tried again at once.
    pub fn accept_empty(&mut self, now: Now) {
        self.now = now;
        self.accepts_once = true;
        if let State::Refused { until } = &mut self.state {
            *until = now.instant;
        }
    }

    /// Returns whether a snapshot is being received or loaded.
    pub fn is_syncing(&self) -> bool {
        matches!(self.state, State::Receiving(_) | State::Loading { .. })
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        let silent = now.instant.saturating_since(self.last_io) > self.settings.timeout;
        match &self.state {
            State::Waiting { until } | State::Refused { until } if *until <= now.instant => self.connect(),
            State::Connecting | State::Pinging | State::Greeting { .. } | State::Asking if silent => {
                self.fail("Timeout connecting to the MASTER...".into());
            }
            State::Counting { .. } | State::Receiving(_) if silent => {
                self.fail(
                    "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value."
                        .into(),
                );
            }
            State::Streaming { .. } if silent => {
                // In a loop of replicas nobody ever says anything.
                self.suspects_loop = true;
                self.line(LogLevel::Warning, "MASTER timeout: no data nor PING received...".into());
                self.lose(true);
            }
            State::Streaming { .. } if self.say_at <= now.instant => {
                self.say_at = now.instant + SAY_EVERY;
                self.acknowledge(now);
            }
            // A master that waits for its snapshot to be loaded sees that we live.
            State::Loading { .. } if self.say_at <= now.instant => {
                self.say_at = now.instant + SAY_EVERY;
                self.outputs.push_back(Output::Send(b"\n".to_vec()));
            }
            _ => {}
        }
    }

    /// Returns when something will be due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // One microsecond later it is *more* than the time that may pass.
        let silent = self.last_io + self.settings.timeout + Duration::from_micros(1);
        Some(match &self.state {
            State::Waiting { until } | State::Refused { until } => *until,
            State::Streaming { .. } => silent.min(self.say_at),
            State::Loading { .. } => self.say_at,
            _ => silent,
        })
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns what INFO and ROLE show.
    pub fn figures(&self, now: Instant) -> Figures {
        let state = match &self.state {
            State::Waiting { .. } => "connect",
            // A word of ours: Redis has no such state.
            State::Refused { .. } => "refused",
            State::Connecting => "connecting",
            State::Pinging | State::Greeting { .. } | State::Asking => "handshake",
            State::Counting { .. } | State::Receiving(_) | State::Loading { .. } => "sync",
            State::Streaming { .. } => "connected",
        };
        let sync = match &self.state {
            State::Counting { .. } => Some((0, None)),
            State::Receiving(Receiving { received, end: End::Length { total }, .. }) => {
                Some((*received, Some(*total)))
            }
            State::Receiving(receiving) => Some((receiving.received, None)),
            State::Loading { .. } => Some((0, Some(0))),
            _ => None,
        };
        let talks = self.is_up() || sync.is_some();
        let secs = |since: Instant| now.saturating_since(since).as_secs();
        Figures {
            host: self.host.clone(),
            port: self.port,
            state,
            link_up: self.is_up(),
            last_io_secs: talks.then(|| secs(self.last_io)),
            down_secs: self.down_since.filter(|_| !self.is_up()).map(secs),
            sync,
            position: self.position,
            received: self.received,
            refused: self.refused,
        }
    }

    fn heard(&mut self, now: Now) {
        self.now = now;
        self.last_io = now.instant;
    }

    fn connect(&mut self) {
        self.line(LogLevel::Notice, format!("Connecting to MASTER {}:{}", self.host, self.port));
        self.last_io = self.now.instant;
        self.lines.clear();
        self.state = State::Connecting;
        self.outputs.push_back(Output::Connect { host: self.host.clone(), port: self.port });
    }

    /// Takes a line that the master answers.
    fn answered(&mut self, line: &[u8]) {
        match &mut self.state {
            State::Pinging => self.pinged(line),
            State::Greeting { .. } if line.is_empty() => {}
            State::Greeting { left } => {
                if let Some(step) = left.pop_front() {
                    self.greeted(step, line);
                }
                if matches!(&self.state, State::Greeting { left } if left.is_empty()) {
                    self.ask();
                }
            }
            // An empty line says that the master is there.
            State::Asking if line.is_empty() => {}
            State::Asking => self.told(line),
            State::Counting { .. } if line.is_empty() => {}
            State::Counting { origin } => {
                let origin = *origin;
                self.counted(origin, line);
            }
            _ => {}
        }
    }

    fn pinged(&mut self, line: &[u8]) {
        let wants_password = [&b"-NOAUTH"[..], b"-NOPERM", b"-ERR operation not permitted"];
        if !line.starts_with(b"+") && !wants_password.iter().any(|start| line.starts_with(start)) {
            return self.fail(format!("Error reply to PING from master: '{}'", shown(line)));
        }
        self.line(LogLevel::Notice, "Master replied to PING, replication can continue...".into());
        let mut left = VecDeque::new();
        if let Some(auth) = self.settings.auth.clone() {
            let words = [Some(b"AUTH".to_vec()), auth.user, Some(auth.password)];
            let words: Vec<_> = words.into_iter().flatten().collect();
            self.command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            left.push_back(Step::Auth);
        }
        let port = self.settings.port.to_string();
        self.command(&[b"REPLCONF", b"listening-port", port.as_bytes()]);
        left.push_back(Step::Port);
        if let Some(address) = self.settings.address.clone() {
            self.command(&[b"REPLCONF", b"ip-address", address.as_bytes()]);
            left.push_back(Step::Address);
        }
        self.command(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        left.push_back(Step::Capabilities);
        if self.suspects_loop {
            let run_id = self.settings.run_id;
            self.command(&[b"REPLCONF", b"chain", run_id.as_bytes()]);
            left.push_back(Step::Chain);
        }
        self.state = State::Greeting { left };
    }

    fn greeted(&mut self, step: Step, line: &[u8]) {
        let refused = line.starts_with(b"-");
        match step {
            Step::Auth if refused => self.fail(format!("Unable to AUTH to MASTER: {}", shown(line))),
            Step::Chain if refused => {}
            Step::Chain => self.chained(line),
            _ if refused => {
                let what = match step {
                    Step::Port => "listening-port",
                    Step::Address => "ip-address",
                    _ => "capa",
                };
                self.line(
                    LogLevel::Notice,
                    format!("(Non critical) Master does not understand REPLCONF {what}: {}", shown(line)),
                );
            }
            _ => {}
        }
    }

    fn chained(&mut self, line: &[u8]) {
        self.suspects_loop = false;
        let words = line.strip_prefix(b"+").unwrap_or(line).split(|byte| *byte == b' ');
        let chain: Vec<ReplId> = words.filter_map(ReplId::parse).take(CHAIN_MAX).collect();
        if chain.contains(&self.settings.run_id) {
            self.suspects_loop = true;
            self.outputs.push_back(Output::Chain(Vec::new()));
            self.refuse(Refusal::Loop);
        } else {
            self.outputs.push_back(Output::Chain(chain));
        }
    }

    fn ask(&mut self) {
        self.state = State::Asking;
        match self.position {
            Some(Position { id, offset }) => {
                let asked = (offset + 1).to_string();
                self.line(
                    LogLevel::Notice,
                    format!("Trying a partial resynchronization (request {id}:{asked})."),
                );
                match self.hands_over {
                    true => self.command(&[b"PSYNC", id.as_bytes(), asked.as_bytes(), b"FAILOVER"]),
                    false => self.command(&[b"PSYNC", id.as_bytes(), asked.as_bytes()]),
                }
            }
            None => {
                self.line(
                    LogLevel::Notice,
                    "Partial resynchronization not possible (no cached master)".into(),
                );
                self.command(&[b"PSYNC", b"?", b"-1"]);
            }
        }
    }

    /// Takes what PSYNC is answered.
    fn told(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.hands_over) && !line.starts_with(b"+") {
            self.outputs.push_back(Output::HandOverRefused(shown(line)));
            return self.fail(format!("Failover target rejected psync request: {}", shown(line)));
        }
        let mut words = line.split(|byte| *byte == b' ');
        match words.next().unwrap_or_default() {
            b"+FULLRESYNC" => {
                let id = words.next().and_then(ReplId::parse);
                // An offset is an i64 for others; a larger one could not be asked for again.
                let offset = words.next().and_then(parse_u64).filter(|offset| *offset < i64::MAX as u64);
                match (id, offset) {
                    (Some(id), Some(offset)) => self.full(Position { id, offset }),
                    _ => self.fail(format!("Master replied with wrong +FULLRESYNC syntax: {}", shown(line))),
                }
            }
            b"+CONTINUE" => {
                let id = words.next().filter(|word| !word.is_empty());
                match (self.position, id.map(ReplId::parse)) {
                    (Some(position), None) => self.go_on(position, position.id),
                    (Some(position), Some(Some(id))) => self.go_on(position, id),
                    _ => self.fail(format!("Unexpected reply to PSYNC from master: {}", shown(line))),
                }
            }
            b"-NOMASTERLINK" | b"-LOADING" => {
                self.suspects_loop |= line.starts_with(b"-NOMASTERLINK");
                self.lines.clear();
                self.retry(
                    LogLevel::Notice,
                    format!(
                        "Master is currently unable to PSYNC but should be in the future: {}",
                        shown(line)
                    ),
                );
            }
            b"-ERR" => {
                self.line(
                    LogLevel::Notice,
                    format!("Master does not support PSYNC or is in error state (reply: {})", shown(line)),
                );
                self.line(LogLevel::Notice, "Retrying with SYNC...".into());
                self.outputs.push_back(Output::Send(b"SYNC\r\n".to_vec()));
                self.state = State::Counting { origin: None };
            }
            // What is not allowed, or out of order, is so for SYNC as well.
            _ => self.fail(format!("Unexpected reply to PSYNC from master: {}", shown(line))),
        }
    }

    fn full(&mut self, origin: Position) {
        self.line(LogLevel::Notice, format!("Full resync from master: {}:{}", origin.id, origin.offset));
        if let Some(position) = self.position
            && position.id == origin.id
            && origin.offset < position.offset
            && self.is_guarded()
        {
            return self.refuse(Refusal::Behind { offset: origin.offset, held: position.offset });
        }
        self.state = State::Counting { origin: Some(origin) };
    }

    fn is_guarded(&self) -> bool {
        self.keys_held > 0 && !self.settings.accept_empty && !self.accepts_once
    }

    fn go_on(&mut self, position: Position, id: ReplId) {
        let renamed = id != position.id;
        if renamed {
            self.line(LogLevel::Warning, format!("Master replication ID changed to {id}"));
        }
        self.position = Some(Position { id, ..position });
        self.received = position.offset;
        self.outputs.push_back(Output::Continue { id, renamed });
        self.line(
            LogLevel::Notice,
            "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.".into(),
        );
        self.stream();
        self.acknowledge(self.now);
    }

    fn stream(&mut self) {
        self.state = State::Streaming { since: self.now.instant };
        (self.failures, self.dear_failures) = (0, 0);
        (self.refused, self.down_since) = (None, None);
        self.accepts_once = false;
        self.say_at = self.now.instant + SAY_EVERY;
        self.last_io = self.now.instant;
    }

    /// Takes the line before a snapshot.
    fn counted(&mut self, origin: Option<Position>, line: &[u8]) {
        if line.starts_with(b"-") {
            return self.fail(format!("MASTER aborted replication with an error: {}", shown(&line[1..])));
        }
        let end = match line.strip_prefix(b"$EOF:") {
            Some(mark) => ReplId::parse(mark).map(|mark| End::Mark(Box::new(MarkFinder::new(mark)))),
            None => {
                let len = line.strip_prefix(b"$").and_then(parse_u64);
                if let Some(len) = len.filter(|len| *len > self.settings.snapshot_max) {
                    return self.fail(format!(
                        "The master claims a snapshot of {len} bytes, which is more than any may have"
                    ));
                }
                len.map(|total| End::Length { total })
            }
        };
        let Some(end) = end else {
            return self.fail(format!(
                "Bad protocol from MASTER, a snapshot's length was expected (we received '{}'), are you sure the host and port are right?",
                shown(line)
            ));
        };
        // A master that goes on in the history of our data, and is not behind us, knows why it has what it has.
        let goes_on = origin
            .zip(self.position)
            .is_some_and(|(origin, held)| origin.id == held.id && origin.offset >= held.offset);
        let guarded = self.is_guarded() && !goes_on;
        let len = match &end {
            End::Length { total } => Some(*total),
            End::Mark(_) => None,
        };
        let from = match len {
            Some(len) => format!("receiving {len} bytes from master"),
            None => "receiving streamed RDB from master with EOF".into(),
        };
        self.line(LogLevel::Notice, format!("MASTER <-> REPLICA sync: {from}"));
        self.outputs.push_back(Output::BeginSnapshot { origin, len, guarded });
        self.state = State::Receiving(Receiving { origin, end, received: 0 });
        if len == Some(0) {
            // No bytes are no snapshot, not even an empty one.
            self.fail("The master sent a snapshot without a byte".into());
        }
    }

    /// Takes bytes of the snapshot; returns how many of the input belonged to it.
    fn receive(&mut self, bytes: &[u8], at: usize) -> usize {
        let State::Receiving(receiving) = &mut self.state else { return 0 };
        let input = &bytes[at..];
        let (taken, part, ended) = match &mut receiving.end {
            End::Length { total } => {
                let left = *total - receiving.received;
                let part = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                (part, part, part as u64 == left)
            }
            End::Mark(finder) => {
                let found = finder.take(input);
                if found.kept > 0 {
                    receiving.received += found.kept as u64;
                    self.outputs.push_back(Output::SnapshotKept(finder.first(found.kept).to_vec()));
                }
                (found.end.unwrap_or(input.len()), found.part.end, found.end.is_some())
            }
        };
        receiving.received += part as u64;
        let (received, origin) = (receiving.received, receiving.origin);
        if part > 0 {
            self.outputs.push_back(Output::Snapshot(at..at + part));
        }
        if received > self.settings.snapshot_max {
            let max = self.settings.snapshot_max;
            self.fail(format!("The master's snapshot does not end after {max} bytes"));
        } else if ended {
            self.state = State::Loading { origin, received: 0 };
            self.say_at = self.now.instant + SAY_EVERY;
            self.line(LogLevel::Notice, "MASTER <-> REPLICA sync: Loading DB in memory".into());
            self.outputs.push_back(Output::EndSnapshot);
        }
        taken
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.outputs.push_back(Output::Close);
        self.lines.clear();
        self.received = self.position.map_or(self.received, |position| position.offset);
        self.refused = Some(refusal);
        self.down_since.get_or_insert(self.now.instant);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Refused { until: self.now.instant + REFUSED_RETRY };
        let why = match refusal {
            Refusal::Empty { keys_held } => format!(
                "The master {0}:{1} has no data, and would replace the {keys_held} keys that we hold by nothing. They are kept, and served; the link stays down. \
                 If the master lost its data, give it back with `redstart recover --from <this replica> --to {0}:{1}`, or make this replica the master (REPLICAOF NO ONE); \
                 if it is meant to be empty: REPLICAOF {0} {1} ACCEPT-EMPTY.",
                self.host, self.port
            ),
            Refusal::Behind { offset, held } => format!(
                "The master {0}:{1} is at offset {offset} of the history that we have up to {held}: it has lost writes that we hold. They are kept, and served; the link stays down. \
                 Make this replica the master (REPLICAOF NO ONE), give the master what it lost (`redstart recover --from <this replica> --to {0}:{1} --force`), \
                 or give up what it does not have: REPLICAOF {0} {1} ACCEPT-EMPTY.",
                self.host, self.port
            ),
            Refusal::Loop => {
                format!(
                    "The master {}:{} follows this server, or is this server: REPLICAOF makes a loop.",
                    self.host, self.port
                )
            }
        };
        self.line(LogLevel::Warning, why);
    }

    /// Gives an attempt up.
    fn fail(&mut self, why: String) {
        self.retry(LogLevel::Warning, why);
    }

    fn retry(&mut self, level: LogLevel, why: String) {
        self.line(level, why);
        self.lose(true);
    }

    /// Goes back to where a link is opened.
    fn lose(&mut self, open: bool) {
        let streamed = matches!(self.state, State::Streaming { since }
            if self.now.instant.saturating_since(since) >= RETRY);
        if matches!(self.state, State::Receiving(_) | State::Loading { .. }) {
            self.outputs.push_back(Output::AbandonSnapshot);
            self.dear_failures = self.dear_failures.saturating_add(1);
        }
        if open {
            self.outputs.push_back(Output::Close);
        }
        self.lines.clear();
        self.down_since.get_or_insert(self.now.instant);
        self.received = self.position.map_or(0, |position| position.offset);
        // A link that was good is opened again at once.
        let pause = match streamed {
            true => Duration::ZERO,
            false => {
                self.failures = self.failures.saturating_add(1);
                let slow = self.failures.saturating_sub(QUICK_ATTEMPTS).min(6);
                let dear = self.dear_failures.saturating_sub(1).min(6);
                (RETRY * (1 << slow)).min(RETRY_MAX).max((RETRY * (1 << dear)).min(DEAR_RETRY_MAX))
            }
        };
        self.state = State::Waiting { until: self.now.instant + pause };
    }

    fn command(&mut self, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        resp::encode::request(&mut bytes, words);
        self.outputs.push_back(Output::Send(bytes));
    }

    fn line(&mut self, level: LogLevel, line: String) {
        self.outputs.push_back(Output::Line(level, line));
    }
}
