//! A link that loses replies: the connection is cut, or goes silent, after the server has served the request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use testkit::Random;

/// A proxy that loses a tenth of what comes back.
pub struct LossyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    random: Mutex<Random>,
    lost: AtomicU64,
    ended: AtomicBool,
}

impl LossyProxy {
    pub fn start(target: SocketAddr, seed: u64) -> LossyProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            random: Mutex::new(Random(seed)),
            lost: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(target) = TcpStream::connect(accepting.target) else { continue };
                carry(&accepting, client, target);
            }
        });
        LossyProxy { address, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Returns how many replies were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // Wakes the thread that accepts.
    }
}

fn carry(shared: &Arc<Shared>, client: TcpStream, target: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), target.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let (mut client, mut target) = (client, target);
        let mut chunk = vec![0; 1 << 16];
        while let Ok(length) = target.read(&mut chunk) {
            let fate = shared.random.lock().unwrap().of(0..40);
            if length == 0 {
                break;
            }
            if fate < 4 {
                shared.lost.fetch_add(1, Ordering::Relaxed);
                if fate == 0 {
                    // Silent from now on; the client has to find out by itself.
                    while matches!(target.read(&mut chunk), Ok(1..)) {}
                }
                break;
            }
            if client.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = target.shutdown(Shutdown::Both);
    });
}
