//! The loop that carries bytes between sockets and the node; the one thread that executes.
//!
//! ```text
//! epoll_wait ─► read each readable link into one shared buffer ─► node ─► write each link's output ─► epoll_wait …
//! ```
//!
//! A turn costs one read and one write for each link that had something to say, and no other system call: interest in
//! writing is registered only while a socket is full. Tokens of connections are session ids.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use base::time::Now;
use config::{OomScoreAdj, Supervised};
use engine::SessionId;
use engine::effect::LogLevel;
use mio::net::TcpStream;
use mio::{Events, Poll, Registry, Token, Waker};
use node::{Closing, Effect, Input, Node, Peer};
use socket2::{SockRef, TcpKeepalive};

use crate::connection::{Connection, Stream};
use crate::gather::Gather;
use crate::host::Machine;
use crate::listener::{self, Place};
use crate::loader::{Loader, Step};
use crate::signals::{self, Signals};
use crate::storage::{CHILD_TOKEN, DISK_TOKEN, Storage};
use crate::text::reason;
use crate::{crash, log, oom, process, supervisor};

mod replication;

use replication::Lookup;

/// How long loading goes on before clients are looked after.
const LOAD_TURN: Duration = Duration::from_millis(10);

/// The buffer that links share: what is complete in it is executed in the same turn.
const READ_BYTES: usize = 128 * 1024;

/// With less room than this left, what has been read is executed first.
const READ_BYTES_MIN: usize = 64 * 1024;

/// After so many full reads in a row the other links get their turn.
const READS_IN_A_ROW: usize = 16;

/// Connections accepted in a row.
const ACCEPTS_IN_A_ROW: usize = 1000;

/// Events taken from the system at once.
const EVENTS: usize = 1024;

/// How much later than asked for the kernel may end the loop's pauses; what it does by itself is as long as one of them.
const TIMER_SLACK: Duration = Duration::from_micros(1);

/// How long to wait before a child is looked at again that is about to end.
const CHILD_LEAVES: Duration = Duration::from_millis(2);

/// How long to wait before a connection is accepted again that there was no descriptor for.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Everything that the loop works with.
pub(crate) struct EventLoop {
    poll: Poll,
    registry: Registry,
    node: Node,
    machine: Machine,
    signals: Signals,
    storage: Storage,
    /// There until the data set is loaded.
    loader: Option<Loader>,
    /// There is more to load at once.
    loads: bool,
    /// The server has said that it is ready.
    served: bool,
    supervised: Supervised,
    /// By session id.
    connections: Vec<Option<Connection>>,
    buffer: Box<[u8]>,
    /// How much of the buffer is taken by `inputs`.
    filled: usize,
    /// What has been read and not executed.
    inputs: Vec<Input>,
    /// A part of a file on its way to a replica.
    file_part: Vec<u8>,
    now: Now,
    /// Links that may have more to read than they got time for.
    unread: Vec<SessionId>,
    /// Links that may have more to send than they got time for.
    unsent: Vec<SessionId>,
    /// Names of masters that are being looked up.
    lookups: Vec<Lookup>,
    /// Listeners that may have more to accept.
    unaccepted: Vec<Place>,
    gather: Gather,
    /// There was no descriptor for a new connection.
    out_of_files: bool,
    /// How the process ends, once it is to.
    exit: Option<i32>,
}

impl EventLoop {
    /// Returns the loop of a node.
    ///
    /// The error says why the data set cannot be loaded, or the loop not be set up.
    pub(crate) fn new(
        poll: Poll,
        mut node: Node,
        machine: Machine,
        signals: Signals,
        supervised: Supervised,
        waker: Arc<Waker>,
    ) -> Result<EventLoop, String> {
        let failed = |error: io::Error| format!("Creating the event loop failed: {}", reason(&error));
        let registry = poll.registry().try_clone().map_err(failed)?;
        let storage = Storage::new(waker);
        let loader = Loader::begin(&mut node, &machine, storage.waker())?;
        let now = machine.clock.now();
        Ok(EventLoop {
            poll,
            registry,
            node,
            machine,
            signals,
            storage,
            loader: Some(loader),
            loads: true,
            served: false,
            supervised,
            connections: Vec::new(),
            buffer: vec![0; READ_BYTES].into(),
            filled: 0,
            inputs: Vec::new(),
            file_part: Vec::new(),
            now,
            unread: Vec::new(),
            unsent: Vec::new(),
            lookups: Vec::new(),
            unaccepted: Vec::new(),
            gather: Gather::new(),
            out_of_files: false,
            exit: None,
        })
    }

    /// Serves until the server is told to stop; returns the exit code.
    pub(crate) fn run(&mut self) -> i32 {
        let mut events = Events::with_capacity(EVENTS);
        process::set_timer_slack(TIMER_SLACK);
        loop {
            if self.gather.end_turn(self.now.instant) {
                self.pause();
            }
            if let Err(error) = self.poll.poll(&mut events, self.wait())
                && error.kind() != ErrorKind::Interrupted
            {
                panic!("waiting for events failed: {error}");
            }
            self.now = self.machine.clock.now();
            for event in &events {
                let token = event.token();
                if token == signals::TOKEN {
                    self.take_signal();
                } else if token == DISK_TOKEN {
                    // What is done is taken at the end of the turn.
                } else if token == CHILD_TOKEN {
                    self.storage.hear_child(&mut self.node, &self.machine);
                    self.carry_out();
                } else if let Some(place) = listener::place(token) {
                    self.accept(place);
                } else {
                    let id = SessionId(token.0 as u32);
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let ended = event.is_read_closed() || event.is_error();
                        self.read(id, ended);
                    }
                    if event.is_writable() {
                        self.writable(id);
                    }
                }
            }
            if self.storage.has_leaving() {
                self.storage.hear_child(&mut self.node, &self.machine);
                self.carry_out();
            }
            self.go_on();
            self.look_up();
            self.execute();
            self.load();
            if self.node.poll_timeout().is_some_and(|at| at <= self.now.instant) {
                self.node.handle_timeout(self.now, &self.machine);
                self.carry_out();
            }
            self.report();
            while let Some(id) = self.node.poll_output() {
                self.send(id, false);
            }
            // What was sent may let a machine ask for something.
            self.carry_out();
            if let Some(code) = self.exit {
                return code;
            }
        }
    }

    /// Tells the node what became of tasks for the disk, and does what follows.
    #[inline]
    fn report(&mut self) {
        while self.storage.report(&mut self.node, &self.machine) {
            self.carry_out();
        }
    }

    /// Loads a part of the data set, if it is not there yet.
    fn load(&mut self) {
        let Some(loader) = &mut self.loader else { return };
        let started = self.machine.clock.now();
        // As many pieces as do not keep clients waiting for long.
        loop {
            match loader.step(&mut self.node, &self.machine) {
                Ok(Step::More) => {
                    self.loads = true;
                    let spent = self.machine.clock.now().instant.saturating_since(started.instant);
                    if spent > LOAD_TURN {
                        break;
                    }
                }
                Ok(Step::Wait) => {
                    self.loads = false;
                    break;
                }
                Ok(Step::Done) => {
                    (self.loader, self.loads) = (None, false);
                    self.carry_out();
                    if !self.served {
                        self.served = true;
                        self.ready();
                    }
                    break;
                }
                Err(reason) if self.node.loading_failed(self.now, &self.machine, reason.clone()) => {
                    (self.loader, self.loads) = (None, false);
                    break;
                }
                Err(reason) => {
                    log::warning(&format!("Fatal error loading the DB: {reason}. Exiting."));
                    (self.loader, self.exit) = (None, Some(1));
                    return;
                }
            }
        }
        self.carry_out();
    }

    /// Says that clients are served from now on.
    fn ready(&self) {
        let listeners = self.machine.listeners.borrow();
        for (kind, open) in [("tcp", !listeners.tcp.is_empty()), ("unix", listeners.unix.is_some())] {
            if open {
                log::notice(&format!("Ready to accept connections {kind}"));
            }
        }
        if self.supervised == Supervised::Systemd {
            supervisor::tell("STATUS=Ready to accept connections\nREADY=1\n");
        }
    }

    /// Lets requests gather, unless something is due or somebody waits for more than the loop.
    fn pause(&self) {
        let server = &self.node.engine.server;
        let pause = Duration::from_micros(u64::from(server.config.gather_requests_us));
        let free = server.held_sessions() == 0 && self.wait().is_none_or(|wait| wait > pause);
        if free && !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }

    /// Returns how long the next wait for events may last.
    fn wait(&self) -> Option<Duration> {
        if self.loads
            || !self.unread.is_empty()
            || !self.unsent.is_empty()
            || (!self.unaccepted.is_empty() && !self.out_of_files)
        {
            return Some(Duration::ZERO);
        }
        let wait = self.node.poll_timeout().map(|at| at.saturating_since(self.now.instant));
        let wait = match self.storage.has_leaving() {
            true => Some(wait.map_or(CHILD_LEAVES, |wait| wait.min(CHILD_LEAVES))),
            false => wait,
        };
        if self.out_of_files { Some(wait.map_or(ACCEPT_RETRY, |wait| wait.min(ACCEPT_RETRY))) } else { wait }
    }

    /// Returns to links and listeners that did not finish in an earlier turn.
    fn go_on(&mut self) {
        if !self.unread.is_empty() {
            for id in std::mem::take(&mut self.unread) {
                self.read(id, false);
            }
        }
        for id in std::mem::take(&mut self.unsent) {
            // They stopped for others' sake, and not for a full socket.
            self.send(id, true);
        }
        if !self.unaccepted.is_empty() {
            self.out_of_files = false;
            for place in std::mem::take(&mut self.unaccepted) {
                self.accept(place);
            }
        }
    }

    /// Reads what a link sent, to be executed with what others sent; `ended` says that nothing will follow it.
    fn read(&mut self, id: SessionId, ended: bool) {
        for _ in 0..READS_IN_A_ROW {
            if !self.node.wants_input(id) {
                return;
            }
            let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
            let room = self.buffer.len() - self.filled;
            match connection.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return self.close_because(id, "the master closed the connection"),
                Ok(count) => {
                    self.gather.note(&mut connection.seen);
                    self.machine.reads.set(self.machine.reads.get() + 1);
                    self.inputs.push(Input { link: id, start: self.filled, end: self.filled + count });
                    self.filled += count;
                    if self.buffer.len() - self.filled < READ_BYTES_MIN || self.node.is_master(id) {
                        self.execute();
                    }
                    // A socket that gave less than asked for is empty, and will say so when it is not; so that an end is
                    // noticed that came with the last bytes, it is read for as well.
                    if count < room && !ended {
                        return;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted => {}
                    _ => return self.close_because(id, &reason(&error)),
                },
            }
        }
        self.unread.push(id);
    }

    /// Executes what has been read.
    #[inline]
    fn execute(&mut self) {
        if !self.inputs.is_empty() {
            self.node.handle_inputs(self.now, &self.machine, &self.buffer, &self.inputs);
            self.inputs.clear();
            self.filled = 0;
            self.carry_out();
        }
    }

    /// Sends what a link has to be sent, as far as its socket takes it, and closes it where that is due.
    #[inline]
    fn send(&mut self, id: SessionId, writable: bool) {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else {
            return self.forget(id);
        };
        let output = self.node.output(id);
        let closing = self.node.closing(id);
        if closing == Closing::Now {
            return self.close(id);
        }
        // A full socket says by itself when it is not.
        if connection.waits_to_write && !writable {
            return;
        }
        let mut left = output.len();
        if left > 0 {
            match connection.write(output) {
                Ok(count) => {
                    left -= count;
                    self.machine.writes.set(self.machine.writes.get() + 1);
                    if self.node.sent(id, count) && left == 0 {
                        return self.send_more(id, closing);
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return self.close_because(id, &reason(&error)),
            }
        } else if connection.file.is_some() {
            return self.send_more(id, closing);
        }
        if left == 0 && closing == Closing::AfterReply {
            return self.close(id);
        }
        if connection.wait_to_write(left > 0, &self.registry, Token(id.0 as usize)).is_err() {
            self.close(id);
        }
    }

    /// Ends a link, after executing what it said before.
    fn close(&mut self, id: SessionId) {
        self.close_because(id, "the connection was closed");
    }

    fn close_because(&mut self, id: SessionId, why: &str) {
        self.execute();
        if let Some(slot) = self.connections.get_mut(id.0 as usize)
            && slot.take().is_some()
        {
            if self.node.is_master(id) {
                self.node.disconnected(self.now, &self.machine, id, why);
            } else {
                self.node.close(id);
            }
            self.carry_out();
        }
    }

    /// Accepts connections until none waits.
    fn accept(&mut self, place: Place) {
        for _ in 0..ACCEPTS_IN_A_ROW {
            match self.accept_one(place) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        log::warning(&format!("Accepting client connection: {}", reason(&error)));
                        self.out_of_files = true;
                        break;
                    }
                },
            }
        }
        if !self.unaccepted.contains(&place) {
            self.unaccepted.push(place);
        }
    }

    /// Accepts one connection; false when the listener is gone.
    fn accept_one(&mut self, place: Place) -> io::Result<bool> {
        let listeners = self.machine.listeners.borrow();
        match place {
            Place::Tcp(index) => {
                let Some(listener) = listeners.tcp.get(index) else { return Ok(false) };
                let (stream, address) = listener.accept()?;
                drop(listeners);
                self.welcome_tcp(stream, address);
            }
            Place::Unix => {
                let Some(listener) = &listeners.unix else { return Ok(false) };
                let (stream, _) = listener.accept()?;
                drop(listeners);
                let path = String::from_utf8_lossy(&self.node.engine.server.config.unixsocket).into_owned();
                let address = format!("{path}:0");
                let peer = Peer {
                    addr: address.clone(),
                    local_addr: address,
                    fd: stream.as_raw_fd(),
                    unix_socket: true,
                };
                self.welcome(Stream::Unix(stream), peer);
            }
        }
        Ok(true)
    }

    fn welcome_tcp(&mut self, mut stream: TcpStream, address: SocketAddr) {
        let config = &self.node.engine.server.config;
        if config.protected_mode && config.requirepass.is_empty() && !address.ip().is_loopback() {
            // Best effort: whoever is refused has no claim to the reason.
            let _ = stream.write(DENIED.as_bytes());
            self.machine.rejected.set(self.machine.rejected.get() + 1);
            return;
        }
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_nodelay(true);
        if config.tcp_keepalive > 0 {
            let idle = u64::from(config.tcp_keepalive);
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(idle))
                .with_interval(Duration::from_secs((idle / 3).max(1)))
                .with_retries(3);
            let _ = socket.set_tcp_keepalive(&keepalive);
        }
        let local = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let peer =
            Peer { addr: address.to_string(), local_addr: local, fd: stream.as_raw_fd(), unix_socket: false };
        self.welcome(Stream::Tcp(stream), peer);
    }

    fn welcome(&mut self, mut stream: Stream, peer: Peer) {
        let server = &self.node.engine.server;
        if server.sessions.len() >= server.config.maxclients as usize {
            let _ = stream.write(b"-ERR max number of clients reached\r\n");
            self.machine.rejected.set(self.machine.rejected.get() + 1);
            return;
        }
        let id = self.node.open(self.now, peer);
        let slot = id.0 as usize;
        match Connection::new(stream, &self.registry, Token(slot)) {
            Ok(connection) => {
                if self.connections.len() <= slot {
                    self.connections.resize_with(slot + 1, || None);
                }
                self.connections[slot] = Some(connection);
            }
            Err(error) => {
                log::warning(&format!("Error registering fd event for the new client: {}", reason(&error)));
                self.node.close(id);
            }
        }
    }

    /// Does what the node asks for.
    #[inline]
    fn carry_out(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            self.carry_out_one(effect);
        }
    }

    #[cold]
    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Free(garbage) => self.machine.freeing.borrow_mut().free(garbage),
            Effect::Log(level, line) => log::log(level_of(level), &line),
            Effect::Follow => {
                let config = &self.node.engine.server.config;
                log::set_replica(config.replicaof.is_some());
                if config.oom_score_adj != OomScoreAdj::No {
                    // That it cannot be done is in the log.
                    let _ = oom::adjust(config, self.machine.oom_score);
                }
            }
            Effect::Close { session, flush } => {
                let wish = if flush { Closing::AfterReply } else { Closing::Now };
                let sessions = &mut self.node.engine.server.sessions;
                if let Some(session) = sessions.get_mut(session) {
                    session.close(wish);
                }
                sessions.queue_id(session);
            }
            Effect::Stall(time) => {
                // Who was to be closed, or told something, before that is not made to wait for it.
                while let Some(id) = self.node.poll_output() {
                    self.send(id, false);
                }
                std::thread::sleep(time);
                self.now = self.machine.clock.now();
            }
            Effect::Shutdown => self.stop(),
            Effect::Crash(why) => crash::crash(&why),
            Effect::Disk(id, task) => self.machine.disk.borrow_mut().submit(id, task),
            Effect::Fork { kind, path, rename_to } => {
                let EventLoop { storage, registry, node, machine, .. } = self;
                storage.fork(registry, node, machine, kind, &path, rename_to.as_deref());
            }
            Effect::KillChild => self.storage.kill_child(),
            Effect::Connect { session, host, port } => self.connect(session, &host, port),
            Effect::NextPiece(id) => self.storage.next_piece(&mut self.node, &self.machine, id),
            Effect::DropPieces => self.storage.drop_pieces(),
            Effect::SendFile { session, path } => self.begin_file(session, &path),
            Effect::Gather(session) => {
                if let Some(Some(connection)) = self.connections.get(session.0 as usize) {
                    connection.gather();
                }
            }
            Effect::Listen(session) => self.unread.push(session),
            Effect::Load => {
                self.loader = Loader::of_node(&self.node, self.storage.waker());
                self.loads = self.loader.is_some();
            }
            // These the node keeps for itself.
            Effect::Unblocked(_)
            | Effect::Resume
            | Effect::Save
            | Effect::RewriteLog
            | Effect::Reconfigured => {}
        }
    }

    fn take_signal(&mut self) {
        if let Some(name) = self.signals.take() {
            log::notice(&format!("Received {name} scheduling shutdown..."));
            if self.node.is_stopping() {
                self.node.hurry(self.now);
                return;
            }
            let config = &self.node.engine.server.config;
            let wish = if name == "SIGINT" { config.shutdown_on_sigint } else { config.shutdown_on_sigterm };
            self.node.shut_down(self.now, &self.machine, wish);
            self.carry_out();
        }
    }

    /// Ends the turn, and then the loop.
    fn stop(&mut self) {
        if self.exit.is_none() {
            self.machine.listeners.borrow_mut().close();
            self.exit = Some(0);
        }
    }
}

fn level_of(level: LogLevel) -> config::LogLevel {
    match level {
        LogLevel::Debug => config::LogLevel::Debug,
        LogLevel::Verbose => config::LogLevel::Verbose,
        LogLevel::Notice => config::LogLevel::Notice,
        LogLevel::Warning => config::LogLevel::Warning,
    }
}

/// What a client from elsewhere is told in protected mode; clients look for these words.
const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same \
host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG \
REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started \
the server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication \
password for the default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";
