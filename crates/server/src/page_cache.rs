//! Words with the kernel about pages of files: when to write them, and what will be read.
//!
//! Its `unsafe` is calls that take numbers only.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Begins to write a part of a file to the device, without waiting.
pub(crate) fn start_writing(file: &File, part: Range<u64>) -> io::Result<()> {
    sync(file, part, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until a part of a file has been handed to the device; that it survives a power cut takes a sync.
pub(crate) fn finish_writing(file: &File, part: Range<u64>) -> io::Result<()> {
    let whole =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync(file, part, whole)
}

fn sync(file: &File, part: Range<u64>, flags: libc::c_uint) -> io::Result<()> {
    let (start, length) = (part.start as libc::off64_t, (part.end - part.start) as libc::off64_t);
    // SAFETY: the call takes numbers only.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Not every file and system can do this, and it is done for an even load only.
        Some(libc::EINVAL | libc::ESPIPE | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}

/// Says that a file will be read from its beginning to its end.
pub(crate) fn expect_sequential_reads(file: &File) {
    // SAFETY: the call takes numbers only. It is advice: not taking it is no error.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}
