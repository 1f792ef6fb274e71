//! What was lost: the records of clients against what a server has after its restart.

use std::fmt;
use std::time::{Duration, Instant};

use super::Policy;
use super::clients::{Connection, Record};
use super::process::Server;
use super::sequence::State;

/// Nothing that was acknowledged so long before the power was cut may be lost under `everysec`.
const RISK: Duration = Duration::from_millis(1500);

/// The end of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at: Instant,
    /// How long it was uncertain what still reaches the device.
    ///
    /// While `FS_IOC_SHUTDOWN` runs, ext4 lets calls of fdatasync succeed whose bytes never get there: it finds their
    /// transaction neither running nor being committed, and takes it for done. With the power a reply to them would have
    /// been gone as well. So what is acknowledged in that time is counted apart.
    pub(super) twilight: Duration,
}

/// What became of the writes of many rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) rounds: u64,
    pub(super) acknowledged: u64,
    /// Acknowledged, and gone.
    pub(super) lost: u64,
    /// Acknowledged while the power was being cut, and gone: see [`Cut`].
    pub(super) twilight: u64,
    /// Gone although the policy promised them.
    pub(super) promised_lost: u64,
    /// How long before the cut the oldest lost write was acknowledged.
    pub(super) worst: Duration,
    /// Sent, never acknowledged, and there nevertheless, which is nobody's loss.
    pub(super) unanswered: u64,
    /// Loads that were refused, and states that no number of writes leads to.
    pub(super) broken: Vec<String>,
}

impl Tally {
    /// Returns whether every promise was kept.
    pub(super) fn kept(&self) -> bool {
        self.promised_lost == 0 && self.broken.is_empty()
    }

    /// Compares what a restarted server has with what its clients were told, and lets `states` be what was found.
    pub(super) fn check(
        &mut self,
        server: &Server,
        states: &mut [State],
        records: &[Record],
        policy: Policy,
        cut: Cut,
    ) -> Result<(), String> {
        let mut connection = Connection::open(server.address(), Duration::from_secs(30))?;
        for (state, record) in states.iter_mut().zip(records) {
            let found = State::read(&mut connection, record.client)?;
            self.acknowledged += record.acknowledged.len() as u64;
            let before = state.number();
            while state.number() < found.number() {
                state.advance();
            }
            if found != *state {
                self.broken.push(format!(
                    "client {}: what was found after write {} is not what its writes lead to (from {before} on)\n  \
                     found    {found:?}\n  expected {state:?}",
                    record.client,
                    found.number()
                ));
                *state = found.clone();
            }
            if found.number() > record.sent {
                let sent = record.sent;
                self.broken.push(format!("write {} was found, {sent} was the last sent", found.number()));
            }
            let kept = record.acknowledged.partition_point(|(number, _)| *number <= found.number());
            let lost = &record.acknowledged[kept..];
            let answered = record.acknowledged.last().map_or(before, |(number, _)| *number);
            self.unanswered += found.number().saturating_sub(answered);
            for &(_, at) in lost {
                if at >= cut.at && at < cut.at + cut.twilight {
                    self.twilight += 1;
                    continue;
                }
                let age = cut.at.saturating_duration_since(at);
                self.lost += 1;
                self.worst = self.worst.max(age);
                self.promised_lost += u64::from(policy == Policy::Always || age > RISK);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { rounds, acknowledged, lost, twilight, promised_lost, unanswered, .. } = self;
        write!(
            f,
            "{rounds} rounds, {acknowledged} writes acknowledged, {lost} of them lost (the oldest {} ms before the cut), \
             {promised_lost} lost against the policy's word, {twilight} lost that were acknowledged while it was cut, \
             {unanswered} there that were never answered, {} broken",
            self.worst.as_millis(),
            self.broken.len()
        )
    }
}
