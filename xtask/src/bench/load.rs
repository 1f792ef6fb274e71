//! A pipelining loader: requests whose replies are one line each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection that sends requests in batches and awaits the replies of one batch before the next.
#[derive(Debug)]
pub(super) struct Loader {
    stream: TcpStream,
    requests: Vec<u8>,
    unanswered: usize,
    batch: usize,
    replies: Vec<u8>,
}

impl Loader {
    /// Connects; `batch` requests are sent at a time.
    pub(super) fn connect(address: SocketAddr, batch: usize) -> io::Result<Loader> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Loader { stream, requests: Vec::new(), unanswered: 0, batch, replies: vec![0; 1 << 16] })
    }

    /// Adds a request; its reply must be a line (`+…`, `:…`), and an error line fails the load.
    pub(super) fn request<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        write!(self.requests, "*{}\r\n", words.len())?;
        for word in words {
            let word = word.as_ref();
            write!(self.requests, "${}\r\n", word.len())?;
            self.requests.extend_from_slice(word);
            self.requests.extend_from_slice(b"\r\n");
        }
        self.unanswered += 1;
        if self.unanswered == self.batch { self.finish() } else { Ok(()) }
    }

    /// Sends what is left and awaits its replies.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        let mut line_starts = true;
        while self.unanswered > 0 {
            let length = self.stream.read(&mut self.replies)?;
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let replies = &self.replies[..length];
            for (at, &byte) in replies.iter().enumerate() {
                if line_starts && byte == b'-' {
                    let line = replies[at..].split(|&byte| byte == b'\r').next().unwrap_or_default();
                    return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
                }
                line_starts = byte == b'\n';
                self.unanswered -= usize::from(line_starts);
            }
        }
        Ok(())
    }
}
