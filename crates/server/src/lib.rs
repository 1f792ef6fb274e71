//! The real driver of a node: sockets, files, clocks, signals and the allocator.
//!
//! One thread executes: [`serve`] reads the configuration, opens the sockets and runs the event loop until the server
//! is told to stop. Beside it there is only a thread that frees large values. What the bytes mean is the node's
//! business; nothing here knows a command.

mod clock;
mod config_files;
mod connection;
mod crash;
mod event_loop;
mod free;
mod host;
mod listener;
mod log;
mod logo;
mod memory;
mod oom;
mod process;
mod signals;
mod start;
mod supervisor;
mod text;
mod title;

pub use config::{Action, CommandLine};
pub use memory::Jemalloc;
pub use start::serve;
