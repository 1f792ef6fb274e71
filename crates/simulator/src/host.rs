//! What a node may measure and ask for, without a machine around it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use base::time::Now;
use config::Config;
use engine::host::{Directory, Refused, Report, RewriteError};
use node::{Host, Node, Snapshot, Written};
use rdb::{Sink, SinkError};

/// Deterministic measurements: every look at a meter moves it by a fixed step.
#[derive(Debug)]
pub struct VirtualHost {
    ticks: Cell<u64>,
    memory: Cell<usize>,
    relief: Cell<usize>,
    config_file: RefCell<Option<String>>,
    /// Files that were written at once, by name.
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// What there is to see where the log is, if anybody looks.
    log_directory: RefCell<Option<Directory>>,
}

impl Default for VirtualHost {
    fn default() -> VirtualHost {
        VirtualHost {
            ticks: Cell::new(1_000_000),
            memory: Cell::new(MEMORY_AT_REST),
            relief: Cell::new(0),
            config_file: RefCell::new(None),
            files: RefCell::default(),
            log_directory: RefCell::default(),
        }
    }
}

/// What the allocator has handed out unless a driver says otherwise.
pub const MEMORY_AT_REST: usize = 1 << 20;

impl VirtualHost {
    /// Sets the bytes in use, and by how much they sink with every look, so that eviction has an end.
    pub fn set_memory(&self, used: usize, relief: usize) {
        self.memory.set(used);
        self.relief.set(relief);
    }

    /// Sets the text of the configuration file; without one CONFIG REWRITE is refused.
    pub fn set_config_file(&self, text: Option<String>) {
        *self.config_file.borrow_mut() = text;
    }

    /// Sets what there is to see where the log is.
    pub fn set_log_directory(&self, directory: Directory) {
        *self.log_directory.borrow_mut() = Some(directory);
    }

    /// Returns the text of the configuration file.
    pub fn config_file(&self) -> Option<String> {
        self.config_file.borrow().clone()
    }
}

impl VirtualHost {
    /// Does at once what a child process would do in its time: writes the snapshot of this moment to a file.
    pub fn fork(&self, node: &mut Node, now: Now, kind: Snapshot, path: &str) {
        let mut bytes = Bytes::default();
        let written = node.write_snapshot(now, self.memory.get(), kind, &mut bytes, &mut |_| {});
        let written = written.map(|_| Written { bytes: bytes.0.len() as u64, copied: 0 });
        self.files.borrow_mut().insert(path.to_owned(), bytes.0);
        node.forked(Duration::ZERO);
        node.snapshot_done(now, written.map_err(|error| error.reason));
    }
}

/// A sink that keeps what it is given.
#[derive(Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Sink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Host for VirtualHost {
    fn ticks(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    fn memory_used(&self) -> usize {
        let used = self.memory.get();
        self.memory.set(used.saturating_sub(self.relief.get()).max(used.min(MEMORY_AT_REST)));
        used
    }

    fn report(&self) -> Report {
        let used = self.memory.get();
        Report {
            pid: 4242,
            os: "virtual".into(),
            executable: "/simulator".into(),
            config_file: if self.config_file.borrow().is_some() {
                "/redis.conf".into()
            } else {
                String::new()
            },
            rss: used,
            system_memory: 1 << 30,
            allocated: used,
            active: used,
            resident: used,
            ..Report::default()
        }
    }

    fn reconfigure(&self, _config: &mut Config, _changed: &[&'static str]) -> Result<(), Refused> {
        Ok(())
    }

    fn rewrite_config(&self, rewrite: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Result<(), RewriteError> {
        let mut file = self.config_file.borrow_mut();
        let text = file.as_deref().ok_or(RewriteError::NoFile)?;
        *file = Some(String::from_utf8_lossy(&rewrite(text.as_bytes())).into_owned());
        Ok(())
    }

    fn write_file(
        &self,
        path: &str,
        write: &mut dyn FnMut(&mut dyn Sink) -> Result<u64, SinkError>,
    ) -> Result<(), String> {
        let mut bytes = Bytes::default();
        write(&mut bytes).map_err(|error| error.reason)?;
        self.files.borrow_mut().insert(path.to_owned(), bytes.0);
        Ok(())
    }

    fn read_file(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<usize, String>,
    ) -> Result<(), String> {
        let files = self.files.borrow();
        let bytes = files.get(path).ok_or_else(|| format!("{path}: No such file or directory"))?;
        match take(bytes)? {
            taken if taken == bytes.len() => Ok(()),
            _ => Err(format!("{path}: the file ends too early")),
        }
    }

    fn look_into(&self, _directory: &str, _file: &str) -> Result<Option<Directory>, String> {
        Ok(self.log_directory.borrow().clone())
    }

    fn purge(&self) {}

    fn allocator_stats(&self) -> String {
        "no allocator: memory is virtual".into()
    }
}
