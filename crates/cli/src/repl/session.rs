//! A conversation with a server: connects when needed, sends commands, shows what comes back, and follows what commands
//! do to the connection.
//!
//! Owns the connection and what is known of its state (database, transaction, subscriptions). Where commands come from
//! is left to the modes.

use std::io::{self, Write};

use super::client::Client;
use super::interrupt;
use super::json;
use super::options::{Endpoint, Options, Output, ProtocolWish, leading_int};
use super::render;
use super::reply::{LinkError, Reply};
use super::subscriptions::{Message, Request, Subscriptions};

/// A conversation.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) client: Option<Client>,
    /// Whether commands are read from a person or a file, one after the other.
    pub(crate) interactive: bool,
    /// The database that the connection is in.
    db: i32,
    /// The database that it is to be in after the next connect.
    wanted_db: i32,
    db_before_multi: i32,
    in_multi: bool,
    subscriptions: Subscriptions,
    /// Whether pushes are returned like replies, rather than shown or dropped.
    pushes_in_band: bool,
    /// Where a cluster sent the last command.
    redirected: Option<Redirection>,
}

/// Why the program ends before its work is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// All is said; ends with this code.
    Code(u8),
    /// Nobody reads what is printed.
    Output(io::Error),
}

/// Whether there is still a connection after something was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Lost,
}

/// Another server that a command belongs to.
#[derive(Clone, Copy, Debug)]
struct Redirection {
    /// Whether only this one command does.
    asking: bool,
}

/// What came back for a command.
#[derive(Debug)]
enum Answer {
    Reply(Reply),
    /// The connection is gone, as was asked for.
    Ended,
    /// Ctrl-C cut the connection, and there is a new one.
    Interrupted,
    Lost(LinkError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl Session {
    /// Begins without a connection.
    pub(crate) fn new(options: Options) -> Session {
        Session {
            wanted_db: options.db,
            options,
            client: None,
            interactive: false,
            db: 0,
            db_before_multi: 0,
            in_multi: false,
            subscriptions: Subscriptions::default(),
            pushes_in_band: false,
            redirected: None,
        }
    }

    /// Connects anew, and says on the error stream what fails unless `quiet`.
    pub(crate) fn connect(&mut self, quiet: bool) -> Link {
        self.client = None;
        self.db = 0;
        self.in_multi = false;
        self.subscriptions.clear();
        self.pushes_in_band = false;
        let options = &self.options;
        match Client::connect(&options.endpoint, options.family, options.connect_timeout) {
            Ok(client) => self.client = Some(client),
            Err(error) => {
                if !quiet {
                    let endpoint = &options.endpoint;
                    let place = match &endpoint.socket {
                        Some(path) => String::from_utf8_lossy(path).into_owned(),
                        None => format!("{}:{}", endpoint.host, endpoint.port),
                    };
                    complain!("Could not connect to Redis at {place}: {error}");
                }
                return Link::Lost;
            }
        }
        if self.authenticate() == Link::Lost || self.select() == Link::Lost {
            return Link::Lost;
        }
        self.switch_protocol()
    }

    fn authenticate(&mut self) -> Link {
        let Some(password) = self.options.password.clone() else { return Link::Up };
        let mut request = vec![b"AUTH".to_vec()];
        request.extend(self.options.user.clone());
        request.push(password);
        match self.ask(&request) {
            Some(Reply::Error(text)) => {
                complain!("AUTH failed: {}", String::from_utf8_lossy(&text));
                Link::Lost
            }
            Some(_) => Link::Up,
            None => Link::Lost,
        }
    }

    /// Moves the connection to the database that it is to be in.
    fn select(&mut self) -> Link {
        let db = self.wanted_db;
        if db == self.db {
            return Link::Up;
        }
        match self.ask(&["SELECT".to_string(), db.to_string()]) {
            Some(Reply::Error(text)) => {
                complain!("SELECT {db} failed: {}", String::from_utf8_lossy(&text));
                Link::Lost
            }
            Some(_) => {
                self.db = db;
                Link::Up
            }
            None => Link::Lost,
        }
    }

    fn switch_protocol(&mut self) -> Link {
        let must = match self.options.protocol {
            ProtocolWish::None | ProtocolWish::Resp2 => return Link::Up,
            ProtocolWish::Resp3 => true,
            ProtocolWish::Resp3IfPossible => false,
        };
        match self.ask(&["HELLO", "3"]) {
            Some(Reply::Error(text)) => {
                complain!("HELLO 3 failed: {}", String::from_utf8_lossy(&text));
                if must { Link::Lost } else { Link::Up }
            }
            Some(_) => Link::Up,
            None => Link::Lost,
        }
    }

    /// Asks something that the user did not, nothing if the connection breaks meanwhile.
    fn ask<T: AsRef<[u8]>>(&mut self, request: &[T]) -> Option<Reply> {
        let answer = self.client.as_mut()?.call(request);
        if answer.is_err() {
            complain!("\nI/O error");
        }
        answer.ok()
    }

    /// Returns whether the connection listens to channels.
    pub(crate) fn subscribed(&self) -> bool {
        self.subscriptions.any()
    }

    /// Returns whether the connection is there for anything that is asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.client.is_some() && !self.in_multi && !self.subscribed()
    }

    /// Notes another server, for the next connect.
    pub(crate) fn go_to(&mut self, host: &str, port: i32) {
        self.options.endpoint = Endpoint { host: host.to_string(), port, socket: None };
    }

    /// Returns what stands before a line that is being typed.
    pub(crate) fn prompt(&self) -> String {
        if self.client.is_none() {
            return "not connected> ".into();
        }
        let endpoint = &self.options.endpoint;
        let mut prompt = match &endpoint.socket {
            Some(path) => format!("redis {}", String::from_utf8_lossy(path)),
            None if endpoint.host.contains(':') => format!("[{}]:{}", endpoint.host, endpoint.port),
            None => format!("{}:{}", endpoint.host, endpoint.port),
        };
        if self.db != 0 {
            prompt += &format!("[{}]", self.db);
        }
        if self.in_multi {
            prompt += "(TX)";
        }
        if self.subscribed() {
            prompt += "(subscribed mode)";
        }
        prompt + "> "
    }

    /// Runs a command `repeat` times, for ever if that is negative, on a new connection if there is none.
    pub(crate) fn issue(&mut self, args: &[Vec<u8>], repeat: i64) -> Result<Link, Stop> {
        loop {
            let redirected = self.redirected.take();
            if (redirected.is_some() || self.client.is_none()) && self.connect(false) == Link::Lost {
                // A connection whose password was refused still is one, but not what was asked for.
                return Ok(Link::Lost);
            }
            if redirected.is_some_and(|redirected| redirected.asking) {
                match self.ask(&["ASKING"]) {
                    Some(Reply::Error(text)) => {
                        complain!("ASKING failed: {}", String::from_utf8_lossy(&text));
                        return Ok(Link::Lost);
                    }
                    Some(_) => {}
                    None => return Ok(Link::Lost),
                }
            }
            if let Err(error) = self.send(args, repeat)? {
                complain!("Error: {error}");
                self.client = None;
                self.subscriptions.clear();
                return Ok(Link::Lost);
            }
            if self.redirected.is_none() {
                return Ok(Link::Up);
            }
        }
    }

    /// Runs a command on the connection that there is.
    fn send(&mut self, args: &[Vec<u8>], mut repeat: i64) -> Result<Result<(), LinkError>, Stop> {
        let Some(name) = args.first().map(|name| name.to_ascii_lowercase()) else { return Ok(Ok(())) };
        if matches!(name.as_slice(), b"sync" | b"psync") {
            complain!("What a replica is sent cannot be shown; --rdb writes it to a file.");
            return if self.interactive { Ok(Ok(())) } else { Err(Stop::Code(1)) };
        }
        let plain = prints_itself(args);
        while repeat != 0 {
            repeat -= i64::from(repeat > 0);
            let Some(client) = self.client.as_mut() else { return Ok(Ok(())) };
            if let Err(error) = client.send(args) {
                return self.failure(error);
            }
            match name.as_slice() {
                b"monitor" => return self.monitor(plain),
                b"subscribe" | b"psubscribe" | b"ssubscribe" if !self.interactive => {
                    if let Err(error) = self.listen(plain)? {
                        return Ok(Err(error));
                    }
                    continue;
                }
                _ => {}
            }
            let reply = match self.read_answer_to(&name, args, plain)? {
                Answer::Reply(reply) => reply,
                Answer::Ended | Answer::Interrupted => return Ok(Ok(())),
                Answer::Lost(error) => return Ok(Err(error)),
            };
            self.follow(&name, args, &reply);
            if self.redirected.is_some() {
                break;
            }
            if !self.options.interval.is_zero() {
                std::thread::sleep(self.options.interval);
            }
        }
        Ok(Ok(()))
    }

    /// Reads and shows what answers a command; for subscriptions that is a message for each name.
    fn read_answer_to(&mut self, name: &[u8], args: &[Vec<u8>], plain: bool) -> Result<Answer, Stop> {
        let request = Request::named(name);
        let mut confirmations =
            request.map_or(0, |request| self.subscriptions.confirmations(request, args.len() - 1));
        self.pushes_in_band |= request.is_some();
        let listens = request.is_some_and(Request::begins);
        let _guard = self.guard_if(listens);
        let answer = loop {
            let reply = match self.read_and_show(plain, name == b"shutdown")? {
                Answer::Reply(reply) => reply,
                other => break other,
            };
            if request.is_none() && !self.subscriptions.any() {
                break Answer::Reply(reply);
            }
            match self.subscriptions.note(&reply) {
                Some(Message::Confirmation(confirmed)) if Some(confirmed) == request => {
                    confirmations = confirmations.saturating_sub(1);
                    if confirmations == 0 {
                        break Answer::Reply(reply);
                    }
                }
                Some(_) => {}
                None if matches!(reply, Reply::Push(_)) => {}
                None => break Answer::Reply(reply),
            }
        };
        self.pushes_in_band = self.subscriptions.any();
        Ok(answer)
    }

    /// Shows what other clients do, until Ctrl-C or the end of the connection.
    fn monitor(&mut self, plain: bool) -> Result<Result<(), LinkError>, Stop> {
        let _guard = self.guard_if(true);
        loop {
            match self.read_and_show(plain, false)? {
                Answer::Reply(Reply::Error(_)) | Answer::Interrupted | Answer::Ended => return Ok(Ok(())),
                Answer::Reply(_) => {}
                Answer::Lost(error) => {
                    complain!("Error: {error}");
                    return Err(Stop::Code(1));
                }
            }
        }
    }

    /// Shows messages, for a program that does nothing else.
    fn listen(&mut self, plain: bool) -> Result<Result<(), LinkError>, Stop> {
        if self.options.output != Output::Raw {
            writeln!(io::stdout(), "Reading messages... (press Ctrl-C to quit)")?;
        }
        self.pushes_in_band = true;
        loop {
            match self.read_and_show(plain, false)? {
                Answer::Reply(Reply::Error(_)) | Answer::Interrupted | Answer::Ended => break,
                Answer::Reply(_) => {}
                Answer::Lost(error) => return Ok(Err(error)),
            }
        }
        self.pushes_in_band = false;
        Ok(Ok(()))
    }

    /// Lets Ctrl-C end the connection instead of the program, where a person listens to it.
    fn guard_if(&self, listening: bool) -> Option<interrupt::Guard> {
        if listening && self.interactive { self.guard_connection() } else { None }
    }

    /// Lets Ctrl-C end the connection, as long as the guard lives; nothing if there is no connection.
    pub(crate) fn guard_connection(&self) -> Option<interrupt::Guard> {
        self.client.as_ref()?.stream().ok().map(interrupt::cutting)
    }

    /// Reads the next reply and shows it.
    fn read_and_show(&mut self, plain: bool, ending: bool) -> Result<Answer, Stop> {
        let reply = match self.read_in_band()? {
            Ok(reply) => reply,
            Err(_) if interrupt::take() => {
                return Ok(match self.connect(false) {
                    Link::Up => Answer::Interrupted,
                    Link::Lost => Answer::Lost(LinkError::Closed),
                });
            }
            Err(_) if ending => {
                self.client = None;
                return Ok(Answer::Ended);
            }
            Err(error) => {
                return Ok(match self.failure(error)? {
                    Ok(()) => Answer::Ended,
                    Err(error) => Answer::Lost(error),
                });
            }
        };
        if let Reply::Error(text) = &reply {
            if self.options.cluster && self.redirect(text)? {
                return Ok(Answer::Reply(reply));
            }
            if self.options.error_exit_code && !self.interactive {
                let mut line = text.clone();
                line.push(b'\n');
                let _ = io::stderr().write_all(&line);
                return Err(Stop::Code(1));
            }
        }
        self.show(&reply, plain)?;
        Ok(Answer::Reply(reply))
    }

    /// Reads the next reply; pushes among them are shown or dropped, unless they are wanted.
    fn read_in_band(&mut self) -> Result<Result<Reply, LinkError>, Stop> {
        loop {
            let Some(client) = self.client.as_mut() else { return Ok(Err(LinkError::Closed)) };
            match client.read() {
                Ok(push @ Reply::Push(_)) if !self.pushes_in_band => {
                    if self.options.show_pushes {
                        self.show_push(&push)?;
                    }
                }
                read => return Ok(read),
            }
        }
    }

    /// Decides whether the program can go on after its connection failed: only when more commands follow.
    fn failure(&mut self, error: LinkError) -> Result<Result<(), LinkError>, Stop> {
        let gone = match &error {
            LinkError::Closed => true,
            LinkError::Io(error) => {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            }
            LinkError::Protocol(_) => false,
        };
        if self.interactive && gone {
            return Ok(Err(error));
        }
        complain!("Error: {error}");
        Err(Stop::Code(1))
    }

    /// Shows a message of a subscribed connection; Ctrl-C is the caller's to guard.
    pub(crate) fn show_message(&mut self) -> Result<Link, Stop> {
        match self.read_and_show(false, false)? {
            Answer::Reply(reply) => {
                self.subscriptions.note(&reply);
                Ok(Link::Up)
            }
            Answer::Lost(error) => {
                complain!("Error: {error}");
                self.client = None;
                self.subscriptions.clear();
                Ok(Link::Lost)
            }
            Answer::Interrupted | Answer::Ended => Ok(Link::Lost),
        }
    }

    /// Prints a reply; `plain` ones are texts for people, whatever the output is for.
    pub(crate) fn show(&self, reply: &Reply, plain: bool) -> Result<(), Stop> {
        let mut out = Vec::new();
        let options = &self.options;
        match options.output {
            _ if plain => render::raw(&mut out, reply, &options.element_delimiter),
            Output::Formatted => render::formatted(&mut out, reply, ""),
            Output::Raw => {
                render::raw(&mut out, reply, &options.element_delimiter);
                out.extend_from_slice(&options.reply_delimiter);
            }
            Output::Csv => {
                render::csv(&mut out, reply);
                out.push(b'\n');
            }
            Output::Json(strings) => {
                json::write(&mut out, reply, strings);
                out.push(b'\n');
            }
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()?;
        Ok(())
    }

    fn show_push(&self, push: &Reply) -> Result<(), Stop> {
        let mut out = Vec::new();
        if self.options.output == Output::Formatted && render::invalidation(&mut out, push) {
            io::stdout().write_all(&out)?;
            return Ok(());
        }
        self.show(push, false)
    }

    /// Notes what a command that was answered did to the connection.
    fn follow(&mut self, name: &[u8], args: &[Vec<u8>], reply: &Reply) {
        let failed = matches!(reply, Reply::Error(_));
        match (name, args) {
            (b"select", [_, db]) if !failed => {
                self.db = leading_int(db) as i32;
                self.wanted_db = self.db;
            }
            // The next connection speaks what this one does.
            (b"hello", _) if !failed => {
                self.options.protocol = match reply {
                    Reply::Map(_) => ProtocolWish::Resp3IfPossible,
                    _ => ProtocolWish::Resp2,
                };
            }
            (b"auth", [_, _] | [_, _, _]) => {
                self.select();
            }
            (b"multi", [_]) if !failed => {
                self.in_multi = true;
                self.db_before_multi = self.db;
            }
            (b"exec", [_]) if self.in_multi => {
                self.in_multi = false;
                if failed || *reply == Reply::Nil {
                    self.leave_multi_db();
                }
            }
            (b"discard", [_]) if !failed => {
                self.in_multi = false;
                self.leave_multi_db();
            }
            (b"reset", [_]) if !failed => {
                self.in_multi = false;
                self.subscriptions.clear();
                self.pushes_in_band = false;
                (self.db, self.wanted_db) = (0, 0);
                self.options.protocol = ProtocolWish::None;
            }
            _ => {}
        }
    }

    /// Goes back to the database from before a transaction that was not run.
    fn leave_multi_db(&mut self) {
        self.db = self.db_before_multi;
        self.wanted_db = self.db;
    }

    /// Takes the address out of a cluster's redirection; returns whether the error is one.
    fn redirect(&mut self, error: &[u8]) -> Result<bool, Stop> {
        let text = String::from_utf8_lossy(error).into_owned();
        let mut words = text.split(' ');
        let asking = match words.next() {
            Some("MOVED") => false,
            Some("ASK") => true,
            _ => return Ok(false),
        };
        let (Some(slot), Some((host, port))) =
            (words.next(), words.next().and_then(|place| place.rsplit_once(':')))
        else {
            return Ok(false);
        };
        if !host.is_empty() {
            self.options.endpoint.host = host.to_string();
        }
        self.options.endpoint.port = leading_int(port.as_bytes()) as i32;
        if self.interactive {
            let Endpoint { host, port, .. } = &self.options.endpoint;
            writeln!(io::stdout(), "-> Redirected to slot [{slot}] located at {host}:{port}")?;
        }
        self.redirected = Some(Redirection { asking });
        Ok(true)
    }
}

/// Returns whether a command answers with a text for people, which is printed as it is.
fn prints_itself(args: &[Vec<u8>]) -> bool {
    let lower = |i: usize| args.get(i).map(|arg: &Vec<u8>| arg.to_ascii_lowercase()).unwrap_or_default();
    let (name, sub) = (lower(0), lower(1));
    match name.as_slice() {
        b"info" | b"lolwut" => true,
        b"debug" => matches!(sub.as_slice(), b"htstats" | b"htstats-key" | b"client-eviction"),
        b"memory" => matches!(sub.as_slice(), b"malloc-stats" | b"doctor"),
        b"cluster" => args.len() == 2 && matches!(sub.as_slice(), b"nodes" | b"info"),
        b"client" => matches!(sub.as_slice(), b"list" | b"info"),
        b"latency" => match sub.as_slice() {
            b"graph" => args.len() == 3,
            b"doctor" => args.len() == 2,
            _ => false,
        },
        b"proxy" => sub == b"info",
        _ => false,
    }
}
