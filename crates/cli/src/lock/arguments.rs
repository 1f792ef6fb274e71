//! What may stand after `redstart lock`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::duration;

const EXIT_CODES: &str = "\
Exit codes of `run` (otherwise the command's own, or 128 + the number of the signal that ended it):
   64  the arguments make no sense
   69  no server could be reached, or too few replicas have the lock; the command did not run
   71  something on this machine failed
   75  the lock is held by another and was at every check; the command did not run
   76  the lock was lost while the command ran, and the command was ended
   77  the server refuses the lock (a key of another type, no permission); the command did not run
   78  the configuration makes no sense (of `notifier`; `run` complains and goes on)
  124  the command was ended after --max-hold
  126  the command could not be started
  127  the command was not found
The other commands end with 0, with 1 when what was asked for is not there, and else with the codes above.";

/// A line of words after `redstart lock`.
#[derive(Debug, Parser)]
#[command(
    name = "redstart lock",
    about = "Runs commands under a lock, shows locks, and what failed",
    after_help = EXIT_CODES,
    disable_help_subcommand = true
)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a command while the lock is held
    #[command(after_help = EXIT_CODES)]
    Run(Box<Run>),
    /// Lists the locks that are held
    Ls {
        /// Only keys that match, as KEYS matches them
        #[arg(default_value = "*")]
        pattern: String,
        #[command(flatten)]
        place: Place,
    },
    /// Shows one lock
    Show {
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Shows the locks and who waits for them, again and again
    Top {
        /// Only keys that match
        #[arg(default_value = "*")]
        pattern: String,
        /// Shows it once and ends
        #[arg(long)]
        once: bool,
        /// How long to wait before showing it again
        #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
        interval: Duration,
        #[command(flatten)]
        place: Place,
    },
    /// Shows who waits for whom, and where they wait for each other
    Graph {
        #[command(flatten)]
        place: Place,
    },
    /// Shows what happened to a lock, newest first
    History {
        key: String,
        /// How much of it
        #[arg(long, default_value_t = 50)]
        count: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Shows who waits for a lock, in order
    Waiters {
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Shows how contended the locks are, or one of them
    Stats {
        key: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Takes a lock away from its holder, whose token `show` tells
    ForceUnlock {
        key: String,
        /// The token that the lock is held with; if it is another by now, nothing happens
        #[arg(long)]
        token: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Shows what failed, and who was told
    #[command(subcommand)]
    Failures(Failures),
    /// Tells people of what failed, as long as it runs
    Notifier {
        /// Tells what is due now and ends
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        records: Records,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Failures {
    /// Lists failures, newest first
    Ls {
        /// How many
        #[arg(long, default_value_t = 50)]
        count: usize,
        /// Only those that nobody has acknowledged
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        records: Records,
    },
    /// Shows one failure with everything that is known of it
    Show {
        id: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        records: Records,
    },
    /// Notes that somebody looks after it; nobody is told of it any more
    Ack {
        id: String,
        /// Who that is
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        records: Records,
    },
    /// Has everybody told again who is responsible
    Renotify {
        id: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        records: Records,
    },
}

/// Which server, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The server: redis://[user:password@]host[:port][/db], host:port, or unix:///path
    #[arg(long = "server", value_name = "URL", env = "REDSTART_SERVER", default_value = DEFAULT_SERVER)]
    #[arg(hide_env_values = true)]
    pub(crate) server: String,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The server that is meant when none is named.
pub(crate) const DEFAULT_SERVER: &str = "redis://127.0.0.1:6379";

/// Where failures are kept and who is told of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Records {
    /// Who is told of which failures, over which channels
    #[arg(long, value_name = "FILE", env = "REDSTART_NOTIFY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where failures wait on disk until a server can be reached
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The lock's key
    pub(crate) key: String,
    /// For how long the lock is granted at a time; it is renewed while the command runs
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    pub(crate) lease: Duration,
    /// How often to look whether the lock is free before that counts as a failure
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 10)]
    pub(crate) max_checks: u32,
    /// How long to sleep between two checks
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    pub(crate) interval: Duration,
    /// The share of the interval by which it varies at random, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.1)]
    pub(crate) jitter: f64,
    /// The longest time the command may hold the lock; then it is ended
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) max_hold: Option<Duration>,
    /// From asking the command to end (SIGTERM) until killing it; less if the lease ends before
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    pub(crate) grace: Duration,
    /// The name to hold the lock under, which must be nobody else's [default: host:pid:random]
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// How many replicas must have the lock before it counts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) replicas: u32,
    /// What to do when the lock is held by another at every check
    #[arg(long, value_enum, default_value_t = OnBusy::Fail)]
    pub(crate) on_busy: OnBusy,
    /// Who is told when this fails, whatever the configuration says of the key; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) notify: Vec<String>,
    /// The task's name, in what people are told and in what others see of the lock [default: the command's]
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// The server; several, independent of each other, decide by majority (Redlock)
    #[arg(long = "server", value_name = "URL", env = "REDSTART_SERVER", value_delimiter = ' ')]
    #[arg(default_value = DEFAULT_SERVER, hide_env_values = true)]
    pub(crate) servers: Vec<String>,
    #[command(flatten)]
    pub(crate) records: Records,
    /// Leaves the command's standard error alone: records will not have its end
    #[arg(long)]
    pub(crate) no_tail: bool,
    /// The command, run as it stands here: no shell looks at it
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBusy {
    /// Save a record, tell people, end with 75
    Fail,
    /// End with 0 as if there was nothing to do
    Skip,
}

/// Parses a part of a whole.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("'{text}' is not between 0 and 1"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_of_arguments_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let words = ["redstart lock", "run", "k", "--lease", "5s", "--", "sh", "-c", "--lease", "--", "x"];
        let Command::Run(run) = Line::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!(run.command, ["sh", "-c", "--lease", "--", "x"]);
        assert_eq!((run.lease, run.max_checks), (Duration::from_secs(5), 10));
        for words in [
            &["run", "k"][..],
            &["run", "k", "sh"],
            &["run", "k", "--max-checks", "0", "--", "x"],
            &["run", "k", "--jitter", "nan", "--", "x"],
            &["run", "k", "--jitter", "1.5", "--", "x"],
            &["force-unlock", "k"],
        ] {
            assert!(Line::try_parse_from(["redstart lock"].iter().chain(words)).is_err(), "{words:?}");
        }
    }
}
