//! A mail server that takes mail, or does not, as a test tells it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::support::{PATIENCE, Stream};
use super::tls::Identity;

/// How a server goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Offers STARTTLS.
    StartTls,
    /// Speaks TLS from the start.
    Implicit,
    /// Offers nothing.
    Plain,
    /// Knows no recipient.
    Refuse,
    /// Accepts the connection and says nothing.
    Hang,
}

/// A mail as it was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) encrypted: bool,
    pub(crate) authenticated: bool,
    pub(crate) recipient: String,
    pub(crate) text: String,
}

pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    in_clear: Arc<Mutex<String>>,
}

/// What one connection needs.
struct Session {
    manner: Manner,
    mails: Arc<Mutex<Vec<Mail>>>,
    in_clear: Arc<Mutex<String>>,
}

impl MailServer {
    pub(crate) fn start(manner: Manner, identity: Option<&Arc<Identity>>) -> MailServer {
        // The name `localhost` leads here; clients that try ::1 first are refused there.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = MailServer { address, mails: Arc::default(), in_clear: Arc::default() };
        let (mails, in_clear, identity) =
            (Arc::clone(&server.mails), Arc::clone(&server.in_clear), identity.cloned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let session = Session { manner, mails: Arc::clone(&mails), in_clear: Arc::clone(&in_clear) };
                let identity = identity.clone();
                thread::spawn(move || session.serve(stream, identity));
            }
        });
        server
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// Returns all commands that came over a plain line.
    pub(crate) fn said_in_clear(&self) -> String {
        self.in_clear.lock().unwrap().clone()
    }
}

impl Session {
    fn serve(&self, mut stream: TcpStream, identity: Option<Arc<Identity>>) {
        match self.manner {
            Manner::Hang => {
                let _ = stream.read(&mut [0]);
            }
            Manner::Implicit => {
                if let Some(stream) = identity.expect("TLS has a certificate").accept(stream) {
                    self.talk(stream, true, true);
                }
            }
            _ => {
                let copy = stream.try_clone().unwrap();
                if self.talk(Box::new(copy), false, true)
                    && let Some(stream) = identity.expect("TLS has a certificate").accept(stream)
                {
                    self.talk(stream, true, false);
                }
            }
        }
    }

    /// Talks until the end; returns whether the client wants TLS from here on.
    fn talk(&self, stream: Box<dyn Stream>, encrypted: bool, greet: bool) -> bool {
        // One byte at a time: what follows STARTTLS belongs to TLS.
        let mut stream = BufReader::with_capacity(1, stream);
        let mut mail = Mail { encrypted, ..Mail::default() };
        if greet {
            say(&mut stream, "220 test ready");
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            if !encrypted {
                self.in_clear.lock().unwrap().push_str(&line);
            }
            let verb = line.split([' ', '\r', '\n']).next().unwrap_or_default().to_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" if self.manner == Manner::StartTls && !encrypted => {
                    say(&mut stream, "250-test\r\n250 STARTTLS");
                }
                "EHLO" | "HELO" => say(&mut stream, "250-test\r\n250 AUTH PLAIN LOGIN"),
                "STARTTLS" if self.manner == Manner::StartTls => {
                    say(&mut stream, "220 go on");
                    return true;
                }
                "AUTH" => {
                    mail.authenticated = true;
                    say(&mut stream, "235 welcome");
                }
                "RCPT" if self.manner == Manner::Refuse => say(&mut stream, "550 no such user"),
                "RCPT" => {
                    mail.recipient = line.trim_end().split_once(':').unwrap().1.to_owned();
                    say(&mut stream, "250 ok");
                }
                "DATA" => {
                    say(&mut stream, "354 go on");
                    let mut line = String::new();
                    while line != ".\r\n" {
                        mail.text.push_str(&line);
                        line.clear();
                        if stream.read_line(&mut line).unwrap_or(0) == 0 {
                            return false;
                        }
                    }
                    self.mails.lock().unwrap().push(mail.clone());
                    say(&mut stream, "250 taken");
                }
                "QUIT" => {
                    say(&mut stream, "221 bye");
                    return false;
                }
                "MAIL" | "RSET" | "NOOP" => say(&mut stream, "250 ok"),
                _ => say(&mut stream, "502 what?"),
            }
        }
    }
}

fn say(stream: &mut BufReader<Box<dyn Stream>>, line: &str) {
    // The client may have gone; the test looks at the client.
    let _ = stream.get_mut().write_all(format!("{line}\r\n").as_bytes());
    let _ = stream.get_mut().flush();
}
