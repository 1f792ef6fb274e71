//! What the engine knows of replication: the machines of both ends, and what follows from being one end or the other.
//!
//! Commands look into the machines and hand requests to them. What the machines ask for (bytes to send, snapshots, links)
//! is carried out by the node.

use std::time::Duration;

use base::rng::Rng;
use base::time::{Instant, Now};
use config::Config;
use keyspace::change::Garbage;
use keyspace::db::Db;
use replication::backlog::Limit;
use replication::primary::Upstream;
use replication::settings::Credentials;
use replication::{LinkId, Position, Primary, PrimarySettings, ReplId, Replica, ReplicaSettings};

use crate::effect::{Effect, LogLevel};
use crate::failover::Failover;
use crate::own_keys::OwnKeys;
use crate::session::{Closing, Session, SessionId};
use crate::stream::Stream;
use crate::synchronous::Synchronous;
use crate::table::{self, Row};
use crate::{Engine, Host, Server};
use resp::decode::Request;

/// Both ends of replication, as far as this server is one.
#[derive(Debug)]
pub struct Replication {
    /// The master's side, also that of a replica which has replicas.
    pub primary: Primary,
    /// There while this server follows a master.
    pub replica: Option<Replica>,
    /// The session of the link to the master, while there is one.
    pub master: Option<SessionId>,
    /// The database that the master's stream works in, at the place up to which it was applied.
    pub stream_db: usize,
    /// Our master has asked how far we are.
    pub ack_wanted: bool,
    /// There while a replica is about to take our place.
    pub(crate) failover: Option<Failover>,
    pub(crate) synchronous: Synchronous,
    pub(crate) own_keys: OwnKeys,
    /// When the log was last told that our files do not follow our master.
    disk_error_logged: Option<Instant>,
}

const DISK_ERROR_LOGGED_EVERY: Duration = Duration::from_secs(10);

impl Replication {
    /// Returns the state of a server that follows nobody and has no replicas.
    pub(crate) fn new(config: &Config, run_id: &str, rng: &mut Rng, now: Now) -> Replication {
        let run_id = ReplId::parse(run_id.as_bytes()).expect("a run id has forty hexadecimal digits");
        let primary = Primary::new(primary_settings(config), run_id, rng.next_u64(), 0, now);
        Replication {
            primary,
            replica: None,
            master: None,
            stream_db: 0,
            ack_wanted: false,
            failover: None,
            synchronous: Synchronous::default(),
            own_keys: OwnKeys::default(),
            disk_error_logged: None,
        }
    }

    /// Hands the stream to the master's side, as far as that does not have it.
    pub fn append(&mut self, now: Now, stream: &Stream) {
        let primary = &mut self.primary;
        stream.peek(|taken| {
            let fresh = taken.offset.saturating_sub(primary.offset()).min(taken.bytes.len() as u64);
            if fresh > 0 {
                primary.append(now, taken.offset, &taken.bytes[taken.bytes.len() - fresh as usize..]);
            }
        });
    }

    /// Returns whether a replica is about to take our place (FAILOVER).
    pub fn failover_in_progress(&self) -> bool {
        self.failover.is_some()
    }
}

impl Server {
    /// Returns whether this server follows a master.
    #[inline]
    pub fn follows(&self) -> bool {
        self.replication.replica.is_some()
    }

    /// Returns whether writes may be refused for what replicas there are, or since this is one.
    #[inline]
    pub(crate) fn minds_replicas(&self) -> bool {
        self.follows() || (self.config.min_replicas_to_write | self.config.synchronous_replicas) > 0
    }

    /// Returns whether expired keys are hidden and left where they are: to our master, or until a pause ends.
    pub(crate) fn keeps_expired(&self) -> bool {
        self.follows() || self.pause.writes()
    }

    /// Makes both ends of replication follow the configuration.
    pub(crate) fn configure_replication(&mut self, now: Now) {
        self.replication.primary.configure(now, primary_settings(&self.config));
        let settings = replica_settings(&self.config, &self.run_id);
        if let Some(replica) = &mut self.replication.replica {
            replica.configure(now, settings);
        }
        self.hold_for_replicas();
    }

    /// Ends the waits of all blocked clients: what they wait for will not happen on a replica.
    fn unblock_all(&mut self) {
        const UNBLOCKED: &str =
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        let blocked = self.sessions.iter().filter(|session| session.blocked.is_some());
        for id in blocked.map(|session| session.id).collect::<Vec<_>>() {
            self.unblock_with_error(id, UNBLOCKED);
            if let Some(session) = self.sessions.get_mut(id) {
                session.close(Closing::AfterReply);
            }
        }
    }

    /// Returns whether the stream of the master flows.
    pub fn master_is_up(&self) -> bool {
        self.replication.replica.as_ref().is_some_and(Replica::is_up)
    }

    /// Returns where in a history the data is, and the database that the stream works in there; nothing when nobody has
    /// a use for it.
    pub fn stream_position(&self) -> Option<(Position, usize)> {
        let replication = &self.replication;
        if !replication.primary.listens() {
            return None;
        }
        let database = match self.follows() {
            true => replication.stream_db,
            false => self.propagation.stream.database(),
        };
        let id = replication.primary.history().id;
        Some((Position { id, offset: self.stream_offset() }, database))
    }

    /// Returns the master that this server follows.
    pub fn master(&self) -> Option<(&str, u16)> {
        self.replication.replica.as_ref().map(Replica::master)
    }

    /// Follows another master from now on, or nobody: what the server is changes at once, the links in the node's time.
    pub fn follow(&mut self, now: Now, follow: Follow) {
        let master = follow.target.as_ref().map(|(host, port)| (host.clone().into_bytes(), *port));
        if master.is_some() {
            self.unblock_all();
            self.end_synchronous();
            self.locks.stop();
        } else if self.follows() {
            self.locks.start();
        }
        self.config.set_replicaof(master);
        let replication = &mut self.replication;
        replication.own_keys.clear();
        let stream = &mut self.propagation.stream;
        // What was written earlier in this turn is a part of the history that ends, or goes on, here.
        replication.append(now, stream);
        let followed = replication.replica.take();
        if let Some(master) = replication.master.take()
            && let Some(session) = self.sessions.get_mut(master)
        {
            session.close(Closing::Now);
            self.sessions.queue_id(master);
        }
        match follow.target {
            None => {
                // A failover promotes the machine by itself.
                if replication.primary.upstream() != Upstream::None {
                    replication.primary.promote(now);
                }
                stream.set_offset(replication.primary.offset());
                stream.forget_database();
                self.listen_propagation = true;
                self.hold_for_replicas();
            }
            Some((host, port)) => {
                let position = match &followed {
                    Some(replica) => replica.position(),
                    // What we did as a master is a place in a history, too, if anybody can have followed it.
                    None if replication.primary.listens() => {
                        replication.stream_db = stream.database();
                        Some(Position { id: replication.primary.history().id, offset: stream.offset() })
                    }
                    None => None,
                };
                let settings = replica_settings(&self.config, &self.run_id);
                let mut replica = Replica::new(settings, host, port, position, now);
                if follow.accept_empty {
                    replica.accept_empty(now);
                }
                if follow.hand_over {
                    replica.hand_over();
                }
                replication.replica = Some(replica);
                replication.primary.set_upstream(now, Upstream::Down);
                self.listen_propagation = false;
            }
        }
        self.effects.push(Effect::Follow);
    }
}

/// Whom to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// Nobody: this server is a master from now on.
    pub target: Option<(String, u16)>,
    /// Data that we hold may be replaced by nothing, this once.
    pub accept_empty: bool,
    /// The target is a replica of ours, and is asked to take our place (FAILOVER).
    pub hand_over: bool,
}

/// Returns whether a master may send a command to its replicas: what writes or is passed on, and what frames it.
///
/// All else would let a master turn its replica into something other than that.
#[inline]
fn may_be_in_a_stream(row: &Row) -> bool {
    const FRAMES: [&str; 7] = ["SELECT", "MULTI", "EXEC", "DISCARD", "PING", "REPLCONF", "UNWATCH"];
    row.flags.has(table::WRITE | table::MAY_REPLICATE) || row.is_any(&FRAMES)
}

/// Returns the number under which the machines know a session's link: it is not used again.
pub fn link_of(session: &Session) -> LinkId {
    LinkId((session.client_id << 32) | u64::from(session.id.0))
}

/// Returns the session of a link, which may have ended meanwhile.
pub fn session_of(link: LinkId) -> SessionId {
    SessionId(link.0 as u32)
}

/// Returns how a master is configured.
pub fn primary_settings(config: &Config) -> PrimarySettings {
    let limit = &config.client_output_buffer_limit.replica;
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    PrimarySettings {
        backlog_size: config.repl_backlog_size,
        backlog_ttl: Duration::from_secs(config.repl_backlog_ttl),
        diskless: config.repl_diskless_sync,
        diskless_delay: seconds(config.repl_diskless_sync_delay),
        diskless_max_replicas: config.repl_diskless_sync_max_replicas as usize,
        ping_period: seconds(config.repl_ping_replica_period),
        timeout: seconds(config.repl_timeout),
        limit: Limit {
            hard: limit.hard_bytes,
            soft: limit.soft_bytes,
            soft_for: Duration::from_secs(limit.soft_secs),
        },
        max_lag: seconds(config.min_replicas_max_lag),
    }
}

/// Returns how a replica is configured; `run_id` names this run of the server.
pub fn replica_settings(config: &Config, run_id: &str) -> ReplicaSettings {
    let run_id = ReplId::parse(run_id.as_bytes()).expect("a run id has forty hexadecimal digits");
    let auth = (!config.masterauth.is_empty()).then(|| Credentials {
        user: (!config.masteruser.is_empty()).then(|| config.masteruser.clone()),
        password: config.masterauth.clone(),
    });
    let port = match config.replica_announce_port {
        0 => config.port,
        port => port,
    };
    let address = String::from_utf8_lossy(&config.replica_announce_ip).into_owned();
    ReplicaSettings {
        timeout: Duration::from_secs(u64::from(config.repl_timeout)),
        auth,
        address: (!address.is_empty()).then_some(address),
        accept_empty: config.replica_accept_empty_master,
        ..ReplicaSettings::new(run_id, port)
    }
}

impl Engine {
    /// Returns the stream, and those who pass it on to replicas.
    pub fn stream_and_replication(&mut self) -> (&mut Stream, &mut Replication) {
        (&mut self.server.propagation.stream, &mut self.server.replication)
    }

    /// Executes a request of our master: nothing is asked, and nobody answered.
    ///
    /// The error says why it cannot be executed; the data would not be the master's any more.
    pub fn apply(
        &mut self,
        now: Now,
        host: &dyn Host,
        session: &mut Session,
        request: Request<'_>,
    ) -> Result<(), String> {
        session.last_active = now.instant;
        let Some(name) = request.get(0) else { return Ok(()) };
        if let Some(row) = self.server.table.find(name)
            && !may_be_in_a_stream(row)
        {
            return Err(format!("'{}' is no command of a stream", row.name));
        }
        if self.server.persistence.hinders() {
            self.mind_disk(now, request);
        }
        let executed = self.obey(now, host, session, request);
        if session.multi.is_none() && !self.server.waiting.is_empty() {
            self.serve_waiting(now, host, session);
        }
        executed
    }

    /// Decides what becomes of a write of our master that our files cannot follow.
    #[cold]
    fn mind_disk(&mut self, now: Now, request: Request<'_>) {
        let row = self.server.table.find(request.arg(0));
        if !row.is_some_and(|row| row.flags.has(table::WRITE)) || !self.server.has_disk_error() {
            return;
        }
        if !self.server.config.replica_ignore_disk_write_errors {
            let why = "Replica was unable to write command to disk.";
            self.server.effects.push(Effect::Crash(why.into()));
            return;
        }
        let logged = &mut self.server.replication.disk_error_logged;
        if logged.is_none_or(|at| now.instant.saturating_since(at) > DISK_ERROR_LOGGED_EVERY) {
            *logged = Some(now.instant);
            let line = "Replica is applying a command even though it is unable to write to disk.";
            self.server.log(LogLevel::Warning, line.into());
        }
    }

    /// Gives all data up, for others' to take its place.
    pub fn drop_data(&mut self, now: Now) {
        let empty = (0..self.keyspace.dbs.len()).map(|_| Db::new(self.keyspace.seed)).collect();
        // Unless that is asked for, the memory is free before the new data comes: there may not be room for both.
        self.replace(now, empty, self.server.config.replica_lazy_flush);
    }

    /// Puts other data in the place of all that there is.
    pub fn replace_data(&mut self, now: Now, dbs: Vec<Db>) {
        self.replace(now, dbs, true);
    }

    /// Does so; what is there is freed on another thread if `lazy`.
    fn replace(&mut self, now: Now, dbs: Vec<Db>, lazy: bool) {
        let mut nobody = Session::new(SessionId(u32::MAX), 0, now.instant);
        for (index, new) in dbs.into_iter().enumerate() {
            let old = std::mem::replace(&mut self.keyspace.dbs[index], new);
            let new = &self.keyspace.dbs[index];
            let there = |key: &[u8]| old.table.contains(key) || new.table.contains(key);
            self.server.touch_watched_db(&mut nobody, index, there);
            self.server.waiting.signal_db(index);
            if lazy && !old.is_empty() {
                self.server.effects.push(Effect::Free(Garbage::Db(Box::new(old))));
            }
        }
        self.keyspace.evictor.clear();
        self.server.locks.forget_all();
        self.server.replication.own_keys.clear();
        self.server.persistence.functions.clear();
    }

    /// Lets nobody read what was loaded, in the synchronous mode, before enough replicas have it.
    ///
    /// Some of it may have been answered by an error that told of an unknown outcome.
    pub fn hold_loaded(&mut self, now: Now) {
        if !self.server.is_synchronous() || self.keyspace.is_empty() {
            return;
        }
        if self.server.stream_offset() == 0 {
            // Before the first byte nothing can be waited for.
            self.server.replication.primary.append(now, 1, &[]);
            self.move_to_offset(1);
        }
        self.server.holds.hold_all_up_to(self.server.propagation.stream.offset());
        self.server.distrust_loaded();
    }

    /// Goes on at another offset of the stream: that of data which took the place of ours.
    pub fn move_to_offset(&mut self, offset: u64) {
        self.server.propagation.stream.set_offset(offset);
        self.server.forget_offsets();
    }

    /// Lets those look again who wait for replicas: one has acknowledged more than before, or left.
    pub fn replicas_advanced(&mut self, now: Now) {
        self.look_at_acks(now);
        self.tend_failover(now);
    }

    /// Does what is due: a failover goes on, and whoever has waited too long for replicas is told.
    pub fn tend_replication(&mut self, now: Now) {
        self.tend_failover(now);
        self.tend_synchronous(now);
    }

    /// Returns when [`Engine::tend_replication`] wants to be called next.
    pub fn replication_due(&self) -> Option<Instant> {
        [self.failover_due(), self.server.synchronous_due()].into_iter().flatten().min()
    }

    /// Puts into force what follows from having become a master or a replica, or from a link that came or went.
    pub fn replication_changed(&mut self, now: Now) {
        self.keyspace.keep_expired = self.server.keeps_expired();
        if self.server.counts_leases() {
            self.server.restart_leases(&self.keyspace, now);
        }
        self.listen();
        self.tend_failover(now);
    }
}
