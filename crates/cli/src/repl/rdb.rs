//! The snapshot that a replica would be sent, written to a file.
//!
//! The server announces it by its length, or by a mark that ends it:
//!
//! ```text
//! $1234\r\n <1234 bytes>        $EOF:<40 bytes>\r\n <bytes> <the same 40 bytes>
//! ```

use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use super::reply::{Reply, system_text};
use super::scan::failed;
use super::session::{Session, Stop};

/// How long the mark is.
const MARK_LEN: usize = 40;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Writes the snapshot, or only the functions in it; `-` is the standard output.
pub(crate) fn run(session: &mut Session, file: &[u8], functions: bool) -> Result<u8, Stop> {
    let Some(client) = session.client.as_mut() else { return Ok(1) };
    let mut configure = |name: &str, value: &str| -> Result<bool, Stop> {
        complain!("sending REPLCONF {name} {value}");
        match client.call(&["REPLCONF", name, value]) {
            Ok(Reply::Error(text)) => {
                // Older servers do not know all of these.
                complain!("REPLCONF {name} error: {}", String::from_utf8_lossy(&text));
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(_) => Err(failed("\nI/O error")),
        }
    };
    configure("capa", "eof")?;
    configure("rdb-only", "1")?;
    if functions && !configure("rdb-filter-only", "functions")? {
        return Err(failed("Failed requesting functions only RDB from server, aborting"));
    }
    client.send_bytes(b"SYNC\r\n").map_err(|_| failed("Error writing to master"))?;
    let input = client.bytes();
    let announced = announcement(input)?;
    let name = String::from_utf8_lossy(file).into_owned();
    match &announced {
        Announced::Length(len) => complain!("SYNC sent to master, writing {len} bytes to '{name}'"),
        Announced::Mark(_) => {
            complain!("SYNC sent to master, writing bytes of bulk transfer until EOF marker to '{name}'");
        }
    }
    if file == b"-" {
        transfer(input, &announced, &mut io::stdout().lock())?;
        return Ok(0);
    }
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(file);
    let mut target = File::create(path)
        .map_err(|error| failed(&format!("Error opening '{name}': {}", system_text(&error))))?;
    transfer(input, &announced, &mut target)?;
    target.sync_all().map_err(|error| failed(&format!("Fail to fsync '{name}': {}", system_text(&error))))?;
    Ok(0)
}

/// How the end of the snapshot is to be known.
#[derive(Debug, PartialEq, Eq)]
enum Announced {
    Length(u64),
    Mark(Vec<u8>),
}

/// Reads the line before the snapshot; while the server prepares it, it sends empty ones.
fn announcement(input: &mut impl BufRead) -> Result<Announced, Stop> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(1 << 16).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return Err(failed("Error reading bulk length while SYNCing"));
        }
        let text = line.trim_ascii();
        match text {
            [] => {}
            [b'-', ..] => {
                return Err(failed(&format!("SYNC with master failed: {}", String::from_utf8_lossy(text))));
            }
            [b'$', b'E', b'O', b'F', b':', mark @ ..] if mark.len() >= MARK_LEN => {
                return Ok(Announced::Mark(mark[..MARK_LEN].to_vec()));
            }
            [b'$', digits @ ..] => {
                let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                return len
                    .map(Announced::Length)
                    .ok_or_else(|| failed("Error reading bulk length while SYNCing"));
            }
            _ => return Err(failed("Error reading bulk length while SYNCing")),
        }
    }
}

/// Copies the snapshot, without the mark that may end it.
fn transfer(input: &mut impl Read, announced: &Announced, out: &mut impl Write) -> Result<(), Stop> {
    let mut read = |room: &mut [u8]| match input.read(room) {
        Ok(len @ 1..) => Ok(len),
        _ => Err(failed("I/O Error reading RDB payload from socket")),
    };
    let mut write = |bytes: &[u8]| {
        out.write_all(bytes)
            .map_err(|error| failed(&format!("Error writing data to file: {}", system_text(&error))))
    };
    let mut chunk = vec![0; CHUNK];
    match announced {
        Announced::Length(len) => {
            let mut left = *len;
            while left > 0 {
                let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let count = read(&mut chunk[..room])?;
                write(&chunk[..count])?;
                left -= count as u64;
            }
            complain!("Transfer finished with success.");
        }
        Announced::Mark(mark) => {
            // The last bytes are held back: they may be the mark.
            let mut held = Vec::new();
            let mut written = 0;
            while !held.ends_with(mark) {
                let count = read(&mut chunk)?;
                held.extend_from_slice(&chunk[..count]);
                let done = held.len().saturating_sub(MARK_LEN);
                write(&held[..done])?;
                written += done;
                held.drain(..done);
            }
            complain!("Transfer finished with success after {written} bytes");
        }
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_ends_by_length_or_by_mark() {
        let mark = "m".repeat(MARK_LEN);
        let streams = ["\n\n$3\r\nabc".to_string(), format!("$EOF:{mark}\r\nabc{mark}")];
        for stream in streams {
            let mut input = stream.as_bytes();
            let announced = announcement(&mut input).unwrap_or_else(|_| panic!("{stream}"));
            let mut out = Vec::new();
            transfer(&mut input, &announced, &mut out).unwrap_or_else(|_| panic!("{stream}"));
            assert_eq!(out, b"abc");
        }
        assert!(announcement(&mut &b"-ERR no\r\n"[..]).is_err());
        assert!(announcement(&mut &b""[..]).is_err());
        assert!(transfer(&mut &b"ab"[..], &Announced::Length(3), &mut Vec::new()).is_err());
    }
}
