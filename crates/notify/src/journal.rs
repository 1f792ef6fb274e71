//! Where records wait while no store can be reached: a file of JSON lines, each on disk before it counts as saved.
//!
//! ```text
//!  {"record":{"id":"01JD…","kind":"busy","key":"nightly",…}}\n
//!  {"attempt":{"id":"01JD…","at_ms":…,"person":"ada","channel":"mail","result":"delivered"}}\n
//!  {"record":{"id":"01JE…      <- a line cut off by a crash: never confirmed, so it is passed over
//! ```
//!
//! The file is emptied only after the store has everything in it. `failures.lock` beside it keeps two processes from
//! appending into each other's lines and from emptying what the other just wrote.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::record::{Attempt, FailureRecord};
use crate::ulid::Ulid;

/// The file's name in the state directory.
const FILE: &str = "failures.jsonl";

/// The name of the file whose lock guards it.
const LOCK: &str = "failures.lock";

/// How long one line may be. A record is far smaller; what is longer was not written by this module.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How large the file may grow. When the store is away that long, what is new is refused and what is kept is kept.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Records on disk that the store does not have yet.
#[derive(Debug, Clone)]
pub struct Journal {
    directory: PathBuf,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Record(Box<FailureRecord>),
    Attempt {
        id: Ulid,
        #[serde(flatten)]
        attempt: Attempt,
    },
}

impl Journal {
    /// Returns the journal in this directory, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Journal {
        Journal { directory: directory.into() }
    }

    /// Returns where it lies unless told otherwise: `$XDG_STATE_HOME/redstart` or `~/.local/state/redstart`.
    pub fn default_directory() -> PathBuf {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let state = state.or_else(|| set("HOME").map(|home| home.join(".local/state")));
        state.map_or_else(|| PathBuf::from("/var/tmp/redstart"), |state| state.join("redstart"))
    }

    /// Returns its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a record; when this returns, it is on disk.
    pub fn append(&self, record: &FailureRecord) -> io::Result<()> {
        self.append_line(&Line::Record(Box::new(record.clone())))
    }

    /// Adds a delivery attempt for a record that is in it.
    pub fn append_attempt(&self, id: Ulid, attempt: &Attempt) -> io::Result<()> {
        self.append_line(&Line::Attempt { id, attempt: attempt.clone() })
    }

    fn append_line(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        let _guard = self.lock()?;
        let path = self.directory.join(FILE);
        let is_new = !path.exists();
        let mut file = options().append(true).create(true).read(true).open(&path)?;
        let length = file.metadata()?.len();
        if length + text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("the journal is full: the store has been away for too long"));
        }
        if length > 0 && !ends_with_newline(&mut file, length)? {
            // What a crash cut off must not run into this line.
            text.insert(0, b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()?;
        if is_new {
            self.sync_directory()?;
        }
        Ok(())
    }

    /// Returns the records in it with their attempts, oldest first.
    pub fn read(&self) -> io::Result<Vec<FailureRecord>> {
        if !self.directory.join(FILE).exists() {
            return Ok(Vec::new());
        }
        let _guard = self.lock()?;
        self.read_locked()
    }

    /// Hands what is in it to `save`, and empties it when `save` succeeds. Returns how many records there were.
    pub fn drain<E: From<io::Error>>(
        &self,
        save: impl FnOnce(&[FailureRecord]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let path = self.directory.join(FILE);
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            return Ok(0);
        }
        // The lock is kept meanwhile: another process that appends waits, and what it appends is not emptied away.
        let _guard = self.lock()?;
        let records = self.read_locked()?;
        save(&records)?;
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(0)?;
        file.sync_all()?;
        Ok(records.len())
    }

    fn read_locked(&self) -> io::Result<Vec<FailureRecord>> {
        let bytes = match File::open(self.directory.join(FILE)) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut records: BTreeMap<Ulid, FailureRecord> = BTreeMap::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.len() <= LINE_BYTES_MAX) {
            match serde_json::from_slice(line) {
                Ok(Line::Record(record)) => {
                    records.entry(record.id).or_insert(*record);
                }
                Ok(Line::Attempt { id, attempt }) => {
                    if let Some(record) = records.get_mut(&id) {
                        record.attempts.push(attempt);
                    }
                }
                Err(_) => {} // Cut off by a crash, before its writer was told that it is saved.
            }
        }
        Ok(records.into_values().collect())
    }

    /// Returns a claim on telling people of what is in it; nothing when another process has it.
    #[cfg(feature = "deliver")]
    pub(crate) fn claim_delivery(&self) -> io::Result<Option<File>> {
        self.create_directory()?;
        let file = options().create(true).append(true).open(self.directory.join("delivery.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Returns a guard that keeps other processes away until it is dropped.
    fn lock(&self) -> io::Result<File> {
        self.create_directory()?;
        let file = options().create(true).append(true).open(self.directory.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn create_directory(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        // Arguments and output of tasks are their owner's business, though secrets are struck out of them.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn ends_with_newline(file: &mut File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{AttemptResult, FailureKind};
    use crate::time::UnixMs;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            Directory(std::env::temp_dir().join(format!("notify-journal-{}", Ulid::generate())))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn records_come_back_with_their_attempts_and_only_once() {
        let directory = Directory::new();
        let journal = Journal::new(directory.0.join("deep/er"));
        let record = FailureRecord::new(FailureKind::Lost, "k");
        journal.append(&record).unwrap();
        journal.append(&record).unwrap();
        let attempt = Attempt {
            at_ms: UnixMs(9),
            person: "ada".into(),
            channel: "mail".into(),
            result: AttemptResult::Failed("refused".into()),
        };
        journal.append_attempt(record.id, &attempt).unwrap();
        let read = journal.read().unwrap();
        assert_eq!(read, [FailureRecord { attempts: vec![attempt], ..record }]);
    }

    #[test]
    fn a_torn_tail_is_passed_over_wherever_it_tore() {
        let directory = Directory::new();
        let journal = Journal::new(&directory.0);
        let (first, second) =
            (FailureRecord::new(FailureKind::Busy, "a"), FailureRecord::new(FailureKind::Busy, "b"));
        journal.append(&first).unwrap();
        let path = directory.0.join(FILE);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            let mut torn = whole.clone();
            torn.extend_from_slice(&whole[..cut]);
            fs::write(&path, &torn).unwrap();
            journal.append(&second).unwrap();
            let mut keys: Vec<String> =
                journal.read().unwrap().into_iter().map(|record| record.key).collect();
            keys.sort();
            assert_eq!(keys, ["a", "b"], "torn after {cut} bytes");
        }
    }

    #[test]
    fn it_is_emptied_only_after_everything_was_saved() {
        let directory = Directory::new();
        let journal = Journal::new(&directory.0);
        assert_eq!(journal.drain::<io::Error>(|_| panic!("there is nothing")).unwrap(), 0);
        journal.append(&FailureRecord::new(FailureKind::Busy, "a")).unwrap();
        assert!(journal.drain(|_| Err(io::Error::other("away"))).is_err());
        assert_eq!(journal.read().unwrap().len(), 1);
        assert_eq!(
            journal
                .drain::<io::Error>(|records| {
                    assert_eq!(records.len(), 1);
                    Ok(())
                })
                .unwrap(),
            1
        );
        assert_eq!(journal.read().unwrap().len(), 0);
    }
}
