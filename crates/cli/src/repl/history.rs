//! The lines that were typed, kept in a file, except those with secrets in them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// How many lines are kept.
const LINES_MAX: usize = 1000;

/// A history file, or none.
#[derive(Debug)]
pub(crate) struct History {
    path: Option<PathBuf>,
}

impl History {
    /// Returns the history of this user; REDISCLI_HISTFILE says where else it is, and /dev/null that there is none.
    pub(crate) fn of_user() -> History {
        History { path: dotfile("REDISCLI_HISTFILE", ".redstart_history") }
    }

    /// Returns the lines, oldest first; one too long a file is shortened.
    pub(crate) fn load(&self) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        // A history that cannot be read is as good as an empty one.
        let Ok(bytes) = fs::read(path) else { return Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let kept = lines[lines.len().saturating_sub(LINES_MAX)..].to_vec();
        if lines.len() >= 2 * LINES_MAX {
            // Whoever cannot shorten it will be asked again next time.
            let _ = self.shorten(&kept);
        }
        kept
    }

    /// Appends a line.
    pub(crate) fn add(&self, line: &str) {
        let Some(path) = &self.path else { return };
        let append = || -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        // The command matters to the user, not whether it could be noted down.
        let _ = append();
    }

    fn shorten(&self, lines: &[String]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let new = path.with_extension("new");
        let mut file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
        fs::rename(new, path)
    }
}

/// Returns where a file of this user is: where the variable says, or in the home directory.
pub(crate) fn dotfile(variable: &str, name: &str) -> Option<PathBuf> {
    match std::env::var_os(variable).filter(|path| !path.is_empty()) {
        Some(path) if path == "/dev/null" => None,
        Some(path) => Some(PathBuf::from(path)),
        None => {
            let home: OsString = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
            Some(PathBuf::from(home).join(name))
        }
    }
}

/// Returns whether a command can have a secret in it.
pub(crate) fn is_sensitive(args: &[Vec<u8>]) -> bool {
    let words: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_ascii_lowercase()).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match words.as_slice() {
        [b"auth", ..] | [b"acl", b"setuser", ..] => true,
        [b"config", b"set", parameters @ ..] => parameters.iter().step_by(2).any(|name| {
            matches!(
                *name,
                b"masterauth"
                    | b"masteruser"
                    | b"requirepass"
                    | b"tls-key-file-pass"
                    | b"tls-client-key-file-pass"
            )
        }),
        [b"hello", _, options @ ..] => {
            let mut rest = options;
            loop {
                rest = match rest {
                    [b"auth", _, _, ..] => return true,
                    [b"setname", _, rest @ ..] => rest,
                    _ => return false,
                }
            }
        }
        [b"migrate", _, _, _, _, _, options @ ..] => {
            let options = options.split(|word| *word == b"keys").next().unwrap_or_default();
            options.iter().enumerate().any(|(i, word)| match *word {
                b"auth" => options.len() > i + 1,
                b"auth2" => options.len() > i + 2,
                _ => false,
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensitive(line: &str) -> bool {
        is_sensitive(&resp::inline::split_args(line.as_bytes()).unwrap())
    }

    #[test]
    fn secrets_are_seen_wherever_they_may_stand() {
        for line in [
            "AUTH secret",
            "acl setuser bob >secret",
            "CONFIG SET requirepass secret",
            "config set maxmemory 1gb masterauth secret",
            "HELLO 3 AUTH bob secret",
            "HELLO 3 SETNAME me AUTH bob secret",
            "MIGRATE h 6379 k 0 10 COPY AUTH secret",
            "MIGRATE h 6379 \"\" 0 10 AUTH2 bob secret KEYS a",
        ] {
            assert!(sensitive(line), "{line}");
        }
        for line in [
            "ACL WHOAMI",
            "CONFIG SET maxmemory 1gb",
            "CONFIG GET requirepass",
            "HELLO 3 SETNAME auth",
            "MIGRATE h 6379 \"\" 0 10 KEYS auth x",
            "GET auth",
        ] {
            assert!(!sensitive(line), "{line}");
        }
    }

    #[test]
    fn lines_are_kept_for_the_next_time_and_not_for_ever() {
        let path = std::env::temp_dir().join(format!("redstart-cli-history-{}", std::process::id()));
        let history = History { path: Some(path.clone()) };
        assert!(history.load().is_empty());
        (0..2 * LINES_MAX).for_each(|i| history.add(&i.to_string()));
        assert_eq!(history.load().len(), LINES_MAX);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), LINES_MAX);
        assert_eq!(history.load().last().unwrap(), &(2 * LINES_MAX - 1).to_string());
        fs::remove_file(path).unwrap();
    }
}
