//! What Ctrl-C does: ends the program, ends a loop, or cuts a connection that is being listened to.
//!
//! Programs that only run a command never come here: the system ends them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::client::Stream;

/// What the next Ctrl-C does.
#[derive(Debug)]
enum Reaction {
    Exit,
    /// Sets the flag, which a loop looks at.
    Raise,
    /// Sets the flag and ends the connection.
    Cut(Stream),
}

static REACTION: Mutex<Reaction> = Mutex::new(Reaction::Exit);
static RAISED: AtomicBool = AtomicBool::new(false);

/// Takes the signal from the system; from now on it ends the program unless told otherwise.
pub(crate) fn install() {
    // Without it Ctrl-C ends the program, which is what it does most of the time.
    let Ok(mut signals) = Signals::new([SIGINT]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let reaction = REACTION.lock().unwrap_or_else(|broken| broken.into_inner());
            match &*reaction {
                Reaction::Exit => std::process::exit(1),
                Reaction::Raise => RAISED.store(true, Ordering::SeqCst),
                Reaction::Cut(stream) => {
                    RAISED.store(true, Ordering::SeqCst);
                    stream.cut();
                }
            }
        }
    });
}

/// Lets Ctrl-C end the loop that asks [`raised`].
pub(crate) fn raise_flag() {
    set(Reaction::Raise);
}

/// Lets Ctrl-C end a connection, as long as the guard lives.
pub(crate) fn cutting(stream: Stream) -> Guard {
    set(Reaction::Cut(stream));
    Guard
}

/// Returns whether there was a Ctrl-C since the last time this was asked.
pub(crate) fn take() -> bool {
    RAISED.swap(false, Ordering::SeqCst)
}

/// Returns whether there was a Ctrl-C.
pub(crate) fn raised() -> bool {
    RAISED.load(Ordering::SeqCst)
}

/// Lets Ctrl-C end the program again when it goes.
#[derive(Debug)]
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        set(Reaction::Exit);
    }
}

fn set(reaction: Reaction) {
    *REACTION.lock().unwrap_or_else(|broken| broken.into_inner()) = reaction;
}
