//! What the server does to and asks of its own process: limits, becoming a daemon, figures.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::log;
use crate::text::reason;

/// Descriptors that the server needs beside those of its clients.
const RESERVED_FILES: u64 = 32;

/// Raises the limit of open files to what `maxclients` needs; returns how many clients the limit allows.
///
/// The error says that not even a few clients fit.
pub(crate) fn raise_open_files(maxclients: u32) -> Result<u32, String> {
    let wanted = u64::from(maxclients) + RESERVED_FILES;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Ok(maxclients);
    }
    let old = limit.rlim_cur;
    if old >= wanted {
        return Ok(maxclients);
    }
    // A process without privileges may go up to the hard limit, one with them beyond it.
    let set = |files: u64, most: u64| {
        let limit = libc::rlimit { rlim_cur: files, rlim_max: most };
        // SAFETY: the pointer is to a local.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 }
    };
    let most = limit.rlim_max;
    if set(wanted, most.max(wanted)) {
        log::notice(&format!(
            "Increased maximum number of open files to {wanted} (it was originally set to {old})."
        ));
        return Ok(maxclients);
    }
    let error = io::Error::last_os_error();
    let best = if most > old && set(most, most) { most } else { old };
    if best <= RESERVED_FILES {
        return Err(format!(
            "Your current 'ulimit -n' of {old} is not enough for the server to start. \
             Please increase your open file limit to at least {wanted}. Exiting."
        ));
    }
    let clients = (best - RESERVED_FILES) as u32;
    log::warning(&format!(
        "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
    ));
    log::warning(&format!(
        "Server can't set maximum open files to {wanted} because of OS error: {}.",
        reason(&error)
    ));
    log::warning(&format!(
        "Current maximum open files is {best}. maxclients has been reduced to {clients} to compensate for low \
         ulimit. If you need higher maxclients increase 'ulimit -n'."
    ));
    Ok(clients)
}

/// Goes on in a child process that has no terminal; the parent exits. Must run while there is one thread.
pub(crate) fn daemonize() {
    // SAFETY: there is one thread, so the child has everything that the parent had.
    unsafe {
        if libc::fork() != 0 {
            // As Redis: a failure to fork ends here as well.
            libc::_exit(0);
        }
        libc::setsid();
    }
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for stream in 0..=2 {
            // SAFETY: descriptors are numbers; those of the standard streams are replaced, which is the intent.
            unsafe { libc::dup2(null.as_raw_fd(), stream) };
        }
    }
}

/// Stops the process until upstart lets it go on.
pub(crate) fn raise_stop() {
    // SAFETY: no memory is involved.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Keeps the kernel from giving this process huge pages, which make single writes copy megabytes after a fork.
pub(crate) fn disable_huge_pages() -> bool {
    // SAFETY: the option takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 }
}

/// Lets the kernel end this thread's waits so much later than asked for, to end several together.
pub(crate) fn set_timer_slack(slack: Duration) {
    // SAFETY: the option takes numbers only. Where it fails waits end as late as they did.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack.as_nanos() as libc::c_ulong, 0, 0, 0) };
}

/// Lets this thread, or process of one, give way to others when processors are short.
pub(crate) fn give_way(way: Way) {
    // SAFETY: takes numbers only; 0 means the calling thread. Where it fails the thread stays as it was.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, way as libc::c_int) };
}

/// How far somebody gives way: nice values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// It gets a tenth of a contended processor: enough never to hold a lock for long.
    Far = 10,
    /// It gets a quarter: somebody waits for it.
    Some = 5,
}

/// Processor time in seconds: user and system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

/// Whose processor time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Process,
    Children,
    Thread,
}

/// Returns the processor time used so far.
pub(crate) fn cpu_time(who: Who) -> CpuTime {
    let who = match who {
        Who::Process => libc::RUSAGE_SELF,
        Who::Children => libc::RUSAGE_CHILDREN,
        Who::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: all fields are numbers, for which zero is a value; the pointer is to a local.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    CpuTime { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
}

/// Returns the resident bytes of this process.
pub(crate) fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok())
        .unwrap_or(0);
    pages * page_size()
}

/// Returns the machine's memory in bytes.
pub(crate) fn system_memory() -> usize {
    // SAFETY: no memory is involved.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    usize::try_from(pages).unwrap_or(0) * page_size()
}

fn page_size() -> usize {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Returns the system's name, release and machine, as INFO shows it.
pub(crate) fn os_name() -> String {
    // SAFETY: all fields are bytes, for which zero is a value; the pointer is to a local.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        name
    };
    let text = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}
