//! Connections to one server: one that all quick requests share, and one for each request that waits in a queue.
//!
//! ```text
//!              ┌ shared ──── LOCK.ACQUIRE, RENEW, RELEASE, scripts   (many requests under way at once)
//! Server ──────┼ own ─────── LOCK.ACQUIRE … WAIT                     (blocks its connection until it is answered)
//!              └ direct ──── the same as on the shared one, by a thread that has nothing else to do until the answer
//! ```
//!
//! A connection on which a request timed out is given up together with all that is under way on it: what arrives
//! later could be taken for the answer to something else. A server may have several addresses, of a master and its
//! replicas; one that is out of reach or read-only is left for the next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Client, Value, cmd};
use tokio::runtime::Handle;

use crate::backend::portable::{Call, CompareDelete, Script};
use crate::backend::{BackendKind, Request, Trouble, Verdict, native, portable};
use crate::direct::Direct;
use crate::encode::Pack;
use crate::wakeup::Wakeups;
use crate::wire::{Pending, Wire};

/// How many connections that nobody waits on are kept, and how many threads ask on connections of their own.
const IDLE_CONNECTIONS: usize = 16;

/// How long a silent server may be gone before the system says so to those who wait in its queue.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(15);

/// One server, or one master with its replicas.
#[derive(Debug)]
pub(crate) struct Server {
    addresses: Vec<Client>,
    /// The address in use.
    at: AtomicUsize,
    choice: Option<BackendKind>,
    connection_timeout: Duration,
    response_timeout: Duration,
    shared: Mutex<Option<Link>>,
    connecting: tokio::sync::Mutex<()>,
    idle: Mutex<Vec<Link>>,
    directs: Mutex<Directs>,
    next_link: AtomicU64,
    /// The runtime that connections were made on, for what is dropped outside of any.
    runtime: Mutex<Option<Handle>>,
    pub(crate) wakeups: Arc<Wakeups>,
}

/// A connection and what is known of the server behind it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    id: u64,
    wire: Wire,
    pub(crate) kind: BackendKind,
    compare_delete: Option<CompareDelete>,
}

/// The connections that threads ask on themselves.
#[derive(Debug, Default)]
struct Directs {
    idle: Vec<Direct>,
    /// How many there are, those in use among them.
    count: usize,
    /// The address that they lead to.
    at: usize,
}

impl Server {
    pub(crate) fn new(
        addresses: Vec<Client>,
        choice: Option<BackendKind>,
        connection_timeout: Duration,
        response_timeout: Duration,
    ) -> Server {
        Server {
            addresses,
            at: AtomicUsize::new(0),
            choice,
            connection_timeout,
            response_timeout,
            shared: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
            idle: Mutex::new(Vec::new()),
            directs: Mutex::default(),
            next_link: AtomicU64::new(0),
            runtime: Mutex::new(None),
            wakeups: Arc::new(Wakeups::default()),
        }
    }

    /// Returns the shared connection, made anew if there is none.
    pub(crate) async fn link(&self) -> Result<Link, Trouble> {
        if let Some(link) = self.live_link() {
            return Ok(link);
        }
        // One connects, the others wait for it.
        let _connecting = self.connecting.lock().await;
        if let Some(link) = self.live_link() {
            return Ok(link);
        }
        let link = self.connect().await?;
        *lock(&self.shared) = Some(link.clone());
        Ok(link)
    }

    /// Returns the shared connection, if there is one and it has not ended while nobody used it.
    fn live_link(&self) -> Option<Link> {
        lock(&self.shared).as_ref().filter(|link| !link.wire.has_ended()).cloned()
    }

    /// Returns a connection that nobody else uses.
    pub(crate) async fn own_link(&self) -> Result<Link, Trouble> {
        let kept = {
            let mut idle = lock(&self.idle);
            // A server that was restarted has ended all of them.
            idle.retain(|link| !link.wire.has_ended());
            idle.pop()
        };
        match kept {
            Some(link) => Ok(link),
            None => self.connect().await,
        }
    }

    /// Takes back a connection on which nothing is under way.
    pub(crate) fn keep(&self, link: Link) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(link);
        }
    }

    /// Returns the address in use.
    pub(crate) fn address(&self) -> &Client {
        &self.addresses[self.at.load(Ordering::Relaxed) % self.addresses.len()]
    }

    /// Returns a runtime to finish something on; `None` when there is none any more.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| lock(&self.runtime).clone())
    }

    pub(crate) fn connection_timeout(&self) -> Duration {
        self.connection_timeout
    }

    async fn connect(&self) -> Result<Link, Trouble> {
        let mut trouble = Trouble::Unreachable("no address given".into());
        for _ in 0..self.addresses.len() {
            match self.connect_here().await {
                Ok(link) => {
                    *lock(&self.runtime) = Handle::try_current().ok();
                    return Ok(link);
                }
                Err(error) => {
                    trouble = error;
                    self.next_address();
                }
            }
        }
        Err(trouble)
    }

    async fn connect_here(&self) -> Result<Link, Trouble> {
        let connecting = Wire::connect(self.address(), self.response_timeout);
        let wire = match tokio::time::timeout(self.connection_timeout, connecting).await {
            Ok(wire) => wire?,
            Err(_) => return Err(Trouble::Unreachable("no connection in time".into())),
        };
        let id = self.next_link.fetch_add(1, Ordering::Relaxed);
        let kind = self.choice.unwrap_or(BackendKind::Portable);
        let mut link = Link { id, wire, kind, compare_delete: None };
        let question = cmd("COMMAND").arg("INFO").arg(&["lock.acquire", "delifeq", "delex"]).take();
        // Not everybody may ask; what is not known is not used.
        let known = match link.wire.ask(&question, self.response_timeout).await {
            Ok(Value::Array(known)) => known,
            Err(Trouble::Unreachable(reason)) => return Err(Trouble::Unreachable(reason)),
            _ => Vec::new(),
        };
        let knows = |at: usize| {
            known.get(at).is_some_and(|command| matches!(command, Value::Array(parts) if !parts.is_empty()))
        };
        if self.choice.is_none() && knows(0) {
            link.kind = BackendKind::Native;
        }
        link.compare_delete = match (knows(1), knows(2)) {
            (true, _) => Some(CompareDelete::Delifeq),
            (_, true) => Some(CompareDelete::Delex),
            _ => None,
        };
        Ok(link)
    }

    fn next_address(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a connection up after trouble on it that says that it is of no use any more.
    fn give_up(&self, link: &Link, trouble: &Trouble) {
        if let Trouble::Unreachable(reason) = trouble {
            let mut shared = lock(&self.shared);
            if shared.as_ref().is_some_and(|current| current.id == link.id) {
                *shared = None;
            }
            drop(shared);
            // A replica answers well and is of no use: the master may be at the next address.
            if reason.starts_with("READONLY") || reason.starts_with("MASTERDOWN") {
                lock(&self.idle).clear();
                self.next_address();
            }
        }
    }

    /// Sends one request on a connection and reads its reply, giving the connection up where that fails.
    async fn on<T>(
        &self,
        link: &Link,
        time: Duration,
        command: &impl Pack,
        read: impl FnOnce(&Value) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let answer = link.wire.ask(command, time).await;
        let answer = answer.and_then(|value| read(&value));
        if let Err(trouble) = &answer {
            self.give_up(link, trouble);
        }
        answer
    }

    /// Sends LOCK.ACQUIRE on a connection, giving the connection up where that fails.
    async fn lock_on(&self, link: &Link, time: Duration, command: &impl Pack) -> Result<Verdict, Trouble> {
        let verdict = link.wire.ask_for_lock(command, time).await;
        if let Err(trouble) = &verdict {
            self.give_up(link, trouble);
        }
        verdict
    }

    /// Sends one request on the shared connection.
    pub(crate) async fn ask<T>(
        &self,
        command: &impl Pack,
        read: impl FnOnce(&Value) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let link = self.link().await?;
        self.on(&link, self.response_timeout, command, read).await
    }

    /// Asks on the calling thread; nothing where there is no connection for that.
    fn ask_directly(&self, command: &impl Pack) -> Option<Result<Value, Trouble>> {
        let at = self.at.load(Ordering::Relaxed);
        let kept = {
            let mut directs = lock(&self.directs);
            if directs.at != at {
                directs.count -= directs.idle.len();
                directs.idle.clear();
                directs.at = at;
            }
            let kept = directs.idle.pop();
            if kept.is_none() {
                if directs.count >= IDLE_CONNECTIONS {
                    return None;
                }
                directs.count += 1;
            }
            kept
        };
        let connected = kept.map_or_else(
            || Direct::connect(self.address(), self.connection_timeout, self.response_timeout).ok(),
            Some,
        );
        let Some(mut direct) = connected else {
            lock(&self.directs).count -= 1;
            return None;
        };
        let answer = direct.ask(command);
        let mut directs = lock(&self.directs);
        if directs.at != at || matches!(answer, Err(Trouble::Unreachable(_))) {
            directs.count -= 1;
        } else {
            directs.idle.push(direct);
        }
        Some(answer)
    }

    /// Asks for a lock on the calling thread; nothing where that does not settle it.
    pub(crate) fn acquire_directly(&self, request: &Request) -> Option<(Verdict, BackendKind)> {
        let link = self.live_link().filter(|_| request.replicas == 0)?;
        let verdict = match link.kind {
            BackendKind::Native => {
                native::verdict(&self.ask_directly(&native::Acquire { request, wait: None })?.ok()?)
            }
            BackendKind::Portable => {
                let command = portable::ACQUIRE.by_name(&portable::acquire(request));
                portable::verdict(&self.ask_directly(&command)?.ok()?)
            }
        };
        Some((verdict.ok()?, link.kind))
    }

    /// Gives a lock back on the calling thread; nothing where it was not asked.
    pub(crate) fn release_directly(&self, request: &Request, token: u64) -> Option<Result<bool, Trouble>> {
        let link = self.live_link()?;
        match (link.kind, link.compare_delete) {
            (BackendKind::Native, _) => {
                let answer = self.ask_directly(&native::Release { request, token })?;
                Some(answer.and_then(|reply| native::released(&reply)))
            }
            // It is two requests.
            (BackendKind::Portable, Some(_)) if request.owner_is_unique => None,
            (BackendKind::Portable, _) => {
                let command = portable::RELEASE.by_name(&portable::release(request, Some(token)));
                let answer = self.ask_directly(&command)?;
                Some(answer.and_then(|reply| portable::was_held(&reply)))
            }
        }
    }

    async fn script<T>(
        &self,
        link: &Link,
        script: &Script,
        call: &Call,
        read: impl FnOnce(&Value) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let first = link.wire.ask(&script.by_name(call), self.response_timeout).await;
        let answer = match first {
            Err(Trouble::Refused(reason)) if reason.starts_with("NOSCRIPT") => {
                link.wire.ask(&script.in_full(call), self.response_timeout).await
            }
            first => first,
        };
        let answer = answer.and_then(|value| read(&value));
        if let Err(trouble) = &answer {
            self.give_up(link, trouble);
        }
        answer
    }

    /// Asks for a lock without waiting.
    pub(crate) async fn acquire(&self, request: &Request) -> Result<(Verdict, BackendKind), Trouble> {
        let link = self.link().await?;
        let verdict = match link.kind {
            BackendKind::Native if request.replicas > 0 => {
                // The reply waits for replicas: on a connection of its own it holds nobody up.
                let own = self.own_link().await?;
                let time = request.lease + self.response_timeout;
                let verdict = self.lock_on(&own, time, &native::Acquire { request, wait: None }).await?;
                self.keep(own);
                verdict
            }
            BackendKind::Native => {
                let command = native::Acquire { request, wait: None };
                self.lock_on(&link, self.response_timeout, &command).await?
            }
            BackendKind::Portable if request.replicas > 0 => self.acquire_replicated(request).await?,
            BackendKind::Portable => {
                let call = portable::acquire(request);
                self.script(&link, &portable::ACQUIRE, &call, portable::verdict).await?
            }
        };
        Ok((verdict, link.kind))
    }

    /// Asks for a lock and waits in the server's queue, on a connection of its own.
    pub(crate) async fn queue(
        &self,
        link: &Link,
        request: &Request,
        wait: Duration,
    ) -> Result<Verdict, Trouble> {
        let mut time = wait + self.response_timeout;
        if request.replicas > 0 {
            time += request.lease;
        }
        self.lock_on(link, time, &native::Acquire { request, wait: Some(wait) }).await
    }

    /// Takes a lock by script and gives it back unless enough replicas have it.
    async fn acquire_replicated(&self, request: &Request) -> Result<Verdict, Trouble> {
        let own = self.own_link().await?;
        let call = portable::acquire(request);
        let verdict = self.script(&own, &portable::ACQUIRE, &call, portable::verdict).await?;
        if let Verdict::Granted { token, .. } = verdict {
            let patience = request.lease / 2;
            let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1);
            let wait = cmd("WAIT").arg(request.replicas).arg(millis).take();
            let have = |reply: &Value| match reply {
                Value::Int(have) => Ok(*have),
                other => Err(Trouble::Unreachable(format!("unexpected reply: {other:?}"))),
            };
            let have = self.on(&own, patience + self.response_timeout, &wait, have).await?;
            if have < i64::from(request.replicas) {
                let call = portable::release(request, Some(token));
                self.script(&own, &portable::RELEASE, &call, portable::was_held).await?;
                self.keep(own);
                let reason = format!("{have} of {} replicas acknowledged the lock", request.replicas);
                return Err(Trouble::NotDurable(reason));
            }
        }
        self.keep(own);
        Ok(verdict)
    }

    /// Gives a held lock a new lease.
    pub(crate) async fn renew(&self, request: &Request, token: u64) -> Result<(), Trouble> {
        let link = self.link().await?;
        match link.kind {
            BackendKind::Native => {
                let command = native::renew(request, token);
                if request.replicas == 0 {
                    return self.on(&link, self.response_timeout, &command, |_| Ok(())).await;
                }
                let own = self.own_link().await?;
                let time = request.lease + self.response_timeout;
                self.on(&own, time, &command, |_| Ok(())).await?;
                self.keep(own);
                Ok(())
            }
            BackendKind::Portable => {
                let call = portable::renew(request, Some(token));
                let held = self.script(&link, &portable::RENEW, &call, portable::was_held).await?;
                if held { Ok(()) } else { Err(Trouble::NotHeld) }
            }
        }
    }

    /// Gives a lock back; false when it was not held by this owner with this token.
    pub(crate) async fn release(&self, request: &Request, token: u64) -> Result<bool, Trouble> {
        let link = self.link().await?;
        match (link.kind, link.compare_delete) {
            (BackendKind::Native, _) => {
                let command = native::Release { request, token };
                self.on(&link, self.response_timeout, &command, native::released).await
            }
            (BackendKind::Portable, Some(how)) if request.owner_is_unique => {
                let command = portable::compare_delete(request, how);
                let released = self.on(&link, self.response_timeout, &command, portable::was_held).await?;
                if released {
                    // Whoever misses it polls.
                    let announce = portable::announce(&request.key);
                    let _ = self.on(&link, self.response_timeout, &announce, |_| Ok(())).await;
                }
                Ok(released)
            }
            (BackendKind::Portable, _) => {
                let call = portable::release(request, Some(token));
                self.script(&link, &portable::RELEASE, &call, portable::was_held).await
            }
        }
    }

    /// Has a lock given back without waiting for the answer, where nothing needs to be waited for before it is sent.
    ///
    /// What is asked for after this comes after it.
    pub(crate) fn begin_release(&self, request: &Request, token: u64) -> Option<Pending<Value>> {
        let link = lock(&self.shared).clone().filter(|link| link.kind == BackendKind::Native)?;
        link.wire.send(&native::Release { request, token }, self.response_timeout).ok()
    }

    /// Makes sure that an owner whose last request had no answer holds nothing.
    pub(crate) async fn settle(&self, request: &Request) -> Result<(), Trouble> {
        let link = self.link().await?;
        self.settle_on(&link, request).await
    }

    /// Has an owner who waits on another connection leave the queue.
    pub(crate) async fn leave_queue(&self, request: &Request) -> Result<(), Trouble> {
        let request = plain(request);
        let own = self.own_link().await?;
        // Taking over the place ends the other connection's wait; this one ends by itself.
        if let Verdict::Granted { token, .. } = self.queue(&own, &request, Duration::from_millis(1)).await? {
            let command = native::Release { request: &request, token };
            self.on(&own, self.response_timeout, &command, native::released).await?;
        }
        self.keep(own);
        Ok(())
    }

    /// Does so on a connection, behind all that was sent on it before.
    pub(crate) async fn settle_on(&self, link: &Link, request: &Request) -> Result<(), Trouble> {
        match link.kind {
            BackendKind::Native => {
                // The same owner is told its token.
                let command = native::Acquire { request: &plain(request), wait: None };
                let time = request.lease + self.response_timeout;
                let verdict = self.lock_on(link, time, &command).await?;
                if let Verdict::Granted { token, .. } = verdict {
                    let command = native::Release { request, token };
                    self.on(link, self.response_timeout, &command, native::released).await?;
                }
                Ok(())
            }
            BackendKind::Portable => {
                let call = portable::release(request, None);
                self.script(link, &portable::RELEASE, &call, portable::was_held).await.map(drop)
            }
        }
    }
}

/// Returns a request for the same lock that waits for no replica.
fn plain(request: &Request) -> Request {
    Request {
        key: request.key.clone(),
        owner: request.owner.clone(),
        lease: request.lease,
        replicas: 0,
        meta: None,
        owner_is_unique: request.owner_is_unique,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
