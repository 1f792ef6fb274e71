//! Ways to reach a person: each takes a message and says whether it arrived.
//!
//! A channel knows its vendor's format, signature, limits and error codes. When to try, and when to try again, is the
//! outbox' business.

mod dingtalk;
mod exec;
mod feishu;
pub(crate) mod http;
mod slack;
mod smtp;
mod webhook;
mod wecom;

use std::time::Duration;

use crate::message::Message;
use crate::secret::Secret;
use crate::time::UnixMs;
use crate::toml_table::{Mistake, Table};

/// How long one delivery may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a receiver's answer an attempt quotes.
const QUOTED_BYTES_MAX: usize = 200;

/// Why a message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// How long the receiver wants nothing more; nothing when it did not say.
    pub hold: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), hold: None }
    }
}

/// A channel as the configuration describes it.
#[derive(Debug)]
pub struct Channel {
    /// How long it waits between two messages, so that the receiver does not turn it away.
    pub spacing: Duration,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// What this channel must not say, struck from what receivers answer.
    secrets: Vec<Secret>,
    receiver: Receiver,
}

#[derive(Debug)]
enum Receiver {
    Webhook(webhook::Webhook),
    Slack(slack::Slack),
    DingTalk(dingtalk::DingTalk),
    Feishu(feishu::Feishu),
    WeCom(wecom::WeCom),
    Smtp(Box<smtp::Smtp>),
    Exec(exec::Exec),
}

impl Channel {
    /// Reads one from its table in the configuration.
    pub(crate) fn read(mut table: Table<'_>) -> Result<Channel, Mistake> {
        let kind = table.required("type")?;
        let timeout = table.duration("timeout", Duration::from_millis(100), Duration::from_secs(60))?;
        let timeout = timeout.unwrap_or(TIMEOUT);
        let spacing = table.duration("spacing", Duration::ZERO, Duration::from_secs(600))?;
        let mut secrets = Vec::new();
        let (receiver, usual) = match kind.value.as_str() {
            "webhook" => (
                Receiver::Webhook(webhook::Webhook::read(&mut table, timeout, &mut secrets)?),
                webhook::SPACING,
            ),
            "slack" => {
                (Receiver::Slack(slack::Slack::read(&mut table, timeout, &mut secrets)?), slack::SPACING)
            }
            "dingtalk" => (
                Receiver::DingTalk(dingtalk::DingTalk::read(&mut table, timeout, &mut secrets)?),
                dingtalk::SPACING,
            ),
            "feishu" => {
                (Receiver::Feishu(feishu::Feishu::read(&mut table, timeout, &mut secrets)?), feishu::SPACING)
            }
            "wecom" => {
                (Receiver::WeCom(wecom::WeCom::read(&mut table, timeout, &mut secrets)?), wecom::SPACING)
            }
            "smtp" => (
                Receiver::Smtp(Box::new(smtp::Smtp::read(&mut table, timeout, &mut secrets)?)),
                smtp::SPACING,
            ),
            "exec" => (Receiver::Exec(exec::Exec::read(&mut table, timeout)?), exec::SPACING),
            other => {
                return Err(kind.mistake(format!(
                    "{}: there is no type `{other}`; there are webhook, slack, dingtalk, feishu, wecom, smtp and exec",
                    table.name
                )));
            }
        };
        table.end()?;
        Ok(Channel { spacing: spacing.unwrap_or(usual), timeout, secrets, receiver })
    }

    /// Returns whether a person needs an address of e-mail for it.
    pub(crate) fn needs_email(&self) -> bool {
        matches!(self.receiver, Receiver::Smtp(_))
    }

    /// Delivers a message; returns when it arrived, or why it did not.
    pub fn deliver(&self, message: &Message<'_>, now: UnixMs) -> Result<(), Failure> {
        let outcome = match &self.receiver {
            Receiver::Webhook(webhook) => webhook.deliver(message, now),
            Receiver::Slack(slack) => slack.deliver(message),
            Receiver::DingTalk(dingtalk) => dingtalk.deliver(message, now),
            Receiver::Feishu(feishu) => feishu.deliver(message, now),
            Receiver::WeCom(wecom) => wecom.deliver(message),
            Receiver::Smtp(smtp) => smtp.deliver(message),
            Receiver::Exec(exec) => exec.deliver(message),
        };
        outcome.map_err(|failure| Failure { what: self.scrub(&failure.what), ..failure })
    }

    /// Returns a receiver's words as they may be kept: in one line, short, and without secrets.
    fn scrub(&self, what: &str) -> String {
        let mut text = what.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.expose().len() >= 4) {
            text = text.replace(secret.expose(), crate::redact::STRUCK);
        }
        let line = crate::redact::text(&text).replace(|c: char| c.is_control(), " ");
        crate::record::shorten(line, 2 * QUOTED_BYTES_MAX)
    }
}

/// Returns the beginning of an answer, for an error.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES_MAX)]).trim().to_owned();
    if text.is_empty() { "nothing".into() } else { format!("\"{text}\"") }
}

/// Returns the number in the first of these members that an answer in JSON has.
fn code(answer: &serde_json::Value, members: &[&str]) -> Option<i64> {
    members.iter().find_map(|member| answer.get(member)?.as_i64())
}
