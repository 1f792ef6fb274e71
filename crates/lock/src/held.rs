//! A lock that is held: until when it is valid, and whether it still is.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, OnceCell};

use crate::backend::Request;
use crate::client::Shared;
use crate::error::{Error, LossCause};
use crate::lease::Terms;
use crate::lock::Options;
use crate::record::{Failure, FailureKind, hand_over};
use crate::store::Tokens;

/// A held lock, shared by its guard, its contexts and its renewals.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) client: Arc<Shared>,
    pub(crate) request: Arc<Request>,
    pub(crate) options: Options,
    pub(crate) tokens: Tokens,
    pub(crate) terms: Terms,
    pub(crate) acquired_at: Instant,
    /// How many checks and how long it took to get it.
    pub(crate) checks: u32,
    pub(crate) waited: Duration,
    /// Its number among the client's locks.
    pub(crate) id: u64,
    /// When its renewal is due, if it is waiting for one; for `Renewals` only.
    due: Mutex<Option<Instant>>,
    state: Mutex<State>,
    changed: Notify,
    recorded: OnceCell<()>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    valid_until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Held,
    /// It is being given back, or was.
    Released,
    Lost(LossCause),
}

impl Held {
    pub(crate) fn new(
        client: Arc<Shared>,
        request: Arc<Request>,
        options: Options,
        tokens: Tokens,
        acquired_at: Instant,
        valid_until: Instant,
        checks: u32,
        waited: Duration,
    ) -> Held {
        Held {
            terms: options.terms(),
            id: client.next_id(),
            due: Mutex::new(None),
            client,
            request,
            options,
            tokens,
            acquired_at,
            checks,
            waited,
            state: Mutex::new(State { phase: Phase::Held, valid_until }),
            changed: Notify::new(),
            recorded: OnceCell::new(),
        }
    }

    pub(crate) fn due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn token(&self) -> u64 {
        self.tokens.newest()
    }

    /// Returns when it has been held for as long as it may.
    pub(crate) fn most_until(&self) -> Option<Instant> {
        self.options.max_hold.map(|most| self.acquired_at + most)
    }

    /// Returns why it is lost, if it is; a lease that has run out is noticed here too.
    pub(crate) fn loss(&self) -> Option<LossCause> {
        let mut state = self.lock();
        if state.phase == Phase::Held {
            let now = Instant::now();
            if now >= self.terms.told_at(state.valid_until) {
                state.phase = Phase::Lost(LossCause::Expired);
            } else if self.most_until().is_some_and(|most| now >= most) {
                state.phase = Phase::Lost(LossCause::MaxHold);
            }
            if state.phase != Phase::Held {
                self.changed.notify_waiters();
            }
        }
        match state.phase {
            Phase::Held => None,
            Phase::Released => Some(LossCause::Released),
            Phase::Lost(cause) => Some(cause),
        }
    }

    /// Notes that it is lost.
    pub(crate) fn lose(&self, cause: LossCause) {
        let mut state = self.lock();
        if state.phase == Phase::Held {
            state.phase = Phase::Lost(cause);
            self.changed.notify_waiters();
        }
    }

    /// Notes that it was renewed; what was lost before stays lost.
    pub(crate) fn renewed(&self, valid_until: Instant) {
        let mut state = self.lock();
        state.valid_until = state.valid_until.max(valid_until);
    }

    /// Ends its being held, at once; returns until when it was valid, or why there is nothing to give back.
    pub(crate) fn end(&self) -> Result<Instant, LossCause> {
        if let Some(cause) = self.loss().filter(|cause| *cause != LossCause::MaxHold) {
            return Err(cause);
        }
        let mut state = self.lock();
        state.phase = Phase::Released;
        self.changed.notify_waiters();
        Ok(state.valid_until)
    }

    /// Returns whether nobody has ended it, or noticed its end.
    pub(crate) fn goes_on(&self) -> bool {
        self.lock().phase == Phase::Held
    }

    pub(crate) fn is_held(&self) -> bool {
        self.loss().is_none()
    }

    pub(crate) fn valid_until(&self) -> Instant {
        self.lock().valid_until
    }

    /// Waits until it is lost or given back. It needs nobody to tell it that the lease has run out.
    pub(crate) async fn lost(&self) -> LossCause {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(cause) = self.loss() {
                return cause;
            }
            let mut next = self.terms.told_at(self.valid_until());
            if let Some(most) = self.most_until() {
                next = next.min(most);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Waits until it may not be relied on for another moment: behind [`lost`](Held::lost) by what is kept in hand.
    pub(crate) async fn over(&self) -> LossCause {
        let cause = self.lost().await;
        match cause {
            LossCause::Expired => tokio::time::sleep_until(self.valid_until().into()).await,
            LossCause::Released => pending().await,
            LossCause::Taken | LossCause::Fenced | LossCause::MaxHold => {}
        }
        cause
    }

    /// Has the loss recorded, once; whoever comes second waits for the first.
    pub(crate) async fn record_loss(&self, cause: LossCause) {
        let kind = match cause {
            LossCause::Released => return,
            LossCause::MaxHold => FailureKind::MaxHold,
            _ => FailureKind::Lost,
        };
        let record = || self.record(kind, cause.to_string());
        self.recorded.get_or_init(record).await;
    }

    /// Has a failure recorded.
    pub(crate) async fn record(&self, kind: FailureKind, message: String) {
        let failure = || Failure {
            kind,
            at: SystemTime::now(),
            key: String::from_utf8_lossy(&self.request.key).into_owned(),
            task: self.options.task.clone(),
            owner: self.request.owner.clone(),
            token: Some(self.token()),
            checks: self.checks,
            max_checks: self.options.max_checks,
            interval: self.options.interval,
            lease: self.options.lease,
            waited: self.waited,
            held: Some(self.acquired_at.elapsed()),
            holder: None,
            message,
        };
        hand_over(self.client.sink.as_ref(), failure).await;
    }

    /// Returns the error that a loss is to the caller.
    pub(crate) fn error(&self, cause: LossCause) -> Error {
        match cause {
            LossCause::MaxHold => Error::MaxHold { held: self.acquired_at.elapsed() },
            cause => Error::Lost { cause },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
