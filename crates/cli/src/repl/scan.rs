//! All keys of a database, a page at a time.

use std::io::{self, Write};

use super::client::Client;
use super::interrupt;
use super::options::Output;
use super::render;
use super::reply::Reply;
use super::session::{Session, Stop};

/// The keys, in the order in which the server goes through them.
#[derive(Debug)]
pub(crate) struct Pages {
    pattern: Option<Vec<u8>>,
    cursor: Vec<u8>,
    ended: bool,
}

impl Pages {
    /// Begins at the beginning.
    pub(crate) fn new(pattern: Option<Vec<u8>>) -> Pages {
        Pages { pattern, cursor: b"0".to_vec(), ended: false }
    }

    /// Returns the next keys, nothing after the last.
    pub(crate) fn next(&mut self, client: &mut Client) -> Result<Option<Vec<Vec<u8>>>, Stop> {
        if self.ended || interrupt::raised() {
            return Ok(None);
        }
        let mut request = vec![b"SCAN".to_vec(), self.cursor.clone()];
        if let Some(pattern) = &self.pattern {
            request.extend([b"MATCH".to_vec(), pattern.clone()]);
        }
        let items = match client.call(&request) {
            Ok(Reply::Array(items)) => items,
            Ok(Reply::Error(text)) => {
                return Err(failed(&format!("SCAN error: {}", String::from_utf8_lossy(&text))));
            }
            Ok(_) => return Err(failed("Non ARRAY response from SCAN!")),
            Err(_) => return Err(failed("\nI/O error")),
        };
        match <[Reply; 2]>::try_from(items) {
            Ok([Reply::Bulk(cursor), Reply::Array(keys)]) => {
                self.ended = cursor == b"0";
                self.cursor = cursor;
                let text = |key: Reply| match key {
                    Reply::Bulk(key) => key,
                    _ => Vec::new(),
                };
                Ok(Some(keys.into_iter().map(text).collect()))
            }
            _ => Err(failed("Invalid element count from SCAN!")),
        }
    }
}

/// Says what failed, and ends the program.
pub(crate) fn failed(text: &str) -> Stop {
    complain!("{text}");
    Stop::Code(1)
}

/// Prints all keys, one a line.
pub(crate) fn run(session: &mut Session) -> Result<u8, Stop> {
    interrupt::install();
    interrupt::raise_flag();
    let (output, interval) = (session.options.output, session.options.interval);
    let mut pages = Pages::new(session.options.pattern.clone());
    let Some(client) = session.client.as_mut() else { return Ok(1) };
    while let Some(keys) = pages.next(client)? {
        let mut out = Vec::new();
        for key in keys {
            match output {
                Output::Formatted => render::quote(&mut out, &key),
                _ => out.extend(key),
            }
            out.push(b'\n');
        }
        io::stdout().write_all(&out)?;
        if !interval.is_zero() {
            std::thread::sleep(interval);
        }
    }
    Ok(0)
}
