//! Signals: SIGTERM and SIGINT stop the server, SIGHUP and SIGPIPE mean nothing to it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

/// The token of the pipe that signals wake the loop through.
pub(crate) const TOKEN: Token = Token((1 << 40) - 2);

/// The signals that arrived and were not acted on.
#[derive(Debug)]
pub(crate) struct Signals {
    pipe: UnixStream,
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to catch signals, and to wake the loop for them.
    pub(crate) fn listen(registry: &Registry) -> io::Result<Signals> {
        let (read_end, write_end) = std::os::unix::net::UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        let mut pipe = UnixStream::from_std(read_end);
        registry.register(&mut pipe, TOKEN, Interest::READABLE)?;

        // Once a stop is under way, an impatient SIGINT ends the process on the spot.
        let stopping = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&stopping))?;
        let mut signals = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        for (signal, flag) in [SIGTERM, SIGINT].into_iter().zip(&mut signals) {
            signal_hook::flag::register(signal, Arc::clone(&stopping))?;
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, write_end.try_clone()?)?;
        }
        let [terminate, interrupt] = signals;
        // SAFETY: ignoring a signal installs no code. (SIGPIPE is ignored by Rust's runtime from the start.)
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        Ok(Signals { pipe, terminate, interrupt })
    }

    /// Returns the name of a signal that asks the server to stop.
    pub(crate) fn take(&mut self) -> Option<&'static str> {
        let mut drain = [0; 16];
        while matches!(self.pipe.read(&mut drain), Ok(1..)) {}
        if self.interrupt.swap(false, Ordering::Relaxed) {
            Some("SIGINT")
        } else if self.terminate.swap(false, Ordering::Relaxed) {
            Some("SIGTERM")
        } else {
            None
        }
    }
}
