//! One lock over several independent servers, granted by a majority of them (Redlock).
//!
//! ```text
//!            ┌── server A   granted ─┐
//! client ────┼── server B   granted ─┼─ 2 of 3: held, until the lease that was asked of the first one ends
//!            └── server C   silent
//! ```
//!
//! Ask for it with [`ClientBuilder::redlock`](crate::ClientBuilder::redlock), giving the addresses of servers that do
//! **not** replicate each other; an odd number of them.
//!
//! What it gives: the lock survives the loss of a minority of the servers. What it does not give:
//!
//! - **Its tokens do not fence.** Each server counts for itself; [`Context::token`](crate::Context::token) is the
//!   largest of them, and may be smaller than that of an earlier holder whose majority was another one, by as much as
//!   the servers' clocks differ. Where a token is to be checked, use one Redstart server with replicas and
//!   [`Lock::replicas`](crate::Lock::replicas).
//! - It stands on time: on clocks that run about equally fast, and on processes that are not paused between looking at
//!   [`Context::ensure_held`](crate::Context::ensure_held) and acting. A lease is not mutual exclusion.
//! - A server that restarts with a lock forgotten (without an `appendfsync always` log) can give it away a second time;
//!   leave such a server out for as long as the longest lease.
//! - There is no queue: waiters poll, with jitter, and are not served in order.

use crate::backend::{Trouble, Verdict};
use crate::store::{Answer, Tokens};

/// Returns how many of `count` servers are a majority.
pub(crate) fn quorum(count: usize) -> usize {
    count / 2 + 1
}

/// Returns the tokens with which servers granted a wish.
pub(crate) fn tokens(answers: &[Result<Verdict, Trouble>]) -> Box<[Option<u64>]> {
    let token = |answer: &Result<Verdict, Trouble>| match answer {
        Ok(Verdict::Granted { token, .. }) => Some(*token),
        _ => None,
    };
    answers.iter().map(token).collect()
}

/// Returns what the servers' answers to a wish amount to.
pub(crate) fn decide(answers: Vec<Result<Verdict, Trouble>>) -> Result<Answer, Trouble> {
    let (count, quorum) = (answers.len(), quorum(answers.len()));
    let tokens = tokens(&answers);
    let (mut holder, mut trouble, mut silent) = (None, None, 0);
    for answer in answers {
        match answer {
            Ok(Verdict::Granted { .. }) => {}
            Ok(Verdict::Busy(busy)) => holder = Some(busy),
            Err(error) => {
                silent += 1;
                trouble = Some(error);
            }
        }
    }
    if tokens.iter().flatten().count() >= quorum {
        let tokens = Tokens::Each(tokens);
        return Ok(Answer::Granted { tokens, waited: std::time::Duration::ZERO });
    }
    match trouble {
        Some(trouble) if count - silent < quorum => Err(trouble),
        _ => Ok(Answer::Busy { holder: holder.unwrap_or_default(), queues: false, complete: silent == 0 }),
    }
}

/// Returns what a majority says; trouble when there is none.
pub(crate) fn majority(answers: Vec<Result<bool, Trouble>>) -> Result<bool, Trouble> {
    let quorum = quorum(answers.len());
    let count = |wanted: bool| answers.iter().filter(|answer| **answer == Ok(wanted)).count();
    if count(true) >= quorum {
        return Ok(true);
    }
    // So many have it no more that there cannot be a majority that has it.
    if count(false) > answers.len() - quorum {
        return Ok(false);
    }
    let trouble = answers.into_iter().find_map(Result::err);
    Err(trouble.unwrap_or_else(|| Trouble::Unreachable("no majority of the servers agrees".into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn granted(token: u64) -> Result<Verdict, Trouble> {
        Ok(Verdict::Granted { token, waited: Duration::ZERO })
    }

    fn busy() -> Result<Verdict, Trouble> {
        Ok(Verdict::Busy(Box::default()))
    }

    fn silent<T>() -> Result<T, Trouble> {
        Err(Trouble::Unreachable("silent".into()))
    }

    #[test]
    fn a_majority_of_grants_is_a_grant_with_the_largest_token() {
        let Ok(Answer::Granted { tokens, .. }) = decide(vec![granted(5), silent(), granted(9)]) else {
            panic!("two of three")
        };
        assert_eq!(tokens.newest(), 9);
        assert_eq!(tokens, Tokens::Each([Some(5), None, Some(9)].into()));
    }

    #[test]
    fn a_minority_of_grants_is_none() {
        let decision = decide(vec![granted(5), busy(), busy()]);
        assert!(matches!(decision, Ok(Answer::Busy { queues: false, complete: true, .. })));
        assert!(matches!(
            decide(vec![granted(5), silent(), busy()]),
            Ok(Answer::Busy { complete: false, .. })
        ));
        assert!(matches!(decide(vec![granted(5), silent(), silent()]), Err(Trouble::Unreachable(_))));
    }

    #[test]
    fn a_majority_decides_on_renewal_and_release() {
        assert_eq!(majority(vec![Ok(true), Ok(true), silent()]), Ok(true));
        assert_eq!(majority(vec![Ok(true), Ok(false), Ok(false)]), Ok(false));
        assert!(majority(vec![Ok(true), Ok(false), silent()]).is_err());
        assert_eq!((quorum(1), quorum(3), quorum(4), quorum(5)), (1, 2, 3, 3));
    }
}
