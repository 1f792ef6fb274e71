//! One connection to a server that is asked about its locks, and how to read what it answers.

use std::time::Duration;

use redis::{Client, Cmd, Connection, RedisError, Value, cmd};

use super::exit::{self, Code};

/// How long connecting and each answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command could not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl Failure {
    /// Returns the failure that something is not there, or was refused.
    pub(crate) fn plain(reason: impl Into<String>) -> Failure {
        Failure { code: exit::FAILURE, reason: reason.into() }
    }

    fn of(error: &RedisError) -> Failure {
        let code = if error.code().is_some() { exit::FAILURE } else { exit::UNAVAILABLE };
        let reason = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("the server says: {code} {detail}"),
            _ => format!("the server cannot be reached: {error}"),
        };
        Failure { code, reason }
    }
}

/// A server that is asked about its locks.
pub(crate) struct Server {
    connection: Connection,
    native: bool,
}

impl Server {
    /// Connects to the server at `url`, and finds out whether it has locks of its own.
    pub(crate) fn connect(url: &str) -> Result<Server, Failure> {
        let client = Client::open(address(url)).map_err(|error| Failure {
            code: exit::USAGE,
            reason: format!("--server is no address of a server: {}", error.category()),
        })?;
        let connecting = client.get_connection_with_timeout(TIMEOUT);
        let connection = connecting.map_err(|error| Failure::of(&error))?;
        let limited = connection
            .set_read_timeout(Some(TIMEOUT))
            .and_then(|()| connection.set_write_timeout(Some(TIMEOUT)));
        limited.map_err(|error| Failure::of(&error))?;
        let mut server = Server { connection, native: false };
        let known = server.ask(cmd("COMMAND").arg("INFO").arg("lock.acquire"))?;
        server.native = matches!(known, Value::Array(rows) if matches!(rows.first(), Some(Value::Array(row)) if !row.is_empty()));
        Ok(server)
    }

    /// Returns whether it has the LOCK commands.
    pub(crate) fn is_native(&self) -> bool {
        self.native
    }

    /// Makes sure that it has the LOCK commands.
    pub(crate) fn require_native(&self, what: &str) -> Result<(), Failure> {
        if self.native {
            return Ok(());
        }
        Err(Failure::plain(format!(
            "this server has no LOCK commands, so it knows nothing of {what}; a Redstart server does"
        )))
    }

    /// Asks it one thing.
    pub(crate) fn ask(&mut self, command: &Cmd) -> Result<Value, Failure> {
        let answer = command.query::<Value>(&mut self.connection);
        let answer = answer.map_err(|error| Failure::of(&error))?;
        match answer {
            Value::ServerError(error) => {
                let error = RedisError::from(error);
                Err(Failure::of(&error))
            }
            answer => Ok(answer),
        }
    }
}

/// Returns the address of a server as the client takes it; `host:port` will do. Of several, it is the first.
pub(crate) fn address(url: &str) -> String {
    // In the environment, independent servers stand side by side, for `run`.
    let url = url.split_whitespace().next().unwrap_or_default();
    if url.contains("://") { url.to_owned() } else { format!("redis://{url}") }
}

/// Returns the value of a field in a map, or in a flat array of the same pairs.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let value = match value {
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| text(key).as_deref() == Some(name)).map(|(_, value)| value)
        }
        Value::Array(parts) => {
            let mut pairs = parts.chunks_exact(2);
            pairs.find(|pair| text(&pair[0]).as_deref() == Some(name)).map(|pair| &pair[1])
        }
        _ => None,
    };
    value.filter(|value| **value != Value::Nil)
}

/// Returns the text of a value that is one, or a number.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// Returns the number that a value is, or that its text says.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        value => text(value)?.parse().ok(),
    }
}

/// Returns the parts of an array; none of what is not one.
pub(crate) fn parts(value: &Value) -> &[Value] {
    match value {
        Value::Array(parts) | Value::Set(parts) => parts,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_maps_of_both_protocols() {
        let word = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let flat = Value::Array(vec![
            word("owner"),
            word("a"),
            word("token"),
            Value::Int(7),
            word("meta"),
            Value::Nil,
        ]);
        let map = Value::Map(vec![(word("owner"), word("a")), (word("token"), Value::Int(7))]);
        for value in [flat, map] {
            assert_eq!(field(&value, "owner").and_then(text).as_deref(), Some("a"));
            assert_eq!(field(&value, "token").and_then(number), Some(7));
            assert_eq!(field(&value, "meta"), None);
        }
    }

    #[test]
    fn a_host_and_port_are_an_address() {
        assert_eq!(address("localhost:7000"), "redis://localhost:7000");
        assert_eq!(address("unix:///run/redis.sock"), "unix:///run/redis.sock");
        assert_eq!(address("one:7000 redis://two:7000"), "redis://one:7000");
    }
}
