//! `redstart check aof`: what is in a log, where it breaks, and cutting it there.

use std::io;
use std::path::{Path, PathBuf};

use aof::manifest::Manifest;
use aof::read::starts_with_snapshot;
use aof::{Check, Verdict};

use super::input::Input;
use super::snapshot;
use crate::text::{count, grouped, shown, size, table, time};

/// One file of a log.
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) found: Found,
}

/// What a file is to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Base,
    Increment,
    /// All there is, or all that is looked at.
    Single,
}

/// What is in a file.
pub(crate) struct Found {
    pub(crate) length: u64,
    /// At its front.
    pub(crate) snapshot: Option<rdb::check::Report>,
    /// Behind the snapshot, or from the front on.
    pub(crate) log: Option<aof::Report>,
}

/// Where a file breaks.
pub(crate) struct Break {
    pub(crate) offset: u64,
    pub(crate) why: String,
    /// Whether the file is whole without what follows, and what that is called.
    pub(crate) kind: BreakKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakKind {
    /// The server cuts it by itself.
    TornTail,
    Damage,
    /// Nothing of it can be used without the rest.
    Snapshot,
}

/// Returns the files to look at: those of the manifest or of the directory, or the one given.
pub(crate) fn parts(path: &Path) -> Result<Vec<(PathBuf, String, Kind)>, String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let path = match path.is_dir() {
        true => manifest_in(path)?,
        false => path.to_owned(),
    };
    let Some(manifest) = manifest(&path).map_err(|error| failed(&path, error))? else {
        let name = path.display().to_string();
        return Ok(vec![(path, name, Kind::Single)]);
    };
    let manifest = manifest.map_err(|error| format!("{}: {error}", path.display()))?;
    let parent = path.parent().unwrap_or(Path::new(""));
    let part = |file: &aof::LogFile, kind| (parent.join(&file.name), file.name.clone(), kind);
    let mut parts: Vec<_> = manifest.base.iter().map(|file| part(file, Kind::Base)).collect();
    parts.extend(manifest.increments.iter().map(|file| part(file, Kind::Increment)));
    Ok(parts)
}

/// Returns the manifest that the file is, if it is one.
pub(crate) fn manifest(path: &Path) -> io::Result<Option<Result<Manifest, aof::ManifestError>>> {
    /// No manifest comes near.
    const LENGTH_MAX: u64 = 1 << 20;
    let input = Input::open(path)?;
    if input.length() > LENGTH_MAX {
        return Ok(None);
    }
    let text = std::fs::read(path)?;
    let first = text.split_inclusive(|byte| *byte == b'\n').find(|line| !line.starts_with(b"#"));
    let named = path.extension().is_some_and(|extension| extension == "manifest");
    match named || first.is_some_and(|line| line.starts_with(b"file")) {
        true => Ok(Some(Manifest::parse(&text))),
        false => Ok(None),
    }
}

/// Returns the one manifest in a log's directory, or in a server's.
fn manifest_in(directory: &Path) -> Result<PathBuf, String> {
    let mut found = Vec::new();
    for directory in [directory.to_owned(), directory.join("appendonlydir")] {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "manifest")));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(format!("there is no manifest in {}", directory.display())),
        _ => Err(format!("there are several manifests in {}: name one", directory.display())),
    }
}

/// Returns what is in a file, and where what is later than `until` begins.
pub(crate) fn check(path: &Path, until: Option<i64>) -> io::Result<Found> {
    let mut input = Input::open(path)?;
    let (mut front, mut report) = (None, None);
    input.feed(|bytes| {
        front = starts_with_snapshot(bytes);
        (0, front.is_some())
    })?;
    let mut offset = 0;
    if front == Some(true) {
        let mut checker = snapshot::checker(&input);
        snapshot::feed(&mut input, &mut checker)?;
        let snapshot = checker.finish();
        offset = snapshot.bytes;
        report = Some(snapshot);
    }
    let log = match &report {
        Some(snapshot) if snapshot.error.is_some() => None,
        _ => {
            let mut check = Check::new(offset, until);
            input.feed(|bytes| (check.read(bytes), false))?;
            Some(check.finish(input.rest()))
        }
    };
    Ok(Found { length: input.length(), snapshot: report, log })
}

impl Found {
    /// Returns where the file breaks.
    pub(crate) fn breaks(&self) -> Option<Break> {
        if let Some(error) = self.snapshot.as_ref().and_then(|snapshot| snapshot.error.as_ref()) {
            return Some(Break {
                offset: error.offset,
                why: error.what.to_string(),
                kind: BreakKind::Snapshot,
            });
        }
        match self.log.as_ref()?.verdict.clone() {
            Verdict::Complete => None,
            Verdict::TornTail { offset, why } => Some(Break { offset, why, kind: BreakKind::TornTail }),
            Verdict::Corrupt { offset, why } => Some(Break { offset, why, kind: BreakKind::Damage }),
        }
    }
}

/// Returns what is in a file, for people.
pub(crate) fn describe(part: &Part) -> String {
    let kind = match part.kind {
        Kind::Base => "base, ",
        Kind::Increment => "increment, ",
        Kind::Single => "",
    };
    let mut text = format!("{}: {kind}{}", part.path.display(), size(part.found.length));
    let log = part.found.log.as_ref();
    match (&part.found.snapshot, log) {
        (Some(_), Some(log)) if log.requests() == 0 && log.verdict == Verdict::Complete => {
            text += ", a snapshot"
        }
        (Some(_), _) => text += ", a snapshot at its front",
        _ => {}
    }
    if let Some(log) = log.filter(|log| log.requests() > 0 || log.batches > 0) {
        text += &format!(", {}", count(log.requests(), "command"));
        text += &match (log.batches, log.appended_at) {
            (0, _) => ", without checksums".to_owned(),
            (batches, None) => format!(" in {}", count(batches, "checked batch")),
            (batches, Some(at)) => {
                format!(", {} and from offset {at} on without checksums", count(batches, "checked batch"))
            }
        };
    }
    text.push('\n');
    if let Some(snapshot) = &part.found.snapshot {
        text += &snapshot::describe(snapshot);
    }
    if let Some(log) = log {
        let mut commands: Vec<_> = log.commands.iter().collect();
        commands.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rows: Vec<_> =
            commands.into_iter().map(|(name, count)| vec![shown(name.as_bytes()), grouped(*count)]).collect();
        text += &table(&rows, 1);
        if let Some(at) = log.filler_at {
            text +=
                &format!("  {} prepared for what comes next, from offset {at} on\n", size(log.bytes - at));
        }
        if let Some((first, last)) = log.times {
            text += &format!("  written from {} to {} ({first} to {last})\n", time(first), time(last));
        }
        if let Some(mark) = &log.mark {
            let id = String::from_utf8_lossy(&mark.id);
            text += &format!("  stands at offset {} of the replication history {id}\n", grouped(mark.offset));
        }
    }
    text
}
