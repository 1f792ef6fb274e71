//! The log's directory on a virtual disk: what a starting server is shown of it, and what an operator removes.

use base::disk::{Task, TaskId};
use base::time::Instant;
use engine::host::Directory;

use crate::VirtualHost;
use crate::disk::VirtualDisk;

/// Where the manifest of the log is.
pub const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

/// Lets a node see the log's directory as it is now.
pub fn show(host: &VirtualHost, disk: &VirtualDisk) {
    let names = disk.files().filter_map(|path| path.strip_prefix("appendonlydir/"));
    host.set_log_directory(Directory {
        file: disk.read(MANIFEST).map(<[u8]>::to_vec),
        names: names.map(str::to_owned).collect(),
    });
}

/// Removes log files that no manifest lists, as an operator has to: a server refuses to start beside them.
///
/// They are there when the process ended before its first base was listed, so that they promise nothing. Returns whether
/// there were any.
pub fn tidy(disk: &mut VirtualDisk, now: Instant) -> bool {
    if disk.read(MANIFEST).is_some() {
        return false;
    }
    let left = disk.files().filter(|path| path.starts_with("appendonlydir/appendonly.aof."));
    let left: Vec<String> = left.map(str::to_owned).collect();
    let any = !left.is_empty();
    for path in left {
        disk.submit(now, TaskId(0), Task::Remove { path });
    }
    disk.settle();
    disk.take_done(now);
    any
}
