//! The real driver of a node: sockets, files, clocks, signals and the allocator.
//!
//! One thread executes: [`serve`] reads the configuration, opens the sockets and runs the event loop until the server
//! is told to stop. Beside it there are threads that free large values and that wait for the disk, and at times a child
//! process that writes a snapshot. What the bytes mean is the node's business; nothing here knows a command.

mod clock;
mod config_files;
mod connection;
mod crash;
mod disk;
mod event_loop;
mod file_sink;
mod files;
mod fork;
mod free;
mod gather;
mod host;
mod left_over;
mod listener;
mod loader;
mod log;
mod logo;
mod memory;
mod oom;
mod page_cache;
mod process;
mod reading;
mod signals;
mod snapshot;
mod start;
mod storage;
mod supervisor;
mod text;
mod title;

pub use config::{Action, CommandLine};
pub use memory::Jemalloc;
pub use start::serve;
