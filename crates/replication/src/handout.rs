//! Snapshots for replicas: when one begins, who shares it, and how it is handed out.
//!
//! ```text
//!  Waiting ─┬─ StartSnapshot (offset noted, +FULLRESYNC) ─┬─ file:   … done ─► `$<len>\r\n`, SendFile ─► Online
//!           │   joins while the file is being written     │
//!           └───or while no piece has been handed out ────└─ pieces: `$EOF:<mark>\r\n`, piece, piece, …, mark ─► Loading
//! ```
//!
//! The next piece is asked for when every replica has taken the last: none is kept for anybody.
//!
//! # When one begins
//!
//! A snapshot to a file begins as soon as no other child works. One in pieces cannot be joined for long, so it waits
//! `repl-diskless-sync-delay` for more replicas, as in Redis, with one exception: **the first replica of a master is not made to
//! wait**. That is, when it is the only one, and none has left within `repl-timeout`: then nobody is known who could come back
//! within the delay. A replica that comes a moment too late waits for the next snapshot.

use base::log_level::LogLevel;
use base::time::Instant;

use crate::feed::{Feed, State};
use crate::greeting::{Capabilities, Content};
use crate::primary::{Output, Primary, SnapshotId};
use crate::{LinkId, ReplId};

/// Snapshots for replicas.
#[derive(Debug, Default)]
pub(crate) struct Handout {
    last: u64,
    current: Option<Current>,
    /// A child is at work for somebody else.
    busy: bool,
}

/// The snapshot under way.
#[derive(Debug)]
struct Current {
    id: SnapshotId,
    content: Content,
    /// Where in the stream it was taken.
    offset: u64,
    /// The end mark of one that goes out in pieces.
    mark: Option<ReplId>,
    /// A piece was handed out, or asked for.
    begun: bool,
    /// The next piece was asked for, and has not come.
    asked: bool,
}

impl Primary {
    /// Says whether a child is at work for somebody else; a snapshot waits until none is.
    pub fn set_busy(&mut self, busy: bool) {
        self.handout.busy = busy;
    }

    /// Returns the replicas whose snapshot has not begun.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (LinkId, &Feed, Instant)> {
        self.feeds.iter().filter_map(|(link, feed)| match feed.state {
            State::Waiting { since } => Some((*link, feed, since)),
            _ => None,
        })
    }

    /// Lets a replica share the snapshot under way, if it suits both.
    pub(crate) fn join(&mut self, link: LinkId) {
        let Some(current) = &self.handout.current else { return };
        let (Some(feed), Some(backlog)) = (self.feeds.get(&link), &self.backlog) else { return };
        // Every replica understands a file.
        let suits = feed.greeting.content == current.content
            && backlog.reaches(current.offset)
            && (current.mark.is_none() || (!current.begun && feed.greeting.capabilities.eof));
        let line = if suits {
            "Waiting for end of BGSAVE for SYNC"
        } else {
            "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
        };
        self.line(LogLevel::Notice, line.into());
        if suits {
            self.enter(link);
        }
    }

    /// Makes a replica one of those that get the snapshot under way.
    fn enter(&mut self, link: LinkId) {
        let id = self.history().id;
        let Some(current) = &self.handout.current else { return };
        let Some(feed) = self.feeds.get_mut(&link) else { return };
        let mut said = Vec::new();
        if !feed.old {
            said.extend_from_slice(format!("+FULLRESYNC {id} {}\r\n", current.offset).as_bytes());
        }
        feed.state = match current.mark {
            Some(mark) => {
                said.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
                State::Receiving { piece: None }
            }
            None => State::Preparing,
        };
        feed.acked = 0;
        if !feed.greeting.snapshot_only
            && let Some(backlog) = &mut self.backlog
        {
            backlog.attach(link, current.offset);
        }
        if !said.is_empty() {
            self.outputs.push_back(Output::Send(link, said));
        }
    }

    /// Returns the replicas that the next snapshot is for: those that want what the first of them wants.
    fn next_group(&self) -> Option<(Content, Capabilities, Vec<LinkId>, Instant)> {
        let mut waiting: Vec<_> = self.waiting().collect();
        waiting.sort_unstable_by_key(|(_, feed, _)| feed.number);
        let (_, first, _) = waiting.first()?;
        let content = first.greeting.content;
        waiting.retain(|(_, feed, _)| feed.greeting.content == content);
        let eldest = waiting.iter().map(|(_, _, since)| *since).min()?;
        let understood =
            waiting.iter().map(|(_, feed, _)| feed.greeting.capabilities).reduce(Capabilities::both)?;
        Some((content, understood, waiting.iter().map(|(link, ..)| *link).collect(), eldest))
    }

    /// Returns when the next snapshot is due, if one is and nothing is in its way.
    pub(crate) fn snapshot_due(&self) -> Option<Instant> {
        if self.handout.busy || self.handout.current.is_some() {
            return None;
        }
        let (content, understood, group, eldest) = self.next_group()?;
        let settings = &self.settings;
        let in_pieces = (settings.diskless || content.is_filtered()) && understood.eof;
        let enough = settings.diskless_max_replicas > 0 && group.len() >= settings.diskless_max_replicas;
        let somebody_left = self.left_at.is_some_and(|at| eldest.saturating_since(at) <= settings.timeout);
        let alone = self.feeds.len() == 1 && !somebody_left;
        match in_pieces && !enough && !alone {
            true => Some(eldest + settings.diskless_delay),
            false => Some(eldest),
        }
    }

    /// Begins the snapshot that is due.
    pub(crate) fn start_snapshot_if_due(&mut self) {
        if self.snapshot_due().is_none_or(|at| at > self.now.instant) {
            return;
        }
        let Some((content, capabilities, group, _)) = self.next_group() else { return };
        let Some(offset) = self.backlog.as_ref().map(|backlog| backlog.end()) else { return };
        let diskless = (self.settings.diskless || content.is_filtered()) && capabilities.eof;
        self.handout.last += 1;
        let id = SnapshotId(self.handout.last);
        let mark = diskless.then(|| ReplId::random(&mut self.rng));
        let target = if diskless { "replicas sockets" } else { "disk" };
        self.line(LogLevel::Notice, format!("Starting BGSAVE for SYNC with target: {target}"));
        self.outputs.push_back(Output::SelectAgain);
        self.outputs.push_back(Output::StartSnapshot { id, diskless, content });
        self.handout.current = Some(Current { id, content, offset, mark, begun: false, asked: false });
        for link in group {
            self.enter(link);
        }
        if diskless {
            self.outputs.push_back(Output::NextPiece(id));
        }
    }

    fn receiving(&self) -> Vec<LinkId> {
        let receives = |feed: &Feed| matches!(feed.state, State::Receiving { .. });
        self.feeds.iter().filter(|(_, feed)| receives(feed)).map(|(link, _)| *link).collect()
    }

    /// Says that the next piece of a snapshot is there; it goes to every replica that receives it.
    pub fn piece(&mut self, now: Instant, id: SnapshotId) {
        self.now.instant = self.now.instant.max(now);
        let Some(current) = self.handout.current.as_mut().filter(|current| current.id == id) else { return };
        (current.begun, current.asked) = (true, false);
        for link in self.receiving() {
            self.feeds.get_mut(&link).expect("it receives").state = State::Receiving { piece: Some(now) };
            self.outputs.push_back(Output::SendPiece(link));
        }
        self.ask_for_piece();
    }

    /// Says that the last byte of the piece at hand has left on a link.
    pub fn piece_taken(&mut self, now: Instant, link: LinkId) {
        self.now.instant = self.now.instant.max(now);
        if let Some(feed) = self.feeds.get_mut(&link)
            && let State::Receiving { piece } = &mut feed.state
        {
            *piece = None;
            self.ask_for_piece();
        }
    }

    fn ask_for_piece(&mut self) {
        let taken = |feed: &Feed| !matches!(feed.state, State::Receiving { piece: Some(_) });
        if let Some(current) = &mut self.handout.current
            && current.mark.is_some()
            && current.begun
            && !current.asked
            && self.feeds.values().all(taken)
        {
            current.asked = true;
            self.outputs.push_back(Output::NextPiece(current.id));
        }
    }

    /// Takes what became of a snapshot: how long its file is, or, of one in pieces, that the last piece was handed in.
    pub fn snapshot_done(&mut self, now: Instant, id: SnapshotId, result: Result<u64, String>) {
        self.now.instant = self.now.instant.max(now);
        if self.handout.current.as_ref().is_none_or(|current| current.id != id) {
            return;
        }
        let current = self.handout.current.take().expect("it is the one under way");
        let of_it = |feed: &Feed| matches!(feed.state, State::Preparing | State::Receiving { .. });
        let links: Vec<_> =
            self.feeds.iter().filter(|(_, feed)| of_it(feed)).map(|(link, _)| *link).collect();
        match result {
            Err(reason) => {
                self.line(LogLevel::Warning, format!("SYNC failed. BGSAVE for replication failed: {reason}"));
                for link in links {
                    self.close(link);
                }
            }
            Ok(len) => {
                for link in &links {
                    match current.mark {
                        Some(mark) => self.end_pieces(*link, mark),
                        None => {
                            self.outputs.push_back(Output::Send(*link, format!("${len}\r\n").into_bytes()));
                            self.outputs.push_back(Output::SendFile { link: *link, snapshot: id });
                            let state = State::Sending { snapshot: id, since: now };
                            self.feeds.get_mut(link).expect("it was prepared for").state = state;
                        }
                    }
                }
                if current.mark.is_none() && links.is_empty() {
                    self.outputs.push_back(Output::DropSnapshot(id));
                }
            }
        }
    }

    fn end_pieces(&mut self, link: LinkId, mark: ReplId) {
        self.outputs.push_back(Output::Send(link, mark.as_bytes().to_vec()));
        let Some(feed) = self.feeds.get_mut(&link) else { return };
        (feed.state, feed.acked_at) = (State::Loading, self.now.instant);
        let (name, only) = (feed.name(), feed.greeting.snapshot_only);
        if only {
            self.end_snapshot_only(link, &name);
        } else {
            // Also one that said SYNC: redis-cli does, looks for the mark at the end of what it reads, and then says ACK 0.
            self.line(
                LogLevel::Notice,
                format!(
                    "Streamed RDB transfer with replica {name} succeeded (socket). Waiting for REPLCONF ACK from replica to enable streaming"
                ),
            );
        }
    }

    /// Says that a link takes its file: some of it has left.
    pub fn file_progress(&mut self, now: Instant, link: LinkId) {
        if let Some(feed) = self.feeds.get_mut(&link)
            && let State::Sending { since, .. } = &mut feed.state
        {
            *since = now;
        }
    }

    /// Says that the last byte of its file has left on a link.
    pub fn file_sent(&mut self, now: Instant, link: LinkId) {
        self.now.instant = self.now.instant.max(now);
        let Some(feed) = self.feeds.get_mut(&link) else { return };
        let State::Sending { snapshot, .. } = feed.state else { return };
        let (name, only) = (feed.name(), feed.greeting.snapshot_only);
        if only {
            self.end_snapshot_only(link, &name);
        } else {
            self.put_online(link);
            self.drop_file(snapshot);
        }
    }

    /// Lets a link go that wanted a snapshot and no more; the driver sends first what it was given.
    fn end_snapshot_only(&mut self, link: LinkId, name: &str) {
        self.line(
            LogLevel::Notice,
            format!("RDB transfer completed, rdb only replica ({name}) is disconnected"),
        );
        self.closed(self.now.instant, link);
        self.outputs.push_back(Output::Finish(link));
    }

    fn drop_file(&mut self, id: SnapshotId) {
        let needs = |feed: &Feed| matches!(feed.state, State::Sending { snapshot, .. } if snapshot == id);
        if self.last_file_users(id) && !self.feeds.values().any(needs) {
            self.outputs.push_back(Output::DropSnapshot(id));
        }
    }

    /// Returns whether no more replicas can begin to read a file: that of the snapshot under way is not there yet.
    fn last_file_users(&self, id: SnapshotId) -> bool {
        self.handout.current.as_ref().is_none_or(|current| current.id != id)
    }

    /// Looks after the snapshots of a replica that has left.
    pub(crate) fn left(&mut self, state: State) {
        match state {
            State::Sending { snapshot, .. } => self.drop_file(snapshot),
            State::Receiving { .. } if self.receiving().is_empty() => {
                self.line(
                    LogLevel::Notice,
                    "Diskless rdb transfer, last replica dropped, killing fork child.".into(),
                );
                self.give_up_snapshot();
            }
            State::Receiving { .. } => self.ask_for_piece(),
            State::Preparing if !self.feeds.values().any(|feed| feed.state == State::Preparing) => {
                self.give_up_snapshot();
            }
            _ => {}
        }
    }

    /// Ends the snapshot under way, if there is one.
    pub(crate) fn give_up_snapshot(&mut self) {
        if let Some(current) = self.handout.current.take() {
            self.outputs.push_back(Output::StopSnapshot(current.id));
        }
    }
}
