//! A held lock, given back when it is dropped.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Trouble, native};
use crate::context::Context;
use crate::error::{Error, LossCause};
use crate::held::Held;
use crate::record::FailureKind;
use crate::store::Store;

/// The first pause before a release that was not answered is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A held lock. It is renewed until it is given back, by [`release`](Guard::release) or by being dropped.
///
/// Dropping it gives it back in the background; only `release` tells whether that worked.
#[derive(Debug)]
#[must_use = "a lock is given back as soon as its guard is dropped"]
pub struct Guard {
    context: Context,
    /// Whether there is nothing to give back any more.
    done: bool,
}

impl Guard {
    pub(crate) fn new(held: Arc<Held>) -> Guard {
        held.client.renewals.schedule(&held);
        Guard { context: Context(held), done: false }
    }

    /// Returns what the protected work needs to know of the lock; it may outlive the guard.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Gives the lock back and waits until that is certain.
    ///
    /// [`Error::Lost`] says that it was not held any more, [`Error::ReleaseUnknown`] that the server could not be
    /// asked; the lease then ends it.
    pub async fn release(mut self) -> Result<(), Error> {
        let held = Arc::clone(&self.context.0);
        // From here on nothing renews it, whatever becomes of this future.
        let ended = held.end();
        held.client.renewals.remove(&held);
        match ended {
            Ok(valid_until) => {
                let (released, unanswered) = give_back_directly(&held);
                let outcome = give_back(&held, valid_until, released, unanswered).await;
                self.done = true;
                outcome
            }
            Err(cause) => {
                self.done = true;
                if cause == LossCause::Expired {
                    give_back_late(&held);
                }
                held.record_loss(cause).await;
                Err(held.error(cause))
            }
        }
    }
}

impl Deref for Guard {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let held = &self.context.0;
        let ended = held.end();
        held.client.renewals.remove(held);
        match ended {
            Ok(_) => give_back_behind(held, false),
            // A release that was dropped half way has ended it already; what it sent may have arrived.
            Err(LossCause::Released) => give_back_behind(held, true),
            Err(LossCause::Expired) => give_back_late(held),
            Err(_) => {}
        }
    }
}

/// Gives a lock back in the background; `unanswered` is whether that was tried before.
fn give_back_behind(held: &Arc<Held>, mut unanswered: bool) {
    let Some(runtime) = held.client.store.servers().iter().find_map(|server| server.runtime()) else {
        return;
    };
    // It goes out before anything that is asked for from now on, so that the next one finds it free.
    let begun = match &*held.client.store {
        Store::One(server) => server.begin_release(&held.request, held.token()),
        Store::Several(_) => None,
    };
    let (held, valid_until) = (Arc::clone(held), held.valid_until());
    // Its failure is recorded; nobody is left to tell.
    runtime.spawn(async move {
        if let Some(begun) = begun {
            match begun.reply().await.and_then(|reply| native::released(&reply)) {
                Ok(true) => return,
                Ok(false) if !unanswered => return held.record_loss(LossCause::Taken).await,
                Ok(false) | Err(_) => unanswered = true,
            }
        }
        let _ = give_back(&held, valid_until, None, unanswered).await;
    });
}

/// Gives a lock back whose lease has run out here; the server may still hold it, and checks the token.
fn give_back_late(held: &Arc<Held>) {
    let held = Arc::clone(held);
    if let Some(runtime) = held.client.store.servers().iter().find_map(|server| server.runtime()) {
        runtime.spawn(async move { held.client.store.release(&held.request, &held.tokens).await });
    }
}

/// Gives a lock back on the calling thread, if that may be; returns the answer, and whether there was none.
fn give_back_directly(held: &Held) -> (Option<bool>, bool) {
    let ask = || held.client.store.release_directly(&held.request, &held.tokens);
    match held.options.direct.then(ask).flatten() {
        Some(Ok(released)) => (Some(released), false),
        Some(Err(Trouble::Unreachable(_))) => (None, true),
        // Asked again, it says the same, or was only not known by its name.
        Some(Err(_)) | None => (None, false),
    }
}

/// Gives a lock back, trying again while the server does not answer.
///
/// `released` is the first answer, if it is there already; `unanswered` is whether it was asked before in vain.
async fn give_back(
    held: &Held,
    valid_until: Instant,
    mut released: Option<bool>,
    mut unanswered: bool,
) -> Result<(), Error> {
    let (mut begun, mut pause) = (None, FIRST_PAUSE);
    let reason = loop {
        let answer = match released.take() {
            Some(released) => Ok(released),
            None => held.client.store.release(&held.request, &held.tokens).await,
        };
        match answer {
            Ok(true) => return Ok(()),
            // Within its lease nobody but we can have ended it: the release before this one arrived.
            Ok(false) if unanswered && Instant::now() < valid_until => return Ok(()),
            Ok(false) if unanswered => break "it was not held any more when the server answered".to_string(),
            Ok(false) | Err(Trouble::NotHeld | Trouble::Fenced) => {
                held.record_loss(LossCause::Taken).await;
                return Err(Error::Lost { cause: LossCause::Taken });
            }
            Err(Trouble::Refused(reason)) if reason.starts_with("WRONGTYPE") => {
                held.record_loss(LossCause::Taken).await;
                return Err(Error::Lost { cause: LossCause::Taken });
            }
            Err(Trouble::Refused(reason) | Trouble::NotDurable(reason)) => break reason,
            Err(Trouble::Unreachable(reason)) => {
                unanswered = true;
                let now = Instant::now();
                let begun = *begun.get_or_insert(now);
                if now - begun >= held.client.patience || now >= valid_until {
                    break reason;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    };
    let error = Error::ReleaseUnknown { token: held.token(), reason };
    held.record(FailureKind::ReleaseUnknown, error.to_string()).await;
    Err(error)
}
