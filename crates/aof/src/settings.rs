//! What a log is told: how it is configured, and what there was at the start.

/// When the log is synced (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before a reply leaves.
    Always,
    /// Twice a second, and replies wait when that does not succeed.
    #[default]
    EverySecond,
    /// When the system likes.
    No,
}

/// How a log is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the names of the files begin with (`appendfilename`).
    pub name: String,
    /// The directory of the files (`appenddirname`).
    pub dir: String,
    /// What every path begins with, up to a '/': where the server was when the log was turned on, which it may leave.
    ///
    /// Empty where paths are to follow the server.
    pub root: String,
    /// A word of this process alone, for the names of temporary files: another may work in the same directory.
    pub run: String,
    pub fsync: Fsync,
    /// Whether nothing is synced while a snapshot is written (`no-appendfsync-on-rewrite`).
    pub no_fsync_on_rewrite: bool,
    /// By how many percent the log grows before it is rewritten by itself; 0 for never.
    pub rewrite_percentage: u64,
    /// The size below which it is not rewritten by itself.
    pub rewrite_min_size: u64,
    /// Whether a base is a snapshot rather than commands (`aof-use-rdb-preamble`).
    pub use_rdb_preamble: bool,
    /// Whether the log says once a second what time it is (`aof-timestamp-enabled`).
    pub timestamps: bool,
    /// Whether replaced files are left where they are (`aof-disable-auto-gc`).
    pub disable_auto_gc: bool,
    /// How many bytes the files may come to while a rewrite runs (`aof-disk-budget`); 0 for any number.
    pub disk_budget: u64,
    /// How many bytes ahead of the data are prepared while each write is synced (`aof-prepared-space`); 0 for none.
    pub prepared_space: u64,
}

/// Where the dataset that the log is to keep came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The log is off.
    Off,
    /// There is neither a log nor data; `base` is the file that says so, a snapshot or no bytes.
    Empty { base: Vec<u8> },
    /// From the files of the manifest; `last` tells of the last increment, if there is one, and `filled` of the last one
    /// that has anything in it: its path, and how many of its bytes count. Its tail may be torn, and its end need not be
    /// on the disk.
    Loaded { last: Option<Tail>, filled: Option<(String, u64)> },
    /// From elsewhere: there is no log until a base has been written.
    Dataset,
}

/// The last increment, as loading left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// How many of its bytes count; a torn tail is cut behind them.
    pub len: u64,
    /// Whether it consists of checked batches; others are not appended to.
    pub checked: bool,
}

/// How long the files of the manifest are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub base: u64,
    /// All increments together.
    pub increments: u64,
    pub history: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            name: "appendonly.aof".into(),
            dir: "appendonlydir".into(),
            root: String::new(),
            run: "00000000".into(),
            fsync: Fsync::default(),
            no_fsync_on_rewrite: false,
            rewrite_percentage: 100,
            rewrite_min_size: 64 << 20,
            use_rdb_preamble: true,
            timestamps: false,
            disable_auto_gc: false,
            disk_budget: 0,
            prepared_space: 1 << 20,
        }
    }
}

impl Settings {
    /// Returns the path of one of the log's files.
    pub fn path(&self, name: &str) -> String {
        format!("{}{}/{name}", self.root, self.dir)
    }

    /// Returns the path of the directory of the log's files.
    pub(crate) fn dir_path(&self) -> String {
        format!("{}{}", self.root, self.dir)
    }

    /// Returns the path of a base while it is written.
    pub(crate) fn temporary(&self, number: u64) -> String {
        format!("{}temp-rewriteaof-bg-{}-{number}.aof", self.root, self.run)
    }
}
