//! Hands a command's output on unchanged and remembers its end, which a record of a failure shows.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use notify::record::STDERR_BYTES_MAX;

/// How much of the end of the output is remembered: more than a record keeps, for what stands before a secret tells
/// that it is one.
const TAIL: usize = 3 * STDERR_BYTES_MAX;

/// The end of what a command has written to its standard error.
#[derive(Debug, Default)]
pub(crate) struct Tee {
    tail: Arc<Mutex<Vec<u8>>>,
    forwarding: Option<JoinHandle<()>>,
}

impl Tee {
    /// Leads the command's standard error through this process, unless it is a terminal.
    ///
    /// Where both outputs are the same file (`2>&1`), both go through one pipe: what was written first comes first.
    pub(crate) fn attach(command: &mut Command) -> io::Result<Tee> {
        let error = io::stderr();
        if error.is_terminal() {
            return Ok(Tee::default());
        }
        let (reader, writer) = io::pipe()?;
        if !io::stdout().is_terminal() && is_same_file(&io::stdout(), &error) {
            command.stdout(Stdio::from(writer.try_clone()?));
        }
        command.stderr(Stdio::from(writer));
        let tail = Arc::new(Mutex::new(Vec::new()));
        let to = File::from(error.as_fd().try_clone_to_owned()?);
        let forwarding = std::thread::spawn({
            let tail = Arc::clone(&tail);
            move || forward(reader, to, &tail)
        });
        Ok(Tee { tail, forwarding: Some(forwarding) })
    }

    /// Returns the end of what has been written until now.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut end = &tail[..];
        if end.len() == TAIL
            && let Some(line_end) = end[..TAIL - STDERR_BYTES_MAX].iter().position(|byte| *byte == b'\n')
        {
            // Of a line that is cut, nobody can say what its beginning made of its end.
            end = &end[line_end + 1..];
        }
        String::from_utf8_lossy(end).into_owned()
    }

    /// Waits until everything is handed on.
    pub(crate) fn finish(self) {
        if let Some(thread) = self.forwarding {
            let _ = thread.join();
        }
    }
}

/// Hands on until the output ends, or nobody takes it any more; then the writer is told as it would have been.
fn forward(mut from: PipeReader, mut to: impl Write + AsFd, tail: &Mutex<Vec<u8>>) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        remember(&mut tail.lock().unwrap_or_else(PoisonError::into_inner), &chunk[..length]);
        if hand_on(&mut to, &chunk[..length]).is_err() {
            return;
        }
    }
}

/// Writes all of it, waiting where whoever shares the file has made it one that does not wait.
fn hand_on(to: &mut (impl Write + AsFd), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut room, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remember(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    tail.drain(..tail.len().saturating_sub(TAIL));
}

fn is_same_file(one: &impl AsFd, other: &impl AsFd) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_remembered_however_it_arrives() {
        let mut tail = Vec::new();
        remember(&mut tail, &[1; TAIL]);
        remember(&mut tail, &[2; 10]);
        assert_eq!((tail.len(), tail[0], tail[TAIL - 11], tail[TAIL - 10]), (TAIL, 1, 1, 2));
        remember(&mut tail, &[3; 3 * TAIL]);
        assert_eq!(tail, [3; TAIL]);
    }

    #[test]
    fn a_line_that_is_cut_is_left_out() {
        let mut bytes = b"password=".to_vec();
        bytes.extend([b'x'; TAIL - 3]);
        bytes[20] = b'\n';
        let tee = Tee::default();
        remember(&mut tee.tail.lock().unwrap(), &bytes);
        assert!(!tee.tail().contains('\n') && tee.tail().len() > TAIL - 30);
        remember(&mut tee.tail.lock().unwrap(), &[b'y'; TAIL]);
        assert_eq!(tee.tail().len(), TAIL, "one line only is shown all the same");
    }

    #[test]
    fn bytes_are_handed_on_unchanged() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut out, to) = io::pipe().unwrap();
        // Whoever shares it may not want to wait for it.
        nix::fcntl::fcntl(&to, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let writing = std::thread::spawn({
            let sent = sent.clone();
            move || writer.write_all(&sent).unwrap()
        });
        let tail = Arc::new(Mutex::new(Vec::new()));
        let forwarding = std::thread::spawn({
            let tail = Arc::clone(&tail);
            move || forward(reader, to, &tail)
        });
        let mut received = Vec::new();
        out.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        forwarding.join().unwrap();
        assert_eq!(received, sent);
        assert_eq!(*tail.lock().unwrap(), sent[sent.len() - TAIL..]);
    }
}
