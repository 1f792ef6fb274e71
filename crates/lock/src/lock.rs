//! The lock on a key: how it is asked for, and running a task under it.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::attempt::{Attempt, Policy, Step};
use crate::backend::{Request, Trouble, portable};
use crate::client::LockClient;
use crate::context::Context;
use crate::error::{Error, Holder, LossCause, RunError};
use crate::guard::Guard;
use crate::held::Held;
use crate::lease::Terms;
use crate::random;
use crate::record::{Failure, FailureKind, hand_over};
use crate::settle::Unsettled;
use crate::store::{Answer, Store};
use crate::task::TaskInfo;
use crate::wakeup::Subscription;

/// The longest lease that a server takes, in milliseconds.
const LONGEST_LEASE_MS: u128 = (i32::MAX as u128) * 1000;

/// The longest time that anything else is asked to last, which stands for "without end": clocks can count that far.
pub(crate) const LONGEST_TIME: Duration = Duration::from_secs(i32::MAX as u64);

/// The longest name of an owner.
pub(crate) const LONGEST_OWNER: usize = 512;

/// The lock on a key, to be configured and then [acquired](Lock::acquire) or [run](Lock::run) under.
#[derive(Clone, Debug)]
pub struct Lock {
    client: LockClient,
    key: Vec<u8>,
    owner: Option<String>,
    options: Options,
}

/// How a lock is asked for and held.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) lease: Duration,
    pub(crate) max_checks: Option<u32>,
    pub(crate) interval: Duration,
    pub(crate) jitter: f64,
    pub(crate) task: Option<TaskInfo>,
    pub(crate) replicas: u32,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) margin: Duration,
    /// Whether the thread that asks has nothing else to do, and may wait for the server itself.
    pub(crate) direct: bool,
}

impl Options {
    pub(crate) fn terms(&self) -> Terms {
        Terms::new(self.lease, self.margin)
    }
}

impl Lock {
    pub(crate) fn new(client: LockClient, key: Vec<u8>) -> Lock {
        let options = Options {
            lease: Duration::from_secs(30),
            max_checks: Some(10),
            interval: Duration::from_secs(1),
            jitter: 0.1,
            task: None,
            replicas: 0,
            max_hold: None,
            margin: Duration::ZERO,
            direct: false,
        };
        Lock { client, key, owner: None, options }
    }

    /// Sets for how long the lock outlives a holder that is gone; 30 s by default. While held it is renewed.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// Sets after how many checks to fail with [`Error::Busy`]; 10 by default, `None` for never.
    pub fn max_checks(mut self, max_checks: impl Into<Option<u32>>) -> Self {
        self.options.max_checks = max_checks.into();
        self
    }

    /// Sets how long to sleep between two checks; 1 s by default.
    ///
    /// A server that lets clients queue makes the sleep: it answers as soon as it is our turn.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.options.interval = interval.clamp(Duration::from_millis(1), LONGEST_TIME);
        self
    }

    /// Sets by which part of the interval a sleep may be shorter or longer, from 0 to 1; 0.1 by default.
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.options.jitter = if jitter.is_nan() { 0.0 } else { jitter };
        self
    }

    /// Sets the owner's name.
    ///
    /// Whoever asks with the name of the holder is the holder: give the same name to two tasks and both will run. By
    /// default every lock has a name of its own.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Says what the lock is for; servers and failure records show it.
    pub fn task(mut self, task: impl Into<TaskInfo>) -> Self {
        self.options.task = Some(task.into());
        self
    }

    /// Sets how many replicas must have the lock before it counts as granted; none by default.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.options.replicas = replicas;
        self
    }

    /// Sets for how long the lock is held at most; without end by default.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.options.max_hold = Some(max_hold.min(LONGEST_TIME));
        self
    }

    /// Sets how long before the lease's end its loss is told; none by default, half of the lease at most.
    ///
    /// It is the time for stopping what must not go on without the lock.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.options.margin = margin;
        self
    }

    /// Has the calling thread wait for the server itself; for callers that are not async.
    pub(crate) fn directly(mut self) -> Self {
        self.options.direct = true;
        self
    }

    /// Gets the lock, runs a task under it, and gives it back.
    ///
    /// When the lock is lost or has been held for too long, the task is told through its [`Context`] and stopped at its
    /// next `await`: at the latest when the lease ends. A task that blocks its thread cannot be stopped so, and in a
    /// runtime of one thread also keeps the lock from being renewed.
    pub async fn run<F, Fut, T, E>(self, task: F) -> Result<T, RunError<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Display,
    {
        let guard = self.acquire().await?;
        let held = Arc::clone(&guard.context().0);
        let outcome = {
            let work = task(guard.context());
            tokio::pin!(work);
            tokio::select! {
                // It is polled first: what is told to be lost may still say so itself.
                biased;
                outcome = &mut work => Ok(outcome),
                cause = held.over() => Err(cause),
            }
        };
        match outcome {
            Ok(Ok(value)) => {
                guard.release().await?;
                Ok(value)
            }
            Ok(Err(error)) => {
                // The task's own failure is what the caller is to hear of; a release that fails is recorded too.
                let _ = guard.release().await;
                held.record(FailureKind::TaskFailed, error.to_string()).await;
                Err(RunError::TaskFailed(error))
            }
            Err(cause) => {
                let error = held.error(cause);
                if cause == LossCause::MaxHold {
                    let _ = guard.release().await;
                } else {
                    drop(guard);
                }
                held.record_loss(cause).await;
                Err(error.into())
            }
        }
    }

    /// Gets the lock: checks, and while someone else holds it sleeps and checks again.
    ///
    /// Dropping the future gives up; should the lock be granted all the same, it is given back in the background.
    pub async fn acquire(self) -> Result<Guard, Error> {
        let request = Arc::new(self.request()?);
        let shared = Arc::clone(&self.client.shared);
        let store = &shared.store;
        let terms = self.options.terms();
        let begun = Instant::now();
        let mut attempt = Attempt::new(self.policy());
        let mut unsettled = Unsettled::new(store, &request);
        let mut subscription: Option<Subscription> = None;
        let mut holder: Option<Box<Holder>> = None;
        let mut reason = String::new();
        loop {
            let mut sent = Instant::now();
            let answer = match attempt.step(sent - begun) {
                Step::Check => {
                    unsettled.sent();
                    match self.options.direct.then(|| store.acquire_directly(&request)).flatten() {
                        Some(answer) => Ok(answer),
                        None => {
                            sent = Instant::now();
                            store.acquire(&request).await
                        }
                    }
                }
                Step::Queue(wait) => queue(store, &request, wait, &mut unsettled, &mut sent).await,
                Step::Sleep { until } => {
                    let end = tokio::time::sleep_until((begun + until).into());
                    match &subscription {
                        None => end.await,
                        Some(subscription) => tokio::select! {
                            () = end => {}
                            () = subscription.woken() => attempt.woken(),
                        },
                    }
                    continue;
                }
                Step::Busy => {
                    let holder = holder.unwrap_or_default();
                    let error = Error::Busy { holder, checks: attempt.checks(), waited: begun.elapsed() };
                    return Err(self.failed(&request, &attempt, begun, error).await);
                }
                Step::Unavailable => {
                    // What may be held for nobody is not to wait until that is recorded.
                    drop(unsettled);
                    let error = Error::Unavailable { reason };
                    return Err(self.failed(&request, &attempt, begun, error).await);
                }
            };
            match answer {
                Ok(Answer::Granted { tokens, waited }) => {
                    let mut valid_until = terms.valid_until(sent, waited);
                    let now = Instant::now();
                    if terms.is_stale(valid_until, now) {
                        // It was long under way: how much is left of it is not known until it is renewed.
                        let sent = Instant::now();
                        match store.renew(&request, &tokens).await {
                            Ok(()) => valid_until = terms.valid_until(sent, Duration::ZERO),
                            Err(trouble) => {
                                reason = format!("the lock was granted too late: {trouble:?}");
                                attempt.unreachable(begun.elapsed());
                                continue;
                            }
                        }
                    }
                    unsettled.answered();
                    let waited = now - begun;
                    attempt.granted(waited);
                    let checks = attempt.checks();
                    let held =
                        Held::new(shared, request, self.options, tokens, now, valid_until, checks, waited);
                    return Ok(Guard::new(Arc::new(held)));
                }
                Ok(Answer::Busy { holder: now_holder, queues, complete }) => {
                    if complete {
                        unsettled.answered();
                    }
                    holder = Some(now_holder);
                    attempt.busy(begun.elapsed(), queues, random::number());
                    if let (Store::One(server), false, None) = (&**store, queues, &subscription) {
                        // It wakes us at once when it listens: what was released until then was not heard.
                        subscription = Some(server.wakeups.subscribe(
                            server.address(),
                            server.connection_timeout(),
                            portable::channel(&request.key),
                        ));
                    }
                }
                Err(Trouble::Unreachable(why)) => {
                    reason = why;
                    attempt.unreachable(begun.elapsed());
                }
                Err(trouble) => {
                    unsettled.answered();
                    return Err(self.failed(&request, &attempt, begun, trouble.into()).await);
                }
            }
        }
    }

    fn policy(&self) -> Policy {
        let several = matches!(&*self.client.shared.store, Store::Several(_));
        Policy {
            max_checks: self.options.max_checks,
            interval: self.options.interval,
            // Those who shared the servers among them must not come back at the same time.
            jitter: if several { self.options.jitter.max(0.5) } else { self.options.jitter },
            patience: self.client.shared.patience,
        }
    }

    fn request(&self) -> Result<Request, Error> {
        let invalid = |reason: &str| Err(Error::Invalid { reason: reason.into() });
        let lease_ms = self.options.lease.as_millis();
        if lease_ms == 0 || lease_ms > LONGEST_LEASE_MS {
            return invalid("a lease lasts from 1 millisecond to 2147483647 seconds");
        }
        if self.options.max_checks == Some(0) {
            return invalid("the least number of checks is 1");
        }
        let shared = &self.client.shared;
        let owner = match &self.owner {
            Some(owner)
                if owner.is_empty() || owner.len() > LONGEST_OWNER || owner.contains(['\r', '\n', '\0']) =>
            {
                return invalid("an owner's name has from 1 to 512 bytes, without line breaks and zeros");
            }
            Some(owner) => owner.clone(),
            None => shared.next_owner(),
        };
        Ok(Request {
            key: self.key.clone(),
            owner,
            lease: self.options.lease,
            replicas: self.options.replicas,
            meta: self.options.task.as_ref().map(TaskInfo::to_json),
            owner_is_unique: self.owner.is_none(),
        })
    }

    /// Has it recorded that the lock was not got, and returns why.
    async fn failed(&self, request: &Request, attempt: &Attempt, begun: Instant, error: Error) -> Error {
        let failure = || Failure {
            kind: match error {
                Error::Busy { .. } => FailureKind::Busy,
                _ => FailureKind::Unavailable,
            },
            at: SystemTime::now(),
            key: String::from_utf8_lossy(&self.key).into_owned(),
            task: self.options.task.clone(),
            owner: request.owner.clone(),
            token: None,
            checks: attempt.checks(),
            max_checks: self.options.max_checks,
            interval: self.options.interval,
            lease: self.options.lease,
            waited: match error {
                Error::Busy { waited, .. } => waited,
                _ => begun.elapsed(),
            },
            held: None,
            holder: match &error {
                Error::Busy { holder, .. } => Some((**holder).clone()),
                _ => None,
            },
            message: error.to_string(),
        };
        hand_over(self.client.shared.sink.as_ref(), failure).await;
        error
    }
}

/// Waits in the server's queue, on a connection of its own.
async fn queue(
    store: &Store,
    request: &Request,
    wait: Duration,
    unsettled: &mut Unsettled,
    sent: &mut Instant,
) -> Result<Answer, Trouble> {
    let Store::One(server) = store else { return store.acquire(request).await };
    let link = server.own_link().await?;
    let kind = link.kind;
    // What is under way on this connection is settled on it, should we be dropped here.
    unsettled.queued_on = Some(link.clone());
    unsettled.sent();
    *sent = Instant::now();
    let verdict = server.queue(&link, request, wait).await;
    drop(link);
    if let Some(link) = unsettled.queued_on.take()
        && !matches!(verdict, Err(Trouble::Unreachable(_)))
    {
        server.keep(link);
    }
    Ok(Answer::of(verdict?, kind))
}
