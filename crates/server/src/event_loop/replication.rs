//! The loop's part in replication: opening a link to a master, and sending a replica its snapshot and the stream.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};

use engine::SessionId;
use mio::Token;
use node::Closing;

use super::EventLoop;
use crate::connection::{Connection, FileToSend};
use crate::log;
use crate::text::reason;

/// After so many writes in a row the other links get their turn.
const WRITES_IN_A_ROW: usize = 64;

/// The name of a master that is being looked up.
pub(super) struct Lookup {
    pub(super) id: SessionId,
    heard: Receiver<io::Result<SocketAddr>>,
}

impl EventLoop {
    /// Opens a link to a master: at once if it is an address, else when its name has been looked up.
    pub(super) fn connect(&mut self, id: SessionId, host: &str, port: u16) {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.connect_to(id, Ok(SocketAddr::new(address, port)));
        }
        let (tell, heard) = std::sync::mpsc::sync_channel(1);
        let (waker, name) = (self.storage.waker(), host.to_owned());
        let thread = std::thread::Builder::new().name("look-up".into()).spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().and_then(|mut found| {
                found.next().ok_or_else(|| io::Error::other("the name has no address"))
            });
            // Nobody may be there any more to hear it.
            let _ = tell.send(found);
            let _ = waker.wake();
        });
        match thread {
            Ok(_) => self.lookups.push(Lookup { id, heard }),
            Err(error) => self.connect_to(id, Err(error)),
        }
    }

    /// Takes the addresses that have been found.
    pub(super) fn look_up(&mut self) {
        let mut found = Vec::new();
        self.lookups.retain(|lookup| match lookup.heard.try_recv() {
            Ok(address) => {
                found.push((lookup.id, address));
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => false,
        });
        for (id, address) in found {
            self.connect_to(id, address);
        }
    }

    pub(super) fn connect_to(&mut self, id: SessionId, address: io::Result<SocketAddr>) {
        // The node may have thought better of it meanwhile.
        if !self.node.is_master(id) {
            return;
        }
        let slot = id.0 as usize;
        match address.and_then(|address| Connection::open(address, &self.registry, Token(slot))) {
            Ok(connection) => {
                if self.connections.len() <= slot {
                    self.connections.resize_with(slot + 1, || None);
                }
                self.connections[slot] = Some(connection);
            }
            Err(error) => {
                self.node.disconnected(self.now, &self.machine, id, &reason(&error));
                self.carry_out();
            }
        }
    }

    /// Goes on with a link that can be written to.
    pub(super) fn writable(&mut self, id: SessionId) {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
        if connection.opening {
            match connection.opened() {
                Ok(None) => return,
                Ok(Some(local)) => {
                    let descriptor = connection.descriptor();
                    if let Some(session) = self.node.engine.server.sessions.get_mut(id) {
                        (session.local_addr, session.fd) = (local.to_string().into(), descriptor);
                    }
                    self.node.connected(self.now, &self.machine, id);
                    self.carry_out();
                }
                Err(error) => return self.close_because(id, &reason(&error)),
            }
        }
        self.send(id, true);
    }

    /// Sends a file on a link, behind what the link has to send.
    pub(super) fn begin_file(&mut self, id: SessionId, path: &str) {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
        match FileToSend::open(Path::new(path)) {
            Ok(file) => {
                connection.file = Some(file);
                self.unsent.push(id);
            }
            Err(error) => {
                log::warning(&format!("SYNC failed. Can't open the snapshot {path}: {}", reason(&error)));
                self.close(id);
            }
        }
    }

    /// Goes on with a replica's link: there may be more of the stream, or a file.
    #[cold]
    pub(super) fn send_more(&mut self, id: SessionId, closing: Closing) {
        for _ in 0..WRITES_IN_A_ROW {
            let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
            let output = self.node.output(id);
            let (len, sent) = match output.is_empty() {
                false => (output.len(), connection.write(output)),
                true if connection.file.is_some() => {
                    let sent = connection.send_file(&mut self.file_part);
                    (
                        0,
                        sent.map(|(count, whole)| {
                            self.node.file_sent(self.now, id, count, whole);
                            count
                        }),
                    )
                }
                true if closing == Closing::AfterReply => return self.close(id),
                true => (0, Ok(0)),
            };
            match sent {
                Ok(0) => {
                    if connection.wait_to_write(false, &self.registry, Token(id.0 as usize)).is_err() {
                        self.close(id);
                    }
                    return;
                }
                Ok(count) => {
                    self.machine.writes.set(self.machine.writes.get() + 1);
                    if len > 0 {
                        self.node.sent(id, count);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if connection.wait_to_write(true, &self.registry, Token(id.0 as usize)).is_err() {
                        self.close(id);
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(id),
            }
        }
        self.unsent.push(id);
    }

    /// Ends a session that has no connection yet: its master's name is still being looked up.
    #[cold]
    pub(super) fn forget(&mut self, id: SessionId) {
        if self.node.closing(id) == Closing::Now {
            self.lookups.retain(|lookup| lookup.id != id);
            self.node.close(id);
        }
    }
}
