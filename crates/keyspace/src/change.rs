//! What a write did, as data: the engine decides what follows from it.

/// The classes of keyspace events, after the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Generic,
    String,
    List,
    Set,
    Hash,
    ZSet,
    Expired,
    Evicted,
    New,
    KeyMiss,
}

impl Class {
    /// Returns whether the event is the deletion of a key by the server itself.
    #[inline]
    pub fn is_deletion(self) -> bool {
        matches!(self, Class::Expired | Class::Evicted)
    }
}

/// Who wants to hear of changes; with nobody listening a change costs one addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening(u8);

impl Listening {
    pub const NOTIFY: u8 = 1;
    pub const WATCH: u8 = 2;
    pub const BLOCKED: u8 = 4;
    pub const PROPAGATE: u8 = 8;
    /// Key misses and new keys are reported too (classes `m` and `n`).
    pub const RARE: u8 = 16;

    /// Turns one listener bit on or off.
    pub fn set(&mut self, bit: u8, on: bool) {
        if on {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// Returns whether any of `bits` is on.
    #[inline]
    pub fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// One event on one key, in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub db: usize,
    pub key: Box<[u8]>,
    pub class: Class,
    pub event: &'static str,
}

/// Collects what commands change until the engine commits it.
#[derive(Default)]
pub struct Recorder {
    /// Changes to the data set since it was last saved.
    pub dirty: u64,
    pub listening: Listening,
    pub changes: Vec<Change>,
    /// Values too large to be freed on the spot; the driver frees them elsewhere.
    pub garbage: Vec<Garbage>,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub evicted: u64,
}

/// Memory whose release may take long, handed out so that another thread does it.
pub enum Garbage {
    Value(crate::Value),
    Db(Box<crate::Db>),
    Table(structures::dict::Retired),
}

impl Recorder {
    /// Records that `key` changed by `event`, which counts as one change of the data set.
    #[inline]
    pub fn changed(&mut self, db: usize, key: &[u8], class: Class, event: &'static str) {
        self.dirty += 1;
        self.event(db, key, class, event);
    }

    /// Records an event that changes nothing by itself, or that another change already counted.
    #[inline]
    pub fn event(&mut self, db: usize, key: &[u8], class: Class, event: &'static str) {
        if self.listening.any(!0) {
            self.push(db, key, class, event);
        }
    }

    #[cold]
    fn push(&mut self, db: usize, key: &[u8], class: Class, event: &'static str) {
        // Commands are propagated as their outcomes; only deletions that no command asked for are read from here.
        let propagates = self.listening.any(Listening::PROPAGATE) && class.is_deletion();
        if !propagates && !self.listening.any(!Listening::PROPAGATE) {
            return;
        }
        self.changes.push(Change { db, key: key.into(), class, event });
    }

    /// Returns whether nothing follows from what was recorded: no change that somebody hears of, and nothing to free.
    #[inline]
    pub fn has_nothing_to_settle(&self) -> bool {
        self.changes.is_empty() && self.garbage.is_empty()
    }

    /// Takes the memory of a table that `value` has outgrown, so that it is not freed on the command path.
    #[inline]
    pub fn retire(&mut self, value: &mut crate::Value) {
        if let Some(retired) = value.take_retired() {
            self.garbage.push(Garbage::Table(retired));
        }
    }

    /// Takes a value that may be large; what is cheap to free is freed here.
    #[inline]
    pub fn discard(&mut self, value: crate::Value) {
        if value.effort() > LAZY_EFFORT {
            self.garbage.push(Garbage::Value(value));
        }
    }
}

/// Values with more allocations than this are freed off the command path (Redis' LAZYFREE_THRESHOLD).
const LAZY_EFFORT: usize = 64;
