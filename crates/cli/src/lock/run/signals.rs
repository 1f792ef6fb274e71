//! The signals that are passed on to the command, those that are ignored, and the mask a command starts with.

use std::fs;

use nix::sys::signal::{SigSet, Signal};

/// What whoever stops, continues or informs `redstart lock run` means for the command.
pub(crate) const PASSED_ON: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// Returns those of [`PASSED_ON`] that this process was not started to ignore, as `nohup` does with SIGHUP.
pub(crate) fn not_ignored() -> Vec<Signal> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_in(&status);
    // SIGCONT continues a process even where it is ignored, and has to continue the command.
    let heard =
        |signal: &Signal| *signal == Signal::SIGCONT || ignored & (1 << (*signal as i32 as u32 - 1)) == 0;
    PASSED_ON.into_iter().filter(heard).collect()
}

fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Blocks signals in this thread; returns those that were not blocked before.
pub(crate) fn block(signals: &[Signal]) -> nix::Result<Vec<Signal>> {
    let set: SigSet = signals.iter().copied().collect();
    let before = set.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    Ok(signals.iter().copied().filter(|signal| !before.contains(*signal)).collect())
}

/// Unblocks signals in this thread.
pub(crate) fn unblock(signals: &[Signal]) -> nix::Result<()> {
    signals.iter().copied().collect::<SigSet>().thread_unblock()
}

/// Writes signals as one word.
pub(crate) fn to_word(signals: &[Signal]) -> String {
    let numbers: Vec<String> = signals.iter().map(|signal| (*signal as i32).to_string()).collect();
    numbers.join(",")
}

/// Reads what [`to_word`] wrote; what is no signal is left out.
pub(crate) fn from_word(word: &str) -> Vec<Signal> {
    word.split(',').filter_map(|number| Signal::try_from(number.parse::<i32>().ok()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored_in("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t00\n"), 0x1001);
        assert_eq!(ignored_in(""), 0);
        assert!(not_ignored().contains(&Signal::SIGCONT));
    }

    #[test]
    fn signals_survive_being_written_as_a_word() {
        assert_eq!(from_word(&to_word(&PASSED_ON)), PASSED_ON);
        assert_eq!(from_word(&to_word(&[])), []);
        assert_eq!(from_word("900,x,15"), [Signal::SIGTERM]);
    }
}
