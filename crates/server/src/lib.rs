//! The real driver of a node: sockets, files, clocks, signals and the allocator.
//!
//! One thread executes: [`serve`] reads the configuration, opens the sockets and runs the event loop until the server
//! is told to stop. Beside it there are threads that free large values and that wait for the disk, and at times a child
//! process that writes a snapshot. What the bytes mean is the node's business; nothing here knows a command.

mod clock;
mod config_files;
mod connection;
mod crash;
#[allow(dead_code)] // The event loop does not ask for it yet.
mod disk;
mod event_loop;
#[allow(dead_code)] // As the disk.
mod file_sink;
#[allow(dead_code)] // As the disk.
mod files;
#[allow(dead_code)] // As the disk.
mod fork;
mod free;
mod host;
mod listener;
mod log;
mod logo;
mod memory;
mod oom;
#[allow(dead_code)] // As the disk.
mod page_cache;
mod process;
#[allow(dead_code)] // As the disk.
mod reading;
mod signals;
#[allow(dead_code)] // As the disk.
mod snapshot;
mod start;
mod supervisor;
mod text;
mod title;

pub use config::{Action, CommandLine};
pub use memory::Jemalloc;
pub use start::serve;
