//! The last words: a report in the log when the process ends by its own mistake.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use base::version::{REDIS_VERSION, VERSION};

use crate::log;

/// Writes a report for every panic.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(on_panic));
}

/// Begins or ends writing a report for signals that mean a crash (`crash-log-enabled`).
pub(crate) fn report_signals(on: bool) {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
        // SAFETY: the handler runs once, with the default action restored, and then ends the process. What it does
        // (allocating, writing) may fail in a process this broken, and then the second signal ends it at once.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            if on {
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_NODEFER | libc::SA_RESETHAND | libc::SA_ONSTACK;
            }
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Ends the process as a crash would.
pub(crate) fn crash(why: &str) -> ! {
    report(&format!("Crashed on request: {why}"));
    std::process::abort();
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no reason given");
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    report(&format!("Guru Meditation: {text} #{place}"));
}

extern "C" fn on_signal(signal: libc::c_int) {
    report(&format!("Redis {REDIS_VERSION} crashed by signal: {signal}"));
    // SAFETY: the default action is back, and ends the process.
    unsafe { libc::raise(signal) };
}

/// Writes the report, once: an abort after a panic has nothing to add.
fn report(headline: &str) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if REPORTED.swap(true, Ordering::SeqCst) {
        return;
    }
    let pid = std::process::id();
    log::raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    log::warning(headline);
    log::raw(&format!(
        "Redstart {VERSION} (Redis {REDIS_VERSION}), pid {pid}\n\n------ STACK TRACE ------\n{}\n",
        Backtrace::force_capture()
    ));
    log::raw("=== REDIS BUG REPORT END. ===\n\n");
}
