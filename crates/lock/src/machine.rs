//! Names by which people recognise a holder: host and process.

use std::fs;
use std::sync::OnceLock;

/// Returns this machine's name, as far as it is known.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let told = ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| {
            let name = fs::read_to_string(path).ok()?.trim().to_string();
            (!name.is_empty()).then_some(name)
        });
        let name = told.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".into());
        // It becomes part of an owner's name, which takes no control characters and has a limit.
        name.chars().filter(|letter| !letter.is_control() && *letter != ':').take(128).collect()
    })
}
