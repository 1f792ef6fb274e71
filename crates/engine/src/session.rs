//! What the server knows of one link: identity, protocol, transaction, subscriptions, output.

use std::collections::{BTreeSet, VecDeque};

use base::time::Instant;
use resp::decode::Request;
use resp::encode::Protocol;

use crate::blocking::Blocked;
use crate::client_memory::ClientMemory;
use crate::hold::Held;
use crate::locks::Untold;
use crate::table::Flags;

/// A session's place in the table of sessions; reused after the session ends (unlike [`Session::client_id`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// The master that we follow: what it says is done, and not answered.
    Master,
    /// The log, while it is loaded: what it says was allowed when it was said.
    Log,
    /// Commands that this server gives itself (tests, replay).
    Internal,
}

/// CLIENT REPLY's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    On,
    Off,
    /// The reply to CLIENT REPLY SKIP's successor is dropped too: `SkipNext` turns into `Skip`, that into `On`.
    SkipNext,
    Skip,
}

/// Whether, and how, the link is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    No,
    /// After what is in the output buffer has been sent.
    AfterReply,
    Now,
}

/// The classes of `client-output-buffer-limit` and CLIENT KILL TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Normal,
    PubSub,
    Replica,
}

/// A request kept beyond the buffer it arrived in.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Box<[u8]>,
    ranges: Box<[(u32, u32)]>,
}

impl OwnedRequest {
    /// Copies a request's arguments.
    pub fn new(request: Request<'_>) -> OwnedRequest {
        let mut bytes = Vec::with_capacity((0..request.len()).map(|i| request.arg(i).len()).sum());
        let mut ranges = Vec::with_capacity(request.len());
        for i in 0..request.len() {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(request.arg(i));
            ranges.push((start, bytes.len() as u32));
        }
        OwnedRequest { bytes: bytes.into(), ranges: ranges.into() }
    }

    /// Returns the request that these words make.
    pub fn from_words<'w>(words: impl Iterator<Item = &'w [u8]>) -> OwnedRequest {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for word in words {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word);
            ranges.push((start, bytes.len() as u32));
        }
        OwnedRequest { bytes: bytes.into(), ranges: ranges.into() }
    }

    /// Returns the request, borrowed.
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.bytes, &self.ranges)
    }

    /// Returns the bytes of the arguments together.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes that keeping the request takes.
    pub fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ranges)
    }
}

/// Commands queued between MULTI and EXEC.
#[derive(Debug, Default)]
pub struct Multi {
    /// Row id and arguments, in order.
    pub queue: Vec<(usize, OwnedRequest)>,
    /// Bytes that the queue takes.
    pub memory: usize,
    /// A command was refused while queueing: EXEC will abort.
    pub refused: bool,
    /// The flags that one of the queued commands has, and those that one of them has not.
    pub flags: Flags,
    pub lacks: Flags,
}

/// A key under WATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub db: usize,
    pub key: Box<[u8]>,
    /// The key was past its expiry already when WATCH was said: its deletion changes nothing.
    pub expired: bool,
}

/// Channels and patterns that a session listens to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    pub channels: BTreeSet<Box<[u8]>>,
    pub patterns: BTreeSet<Box<[u8]>>,
    pub shards: BTreeSet<Box<[u8]>>,
}

impl Subscriptions {
    /// Returns the count that (UN)SUBSCRIBE replies carry: channels and patterns together.
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Returns whether nothing is listened to.
    pub fn is_empty(&self) -> bool {
        self.count() + self.shards.len() == 0
    }
}

/// One link's state.
#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    /// Grows over the life of the process; what CLIENT ID answers.
    pub client_id: u64,
    pub origin: Origin,
    pub addr: Box<str>,
    pub local_addr: Box<str>,
    pub fd: i32,
    pub unix_socket: bool,
    pub name: Box<[u8]>,
    pub lib_name: Box<[u8]>,
    pub lib_version: Box<[u8]>,
    pub db: usize,
    pub protocol: Protocol,
    pub authenticated: bool,
    pub reply_mode: ReplyMode,
    pub closing: Closing,
    pub no_evict: bool,
    pub no_touch: bool,
    pub monitor: bool,
    /// The link is a replica's: it is sent the stream, and no replies.
    pub replica: bool,
    /// WATCHed keys changed: EXEC will fail.
    pub dirty_watch: bool,
    pub multi: Option<Box<Multi>>,
    pub watching: Vec<Watched>,
    pub subscriptions: Option<Box<Subscriptions>>,
    pub blocked: Option<Box<Blocked>>,
    /// Its next command waits for the end of a pause.
    pub postponed: bool,
    /// Replies and pushes not yet taken by the driver.
    pub out: Vec<u8>,
    /// How much of `out`'s front the driver has sent already.
    pub sent: usize,
    /// The offset after the last write of this session.
    pub(crate) written: u64,
    /// Replies that may not be sent yet, in their order.
    pub(crate) held: VecDeque<Held>,
    /// The grant of a lock whose reply is, or was, the last of the output.
    pub(crate) telling: Option<Box<Untold>>,
    /// The session stands in the list of those with output.
    pub queued: bool,
    /// Since when the output exceeds its soft limit.
    pub soft_limit_since: Option<Instant>,
    pub created: Instant,
    pub last_active: Instant,
    /// Row id of the last command, by which `CLIENT LIST` names it.
    pub last_command: Option<usize>,
    /// Bytes in the input buffer and its spare room, kept up to date by the node.
    pub query_len: usize,
    pub query_free: usize,
    /// The session's part in the sum that `maxmemory-clients` limits.
    pub(crate) counted_memory: usize,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Session {
    /// Returns a fresh session with everything at its start.
    pub fn new(id: SessionId, client_id: u64, now: Instant) -> Session {
        Session {
            id,
            client_id,
            origin: Origin::Client,
            addr: "".into(),
            local_addr: "".into(),
            fd: -1,
            unix_socket: false,
            name: Box::default(),
            lib_name: Box::default(),
            lib_version: Box::default(),
            db: 0,
            protocol: Protocol::Resp2,
            authenticated: false,
            reply_mode: ReplyMode::On,
            closing: Closing::No,
            no_evict: false,
            no_touch: false,
            monitor: false,
            replica: false,
            dirty_watch: false,
            multi: None,
            watching: Vec::new(),
            subscriptions: None,
            blocked: None,
            postponed: false,
            out: Vec::new(),
            sent: 0,
            written: 0,
            held: VecDeque::new(),
            telling: None,
            queued: false,
            soft_limit_since: None,
            created: now,
            last_active: now,
            last_command: None,
            query_len: 0,
            query_free: 0,
            counted_memory: 0,
            commands: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Fails the next EXEC, as a watched key changed; one that was past its expiry before WATCH has nothing to lose.
    pub(crate) fn touch_watched(&mut self, db: usize, key: &[u8]) {
        let stale = self.watching.iter().any(|w| w.db == db && *w.key == *key && w.expired);
        self.dirty_watch |= !stale;
    }

    /// Notes that the key under watch gave its place to one of another database: `there` says whether there is one, and
    /// whether it is past its expiry.
    pub(crate) fn swap_watched(&mut self, db: usize, key: &[u8], here: bool, there: Option<bool>) {
        let watched = self.watching.iter_mut().filter(|watched| watched.db == db && *watched.key == *key);
        for watched in watched {
            match (watched.expired, there) {
                // The expired key is gone, or remains expired: nothing changed for anybody.
                (true, None) => watched.expired = false,
                (true, Some(true)) => {}
                (false, Some(true)) if !here => watched.expired = true,
                _ => self.dirty_watch = true,
            }
        }
    }

    /// Returns how many channels, patterns and shard channels the session listens to.
    pub fn subscribed(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|s| !s.is_empty())
    }

    /// Returns whether the link is a replica's, or our master's.
    pub fn replicates(&self) -> bool {
        self.replica || self.origin == Origin::Master
    }

    /// Returns the class by which the session's output is limited.
    pub fn class(&self) -> Class {
        match self.replica {
            true => Class::Replica,
            false if self.subscribed() => Class::PubSub,
            false => Class::Normal,
        }
    }

    /// Returns whether the client is on this machine.
    pub fn is_local(&self) -> bool {
        self.unix_socket || self.addr.starts_with("127.") || self.addr.starts_with("[::1]:")
    }

    /// Asks for the link to be closed; a stronger wish stands.
    pub fn close(&mut self, closing: Closing) {
        self.closing = self.closing.max(closing);
    }

    /// Notes that the output ends with the news of a grant.
    pub(crate) fn telling(&mut self, db: usize, key: &[u8], token: u64) {
        let end = self.bytes_out + self.unsent() as u64;
        self.telling = Some(Box::new(Untold { db, key: key.into(), token, end }));
    }

    /// Returns the bytes of output that have not been sent.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Returns the bytes that the session's queued commands take.
    pub fn multi_memory(&self) -> usize {
        self.multi.as_deref().map_or(0, |multi| multi.memory)
    }

    /// Returns the bytes that the session takes: buffers, queued commands, and its part in what it listens to.
    ///
    /// The names of channels and keys are not counted, so that this is quick.
    pub fn memory(&self) -> usize {
        let names = self.subscriptions.as_ref().map_or(0, |own| own.count() + own.shards.len());
        let waiting = self.blocked.as_ref().map_or(0, |blocked| {
            size_of::<Blocked>() + size_of_val(&*blocked.keys) + blocked.request.memory()
        });
        size_of::<Session>()
            + self.out.capacity()
            + self.query_len
            + self.query_free
            + self.multi_memory()
            + names * size_of::<Box<[u8]>>()
            + self.watching.len() * size_of::<Watched>()
            + waiting
    }
}

/// All sessions; those that execute are taken out meanwhile.
#[derive(Debug, Default)]
pub struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    next_client_id: u64,
    count: usize,
    /// Sessions that are taken out: one, or two while a blocked session is served inside another's command.
    taken: Vec<Taken>,
    /// Sessions with output for the driver.
    pub pending: Vec<SessionId>,
    pub(crate) client_memory: ClientMemory,
    /// Sessions with much output that others sent them: their limits are to be looked at.
    pub(crate) swollen: Vec<SessionId>,
}

/// Output below this is within every limit in practice, and nearly all is.
pub(crate) const LARGE_OUTPUT: usize = 16 * 1024;

/// What a session that executes is sent meanwhile; it goes behind the reply.
#[derive(Debug)]
struct Taken {
    id: SessionId,
    protocol: Protocol,
    pushes: Vec<u8>,
    /// Keys under the session's watch that others changed meanwhile.
    touched: Vec<(usize, Box<[u8]>)>,
}

impl Sessions {
    /// Opens a session and returns its id.
    pub fn open(&mut self, now: Instant) -> SessionId {
        let id = match self.free.pop() {
            Some(slot) => SessionId(slot),
            None => {
                self.slots.push(None);
                SessionId(self.slots.len() as u32 - 1)
            }
        };
        self.next_client_id += 1;
        self.count += 1;
        self.slots[id.0 as usize] = Some(Box::new(Session::new(id, self.next_client_id, now)));
        id
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) -> Option<Box<Session>> {
        let mut session = self.slots.get_mut(id.0 as usize)?.take()?;
        self.client_memory.forget(&mut session);
        self.free.push(id.0);
        self.count -= 1;
        self.pending.retain(|p| *p != id);
        Some(session)
    }

    /// Returns how many sessions are open.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a session out, so that it may execute beside the table.
    #[inline]
    pub fn take(&mut self, id: SessionId) -> Option<Box<Session>> {
        let session = self.slots.get_mut(id.0 as usize)?.take()?;
        self.taken.push(Taken { id, protocol: session.protocol, pushes: Vec::new(), touched: Vec::new() });
        Some(session)
    }

    /// Puts an executing session back.
    #[inline]
    pub fn put(&mut self, mut session: Box<Session>) {
        self.settle(&mut session);
        self.taken.retain(|taken| taken.id != session.id);
        if session.unsent() > 0 || session.closing != Closing::No {
            self.queue(&mut session);
        }
        self.client_memory.count(&mut session);
        let slot = session.id.0 as usize;
        self.slots[slot] = Some(session);
    }

    /// Appends what was sent to an executing session meanwhile behind its reply, and tells it of changes to what it watches.
    #[inline]
    pub fn settle(&mut self, session: &mut Session) {
        // Nearly always one session executes, and nobody else has anything to tell it.
        if let [taken] = &mut self.taken[..]
            && taken.pushes.is_empty()
            && taken.touched.is_empty()
        {
            if taken.id == session.id {
                taken.protocol = session.protocol;
            }
            return;
        }
        self.settle_slowly(session);
    }

    #[inline(never)]
    fn settle_slowly(&mut self, session: &mut Session) {
        for taken in &mut self.taken {
            if taken.id == session.id {
                taken.protocol = session.protocol;
                if !taken.pushes.is_empty() {
                    session.out.append(&mut taken.pushes);
                }
                for (db, key) in taken.touched.drain(..) {
                    session.touch_watched(db, &key);
                }
            }
        }
    }

    /// Names the session as one with output for the driver.
    #[inline]
    pub fn queue(&mut self, session: &mut Session) {
        if !session.queued {
            session.queued = true;
            self.pending.push(session.id);
        }
    }

    /// Returns a session that is not executing.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    /// Returns a session that is not executing, for change.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Returns the sessions that are not executing.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten().map(|s| &**s)
    }

    /// Returns the sessions that are not executing, for change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().flatten().map(|s| &mut **s)
    }

    /// Writes to any session's output; that of an executing one goes behind its reply.
    pub fn write(&mut self, id: SessionId, write: impl FnOnce(&mut crate::Reply<'_>)) {
        match self.slots.get_mut(id.0 as usize) {
            // Nobody reads what is sent to a client that is being closed.
            Some(Some(session)) if session.closing == Closing::Now => {}
            Some(Some(session)) => {
                let protocol = session.protocol;
                write(&mut crate::Reply::new(&mut session.out, protocol));
                self.client_memory.count(session);
                if session.unsent() >= LARGE_OUTPUT {
                    self.swollen.push(id);
                }
                if !session.queued {
                    session.queued = true;
                    self.pending.push(id);
                }
            }
            _ => {
                if let Some(taken) = self.taken.iter_mut().find(|taken| taken.id == id) {
                    write(&mut crate::Reply::new(&mut taken.pushes, taken.protocol));
                }
            }
        }
    }

    /// Tells a session that a key under its watch changed; one that executes learns of it when it is done.
    pub(crate) fn touch_watched(&mut self, id: SessionId, db: usize, key: &[u8]) {
        if let Some(session) = self.get_mut(id) {
            session.touch_watched(db, key);
        } else if let Some(taken) = self.taken.iter_mut().find(|taken| taken.id == id) {
            taken.touched.push((db, key.into()));
        }
    }

    /// Names a session that is not executing as one with output for the driver.
    pub fn queue_id(&mut self, id: SessionId) {
        let Some(session) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if !session.queued {
            session.queued = true;
            self.pending.push(id);
        }
    }

    /// Returns the session with this client id, unless it is executing.
    pub fn by_client_id(&self, client_id: u64) -> Option<SessionId> {
        self.iter().find(|s| s.client_id == client_id).map(|s| s.id)
    }
}
