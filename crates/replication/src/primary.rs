//! `Primary`: the master's side of replication, also that of a replica which has replicas.
//!
//! It owns the history, the backlog, and what is known of each replica. Requests of links come in by [`Primary::replconf`]
//! and [`Primary::sync`], the stream by [`Primary::append`]; what is to be done goes out by [`Primary::poll_output`].
//!
//! ```text
//!            ┌─► Online ◄──────────────────────────────────────── PSYNC that can go on
//!            │      ▲
//! full ─► Waiting ──┬─► Preparing ─► Sending ─────────────┬─► Online       a file          (see `handout`)
//!                   └─► Receiving, a piece at a time ─► Loading ─(ACK)─► Online   no file
//! ```
//!
//! # Order
//!
//! Whoever drives it appends all that was executed before it calls `poll_output`: a snapshot is of the dataset at the moment
//! at which it is polled, and the stream goes on from there.
//!
//! # The stream
//!
//! Nothing is written to the stream here; it is the engine's. A ping, a request for acknowledgements, and that the next command
//! must select its database, are asked for as outputs. A replica with replicas passes its master's stream on as it is, so these
//! wishes are then not had.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::log_level::LogLevel;
use base::number::parse_i64;
use base::rng::Rng;
use base::time::{Instant, Now};
use resp::Request;

use crate::backlog::Backlog;
use crate::feed::{Feed, ReplicaFigures, State};
use crate::greeting::{Content, Greeting, Said, shown};
use crate::handout::Handout;
use crate::psync::{Decision, History, Why, decide};
use crate::settings::PrimarySettings;
use crate::{LinkId, ReplId};

/// One snapshot for replicas among all; the number grows by one with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// What a master would like done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The link is a replica from here on: its class and its limits are those of one.
    Attached(LinkId),
    /// Bytes for a link, behind all that it was given before.
    Send(LinkId, Vec<u8>),
    /// There are bytes of the stream for a link: see [`Primary::stream`].
    Feed(LinkId),
    /// End the link at once; it is not heard of again here.
    Close(LinkId),
    /// End the link when it was sent what it was given; it is not heard of again here.
    Finish(LinkId),
    /// Write the dataset of this moment: to a file, or piece by piece.
    StartSnapshot { id: SnapshotId, diskless: bool, content: Content },
    /// Ask the snapshot for its next piece, and hand it in with [`Primary::piece`].
    NextPiece(SnapshotId),
    /// Send the piece at hand on a link, and say when its last byte has left: [`Primary::piece_taken`].
    SendPiece(LinkId),
    /// Send the snapshot's file on a link, and say when its last byte has left: [`Primary::file_sent`].
    SendFile { link: LinkId, snapshot: SnapshotId },
    /// Give up a snapshot, and its file if it has one; nothing is heard of it any more. It may have ended meanwhile.
    StopSnapshot(SnapshotId),
    /// Nobody needs the file of a snapshot any more.
    DropSnapshot(SnapshotId),
    /// Whether the stream must be written, for all that replication needs.
    Listen(bool),
    /// The next command must name its database.
    SelectAgain,
    /// Write `PING` to the stream.
    Ping,
    /// Write `REPLCONF GETACK *` to the stream.
    GetAck,
    /// A replica has acknowledged more than before: whoever waits for that may look.
    Acked,
    /// Another server hands its place over to us: follow nobody any more. The history has been changed already.
    Promoted,
    /// For the server's log.
    Line(LogLevel, String),
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    /// An error with its code.
    Error(String),
    /// A line that is no error.
    Status(String),
    Nothing,
    /// Our master asks how far we are: [`crate::Replica::acknowledge`].
    Acknowledge,
    /// Nothing; the link is to be closed.
    Close,
}

/// Whether we follow a master ourselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    #[default]
    None,
    /// We do, and have nothing to give on at the moment.
    Down,
    Up,
}

/// How far replicas must have come for a write to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// They have applied it.
    Received,
    /// Their logs have it on the disk.
    Fsynced,
}

/// The master's side of all links to replicas.
#[derive(Debug)]
pub struct Primary {
    pub(crate) settings: PrimarySettings,
    pub(crate) now: Now,
    pub(crate) rng: Rng,
    run_id: ReplId,
    history: History,
    /// There while somebody may want to go on.
    pub(crate) backlog: Option<Backlog>,
    /// The offset of a stream that is not kept.
    offset: u64,
    upstream: Upstream,
    /// The masters above us, the nearest first.
    chain: Vec<ReplId>,
    /// A replica is taking over: none may begin to follow us.
    failing_over: bool,
    /// Links that said REPLCONF, and no more.
    greetings: BTreeMap<LinkId, Greeting>,
    pub(crate) feeds: BTreeMap<LinkId, Feed>,
    pub(crate) handout: Handout,
    arrivals: u64,
    /// When a replica left last, if ever.
    pub(crate) left_at: Option<Instant>,
    /// Since when there has been none.
    idle_since: Instant,
    tick_at: Instant,
    ping_at: Instant,
    acks_wanted: bool,
    pub(crate) stats: Stats,
    pub(crate) outputs: VecDeque<Output>,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub full: u64,
    pub partial: u64,
    pub partial_refused: u64,
    /// Replicas that were cut off since they were too far behind.
    pub overrun: u64,
}

/// What INFO shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub history: History,
    pub offset: u64,
    pub replicas: Vec<ReplicaFigures>,
    pub good_replicas: usize,
    pub stats: Stats,
    pub backlog: Option<BacklogFigures>,
}

/// What INFO shows of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogFigures {
    pub size: u64,
    /// INFO has it plus one.
    pub start: u64,
    pub len: u64,
}

/// What is looked after every second, as in Redis.
const TICK: Duration = Duration::from_secs(1);
/// A chain of masters is not longer.
pub(crate) const CHAIN_MAX: usize = 64;
/// What a master answers to a link that asks it to become one (FAILOVER).
pub const ALREADY_MASTER: &str = "ERR PSYNC FAILOVER can't be sent to a master.";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

impl Primary {
    /// Returns a master without replicas, which has no history that any could know.
    pub fn new(settings: PrimarySettings, run_id: ReplId, seed: u64, offset: u64, now: Now) -> Primary {
        let mut rng = Rng::seeded(seed);
        Primary {
            settings,
            now,
            history: History::new(ReplId::random(&mut rng)),
            rng,
            run_id,
            backlog: None,
            offset,
            upstream: Upstream::None,
            chain: Vec::new(),
            failing_over: false,
            greetings: BTreeMap::new(),
            feeds: BTreeMap::new(),
            handout: Handout::default(),
            arrivals: 0,
            left_at: None,
            idle_since: now.instant,
            tick_at: now.instant + TICK,
            ping_at: now.instant,
            acks_wanted: false,
            stats: Stats::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Goes on in the history that the loaded data names: its replicas may come back.
    ///
    /// A master begins a history of its own there, since nobody knows what it had done after that.
    pub fn resume(&mut self, now: Now, id: ReplId, offset: u64) {
        self.now = now;
        self.history.replace(id);
        if self.upstream == Upstream::None {
            self.history.shift(ReplId::random(&mut self.rng), offset);
        }
        self.open_backlog(offset);
    }

    /// Returns the history.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Gives the history another name; who knew the old one must take all of the data.
    pub fn change_id(&mut self) {
        self.history.replace(ReplId::random(&mut self.rng));
    }

    /// Returns whether there is nothing that [`Primary::poll_output`] could return before something else happens.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let waits = |feed: &Feed| matches!(feed.state, State::Waiting { .. });
        self.outputs.is_empty() && !self.acks_wanted && !self.feeds.values().any(waits)
    }

    /// Returns whether we follow a master, and how that goes.
    pub fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// Puts the epoch of an election into force.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.history.epoch = epoch;
    }

    /// Returns the offset behind everything that was appended.
    pub fn offset(&self) -> u64 {
        self.backlog.as_ref().map_or(self.offset, Backlog::end)
    }

    /// Returns whether the stream is needed here.
    pub fn listens(&self) -> bool {
        self.backlog.is_some()
    }

    /// Puts other settings into force.
    pub fn configure(&mut self, now: Now, settings: PrimarySettings) {
        self.now = now;
        self.settings = settings;
        if let Some(backlog) = &mut self.backlog {
            backlog.set_size(self.settings.backlog_size);
        }
        self.ping_at = self.ping_at.min(now.instant + self.settings.ping_period);
    }

    /// Says whether a replica is about to take over; meanwhile none may begin to follow us, and the stream is left alone.
    pub fn set_failing_over(&mut self, failing_over: bool) {
        self.failing_over = failing_over;
    }

    /// Takes what was written to the stream, or, from a master, applied of it; whole units.
    ///
    /// `offset_after` is the stream's, behind `bytes`.
    pub fn append(&mut self, now: Now, offset_after: u64, bytes: &[u8]) {
        self.now = now;
        let Some(backlog) = &mut self.backlog else {
            self.offset = offset_after;
            return;
        };
        if bytes.is_empty() {
            return;
        }
        backlog.append(bytes);
        assert_eq!(backlog.end(), offset_after, "the backlog has every byte of the stream");
        for (link, feed) in &mut self.feeds {
            if feed.state == State::Online && !feed.told {
                feed.told = true;
                self.outputs.push_back(Output::Feed(*link));
            }
        }
    }

    /// Returns the next bytes of the stream for a link, as many as lie together.
    pub fn stream(&self, link: LinkId) -> &[u8] {
        match (&self.backlog, self.feeds.get(&link)) {
            (Some(backlog), Some(Feed { state: State::Online, .. })) => backlog.slice(link),
            _ => &[],
        }
    }

    /// Says that the first `count` bytes of [`Primary::stream`] have left.
    pub fn streamed(&mut self, link: LinkId, count: usize) {
        let (Some(backlog), Some(feed)) = (&mut self.backlog, self.feeds.get_mut(&link)) else { return };
        backlog.advance(link, count);
        feed.told = backlog.pending(link) > 0;
    }

    /// Takes REPLCONF.
    pub fn replconf(&mut self, now: Now, link: LinkId, request: Request<'_>) -> Answer {
        self.now = now;
        let replica = self.feeds.contains_key(&link);
        let greeting = match self.feeds.get_mut(&link) {
            Some(feed) => &mut feed.greeting,
            None => self.greetings.entry(link).or_default(),
        };
        match greeting.read(request) {
            Said::Noted => Answer::Ok,
            Said::Wrong(error) => Answer::Error(error),
            Said::Ack { offset, synced } if replica => self.acknowledged(link, offset, synced),
            Said::Ack { .. } | Said::NoAck => Answer::Nothing,
            Said::GetAck => Answer::Acknowledge,
            Said::Chain => {
                let ids = std::iter::once(&self.run_id).chain(&self.chain).map(ReplId::as_str);
                Answer::Status(ids.collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// Takes PSYNC or SYNC; `peer` is the link's address, `pending` whether it has replies that were not sent.
    ///
    /// What it is answered if it is granted comes as output.
    pub fn sync(
        &mut self,
        now: Now,
        link: LinkId,
        peer: &str,
        pending: bool,
        request: Request<'_>,
    ) -> Answer {
        self.now = now;
        if self.feeds.contains_key(&link) {
            return Answer::Nothing;
        }
        let error = |text: &str| Answer::Error(text.into());
        let psync = request.arg(0).eq_ignore_ascii_case(b"psync");
        if psync && request.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover")) {
            let id = shown(request.arg(1));
            self.line(LogLevel::Warning, format!("Failover request received for replid {id}."));
            if self.upstream == Upstream::None {
                return error(ALREADY_MASTER);
            }
            if !request.arg(1).eq_ignore_ascii_case(self.history.id.as_bytes()) {
                return error("ERR PSYNC FAILOVER replid must match my replid.");
            }
            self.promote(now);
            self.line(LogLevel::Notice, format!("MASTER MODE enabled (failover request from '{peer}')"));
            self.outputs.push_back(Output::Promoted);
        }
        if self.failing_over {
            return error("NOMASTERLINK Can't SYNC while failing over");
        }
        if self.upstream == Upstream::Down {
            return error("NOMASTERLINK Can't SYNC while not connected with my master");
        }
        if pending {
            return error("ERR SYNC and PSYNC are invalid with pending output");
        }
        let greeting = self.greetings.get(&link).cloned().unwrap_or_default();
        if greeting.content.is_filtered() && !greeting.capabilities.eof {
            return error("ERR Filtered replica requires EOF capability");
        }
        let asked = match psync {
            true => match request.get(2).and_then(parse_i64) {
                Some(asked) => Some((request.arg(1), asked)),
                None => return error(NOT_AN_INTEGER),
            },
            false => None,
        };
        self.greetings.remove(&link);
        self.arrivals += 1;
        let feed = Feed {
            greeting,
            peer: peer.into(),
            number: self.arrivals,
            old: !psync,
            state: State::Waiting { since: now.instant },
            acked: 0,
            synced: None,
            acked_at: now.instant,
            told: false,
        };
        self.line(LogLevel::Notice, format!("Replica {} asks for synchronization", feed.name()));
        self.outputs.push_back(Output::Attached(link));
        if let Some((id, asked)) = asked {
            // Who lacks more than its link may owe would be cut off at once, and come back for the same.
            let range = self.backlog.as_ref().map(|backlog| backlog.resumable(&self.settings.limit));
            match decide(&self.history, range, id, asked) {
                Decision::Partial { from } => {
                    self.go_on(link, feed, from);
                    return Answer::Nothing;
                }
                Decision::Full { why } => {
                    if why != Why::Asked {
                        self.stats.partial_refused += 1;
                    }
                    self.line(LogLevel::Notice, format!("{why} by replica {}", feed.name()));
                }
            }
        }
        self.stats.full += 1;
        if self.backlog.is_none() {
            // What happened before is known to nobody: no offset in it means anything.
            self.history.replace(ReplId::random(&mut self.rng));
            self.open_backlog(self.offset);
            let id = self.history.id;
            self.line(
                LogLevel::Notice,
                format!("Replication backlog created, my new replication ID is '{id}'"),
            );
        }
        self.feeds.insert(link, feed);
        self.join(link);
        Answer::Nothing
    }

    /// Sends a replica what it lacks of the stream.
    fn go_on(&mut self, link: LinkId, mut feed: Feed, from: u64) {
        let line = match feed.greeting.capabilities.psync2 {
            true => format!("+CONTINUE {}\r\n", self.history.id),
            false => "+CONTINUE\r\n".into(),
        };
        self.outputs.push_back(Output::Send(link, line.into_bytes()));
        let backlog = self.backlog.as_mut().expect("the request was granted out of it");
        backlog.attach(link, from);
        let bytes = backlog.pending(link);
        self.stats.partial += 1;
        feed.state = State::Online;
        feed.acked = from;
        if bytes > 0 {
            feed.told = true;
            self.outputs.push_back(Output::Feed(link));
        }
        let name = feed.name();
        self.feeds.insert(link, feed);
        self.line(
            LogLevel::Notice,
            format!(
                "Partial resynchronization request from {name} accepted. Sending {bytes} bytes of backlog starting from offset {}.",
                from + 1
            ),
        );
    }

    fn acknowledged(&mut self, link: LinkId, offset: u64, synced: Option<u64>) -> Answer {
        let end = self.offset();
        let now = self.now.instant;
        let feed = self.feeds.get_mut(&link).expect("its request was taken for a replica's");
        if offset > end || synced.is_some_and(|synced| synced > end) {
            let name = feed.name();
            self.line(
                LogLevel::Warning,
                format!(
                    "Replica {name} acknowledges offset {offset}, but there are only {end} bytes: closing its link."
                ),
            );
            self.closed(now, link);
            return Answer::Close;
        }
        let advanced = offset > feed.acked || synced > feed.synced;
        feed.acked = feed.acked.max(offset);
        feed.synced = feed.synced.max(synced);
        feed.acked_at = now;
        if feed.state == State::Loading {
            self.put_online(link);
        }
        if advanced {
            self.outputs.push_back(Output::Acked);
        }
        Answer::Nothing
    }

    /// Begins to send a replica the stream behind its snapshot.
    pub(crate) fn put_online(&mut self, link: LinkId) {
        let Some(feed) = self.feeds.get_mut(&link) else { return };
        feed.state = State::Online;
        feed.acked_at = self.now.instant;
        if self.backlog.as_ref().is_some_and(|backlog| backlog.pending(link) > 0) {
            feed.told = true;
            self.outputs.push_back(Output::Feed(link));
        }
        let name = feed.name();
        self.line(LogLevel::Notice, format!("Synchronization with replica {name} succeeded"));
    }

    /// Says that a link is gone; also links that were no replicas are told of.
    pub fn closed(&mut self, now: Instant, link: LinkId) {
        self.now.instant = self.now.instant.max(now);
        self.greetings.remove(&link);
        let Some(feed) = self.feeds.remove(&link) else { return };
        if let Some(backlog) = &mut self.backlog {
            backlog.detach(link);
        }
        self.left_at = Some(self.now.instant);
        if self.feeds.is_empty() {
            self.idle_since = self.now.instant;
        }
        self.left(feed.state);
    }

    /// Ends a link.
    pub(crate) fn close(&mut self, link: LinkId) {
        self.closed(self.now.instant, link);
        self.outputs.push_back(Output::Close(link));
    }

    fn close_all(&mut self) {
        for link in self.feeds.keys().copied().collect::<Vec<_>>() {
            self.close(link);
        }
    }

    /// Says whether we follow a master, and how that goes.
    pub fn set_upstream(&mut self, now: Now, upstream: Upstream) {
        self.now = now;
        if self.upstream == Upstream::None && upstream != Upstream::None && self.backlog.is_none() {
            // Whoever is promoted later must have something to go on with.
            self.history.replace(ReplId::random(&mut self.rng));
            self.open_backlog(self.offset);
        }
        if upstream != Upstream::None {
            // From here on the stream is our master's: nothing of ours may get into it.
            self.acks_wanted = false;
            self.outputs.retain(|output| !matches!(output, Output::Ping | Output::GetAck));
        }
        self.upstream = upstream;
    }

    /// Notes the masters above us, the nearest first.
    pub fn set_chain(&mut self, mut chain: Vec<ReplId>) {
        chain.truncate(CHAIN_MAX);
        self.chain = chain;
    }

    /// Follows nobody any more: begins a history of our own, which those who knew the old one can go on in.
    pub fn promote(&mut self, now: Now) {
        self.now = now;
        self.upstream = Upstream::None;
        self.chain.clear();
        self.idle_since = now.instant;
        let offset = self.offset();
        let (old, new) = (self.history.id, ReplId::random(&mut self.rng));
        self.history.shift(new, offset);
        self.line(
            LogLevel::Warning,
            format!(
                "Setting secondary replication ID to {old}, valid up to offset: {}. New replication ID is {new}",
                offset + 1
            ),
        );
        // They come back to hear of the new id.
        self.close_all();
        self.outputs.push_back(Output::SelectAgain);
    }

    /// Goes on in our master's history under the name that it has there now.
    pub fn renamed(&mut self, now: Now, id: ReplId) {
        self.now = now;
        if self.history.id != id {
            self.history.rename(id, self.offset());
            self.close_all();
        }
        if self.backlog.is_none() {
            self.open_backlog(self.offset);
        }
    }

    /// Says that other data took the place of ours: our replicas must take all of it, too.
    ///
    /// A master that cannot name its history leaves us with one that nobody knows.
    pub fn replaced(&mut self, now: Now, id: Option<ReplId>, offset: u64) {
        self.now = now;
        let id = id.unwrap_or_else(|| ReplId::random(&mut self.rng));
        self.close_all();
        self.give_up_snapshot();
        self.history.replace(id);
        self.open_backlog(offset);
    }

    fn open_backlog(&mut self, offset: u64) {
        let listened = self.backlog.is_some();
        self.close_all();
        self.backlog = Some(Backlog::new(self.settings.backlog_size, offset));
        self.idle_since = self.now.instant;
        if !listened {
            self.outputs.push_back(Output::Listen(true));
        }
    }

    /// Asks replicas how far they are, soon.
    pub fn request_acks(&mut self) {
        self.acks_wanted |= self.upstream == Upstream::None && self.feeds.values().any(Feed::is_online);
    }

    /// Returns how many replicas have come up to an offset.
    pub fn count(&self, offset: u64, commit: Commit) -> usize {
        self.progress(commit).filter(|progress| *progress >= offset).count()
    }

    /// Returns the offset up to which `replicas` replicas have come.
    pub fn acked_by(&self, replicas: usize, commit: Commit) -> u64 {
        if replicas == 0 {
            return self.offset();
        }
        let mut progress: Vec<u64> = self.progress(commit).collect();
        progress.sort_unstable_by(|a, b| b.cmp(a));
        progress.get(replicas - 1).copied().unwrap_or(0)
    }

    fn progress(&self, commit: Commit) -> impl Iterator<Item = u64> {
        self.feeds.values().filter(|feed| feed.is_online()).map(move |feed| match commit {
            Commit::Received => feed.acked,
            Commit::Fsynced => feed.synced.unwrap_or(0),
        })
    }

    /// Returns how many replicas are online and not silent for too long (`min-replicas-to-write`).
    pub fn good_replicas(&self, now: Instant) -> usize {
        self.feeds.values().filter(|feed| feed.is_good(now, self.settings.max_lag)).count()
    }

    /// Returns how many online replicas have acknowledged anything within that time.
    pub fn heard_within(&self, now: Instant, time: Duration) -> usize {
        let heard = |feed: &&Feed| feed.is_online() && now.saturating_since(feed.acked_at) <= time;
        self.feeds.values().filter(heard).count()
    }

    /// Returns how many bytes of the stream a replica has still to be sent.
    pub fn pending(&self, link: LinkId) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.pending(link))
    }

    /// Returns the bytes that the backlog takes, with what is kept for slow replicas.
    pub fn buffer_memory(&self) -> u64 {
        self.backlog.as_ref().map_or(0, Backlog::memory)
    }

    /// Returns the bytes that are kept for slow replicas alone.
    pub fn owed_memory(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| match backlog.len() > backlog.size() {
            true => backlog.memory().saturating_sub(backlog.size()),
            false => 0,
        })
    }

    /// Returns how often something happened.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Returns whether a link is a replica's.
    pub fn is_replica(&self, link: LinkId) -> bool {
        self.feeds.contains_key(&link)
    }

    /// Returns the online replicas, by link.
    pub fn replicas(&self) -> BTreeSet<LinkId> {
        self.feeds.iter().filter(|(_, feed)| feed.is_online()).map(|(link, _)| *link).collect()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        if self.tick_at <= now.instant {
            self.tick_at = now.instant + TICK;
            self.tick();
        }
    }

    /// Returns when something will be due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ticks = !self.feeds.is_empty() || (self.backlog.is_some() && self.upstream == Upstream::None);
        [ticks.then_some(self.tick_at), self.snapshot_due()].into_iter().flatten().min()
    }

    /// Returns the next thing to do, all that was executed having been appended.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            if std::mem::take(&mut self.acks_wanted) {
                self.outputs.push_back(Output::GetAck);
            } else {
                self.start_snapshot_if_due();
            }
        }
        self.outputs.pop_front()
    }

    fn tick(&mut self) {
        let now = self.now.instant;
        if self.ping_at <= now && !self.feeds.is_empty() && !self.failing_over {
            self.ping_at = now + self.settings.ping_period;
            if self.upstream == Upstream::None {
                self.outputs.push_back(Output::Ping);
            }
        }
        self.cut_off_silent();
        self.cut_off_slow();
        for (link, feed) in &self.feeds {
            // It keeps a link alive on which nothing else can be said.
            if matches!(feed.state, State::Waiting { .. } | State::Preparing) {
                self.outputs.push_back(Output::Send(*link, b"\n".to_vec()));
            }
        }
        let (ttl, idle) = (self.settings.backlog_ttl, now.saturating_since(self.idle_since));
        if self.feeds.is_empty()
            && self.backlog.is_some()
            && self.upstream == Upstream::None
            && !ttl.is_zero()
            && idle > ttl
        {
            self.offset = self.offset();
            self.backlog = None;
            // Offsets do not count any more what happens from here on.
            self.history.replace(ReplId::random(&mut self.rng));
            self.give_up_snapshot();
            self.outputs.push_back(Output::Listen(false));
            self.line(
                LogLevel::Notice,
                format!(
                    "Replication backlog freed after {} seconds without connected replicas.",
                    ttl.as_secs()
                ),
            );
        }
    }

    fn cut_off_silent(&mut self) {
        let (now, timeout) = (self.now.instant, self.settings.timeout);
        let late = |since: Instant| now.saturating_since(since) > timeout;
        let silent: Vec<_> = self
            .feeds
            .iter()
            .filter_map(|(link, feed)| match feed.state {
                State::Online | State::Loading if !feed.old && late(feed.acked_at) => {
                    Some((*link, "streaming sync"))
                }
                State::Receiving { piece: Some(since) } if late(since) => Some((*link, "full sync")),
                State::Sending { since, .. } if late(since) => Some((*link, "full sync")),
                _ => None,
            })
            .collect();
        for (link, what) in silent {
            let name = self.feeds[&link].name();
            self.line(LogLevel::Warning, format!("Disconnecting timedout replica ({what}): {name}"));
            self.close(link);
        }
    }

    /// Ends links to replicas that are too far behind; also called where much was appended at once.
    pub fn cut_off_slow(&mut self) {
        let Some(backlog) = &mut self.backlog else { return };
        for (link, behind) in backlog.overrun(self.now.instant, &self.settings.limit) {
            let name = self.feeds.get(&link).map(Feed::name).unwrap_or_default();
            self.stats.overrun += 1;
            self.line(
                LogLevel::Warning,
                format!(
                    "Replica {name} is {behind} bytes behind: closing its link, since client-output-buffer-limit allows no more."
                ),
            );
            self.close(link);
        }
    }

    pub(crate) fn line(&mut self, level: LogLevel, line: String) {
        self.outputs.push_back(Output::Line(level, line));
    }

    /// Returns what INFO shows; replicas in the order in which they came.
    pub fn figures(&self, now: Instant) -> Figures {
        let mut feeds: Vec<_> = self.feeds.iter().collect();
        feeds.sort_unstable_by_key(|(_, feed)| feed.number);
        let pending = |link| self.backlog.as_ref().map_or(0, |backlog| backlog.pending(link));
        Figures {
            history: self.history,
            offset: self.offset(),
            replicas: feeds.iter().map(|(link, feed)| feed.figures(**link, now, pending(**link))).collect(),
            good_replicas: self.good_replicas(now),
            stats: self.stats,
            backlog: self.backlog.as_ref().map(|backlog| BacklogFigures {
                size: backlog.size(),
                start: backlog.start(),
                len: backlog.len(),
            }),
        }
    }
}
