//! One connection, shared by many requests at a time.
//!
//! ```text
//! ask ──┐ encode into `out`, join `waiting`            ┌─► write, as much as has gathered
//! ask ──┼────────────────────────────► State ── driver ┤
//! ask ──┘ ◄──── reply, in the order of the requests ───┴── read, parse, hand over
//! │
//! └── whoever asks when so many have gathered writes them itself
//! ```
//!
//! The connections of the `redis` crate would do; but a lock is two requests and nothing else, and most of what these
//! cost was the way to the connection's task and back, a timer each, and general parsing. Here all that is sent while
//! the driver is away goes out in one write, and one timer watches over the oldest request: when that is not answered
//! in time, the connection ends with all that is under way on it, because what arrives later could be taken for the
//! answer to something else.
//!
//! Where many tasks share a thread, the driver's turn comes after those of all tasks that its last replies have woken.
//! If nobody else wrote, the server would wait for all of them and they for the server, in turn; so that both work at
//! the same time, requests go out a [batch](BATCH) at a time.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use redis::{Client, Cmd, ConnectionAddr, RedisConnectionInfo, Value, cmd};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::backend::{Trouble, Verdict, native};
use crate::encode::Pack;
use crate::parse::{parse, parse_grant};

/// How much is read at a time.
const CHUNK: usize = 1 << 14;

/// After how many requests whoever asks sends them, and does not leave that to the driver: a quarter of all that are
/// under way, so that a server has several such batches before it, but not fewer than this, which a write is worth.
const BATCH: usize = 8;

/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_CAPACITY: usize = 1 << 16;

/// A connection; clones share it, and it ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Handle>);

/// Ends the connection when nobody can ask any more.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().ended = Some("nobody uses this connection".into());
        self.0.driver.wake();
    }
}

#[derive(Debug)]
struct Shared {
    sender: Sender,
    state: Mutex<State>,
    driver: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be sent, and how many requests have joined it since the last were.
    out: Vec<u8>,
    gathered: usize,
    /// What was sent last: `written` bytes of it are, the rest goes before `out`. Whoever is sending has it.
    writing: Vec<u8>,
    written: usize,
    is_writing: bool,
    waiting: VecDeque<Waiting>,
    /// Why nothing can be asked any more.
    ended: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    answer: Answer,
    deadline: Instant,
}

/// Whoever waits, and for what.
#[derive(Debug)]
enum Answer {
    Value(oneshot::Sender<Result<Value, Trouble>>),
    /// The reply to LOCK.ACQUIRE: most often a grant, which is read without taking it to pieces.
    Verdict(oneshot::Sender<Result<Verdict, Trouble>>),
}

impl Answer {
    fn fail(self, trouble: Trouble) {
        // Whoever has stopped waiting leaves the answer behind, here and below.
        let _ = match self {
            Answer::Value(answer) => answer.send(Err(trouble)).is_ok(),
            Answer::Verdict(answer) => answer.send(Err(trouble)).is_ok(),
        };
    }

    fn reply(self, reply: Result<Value, String>) {
        let reply = reply.map_err(Trouble::of_words);
        let _ = match self {
            Answer::Value(answer) => answer.send(reply).is_ok(),
            Answer::Verdict(answer) => answer.send(reply.and_then(|reply| native::verdict(&reply))).is_ok(),
        };
    }
}

/// A reply that is still to come.
#[derive(Debug)]
pub(crate) struct Pending<T>(oneshot::Receiver<Result<T, Trouble>>);

impl<T> Pending<T> {
    /// Waits for it; what the server refuses is trouble.
    pub(crate) async fn reply(self) -> Result<T, Trouble> {
        match self.0.await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Unreachable("the connection has ended".into())),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection: whoever waits is told, whoever asks will be.
    fn end(&self, reason: String) {
        let mut state = self.lock();
        let reason = state.ended.get_or_insert(reason).clone();
        let waiting = std::mem::take(&mut state.waiting);
        state.out = Vec::new();
        if !state.is_writing {
            state.writing = Vec::new();
            state.written = 0;
        }
        drop(state);
        // The server is to know of it now, and not when the last who could ask is gone.
        self.sender.shut_down();
        for waiting in waiting {
            waiting.answer.fail(Trouble::Unreachable(reason.clone()));
        }
    }

    /// Sends what has gathered; returns whether nothing is left that the driver has to send.
    ///
    /// What gathers meanwhile is left: else one thread might send for all others for ever.
    fn flush<'s>(&'s self, mut state: MutexGuard<'s, State>) -> io::Result<bool> {
        if state.is_writing {
            // Whoever is sending will look at what has gathered since.
            return Ok(true);
        }
        if state.writing.is_empty() {
            let State { out, writing, .. } = &mut *state;
            std::mem::swap(out, writing);
            state.gathered = 0;
        }
        while state.written < state.writing.len() {
            let (writing, written) = (std::mem::take(&mut state.writing), state.written);
            state.is_writing = true;
            drop(state);
            let result = self.sender.try_write(&writing[written..]);
            state = self.lock();
            state.is_writing = false;
            if state.ended.is_some() {
                state.written = 0;
                return Ok(true);
            }
            state.writing = writing;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => state.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        state.writing.clear();
        state.written = 0;
        if state.writing.capacity() > KEPT_CAPACITY {
            state.writing = Vec::new();
        }
        Ok(state.out.is_empty())
    }
}

impl Wire {
    /// Connects, and logs in as the address says.
    pub(crate) async fn connect(client: &Client, response_timeout: Duration) -> Result<Wire, Trouble> {
        let failed = |error: io::Error| Trouble::Unreachable(error.to_string());
        let info = client.get_connection_info();
        let (sender, receiver) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                let settings = info.tcp_settings();
                stream.set_nodelay(settings.nodelay()).map_err(failed)?;
                keep_alive(&stream, settings).map_err(failed)?;
                let (receiver, sender) = stream.into_split();
                (Sender::Tcp(sender), Receiver::Tcp(receiver))
            }
            ConnectionAddr::Unix(path) => {
                let (receiver, sender) = UnixStream::connect(path).await.map_err(failed)?.into_split();
                (Sender::Unix(sender), Receiver::Unix(receiver))
            }
            _ => return Err(Trouble::Refused("an address of a kind that is not supported (TLS)".into())),
        };
        let shared = Arc::new(Shared { sender, state: Mutex::default(), driver: AtomicWaker::new() });
        let driver = Driver {
            receiver,
            shared: Arc::clone(&shared),
            read: Vec::new(),
            filled: 0,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_runs: false,
        };
        tokio::spawn(driver);
        let wire = Wire(Arc::new(Handle(shared)));
        for command in greeting(info.redis_settings()) {
            wire.ask(&command, response_timeout).await?;
        }
        Ok(wire)
    }

    /// Returns whether nothing can be asked any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.0.lock().ended.is_some()
    }

    /// Sends a request and waits for its reply; what the server refuses is trouble.
    pub(crate) async fn ask(&self, command: &impl Pack, time: Duration) -> Result<Value, Trouble> {
        self.send(command, time)?.reply().await
    }

    /// Sends LOCK.ACQUIRE and waits for what comes of it.
    pub(crate) async fn ask_for_lock(&self, command: &impl Pack, time: Duration) -> Result<Verdict, Trouble> {
        let (answer, reply) = oneshot::channel();
        self.enqueue(command, Answer::Verdict(answer), time)?;
        Pending(reply).reply().await
    }

    /// Has a request sent, behind all that were sent before.
    pub(crate) fn send(&self, command: &impl Pack, time: Duration) -> Result<Pending<Value>, Trouble> {
        let (answer, reply) = oneshot::channel();
        self.enqueue(command, Answer::Value(answer), time)?;
        Ok(Pending(reply))
    }

    fn enqueue(&self, command: &impl Pack, answer: Answer, time: Duration) -> Result<(), Trouble> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if let Some(reason) = &state.ended {
            return Err(Trouble::Unreachable(reason.clone()));
        }
        command.pack(&mut state.out);
        let now = Instant::now();
        let deadline = now.checked_add(time).unwrap_or(now + FAR);
        state.waiting.push_back(Waiting { answer, deadline });
        state.gathered += 1;
        if state.gathered >= BATCH.max(state.waiting.len() / 4) {
            // What it leaves, the driver sends; what goes wrong, goes wrong for the driver too, who tells everybody.
            let _ = shared.flush(state).is_ok();
        } else {
            drop(state);
        }
        // The driver has to know of every deadline, too.
        shared.driver.wake();
        Ok(())
    }
}

/// Returns what is said first on a connection: who asks, and of which database.
pub(crate) fn greeting(settings: &RedisConnectionInfo) -> Vec<Cmd> {
    let mut commands = Vec::new();
    if let Some(password) = settings.password() {
        let mut login = cmd("AUTH");
        if let Some(username) = settings.username() {
            login.arg(username);
        }
        commands.push(login.arg(password).take());
    }
    if settings.db() != 0 {
        commands.push(cmd("SELECT").arg(settings.db()).take());
    }
    commands
}

/// Has the system find out when nobody is at the other end any more, as the settings say.
pub(crate) fn keep_alive<'s, S>(stream: &'s S, settings: &TcpSettings) -> io::Result<()>
where
    SockRef<'s>: From<&'s S>,
{
    match settings.keepalive() {
        Some(keepalive) => SockRef::from(stream).set_tcp_keepalive(keepalive),
        None => Ok(()),
    }
}

/// A time that does not come.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The half of a connection that whoever asks may use.
#[derive(Debug)]
enum Sender {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Sender {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sender::Tcp(half) => half.try_write(bytes),
            Sender::Unix(half) => half.try_write(bytes),
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Sender::Tcp(half) => half.as_ref().poll_write_ready(context),
            Sender::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }

    /// Ends the connection in both directions.
    fn shut_down(&self) {
        // The other end may have done so before.
        let _ = match self {
            Sender::Tcp(half) => SockRef::from(half.as_ref()).shutdown(Shutdown::Both),
            Sender::Unix(half) => SockRef::from(half.as_ref()).shutdown(Shutdown::Both),
        };
    }
}

/// The driver's half of a connection.
#[derive(Debug)]
enum Receiver {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

impl Receiver {
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Receiver::Tcp(half) => Pin::new(half).poll_read(context, room),
            Receiver::Unix(half) => Pin::new(half).poll_read(context, room),
        }
    }
}

/// The task that reads, and writes what nobody else has written.
struct Driver {
    receiver: Receiver,
    shared: Arc<Shared>,
    /// What was read and not yet handed over stands in front, `filled` bytes long; what follows is room.
    read: Vec<u8>,
    filled: usize,
    timer: Pin<Box<Sleep>>,
    timer_runs: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Also when the runtime is shut down.
        self.shared.end("the connection's runtime has ended".into());
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        driver.shared.driver.register(context.waker());
        let ended = match driver.work(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(error) => error,
        };
        driver.shared.end(ended.to_string());
        Poll::Ready(())
    }
}

impl Driver {
    /// Does all that can be done now; ready with the reason why nothing can be done any more.
    fn work(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if let Poll::Ready(Err(error)) = self.write(context) {
                return Poll::Ready(error);
            }
            // Replies wake those who may have more to send, but not before this task has yielded.
            match self.read(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => break,
            }
        }
        self.watch(context)
    }

    /// Writes what has gathered; pending also when there is nothing.
    fn write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let state = self.shared.lock();
            if let Some(reason) = &state.ended {
                return Poll::Ready(Err(io::Error::other(reason.clone())));
            }
            if self.shared.flush(state)? {
                return Poll::Pending;
            }
            ready!(self.shared.sender.poll_ready(context))?;
        }
    }

    /// Reads what has arrived and hands the replies over.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read.len() < self.filled + CHUNK {
            self.read.resize((self.filled + CHUNK).max(2 * self.filled), 0);
        }
        let mut chunk = ReadBuf::new(&mut self.read[self.filled..]);
        ready!(self.receiver.poll_read(context, &mut chunk))?;
        let count = chunk.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.filled += count;
        let mut at = 0;
        let mut state = self.shared.lock();
        while at < self.filled {
            let rest = &self.read[at..self.filled];
            let grant = match state.waiting.front() {
                Some(Waiting { answer: Answer::Verdict(_), .. }) => parse_grant(rest),
                _ => None,
            };
            if let Some((grant, length)) = grant {
                at += length;
                if let Some(Waiting { answer: Answer::Verdict(answer), .. }) = state.waiting.pop_front() {
                    let _ = answer.send(Ok(grant));
                }
                continue;
            }
            let Some((reply, length)) = parse(rest).map_err(io::Error::other)? else { break };
            at += length;
            let waiting = state.waiting.pop_front();
            let waiting = waiting.ok_or_else(|| io::Error::other("a reply that nobody has asked for"))?;
            waiting.answer.reply(reply);
        }
        drop(state);
        self.read.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.filled == 0 && self.read.len() > KEPT_CAPACITY {
            self.read = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Sees to it that the oldest request is answered in time.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let Some(deadline) = self.shared.lock().waiting.front().map(|waiting| waiting.deadline) else {
                // A timer that runs is left alone: most often the next request is there before it fires.
                return Poll::Pending;
            };
            if !self.timer_runs || self.timer.deadline().into_std() > deadline {
                self.timer.as_mut().reset(deadline.into());
                self.timer_runs = true;
            }
            ready!(self.timer.as_mut().poll(context));
            self.timer_runs = false;
            if Instant::now() >= deadline {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, BufWriter, Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::{self, JoinHandle};

    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    /// Accepts one connection and has a thread of its own do something with it.
    fn peer<T: Send + 'static>(
        serve: impl FnOnce(std::net::TcpStream) -> T + Send + 'static,
    ) -> (SocketAddr, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(TIME)).unwrap();
            serve(stream)
        };
        (address, thread::spawn(serve))
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    async fn connect(address: SocketAddr, time: Duration) -> Wire {
        Wire::connect(&Client::open(format!("redis://{address}")).unwrap(), time).await.unwrap()
    }

    #[test]
    fn a_batch_goes_out_before_the_driver_has_its_turn() {
        let (address, served) = peer(|mut stream| {
            let mut request = [0; BATCH * 14];
            stream.read_exact(&mut request).unwrap();
            request
        });
        block_on(async {
            let wire = connect(address, TIME).await;
            let pending: Vec<_> = (0..BATCH).map(|_| wire.send(&cmd("PING"), TIME).unwrap()).collect();
            // This thread does not yield: nobody but whoever asked can have sent them.
            let request = served.join().unwrap();
            assert_eq!(&request[..], "*1\r\n$4\r\nPING\r\n".repeat(BATCH).as_bytes());
            drop(pending);
        });
    }

    #[test]
    fn what_a_full_socket_does_not_take_is_sent_later_and_in_order() {
        const REQUESTS: usize = 200;
        let filling = "x".repeat(100_000);
        let expected: Vec<u8> =
            (0..REQUESTS).flat_map(|i| cmd("ECHO").arg(i).arg(&filling).get_packed_command()).collect();
        let length = expected.len();
        let (begin, begun) = std::sync::mpsc::channel();
        let (address, served) = peer(move |mut stream| {
            begun.recv().unwrap();
            let mut requests = vec![0; length];
            stream.read_exact(&mut requests).unwrap();
            for i in 0..REQUESTS {
                write!(stream, ":{i}\r\n").unwrap();
            }
            requests
        });
        block_on(async {
            let wire = connect(address, TIME).await;
            let pending: Vec<_> =
                (0..REQUESTS).map(|i| wire.send(cmd("ECHO").arg(i).arg(&filling), TIME).unwrap()).collect();
            tokio::task::yield_now().await;
            let is_full = |state: &State| state.written < state.writing.len();
            assert!(is_full(&wire.0.0.lock()), "the socket has taken everything");
            begin.send(()).unwrap();
            for (i, pending) in pending.into_iter().enumerate() {
                assert_eq!(pending.reply().await.unwrap(), Value::Int(i as i64));
            }
        });
        assert!(served.join().unwrap() == expected, "the requests arrived in another order, or not whole");
    }

    #[test]
    fn a_server_that_does_not_answer_in_time_sees_the_connection_end() {
        let (address, served) = peer(|mut stream| {
            let mut requests = Vec::new();
            stream.read_to_end(&mut requests).map(|_| requests.len())
        });
        block_on(async {
            let wire = connect(address, TIME).await;
            let answer = wire.ask(&cmd("PING"), Duration::from_millis(20)).await;
            assert!(matches!(answer, Err(Trouble::Unreachable(_))), "{answer:?}");
            // `wire` is still here: it is not the last handle's end that closes the connection.
            assert_eq!(served.join().unwrap().unwrap(), "*1\r\n$4\r\nPING\r\n".len());
            assert!(wire.has_ended());
        });
    }

    #[test]
    fn many_threads_get_each_its_own_replies() {
        const THREADS: usize = 8;
        const REQUESTS: usize = 2000;
        let (address, served) = peer(|stream| {
            // Every request is `*2 $4 ECHO $N argument`; the argument comes back.
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let mut out = BufWriter::new(stream);
            for done in 1..=THREADS * REQUESTS {
                let argument = lines.nth(4).unwrap();
                write!(out, "${}\r\n{argument}\r\n", argument.len()).unwrap();
                if done % 3 == 0 || done == THREADS * REQUESTS {
                    out.flush().unwrap();
                }
                if done % 1000 == 0 {
                    // Let the others run into a socket that is full.
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let wire = runtime.block_on(connect(address, TIME));
        let ask = |thread: usize| {
            let (wire, handle) = (wire.clone(), runtime.handle().clone());
            thread::spawn(move || {
                let argument = |i: usize| format!("{thread}:{i}:{}", "x".repeat(i % 3000));
                for first in (0..REQUESTS).step_by(100) {
                    let batch: Vec<_> = (first..first + 100)
                        .map(|i| wire.send(cmd("ECHO").arg(argument(i)), TIME).unwrap())
                        .collect();
                    for (i, pending) in (first..).zip(batch) {
                        let reply = handle.block_on(pending.reply()).unwrap();
                        assert_eq!(reply, Value::BulkString(argument(i).into_bytes()));
                    }
                }
            })
        };
        for thread in (0..THREADS).map(ask).collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        served.join().unwrap();
    }

    #[test]
    fn the_last_handle_and_the_runtime_end_the_connection() {
        for ends_runtime in [false, true] {
            let (address, served) = peer(|mut stream| stream.read_to_end(&mut Vec::new()).unwrap());
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let wire = runtime.block_on(connect(address, TIME));
            if ends_runtime {
                drop(runtime);
                assert_eq!(served.join().unwrap(), 0);
                assert!(wire.send(&cmd("PING"), TIME).is_err());
            } else {
                drop(wire);
                assert_eq!(served.join().unwrap(), 0);
            }
        }
    }
}
