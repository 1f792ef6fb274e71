//! Parameters whose values are words out of a fixed list, as types.

use crate::value::{Setting, Value};

/// Declares an enum whose variants are, in order, the words that a parameter takes.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The words of redis.conf, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
            const VARIANTS: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the word that stands for the variant in redis.conf.
            pub const fn word(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }

        impl Setting for $name {
            fn to_value(&self) -> Value {
                Value::Choice(*self as usize)
            }

            fn assign(&mut self, value: Value) {
                *self = Self::VARIANTS[value.into_choice()];
            }
        }
    };
}

choices! {
    /// maxmemory-policy: which keys give way when memory runs out.
    EvictionPolicy {
        /// Among keys that expire, the one unused for longest.
        VolatileLru = "volatile-lru",
        /// Among keys that expire, the one used least often.
        VolatileLfu = "volatile-lfu",
        /// Any key that expires.
        VolatileRandom = "volatile-random",
        /// The key that expires soonest.
        VolatileTtl = "volatile-ttl",
        /// Among all keys, the one unused for longest.
        AllkeysLru = "allkeys-lru",
        /// Among all keys, the one used least often.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// None: commands that need memory are refused.
        #[default]
        NoEviction = "noeviction",
    }
}

impl EvictionPolicy {
    /// Says whether the policy compares how often keys were used.
    pub const fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Says whether the policy compares when keys were last used.
    pub const fn is_lru(self) -> bool {
        matches!(self, Self::VolatileLru | Self::AllkeysLru)
    }

    /// Says whether the policy spares keys that do not expire.
    pub const fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

choices! {
    /// appendfsync: when what was logged is brought to the disk.
    AppendFsync {
        /// About once a second; see the log's documentation for what that means.
        #[default]
        EverySecond = "everysec",
        /// Before a write is answered.
        Always = "always",
        /// When the system pleases.
        No = "no",
    }
}

choices! {
    /// sanitize-dump-payload: whose payloads are looked through before they are loaded.
    ///
    /// Ours always are; the parameter is kept for configuration files.
    SanitizePayload {
        #[default]
        No = "no",
        Yes = "yes",
        Clients = "clients",
    }
}

choices! {
    /// repl-diskless-load: whether what a master sends is loaded without writing a file first.
    DisklessLoad {
        /// A file is written, and loaded when it is whole.
        #[default]
        Disabled = "disabled",
        /// Without a file where there is no data that a broken link could take away.
        OnEmptyDb = "on-empty-db",
        /// Without a file, beside the data, which is replaced when all has arrived.
        SwapDb = "swapdb",
    }
}

choices! {
    /// synchronous-commit: what a replica must have done with a write for it to count.
    SynchronousCommit {
        /// Executed it.
        #[default]
        Received = "received",
        /// Brought it to its disk.
        Fsynced = "fsynced",
    }
}

choices! {
    /// loglevel: the least urgent message that is still logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// What is rarely useful, without the flood.
        Verbose = "verbose",
        /// What an operator wants to see.
        #[default]
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
    }
}

choices! {
    /// syslog-facility: under which heading the system log files our messages.
    SyslogFacility {
        /// LOG_USER
        User = "user",
        /// LOG_LOCAL0
        #[default]
        Local0 = "local0",
        /// LOG_LOCAL1
        Local1 = "local1",
        /// LOG_LOCAL2
        Local2 = "local2",
        /// LOG_LOCAL3
        Local3 = "local3",
        /// LOG_LOCAL4
        Local4 = "local4",
        /// LOG_LOCAL5
        Local5 = "local5",
        /// LOG_LOCAL6
        Local6 = "local6",
        /// LOG_LOCAL7
        Local7 = "local7",
    }
}

choices! {
    /// supervised: whom the server tells when it is ready.
    Supervised {
        /// upstart, by stopping itself.
        Upstart = "upstart",
        /// systemd, through NOTIFY_SOCKET.
        Systemd = "systemd",
        /// Whichever of the two the environment shows.
        Auto = "auto",
        /// Nobody.
        #[default]
        No = "no",
    }
}

choices! {
    /// enable-debug-command and its like: who may do what is dangerous.
    ProtectedAction {
        /// Nobody.
        #[default]
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Clients on this machine.
        Local = "local",
    }
}

impl ProtectedAction {
    /// Says whether a client may act, given whether it is on this machine.
    pub const fn allows(self, client_is_local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => client_is_local,
        }
    }
}

/// oom-score-adj: whether and how the kernel is told which process to kill first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomScoreAdj {
    /// The score is left alone.
    #[default]
    No,
    /// The configured values are added to the score found at the start; `yes` is another word for it.
    Relative,
    /// The configured values are the score.
    Absolute,
}

impl OomScoreAdj {
    /// The words of redis.conf. The second and third mean the same, and the second is what CONFIG GET prints.
    pub const WORDS: &'static [&'static str] = &["no", "yes", "relative", "absolute"];
}

impl Setting for OomScoreAdj {
    fn to_value(&self) -> Value {
        Value::Choice(match self {
            Self::No => 0,
            Self::Relative => 1,
            Self::Absolute => 3,
        })
    }

    fn assign(&mut self, value: Value) {
        *self = match value.into_choice() {
            0 => Self::No,
            3 => Self::Absolute,
            _ => Self::Relative,
        };
    }
}

/// shutdown-on-sigint, shutdown-on-sigterm: how a signal ends the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save the data set even where no save points are configured.
    pub save: bool,
    /// Do not save the data set even where save points are configured.
    pub no_save: bool,
    /// Do not wait for replicas that lag.
    pub now: bool,
    /// Ignore what would otherwise keep the server from exiting.
    pub force: bool,
}

impl ShutdownFlags {
    /// The words of redis.conf: the first is no flag, the others are bits 0 to 3.
    pub const WORDS: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];
}

impl Setting for ShutdownFlags {
    fn to_value(&self) -> Value {
        let flags = [self.save, self.no_save, self.now, self.force];
        Value::Flags(flags.iter().enumerate().fold(0, |bits, (index, flag)| bits | u32::from(*flag) << index))
    }

    fn assign(&mut self, value: Value) {
        let bits = value.into_flags();
        *self =
            Self { save: bits & 1 != 0, no_save: bits & 2 != 0, now: bits & 4 != 0, force: bits & 8 != 0 };
    }
}
