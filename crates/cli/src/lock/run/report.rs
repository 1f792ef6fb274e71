//! What of a command under a lock becomes a failure record, and which exit code it comes to.

use std::fmt::Display;
use std::time::Duration;

use notify::{Exit, FailureKind, FailureRecord};
use redstart_lock::Error;

use super::link::Outcome;
use super::plan::Cause;
use crate::lock::arguments::Run;
use crate::lock::exit::{self, Code};

/// How long it took to get the lock, or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waited {
    pub(super) checks: u32,
    pub(super) waited: Duration,
}

/// Returns the task's name: the one that was given, or that of the command.
pub(super) fn task_name(run: &Run) -> String {
    let command = run.command.first().map(std::path::Path::new);
    let name = command.and_then(|path| path.file_name()).unwrap_or_default();
    run.task.clone().unwrap_or_else(|| name.to_string_lossy().into_owned())
}

fn record(run: &Run, kind: FailureKind, waited: Waited) -> FailureRecord {
    FailureRecord::here(kind, &run.key)
        .task(task_name(run))
        .arguments(run.command.iter().map(|word| word.to_string_lossy()))
        .waited(u64::from(waited.checks), run.interval, waited.waited)
        .people(&run.notify)
}

/// Returns the record of a lock that was held by another at every check.
pub(super) fn busy(
    run: &Run,
    waited: Waited,
    holder: &redstart_lock::Holder,
    error: impl Display,
) -> FailureRecord {
    let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    let holder = notify::Holder {
        owner: holder.owner.clone(),
        token: holder.token,
        held_ms: ms(holder.held_for),
        remaining_ms: ms(holder.remaining),
        meta: holder.meta.as_deref().and_then(|meta| serde_json::from_str(meta).ok()),
    };
    record(run, FailureKind::Busy, waited).holder(Some(holder)).error(error)
}

/// Returns the record of a lock that could not be had, though nobody is known to have held it.
pub(super) fn unavailable(run: &Run, error: impl Display) -> FailureRecord {
    record(run, FailureKind::Unavailable, Waited::default())
        .error(format!("the command did not run: {error}"))
}

/// Returns the record of a command that could not be started under its lock.
pub(super) fn not_run(run: &Run, waited: Waited, error: impl Display) -> FailureRecord {
    record(run, FailureKind::TaskFailed, waited).error(format!("the command did not run: {error}"))
}

/// Returns the record that the keeper completes and saves if the holder is gone when the command has ended.
pub(super) fn holder_gone(run: &Run, token: u64) -> FailureRecord {
    record(run, FailureKind::Lost, Waited::default())
        .token(Some(token))
        .error("the process that held the lock was killed, and the command was ended")
}

/// Completes such a record.
pub(super) fn without_holder(record: FailureRecord, outcome: &Outcome) -> FailureRecord {
    let record = record.exit(exit_of(outcome)).stderr(outcome.tail.as_bytes());
    if outcome.cause.is_some() {
        return record;
    }
    let record = FailureRecord { kind: FailureKind::ReleaseUnknown, ..record };
    record.error(
        "the process that held the lock was killed when the command had ended: the lock ends with its lease",
    )
}

fn exit_of(outcome: &Outcome) -> Option<Exit> {
    outcome.code.map(Exit::Code).or(outcome.signal.map(Exit::Signal))
}

/// Returns the exit code of a command that ran, and the record of what failed, if anything did.
pub(super) fn ended(
    run: &Run,
    waited: Waited,
    token: u64,
    outcome: &Outcome,
    not_released: Option<Error>,
) -> (Code, Option<FailureRecord>) {
    let own = match (outcome.code, outcome.signal) {
        (Some(code), _) => Code(code as u8),
        (None, Some(signal)) => exit::by_signal(signal),
        (None, None) => exit::OS,
    };
    let lost = matches!(not_released, Some(Error::Lost { .. }));
    let (kind, code, what) = match (outcome.cause, &not_released) {
        (Some(Cause::Lease), _) => (
            FailureKind::Lost,
            exit::LOST,
            "the lock was lost or could not be renewed in time; the command was ended",
        ),
        (Some(Cause::MaxHold), _) => (
            FailureKind::MaxHold,
            exit::MAX_HOLD,
            "the command held the lock for as long as it may, and was ended",
        ),
        (Some(_), _) => (
            FailureKind::TaskFailed,
            exit::OS,
            "the command was ended, as the process that watches over it was gone",
        ),
        (None, _) if lost => {
            (FailureKind::Lost, exit::LOST, "the lock was lost while the command ran to its end")
        }
        (None, Some(_)) if own == Code(0) => (FailureKind::ReleaseUnknown, own, ""),
        (None, None) if own == Code(0) => return (own, None),
        (None, _) => (FailureKind::TaskFailed, own, ""),
    };
    let mut parts = Vec::new();
    parts.extend((!what.is_empty()).then(|| what.to_owned()));
    parts.extend(not_released.filter(|_| !lost).map(|error| error.to_string()));
    match (kind, outcome.code, outcome.signal) {
        (FailureKind::TaskFailed, Some(code), _) => {
            parts.insert(0, format!("the command failed with exit code {code}"))
        }
        (FailureKind::TaskFailed, None, Some(signal)) => {
            parts.insert(0, format!("the command was ended by signal {signal}"));
        }
        _ => {}
    }
    let record = record(run, kind, waited)
        .token(Some(token))
        .exit(exit_of(outcome))
        .stderr(outcome.tail.as_bytes())
        .error(parts.join("; "));
    (code, Some(record))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use redstart_lock::LossCause;

    use super::*;
    use crate::lock::arguments::{Command, Line};

    fn parse(words: &[&str]) -> Run {
        let words = ["redstart lock", "run", "nightly"].iter().chain(words);
        match Line::try_parse_from(words).unwrap().command {
            Command::Run(run) => *run,
            _ => unreachable!("these words are of `run`"),
        }
    }

    #[test]
    fn every_end_has_its_code_and_its_record() {
        let run = parse(&["--notify", "ada", "--", "/usr/bin/report", "--fast"]);
        let code = |code| Outcome { code: Some(code), ..Outcome::default() };
        let signal = |signal| Outcome { signal: Some(signal), ..Outcome::default() };
        let caused = |cause| Outcome { cause: Some(cause), ..signal(15) };
        let lost = || Some(Error::Lost { cause: LossCause::Taken });
        let unknown = || Some(Error::ReleaseUnknown { token: 7, reason: "no answer".into() });
        for (outcome, not_released, expected, kind) in [
            (code(0), None, 0, None),
            (code(3), None, 3, Some(FailureKind::TaskFailed)),
            (signal(9), None, 137, Some(FailureKind::TaskFailed)),
            (code(0), lost(), 76, Some(FailureKind::Lost)),
            (code(0), unknown(), 0, Some(FailureKind::ReleaseUnknown)),
            (code(3), unknown(), 3, Some(FailureKind::TaskFailed)),
            (caused(Cause::Lease), unknown(), 76, Some(FailureKind::Lost)),
            (caused(Cause::MaxHold), None, 124, Some(FailureKind::MaxHold)),
            (caused(Cause::KeeperGone), None, 71, Some(FailureKind::TaskFailed)),
        ] {
            let (code, record) = ended(&run, Waited::default(), 7, &outcome, not_released);
            assert_eq!((code.0, record.as_ref().map(|record| record.kind)), (expected, kind), "{outcome:?}");
            if let Some(record) = record {
                assert!(!record.error.is_empty(), "{record:?}");
                assert_eq!(
                    (record.token, record.people, record.task),
                    (Some(7), vec!["ada".to_owned()], Some("report".to_owned()))
                );
            }
        }
    }

    #[test]
    fn what_the_keeper_saves_says_how_the_command_ended() {
        let run = parse(&["--task", "t", "--", "x"]);
        let ended = Outcome {
            signal: Some(15),
            cause: Some(Cause::HolderGone),
            tail: "last words".into(),
            ..Outcome::default()
        };
        let record = without_holder(holder_gone(&run, 7), &ended);
        assert_eq!(
            (record.kind, record.exit, record.stderr.as_str()),
            (FailureKind::Lost, Some(Exit::Signal(15)), "last words")
        );
        let record = without_holder(holder_gone(&run, 7), &Outcome { code: Some(0), ..Outcome::default() });
        assert_eq!((record.kind, record.exit), (FailureKind::ReleaseUnknown, Some(Exit::Code(0))));
    }
}
