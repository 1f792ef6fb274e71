//! Temporary files that servers left which were killed: found at the start by their names, and removed.
//!
//! | name | is removed |
//! |---|---|
//! | `temp-<pid>.rdb`, `temp-<pid>-<n>.rdb` (SAVE) | when no process has that number, or it is our own |
//! | `temp-bgsave-<8 hex>-<n>.rdb`, `temp-rewriteaof-bg-<8 hex>-<n>.aof` | when nothing was written to it for a day |
//! | `temp-sync-<8 hex>-<n>.rdb`, `temp-replicas-<8 hex>-<n>.rdb` | the same |
//!
//! Another server may be at work in the same directory, and nothing in the latter names tells whose they are.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::{files, log};

/// A snapshot that is being written is written to more often than this.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Removes what killed servers left in a directory.
pub(crate) fn remove(directory: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else { continue };
        let Ok(about) = entry.metadata() else { continue };
        let left = match owner {
            Owner::Process(pid) => pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists(),
            Owner::Unknown => {
                about.modified().is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > OLD))
            }
        };
        if left && about.is_file() {
            log::notice(&format!("Removing {}, which a server left that was killed", name.display()));
            files::discard(&entry.path());
        }
    }
}

/// Whose a temporary file is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Process(u32),
    Unknown,
}

/// Returns whose file has this name, if it is a temporary one.
fn owner(name: &str) -> Option<Owner> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = name.strip_prefix("temp-")?;
    let of_run = ["bgsave-", "sync-", "replicas-"]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind)?.strip_suffix(".rdb"))
        .or_else(|| rest.strip_prefix("rewriteaof-bg-")?.strip_suffix(".aof"));
    if let Some((run, number)) = of_run.and_then(|of_run| of_run.split_once('-')) {
        let is_run = run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (is_run && is_number(number)).then_some(Owner::Unknown);
    }
    let rest = rest.strip_suffix(".rdb")?;
    let (pid, number) = rest.split_once('-').unwrap_or((rest, "0"));
    let known = is_number(pid) && is_number(number);
    pid.parse().ok().filter(|_| known).map(Owner::Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_temporary() {
        for (name, expected) in [
            ("temp-12.rdb", Some(Owner::Process(12))),
            ("temp-12-3.rdb", Some(Owner::Process(12))),
            ("temp-bgsave-0a1b2c3d-4.rdb", Some(Owner::Unknown)),
            ("temp-rewriteaof-bg-0a1b2c3d-4.aof", Some(Owner::Unknown)),
            ("temp-sync-0a1b2c3d-4.rdb", Some(Owner::Unknown)),
            ("temp-replicas-0a1b2c3d-4.rdb", Some(Owner::Unknown)),
            ("temp-bgsave-1.rdb", None),
            ("temp-bgsave-0a1b2c3d-.rdb", None),
            ("temp-rewriteaof-bg-1.aof", None),
            ("temp-.rdb", None),
            ("temp-x.rdb", None),
            ("temp-1-x.rdb", None),
            ("dump.rdb", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }

    #[test]
    fn what_may_be_anothers_stays() {
        let directory = std::env::temp_dir().join(format!("redstart-left-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a scratch directory");
        let own = format!("temp-{}.rdb", std::process::id());
        let names = [&own, "temp-1.rdb", "temp-4294967295.rdb", "temp-bgsave-0a1b2c3d-4.rdb", "dump.rdb"];
        for name in names {
            fs::write(directory.join(name), b"x").expect("a file");
        }
        let left = || {
            let entries = fs::read_dir(&directory).expect("a directory");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
                .collect();
            names.sort();
            names
        };
        remove(&directory, SystemTime::now());
        assert_eq!(left(), ["dump.rdb", "temp-1.rdb", "temp-bgsave-0a1b2c3d-4.rdb"]);
        remove(&directory, SystemTime::now() + 2 * OLD);
        assert_eq!(left(), ["dump.rdb", "temp-1.rdb"]);
        fs::remove_dir_all(&directory).expect("a removed directory");
    }
}
