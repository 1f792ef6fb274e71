//! A connection to a server, one request after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use resp::value::Value;

/// Where a server is, as the other servers see it, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What a server is shown before it talks to us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: Address,
    stream: TcpStream,
    received: Vec<u8>,
}

/// What INFO says, by the names of its fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info(BTreeMap<String, String>);

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A digest of much data takes its time.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

impl Address {
    /// Returns the address that `text` names: `HOST:PORT`, `[IPV6]:PORT`, or a host with the usual port.
    pub(crate) fn parse(text: &str) -> Option<Address> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, 6379),
            Some((host, port)) => (host, port.strip_prefix(':')?.parse().ok()?),
            None => match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, port.parse().ok()?),
                _ => (text, 6379),
            },
        };
        let usable = !host.is_empty() && !host.contains(char::is_whitespace) && port > 0;
        usable.then(|| Address { host: host.to_owned(), port })
    }

    /// Returns whether this names the machine that it is used on.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Client {
    /// Connects to a server and logs in.
    pub(crate) fn connect(address: &Address, credentials: &Credentials) -> Result<Client, String> {
        let failed = |reason: &dyn fmt::Display| format!("{address} cannot be reached: {reason}");
        let found =
            (address.host.as_str(), address.port).to_socket_addrs().map_err(|error| failed(&error))?;
        let mut last = failed(&"the name has no address");
        for place in found {
            match TcpStream::connect_timeout(&place, CONNECT_WITHIN) {
                Ok(stream) => {
                    let set =
                        stream.set_read_timeout(Some(ANSWER_WITHIN)).and_then(|()| stream.set_nodelay(true));
                    set.map_err(|error| failed(&error))?;
                    let mut client = Client { address: address.clone(), stream, received: Vec::new() };
                    client.log_in(credentials)?;
                    return Ok(client);
                }
                Err(error) => last = failed(&error),
            }
        }
        Err(last)
    }

    fn log_in(&mut self, credentials: &Credentials) -> Result<(), String> {
        let Some(password) = &credentials.password else { return Ok(()) };
        let words: Vec<&str> =
            ["AUTH"].into_iter().chain(credentials.user.as_deref()).chain([password.as_str()]).collect();
        match self.ask(&words)? {
            // A server without a password does not mind.
            Value::Error(error) if error.starts_with(b"ERR AUTH <password> called without") => Ok(()),
            Value::Error(error) => Err(format!("{}: {}", self.address, String::from_utf8_lossy(&error))),
            _ => Ok(()),
        }
    }

    /// Sends a request and returns what is answered, which may be an error.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, String> {
        let mut request = Vec::new();
        resp::encode::request(&mut request, words);
        let lost =
            |reason: &dyn fmt::Display| format!("the connection to {} is lost: {reason}", self.address);
        self.stream.write_all(&request).map_err(|error| lost(&error))?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            match Value::parse(&self.received) {
                Ok(Some((value, length))) => {
                    self.received.drain(..length);
                    return Ok(value);
                }
                Ok(None) => {}
                Err(_) => return Err(lost(&"what it says is no reply")),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(lost(&"the server closed it")),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    /// Sends a request that must be answered by something else than an error.
    pub(crate) fn tell<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, String> {
        match self.ask(words)? {
            Value::Error(error) => {
                let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
                Err(format!(
                    "{} answers {} to {}",
                    self.address,
                    String::from_utf8_lossy(&error),
                    words.join(" ")
                ))
            }
            value => Ok(value),
        }
    }

    /// Returns what the server says of itself.
    pub(crate) fn info(&mut self) -> Result<Info, String> {
        let reply = self.tell(&["INFO"])?;
        Ok(Info::parse(&String::from_utf8_lossy(reply.as_bytes().unwrap_or_default())))
    }

    /// Returns a parameter's value, if we may ask for it.
    pub(crate) fn parameter(&mut self, name: &str) -> Option<String> {
        let reply = self.ask(&["CONFIG", "GET", name]).ok()?;
        let value = reply.as_items()?.get(1)?.as_bytes()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

impl Info {
    fn parse(text: &str) -> Info {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Info(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Returns a field's text, which is empty if there is no such field.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Returns a field's number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// Returns how many keys each database has.
    pub(crate) fn keyspace(&self) -> BTreeMap<u32, u64> {
        let databases = self.0.iter().filter_map(|(name, value)| {
            let index = name.strip_prefix("db")?.parse().ok()?;
            Some((index, value.strip_prefix("keys=")?.split(',').next()?.parse().ok()?))
        });
        databases.collect()
    }

    /// Returns how many keys there are.
    pub(crate) fn keys(&self) -> u64 {
        self.keyspace().values().sum()
    }

    /// Returns whether the server follows a master.
    pub(crate) fn follows(&self) -> bool {
        self.text("role") == "slave"
    }

    /// Returns the master that it follows.
    pub(crate) fn master(&self) -> Option<Address> {
        let port = self.text("master_port").parse().ok().filter(|_| self.follows())?;
        Some(Address { host: self.text("master_host").to_owned(), port })
    }

    /// Returns whether the link to the master is up, and nothing more to be loaded.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.follows()
            && self.text("master_link_status") == "up"
            && self.text("master_sync_in_progress") == "0"
            && self.text("loading") == "0"
    }

    /// Returns the addresses of the replicas.
    pub(crate) fn replicas(&self) -> Vec<Address> {
        let numbered = (0..).map_while(|number| self.0.get(&format!("slave{number}")));
        let parts = numbered.filter_map(|line| {
            let value =
                |name: &str| line.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            Some(Address { host: value("ip")?.to_owned(), port: value("port")?.parse().ok()? })
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let address = |host: &str, port| Some(Address { host: host.into(), port });
        assert_eq!(Address::parse("db1.example:7000"), address("db1.example", 7000));
        assert_eq!(Address::parse("db1"), address("db1", 6379));
        assert_eq!(Address::parse("[::1]:7000"), address("::1", 7000));
        assert_eq!(Address::parse("::1"), address("::1", 6379));
        assert_eq!(Address::parse("[::1]:7000").unwrap().to_string(), "[::1]:7000");
        for text in ["", ":7000", "a:b", "a:0", "a:70000", "[::1", "a b:1"] {
            assert!(Address::parse(text).is_none_or(|address| address.host == text), "{text}");
        }
    }

    #[test]
    fn info_is_read() {
        let text = "# Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=6380,state=online,offset=14,lag=0\r\n\
                    slave1:ip=::1,port=1,state=online\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb9:keys=4,expires=1\r\n";
        let info = Info::parse(text);
        assert_eq!((info.keys(), info.follows(), info.master()), (7, false, None));
        let shown: Vec<_> = info.replicas().iter().map(Address::to_string).collect();
        assert_eq!(shown, ["10.0.0.2:6380", "[::1]:1"]);
    }
}
