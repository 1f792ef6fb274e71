//! From the command line to a serving process, and back out.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base::version::{REDIS_VERSION, VERSION};
use config::{CommandLine, Config, Supervised};
use mio::{Poll, Waker};
use node::Node;

use crate::clock::Clock;
use crate::config_files::{self, Setup};
use crate::disk::Disk;
use crate::event_loop::EventLoop;
use crate::free::Freeing;
use crate::host::Machine;
use crate::listener::Listeners;
use crate::memory::ThreadCounters;
use crate::signals::Signals;
use crate::storage::DISK_TOKEN;
use crate::text::reason;
use crate::{crash, left_over, log, logo, memory, oom, process, supervisor, title};

/// Serves as the command line says (what follows the program's name); returns the exit code.
pub fn serve(line: &CommandLine) -> i32 {
    let setup = match config_files::load(line) {
        Ok(setup) => setup,
        Err(error) => {
            eprint!("{}", error.report(REDIS_VERSION));
            return 1;
        }
    };
    match start(line, setup) {
        Ok(code) => code,
        Err(reason) => {
            log::warning(&reason);
            1
        }
    }
}

fn start(line: &CommandLine, setup: Setup) -> Result<i32, String> {
    let Setup { mut config, file, table, notes } = setup;
    log::configure(&config);
    crash::report_panics();
    crash::report_signals(config.crash_log_enabled);
    let supervised = supervisor::greet(config.supervised);
    // Who is supervised stays in the foreground for the supervisor.
    let background = config.daemonize && supervised == Supervised::No;
    if background {
        process::daemonize();
    }
    announce(line, &notes);
    // Before there are other threads, which could look at the arguments meanwhile.
    let program = std::env::args().next().unwrap_or_else(|| "redstart".into());
    title::show(&config, &program, &file.as_ref().map_or(String::new(), |path| path.display().to_string()));

    let pidfile = write_pidfile(&config, background);
    let oom_score = oom::current();
    if config.oom_score_adj != config::OomScoreAdj::No {
        oom::adjust(&config, oom_score).map_err(|()| "Failed to apply oom-score-adj, exiting.".to_owned())?;
    }
    if config.disable_thp && !process::disable_huge_pages() {
        log::warning("Transparent huge pages could not be disabled for this process.");
    }
    let clients = process::raise_open_files(config.maxclients)?;
    if clients < config.maxclients {
        let text = clients.to_string();
        config.set_at_start(b"maxclients", &[text.as_bytes()])?;
    }

    log::set_replica(config.replicaof.is_some());
    let failed = |error: io::Error| format!("Creating the event loop failed: {}", reason(&error));
    let poll = Poll::new().map_err(failed)?;
    let signals = Signals::listen(poll.registry()).map_err(failed)?;
    let listeners = Listeners::open(&config, poll.registry().try_clone().map_err(failed)?)?;
    let waker = Arc::new(Waker::new(poll.registry(), DISK_TOKEN).map_err(failed)?);
    // The first use looks at what the processor can do, which a forked child must not be the first to need.
    base::crc64::crc64(0, &[0; 256]);
    let clock = Clock::new();
    log::notice(&format!("monotonic clock: {}", clock.source()));
    logo::show(&config);

    left_over::remove(Path::new("."), SystemTime::now());
    let seed = entropy().map_err(|error| format!("No randomness to be had: {}", reason(&error)))?;
    let machine = Machine {
        memory: ThreadCounters::new(),
        listeners: listeners.into(),
        freeing: Freeing::default().into(),
        disk: Disk::new(Arc::clone(&waker)).into(),
        config_file: file,
        program,
        oom_score,
        rejected: 0.into(),
        reads: 0.into(),
        writes: 0.into(),
        clock,
    };
    // Without that thread, pages that were freed go back only while this one happens to allocate.
    memory::set_background_thread(config.jemalloc_bg_thread);
    let node = Node::new(config, table, seed, machine.clock.now());
    log::notice("Server initialized");
    let mut event_loop = EventLoop::new(poll, node, machine, signals, supervised, waker)?;

    let code = event_loop.run();
    if supervised == Supervised::Systemd {
        supervisor::tell("STOPPING=1\n");
    }
    if let Some(path) = pidfile {
        log::notice("Removing the pid file.");
        let _ = fs::remove_file(path);
    }
    log::notice("Redis is now ready to exit, bye bye...");
    Ok(code)
}

/// Writes the first lines of the log; scripts look for them.
fn announce(line: &CommandLine, notes: &[String]) {
    log::notice("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log::notice(&format!(
        "Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={}, just started",
        std::process::id()
    ));
    log::notice(&format!("Redstart version={VERSION}, PID: {}", std::process::id()));
    if line.is_empty {
        log::warning(
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             redstart server /path/to/redis.conf",
        );
    } else {
        log::notice("Configuration loaded");
    }
    notes.iter().for_each(|note| log::warning(note));
}

/// Writes the file that holds our process id, if there is to be one; not being able to is no reason not to serve.
fn write_pidfile(config: &Config, background: bool) -> Option<PathBuf> {
    let path = match config.pidfile.as_slice() {
        b"" if background => PathBuf::from("/var/run/redis.pid"),
        b"" => return None,
        path => PathBuf::from(OsStr::from_bytes(path)),
    };
    // Absolute, as CONFIG SET dir may come in between.
    let path = std::path::absolute(&path).unwrap_or(path);
    match fs::write(&path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(path),
        Err(error) => {
            log::warning(&format!("Failed to write PID file: {}", reason(&error)));
            None
        }
    }
}

/// Returns the seed of all randomness.
fn entropy() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
