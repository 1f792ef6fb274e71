//! A link between two processes that can be cut, held up, and led elsewhere.
//!
//! ```text
//! client ──► address() ── Proxy ──► target
//!                 cut()   both ends are closed, what was under way is lost
//!                 hold()  nothing is carried, nobody is told
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A TCP proxy; its links are closed with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    links: Vec<(u64, TcpStream, TcpStream)>,
    next_link: u64,
    held: bool,
    ended: bool,
    /// After so many bytes from the target all links are cut.
    left: Option<usize>,
    cuts: u64,
}

impl Proxy {
    /// Starts a proxy that leads to `target`.
    pub fn start(target: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state =
            State { target, links: Vec::new(), next_link: 0, held: false, ended: false, left: None, cuts: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while let Ok((client, _)) = listener.accept() {
                    if shared.lock().ended {
                        return;
                    }
                    // A target that is not there is for the client to find out: it is closed.
                    let _ = open(&shared, client);
                }
            }
        });
        Ok(Proxy { address, shared, accepting: Some(accepting) })
    }

    /// Returns the address that leads to the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads links that are opened from now on elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Closes all links at both ends; what they had under way is lost.
    pub fn cut(&self) {
        self.shared.lock().cut();
        self.shared.changed.notify_all();
    }

    /// Cuts all links once so many more bytes have come from the target.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.lock().left = Some(bytes);
    }

    /// Carries nothing any more, or goes on with it; the ends are not told.
    pub fn hold(&self, held: bool) {
        self.shared.lock().held = held;
        self.shared.changed.notify_all();
    }

    /// Returns how often links were cut that were there.
    pub fn cuts(&self) -> u64 {
        self.shared.lock().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.cut();
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.accepting.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cut(&mut self) {
        self.cuts += u64::from(!self.links.is_empty());
        self.left = None;
        for (_, client, target) in self.links.drain(..) {
            // One that is closed already is as good.
            let _ = client.shutdown(Shutdown::Both);
            let _ = target.shutdown(Shutdown::Both);
        }
    }
}

fn open(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let target = TcpStream::connect(shared.lock().target)?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let mut state = shared.lock();
    let link = state.next_link;
    state.next_link += 1;
    let up = (client.try_clone()?, target.try_clone()?);
    let down = (target.try_clone()?, client.try_clone()?);
    state.links.push((link, client, target));
    for ((from, to), counted) in [(up, false), (down, true)] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            carry(&shared, link, from, &to, counted);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

/// Carries bytes one way until either end has had enough.
fn carry(shared: &Shared, link: u64, mut from: TcpStream, mut to: &TcpStream, counted: bool) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let mut state = shared.lock();
        while state.held && state.links.iter().any(|(id, ..)| *id == link) {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.links.iter().any(|(id, ..)| *id == link) {
            return;
        }
        match &mut state.left {
            Some(left) if counted && *left <= length => {
                let carried = *left;
                // The part goes before the end, so that a message may be cut anywhere.
                let _ = to.write_all(&chunk[..carried]);
                state.cut();
                shared.changed.notify_all();
                return;
            }
            Some(left) if counted => *left -= length,
            _ => {}
        }
        drop(state);
        if to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let mut state = shared.lock();
    if let Some(at) = state.links.iter().position(|(id, ..)| *id == link) {
        let (_, client, target) = state.links.swap_remove(at);
        let _ = client.shutdown(Shutdown::Both);
        let _ = target.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_until_it_is_cut() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut target, _) = listener.accept().unwrap();
        let mut bytes = [0; 4];
        client.write_all(b"ping").unwrap();
        target.read_exact(&mut bytes).unwrap();
        target.write_all(b"pong").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"pong");
        proxy.cut_after(2);
        target.write_all(b"gone").unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"go");
        assert_eq!(proxy.cuts(), 1);

        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut target, _) = listener.accept().unwrap();
        proxy.hold(true);
        client.write_all(b"held").unwrap();
        target.set_read_timeout(Some(std::time::Duration::from_millis(30))).unwrap();
        assert!(target.read(&mut bytes).is_err());
        proxy.hold(false);
        target.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"held");
    }
}
