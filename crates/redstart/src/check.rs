//! `redstart check`: says what is in a log or a snapshot and where it breaks, and cuts a log there.
//!
//! Owns the command line and what people read; formats and verdicts are those of the crates `aof` and `rdb`, which the
//! server loads with. Exit codes: 0 when all is well or was made so, 1 when something is broken, 2 when the arguments
//! are wrong or a file cannot be read.

mod cut;
mod input;
mod log;
mod redis_names;
mod snapshot;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use log::{BreakKind, Part};
pub(crate) use redis_names::{redis_check_aof, redis_check_rdb};

use crate::confirmed::confirmed;
use crate::text::{count, size, time};

const FINE: u8 = 0;
const BROKEN: u8 = 1;
const USAGE: u8 = 2;

pub(crate) const HELP: &str = "\
Usage: redstart check aof PATH [--fix] [--truncate-to-timestamp SECONDS] [--yes]
       redstart check rdb FILE

aof: PATH is a manifest, a directory with one, or a single file of a log.
     --fix cuts the log where it breaks, and prepared space behind its data (aof-prepared-space); --truncate-to-timestamp cuts it before what was written later than that
     (Unix time; with aof-timestamp-enabled). Both ask first, unless --yes, and keep what they cut off in a file
     beside the log. Stop the server before.
rdb: FILE is a snapshot.

Files of redis-server are read as well. Exit code: 0 if all is well, 1 if something is broken, 2 if nothing was checked.
";

/// What was asked for.
#[derive(Debug, Default)]
struct Wishes {
    path: PathBuf,
    fix: bool,
    until: Option<i64>,
    yes: bool,
}

/// Acts as `redstart check` does with these arguments.
pub(crate) fn run(args: &[Vec<u8>]) -> ExitCode {
    let code = match args.split_first() {
        Some((kind, rest)) if kind == b"aof" => match Wishes::parse(rest, true) {
            Ok(wishes) => check_log(&wishes),
            Err(complaint) => Err(complaint),
        },
        Some((kind, rest)) if kind == b"rdb" => match Wishes::parse(rest, false) {
            Ok(wishes) => check_snapshot(&wishes.path),
            Err(complaint) => Err(complaint),
        },
        Some((word, _)) if word == b"-h" || word == b"--help" => {
            say!("{}", HELP.trim_end());
            Ok(FINE)
        }
        _ => {
            eprint!("{HELP}");
            Ok(USAGE)
        }
    };
    ExitCode::from(code.unwrap_or_else(|complaint| {
        eprintln!("redstart check: {complaint}");
        USAGE
    }))
}

impl Wishes {
    fn parse(args: &[Vec<u8>], log: bool) -> Result<Wishes, String> {
        let (mut wishes, mut path) = (Wishes::default(), None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_slice() {
                b"--fix" if log => wishes.fix = true,
                b"--yes" | b"-y" if log => wishes.yes = true,
                b"--truncate-to-timestamp" if log => {
                    let seconds = args.next().and_then(|text| base::number::parse_i64(text));
                    wishes.until = Some(seconds.ok_or("--truncate-to-timestamp wants Unix time in seconds")?);
                }
                option if option.starts_with(b"-") => {
                    return Err(format!("no such option: {}", option.escape_ascii()));
                }
                _ if path.is_some() => return Err("one path at a time".into()),
                _ => path = Some(OsString::from_vec(arg.clone())),
            }
        }
        wishes.path = path.ok_or("which file? See redstart check --help")?.into();
        Ok(wishes)
    }
}

fn check_snapshot(path: &Path) -> Result<u8, String> {
    let (length, report) = snapshot::check(path).map_err(|error| format!("{}: {error}", path.display()))?;
    say!("{}: {}", path.display(), size(length));
    say!("{}", snapshot::describe(&report).trim_end());
    match report.error {
        None => {
            if report.bytes < length {
                say!("  {} behind its end, which nobody reads", size(length - report.bytes));
            }
            say!("The snapshot is whole.");
            Ok(FINE)
        }
        Some(error) => {
            say!("The snapshot is BROKEN at offset {} of {}: {}.", error.offset, path.display(), error.what);
            say!("A snapshot cannot be cut; what is counted above was read before.");
            Ok(BROKEN)
        }
    }
}

fn check_log(wishes: &Wishes) -> Result<u8, String> {
    let planned = log::parts(&wishes.path)?;
    let mut parts = Vec::new();
    for (path, _, kind) in planned {
        let found = log::check(&path, wishes.until);
        let found = found.map_err(|error| format!("{}: {error}", path.display()))?;
        let part = Part { path, kind, found };
        say!("{}", log::describe(&part).trim_end());
        parts.push(part);
    }
    // Only what nothing follows can be cut.
    let last = parts.iter().rposition(|part| part.found.length > 0).unwrap_or(0);
    let broken = parts.iter().enumerate().find_map(|(at, part)| Some((at, part.found.breaks()?)));
    if let Some((at, found)) = &broken {
        let path = parts[*at].path.display();
        match found.kind {
            BreakKind::TornTail if *at == last => say!(
                "{path} has a TORN TAIL at offset {}: {}. With aof-load-truncated the server cuts it by itself.",
                found.offset,
                found.why
            ),
            BreakKind::TornTail => say!(
                "{path} is BROKEN at offset {}: {}, and it is not the last file.",
                found.offset,
                found.why
            ),
            _ => say!("{path} is BROKEN at offset {}: {}.", found.offset, found.why),
        }
    }
    // The first place at which something is to go.
    let later = wishes.until.and_then(|until| {
        let cut = parts
            .iter()
            .enumerate()
            .find_map(|(at, part)| Some((at, part.found.log.as_ref()?.cut_for_time?)));
        if cut.is_none() {
            say!("Nothing was written later than {} ({until}), as far as the log says.", time(until));
        }
        cut
    });
    let first_break = broken.as_ref().map(|(at, found)| (*at, found.offset));
    let (at, offset) = match (later, first_break) {
        (Some(later), found) if found.is_none_or(|found| later <= found) => later,
        (_, Some(found)) => {
            let snapshot = broken.as_ref().is_some_and(|(_, found)| found.kind == BreakKind::Snapshot);
            return match (wishes.fix, snapshot) {
                (true, false) => shorten(&parts[found.0], found.1, found.0 == last, wishes.yes),
                (true, true) => {
                    say!("A snapshot cannot be cut: take this file from a copy.");
                    Ok(BROKEN)
                }
                (false, false) if found.0 == last => {
                    describe_cut(&parts[found.0], found.1)?;
                    say!("redstart check aof --fix does so.");
                    Ok(BROKEN)
                }
                (false, _) => Ok(BROKEN),
            };
        }
        _ => {
            say!("The log is whole.");
            return if wishes.fix { drop_filler(&parts, wishes.yes) } else { Ok(FINE) };
        }
    };
    if offset == 0 {
        say!("Nothing in {} is older: it is not cut.", parts[at].path.display());
        return Ok(BROKEN);
    }
    shorten(&parts[at], offset, at == last, wishes.yes)
}

/// Says what would be lost.
fn describe_cut(part: &Part, offset: u64) -> Result<(), String> {
    let path = part.path.display();
    let lost = cut::commands_behind(&part.path, offset).map_err(|error| format!("{path}: {error}"))?;
    say!(
        "Cutting {path} at offset {offset} removes {} of {}, in which about {} can be made out.",
        size(part.found.length.saturating_sub(offset)),
        size(part.found.length),
        count(lost, "command")
    );
    Ok(())
}

/// Cuts off the space that a server has prepared, if that is wanted.
fn drop_filler(parts: &[Part], yes: bool) -> Result<u8, String> {
    let filled = |part: &Part| Some((part.path.clone(), part.found.log.as_ref()?.filler_at?));
    for (path, at) in parts.iter().filter_map(filled) {
        let name = path.display();
        say!("Cutting {name} at offset {at} removes nothing but prepared space.");
        if !yes && !confirmed() {
            say!("Nothing was changed.");
            return Ok(FINE);
        }
        cut::drop_filler(&path, at).map_err(|error| format!("{name}: {error}"))?;
        say!("{name} was cut to {}.", count(at, "byte"));
    }
    Ok(FINE)
}

/// Cuts a file, if that is wanted.
fn shorten(part: &Part, offset: u64, last: bool, yes: bool) -> Result<u8, String> {
    let path = part.path.display();
    if !last {
        say!(
            "{path} is not the last file of the log: without its end those behind it would not fit, and it is not cut."
        );
        say!("If that must be, remove the files behind it and their lines in the manifest first.");
        return Ok(BROKEN);
    }
    describe_cut(part, offset)?;
    if !yes && !confirmed() {
        say!("Nothing was changed.");
        return Ok(BROKEN);
    }
    let kept = cut::cut(&part.path, offset).map_err(|error| format!("{path}: {error}"))?;
    say!("{path} was cut to {}; the rest is in {}.", count(offset, "byte"), kept.display());
    Ok(FINE)
}
