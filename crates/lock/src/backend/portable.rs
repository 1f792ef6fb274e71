//! Locks on plain Redis and Valkey: a string with an expiry, a token counter, and scripts that compare before they act.
//!
//! ```text
//! KEY                    "OWNER", expires with the lease          (SET NX PX, as everyone does it)
//! redstart:token:{KEY}   the newest token, never expires
//! redstart:lock:{KEY}    a channel: a release publishes here
//! ```
//!
//! Tokens follow the server's clock and never repeat while the counter or the clock is right: a token is the larger of
//! the counter + 1 and the time since 2024, of which a millisecond is 2^14. So they also grow over FLUSHALL and over the loss of
//! what a failed master had not replicated, as far as the servers' clocks agree. This is Redstart's own scheme, so
//! that they grow too when a plain server is replaced by one, or takes its place.

use std::sync::OnceLock;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use sha1::{Digest, Sha1};

use super::{Request, Trouble, Verdict, integer, text, unexpected, unsigned};
use crate::error::Holder;

/// A script and the name under which servers keep it.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    sha: OnceLock<String>,
}

/// Grants a free lock with the next token; tells its own holder its token again, with a new lease.
pub(crate) static ACQUIRE: Script = Script::new(
    r"local held = redis.call('get', KEYS[1])
if held and held ~= ARGV[1] then
    return {0, held, redis.call('pttl', KEYS[1]), redis.call('get', KEYS[2])}
end
local token = redis.call('get', KEYS[2])
if held then
    redis.call('pexpire', KEYS[1], ARGV[2])
    if token then return {1, token} end
else
    redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
end
local time = redis.call('time')
local by_clock = math.floor(((time[1] - 1704067200) * 1000000 + time[2]) * 16.384)
token = string.format('%.0f', math.max((tonumber(token) or 0) + 1, by_clock))
redis.call('set', KEYS[2], token)
return {1, token}",
);

/// Gives a held lock a new lease.
pub(crate) static RENEW: Script = Script::new(
    r"if redis.call('get', KEYS[1]) == ARGV[1] and (ARGV[3] == '' or redis.call('get', KEYS[2]) == ARGV[3]) then
    return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0",
);

/// Deletes a lock that this owner holds (with this token, if one is given) and wakes those who wait.
pub(crate) static RELEASE: Script = Script::new(
    r"if redis.call('get', KEYS[1]) == ARGV[1] and (ARGV[2] == '' or redis.call('get', KEYS[2]) == ARGV[2]) then
    redis.call('del', KEYS[1])
    redis.pcall('publish', ARGV[3], '1')
    return 1
end
return 0",
);

impl Script {
    const fn new(code: &'static str) -> Script {
        Script { code, sha: OnceLock::new() }
    }

    /// Returns the call of a script that the server knows.
    pub(crate) fn by_name(&self, call: &Call) -> Cmd {
        let sha = self.sha.get_or_init(|| {
            let hash = Sha1::digest(self.code.as_bytes());
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        call.command("EVALSHA", sha)
    }

    /// Returns the call that also tells the server the script.
    pub(crate) fn in_full(&self, call: &Call) -> Cmd {
        call.command("EVAL", self.code)
    }
}

/// A command of a server that deletes a key only if it has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompareDelete {
    /// Valkey 9: `DELIFEQ key value`.
    Delifeq,
    /// Redis 8.4: `DELEX key IFEQ value`.
    Delex,
}

/// The keys and arguments of one call.
#[derive(Debug)]
pub(crate) struct Call {
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len());
        for word in self.keys.iter().chain(&self.arguments) {
            command.arg(word);
        }
        command
    }
}

pub(crate) fn acquire(request: &Request) -> Call {
    let arguments = vec![request.owner.clone().into_bytes(), request.lease_ms().to_string().into_bytes()];
    Call { keys: vec![request.key.clone(), token_key(&request.key)], arguments }
}

pub(crate) fn renew(request: &Request, token: Option<u64>) -> Call {
    let mut call = acquire(request);
    call.arguments.push(optional(token));
    call
}

pub(crate) fn release(request: &Request, token: Option<u64>) -> Call {
    let arguments = vec![request.owner.clone().into_bytes(), optional(token), channel(&request.key)];
    Call { keys: vec![request.key.clone(), token_key(&request.key)], arguments }
}

/// Returns the command that deletes a lock of an owner who cannot be anyone else, without a script.
pub(crate) fn compare_delete(request: &Request, how: CompareDelete) -> Cmd {
    match how {
        CompareDelete::Delifeq => cmd("DELIFEQ").arg(&request.key).arg(&request.owner).take(),
        CompareDelete::Delex => cmd("DELEX").arg(&request.key).arg("IFEQ").arg(&request.owner).take(),
    }
}

/// Returns the announcement that a lock was released.
pub(crate) fn announce(key: &[u8]) -> Cmd {
    cmd("PUBLISH").arg(channel(key)).arg("1").take()
}

/// Reads the reply to an acquire.
pub(crate) fn verdict(reply: &Value) -> Result<Verdict, Trouble> {
    let Value::Array(parts) = reply else { return Err(unexpected(reply)) };
    match parts.as_slice() {
        [Value::Int(1), token] => match unsigned(token) {
            Some(token) => Ok(Verdict::Granted { token, waited: Duration::ZERO }),
            None => Err(unexpected(reply)),
        },
        [Value::Int(0), owner, remaining, token] => Ok(Verdict::Busy(Box::new(Holder {
            owner: text(owner).unwrap_or_default(),
            token: unsigned(token),
            remaining: unsigned(remaining).map(Duration::from_millis),
            ..Holder::default()
        }))),
        _ => Err(unexpected(reply)),
    }
}

/// Reads the reply to a renewal or a release: whether the lock was held so.
pub(crate) fn was_held(reply: &Value) -> Result<bool, Trouble> {
    integer(reply).map(|count| count > 0).ok_or_else(|| unexpected(reply))
}

/// Returns the key that counts the tokens of a key, in the same slot of a cluster.
pub(crate) fn token_key(key: &[u8]) -> Vec<u8> {
    beside("redstart:token:", key)
}

/// Returns the channel on which a release of a key is published.
pub(crate) fn channel(key: &[u8]) -> Vec<u8> {
    beside("redstart:lock:", key)
}

fn beside(prefix: &str, key: &[u8]) -> Vec<u8> {
    let open = key.iter().position(|byte| *byte == b'{');
    let tagged = open.is_some_and(|open| key[open + 1..].iter().position(|byte| *byte == b'}') > Some(0));
    let mut name = prefix.as_bytes().to_vec();
    if tagged {
        // Its own tag decides on the slot; braces around it would make another tag.
        name.extend_from_slice(key);
    } else {
        name.push(b'{');
        name.extend_from_slice(key);
        name.push(b'}');
    }
    name
}

fn optional(token: Option<u64>) -> Vec<u8> {
    token.map(|token| token.to_string().into_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_in_the_slot_of_its_key() {
        assert_eq!(token_key(b"jobs"), b"redstart:token:{jobs}");
        assert_eq!(token_key(b"{jobs}:a"), b"redstart:token:{jobs}:a");
        assert_eq!(token_key(b"{}a"), b"redstart:token:{{}a}");
        assert_eq!(channel(b"jobs"), b"redstart:lock:{jobs}");
    }

    #[test]
    fn replies_are_read() {
        let word = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let granted = Value::Array(vec![Value::Int(1), word("41")]);
        assert_eq!(verdict(&granted), Ok(Verdict::Granted { token: 41, waited: Duration::ZERO }));
        let busy = Value::Array(vec![Value::Int(0), word("x"), Value::Int(250), Value::Nil]);
        let Ok(Verdict::Busy(holder)) = verdict(&busy) else { panic!("{busy:?}") };
        assert_eq!((holder.owner.as_str(), holder.token), ("x", None));
        assert_eq!(holder.remaining, Some(Duration::from_millis(250)));
        assert!(verdict(&Value::Okay).is_err());
        assert_eq!(was_held(&Value::Int(0)), Ok(false));
    }
}
