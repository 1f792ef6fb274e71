//! When a running command is asked to end, and when it is made to: decisions only, the keeper carries them out.
//!
//! ```text
//! last renewal sent                    asked to end        made to end     lease ends, another may be granted the lock
//!   |------------------------------------|-- grace ----------|---------------|
//!   0                                 1/2 .. 2/3            9/10             1   of the lease
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::BootTime;

/// How often what does not end is killed again: it may have started others meanwhile.
const KILL_AGAIN: Duration = Duration::from_millis(10);

/// Why a command is ended that has not ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The lease could not be renewed in time, or the lock is known to be lost.
    Lease,
    /// It has held the lock for as long as it may.
    MaxHold,
    /// The process that renews the lease is gone.
    HolderGone,
    /// The process that watches over the command is gone.
    KeeperGone,
    /// The command has ended; what it left running may not go on without the lock.
    Leftovers,
}

/// The moments by which a command has to end, from one successful renewal on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadlines {
    pub(crate) terminate: BootTime,
    pub(crate) kill: BootTime,
}

impl Deadlines {
    /// Returns the deadlines within a lease of which `remaining` is left.
    pub(crate) fn within(lease: Duration, now: BootTime, remaining: Duration, grace: Duration) -> Deadlines {
        // The margin before the end is for killing and reaping, on a machine that is busy.
        let margin = (lease / 10).max(Duration::from_millis(500).min(lease / 4));
        let kill = lease - margin;
        let terminate = (lease * 2 / 3).min(kill.saturating_sub(grace)).max(lease / 2).min(kill);
        let left_until = |moment: Duration| now.after(remaining.saturating_sub(lease - moment));
        Deadlines { terminate: left_until(terminate), kill: left_until(kill) }
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before that moment.
    Wait(BootTime),
    /// Ask every descendant to end.
    Terminate,
    /// Kill every descendant.
    Kill,
}

/// The state of one command's ending.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    grace: Duration,
    deadlines: Deadlines,
    ending: Option<Ending>,
}

#[derive(Clone, Debug)]
struct Ending {
    cause: Cause,
    kill_after_grace: BootTime,
    terminated: bool,
    kill_again: Option<BootTime>,
}

impl Plan {
    /// Returns the plan of a command that may run until `deadlines`.
    pub(crate) fn new(grace: Duration, deadlines: Deadlines) -> Plan {
        Plan { grace, deadlines, ending: None }
    }

    /// Takes the deadlines of a renewal; an ending that has begun goes on, with all of its grace if the lease allows.
    pub(crate) fn renew(&mut self, deadlines: Deadlines) {
        self.deadlines = deadlines;
    }

    /// Begins to end the command; what began it first stays the cause.
    pub(crate) fn end(&mut self, now: BootTime, cause: Cause) {
        if self.ending.is_none() {
            let kill_after_grace = now.after(self.grace);
            self.ending = Some(Ending { cause, kill_after_grace, terminated: false, kill_again: None });
        }
    }

    /// Returns why the command is being ended, if it is.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.ending.as_ref().map(|ending| ending.cause)
    }

    /// Returns whether anything had to be killed.
    pub(crate) fn killed(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.kill_again.is_some())
    }

    /// Returns what to do at this moment.
    pub(crate) fn step(&mut self, now: BootTime) -> Step {
        if now >= self.deadlines.terminate {
            self.end(now, Cause::Lease);
        }
        let Some(ending) = &mut self.ending else { return Step::Wait(self.deadlines.terminate) };
        if !ending.terminated {
            ending.terminated = true;
            return Step::Terminate;
        }
        let kill = ending.kill_again.unwrap_or(ending.kill_after_grace.min(self.deadlines.kill));
        if now < kill {
            return Step::Wait(kill);
        }
        ending.kill_again = Some(now.after(KILL_AGAIN));
        Step::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(lease: Duration, grace: Duration) -> (BootTime, Plan) {
        let now = BootTime::now();
        (now, Plan::new(grace, Deadlines::within(lease, now, lease, grace)))
    }

    #[test]
    fn without_a_renewal_a_command_is_asked_to_end_and_killed_within_the_lease() {
        let (start, mut plan) = plan(30 * SECOND, 5 * SECOND);
        assert_eq!(plan.step(start), Step::Wait(start.after(20 * SECOND)));
        let asked = start.after(20 * SECOND);
        assert_eq!(plan.step(asked), Step::Terminate);
        assert_eq!(plan.cause(), Some(Cause::Lease));
        assert_eq!(plan.step(asked), Step::Wait(start.after(25 * SECOND)));
        let killed = start.after(25 * SECOND);
        assert_eq!(plan.step(killed), Step::Kill);
        assert_eq!(plan.step(killed), Step::Wait(killed.after(KILL_AGAIN)));
        assert!(plan.killed());
    }

    #[test]
    fn a_long_grace_is_cut_to_what_the_lease_leaves() {
        let (start, mut plan) = plan(10 * SECOND, 60 * SECOND);
        assert_eq!(plan.step(start.after(5 * SECOND)), Step::Terminate);
        assert_eq!(plan.step(start.after(6 * SECOND)), Step::Wait(start.after(9 * SECOND)));
        assert_eq!(plan.step(start.after(9 * SECOND)), Step::Kill);
    }

    #[test]
    fn for_every_lease_the_order_is_terminate_kill_end() {
        for lease in [1, 10, 100, 200, 999, 1_000, 3_000, 30_000, 86_400_000] {
            for grace in [0, 1, 100, 5_000, 1_000_000] {
                let (lease, grace) = (Duration::from_millis(lease), Duration::from_millis(grace));
                let now = BootTime::now();
                let Deadlines { terminate, kill } = Deadlines::within(lease, now, lease, grace);
                assert!(terminate >= now.after(lease / 2) && terminate <= kill, "{lease:?} {grace:?}");
                assert!(kill <= now.after(lease - lease / 10), "{lease:?} {grace:?}");
                let late = Deadlines::within(lease, now, lease / 100, grace);
                assert_eq!(
                    late,
                    Deadlines { terminate: now, kill: now },
                    "a lease at its end leaves no time"
                );
            }
        }
    }

    #[test]
    fn an_ending_that_was_asked_for_has_its_grace_while_renewals_go_on() {
        let (start, mut plan) = plan(3 * SECOND, 10 * SECOND);
        plan.end(start.after(SECOND), Cause::MaxHold);
        assert_eq!(plan.step(start.after(SECOND)), Step::Terminate);
        let renewed = start.after(2 * SECOND);
        plan.renew(Deadlines::within(30 * SECOND, renewed, 30 * SECOND, 10 * SECOND));
        assert_eq!(plan.step(renewed), Step::Wait(start.after(11 * SECOND)));
        plan.end(renewed, Cause::HolderGone);
        assert_eq!(plan.cause(), Some(Cause::MaxHold));
    }
}
