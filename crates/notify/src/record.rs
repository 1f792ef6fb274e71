//! What is kept of a failure: the record that an operator reads and a person is told of.
//!
//! A record is made where the failure happened ([`FailureRecord::new`], [`FailureRecord::here`]), struck of secrets
//! before it leaves the process, and from then on only gains: delivery attempts and an acknowledgement.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::redact;
use crate::time::UnixMs;
use crate::ulid::Ulid;

/// How much of a task's last output a record keeps.
pub const STDERR_BYTES_MAX: usize = 8 * 1024;

/// How many arguments a record keeps, and how long each may be.
const ARGUMENTS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;

/// How much of what the holder said about itself a record keeps.
const META_BYTES_MAX: usize = 4 * 1024;

/// Why a record was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Another still held the lock when the checks were used up; the task did not run.
    Busy,
    /// The lock could not be had for another reason, such as a server that cannot be reached; the task did not run.
    Unavailable,
    /// The lock was lost while the task ran.
    Lost,
    /// The task ran and failed.
    TaskFailed,
    /// The task ran longer than it may and was ended.
    MaxHold,
    /// Whether the lock was released is not known.
    ReleaseUnknown,
}

impl FailureKind {
    /// Returns all kinds.
    pub const ALL: [FailureKind; 6] = [
        FailureKind::Busy,
        FailureKind::Unavailable,
        FailureKind::Lost,
        FailureKind::TaskFailed,
        FailureKind::MaxHold,
        FailureKind::ReleaseUnknown,
    ];

    /// Returns its name, as in records, routes and commands.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Busy => "busy",
            FailureKind::Unavailable => "unavailable",
            FailureKind::Lost => "lost",
            FailureKind::TaskFailed => "task-failed",
            FailureKind::MaxHold => "max-hold",
            FailureKind::ReleaseUnknown => "release-unknown",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who held the lock when it was looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Holder {
    /// Its owner value.
    pub owner: String,
    /// Its fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How long it had held the lock by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// How much of its lease was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// One try to tell one person over one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at_ms: UnixMs,
    /// Who was to be told.
    pub person: String,
    /// Over which channel, by its name in the configuration.
    pub channel: String,
    /// How it ended.
    pub result: AttemptResult,
}

/// How a delivery attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptResult {
    /// The channel took it.
    Delivered,
    /// The channel took it as one of several in the message about this record.
    DeliveredWith(Ulid),
    /// It did not arrive, for this reason.
    Failed(String),
}

impl AttemptResult {
    /// Returns whether the person was told.
    pub fn is_delivered(&self) -> bool {
        !matches!(self, AttemptResult::Failed(_))
    }
}

/// Who took note of a failure, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The name they gave.
    pub by: String,
    /// When.
    pub at_ms: UnixMs,
}

/// A failure: what ran where, why it did not end well, and who was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Its id; sorts by time.
    pub id: Ulid,
    /// Why it was made.
    pub kind: FailureKind,
    /// When it was made.
    pub at_ms: UnixMs,
    /// The lock's key.
    pub key: String,
    /// The task's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Whatever else the task said of itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// What the task was called with, secrets struck out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Where it ran.
    #[serde(default)]
    pub directory: String,
    /// On which host.
    #[serde(default)]
    pub host: String,
    /// As which user.
    #[serde(default)]
    pub user: String,
    /// As which process.
    #[serde(default)]
    pub pid: u32,
    /// How often the key was checked.
    #[serde(default)]
    pub checks: u64,
    /// How long it slept between two checks.
    #[serde(default)]
    pub interval_ms: u64,
    /// How long it waited in all.
    #[serde(default)]
    pub waited_ms: u64,
    /// Who held the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The token of this task's own grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How the task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// What went wrong, in the words of the program that made the record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The last that the task wrote to its standard error, secrets struck out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// The version of the program that made the record.
    #[serde(default)]
    pub version: String,
    /// The people responsible; the routes say who, when this is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// Every try to tell somebody, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Who took note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// When somebody last asked that it be told anew: what was delivered before does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renotified_ms: Option<UnixMs>,
}

impl FailureRecord {
    /// Returns a record of now that says nothing yet about where it was made.
    pub fn new(kind: FailureKind, key: impl Into<String>) -> FailureRecord {
        let id = Ulid::generate();
        FailureRecord {
            id,
            kind,
            at_ms: id.at(),
            key: key.into(),
            task: None,
            details: BTreeMap::new(),
            arguments: Vec::new(),
            directory: String::new(),
            host: String::new(),
            user: String::new(),
            pid: 0,
            checks: 0,
            interval_ms: 0,
            waited_ms: 0,
            holder: None,
            token: None,
            exit: None,
            error: String::new(),
            stderr: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            people: Vec::new(),
            attempts: Vec::new(),
            acknowledged: None,
            renotified_ms: None,
        }
    }

    /// Returns a record of now and of this process: directory, host, user and pid.
    pub fn here(kind: FailureKind, key: impl Into<String>) -> FailureRecord {
        FailureRecord {
            directory: std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
            host: host(),
            user: user(),
            pid: std::process::id(),
            ..FailureRecord::new(kind, key)
        }
    }

    /// Sets the task's name.
    pub fn task(mut self, name: impl Into<String>) -> FailureRecord {
        self.task = Some(name.into());
        self
    }

    /// Sets what the task was called with; secrets are struck out here.
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> FailureRecord {
        let arguments: Vec<String> = arguments.into_iter().map(Into::into).collect();
        self.arguments = redact::arguments(&arguments);
        self
    }

    /// Sets how often was checked, how long was slept in between, and how long that took.
    pub fn waited(mut self, checks: u64, interval: Duration, waited: Duration) -> FailureRecord {
        self.checks = checks;
        self.interval_ms = interval.as_millis() as u64;
        self.waited_ms = waited.as_millis() as u64;
        self
    }

    /// Sets who held the lock.
    pub fn holder(mut self, holder: Option<Holder>) -> FailureRecord {
        self.holder = holder;
        self
    }

    /// Sets the token of this task's own grant.
    pub fn token(mut self, token: Option<u64>) -> FailureRecord {
        self.token = token;
        self
    }

    /// Sets how the task ended.
    pub fn exit(mut self, exit: Option<Exit>) -> FailureRecord {
        self.exit = exit;
        self
    }

    /// Sets what went wrong.
    pub fn error(mut self, error: impl fmt::Display) -> FailureRecord {
        self.error = error.to_string();
        self
    }

    /// Sets the last that the task wrote to its standard error; keeps its end, without secrets.
    ///
    /// Give more than [`STDERR_BYTES_MAX`] when there is more: secrets are found by what stands before them.
    pub fn stderr(mut self, output: &[u8]) -> FailureRecord {
        self.stderr = redact::tail(output, STDERR_BYTES_MAX);
        self
    }

    /// Sets the people responsible, so that the routes are not asked.
    pub fn people<P: Into<String>>(mut self, people: impl IntoIterator<Item = P>) -> FailureRecord {
        self.people = people.into_iter().map(Into::into).collect();
        self
    }

    /// Returns it as it may leave the process: secrets struck out, every part within its bounds.
    ///
    /// Doing it twice changes nothing, so whoever saves or sends a record does it again.
    pub fn redacted(&self) -> FailureRecord {
        let short = |text: &str| shorten(redact::text(text), TEXT_BYTES_MAX);
        let mut arguments: Vec<String> = redact::arguments(&self.arguments);
        let left_out = arguments.len().saturating_sub(ARGUMENTS_MAX);
        if left_out > 0 {
            arguments.truncate(ARGUMENTS_MAX);
            arguments.push(format!("… and {left_out} more"));
        }
        FailureRecord {
            key: shorten(self.key.clone(), TEXT_BYTES_MAX),
            task: self.task.as_deref().map(short),
            details: self
                .details
                .iter()
                .take(ARGUMENTS_MAX)
                .map(|(name, value)| detail(name, value))
                .collect(),
            arguments: arguments.into_iter().map(|argument| shorten(argument, TEXT_BYTES_MAX)).collect(),
            directory: short(&self.directory),
            host: short(&self.host),
            user: short(&self.user),
            holder: self.holder.as_ref().map(|holder| Holder {
                owner: shorten(redact::text(&holder.owner), TEXT_BYTES_MAX),
                meta: holder.meta.as_ref().map(|meta| bounded(redact::json(meta))),
                ..holder.clone()
            }),
            error: short(&self.error),
            stderr: redact::tail(self.stderr.as_bytes(), STDERR_BYTES_MAX),
            ..self.clone()
        }
    }

    /// Returns whether this person was told over this channel since it was last asked for.
    pub fn is_delivered(&self, person: &str, channel: &str) -> bool {
        let since = self.renotified_ms.unwrap_or_default();
        self.attempts.iter().any(|attempt| {
            attempt.result.is_delivered()
                && attempt.at_ms >= since
                && attempt.person == person
                && attempt.channel == channel
        })
    }
}

/// Returns a text of at most `limit` bytes; a sign at its end says that there was more.
pub(crate) fn shorten(mut text: String, limit: usize) -> String {
    const MORE: &str = "…";
    if text.len() > limit {
        let mut end = limit.saturating_sub(MORE.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MORE);
    }
    text
}

/// Returns a task's word of itself without the secret in it.
fn detail(name: &str, value: &str) -> (String, String) {
    let value = if redact::is_secret_name(name) { redact::STRUCK.to_owned() } else { redact::text(value) };
    (shorten(redact::text(name), TEXT_BYTES_MAX), shorten(value, TEXT_BYTES_MAX))
}

/// Returns JSON as it is, or the beginning of its text when that is long.
fn bounded(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= META_BYTES_MAX { value } else { Value::String(shorten(text, META_BYTES_MAX / 2)) }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.map(|name| name.trim().to_owned()).unwrap_or_default();
    if name.is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name }
}

fn user() -> String {
    let named =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    // Jobs of a scheduler often have neither; the number still says who it was.
    named.unwrap_or_else(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
        uid.map(|uid| format!("uid {uid}")).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_json_and_knows_older_writers() {
        let mut record = FailureRecord::here(FailureKind::Busy, "nightly")
            .task("backup")
            .arguments(["backup", "--password", "hunter2"])
            .waited(5, Duration::from_secs(10), Duration::from_millis(40_250))
            .holder(Some(Holder { owner: "b".into(), token: Some(7), ..Holder::default() }))
            .exit(Some(Exit::Signal(9)))
            .people(["ada"]);
        record.attempts.push(Attempt {
            at_ms: UnixMs(5),
            person: "ada".into(),
            channel: "ops".into(),
            result: AttemptResult::Failed("500".into()),
        });
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""kind":"busy""#) && !text.contains("hunter2"), "{text}");
        assert_eq!(serde_json::from_str::<FailureRecord>(&text).unwrap(), record);

        let old = r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","kind":"max-hold","at_ms":1,"key":"k"}"#;
        assert_eq!(serde_json::from_str::<FailureRecord>(old).unwrap().kind, FailureKind::MaxHold);
    }

    #[test]
    fn what_leaves_the_process_is_struck_and_bounded() {
        let mut record = FailureRecord::new(FailureKind::TaskFailed, "k".repeat(5000));
        record.arguments = vec!["--token=hunter2".into(); 1000];
        record.details =
            BTreeMap::from([("api_key".into(), "hunter2".into()), ("run".into(), "token=hunter2".into())]);
        record.error = "redis://:hunter2@db is away".into();
        record.stderr = "password: hunter2\n".repeat(10_000);
        let meta = serde_json::json!({"secret": "hunter2", "more": "x".repeat(100_000)});
        record.holder = Some(Holder { meta: Some(meta), ..Holder::default() });
        let once = record.redacted();
        let text = serde_json::to_string(&once).unwrap();
        assert!(!text.contains("hunter2") && text.len() < 20_000, "{} bytes", text.len());
        assert_eq!(once.arguments.last().unwrap(), "… and 936 more");
        let twice = once.redacted();
        assert_eq!((twice.stderr, twice.holder, twice.error), (once.stderr, once.holder, once.error));
    }

    #[test]
    fn what_was_delivered_before_it_was_asked_for_anew_does_not_count() {
        let mut record = FailureRecord::new(FailureKind::Busy, "k");
        let (person, channel) = ("ada".to_owned(), "ops".to_owned());
        record.attempts.push(Attempt { at_ms: UnixMs(5), person, channel, result: AttemptResult::Delivered });
        assert!(record.is_delivered("ada", "ops") && !record.is_delivered("ada", "mail"));
        record.renotified_ms = Some(UnixMs(6));
        assert!(!record.is_delivered("ada", "ops"));
    }
}
