//! `redstart lock run`: a command that runs only while a lock is held.
//!
//! [`holder`] gets the lock and gives it back. [`keeper`], a process of its own, runs the command and ends it before the
//! lease does, by the [`plan`] that they share. [`exec`] is the moment in which a process becomes the command.

mod clock;
mod descendants;
pub(super) mod exec;
mod holder;
pub(super) mod keeper;
mod link;
mod plan;
mod report;
mod signals;
mod tee;
mod terminal;

use std::path::{Path, PathBuf};

use super::arguments::Run;
use super::desk::Desk;
use super::exit::{self, Code};

/// Returns this program, to be started once more: the very same, though its file was replaced meanwhile.
fn own_program() -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let running = Path::new("/proc/self/exe");
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    match std::env::current_exe() {
        Ok(path) if identity(&path).is_some() && identity(&path) == identity(running) => path,
        _ => running.to_owned(),
    }
}

/// Runs a command under a lock, and tells people what failed.
pub(super) fn run(run: &Run) -> Code {
    let desk = Desk::new(run.servers.first().map(String::as_str).unwrap_or_default(), &run.records);
    desk.check(&run.notify);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("redstart lock run: {error}");
            return exit::OS;
        }
    };
    let code = runtime.block_on(holder::run(run, &desk));
    // Connections that are still being made must not hold the command's exit code back.
    runtime.shutdown_background();
    desk.deliver_briefly();
    code
}
