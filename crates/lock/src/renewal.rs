//! Renewing what is held: one task per client, whatever the number of locks.
//!
//! ```text
//! guards ── schedule ──► due at ── due at ── due at ── …      one sleep until the first of them
//!        ◄─── remove ──┘ (release: gone from here before anything is sent)
//! ```
//!
//! A lock is due after a third of its lease. What is due is renewed by a task of its own, which tries again until the
//! lease is over, so that one slow server holds nobody else up. A renewal never creates a key: one that is under way
//! while its lock is released finds nothing to renew. When nothing is held the task ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::backend::Trouble;
use crate::error::LossCause;
use crate::held::Held;

/// What is to be renewed, and when.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    state: Mutex<State>,
    earlier: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<(Instant, u64), Weak<Held>>,
    sleeps_until: Option<Instant>,
    task: Option<JoinHandle<()>>,
}

impl Renewals {
    /// Has a lock renewed a third of its lease after its newest grant; not if it is being given back.
    pub(crate) fn schedule(self: &Arc<Self>, held: &Arc<Held>) {
        let mut state = self.lock();
        let mut due = held.due();
        if !held.goes_on() {
            return;
        }
        let at = held.terms.renew_at(held.valid_until());
        if let Some(before) = due.replace(at) {
            state.due.remove(&(before, held.id));
        }
        state.due.insert((at, held.id), Arc::downgrade(held));
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            // A runtime that was shut down took its task with it; this one is on the runtime of whoever asks.
            state.sleeps_until = None;
            state.task = Some(tokio::spawn(run(Arc::downgrade(self), Arc::clone(&self.earlier))));
        } else if state.sleeps_until.is_some_and(|until| at < until) {
            self.earlier.notify_one();
        }
    }

    /// Has a lock renewed no more.
    pub(crate) fn remove(&self, held: &Held) {
        let mut state = self.lock();
        if let Some(at) = held.due().take() {
            state.due.remove(&(at, held.id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewals {
    fn drop(&mut self) {
        if let Some(task) = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).task.take() {
            task.abort();
        }
    }
}

/// Starts what is due and sleeps until more is; ends when nothing is held.
async fn run(renewals: Weak<Renewals>, earlier: Arc<Notify>) {
    loop {
        let next = {
            let Some(renewals) = renewals.upgrade() else { return };
            let mut state = renewals.lock();
            let now = Instant::now();
            while let Some(first) = state.due.first_entry() {
                if first.key().0 > now {
                    break;
                }
                if let Some(held) = first.remove().upgrade() {
                    *held.due() = None;
                    tokio::spawn(renew(held));
                }
            }
            let next = state.due.first_key_value().map(|((at, _), _)| *at);
            state.sleeps_until = next;
            match next {
                Some(next) => next,
                None => {
                    state.task = None;
                    return;
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = earlier.notified() => {}
        }
    }
}

/// Renews one lock, trying again until that succeeds or the lock is lost.
async fn renew(held: Arc<Held>) {
    let client = Arc::clone(&held.client);
    loop {
        let sent = Instant::now();
        let answer = tokio::select! {
            biased;
            cause = held.lost() => return held.record_loss(cause).await,
            answer = client.store.renew(&held.request, &held.tokens) => answer,
        };
        match answer {
            Ok(()) => {
                held.renewed(held.terms.valid_until(sent, std::time::Duration::ZERO));
                return client.renewals.schedule(&held);
            }
            Err(Trouble::NotHeld | Trouble::Fenced) => {
                held.lose(LossCause::Taken);
                return held.record_loss(LossCause::Taken).await;
            }
            // The key is no lock any more.
            Err(Trouble::Refused(reason)) if reason.starts_with("WRONGTYPE") => {
                held.lose(LossCause::Taken);
                return held.record_loss(LossCause::Taken).await;
            }
            Err(_) => {
                tokio::select! {
                    biased;
                    cause = held.lost() => return held.record_loss(cause).await,
                    () = tokio::time::sleep(held.terms.retry_pause()) => {}
                }
            }
        }
    }
}
