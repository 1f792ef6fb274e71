//! What a replica says of itself before it asks for the data: REPLCONF, read and answered.

use base::number::parse_i64;
use resp::Request;
use resp::inline::split_args;

/// What is known of a link that may become a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) port: u16,
    pub(crate) address: Option<String>,
    pub(crate) capabilities: Capabilities,
    /// Only a snapshot is wanted, no stream behind it.
    pub(crate) snapshot_only: bool,
    pub(crate) content: Content,
    pub(crate) version: Option<String>,
}

/// What a replica understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Snapshots that end with a mark.
    pub(crate) eof: bool,
    /// Another id in `+CONTINUE`.
    pub(crate) psync2: bool,
}

impl Capabilities {
    /// Returns what both understand.
    pub(crate) fn both(self, other: Capabilities) -> Capabilities {
        Capabilities { eof: self.eof && other.eof, psync2: self.psync2 && other.psync2 }
    }
}

/// What a snapshot for replicas is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub data: bool,
    pub functions: bool,
}

impl Default for Content {
    fn default() -> Content {
        Content { data: true, functions: true }
    }
}

impl Content {
    /// Returns whether something is left out.
    pub fn is_filtered(self) -> bool {
        self != Content::default()
    }
}

/// What one REPLCONF came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is noted.
    Noted,
    Wrong(String),
    /// The replica has applied everything up to an offset, and synced up to another.
    Ack {
        offset: u64,
        synced: Option<u64>,
    },
    /// An acknowledgement that makes no sense.
    NoAck,
    GetAck,
    /// The sender asks whose replicas we are.
    Chain,
}

/// A name or address is shorter than this, as in Redis.
const ADDRESS_MAX: usize = 256;
const VERSION_MAX: usize = 32;
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

impl Greeting {
    /// Takes REPLCONF's pairs; what stands before a wrong one is noted, as in Redis.
    pub(crate) fn read(&mut self, request: Request<'_>) -> Said {
        if request.len().is_multiple_of(2) {
            return Said::Wrong("ERR syntax error".into());
        }
        let mut at = 1;
        while at < request.len() {
            let (name, value) = (request.arg(at).to_ascii_lowercase(), request.arg(at + 1));
            let done = match name.as_slice() {
                b"listening-port" => self.listening_port(value),
                b"ip-address" => self.ip_address(value),
                b"capa" => {
                    self.capabilities.eof |= value.eq_ignore_ascii_case(b"eof");
                    self.capabilities.psync2 |= value.eq_ignore_ascii_case(b"psync2");
                    Ok(())
                }
                b"ack" => return ack(request, at),
                b"getack" => return Said::GetAck,
                b"chain" => return Said::Chain,
                b"version" => {
                    let shown = &value[..value.len().min(VERSION_MAX)];
                    self.version = Some(String::from_utf8_lossy(shown).into_owned());
                    Ok(())
                }
                b"rdb-only" => self.rdb_only(value),
                b"rdb-filter-only" => self.rdb_filter_only(value),
                _ => Err(format!("ERR Unrecognized REPLCONF option: {}", shown(request.arg(at)))),
            };
            if let Err(error) = done {
                return Said::Wrong(error);
            }
            at += 2;
        }
        Said::Noted
    }

    fn listening_port(&mut self, value: &[u8]) -> Result<(), String> {
        let port = parse_i64(value).ok_or(NOT_AN_INTEGER)?;
        self.port = u16::try_from(port).unwrap_or(0);
        Ok(())
    }

    fn ip_address(&mut self, value: &[u8]) -> Result<(), String> {
        if value.len() >= ADDRESS_MAX {
            let len = value.len();
            return Err(format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {len} bytes"
            ));
        }
        self.address = Some(shown(value)).filter(|address| !address.is_empty());
        Ok(())
    }

    fn rdb_only(&mut self, value: &[u8]) -> Result<(), String> {
        self.snapshot_only = match parse_i64(value).ok_or(NOT_AN_INTEGER)? {
            0 => false,
            1 => true,
            _ => return Err("ERR value is out of range, value must between 0 and 1".into()),
        };
        Ok(())
    }

    fn rdb_filter_only(&mut self, value: &[u8]) -> Result<(), String> {
        let kinds = split_args(value).ok_or("ERR Missing rdb-filter-only values")?;
        let mut content = Content { data: false, functions: false };
        for kind in kinds {
            if !kind.eq_ignore_ascii_case(b"functions") {
                self.content = content;
                return Err(format!("ERR Unsupported rdb-filter-only option: {}", shown(&kind)));
            }
            content.functions = true;
        }
        self.content = content;
        Ok(())
    }
}

fn ack(request: Request<'_>, at: usize) -> Said {
    let number = |text: &[u8]| parse_i64(text).and_then(|number| u64::try_from(number).ok());
    let Some(offset) = number(request.arg(at + 1)) else { return Said::NoAck };
    let named = request.get(at + 2).is_some_and(|name| name.eq_ignore_ascii_case(b"fack"));
    let synced = request.get(at + 3).filter(|_| named).and_then(number);
    Said::Ack { offset, synced }
}

/// Returns what a peer sent, fit for a line: without control characters, and not long.
pub(crate) fn shown(text: &[u8]) -> String {
    let text = &text[..text.len().min(ADDRESS_MAX)];
    String::from_utf8_lossy(text).chars().filter(|char| !char.is_control()).collect()
}
