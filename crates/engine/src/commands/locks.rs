//! Taking, keeping and giving up locks.

use base::number::IntText;
use base::time::{Instant, Now};
use keyspace::{Class, Hash, Stamp};
use structures::Item;

use crate::acks::Acks;
use crate::blocking::{Blocked, OnTimeout};
use crate::cx::Mode;
use crate::locks::book::{Event, What};
use crate::locks::json::is_json;
use crate::locks::queue::Waiter;
use crate::locks::record::{LEASE_MAX, META_MAX, Record, is_owner, limits, packed};
use crate::locks::serve::TOO_FEW;
use crate::locks::{Grant, Kind, LockWait, lease_end};
use crate::session::OwnedRequest;
use crate::table::{self, Command, acl, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("LOCK.ACQUIRE", acquire)
        .summary(
            "Takes a lock for a while, or waits in line for it, and returns the fencing token of the grant.",
        )
        .since("7.2.0")
        .complexity("O(log(N)) with N being the number of locks held or waited for.")
        .syntax("key owner LEASE milliseconds [WAIT milliseconds] [REPLICAS numreplicas] [META json]")
        .flags(&[table::WRITE, table::DENYOOM, table::NOSCRIPT, table::BLOCKING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("LOCK.FORCE", force)
        .summary("Ends a lock whoever holds it, if that is the grant which is meant.")
        .since("7.2.0")
        .complexity("O(log(N)) with N being the number of locks held or waited for.")
        .syntax("key TOKEN token")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::DANGEROUS])
        .keys(&[at(1, does(&[key::RM, key::DELETE]))]),
    command("LOCK.RELEASE", release)
        .summary("Gives a lock up; its holder alone can, by the token of the grant.")
        .since("7.2.0")
        .complexity("O(log(N)) with N being the number of locks held or waited for.")
        .syntax("key owner token")
        .flags(&[table::WRITE, table::FAST])
        .keys(&[at(1, does(&[key::RM, key::DELETE]))]),
    command("LOCK.RENEW", renew)
        .summary("Lets the holder's lease begin anew and returns it.")
        .since("7.2.0")
        .complexity("O(log(N)) with N being the number of locks held or waited for.")
        .syntax("key owner token [LEASE milliseconds]")
        .flags(&[table::WRITE, table::FAST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
];

pub(super) const READONLY: Error = Error::text("READONLY You can't write against a read only replica.");
const NOT_HELD: Error = Error::text("NOTHELD The lock is not held by this owner with this token");
const BAD_LEASE: Error =
    Error::text("ERR invalid lease, it must be between 1 and 2147483647000 milliseconds");
const BAD_WAIT: Error = Error::text("ERR invalid wait, it must be between 0 and 2147483647000 milliseconds");
const BAD_OWNER: Error =
    Error::text("ERR invalid owner, it must have 1 to 512 bytes without line breaks and NULs");
const BAD_META: Error = Error::text("ERR invalid META, it must be JSON of at most 65536 bytes");
const BAD_REPLICAS: Error = Error::text("ERR invalid number of replicas");
const NO_WAITING: Error = Error::text("ERR LOCK.ACQUIRE with REPLICAS cannot wait inside a transaction");
const NOT_YET: Error = Error::text(
    "ERR The first lock since the start must reach the disk, which cannot be waited for inside a transaction",
);
const TAKEN_OVER: &str = "UNBLOCKED another connection of this owner has taken over its place in the queue";
const NO_TOKENS: Error = Error::text("ERR no fencing tokens are left");

/// What LOCK.ACQUIRE asks for.
struct Wish<'a> {
    key: &'a [u8],
    owner: &'a [u8],
    lease: u64,
    wait: u64,
    replicas: u64,
    meta: Option<&'a [u8]>,
}

impl<'a> Wish<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Wish<'a>> {
        let (key, owner) = (args.key()?, owner(args)?);
        if !args.accept("LEASE") {
            return Err(Error::Syntax);
        }
        let mut wish = Wish { key, owner, lease: lease(args)?, wait: 0, replicas: 0, meta: None };
        while !args.is_empty() {
            if args.accept("WAIT") {
                wish.wait = args.int_in(0..=LEASE_MAX as i64, BAD_WAIT)? as u64;
            } else if args.accept("REPLICAS") {
                wish.replicas = args.int_in(0..=i64::from(i32::MAX), BAD_REPLICAS)? as u64;
            } else if args.accept("META") {
                let meta = args.next()?;
                if meta.len() > META_MAX || !is_json(meta) {
                    return Err(BAD_META);
                }
                wish.meta = Some(meta);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(wish)
    }
}

/// Reads the name of an owner.
fn owner<'a>(args: &mut Args<'a>) -> Result<&'a [u8]> {
    let owner = args.next()?;
    if is_owner(owner) { Ok(owner) } else { Err(BAD_OWNER) }
}

/// Reads a lease in milliseconds.
fn lease(args: &mut Args<'_>) -> Result<u64> {
    Ok(args.int_in(1..=LEASE_MAX as i64, BAD_LEASE)? as u64)
}

/// Reads a token; one that never was given is not an error.
pub(super) fn token(args: &mut Args<'_>) -> Result<u64> {
    Ok(args.int_in(0..=i64::MAX, Error::NotInteger)? as u64)
}

impl Cx<'_> {
    /// Returns the lock at a key of this database, `None` if it is free.
    pub(super) fn lock(&mut self, key: &[u8]) -> Result<Option<Record>> {
        Ok(self.server.lock_at(&mut self.keys, key, self.now)?)
    }

    /// Refuses what only a master may do, also where clients may write to a replica.
    pub(super) fn is_for_masters(&self) -> Result<()> {
        if self.server.follows() { Err(READONLY) } else { Ok(()) }
    }

    /// Deletes a lock, and says so.
    fn end_lock(&mut self, key: &[u8], record: Record, what: What) {
        self.keys.delete(key, "del", false);
        self.propagate(&[b"DEL", key]);
        self.server.locks.index.remove(self.keys.db, key);
        self.server.lock_ended(self.keys.db, key, record, what, self.now);
    }

    /// Lets a lock's lease begin now, and puts what has changed of the lock into its hash.
    fn restart_lease(&mut self, key: &[u8], changed: &[&[u8]], lease: u64) -> Result<()> {
        let db = self.keys.db;
        self.server.locks.index.renew(db, key, lease_end(self.now, lease));
        self.server.locks.book.count(db, key, |figures| figures.renewals += 1);
        if changed.is_empty() { Ok(()) } else { self.put_fields(key, changed) }
    }

    /// Puts fields and values into the hash of a lock that is held.
    fn put_fields(&mut self, key: &[u8], words: &[&[u8]]) -> Result<()> {
        let (limits, seed) = (limits(self.keys.space.limits), self.keys.space.seed);
        let mut hash = self.keys.edit_or_create::<Hash>(key)?;
        hash.fit(words.iter().copied(), &limits, seed);
        for pair in words.chunks_exact(2) {
            hash.set(pair[0], pair[1], &limits, seed);
        }
        hash.changed("hset");
        hash.count(words.len() as u64 / 2 - 1);
        drop(hash);
        self.propagate_fields(key, words);
        Ok(())
    }

    /// Propagates the fields and values that were put into the hash of a lock.
    fn propagate_fields(&mut self, key: &[u8], words: &[&[u8]]) {
        if !self.propagates() {
            return;
        }
        let words: Vec<&[u8]> = [&b"HSET"[..], key].into_iter().chain(words.iter().copied()).collect();
        self.propagate(&words);
    }

    /// Answers with a grant, once it is where it has to be.
    fn tell(&mut self, key: &[u8], grant: Grant, out: &mut Reply<'_>) {
        let needs_log = self.server.grant_needs_log();
        if !needs_log && grant.replicas == 0 {
            return grant.reply(out);
        }
        let acks = Acks {
            // Known when what this command comes to is in the stream.
            offset: u64::MAX,
            replicas: grant.replicas as i64,
            logs: needs_log.then_some(1),
        };
        let blocked = Blocked {
            db: self.keys.db,
            keys: Vec::new(),
            request: OwnedRequest::default(),
            row: self.row.id,
            deadline: Some(lease_end(self.now, grant.lease)),
            on_timeout: OnTimeout::Silent,
            acks: Some(acks),
            lock: Some(LockWait::Granted { key: key.into(), grant }),
        };
        self.server.waiting.add(self.session.id, &blocked);
        self.server.waiting.await_acks(self.session.id);
        self.session.blocked = Some(Box::new(blocked));
    }
}

/// Takes a lock, waits in line for it, or says who holds it.
fn acquire(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let wish = Wish::parse(args)?;
    cx.is_for_masters()?;
    let mut waited = cx.server.locks.serving.take();
    let (db, key) = (cx.keys.db, wish.key);
    let held = cx.lock(key)?;
    if held.is_none() && waited.is_none() {
        waited = take_turn(cx, &wish);
    }
    let busy = match held {
        Some(held) if *held.owner == *wish.owner => {
            // What was granted by another master, or before a restart, may have been superseded there: it gets a new token.
            return match cx.server.locks.tokens.is_current(held.token) {
                true => acquire_again(cx, &wish, held, out),
                false => grant(cx, &wish, waited_for(waited, cx.now), Kind::Again, out),
            };
        }
        Some(held) => cx.server.busy(db, key, held, wish.owner, cx.now),
        // Whoever waits comes first, also before those who find the lock free in the middle of a transaction.
        None if waited.is_none() && cx.server.waiting.locks.has(db, key) => {
            cx.server.promised(db, key, wish.owner)
        }
        None => {
            return grant(cx, &wish, waited_for(waited, cx.now), Kind::Fresh, out);
        }
    };
    if wish.wait == 0 || cx.mode == Mode::Transaction {
        cx.server.locks.book.count(db, key, |figures| figures.busy += 1);
        busy.reply(out);
    } else {
        stand_in_line(cx, &wish);
    }
    Ok(())
}

/// Ends the wait of an owner who asks on another connection in the moment in which it is their turn, and returns since
/// when they have waited.
fn take_turn(cx: &mut Cx<'_>, wish: &Wish<'_>) -> Option<Instant> {
    let first = cx.server.waiting.locks.first(cx.keys.db, wish.key)?;
    let (session, since) = (first.session, first.since);
    let own = *first.owner == *wish.owner;
    own.then(|| {
        cx.server.unblock_with_error(session, TAKEN_OVER);
        since
    })
}

/// Returns how many milliseconds have passed since a wait began.
fn waited_for(since: Option<Instant>, now: Now) -> Option<u64> {
    Some(now.instant.saturating_since(since?).as_millis() as u64)
}

/// Gives a lock to who asks for it, under a new token.
fn grant(
    cx: &mut Cx<'_>,
    wish: &Wish<'_>,
    waited: Option<u64>,
    kind: Kind,
    out: &mut Reply<'_>,
) -> Result<()> {
    check_can_tell(cx, wish.replicas)?;
    let unix_ms = cx.now.unix_ms();
    let token = cx.server.locks.tokens.next(unix_ms).ok_or(NO_TOKENS)?;
    if !cx.server.persistence.log.enabled {
        // Nothing can be waited for.
        cx.server.locks.tokens.begun(0);
    }
    let record = Record {
        token,
        owner: wish.owner.into(),
        lease: wish.lease,
        since: unix_ms,
        replicas: wish.replicas,
        meta: wish.meta.map(Into::into),
    };
    record.with_items(|items| put_lock(cx, wish.key, items, kind))?;
    cx.server.forget_gone(cx.keys.space, cx.now);
    let (db, locks) = (cx.keys.db, &mut cx.server.locks);
    locks.index.set(db, wish.key, Some(lease_end(cx.now, wish.lease)));
    let event = Event { at_ms: unix_ms, what: What::Granted, owner: record.owner, token };
    locks.book.note(db, wish.key, event, |figures| {
        figures.acquires += 1;
        if let Some(ms) = waited {
            figures.waited(ms);
        }
    });
    let waited = waited.unwrap_or(0);
    cx.tell(wish.key, Grant { token, lease: wish.lease, waited, replicas: wish.replicas, kind }, out);
    Ok(())
}

/// Puts the fields and values of a grant where its lock is to be.
fn put_lock(cx: &mut Cx<'_>, key: &[u8], items: &[Item<'_>], kind: Kind) -> Result<()> {
    if kind == Kind::Fresh {
        cx.keys.set_value(key, packed(items), Stamp::Clear);
        cx.keys.changed(Class::Hash, "hset", key);
        cx.keys.space.recorder.dirty += items.len() as u64 / 2 - 1;
        if !cx.propagates() {
            return Ok(());
        }
    }
    let texts: Vec<_> = items.iter().map(|item| item.text()).collect();
    let words: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    if kind == Kind::Fresh {
        cx.propagate_fields(key, &words);
        return Ok(());
    }
    // What the holder does not say again stays: so it does where these fields are put over those that are there.
    cx.put_fields(key, &words)
}

/// Answers the holder's own request: the grant stands, and the lease begins anew.
fn acquire_again(cx: &mut Cx<'_>, wish: &Wish<'_>, held: Record, out: &mut Reply<'_>) -> Result<()> {
    check_can_tell(cx, wish.replicas)?;
    let (lease, replicas) = (IntText::new(wish.lease as i64), IntText::new(wish.replicas as i64));
    let mut changed: Vec<&[u8]> = Vec::new();
    // Replicas that have acknowledged this will let the lease begin no earlier, should they take over.
    if held.lease != wish.lease || wish.replicas > 0 || cx.server.is_synchronous() {
        changed.extend([&b"lease"[..], lease.as_bytes()]);
    }
    if held.replicas != wish.replicas && wish.replicas > 0 {
        changed.extend([&b"replicas"[..], replicas.as_bytes()]);
    }
    if let Some(meta) = wish.meta
        && held.meta.as_deref() != Some(meta)
    {
        changed.extend([&b"meta"[..], meta]);
    }
    cx.restart_lease(wish.key, &changed, wish.lease)?;
    let (token, kind) = (held.token, Kind::Again);
    cx.tell(wish.key, Grant { token, lease: wish.lease, waited: 0, replicas: wish.replicas, kind }, out);
    Ok(())
}

/// Refuses a grant that could not be told: too few replicas are there, or it would have to be waited for in a transaction.
fn check_can_tell(cx: &mut Cx<'_>, replicas: u64) -> Result<()> {
    check_replicas(cx, replicas)?;
    if cx.mode == Mode::Transaction && cx.server.grant_needs_log() { Err(NOT_YET) } else { Ok(()) }
}

/// Refuses a grant that cannot come to as many replicas as it is to.
fn check_replicas(cx: &Cx<'_>, replicas: u64) -> Result<()> {
    if replicas == 0 {
        return Ok(());
    }
    if cx.mode == Mode::Transaction {
        return Err(NO_WAITING);
    }
    let online = cx.server.replication.primary.count(0, replication::primary::Commit::Received);
    if (online as u64) < replicas { Err(Error::text(TOO_FEW)) } else { Ok(()) }
}

/// Lets the session wait for its turn.
fn stand_in_line(cx: &mut Cx<'_>, wish: &Wish<'_>) {
    let (db, key, owner): (_, Box<[u8]>, Box<[u8]>) = (cx.keys.db, wish.key.into(), wish.owner.into());
    let until = lease_end(cx.now, wish.wait);
    let waiter = Waiter { session: cx.session.id, owner: owner.clone(), since: cx.now.instant, until };
    let (ticket, before) = cx.server.waiting.locks.join(db, &key, waiter);
    if let Some(before) = before {
        cx.server.unblock_with_error(before, TAKEN_OVER);
    } else {
        cx.server.locks.book.count(db, &key, |figures| figures.waits += 1);
    }
    let blocked = Blocked {
        db,
        keys: Vec::new(),
        request: OwnedRequest::new(cx.request),
        row: cx.row.id,
        deadline: Some(until),
        on_timeout: OnTimeout::Silent,
        acks: None,
        lock: Some(LockWait::Queued { key, owner, ticket }),
    };
    cx.server.waiting.add(cx.session.id, &blocked);
    cx.session.blocked = Some(Box::new(blocked));
}

/// Lets the holder's lease begin anew; where the grant waited for replicas, this does as well.
fn renew(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, owner, token) = (args.key()?, owner(args)?, token(args)?);
    let wanted = if args.accept("LEASE") { Some(lease(args)?) } else { None };
    args.end()?;
    cx.is_for_masters()?;
    let held = cx.lock(key)?.filter(|held| held.token == token && *held.owner == *owner).ok_or(NOT_HELD)?;
    let lease = wanted.unwrap_or(held.lease);
    let text = IntText::new(lease as i64);
    check_replicas(cx, held.replicas)?;
    // A master that nobody follows any more must not extend what the one in its place has let end.
    let silent = lease == held.lease && held.replicas == 0 && !cx.server.is_synchronous();
    let changed: &[&[u8]] = &[b"lease", text.as_bytes()];
    cx.restart_lease(key, if silent { &[] } else { changed }, lease)?;
    if held.replicas > 0 {
        let (replicas, kind) = (held.replicas, Kind::Renewed);
        cx.tell(key, Grant { token, lease, waited: 0, replicas, kind }, out);
        return Ok(());
    }
    out.int(lease as i64);
    Ok(())
}

/// Gives a lock up.
fn release(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, owner, token) = (args.key()?, owner(args)?, token(args)?);
    args.end()?;
    cx.is_for_masters()?;
    let held = cx.lock(key)?.filter(|held| held.token == token && *held.owner == *owner);
    out.int(i64::from(held.is_some()));
    if let Some(held) = held {
        cx.end_lock(key, held, What::Released);
    }
    Ok(())
}

/// Ends a lock whoever holds it.
fn force(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if !args.accept("TOKEN") {
        return Err(Error::Syntax);
    }
    let token = token(args)?;
    args.end()?;
    cx.is_for_masters()?;
    let held = cx.lock(key)?.filter(|held| held.token == token);
    out.int(i64::from(held.is_some()));
    if let Some(held) = held {
        cx.end_lock(key, held, What::Forced);
    }
    Ok(())
}
