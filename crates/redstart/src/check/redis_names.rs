//! The same under the names of Redis' programs: their arguments, their exit codes, and the words that scripts look for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::version::REDIS_VERSION;
use rdb::check::Report;

use super::log::{self, Break, BreakKind, Found};
use super::{cut, snapshot};
use crate::confirmed::confirmed;
use crate::text::shown;

/// How a check ended early.
struct Stop;

/// Acts as redis-check-rdb does.
pub(crate) fn redis_check_rdb(name: &str, args: &[Vec<u8>]) -> ExitCode {
    let [arg] = args else {
        eprintln!("Usage: {name} <rdb-file-name>");
        return ExitCode::FAILURE;
    };
    if arg == b"-v" || arg == b"--version" {
        say!("redis-check-rdb {REDIS_VERSION}");
        return ExitCode::SUCCESS;
    }
    let path = Path::new(OsStr::from_bytes(arg));
    say!("[offset 0] Checking RDB file {}", path.display());
    match snapshot::check(path) {
        Ok((_, report)) => match print_snapshot(&report) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("Cannot open file {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Says what is in a snapshot; returns whether it is sane.
fn print_snapshot(report: &Report) -> bool {
    match &report.error {
        None => {
            let end = report.bytes;
            match report.checksum {
                Some(_) => say!("[offset {end}] Checksum OK"),
                None => {
                    say!("[offset {end}] RDB file was saved with checksum disabled: no check performed.")
                }
            }
            say!("[offset {end}] \\o/ RDB looks OK! \\o/");
        }
        Some(error) => {
            say!("--- RDB ERROR DETECTED ---");
            say!("[offset {}] {}", error.offset, error.what);
        }
    }
    say!("[info] {} keys read", report.keys);
    say!("[info] {} expires", report.with_expiry);
    say!("[info] {} already expired", report.expired);
    report.error.is_none()
}

/// Acts as redis-check-aof does.
pub(crate) fn redis_check_aof(name: &str, args: &[Vec<u8>]) -> ExitCode {
    let mut until = None;
    let (path, fix) = match args {
        [word] if word == b"-v" || word == b"--version" => {
            say!("redis-check-aof {REDIS_VERSION}");
            return ExitCode::SUCCESS;
        }
        [path] => (path, false),
        [word, path] if word == b"--fix" => (path, true),
        [word, time, path] if word == b"--truncate-to-timestamp" => {
            until = base::number::parse_i64(time);
            if until.is_none() {
                say!("Invalid timestamp, aborting...");
                return ExitCode::FAILURE;
            }
            (path, false)
        }
        _ => {
            say!("Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>");
            return ExitCode::FAILURE;
        }
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    match check(&path, fix, until) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop) => ExitCode::FAILURE,
    }
}

fn check(path: &Path, fix: bool, until: Option<i64>) -> Result<(), Stop> {
    let stop = |error: &dyn std::fmt::Display| {
        say!("Cannot open file {}: {error}", path.display());
        Stop
    };
    let manifest = log::manifest(path).map_err(|error| stop(&error))?;
    let Some(manifest) = manifest else {
        say!("Start checking Old-Style AOF");
        return check_file(path, &path.display().to_string(), "AOF", true, fix, until);
    };
    say!("Start checking Multi Part AOF");
    if let Err(error) = manifest {
        say!("{error}");
        return Err(Stop);
    }
    let parts = log::parts(path).map_err(|error| stop(&error))?;
    let mut increments = false;
    for (at, (path, name, kind)) in parts.iter().enumerate() {
        let style = match kind {
            log::Kind::Base => {
                let mut front = [0; 6];
                let read = std::fs::File::open(path)
                    .and_then(|mut file| std::io::Read::read(&mut file, &mut front))
                    .unwrap_or(0);
                let rdb = aof::read::starts_with_snapshot(&front[..read]) == Some(true);
                say!("Start to check BASE AOF ({} format).", if rdb { "RDB" } else { "RESP" });
                "BASE AOF"
            }
            _ => {
                if !std::mem::replace(&mut increments, true) {
                    say!("Start to check INCR files.");
                }
                "INCR AOF"
            }
        };
        check_file(path, name, style, at + 1 == parts.len(), fix, until)?;
    }
    say!("All AOF files and manifest are valid");
    Ok(())
}

/// Checks one file, and cuts it if asked to.
fn check_file(
    path: &Path,
    name: &str,
    style: &str,
    last: bool,
    fix: bool,
    until: Option<i64>,
) -> Result<(), Stop> {
    let found = log::check(path, until).map_err(|error| {
        say!("Cannot open file {}: {error}, aborting...", path.display());
        Stop
    })?;
    if found.length == 0 {
        say!("{style} {name} is empty");
        return Ok(());
    }
    if let Some(snapshot) = &found.snapshot {
        say!("[offset 0] Checking RDB file {name}");
        if !print_snapshot(snapshot) {
            say!("RDB preamble of AOF file is not sane, aborting.");
            return Err(Stop);
        }
        say!("RDB preamble is OK, proceeding with AOF tail...");
    }
    let broken = found.breaks();
    if let (Some(until), Some(log)) = (until, &found.log) {
        match log.cut_for_time {
            Some(0) => {
                say!("AOF {name} has nothing before timestamp {until}, aborting...");
                return Err(Stop);
            }
            Some(offset) if !last => {
                say!(
                    "Failed to truncate AOF {name} to timestamp {until} to offset {offset} because it is not the \
                     last file."
                );
                say!(
                    "If you insist, please delete all files after this file according to the manifest file and \
                     delete the corresponding records in manifest file manually. Then re-run redis-check-aof."
                );
                return Err(Stop);
            }
            Some(offset) => {
                shorten(path, name, offset)?;
                say!("Successfully truncated AOF {name} to timestamp {until}");
                return Ok(());
            }
            None if broken.is_none() => {
                say!("Truncate nothing in AOF {name} to timestamp {until}");
                say!("{style} {name} is valid");
                return Ok(());
            }
            None => {}
        }
    }
    let valid = broken.as_ref().map_or(found.length, |broken| broken.offset);
    if let Some(Break { offset, why, .. }) = &broken {
        say!("0x{offset:16x}: {}", shown(why.as_bytes()));
    }
    say!(
        "AOF analyzed: filename={name}, size={}, ok_up_to={valid}, ok_up_to_line={}, diff={}",
        found.length,
        lines(&found),
        found.length - valid
    );
    let Some(broken) = broken else {
        say!("{style} {name} is valid");
        return Ok(());
    };
    if !fix || broken.kind == BreakKind::Snapshot {
        say!("AOF {name} is not valid. Use the --fix option to try fixing it.");
        return Err(Stop);
    }
    if !last {
        say!("Failed to truncate AOF {name} because it is not the last file");
        return Err(Stop);
    }
    say!(
        "This will shrink the AOF {name} from {} bytes, with {} bytes, to {valid} bytes",
        found.length,
        found.length - valid
    );
    if !confirmed() {
        say!("Aborting...");
        return Err(Stop);
    }
    shorten(path, name, valid)?;
    say!("Successfully truncated AOF {name}");
    Ok(())
}

/// Returns the number of the line at which reading ended, as Redis counts them.
fn lines(found: &Found) -> u64 {
    1 + found.log.as_ref().map_or(0, |log| log.lines)
}

fn shorten(path: &Path, name: &str, length: u64) -> Result<(), Stop> {
    cut::cut(path, length).map(drop).map_err(|error| {
        say!("Failed to truncate AOF {name}: {error}");
        Stop
    })
}
