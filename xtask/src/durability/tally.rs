//! What was lost: the records of clients against what a server has after its restart.

use std::fmt;
use std::time::{Duration, Instant};

use super::Policy;
use super::clients::{Connection, Record};
use super::process::Server;
use super::sequence::State;

/// Under `everysec` the writes of so long may be lost. They are those before the cut, unless the disk stood still.
const RISK: Duration = Duration::from_millis(1500);

/// What a server says that waits for a sync, and answers no writes meanwhile.
const STALLED: &str = "Asynchronous AOF fsync is taking too long";

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
    /// The server said that it waited for a sync.
    pub(super) stalled: bool,
}

impl Cut {
    /// Returns the end of a round that begins now and has no twilight.
    pub(super) fn now() -> Cut {
        Cut { at: Instant::now(), twilight: Duration::ZERO, stalled: false }
    }

    /// Takes in what the server has to say of its disk.
    pub(super) fn hear(&mut self, server: &Server) {
        let log = server.log();
        self.stalled = log.contains(STALLED);
    }
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
    /// How far apart lost writes of one round were acknowledged.
    pub(super) span: Duration,
    /// Rounds in which the disk was busy with one sync when the power failed, and held replies back.
    pub(super) stalled: u64,
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
        let mut lost_at = Vec::new();
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
            lost_at.extend(lost.iter().map(|(_, at)| *at));
        }
        let promised = |at: &Instant| *at < cut.at || *at >= cut.at + cut.twilight;
        self.twilight += lost_at.iter().filter(|at| !promised(at)).count() as u64;
        lost_at.retain(promised);
        lost_at.sort();
        let (Some(&first), Some(&last)) = (lost_at.first(), lost_at.last()) else { return Ok(()) };
        self.lost += lost_at.len() as u64;
        self.worst = self.worst.max(cut.at.saturating_duration_since(first));
        self.span = self.span.max(last - first);
        self.stalled += u64::from(cut.stalled);
        let end = if cut.stalled { last } else { cut.at };
        self.promised_lost += match policy {
            Policy::Always => lost_at.len(),
            Policy::EverySecond => lost_at.partition_point(|at| end.saturating_duration_since(*at) > RISK),
        } as u64;
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { rounds, acknowledged, lost, twilight, promised_lost, unanswered, .. } = self;
        write!(
            f,
            "{rounds} rounds, {acknowledged} writes acknowledged, {lost} of them lost (the oldest {} ms before the cut, \
             of {} ms at most; in {} rounds the disk stood still), \
             {promised_lost} lost against the policy's word, {twilight} lost that were acknowledged while it was cut, \
             {unanswered} there that were never answered, {} broken",
            self.worst.as_millis(),
            self.span.as_millis(),
            self.stalled,
            self.broken.len()
        )
    }
}
