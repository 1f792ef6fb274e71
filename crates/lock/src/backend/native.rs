//! Locks by the `LOCK.*` commands of Redstart.
//!
//! ```text
//! LOCK.ACQUIRE key owner LEASE ms [WAIT ms] [REPLICAS n] [META json]   granted: token, lease, waited
//!                                                                     busy: owner, token, since, remaining, …
//! LOCK.RENEW key owner token        → ms of lease, or -NOTHELD
//! LOCK.RELEASE key owner token      → 1, or 0 when it is not held so
//! LOCK.GUARD key token COMMAND …    → the command's reply, or -FENCED
//! ```

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::{Request, Trouble, Verdict, integer, text, unexpected, unsigned};
use crate::encode::{Pack, head, number, word};
use crate::error::Holder;

/// `LOCK.ACQUIRE`; it is sent once for each lock, and so is [`Release`].
pub(crate) struct Acquire<'r> {
    pub(crate) request: &'r Request,
    pub(crate) wait: Option<Duration>,
}

impl Pack for Acquire<'_> {
    fn pack(&self, out: &mut Vec<u8>) {
        let Acquire { request, wait } = self;
        let options = [wait.is_some(), request.replicas > 0, request.meta.is_some()];
        head(out, 5 + 2 * options.iter().filter(|given| **given).count() as u64);
        word(out, b"LOCK.ACQUIRE");
        word(out, &request.key);
        word(out, request.owner.as_bytes());
        word(out, b"LEASE");
        number(out, request.lease_ms());
        if let Some(wait) = wait {
            word(out, b"WAIT");
            number(out, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        if request.replicas > 0 {
            word(out, b"REPLICAS");
            number(out, u64::from(request.replicas));
        }
        if let Some(meta) = &request.meta {
            word(out, b"META");
            word(out, meta.as_bytes());
        }
    }
}

pub(crate) fn renew(request: &Request, token: u64) -> Cmd {
    let mut command = cmd("LOCK.RENEW");
    command.arg(&request.key).arg(&request.owner).arg(token);
    command
}

/// `LOCK.RELEASE`.
pub(crate) struct Release<'r> {
    pub(crate) request: &'r Request,
    pub(crate) token: u64,
}

impl Pack for Release<'_> {
    fn pack(&self, out: &mut Vec<u8>) {
        head(out, 4);
        word(out, b"LOCK.RELEASE");
        word(out, &self.request.key);
        word(out, self.request.owner.as_bytes());
        number(out, self.token);
    }
}

pub(crate) fn guard(key: &[u8], token: u64, guarded: &Cmd) -> Cmd {
    let mut command = cmd("LOCK.GUARD");
    command.arg(key).arg(token);
    for argument in guarded.args_iter() {
        if let redis::Arg::Simple(argument) = argument {
            command.arg(argument);
        }
    }
    command
}

pub(crate) fn fence(resource: &[u8], token: u64) -> Cmd {
    let mut command = cmd("LOCK.FENCE");
    command.arg(resource).arg(token);
    command
}

/// Reads the reply to an acquire: pairs, as a map or flat.
pub(crate) fn verdict(reply: &Value) -> Result<Verdict, Trouble> {
    let mut granted = None;
    let (mut token, mut waited) = (None, Duration::ZERO);
    let mut holder = Holder::default();
    let mut take = |name: &Value, value: &Value| {
        let Value::BulkString(name) = name else { return };
        let duration = || unsigned(value).map(Duration::from_millis);
        match name.as_slice() {
            b"status" => granted = Some(matches!(value, Value::BulkString(word) if word == b"granted")),
            b"token" => token = unsigned(value),
            b"waited" => waited = duration().unwrap_or_default(),
            b"owner" => holder.owner = text(value).unwrap_or_default(),
            b"since" => holder.held_for = duration(),
            b"remaining" => holder.remaining = duration(),
            b"position" => holder.position = unsigned(value),
            b"waiters" => holder.waiters = unsigned(value),
            b"meta" => holder.meta = text(value),
            _ => {} // A newer server may say more.
        }
    };
    match reply {
        Value::Array(pairs) => {
            for pair in pairs.chunks_exact(2) {
                take(&pair[0], &pair[1]);
            }
        }
        Value::Map(pairs) => pairs.iter().for_each(|(name, value)| take(name, value)),
        other => return Err(unexpected(other)),
    }
    match (granted, token) {
        (Some(true), Some(token)) => Ok(Verdict::Granted { token, waited }),
        (Some(false), _) => {
            holder.token = token;
            Ok(Verdict::Busy(Box::new(holder)))
        }
        _ => Err(unexpected(reply)),
    }
}

/// Reads the reply to a release: whether the lock was held so.
pub(crate) fn released(reply: &Value) -> Result<bool, Trouble> {
    integer(reply).map(|count| count > 0).ok_or_else(|| unexpected(reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_wish_says_what_was_asked_for_and_no_more() {
        let mut request = Request {
            key: b"k".to_vec(),
            owner: "o".into(),
            lease: Duration::from_secs(30),
            replicas: 0,
            meta: None,
            owner_is_unique: true,
        };
        let packed = |request: &Request, wait: Option<u64>| {
            let mut out = Vec::new();
            Acquire { request, wait: wait.map(Duration::from_millis) }.pack(&mut out);
            let words = String::from_utf8(out).unwrap();
            let (head, words) = words.split_once("\r\n").unwrap();
            let words: Vec<&str> = words.split("\r\n").skip(1).step_by(2).collect();
            assert_eq!(head, format!("*{}", words.len()));
            words.join(" ")
        };
        assert_eq!(packed(&request, None), "LOCK.ACQUIRE k o LEASE 30000");
        assert_eq!(packed(&request, Some(7)), "LOCK.ACQUIRE k o LEASE 30000 WAIT 7");
        (request.replicas, request.meta) = (2, Some("{}".into()));
        assert_eq!(packed(&request, None), "LOCK.ACQUIRE k o LEASE 30000 REPLICAS 2 META {}");
        let mut out = Vec::new();
        Release { request: &request, token: 41 }.pack(&mut out);
        assert_eq!(out, b"*4\r\n$12\r\nLOCK.RELEASE\r\n$1\r\nk\r\n$1\r\no\r\n$2\r\n41\r\n");
    }

    #[test]
    fn a_grant_is_read_from_pairs_and_from_a_map() {
        let pairs = [
            (word("status"), word("granted")),
            (word("token"), Value::Int(7)),
            (word("lease"), Value::Int(30_000)),
            (word("waited"), Value::Int(12)),
        ];
        let granted = Verdict::Granted { token: 7, waited: Duration::from_millis(12) };
        let flat = pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        assert_eq!(verdict(&Value::Array(flat)), Ok(granted));
        assert!(matches!(verdict(&Value::Map(pairs.to_vec())), Ok(Verdict::Granted { token: 7, .. })));
    }

    #[test]
    fn a_refusal_names_the_holder() {
        let reply = Value::Array(vec![
            word("status"),
            word("busy"),
            word("owner"),
            word("host:1:a"),
            word("token"),
            Value::Int(9),
            word("since"),
            Value::Int(1500),
            word("remaining"),
            Value::Int(28_500),
            word("position"),
            Value::Int(2),
            word("waiters"),
            Value::Int(1),
            word("meta"),
            Value::Nil,
        ]);
        let Ok(Verdict::Busy(holder)) = verdict(&reply) else { panic!("{reply:?}") };
        assert_eq!((holder.owner.as_str(), holder.token, holder.position), ("host:1:a", Some(9), Some(2)));
        assert_eq!(holder.held_for, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn any_other_reply_is_trouble() {
        for reply in [Value::Okay, Value::Nil, Value::Int(1), Value::Array(vec![])] {
            assert!(matches!(verdict(&reply), Err(Trouble::Unreachable(_))));
        }
    }
}
