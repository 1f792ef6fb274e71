//! From a request to its handler and out again.

use base::rng::Rng;
use base::time::{Instant, Now};
use config::Config;
use keyspace::{Keys, Keyspace, Listening};
use resp::decode::Request;

use crate::blocking::OnTimeout;
use crate::cx::{Cx, Mode, on_timeout};
use crate::effect::Effect;
use crate::gate::{self, Verdict};
use crate::locks::Locks;
use crate::persistence::Persistence;
use crate::replication::{Follow, Replication};
use crate::server::hex_id;
use crate::session::{Closing, Origin, ReplyMode, Session, SessionId};
use crate::stats::CommandStats;
use crate::stream::Stream;
use crate::table::{Recent, Row, Table};
use crate::{Error, Host, Reply, Result, Server, commands};

/// Executes commands: one keyspace, its sessions, and what they share.
pub struct Engine {
    pub keyspace: Keyspace,
    pub server: Server,
    pub(crate) schedule: crate::periodic::Schedule,
    /// The database with which the next expiry cycle begins.
    pub(crate) expire_db: usize,
    /// The reading of the host's counter when the last command ended, while nothing that takes time came after it.
    pub(crate) ticked: Option<u64>,
    pub(crate) recent: Recent,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered (or refused, or queued).
    Done,
    /// The session waits for a key; its next requests wait too.
    Blocked,
    /// Not executed: the server is paused. Give the same request again after [`Effect::Resume`].
    Postponed,
}

impl Engine {
    /// Returns an empty server; `seed` is the source of all its randomness, `table` its commands (see [`Table::standard`]).
    pub fn new(config: Config, table: &'static Table, seed: u64, now: Now) -> Engine {
        let mut rng = Rng::seeded(seed);
        let mut keyspace = Keyspace::new(config.databases, rng.next_u64());
        let run_id = hex_id(&mut rng);
        let replication = Replication::new(&config, &run_id, &mut rng, now);
        let stats = crate::stats::Stats {
            per_command: vec![CommandStats::default(); table.rows.len()],
            ..Default::default()
        };
        commands::config::apply(&config, &mut keyspace);
        let server = Server {
            config,
            table,
            stats,
            sessions: Default::default(),
            pubsub: Default::default(),
            waiting: Default::default(),
            locks: Locks::new(keyspace.seed),
            watched: Default::default(),
            monitors: Vec::new(),
            effects: Vec::new(),
            pause: Default::default(),
            slowlog: Default::default(),
            latency: Default::default(),
            rng,
            started: now,
            run_id,
            startup_memory: 0,
            stalled_us: 0,
            active_expiry: true,
            listen_propagation: false,
            holds: Default::default(),
            persistence: Persistence::new(now),
            replication,
            propagation: Default::default(),
            browser_logged: None,
        };
        let mut engine = Engine {
            keyspace,
            server,
            schedule: Default::default(),
            expire_db: 0,
            ticked: None,
            recent: Recent::NOTHING,
        };
        engine.server.limit_clients();
        if let Some((host, port)) = engine.server.config.replicaof.clone() {
            let host = String::from_utf8_lossy(&host).into_owned();
            engine.server.follow(now, Follow { target: Some((host, port)), ..Follow::default() });
        }
        engine.listen();
        engine
    }

    /// Opens a session.
    pub fn open(&mut self, now: Instant) -> SessionId {
        self.server.stats.connections += 1;
        let id = self.server.sessions.open(now);
        if !self.server.requires_password()
            && let Some(session) = self.server.sessions.get_mut(id)
        {
            session.authenticated = true;
        }
        id
    }

    /// Ends a session: its subscriptions, watches and waits go with it.
    pub fn close(&mut self, id: SessionId) {
        let Some(mut session) = self.server.sessions.remove(id) else { return };
        self.server.end_telling(&mut session);
        self.server.leave(&mut session);
        self.listen();
    }

    /// Tells the keyspace who listens to its changes.
    pub(crate) fn listen(&mut self) {
        self.keyspace.recorder.listening = self.server.listening();
    }

    /// Turns the [`Engine::stream`] on or off: what every command comes to, for a log or replicas.
    pub fn listen_propagation(&mut self, on: bool) {
        self.server.listen_propagation = on;
        self.listen();
    }

    /// Returns what was propagated and not taken yet.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.server.propagation.stream
    }

    /// Executes one request of a session that was taken out of the table of sessions.
    pub fn execute(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        request: Request<'_>,
    ) -> Outcome {
        self.forget_ticks();
        self.execute_next(now, host, session, request)
    }

    /// Returns a reading of the host's counter: that of the end of the last command, if nothing came after it.
    #[inline]
    pub fn ticks(&self, host: &dyn Host) -> u64 {
        self.ticked.unwrap_or_else(|| host.ticks())
    }

    /// Says that something takes time before the next command, which is not to be counted as the command's.
    #[inline]
    pub fn forget_ticks(&mut self) {
        self.ticked = None;
    }

    /// Executes one request right after another: the counter's reading at the end of that is the one at its beginning.
    pub fn execute_next(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        request: Request<'_>,
    ) -> Outcome {
        if request.is_empty() {
            return Outcome::Done;
        }
        session.last_active = now.instant;
        session.postponed = false;
        let row = match self.find(request) {
            Ok(row) => row,
            Err(error) => {
                if is_http(request.arg(0)) {
                    self.cut_off_browser(session, now);
                } else {
                    self.refuse(session, None, error);
                }
                return Outcome::Done;
            }
        };
        match gate::check(self, host, session, row, request.len(), now) {
            Ok(Verdict::Pass) if commands::lock_guards::is_guard(row) => {
                // The command inside is asked for its own gates.
                let inner = commands::lock_guards::guarded(self.server.table, request);
                if let Some((inner, words)) = inner
                    && let Err(error) = gate::check(self, host, session, inner, words.request().len(), now)
                {
                    self.refuse(session, Some(inner), error);
                    return Outcome::Done;
                }
            }
            Ok(Verdict::Pass) => {}
            Ok(Verdict::Postpone) => {
                session.postponed = true;
                return Outcome::Postponed;
            }
            Err(error) => {
                self.refuse(session, Some(row), error);
                return Outcome::Done;
            }
        }
        session.last_command = Some(row.id);
        if session.multi.is_some() && !commands::transaction::runs_inside_multi(row) {
            commands::transaction::queue(session, row, request);
            self.after_reply(session, now);
            return Outcome::Done;
        }
        self.call(now, host, session, row, request, Mode::Direct);
        if session.blocked.is_some() {
            // On its way it may have found that a lock's lease had ended, and that it is another's turn.
            if self.server.waiting.has_ready() {
                self.serve_waiting(now, host, session);
            }
            return Outcome::Blocked;
        }
        self.after_reply(session, now);
        if !self.server.waiting.is_empty() {
            self.serve_waiting(now, host, session);
        }
        Outcome::Done
    }

    /// Executes a request that a log holds: what was allowed when it was written is not asked about again.
    ///
    /// The error says why it cannot have been written by us. Replies of `session` are dropped.
    #[inline(never)]
    pub fn replay(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        request: Request<'_>,
    ) -> std::result::Result<(), String> {
        self.obey(now, host, session, request)
    }

    /// Executes a request without asking whether it is allowed; the reply is dropped.
    #[inline]
    pub(crate) fn obey(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        request: Request<'_>,
    ) -> std::result::Result<(), String> {
        if request.is_empty() {
            return Ok(());
        }
        self.forget_ticks();
        let row = self.find(request).map_err(|error| error.message().into_owned())?;
        if !row.takes(request.len()) {
            return Err(Error::Arity(row.name.clone().into()).message().into_owned());
        }
        session.last_command = Some(row.id);
        // What the link has to send is ours: acknowledgements that its socket did not take yet.
        let before = session.out.len();
        if session.multi.is_some() && !commands::transaction::runs_inside_multi(row) {
            commands::transaction::queue(session, row, request);
        } else {
            self.call(now, host, session, row, request, Mode::Direct);
        }
        if session.origin == Origin::Master && session.out.get(before) == Some(&b'-') {
            self.complain_of_master(&session.out[before + 1..], row);
        }
        session.out.truncate(before);
        match session.blocked.take() {
            Some(blocked) => {
                self.server.waiting.remove(session.id, &blocked);
                Err("a command that waits".into())
            }
            None => Ok(()),
        }
    }

    /// Says that a command of our master failed here: then our data is not the master's.
    #[cold]
    fn complain_of_master(&mut self, error: &[u8], row: &Row) {
        let error = String::from_utf8_lossy(error).trim_end().to_owned();
        let line = format!(
            "== CRITICAL == This replica is sending an error to its master: '{error}' after processing the command '{}'",
            row.name
        );
        self.server.log(crate::effect::LogLevel::Warning, line);
    }

    /// Finds the row of a request, subcommands included.
    #[inline(always)]
    fn find(&mut self, request: Request<'_>) -> Result<&'static Row> {
        let table = self.server.table;
        let Some(row) = table.find_again(request.arg(0), &mut self.recent) else {
            return Err(unknown(request));
        };
        if row.subcommands.is_empty() || request.len() < 2 {
            return Ok(row);
        }
        let sub = request.arg(1);
        table.find_sub(row.id, sub).ok_or_else(|| {
            let sub = quoted(sub, 128);
            Error::from(format!("ERR unknown subcommand '{sub}'. Try {} HELP.", row.name.to_uppercase()))
        })
    }

    /// Drops a link that speaks HTTP: a web page that makes its visitor's browser talk to us must not get further.
    #[cold]
    fn cut_off_browser(&mut self, session: &mut Session, now: Now) {
        session.close(Closing::Now);
        // A page can try often: one line a minute says it.
        let last = &mut self.server.browser_logged;
        if last.is_none_or(|at| now.instant.saturating_since(at).as_secs() >= 60) {
            *last = Some(now.instant);
            let line = format!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. \
                 This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis \
                 instance. Connection from {} aborted.",
                session.addr
            );
            self.server.log(crate::effect::LogLevel::Warning, line);
        }
    }

    /// Answers a request that does not reach its handler.
    #[cold]
    fn refuse(&mut self, session: &mut Session, row: Option<&Row>, error: Error) {
        if let Some(row) = row {
            self.server.stats.per_command[row.id].rejected += 1;
        }
        let mut message = error.message();
        if let Some(multi) = &mut session.multi {
            multi.refused = true;
        }
        if row.is_some_and(|row| row.is_any(&["EXEC"])) {
            // A transaction that cannot be executed is over.
            message = format!("EXECABORT Transaction discarded because of: {}", strip(&message)).into();
            self.server.discard(session);
        }
        self.server.stats.error(&message);
        let before = session.out.len();
        Reply::new(&mut session.out, session.protocol).error(message.as_bytes());
        mute(session, before);
    }

    /// Runs a handler and everything that follows it.
    pub(crate) fn call(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        row: &'static Row,
        request: Request<'_>,
        mode: Mode,
    ) {
        let (db, dirty) = (session.db, self.keyspace.recorder.dirty);
        let listened = self.keyspace.recorder.listening.any(Listening::PROPAGATE);
        let written = match self.server.follows() && session.origin == Origin::Client {
            true => self.written_here(session, row, request),
            false => Vec::new(),
        };
        let start = match mode {
            Mode::Direct => self.ticks(host),
            Mode::Retry | Mode::Transaction => host.ticks(),
        };
        let mut buffer = std::mem::take(&mut session.out);
        let before = buffer.len();
        let failed = {
            let mut cx = Cx {
                keys: Keys::new(&mut self.keyspace, session.db, now.unix_ms(), session.no_touch),
                server: &mut self.server,
                session,
                host,
                now,
                row,
                mode,
                request,
            };
            let protocol = cx.session.protocol;
            cx.handle(&mut Reply::new(&mut buffer, protocol))
        };
        session.out = buffer;
        if !written.is_empty() {
            self.note_own_keys(written);
        }
        let listens = self.keyspace.recorder.listening.any(Listening::PROPAGATE);
        if listens {
            self.note(db, dirty, row, request, failed);
        }
        if session.blocked.is_some() {
            self.server.place_grant(session);
        }
        let end = host.ticks();
        let spent = end.saturating_sub(start);
        let quiet = !(listens || listened) && self.keyspace.recorder.has_nothing_to_settle();
        self.ticked = if quiet { Some(end) } else { None };
        self.server.account(now, session, row, request, spent, failed, mode);
        mute(session, before);
        self.commit(session);
        // A transaction may have made this a replica, and have written before it did.
        if listens || listened {
            self.server.end_reply(session, before, now.instant);
        }
        self.server.limit_swollen(now.instant);
        self.listen_if_changed();
    }

    /// Notes what a command came to, and what it has read.
    fn note(&mut self, db: usize, dirty: u64, row: &Row, request: Request<'_>, failed: bool) {
        if failed {
            self.server.note_failure(&self.keyspace);
        } else {
            let changed = self.keyspace.recorder.dirty != dirty;
            self.server.note_outcome(&self.keyspace, db, row, request, changed);
        }
        if self.server.has_unreleased() {
            self.server.note_read(&self.keyspace.seed, db, row, request);
        }
    }

    /// Refreshes what the keyspace reports, after a command that may have changed who listens.
    #[inline]
    fn listen_if_changed(&mut self) {
        let listening = self.server.listening();
        if self.keyspace.recorder.listening != listening {
            self.keyspace.recorder.listening = listening;
        }
    }

    /// Applies what a reply may trigger: limits on the output buffer.
    #[inline]
    pub(crate) fn after_reply(&mut self, session: &mut Session, now: Now) {
        match session.reply_mode {
            ReplyMode::On | ReplyMode::Off => {}
            ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
            ReplyMode::Skip => session.reply_mode = ReplyMode::On,
        }
        self.server.sessions.settle(session);
        self.server.limit_output(session, now.instant);
    }

    /// Serves clients that wait for keys which changed, in the order of their arrival, until nothing changes any more.
    pub(crate) fn serve_waiting(&mut self, now: Now, host: &dyn Host, current: &mut Session) {
        while let Some(ready) = self.server.waiting.next_ready() {
            if self.server.waiting.locks.has(ready.db, &ready.key) {
                self.serve_lock(now, host, ready.db, &ready.key, current.id);
            }
            for id in ready.waiting {
                // Once the key is gone there is nothing for those behind; there may be many.
                if !self.keyspace.dbs[ready.db].table.contains(&ready.key) {
                    break;
                }
                if id != current.id {
                    self.retry(now, host, id);
                }
            }
        }
    }

    /// Lets a blocked session try its command again.
    fn retry(&mut self, now: Now, host: &dyn Host, id: SessionId) {
        let Some(mut session) = self.server.sessions.take(id) else { return };
        if let Some(blocked) = session.blocked.take() {
            let row = &self.server.table.rows[blocked.row];
            let selected = std::mem::replace(&mut session.db, blocked.db);
            self.call(now, host, &mut session, row, blocked.request.request(), Mode::Retry);
            session.db = selected;
            if session.blocked.is_some() {
                // Still nothing for it: it keeps the place that it has in the queues.
                session.blocked = Some(blocked);
            } else {
                self.server.waiting.remove(id, &blocked);
                self.server.effects.push(Effect::Unblocked(id));
                self.after_reply(&mut session, now);
            }
        }
        self.server.sessions.put(session);
    }

    /// Ends the wait of a blocked session with `reply` (its time is up, CLIENT UNBLOCK). Returns whether it was blocked.
    pub(crate) fn unblock(
        &mut self,
        id: SessionId,
        now: Now,
        reply: impl FnOnce(&mut Reply<'_>, OnTimeout),
    ) -> bool {
        let unblocked = self.server.unblock(id, reply);
        if unblocked {
            self.settle_unblocked(id, now);
        }
        unblocked
    }

    /// Applies what the reply may trigger that ended a wait.
    pub(crate) fn settle_unblocked(&mut self, id: SessionId, now: Now) {
        if let Some(mut session) = self.server.sessions.take(id) {
            self.after_reply(&mut session, now);
            self.server.sessions.put(session);
        }
    }

    /// Answers the clients whose waiting time is up.
    pub(crate) fn time_out(&mut self, now: Now) {
        while let Some(id) = self.server.waiting.overdue(now.instant) {
            if self.server.end_lock_wait(&mut self.keyspace, id, now) {
                self.settle_unblocked(id, now);
            } else {
                self.unblock(id, now, on_timeout);
            }
        }
    }
}

impl Server {
    /// Takes a session out of everything that it takes part in.
    pub(crate) fn leave(&mut self, session: &mut Session) {
        self.pubsub.leave(session);
        self.unwatch(session);
        self.monitors.retain(|id| *id != session.id);
        self.locks.untold.extend(session.grant_to_give_back());
        if let Some(blocked) = session.blocked.take() {
            self.waiting.remove(session.id, &blocked);
        }
    }

    /// Ends another session on the spot: what it waits for or listens to does not reach it any more.
    pub(crate) fn kill(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.take(id) else { return };
        self.leave(&mut session);
        session.close(Closing::Now);
        self.sessions.put(session);
    }

    /// Forgets a session's transaction.
    pub(crate) fn discard(&mut self, session: &mut Session) {
        session.multi = None;
        self.unwatch(session);
    }

    /// Ends a session's wait with `reply`; the session must not be executing. Returns whether it was blocked.
    pub fn unblock(&mut self, id: SessionId, reply: impl FnOnce(&mut Reply<'_>, OnTimeout)) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        let acks = session.blocked.as_ref().and_then(|blocked| blocked.acks);
        let counted = acks.map(|acks| self.progress(&acks).reply);
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let Some(blocked) = session.blocked.take() else { return false };
        let in_vain = counted.unwrap_or(blocked.on_timeout);
        reply(&mut Reply::new(&mut session.out, session.protocol), in_vain);
        self.stats.commands += 1;
        self.stats.per_command[blocked.row].calls += 1;
        self.waiting.remove(id, &blocked);
        self.sessions.queue_id(id);
        self.effects.push(Effect::Unblocked(id));
        true
    }
}

impl Server {
    /// Ends a session's wait with an error, which counts as one of its command; see [`Server::unblock`].
    pub(crate) fn unblock_with_error(&mut self, id: SessionId, error: &str) -> bool {
        let blocked = self.sessions.get(id).and_then(|session| session.blocked.as_ref());
        let Some(row) = blocked.map(|blocked| blocked.row) else { return false };
        self.stats.error(error);
        self.stats.per_command[row].failed += 1;
        self.unblock(id, |out, _| out.error(error))
    }
}

/// Drops the reply that began at `before` if the client asked for none.
#[inline]
fn mute(session: &mut Session, before: usize) {
    if matches!(session.reply_mode, ReplyMode::Off | ReplyMode::Skip) {
        session.out.truncate(before);
    }
}

/// Says whether the first word of a request is one that only a browser would say.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

fn strip(message: &str) -> &str {
    message.strip_prefix("ERR ").unwrap_or(message)
}

fn unknown(request: Request<'_>) -> Error {
    let mut args = String::new();
    for i in 1..request.len() {
        if args.len() >= 128 {
            break;
        }
        args += &format!("'{}' ", quoted(request.arg(i), 128 - args.len()));
    }
    let name = quoted(request.arg(0), 128);
    Error::from(format!("ERR unknown command '{name}', with args beginning with: {args}"))
}

/// Returns a client's word as an error shows it: at most `max` bytes, and only up to a NUL, as C prints it.
pub(crate) fn quoted(word: &[u8], max: usize) -> String {
    let end = word.iter().take(max).position(|byte| *byte == 0).unwrap_or(word.len().min(max));
    String::from_utf8_lossy(&word[..end]).into_owned()
}
