//! What a person reads: the same facts on every channel, in a text that fits it.

use std::fmt::Write;

use serde::Serialize;

use crate::record::{Exit, FailureKind, FailureRecord, shorten};
use crate::route::Person;
use crate::time::{UnixMs, spoken};

use std::time::Duration;

/// How much of a task's output stands in a text; the record has more.
const OUTPUT_BYTES_MAX: usize = 600;

/// How much of a key, name or argument list stands in a text.
const NAME_BYTES_MAX: usize = 200;

/// A notification of one person.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it is about; the newest when it tells of several.
    pub record: &'a FailureRecord,
    /// Who is told, by the name in the configuration.
    pub person_id: &'a str,
    /// Who is told.
    pub person: &'a Person,
    /// How many more of the same key and kind it tells of.
    pub repeated: usize,
    /// When the first of those was.
    pub since: UnixMs,
}

/// The document that webhooks and commands get: the record, and to whom it goes.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    record: &'a FailureRecord,
    person: &'a str,
    person_name: &'a str,
    repeated: usize,
    summary: String,
}

impl Message<'_> {
    /// Returns the one line that says it all, without line ends.
    pub fn headline(&self) -> String {
        let record = self.record;
        let name = one_line(record.task.as_deref().unwrap_or(&record.key));
        let what = match record.kind {
            FailureKind::Busy => format!("{name} did not run: the lock was held by another"),
            FailureKind::Unavailable => format!("{name} did not run: its lock could not be had"),
            FailureKind::Lost => format!("{name} lost its lock while running"),
            FailureKind::TaskFailed => format!("{name} failed"),
            FailureKind::MaxHold => format!("{name} ran too long and was ended"),
            FailureKind::ReleaseUnknown => format!("{name}: whether its lock was released is not known"),
        };
        match self.repeated {
            0 => what,
            more => format!("{what} (and {more} more)"),
        }
    }

    /// Returns the facts, one a line, in at most `limit` bytes.
    pub fn text(&self, limit: usize) -> String {
        let record = self.record;
        let mut text = self.headline();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{name}: {value}");
        };
        line("key", one_line(&record.key));
        line("kind", record.kind.name().into());
        line("when", record.at_ms.to_string());
        if self.repeated > 0 {
            line("repeated", format!("{} more since {}", self.repeated, self.since));
        }
        if !record.host.is_empty() {
            line(
                "where",
                format!("{} on {}, pid {}", one_line(&record.user), one_line(&record.host), record.pid),
            );
        }
        if record.checks > 0 {
            let times = if record.checks == 1 { "once".into() } else { format!("{} times", record.checks) };
            let waited = spoken(Duration::from_millis(record.waited_ms));
            line("checked", format!("{times} in {waited}"));
        }
        if let Some(holder) = &record.holder {
            let held = holder.held_ms.map(|ms| format!(" for {}", spoken(Duration::from_millis(ms))));
            let token = holder.token.map(|token| format!(", token {token}"));
            line(
                "held by",
                format!(
                    "{}{}{}",
                    one_line(&holder.owner),
                    held.unwrap_or_default(),
                    token.unwrap_or_default()
                ),
            );
        }
        match record.exit {
            Some(Exit::Code(code)) => line("exit code", code.to_string()),
            Some(Exit::Signal(signal)) => line("signal", signal.to_string()),
            None => {}
        }
        if !record.error.is_empty() {
            line("error", one_line(&record.error));
        }
        if !record.arguments.is_empty() {
            line("command", one_line(&record.arguments.join(" ")));
        }
        line("record", record.id.to_string());
        if !record.stderr.is_empty() {
            let room = limit.saturating_sub(text.len() + 16).min(OUTPUT_BYTES_MAX);
            let mut start = record.stderr.len().saturating_sub(room);
            while !record.stderr.is_char_boundary(start) {
                start += 1;
            }
            let tail: String =
                record.stderr[start..].chars().filter(|c| *c == '\n' || !c.is_control()).collect();
            let _ = write!(text, "\nlast output:\n{}", tail.trim_end());
        }
        shorten(text, limit)
    }

    /// Returns the document that webhooks and commands get.
    pub fn json(&self) -> Vec<u8> {
        let document = Document {
            record: self.record,
            person: self.person_id,
            person_name: &self.person.name,
            repeated: self.repeated,
            summary: self.headline(),
        };
        serde_json::to_vec(&document).expect("a record has only texts for names")
    }
}

/// Returns a text in one line, so that nothing in it can pass for a line of ours.
fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shorten(line, NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Holder;

    #[test]
    fn it_says_what_where_and_who_in_a_text_that_fits() {
        let person = Person { name: "Ada".into(), ..Person::default() };
        let mut record = FailureRecord::here(FailureKind::Busy, "nightly\nkind: forged")
            .waited(5, Duration::from_secs(10), Duration::from_secs(50))
            .holder(Some(Holder {
                owner: "b".into(),
                held_ms: Some(7_200_000),
                token: Some(9),
                ..Holder::default()
            }));
        record.stderr = "é".repeat(5000);
        let message =
            Message { record: &record, person_id: "ada", person: &person, repeated: 2, since: UnixMs(0) };
        let text = message.text(2000);
        assert!(
            text.starts_with("nightly kind: forged did not run: the lock was held by another (and 2 more)\n")
        );
        assert!(
            text.contains("\nheld by: b for 2 h, token 9\n") && text.contains("\nchecked: 5 times in 50 s\n")
        );
        assert!(text.contains("\nrepeated: 2 more since 1970-01-01 00:00:00 UTC\n"), "{text}");
        for limit in 100..text.len() {
            assert!(message.text(limit).len() <= limit);
        }
        let json: serde_json::Value = serde_json::from_slice(&message.json()).unwrap();
        assert_eq!(
            (&json["kind"], &json["person"], &json["repeated"]),
            (&"busy".into(), &"ada".into(), &2.into())
        );
    }
}
