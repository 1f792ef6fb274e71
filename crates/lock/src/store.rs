//! Where a lock is kept: one server, or several that know nothing of each other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::backend::{BackendKind, Request, Trouble, Verdict};
use crate::error::Holder;
use crate::redlock;
use crate::server::Server;

/// One server, or several of which a majority decides.
#[derive(Debug)]
pub(crate) enum Store {
    One(Arc<Server>),
    Several(Vec<Arc<Server>>),
}

/// The tokens that a lock is held with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tokens {
    One(u64),
    /// One per server, where it granted.
    Each(Box<[Option<u64>]>),
}

impl Tokens {
    /// Returns the token that the holder is told.
    pub(crate) fn newest(&self) -> u64 {
        match self {
            Tokens::One(token) => *token,
            Tokens::Each(tokens) => tokens.iter().flatten().copied().max().unwrap_or(0),
        }
    }
}

/// The answer to a wish for a lock.
#[derive(Debug)]
pub(crate) enum Answer {
    Granted {
        tokens: Tokens,
        waited: Duration,
    },
    /// `queues` is whether one may wait on the server, `complete` whether all that were asked have answered.
    Busy {
        holder: Box<Holder>,
        queues: bool,
        complete: bool,
    },
}

impl Answer {
    pub(crate) fn of(verdict: Verdict, kind: BackendKind) -> Answer {
        match verdict {
            Verdict::Granted { token, waited } => Answer::Granted { tokens: Tokens::One(token), waited },
            Verdict::Busy(holder) => {
                Answer::Busy { holder, queues: kind == BackendKind::Native, complete: true }
            }
        }
    }
}

impl Store {
    pub(crate) fn servers(&self) -> &[Arc<Server>] {
        match self {
            Store::One(server) => std::slice::from_ref(server),
            Store::Several(servers) => servers,
        }
    }

    /// Asks for a lock without waiting.
    pub(crate) async fn acquire(&self, request: &Request) -> Result<Answer, Trouble> {
        match self {
            Store::One(server) => {
                let (verdict, kind) = server.acquire(request).await?;
                Ok(Answer::of(verdict, kind))
            }
            Store::Several(servers) => {
                let answers = join_all(servers.iter().map(|server| server.acquire(request))).await;
                let verdicts: Vec<_> =
                    answers.into_iter().map(|answer| answer.map(|(verdict, _)| verdict)).collect();
                let tokens = redlock::tokens(&verdicts);
                let decision = redlock::decide(verdicts);
                if !matches!(decision, Ok(Answer::Granted { .. })) {
                    // A minority's grants would keep others from a majority until the lease ends. Those who are busy
                    // or silent are not asked again: that could only get in the way of somebody else.
                    let granted = servers.iter().zip(&tokens);
                    let granted = granted.filter_map(|(server, token)| Some((server, (*token)?)));
                    let _ = join_all(granted.map(|(server, token)| server.release(request, token))).await;
                }
                decision
            }
        }
    }

    /// Asks for a lock on the calling thread; nothing where that does not settle it.
    pub(crate) fn acquire_directly(&self, request: &Request) -> Option<Answer> {
        let Store::One(server) = self else { return None };
        let (verdict, kind) = server.acquire_directly(request)?;
        Some(Answer::of(verdict, kind))
    }

    /// Gives a lock back on the calling thread; nothing where it was not asked.
    pub(crate) fn release_directly(
        &self,
        request: &Request,
        tokens: &Tokens,
    ) -> Option<Result<bool, Trouble>> {
        let Store::One(server) = self else { return None };
        server.release_directly(request, tokens.newest())
    }

    /// Gives a held lock a new lease.
    pub(crate) async fn renew(&self, request: &Request, tokens: &Tokens) -> Result<(), Trouble> {
        match (self, tokens) {
            (Store::One(server), tokens) => server.renew(request, tokens.newest()).await,
            (Store::Several(servers), Tokens::Each(tokens)) => {
                let each = servers.iter().zip(tokens).map(async |(server, token)| match token {
                    Some(token) => match server.renew(request, *token).await {
                        Ok(()) => Ok(true),
                        Err(Trouble::NotHeld) => Ok(false),
                        Err(trouble) => Err(trouble),
                    },
                    None => Ok(false),
                });
                match redlock::majority(join_all(each).await)? {
                    true => Ok(()),
                    false => Err(Trouble::NotHeld),
                }
            }
            (Store::Several(_), Tokens::One(_)) => Err(Trouble::NotHeld),
        }
    }

    /// Gives a lock back; false when it was not held so.
    pub(crate) async fn release(&self, request: &Request, tokens: &Tokens) -> Result<bool, Trouble> {
        match (self, tokens) {
            (Store::One(server), tokens) => server.release(request, tokens.newest()).await,
            (Store::Several(servers), Tokens::Each(tokens)) => {
                let each = servers.iter().zip(tokens).map(async |(server, token)| match token {
                    Some(token) => server.release(request, *token).await,
                    // Its answer may have been lost.
                    None => server.settle(request).await.map(|()| false),
                });
                redlock::majority(join_all(each).await)
            }
            (Store::Several(_), Tokens::One(_)) => Ok(false),
        }
    }
}
