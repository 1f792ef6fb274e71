//! Cutting a log safely: what is cut off is kept in a file beside it, and is on the disk before the log is shortened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Shortens the file to `length` bytes; returns where the rest of it was put.
pub(crate) fn cut(path: &Path, length: u64) -> io::Result<PathBuf> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (kept, mut copy) = beside(path, length)?;
    file.seek(SeekFrom::Start(length))?;
    io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    sync_directory(path)?;
    file.set_len(length)?;
    file.sync_all()?;
    Ok(kept)
}

/// Shortens the file to `length` bytes, behind which there is nothing to keep.
pub(crate) fn drop_filler(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Creates the file that takes what is cut off; an older one of that name stays.
fn beside(path: &Path, length: u64) -> io::Result<(PathBuf, File)> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".cut-{length}"));
    for attempt in 1.. {
        let mut name = name.clone();
        if attempt > 1 {
            name.push(format!("-{attempt}"));
        }
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((name.into(), file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("some name is free")
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns about how many commands there are in the file from `offset` on, damaged as they may be.
pub(crate) fn commands_behind(path: &Path, offset: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let (mut count, mut bytes, mut last) = (0, vec![0; 1 << 20], *b"\r\n");
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok(count);
        }
        for byte in &bytes[..read] {
            count += u64::from(*byte == b'*' && last == *b"\r\n");
            last = [last[1], *byte];
        }
    }
}
