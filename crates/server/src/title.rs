//! The process' title, as `ps` shows it: written over the arguments that the process was started with.

use std::fs;

use config::{Config, expand_title};

/// Writes the title that `proc-title-template` makes, as far as the old arguments leave room; does nothing where the
/// system does not tell where they lie.
pub(crate) fn show(config: &Config, program: &str, config_file: &str) {
    if !config.set_proc_title {
        return;
    }
    let template = String::from_utf8_lossy(&config.proc_title_template).into_owned();
    let address = config.bind.first().map_or("*", |first| first.trim_start_matches('-'));
    let socket = String::from_utf8_lossy(&config.unixsocket).into_owned();
    let title = expand_title(&template, |name| {
        Some(match name {
            "title" => program.to_owned(),
            "listen-addr" if config.port == 0 => format!("unixsocket:{socket}"),
            "listen-addr" if config.bind.len() > 1 => format!("*:{}", config.port),
            "listen-addr" => format!("{address}:{}", config.port),
            // Only the modes beyond a plain server have a name.
            "server-mode" => String::new(),
            "port" => config.port.to_string(),
            "tls-port" => "0".to_owned(),
            "unixsocket" => socket.clone(),
            "config-file" => config_file.to_owned(),
            _ => return None,
        })
    });
    if let (Some(title), Some((start, end))) = (title, arguments()) {
        write(start, end, title.as_bytes());
    }
}

/// Returns the addresses between which the kernel finds the process' arguments.
fn arguments() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, in which anything may stand.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    // Fields 48 and 49 of proc(5), of which two stand before the parenthesis.
    let start = fields.get(45)?.parse().ok()?;
    let end = fields.get(46)?.parse().ok()?;
    (0 < start && start < end).then_some((start, end))
}

/// Writes `title` and zeros behind it between the two addresses.
fn write(start: usize, end: usize, title: &[u8]) {
    // The last byte stays zero: it ends the text.
    let shown = title.len().min(end - start - 1);
    let memory = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel placed the arguments there, writable and for the life of the process. The standard library has
    // copied those that were asked for at the start, nobody asks again or holds a reference to the originals, and only
    // the thread that executes comes here.
    unsafe {
        memory.copy_from_nonoverlapping(title.as_ptr(), shown);
        memory.add(shown).write_bytes(0, end - start - shown);
    }
}
