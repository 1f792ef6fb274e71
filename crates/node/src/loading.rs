//! Reading the data set back: which files, in which order, and what becomes of their bytes.
//!
//! ```text
//! begin_loading(manifest) ─► file_to_load() ─► load(bytes)… ─► file_ended(rest) ─► file_to_load() ─► … ─► end_loading()
//! ```
//!
//! The driver opens the files it is asked for and hands over their bytes as it reads them; between two pieces it may let
//! clients be served, who are told that the data set is being loaded. Every byte of a log is verified before it is
//! executed, and a snapshot before anybody is served from it.

use aof::manifest::{LogFile, Manifest};
use aof::read::{Reader, Replay, Verdict, starts_with_snapshot};
use aof::settings::{Sizes, Start, Tail};
use aof::{Log, Mark, Place, Settings};
use base::number::parse_u64;
use base::time::Now;
use engine::effect::LogLevel;
use engine::persistence::Loading as Progress;
use engine::session::{Origin, Session, SessionId};
use engine::{Effect, Engine, Host};
use keyspace::{Db, Entry, Keyspace};
use rdb::{Context, Item, LoadError, LoadOptions, Loader};
use replication::{Position, ReplId};
use resp::batch::Batch;
use resp::decode::Request;

use crate::Node;
use crate::persist::{look, settings};

/// A file that the driver is to open and to hand over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToLoad {
    /// In the working directory.
    pub path: String,
    /// The data is incomplete without it.
    pub required: bool,
}

/// What was found out about a file at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Whole,
    /// Everything up to this offset was loaded; what follows was never promised to anybody.
    Torn(u64),
}

/// Loading under way.
pub(crate) struct Loading {
    files: Vec<Planned>,
    /// The file that is being read.
    at: usize,
    reading: Reading,
    manifest: Option<Manifest>,
    session: Session,
    pub(crate) sizes: Sizes,
    tail: Option<Tail>,
    /// The file with a torn tail, and how many of its bytes count.
    torn: Option<(String, u64)>,
    /// The last increment that is not empty, and its length: nobody knows whether its end is on the disk.
    filled: Option<(String, u64)>,
    /// Something was loaded that no log holds yet.
    from_elsewhere: bool,
    pub(crate) started: Now,
    pub(crate) keys: u64,
    entries: Vec<Entry>,
    db: usize,
    /// There when the data is our master's.
    pub(crate) sync: Option<Sync>,
    /// What the snapshot says about the history that it is of.
    pub(crate) history: History,
    /// Where in a history what was loaded stands; nothing was executed behind that.
    mark: Option<Mark>,
}

/// Data that comes from a master.
#[derive(Default)]
pub(crate) struct Sync {
    /// It is loaded beside our own, which is served meanwhile.
    pub(crate) aside: Option<Vec<Db>>,
    /// The machine wants to know how many keys there are before ours are given up.
    pub(crate) guarded: bool,
    /// Function libraries that came with it.
    pub(crate) functions: Vec<Box<[u8]>>,
}

/// What a snapshot says about the history that it is of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    id: Option<ReplId>,
    offset: Option<u64>,
    pub(crate) database: usize,
}

struct Planned {
    file: FileToLoad,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The RDB file.
    Snapshot,
    Base,
    /// A master's snapshot, read through before anything is given up for it.
    Verified,
    /// A master's snapshot.
    Sync,
    Increment {
        last: bool,
    },
}

enum Reading {
    /// Nothing of the file was seen.
    Front,
    Snapshot(Box<Loader>),
    Log(Box<Reader>),
    Ended,
}

impl Node {
    /// Begins to load what the configuration says there may be; `manifest` is the log's, if there is one, and `old_log`
    /// says whether there is a log of one file, as before Redis 7. `total_bytes` is only shown.
    ///
    /// The error says why nothing can be loaded.
    pub fn begin_loading(
        &mut self,
        now: Now,
        manifest: Option<&[u8]>,
        old_log: bool,
        size_of: &mut dyn FnMut(&str) -> Option<u64>,
    ) -> Result<(), String> {
        let config = &self.engine.server.config;
        // The server does not move while it loads: names of files stay short.
        let settings = Settings { root: String::new(), ..settings(config, &self.engine.server.run_id) };
        let mut files = Vec::new();
        let mut parsed = None;
        let mut sizes = Sizes::default();
        match (config.appendonly, manifest) {
            (true, Some(text)) => {
                let manifest = Manifest::parse(text).map_err(|error| {
                    format!("The manifest of the append only file cannot be read: {error}")
                })?;
                let mut add = |file: &LogFile, role| {
                    let path = settings.path(&file.name);
                    let size = size_of(&path).unwrap_or_default();
                    files.push(Planned { file: FileToLoad { path, required: true }, role });
                    size
                };
                sizes.base = manifest.base.as_ref().map_or(0, |file| add(file, Role::Base));
                let count = manifest.increments.len();
                for (index, file) in manifest.increments.iter().enumerate() {
                    sizes.increments += add(file, Role::Increment { last: index + 1 == count });
                }
                sizes.history =
                    manifest.history.iter().filter_map(|file| size_of(&settings.path(&file.name))).sum();
                parsed = Some(manifest);
            }
            (true, None) if old_log => {
                let path = settings.name.clone();
                files.push(Planned { file: FileToLoad { path, required: true }, role: Role::Base });
            }
            _ => {
                let path = String::from_utf8_lossy(&config.dbfilename).into_owned();
                files.push(Planned { file: FileToLoad { path, required: false }, role: Role::Snapshot });
            }
        }
        // A torn tail may only be in the last file that has anything in it: those behind it are empty.
        let mut last = true;
        for planned in files.iter_mut().rev() {
            let empty = size_of(&planned.file.path).unwrap_or_default() == 0;
            if let Role::Increment { last: is_last } = &mut planned.role {
                *is_last = last;
            }
            last &= empty;
        }
        let total_bytes = files.iter().filter_map(|planned| size_of(&planned.file.path)).sum();
        self.engine.keyspace.loading = true;
        let progress = Progress { started: now, total_bytes, loaded_bytes: 0 };
        self.engine.server.persistence.set_loading(Some(progress));
        let loading = Loading { manifest: parsed, sizes, ..Loading::new(now, files) };
        self.loading = Some(Box::new(loading));
        Ok(())
    }

    /// Returns the file to be read next.
    pub fn file_to_load(&self) -> Option<FileToLoad> {
        let loading = self.loading.as_ref()?;
        loading.files.get(loading.at).map(|planned| planned.file.clone())
    }

    /// Says that the file is not there; an error if it must be.
    pub fn file_missing(&mut self) -> Result<(), String> {
        let Some(loading) = &mut self.loading else { return Ok(()) };
        let planned = &loading.files[loading.at];
        if planned.file.required {
            return Err(format!("The append only file {} doesn't exist", planned.file.path));
        }
        loading.next();
        Ok(())
    }

    /// Loads the next bytes of the file, and returns how many were taken: the rest is to come again with more behind it.
    pub fn load(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) -> Result<usize, String> {
        self.now = now;
        let Some(mut loading) = self.loading.take() else { return Ok(bytes.len()) };
        loading.trade_places(&mut self.engine);
        let taken = loading.take(&mut self.engine, now, host, bytes);
        // From here on the caller may change the bytes, and expected keys are known by where they stand.
        self.engine.keyspace.expect_nothing();
        let taken = taken.and_then(|taken| loading.flush(&mut self.engine).map(|()| taken));
        let taken = taken.map_err(|reason| loading.complaint(&reason));
        loading.trade_places(&mut self.engine);
        self.loading = Some(loading);
        self.pass_on_loading_effects();
        let taken = taken?;
        let persistence = &mut self.engine.server.persistence;
        if let Some(progress) = persistence.loading().copied() {
            let loaded_bytes = progress.loaded_bytes + taken as u64;
            persistence.set_loading(Some(Progress { loaded_bytes, ..progress }));
        }
        Ok(taken)
    }

    /// Says that the file ends behind `rest`, the bytes that were not taken.
    pub fn file_ended(&mut self, host: &dyn Host, rest: &[u8]) -> Result<Ended, String> {
        let truncated = self.engine.server.config.aof_load_truncated;
        let Some(loading) = &mut self.loading else { return Ok(Ended::Whole) };
        let (ended, lines) = loading.end(rest, truncated).map_err(|reason| loading.complaint(&reason))?;
        let planned = &loading.files[loading.at];
        if let (Role::Increment { .. }, Some(tail)) = (planned.role, loading.tail)
            && tail.len > 0
        {
            loading.filled = Some((planned.file.path.clone(), tail.len));
        }
        let verified = (planned.role == Role::Verified).then_some(loading.keys);
        loading.next();
        for line in lines {
            self.engine.server.log(LogLevel::Warning, line);
        }
        self.pass_on_loading_effects();
        if let Some(keys) = verified {
            self.verified(host, keys);
        }
        Ok(ended)
    }

    /// Begins to serve what was loaded, and to log what happens from now on.
    pub fn end_loading(&mut self, now: Now, host: &dyn Host) {
        if !self.is_starting() {
            return self.end_loading_sync(now, host);
        }
        let Some(loading) = self.loading.take() else { return };
        self.engine.keyspace.loading = false;
        let recorder = &mut self.engine.keyspace.recorder;
        (recorder.dirty, recorder.hits, recorder.misses) = (0, 0, 0);
        let server = &mut self.engine.server;
        server.persistence.set_loading(None);
        server.persistence.keys_loaded = loading.keys;
        server.persistence.last_save_unix = now.unix_secs();
        let seconds = now.instant.saturating_since(loading.started.instant).as_secs_f64();
        let on = server.config.appendonly;
        let from = if on && !loading.from_elsewhere { "append only file" } else { "disk" };
        if loading.keys > 0 || loading.manifest.is_some() {
            server.log(LogLevel::Notice, format!("DB loaded from {from}: {seconds:.3} seconds"));
        }
        self.resume_history(now, &loading);
        self.engine.locks_loaded(now);
        self.engine.hold_loaded(now);
        let server = &self.engine.server;
        let settings = settings(&server.config, &server.run_id);
        let offset = self.engine.stream().offset();
        let used = host.memory_used();
        let start = match (on, &loading.manifest) {
            (false, _) => Start::Off,
            (true, Some(_)) => Start::Loaded {
                last: loading.tail,
                filled: loading
                    .torn
                    .or(loading.filled)
                    .map(|(path, len)| (format!("{}{path}", settings.root), len)),
            },
            (true, None) if loading.from_elsewhere => Start::Dataset,
            (true, None) => Start::Empty { base: self.empty_base(now, used, settings.use_rdb_preamble) },
        };
        // Off or on: what another process left there is neither listed anew nor run over.
        let mut place = match look(&self.engine.server.config, host) {
            Ok(place) => place.unwrap_or_default(),
            Err(reason) => {
                self.engine.server.log(LogLevel::Warning, reason);
                Place::default()
            }
        };
        if let Some(manifest) = loading.manifest {
            place.manifest = manifest;
        }
        let mut log = Log::new(settings, place, loading.sizes, start, offset, now);
        log.set_snapshot_busy(now, false);
        self.persist.log = Some(log);
        self.listen();
        self.pass_on_loading_effects();
        self.tend_log(now);
    }

    /// Returns whether the files that the server starts with are being loaded.
    pub(crate) fn is_starting(&self) -> bool {
        self.loading.as_ref().is_some_and(|loading| loading.sync.is_none())
    }

    /// Goes on in the history that the loaded files name, at the place that they say they end at.
    fn resume_history(&mut self, now: Now, loading: &Loading) {
        let Some(Mark { offset, database, id }) = loading.mark else { return };
        let Some(id) = ReplId::parse(&id).filter(|_| database < self.engine.keyspace.dbs.len()) else {
            return;
        };
        let replication = &mut self.engine.server.replication;
        replication.primary.resume(now, id, offset);
        replication.stream_db = database;
        if let Some(replica) = &mut replication.replica {
            replica.start_from(Position { id, offset });
        }
        self.engine.move_to_offset(offset);
    }

    /// Returns the snapshot of no data.
    fn empty_base(&self, now: Now, used_memory: usize, rdb: bool) -> Vec<u8> {
        struct Bytes(Vec<u8>);
        impl rdb::Sink for Bytes {
            fn write(&mut self, bytes: &[u8]) -> Result<(), rdb::SinkError> {
                self.0.extend_from_slice(bytes);
                Ok(())
            }
        }
        let mut bytes = Bytes(Vec::new());
        let kind = engine::persistence::Snapshot::LogBase { rdb };
        self.write_snapshot(now, used_memory, kind, &mut bytes, &mut |_| {})
            .expect("memory takes everything");
        bytes.0
    }

    /// Hands out what concerns the driver; what concerns clients waits for the end of the turn.
    fn pass_on_loading_effects(&mut self) {
        let effects = std::mem::take(&mut self.engine.server.effects);
        let for_driver = |effect: &Effect| matches!(effect, Effect::Free(_) | Effect::Log(..));
        let (now, later): (Vec<_>, Vec<_>) = effects.into_iter().partition(for_driver);
        self.effects.extend(now);
        self.engine.server.effects = later;
    }
}

/// Returns a session that says what a file says.
fn session(now: Now) -> Session {
    let mut session = Session::new(SessionId(u32::MAX), 0, now.instant);
    (session.origin, session.authenticated) = (Origin::Log, true);
    session
}

impl Loading {
    /// Returns the plan to load these files, of which nothing was read.
    fn new(now: Now, files: Vec<Planned>) -> Loading {
        Loading {
            files,
            at: 0,
            reading: Reading::Front,
            manifest: None,
            session: session(now),
            sizes: Sizes::default(),
            tail: None,
            torn: None,
            filled: None,
            from_elsewhere: false,
            started: now,
            keys: 0,
            entries: Vec::new(),
            db: 0,
            sync: None,
            history: History::default(),
            mark: None,
        }
    }

    /// Returns the plan to load a master's snapshot: from a file, read through first where `verifies`, or as it comes.
    pub(crate) fn of_snapshot(
        now: Now,
        file: Option<(String, u64)>,
        aside: bool,
        verifies: bool,
        guarded: bool,
        keyspace: &Keyspace,
    ) -> Loading {
        let (path, base) = file.unwrap_or_else(|| ("the master's snapshot".into(), 0));
        let file = FileToLoad { path, required: true };
        let mut planned = vec![Planned { file: file.clone(), role: Role::Sync }];
        if verifies {
            planned.insert(0, Planned { file, role: Role::Verified });
        }
        let seed = keyspace.seed;
        let aside = aside.then(|| (0..keyspace.dbs.len()).map(|_| Db::new(seed)).collect());
        Loading {
            sizes: Sizes { base, ..Sizes::default() },
            sync: Some(Sync { aside, guarded, functions: Vec::new() }),
            ..Loading::new(now, planned)
        }
    }

    /// Puts the data that is loaded beside ours in its place, or back.
    fn trade_places(&mut self, engine: &mut Engine) {
        if let Some(Sync { aside: Some(dbs), .. }) = &mut self.sync {
            std::mem::swap(dbs, &mut engine.keyspace.dbs);
        }
    }

    fn next(&mut self) {
        self.db = 0;
        self.at += 1;
        self.reading = Reading::Front;
        // Each file begins in database 0, and outside a transaction.
        self.session = session(self.started);
    }

    fn complaint(&self, reason: &str) -> String {
        let path = self.files.get(self.at).map_or("", |planned| &planned.file.path);
        let kind = match self.files.get(self.at).map(|planned| planned.role) {
            // It is tried again, and not kept.
            Some(Role::Verified | Role::Sync) => return format!("{path}: {reason}"),
            Some(Role::Snapshot) => "rdb",
            _ => "aof",
        };
        format!("{path}: {reason}. Nothing was changed; `redstart check {kind} {path}` tells more")
    }

    /// Takes bytes at the front of what is left of the file.
    fn take(
        &mut self,
        engine: &mut Engine,
        now: Now,
        host: &dyn Host,
        bytes: &[u8],
    ) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            match &mut self.reading {
                Reading::Front => {
                    let snapshot = match (self.files[self.at].role, starts_with_snapshot(rest)) {
                        (Role::Snapshot | Role::Verified | Role::Sync, _) | (_, Some(true)) => true,
                        (_, Some(false)) => false,
                        (_, None) => return Ok(taken),
                    };
                    self.reading = match snapshot {
                        true => Reading::Snapshot(Box::new(self.loader(engine, now))),
                        false => Reading::Log(Box::new(Reader::new(0))),
                    };
                }
                Reading::Snapshot(loader) => {
                    let role = self.files[self.at].role;
                    // A replica has what its master has: what expires is the master's to say.
                    let may_expire = role == Role::Snapshot && !engine.server.follows();
                    let (entries, keys, db) = (&mut self.entries, &mut self.keys, &mut self.db);
                    let (history, sync) = (&mut self.history, &mut self.sync);
                    let used = loader.parse(rest, &mut |item| match item {
                        Item::Entry(_) if role == Role::Verified => {
                            *keys += 1;
                            Ok(())
                        }
                        Item::Entry(mut entry) => {
                            // Replicas that may go on with this history must hear of what expires: it does so later.
                            let expires = may_expire && history.id.is_none();
                            if expires && entry.stamp().is_some_and(|at| at < now.unix_ms()) {
                                engine.server.persistence.keys_expired += 1;
                                return Ok(());
                            }
                            *keys += 1;
                            engine.note_loaded(*db, &mut entry);
                            entries.push(entry);
                            if entries.len() >= ENTRIES { load_all(engine, *db, entries) } else { Ok(()) }
                        }
                        Item::Select(index) => {
                            load_all(engine, *db, entries)?;
                            *db = index;
                            let count = engine.keyspace.dbs.len();
                            if index < count {
                                return Ok(());
                            }
                            Err(LoadError::refused(format!(
                                "database {index} of a server with {count} databases"
                            )))
                        }
                        Item::Resize { .. } | Item::Function(_) if role == Role::Verified => Ok(()),
                        Item::Resize { keys, .. } => {
                            engine.keyspace.reserve(*db, keys);
                            Ok(())
                        }
                        Item::Function(source) if sync.is_some() => {
                            sync.iter_mut().for_each(|sync| sync.functions.push(source.into()));
                            Ok(())
                        }
                        Item::Function(source) => {
                            engine.server.persistence.functions.push(source.into());
                            Ok(())
                        }
                        Item::Aux(name, value) => {
                            history.note(name, value);
                            engine.server.note_aux(name, value);
                            Ok(())
                        }
                        Item::Checksum(_) | Item::End => Ok(()),
                    });
                    let used = used.map_err(|error| error.to_string())?;
                    taken += used;
                    if loader.is_done() {
                        let offset = loader.offset();
                        self.mark = self.history.mark();
                        load_all(engine, self.db, &mut self.entries).map_err(|error| error.to_string())?;
                        self.reading = match self.files[self.at].role {
                            Role::Snapshot | Role::Verified | Role::Sync => Reading::Ended,
                            _ => Reading::Log(Box::new(Reader::new(offset))),
                        };
                    } else {
                        return Ok(taken);
                    }
                }
                Reading::Log(reader) => {
                    let (session, mark) = (&mut self.session, &mut self.mark);
                    let mut replay = Executor { engine, now, host, session, mark };
                    let used = reader.read(rest, &mut replay)?;
                    return Ok(taken + used);
                }
                // What follows a whole snapshot belongs to nobody; Redis does not look at it either.
                Reading::Ended => return Ok(bytes.len()),
            }
        }
    }

    fn loader(&self, engine: &Engine, now: Now) -> Loader {
        let keyspace = &engine.keyspace;
        let context = Context { limits: keyspace.limits, seed: keyspace.seed };
        let input_len = match self.files[self.at].role {
            Role::Base | Role::Verified | Role::Sync => Some(self.sizes.base),
            _ => engine.server.persistence.loading().map(|progress| progress.total_bytes),
        };
        Loader::new(
            context,
            LoadOptions {
                verify_checksum: engine.server.config.rdbchecksum,
                aging: keyspace.aging,
                now_ms: now.unix_ms(),
                input_len: input_len.filter(|len| *len > 0),
            },
        )
    }

    /// Puts the entries that were read into their database.
    fn flush(&mut self, engine: &mut Engine) -> Result<(), String> {
        load_all(engine, self.db, &mut self.entries).map_err(|error| error.to_string())
    }

    /// Judges the end of a file.
    fn end(&mut self, rest: &[u8], truncated: bool) -> Result<(Ended, Vec<String>), String> {
        let planned = &self.files[self.at];
        let role = planned.role;
        self.from_elsewhere |= self.manifest.is_none();
        match &mut self.reading {
            Reading::Ended => Ok((Ended::Whole, Vec::new())),
            Reading::Front if matches!(role, Role::Snapshot | Role::Verified | Role::Sync) => {
                Err("the file is empty".into())
            }
            Reading::Front if rest.is_empty() => {
                self.tail = Some(Tail { len: 0, checked: true });
                Ok((Ended::Whole, Vec::new()))
            }
            Reading::Front => Err("the file is no append only file".into()),
            Reading::Snapshot(loader) => {
                loader.end_of_input().map_err(|error| error.to_string())?;
                Err("the snapshot at its front is incomplete".into())
            }
            Reading::Log(reader) => {
                let checked = reader.is_checked();
                match reader.finish(rest) {
                    Verdict::Complete => {
                        let len = reader.data_end();
                        self.tail = Some(Tail { len, checked });
                        // Filler behind the data does not count.
                        let filler = reader.offset() + rest.len() as u64 - len;
                        self.sizes.increments = self.sizes.increments.saturating_sub(filler);
                        Ok((Ended::Whole, Vec::new()))
                    }
                    Verdict::TornTail { offset, why } => {
                        let last = matches!(role, Role::Increment { last: true })
                            || (role == Role::Base && self.manifest.is_none());
                        if !last {
                            return Err(format!("{why} at offset {offset}, and this is not the last file"));
                        }
                        if !truncated {
                            return Err(format!("{why} at offset {offset}, and aof-load-truncated is no"));
                        }
                        let path = &planned.file.path;
                        let lines = vec![
                            format!("!!! Warning: short read while loading the AOF file {path} !!!"),
                            format!("{path}: {why}; it is cut at offset {offset}"),
                        ];
                        self.tail = Some(Tail { len: offset, checked });
                        self.torn = Some((path.clone(), offset));
                        let gone = reader.offset() + rest.len() as u64 - offset;
                        self.sizes.increments = self.sizes.increments.saturating_sub(gone);
                        Ok((Ended::Torn(offset), lines))
                    }
                    Verdict::Corrupt { offset, why } => Err(format!("{why} at offset {offset}")),
                }
            }
        }
    }
}

impl History {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"repl-id" => self.id = ReplId::parse(value),
            b"repl-offset" => self.offset = parse_u64(value).filter(|offset| *offset < i64::MAX as u64),
            b"repl-stream-db" => self.database = parse_u64(value).map_or(0, |database| database as usize),
            _ => {}
        }
    }

    /// Returns the place in a history, if all of it was said.
    fn mark(&self) -> Option<Mark> {
        let id = self.id?.as_str().as_bytes().try_into().ok()?;
        Some(Mark { offset: self.offset?, database: self.database, id })
    }
}

/// Entries that are put into a table together, so that the waits for memory overlap.
const ENTRIES: usize = 256;

fn load_all(engine: &mut Engine, db: usize, entries: &mut Vec<Entry>) -> Result<(), LoadError> {
    if entries.is_empty() {
        return Ok(());
    }
    engine.keyspace.load_all(db, entries).map_err(|duplicate| {
        let key = String::from_utf8_lossy(&duplicate.key).into_owned();
        LoadError::refused(format!("the key '{key}' of database {db} is there twice"))
    })
}

/// Executes what a log holds.
struct Executor<'a> {
    engine: &'a mut Engine,
    now: Now,
    host: &'a dyn Host,
    session: &'a mut Session,
    mark: &'a mut Option<Mark>,
}

impl Replay for Executor<'_> {
    type Error = String;

    fn ahead(&mut self, batch: &Batch, bytes: &[u8]) {
        self.engine.keyspace.expect_nothing();
        crate::node::expect_keys(&mut self.engine.keyspace, self.session.db, batch, 0, bytes);
        self.engine.keyspace.fetch_expected();
    }

    fn request(&mut self, request: Request<'_>, offset: u64) -> Result<(), String> {
        *self.mark = None;
        self.engine
            .replay(self.now, self.host, self.session, request)
            .map_err(|reason| format!("{reason} at offset {offset}"))
    }

    fn mark(&mut self, mark: Mark) {
        *self.mark = Some(mark);
    }
}
