//! The files behind a log: one task after the other, carried out with the system's calls.
//!
//! Owned here is what a task means for files, and which of them are broken; on which thread that happens is the
//! business of [`crate::disk`]. What failures mean is written down in [`base::disk`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::disk::{DiskError, FileId, Step, Task};
use base::prepared::{Behind, Plan, Space};

use crate::text::reason;

/// Removing a file of this size or more takes the system so long that it is left to a thread.
pub(crate) const LARGE: u64 = 16 << 20;

/// So much filler is written at once.
const FILLER_AT_ONCE: u64 = 256 << 10;

/// The open files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: BTreeMap<FileId, LogFile>,
    /// What this process has made under its present name: others' files are never cut to nothing.
    made: BTreeSet<PathBuf>,
}

/// A file that is appended to.
#[derive(Debug)]
enum LogFile {
    Whole {
        file: File,
        space: Space,
    },
    /// An append failed, or the file could not be opened: nothing but opening it helps.
    Broken(DiskError),
    /// A sync failed: nothing helps.
    Lost(DiskError),
}

impl Files {
    /// Carries out one task.
    pub(crate) fn carry_out(&mut self, task: Task) -> Result<(), DiskError> {
        match task {
            Task::MakeDir { path } => make_dir(Path::new(&path)),
            Task::Create { file, path } => {
                let path = PathBuf::from(path);
                let own = self.made.contains(&path);
                self.open_as(file, || create(&path, own))?;
                self.made.insert(path);
                Ok(())
            }
            Task::Open { file, path, len } => self.open_as(file, || open(Path::new(&path), len)),
            Task::Append { file, bytes } => self.append(file, &bytes),
            Task::Sync { file, ahead } => self.sync(file, ahead),
            Task::Close { file } => {
                if let Some(LogFile::Whole { file, space }) = self.open.get_mut(&file)
                    && space.is_prepared()
                {
                    cut_filler(file, space);
                }
                // That a file is lost is remembered beyond its closing.
                if !matches!(self.open.get(&file), Some(LogFile::Lost(_))) {
                    self.open.remove(&file);
                }
                Ok(())
            }
            Task::Replace { path, bytes } => replace(Path::new(&path), &bytes),
            Task::Rename { from, to } => rename(Path::new(&from), Path::new(&to)),
            Task::Remove { path } => {
                self.made.remove(Path::new(&path));
                remove(Path::new(&path))
            }
        }
    }

    /// Appends, or leaves the file as it was and broken.
    pub(crate) fn append(&mut self, id: FileId, bytes: &[u8]) -> Result<(), DiskError> {
        let (file, space) = match self.open.get_mut(&id) {
            Some(LogFile::Whole { file, space }) => (file, space),
            other => return Err(refusal(other, Step::Write)),
        };
        let count = bytes.len() as u64;
        let behind = space.behind(count);
        // Tries again after an interruption, and goes on after a part.
        let written = match behind {
            Behind::Mark => file.write_all_at(&[bytes, b"#"].concat(), space.data()),
            Behind::Good | Behind::Last => file.write_all_at(bytes, space.data()),
        };
        if let Err(error) = written {
            // Should this fail as well: opening the file cuts it before anything else is written to it.
            let _ = file.set_len(space.data());
            let error = failure(Step::Write, &error);
            self.open.insert(id, LogFile::Broken(error.clone()));
            return Err(error);
        }
        space.append(count);
        if behind == Behind::Last {
            cut_filler(file, space);
        }
        Ok(())
    }

    fn sync(&mut self, id: FileId, ahead: u64) -> Result<(), DiskError> {
        let (file, space) = match self.open.get_mut(&id) {
            Some(LogFile::Whole { file, space }) => (file, space),
            other => return Err(refusal(other, Step::Sync)),
        };
        prepare(file, space, ahead);
        // The size is part of what this syncs, times are not.
        if let Err(error) = file.sync_data() {
            let error = failure(Step::Sync, &error);
            self.open.insert(id, LogFile::Lost(error.clone()));
            return Err(error);
        }
        space.sync();
        Ok(())
    }

    fn open_as(
        &mut self,
        id: FileId,
        open: impl FnOnce() -> Result<(File, u64), DiskError>,
    ) -> Result<(), DiskError> {
        if let Some(LogFile::Lost(error)) = self.open.get(&id) {
            return Err(error.clone());
        }
        let (state, result) = match open() {
            Ok((file, len)) => (LogFile::Whole { file, space: Space::new(len) }, Ok(())),
            Err(error) if error.step == Step::Sync => (LogFile::Lost(error.clone()), Err(error)),
            Err(error) => (LogFile::Broken(error.clone()), Err(error)),
        };
        self.open.insert(id, state);
        result
    }
}

/// Writes filler behind the data, or cuts it off; the log can do without.
fn prepare(file: &File, space: &mut Space, ahead: u64) {
    match space.plan(ahead) {
        Plan::Nothing => {}
        Plan::Cut => cut_filler(file, space),
        Plan::Fill(part) => match fill(file, space, part.clone()) {
            Ok(()) => space.fill(part.end),
            Err(_) => {
                space.pause();
                cut_filler(file, space);
            }
        },
    }
}

fn fill(file: &File, space: &Space, part: Range<u64>) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let end = part.end.min(at + FILLER_AT_ONCE);
        file.write_all_at(&space.filler(at..end), at)?;
        at = end;
    }
    Ok(())
}

/// Cuts a file to its data; where that fails, the filler stays what it was.
fn cut_filler(file: &File, space: &mut Space) {
    if file.set_len(space.data()).is_ok() {
        space.cut();
    }
}

/// Returns why nothing can be done with a file.
fn refusal(file: Option<&mut LogFile>, step: Step) -> DiskError {
    match file {
        Some(LogFile::Broken(error) | LogFile::Lost(error)) => error.clone(),
        _ => DiskError { step, full: false, reason: "the file is not open".into() },
    }
}

fn make_dir(path: &Path) -> Result<(), DiskError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(|error| failure(Step::MakeDir, &error))?,
    }
    sync_parent(path)
}

fn create(path: &Path, own: bool) -> Result<(File, u64), DiskError> {
    let opening = |error: io::Error| failure(Step::Open, &error);
    let file = writing().create(true).mode(0o644).open(path).map_err(opening)?;
    if file.metadata().map_err(opening)?.len() > 0 {
        if !own {
            let reason = format!("{} is there already, and is not empty", path.display());
            return Err(DiskError { step: Step::Open, full: false, reason });
        }
        file.set_len(0).map_err(|error| failure(Step::Cut, &error))?;
    }
    // Also one that is empty may have been cut without a sync: what it held must not come back after a power cut.
    match file.sync_all() {
        // What is no file on a disk cannot be synced, and has nothing that could come back.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        synced => synced.map_err(|error| failure(Step::Sync, &error))?,
    }
    sync_parent(path)?;
    Ok((file, 0))
}

fn open(path: &Path, len: u64) -> Result<(File, u64), DiskError> {
    let opening = |error: &io::Error| failure(Step::Open, error);
    let file = writing().open(path).map_err(|error| opening(&error))?;
    let there = file.metadata().map_err(|error| opening(&error))?.len();
    if there < len {
        let reason = format!("the file has {there} bytes, and should have {len} at least");
        return Err(DiskError { step: Step::Open, full: false, reason });
    }
    if there > len {
        file.set_len(len).map_err(|error| failure(Step::Cut, &error))?;
    }
    file.sync_all().map_err(|error| failure(Step::Sync, &error))?;
    // Whoever made the file may have been killed before its name was on the disk, or that of its directory.
    sync_parent(path)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        sync_parent(directory)?;
    }
    Ok((file, len))
}

/// Returns how log files are opened: where to write is known better than by the system, which knows only the file's end.
fn writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    options
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("temp-{name}"));
    let written = (|| {
        let mut file = File::create(&temporary).map_err(|error| failure(Step::Open, &error))?;
        file.write_all(bytes).map_err(|error| failure(Step::Write, &error))?;
        file.sync_all().map_err(|error| failure(Step::Sync, &error))?;
        drop(file);
        rename(&temporary, path)
    })();
    if written.is_err() {
        // Where only the renaming is uncertain, there is no such file any more.
        discard(&temporary);
    }
    written
}

/// Renames a file, and returns when that would survive a power cut.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    let replaced = hold(to);
    fs::rename(from, to).map_err(|error| failure(Step::Rename, &error))?;
    release(replaced);
    sync_parent(to)?;
    if from.parent() != to.parent() {
        sync_parent(from)?;
    }
    Ok(())
}

/// Removes a file that may be gone already, without waiting until a large one's blocks are free.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    let removed = hold(path);
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        gone => gone.map_err(|error| failure(Step::Remove, &error))?,
    }
    release(removed);
    sync_parent(path)
}

/// Removes a file that nobody needs, if it is there.
pub(crate) fn discard(path: &Path) {
    let removed = hold(path);
    let _ = fs::remove_file(path);
    release(removed);
}

/// Opens a large file that is about to lose its name, so that the system does not free its blocks on the spot.
fn hold(path: &Path) -> Option<File> {
    let large = fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.len() >= LARGE);
    if large { File::open(path).ok() } else { None }
}

/// Closes a file that has no name any more; freeing gigabytes takes a while.
fn release(file: Option<File>) {
    if let Some(file) = file {
        // Where no thread can be had, it is closed here.
        let _ = std::thread::Builder::new().name("remove".into()).stack_size(64 * 1024).spawn(|| drop(file));
    }
}

/// Syncs the directory that a path lies in.
pub(crate) fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent: PathBuf = parent.unwrap_or(Path::new(".")).into();
    match File::open(parent).and_then(|directory| directory.sync_all()) {
        // Some file systems know no sync of directories.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF)) => Ok(()),
        synced => synced.map_err(|error| failure(Step::Sync, &error)),
    }
}

/// Returns the contract's words for an error of the system.
pub(crate) fn failure(step: Step, error: &io::Error) -> DiskError {
    let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
    DiskError { step, full, reason: reason(error) }
}
