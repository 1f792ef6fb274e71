//! What a machine may ask of its surroundings while it executes.

use config::Config;

/// Measurements and services of the driver; the simulator answers with virtual ones.
pub trait Host {
    /// Returns a monotonic reading in microseconds, cheap enough to take once a command.
    fn ticks(&self) -> u64;
    /// Returns the bytes that the allocator has handed out.
    fn memory_used(&self) -> usize;
    /// Returns the process' figures for INFO and MEMORY; may be slow.
    fn report(&self) -> Report;
    /// Makes changed parameters take effect outside the engine; where one cannot, the caller takes all of them back.
    ///
    /// The working directory is noted in the configuration as the absolute path it turned out to be.
    fn reconfigure(&self, config: &mut Config, changed: &[&'static str]) -> Result<(), Refused>;
    /// Replaces the configuration file by what `rewrite` makes of its text.
    fn rewrite_config(&self, rewrite: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Result<(), RewriteError>;
    /// Writes a file in the working directory so that whatever happens either the old or the whole new one is there.
    ///
    /// `write` gets what takes the bytes, and returns the number of keys; the error is in the words of the system.
    fn write_file(
        &self,
        path: &str,
        write: &mut dyn FnMut(&mut dyn rdb::Sink) -> Result<u64, rdb::SinkError>,
    ) -> Result<(), String>;
    /// Reads a file in the working directory piece by piece; `take` may keep bytes for the next piece, and returns how
    /// many it took.
    fn read_file(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<usize, String>,
    ) -> Result<(), String>;
    /// Returns what is in a directory of the working directory; nothing from a driver that has none.
    ///
    /// `file` is the one whose bytes are wanted.
    fn look_into(&self, directory: &str, file: &str) -> Result<Option<Directory>, String> {
        let _ = (directory, file);
        Ok(None)
    }
    /// Gives memory that the allocator keeps for reuse back to the system (MEMORY PURGE).
    fn purge(&self);
    /// Returns the allocator's own statistics as text (MEMORY MALLOC-STATS).
    fn allocator_stats(&self) -> String;
}

/// What is in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// The bytes of the file that was asked for, if there is one.
    pub file: Option<Vec<u8>>,
    /// The names of all files that have a name in UTF-8.
    pub names: Vec<String>,
}

/// A parameter that could not be put into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub parameter: &'static str,
    pub reason: String,
}

/// Why CONFIG REWRITE failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteError {
    /// The server was started without a configuration file.
    NoFile,
    /// In the words of the system.
    Failed(String),
}

/// The process' figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub pid: u32,
    pub os: String,
    pub executable: String,
    pub config_file: String,
    pub rss: usize,
    pub system_memory: usize,
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
    pub retained: usize,
    pub fragmentation_bytes: usize,
    pub cpu_user: f64,
    pub cpu_sys: f64,
    pub cpu_user_children: f64,
    pub cpu_sys_children: f64,
    pub cpu_user_main: f64,
    pub cpu_sys_main: f64,
    /// Values handed to the background thread and not yet freed.
    pub lazyfree_pending: usize,
    pub lazyfreed: u64,
    pub connections_rejected: u64,
    pub io_reads: u64,
    pub io_writes: u64,
}
