//! What the engine may ask of the real world: measurements, and changed parameters put into force.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use config::Config;
use engine::host::{Directory, Refused, Report, RewriteError};
use node::Host;

use crate::clock::Clock;
use crate::disk::Disk;
use rdb::{Sink, SinkError};

use crate::file_sink;
use crate::free::Freeing;
use crate::listener::Listeners;
use crate::memory::{self, ThreadCounters};
use crate::process::{self, Who};
use crate::reading::Reading;
use crate::text::reason;
use crate::{crash, log, oom, title};

/// The surroundings of a node: this process on this machine.
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    pub(crate) memory: ThreadCounters,
    pub(crate) listeners: RefCell<Listeners>,
    pub(crate) freeing: RefCell<Freeing>,
    pub(crate) disk: RefCell<Disk>,
    pub(crate) config_file: Option<PathBuf>,
    /// The name under which the process was started.
    pub(crate) program: String,
    /// The badness that the kernel gave the process at its start.
    pub(crate) oom_score: i32,
    pub(crate) rejected: Cell<u64>,
    pub(crate) reads: Cell<u64>,
    pub(crate) writes: Cell<u64>,
}

impl Host for Machine {
    #[inline]
    fn ticks(&self) -> u64 {
        self.clock.ticks()
    }

    #[inline]
    fn memory_used(&self) -> usize {
        self.memory.used()
    }

    fn report(&self) -> Report {
        let figures = memory::figures();
        let rss = process::resident_bytes();
        let (all, children, main) = (
            process::cpu_time(Who::Process),
            process::cpu_time(Who::Children),
            process::cpu_time(Who::Thread),
        );
        let freeing = self.freeing.borrow();
        Report {
            pid: std::process::id(),
            os: process::os_name(),
            executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
            config_file: self.config_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            rss,
            system_memory: process::system_memory(),
            allocated: figures.allocated,
            active: figures.active,
            resident: figures.resident,
            retained: figures.retained,
            fragmentation_bytes: figures.active.saturating_sub(figures.allocated),
            cpu_user: all.user,
            cpu_sys: all.system,
            cpu_user_children: children.user,
            cpu_sys_children: children.system,
            cpu_user_main: main.user,
            cpu_sys_main: main.system,
            lazyfree_pending: freeing.pending(),
            lazyfreed: freeing.freed(),
            connections_rejected: self.rejected.get(),
            io_reads: self.reads.get(),
            io_writes: self.writes.get(),
        }
    }

    fn reconfigure(&self, config: &mut Config, changed: &[&'static str]) -> Result<(), Refused> {
        for &parameter in changed {
            self.put_into_force(config, parameter).map_err(|reason| Refused { parameter, reason })?;
        }
        Ok(())
    }

    fn rewrite_config(&self, rewrite: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Result<(), RewriteError> {
        let path = self.config_file.as_ref().ok_or(RewriteError::NoFile)?;
        let failed = |error: io::Error| {
            log::warning(&format!("CONFIG REWRITE failed: {}", reason(&error)));
            RewriteError::Failed(reason(&error))
        };
        let old = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        replace(path, &rewrite(&old)).map_err(failed)
    }

    fn write_file(
        &self,
        path: &str,
        write: &mut dyn FnMut(&mut dyn Sink) -> Result<u64, SinkError>,
    ) -> Result<(), String> {
        file_sink::save(Path::new(path), true, |sink| write(sink)).map(|_| ())
    }

    fn read_file(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<usize, String>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("{path}: {}", reason(&error));
        let mut reading = Reading::open(Path::new(path), None).map_err(failed)?;
        let (mut rest, mut tried) = (Vec::new(), 0);
        while let Some(piece) = reading.next().map_err(failed)? {
            rest.extend_from_slice(&piece);
            reading.give_back(piece);
            if rest.len() >= 2 * tried {
                let taken = take(&rest)?;
                rest.drain(..taken);
                tried = rest.len();
            }
        }
        match take(&rest)? {
            taken if taken == rest.len() => Ok(()),
            _ => Err(format!("{path}: the file ends too early")),
        }
    }

    fn look_into(&self, directory: &str, file: &str) -> Result<Option<Directory>, String> {
        let failed = |error: io::Error| format!("{directory}: {}", reason(&error));
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Directory::default())),
            entries => entries.map_err(failed)?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names = names.filter_map(io::Result::transpose).collect::<io::Result<_>>().map_err(failed)?;
        let file = match fs::read(Path::new(directory).join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            bytes => Some(bytes.map_err(|error| format!("{directory}/{file}: {}", reason(&error)))?),
        };
        Ok(Some(Directory { file, names }))
    }

    fn purge(&self) {
        memory::purge();
    }

    fn allocator_stats(&self) -> String {
        memory::report()
    }
}

impl Machine {
    /// Does what follows from a changed parameter; the error is the reason that CONFIG SET gives.
    fn put_into_force(&self, config: &mut Config, parameter: &str) -> Result<(), String> {
        match parameter {
            "dir" => {
                let path = Path::new(std::ffi::OsStr::from_bytes(&config.dir));
                // Tasks under way are meant for the old one.
                self.disk.borrow().settle();
                std::env::set_current_dir(path).map_err(|error| reason(&error))?;
                if let Ok(dir) = std::env::current_dir() {
                    config.set_dir(dir.as_os_str().as_bytes().to_vec());
                }
            }
            "maxclients" => match process::raise_open_files(config.maxclients)? {
                clients if clients < config.maxclients => {
                    return Err(format!(
                        "The operating system is not able to handle the specified number of clients, try with {clients}"
                    ));
                }
                _ => {}
            },
            "port" | "bind" => {
                let reason = match parameter {
                    "port" => "Unable to listen on this port. Check server logs.",
                    _ => "Failed to bind to specified addresses.",
                };
                let mut listeners = self.listeners.borrow_mut();
                listeners.rebind(&config.bind, config.port).map_err(|()| reason.to_owned())?;
            }
            "oom-score-adj" | "oom-score-adj-values" => oom::adjust(config, self.oom_score)
                .map_err(|()| "Failed to set current oom_score_adj. Check server logs.".to_owned())?,
            "appendonly" if config.appendonly => {
                node::look(config, self)?;
            }
            "crash-log-enabled" => crash::report_signals(config.crash_log_enabled),
            "loglevel" => log::set_level(config.loglevel),
            "proc-title-template" => self.show_title(config),
            "jemalloc-bg-thread" => memory::set_background_thread(config.jemalloc_bg_thread),
            _ => {}
        }
        Ok(())
    }

    fn show_title(&self, config: &Config) {
        let file = self.config_file.as_ref().map_or(String::new(), |path| path.display().to_string());
        title::show(config, &self.program, &file);
    }
}

/// Replaces a file by one with this content, so that a crash leaves either the old or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!("{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
