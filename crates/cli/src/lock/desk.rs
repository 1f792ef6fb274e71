//! Where failures go: saved in the server or on disk, and told to people.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use notify::{Config, FailureRecord, Journal, Notifier, Store};
use serde::{Deserialize, Serialize};

use super::arguments::Records;
use super::exit;
use super::wire::{Failure, address};

/// How long a command that has ended waits for people to be told; what is not done by then, the next one does.
const BRIEFLY: Duration = Duration::from_secs(2);

/// How long to wait for a channel that is not free before trying again.
const AGAIN: Duration = Duration::from_millis(100);

/// The server, the directory and the configuration that failures are for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Desk {
    server: String,
    state_dir: PathBuf,
    config: Option<PathBuf>,
    /// Whether something was saved here, that is to be told now rather than by whoever comes next.
    #[serde(skip)]
    saved: Cell<bool>,
}

impl Desk {
    /// Returns the desk of a server.
    pub(crate) fn new(server: &str, records: &Records) -> Desk {
        Desk {
            server: address(server),
            state_dir: records.state_dir.clone().unwrap_or_else(Journal::default_directory),
            config: records.config.clone().or_else(usual_config),
            saved: Cell::new(false),
        }
    }

    /// Returns the records.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Store::open(&self.server, &self.state_dir)
            .map_err(|error| Failure { code: exit::USAGE, reason: error.to_string() })
    }

    /// Saves a record with the people responsible; says so where even the disk does not take it.
    pub(crate) fn save(&self, record: &FailureRecord) {
        let mut record = record.clone();
        if let (true, Ok(config)) = (record.people.is_empty(), self.config()) {
            record.people = config.people_for(&record.key, record.kind).to_vec();
        }
        let saved = self.store().and_then(|store| {
            store.save(&record).map_err(|error| Failure { code: exit::OS, reason: error.to_string() })
        });
        match saved {
            Ok(_) => self.saved.set(true),
            Err(failure) => {
                complain!("redstart lock: the failure could not be saved: {}", failure.reason);
            }
        }
    }

    /// Says that something is to be told now.
    pub(crate) fn is_urgent(&self) {
        self.saved.set(true);
    }

    fn config(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(file) => {
                Config::load(file).map_err(|error| Failure { code: exit::CONFIG, reason: error.to_string() })
            }
            None => Ok(Config::empty()),
        }
    }

    /// Returns what tells people, by the configuration; nobody is told of anything without one.
    pub(crate) fn notifier(&self) -> Result<Notifier, Failure> {
        Ok(Notifier::new(self.config()?, self.store()?))
    }

    /// Returns whether there is a configuration that says who is told.
    pub(crate) fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// Complains of a configuration that cannot be used: while there is time, and not only when something has failed.
    pub(crate) fn check(&self, people: &[String]) {
        match self.notifier() {
            Err(failure) => {
                complain!("redstart lock: nobody can be told of failures: {}", failure.reason);
            }
            Ok(notifier) => {
                for name in people.iter().filter(|name| notifier.config().person(name).is_none()) {
                    complain!("redstart lock: the configuration does not say how to tell {name}");
                }
            }
        }
    }

    /// Brings what is on disk to the server and tells people what is due, for a moment.
    pub(crate) fn deliver_briefly(&self) {
        let nothing_on_disk = Journal::new(&self.state_dir).read().is_ok_and(|records| records.is_empty());
        if !self.has_config() && nothing_on_disk {
            return;
        }
        let Ok(notifier) = self.notifier() else { return };
        let (done, wait) = channel();
        let saved = self.saved.get();
        std::thread::spawn(move || {
            // What was just saved may have to wait a moment for its channel; what others left may wait for them.
            let mut pass = notifier.deliver_due();
            while saved && pass.server && pass.waiting > 0 {
                std::thread::sleep(AGAIN);
                pass = notifier.deliver_due();
            }
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(BRIEFLY);
    }
}

/// Returns the configuration of this user, or of this machine, if there is one.
fn usual_config() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let places = [own.map(|place| place.join("redstart")), Some(PathBuf::from("/etc/redstart"))];
    places.into_iter().flatten().map(|place| place.join("notify.toml")).find(|file| file.exists())
}
