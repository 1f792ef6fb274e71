//! Writing a large file in one go: buffered, at an even load, and in place only when it is whole.
//!
//! ```text
//! written   |---------- on its way to the device ----------|- next 32 MB -|  buffer  |
//!           0                                      waited for        started
//! ```

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;

use base::disk::{DiskError, Step};
use rdb::{Sink, SinkError};

use crate::files::{self, failure};
use crate::page_cache;

/// What is collected before the system is called; what comes in such pieces already is not collected.
const BUFFER: usize = 64 * 1024;

/// With `rdb-save-incremental-fsync` the device gets its work in parts of this size.
const PART: u64 = 32 << 20;

/// So many names are tried for the file that SAVE writes.
const SAVES_LEFT_MAX: u32 = 10;

/// The way into a file that is being written.
#[derive(Debug)]
struct FileSink {
    file: File,
    buffer: Vec<u8>,
    /// What the system has taken; others look at this meanwhile.
    written: Rc<Cell<u64>>,
    /// Up to here the device has been given work, if that is done part by part.
    started: Option<u64>,
}

impl Sink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.take(bytes).map_err(|error| SinkError { reason: error.to_string() })
    }
}

impl FileSink {
    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        // An empty buffer is no reason to copy a large piece.
        if bytes.len() > BUFFER - self.buffer.len() || bytes.len() == BUFFER {
            return self.take_much(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    #[cold]
    fn take_much(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.flush()?;
        if bytes.len() < BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.write_all(bytes).map_err(|error| failure(Step::Write, &error))?;
        self.count(bytes.len())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.file.write_all(&self.buffer).map_err(|error| failure(Step::Write, &error))?;
        let length = self.buffer.len();
        self.buffer.clear();
        self.count(length)
    }

    /// Counts what was written, and keeps the device busy with it but not drowned.
    fn count(&mut self, length: usize) -> Result<(), DiskError> {
        let written = self.written.get() + length as u64;
        self.written.set(written);
        let Some(started) = self.started.filter(|started| written - started >= PART) else { return Ok(()) };
        self.started = Some(written);
        let syncing = |error| failure(Step::Sync, &error);
        page_cache::start_writing(&self.file, started..written).map_err(syncing)?;
        page_cache::finish_writing(&self.file, started.saturating_sub(PART)..started).map_err(syncing)
    }

    /// Returns when every byte is on the device.
    fn finish(mut self) -> Result<(), DiskError> {
        self.flush()?;
        self.file.sync_data().map_err(|error| failure(Step::Sync, &error))
    }
}

/// Where a file is written, and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Written here first, and removed should that fail.
    pub(crate) temporary: &'a Path,
    /// The name that it gets once it is whole, if it gets one.
    pub(crate) rename_to: Option<&'a Path>,
    /// Whether to write to the device part by part, rather than all at the end.
    pub(crate) incremental_sync: bool,
}

/// Writes what `write` makes to a process that takes it piece by piece; the error is said in words.
pub(crate) fn write_pieces(
    pipe: &UnixStream,
    counter: Rc<Cell<u64>>,
    write: impl FnOnce(&mut dyn Sink) -> Result<u64, SinkError>,
) -> Result<Written, String> {
    let mut sink = PieceSink(BufWriter::with_capacity(BUFFER, Pieces { pipe, written: Rc::clone(&counter) }));
    let keys = write(&mut sink).map_err(|error| error.reason)?;
    sink.0.flush().map_err(|error| error.to_string())?;
    Ok(Written { keys, bytes: counter.get() })
}

/// The way to a process that takes what is written piece by piece.
struct PieceSink<'a>(BufWriter<Pieces<'a>>);

impl Sink for PieceSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.write_all(bytes).map_err(|error| SinkError { reason: error.to_string() })
    }
}

/// The pipe, and how much has gone into it.
struct Pieces<'a> {
    pipe: &'a UnixStream,
    written: Rc<Cell<u64>>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.pipe.write(bytes)?;
        self.written.set(self.written.get() + length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

/// Writes a file with what `write` makes, which returns how many keys that were; the error is said in words.
///
/// A file that has the final name already stays as it is until the new one is on the disk.
pub(crate) fn write_file(
    target: Target<'_>,
    counter: Rc<Cell<u64>>,
    write: impl FnOnce(&mut dyn Sink) -> Result<u64, SinkError>,
) -> Result<Written, String> {
    let made = Cell::new(false);
    let written = (|| {
        // What has this name already is being written by somebody else.
        let file =
            File::create_new(target.temporary).map_err(|error| failure(Step::Open, &error).to_string())?;
        made.set(true);
        let mut sink = FileSink {
            file,
            buffer: Vec::with_capacity(BUFFER),
            written: Rc::clone(&counter),
            started: target.incremental_sync.then_some(0),
        };
        let keys = write(&mut sink).map_err(|error| error.reason)?;
        sink.finish().map_err(|error| error.to_string())?;
        match target.rename_to {
            Some(path) => files::rename(target.temporary, path),
            None => files::sync_parent(target.temporary),
        }
        .map_err(|error| error.to_string())?;
        Ok(Written { keys, bytes: counter.get() })
    })();
    if written.is_err() && made.get() {
        files::discard(target.temporary);
    }
    written
}

/// Writes a file at `path` in this process, by way of `temp-<pid>.rdb` beside it, as SAVE does.
pub(crate) fn save(
    path: &Path,
    incremental_sync: bool,
    write: impl FnOnce(&mut dyn Sink) -> Result<u64, SinkError>,
) -> Result<Written, String> {
    // A process of the same number may have left its file, or be at work in another container.
    let pid = std::process::id();
    let others = (1..SAVES_LEFT_MAX).map(|number| format!("temp-{pid}-{number}.rdb"));
    let names = std::iter::once(format!("temp-{pid}.rdb")).chain(others);
    let mut paths = names.map(|name| path.with_file_name(name));
    let temporary = paths.find(|path| !path.exists()).ok_or("too many temporary files are left over")?;
    let target = Target { temporary: &temporary, rename_to: Some(path), incremental_sync };
    write_file(target, Rc::default(), write)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("redstart-sink-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch directory");
        path
    }

    #[test]
    fn pieces_of_all_sizes_arrive_in_order() {
        let directory = scratch("sizes");
        let path = directory.join("dump.rdb");
        let pieces: Vec<Vec<u8>> = [1, 3, BUFFER - 4, 1, BUFFER - 1, 2, BUFFER, 0, 3 * BUFFER + 1, 7]
            .iter()
            .enumerate()
            .map(|(index, &size)| vec![index as u8; size])
            .collect();
        let written = save(&path, true, |sink| {
            pieces.iter().try_for_each(|piece| sink.write(piece))?;
            Ok(10)
        });
        let expected = pieces.concat();
        assert_eq!(written, Ok(Written { keys: 10, bytes: expected.len() as u64 }));
        assert!(fs::read(&path).expect("a file") == expected);
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1);
        fs::remove_dir_all(directory).expect("a removed directory");
    }

    #[test]
    fn large_files_go_to_the_device_part_by_part() {
        let directory = scratch("parts");
        let path = directory.join("dump.rdb");
        let piece = vec![7; 1 << 20];
        let written = save(&path, true, |sink| {
            (0..80).try_for_each(|_| sink.write(&piece))?;
            Ok(1)
        });
        assert_eq!(written, Ok(Written { keys: 1, bytes: 80 << 20 }));
        fs::remove_dir_all(directory).expect("a removed directory");
    }

    #[test]
    fn what_somebody_else_writes_is_left_alone() {
        let directory = scratch("others");
        let (path, others) = (directory.join("dump.rdb"), directory.join("temp-others.rdb"));
        fs::write(&others, b"half").expect("a file");
        let target = Target { temporary: &others, rename_to: Some(&path), incremental_sync: false };
        assert_eq!(write_file(target, Rc::default(), |_| Ok(0)), Err("opening failed: File exists".into()));
        let left = directory.join(format!("temp-{}.rdb", std::process::id()));
        fs::write(&left, b"left").expect("a file");
        assert!(save(&path, false, |_| Ok(0)).is_ok() && path.exists());
        assert_eq!(
            (fs::read(&others).expect("it"), fs::read(&left).expect("it").len()),
            (b"half".to_vec(), 4)
        );
        fs::remove_dir_all(directory).expect("a removed directory");
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let directory = scratch("failure");
        let path = directory.join("dump.rdb");
        fs::write(&path, b"old").expect("a file");
        let result = save(&path, false, |sink| {
            sink.write(&vec![1; 2 * BUFFER])?;
            Err(SinkError { reason: "no more".into() })
        });
        assert_eq!(result, Err("no more".into()));
        assert_eq!(fs::read(&path).expect("a file"), b"old");
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1);
        fs::remove_dir_all(&directory).expect("a removed directory");

        let result = save(&path, false, |_| Ok(0));
        assert_eq!(result, Err("opening failed: No such file or directory".into()));
        let mut sink = FileSink {
            file: File::options().write(true).open("/dev/full").expect("the full device"),
            buffer: Vec::new(),
            written: Rc::default(),
            started: Some(0),
        };
        assert!(sink.take(&vec![1; BUFFER + 1]).is_err_and(|error| error.full));
    }
}
