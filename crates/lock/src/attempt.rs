//! When to check, how long to sleep, and when to give up: the state machine of one attempt to get a lock.
//!
//! It has no clock and no connection: every call is told how long the attempt has lasted, and answers with what to do
//! next. Two schedules exist, because one kind of server lets a client queue and the other makes it come back:
//!
//! ```text
//! polled   check 1 ─ sleep ─ check 2 ─ sleep ─ … ─ check N ─ Busy
//!                       └ a release wakes it: one look, which is no check
//! queued   check 1 ─ queue for (N-1) intervals, the server answers when it is our turn ─ Busy
//!                    every interval that passes in the queue is one sleep and one check, made by the server
//! ```
//!
//! A server that cannot be reached is asked again with growing pauses until patience runs out; such tries are not
//! checks, because nothing was checked.

use std::time::Duration;

/// The first pause after a server could not be reached; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between two tries to reach a server.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest time that one request may wait in a server's queue; then it is asked again.
const LONGEST_QUEUEING: Duration = Duration::from_secs(24 * 3600);

/// How often and in which distance to check.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// After so many checks the attempt fails; without a limit it goes on for ever.
    pub max_checks: Option<u32>,
    /// How long to sleep between two checks.
    pub interval: Duration,
    /// By which part of the interval a sleep may be shorter or longer, from 0 to 1.
    pub jitter: f64,
    /// How long the server may be unreachable.
    pub patience: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Ask for the lock, without waiting.
    Check,
    /// Ask for the lock and wait in the server's queue so long.
    Queue(Duration),
    /// Do nothing until the attempt has lasted so long; a wake-up may end it earlier.
    Sleep {
        /// The end of the sleep, counted from the attempt's start.
        until: Duration,
    },
    /// Give up: all checks are used up.
    Busy,
    /// Give up: the server has been out of reach for longer than patience lasts.
    Unavailable,
}

/// One attempt to get a lock.
#[derive(Clone, Debug)]
pub struct Attempt {
    policy: Policy,
    queued: bool,
    state: State,
    checks: u32,
    /// When the newest check was due.
    due: Duration,
    unreachable_since: Option<Duration>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// A check is due.
    Check,
    /// Something may have changed: a look that does not count.
    Look,
    /// The rest of the schedule is spent in the server's queue.
    Queue,
    /// Asleep until the next check.
    Asleep {
        until: Duration,
    },
    /// Asleep until the server is asked again; then goes on with what could not be asked.
    Pausing {
        until: Duration,
        again: Again,
    },
    Busy,
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Again {
    Check,
    Queue,
    Asleep { until: Duration },
}

impl Attempt {
    /// Returns an attempt whose first check is due at once.
    pub fn new(policy: Policy) -> Attempt {
        Attempt {
            policy,
            queued: false,
            state: State::Check,
            checks: 0,
            due: Duration::ZERO,
            unreachable_since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Returns how many checks were made.
    pub fn checks(&self) -> u32 {
        self.checks
    }

    /// Returns what to do after the attempt has lasted for `now`.
    pub fn step(&mut self, now: Duration) -> Step {
        loop {
            match self.state {
                State::Check | State::Look => return Step::Check,
                State::Queue => {
                    let left = self.queue_end().map_or(LONGEST_QUEUEING, |end| end.saturating_sub(now));
                    let left = left.min(LONGEST_QUEUEING);
                    // A server takes whole milliseconds, and none of them is no queue at all.
                    return Step::Queue(left.max(Duration::from_millis(1)));
                }
                State::Asleep { until } if now < until => return Step::Sleep { until },
                State::Asleep { until } => {
                    self.due = until;
                    self.state = State::Check;
                }
                State::Pausing { until, .. } if now < until => return Step::Sleep { until },
                State::Pausing { again, .. } => {
                    self.state = match again {
                        Again::Check => State::Check,
                        Again::Queue => State::Queue,
                        Again::Asleep { until } if until <= now => State::Asleep { until },
                        Again::Asleep { .. } => State::Look,
                    }
                }
                State::Busy => return Step::Busy,
                State::Unavailable => return Step::Unavailable,
            }
        }
    }

    /// Says that someone else holds the lock; `queues` is whether this server lets clients wait, `random` any number.
    pub fn busy(&mut self, now: Duration, queues: bool, random: u64) {
        self.reached();
        self.queued = queues;
        match self.state {
            State::Queue => {
                self.checks = self.checks_by(now);
                let over = self.queue_end().is_some_and(|end| now + Duration::from_millis(1) >= end);
                if over {
                    self.checks = self.policy.max_checks.unwrap_or(self.checks);
                    self.state = State::Busy;
                }
            }
            State::Look => self.sleep_on(now, random),
            _ => {
                self.checks += 1;
                if self.policy.max_checks.is_some_and(|most| self.checks >= most) {
                    self.state = State::Busy;
                } else if queues {
                    self.state = State::Queue;
                } else {
                    self.sleep_on(now, random);
                }
            }
        }
    }

    /// Says that the lock was granted: the check that found it free counts.
    pub fn granted(&mut self, now: Duration) {
        self.reached();
        match self.state {
            State::Queue => self.checks = self.checks_by(now),
            State::Look => {}
            _ => self.checks += 1,
        }
    }

    /// Says that the server could not be reached or did not answer in time.
    pub fn unreachable(&mut self, now: Duration) {
        let since = *self.unreachable_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.policy.patience {
            self.state = State::Unavailable;
            return;
        }
        let again = match self.state {
            State::Queue => {
                self.checks = self.checks_by(now);
                Again::Queue
            }
            State::Look => Again::Asleep { until: self.due + self.policy.interval },
            _ => Again::Check,
        };
        self.state = State::Pausing { until: now + self.pause, again };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Says that the lock may have become free: a sleep ends with a look.
    pub fn woken(&mut self) {
        if let State::Asleep { .. } = self.state {
            self.state = State::Look;
        }
    }

    fn reached(&mut self) {
        self.unreachable_since = None;
        self.pause = FIRST_PAUSE;
    }

    /// Sleeps until the next check of the schedule; a look in between has not moved it.
    fn sleep_on(&mut self, now: Duration, random: u64) {
        let spread = self.policy.jitter.clamp(0.0, 1.0) * (random as f64 / u64::MAX as f64 * 2.0 - 1.0);
        let mut until = self.due + self.policy.interval.mul_f64(1.0 + spread);
        if until <= now {
            // The check itself took longer than an interval: the schedule begins anew here.
            until = now + self.policy.interval.mul_f64(1.0 + spread);
        }
        self.state = State::Asleep { until };
    }

    fn queue_end(&self) -> Option<Duration> {
        let most = self.policy.max_checks?;
        Some(self.policy.interval.saturating_mul(most.saturating_sub(1)))
    }

    /// Returns how many checks the schedule holds up to `now`.
    fn checks_by(&self, now: Duration) -> u32 {
        let passed = now.as_nanos() / self.policy.interval.as_nanos().max(1);
        let checks = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
        checks.min(self.policy.max_checks.unwrap_or(u32::MAX)).max(self.checks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn attempt(max_checks: u32) -> Attempt {
        let policy =
            Policy { max_checks: Some(max_checks), interval: ms(100), jitter: 0.0, patience: ms(1000) };
        Attempt::new(policy)
    }

    #[test]
    fn it_checks_sleeps_and_checks_again_until_all_checks_are_used_up() {
        let mut attempt = attempt(3);
        for check in 0..3 {
            let now = ms(check * 100);
            assert_eq!(attempt.step(now), Step::Check);
            attempt.busy(now, false, 0);
            if check < 2 {
                assert_eq!(attempt.step(now), Step::Sleep { until: ms((check + 1) * 100) });
            }
        }
        assert_eq!(attempt.step(ms(200)), Step::Busy);
        assert_eq!(attempt.checks(), 3);
    }

    #[test]
    fn one_check_never_sleeps() {
        for queues in [false, true] {
            let mut attempt = attempt(1);
            assert_eq!(attempt.step(ms(0)), Step::Check);
            attempt.busy(ms(0), queues, 0);
            assert_eq!(attempt.step(ms(0)), Step::Busy);
            assert_eq!(attempt.checks(), 1);
        }
    }

    #[test]
    fn a_queue_is_waited_in_once_and_counts_every_interval_as_a_check() {
        let mut attempt = attempt(5);
        assert_eq!(attempt.step(ms(0)), Step::Check);
        attempt.busy(ms(1), true, 0);
        assert_eq!(attempt.step(ms(1)), Step::Queue(ms(399)));
        let mut granted = attempt.clone();
        granted.granted(ms(250));
        assert_eq!(granted.checks(), 3);
        attempt.busy(ms(400), true, 0);
        assert_eq!(attempt.step(ms(400)), Step::Busy);
        assert_eq!(attempt.checks(), 5);
    }

    #[test]
    fn a_wake_up_is_a_look_that_uses_up_no_check_and_moves_no_schedule() {
        let mut attempt = attempt(2);
        attempt.busy(ms(0), false, 0);
        for at in [10, 20, 30] {
            attempt.woken();
            assert_eq!(attempt.step(ms(at)), Step::Check);
            attempt.busy(ms(at), false, 0);
            assert_eq!(attempt.step(ms(at)), Step::Sleep { until: ms(100) });
        }
        assert_eq!(attempt.checks(), 1);
        assert_eq!(attempt.step(ms(100)), Step::Check);
        attempt.busy(ms(100), false, 0);
        assert_eq!(attempt.step(ms(100)), Step::Busy);
        assert_eq!(attempt.checks(), 2);
    }

    #[test]
    fn jitter_moves_a_sleep_by_its_part_of_the_interval() {
        for (random, until) in [(0, ms(50)), (u64::MAX, ms(150))] {
            let mut attempt = attempt(2);
            attempt.policy.jitter = 0.5;
            attempt.busy(ms(0), false, random);
            assert_eq!(attempt.step(ms(0)), Step::Sleep { until });
        }
    }

    #[test]
    fn an_unreachable_server_is_tried_with_growing_pauses_until_patience_ends() {
        let mut attempt = attempt(3);
        let mut now = ms(0);
        let mut tries = 0;
        loop {
            match attempt.step(now) {
                Step::Check => {
                    tries += 1;
                    attempt.unreachable(now);
                }
                Step::Sleep { until } => {
                    assert!(until > now);
                    now = until;
                }
                step => {
                    assert_eq!(step, Step::Unavailable);
                    break;
                }
            }
        }
        assert!((5..10).contains(&tries), "{tries}");
        assert_eq!(attempt.checks(), 0, "nothing was checked");
        assert!(now >= ms(1000) && now < ms(3000));
    }

    #[test]
    fn after_a_lost_connection_the_queue_is_joined_again_for_what_is_left() {
        let mut attempt = attempt(11);
        attempt.busy(ms(0), true, 0);
        assert_eq!(attempt.step(ms(0)), Step::Queue(ms(1000)));
        attempt.unreachable(ms(300));
        assert_eq!(attempt.step(ms(300)), Step::Sleep { until: ms(320) });
        assert_eq!(attempt.step(ms(320)), Step::Queue(ms(680)));
        attempt.busy(ms(1000), true, 0);
        assert_eq!((attempt.step(ms(1000)), attempt.checks()), (Step::Busy, 11));
    }

    #[test]
    fn without_a_limit_it_goes_on() {
        let mut attempt = attempt(1);
        attempt.policy.max_checks = None;
        for check in 0..1000 {
            assert_eq!(attempt.step(ms(check * 100)), Step::Check);
            attempt.busy(ms(check * 100), false, 0);
        }
        assert_eq!(attempt.checks(), 1000);
        attempt.step(ms(100_000));
        attempt.busy(ms(100_000), true, 0);
        assert_eq!(attempt.step(ms(100_000)), Step::Queue(LONGEST_QUEUEING));
    }
}
