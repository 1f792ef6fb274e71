//! Mass insertion: protocol from the standard input goes to the server as it is, replies are counted.
//!
//! One thread writes, one reads; after the input a request follows whose reply no other can be, so that it is known when
//! the last one has come.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::client::{Client, Stream};
use super::reply::{LinkError, Reply, system_text};
use super::session::{Session, Stop};

/// How much of the input is read at once.
const CHUNK: usize = 64 << 10;

/// How long the mark is that ends the replies.
const MARK_LEN: usize = 20;

/// How often it is looked whether replies still come.
const TICK: Duration = Duration::from_millis(200);

/// What one of the threads has to say.
enum Event {
    /// The last reply has come.
    Done,
    /// Something failed, and this was said already.
    Failed,
}

/// What both threads count.
#[derive(Default)]
struct Progress {
    replies: AtomicU64,
    errors: AtomicU64,
    input_ended: AtomicBool,
}

/// Sends the standard input to the server and counts what comes back.
pub(crate) fn run(session: &mut Session) -> Result<u8, Stop> {
    let Some(client) = session.client.take() else { return Ok(1) };
    let mark: [u8; MARK_LEN] = mark();
    let progress = Arc::new(Progress::default());
    let (events, heard) = mpsc::channel();
    let output = match client.stream() {
        Ok(output) => output,
        Err(error) => {
            complain!("Error writing to the server: {}", system_text(&error));
            return Ok(1);
        }
    };
    std::thread::spawn({
        let (progress, events) = (Arc::clone(&progress), events.clone());
        move || send_input(output, &mark, &progress, &events)
    });
    std::thread::spawn({
        let progress = Arc::clone(&progress);
        move || count_replies(client, &mark, &progress, &events)
    });

    let timeout = session.options.pipe_timeout;
    let silence_max = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
    let (mut seen, mut heard_at) = (0, Instant::now());
    loop {
        match heard.recv_timeout(TICK) {
            Ok(Event::Done) => break,
            Ok(Event::Failed) | Err(RecvTimeoutError::Disconnected) => return Ok(1),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let replies = progress.replies.load(Ordering::Relaxed);
        if replies != seen || !progress.input_ended.load(Ordering::Relaxed) {
            (seen, heard_at) = (replies, Instant::now());
        } else if timeout > 0 && heard_at.elapsed() > silence_max {
            complain!("No replies for {timeout} seconds: exiting.");
            progress.errors.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let (errors, replies) =
        (progress.errors.load(Ordering::Relaxed), progress.replies.load(Ordering::Relaxed));
    writeln!(io::stdout(), "errors: {errors}, replies: {replies}")?;
    Ok(u8::from(errors > 0))
}

/// Returns bytes that no reply will consist of by accident.
fn mark() -> [u8; MARK_LEN] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish() as u8)
}

fn send_input(mut output: Stream, mark: &[u8], progress: &Progress, events: &Sender<Event>) {
    let mut buffer = vec![0; CHUNK];
    let mut stdin = io::stdin().lock();
    let failed = loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break None,
            Ok(len) => {
                if let Err(error) = output.write_all(&buffer[..len]) {
                    break Some(format!("Error writing to the server: {}", system_text(&error)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(format!("Error reading from stdin: {}", system_text(&error))),
        }
    };
    let failed = failed.or_else(|| {
        progress.input_ended.store(true, Ordering::Relaxed);
        let _ = writeln!(io::stdout(), "All data transferred. Waiting for the last reply...");
        // A line end before it, in case that the input ends amid a line.
        let mut last = b"\r\n".to_vec();
        resp::encode::request(&mut last, [b"ECHO", mark]);
        let error = output.write_all(&last).err()?;
        Some(format!("Error writing to the server: {}", system_text(&error)))
    });
    if let Some(text) = failed {
        complain!("{text}");
        let _ = events.send(Event::Failed);
    }
}

fn count_replies(mut client: Client, mark: &[u8], progress: &Progress, events: &Sender<Event>) {
    let event = loop {
        match client.read() {
            Ok(Reply::Bulk(text)) if text == mark && progress.input_ended.load(Ordering::Relaxed) => {
                let _ = writeln!(io::stdout(), "Last reply received from server.");
                break Event::Done;
            }
            Ok(Reply::Push(_)) => continue,
            Ok(Reply::Error(mut text)) => {
                text.push(b'\n');
                let _ = io::stderr().write_all(&text);
                progress.errors.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(LinkError::Protocol(_)) => {
                complain!("Error reading replies from server");
                break Event::Failed;
            }
            Err(error) => {
                complain!("Error: {error}");
                break Event::Failed;
            }
        }
        progress.replies.fetch_add(1, Ordering::Relaxed);
    };
    // Nobody listens any more only when the program ends.
    let _ = events.send(event);
}
