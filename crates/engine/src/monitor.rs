//! MONITOR: every command as a line of text, to those who asked.

use base::time::Now;
use resp::decode::Request;

use crate::session::Session;
use crate::table::Row;
use crate::{Server, redact};

/// Sends a command that was executed to the monitors.
#[cold]
pub fn feed(server: &mut Server, session: &Session, now: Now, row: &Row, request: Request<'_>) {
    let mut line =
        format!("{}.{:06} [{} ", now.unix_us / 1_000_000, now.unix_us % 1_000_000, session.db).into_bytes();
    if session.unix_socket {
        line.extend_from_slice(b"unix:");
    }
    line.extend_from_slice(session.addr.as_bytes());
    line.push(b']');
    for word in redact::shown(row, request) {
        line.push(b' ');
        quote(&mut line, word);
    }
    let text = String::from_utf8(line).expect("quoting leaves only ASCII");
    for id in server.monitors.clone() {
        server.sessions.write(id, |out| out.simple(&text));
    }
}

/// Appends `bytes` in double quotes with everything unprintable escaped (Redis' sdscatrepr).
pub fn quote(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    for b in bytes {
        match b {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', *b]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            7 => line.extend_from_slice(b"\\a"),
            8 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(*b),
            _ => line.extend_from_slice(format!("\\x{b:02x}").as_bytes()),
        }
    }
    line.push(b'"');
}
