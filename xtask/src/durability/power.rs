//! Cutting a file system's power: `FS_IOC_SHUTDOWN`.
//!
//! Its `unsafe` is that of the one call, which nothing safe offers.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `_IOR('X', 125, __u32)`.
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;

/// The journal is not written first: what is not on the device stays away from it.
const NO_LOG_FLUSH: u32 = 2;

/// Lets nothing more reach the device of the file system mounted at `path`.
pub(super) fn cut(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    let flags = NO_LOG_FLUSH;
    // SAFETY: the descriptor is open, and the pointer is to a local of the type that the call reads.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_SHUTDOWN as _, &raw const flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
