//! The master's side of replication: the stream on its way to replicas, and the snapshots that they begin with.
//!
//! ```text
//! engine ── stream ──► Primary ── Feed ──► output(link) ──► driver
//!                         │ StartSnapshot ──► Effect::Fork ──► driver ──┬─ pieces ──► output of every link that receives
//!                         └──────◄── snapshot_done ◄────────────────────┴─ a file ──► Effect::SendFile, link by link
//! ```
//!
//! A link's output is, in this order: what it was given by itself (`Session::out`), the piece at hand, the stream.

use std::collections::BTreeMap;

use base::time::Now;
use engine::persistence::Snapshot;
use engine::replication::{Follow, link_of, session_of};
use engine::session::{Closing, Session};
use engine::{Effect, SessionId};
use replication::primary::{Output, SnapshotId};
use replication::{Content, LinkId};

use crate::Node;
use crate::link::Link;

/// What a node knows of the snapshots for its replicas.
#[derive(Debug, Default)]
pub(crate) struct Feeding {
    /// The piece at hand; links have a place in it.
    piece: Vec<u8>,
    current: Option<Current>,
    /// Files that are being sent.
    files: BTreeMap<SnapshotId, String>,
    /// Bytes that were written to the stream since slow replicas were looked for.
    unlooked: u64,
}

/// The snapshot that a child is writing.
#[derive(Debug)]
struct Current {
    id: SnapshotId,
    path: Option<String>,
    /// The next piece was asked for.
    asked: bool,
    /// No piece is left.
    ended: bool,
    /// How long it is, once the child has ended well.
    written: Option<u64>,
}

/// So much may be written before replicas are looked for that are too far behind.
const LOOK_EVERY: u64 = 1 << 20;

impl Node {
    /// Does what the master's side asks for.
    #[inline]
    pub(crate) fn tend_replicas(&mut self, now: Now) {
        if !self.engine.server.replication.primary.is_quiet() {
            self.serve_replicas(now);
        }
    }

    #[cold]
    fn serve_replicas(&mut self, now: Now) {
        let child = self.engine.server.persistence.child;
        let busy = child.is_some_and(|child| !matches!(child.kind, Snapshot::Replicas { .. }));
        let primary = &mut self.engine.server.replication.primary;
        primary.set_busy(busy || self.loading.is_some());
        if self.feeding.unlooked > LOOK_EVERY {
            self.feeding.unlooked = 0;
            primary.cut_off_slow();
        }
        let mut acknowledged = false;
        while let Some(output) = self.engine.server.replication.primary.poll_output() {
            match output {
                Output::Attached(link) => {
                    if self.engine.server.config.repl_disable_tcp_nodelay {
                        self.effects.push_back(Effect::Gather(session_of(link)));
                    }
                }
                Output::Send(link, bytes) => {
                    if let Some(session) = self.replica(link) {
                        session.out.extend_from_slice(&bytes);
                    }
                    self.queue(link);
                }
                Output::Feed(link) => self.queue(link),
                Output::Close(link) => self.end_link(link, Closing::Now),
                Output::Finish(link) => self.end_link(link, Closing::AfterReply),
                Output::StartSnapshot { id, diskless, content } => {
                    self.start_snapshot(now, id, diskless, content);
                }
                Output::NextPiece(id) => {
                    if let Some(current) = self.feeding.current.as_mut().filter(|current| current.id == id) {
                        current.asked = true;
                        self.effects.push_back(Effect::NextPiece(id));
                    }
                }
                Output::SendPiece(link) => {
                    let slot = session_of(link).0 as usize;
                    if let Some(Some(link)) = self.links.get_mut(slot) {
                        link.piece = Some(0);
                    }
                    self.queue(link);
                }
                Output::SendFile { link, snapshot } => {
                    if let Some(path) = self.feeding.files.get(&snapshot) {
                        let session = session_of(link);
                        self.effects.push_back(Effect::SendFile { session, path: path.clone() });
                        self.queue(link);
                    }
                }
                Output::StopSnapshot(id) => self.stop_snapshot(now, id),
                Output::DropSnapshot(id) => {
                    if let Some(path) = self.feeding.files.remove(&id) {
                        self.remove_file(path);
                    }
                }
                Output::Listen(_) => self.listen(),
                Output::SelectAgain => self.engine.stream().forget_database(),
                Output::Ping => self.say_to_replicas(now, &[b"PING"]),
                Output::GetAck => self.say_to_replicas(now, &[b"REPLCONF", b"GETACK", b"*"]),
                Output::Acked => acknowledged = true,
                Output::Promoted => {
                    // The machine has changed the history already: this only drops our link.
                    if self.engine.server.follows() {
                        self.engine.server.follow(now, Follow::default());
                    }
                }
                Output::Line(level, line) => self.effects.push_back(Effect::Log(level, line)),
            }
        }
        if acknowledged {
            self.engine.replicas_advanced(now);
            self.release();
            if self.is_stopping() {
                self.stop_if_replicas_have_all(now);
            }
        }
    }

    /// Takes over changed parameters.
    pub(crate) fn reconfigure_replication(&mut self) {
        // The engine has told the machines; what they make of it is asked for in the next turn.
        self.stirred = true;
        self.listen();
        self.release();
    }

    fn say_to_replicas(&mut self, now: Now, words: &[&[u8]]) {
        if self.engine.server.follows() {
            // The stream is our master's.
            return;
        }
        self.engine.stream().push_for_replicas(words);
        self.pass_on_stream(now);
    }

    /// Hands what was written to the replicas' buffer.
    pub(crate) fn feed_replicas(&mut self, now: Now) {
        let (stream, replication) = self.engine.stream_and_replication();
        replication.append(now, stream);
        self.feeding.unlooked += stream.peek(|taken| taken.bytes.len() as u64);
    }

    /// Hands on, as it is, what was applied of our master's stream.
    pub(crate) fn feed_replicas_verbatim(&mut self, now: Now, offset: u64, bytes: &[u8]) {
        self.engine.server.replication.primary.append(now, offset, bytes);
        self.feeding.unlooked += bytes.len() as u64;
    }

    /// Turns the stream on or off, as somebody needs it or nobody does.
    pub(crate) fn listen(&mut self) {
        let server = &self.engine.server;
        let log = self.persist.log.as_ref().is_some_and(|log| log.figures().enabled);
        // In the synchronous mode replies wait for their place in the stream, also before the first replica comes.
        let wanted = log || server.replication.primary.listens() || server.is_synchronous();
        let on = !server.follows() && wanted;
        self.engine.listen_propagation(on || self.observed);
    }

    /// Returns the session of a replica's link, if it is there still.
    fn replica(&mut self, link: LinkId) -> Option<&mut Session> {
        self.engine.server.sessions.get_mut(session_of(link)).filter(|session| link_of(session) == link)
    }

    fn queue(&mut self, link: LinkId) {
        if self.replica(link).is_some() {
            self.engine.server.sessions.queue_id(session_of(link));
        }
    }

    fn end_link(&mut self, link: LinkId, closing: Closing) {
        if let Some(session) = self.replica(link) {
            session.close(closing);
            self.queue(link);
            if let Some(Some(link)) = self.links.get_mut(session_of(link).0 as usize) {
                link.piece = None;
            }
        }
    }

    /// Returns what is to be sent to a replica.
    pub(crate) fn replica_output<'a>(&'a self, id: SessionId, session: &'a Session) -> &'a [u8] {
        if session.unsent() > 0 {
            return &session.out[session.sent..];
        }
        match self.links.get(id.0 as usize) {
            Some(Some(Link { piece: Some(at), .. })) => self.feeding.piece.get(*at..).unwrap_or_default(),
            _ => self.engine.server.replication.primary.stream(link_of(session)),
        }
    }

    /// Says that a replica was sent the first bytes of what is to be sent to it, and it was none of its own output.
    pub(crate) fn replica_sent(&mut self, id: SessionId, link_id: LinkId, count: usize) {
        let primary = &mut self.engine.server.replication.primary;
        if let Some(Some(link)) = self.links.get_mut(id.0 as usize)
            && let Some(at) = &mut link.piece
        {
            *at += count;
            if *at >= self.feeding.piece.len() {
                link.piece = None;
                primary.piece_taken(self.now.instant, link_id);
                self.stirred = true;
            }
            return;
        }
        primary.streamed(link_id, count);
    }

    /// Says that the next `count` bytes of the file that a link is sent have left, and whether that was the `whole` of it.
    pub fn file_sent(&mut self, now: Now, id: SessionId, count: usize, whole: bool) {
        let server = &mut self.engine.server;
        server.stats.bytes_out += count as u64;
        server.stats.replication_out += count as u64;
        let Some(session) = server.sessions.get_mut(id) else { return };
        session.bytes_out += count as u64;
        let link = link_of(session);
        let primary = &mut server.replication.primary;
        if whole {
            primary.file_sent(now.instant, link);
            self.stirred = true;
        } else {
            primary.file_progress(now.instant, link);
        }
    }

    /// Takes the piece that was asked for with [`Effect::NextPiece`]; an empty one says that there is none left.
    pub fn snapshot_piece(&mut self, now: Now, piece: Vec<u8>) {
        let Some(current) = &mut self.feeding.current else { return };
        if !std::mem::take(&mut current.asked) {
            return;
        }
        if piece.is_empty() {
            current.ended = true;
            return self.end_pieces(now);
        }
        self.feeding.piece = piece;
        let id = current.id;
        self.engine.server.replication.primary.piece(now.instant, id);
        self.tend_replicas(now);
    }

    fn start_snapshot(&mut self, now: Now, id: SnapshotId, diskless: bool, content: Content) {
        let path = self.temporary("replicas");
        let file = (!diskless).then(|| path.clone());
        self.feeding.current = Some(Current { id, path: file, asked: false, ended: false, written: None });
        self.fork(now, Snapshot::Replicas { id, diskless, content }, path, None);
    }

    /// Takes what became of the snapshot that a child wrote for replicas.
    pub(crate) fn replicas_snapshot_done(&mut self, now: Now, result: Result<u64, String>) {
        let Some(current) = &mut self.feeding.current else { return };
        match (&current.path, result) {
            (None, Ok(len)) => {
                // The last pieces may still lie in the pipe.
                current.written = Some(len);
                self.end_pieces(now);
            }
            (path, result) => {
                let (id, path) = (current.id, path.clone());
                self.feeding.current = None;
                self.effects.push_back(Effect::DropPieces);
                if let (Ok(_), Some(path)) = (&result, path) {
                    self.feeding.files.insert(id, path);
                }
                self.engine.server.replication.primary.snapshot_done(now.instant, id, result);
                self.tend_replicas(now);
            }
        }
    }

    /// Tells the machine that a snapshot in pieces is over, once every piece was taken and the child has ended well.
    fn end_pieces(&mut self, now: Now) {
        if let Some(Current { id, ended: true, written: Some(len), .. }) = self.feeding.current {
            self.feeding.current = None;
            self.forget_piece();
            self.engine.server.replication.primary.snapshot_done(now.instant, id, Ok(len));
            self.stirred = true;
        }
    }

    /// Forgets the piece at hand; nobody has a place in it any more.
    fn forget_piece(&mut self) {
        self.feeding.piece = Vec::new();
        self.links.iter_mut().flatten().for_each(|link| link.piece = None);
    }

    fn stop_snapshot(&mut self, now: Now, id: SnapshotId) {
        if self.feeding.current.as_ref().is_none_or(|current| current.id != id) {
            return;
        }
        self.feeding.current = None;
        self.forget_piece();
        self.effects.push_back(Effect::DropPieces);
        let child = self.engine.server.persistence.child;
        if child.is_some_and(|child| matches!(child.kind, Snapshot::Replicas { .. })) {
            self.kill_child(now);
            self.tend_log(now);
        }
    }
}
