//! The log, in the line format of Redis: `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL text`.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use config::{LogLevel, SyslogFacility, Values};

/// Where lines go, and which.
#[derive(Debug)]
struct Settings {
    level: LogLevel,
    /// Empty: standard output.
    file: Vec<u8>,
    /// The name under which the system's log knows us, when it is to have the lines too; it must outlive its use.
    syslog: Option<CString>,
    /// `M` for a master, `S` for a replica, `C` for a process that is neither yet.
    role: char,
}

static SETTINGS: Mutex<Settings> =
    Mutex::new(Settings { level: LogLevel::Notice, file: Vec::new(), syslog: None, role: 'C' });

/// Writes a line to the log, if the level is logged.
pub(crate) fn log(level: LogLevel, text: &str) {
    let settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if (level as u8) < (settings.level as u8) {
        return;
    }
    let mark = ['.', '-', '*', '#'][level as usize];
    let line = format!("{}:{} {} {mark} {text}\n", std::process::id(), settings.role, timestamp());
    settings.write(&line);
    if settings.syslog.is_some() {
        let priority = [libc::LOG_DEBUG, libc::LOG_INFO, libc::LOG_NOTICE, libc::LOG_WARNING][level as usize];
        if let Ok(text) = CString::new(text) {
            // SAFETY: the format takes one text, and that is what it is given.
            unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
        }
    }
}

/// Writes text to the log as it is, whatever the level.
pub(crate) fn raw(text: &str) {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).write(text);
}

/// Writes a line with level notice.
pub(crate) fn notice(text: &str) {
    log(LogLevel::Notice, text);
}

/// Writes a line with level warning.
pub(crate) fn warning(text: &str) {
    log(LogLevel::Warning, text);
}

/// Makes the log follow the configuration.
pub(crate) fn configure(values: &Values) {
    let mut settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    settings.level = values.loglevel;
    settings.file = absolute(&values.logfile);
    if values.syslog_enabled && settings.syslog.is_none() {
        let ident = CString::new(values.syslog_ident.clone()).unwrap_or_default();
        let ident = settings.syslog.insert(ident);
        let options = libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT;
        // SAFETY: the name is kept for as long as the process lives.
        unsafe { libc::openlog(ident.as_ptr(), options, facility(values.syslog_facility)) };
    }
}

/// Says that this process is the server, and whether as a replica: every line shows it.
pub(crate) fn set_replica(replica: bool) {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).role = if replica { 'S' } else { 'M' };
}

/// Changes the least urgent level that is logged.
pub(crate) fn set_level(level: LogLevel) {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).level = level;
}

/// Says whether lines go to standard output, and that is a terminal.
pub(crate) fn is_terminal() -> bool {
    let settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    settings.file.is_empty()
        && settings.syslog.is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stdout())
}

impl Settings {
    /// The log failing is no reason to fail: there is nobody to tell.
    fn write(&self, line: &str) {
        if self.file.is_empty() {
            let _ = std::io::stdout().write_all(line.as_bytes());
            let _ = std::io::stdout().flush();
            return;
        }
        // Opened for each line, so that moving the file away starts a new one.
        let path = std::ffi::OsStr::from_bytes(&self.file);
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A relative name means the directory of the start, also after CONFIG SET dir.
fn absolute(path: &[u8]) -> Vec<u8> {
    if path.is_empty() || path.starts_with(b"/") {
        return path.to_vec();
    }
    match std::env::current_dir() {
        Ok(dir) => [dir.as_os_str().as_bytes(), b"/", path].concat(),
        Err(_) => path.to_vec(),
    }
}

fn timestamp() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as libc::time_t;
    // SAFETY: all fields of `tm` are numbers and a pointer, for which zero is a value.
    let mut at: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    unsafe { libc::localtime_r(&seconds, &mut at) };
    format!(
        "{:02} {} {} {:02}:{:02}:{:02}.{:03}",
        at.tm_mday,
        MONTHS[at.tm_mon as usize % 12],
        at.tm_year + 1900,
        at.tm_hour,
        at.tm_min,
        at.tm_sec,
        since.subsec_millis()
    )
}

fn facility(facility: SyslogFacility) -> libc::c_int {
    match facility {
        SyslogFacility::User => libc::LOG_USER,
        SyslogFacility::Local0 => libc::LOG_LOCAL0,
        SyslogFacility::Local1 => libc::LOG_LOCAL1,
        SyslogFacility::Local2 => libc::LOG_LOCAL2,
        SyslogFacility::Local3 => libc::LOG_LOCAL3,
        SyslogFacility::Local4 => libc::LOG_LOCAL4,
        SyslogFacility::Local5 => libc::LOG_LOCAL5,
        SyslogFacility::Local6 => libc::LOG_LOCAL6,
        SyslogFacility::Local7 => libc::LOG_LOCAL7,
    }
}
